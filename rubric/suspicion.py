"""Suspicion lives here: what in a case speaks to a machine, and what in a change its target never held. It only looks, and says of what kind."""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

from rubric.entries import Inventory
from rubric.findings import texts_of
from rubric.hygiene import clean
from rubric.lures import holds_blob, leads, marks, orders
from rubric.reading import PLACEHOLDER, words
from rubric.recipes import Change, RequestEndpoint
from rubric.schema import Case, Outcome

ORDER, ENCODED, OURS, PROMPT, HIDDEN = "an order to a machine", "encoded text", "a name of our own", "our own prompt", "hidden characters"
NOTE = "instructs a machine"
RUN = 7
"""words in a row of a prompt of ours that nobody else writes"""
_LOOK_ALIKES = str.maketrans("аеорсухкмвнтіјѕԁһɡ" + "αεορυνκτι", "aeopcyxkmbhtijsdhg" + "aeopuvkti")
"""letters of other scripts that are drawn like ours"""
_TAKEN_OUT = frozenset({"old", "drop"})
"""fields of a change that name what goes away"""
_BY_FORM = frozenset({"pattern"})
"""fields that hold a regular expression, whose signs look like much else"""
_FORM_ONLY = frozenset({"an address in the net", "a mail address", ORDER, ENCODED, PROMPT, HIDDEN})
_ROUTE = re.compile(r"(?:/[a-z0-9_-]+|/\{[a-z0-9_]+\})+")
_SLUGS = "|".join([*(one.model_fields["recipe"].default for one in get_args(get_args(Change)[0])), *(one for one in Outcome if "_" in one)])
_SLUG = re.compile(rf"\b(?:{_SLUGS})\b")


@lru_cache(maxsize=500)
def instructs(text: str) -> tuple[str, ...]:
    """Kinds of what in a text speaks to a machine, none twice; `()` for a text between people."""
    found = [ORDER] if any(lure.in_(read, read) for read in _readings(text) for lure in orders()) else []
    lower = text.lower()
    found += [kind for kind, lure in marks().items() if lure.in_(text, lower)]
    if holds_blob(text):
        found.append(ENCODED)
    return tuple(found)


def in_case(case: Case) -> dict[str, tuple[str, ...]]:
    """Where a case speaks to a machine (`comment`, `ticket`, `plan`), and in which ways. Kinds only: nothing of the case comes along."""
    found = {place: tuple(dict.fromkeys(kind for text in texts for kind in _of_case(place, text))) for place, texts in _texts(case).items()}
    return {place: kinds for place, kinds in found.items() if kinds}


def told(case: Case) -> str:
    """The same as words for a screen, "" for a case that speaks to people alone."""
    return "; ".join(f"the {place} holds {', '.join(kinds)}" for place, kinds in in_case(case).items())


def noted(reason: str, case: Case) -> str:
    """A reason for an abstention, and behind it that the case speaks to a machine where it does: with `NOTE` in it, so that it can be counted."""
    said = told(case)
    return f"{reason} ({NOTE}: {said})" if said else reason


def without_note(reason: str) -> str:
    """A reason as it was before `noted`."""
    return reason.partition(f" ({NOTE}: ")[0]


def _of_case(place: str, text: str) -> tuple[str, ...]:
    """Customers do not know what our recipes and answers are called; staff who see our pages may."""
    return (*instructs(text), *((OURS,) if place != "comment" and _SLUG.search(text) else ()))


def _texts(case: Case) -> dict[str, list[str]]:
    said, ticket, plan = case.rejection, case.ticket, case.plan
    files = [text for file in ticket.attachments for text in (file.name, file.text or "")]
    calls: Any = [json.loads(json.dumps(call.arguments, default=str)) for call in plan.tool_calls]
    return {
        "comment": [said.comment, said.corrected_reply or "", said.reason or ""] if said else [],
        "ticket": [ticket.subject or "", *(message.text for message in ticket.messages), *files],
        "plan": [plan.reply, *plan.intent_path, *(text for _, text in texts_of("plan", [plan.extraction, calls]))],
    }


def foreign(change: Change, inventory: Inventory) -> dict[str, tuple[str, ...]]:
    """Field of a change → kinds of what it would bring into the target and the target's own config does not hold already."""
    known = _Known(inventory)
    found: dict[str, list[str]] = {}
    for place, text in texts_of("change", change.model_dump(mode="json")):
        field = place.split(".")[1] if "." in place else "recipe"
        if field not in _TAKEN_OUT and not (isinstance(change, RequestEndpoint) and _ROUTE.fullmatch(text)):
            kinds = [kind for kind in _foreign_kinds(text, known) if field not in _BY_FORM or kind in _FORM_ONLY]
            found.setdefault(f"change.{field}", []).extend(kinds)
    return {field: tuple(dict.fromkeys(kinds)) for field, kinds in found.items() if kinds}


def _foreign_kinds(text: str, known: "_Known") -> Iterator[str]:
    plain = unicodedata.normalize("NFKC", PLACEHOLDER.sub(" ", text))  # placeholders have a finding of their own
    for kind in instructs(plain):
        if kind not in leads() and text not in known.texts:
            yield kind
    lower = plain.lower()
    for kind, lure in leads().items():
        if lure.in_(plain, lower) and lure.found_in(plain) - known.found(kind):
            yield kind
    if clean(text)[1] and text not in known.texts:
        yield HIDDEN
    if _runs(plain) & _prompts():
        yield PROMPT


class _Known:
    """What a target's config holds already, looked up only when a change gives cause to."""

    def __init__(self, inventory: Inventory):
        self._inventory = inventory
        self._found: dict[str, frozenset[str]] = {}
        self._texts: frozenset[str] | None = None

    @property
    def texts(self) -> frozenset[str]:
        if self._texts is None:
            entries = self._inventory.entries.values()
            inside = (text for entry in entries for value in (entry.value, entry.view) for _, text in texts_of("", value))
            self._texts = frozenset([*inside, *(name for entry in entries for name in (entry.id, ".".join(entry.parts)))])
        return self._texts

    def found(self, kind: str) -> frozenset[str]:
        """What of one kind stands in the target, each as a whole: a part of an address is another address."""
        if kind not in self._found:
            self._found[kind] = frozenset(found for text in self.texts for found in leads()[kind].found_in(unicodedata.normalize("NFKC", text)))
        return self._found[kind]


def _readings(text: str) -> Iterable[str]:
    """The text as it may be read: folded, on one line each, and with letters of other scripts taken for those they look like."""
    plain = re.sub(r"[^\S\n]+", " ", unicodedata.normalize("NFKC", text).lower())
    return dict.fromkeys((plain, re.sub(r"\s+", " ", plain), plain.translate(_LOOK_ALIKES)))


def _runs(text: str) -> set[tuple[str, ...]]:
    said = words(text)
    return {said[start : start + RUN] for start in range(len(said) - RUN + 1)}


@lru_cache(maxsize=1)
def _prompts() -> frozenset[tuple[str, ...]]:
    """Every run of words of our prompts, without their slots."""
    files: Mapping[str, str] = {path.name: path.read_text(encoding="utf-8") for path in sorted((Path(__file__).parent / "prompts").glob("*.md"))}
    parts = (part for text in files.values() for part in re.split(r"\{\{.*?\}\}|\{%.*?%\}|\n-----\n", text))
    return frozenset(run for part in parts for run in _runs(part))
