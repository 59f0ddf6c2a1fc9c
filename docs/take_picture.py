"""Take the README's picture of a report page: ``python docs/take_picture.py <report.html> <picture.png>``."""

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path, help="the page")
    parser.add_argument("picture", type=Path, help="the PNG to write")
    named = parser.parse_args()
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        raise SystemExit(f"none of {', '.join(BROWSERS)} is there: install one of them")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        page.goto(named.report.resolve().as_uri())
        page.wait_for_selector("html[data-charts=drawn]", timeout=120_000)
        # From the headline to the end of the panels of effective robustness.
        end = page.locator("#robustness").evaluate("part => part.getBoundingClientRect().bottom + scrollY")
        clip = {"x": 0, "y": 0, "width": 1280, "height": end}
        page.screenshot(path=str(named.picture), full_page=True, clip=clip)
        browser.close()
