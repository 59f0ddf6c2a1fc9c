"""Clean text from the web: titles, descriptions and tags without HTML, addresses, wrong encodings or line breaks."""

from __future__ import annotations

import html
import re
import unicodedata
from urllib.parse import unquote_plus

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from whyrobust.data.text_columns import TEXTS_AT_A_TIME, Bytes, Integers, replace_texts, text_buffers, texts_with

#: Text is cut to this length: 60 times what a text tower reads of it. Without a bound a text of a million accents,
#: which are put in order one by one, takes hours.
MAXIMUM_TEXT_CHARACTERS = 20_000

#: Control characters (Unicode's category Cc) and separators of lines and paragraphs (Zl, Zp).
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")

#: Elements of HTML, current and obsolete (WHATWG HTML standard, sections 4 and 16.2): web texts are up to 20 years old.
_ELEMENTS = (
    "a abbr acronym address applet area article aside audio b base basefont bdi bdo bgsound big blink blockquote "
    "body br button canvas caption center cite code col colgroup data datalist dd del details dfn dialog dir div dl "
    "dt em embed fieldset figcaption figure font footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr "
    "html i iframe img input ins kbd label legend li link main map mark marquee menu meta meter nav nobr noframes "
    "noscript object ol optgroup option output p param picture pre progress q rp rt ruby s samp script section "
    "select slot small source span strike strong style sub summary sup svg table tbody td template textarea tfoot "
    "th thead time title tr track tt u ul var video wbr"
)
#: Tags and comments; "I <3 my cat", "5 < 6 and 7 > 2" and CC12M's "<PERSON>" are text.
_TAG = re.compile(rf"</?(?:{_ELEMENTS.replace(' ', '|')})(?:[\s/][^<>]*)?>|<!(?:--|[a-z])[^<>]*>", re.IGNORECASE)
#: Character references of more than seven digits: no character has one, and Python parses no number of thousands.
_LONG_REFERENCE = re.compile(r"&#[0-9]{8,};?")
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)


def clean_text(text: str) -> str:
    """Return text in NFC form with control characters and runs of white space as single spaces.

    Right-to-left text, emoji and what else is a character stay; half characters (lone surrogates), which no file can
    hold, become the replacement character. What is beyond `MAXIMUM_TEXT_CHARACTERS` is cut off.
    """
    cut = text[:MAXIMUM_TEXT_CHARACTERS]
    if not cut.isprintable():
        cut = _HALF_CHARACTER.sub("\ufffd", _CONTROL.sub(" ", cut))
    return " ".join(unicodedata.normalize("NFC", cut).split())


def clean_texts(texts: pa.Array) -> pa.Array:
    """Return Arrow strings, each as `clean_text` makes it; those that are clean ASCII already cost next to nothing."""
    offsets, content = text_buffers(texts)
    changed = np.diff(offsets) > MAXIMUM_TEXT_CHARACTERS
    for start in range(0, len(texts), TEXTS_AT_A_TIME):
        part = slice(start, start + TEXTS_AT_A_TIME)
        of_part = offsets[start : start + TEXTS_AT_A_TIME + 1]
        changed[part] |= _may_be_unclean(content[of_part[0] : of_part[-1]], of_part - of_part[0])
    return replace_texts(texts, pa.array(changed), clean_text) if changed.any() else texts


def _may_be_unclean(content: Bytes, offsets: Integers) -> NDArray[np.bool_]:
    """Return which texts are beyond ASCII, or have a control character, or a space too many."""
    if not len(content):
        return np.zeros(len(offsets) - 1, dtype=np.bool_)
    unclean = content - np.uint8(ord(" ")) > ord("~") - ord(" ")
    space = content == ord(" ")
    # What joins two texts is found too, to no harm, ...
    unclean[1:] |= space[1:] & space[:-1]
    # ... and for an empty text the end of the one before it, or the beginning of the next.
    first, last = space.take(offsets[:-1], mode="clip"), space.take(offsets[1:] - 1, mode="clip")
    changed: NDArray[np.bool_] = first | last
    changed[texts_with(unclean, offsets)] = True
    return changed


def clean_web_text(text: str, percent_encoded: bool = False) -> str:
    """Return text from the web as people would read it: no HTML, no addresses, no wrong encoding, single spaces.

    Args:
        text: a title, description or tag.
        percent_encoded: decode ``%20`` and ``+`` first (YFCC100M stores its texts this way).
    """
    from ftfy import fix_text

    if percent_encoded:
        text = unquote_plus(text)
    text = _LONG_REFERENCE.sub(" ", text[:MAXIMUM_TEXT_CHARACTERS])
    # Twice, because Flickr's descriptions hold escaped tags.
    text = _TAG.sub(" ", html.unescape(text))
    text = _TAG.sub(" ", html.unescape(_LONG_REFERENCE.sub(" ", text)))
    return clean_text(fix_text(_ADDRESS.sub(" ", text)))


def clean_web_field(value: object, percent_encoded: bool = False) -> str:
    """Return a field of JSON or of a table as clean text, "" where it holds no text."""
    return clean_web_text(value, percent_encoded) if isinstance(value, str) else ""


def clean_web_tags(value: object, percent_encoded: bool = False, separator: str = ",") -> list[str]:
    """Return tags as clean texts without empty ones.

    Args:
        value: a list, or one text with the tags between separators; anything else holds no tags.
        percent_encoded: as in `clean_web_text`.
        separator: between the tags of one text.
    """
    tags = value.split(separator) if isinstance(value, str) else value if isinstance(value, list) else []
    cleaned = (clean_web_text(str(tag), percent_encoded) for tag in tags)
    return [tag for tag in cleaned if tag]
