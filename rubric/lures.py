"""Patterns that tell a lure live here: read from `lures.yaml`, each with the stems that show where it is worth a look."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from rubric.strict import load_yaml

_BLOB = re.compile(r"(?<![A-Za-z0-9+/=_-])[A-Za-z0-9+/_-]{40,}={0,2}")
_PART = re.compile("«([a-z]+)»")
_DISTINCT = 12
"""different characters that a long run has at least, when it is text in base64"""


@dataclass(frozen=True)
class Lure:
    """One way of speaking to a machine, or of leading out of a text."""

    stems: tuple[str, ...]
    """lower case; where none stands the pattern need not be tried, which is quick to see"""
    pattern: re.Pattern[str]

    def in_(self, text: str, lower: str) -> bool:
        """Whether a text holds it; `lower` is the text in lower case."""
        return any(stem in lower for stem in self.stems) and self.pattern.search(text) is not None

    def found_in(self, text: str) -> frozenset[str]:
        """All of it that a text holds, folded."""
        return frozenset(found.group().casefold().rstrip(".,;:!?") for found in self.pattern.finditer(text))


@lru_cache(maxsize=1)
def _data() -> dict[str, Any]:
    loaded: dict[str, Any] = load_yaml(Path(__file__).with_name("lures.yaml").read_text(encoding="utf-8"), what="lures.yaml")
    return loaded


def _lure(given: Mapping[str, Any]) -> Lure:
    whole = "|".join(given["any"])
    while _PART.search(whole):
        whole = _PART.sub(lambda name: str(_data()["parts"][name[1]]), whole)
    return Lure(tuple(given["stems"]), re.compile(whole, re.IGNORECASE | re.MULTILINE))


@lru_cache(maxsize=1)
def orders() -> tuple[Lure, ...]:
    """What is said to a machine, in words."""
    return tuple(_lure(one) for one in _data()["orders"])


@lru_cache(maxsize=1)
def marks() -> Mapping[str, Lure]:
    """What is said to a machine, in marks: kind → how to tell it."""
    return {kind: _lure(one) for kind, one in _data()["marks"].items()}


@lru_cache(maxsize=1)
def leads() -> Mapping[str, Lure]:
    """What leads out of a text, or acts in it: kind → how to tell it."""
    return {kind: _lure(one) for kind, one in _data()["foreign"].items()}


def holds_blob(text: str) -> bool:
    """Whether a text holds a long run that looks like base64, rather than a word, a slug, a number or a hash."""
    return any(_is_blob(run) for run in _BLOB.findall(text))


def _is_blob(run: str) -> bool:
    mixed = any(char.isupper() for char in run) and any(char.islower() for char in run) and any(char.isdigit() for char in run)
    return mixed and len(set(run)) >= _DISTINCT and not re.fullmatch("[0-9a-fA-F]+", run)
