"""The parts of the docs that are made from tables in code are up to date, and no cell of them is empty."""

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
