"""Measuring only, reads labels: tries typed changes on a copy of the target's config, inside this process: a search replays a lot."""

import importlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from connectors.codemod import RecipeCodemod
from connectors.ports import TreeJob
from rubric.schema import Hint
from service.commands.critic_room import documents_of
from service.targets import Target

PARTS = ("intent_path", "reply", "tool_calls")
"""what a label says of the right plan"""


@dataclass(frozen=True)
class Cluster:
    """Rejections with one cause, and what the labels say of it."""

    id: str
    step: str
    recipe: str
    locus: str
    fix: str
    cases: list[dict[str, Any]]
    right: dict[str, dict[str, Any]]
    """external id → the plan that a pipeline without the fault would have sent"""


@dataclass
class Tried:
    """What a change does: to its cluster, to everybody else, and to the evals."""

    cured: list[str] = field(default_factory=list)
    harmed: list[str] = field(default_factory=list)
    red: list[str] = field(default_factory=list)
    refused: str = ""


def clusters_of(cases: Sequence[dict[str, Any]], labels: Sequence[dict[str, Any]]) -> list[Cluster]:
    """The actionable clusters, in the order of the labels' file."""
    by_id = {case["external_id"]: case for case in cases}
    grouped: dict[str, list[dict[str, Any]]] = {}
    for label in labels:
        if label["step"] != "none":
            grouped.setdefault(label["cluster_id"], []).append(label)
    return [
        Cluster(
            id=name, step=rows[0]["step"], recipe=rows[0]["recipe"], locus=rows[0]["locus"], fix=rows[0]["fix"],
            cases=[by_id[row["external_id"]] for row in rows], right={row["external_id"]: row["meta"]["right_plan"] for row in rows},
        )
        for name, rows in grouped.items()
    ]  # fmt: skip


def is_right(plan: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> bool:
    return plan is not None and all(plan.get(part) == wanted.get(part) for part in PARTS)


class Rehearsal:
    """The target's own pipeline and evals over a config that is swapped; its code never changes here."""

    def __init__(self, target: Path, cases: Sequence[dict[str, Any]], wanted: Mapping[str, Mapping[str, Any]], folder: Path):
        sys.dont_write_bytecode = True  # the target's folder stays as it is
        sys.path.insert(0, str(target))
        self.pipeline = importlib.import_module("pipeline.replay").Pipeline(target)
        self.extraction = importlib.import_module("pipeline.extraction")
        self.intent = importlib.import_module("pipeline.intent")
        self._config = importlib.import_module("pipeline.config").Config
        self._check = importlib.import_module("evals.run").check
        self.rows = {path.parent.name: documents_of(path) for path in sorted((target / "evals").glob("*/cases.jsonl"))}
        self.cases, self.wanted, self.folder = list(cases), wanted, folder
        self._index: tuple[Any, dict[str, list[tuple[int, str, int]]], int] | None = None
        self._said: dict[tuple[int, int], set[str]] = {}
        setattr(self.intent, "scores", self._scores)  # noqa: B010 — the target's module, not ours
        self.base = folder / "none"
        self.before: dict[str, dict[str, Any]] = {}
        self.codemod = RecipeCodemod()

    def _scores(self, intents: Any, messages: Any) -> list[tuple[int, str, list[str]]]:
        """The target's own scoring with an index over the cues; a search would spend all its time there. Messages live as long as we do."""
        if self._index is None or self._index[0] is not intents:
            index: dict[str, list[tuple[int, str, int]]] = {}
            for place, (leaf, entry) in enumerate(intents["leaves"].items()):
                for cue, weight in entry["cues"].items():
                    index.setdefault(cue, []).append((place, leaf, weight))
            self._index = (intents, index, max((cue.count(" ") + 1 for cue in index), default=1))
        _, index, longest = self._index
        key = (id(messages), longest)
        if key not in self._said:
            self._said[key] = self.intent.phrases(self.intent.tokens(messages), longest)
        found: dict[tuple[int, str], int] = {}
        for place, leaf, weight in (one for phrase in self._said[key] for one in index.get(phrase, ())):
            found[place, leaf] = found.get((place, leaf), 0) + weight
        return sorted(((score, leaf, []) for (_, leaf), score in sorted(found.items())), key=lambda row: -row[0])

    def stand_on(self, tree: Path) -> None:
        """From now on changes are tried on the config of this tree."""
        self.base = tree
        self._use(tree)
        self.before = self.plans(self.cases)
        self.green = {row for step in self.rows for row in self._passing(step)}

    def _use(self, tree: Path) -> None:
        self.pipeline.config = self._config(tree)

    def plans(self, cases: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return {case["external_id"]: self.pipeline.run(case) for case in cases}

    def _passing(self, step: str) -> list[str]:
        return [f"{step}/{row['row']}" for row in self._check(self.pipeline.config, step, self.rows[step]) if row["pass"]]

    def intents(self) -> Any:
        self._use(self.base)
        return self.pipeline.config.intents

    @contextmanager
    def _changed(self, target: Target, hint: Hint) -> Iterator[str]:
        """Work on the config with a change; yields why there is none, if the codemod says so."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            tree = Path(name)
            shutil.copytree(self.base / "config", tree / "config")
            run = self.codemod.run(TreeJob(job_id="rehearsal", hint=hint, manifest=target.manifest), tree)
            if run.status == "done":
                self._use(tree)
            try:
                yield "" if run.status == "done" else run.reason or run.status
            finally:
                self._use(self.base)

    def on_cluster(self, target: Target, hint: Hint, cluster: Cluster) -> Tried:
        """What a change does to its own cases only."""
        with self._changed(target, hint) as refused:
            if refused:
                return Tried(refused=refused)
            try:
                plans = self.plans(cluster.cases)
            except Exception as error:  # the target's own words for a config that does not fit together
                return Tried(refused=f"{type(error).__name__}: {error}"[:200])
            return Tried(cured=[name for name, plan in plans.items() if is_right(plan, cluster.right[name])])

    def on_all(self, target: Target, hint: Hint, cluster: Cluster) -> Tried:
        """What a change does to every case, and which eval rows it breaks."""
        with self._changed(target, hint) as refused:
            if refused:
                return Tried(refused=refused)
            try:
                plans = self.plans(self.cases)
                passing = {row for step in self.rows for row in self._passing(step)}
            except Exception as error:
                return Tried(refused=f"{type(error).__name__}: {error}"[:200])
        cured = [name for name in cluster.right if is_right(plans[name], cluster.right[name])]
        harmed = [
            name
            for name, plan in plans.items()
            if name not in cluster.right and not is_right(plan, self.before[name]) and not is_right(plan, self.wanted[name])
        ]
        return Tried(cured=cured, harmed=harmed, red=sorted(self.green - passing))
