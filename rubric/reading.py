"""Reads comments and tickets as words: tokens, quoted phrases, shared n-grams, mentions of config names, differences of two texts."""

import re
import sys
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from rapidfuzz.distance import OSA

from rubric.entries import Inventory
from rubric.hygiene import clean
from rubric.schema import Case, Step
from rubric.strict import load_yaml

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?", re.UNICODE)
PLACEHOLDER = re.compile(r"<[A-Z][A-Z_]*_[0-9]+[A-Z]?>", re.IGNORECASE)
"""what stands for masked data, also in text that was folded"""
_QUOTES = re.compile(
    '"([^"\n]{2,300})"|“([^”“\n]{2,300})[”“]|„([^“”\n]{2,300})[“”]|«([^»\n]{2,300})»|»([^«\n]{2,300})«'
    "|‘([^’\n]{2,300})’|`([^`\n]{2,300})`|(?<!\\w)'([^'\n]{3,300})'(?!\\w)"
)
LOOKED_AT = 3000
"""characters of a text whose runs of words are looked at: what a long thread is about is said early"""
SLOT = 300
"""characters that a slot of a template may be filled with"""
_SLOT = re.compile(r"\\?\{[^{}]*\\?\}")


@lru_cache(maxsize=1)
def _data() -> dict[str, Any]:
    loaded: dict[str, Any] = load_yaml((Path(__file__).parent / "words.yaml").read_text(encoding="utf-8"), what="words.yaml")
    return loaded


def says(kind: str, comment: str) -> int:
    """How many of a kind's phrases (`counts_more`, `enough` …) a comment holds, at word boundaries."""
    return said_in(comment, _data()[kind])


def phrases(family: str) -> dict[str, list[str]]:
    """The kinds of a family of phrases, each with its phrases."""
    found: dict[str, list[str]] = _data()[family]
    return found


def said_in(text: str, some: Iterable[str]) -> int:
    """How many of some phrases a text holds, at word boundaries, in any case and spacing."""
    return sum(holds_phrase(text, phrase) for phrase in some)


@lru_cache(maxsize=1)
def stopwords() -> frozenset[str]:
    return frozenset(fold(word) for line in _data()["stopwords"] for word in line.split())


def fold(text: str) -> str:
    """Lower case, without accents but for umlauts, which tell German words apart."""
    return unicodedata.normalize("NFC", text).casefold()


@lru_cache(maxsize=50_000)
def words(text: str) -> tuple[str, ...]:
    """The words of a text, folded; placeholders are none. Remembered: config phrases are asked for again and again."""
    return tuple(WORD.findall(fold(PLACEHOLDER.sub(" ", text))))


@lru_cache(maxsize=50_000)
def _padded(text: str) -> str:
    return f" {' '.join(words(text))} "


def content(text: str) -> list[str]:
    """Words that carry meaning, in order."""
    return [word for word in words(text) if word not in stopwords() and len(word) > 1]


def quoted(text: str) -> list[str]:
    """Phrases that stand in quotation marks, in order."""
    return [next(part for part in match if part) for match in _QUOTES.findall(text)]


def customer_text(case: Case) -> str:
    """What the customer wrote: the messages and what was read of attachments."""
    texts = [message.text for message in case.ticket.messages if message.role == "customer"]
    return "\n".join([case.ticket.subject or "", *texts, *(file.text or "" for file in case.ticket.attachments)])


def ngrams(text: str, longest: int = 3) -> set[str]:
    """Runs of one to `longest` words that neither start nor end with a stopword. A word with a digit is an identifier and in none."""
    found: set[str] = set()
    for sentence in re.split(r"[.!?\n;:()]", PLACEHOLDER.sub(".", text[:LOOKED_AT])):
        row = WORD.findall(fold(sentence))
        for size in range(1, longest + 1):
            for start in range(len(row) - size + 1):
                run = row[start : start + size]
                if run[0] not in stopwords() and run[-1] not in stopwords() and not any(char.isdigit() for word in run for char in word):
                    found.add(" ".join(run))
    return found


def tokens_of(name: str) -> list[str]:
    """The words of a slug or label: `account_number`, `access/two_factor`."""
    return [word for word in re.split(r"[^a-z0-9äöüß]+", fold(name)) if word and word not in stopwords()]


def mentions(text: str, name: str) -> float:
    """Share of a name's words that a text mentions, in either language; compounds count (`Kontonummer`)."""
    parts = tokens_of(name)
    said = words(text)
    if not parts or not said:
        return 0.0
    return sum(_said(part, said) for part in parts) / len(parts)


def _said(part: str, said: Sequence[str]) -> bool:
    forms = [part, *(fold(word) for word in _data()["synonyms"].get(part, []))]
    return any(_same_stem(form, word) for form in forms for word in said)


@lru_cache(maxsize=100_000)
def _same_stem(form: str, word: str) -> bool:
    if form == word:
        return True
    if min(len(form), len(word)) >= 5 and abs(len(form) - len(word)) <= 1 and OSA.distance(form, word, score_cutoff=1) <= 1:
        return True  # a slip of the keyboard
    if len(form) < 4 or len(word) < 4:
        return False
    return word.startswith(form) or (len(form) >= 5 and form in word) or (len(word) >= 5 and form.startswith(word) and len(form) - len(word) <= 3)


def holds_phrase(text: str, phrase: str) -> bool:
    """Whether a text holds a phrase at word boundaries, in any case and spacing."""
    return _padded(phrase) in _padded(text)


def exact(text: str, phrase: str) -> str | None:
    """The phrase as the text spells it, or None."""
    found = re.search(re.sub(r"(?:\\\s|\s)+", r"\\s+", re.escape(phrase.strip())), text, re.IGNORECASE)
    return found.group() if found else None


def replaced(old: str, new: str) -> tuple[str, str] | None:
    """The one stretch of words in which two texts differ: (old words, new words). None: they are equal or differ all over."""
    first, second = re.findall(r"\s+|[^\s]+", old), re.findall(r"\s+|[^\s]+", new)
    blocks = [code for code in SequenceMatcher(None, first, second, autojunk=False).get_opcodes() if code[0] != "equal"]
    if not blocks:
        return None
    start, end, other_start, other_end = blocks[0][1], blocks[-1][2], blocks[0][3], blocks[-1][4]
    if end - start > max(12, len(first) * 0.6):
        return None
    return "".join(first[start:end]), "".join(second[other_start:other_end])


class Stretch(NamedTuple):
    """A part of a text: `text` stands from `start` on, before `end`."""

    start: int
    end: int
    text: str


@lru_cache(maxsize=10_000)
def _spelt(template: str) -> str:
    """A template of the target as it reads in a case: clean."""
    return clean(template)[0]


def rendered_from(reply: str, template: str) -> Stretch | None:
    """Where a reply holds a template's text, its slots filled with up to `SLOT` characters: the first such place, slots as short as can be."""
    template = _spelt(template)
    if len(template) < 8:
        return None
    return placed(reply, re.split(r"\{[^{}]*\}", template), SLOT)


def placed(text: str, parts: Sequence[str], widest: int) -> Stretch | None:
    """The first place where some parts follow each other, at most `widest` characters apart.

    What `part(.{0,widest}?)part…` finds, in a time that grows with text and parts and not with their combinations: from the last part backwards,
    only those places of a part are kept from which the rest can be reached; then each part is taken where it comes first.
    """
    if not all(part in text for part in parts):
        return None
    reachable = [_places(text, parts[-1])]  # the last part first
    for part in reversed(parts[:-1]):
        after = reachable[-1]
        reachable.append([one for one in _places(text, part) if _first(after, one + len(part)) <= one + len(part) + widest])
    if not reachable[-1]:
        return None
    start = end = reachable[-1][0]
    for part, places in zip(parts, reversed(reachable), strict=True):
        end = _first(places, end) + len(part)
    return Stretch(start, end, text[start:end])


def _places(text: str, part: str) -> list[int]:
    """Everywhere that a part stands, overlapping ones too; an empty one stands everywhere."""
    found, at = [], text.find(part)
    while at >= 0:
        found.append(at)
        at = text.find(part, at + 1) if at < len(text) else -1
    return found


def _first(places: Sequence[int], start: int) -> int:
    """The first of some places, in order, from a start on; `sys.maxsize` for none."""
    number = bisect_left(places, start)
    return places[number] if number < len(places) else sys.maxsize


def template_of(reply: str, inventory: Inventory) -> tuple[str, Stretch] | None:
    """The template that a reply was rendered from: (name, where). The longest match wins."""
    found = []
    for entry in inventory.of(Step.reply):
        text = entry.view.get("text", entry.value)
        if isinstance(text, str) and (match := rendered_from(reply, text)):
            found.append((len(_SLOT.sub("", text)), ".".join(entry.parts), match))
    if not found:
        return None
    _, name, match = max(found, key=lambda one: (one[0], one[1]))
    return name, match


def share_said(text: str, wanted: Mapping[str, float]) -> float:
    """Weighted share of some words that a text says, in any form, language or spelling near enough; 0 when none is wanted."""
    said = words(text)
    whole = sum(wanted.values())
    return sum(weight for word, weight in wanted.items() if _said(word, said)) / whole if whole and said else 0.0
