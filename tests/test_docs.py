"""The parts of the docs that are made from tables in code are up to date, and what docs name exists."""

import csv
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from tools import write_docs


def test_the_docs_are_those_that_the_tables_make(root):
    pages = write_docs.pages()
    assert {path.relative_to(root).as_posix() for path in pages} >= {"README.md", "docs/config.md", "docs/own-data.md"}
    for path, text in pages.items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run python -m tools.write_docs"


def test_no_cell_of_a_table_is_empty():
    page = write_docs.config_page()
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert len(rows) > 200
    assert all(cell.strip() for row in rows for cell in row.replace("\\|", "").strip("|").split("|"))
    with pytest.raises(ValueError, match="is empty"):
        write_docs.table(["a", "b"], [("x", " ")])


def test_every_setting_of_the_default_study_has_a_row(config):
    page = write_docs.config_page()

    def keys(node, prefix=""):
        for name, value in node.items():
            yield f"{prefix}{name}"
            if isinstance(value, dict):
                yield from keys(value, f"{prefix}{name}.")

    for section in ("study", "data", "training", "baseline", "intervals", "figures"):
        for key in keys({section: config[section]}):
            if not key.startswith("baseline.standard."):
                assert f"| `{key}` |" in page, key


def test_an_unknown_marker_is_an_error():
    with pytest.raises(KeyError):
        write_docs.filled("<!-- made by python -m tools.write_docs: nothing -->\n<!-- end -->")


# Names that docs may give without a file: a worked example makes this one.
MADE_UP = {"data/readers/named_files.py"}
FOLDERS = ("src", "tests", "tools", "workflow", "docs", "config", "resources", "envs", "profiles", "benchmarks")
CODE = ("src", "tests", "tools", "workflow", "benchmarks")


def named(page: str) -> set[str]:
    """Return what a page writes as code within a line: words of paths and dotted names."""
    outside_of_blocks = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    return {word for span in re.findall(r"`([^`\n]+)`", outside_of_blocks) for word in re.findall(r"[\w./*-]+", span)}


def missing_paths(root: Path, names: Iterable[str]) -> list[str]:
    """Return the names that are paths of the repository or code files, and that no file has."""
    missing = []
    for name in names:
        of_code = re.fullmatch(r"[\w/]+\.(py|smk)", name) and not any(
            found.as_posix().endswith(f"/{name}") for folder in CODE for found in (root / folder).rglob(Path(name).name)
        )
        of_folder = name.startswith(tuple(f"{folder}/" for folder in FOLDERS)) and not any(root.glob(name))
        if (of_code or of_folder) and name not in MADE_UP:
            missing.append(name)
    return missing


def missing_modules(root: Path, names: Iterable[str]) -> list[str]:
    """Return the dotted names of ``whyrobust`` of which there is no module, or that their module does not define."""
    missing = []
    for name in names:
        if not re.fullmatch(r"whyrobust(\.\w+)+", name):
            continue
        parts = name.split(".")
        paths = [root.joinpath("src", *parts[:length]) for length in range(len(parts), 0, -1)]
        rest, module = next(
            (parts[len(path.relative_to(root / "src").parts) :], file)
            for path in paths
            for file in (path.with_suffix(".py"), path / "__init__.py")
            if file.exists()
        )
        text = module.read_text(encoding="utf-8")
        if not all(re.search(rf"^\s*(def|class) {part}\b|^{part}\b", text, re.MULTILINE) for part in rest):
            missing.append(name)
    return missing


def test_paths_and_modules_that_the_docs_name_exist(root):
    """But not in README.md of resources/ and resources/reference/, which name files of other repositories."""
    pages = [root / "README.md", *(root / "docs").rglob("*.md"), *root.glob("*/README.md")]
    pages += (root / "resources").glob("i*/README.md")
    for page in pages:
        if page == root / "resources" / "README.md":
            continue
        names = named(page.read_text(encoding="utf-8"))
        assert missing_paths(root, names) == [], page.relative_to(root)
        assert missing_modules(root, names) == [], page.relative_to(root)


def test_the_readme_counts_the_icon_sets_and_teams_that_the_study_uses(root):
    with (root / "resources" / "icons" / "sets.csv").open(encoding="utf-8", newline="") as file:
        used = [row for row in csv.DictReader(file) if row["part"] != "excluded"]
    counted = f"{len(used)} icon sets by {len({row['team'] for row in used})} teams"
    assert counted in " ".join((root / "README.md").read_text(encoding="utf-8").split())


def test_a_path_or_module_that_is_gone_is_found(root):
    names = named("`tests/test_gone.py`, `test_gone.py`, `study/plan.py`, `whyrobust.study.plan.gone`, `config/*.yaml`")
    assert sorted(missing_paths(root, names)) == ["test_gone.py", "tests/test_gone.py"]
    assert missing_modules(root, names) == ["whyrobust.study.plan.gone"]
    assert missing_modules(root, ["whyrobust.gone", "whyrobust.study.plan.Head"]) == ["whyrobust.gone"]
    assert missing_paths(root, MADE_UP) == []


def test_numbers_reported_by_the_paper_are_in_its_table_with_where_they_were_read(root):
    with (root / "resources" / "reference" / "fang2022.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    text = (root / "docs" / "paper-study.md").read_text(encoding="utf-8")
    table = text[text.index("## The paper's experiments") : text.index("## The affordable form")]
    assert len(rows) >= 9
    for row in rows:
        assert row["verified"] in ("primary", "secondary") and "github.com/" in row["source"], row
        assert f"{float(row['value']):,.10g}" in table, row
