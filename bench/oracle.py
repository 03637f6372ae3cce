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
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alembic import command
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.fates import Fate, figures_of, show
from bench.labelled_critic import LabelledCritic, hint_of
from bench.labelled_hints import Desk, options
from bench.rehearsal import Cluster, Rehearsal, clusters_of, is_right
from connectors.codemod import RecipeCodemod
from connectors.localgit import LocalGit
from connectors.ports import Limits, Ports
from connectors.subprocess_evals import SubprocessEvals
from rubric.schema import Case
from service.commands.critic_room import documents_of
from service.db import Database
from service.errors import TriageError
from service.migrate import config_for
from service.stages.intake import case_id_of
from service.store import gate_runs, handoffs, hints, pulls
from service.targets import Target, look
from tests.samples.world import Asked, World

SOURCE = "desk"
"""the source that the world's staff write from"""


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
        self.cases, labels = documents_of(args.cases), documents_of(args.labels)
        controls = args.controls or args.cases.parent / "controls.jsonl"
        self.controls = documents_of(controls) if controls.exists() else []
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

    def measure(self, fates: list[Fate]) -> dict[str, int]:
        """Send every ticket through what was merged; returns how many changed of those whose plan was right all along."""
        base, head = (self._plans(sha) for sha in (self.start, self.host.head()))
        for fate, cluster in zip(fates, self.clusters, strict=True):
            fate.right = sum(is_right(head.get(name), right) for name, right in cluster.right.items())
            if not fate.cured and not fate.reason:
                fate.reason = f"wrong plan: {fate.right} of {fate.cases} cases are right"
        labelled = {name for cluster in self.all_clusters for name in cluster.right}
        right = {"controls": self.controls, "not_actionable": [one for one in self.cases if one["external_id"] not in labelled]}
        figures = {}
        for name, some in right.items():
            figures[name] = len(some)
            figures[f"{name}_changed"] = sum(not is_right(head.get(one["external_id"]), base.get(one["external_id"]) or {}) for one in some)
        return figures

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
                    progress.console.print(f"{cluster.id} {cluster.locus}: {fates[-1].reason}", markup=False, highlight=False, soft_wrap=True)
                progress.advance(task)
        figures = figures_of(fates, bench.measure(fates), bench.world.broken)
    figures["seconds"] = round(time.monotonic() - begun, 1)
    if args.as_json:
        print(json.dumps(figures, ensure_ascii=False))
    else:
        show(figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
