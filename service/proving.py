"""Decides between candidates by what they do: each is tried on its case, on like rejections and on accepted cases; what proves itself is offered."""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from connectors.ports import PortError
from rubric.drafting import Candidate
from rubric.effects import changed_fields, expectations, fits, part_of, pointed_at
from rubric.expectations import difference, judge
from rubric.hygiene import cut
from rubric.recipes import edit_of
from rubric.schema import Case, Hint, Plan, Step, WorkedExample
from service.redaction import redact, redact_plan
from service.targets import Target
from service.trials import Trial, Trials

TRIES = 20
"""most tries for one case"""
SECONDS = 60.0
"""no further try is begun after this; a bound for slow targets, far from what a usual one needs"""
ENOUGH = 0.6
"""what prior and effect together have to reach before a tried candidate is offered"""
GOOD, LIKELY = 1.25, 0.65
"""from here no further candidate is tried; and how much a try usually adds to a candidate's own score at the most"""
HARM, UNSEEN = 0.6, 0.3
"""taken off for accepted cases that change, and for an effect that nobody outside the pipeline would notice"""
EVERYWHERE = (Step.preprocess, Step.extraction, Step.fetch)
"""steps whose changes may reach the cases of any leaf"""
SUPPORT, SUPPORTERS = 0.07, 4.0
"""added for each like rejection that the change moves the same way, as far as its own comment goes along, and how many of them count"""


@dataclass(frozen=True)
class Around:
    """The case and what it is tried together with. Documents are as received: a pipeline finds nobody by a placeholder."""

    case_id: str
    rejected: Mapping[str, Case]
    """like rejections, redacted, and the case itself"""
    controls: Sequence[str]
    """ids of accepted cases"""
    originals: Mapping[str, dict[str, Any]]
    """received documents of all of these"""

    @property
    def case(self) -> Case:
        return self.rejected[self.case_id]


@dataclass(frozen=True)
class Proof:
    """A candidate that moves its case."""

    hint: Hint
    score: float
    """the critic's own, plus how much of the effect the comment speaks of, and other comments with it"""


@dataclass(frozen=True)
class Verdict:
    proofs: list[Proof]
    """best first"""
    tried: int
    broke: int = 0
    """candidates that would do and cost the step's own evals a row"""


@dataclass
class _Lab:
    """The tries of one case."""

    trials: Trials
    target: Target
    around: Around
    tried: int = 0
    broke: int = 0
    late: frozenset[str] = frozenset()
    """other cases whose replay did not end in time, as the target stands or in the last try: nothing is known of them"""
    _masks: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        own = self.around.case_id  # goes first: where a batch breaks, nobody else has used up its time
        self._tickets = {one: {"ticket": self.around.originals[one]["ticket"]} for one in dict.fromkeys([own, *self.around.originals])}
        base = self.trials.before(self.target, self._tickets)
        if own in base.failures:
            raise PortError(base.failures[own], f"replay gives no plan for the case as the target stands: {base.failures[own]}")
        self._before, self._slow = base.after, _timed_out(base)
        self.end = time.monotonic() + SECONDS

    @property
    def spent(self) -> bool:
        return self.tried >= TRIES or time.monotonic() > self.end

    def look(self, hints: Sequence[Hint]) -> dict[str, tuple[Plan | None, Plan | None]]:
        """case id → masked plans before and after some changes made together, of the cases that they change."""
        key = _key(hints)
        mine = self.around.case_id
        if (known := self.trials.known(self.target, key, mine)) is not None and known == self._before.get(mine):
            return {}  # seen when a like rejection was drafted: it leaves this case alone
        self.tried += 1
        trial = self.trials.of(self.target, hints, key, self._concerned(hints))
        self.late = (self._slow | _timed_out(trial)) - {mine}
        changed = {one: plan for one, plan in trial.after.items() if plan != self._before.get(one) and one not in self.late}
        return {one: (self._masked(one, self._before.get(one)), self._masked(one, plan)) for one, plan in changed.items()}

    def breaks(self, hint: Hint) -> bool:
        """Whether the step's own evals lose a row by the change."""
        return bool(self.trials.lost(self.target, hint, _key([hint])))

    def _concerned(self, hints: Sequence[Hint]) -> dict[str, dict[str, Any]]:
        """The tickets that some changes are tried on: the case, the rejections that they may reach as well, and for one change the controls."""
        leaf = self.around.case.plan.leaf
        like = [name for name, case in self.around.rejected.items() if hints[0].step in EVERYWHERE or case.plan.leaf == leaf]
        controls = self.around.controls if len(hints) == 1 else ()
        return {name: self._tickets[name] for name in dict.fromkeys([self.around.case_id, *like, *controls])}

    def _masked(self, case_id: str, plan: dict[str, Any] | None) -> Plan | None:
        if plan is None:
            return None
        if case_id not in self._masks:
            self._masks[case_id] = redact(self.around.originals[case_id])[1]
        return Plan.model_validate(redact_plan(plan, self._masks[case_id]))


def _timed_out(trial: Trial) -> frozenset[str]:
    return frozenset(one for one, code in trial.failures.items() if code == "timeout")


def _key(hints: Sequence[Hint]) -> str:
    """Names some edits made together: the same whatever case led to them."""
    keys = sorted(json.dumps(edit_of(hint.change.model_dump(mode="json")), sort_keys=True) for hint in hints)
    return keys[0] if len(keys) == 1 else hashlib.sha256("\n".join(keys).encode()).hexdigest()


def prove(trials: Trials, target: Target, around: Around, candidates: Sequence[Candidate]) -> Verdict:
    """Try candidates, the likeliest first, until one is good enough or the tries are used up.

    Those that may be tried in one go are: if all of them together leave the case alone, each of them does.
    Raises `PortError`: `no_replay` for a target without replay, and the replay's own code when it gives no plan for the case itself.
    """
    lab = _Lab(trials, target, around)
    proofs: list[Proof] = []
    for group in _in_turn(candidates):
        if proofs and proofs[0].score >= min(GOOD, group[0].score + LIKELY):
            break
        for candidate in _screened(lab, group):
            if lab.spent or (proofs and proofs[0].score >= GOOD):
                break
            proof = _tried(lab, candidate)
            if proof is not None:
                proofs = sorted([*proofs, proof], key=lambda one: -one.score)
    return Verdict(proofs, lab.tried, lab.broke)


def _in_turn(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """Groups of candidates, by the score of their best."""
    groups: dict[str, list[Candidate]] = {}
    for number, candidate in enumerate(sorted(candidates, key=lambda one: -one.score)):
        groups.setdefault(candidate.together or f"alone {number}", []).append(candidate)
    return list(groups.values())


def _screened(lab: _Lab, group: Sequence[Candidate]) -> Iterator[Candidate]:
    """The candidates of a group that may have an effect on the case: one change's effect is assumed not to be undone by another's.

    Where all together break the target, one of them may: each half is looked at for itself, down to single ones.
    """
    if len(group) == 1:
        yield group[0]
        return
    if lab.spent:
        return
    before, after = lab.look([one.hint for one in group]).get(lab.around.case_id, (None, None))
    if before is None:
        return
    likely = [one for one in group if after is not None and _claims(one.hint, before, after)]
    if likely and len(likely) < len(group):
        yield from _screened(lab, likely)
        return
    half = len(group) // 2
    yield from _screened(lab, group[:half])
    yield from _screened(lab, group[half:])


def _claims(hint: Hint, before: Plan, after: Plan) -> bool:
    """Whether what many changes did together is what this one says it does."""
    if hint.must or hint.must_not:
        return not judge(hint.must, hint.must_not, before, after)
    return hint.target.partition(":")[2] in changed_fields(before, after)


def _tried(lab: _Lab, candidate: Candidate) -> Proof | None:
    """The candidate with what it was seen to do, if it does what it says; None when nothing changes."""
    found = lab.look([candidate.hint])
    before, after = found.pop(lab.around.case_id, (None, None))
    if before is None or after is None:
        return None
    changes, part = difference(before, after), part_of(candidate.hint.step, before, after)
    if not changes or part is None:
        return None
    hint = candidate.hint
    must, must_not = (hint.must, hint.must_not) if hint.must or hint.must_not else expectations(before, after)
    if judge(must, must_not, before, after):
        return None
    harmed = [one for one in lab.around.controls if one in found and _differs(*found[one])]
    example = WorkedExample(case_id=hint.cure_case, plan_now=f"goes to {before.leaf}", plan_instead=cut("; ".join(changes), 500))
    comment = lab.around.case.comment
    unseen = all(line.startswith("extraction:") for line in changes)
    alike = _moved_alike(lab, found, hint.step, part)
    score = candidate.score + 0.35 * fits(comment, part) + 0.5 * pointed_at(comment, before, after) + SUPPORT * min(SUPPORTERS, sum(alike.values()))
    score -= HARM * bool(harmed) + UNSEEN * unseen
    if score >= ENOUGH and not harmed and not lab.spent and lab.breaks(hint):
        lab.broke += 1
        return None  # the gate would not let it through
    confidence = hint.confidence.model_copy(update={"replay": "moved", "weight": round(score, 2)})
    late = [one for one in lab.around.controls if one in lab.late]
    shown: dict[str, Any] = {"must": must, "must_not": must_not, "worked_example": example, "confidence": confidence}
    shown |= {"changes_controls": harmed, "controls_not_tried": late, "also_moves": sorted(alike)}
    return Proof(hint.model_copy(update=shown), score)


def _differs(old: Plan | None, new: Plan | None) -> bool:
    return bool(difference(old, new)) if old is not None and new is not None else (old is None) is not (new is None)


def _moved_alike(lab: _Lab, found: Mapping[str, tuple[Plan | None, Plan | None]], step: Step, part: str) -> dict[str, float]:
    """Other rejections that the change moves the same way, each counted by how far its own comment goes along with that."""
    alike: dict[str, float] = {}
    for one, (before, after) in found.items():
        if one in lab.around.rejected and before is not None and after is not None and part_of(step, before, after) == part:
            comment = lab.around.rejected[one].comment
            alike[one] = min(1.0, 0.4 + 0.6 * fits(comment, part) + 0.5 * pointed_at(comment, before, after))
    return alike
