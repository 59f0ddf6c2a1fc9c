"""Write the conda environments of the rules from the locks: `make lock` calls this after pinning.

Snakemake copies an environment's file to another folder before conda reads it, so that nothing in it may point to a
file beside it: the pins stand in it one by one, and a script that runs after installs the workflow's own package.
"""

from __future__ import annotations

from pathlib import Path

from packaging.requirements import Requirement

FOLDER = Path(__file__).parent

#: Packages of the lock that only a GPU needs: torch for CUDA brings them, torch for CPUs does not.
ONLY_FOR_CUDA = ("cuda-", "nvidia-", "triton")

#: Environment -> the lock it is made of, whether for CUDA, and what it is for.
ENVIRONMENTS = {
    "whyrobust-cpu": ("requirements.txt", False, "The rules that use no GPU; all where `training.device` is cpu."),
    "whyrobust-cuda": ("requirements.txt", True, "The rules that use a GPU: train_run, embed_test_sets, fit_heads."),
    "img2dataset": ("img2dataset.txt", True, "The rule fetch_pairs: img2dataset and what it needs."),
}  # fmt: skip

HEAD = """\
# {purpose}
# Made from envs/{lock} by `make lock`: not to be edited.
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python=3.11
  - pip
  - pip:
"""

#: The repository's place is told by workflow/rules/common.smk.
AFTER = """\
#!/bin/sh
# Run by Snakemake in the new environment. Made by `make lock`: not to be edited.
exec python -m pip install --no-deps --no-build-isolation --editable "$WHYROBUST_REPOSITORY"
"""


def pins(lock: Path) -> list[Requirement]:
    """Return what a lock pins, without its hashes, in its order."""
    lines = [line.split("\\")[0].strip() for line in lock.read_text(encoding="utf-8").splitlines()]
    return [Requirement(line) for line in lines if line and line[0] not in "#-"]


def environment(purpose: str, lock: Path, cuda: bool) -> str:
    """Return the text of an environment's file.

    Args:
        purpose: what its first line says.
        lock: file of pinned requirements.
        cuda: with what only a GPU needs.
    """
    kept = [pin for pin in pins(lock) if cuda or not pin.name.startswith(ONLY_FOR_CUDA)]
    return HEAD.format(purpose=purpose, lock=lock.name) + "".join(f"      - '{pin}'\n" for pin in kept)


def main() -> None:
    """Write all environments."""
    for name, (lock, cuda, purpose) in ENVIRONMENTS.items():
        (FOLDER / f"{name}.yaml").write_text(environment(purpose, FOLDER / lock, cuda), encoding="utf-8")
        (FOLDER / f"{name}.post-deploy.sh").write_text(AFTER, encoding="utf-8")


if __name__ == "__main__":
    main()
