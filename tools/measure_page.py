"""Measure a report page in a browser: `python -m tools.measure_page results/icons/report.html`.

Prints its bytes, its elements, and after how many seconds the charts in sight, and then all charts, are drawn, at a
width of 1,280 pixels. Times are of this machine as busy as it is.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tools.browser import ALL_DRAWN, DRAW_ALL, find_browser

COUNT: Final = "document.querySelectorAll('*').length"


def measure_page(path: Path) -> Mapping[str, str]:
    """Return what is measured, as text by name.

    Args:
        path: of the page.

    Raises:
        SystemExit: there is no such file, or no browser.
    """
    from playwright.sync_api import sync_playwright

    if not path.is_file():
        raise SystemExit(f"{path} is no file: give the report page of a finished study, results/<study>/report.html")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
        page = opened.new_page(viewport={"width": 1280, "height": 1000})
        started = time.perf_counter()
        page.goto(path.resolve().as_uri())
        page.wait_for_selector("html[data-charts=drawn]")
        first, elements = time.perf_counter() - started, page.evaluate(COUNT)
        page.evaluate(DRAW_ALL)
        page.wait_for_function(ALL_DRAWN)
        all_charts = time.perf_counter() - started
        at_end = page.evaluate(COUNT)
        opened.close()
    return {
        "bytes": f"{path.stat().st_size:,}",
        "elements at the start": f"{elements:,}",
        "elements with every chart": f"{at_end:,}",
        "seconds to the charts in sight": f"{first:.2f}",
        "seconds to all charts": f"{all_charts:.2f}",
    }


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, help="the page")
    for name, value in measure_page(parser.parse_args().page).items():
        print(f"{name:32}{value:>12}")


if __name__ == "__main__":
    main()
