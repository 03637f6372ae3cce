"""Reply: a phrase that no template should hold."""

import re
from collections.abc import Iterator
from contextlib import suppress

from pydantic import ValidationError

from rubric.drafting import Brief
from rubric.entries import Entry
from rubric.proposals.offer import Offer, signals
from rubric.reading import content, exact, fold, quoted, replaced, says, template_of, words
from rubric.recipes import ChangeReplyTemplate
from rubric.schema import Expectation, Step
from rubric.symptoms import tells

_CALLED = re.compile(
    r"(?:it'?s|it is|that'?s|this is|it should be|we (?:say|write|call it)|use|heißt(?: das)?|ist)\s+"
    r"(?:an?\s+|the\s+|eine?n?\s+)?([^.,;!?\n\"“”„]{3,60})",
    re.IGNORECASE,
)
_OUT = re.compile(r"\b(?:raus|weg(?:lassen)?|streichen|remove|delete|drop|(?:leave|take) (?:it )?out|unsinn|no such|nonsense)\b", re.IGNORECASE)


def offers(brief: Brief) -> Iterator[Offer]:
    """Candidates for `change_reply_template`."""
    comment, reply = brief.case.comment, brief.case.plan.reply
    corrected = brief.case.rejection.corrected_reply if brief.case.rejection else None
    phrases = quoted(comment)
    told = says("wording", comment)
    for phrase in phrases:
        shown = exact(reply, phrase)
        holders = holding(brief, shown or phrase)
        if not holders:
            continue
        old = exact(_text(holders[0]), shown or phrase) or phrase
        new, why = _instead(comment, corrected, reply, phrase, phrases)
        if new is None or new == old:
            continue
        weight = {"quoted": 0.5, "corrected": 0.5, "called": 0.35, "out": 0.4}[why]
        yield from _offer(
            brief, holders, old, new, [("comment", phrase)], phrase_in_reply=0.35 if shown else 0.1, **{why: weight}, wording=0.15 * bool(told)
        )
    if corrected:
        yield from _from_correction(brief, reply, corrected, told)
    yield from _sentences(brief, told)


def _from_correction(brief: Brief, reply: str, corrected: str, told: int) -> Iterator[Offer]:
    """The reviewer sent the right text: where it differs in one stretch of one template, that stretch is the phrase."""
    made = template_of(reply, brief.inventory)
    if made is None:
        return
    body = made[1].text
    # a corrected reply may leave the greeting out
    pair = min((found for found in (replaced(reply, corrected), replaced(body, corrected)) if found), key=lambda one: len(one[0]), default=None)
    if pair is None or not pair[0].strip():
        return
    old, new = pair[0].strip(), pair[1].strip()
    holders = holding(brief, old)
    share = len(old) / max(len(body), 1)
    if holders and len(old) >= 3 and share < 0.6:
        yield from _offer(brief, holders, old, new, [("plan", old)], corrected=0.6 if share < 0.4 else 0.3, wording=0.15 * bool(told))


def _sentences(brief: Brief, told: int) -> Iterator[Offer]:
    """Each sentence of the template that may be one too many: quoted, said in the comment, seen twice, or at the end of a disliked text."""
    made = template_of(brief.case.plan.reply, brief.inventory)
    holder = next((entry for entry in brief.inventory.of(Step.reply) if made and ".".join(entry.parts) == made[0]), None)
    if holder is None:
        return
    text, comment = _text(holder), brief.case.comment
    parts = [part for part in re.findall(r"[^.!?]+[.!?]+\s*|[^.!?]+$", text) if part.strip()]
    said = set(content(comment))
    yield from _address(brief, holder, text)
    phrases = quoted(comment)
    replaced_by = [phrase for phrase in phrases if not exact(brief.case.plan.reply, phrase)]
    marked = [exact(text, phrase) for phrase in phrases if not replaced_by]
    wording = max(tells(comment, "text"), 0.8 * tells(comment, "rule"), float(bool(told)))
    for place, part in enumerate(parts):
        old = (" " + part.strip()) if place and " " + part.strip() in text else part
        if len(parts) < 2 or text.count(old) < 1:
            continue
        others = len(holding(brief, part.strip())) - 1
        words_said = {word for word in content(part) if word in said}
        weights = {
            "said": 0.12 * min(3, len(words_said)), "quoted": 0.45 * any(phrase and phrase in part for phrase in marked),
            "named": 0.2 * (part.strip(" .") in comment), "twice": 0.4 * _twice(part, parts),
            "last": 0.2 * (place == len(parts) - 1), "wording": 0.2 * wording,
            "last_said": 0.2 * (place == len(parts) - 1 and bool(says("last_sentence", comment))), "shared": -0.1 * min(2, others),
            "odd": 0.1 * bool(re.search(r"[0-9]{2}|[A-Z]{2,}[0-9-]|>", part)), "slots": -0.15 * ("{" in part),
        }  # fmt: skip
        with suppress(ValidationError):
            yield Offer(
                step=Step.reply,
                target=holder.id,
                change=_without(brief, holder, old),
                summary="Take one sentence out of a template.",
                signals=signals(**weights),
                must_not=[Expectation(part="reply", contains=part.strip())] if text.count(part.strip()) == 1 and "{" not in part else [],
                instead="the same reply without the sentence",
            )


_ADDRESS = re.compile(r"(?:dear|hello|hi|good (?:morning|day)|sehr geehrte[rs]?|liebe[rs]?|guten tag)\b[^,.!?{}\n]{0,60},\s*", re.IGNORECASE)


def _address(brief: Brief, holder: Entry, text: str) -> Iterator[Offer]:
    """An address by a fixed name that stands in the template itself."""
    found = _ADDRESS.match(text)
    if not found or len(found.group()) > len(text) / 2:
        return
    old, comment = found.group(), brief.case.comment
    named = set(content(old)) & set(content(comment))
    with suppress(ValidationError):
        yield Offer(
            step=Step.reply,
            target=holder.id,
            change=_without(brief, holder, old),
            summary="Take an address by a fixed name out of a template.",
            signals=signals(
                fixed_address=0.45,
                named=0.15 * min(2, len(named)),
                wrong_person=0.15 * tells(comment, "record"),
                wording=0.15 * tells(comment, "text"),
            ),
            must_not=[Expectation(part="reply", contains=old.strip())],
            instead="the same reply with the usual greeting alone",
        )


def _without(brief: Brief, holder: Entry, old: str) -> ChangeReplyTemplate:
    """A phrase out of every template that holds it, the plan's own at least."""
    templates = [".".join(entry.parts) for entry in holding(brief, old) or [holder]]
    return ChangeReplyTemplate(templates=templates, old=old, new="")


def _twice(part: str, parts: list[str]) -> bool:
    """Whether a sentence stands there twice, or says the same words twice within itself."""
    own = list(words(part))
    half = next((size for size in range(2, len(own) // 2 + 1) if own[:size] == own[size : 2 * size]), 0)
    return bool(half) or sum(part.strip() == other.strip() for other in parts) > 1


def _instead(comment: str, corrected: str | None, reply: str, phrase: str, phrases: list[str]) -> tuple[str | None, str]:
    place = phrases.index(phrase)
    in_order = [*phrases[place + 1 :], *phrases[:place]]  # what follows a phrase is what it should have been
    others = [other for other in in_order if fold(other) != fold(phrase) and not exact(reply, other)]
    if others:
        return others[0], "quoted"
    if corrected is not None:
        pair = replaced(reply, corrected)
        if pair and fold(phrase).strip(" .") in fold(pair[0]):
            return pair[1].strip(), "corrected"
    rest = comment.replace(phrase, " ")
    called = [match.strip() for match in _CALLED.findall(rest) if "fault" not in match and len(match.split()) <= 5]
    if called and says("wording", comment):
        return called[-1], "called"
    return ("", "out") if _OUT.search(rest) else (None, "quoted")


def _offer(brief: Brief, holders: list[Entry], old: str, new: str, quotes: list[tuple[str, str]], **weights: float) -> Iterator[Offer]:
    names = [".".join(entry.parts) for entry in holders]
    made = template_of(brief.case.plan.reply, brief.inventory)
    first = next((entry for entry in holders if made and ".".join(entry.parts) == made[0]), holders[0])
    with suppress(ValidationError):
        yield Offer(
            step=Step.reply,
            target=first.id,
            change=ChangeReplyTemplate(templates=names, old=old, new=new),
            summary=f"Replace one phrase in {len(names)} template{'s' if len(names) > 1 else ''}."
            if new
            else f"Take one phrase out of {len(names)} template(s).",
            signals=signals(**weights),
            quotes=quotes,
            must=[Expectation(part="reply", contains=new)] if new else [],
            must_not=[Expectation(part="reply", contains=old)],
            instead="the same reply with the new phrase" if new else "the same reply without the phrase",
        )


def holding(brief: Brief, phrase: str) -> list[Entry]:
    """The templates that hold a phrase."""
    return [entry for entry in brief.inventory.of(Step.reply) if exact(_text(entry), phrase)] if len(phrase.strip()) >= 3 else []


def _text(entry: Entry) -> str:
    text = entry.view.get("text", entry.value)
    return text if isinstance(text, str) else ""
