"""Make the README's screenshots of a report page: ``python docs/take_picture.py <report.html> <folder>``.

``report_answer.png`` shows the answer, ``report_explorer.png`` the explorer of effective robustness.
"""

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import FloatRect, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path, help="the page")
    parser.add_argument("folder", type=Path, help="where the pictures go")
    named = parser.parse_args()
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        raise SystemExit(f"no browser found ({', '.join(BROWSERS)}): install one, for example with `make browser`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        page.goto(named.report.resolve().as_uri())
        page.wait_for_selector("html[data-charts=drawn]", timeout=120_000)
        end = page.locator(".overview").evaluate("part => part.getBoundingClientRect().bottom + scrollY")
        clip: FloatRect = {"x": 0, "y": 0, "width": 1280, "height": end}
        page.screenshot(path=named.folder / "report_answer.png", full_page=True, clip=clip)
        page.locator("#robustness").screenshot(path=named.folder / "report_explorer.png")
        browser.close()
