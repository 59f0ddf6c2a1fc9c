"""Compare two finished studies: `python -m tools.compare_studies results/icons results/icons_seeds_5`.

Writes one page: the causes side by side, what differs in configs and versions, and the models of both in one explorer.
It stands beside the first study's folder, or in ``results`` where that is not below the working directory, and is
called ``<first>-and-<second>.html``; or it is where ``--output`` says.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from whyrobust.files import read_csv, write_text
from whyrobust.report.compare_page import ComparedStudy, render_comparison
from whyrobust.report.result_card import check_tables, read_card


def read_studies(first: Path, second: Path) -> tuple[ComparedStudy, ComparedStudy]:
    """Read two studies; they go by their names, or by their folders where these are the same.

    Args:
        first: folder of results.
        second: the same of the other study.

    Raises:
        SystemExit: a folder is no finished study or has changed since its card was written, or both are the same.
    """
    folders = (first, second)
    if first.resolve() == second.resolve():
        raise SystemExit(f"{first} and {second} are one folder: give the results of two studies")
    try:
        cards = [read_card(folder) for folder in folders]
        for folder, card in zip(folders, cards, strict=True):
            check_tables(folder, card)
        same = len({str(card["study"]) for card in cards}) == 1
        one, other = (
            ComparedStudy(
                str(folder if same else card["study"]),
                card,
                read_csv(folder / "effective_robustness.csv"),
                read_csv(folder / "runs.csv"),
            )
            for folder, card in zip(folders, cards, strict=True)
        )
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from error
    return one, other


def page_of(first: Path, second: Path) -> Path:
    """Return where the page of two folders of results goes: nothing is written into folders of others."""
    below = first.resolve().is_relative_to(Path.cwd().resolve())
    return (first.parent if below else Path("results")) / f"{first.name}-and-{second.name}.html"


def main() -> None:
    """Read the command line and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path, help="folder of results of a finished study")
    parser.add_argument("second", type=Path, help="the same of another")
    parser.add_argument("--output", type=Path, help="the page that is written")
    given = parser.parse_args()
    first, second = read_studies(given.first, given.second)
    page = given.output or page_of(given.first, given.second)
    write_text(page, render_comparison(first, second))
    print(f"Comparison: {page}")


if __name__ == "__main__":
    main()
