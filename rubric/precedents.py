"""The precedent critic: candidates from every step, weighed by what people decided on like comments; abstains when unsure."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from pydantic import ValidationError
from rapidfuzz import fuzz, process

from rubric.catalogue import Catalogue
from rubric.drafting import Abstained, Brief, Candidate, Drafted, Precedent
from rubric.entries import Entry, Inventory
from rubric.expectations import record_of
from rubric.proposals import boundary, extraction, fetch, plan, policy, promotion, repair, reply
from rubric.proposals.offer import Offer
from rubric.reading import content, exact, fold, said_in
from rubric.recipes import (
    AddExtractionField,
    AddPlanBranch,
    AddPolicyRule,
    AdjustFetchThreshold,
    AdjustFetchWeight,
    AlterPlanBranch,
    Change,
    ChangeReplyTemplate,
    PromoteOtherIntent,
    RefineIntentBoundary,
    edit_of,
)
from rubric.schema import Confidence, Hint, Outcome, Risk, Span, Step, WorkedExample, text_of
from rubric.symptoms import asks_for_nothing

SURE = 0.7
"""score from which a candidate is offered to a person"""
MARGIN = 0.08
"""lead over the next candidate of another target; less is two readings"""
NEAR = 72.0
"""rapidfuzz score from which a precedent's comment counts as like"""
NEAREST = 5
RULES = 3
"""most hints for one comment"""
IN_PLAY = 0.35
"""score that a change starts with which is in play for another rejection"""
FAINT, MOST, PER_RECIPE = 0.2, 24, 6
"""score from which a candidate is worth a replay, how many are kept, and how many of one recipe"""

_SLUG = re.compile(r"[a-z][a-z0-9_]{0,59}")


def answer(brief: Brief, catalogue: Catalogue) -> Drafted | Abstained:
    """A hint per rule that the comment holds, or the reason why there is none. The same brief gives the same answer."""
    near = nearest(brief.case.comment, brief.precedents)
    if asks_for_nothing(brief.case.comment):
        return Abstained(outcome=Outcome.one_off, reason=catalogue.outcome(Outcome.one_off).title)
    outcome = _outcome(brief.case.comment, catalogue, near)
    ranked = rank(brief, catalogue, near)
    candidates = [Candidate(hint=hint_of(brief, catalogue, offer, near), score=score, together=offer.together) for score, offer in _varied(ranked)]
    if not ranked or ranked[0][0] < SURE:
        if outcome is not None:
            return Abstained(outcome=outcome, reason=catalogue.outcome(outcome).title, candidates=candidates)
        weak = f"the best reading was {ranked[0][1].change.recipe}, too weak to offer" if ranked else "nothing in the comment points at a change"
        return Abstained(outcome=Outcome.unclear_ask_back, reason=weak, candidates=candidates)
    rules = _rules(brief, ranked)
    rivals = [one for one in ranked[1:] if one[1].target != ranked[0][1].target and one[1] not in rules]
    if rivals and ranked[0][0] - rivals[0][0] < MARGIN:
        reason = f"two readings are equally likely: {ranked[0][1].change.recipe} and {rivals[0][1].change.recipe}"
        return Abstained(outcome=Outcome.unclear_ask_back, reason=reason, candidates=candidates)
    notes = [f"{signal.name} {signal.weight:+.2f}" for offer in rules for signal in offer.signals]
    taken = [hint_of(brief, catalogue, offer, near) for offer in rules]
    rest = [one for one in candidates if all(one.hint.change != hint.change for hint in taken)]
    return Drafted(hints=taken, notes=notes, candidates=rest)


def adopted(brief: Brief, catalogue: Catalogue, most: int) -> list[Candidate]:
    """Changes that are in play for other rejections and may cure this one too, those that most ask for first."""
    count: Counter[str] = Counter()
    first: dict[str, Hint] = {}
    for hint in brief.open_hints:
        key = json.dumps(edit_of(hint.change.model_dump(mode="json")), sort_keys=True)
        if _may_touch(brief, hint):
            count[key] += 1
            first.setdefault(key, hint)
    near = nearest(brief.case.comment, brief.precedents)
    found = []
    for key, times in count.most_common(most):
        hint = first[key]
        summary = f"The change that {times} other rejection{'s' if times > 1 else ''} asked for: {hint.recipe} at {hint.target}."
        offer = Offer(step=hint.step, target=hint.target, change=_own(brief, hint), summary=summary, signals=[], instead=summary)
        score = IN_PLAY + 0.03 * min(times, 5) + 0.1 * min(1, said_of(brief.case.comment, catalogue, hint.recipe)) + support(offer, near)
        found.append(Candidate(hint=hint_of(brief, catalogue, offer, near), score=score))
    return found


def _may_touch(brief: Brief, hint: Hint) -> bool:
    """Whether a change is at a place that this case came past: its leaf or parent, its template, or what all cases share."""
    change, leaf = hint.change, brief.case.plan.leaf
    match change:
        case RefineIntentBoundary():
            return leaf == f"{change.from_parent}/{change.from_leaf}"
        case PromoteOtherIntent():
            other = brief.inventory.entries.get(hint.target)  # how its id is spelled is the target's business
            return other is not None and "/".join(other.words) == leaf
        case ChangeReplyTemplate():
            return bool(exact(brief.case.plan.reply, change.old))
        case AddPlanBranch() | AlterPlanBranch():
            return leaf == change.leaf
        case AddPolicyRule():
            return leaf.split("/")[0] in change.scope or "*" in change.scope
        case _:
            return hint.step in (Step.extraction, Step.fetch)


def _own(brief: Brief, hint: Hint) -> Change:
    """The edit of another case's hint, argued for with this case: no text and no sums of the other one come along."""
    match hint.change:
        case AdjustFetchWeight() as change:
            more = change.to - change.from_
            found = {one.record_id: (one.score, one.score + more * (change.field in one.matched_fields)) for one in brief.case.plan.fetch}
            return change.model_copy(update={"scores": found})
        case AdjustFetchThreshold() as change:
            return change.model_copy(update={"flips": []})
        case AddExtractionField() as change:
            return change.model_copy(update={"example": change.field.replace("_", " ")})
        case AddPlanBranch() as change:
            return change.model_copy(update={"cells": []})
        case PromoteOtherIntent() as change:
            stay = [one.case_id for one in brief.accepted if one.case.plan.leaf == brief.case.plan.leaf]
            return change.model_copy(update={"cases": list(dict.fromkeys([*change.cases, brief.case_id])), "look_alikes": stay[:2]})
        case change:
            return change


def _rules(brief: Brief, ranked: Sequence[tuple[float, Offer]]) -> list[Offer]:
    """The best reading, and other sure ones that rest on another part of the comment: one comment may hold several rules."""
    chosen: list[Offer] = []
    said: list[tuple[int, int]] = []
    for score, offer in ranked:
        if score < SURE or len(chosen) == RULES:
            break
        spans = [(span.start, span.end) for span in _evidence(brief, offer, quoted_only=bool(chosen)) if span.source == "comment"]
        apart = all(end <= start or other <= begin for begin, end in spans for start, other in said)
        if not chosen or (spans and apart):
            chosen.append(offer)
            said += [(span.start, span.end) for span in _evidence(brief, offer, quoted_only=True) if span.source == "comment"] or [
                (0, len(brief.case.comment))
            ]
    return chosen


def _varied(ranked: Sequence[tuple[float, Offer]]) -> list[tuple[float, Offer]]:
    """The best candidates, no recipe filling the list alone; of those that are tried in one go all."""
    count: Counter[str] = Counter()
    kept = []
    for score, offer in ranked:
        if offer.together:
            kept.append((score, offer))
            continue
        count[offer.change.recipe] += 1
        if score >= FAINT and count[offer.change.recipe] <= PER_RECIPE and count.total() <= MOST:
            kept.append((score, offer))
    return kept


def rank(brief: Brief, catalogue: Catalogue, near: Sequence[Precedent]) -> list[tuple[float, Offer]]:
    """All candidates with their scores, best first, the best one per change."""
    found: dict[str, tuple[float, Offer]] = {}
    seen = brief.model_copy(update={"inventory": nameable(brief.inventory)})
    for room in (boundary, promotion, extraction, fetch, plan, policy, repair, reply):
        with suppress(ValidationError):  # rooms leave out what cannot be written down; one that does not costs no other room
            for offer in room.offers(seen):
                score = offer.score + 0.1 * min(2, said_of(brief.case.comment, catalogue, offer.change.recipe)) + support(offer, near)
                with suppress(ValueError):  # half a character inside a tool, which no JSON can hold
                    key = offer.change.model_dump_json()
                    found[key] = max(found.get(key, (score, offer)), (score, offer), key=lambda one: one[0])
    return sorted(found.values(), key=lambda one: (-one[0], one[1].target, one[1].change.model_dump_json()))


def nameable(inventory: Inventory) -> Inventory:
    """An inventory without what no change can name: a field in camel case, a condition that is longer than a name."""
    fit = {name: entry for name, entry in inventory.entries.items() if _can_be_named(entry)}
    return inventory if len(fit) == len(inventory.entries) else Inventory.model_construct(entries=fit, spoken_of=inventory.spoken_of)


def _can_be_named(entry: Entry) -> bool:
    short = all(0 < len(word) <= 120 and word.isprintable() for word in (*entry.words, str(entry.view.get("condition", "-"))))
    slugs = entry.words[:-1] if entry.step is Step.plan and "condition" in entry.view else entry.words
    return short and (entry.step is Step.reply or all(_SLUG.fullmatch(word) for word in slugs))


def said_of(comment: str, catalogue: Catalogue, recipe: str) -> int:
    """How many of a recipe's cues a comment holds."""
    cues = catalogue.recipe(recipe).cues
    return said_in(comment, (*cues.en, *cues.de))


def nearest(comment: str, precedents: Sequence[Precedent]) -> list[Precedent]:
    """The precedents with the most alike comments, at most five, best first."""
    texts = [fold(one.comment) for one in precedents]
    scored = process.extract(fold(comment), texts, scorer=fuzz.token_set_ratio, processor=None, score_cutoff=NEAR, limit=None)
    close = [(score, precedents[place]) for _, score, place in scored if len(content(precedents[place].comment)) >= 2]
    return [one for _, one in sorted(close, key=lambda one: (-one[0], one[1].case_id))[:NEAREST]]


def varied_precedents(brief: Brief, most: int, first: str = "", step: str = "") -> list[Precedent]:
    """Precedents to show to a model: near ones, no recipe twice before each was there once, `first` and its step in front, none of this customer."""
    own, said = record_of(brief.case.plan), fold(brief.case.comment)
    scored = [
        (fuzz.token_set_ratio(said, fold(one.comment)) + 10 * (one.leaf == brief.case.plan.leaf), one)
        for one in brief.precedents
        if one.case_id != brief.case_id and not (own and one.record == own)
    ]
    ranked = [one for _, one in sorted(scored, key=lambda pair: (-pair[0], pair[1].case_id))]
    times: Counter[str] = Counter()
    placed: list[tuple[int, int, int, Precedent]] = []
    for place, one in enumerate(ranked[: 40 * most]):
        placed.append((times[one.recipe], 0 if one.recipe == first else 1 if one.step == step else 2, place, one))
        times[one.recipe] += 1
    return [one for *_, one in sorted(placed, key=lambda row: (row[1] if first else 0, *row[:3]))[:most]]


def support(offer: Offer | Hint, near: Sequence[Precedent]) -> float:
    """What is added to a score where decisions on like comments named the same recipe, and the same place."""
    if not near:
        return 0.0
    same = sum(one.recipe == offer.change.recipe for one in near)
    here = sum(one.recipe == offer.change.recipe and one.target == offer.target for one in near)
    return 0.15 * same / len(near) + 0.15 * here / len(near)


def _outcome(comment: str, catalogue: Catalogue, near: Sequence[Precedent]) -> Outcome | None:
    """An answer without a fix that the comment's words or like decisions call for."""
    said = fold(comment).strip()
    equal = next((one for one in near if fold(one.comment).strip() == said and one.recipe in Outcome.__members__), None)
    if equal:
        return Outcome(equal.recipe)
    counted = {outcome: said_in(comment, (*catalogue.outcome(outcome).cues.en, *catalogue.outcome(outcome).cues.de)) for outcome in Outcome}
    best = max(counted, key=lambda outcome: counted[outcome])
    return best if counted[best] else None


def hint_of(brief: Brief, catalogue: Catalogue, offer: Offer, near: Sequence[Precedent]) -> Hint:
    """An offer written down as a hint for a brief's case."""
    card = catalogue.recipe(offer.change.recipe)
    entry = brief.inventory.entries.get(offer.target)
    careful = entry is not None and entry.stability == "careful" and card.risk.level is Risk.low
    like = sum(one.recipe == offer.change.recipe for one in near)
    return Hint(
        step=offer.step,
        target=offer.target,
        change=offer.change,
        evidence=_evidence(brief, offer),
        summary=offer.summary,
        worked_example=WorkedExample(case_id=brief.case_id, plan_now=_now(brief, offer), plan_instead=offer.instead),
        cure_case=brief.case_id,
        controls=[one.case_id for one in brief.accepted[:20]],
        must=offer.must,
        must_not=offer.must_not,
        risk=Risk.careful if careful else card.risk.level,
        risk_reason="the owners ask for care with this entry" if careful else card.risk.reason,
        confidence=Confidence(agree=like, of=len(near), of_precedents=True),
    )


def _now(brief: Brief, offer: Offer) -> str:
    return {
        "intent": f"goes to {brief.case.plan.leaf}",
        "extraction": "does not read the value",
        "fetch": f"best candidate is {brief.case.plan.fetch[0].record_id}" if brief.case.plan.fetch else "finds no record",
        "plan": "takes another branch",
        "reply": "the reply holds the old phrase",
    }.get(offer.step, "as it is")


def _evidence(brief: Brief, offer: Offer, *, quoted_only: bool = False) -> list[Span]:
    """Verbatim quotes: what the candidate names, and the sentence of the comment that says most of it."""
    spans = []
    telling = [] if quoted_only else [("comment", _telling(brief.case.comment, offer))]
    for source, quote in [*offer.quotes, *telling]:
        text = text_of(brief.case, source)
        found = quote if quote in text else exact(text, quote)
        if found and found.strip():
            start = text.index(found)
            spans.append(Span.model_validate({"source": source, "quote": found, "start": start, "end": start + len(found)}))
    return list(dict.fromkeys(spans))


def _telling(comment: str, offer: Offer) -> str:
    """The sentence of a comment that shares most words with the change; the whole comment when it is short."""
    if len(comment) <= 120:
        return comment
    sentences = [one for one in re.split(r"(?<=[.!?])\s+|\n", comment) if one.strip()]
    wanted = set(content(f"{offer.change.model_dump_json()} {offer.summary} {offer.target}".replace("_", " ")))
    return max(sentences, key=lambda one: len(wanted & set(content(one))), default=comment)[:500]
