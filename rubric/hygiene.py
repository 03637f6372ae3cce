"""Text as it may be read lives here: characters that nobody can see are taken out, cuts are said aloud, and what strangers wrote is fenced in."""

import hashlib
import re
import unicodedata
from functools import lru_cache
from typing import Any

from rubric.plans import LABEL_CAP, TEXT_CAP

MOST_MARKS = 8
"""combining marks that one letter may carry; no script needs as many"""
FENCED = 20_000
"""characters of one text that a prompt shows, unless it says otherwise"""

_PLAIN = re.compile(r"[\t\n -~]*")
_BREAKS = re.compile("\r\n?|[\u2028\u2029]")
_OLD_BREAKS = re.compile("[\x0b\x0c\x1c-\x1f\x85]")
"""controls that part words; without a line end in their place two words would become one"""
_ZWNJ, _ZWJ, _TEXT_STYLE, _EMOJI_STYLE, _KEYCAP, _VIRAMA = "\u200c", "\u200d", "\ufe0e", "\ufe0f", "\u20e3", 9
_CONTEXTUAL = frozenset({_ZWNJ, _ZWJ, _TEXT_STYLE, _EMOJI_STYLE})
_SHOWN_FORMATS = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
"""the signs among the format characters that do show"""
_INVISIBLE = (
    (0x034F, 0x034F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x2065, 0x2065), (0x3164, 0x3164), (0xFDD0, 0xFDEF),
    (0xFE00, 0xFE0D), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0xE0000, 0xE0FFF),
)  # fmt: skip
"""what shows nothing and is of no category of its own: fillers, selectors of a shape, tags, and code points kept free for more of them"""
_JOINING = (
    (0x0600, 0x07FF), (0x0840, 0x08FF), (0x0900, 0x0DFF), (0x0F00, 0x109F), (0x1780, 0x18AF), (0x1B00, 0x1C4F), (0xA800, 0xABFF),
    (0xFB50, 0xFDFF), (0xFE70, 0xFEFC), (0x10A00, 0x10FFF), (0x11000, 0x11FFF), (0x1E900, 0x1E95F),
)  # fmt: skip
"""scripts that join letters: Arabic and its kin, those of South Asia, Tibetan, Myanmar, Khmer, Mongolian"""
_PICTURES = (
    (0xA9, 0xA9), (0xAE, 0xAE), (0x203C, 0x203C), (0x2049, 0x2049), (0x2122, 0x2122), (0x2139, 0x2139), (0x2190, 0x21FF), (0x2300, 0x23FF),
    (0x24C2, 0x24C2), (0x25A0, 0x27BF), (0x2934, 0x2935), (0x2B00, 0x2BFF), (0x3030, 0x3030), (0x303D, 0x303D), (0x3297, 0x3299), (0x1F000, 0x1FAFF),
)  # fmt: skip


def clean(text: str) -> tuple[str, int]:
    """The text without what no reader can see, and how many characters that were. Doing it again changes nothing.

    NFC; every line end is `\\n`. Gone are controls, zero-width characters, bidi controls, tags, private use, noncharacters, soft hyphens,
    fillers, lone surrogates, and combining marks beyond `MOST_MARKS` on one letter. What stays because a script needs it:

    - a (non-)joiner after a virama or between two letters of a script that joins letters, and a joiner between two emoji;
    - a selector of text or emoji style after a sign that has both, or within a keycap. Selectors of a mere shape go.

    The flags of England, Scotland and Wales are spelt with tags: they become a black flag.
    Never longer than it was but for the few characters that NFC itself spells with two or three (`U+0958`); `clean_document` minds the caps.
    """
    if _PLAIN.fullmatch(text) or (all(map(_is_plain, set(text))) and unicodedata.is_normalized("NFC", text)):
        return text, 0  # nearly all are, and each is asked for more than once
    text, removed = _OLD_BREAKS.subn("\n", _BREAKS.sub("\n", text))
    found = {ord(char): None for char in set(text) if _never(char)}
    if found:
        before = len(text)
        text = text.translate(found)
        removed += before - len(text)
    while True:  # a step can bring letters together that were apart; once nothing changes, nothing will
        kept, gone = _in_place(text)
        composed = unicodedata.normalize("NFC", kept)
        removed += gone
        if composed == text:
            return text, removed
        text = composed


@lru_cache(maxsize=4096)
def _is_plain(char: str) -> bool:
    """Whether a character stays whatever stands beside it."""
    return not (_never(char) or char in _CONTEXTUAL or char in "\u2028\u2029" or _is_mark(char))


@lru_cache(maxsize=4096)
def _never(char: str) -> bool:
    """Whether a character shows nothing wherever it stands."""
    kind, point = unicodedata.category(char), ord(char)
    if kind in ("Cc", "Cf"):
        return char not in "\t\n" and char not in _CONTEXTUAL and char not in _SHOWN_FORMATS
    return kind in ("Cs", "Co") or point & 0xFFFE == 0xFFFE or _within(point, _INVISIBLE)


def _within(point: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= point <= last for first, last in ranges)


@lru_cache(maxsize=4096)
def _is_mark(char: str) -> bool:
    return char not in _CONTEXTUAL and unicodedata.category(char)[0] == "M"


@lru_cache(maxsize=4096)
def _joins(char: str) -> bool:
    return char != "" and unicodedata.category(char)[0] in "LM" and _within(ord(char), _JOINING)


@lru_cache(maxsize=4096)
def _is_picture(char: str) -> bool:
    return char != "" and _within(ord(char), _PICTURES)


def _in_place(text: str) -> tuple[str, int]:
    """Without joiners and selectors that stand where nothing needs them, and without marks beyond the most that a letter may carry."""
    found = set(text)
    if not found & _CONTEXTUAL and sum(text.count(char) for char in found if _is_mark(char)) <= MOST_MARKS:
        return text, 0
    kept: list[str] = []
    marks = 0
    for place, char in enumerate(text):
        if char in _CONTEXTUAL:
            after = text[place + 1 : place + 2]
            if after and marks == MOST_MARKS and _is_mark(after):
                after = ""  # it will not stay
            if not _needed(char, kept[-1] if kept else "", after):
                continue
        elif _is_mark(char):
            marks += 1
            if marks > MOST_MARKS:
                continue
        else:
            marks = 0
        kept.append(char)
    return "".join(kept), len(text) - len(kept)


def _needed(char: str, before: str, after: str) -> bool:
    if char in (_TEXT_STYLE, _EMOJI_STYLE):
        return _is_picture(before) or (after == _KEYCAP and before != "" and before in "0123456789#*")
    if before and unicodedata.combining(before) == _VIRAMA:
        return True
    if _joins(before) and _joins(after):
        return True
    return char == _ZWJ and (_is_picture(before) or before == _EMOJI_STYLE) and _is_picture(after)


def clean_document(document: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """A JSON document with every text and every key clean, and how many characters went. Lengths stay within the caps of a case.

    Two keys that only hidden characters told apart both stay: the one that had none keeps the name.
    """
    found: dict[str, Any] = {}
    keys = {key: _fitting(key) for key in document}
    removed = sum(gone for _, gone in keys.values())
    taken = {key for key, (plain, _) in keys.items() if key == plain}
    for key, (plain, _) in keys.items():
        name = plain
        if key != plain:
            number = 1
            while name in taken:
                number += 1
                name = f"{plain[: LABEL_CAP - 8]}~{number}"
            taken.add(name)
        found[name], gone = _clean_value(document[key])
        removed += gone
    return found, removed


def _clean_value(value: Any) -> tuple[Any, int]:
    if isinstance(value, str):
        return _fitting(value)
    if isinstance(value, dict):
        return clean_document(value)
    if isinstance(value, list):
        cleaned = [_clean_value(item) for item in value]
        return [item for item, _ in cleaned], sum(gone for _, gone in cleaned)
    return value, 0


def _fitting(text: str) -> tuple[str, int]:
    """Clean, and no longer than the cap that the text kept before: what NFC spells longer could push it over."""
    plain, removed = clean(text)
    cap = LABEL_CAP if len(text) <= LABEL_CAP else max(TEXT_CAP, len(text))
    if len(plain) <= cap:
        return plain, removed
    short = clean(plain[:cap])[0]
    return short, removed + len(plain) - len(short)


def cut(text: str, most: int) -> str:
    """At most `most` characters, and where there were more the text says so itself."""
    if len(text) <= most:
        return text
    note = f" … [cut after {most} of {len(text)} characters]"
    return (text[: max(0, most - len(note))] + note)[:most]


_LOOK_ALIKE = re.compile(r"[<\uff1c\ufe64\u2039\u3008\u27e8\u2329](?=[\s/\\\u2215\u2044\uff0f]*untrusted)", re.IGNORECASE)


def fence(text: str, name: str, most: int = FENCED) -> str:
    """The text as a prompt may hold it: between two tags whose number is made from the text, so that the text cannot hold them.

    The same text always gives the same fence. Whatever in it begins like a tag of ours loses its bracket. More than `most` characters are cut,
    and a line behind the fence says so. `name` is a word of ours. Raises `ValueError` for any other.
    """
    if not re.fullmatch("[a-z][a-z_]{0,39}", name):
        raise ValueError("a fence is named by one word of ours")
    plain, _ = clean(text)
    digest = hashlib.sha256(f"{name}\n{plain}".encode()).hexdigest()[:32]
    tag = f"untrusted-{name}-{digest}"
    note = f"\n[cut, {most} of {len(plain)} characters shown]" if len(plain) > most else ""
    return f"<{tag}>\n{_LOOK_ALIKE.sub('[', plain[:most])}\n</{tag}>{note}"
