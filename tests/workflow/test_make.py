"""What the Makefile hands on: names of configs and folders reach the commands whole, whatever is in them."""

from __future__ import annotations

import subprocess
import sys

import pytest

ODD = "quo ted's $HOME.yaml"


@pytest.fixture
def call(root, tmp_path):
    """Return a call of make that returns the arguments of the command it would run, a line each."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "study-installed").touch()
    for name in ("python", "snakemake"):
        (tmp_path / "bin" / name).write_text(f"#!{sys.executable}\nimport sys\nprint(*sys.argv[1:], sep='\\n')\n")
        (tmp_path / "bin" / name).chmod(0o755)

    def make(*words):
        given = [word.replace("$", "$$") for word in words]
        command = ["make", "--silent", "-C", root, f"VENV={tmp_path}", *given]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return make


@pytest.mark.parametrize("target", ["describe", "peek", "estimate"])
def test_the_name_of_a_config_may_hold_blanks_and_quotes(call, target, tmp_path):
    config = tmp_path / ODD
    config.touch()
    assert str(config) in call(target, f"CONFIG={config}")
    assert "--configfile" not in call(target)


def test_a_config_that_is_not_there_is_one_line_before_snakemake_starts(call):
    with pytest.raises(AssertionError, match=r"nowhere\.yaml: there is no such file"):
        call("describe", "CONFIG=nowhere.yaml")


def test_folders_that_are_compared_may_hold_blanks_and_quotes(call):
    assert call("compare", f"A={ODD}", "B=other results")[-2:] == [ODD, "other results"]
    assert call("compare", "A=a", "B=b", "OUTPUT=my page.html")[-3:] == ["b", "--output", "my page.html"]


def test_published_says_where_its_page_is(call):
    assert call("published")[-1] == "Page: results/published/report.html"


def test_an_estimate_is_told_what_only_its_user_knows(call):
    told = call("estimate", "IMAGES=test=5 other=7", "PROFILE=my profile")
    assert told[-3:] == ["--images", "test=5", "other=7"] and "my profile" in told and "config.yaml" in told
