"""`triage critic score`: what the critic says of labelled cases, drafted as the service drafts, one after the other as they came in."""

import json
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from connectors.localgit import LocalGit
from connectors.ports import CriticModel, Ports
from connectors.webhooks import parse_case
from rubric.catalogue import Catalogue, load
from rubric.drafting import Abstained, Brief, Drafted, Precedent
from rubric.recipes import edit_of
from rubric.schema import Case
from rubric.scoring import NONE, Answer, Label, score
from rubric.splits import side
from service.commands.critic_backfill import backfill_command
from service.db import Database
from service.migrate import upgrade
from service.settings import Settings, TargetSettings
from service.stages import critic, intake
from service.store import cases, hints
from service.trials import Trials
from service.wiring import utc_now, wire

app = typer.Typer(add_completion=False, no_args_is_help=True)
NAME = "target"
CONFIDENT = 0.9
"""weight of a tried hint from which its answer counts as confident"""
BLOCK = 20
"""cases drafted side by side; their labels are precedents from the next block on"""


class Kind(StrEnum):
    """Which labels a critic sees as precedents, all of cases scored before."""

    progressive = "progressive"  # all of them, as a service in use would
    other_clusters = "other_clusters"  # only those with another cause
    none = "none"  # nothing


class Counted(StrEnum):
    """Which side of the labels' clusters is counted."""

    all = "all"
    dev = "dev"
    held_out = "held_out"


@app.callback()
def critic_command() -> None:
    """Look at the critic from outside."""


@app.command("score")
def score_command(
    files: Annotated[Path, typer.Option("--cases", exists=True, dir_okay=False, help="JSONL file of cases")],
    labels: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="JSONL file of labels, joined by external_id")],
    target: Annotated[Path, typer.Option(exists=True, file_okay=False, help="folder of the target repository")],
    controls: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="JSONL file of accepted cases")] = None,
    only: Annotated[Counted, typer.Option(help="side of the labels' clusters that is counted")] = Counted.all,
    limit: Annotated[int, typer.Option(help="draft at most so many cases; 0: all", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="print one line of JSON")] = False,
    precedents: Annotated[Kind, typer.Option(help="which labels of cases already scored the critic sees")] = Kind.progressive,
    rows: Annotated[Path | None, typer.Option(help="write one line a case to this file: what was said and what was right")] = None,
) -> None:
    """Draft labelled cases and count how often step, recipe and target are right, with intervals.

    The mode is progressive: a label becomes a precedent only after its case was scored. Clusters of labels (one cause each)
    fall on one side, dev or held_out, by a keyed hash: tune on one, look at the other once. Labels are read by this command only.
    """
    screen = Console(stderr=True)
    known = {label.external_id: label for label in _labels(labels)}
    everything = _documents(files)
    counted = [one for one in everything if one.get("external_id") in known and only in (Counted.all, _side(known[one["external_id"]]))]
    documents = counted[: limit or None]
    beside = [one for one in everything if one not in documents] + (_documents(controls) if controls else [])
    if not documents:
        screen.print("critic score: no case has a label; the files are joined by external_id", markup=False)
        raise typer.Exit(64)
    start = time.monotonic()
    answers = _drafted(documents, beside, known, target, precedents, screen)
    seconds = round(time.monotonic() - start, 1)
    if rows:
        lines = ({**vars(answer), "label": vars(known[answer.external_id])} for answer in answers)
        rows.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    result = {**score(answers, known), "seconds": seconds, "precedents": precedents.value, "side": only.value}
    if as_json:
        typer.echo(json.dumps(result))
    else:
        _show(result)


def _documents(file: Path) -> list[dict[str, Any]]:
    found = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            try:
                found.append(dict(json.loads(line)))
            except (ValueError, TypeError):
                raise typer.BadParameter(f"line {number} of {file.name} is no JSON object") from None
    return found


def _labels(file: Path) -> list[Label]:
    found = []
    for number, line in enumerate(_documents(file), start=1):
        try:
            found.append(Label.of(line))
        except KeyError as missing:
            raise typer.BadParameter(f"label {number} of {file.name} has no {missing}") from None
    return found


def _side(label: Label) -> Counted:
    return Counted.held_out if side(label.cluster, b"critic score") == "held_out" else Counted.dev


class _Precedents:
    """A critic that is shown the labels of cases already scored as precedents, beside what the service itself knows."""

    def __init__(self, critic: CriticModel, kind: Kind):
        self.name, self.listens, self._critic, self._kind = critic.name, critic.listens, critic, kind
        self._known: list[tuple[str, Precedent]] = []
        self.cluster: dict[str, str] = {}
        """our id → cluster of its label"""

    def draft(self, brief: Brief) -> Drafted | Abstained:
        mine = self.cluster.get(brief.case_id)
        shown = [one for cluster, one in self._known if self._kind is Kind.progressive or (self._kind is Kind.other_clusters and cluster != mine)]
        return self._critic.draft(brief.model_copy(update={"precedents": [*brief.precedents, *shown]}))

    def learn(self, case_id: str, case: Case, label: Label) -> None:
        self.cluster[case_id] = label.cluster
        told = Precedent(case_id=case_id, comment=case.comment, leaf=case.plan.leaf, step=label.step, recipe=label.recipe, target=label.target)
        self._known.append((label.cluster, told))


@dataclass(frozen=True)
class _Room:
    """A service without a server: its database, ports and what it tried."""

    db: Database
    ports: Ports
    critic: _Precedents
    catalogue: Catalogue
    trials: Trials


def _drafted(
    documents: Sequence[dict[str, Any]],
    beside: Sequence[dict[str, Any]],
    known: dict[str, Label],
    target: Path,
    kind: Kind,
    screen: Console,
) -> list[Answer]:
    with tempfile.TemporaryDirectory(prefix="triage-score-", ignore_cleanup_errors=True) as name:
        room = _room(Path(name), target, kind)
        ids = _received(room, [*documents, *beside])
        room.critic.cluster.update({ids[one["external_id"]]: known[one["external_id"]].cluster for one in documents})
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        answers: list[Answer] = []
        with Progress(*columns, console=screen) as progress, ThreadPoolExecutor(2) as pool:
            task = progress.add_task("drafting", total=len(documents))
            for first in range(0, len(documents), BLOCK):
                names = [one["external_id"] for one in documents[first : first + BLOCK]]
                for answer in pool.map(lambda name: _answer(room, name, ids[name]), names):
                    answers.append(answer)
                    progress.advance(task)
                _learn(room, {ids[name]: known[name] for name in names})
        room.db.dispose()
        return answers


def _room(folder: Path, target: Path, kind: Kind) -> _Room:
    LocalGit.create(folder / "target.git", target, "Import the target", name=NAME, now=utc_now)
    settings = Settings(data_dir=folder / "data", token=SecretStr("no server, no token"), targets={NAME: TargetSettings(repo=folder / "target.git")})
    catalogue = load()
    ports = wire(settings, catalogue)
    critic = _Precedents(ports.critic, kind)
    ports = replace(ports, critic=critic)
    url = f"sqlite:///{folder / 'score.db'}"
    upgrade(url)
    return _Room(Database(url, now=utc_now), ports, critic, catalogue, Trials(ports))


def _received(room: _Room, documents: Sequence[dict[str, Any]]) -> dict[str, str]:
    """external id → our id, once all are stored and masked: a critic works with all that is open in view."""
    deliveries = [intake.Delivery("score", NAME, parse_case(json.dumps(one).encode()), utc_now()) for one in documents]
    receipts = intake.accept(room.db, deliveries, b"critic score")
    ids = {
        str(one.case.external_id): receipt.case_id for one, receipt in zip(deliveries, receipts, strict=True) if isinstance(receipt, intake.Receipt)
    }
    intake.mask(room.db, list(ids.values()))
    return ids


def _answer(room: _Room, name: str, case_id: str) -> Answer:
    start = time.monotonic()
    critic.draft(room.db, room.ports, room.catalogue, case_id, room.trials)
    seconds = round(time.monotonic() - start, 2)
    with room.db.read() as session:
        row = cases.get(session, case_id)
        found = hints.of_case(session, case_id)
    if row is None or not found:
        return Answer(name, NONE, str(row and row.outcome), why=str(row and row.reason), seconds=seconds)
    first = found[0]
    moved = first.hint.confidence.replay == "moved" and first.hint.confidence.weight >= CONFIDENT
    return Answer(name, first.step, first.recipe, first.target_id, moved, json.dumps(edit_of(first.current["change"])), seconds)


def _learn(room: _Room, labels: dict[str, Label]) -> None:
    with room.db.read() as session:
        for case_id, label in labels.items():
            row = cases.get(session, case_id)
            if row is not None and row.work is not None:
                room.critic.learn(case_id, row.case, label)


def _show(result: dict[str, Any]) -> None:
    screen = Console()
    table = Table("what", "share", "95 % interval", "of", title=f"The critic on {result['cases']} labelled cases ({result['precedents']} precedents)")
    for name, part in (
        ("step", result["step"]), ("recipe", result["recipe"]), ("target", result["target"]),
        ("drafted: recipe and target", result["drafted"]["precision"]),
        ("confident: recipe and target", result["confident"]["precision"]), ("no fix due, none drafted", result["nonfix"]["recall"]),
    ):  # fmt: skip
        table.add_row(name, f"{part['accuracy'] or 0:.3f}", f"{part['low']:.3f} to {part['high']:.3f}", str(part["of"]))
    screen.print(table)
    steps = sorted({*result["confusion"], *(said for row in result["confusion"].values() for said in row)})
    matrix = Table("labelled, then said", *steps)
    for step, row in result["confusion"].items():
        matrix.add_row(step, *(str(row.get(said, 0)) for said in steps))
    screen.print(matrix)
    recipes = Table("recipe", "cases", "recipe right", "target too", "abstained")
    for recipe, row in result["recipes"].items():
        recipes.add_row(recipe, *(str(row[key]) for key in ("cases", "recipe", "right", "abstained")))
    screen.print(recipes)


app.command("backfill")(backfill_command)


def main(argv: list[str]) -> int:
    """Exit status: 0 done, 1 some cases got no further, 64 inputs that do not fit, 75 not finished: start it again, 78 cannot start."""
    return int(app(argv, standalone_mode=False, prog_name="triage critic") or 0)
