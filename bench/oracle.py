"""Measuring only, reads labels: how much of a labelled set the machinery cures when every hint is right. The product never sees a label.

    python bench/oracle.py --cases dev.jsonl --labels dev.gold.jsonl --target target [--controls FILE] [--only RECIPE] [--clusters N] [--json]

One hint per cluster, written from the labels, goes the real way: intake, draft, a confirmed decision, codemod, evals gate, merge; on SQLite, a
real bare repository and real processes. Then every ticket is sent through what was merged.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alembic import command
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.labelled_hints import Desk, options
from bench.rehearsal import Cluster, Rehearsal, clusters_of, is_right
from connectors.codemod import RecipeCodemod
from connectors.localgit import LocalGit
from connectors.ports import Limits, Ports
from connectors.subprocess_evals import SubprocessEvals
from rubric.drafting import Abstained, Brief, Drafted
from rubric.inventory import words_of
from rubric.recipes import AdjustFetchWeight
from rubric.schema import Case, Entry, Expectation, Hint, Outcome, Plan, Step, ToolCall, text_of
from service.db import Database
from service.errors import TriageError
from service.migrate import config_for
from service.stages.intake import case_id_of
from service.store import gate_runs, handoffs, hints, pulls
from service.targets import Target, look
from tests.samples.world import CATALOGUE, Asked, World

SOURCE = "desk"
"""the source that the world's staff write from"""


@dataclass
class Fate:
    """How far one cluster came."""

    cluster: str
    recipe: str
    locus: str
    cases: int
    right_before: bool = False
    found: bool = False
    confirmed: bool = False
    built: bool = False
    gate_pass: bool = False
    merged: bool = False
    right: int = 0
    reason: str = ""
    change: dict[str, Any] = field(default_factory=dict)

    @property
    def cured(self) -> bool:
        return self.right == self.cases


class LabelledCritic:
    """A critic that was told: the hint of a label for the one case it is for, nothing for the others."""

    name = "labels-1"

    def __init__(self) -> None:
        self.told: dict[str, tuple[Cluster, dict[str, Any]]] = {}

    def draft(self, brief: Brief) -> Drafted | Abstained:
        if brief.case_id not in self.told:
            return Abstained(outcome=Outcome.duplicate_rule, reason="another case of its cluster speaks for it")
        cluster, change = self.told[brief.case_id]
        hint = hint_of(cluster, change, brief.case_id, brief.case, brief.inventory.of(Step.fetch))
        must, must_not = promised(brief.case.plan, cluster.right[brief.case.external_id or ""])
        return Drafted(hints=[hint.model_copy(update={"must": must, "must_not": must_not})])


def hint_of(cluster: Cluster, change: dict[str, Any], case_id: str, case: Case, weights: list[Entry]) -> Hint:
    """A hint as the critic's port gives it, without its expectations."""
    comment = text_of(case, "comment")
    place = cluster.locus.replace("template:", "reply:").replace("#", ".")
    hint = Hint.model_validate({
        "step": cluster.step, "target": place, "change": change,
        "evidence": [{"source": "comment", "quote": comment, "start": 0, "end": len(comment)}],
        "summary": f"{change['recipe'].replace('_', ' ')} at {place}", "worked_example": None, "cure_case": case_id,
        "risk": CATALOGUE.recipe(change["recipe"]).risk.level, "risk_reason": CATALOGUE.recipe(change["recipe"]).risk.reason,
        "confidence": {"agree": 1, "of": 1},
    })  # fmt: skip
    if isinstance(hint.change, AdjustFetchWeight):
        hint = hint.model_copy(update={"change": hint.change.model_copy(update={"scores": _scores(hint.change, case, weights)})})
    return hint


def promised(now: Plan, right: dict[str, Any]) -> tuple[list[Expectation], list[Expectation]]:
    """(must, must not): the first thing that the right plan does otherwise, in the words of the masked case; no value of the customer is needed."""

    def one(part: str, **words: str) -> Expectation:
        return Expectation.model_validate({"part": part, **words})

    if now.leaf != right["intent_path"]:
        return [one("intent", **{"is": right["intent_path"]})], []
    calls = [ToolCall.model_validate(call) for call in right["tool_calls"]]
    old, new = {call.name for call in now.tool_calls}, {call.name for call in calls}
    if old != new:
        return [one("tool", **{"is": name}) for name in sorted(new - old)], [one("tool", **{"is": name}) for name in sorted(old - new)]
    records = [next((call.arguments["record_id"] for call in some if "record_id" in call.arguments), None) for some in (now.tool_calls, calls)]
    if records[0] != records[1] and records[1]:
        return [one("record", **{"is": records[1]})], []
    had, has = ({f"{call.name}.{key}" for call in some for key in call.arguments} for some in (now.tool_calls, calls))
    if had != has:
        return [one("tool", contains=name) for name in sorted(has - had)], [one("tool", contains=name) for name in sorted(had - has)]
    wanted = {(call.name, key): value for call in calls for key, value in call.arguments.items()}
    said = [(call.name, key, value) for call in now.tool_calls for key, value in call.arguments.items()]
    other = [one("tool", **{"is": f"{name}.{key}={value}"}) for name, key, value in said if wanted[name, key] != value and "[" not in str(value)]
    return [], other or [one("reply", **{"is": now.reply})]


def _scores(change: AdjustFetchWeight, case: Case, weights: list[Entry]) -> dict[str, tuple[float, float]]:
    numbers = {words_of(entry)[-1]: entry.value for entry in weights if words_of(entry)[:-1] == (change.record_type,)}
    delta = change.to - change.from_
    return {
        one.record_id: (one.score, sum(numbers.get(name, 0) for name in one.matched_fields) + delta * one.matched_fields.count(change.field))
        for one in case.plan.fetch
    }


def search(desk: Desk) -> tuple[dict[str, Any] | None, str]:
    """The first change that makes all of a cluster right, nobody else wrong and no eval row red; else the best there is, or why there is none."""
    best: tuple[tuple[int, int], dict[str, Any], str] | None = None
    why = "the label gives no option"
    case = Case.model_validate(desk.cluster.cases[0])
    for change in options(desk):
        try:
            hint = hint_of(desk.cluster, change, "c0", case, [])
        except ValidationError as error:
            why = "; ".join(f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors(include_url=False))
            continue
        tried = desk.rehearsal.on_cluster(desk.target, hint, desk.cluster)
        if not tried.cured or (best and -len(tried.cured) > best[0][1]):
            why = tried.refused or "no option gives the right plan"
            continue
        tried = desk.rehearsal.on_all(desk.target, hint, desk.cluster)
        spoilt = len(tried.harmed) + len(tried.red)
        note = f"changes {len(tried.harmed)} other cases, breaks {len(tried.red)} rows" if spoilt else ""
        rank = (spoilt, -len(tried.cured))
        if best is None or rank < best[0]:
            best = (rank, change, note)
        if best[0] == (0, -len(desk.cluster.cases)):
            break
    return (best[1], best[2]) if best else (None, why)


class Bench:
    """The world, what is rehearsed beside it, and what became of every cluster."""

    def __init__(self, args: argparse.Namespace, folder: Path):
        self.cases, labels = _read(args.cases), _read(args.labels)
        controls = args.controls or args.cases.parent / "controls.jsonl"
        self.controls = _read(controls) if controls.exists() else []
        self.all_clusters = clusters_of(self.cases, labels)
        chosen = [one for one in self.all_clusters if args.only in (None, one.recipe, one.id)]
        self.clusters = chosen[: args.clusters]
        self.folder, self.critic = folder, LabelledCritic()
        self.world = _world(folder, args.target, self.critic)
        self.host = self.world.host
        wanted = {one["external_id"]: one["plan"] for one in [*self.cases, *self.controls]}
        wanted |= {name: right for cluster in self.all_clusters for name, right in cluster.right.items()}
        self.wanted = wanted
        self.rehearsal = Rehearsal(args.target.resolve(), [*self.cases, *self.controls], wanted, folder)
        self.ids = {one["external_id"]: case_id_of(SOURCE, one["external_id"], 1) for one in self.cases}
        self.start = self.host.head()
        self._stood = ""

    def stand_on_head(self) -> Target:
        sha = self.host.head()
        if sha != self._stood:
            tree = self.folder / f"head-{sha[:12]}"
            self.host.export(sha, tree)
            self.rehearsal.stand_on(tree)
            self._stood = sha
        return look(self.host, sha)

    def take_in_controls(self) -> None:
        for control in self.controls:
            self.world.sends(control)
        self.world.runs()

    def play(self, cluster: Cluster) -> Fate:
        """One cluster all the way."""
        fate = Fate(cluster.id, cluster.recipe, cluster.locus, len(cluster.cases))
        target = self.stand_on_head()
        wrong = [case for case in cluster.cases if not is_right(self.rehearsal.before[case["external_id"]], cluster.right[case["external_id"]])]
        if not wrong:
            fate.right_before, fate.reason = True, "nothing to do: every case has the right plan already"
            return fate
        change, note = search(Desk(cluster, target, self.rehearsal, self.ids))
        fate.reason = note
        if change is None:
            return fate
        fate.found, fate.change = True, change
        self._go(cluster, fate, wrong[0])
        return fate

    def _go(self, cluster: Cluster, fate: Fate, case: dict[str, Any]) -> None:
        case_id = self.ids[case["external_id"]]
        self.critic.told[case_id] = (cluster, fate.change)
        for one in cluster.cases:
            self.world.sends(one)
        self.world.runs()
        row = self.world.case(case_id)
        with self.world.db.read() as session:
            drafted = hints.of_case(session, case_id)
        if not drafted:
            fate.reason = f"draft: {row.state}, {row.reason}"
            return
        try:
            self.world.confirms(drafted[0].id)
        except TriageError as error:
            fate.reason = f"lint: {error}"
            return
        fate.confirmed = True
        self.world.runs()
        self._land(fate, drafted[0].id)

    def _land(self, fate: Fate, hint_id: str) -> None:
        with self.world.db.read() as session:
            handoff, found = handoffs.of_hint(session, hint_id), pulls.of_hint(session, hint_id)
            runs = gate_runs.of_pull(session, found[-1].id) if found else []
        if not found:
            fate.reason = f"handoff: {handoff[-1].state}, {handoff[-1].reason}" if handoff else "handoff: none was started"
            return
        fate.built, fate.gate_pass = True, str(found[-1].state) == "ready"
        if not fate.gate_pass:
            fate.reason = f"gate: {'; '.join(runs[-1].report['reasons'])[:300] if runs else 'did not run'}"
            return
        self.world.merges(found[-1].id)
        self.world.runs()
        pull = self.world.pull(found[-1].id)
        fate.merged = str(pull.state) == "merged"
        fate.reason = fate.reason if fate.merged else f"landing: {pull.state}, {pull.closed_reason}"

    def measure(self, fates: list[Fate]) -> int:
        """Send every ticket through what was merged; returns how many accepted cases changed."""
        base, head = (self._plans(sha) for sha in (self.start, self.host.head()))
        for fate, cluster in zip(fates, self.clusters, strict=True):
            fate.right = sum(is_right(head.get(name), right) for name, right in cluster.right.items())
            if not fate.cured and not fate.reason:
                fate.reason = f"wrong plan: {fate.right} of {fate.cases} cases are right"
        names = [one["external_id"] for one in self.controls]
        return sum(not is_right(head.get(name), base.get(name) or {}) for name in names)

    def _plans(self, sha: str) -> dict[str, dict[str, Any] | None]:
        """By the service's own runner; a plan in the words of the labels."""
        tree = self.folder / f"last-{sha[:12]}"
        if not tree.exists():
            self.host.export(sha, tree)
        replay = look(self.host, sha).manifest.replay
        assert replay is not None, "the target names no replay"
        tickets = {one["external_id"]: {"ticket": one["ticket"]} for one in [*self.cases, *self.controls]}
        answers = self.world.ports.evals.replay(replay, tree, tickets)
        return {one.case_id: {**one.plan, "intent_path": "/".join(one.plan["intent_path"])} if one.plan else None for one in answers}


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _world(folder: Path, target: Path, critic: LabelledCritic) -> World:
    url = f"sqlite:///{folder / 'triage.db'}"
    command.upgrade(config_for(url), "head")
    asked = Asked()
    db = Database(url, enqueue=asked)
    asked.prepare(db)
    (folder / "work").mkdir()

    def now() -> datetime:
        return datetime.now(UTC)

    host = LocalGit.create(folder / "target.git", target, "Import the target", name="target", now=now)
    evals = SubprocessEvals(folder / "evals", python=sys.executable)
    ports = Ports(
        critic=critic, agent=RecipeCodemod(), evals=evals, hosts={"target": host}, now=now, workdir=folder / "work", limits=Limits(undo_seconds=0)
    )
    return World(db, ports)


def _figures(bench: Bench, fates: list[Fate], changed: int, seconds: float) -> dict[str, Any]:
    columns = ("confirmed", "built", "gate_pass", "merged", "cured", "right_before")

    def counted(some: list[Fate]) -> dict[str, int]:
        return {"clusters": len(some), **{name: sum(getattr(fate, name) for fate in some) for name in columns}}

    recipes = sorted({fate.recipe for fate in fates})
    total = counted(fates)
    cases, right = sum(fate.cases for fate in fates), sum(fate.right for fate in fates)
    missing = [
        {
            key: value
            for key, value in {**asdict(fate), "cured": fate.cured}.items()
            if key in ("cluster", "recipe", "locus", "cases", "right", "reason")
        }
        for fate in fates
        if not fate.cured or not (fate.merged or fate.right_before)
    ]
    return {
        **total, "share": round(total["cured"] / max(1, len(fates)), 4), "cases": cases, "cases_right": right,
        "controls": len(bench.controls), "controls_changed": changed,
        "by_recipe": {recipe: counted([fate for fate in fates if fate.recipe == recipe]) for recipe in recipes},
        "missing": missing, "broken": dict(Counter(bench.world.broken)), "seconds": round(seconds, 1),
    }  # fmt: skip


def _show(figures: dict[str, Any]) -> None:
    columns = ("clusters", "confirmed", "built", "gate_pass", "merged", "cured", "right_before")
    table = Table(title="Hints written from labels, and what became of them")
    for name in ("recipe", *columns):
        table.add_column(name.replace("_", " "), justify="left" if name == "recipe" else "right")
    for recipe, line in figures["by_recipe"].items():
        table.add_row(recipe, *(str(line[name]) for name in columns))
    table.add_row("all", *(str(figures[name]) for name in columns), style="bold")
    screen = Console()
    screen.print(table)
    screen.print(
        f"cured {figures['share']:.1%} of the clusters, {figures['cases_right']} of {figures['cases']} cases right, "
        f"{figures['controls_changed']} of {figures['controls']} controls changed, {figures['seconds']} s"
    )
    for one in figures["missing"]:
        screen.print(f"- {one['cluster']} {one['recipe']} {one['locus']}: {one['right']} of {one['cases']} right; {one['reason']}", markup=False)
    for line, times in figures["broken"].items():
        screen.print(f"! broken {times} times: {line}", markup=False)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, needed in (("--cases", True), ("--labels", True), ("--target", True), ("--controls", False)):
        parser.add_argument(name, type=Path, required=needed)
    parser.add_argument("--json", action="store_true", dest="as_json", help="one line of JSON")
    parser.add_argument("--only", help="a recipe, or the id of a cluster")
    parser.add_argument("--clusters", type=int, help="only the first so many")
    return parser.parse_args()


def main() -> int:
    args = _arguments()
    begun = time.monotonic()
    columns = (TextColumn("{task.description:<40}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with tempfile.TemporaryDirectory(prefix="triage-oracle-", ignore_cleanup_errors=True) as name:
        bench = Bench(args, Path(name))
        fates = []
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task("taking in the controls", total=len(bench.clusters))
            bench.take_in_controls()
            for cluster in bench.clusters:
                progress.update(task, description=f"{cluster.id} {cluster.recipe}")
                fates.append(bench.play(cluster))
                if fates[-1].reason:
                    progress.console.print(f"{cluster.id} {cluster.locus}: {fates[-1].reason}", markup=False, highlight=False)
                progress.advance(task)
        figures = _figures(bench, fates, bench.measure(fates), time.monotonic() - begun)
    if args.as_json:
        print(json.dumps(figures, ensure_ascii=False))
    else:
        _show(figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
