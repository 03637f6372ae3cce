"""Tries changes out before a person sees them: the change in a scratch copy of the base, then the case and its controls through it."""

import hashlib
import shutil
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from connectors.ports import PortError, Ports, TreeJob
from rubric.gating import rows_path
from rubric.schema import Hint, Step
from service.exams import hide
from service.gating import tree_paths
from service.scratch import scratch
from service.targets import Target, host_of

KEPT, KEPT_REFUSALS = 60_000, 5_000
"""plans, and refused changes, that are remembered; a commit never changes, so neither does what it makes of a ticket"""
QUICK = 120
"""seconds that a suite may take by its manifest to be run while drafting; slower ones are the gate's alone"""
KEPT_EXAMS = 2000
"""changes whose passing eval rows are remembered"""
KEPT_BASES, KEPT_MANY = 2, 60
"""exported base commits of one target that stay (the newest, and the one before, on which tries may still run), and bases with many changes"""


@dataclass(frozen=True)
class Trial:
    """What a change did. Plans are as the pipeline gave them, unmasked; None where there was none."""

    status: str
    """done, or how the agent ended"""
    reason: str
    after: Mapping[str, dict[str, Any] | None]
    failures: Mapping[str, str] = field(default_factory=dict)
    """case id → why its replay gave no plan, a stable code"""


class Trials:
    """The tries of one process, remembered by (base commit, change, case). Only what a pipeline answered: a replay that timed out is run again.

    The plans in here are unmasked: a replay needs the ticket as it came in, because a pipeline cannot find a customer by a placeholder, and
    the masks belong to a case, not to its plan. They stay in this process's memory, at most `KEPT` of them, and end with it: they are never
    stored, logged or shown, and whoever asks for them masks them before looking.
    """

    def __init__(self, ports: Ports):
        self._ports = ports
        self._plans: OrderedDict[tuple[str, str, str], dict[str, Any]] = OrderedDict()
        self._refused: OrderedDict[tuple[str, str], tuple[str, str]] = OrderedDict()
        self._passed: OrderedDict[tuple[str, str, str], frozenset[str]] = OrderedDict()
        self._lock = threading.Lock()
        """of what is remembered; never held while something runs"""
        self._shelf = _Shelf(ports)

    def before(self, target: Target, tickets: Mapping[str, dict[str, Any]]) -> Trial:
        """Plans of some cases by the base as it stands."""
        return self._run(target, "", (), tickets)

    def of(self, target: Target, hints: Sequence[Hint], key: str, tickets: Mapping[str, dict[str, Any]]) -> Trial:
        """Plans of some cases by the base with the changes of one hint, or of several. `key` names them: equal keys are tried once.

        One change that the agent cannot make ends the trial; of several, those that it cannot make are left out.
        """
        return self._run(target, key, hints, tickets)

    def known(self, target: Target, key: str, case_id: str) -> dict[str, Any] | None:
        """The plan of a case by a change that was tried with it before, also as somebody else's companion; None: not tried, or no plan."""
        with self._lock:
            return self._plans.get((target.sha, key, case_id))

    def _run(self, target: Target, key: str, hints: Sequence[Hint], tickets: Mapping[str, dict[str, Any]]) -> Trial:
        with self._lock:
            refused = self._refused.get((target.sha, key))
            known = {case_id: plan for case_id in tickets if (plan := self._plans.get((target.sha, key, case_id))) is not None}
        if refused:
            return Trial(*refused, {})
        missing = {case_id: ticket for case_id, ticket in tickets.items() if case_id not in known}
        made = self._replayed(target, hints, key, missing) if missing else Trial("done", "", {})
        with self._lock:
            if made.status in ("gave_up", "refused"):  # a crash is no answer
                self._refused[target.sha, key] = (made.status, made.reason)
            for case_id, plan in made.after.items():
                if plan is not None:
                    base = self._plans.get((target.sha, "", case_id))
                    self._plans[target.sha, key, case_id] = base if base == plan else plan  # most are, and then cost no memory
            while len(self._refused) > KEPT_REFUSALS:
                self._refused.popitem(last=False)
            while len(self._plans) > KEPT:
                self._plans.popitem(last=False)
        if made.status != "done":
            return made
        found = {**made.after, **known}
        return Trial("done", "", {case_id: found.get(case_id) for case_id in tickets}, made.failures)

    def _replayed(self, target: Target, hints: Sequence[Hint], key: str, tickets: Mapping[str, dict[str, Any]]) -> Trial:
        if target.manifest.replay is None:
            raise PortError("no_replay", "the manifest names no replay")
        with scratch(self._ports.workdir, "trial") as folder:
            tree = folder / "tree"
            with self._shelf.tree(target, hints if len(hints) > 1 else (), key) as base:
                shutil.copytree(base, tree)
            if len(hints) == 1:
                run = self._ports.agent.run(TreeJob(job_id="trial", hint=hints[0], manifest=target.manifest), tree)
                if run.status != "done":
                    return Trial(run.status, run.reason, {})
            answers = self._ports.evals.replay(target.manifest.replay, tree, tickets)
            failures = {answer.case_id: answer.failure for answer in answers if answer.failure is not None}
            return Trial("done", "", {answer.case_id: answer.plan for answer in answers}, failures)

    def lost(self, target: Target, hint: Hint, key: str) -> frozenset[str]:
        """Rows of the step's own deterministic suites that pass on the base and no longer with a change: what the gate would say, asked early."""
        base = self._passing(target, None, "", hint.step)
        head = self._passing(target, hint, key, hint.step) if base else None
        return base - head if base is not None and head is not None else frozenset()

    def _passing(self, target: Target, hint: Hint | None, key: str, step: Step) -> frozenset[str] | None:
        """Ids of the rows that pass; None when a suite gave no result, which is the gate's to judge. Not kept: it may give one next time."""
        place = (target.sha, key, step)
        with self._lock:
            if place in self._passed:
                return self._passed[place]
        passing = self._examined(target, hint, step)
        if passing is None:
            return None
        with self._lock:
            self._passed[place] = passing
            while len(self._passed) > KEPT_EXAMS:
                self._passed.popitem(last=False)
        return passing

    def _examined(self, target: Target, hint: Hint | None, step: Step) -> frozenset[str] | None:
        passing: set[str] = set()
        with scratch(self._ports.workdir, "exam") as folder:
            tree = folder / "tree"
            with self._shelf.tree(target, (), "") as base:
                shutil.copytree(base, tree)
                paths = tree_paths(base)
                exam = Path(shutil.copytree(base, folder / "exam")) if target.manifest.kept else tree
            if hint is not None and self._ports.agent.run(TreeJob(job_id="trial", hint=hint, manifest=target.manifest), tree).status != "done":
                return None
            hide(target.manifest, tree)
            for _, suite in target.manifest.suites({step}):
                rows = rows_path(target.manifest, step, suite, paths)
                asked = suite.kind == "deterministic" and suite.timeout_s <= QUICK
                run = self._ports.evals.run_suite(suite, tree, exam / rows if rows else None, exam) if asked else None
                if run is not None and run.failure:
                    return None
                passing |= {f"{suite.id} {row.row}" for row in run.rows if row.passed} if run else set()
        return frozenset(passing)


class _Shelf:
    """Trees that serve many tries: exported base commits, and bases with many changes made together, which take long to make."""

    def __init__(self, ports: Ports):
        self._ports = ports
        self._places: OrderedDict[Path, str] = OrderedDict()
        """place → what it is kept as, the last used at the end"""
        self._readers: Counter[Path] = Counter()
        self._lock = threading.Lock()
        """of the two above; never held while a tree is made"""
        self._making: dict[Path, threading.Lock] = {}

    @contextmanager
    def tree(self, target: Target, hints: Sequence[Hint], key: str) -> Iterator[Path]:
        """The base with some changes, made once; nobody removes it within the block. Changes that the agent cannot make are left out."""
        name = hashlib.sha256(key.encode()).hexdigest()[:16] if hints else "base"
        place = self._ports.workdir / f"base-{target.name}-{target.sha[:16]}-{name}"
        with self._lock:
            self._readers[place] += 1
            making = self._making.setdefault(place, threading.Lock())
        try:
            with making:
                if not place.is_dir():
                    self._make(target, hints, place)
            yield place
        finally:
            with scratch(self._ports.workdir, "old") as folder, self._lock:
                self._readers[place] -= 1
                if place.is_dir():  # it could be made
                    self._places[place] = f"{target.name} {'many' if hints else 'base'}"
                    self._places.move_to_end(place)
                for one in self._superfluous():
                    # whole or not at all, half a base would be taken for a base; and under the lock, before anybody else finds it there
                    one.rename(folder / one.name)

    def _make(self, target: Target, hints: Sequence[Hint], place: Path) -> None:
        with scratch(self._ports.workdir, "export") as folder:
            tree = folder / "tree"
            host_of(self._ports.hosts, target.name).export(target.sha, tree)
            for hint in hints:
                self._ports.agent.run(TreeJob(job_id="trial", hint=hint, manifest=target.manifest), tree)
            tree.rename(place)

    def _superfluous(self) -> list[Path]:
        """Places past what is kept of their kind, taken off the list; those that somebody reads stay."""
        found: list[Path] = []
        for kind in set(self._places.values()):
            most = KEPT_MANY if kind.endswith("many") else KEPT_BASES
            of_kind = [one for one, other in self._places.items() if other == kind]
            found += [one for one in of_kind[:-most] if not self._readers[one]]
        for one in found:
            del self._places[one], self._readers[one], self._making[one]
        return found
