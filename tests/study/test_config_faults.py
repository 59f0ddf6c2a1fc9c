"""Whatever is done to a valid config, the answer is a plan or one line that names a key, before any work."""

from __future__ import annotations

import copy
import math

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.workflow.test_dag import write_config
from tools.check_config import check
from whyrobust.study.checks import plan_study
from whyrobust.study.config import load_config
from whyrobust.study.config_file import check_config_file, read_config_file
from whyrobust.study.pinned_sources import COLUMNS
from whyrobust.study.plan import LONGEST_NAME, plan_runs
from whyrobust.study.setting_checks import ConfigError

#: Sections, or entries of sections, whose keys are the user's own names: another name is no misspelt key.
OWN_NAMES = {"sources", "test_sets", "prompts", "models", "causes", "shares", "colours", "fields"}


def places(node, path=()):
    if path:
        yield path, node
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def changed(config, path, change):
    altered = copy.deepcopy(config)
    place = altered
    for key in path[:-1]:
        place = place[key]
    change(place, path[-1])
    return altered


def spelt(path):
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".")


def mutations(raw):
    """Return (what, config, words of the message) for every place of a config where a mutation must be an error."""
    found = []
    for path, value in places(raw):
        parent = path[-2] if len(path) > 1 else ""
        key = spelt(path)
        if isinstance(path[-1], str) and parent not in OWN_NAMES and "from" not in path and "to" not in path:
            wrong = f"{path[-1]}x"
            altered = changed(raw, path, lambda node, name, wrong=wrong: node.update({wrong: node.pop(name)}))
            # Of a key that must be there the schema says that it is missing; both name it.
            found.append((f"misspelt {key}", altered, [key.removesuffix(path[-1])[:-1], path[-1]]))
        for what, new in (
            ("wrong type of", {"a": 1} if not isinstance(value, dict) else [1]),
            ("nothing for", None),
            ("not a number for", math.nan),
            ("below every range", -7),
            ("a whole number with a point for", 3.5 if not isinstance(value, int) else float(value)),
        ):
            if isinstance(value, bool) or (isinstance(value, float) and what.startswith("a whole")):
                continue
            if isinstance(new, dict) and parent == "prompts":
                continue
            found.append((f"{what} {key}", changed(raw, path, lambda node, name, new=new: _put(node, name, new)), []))
    return found


def _put(node, name, value):
    node[name] = value


def rename_comparison(config, name):
    """Call the second comparison of a cause as said, {} standing for the name of the first."""
    first, second = config["causes"]["training_distribution"][:2]
    second["comparison"] = name.format(first["comparison"])


@pytest.fixture(scope="module")
def smoke_config(root):
    return yaml.safe_load((root / "config" / "smoke.yaml").read_text(encoding="utf-8"))


def test_each_of_hundreds_of_mutations_is_one_line_that_names_a_key(smoke_config, root):
    """Every key of the smoke study misspelt, of another type, empty, not a number, out of range; each 17th here."""
    tried = mutations(smoke_config)
    assert len(tried) > 1000
    kept = tried[::17]
    assert len(kept) >= 100
    for what, altered, words in kept:
        with pytest.raises(ConfigError) as caught:
            plan_study(load_config(altered), root)
        message = str(caught.value)
        assert message.startswith("config key ") and "\n" not in message, (what, message)
        assert all(word in message for word in words), (what, message)


wild = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["web", "own", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_anywhere_is_a_plan_or_one_line(smoke_config, root, data):
    path, _ = data.draw(st.sampled_from(list(places(smoke_config))))
    value = data.draw(wild)
    altered = changed(smoke_config, path, lambda node, name: _put(node, name, value))
    try:
        study = plan_study(load_config(altered), root)
    except ConfigError as error:
        assert str(error).startswith("config key ") and len(str(error).splitlines()) == 1
    else:
        assert study.runs
        assert all("\n" not in run.run and "." not in run.run for run in study.runs)


def grid_with(config, key):
    """Return the first grid of runs that has a key."""
    return next(grid for grid in config["runs"] if key in grid)


@pytest.mark.parametrize(
    "change, words",
    [
        # A loop of sources, and one model that starts from itself, cannot be written.
        (lambda c: c["sources"].update(a={"kind": "view", "of": "b", "class_balanced": True},
                                       b={"kind": "view", "of": "a", "class_balanced": True}), ["sources.a", "'b'"]),
        (lambda c: grid_with(c, "pretrain")["pretrain"].update(pretrain={"objective": "simclr"}),
         ["runs[", "].pretrain.pretrain"]),
        (lambda c: c["training"]["clip"].update(learning_rate=math.nan), ["training.clip.learning_rate", "nan"]),
        (lambda c: c["training"]["clip"].update(weight_decay=math.inf), ["training.clip.weight_decay", "inf"]),
        (lambda c: c["runs"][1].update(train_images=300.0), ["runs[1].train_images", "300.0", "a whole number"]),
        (lambda c: c.update(study="smoke\n"), ["study", "smoke\\n", "line breaks"]),
        (lambda c: c["data"].update(classes="a\0b"), ["data.classes", "\\x00"]),
        (lambda c: c["runs"][1].update(source="half_web", train_images=25_000), ["train_images 25000", "half_web"]),
        (lambda c: c["runs"][1].update(source="web_at_studio_classes", train_images=20_000), ["20000", "at_studio"]),
        (lambda c: c["data"].update(classes="resources/icons/sets.csv"), ["data.classes", "column 'class'"]),
        (lambda c: c["data"].update(classes="resources/icons/README.md"), ["data.classes"]),
        (lambda c: c.update(sources_table="resources/icons/sets.csv"), ["sources_table", "column 'name'"]),
        (lambda c: c["models"].update(icon_cnn="resources/icons/sets.csv"), ["models.icon_cnn", "no JSON"]),
        (lambda c: c["prompts"].update(photo="resources/icons/README.md"), ["prompts.photo", "{class}"]),
        (lambda c: c["prompts"].update(photo="resources"), ["prompts.photo", "no such file"]),
        (lambda c: c["data"].update(nouns="resources/icons/sets.csv"), ["data.nouns", "column 'class'"]),
        (lambda c: c["data"].update(sets="resources/icons/nouns.csv"), ["data.sets", "column 'set'"]),
        (lambda c: c.update(downloads="README.md"), ["downloads", "README.md", "a folder"]),
        (lambda c: c.update(downloads="README.md/a"), ["downloads", "README.md/a", "a folder"]),
        # The tables of effects are joined by cause and name, after all training.
        (lambda c: rename_comparison(c, " {} "), ["causes.training_distribution[1].comparison", "once in a cause"]),
        (lambda c: rename_comparison(c, "  "), ["causes.training_distribution[1].comparison", "a name"]),
        (lambda c: c["training"]["clip"].update(learning_rate="1e-3"), ["learning_rate", "write 0.001"]),
        (lambda c: c["training"]["clip"].update(learning_rate="1e-7"), ["learning_rate", "write 1.0e-07"]),
        (lambda c: c["training"].update(samples_seen="1e3"), ["samples_seen", "write 1000"]),
    ],
)  # fmt: skip
def test_what_would_be_found_days_later_is_found_first(smoke_config, root, change, words):
    altered = copy.deepcopy(smoke_config)
    change(altered)
    with pytest.raises(ConfigError) as caught:
        plan_study(load_config(altered), root)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "text, words",
    [
        ("class,studio_images\ncat,1\ncat,2\n", "'cat' comes twice"),
        ("class,studio_images\ncat,many\n", "studio_images of 'cat' is 'many'"),
        ("class,studio_images\ncat\n", "studio_images of 'cat' is ''"),
        ("class,studio_images\n ,1\n", "without a name"),
        ("class\n", "has no class"),
        ("class,studio_images\ncat ,1\n", "class 'cat ' has a blank too many"),
        ("class,studio_images\nfire  truck,1\n", "class 'fire  truck' has a blank too many"),
        ("class,studio_images\nsalt; pepper,1\n", "class 'salt; pepper' has a ';'"),
        ("class,name\na,crane\nb,Crane \n", "classes 'a' and 'b' are called alike"),
        ("class\ncat\nCat\n", "classes 'cat' and 'Cat' are called alike"),
        ("class,name\ncat,a,b\n", "more cells than the header"),
        ("class,name,name\ncat,a,b\n", "the column 'name' twice"),
        ("", "without the column 'class'"),
        ('class\n"cat\n', "cannot be read"),
        (b"class\n\xff\n", "UTF-8"),
    ],
)
def test_a_wrong_table_of_classes_is_one_line(smoke_config, root, tmp_path, text, words):
    table = tmp_path / "classes.csv"
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    altered = copy.deepcopy(smoke_config)
    altered["data"]["classes"] = str(table)
    with pytest.raises(ConfigError, match=words) as caught:
        plan_study(load_config(altered), root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["../outside.tar", "/outside.tar", "a/../../b", ""])
def test_a_download_never_leaves_its_folder(smoke_config, root, tmp_path, file):
    table = tmp_path / "sources.tsv"
    table.write_text("\t".join(COLUMNS) + f"\nx\t1\t{file}" + "\t" * (len(COLUMNS) - 3) + "\n")
    altered = copy.deepcopy(smoke_config) | {"sources_table": str(table)}
    with pytest.raises(ConfigError, match="inside the folder for downloads"):
        plan_study(load_config(altered), root)


def test_a_key_given_twice_is_named_with_its_lines(tmp_path, root):
    for name in ("config.yaml", "config/smoke.yaml", "config/icons-full.yaml", "config/paper.yaml"):
        check_config_file(root / name)
    path = tmp_path / "c.yaml"
    path.write_text("study: a\nruns:\n  - {source: web, seed: 1, source: studio}\n")
    with pytest.raises(ConfigError, match=r"runs\[0\]\.source comes twice .* lines 3 and 3"):
        check_config_file(path)
    path.write_text("study: a\nseeds: [0]\nstudy: b\n")
    with pytest.raises(ConfigError, match=r"study comes twice .* lines 1 and 3"):
        check_config_file(path)


@pytest.mark.parametrize("text", ["study: [\n", "study: smoke\nstudy: smoke\n"])
def test_a_file_that_is_no_config_stops_before_any_work(workspace, snakemake, text):
    (workspace / "config.yaml").write_text(text, encoding="utf-8")
    done = snakemake(workspace, "--cores", "1")
    assert done.returncode != 0
    assert "Traceback" not in done.stdout + done.stderr
    assert not (workspace / "results").exists()


def test_a_config_of_another_study_is_valid_after_the_round_trip(workspace, smoke_config, root):
    write_config(workspace, smoke_config)
    read = yaml.safe_load((workspace / "config.yaml").read_text(encoding="utf-8"))
    assert plan_study(load_config(read), root).runs


#: Nine levels of ten anchors each: a thousand million values.
LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "__use_yte__: true\n__definitions__:\n  - import os\n",
            r"__use_yte__ .* line 1, lets .* run Python",
        ),
        ("study: a\n<<: {'__use_yte__': true}\n", "run Python"),
        ('study: a\n"__use\\x5Fyte__": false\n', "run Python"),
        ("runs: &r [*r]\n", r"runs\[0\] .* holds itself \(the anchor of line 1\)"),
        ("data: &d {classes: {x: *d}}\n", r"data\.classes\.x .* holds itself"),
        (LAUGHS, r"a\d .* holds more than 100,000 values"),
        ("runs: " + "[" * 5000 + "]" * 5000 + "\n", "lists in lists without end"),
        ("- study\n", "no config"),
        ("", "no config"),
        ("study: [\n", "no YAML"),
        ("study: caf\u00e9\n".encode("latin-1"), "no text in UTF-8"),
    ],
)
def test_a_file_that_runs_code_never_ends_or_is_no_config_is_one_line(tmp_path, text, words):
    path = tmp_path / "c.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=words) as caught:
        check(path, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_config_that_is_not_there_is_one_line(tmp_path):
    for read in (check_config_file, read_config_file):
        with pytest.raises(ConfigError, match=r"mine\.yaml: there is no such file"):
            read(tmp_path / "mine.yaml")


def test_a_config_is_checked_without_snakemake(root):
    assert "trains" in check(root / "config.yaml", root)
    assert read_config_file(root / "config.yaml")["study"] == "icons"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(seeds=[2**32]), ["seeds[0]", "4294967295"]),
        (lambda c: c["training"].update(samples_seen=10**400), ["training.samples_seen", "hexadecimal digits"]),
        (lambda c: c["training"]["clip"].update(batch_size=-(2**60)), ["training.clip.batch_size"]),
        (lambda c: c["training"]["clip"].update(batch_size=10**9), ["training.clip.batch_size", "1000000"]),
        (lambda c: c["training"].update(supcon={"projection_dim": 10**9}), ["supcon.projection_dim", "65536"]),
        (lambda c: c["intervals"].update(resamples=10**9), ["intervals.resamples", "1000000"]),
        (lambda c: c.update(study="reference"), ["study", "'reference'"]),
        (lambda c: c.update(study="published"), ["study", "'published'"]),
        (lambda c: c.update(study="a" * 101), ["study", "at most 100 characters"]),
        (lambda c: c["sources"].update({"a" * 101: c["sources"]["web"]}), ["sources", "at most 100 characters"]),
        (lambda c: c["data"].update(classes="{x}.csv"), ["data.classes", "without braces"]),
        (lambda c: c.update(downloads="x/{a}"), ["downloads", "without braces"]),
        (lambda c: c["models"].update(icon_cnn="{x}.json"), ["models.icon_cnn", "without braces"]),
    ],
)
def test_what_no_file_or_table_could_hold_is_one_line(smoke_config, root, change, words):
    altered = copy.deepcopy(smoke_config)
    change(altered)
    with pytest.raises(ConfigError) as caught:
        plan_study(load_config(altered), root)
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words), message


def test_runs_of_long_names_have_short_ones_that_differ():
    long = "x" * 100
    grid = {"objective": "cross_entropy", "source": long, "train_images": [1, 2], "model": "y" * 100}
    runs = plan_runs([grid], [0, 1], "m", 10, {})
    assert len({run.run for run in runs}) == 4 and all(len(run.run) <= LONGEST_NAME for run in runs)
    assert all(run.source == long for run in runs)
