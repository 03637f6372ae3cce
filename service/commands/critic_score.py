"""`triage critic score`: what the critic says of labelled cases, drafted as the service drafts, one after the other as they came in."""

import json
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from connectors.ports import CriticModel, PortError
from rubric.asks import ABSTAIN, plain_ask
from rubric.baselines import Baseline
from rubric.catalogue import Catalogue, load
from rubric.drafting import Abstained, Answered, Brief, Drafted, Precedent
from rubric.expectations import record_of
from rubric.recipes import edit_of
from rubric.schema import Case, Outcome
from rubric.scoring import NONE, Answer, Label, compare, score
from rubric.splits import side
from service.asking import AskingCritic
from service.commands.critic_room import Room, documents_of, received, room
from service.commands.critic_tables import baseline_answers, show
from service.lifecycle import DraftState
from service.stages import critic
from service.store import cases, hints

CONFIDENT = 0.9
"""weight of a tried hint from which its answer counts as confident"""
BLOCK = 20
"""cases drafted side by side; their labels are precedents from the next block on"""


class Kind(StrEnum):
    """Which labels a critic sees as precedents, all of cases scored before."""

    progressive = "progressive"  # all of them, as a service in use would
    other_clusters = "other_clusters"  # only those with another cause
    none = "none"  # nothing


class Arm(StrEnum):
    """Who drafts."""

    precedent = "precedent"  # the embedded critic
    claude = "claude"  # small asks to the model of the settings
    raw_comment = "raw-comment"  # one question with the whole comment, to the same model


class Counted(StrEnum):
    """Which side of the labels' clusters is counted."""

    all = "all"
    dev = "dev"
    held_out = "held_out"


RowsFile = Annotated[
    typer.FileTextWrite | None,
    typer.Option(help="write one line a case to this file: what was said and what was right", lazy=False, encoding="utf-8"),
]
"""opened with the command line: what was paid for has a place to go to"""


def score_command(
    files: Annotated[Path, typer.Option("--cases", exists=True, dir_okay=False, help="JSONL file of cases")],
    labels: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="JSONL file of labels, joined by external_id")],
    target: Annotated[Path, typer.Option(exists=True, file_okay=False, help="folder of the target repository")],
    controls: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="JSONL file of accepted cases")] = None,
    only: Annotated[Counted, typer.Option(help="side of the labels' clusters that is counted")] = Counted.all,
    limit: Annotated[int, typer.Option(help="draft at most so many cases; 0: all", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="print one line of JSON")] = False,
    precedents: Annotated[Kind, typer.Option(help="which labels of cases already scored the critic sees")] = Kind.progressive,
    arms: Annotated[
        str,
        typer.Option("--arms", "--critic", help="critics by commas: precedent, claude, raw-comment; the first against the others"),
    ] = "precedent",
    against: Annotated[Baseline | None, typer.Option(help="a baseline on the same cases, with the paired difference")] = None,
    rows: RowsFile = None,
) -> None:
    """Draft labelled cases and count how often step, recipe and target are right, with intervals; several critics side by side with --arms.

    The mode is progressive: a label becomes a precedent only after its case was scored. Clusters of labels (one cause each)
    fall on one side, dev or held_out, by a keyed hash: tune on one, look at the other once. Labels are read by this command only.
    """
    screen = Console(stderr=True)
    given = _given(files, labels, target, controls, only, limit, precedents)
    if not given.documents:
        screen.print("critic score: no case has a label; the files are joined by external_id", markup=False)
        raise typer.Exit(64)
    start = time.monotonic()
    first, *others = _arms(arms)
    answers = _drafted(first, given, screen)
    if rows:
        _write(rows, answers, given.known)
    result: dict[str, Any] = {"critic": first.value, **score(answers, given.known), "precedents": precedents.value, "side": only.value}
    result["arms"] = [_held_against(answers, arm.value, _drafted(arm, given, screen), given.known) for arm in others]
    if against:
        theirs = baseline_answers(against, given.documents, given.known, load())
        result["against"] = _held_against(answers, against.value, theirs, given.known)
    result["seconds"] = round(time.monotonic() - start, 1)
    typer.echo(json.dumps(result)) if as_json else show(result)


def _write(rows: IO[str], answers: Sequence[Answer], known: dict[str, Label]) -> None:
    rows.writelines(json.dumps({**vars(one), "label": vars(known[one.external_id])}) + "\n" for one in answers)
    rows.flush()  # the next arm may be killed


@dataclass(frozen=True)
class _Given:
    """What every arm is given."""

    documents: Sequence[dict[str, Any]]
    beside: Sequence[dict[str, Any]]
    known: dict[str, Label]
    target: Path
    kind: Kind


def _given(files: Path, labels: Path, target: Path, controls: Path | None, only: Counted, limit: int, kind: Kind) -> _Given:
    known = {label.external_id: label for label in _labels(labels)}
    everything = documents_of(files)
    counted = [one for one in everything if one.get("external_id") in known and only in (Counted.all, _side(known[one["external_id"]]))]
    documents = counted[: limit or None]
    beside = [one for one in everything if one not in documents] + (documents_of(controls) if controls else [])
    return _Given(documents, beside, known, target, kind)


def _arms(text: str) -> list[Arm]:
    try:
        return list(dict.fromkeys(Arm(name.strip()) for name in text.split(",")))
    except ValueError:
        raise typer.BadParameter(f"--arms takes {', '.join(Arm)}, by commas") from None


def _held_against(first: list[Answer], name: str, answers: list[Answer], known: dict[str, Label]) -> dict[str, Any]:
    return {"name": name, "score": score(answers, known), **compare(first, answers, known)}


def _labels(file: Path) -> list[Label]:
    found = []
    for number, line in enumerate(documents_of(file), start=1):
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
        told = Precedent(
            case_id=case_id, comment=case.comment, leaf=case.plan.leaf, step=label.step, recipe=label.recipe, target=label.target,
            record=record_of(case.plan),
        )  # fmt: skip
        self._known.append((label.cluster, told))


class _RawComment:
    """The yardstick: the whole comment in one question to the model, as to a coding agent. Its answers are noted; it drafts nothing."""

    listens = False

    def __init__(self, asking: AskingCritic, catalogue: Catalogue):
        self.name = f"raw-comment {asking.name}"
        self._asking, self._catalogue = asking, catalogue
        self.said: dict[str, tuple[str, str]] = {}
        """our id → (recipe or outcome, place)"""

    def draft(self, brief: Brief) -> Drafted | Abstained:
        outcome = self._asking.ask(brief.case_id, plain_ask(brief, self._catalogue))
        if not isinstance(outcome, Answered):
            raise PortError(outcome.kind, "the model's answer to the one question cannot be used")
        self.said[brief.case_id] = str(outcome.value.get("choice", ABSTAIN)), str(outcome.value.get("place", ""))
        return Abstained(outcome=Outcome.one_off, reason="measured only")

    def answer(self, name: str, case_id: str) -> Answer:
        """What was said of a case; `failed` where the question was not put."""
        if case_id not in self.said:
            return Answer(name, NONE, "", failed="not_asked")
        recipe, place = self.said[case_id]
        if recipe not in self._catalogue.recipes:
            return Answer(name, NONE, recipe if recipe in Outcome.__members__ else Outcome.unclear_ask_back.value)
        return Answer(name, str(self._catalogue.steps_of(recipe)[0]), recipe, place)


@dataclass(frozen=True)
class _Bench:
    """One arm at work."""

    room: Room
    critic: _Precedents
    raw: _RawComment | None


def _drafted(arm: Arm, given: _Given, screen: Console) -> list[Answer]:
    with tempfile.TemporaryDirectory(prefix="triage-score-", ignore_cleanup_errors=True) as name:
        bench = _bench(Path(name), given.target, arm, given.kind)
        ids = received(bench.room, [*given.documents, *given.beside])
        names = [one["external_id"] for one in given.documents]
        bench.critic.cluster.update({ids[one]: given.known[one].cluster for one in names})
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        answers: list[Answer] = []
        with Progress(*columns, console=screen) as progress, ThreadPoolExecutor(2) as pool:
            task = progress.add_task(f"drafting, {arm.value}", total=len(names))
            for first in range(0, len(names), BLOCK):
                block = names[first : first + BLOCK]
                for answer in pool.map(lambda one: _answer(bench, one, ids[one]), block):
                    answers.append(answer)
                    progress.advance(task)
                _learn(bench, {ids[one]: given.known[one] for one in block})
        bench.room.db.dispose()
        return answers


def _bench(folder: Path, target: Path, arm: Arm, kind: Kind) -> _Bench:
    own = room(folder, target, "precedent" if arm is Arm.precedent else "claude")
    raw = None
    if arm is Arm.raw_comment and isinstance(own.ports.critic, AskingCritic):
        raw = _RawComment(own.ports.critic, own.catalogue)
    shown = _Precedents(raw or own.ports.critic, kind)
    return _Bench(own.with_critic(lambda _: shown), shown, raw)


def _answer(bench: _Bench, name: str, case_id: str) -> Answer:
    start = time.monotonic()
    room = bench.room
    critic.draft(room.db, room.ports, room.catalogue, case_id, None if bench.raw else room.trials)
    seconds = round(time.monotonic() - start, 2)
    with room.db.read() as session:
        row = cases.get(session, case_id)
        found = hints.of_case(session, case_id)
    if row is None or row.state not in (DraftState.drafted, DraftState.abstained):
        why = str((row and row.reason) or "")
        return Answer(name, NONE, "", why=why, seconds=seconds, failed=why.partition(":")[0] or "not_drafted")
    if bench.raw:
        return replace(bench.raw.answer(name, case_id), seconds=seconds)
    if not found:
        return Answer(name, NONE, str(row.outcome), why=str(row.reason), seconds=seconds)
    first = found[0]
    moved = first.hint.confidence.replay == "moved" and first.hint.confidence.weight >= CONFIDENT
    return Answer(name, first.step, first.recipe, first.target_id, moved, json.dumps(edit_of(first.current["change"])), seconds)


def _learn(bench: _Bench, labels: dict[str, Label]) -> None:
    with bench.room.db.read() as session:
        for case_id, label in labels.items():
            row = cases.get(session, case_id)
            if row is not None and row.work is not None:
                bench.critic.learn(case_id, row.case, label)
