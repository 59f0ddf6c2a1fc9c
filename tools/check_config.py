"""Check a config from elsewhere before Snakemake reads it: what it asks for, or one line that says what is wrong.

    python -m tools.check_config my-study.yaml

A config is trusted like code: Snakemake runs Python that it holds before the workflow can refuse it. This command reads
values only. Paths start from the folder that it is called in, as those of a study do.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from whyrobust.study.config_file import read_config_file
from whyrobust.study.setting_checks import ConfigError
from whyrobust.study.study import Study


def check(config: Path, root: Path) -> str:
    """Return in one line what a config asks for.

    Raises:
        ConfigError: it cannot be carried out; the message is one line.
    """
    study = Study.load(read_config_file(config), root, Path(__file__).parent.parent)
    return (
        f"{config} is valid: study '{study.name}' trains {len(study.trained):,} models on {len(study.sources)} sources "
        f"and evaluates {len(study.evaluated):,} on {len(study.test_sets)} test sets"
    )


def main() -> None:
    """Read the command line and print the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    try:
        print(check(parser.parse_args().config, Path.cwd()))
    except ConfigError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
