"""Drafts hints for one rejection: reads what is known, asks the critic, leaves linted hints or an abstention."""

from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from connectors.ports import PortError, Ports
from rubric.calibration import Decision, calibrate
from rubric.catalogue import RECIPES, Catalogue
from rubric.drafting import Abstained, Brief, Drafted, Neighbour, Precedent
from rubric.hygiene import clean, cut
from rubric.lint import lint
from rubric.recipes import Change
from rubric.schema import Hint, Outcome, Verdict
from rubric.suspicion import noted
from service import drafts, proving
from service.answering import Tests, answered
from service.db import Database
from service.errors import IllegalMove, NotFound
from service.lifecycle import DraftState, ReviewState
from service.store import calls, cases, examples, handoffs, hints, history, originals
from service.targets import Target, host_of, look_around
from service.trials import Trials

MAX_ATTEMPTS = 5
"""A case that takes its worker down this often is set aside."""
MOST_WAITS, FIRST_WAIT, LONGEST_WAIT = 10, 5.0, 900.0
"""how often a draft is put off, and seconds of the first and the longest wait: in all about an hour and a half"""
UNCOUNTED = frozenset(["spend_cap_hour", "spend_cap_day", "in_batch"])
"""codes of waits that say nothing about the server: they go on as long as they last"""
PRECEDENTS, NEIGHBOURS, IN_PLAY, COMPANIONS = 2000, 60, 300, 24


@dataclass(frozen=True)
class _Answer:
    drafted: list[tuple[Hint, list[dict[str, object]]]]
    abstained: Abstained | None
    target: Target
    cost: dict[str, object]


def draft(db: Database, ports: Ports, catalogue: Catalogue, case_id: str, trials: Trials | None = None) -> None:
    """Draft hints for a queued, redacted case. Safe to repeat: a case that has its answer is left alone.

    With `trials` every candidate is tried on the case and on accepted ones first; without, drafts are offered untried.
    """
    brief_parts = _read(db, ports, case_id)
    if brief_parts is None:
        return
    row, neighbours = brief_parts
    try:
        answer = _ask(ports, catalogue, row, neighbours, trials)
    except PortError as error:
        _put_off(db, case_id, error)
        return
    _write(db, ports, catalogue, row, answer)


def _put_off(db: Database, case_id: str, error: PortError) -> None:
    """What may succeed later the engine tries again, ever less often; all else is a failure with its code.

    As late as the other side asks, up to `LONGEST_WAIT`: whoever raises a cap or tops up an account should not wait for the morning.
    """
    with db.begin() as session:
        case = cases.get(session, case_id)
        if case is None or case.state is not DraftState.queued:
            return
        counts = error.code not in UNCOUNTED
        if not error.retryable or (counts and case.waits >= MOST_WAITS):
            tries = f" ({case.waits + 1} times)" if case.waits else ""
            history.move(session, case, DraftState.failed, by="critic", why=f"{error}{tries}", reason=error.code)
            return
        case.waits += counts
        case.attempts = max(0, case.attempts - 1)  # the worker lives; only crashes count there
        wait = min(LONGEST_WAIT, max(error.retry_after or 0.0, FIRST_WAIT * 2 ** max(0, case.waits - 1) if counts else FIRST_WAIT))
        tried = f"tried {case.waits} time{'s' if case.waits > 1 else ''}, " if counts else ""
        case.reason = f"{error.code}: {error}; {tried}next in {_duration(wait)}"
        turn = f"{case.waits}" if counts else f"{case.waits}-{db.now().timestamp():.3f}"
        history.enqueue(session, "draft", case.id, f"wait-{turn}-{history.moves_of(session, 'cases', case.id)}", wait)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def draft_again(db: Database, case_id: str, *, by: str) -> cases.CaseRow:
    """Ask the critic once more, after it abstained or failed: all anew, unless it failed for want of something, then it goes on."""
    with db.begin() as session:
        row = cases.get(session, case_id)
        if row is None:
            raise NotFound(f"there is no case {case_id!r}")
        if row.state not in (DraftState.abstained, DraftState.failed):
            raise IllegalMove(f"case {case_id} is {row.state}; only an abstention or a failure can be tried again", state=str(row.state))
        goes_on = drafts.is_unfinished(row.state, row.reason)
        history.move(session, row, DraftState.queued, by=by, why="draft again", attempts=0, waits=0, outcome=None, reason=None)
        if goes_on:
            drafts.carry_on(session, row.id)
        history.enqueue(session, "draft", row.id, f"again-{history.moves_of(session, 'cases', row.id)}")
        return row


@dataclass(frozen=True)
class _Around:
    rejected: list[Neighbour]
    accepted: list[Neighbour]
    precedents: list[Precedent]
    open_hints: list[tuple[str, Hint]]
    held_out: frozenset[str]
    """those of the open hints whose cases are held out: lint may name them as twins, a critic never sees them"""
    rules: list[tuple[str, Change]]
    """changes that are confirmed, which lint holds a draft against; a critic never sees them"""
    decisions: list[Decision]
    """what came of this critic's hints"""
    originals: dict[str, dict[str, Any]]
    """the case, like rejections and the nearest controls as received, for replay only"""

    def lab(self, brief: Brief) -> proving.Around:
        """What a candidate is tried on."""
        rejected = {one.case_id: one.case for one in self.rejected if one.case_id in self.originals}
        accepted = [one.case_id for one in self.accepted if one.case_id in self.originals]
        return proving.Around(brief.case_id, {**rejected, brief.case_id: brief.case}, accepted, self.originals)


def _read(db: Database, ports: Ports, case_id: str) -> tuple[cases.CaseRow, _Around] | None:
    with db.begin() as session:
        row = cases.get(session, case_id)
        if row is None or row.state is not DraftState.queued or row.work is None:
            return None
        row.attempts += 1
        if row.attempts > MAX_ATTEMPTS:
            history.move(session, row, DraftState.failed, by="critic", why=f"tried {MAX_ATTEMPTS} times", reason="crashed_repeatedly")
            return None
    with db.read() as session:
        return row, _around(session, ports, row)


def _around(session: Session, ports: Ports, row: cases.CaseRow) -> _Around:
    rejected = [
        Neighbour(case_id=near.id, case=near.case, sealed=cases.sealed(row, near))
        for near in cases.neighbours(session, row, Verdict.rejected, NEIGHBOURS)
    ]
    accepted = [Neighbour(case_id=near.id, case=near.case) for near in cases.neighbours(session, row, Verdict.accepted, NEIGHBOURS)]
    known = [one for one in examples.usable(session, row.target, PRECEDENTS, like=row.comment or "") if one.case_id != row.id]
    inputs = originals.bodies(session, [row.id, *(one.case_id for one in (*accepted[: ports.limits.controls], *rejected[:COMPANIONS]))])
    open_hints = hints.in_play(session, row.target, IN_PLAY)
    sealed = cases.held_out(session, {hint.case_id for hint in open_hints})
    held_out = frozenset(hint.id for hint in open_hints if hint.case_id in sealed)
    rules = handoffs.in_force(session, hints.rules(session, row.target, RECIPES))
    decisions = hints.decided(session, row.target, ports.critic.name)
    return _Around(rejected, accepted, known, [(hint.id, hint.hint) for hint in open_hints], held_out, rules, decisions, inputs)


def _ask(ports: Ports, catalogue: Catalogue, row: cases.CaseRow, around: _Around, trials: Trials | None) -> _Answer:
    brief, target = _told(ports, row, around)
    reply: Drafted | Abstained
    if _leaf_is_gone(brief):
        reply = Abstained(outcome=Outcome.not_reproducible, reason=f"the target has no leaf {cut(brief.case.plan.leaf, 120)!r} any more")
    else:
        tests = Tests(target, catalogue, around.open_hints, around.rules, around.lab(brief) if row.id in around.originals else None, trials)
        reply = answered(ports.critic, brief, tests)
    if isinstance(reply, Drafted) and not reply.hints:
        reply = Abstained(outcome=Outcome.unclear_ask_back, reason="the critic named no change", cost=reply.cost)
    if isinstance(reply, Abstained):
        return _Answer([], reply, target, reply.cost.model_dump())
    return _Answer([_linted(hint, brief, target, catalogue, around) for hint in reply.hints], None, target, reply.cost.model_dump())


def _told(ports: Ports, row: cases.CaseRow, around: _Around) -> tuple[Brief, Target]:
    host = host_of(ports.hosts, row.target)
    target = look_around(host, host.head())
    brief = Brief(
        case_id=row.id,
        case=row.case,
        inventory=target.inventory,
        precedents=around.precedents,
        rejected=[one for one in around.rejected if not one.sealed],
        accepted=around.accepted,
        open_hints=[hint for name, hint in around.open_hints if name not in around.held_out],
    )
    return brief, target


def brief_of(db: Database, ports: Ports, case_id: str) -> Brief | None:
    """What a draft of a case would tell the critic now, whatever the case's state; None where it would ask nobody. Raises `PortError`."""
    with db.read() as session:
        row = cases.get(session, case_id)
        if row is None or row.work is None:
            return None
        around = _around(session, ports, row)
    brief, _ = _told(ports, row, around)
    return None if _leaf_is_gone(brief) else brief


def _leaf_is_gone(brief: Brief) -> bool:
    leaves = {clean("/".join(entry.parts))[0] for entry in brief.inventory.entries.values() if entry.step == "intent"}
    return bool(leaves) and brief.case.plan.leaf not in leaves


def _linted(hint: Hint, brief: Brief, target: Target, catalogue: Catalogue, around: _Around) -> tuple[Hint, list[dict[str, object]]]:
    findings = lint(hint, brief.case, target.inventory, catalogue, around.open_hints, around.rules)
    calibrated = calibrate(around.decisions, hint.confidence.weight).calibrated
    hint = hint.model_copy(update={"confidence": hint.confidence.model_copy(update={"calibrated": calibrated})})
    return hint, [finding.model_dump() for finding in findings]


def _write(db: Database, ports: Ports, catalogue: Catalogue, row: cases.CaseRow, answer: _Answer) -> None:
    why = noted(answer.abstained.reason, row.case) if answer.abstained else f"{len(answer.drafted)} hint(s)"  # looks a case through
    with db.begin() as session:
        case = cases.get(session, row.id)
        if case is None or case.state is not DraftState.queued:
            return  # revised or answered meanwhile
        if answer.abstained:
            history.move(session, case, DraftState.abstained, by=ports.critic.name, why=why, outcome=answer.abstained.outcome, reason=why)
            return
        kept = calls.cost_of(session, case.id)  # with the calls of a second pass that had no answer
        cost = kept.model_dump() if answer.cost["calls"] and kept.calls else answer.cost
        history.move(session, case, DraftState.drafted, by=ports.critic.name, why=why, reason=None)
        for number, (hint, findings) in enumerate(answer.drafted, start=1):
            text = hint.model_dump(mode="json", by_alias=True)
            row_of_hint = hints.HintRow(
                id=f"h{row.id[1:]}-{number}", case_id=row.id, target=row.target, step=hint.step, recipe=hint.recipe, target_id=hint.target,
                state=ReviewState.awaiting, draft=text, current=text, content_hash=hints.content_hash(text), change_hash=hints.change_hash(text),
                weight=hint.confidence.weight, draft_hash=hints.change_hash(text),
                findings=findings, base_sha=answer.target.sha, critic=ports.critic.name, rubric_version=catalogue.version, cost=cost,
                created_at=db.now(),
            )  # fmt: skip
            history.begin(session, row_of_hint, by=ports.critic.name)
            _look_again(session, hint, row_of_hint.id)


def _look_again(session: Session, hint: Hint, hint_id: str) -> None:
    """Rejections without a hint that this one's change moves as well are drafted once more, now with the change in play."""
    for case_id in hint.also_moves:
        case = cases.get(session, case_id)
        if case is None or case.state is not DraftState.abstained or case.outcome != Outcome.unclear_ask_back:
            continue
        if any(move.state_from == DraftState.abstained for move in history.of(session, "cases", case_id)):
            continue  # looked at again before: once is enough, or two cases would keep each other busy
        history.move(session, case, DraftState.queued, by="critic", why=f"{hint_id} moves it too", attempts=0, waits=0, outcome=None, reason=None)
        drafts.carry_on(session, case_id)  # what was read stays; the change in play is the news
        history.enqueue(session, "draft", case_id, f"also-{hint_id}")
