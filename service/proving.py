"""Decides between candidates by what they do: each is tried on its case and on accepted ones, and what proves itself is offered."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rubric.drafting import Candidate
from rubric.effects import expectations, pointed_at
from rubric.expectations import difference, judge
from rubric.recipes import edit_of
from rubric.schema import Case, Hint, Plan, WorkedExample
from service.redaction import redact, redact_plan
from service.targets import Target
from service.trials import Trials

TRIES, SECONDS = 14, 8.0
"""most candidates tried for one case, and the time they may take together"""
ENOUGH = 0.7
"""what prior and effect together have to reach before a tried candidate is offered"""
GOOD = 1.1
"""from here no further candidate is tried"""


@dataclass(frozen=True)
class Proof:
    """A candidate that moves its case."""

    hint: Hint
    score: float
    """the critic's own, plus how much of the effect the comment speaks of"""


@dataclass(frozen=True)
class Verdict:
    proofs: list[Proof]
    """best first"""
    tried: int
    without_effect: int


def prove(
    trials: Trials, target: Target, case_id: str, case: Case, candidates: Sequence[Candidate], originals: Mapping[str, dict[str, Any]]
) -> Verdict:
    """Try candidates in order until one is good enough, the tries or the time are used up.

    `originals`: received documents of the case and of its controls. Raises `PortError("no_replay")` for a target without replay.
    """
    tickets = {one: {"ticket": body["ticket"]} for one, body in originals.items()}
    masks = {one: redact(body)[1] for one, body in originals.items()}
    before = _masked(trials.before(target, tickets), masks)
    proofs: list[Proof] = []
    tried = silent = 0
    end = time.monotonic() + SECONDS
    for candidate in candidates[:TRIES]:
        if time.monotonic() > end or (proofs and proofs[0].score >= GOOD):
            break
        tried += 1
        key = json.dumps(edit_of(candidate.hint.change.model_dump(mode="json")), sort_keys=True)
        first = trials.of(target, candidate.hint, key, {case_id: tickets[case_id]})
        after = _masked(first.after, masks)
        if first.status != "done" or before.get(case_id) is None or after.get(case_id) is None:
            continue
        proof = _proof(candidate, case, before[case_id], after[case_id])
        if proof is None:
            silent += 1
            continue
        controls = [one for one in tickets if one != case_id]
        others = _masked(trials.of(target, candidate.hint, key, {one: tickets[one] for one in controls}).after, masks) if controls else {}
        changed = [one for one in controls if _differs(before.get(one), others.get(one))]
        hint = proof.hint.model_copy(update={"changes_controls": changed})
        proofs.append(Proof(hint, proof.score - (0.6 if changed else 0.0)))
        proofs.sort(key=lambda one: -one.score)
    return Verdict(proofs, tried, silent)


def _masked(plans: Mapping[str, dict[str, Any] | None], masks: Mapping[str, Any]) -> dict[str, Plan | None]:
    return {one: Plan.model_validate(redact_plan(plan, masks[one])) if plan is not None else None for one, plan in plans.items()}


def _differs(old: Plan | None, new: Plan | None) -> bool:
    return bool(difference(old, new)) if old is not None and new is not None else (old is None) is not (new is None)


def _proof(candidate: Candidate, case: Case, before: Plan | None, after: Plan | None) -> Proof | None:
    """The candidate with what it was seen to do, if it does what it says; None when nothing changes."""
    assert before is not None and after is not None
    changes = difference(before, after)
    if not changes:
        return None
    hint = candidate.hint
    must, must_not = (hint.must, hint.must_not) if hint.must or hint.must_not else expectations(before, after)
    if (not must and not must_not) or judge(must, must_not, before, after):
        return None
    example = WorkedExample(case_id=hint.cure_case, plan_now=f"goes to {before.leaf}", plan_instead="; ".join(changes)[:500])
    confidence = hint.confidence.model_copy(update={"replay": "moved"})
    shown = hint.model_copy(update={"must": must, "must_not": must_not, "worked_example": example, "confidence": confidence})
    unseen = all(line.startswith("extraction:") for line in changes)  # nobody outside the pipeline would notice
    return Proof(shown, candidate.score + 0.5 * pointed_at(case.comment, before, after) - 0.4 * unseen)
