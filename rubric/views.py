"""Where, inside the entries of a target's config, the words stand that the critic reads: found by what the entries look like."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from rubric.entries import Entry, Inventory
from rubric.schema import Step

SHARE = 0.6
"""share of a step's entries that has to look alike before a key is taken for something"""


def view_of(step: Step, inventory: Inventory) -> dict[str, list[str]]:
    entries = inventory.of(step)
    finder: dict[Step, Callable[[list[Entry], Inventory], dict[str, list[str]]]] = {
        Step.intent: _intent_view, Step.extraction: _extraction_view, Step.plan: _plan_view, Step.reply: _reply_view,
    }  # fmt: skip
    return finder[step](entries, inventory) if step in finder and entries else {}


def _key_where(entries: Iterable[Entry], looks: Callable[[Any], bool], share: float = SHARE) -> str | None:
    """The key under which most entries hold a value of a certain look."""
    dicts = [entry.value for entry in entries if isinstance(entry.value, dict) and entry.value]
    counted = Counter(key for value in dicts for key, inside in value.items() if looks(inside))
    best = counted.most_common(1)
    return best[0][0] if best and best[0][1] >= share * len(dicts) else None


def _is_cues(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(one, int) and not isinstance(one, bool) for one in value.values())


def is_words(value: Any) -> bool:
    return isinstance(value, str) and " " in value


def _intent_view(entries: list[Entry], _: Inventory) -> dict[str, list[str]]:
    found = {"cues": _key_where(entries, _is_cues), "about": _key_where(entries, is_words)}
    return {word: [key] for word, key in found.items() if key}


def _extraction_view(entries: list[Entry], _: Inventory) -> dict[str, list[str]]:
    found = {
        "label": _key_where(entries, lambda value: isinstance(value, str)),
        "handles": _key_where(entries, lambda value: isinstance(value, list), share=0.15),
        "pattern": _key_where(entries, _is_form, share=0.1),
    }
    return {word: [key] for word, key in found.items() if key}


def _is_form(value: Any) -> bool:
    return (isinstance(value, str) and "[" in value and "]" in value) or (isinstance(value, str) and "\\d" in value)


def _plan_view(entries: list[Entry], inventory: Inventory) -> dict[str, list[str]]:
    names = {".".join(entry.parts) for entry in inventory.of(Step.reply)}
    branches = [
        entry for entry in entries if isinstance(entry.value, dict) and any(isinstance(one, str) and one in names for one in entry.value.values())
    ]
    template = _key_where(branches, lambda value: isinstance(value, str) and value in names)
    tools = _key_where(branches, lambda value: isinstance(value, list), share=0.2)
    condition = _key_where(branches, lambda value: isinstance(value, str) and value not in names, share=0.9)
    return {word: [key] for word, key in {"condition": condition, "template": template, "tools": tools}.items() if key}


def _reply_view(entries: list[Entry], _: Inventory) -> dict[str, list[str]]:
    if all(isinstance(entry.value, str) for entry in entries):
        return {"text": []}
    key = _key_where(entries, is_words)
    return {"text": [key]} if key else {}
