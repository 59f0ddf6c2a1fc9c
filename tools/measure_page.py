"""Measure a report page in a browser: `python -m tools.measure_page results/icons/report.html`.

Prints its bytes, its elements, the seconds until it answers with all in sight drawn, until the first chart is drawn
when the reader goes there at once, and until all charts are, at a width of 1,280 pixels; then the sheets of A4 that it
takes on paper, and how many of its letters have less than 8 points there. Times are of this machine as busy as it is;
those of the processor are the page's main thread alone, and depend less on what else runs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tools.browser import ALL_DRAWN, DRAW_ALL, SMALL_LETTERS, count_sheets, find_browser

if TYPE_CHECKING:
    from playwright.sync_api import CDPSession, Page

COUNT: Final = "document.querySelectorAll('*').length"
DRAWN: Final = "html[data-charts=drawn]"


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
        figures = {"bytes": f"{path.stat().st_size:,}"} | _measure_screen(page, path.resolve().as_uri())
        figures |= _measure_paper(page)
        opened.close()
    return figures


def _measure_screen(page: Page, address: str) -> dict[str, str]:
    """Open a page and return its elements and the times until it is drawn."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    started = time.perf_counter()
    page.goto(address)
    page.wait_for_selector(DRAWN)
    figures = {
        "seconds until it answers": f"{time.perf_counter() - started:.2f}",
        "of them of the processor": f"{_processor_seconds(session):.2f}",
        "elements at the start": f"{page.evaluate(COUNT):,}",
    }
    first = page.locator("[data-spec]").first
    if first.count():
        first.evaluate("chart => chart.scrollIntoView({ behavior: 'instant' })")
        first.locator("svg.marks").wait_for()
        figures["seconds to the first chart"] = f"{time.perf_counter() - started:.2f}"
        figures["its seconds of the processor"] = f"{_processor_seconds(session):.2f}"
    page.evaluate(DRAW_ALL)
    page.wait_for_function(ALL_DRAWN)
    return figures | {
        "seconds to all charts": f"{time.perf_counter() - started:.2f}",
        "their seconds of the processor": f"{_processor_seconds(session):.2f}",
        "elements with every chart": f"{page.evaluate(COUNT):,}",
    }


def _processor_seconds(session: CDPSession) -> float:
    """Return the processor's time of the page's main thread so far, in seconds."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float(next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration"))


def _measure_paper(page: Page) -> dict[str, str]:
    """Return what an opened page takes on paper."""
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.wait_for_function(ALL_DRAWN)
    small = page.evaluate(SMALL_LETTERS)
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    sheets = count_sheets(page.pdf(prefer_css_page_size=True))
    return {"sheets of A4 on paper": f"{sheets}", "letters below 8 points there": f"{len(small)}"}


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, help="the page")
    for name, value in measure_page(parser.parse_args().page).items():
        print(f"{name:32}{value:>12}")


if __name__ == "__main__":
    main()
