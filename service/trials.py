"""Tries changes out before a person sees them: the change in a scratch copy of the base, then the case and its controls through it."""

import shutil
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectors.ports import PortError, Ports, TreeJob
from rubric.schema import Hint
from service.scratch import scratch
from service.targets import Target, host_of

KEPT = 60_000
"""plans that are remembered; a commit never changes, so neither does what it makes of a ticket"""


@dataclass(frozen=True)
class Trial:
    """What a change did. Plans are as the pipeline gave them, unmasked; None where there was none."""

    status: str
    """done, or how the agent ended"""
    reason: str
    after: Mapping[str, dict[str, Any] | None]


class Trials:
    """The tries of one process, remembered by (base commit, change, case)."""

    def __init__(self, ports: Ports):
        self._ports = ports
        self._plans: OrderedDict[tuple[str, str, str], dict[str, Any] | None] = OrderedDict()
        self._refused: dict[tuple[str, str], tuple[str, str]] = {}
        self._lock = threading.Lock()

    def before(self, target: Target, tickets: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any] | None]:
        """Plans of some cases by the base as it stands."""
        return dict(self._run(target, "", None, tickets).after)

    def of(self, target: Target, hint: Hint, key: str, tickets: Mapping[str, dict[str, Any]]) -> Trial:
        """Plans of some cases by the base with a hint's change. `key` names the change: equal keys are tried once."""
        return self._run(target, key, hint, tickets)

    def _run(self, target: Target, key: str, hint: Hint | None, tickets: Mapping[str, dict[str, Any]]) -> Trial:
        with self._lock:
            refused = self._refused.get((target.sha, key))
            missing = [case_id for case_id in tickets if (target.sha, key, case_id) not in self._plans]
        if refused:
            return Trial(*refused, {})
        if missing:
            status, reason, plans = self._replayed(target, hint, {case_id: tickets[case_id] for case_id in missing})
            with self._lock:
                if status != "done":
                    self._refused[target.sha, key] = (status, reason)
                    return Trial(status, reason, {})
                for case_id in missing:
                    self._plans[target.sha, key, case_id] = plans.get(case_id)
                while len(self._plans) > KEPT:
                    self._plans.popitem(last=False)
        with self._lock:
            return Trial("done", "", {case_id: self._plans.get((target.sha, key, case_id)) for case_id in tickets})

    def _replayed(
        self, target: Target, hint: Hint | None, tickets: Mapping[str, dict[str, Any]]
    ) -> tuple[str, str, dict[str, dict[str, Any] | None]]:
        if target.manifest.replay is None:
            raise PortError("no_replay", "the manifest names no replay")
        with scratch(self._ports.workdir, "trial") as folder:
            tree = folder / "tree"
            shutil.copytree(self._base(target), tree)
            if hint is not None:
                run = self._ports.agent.run(TreeJob(job_id="trial", hint=hint, manifest=target.manifest), tree)
                if run.status != "done":
                    return run.status, run.reason, {}
            answers = self._ports.evals.replay(target.manifest.replay, tree, tickets)
            return "done", "", {answer.case_id: answer.plan for answer in answers}

    def _base(self, target: Target) -> Path:
        """The base commit's files, exported once per process."""
        place = self._ports.workdir / f"base-{target.name}-{target.sha[:16]}"
        with self._lock:
            if not place.is_dir():
                with scratch(self._ports.workdir, "export") as folder:
                    host_of(self._ports.hosts, target.name).export(target.sha, folder / "tree")
                    (folder / "tree").rename(place)
        return place
