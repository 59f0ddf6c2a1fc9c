"""Hostile drawings: nothing is read or fetched, time and memory are bounded, one of them costs itself alone."""

from __future__ import annotations

import contextlib
import http.server
import os
import signal
import threading
import time

import pandas as pd
import psutil
import pytest

import whyrobust.data.icon_drawing
from whyrobust.data.icon_drawing import draw_icons
from whyrobust.data.svg import DrawingError, draw_svg
from whyrobust.data.worker_pool import CHUNKS_AHEAD, Death, IsolationError, map_isolated

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 24 24">'
SQUARE = '<rect width="12" height="12"/>'


def svg(body):
    return f"{HEAD}{body}</svg>"


def masks(depth):
    """Each mask is drawn through the one before twice: the work doubles with every one."""
    return "".join(
        f'<mask id="m{n}"><rect width="9" height="9" mask="url(#m{n - 1})"/><rect width="9" height="9" '
        f'mask="url(#m{n - 1})"/></mask>'
        for n in range(1, depth)
    )


def copies(depth):
    """Each group holds ten copies of the one before."""
    return "".join(f'<g id="a{n}">' + f'<use xlink:href="#a{n - 1}"/>' * 10 + "</g>" for n in range(1, depth))


#: Drawings that hang the drawing library, abort it, or take memory without end.
DEADLY = {
    "noise without end": svg('<filter id="f"><feTurbulence baseFrequency="0.9" numOctaves="1000000000"/></filter>'
                             '<rect width="24" height="24" filter="url(#f)"/>'),
    "a pattern of gigapixels": svg('<pattern id="p" width="100000" height="100000" patternUnits="userSpaceOnUse" '
                                   'patternTransform="scale(1000)"><rect width="1" height="1"/></pattern>'
                                   '<rect width="24" height="24" fill="url(#p)"/>'),
    "masks in masks": svg(masks(26) + '<rect width="24" height="24" mask="url(#m25)"/>'),
}  # fmt: skip

#: Drawings that look dangerous and are drawn or refused at once.
HARMLESS = {
    "copies of copies": svg(copies(9)),
    "a copy of itself": svg(f'<g id="a"><use xlink:href="#a"/>{SQUARE}</g>'),
    "a pattern of nothing": svg('<pattern id="p" width="0.00001" height="0.00001" patternUnits="userSpaceOnUse">'
                                '<rect width="1" height="1"/></pattern><rect width="24" height="24" fill="url(#p)"/>'),
    "a pattern of itself": svg('<pattern id="p" width="1" height="1"><path d="M0 0h1v1" fill="url(#p)"/></pattern>'
                               '<rect width="24" height="24" fill="url(#p)"/>'),
    "a blur of 100,000": svg('<filter id="f" x="-1000" y="-1000" width="100000" height="100000"><feGaussianBlur '
                             'stdDeviation="100000"/></filter><rect width="24" height="24" filter="url(#f)"/>'),
    "numbers beyond all": svg('<path d="M0 0L1e38 1e38L-1e39 1e400z" stroke="black"/>'),
    "dashes of nothing": svg('<path d="M0 0L1000000 24" stroke="black" stroke-dasharray="0.0000001"/>'),
    "a box of nothing": HEAD.replace("0 0 24 24", "0 0 0 0") + SQUARE + "</svg>",
    "a script": svg(SQUARE + "<script>while(true){}</script>"),
    "five megabytes of attribute": svg(f'<rect width="9" height="9" class="{"a" * 5_000_000}"/>'),
}  # fmt: skip


@pytest.mark.parametrize("name", list(HARMLESS))
def test_a_drawing_takes_no_more_than_seconds(name):
    began = time.process_time()
    try:
        assert draw_svg(HARMLESS[name], 32).shape == (32, 32, 3)
    except DrawingError as error:
        assert "\n" not in str(error)
    assert time.process_time() - began < 5


def test_deadly_drawings_are_left_out_with_a_reason_and_the_others_drawn(monkeypatch):
    monkeypatch.setattr(whyrobust.data.icon_drawing, "DRAWING_SECONDS", 1.5)
    good = [(f"good {number}", svg(SQUARE)) for number in range(300)]
    rows = [*good[:10], *DEADLY.items(), *good[10:]]
    kept, pixels, failures = draw_icons(pd.DataFrame(rows, columns=["uid", "svg"]), 16, workers=2)
    assert kept == [uid for uid, _ in good]
    assert (pixels == pixels[0]).all() and pixels[0].min() == 0
    assert failures["uid"].tolist() == list(DEADLY)
    assert failures["reason"].str.contains(r"processor time|dies of it|cannot be drawn").all()


ENTITIES = "<!DOCTYPE svg [<!ENTITY a 'aaaaaaaaaa'>" + "".join(
    f"<!ENTITY {chr(98 + n)} '" + f"&{chr(97 + n)};" * 10 + "'>" for n in range(9)
)


@pytest.mark.parametrize(
    "document",
    [
        ENTITIES + f"]>{svg('<desc>&j;</desc>' + SQUARE)}",
        '<!DOCTYPE svg [<!ENTITY x SYSTEM "PLACE">]>' + svg("<desc>&x;</desc>" + SQUARE),
        '<!DOCTYPE svg SYSTEM "PLACE" [<!ENTITY % x SYSTEM "PLACE">%x;]>' + svg(SQUARE),
    ],
)
def test_entities_are_refused(document):
    with pytest.raises(DrawingError, match="DOCTYPE"):
        draw_svg(document, 16)


@pytest.mark.parametrize(
    "document",
    [
        svg(
            '<style>@import url("PLACE");@font-face{font-family:x;src:url(PLACE)}rect{fill:url(PLACE#a)}</style>'
            + SQUARE
        ),
        svg('<rect width="9" height="9" fill="url(PLACE#a)"/>'),
        svg('<rect width="9" height="9" style="mask:url(PLACE#m);filter:url(PLACE#f)"/>'),
        svg('<filter id="f"><feImage href="PLACE"/></filter><rect width="9" height="9" filter="url(#f)"/>'),
        svg('<image width="9" height="9" xlink:href="PLACE"/>' + SQUARE),
        svg('<use href="PLACE#a"/>' + SQUARE),
        svg('<linearGradient id="g" href="PLACE#g"/><rect width="9" height="9" fill="url(#g)"/>'),
        svg('<script href="PLACE"/>' + SQUARE),
        svg('<a xmlns:x="http://www.w3.org/1999/xlink" x:href="PLACE">' + SQUARE + "</a>"),
        '<?xml-stylesheet type="text/css" href="PLACE"?>' + svg(SQUARE),
        '<!DOCTYPE svg SYSTEM "PLACE">' + svg("<desc>&x;</desc>" + SQUARE),
        HEAD.replace("viewBox", 'xml:base="PLACE" viewBox') + SQUARE + "</svg>",
    ],
)
def test_nothing_is_opened_and_nothing_is_fetched(tmp_path, document):
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # A pipe that nobody writes to: who opens it to read waits for ever.
    os.mkfifo(tmp_path / "secret.svg")
    places = [f"http://127.0.0.1:{server.server_address[1]}/x.svg", str(tmp_path / "secret.svg"),
              f"file://{tmp_path}/secret.svg"]  # fmt: skip
    finished = []

    def draw_all():
        for place in places:
            with contextlib.suppress(DrawingError):
                draw_svg(document.replace("PLACE", place), 16)
            finished.append(place)

    drawing = threading.Thread(target=draw_all, daemon=True)
    drawing.start()
    drawing.join(20)
    server.shutdown()
    server.server_close()
    assert finished == places and asked == []


# --- Processes that die ----------------------------------------------------------------------------------------------


def act(item):
    """Work of a process: what the item says."""
    if item == "hang":
        while True:
            pass
    if item == "memory":
        return len(bytearray(2**33))
    if item == "abort":
        os.abort()
    if item == "raise":
        raise KeyError("told to")
    if isinstance(item, str) and item.startswith("killed"):
        # Killed from outside until a file says that it was.
        name = item.removeprefix("killed ")
        if not os.path.exists(name):  # noqa: PTH110 - a text travels between processes
            with open(name, "w"):  # noqa: PTH123
                pass
            os.kill(os.getpid(), signal.SIGKILL)
    if item == "always killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "sleep":
        time.sleep(0.5)
    return item


def mapped(items, workers, **options):
    return [result for chunk in map_isolated(act, items, workers, **options) for result in chunk]


@pytest.mark.parametrize(("workers", "chunk"), [(1, 4), (3, 4), (1, 80)])
def test_each_item_has_its_result_or_the_reason_of_its_death(tmp_path, workers, chunk):
    # In a chunk of 80 they come after a message was sent, and in the middle of the next.
    items = [*range(40), "hang", 41, "abort", f"killed {tmp_path}/was", *range(44, 90)]
    found = mapped(items, workers, chunk=chunk, cpu_seconds=0.7)
    deaths = {40: "processor time", 42: "SIGABRT"}
    for number, (item, result) in enumerate(zip(items, found, strict=True)):
        if number in deaths:
            assert isinstance(result, Death) and deaths[number] in result.reason
        else:
            assert result == item


def test_inputs_are_taken_a_few_chunks_ahead_so_that_memory_stays_bounded():
    taken = []
    results = map_isolated(act, (taken.append(item) or item for item in range(100)), 2, chunk=5)
    for number, chunk in enumerate(results):
        assert chunk == list(range(5 * number, 5 * number + 5))
        assert len(taken) <= 5 * (number + 2 * CHUNKS_AHEAD)
    assert taken == list(range(100))


def test_what_is_raised_comes_out_and_what_is_killed_again_and_again_stops():
    with pytest.raises(KeyError, match="told to"):
        mapped([1, "raise"], 2)
    with pytest.raises(MemoryError):
        mapped(["memory"], 1, memory_bytes=2**30)
    with pytest.raises(IsolationError, match=r"3 times at always killed .*want of memory"):
        mapped([1, "always killed"], 1)
    assert mapped([], 2) == []


def test_a_worker_that_a_user_kills_changes_nothing_and_none_is_left_over():
    items = ["sleep"] * 6 + list(range(20))
    results = map_isolated(act, items, 2, chunk=2)
    found = list(next(results))
    children = psutil.Process().children(recursive=True)
    for child in children:
        if "spawn_main" in " ".join(child.cmdline()):
            child.send_signal(signal.SIGTERM)
    for chunk in results:
        found += chunk
    assert found == items
    gone, alive = psutil.wait_procs(children, timeout=5)
    assert not [child for child in alive if "spawn_main" in " ".join(child.cmdline())]
    assert gone
