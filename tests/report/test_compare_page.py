"""Two studies on one page: verdicts and differences in words, and in a browser the models of both in one explorer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.pages import make_card_of, make_runs, make_study
from tools.compare_studies import page_of, read_studies
from whyrobust.files import checksum, write_json, write_table
from whyrobust.report.compare_page import (
    ComparedStudy,
    compare_in_words,
    effect_panels,
    is_unfinished,
    joined_explorer,
    meaning_warnings,
    render_comparison,
    side_by_side_rows,
    unfinished_warning,
)
from whyrobust.report.side_by_side import Difference, compare_verdicts, differences, match_effects

POINTS = ".mark-symbol path[d]:not([d=''])"


@pytest.fixture(scope="module")
def study():
    return make_study(make_runs())


@pytest.fixture(scope="module")
def other(study):
    """Return a study that finds the source undecided, and v2 raised by captions; one comparison is another one."""
    causes = study.causes.copy()
    causes.loc[(causes["cause"] == "training_distribution") & (causes["shift"] == "mean"), "verdict"] = "undecided"
    captions = (causes["cause"] == "language_at_training") & (causes["shift"] == "v2")
    causes.loc[captions, ["effect_points", "verdict"]] = [4.0, "raises"]
    causes.loc[causes["comparison"].str.startswith("a comparison"), "comparison"] = "another comparison"
    return replace(study, causes=causes)


def compared(label, tables, **config):
    return ComparedStudy(label, make_card_of(tables, label, **config), tables.effective, tables.runs)


@pytest.fixture(scope="module")
def both(study, other):
    return compared("first", study), compared("second", other, seeds=[5, 6])


def test_verdicts_are_compared_on_effects_that_both_have(study, other):
    told = compare_verdicts(study.causes, other.causes)
    assert len(told.primary) == 3 and [row["cause"] for row, _ in told.changed] == ["training_distribution"]
    names = [[one["comparison"] for one, _ in pairs] for pairs in (told.found, told.again, told.lost, told.new)]
    assert names == [["web instead of studio"], ["web instead of studio"], [], ["captions instead of labels"]]
    # A finding in the other direction is none that is found again.
    turned = study.causes.replace({"verdict": {"raises": "lowers"}})
    told = compare_verdicts(study.causes, turned)
    assert [len(pairs) for pairs in (told.found, told.again, told.lost, told.new)] == [2, 1, 1, 0]


def test_equal_verdicts_that_decide_nothing_are_told_apart(study):
    main = study.causes["family"] == "primary"

    def told_with(*first):
        causes = study.causes.copy()
        causes.loc[main, "verdict"] = [*first, *["raises"] * (main.sum() - len(first))]
        tables = replace(study, causes=causes)
        return compare_in_words(compared("first", tables), compared("second", tables))[0]

    assert told_with().endswith("have the same verdict.")
    assert "but all are undecided in both, which confirms nothing" in told_with(*["undecided"] * main.sum())
    assert "but 2 of them are undecided" in told_with("undecided", "undecided")


def test_effects_that_one_study_lacks_stand_alone(study, other):
    pairs = match_effects(study.causes, other.causes)
    assert len(pairs) == len(study.causes) + 3
    alone = [(one or other)["comparison"] for one, other in pairs if one is None or other is None]
    assert len(alone) == 6 and alone[-1] == "another comparison"


def test_differences_of_configs_are_told_by_key():
    runs = [{"source": "web", "seed": [0, 1]}, {"source": "studio"}]
    first = {"a": {"b": 1, "c": "same"}, "runs": runs, "texts": ["x", "y"], "gone": None, "heads": []}
    second = {"a": {"b": True, "c": "same"}, "runs": [runs[0] | {"seed": [5]}, runs[1]], "texts": ["x"], "heads": runs}
    assert differences(first, second) == [
        Difference("a.b", "1", "true"),
        Difference("runs[0].seed", "[0, 1]", "[5]"),
        Difference("texts", '["x", "y"]', '["x"]'),
        Difference("gone", "null", ""),
        Difference("heads", "[]", '[{"source": "web", "seed": [0, 1]}, {"source": "studio"}]'),
    ]
    longer = {**first, "runs": [{"source": "mixed"}, *runs]}
    assert differences(first, longer) == [Difference("runs", "", '{"source": "mixed"}')]
    assert differences(first, first) == []


def test_a_page_warns_of_settings_that_change_what_a_number_means():
    keys = (
        "baseline.scale",
        "test_sets.v2.classes",
        "test_sets.v2.says",
        "test_sets_of_others",
        "training.samples_seen",
    )
    warnings = meaning_warnings([Difference(key, "one", "two") for key in keys], ["a", "b"])
    assert [text.split(",")[0] for text in warnings] == [f"They differ in {key}" for key in keys[:2]]


def test_a_key_that_one_study_has_is_told_without_what_it_holds():
    rows = [Difference("test_sets.v2", '{"long": 1}', ""), Difference("test_sets.v3", "", '{"long": 1}')]
    told = meaning_warnings(rows, ["a", "b"])
    assert [text.partition(": ")[2] for text in told] == ["only a has it.", "only b has it."]


def test_studies_without_a_shift_in_common_are_no_error(both, caplog):
    moved = both[1].effective.assign(x_test_sets="others")
    page = render_comparison(both[0], replace(both[1], effective=moved))
    assert "no shift is measured by both" in page and "ApartError" not in page and not caplog.records


def test_a_page_of_folders_elsewhere_goes_into_the_own_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert page_of(Path("results/a"), Path("/others/b")) == Path("results/a-and-b.html")
    assert page_of(tmp_path / "mine" / "a", Path("b")) == tmp_path / "mine" / "a-and-b.html"
    for elsewhere in ("/others/results/a", "../a"):
        assert page_of(Path(elsewhere), Path("b")) == Path("results/a-and-b.html")


def test_a_page_warns_of_a_study_that_is_unfinished(study, both):
    part = compared("part", study, unfinished={"planned": 30, "runs": ["one", "two"]})
    assert unfinished_warning(part) == "part is unfinished: 2 of 30 runs are missing."
    assert is_unfinished(part) and not is_unfinished(both[0])


def test_words_and_rows_have_both_studies(both):
    words = compare_in_words(*both)
    assert words[0].startswith("Of 3 main comparisons that both studies have, 2 have the same verdict")
    assert words[1].startswith(
        "Training distribution (web instead of studio): first raises (+9.8 points, +7.8 to +11.8);"
    )
    assert "second undecided (+9.8" in words[1]
    assert words[2] == "Of 1 secondary finding of first, 1 is found in second too, which has 1 more."
    assert words[3].startswith("Only first compares: a comparison with") and words[4:] == [
        "Only second compares: another comparison."
    ]
    rows = side_by_side_rows(*both)
    changed = next(row for row in rows if row["difference"] not in ("", "0.0"))
    assert (changed["shift"], changed["difference"]) == ("v2", "+5.2")
    assert [cells["verdict"] for cells in changed["cells"]] == ["undecided", "raises"]
    last = rows[-3:]
    assert last[0]["comparison"] == "another comparison" and [row["cells"][0] for row in last] == [None] * 3
    panels = effect_panels(*both)
    assert [panel.title for panel in panels] == ["Training set size", "Training distribution", "Language at training"]
    assert panels[1].description.startswith("first: web instead of studio. Mean over shifts: +9.8 points")
    assert "second: web instead of studio" in panels[1].description


def test_models_are_joined_where_both_are_measured_in_the_same_way(both, study):
    explorer = joined_explorer(*both)
    assert [panel.title for panel in explorer.panels] == ["v2", "sketch"]
    assert [choice.name for choice in explorer.choices][:2] == ["study", "kind"]
    rows = explorer.panels[0].spec["datasets"]["points"]
    assert len(rows) == 2 * 16 and len({row["run"] for row in rows}) == 2 * 12
    only = study.effective["shift"] == "v2"
    moved = study.effective.assign(x_test_sets=study.effective["x_test_sets"].where(only, "web_test"))
    assert [panel.title for panel in joined_explorer(both[0], replace(both[1], effective=moved)).panels] == ["v2"]
    with pytest.raises(ValueError, match="no shift is measured by both"):
        joined_explorer(both[0], replace(both[1], effective=moved[~only]))
    probit = compared("third", study, baseline={"scale": "probit", "reference_accuracy": 0.5})
    with pytest.raises(ValueError, match="two scales, logit and probit"):
        joined_explorer(both[0], probit)


def test_the_page_in_a_browser(open_page, both):
    page = open_page(render_comparison(*both), width=390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("[data-explorer=both] svg.marks").count() == 2
    panel = page.locator("[data-spec=both-1]")
    assert panel.locator(POINTS).count() == 24
    assert page.locator("[data-controls=both] .legend button:not(.only)").all_inner_texts() == ["●first", "■second"]
    page.locator("[data-controls=both] .legend button").first.click()
    page.wait_for_function(
        "document.querySelector('[data-controls=both] [role=status]').textContent.startsWith('12 of')"
    )
    page.wait_for_timeout(200)
    assert panel.locator(POINTS).count() == 12
    row = page.get_by_label("Keys of the configs that differ").locator("tbody tr")
    assert row.all_inner_texts() == ["seeds\t[0, 1]\t[5, 6]"]
    assert page.get_by_label("Effects in both studies").locator("tbody tr").count() == 15
    found = Axe().run(page).response["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []


def test_studies_are_read_from_their_folders(study, tmp_path):
    folders = tmp_path / "a" / "icons", tmp_path / "b" / "icons"
    for folder in folders:
        write_json(folder / "card.json", make_card_of(study, "icons"))
        write_table(folder / "effective_robustness.csv", study.effective)
        write_table(folder / "runs.csv", study.runs)
    # Two studies of one name go by their folders.
    assert [one.label for one in read_studies(*folders)] == [str(folder) for folder in folders]
    write_json(folders[1] / "card.json", make_card_of(study, "photographs"))
    assert [one.label for one in read_studies(*folders)] == ["icons", "photographs"]
    with pytest.raises(SystemExit, match="are one folder"):
        read_studies(folders[0], folders[0])
    (folders[1] / "runs.csv").unlink()
    with pytest.raises(SystemExit, match=r"runs\.csv"):
        read_studies(*folders)


def test_tables_that_changed_after_the_card_was_written_are_refused(study, tmp_path):
    """A study that was run again and stopped before its page has tables of one state and a card of another."""
    folders = tmp_path / "whole", tmp_path / "half"
    for folder in folders:
        write_table(folder / "effective_robustness.csv", study.effective)
        write_table(folder / "runs.csv", study.runs)
        digests = {name: checksum(folder / name) for name in ("effective_robustness.csv", "runs.csv")}
        write_json(folder / "card.json", make_card_of(study, folder.name) | {"tables_sha256": digests})
    assert [one.label for one in read_studies(*folders)] == ["whole", "half"]
    write_table(folders[1] / "runs.csv", study.runs.iloc[1:])
    with pytest.raises(SystemExit, match=r"half was changed after its page .* \(runs\.csv\): run the study to its end"):
        read_studies(*folders)
    # Cards of earlier versions have no checksums.
    earlier = make_card_of(study, "half")
    del earlier["tables_sha256"]
    write_json(folders[1] / "card.json", earlier)
    assert [one.label for one in read_studies(*folders)] == ["whole", "half"]
