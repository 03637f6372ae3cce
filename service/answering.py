"""What is left of a critic's answer once lint and replay have seen it, and what it is told when it is asked again."""

from collections.abc import Sequence
from dataclasses import dataclass

from connectors.ports import CriticModel, PortError
from rubric.catalogue import Catalogue
from rubric.drafting import Abstained, Brief, Candidate, Drafted
from rubric.lint import lint
from rubric.precedents import adopted
from rubric.recipes import Change
from rubric.schema import Hint, Outcome
from rubric.standing import standing
from service.proving import ENOUGH, Around, Proof, prove
from service.targets import Target
from service.trials import Trials

PASSES = 2
"""how often a critic that listens is told new facts: what lint and replay have to say is not worth a third opinion"""
ADOPTED = 8
"""changes in play for other rejections that are tried on a new one"""


@dataclass(frozen=True)
class Tests:
    """What an answer has to stand up to."""

    target: Target
    catalogue: Catalogue
    twins: Sequence[tuple[str, Hint]]
    """open hints of the target"""
    rules: Sequence[tuple[str, Change]]
    """changes that are confirmed"""
    around: Around | None
    """what a candidate is tried on; None: nothing can be replayed"""
    trials: Trials | None


def answered(critic: CriticModel, brief: Brief, tests: Tests) -> Drafted | Abstained:
    """The critic's answer, tried. One that listens is asked again when lint or replay have found something out, and only then.

    A later answer takes the place of an earlier one, but no abstention that of hints which replay has proven: a person sees those, findings and all.
    Raises `PortError` where the first answer cannot be had, or a later one that may still come and there is no hint yet.
    """
    facts: list[str] = []
    tried: Drafted | Abstained | None = None
    proven: Drafted | None = None
    turn = 0
    while True:
        told = brief.model_copy(update={"facts": facts})
        try:
            reply = critic.draft(told)
        except PortError as error:
            if tried is None or (error.retryable and isinstance(tried, Abstained) and not proven):
                raise
            return _best(tried, proven)  # the answer before stands: it lacks the second thoughts only
        tried = _tried(reply, told, tests)
        proven = tried if isinstance(tried, Drafted) and _is_proven(tried) else proven
        found = [] if not critic.listens or turn == PASSES else _found_out(reply, tried, told, tests)
        if not set(found) - set(facts):
            return _best(tried, proven)
        facts = [*facts, *(one for one in found if one not in facts)]
        turn += 1


def _is_proven(drafted: Drafted) -> bool:
    return any(hint.confidence.replay == "moved" for hint in drafted.hints)


def _best(last: Drafted | Abstained, proven: Drafted | None) -> Drafted | Abstained:
    return proven if proven is not None and isinstance(last, Abstained) else last


def _found_out(reply: Drafted | Abstained, tried: Drafted | Abstained, brief: Brief, tests: Tests) -> list[str]:
    """What lint and replay say against the answer, in our own words: only that is a reason to ask again."""
    if not isinstance(reply, Drafted):
        return []
    found = []
    for hint in reply.hints:
        what = f"{hint.recipe} at {hint.target}"
        against = [one for one in lint(hint, brief.case, tests.target.inventory, tests.catalogue, tests.twins, tests.rules) if one.blocks]
        found += [f"{what}, {one.field}: {one.text}" for one in against]
    if isinstance(tried, Abstained):
        why = tried.reason.partition(":")[0]  # the code alone: how many tries there were would make another question of the same fact
        found += [f"{hint.recipe} at {hint.target} was tried: {why}" for hint in reply.hints]
    return found


def _tried(reply: Drafted | Abstained, brief: Brief, tests: Tests) -> Drafted | Abstained:
    """What is left of the critic's answer after its candidates, and the changes that are in play for other rejections, were tried.

    Several hints are several rules, each of which proves itself; what is not for the codemod cannot be tried and stays.
    """
    if tests.trials is None or tests.around is None or tests.target.manifest.replay is None:
        return reply
    if isinstance(reply, Abstained) and reply.outcome is Outcome.one_off:
        return reply
    offered = reply.hints if isinstance(reply, Drafted) else []
    groups = [[Candidate(hint=hint, score=standing(hint, brief))] for hint in offered] or [[]]
    if len(groups) == 1:  # nobody offers what the codemod cannot make: it would stay untried
        more = (*adopted(brief, tests.catalogue, ADOPTED), *reply.candidates)
        groups[0] += [one for one in more if _is_codemods(one.hint, tests)]
    kept: list[Hint] = []
    weak: list[Proof] = []
    tried = broke = 0
    for group in filter(None, groups):
        if not _is_codemods(group[0].hint, tests):
            kept.append(group[0].hint)
            continue
        seen = prove(tests.trials, tests.target, tests.around, group)
        tried, broke = tried + seen.tried, broke + seen.broke
        kept += [proof.hint for proof in seen.proofs[:1] if proof.score >= ENOUGH]
        weak += [proof for proof in seen.proofs if proof.score < ENOUGH]
    if kept:
        return Drafted(hints=kept, notes=[*(reply.notes if isinstance(reply, Drafted) else []), f"{tried} candidates tried"], cost=reply.cost)
    if not (offered or tried) or (isinstance(reply, Abstained) and reply.outcome is not Outcome.unclear_ask_back):
        return reply
    return Abstained(outcome=Outcome.unclear_ask_back, reason=_why_none(weak, tried, broke), cost=reply.cost)


def _is_codemods(hint: Hint, tests: Tests) -> bool:
    return tests.catalogue.recipe(hint.recipe).agent == "codemod"


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
