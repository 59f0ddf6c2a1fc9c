"""The browser that report pages are opened in, by tools and tests."""

from __future__ import annotations

import shutil
from typing import Final

BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

#: Has a page draw all its charts as for print, also those that are left out there.
DRAW_ALL: Final = """() => {
    const left = [...document.querySelectorAll(".off-paper:has([data-spec])")];
    left.forEach((place) => place.classList.remove("off-paper"));
    ["beforeprint", "afterprint"].forEach((name) => dispatchEvent(new Event(name)));
    left.forEach((place) => place.classList.add("off-paper"));
}"""

#: Whether all charts of a page are drawn.
ALL_DRAWN: Final = (
    "[...document.querySelectorAll('[data-spec]')].every(c => !c.offsetParent || c.dataset.drawn === 'done')"
)


def find_browser() -> str:
    """Return the path of a browser.

    Raises:
        SystemExit: there is none; the message says how to get one.
    """
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise SystemExit(f"none of {', '.join(BROWSERS)} is there: `make browser` installs Debian's chromium")
    return found
