"""Extraction: a value that the ticket states, that the pipeline asks for or searches with, and that no field reads."""

import re
from collections.abc import Iterator
from contextlib import suppress

from pydantic import ValidationError

from rubric.drafting import Brief
from rubric.entries import Entry, Inventory
from rubric.inventory import ids_beside, keyed, under
from rubric.proposals.offer import Offer, signals
from rubric.proposals.plan import taken_branch
from rubric.reading import customer_text, mentions, says, words
from rubric.recipes import AddExtractionField, AlterExtractionField
from rubric.schema import Case, Expectation, Step
from rubric.symptoms import tells

_TOKEN = re.compile(r"(?<![\w@.-])(?:[A-Z]{1,5}[-/ ]?)?[0-9][0-9-/]{2,14}(?![\w@])|(?<![\w@.-])[A-Z]{2,5}-[A-Z0-9]{2,12}(?![\w@])")
_NAME = re.compile(r"\b([a-z][a-z0-9_]*)\.([a-z][a-z0-9_]*)\b")


def offers(brief: Brief) -> Iterator[Offer]:
    """Candidates for `add_extraction_field` (fields that the target speaks of and does not have) and `alter_extraction_field`."""
    yield from forms(brief)
    yield from _spoken_of(brief)
    groups = _groups(brief.inventory)
    for group, field, where in _dangling(brief.inventory, groups):
        for token in _unread(brief.case):
            with suppress(ValidationError):
                yield _token_offer(brief, groups, group, field, where, token)


def _spoken_of(brief: Brief) -> Iterator[Offer]:
    """Fields that files of the target speak of and its config does not read; replay tells whether this ticket has a value for one."""
    groups, comment = _groups(brief.inventory), brief.case.comment
    have = {tuple(entry.words) for entries in groups.values() for entry in entries}
    for name in sorted(brief.inventory.spoken_of):
        group, _, field = name.partition(".")
        if group not in groups or (group, field) in have:
            continue
        names = mentions(comment, field)
        with suppress(ValidationError):
            yield Offer(
                step=Step.extraction,
                target=_id_of(brief, group, field),
                change=AddExtractionField(group=group, field=field, label=field.replace("_", " "), example=field.replace("_", " ")),
                summary=f"Read {group}.{field}, which files of the target speak of and no field fills.",
                signals=signals(
                    spoken_of=0.15, field_mentioned=0.3 * (names >= 0.99) + 0.15 * (0.5 <= names < 0.99), not_read=0.1 * tells(comment, "value")
                ),
                must=[Expectation(part="extraction", contains=f"{group}.{field}")],
                instead=f"reads {group}.{field} from the ticket",
                together="fields spoken of",
            )


def _token_offer(brief: Brief, groups: dict[str, list[Entry]], group: str, field: str, where: str, token: str) -> Offer:
    comment, case, taken = brief.case.comment, brief.case, taken_branch(brief)
    condition = str(taken.view.get("condition", "")) if taken else ""
    prefix = (re.match(r"[A-Z]{2,}", token) or [""])[0]
    near = mentions(_before(customer_text(case), token), field)
    said = signals(
        asked_again=0.25 * bool(says("asking_again", comment)), field_mentioned=0.3 * (mentions(comment, field) >= 0.99),
        value_in_comment=0.3 * (token in comment or bool(prefix and prefix.lower() in words(comment))),
        branch_misses_it=0.5 * (f"{group}.{field}" in condition), named_in_ticket=0.25 * (near >= 0.5),
        weight_waits=0.2 * (where == "fetch" and not case.plan.fetch),
    )  # fmt: skip
    pattern = _pattern(brief, token, groups[group])
    return Offer(
        step=Step.extraction,
        target=_id_of(brief, group, field),
        change=AddExtractionField(group=group, field=field, label=field.replace("_", " "), pattern=pattern, example=token),
        summary=f"Read {group}.{field}, which the config uses and no field fills.",
        signals=said,
        quotes=[("ticket", token)],
        must=[Expectation(part="extraction", contains=f"{group}.{field}")],
        instead=f"reads {group}.{field} from the ticket",
    )


def _id_of(brief: Brief, group: str, field: str) -> str:
    """The id that a new field will have, as its siblings' are spelled."""
    return min(ids_beside(under(brief.inventory, Step.extraction, (group,)), field))


def forms(brief: Brief) -> Iterator[Offer]:
    """Candidates for `alter_extraction_field`: a form that other fields handle and this one does not; replay tells which one matters."""
    fields = [entry for entry in brief.inventory.of(Step.extraction) if isinstance(entry.value, dict) and len(entry.words) == 2]
    known = sorted({form for entry in fields for form in _handled(entry)})
    kin = _kinds(fields)
    comment, case = brief.case.comment, brief.case
    unread = 0.1 * tells(comment, "value")
    for entry in fields:
        if entry.stability == "frozen":
            continue
        group, field = entry.words
        value = case.plan.extraction.get(group, {}).get(field)
        names = max(mentions(comment, field), mentions(comment, str(entry.view.get("label", ""))))
        for form in known:
            if form in _handled(entry):
                continue
            with suppress(ValidationError):
                yield Offer(
                    step=Step.extraction,
                    target=entry.id,
                    change=AlterExtractionField(group=group, field=field, handles=form),
                    summary=f"Let {group}.{field} cope with the form '{form}' as other fields do.",
                    signals=signals(
                        field_mentioned=0.3 * (names >= 0.99) + 0.15 * (0.5 <= names < 0.99),
                        value_in_comment=0.25 * (value is not None and str(value) in comment),
                        empty=0.05 * (value is None), not_read=unread, kin=0.05 * any(form in kin.get(key, ()) for key in entry.value),
                    ),
                    instead=f"reads {group}.{field} in the form '{form}'",
                    together="forms of fields",
                )  # fmt: skip


def _handled(entry: Entry) -> list[str]:
    found = entry.view.get("handles")
    return [form for form in found if isinstance(form, str)] if isinstance(found, list) else []


def _kinds(fields: list[Entry]) -> dict[str, set[str]]:
    """setting of a field → forms that fields with this setting handle somewhere"""
    found: dict[str, set[str]] = {}
    for entry in fields:
        for key in entry.value:
            found.setdefault(key, set()).update(_handled(entry))
    return found


def _groups(inventory: Inventory) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for entry in inventory.of(Step.extraction):
        if len(entry.words) == 2:
            found.setdefault(entry.words[0], []).append(entry)
    return found


def _dangling(inventory: Inventory, groups: dict[str, list[Entry]]) -> list[tuple[str, str, str]]:
    """(group, field, who speaks of it) that plans or weights name and extraction lacks."""
    have = {tuple(entry.words) for entries in groups.values() for entry in entries}
    fields = {field for _, field in have}
    found: dict[tuple[str, str], str] = {}
    for entry in inventory.of(Step.plan):
        for group, field in _NAME.findall(str(entry.view.get("condition", ""))):
            if group in groups and (group, field) not in have:
                found.setdefault((group, field), "plan")
    for entry in keyed(inventory.of(Step.fetch)):
        field = entry.words[-1]
        if field not in fields:
            group = max(sorted(groups), key=lambda name: _kinship(field, groups[name]), default=None)
            if group:
                found.setdefault((group, field), "fetch")
    return [(group, field, where) for (group, field), where in sorted(found.items())]


def _kinship(field: str, entries: list[Entry]) -> int:
    own = set(field.split("_"))
    return max(len(own & set(entry.words[1].split("_"))) for entry in entries)


def _unread(case: Case) -> list[str]:
    """Tokens of the ticket that look like an identifier and stand in no extracted field."""
    read = " ".join(str(value) for fields in case.plan.extraction.values() for value in fields.values())
    found = dict.fromkeys(token.strip() for token in _TOKEN.findall(customer_text(case)))
    return [token for token in found if re.sub(r"\W", "", token) not in re.sub(r"\W", "", read)][:6]


def _before(text: str, token: str) -> str:
    start = text.find(token)
    return text[max(0, start - 30) : start]


def _pattern(brief: Brief, token: str, siblings: list[Entry]) -> str | None:
    """The form of the value, in the manner of its siblings; digits counted, letters kept."""
    forms = [one.view["pattern"] for entries in _groups(brief.inventory).values() for one in entries if isinstance(one.view.get("pattern"), str)]
    if not forms:
        return None
    braces = "\\d" if any("\\d" in form for form in forms) else "[0-9]"
    shape = re.sub(r"[0-9]+", lambda run: f"{braces}{{{len(run.group())}}}", re.sub(r"([.\\+*?\[\](){}|^$])", r"\\\1", token))
    bounded = any("\\b" in form for form in forms)
    grouped = any("(" in form.replace("(?", "") for form in forms)
    return ("\\b" if bounded else "") + (f"({shape})" if grouped else shape) + ("\\b" if bounded else "")
