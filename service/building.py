"""Has an agent make the tree of an approved hint, looks at what it left, and lets a model try again with what was wrong.

Nothing that an agent says is believed: the trees are compared here, and a tree that a model wrote is examined in a box before anybody sees it.
"""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from connectors.ports import EvalRunner, PortError, Ports, TreeJob, TreeRun
from rubric.hygiene import cut
from rubric.manifest import Manifest
from rubric.schema import Hint, Step
from rubric.verdicts import SuiteVerdict
from service.gating import GateRefused, run_gate
from service.lifecycle import HandoffState
from service.scope import check_scope
from service.treepolicy import TreeChange, check_tree
from service.trees import Violation, changed_paths, walk

STOPS = "scope_drift"
"""A violation after which nothing is tried again: who changes what nobody asked for is not to be taught to hide it."""
NAMED = 20
"""rows and violations that one attempt tells the next"""
ENDS = {"gave_up": HandoffState.gave_up, "refused": HandoffState.refused, "budget": HandoffState.blocked}
"""how an agent ends → how its handoff does; anything else has failed"""


@dataclass(frozen=True)
class Attempt:
    """One go of a model-driven agent, for the record."""

    number: int
    agent: str
    run: TreeRun | None = None
    """None: it has just begun"""
    seconds: float = 0.0
    violations: list[Violation] = field(default_factory=list)
    lost: tuple[str, ...] = ()
    """what the examination had against it: suites and ids of rows"""


@dataclass(frozen=True)
class Order:
    """What is to be built, and on what."""

    job_id: str
    hint: Hint
    manifest: Manifest
    edited: bool
    """a person changed the hint, and may mean a number that looks personal"""
    attempt: int
    """how often it was begun"""
    goes: int
    """of a model, made before; those of a process that died count too, for they were paid"""
    feedback: tuple[str, ...]
    """what was held against the last of them"""
    folder: Path
    """holds `base`, the tree to start from; whatever is built lies beside it"""

    @property
    def base(self) -> Path:
        return self.folder / "base"


@dataclass(frozen=True)
class BuiltTree:
    head: Path
    files: Mapping[str, bytes | None]
    agent: str
    runner: EvalRunner
    """what may run this tree"""
    by_model: bool = False


class NotBuilt(Exception):
    """The agent or the policy said no; carries the state to end in."""

    def __init__(self, state: HandoffState, reason: str, violations: list[Violation] | None = None):
        super().__init__(reason)
        self.state, self.reason, self.violations = state, reason, violations or []


def built(ports: Ports, order: Order, *, first: str, note: Callable[[Attempt], None]) -> BuiltTree:
    """The tree of a hint. `first`: `codemod` or `model`, who the recipe says goes first; a codemod that gives up makes room for a model.

    `note` is told of every attempt of a model. Raises `NotBuilt`, and `PortError` when a box or a model cannot be had just now.
    """
    if first == "codemod":
        try:
            return _by_codemod(ports, order)
        except NotBuilt as ended:
            if ended.state is not HandoffState.gave_up or hindrance(ports):
                raise
    return _by_model(ports, order, note)


def hindrance(ports: Ports) -> str | None:
    """Why no model-driven agent can work now, in one line; None when one can."""
    if ports.coder is None:
        return "needs a model-driven agent, and none is set up (TRIAGE_AGENT)"
    if ports.boxed is None:
        return "sandbox: what a model wrote runs in a box only, and none can be made here; `triage doctor` says why"
    return ports.coder.trouble()


def _by_codemod(ports: Ports, order: Order) -> BuiltTree:
    head = _copy(order, "head")
    run = ports.agent.run(TreeJob(order.job_id, order.hint, order.manifest, order.attempt), head)
    _look_at(run)
    change = _checked(ports, order, head)
    if change.violations:
        raise _refused(change.violations)
    return BuiltTree(head, dict(change.changed), ports.agent.name, ports.evals)


def _by_model(ports: Ports, order: Order, note: Callable[[Attempt], None]) -> BuiltTree:
    if (why := hindrance(ports)) is not None or ports.coder is None or ports.boxed is None:
        raise NotBuilt(HandoffState.blocked, why or "no agent")
    expected = _expected(ports, order)
    feedback, last = order.feedback, list[Violation]()
    for number in range(order.goes + 1, ports.limits.attempts + 1):
        note(Attempt(number, ports.coder.name))
        head = _copy(order, f"head{number}")
        job = TreeJob(order.job_id, order.hint, order.manifest, number, feedback, ports.limits.budget, _examiner(ports.boxed, order, head))
        start = time.monotonic()
        run = ports.coder.run(job, head)
        attempt = Attempt(number, ports.coder.name, run, round(time.monotonic() - start, 3))
        note(attempt)
        if run.status != "done":
            if run.status == "crashed" and number < ports.limits.attempts:
                continue
            _look_at(run)
        change = _checked(ports, order, head)
        last = sorted({*change.violations, *check_scope(order.base, head, order.manifest, order.hint, expected)})
        lost = () if last else _lost(ports.boxed, order, head)
        note(Attempt(number, attempt.agent, run, attempt.seconds, last, lost))
        if any(one.code == STOPS for one in last):
            raise _refused([one for one in last if one.code == STOPS] + last)
        if not last and not lost:
            return BuiltTree(head, dict(change.changed), ports.coder.name, ports.boxed, by_model=True)
        feedback = told([vars(one) for one in last], lost)
    if last:
        raise _refused(last)
    against = "; ".join(feedback) or "the last one was cut off"
    raise NotBuilt(HandoffState.gave_up, cut(f"the step evals do not let it through after {ports.limits.attempts} attempts: {against}", 500))


def told(violations: Sequence[Mapping[str, str]], lost: Sequence[str]) -> tuple[str, ...]:
    """What one attempt tells the next: our own sentences, paths, and ids of rows."""
    lines = (f"{one['code']} at {one['path']}: {one['text']}" if one["path"] else f"{one['code']}: {one['text']}" for one in violations[:NAMED])
    return (*lines, *lost)


def _look_at(run: TreeRun) -> None:
    if run.status != "done":
        raise NotBuilt(ENDS.get(run.status, HandoffState.failed), cut(run.reason or run.status, 500))


def _refused(violations: list[Violation]) -> NotBuilt:
    first = violations[0]
    return NotBuilt(HandoffState.refused, f"{first.code} at {first.path}: {first.text}", violations)


def _checked(ports: Ports, order: Order, head: Path) -> TreeChange:
    most = ports.limits
    return check_tree(
        order.base, head, order.manifest, order.hint.recipe, max_files=most.diff_files, max_bytes=most.diff_bytes, may_hold_personal=order.edited
    )


def _expected(ports: Ports, order: Order) -> dict[str, bytes | None] | None:
    """The files as the codemod would leave them; None when the manifest has no edits for the recipe, or they do not fit."""
    tree = _copy(order, "expected")
    if ports.agent.by_model or ports.agent.run(TreeJob(order.job_id, order.hint, order.manifest), tree).status != "done":
        return None
    paths = changed_paths(order.base, tree, walk(order.base), walk(tree))
    return {path: (tree / path).read_bytes() if (tree / path).is_file() else None for path in paths}


def _copy(order: Order, name: str) -> Path:
    return Path(shutil.copytree(order.base, order.folder / name, symlinks=True))


def _examiner(runner: EvalRunner, order: Order, head: Path) -> Callable[[Step], str]:
    """What an agent may ask: how the visible suites of a step stand on its tree just now."""

    def examine(step: Step) -> str:
        if step not in order.manifest.steps:
            return f"there is no step {step}; there are {', '.join(order.manifest.steps)}"
        try:
            suites = _examined(runner, order, head, {step})
        except (GateRefused, PortError) as error:
            return f"cannot be examined: {error.code}"
        return "\n".join(_told(suite) or f"{suite.suite}: {suite.state}" for suite in suites) or "no suite"

    return examine


def _lost(runner: EvalRunner, order: Order, head: Path) -> tuple[str, ...]:
    """What the step evals have against a tree; an examination that cannot be held is for the gate to judge, in its own time."""
    try:
        suites = _examined(runner, order, head, None)
    except GateRefused as error:
        return (f"{error.code}: {error}",)
    return tuple(line for suite in suites if suite.state == "fail" for line in [_told(suite)])


def _examined(runner: EvalRunner, order: Order, head: Path, steps: set[Step] | None) -> tuple[SuiteVerdict, ...]:
    """On copies: the gate puts base's exam into the head tree."""
    with_copies = order.folder / f"exam-{time.monotonic_ns()}"
    with_copies.mkdir()
    try:
        base, tree = (Path(shutil.copytree(one, with_copies / name, symlinks=True)) for one, name in ((order.base, "base"), (head, "head")))
        changed = changed_paths(base, tree, walk(base), walk(tree))
        return run_gate(base, tree, changed, order.manifest, runner, steps=steps, scratch=with_copies).suites
    finally:
        shutil.rmtree(with_copies, ignore_errors=True)


def _told(suite: SuiteVerdict) -> str:
    """A verdict in our own words: ids of rows, no contents."""
    if suite.state == "pass":
        return ""
    named = {"lost": suite.lost, "missing": suite.missing, "new and failing": suite.new_failing}
    rows = "; ".join(f"{what}: {' '.join(ids[:NAMED])}" for what, ids in named.items() if ids)
    return f"{suite.suite}: {suite.state}{f' ({rows})' if rows else ''}"
