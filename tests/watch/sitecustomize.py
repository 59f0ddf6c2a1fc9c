"""Put first on the path of the processes of a study: writes down every address that is asked for or connected to.

Addresses of this machine itself are left out: processes of one study talk to each other by them.
"""

import os
import sys


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if event not in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "socket.sendto"):
        return
    place = arguments[0] if event.startswith("socket.get") else arguments[1]
    name = str(place[0] if isinstance(place, tuple) and place else place)
    # A path is a socket of this machine too.
    if name.startswith(("127.", "::1", "localhost", "/", "b'")) or name in ("", "None"):
        return
    with open(os.environ["WHYROBUST_WATCH"], "a", encoding="utf-8") as file:  # noqa: PTH123 - must import nothing
        file.write(f"{event} {place} in {' '.join(sys.argv)[:200]}\n")


if "WHYROBUST_WATCH" in os.environ:
    sys.addaudithook(_watch)
