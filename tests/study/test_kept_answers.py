"""Answers are kept for the next start of Snakemake, and nothing depends on their file."""

import sys

import pytest

from whyrobust.study import kept_answers
from whyrobust.study.kept_answers import KeptAnswers


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    return tmp_path / "cache" / "answers.json"


def ask(path, *questions, maker="a"):
    """Return which questions had to be answered anew by one start."""
    answers, found = KeptAnswers(path, maker), []
    for question in questions:
        assert answers.answer(question, lambda asked=question: found.append(asked) or [asked]) == [question]
    answers.save()
    return found


def test_an_answer_is_found_once(path):
    assert ask(path, "x", "y", "x") == ["x", "y"]
    assert ask(path, "y", "z") == ["z"]
    assert ask(path, "x", "y", "z") == []


def test_another_maker_and_a_damaged_file_know_nothing(path):
    ask(path, "x")
    assert ask(path, "x", maker="b") == ["x"]
    for text in (path.read_text()[:-9], "", "[]", '{"maker": "a"}', '{"maker": "a", "answers": 1}'):
        path.write_text(text)
        assert ask(path, "x") == ["x"]
    assert ask(path, "x") == []


def test_answers_that_were_used_stay_and_others_fill_the_rest(path, monkeypatch):
    monkeypatch.setattr(kept_answers, "MOST", 2)
    ask(path, "old", "used")
    ask(path, "used", "new")
    assert ask(path, "used", "new") == []
    assert ask(path, "old") == ["old"]


def test_a_folder_that_cannot_be_written_and_a_python_that_keeps_nothing_are_no_errors(path, monkeypatch):
    path.parent.write_text("no folder")
    assert ask(path, "x") == ["x"] and ask(path, "x") == ["x"]
    path.parent.unlink()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert ask(path, "x") == ["x"] and not path.exists()


def test_what_another_start_wrote_meanwhile_stays(path):
    ask(path, "first")
    slow = KeptAnswers(path, "a")
    slow.answer("slow", lambda: ["slow"])
    ask(path, "meanwhile")
    slow.save()
    assert ask(path, "first", "slow", "meanwhile") == []
