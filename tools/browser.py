"""The browser that report pages are opened in, by tools and tests."""

from __future__ import annotations

import re
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

#: Letters of less than 8 points on a page that is laid out for paper: their points, and the element that they are in.
#: Of charts as they are drawn; letters that are marks or hidden have no width.
SMALL_LETTERS: Final = """() => {
    const all = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
    for (let text; (text = all.nextNode());) {
        const place = text.parentElement, box = place.getBoundingClientRect();
        if (!text.data.trim() || !box.width || place.closest("script, style, .hidden, noscript")) continue;
        const matrix = place.closest("svg") ? place.getScreenCTM() : { b: 0, d: 1 };
        const points = 0.75 * parseFloat(getComputedStyle(place).fontSize) * Math.hypot(matrix.b, matrix.d);
        if (points < 7.99) found.push([points, place.outerHTML.slice(0, 100)]);
    }
    return found;
}"""


def count_sheets(pdf: bytes) -> int:
    """Return the number of sheets of a PDF that a browser printed."""
    return len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf))


def find_browser() -> str:
    """Return the path of a browser.

    Raises:
        SystemExit: there is none; the message says how to get one.
    """
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise SystemExit(f"none of {', '.join(BROWSERS)} is there: `make browser` installs Debian's chromium")
    return found
