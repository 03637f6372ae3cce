"""Measures what follows intake: replaying cases, drafting hints, and the gate of a pull, each in this process with the real connectors."""

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from alembic import command

from bench.figures import Figure
from connectors.localgit import LocalGit
from connectors.ports import Ports, TreeJob
from connectors.webhooks import parse_case
from rubric.catalogue import load
from rubric.recipes import edit_of
from rubric.schema import Hint, Verdict
from service.db import Database
from service.gating import run_gate, tree_paths
from service.migrate import config_for
from service.settings import Settings, TargetSettings
from service.stages import critic, intake
from service.store import hints
from service.targets import Target, look
from service.trials import Trials
from service.wiring import utc_now, wire

NAME = "target"
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Loop:
    """A target that is hosted, its cases, and the connectors around it."""

    folder: Path
    repo: Path
    ports: Ports
    target: Target
    cases: Sequence[dict[str, Any]]

    @property
    def host(self) -> LocalGit:
        found = self.ports.hosts[NAME]
        assert isinstance(found, LocalGit)
        return found


def set_up(folder: Path, target: Path, cases: Sequence[dict[str, Any]]) -> Loop:
    """Host a copy of the target as `triage serve` would find it. Raises `PortError` for what is no target."""
    repo = folder / "target.git"
    LocalGit.create(repo, target, "Import the target", name=NAME, now=utc_now)
    given: Any = {"_env_file": None, "data_dir": folder / "loop", "targets": {NAME: TargetSettings(repo=repo)}}
    ports = wire(Settings(**given), load())
    host = ports.hosts[NAME]
    return Loop(folder, repo, ports, look(host, host.head()), cases)


def replays(loop: Loop, batches: Sequence[int], rounds: int, tell: Tell) -> list[Figure]:
    """Milliseconds a case, when so many are replayed at once; the batches take turns."""
    replay = loop.target.manifest.replay
    if replay is None:
        return [Figure("replay", "ms/case", [], note="the manifest names no replay")]
    tree = loop.folder / "replayed"
    loop.host.export(loop.target.sha, tree)
    values: dict[int, list[float]] = {batch: [] for batch in batches}
    for _ in range(rounds):
        for batch in batches:
            tickets = {f"c{place}": {"ticket": case["ticket"]} for place, case in enumerate(islice(cycle(loop.cases), batch))}
            start = time.perf_counter()
            answers = loop.ports.evals.replay(replay, tree, tickets)
            values[batch].append((time.perf_counter() - start) * 1000 / batch)
            if lost := [answer for answer in answers if answer.plan is None]:
                raise RuntimeError(f"replay gave no plan for {len(lost)} of {batch} cases: {lost[0].failure} {lost[0].detail[:500]}")
    tell("replayed")
    return [Figure(f"replay, {batch} at once", "ms/case", values[batch]) for batch in batches]


def drafts(loop: Loop, most: int, rounds: int, tell: Tell) -> tuple[Figure, list[Hint]]:
    """Rejections answered a second, one after another, each round from an empty SQLite with nothing remembered; and the hints of the last round."""
    rates: list[float] = []
    found: list[Hint] = []
    number, catalogue = 0, load()
    for round_number in range(rounds):
        db = Database(f"sqlite:///{loop.folder / f'drafts-{round_number}.db'}", enqueue=lambda *_: None)
        rejected = taken_in(db, loop.cases)[:most]
        number, trials = len(rejected), Trials(loop.ports)
        start = time.perf_counter()
        for case_id in rejected:
            critic.draft(db, loop.ports, catalogue, case_id, trials)
        rates.append(number / (time.perf_counter() - start))
        with db.read() as session:
            found = [row.hint for case_id in rejected for row in hints.of_case(session, case_id)]
        db.dispose()
        tell(f"drafts: {number} rejections at {rates[-1]:.1f}/s")
    return Figure("drafts, critic and trials", "drafts/s", rates, note=f"{number} rejections, {len(found)} hints"), found


def taken_in(db: Database, documents: Sequence[dict[str, Any]]) -> list[str]:
    """All cases, masked, in new tables; the ids of the rejections."""
    command.upgrade(config_for(db.url), "head")
    deliveries = [intake.Delivery("bench", NAME, parse_case(json.dumps(one).encode()), db.now()) for one in documents]
    rejected = []
    for start in range(0, len(deliveries), intake.BATCH):
        batch = deliveries[start : start + intake.BATCH]
        answers = intake.accept(db, batch, b"the bench has no held-out side")
        taken = [(answer.case_id, delivery) for answer, delivery in zip(answers, batch, strict=True) if isinstance(answer, intake.Receipt)]
        intake.mask(db, [case_id for case_id, _ in taken])
        rejected += [case_id for case_id, delivery in taken if delivery.case.verdict is Verdict.rejected]
    return rejected


def gates(loop: Loop, drafted: Sequence[Hint], most: int, rounds: int, tell: Tell) -> Figure:
    """Seconds that the evals of the affected steps take on base and head of a pull; the pulls are what the codemod makes of drafted hints."""
    values = []
    pulls = 0
    for number, hint in enumerate({json.dumps(edit_of(hint.change.model_dump(mode="json")), sort_keys=True): hint for hint in drafted}.values()):
        if pulls == most:
            break
        base, head = (loop.folder / f"pull-{number}" / side for side in ("base", "head"))
        for tree in (base, head):
            loop.host.export(loop.target.sha, tree)
        if loop.ports.agent.run(TreeJob(job_id="bench", hint=hint, manifest=loop.target.manifest), head).status != "done":
            continue
        pulls += 1
        paths = {*tree_paths(base), *tree_paths(head)}
        changed = sorted(path for path in paths if _content(base / path) != _content(head / path))
        for turn in range(rounds):  # on copies: the gate takes the rows out of its trees
            before, after = (Path(shutil.copytree(tree, loop.folder / f"gate-{number}-{turn}" / tree.name)) for tree in (base, head))
            report = run_gate(before, after, changed, loop.target.manifest, loop.ports.evals, scratch=loop.folder)
            if report.state not in ("pass", "fail"):
                raise RuntimeError(f"the gate judged nothing, so its time says nothing: {report.verdict.reasons}")
            values.append(report.seconds)
        tell(f"gate of {hint.recipe}: {report.state}, {len(report.suites)} suites of {' '.join(report.steps)}, {values[-1]:.2f} s")
    return Figure("gate, affected steps", "s/pull", values, note=f"{pulls} pulls" if pulls else "no drafted hint became a pull")


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
