"""The course of the critic's questions for one case, as a generator: rounds of asks go out, their outcomes come in, an answer ends it.

Whoever drives it decides how asks are sent: one by one, side by side, or the same round of many cases as one batch. Nothing is asked twice, and no
question says "look again": a second pass comes only with new facts in the brief.
"""

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from rubric.asks import (
    ABSTAIN,
    MOST_IDS,
    Rule,
    choice_of,
    fields_of,
    fill_ask,
    in_part,
    locate_ask,
    parts_of,
    rules_ask,
    rules_of,
    target_ask,
)
from rubric.catalogue import Catalogue
from rubric.choices import KINDS
from rubric.choosing.kinds import Place
from rubric.drafting import Abstained, Answered, Ask, AskOutcome, Brief, Drafted, InvalidOutput, Precedent, Refused, TransportError, Truncated
from rubric.precedents import hint_of, nearest, varied_precedents
from rubric.proposals.offer import Offer
from rubric.recipes import Change, PromoteOtherIntent, RefineIntentBoundary
from rubric.schema import Confidence, Expectation, Hint, Outcome, Step
from rubric.strict import Unreadable

SAMPLES, MORE = 3, 5
"""how often a choice is asked for, and how often when the first answers differ"""
SHOWN = 5
"""precedents that a question shows"""
UNREAD = "unreadable"
"""stands for a choice that cannot be read"""
LONGER = 3
"""times the room that an answer gets which was cut off the first time"""

Failed = Refused | Truncated | InvalidOutput | TransportError
CriticOutcome = Drafted | Abstained | Failed
Found = TypeVar("Found")
Course = Generator[list[Ask], list[AskOutcome], CriticOutcome]


class _Ended(Exception):
    """An ask without an answer, which the course cannot go on without."""

    def __init__(self, outcome: Failed):
        super().__init__(outcome.kind)
        self.outcome = outcome


def course(brief: Brief, catalogue: Catalogue) -> Course:
    """Rules and evidence, then for each rule kind, place and filling. Ends in hints, an abstention, or the outcome that stopped it."""
    hints: list[Hint] = []
    answers: list[Abstained] = []
    lost: list[Failed] = []
    try:
        ask = rules_ask(brief)
        rules = _read(ask, (yield from _answered([ask]))[0], lambda reply: rules_of(brief, reply))
        for number, rule in enumerate(rules, start=1):
            try:
                found = yield from _of_rule(brief, catalogue, rule, number)
            except _Ended as ended:
                if isinstance(ended.outcome, TransportError):
                    raise
                lost.append(ended.outcome)
                continue
            if isinstance(found, Hint):
                hints.append(found)
            else:
                answers.append(found)
    except _Ended as ended:
        return ended.outcome
    unread = [f"{len(lost)} of {len(rules)} rules could not be read"] if lost else []
    if hints:
        return Drafted(hints=hints, notes=[f"{len(rules)} rule(s) read, {len(hints)} with a change", *unread])
    if answers:
        return answers[0].model_copy(update={"reason": "; ".join([answers[0].reason, *unread])})
    if lost:
        return lost[0]
    return Abstained(outcome=Outcome.unclear_ask_back, reason="no_evidence: no quote of the comment carries a rule")


def _of_rule(brief: Brief, catalogue: Catalogue, rule: Rule, number: int) -> Generator[list[Ask], list[AskOutcome], Hint | Abstained]:
    shown = varied_precedents(brief, SHOWN)
    (choice, place), agree, of = yield from _sampled(brief, catalogue, rule, number, shown)
    if 2 * agree <= of:
        return Abstained(outcome=Outcome.unclear_ask_back, reason=f"split: the likeliest of {of} readings came {agree} time(s)")
    if choice == ABSTAIN:
        return Abstained(outcome=Outcome.unclear_ask_back, reason=f"the quotes carry no change, {agree} of {of} readings say")
    if choice in Outcome.__members__:
        return Abstained(outcome=Outcome(choice), reason=f"{catalogue.outcome(Outcome(choice)).title}, {agree} of {of} readings say")
    like = varied_precedents(brief, SHOWN, first=choice, step=str(catalogue.recipe(choice).step))
    ask = fill_ask(brief, catalogue, rule, number, choice, place, like)
    filled = (yield from _answered([ask]))[0]
    target, change = _read(ask, filled, lambda reply: fields_of(brief, reply, ask, choice, place))
    return _hint(brief, catalogue, rule, target, change, Confidence(agree=agree, of=of), [*shown, *like])


def _sampled(
    brief: Brief, catalogue: Catalogue, rule: Rule, number: int, shown: Sequence[Precedent]
) -> Generator[list[Ask], list[AskOutcome], tuple[tuple[str, str], int, int]]:
    """((choice, place), how many agree, of how many). Answers that cannot be read count against agreement; raises `_Ended` when all are such."""
    said: list[tuple[str, str]] = []
    lost: list[Failed] = []
    for first, last in ((0, SAMPLES), (SAMPLES, MORE)):
        said += yield from _samples(brief, catalogue, rule, number, range(first, last), shown, lost)
        if all(choice == UNREAD for choice, _ in said):
            raise _Ended(lost[-1])
        best, agree = Counter(said).most_common(1)[0]
        if agree == len(said):
            break
    return best, agree, len(said)


def _samples(
    brief: Brief, catalogue: Catalogue, rule: Rule, number: int, samples: range, shown: Sequence[Precedent], lost: list[Failed]
) -> Generator[list[Ask], list[AskOutcome], list[tuple[str, str]]]:
    """(choice, place) of each sample. One that cannot be read agrees with no other, and what became of it goes into `lost`."""
    asks = [locate_ask(brief, catalogue, rule, number, sample, shown) for sample in samples]
    choices = _choices(asks, (yield from _answered(asks)), lost)
    places = {choice: KINDS[choice].places(brief) for choice in choices if choice in KINDS}
    said = {sample: (choice, places[choice][0].id if choice in places else "") for sample, choice in zip(samples, choices, strict=True)}
    said |= {sample: (UNREAD, str(sample)) for sample, (choice, _) in said.items() if choice == UNREAD}
    open_ = {sample: places[choice] for sample, (choice, _) in said.items() if choice in places and len(places[choice]) > 1}
    wide = {sample: found for sample, found in open_.items() if len(found) > MOST_IDS}
    chosen: dict[int, str] = {}
    if wide:
        parts = yield from _placed(brief, catalogue, rule, number, {one: (said[one][0], parts_of(found)) for one, found in wide.items()}, 1, lost)
        open_ |= {sample: in_part(wide[sample], part) for sample, part in parts.items()}
        chosen = {sample: part for sample, part in parts.items() if part == UNREAD}
    listed = {sample: (said[sample][0], found) for sample, found in open_.items() if found and sample not in chosen}
    chosen |= yield from _placed(brief, catalogue, rule, number, listed, 0, lost)
    for sample in open_:
        place = chosen.get(sample, ABSTAIN)
        said[sample] = {ABSTAIN: (ABSTAIN, ""), UNREAD: (UNREAD, str(sample))}.get(place, (said[sample][0], place))
    return list(said.values())


def _placed(
    brief: Brief, catalogue: Catalogue, rule: Rule, number: int, listed: dict[int, tuple[str, list[Place]]], stage: int, lost: list[Failed]
) -> Generator[list[Ask], list[AskOutcome], dict[int, str]]:
    """sample → what was chosen among its places"""
    asks = [target_ask(brief, catalogue, rule, number, sample, recipe, found, stage) for sample, (recipe, found) in listed.items()]
    if not asks:
        return {}
    return dict(zip(listed, _choices(asks, (yield from _answered(asks)), lost), strict=True))


def _choices(asks: Sequence[Ask], outcomes: Sequence[AskOutcome], lost: list[Failed]) -> list[str]:
    """One choice for each ask; `UNREAD` where there is none."""
    found = []
    for ask, outcome in zip(asks, outcomes, strict=True):
        try:
            found.append(_read(ask, outcome, lambda reply, ask=ask: choice_of(reply, ask)))  # type: ignore[misc]
        except _Ended as ended:
            if isinstance(ended.outcome, TransportError):
                raise
            found.append(UNREAD)
            lost.append(ended.outcome)
    return found


def _answered(asks: list[Ask]) -> Generator[list[Ask], list[AskOutcome], list[AskOutcome]]:
    """Outcomes of a round; what was cut off for want of room is asked once more with more of it."""
    outcomes = list((yield asks))
    cut = [place for place, outcome in enumerate(outcomes) if isinstance(outcome, Truncated) and outcome.by == "max_tokens"]
    if cut:
        longer = [_longer(asks[place]) for place in cut]
        for place, outcome in zip(cut, (yield longer), strict=True):
            outcomes[place] = outcome
    return outcomes


def _longer(ask: Ask) -> Ask:
    return ask.model_copy(update={"most_tokens": LONGER * ask.most_tokens, "key": f"{ask.key} longer"})


def _read(ask: Ask, outcome: AskOutcome, reader: Callable[[Answered], Found]) -> Found:
    if not isinstance(outcome, Answered):
        raise _Ended(outcome)
    try:
        return reader(outcome)
    except Unreadable as error:
        raise _Ended(InvalidOutput(why=f"{ask.name}: {error.code}: {error}", receipt=outcome.receipt)) from None


def _hint(brief: Brief, catalogue: Catalogue, rule: Rule, target: str, change: Change, confidence: Confidence, shown: Sequence[Precedent]) -> Hint:
    card = catalogue.recipe(change.recipe)
    home = brief.inventory.entries.get(target)
    step = Step(card.step) if card.step != "any" else home.step if home else Step.plan
    must = []
    if isinstance(change, RefineIntentBoundary):
        must = [Expectation.model_validate({"part": "intent", "is": f"{change.to_parent}/{change.to_leaf}"})]
    elif isinstance(change, PromoteOtherIntent):
        must = [Expectation.model_validate({"part": "intent", "is": f"{change.parent}/{change.leaf}"})]
    offer = Offer(
        step=step, target=target, change=change, summary=f"{card.title}: {target}.", signals=[], must=must, instead="what the reviewer asks for",
        quotes=[(span.source, span.quote) for span in rule.quotes],
    )  # fmt: skip
    made = hint_of(brief, catalogue, offer, nearest(brief.case.comment, brief.precedents))
    ids = list(dict.fromkeys(one.case_id for one in shown))
    return made.model_copy(update={"confidence": confidence, "evidence": rule.quotes, "precedents": ids})
