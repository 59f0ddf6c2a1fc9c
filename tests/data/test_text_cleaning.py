"""Text from the web as people would read it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whyrobust.data.text_cleaning import clean_web_text


@pytest.mark.parametrize(
    "text, clean",
    [
        ("plain words", "plain words"),
        ("A+cat%2C+asleep", "A cat, asleep"),
        ("<a href=%22http%3A%2F%2Fx.y%22>see</a>+www.z.org+now", "see now"),
        ("&amp;lt;b&amp;gt;bold&amp;lt;/b&amp;gt;", "bold"),
        ("caf\u00c3\u00a9", "caf\u00e9"),
        ("two%0Alines%00", "two lines"),
        ("3 > 2", "3 > 2"),
        ("5 < 6 and 7 > 2", "5 < 6 and 7 > 2"),
        ("I <3 my cat > dog", "I <3 my cat > dog"),
        ("<PERSON> with a dog", "<PERSON> with a dog"),
        ("a<br/>b <IMG src=x> c<!-- no -->", "a b c"),
        ("<bold claim>", "<bold claim>"),
        ("", ""),
    ],
)
def test_text_from_the_web_is_cleaned(text, clean):
    assert clean_web_text(text, percent_encoded=True) == clean


@given(st.text(max_size=80))
def test_cleaning_never_fails_and_leaves_no_line_breaks(text):
    cleaned = clean_web_text(text, percent_encoded=True)
    assert cleaned == cleaned.strip() and "\n" not in cleaned and "\x00" not in cleaned
