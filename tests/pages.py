"""Small studies made up for tests of the report page, complete or with parts missing."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pandas as pd
from PIL import Image

from whyrobust.analysis.baselines import fit_baseline
from whyrobust.report.findings import EffectTerms
from whyrobust.report.page import PageSettings, render_report
from whyrobust.report.result_card import make_card
from whyrobust.report.tables import DataTables, Making, ReferenceTables, RunTables, StudyTables
from whyrobust.study.plan import RUN_COLUMNS
from whyrobust.study.stages import STAGES

IN_DISTRIBUTION = ("studio_test", "web_test")
SHIFTS = ("v2", "sketch")
CLASSES = ("cat", "dog", "light bulb")
TEST_IMAGES = 400
LONG_NAME = "a comparison with a name that is long enough to need several lines of its panel"


#: Finds the marks of charts with less contrast than 3:1 to the page, in fill and in stroke, as they are seen through
#: their opacity. The grid tells nothing that labels do not, a ground behind letters has the page's own colour, and the
#: inside of a band is faint by intent: its edges are marks of their own.
FAINT_MARKS = """() => {
    const parse = (text) => (text.startsWith("rgb") ? (text.match(/[\\d.]+/g) || []).map(Number) : null);
    const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const luminance = (rgb) => [0.2126, 0.7152, 0.0722].reduce((sum, w, at) => sum + w * linear(rgb[at] / 255), 0);
    const ground = parse(getComputedStyle(document.body).backgroundColor).slice(0, 3);
    const contrast = (rgb) => {
        const [light, dark] = [luminance(rgb), luminance(ground)].sort((a, b) => b - a);
        return (light + 0.05) / (dark + 0.05);
    };
    const kinds = ".mark-symbol, .mark-line, .mark-rule, .mark-rect";
    const marks = [...document.querySelectorAll(`[data-spec] svg.marks :is(${kinds}) :is(path, line)`)];
    const [faint, seen] = [{}, {}];
    for (const mark of marks.filter((one) => one.getBoundingClientRect().width + one.getBoundingClientRect().height)) {
        if (mark.closest(".role-axis-grid, .role-axis-domain, .role-axis-tick")) continue;
        let opacity = 1;
        for (let one = mark; one.tagName !== "DIV"; one = one.parentElement) opacity *= getComputedStyle(one).opacity;
        const style = getComputedStyle(mark);
        const ofStroke = parseFloat(style.strokeWidth) ? style.strokeOpacity : 0;
        const contrasts = [[style.fill, style.fillOpacity], [style.stroke, ofStroke]]
            .map(([text, own]) => [parse(text), opacity * own]).filter(([colour, share]) => colour && share)
            .map(([[r, g, b, a = 1], share]) => [r, g, b].map((c, at) => ground[at] + share * a * (c - ground[at])))
            .map(contrast);
        const kind = mark.closest(kinds).getAttribute("class").split(" ")[0];
        const isBand = kind === "mark-rect" && (opacity < 0.3 || contrasts.every((one) => one < 1.001));
        if (!contrasts.length || isBand) continue;
        seen[kind] = (seen[kind] || 0) + 1;
        const best = Math.max(...contrasts);
        if (best < 3) faint[[mark.closest("[data-spec]").dataset.spec, kind, style.fill, style.stroke, opacity]] = best;
    }
    return { seen, faint };
}"""


def picture(seed):
    pixels = np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def make_runs(sources=("studio", "web"), seeds=(0, 1), names=str):
    """Return made-up runs: of every source and seed two sizes by cross-entropy and one by CLIP."""
    rows = []
    for source in sources:
        for seed in seeds:
            for objective, images in (("cross_entropy", 500), ("cross_entropy", 2000), ("clip", 2000)):
                clip = objective == "clip"
                rows.append(
                    {
                        "run": f"{objective}-{source}-{images}-{seed}",
                        "source": names(source),
                        "train_images": images,
                        "seed": seed,
                        "objective": objective,
                        "supervision": "captions" if clip else "labels",
                        "caption": "title" if clip else "",
                        "labels": "" if clip else "annotated",
                        "pretrained_by": "",
                        "pretrained_run": "",
                        "model": "icon_cnn",
                        "samples_seen": 1000,
                        "standard": source == sources[0] and not clip,
                        "evaluated": True,
                        "published": False,
                        "images_used": images,
                        "false_negative_share": (0.0002 + 0.02 * (source == sources[-1])) if clip else None,
                    }
                )
    return pd.DataFrame(rows, columns=[*RUN_COLUMNS, "images_used", "false_negative_share"])


def make_study(runs, baseline=True):
    """Return the result tables of made-up runs: web is ten points more robust, CLIP less accurate."""
    accuracy, effective, bands, lines = [], [], [], []
    heads = []
    for row in runs.to_dict("records"):
        clip = row["objective"] == "clip"
        heads.append(
            row
            | ({"head": "zero_shot", "prompts": "name"} if clip else {"head": "classifier", "prompts": ""})
            | {"fitted_on": "", "main": True}
        )
        if clip:
            heads.append(row | {"head": "linear_probe", "prompts": "", "fitted_on": "own", "main": False})
    for number, row in enumerate(heads):
        inside = 0.3 + 0.05 * (row["train_images"] > 1000) - 0.1 * (row["objective"] == "clip") + 0.005 * number
        scores = {"studio_test": inside, "web_test": inside - 0.05} | dict.fromkeys(
            SHIFTS, 0.6 * inside + 0.1 * ("web" in row["source"])
        )
        for test_set, score in scores.items():
            correct = round(score * TEST_IMAGES)
            accuracy.append(
                row
                | {"test_set": test_set, "images": TEST_IMAGES, "correct": correct, "accuracy": correct / TEST_IMAGES}
                | {"low": max(score - 0.05, 0), "high": min(score + 0.05, 1)}
            )
    table = pd.DataFrame(accuracy)
    keys = ["run", "head", "prompts", "fitted_on", "main"]
    wide = table.pivot_table(index=keys, columns="test_set", values="accuracy", sort=False).reset_index()
    standard = wide["run"].map(dict(zip(runs["run"], runs["standard"], strict=True)))
    for shift in SHIFTS:
        x, y = wide["studio_test"].to_numpy(), wide[shift].to_numpy()
        expected = np.full(len(x), np.nan)
        if baseline and standard.sum() >= 2:
            line = fit_baseline(x[standard, None], y[standard], "logit")
            expected = line.predict(x[:, None])
            ends = np.linspace(x.min(), x.max(), 20)
            bands += [
                {
                    "shift": shift,
                    "x_test_set": "studio_test",
                    "x": at,
                    "y": here,
                    "low": here * 0.9,
                    "high": here * 1.05,
                    "line": "all",
                }
                for at, here in zip(ends, line.predict(ends[:, None]), strict=True)
            ]
            lines.append(
                {
                    "shift": shift,
                    "x_test_set": "studio_test",
                    "models": int(standard.sum()),
                    "x_test_sets": "studio_test",
                    "slope": line.slopes[0],
                    "slopes": str(line.slopes[0]),
                    "intercept": line.intercept,
                    "r_squared": line.r_squared,
                    "scale": "logit",
                    "x_low": line.x_low[0],
                    "x_high": line.x_high[0],
                    "excluded": 0,
                    "line": "all",
                }
            )
        points = 100 * (y - expected)
        part = wide[keys].assign(
            shift=shift,
            x_test_set="studio_test",
            id_accuracy=x,
            id_low=x - 0.04,
            id_high=x + 0.04,
            shift_accuracy=y,
            shift_low=y - 0.04,
            shift_high=y + 0.04,
            baseline_accuracy=expected,
            effective_robustness_points=points,
            low_points=points - 2,
            high_points=points + 2,
            x_test_sets=" ".join(IN_DISTRIBUTION),
            mean_id_accuracy=x - 0.025,
            residual=points / 25,
            residual_low=points / 25 - 0.1,
            residual_high=points / 25 + 0.1,
            standard=standard,
            extrapolated=False,
            note="",
        )
        effective.append(part)
    causes = make_causes()
    regression = [
        {
            "shift": shift,
            "cause": "training_distribution",
            "term": "web instead of studio",
            "points": 9.0,
            "low_points": 7.0,
            "high_points": 11.0,
            "vif": 1.4,
        }
        for shift in SHIFTS
    ]
    return StudyTables(
        accuracy=table,
        effective=pd.concat(effective, ignore_index=True),
        runs=runs,
        baselines=pd.DataFrame(
            lines,
            columns=[
                "shift",
                "x_test_set",
                "x_test_sets",
                "models",
                "slope",
                "slopes",
                "intercept",
                "r_squared",
                "scale",
                "x_low",
                "x_high",
                "excluded",
                "line",
            ],
        ),
        bands=pd.DataFrame(bands, columns=["shift", "x_test_set", "x", "y", "low", "high", "line"]),
        causes=causes,
        regression=pd.DataFrame(regression),
        single_lines=make_single_lines(pd.concat(effective, ignore_index=True)),
        single_causes=make_single_causes(causes),
        shifts=make_shifts(),
        other_weights=make_other_weights(causes),
        dose_response=make_doses(),
        concept_frequency=make_frequencies(),
        concept_fits=make_fits(),
        dose_response_trends=make_trends(),
        similarity_bands=make_bands(),
        nearest_sources=make_nearest(),
        architectures=make_architectures(),
        class_differences=make_class_differences(),
        causes_by_seed=make_seed_effects(causes),
        causes_by_team=make_team_differences(causes),
    )


def make_single_lines(effective):
    """Return effective robustness beyond each in-distribution test set, of the columns of the main measurement."""
    lines = zip((*IN_DISTRIBUTION, "mean"), ("paper", "mirror", "mean"), strict=True)
    parts = [effective.assign(x_test_set=name, x_test_sets=name, measurement=kind) for name, kind in lines]
    return pd.concat(parts, ignore_index=True)


def make_cause_row(cause, comparison, shift, effect, width, **changes):
    """Return a row of the table of causes, with a verdict; ``width`` is half of the interval."""
    beyond = abs(effect) > width
    row = {
        "cause": cause,
        "comparison": comparison,
        "main": True,
        "shift": shift,
        "role": "shift",
        "pairs": 4,
        "seeds": 2,
        "effect_logits": effect / 25,
        "low_logits": (effect - width) / 25,
        "high_logits": (effect + width) / 25,
        "effect_points": effect,
        "low_points": effect - width,
        "high_points": effect + width,
        "detectable_points": 1.43 * width,
        "p": 0.001 if beyond else 0.4,
        "p_adjusted": 0.004 if beyond else 0.8,
        "family": "primary" if shift == "mean" else "secondary",
        "verdict": ("raises" if effect > 0 else "lowers") if beyond else "undecided",
        "equivalence_low_points": effect - 0.8 * width,
        "equivalence_high_points": effect + 0.8 * width,
        "p_equivalence": 0.03 if abs(effect) + 0.8 * width < 2 else 0.31,
        "equivalence_power": 0.25,
        "kept_share": np.nan,
        "raw_id_points": -5.7,
        "raw_id_low_points": -7.7,
        "raw_id_high_points": -3.7,
        "raw_shift_points": 3.4,
        "raw_shift_low_points": 1.2,
        "raw_shift_high_points": 5.6,
        "extrapolated_pairs": 0,
        "left_out_pairs": 0,
        "holds_fixed": "everything else",
    }
    return row | changes


def make_causes():
    """Return made-up causes: one raises, one is within the margin, one undecided; sketch is a case study."""
    rows = []
    for cause, comparison, main, effect, width in (
        ("training_set_size", "2,000 instead of 500 images", True, 0.4, 1.0),
        ("training_distribution", "web instead of studio", True, 9.8, 2.0),
        ("training_distribution", LONG_NAME, False, -3, 2),
        ("language_at_training", "captions instead of labels", True, -1.2, 2.0),
    ):
        for shift in ("mean", *SHIFTS):
            row = make_cause_row(cause, comparison, shift, effect, width, main=main)
            if cause == "training_set_size":
                row["verdict"] = "within ±2"
            if cause == "language_at_training":
                row["extrapolated_pairs"] = 3
            if shift == "sketch":
                row |= {"role": "case study", "verdict": "", "p": np.nan, "p_adjusted": np.nan, "family": ""}
            rows.append(row)
    return pd.DataFrame(rows)


def make_seed_effects(causes):
    """Return the effects of the main comparisons by two seeds, one on either side of them by their number in points."""
    main = causes[causes["main"]]
    parts = [
        main[["cause", "comparison", "shift"]].assign(
            seed=seed,
            pairs=2,
            effect_points=main["effect_points"] + apart,
            paper_points=main["effect_points"] + 5.6 + apart,
            raw_id_points=main["raw_id_points"] + apart,
            raw_shift_points=main["raw_shift_points"] + apart,
        )
        for seed, apart in ((0, -0.5), (1, 0.5))
    ]
    return pd.concat(parts, ignore_index=True)


def make_team_differences(causes):
    """Return the raw differences on v2 by three teams, one of them small, and on sketch by one team."""
    main = causes[causes["main"]]
    parts = [
        main.loc[main["shift"] == shift, ["cause", "comparison", "shift"]].assign(
            team=team, images=images, weight=weight, raw_shift_points=main["raw_shift_points"] + apart
        )
        for shift, team, images, weight, apart in (
            ("v2", "Ann's icons", 300, 0.8, -1.0),
            ("v2", "bob & co", 50, 0.15, 4.0),
            ("v2", "few", 49, 0.05, 40.0),
            ("sketch", "Ann's icons", 400, 1.0, 0.0),
        )
    ]
    return pd.concat(parts, ignore_index=True)


def make_single_causes(causes):
    """Return the effects by the paper's line, which are larger, and by its mirror; neither has a verdict."""
    parts = [
        causes.assign(
            x_test_set=name,
            measurement=measurement,
            verdict="",
            p_adjusted=np.nan,
            family="",
            effect_points=causes["effect_points"] + shifted,
            low_points=causes["low_points"] + shifted,
            high_points=causes["high_points"] + shifted,
        )
        for name, measurement, shifted in zip(IN_DISTRIBUTION, ("paper", "mirror"), (5.6, -4.4), strict=True)
    ]
    return pd.concat(parts, ignore_index=True)


def make_other_weights(causes):
    """Return the main comparisons over images: captions raise, all else is as it is."""
    main = causes[causes["main"]].assign(class_weights="images")
    raised = (main["cause"] == "language_at_training") & (main["shift"] == "mean")
    main.loc[raised, ["effect_points", "low_points", "high_points", "verdict"]] = [7.3, 4.9, 9.7, "raises"]
    return main.reset_index(drop=True)


def make_shifts():
    """Return what the made-up test sets are."""
    rows = [
        ("studio_test", "in_distribution", "", "studio", ""),
        ("web_test", "in_distribution", "", "web", ""),
        ("v2", "shift", "", "", ""),
        ("sketch", "case study", "2 teams: at least 6 are needed to speak of others", "", "web"),
    ]
    table = pd.DataFrame(rows, columns=["test_set", "role", "reason", "source", "seen_in"])
    return table.assign(
        images=TEST_IMAGES, drawings=300, classes=len(CLASSES), unit="team", units=[9, 30, 7, 2], chance=0.33,
        median_accuracy=0.31, r_squared=[np.nan, np.nan, 0.97, 0.62], r_squared_line=[np.nan, np.nan, 0.91, 0.55],
    )  # fmt: skip


def make_doses():
    """Return a made-up dose response."""
    return pd.DataFrame(
        {"share": share, "source": "web", "shift": shift, "seeds": 2, "effect_logits": share / 3}
        | {"instead_of": "studio", "mixture": "web" if share == 1 else f"web_{share:.0%}"}
        | {"role": {"mean": "mean", "v2": "shift", "sketch": "case study"}[shift]}
        | {"effect_points": 9 * share, "low_points": 9 * share - 2, "high_points": 9 * share + 2}
        | {"kept_share": 0.2 if shift == "v2" else -0.002}
        | {"raw_shift_points": 5 * share, "raw_studio_test_points": -6 * share, "raw_web_test_points": 3 * share}
        for share in (0.1, 0.5, 1.0)
        for shift in ("mean", *SHIFTS)
    )


def make_trends():
    """Return the trends over the made-up doses."""
    return pd.DataFrame(
        {"source": "web", "shift": shift, "doses": 4, "seeds": 2, "trend_points": 9.1, "low_points": 7.0}
        | {"high_points": 11.2, "p": 0.0001 if shift == "mean" else 0.04}
        for shift in ("mean", *SHIFTS)
    )


def make_bands():
    """Return made-up differences: web is better where it comes nearer, and where both are equally near it is not."""
    edges = ((-2.0, -0.1, -9.0), (-0.1, -0.03, -3.0), (-0.03, 0.03, 0.5), (0.03, 0.1, 4.0), (0.1, 2.0, 12.0))
    return pd.DataFrame(
        {"comparison": "web instead of studio", "from": "studio", "to": "web", "objective": "cross_entropy"}
        | {"test_set": test_set, "band_low": low, "band_high": high, "images": 80, "units": 7, "pairs": 2}
        | {"difference_points": points, "low_points": points - 2, "high_points": points + 2}
        for test_set in (*IN_DISTRIBUTION, *SHIFTS)
        for low, high, points in edges
        if (test_set, low) != ("sketch", -2.0)
    )


def make_nearest():
    """Return how near the made-up sources come: web to 40 % of the images, studio to 10 %."""
    return pd.DataFrame(
        {
            "test_set": test_set,
            "source": source,
            "images": TEST_IMAGES,
            "median_similarity": near,
            "nearest_share": share,
        }
        for test_set in (*IN_DISTRIBUTION, *SHIFTS)
        for source, near, share in (("studio", 0.86, 0.1), ("web", 0.91, 0.4))
    )


def make_architectures():
    """Return made-up differences between two architectures, in logits: none in the mean, one on v2."""
    return pd.DataFrame(
        {"cause": "training_distribution", "comparison": "web instead of studio", "shift": shift}
        | {"model_a": "icon_cnn", "model_b": "icon_resnet", "seeds": 2, "effect_a_logits": -0.1, "p": 0.49}
        | {"effect_b_logits": difference - 0.1, "difference_logits": difference, "low": difference - 0.2}
        | {"high": difference + 0.2}
        for shift, difference in (("mean", 0.1), ("v2", 0.4))
    )


def make_class_differences():
    """Return made-up accuracies by class: web is 10 points better at dogs, 20 at light bulbs, and worse at cats."""
    return pd.DataFrame(
        {"comparison": "web instead of studio", "from": "studio", "to": "web", "test_set": test_set, "class": name}
        | {"images": 40 + 20 * place, "pairs": 6, "accuracy_from": 0.5, "accuracy_to": 0.5 + difference}
        | {"difference_points": 100 * difference, "pairs_above": 3 + place, "pairs_below": 3 - place}
        for test_set in (*IN_DISTRIBUTION, *SHIFTS)
        for place, (name, difference) in enumerate(zip(CLASSES, (-0.05, 0.1, 0.2), strict=True))
    )


def make_frequencies():
    """Return made-up accuracies by class."""
    return pd.DataFrame(
        {"run": f"{objective}-{source}", "source": source, "objective": objective, "seed": 0, "test_set": test_set}
        | {"class": name, "train_images": 5 * 4**place, "images": 40, "accuracy": 0.2 + 0.2 * place}
        for objective in ("cross_entropy", "clip")
        for source in ("studio", "web")
        for test_set in (*IN_DISTRIBUTION, *SHIFTS)
        for place, name in enumerate(CLASSES)
    )


def make_fits():
    """Return made-up fits of accuracy to frequency."""
    runs = make_frequencies().drop_duplicates(["run", "test_set"])[["run", "source", "objective", "test_set"]]
    return runs.assign(classes=3, classes_without_images=0, slope=0.7, low=0.5, high=0.9)


def make_data(names=str, classes=CLASSES):
    """Return the tables of made-up data."""
    sets = {
        "studio": "training_source",
        "web": "training_source",
        "studio_test": "in_distribution",
        "web_test": "in_distribution",
        "v2": "shift",
        "sketch": "shift",
    }
    samples = [
        {
            "dataset": name,
            "role": role,
            "uid": f"{name}:{number}",
            "title": names(f"a {label}"),
            "description": "",
            "tags": ["one", "two"],
            "label": names(label),
            "picture": picture(number),
        }
        for name, role in sets.items()
        for number, label in enumerate(classes)
    ]
    return DataTables(
        classes=pd.DataFrame(
            [
                {"dataset": name, "role": role, "class": names(label), "images": 10 * place}
                for name, role in sets.items()
                for place, label in enumerate(classes)
            ]
        ),
        captions=pd.DataFrame(
            [
                {
                    "source": "web",
                    "caption": "title",
                    "records": 100,
                    "captions": 90,
                    "empty_share": 0.1,
                    "words_mean": 2.5,
                    "words_median": 2,
                    "words_p95": 5,
                    "characters_mean": 14.2,
                    "labelled": 80,
                    "share_naming_class": 0.75,
                }
            ]
        ),
        filters=pd.DataFrame(
            [
                {"dataset": "web", "step": "recorded", "images": 120},
                {"dataset": "web", "step": "decoded", "images": 110},
            ]
        ),
        samples=pd.DataFrame(samples),
        pairs=pd.DataFrame(
            [
                {
                    "low": 0.97,
                    "high": 1.0,
                    "in_band": 7,
                    "source": "web",
                    "uid": "web:0",
                    "test_set": "v2",
                    "test_uid": "v2:1",
                    "similarity": 0.98,
                    "picture": picture(1),
                    "test_picture": picture(2),
                }
            ]
        ),
        removed=pd.DataFrame([{"source": "web", "test_set": "v2", "reason": "near_duplicate", "images": 7}]),
        text_matches=pd.DataFrame([{"source": "web", "records": 100, "matched": 60, "precision": 0.9, "recall": 0.5}]),
    )


def make_details(study, data):
    """Return the tables of what made-up runs did."""
    tests = [*IN_DISTRIBUTION, *SHIFTS]
    first, second = data.samples["label"].iloc[0], data.samples["label"].iloc[1]
    curves = [
        {"run": run, "samples": 100 * step, "loss": 3.0 / step, "learning_rate": 0.01}
        for run in study.runs["run"]
        for step in range(1, 11)
    ]
    confusions = [
        {
            "run": run,
            "head": "",
            "prompts": "",
            "fitted_on": "",
            "test_set": test_set,
            "label": first,
            "prediction": second,
            "images": 12,
            "class_images": 40,
        }
        for run in study.runs["run"]
        for test_set in tests
    ]
    answers = [
        {
            "run": run,
            "test_set": row["dataset"],
            "uid": row["uid"],
            "label": row["label"],
            "prediction": second,
            "correct": row["label"] == second,
        }
        for run in study.runs["run"]
        for row in data.samples.to_dict("records")
        if row["dataset"] in tests
    ]
    classes = [
        {"run": run, "test_set": test_set, "label": label, "images": 40, "correct": (7 * number + 5 * place) % 41}
        for number, run in enumerate(study.runs["run"])
        for test_set in tests
        for place, label in enumerate(dict.fromkeys(data.samples["label"]))
    ]
    tables = (pd.DataFrame(rows) for rows in (curves, confusions, classes, answers))
    return RunTables(study.runs, *tables)


def make_reference():
    """Return the tables of a few made-up published models."""
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(0.5, 0.8, 12))
    effective = pd.DataFrame(
        {
            "run": [f"model {number}" for number in range(12)],
            "head": "classifier",
            "prompts": "",
            "shift": "imagenet-v2",
            "x_test_set": "imagenet",
            "id_accuracy": x,
            "id_low": x - 0.01,
            "id_high": x + 0.01,
            "shift_accuracy": x - 0.1,
            "shift_low": x - 0.12,
            "shift_high": x - 0.08,
            "baseline_accuracy": x - 0.1,
            "effective_robustness_points": 0.0,
            "low_points": -1.0,
            "high_points": 1.0,
            "standard": [number % 3 > 0 for number in range(12)],
            "extrapolated": False,
            "note": "",
            "training": "standard",
            "collection": ["imagenet_testbed", "open_clip", "vlhub"] * 4,
        }
    )
    baselines = pd.DataFrame(
        [
            {
                "shift": "imagenet-v2",
                "x_test_set": "imagenet",
                "models": 8,
                "slope": 1.0,
                "intercept": -0.5,
                "r_squared": 0.99,
                "scale": "logit",
                "x_low": x.min(),
                "x_high": x.max(),
                "excluded": 0,
                "line": "all",
            }
        ]
    )
    bands = pd.DataFrame(
        {
            "shift": "imagenet-v2",
            "x_test_set": "imagenet",
            "x": x,
            "y": x - 0.1,
            "low": x - 0.11,
            "high": x - 0.09,
            "line": "all",
        }
    )
    return ReferenceTables(effective, baselines, bands)


def make_making():
    """Return how a made-up study was made."""
    provenance = {
        "commit": "0123456789",
        "machine": {"processor": "a processor", "cores": 2, "memory_gb": 8, "system": "Linux", "python": "3.11"},
        "packages": {"torch": "2.15.0"},
        "checksums_sha256": {"accuracy.csv": "0" * 64},
        "seconds_by_stage": {"train_run": {"jobs": 12, "seconds": 120.0, "memory_mb": 900.0}},
        "taken_from_finished_work": {"train_run": {"results": 9, "seconds": 90.0}},
        "config": {"study": "made up", "seeds": [0, 1]},
    }
    return Making(
        provenance=provenance,
        stages=[stage.name for stage in STAGES],
        images_by_stage={"train_run": 12_000},
        licences=pd.DataFrame([{"name": "a set", "by": "somebody", "part": "web", "licence": "MIT"}]),
        citations=["Somebody 2024, a data set"],
        commands=["make study"],
        figures=["causes.svg", "causes.pdf"],
        latex={"causes.tex": r"\begin{tabular}"},
    )


def make_card_of(study, name="made up", **config):
    """Return the result card of a made-up study; ``config`` replaces keys of its config."""
    provenance = make_making().provenance | {"study": name, "downloads": {"archive": {"version": "1"}}}
    baseline = {"scale": "logit", "reference_accuracy": 0.5}
    whole = {"study": name, "baseline": baseline, "seeds": [0, 1], "class_weights": "equal", "test_sets": {"v2": {}}}
    return make_card(provenance | {"config": whole | config}, study)


SETTINGS = PageSettings(
    name="made up",
    test_kinds={},
    similarity=0.97,
    text_fields=["title", "tags"],
    scale="logit",
    colours={},
    accuracy_confidence=0.995,
    terms=EffectTerms(),
    sentences={"studio": "Icons of one studio.", "web": "Icons of the web.", "v2": "Icons of other teams."},
    without_test_set=[],
)


def make_page(baseline=True, names=str, test_kinds=None, **changes):
    """Return the page of a made-up study as HTML; ``changes`` replace arguments of ``render_report``."""
    study = make_study(make_runs(names=names), baseline)
    data = make_data(names)
    given = {
        "settings": replace(SETTINGS, test_kinds=test_kinds or {}),
        "study": study,
        "data": data,
        "details": make_details(study, data),
        "reference": make_reference(),
        "making": make_making(),
    } | changes
    return render_report(**given)


def emptied(tables):
    """Return the same tables, each with its columns and without a row."""
    return replace(tables, **{name: table.iloc[:0] for name, table in vars(tables).items()})
