"""A server of pictures that stalls, cuts, fails and lies, as the web does."""

from __future__ import annotations

import http.server
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: Seconds between the bytes of an answer that never ends.
DRIP_SECONDS = 0.2


@contextmanager
def serve_faults(folder: Path, port: int = 0) -> Iterator[str]:
    """Serve a folder and yield the server's address.

    The address says what goes wrong. Nothing: ``/ok/<file>``. The first n requests, by an error of the server, half of
    the bytes, or a byte now and then without end: ``/fails/<n>/<file>``, ``/cut/<n>/<file>``, ``/stall/<n>/<file>``.
    Every request: ``/short/<file>``, half a picture that claims to be whole; ``/page/<file>``, a web page;
    ``/gone/<file>``.
    """
    asked: Counter[str] = Counter()
    stopped = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, *rest = self.path.strip("/").split("/")
            asked[self.path] += 1
            wrong = kind in ("fails", "cut", "stall") and asked[self.path] <= int(rest[0])
            content = (folder / rest[-1]).read_bytes()
            if kind == "gone" or (kind == "fails" and wrong):
                self.send_error(404 if kind == "gone" else 503)
                return
            if kind in ("page", "short"):
                content = b"<html>log in first</html>" if kind == "page" else content[: len(content) // 2]
            self.send_response(200)
            self.send_header("Content-Type", "image/jpeg")
            drips = kind == "stall" and wrong
            self.send_header("Content-Length", str(10**9 if drips else len(content)))
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(content[: len(content) // 2] if wrong else content)
                while drips and not stopped.wait(DRIP_SECONDS):
                    self.wfile.write(b"x")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            stopped.set()
            server.shutdown()
            thread.join()
