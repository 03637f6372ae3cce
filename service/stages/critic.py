"""Drafts hints for one rejection: reads what is known, asks the critic, leaves linted hints or an abstention."""

from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from connectors.ports import PortError, Ports
from rubric.catalogue import Catalogue
from rubric.drafting import Abstained, Brief, Candidate, Drafted, Neighbour, Precedent
from rubric.hygiene import clean, cut
from rubric.lint import lint
from rubric.precedents import adopted
from rubric.schema import Hint, Outcome, Verdict
from service import proving
from service.db import Database
from service.errors import IllegalMove, NotFound
from service.lifecycle import DraftState, ReviewState
from service.proving import ENOUGH, Proof, prove
from service.store import cases, examples, hints, history, originals
from service.targets import Target, host_of, look_around
from service.trials import Trials

MAX_ATTEMPTS = 5
"""A case that takes its worker down this often is set aside."""
MOST_WAITS, FIRST_WAIT, LONGEST_WAIT = 10, 5.0, 900.0
"""how often a draft is put off, and seconds of the first and the longest wait: in all about an hour and a half"""
PASSES = 2
"""how often a critic that listens is told new facts: what lint and replay have to say is not worth a third opinion"""
PRECEDENTS, NEIGHBOURS, IN_PLAY, COMPANIONS = 2000, 60, 300, 24
SURE = 0.9
"""score that a hint starts with which the critic offered outright"""
ADOPTED = 8
"""changes in play for other rejections that are tried on a new one"""


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
    brief_parts = _read(db, case_id, ports.limits.controls)
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
    """What may succeed later the engine tries again, ever less often, and as late as the other side asks; all else is a failure with its code."""
    with db.begin() as session:
        case = cases.get(session, case_id)
        if case is None or case.state is not DraftState.queued:
            return
        if not error.retryable or case.waits >= MOST_WAITS:
            tries = f" ({case.waits + 1} times)" if case.waits else ""
            history.move(session, case, DraftState.failed, by="critic", why=f"{error}{tries}", reason=error.code)
            return
        case.waits += 1
        case.attempts = max(0, case.attempts - 1)  # the worker lives; only crashes count there
        wait = min(LONGEST_WAIT, max(error.retry_after or 0.0, FIRST_WAIT * 2 ** (case.waits - 1)))
        case.reason = f"{error.code}: {error}; tried {case.waits} time{'s' if case.waits > 1 else ''}, next in {_duration(wait)}"
        history.enqueue(session, "draft", case.id, f"wait-{case.waits}-{history.moves_of(session, 'cases', case.id)}", wait)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def draft_again(db: Database, case_id: str, *, by: str) -> cases.CaseRow:
    """Ask the critic once more, after it abstained or failed."""
    with db.begin() as session:
        row = cases.get(session, case_id)
        if row is None:
            raise NotFound(f"there is no case {case_id!r}")
        if row.state not in (DraftState.abstained, DraftState.failed):
            raise IllegalMove(f"case {case_id} is {row.state}; only an abstention or a failure can be tried again", state=str(row.state))
        history.move(session, row, DraftState.queued, by=by, why="draft again", attempts=0, waits=0, outcome=None, reason=None)
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
    originals: dict[str, dict[str, Any]]
    """the case, like rejections and the nearest controls as received, for replay only"""

    def lab(self, brief: Brief) -> proving.Around:
        """What a candidate is tried on."""
        rejected = {one.case_id: one.case for one in self.rejected if one.case_id in self.originals}
        accepted = [one.case_id for one in self.accepted if one.case_id in self.originals]
        return proving.Around(brief.case_id, {**rejected, brief.case_id: brief.case}, accepted, self.originals)


def _read(db: Database, case_id: str, controls: int) -> tuple[cases.CaseRow, _Around] | None:
    with db.begin() as session:
        row = cases.get(session, case_id)
        if row is None or row.state is not DraftState.queued or row.work is None:
            return None
        row.attempts += 1
        if row.attempts > MAX_ATTEMPTS:
            history.move(session, row, DraftState.failed, by="critic", why=f"tried {MAX_ATTEMPTS} times", reason="crashed_repeatedly")
            return None
    with db.read() as session:
        return row, _around(session, row, controls)


def _around(session: Session, row: cases.CaseRow, controls: int) -> _Around:
    rejected = [Neighbour(case_id=near.id, case=near.case) for near in cases.neighbours(session, row, Verdict.rejected, NEIGHBOURS)]
    accepted = [Neighbour(case_id=near.id, case=near.case) for near in cases.neighbours(session, row, Verdict.accepted, NEIGHBOURS)]
    known = [one for one in examples.usable(session, row.target, PRECEDENTS, like=row.comment or "") if one.case_id != row.id]
    inputs = originals.bodies(session, [row.id, *(one.case_id for one in (*accepted[:controls], *rejected[:COMPANIONS]))])
    open_hints = hints.in_play(session, row.target, IN_PLAY)
    sealed = cases.held_out(session, {hint.case_id for hint in open_hints})
    held_out = frozenset(hint.id for hint in open_hints if hint.case_id in sealed)
    return _Around(rejected, accepted, known, [(hint.id, hint.hint) for hint in open_hints], held_out, inputs)


def _ask(ports: Ports, catalogue: Catalogue, row: cases.CaseRow, around: _Around, trials: Trials | None) -> _Answer:
    brief, target = _told(ports, row, around)
    reply: Drafted | Abstained
    if _leaf_is_gone(brief):
        reply = Abstained(outcome=Outcome.not_reproducible, reason=f"the target has no leaf {cut(brief.case.plan.leaf, 120)!r} any more")
    else:
        reply = _drafted(ports, brief, target, catalogue, around, trials)
    if isinstance(reply, Drafted) and not reply.hints:
        reply = Abstained(outcome=Outcome.unclear_ask_back, reason="the critic named no change", cost=reply.cost)
    if isinstance(reply, Abstained):
        return _Answer([], reply, target, reply.cost.model_dump())
    return _Answer([_linted(hint, brief, target, catalogue, around.open_hints) for hint in reply.hints], None, target, reply.cost.model_dump())


def _told(ports: Ports, row: cases.CaseRow, around: _Around) -> tuple[Brief, Target]:
    host = host_of(ports.hosts, row.target)
    target = look_around(host, host.head())
    brief = Brief(
        case_id=row.id,
        case=row.case,
        inventory=target.inventory,
        precedents=around.precedents,
        rejected=around.rejected,
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
        around = _around(session, row, ports.limits.controls)
    brief, _ = _told(ports, row, around)
    return None if _leaf_is_gone(brief) else brief


def _drafted(
    ports: Ports, brief: Brief, target: Target, catalogue: Catalogue, around: _Around, trials: Trials | None
) -> Drafted | Abstained:  # fmt: skip
    """The critic's answer, tried. One that listens is asked again when lint or replay have found something out, and only then."""
    facts: list[str] = []
    for turn in range(1 + PASSES):
        told = brief.model_copy(update={"facts": facts})
        reply = ports.critic.draft(told)
        tried = reply
        if trials is not None and target.manifest.replay is not None:
            tried = _tried(reply, told, target, catalogue, around, trials)
        found = [] if not ports.critic.listens or turn == PASSES else _found_out(reply, tried, told, target, catalogue, around)
        if not set(found) - set(facts):
            break
        facts = [*facts, *(one for one in found if one not in facts)]
    return tried


def _found_out(
    reply: Drafted | Abstained, tried: Drafted | Abstained, brief: Brief, target: Target, catalogue: Catalogue, around: _Around
) -> list[str]:  # fmt: skip
    """What lint and replay say against the answer, in our own words: only that is a reason to ask again."""
    if not isinstance(reply, Drafted):
        return []
    found = []
    for hint in reply.hints:
        what = f"{hint.recipe} at {hint.target}"
        against = [one for one in lint(hint, brief.case, target.inventory, catalogue, around.open_hints) if one.blocks]
        found += [f"{what}, {one.field}: {one.text}" for one in against if one.code != "twin"]
    kept = {hint.target for hint in tried.hints} if isinstance(tried, Drafted) else set()
    if isinstance(tried, Abstained):
        found += [f"{hint.recipe} at {hint.target} was tried: {tried.reason}" for hint in reply.hints if hint.target not in kept]
    return found


def _tried(reply: Drafted | Abstained, brief: Brief, target: Target, catalogue: Catalogue, around: _Around, trials: Trials) -> Drafted | Abstained:
    """What is left of the critic's answer after its candidates, and the changes that are in play for other rejections, were tried.

    Several hints are several rules, each of which proves itself; what is not for the codemod cannot be tried and stays.
    """
    if brief.case_id not in around.originals or (isinstance(reply, Abstained) and reply.outcome is Outcome.one_off):
        return reply
    offered = reply.hints if isinstance(reply, Drafted) else []
    groups = [[Candidate(hint=hint, score=SURE)] for hint in offered] or [[]]
    if len(groups) == 1:
        groups[0] += [*adopted(brief, catalogue, ADOPTED), *reply.candidates]
    kept: list[Hint] = []
    weak: list[Proof] = []
    tried = broke = 0
    for group in filter(None, groups):
        if catalogue.recipe(group[0].hint.recipe).agent != "codemod":
            kept.append(group[0].hint)
            continue
        seen = prove(trials, target, around.lab(brief), group)
        tried, broke = tried + seen.tried, broke + seen.broke
        kept += [proof.hint for proof in seen.proofs[:1] if proof.score >= ENOUGH]
        weak += [proof for proof in seen.proofs if proof.score < ENOUGH]
    if kept:
        return Drafted(hints=kept, notes=[f"{tried} candidates tried"], cost=reply.cost)
    if not (offered or tried) or (isinstance(reply, Abstained) and reply.outcome is not Outcome.unclear_ask_back):
        return reply
    return Abstained(outcome=Outcome.unclear_ask_back, reason=_why_none(weak, tried, broke), cost=reply.cost)


def _why_none(weak: list[Proof], tried: int, broke: int) -> str:
    """What the tries have shown, for whoever looks at the abstention."""
    if broke:
        return f"evals_lost: {broke} of {tried} tries would do, and cost the step's own evals a row"
    harmful = sum(bool(proof.hint.changes_controls) for proof in weak)
    if harmful and harmful == len(weak):
        return f"controls_changed: {harmful} of {tried} tries would change the case and accepted ones with it"
    if weak:
        best = max(weak, key=lambda proof: proof.score).hint
        return f"too_weak: {len(weak)} of {tried} tries change the case; nothing says that {best.recipe} at {best.target}, the likeliest, is meant"
    return f"no_effect: none of {tried} tries changes the case"


def _leaf_is_gone(brief: Brief) -> bool:
    leaves = {clean("/".join(entry.parts))[0] for entry in brief.inventory.entries.values() if entry.step == "intent"}
    return bool(leaves) and brief.case.plan.leaf not in leaves


def _linted(hint: Hint, brief: Brief, target: Target, catalogue: Catalogue, twins: list[tuple[str, Hint]]) -> tuple[Hint, list[dict[str, object]]]:
    findings = lint(hint, brief.case, target.inventory, catalogue, twins)
    return hint, [finding.model_dump() for finding in findings]


def _write(db: Database, ports: Ports, catalogue: Catalogue, row: cases.CaseRow, answer: _Answer) -> None:
    with db.begin() as session:
        case = cases.get(session, row.id)
        if case is None or case.state is not DraftState.queued:
            return  # revised or answered meanwhile
        if answer.abstained:
            history.move(
                session, case, DraftState.abstained, by=ports.critic.name, why=answer.abstained.reason,
                outcome=answer.abstained.outcome, reason=answer.abstained.reason,
            )  # fmt: skip
            return
        history.move(session, case, DraftState.drafted, by=ports.critic.name, why=f"{len(answer.drafted)} hint(s)")
        for number, (hint, findings) in enumerate(answer.drafted, start=1):
            text = hint.model_dump(mode="json", by_alias=True)
            row_of_hint = hints.HintRow(
                id=f"h{row.id[1:]}-{number}", case_id=row.id, target=row.target, step=hint.step, recipe=hint.recipe, target_id=hint.target,
                state=ReviewState.awaiting, draft=text, current=text, content_hash=hints.content_hash(text), change_hash=hints.change_hash(text),
                findings=findings, base_sha=answer.target.sha, critic=ports.critic.name, rubric_version=catalogue.version, cost=answer.cost,
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
        history.move(session, case, DraftState.queued, by="critic", why=f"{hint_id} moves it too", attempts=0, outcome=None, reason=None)
        history.enqueue(session, "draft", case_id, f"also-{hint_id}")
