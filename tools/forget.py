"""Empty the folder of finished work that studies share, by age.

    python -m tools.forget --days 30

What a study has taken or made within so many days stays. No study needs what is removed: it is made again.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from whyrobust.study.finished_work import VARIABLE, chosen_folder, forget, size_of, spell_size


def main() -> None:
    """Read the command line, remove and say what."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=float, default=30, help="what was used within so many days stays (30)")
    parser.add_argument("--folder", help="if a config names it; otherwise that of the environment, or the user's")
    given = parser.parse_args()
    folder = chosen_folder({} if given.folder else os.environ, given.folder, Path.cwd())
    if folder is None:
        sys.exit(f"There is no folder of finished work: {VARIABLE} is {os.environ.get(VARIABLE, 'not set')}")
    gone = spell_size(*forget(folder, given.days))
    print(
        f"Forgotten in {folder}: the work {gone}, that no study has used for {given.days:g} days. "
        f"Kept: {spell_size(*size_of(folder))}"
    )


if __name__ == "__main__":
    main()
