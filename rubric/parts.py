"""What a typed change names lives here, value by value: what has to come into the target, what has to go, and what only says where."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from json import dumps
from typing import Any, Literal

from rubric.recipes import edit_of

Place = Literal["brought", "gone", "named"]
Plain = str | int | float | bool
_UNWRITTEN = {"recipe", "why", "lost", "question", "openapi", "tool", "suite", "golden_case"}
"""fields that speak to whoever makes or reviews the change and stand in no file because of it"""
_PLACES: dict[str, dict[str, Place]] = {
    "promote_other_intent": {"parent": "named"},
    "refine_intent_boundary": {"from_parent": "named", "from_leaf": "named", "to_parent": "named", "to_leaf": "named", "drop": "gone"},
    "add_second_parent": {"leaf": "named", "parent": "named"},
    "retire_leaf": {"leaf": "named", "to": "named"},
    "add_extraction_field": {"group": "named"},
    "alter_extraction_field": {"group": "named", "field": "named"},
    "adjust_fetch_weight": {"record_type": "named", "field": "named", "from": "gone"},
    "adjust_fetch_threshold": {"record_type": "named", "from": "gone"},
    "add_fetch_query": {"record_type": "named"},
    "add_tie_rule": {"leaf": "named", "before": "named"},
    "add_plan_branch": {"leaf": "named", "before": "named"},
    "alter_plan_branch": {"leaf": "named", "branch": "named", "before": "named", "tools": "named", "drop": "gone"},
    "change_reply_template": {"templates": "named", "old": "gone"},
    "fix_eval_data": {"row": "named"},
    "change_attachment_preprocessing": {"media_type": "named"},
}
"""recipe → where its fields are to be looked for; a field that is not listed has to be brought"""
_NAME = re.compile(r"[\w-]+(?:[./][\w-]+)+")
_SPLIT = re.compile(r"[./]")


@dataclass(frozen=True)
class Part:
    """One value of a change."""

    name: str
    """where it stands in the change: `to`, `cues.lost card`, `tools.0.name`"""
    value: Plain
    place: Place
    """brought: on an added line or value; gone: on a removed one; named: anywhere in what was changed"""


def parts(change: Mapping[str, Any]) -> list[Part]:
    """Every value that a change (as JSON) names, without what argues for it or explains it, in the order of its fields."""
    places = _PLACES.get(str(change.get("recipe")), {})
    fields = ((name, value) for name, value in edit_of(change).items() if name not in _UNWRITTEN)
    return [Part(where, value, places.get(name, "brought")) for name, field in fields for where, value in _flat(name, field)]


def _flat(name: str, value: Any) -> Iterator[tuple[str, Plain]]:
    if isinstance(value, Mapping):
        for key, inside in value.items():
            yield name, str(key)
            yield from _flat(f"{name}.{key}", inside)
    elif isinstance(value, (list, tuple)):
        for place, inside in enumerate(value):
            yield from _flat(f"{name}.{place}", inside)
    elif value is not None and value != "":
        yield name, value


def stands_in(value: Plain, text: str) -> bool:
    """Whether a text holds a value as a word of its own. A dotted or slashed name may stand in pieces: targets nest what they name.

    `text` has single spaces only, as `spaced` makes it.
    """
    if isinstance(value, bool):
        return re.search(rf"\b{value}\b", text, re.IGNORECASE) is not None
    if isinstance(value, (int, float)):
        digits = re.escape(str(int(value) if value == int(value) else value))
        return re.search(rf"(?<![\w.-]){digits}(?:\.0+)?(?!\w|\.\d)", text) is not None
    words = spaced(value)
    if any(_bounded(form, text) for form in {words, dumps(words)[1:-1], dumps(words, ensure_ascii=False)[1:-1]}):
        return True
    return bool(_NAME.fullmatch(words)) and all(_bounded(word, text) for word in _SPLIT.split(words))


def _bounded(word: str, text: str) -> bool:
    before, after = (r"(?<!\w)" if word[:1].isalnum() else ""), (r"(?!\w)" if word[-1:].isalnum() else "")
    return re.search(before + re.escape(word) + after, text) is not None


def spaced(text: str) -> str:
    """The text with a single space wherever there is white space: how lines are broken says nothing."""
    return " ".join(text.split())


class Names:
    """The names that a change says, to tell keys that it speaks of from others."""

    def __init__(self, change: Mapping[str, Any], target: str):
        self._whole = {part.value for part in parts(change) if isinstance(part.value, str)} | {target.partition(":")[2]}
        self._words = {word for name in self._whole if not any(map(str.isspace, name)) for word in _SPLIT.split(name) if word}

    def __contains__(self, key: str) -> bool:
        return key in self._whole or self._words.issuperset(_SPLIT.split(key))
