"""Make the README's screenshots of a report page: ``python -m tools.take_picture <report.html> <folder>``.

``report_answer.png`` shows what each main comparison changed, ``report_explorer.png`` the explorer of effective
robustness.
"""

import argparse
from pathlib import Path

from playwright.sync_api import FloatRect, sync_playwright

from tools.browser import find_browser

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path, help="the page")
    parser.add_argument("folder", type=Path, help="where the pictures go")
    named = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        page.goto(named.report.resolve().as_uri())
        # A chart is drawn when it comes near.
        height = page.evaluate("document.documentElement.scrollHeight")
        for top in range(0, height, 600):
            page.evaluate(f"scrollTo(0, {top})")
            page.wait_for_timeout(100)
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_timeout(1000)
        page.wait_for_selector("html[data-charts=drawn]", timeout=120_000)
        start, end = (
            page.locator(part).first.evaluate(f"part => part.getBoundingClientRect().{side} + scrollY")
            for part, side in (("#answer", "top"), ("#answer .grid", "bottom"))
        )
        clip: FloatRect = {"x": 0, "y": start, "width": 1280, "height": end - start}
        page.screenshot(path=named.folder / "report_answer.png", full_page=True, clip=clip, timeout=120_000)
        start, end = (
            page.locator(part).evaluate(f"part => part.getBoundingClientRect().{side} + scrollY")
            for part, side in (("#robustness", "top"), ("#robustness figure >> nth=1", "bottom"))
        )
        clip = {"x": 0, "y": start, "width": 1280, "height": end - start}
        page.screenshot(path=named.folder / "report_explorer.png", full_page=True, clip=clip, timeout=120_000)
        browser.close()
