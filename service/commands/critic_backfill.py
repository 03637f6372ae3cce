"""`triage critic backfill`: old rejections drafted by batches of asks, at half price; killed, it goes on where it was when it starts again."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from string import digits
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from connectors.ports import Ports
from rubric.catalogue import load
from service.backfill import Backfill, Tally
from service.db import UNREACHABLE, Database
from service.engine import Engine, ExecutorTaken, things_of
from service.lifecycle import DraftState
from service.migrate import migrate
from service.picking import pick
from service.settings import Refused, Settings, read_settings, starting
from service.store.calls import Caps
from service.wiring import batches, wire


class Of(StrEnum):
    """Which rejections, by where their draft stands."""

    queued = "queued"
    abstained = "abstained"
    failed = "failed"


def backfill_command(
    target: Annotated[str | None, typer.Option(help="target whose rejections are drafted; may be left out when there is one")] = None,
    of: Annotated[list[Of] | None, typer.Option(help="drafts that stand so, whatever ended them; may be repeated")] = None,
    limit: Annotated[int, typer.Option(help="at most so many rejections: waiting, failed, abstained, the oldest of each first", min=1)] = 500,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="stay until all is answered, or hand over one round and end")] = True,
    every: Annotated[float, typer.Option(help="seconds between two looks at what is with the server", min=0)] = 60,
    give_up: Annotated[
        bool, typer.Option("--give-up", help="write off batches that the model server does not know: paid for, and asked anew")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print one line of JSON")] = False,
) -> None:
    """Ask about old rejections in batches, at half the price of single asks and within the same caps; the server drafts them from the answers.

    Without --of: rejections that wait with nobody at work on them, whose draft failed because no model answered, or of whose comment a
    critic without a model made nothing. A batch takes minutes to a day. When this is killed, start it again: it collects what it handed
    over and pays for nothing twice.
    """
    settings, screen = read_settings(), Console(stderr=True, soft_wrap=True)
    if settings.critic != "claude":
        raise Refused("a backfill asks a model: set TRIAGE_CRITIC=claude and TRIAGE_CLAUDE_KEY")
    name = settings.target_named(target)
    with _place(settings, give_up) as place:
        picked = pick(place.db, name, [DraftState(one.value) for one in of or ()], _busy(place.engine), limit)
        try:
            tally = _driven(place.work, picked, wait, every, screen)
        except UNREACHABLE as error:
            raise Refused(f"the database did not answer ({type(error).__name__}); nothing is paid for twice: start it again", 75) from None
    if as_json:
        typer.echo(json.dumps(_as_json(tally)))
    else:
        _show(tally)
    if line := _unfinished(tally):
        raise Refused(line, 75)
    if tally.aside:
        raise typer.Exit(1)


def _busy(engine: Engine) -> set[str]:
    """Cases whose draft runs or was asked for, by a person or by a backfill that handed them over. Others stand in the queue or wait for a model."""
    asked_for = {name for name in engine.active(("draft:",)) if not name.rpartition(":")[2].startswith((*digits, "wait-"))}
    return {case_id for _, case_id in things_of(asked_for | engine.active(("draft:",), taken_up=True))}


@dataclass(frozen=True)
class _Place:
    db: Database
    engine: Engine
    work: Backfill


@contextmanager
def _place(settings: Settings, give_up: bool) -> Iterator[_Place]:
    """The service's database, and the backfill on it: one at a time, because another one's batch looks like one that was lost."""
    with starting():
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        engine = Engine(settings.url(), executor="critic backfill", workers=1, poll_seconds=1, data_dir=settings.data_dir)
        catalogue = load()
        ports: Ports = wire(settings, catalogue)
        db = Database(settings.url(), enqueue=engine.enqueue, now=ports.now)
        migrate(db, engine, settings.data_dir)
        work = Backfill(db, ports, catalogue, batches(settings), Caps(**settings.caps()), call_seconds=settings.claude_seconds, give_up=give_up)
        try:
            engine.lock()
        except ExecutorTaken:
            raise Refused("another backfill is at work on this database", 75) from None
    try:
        yield _Place(db, engine, work)
    finally:
        engine.stop()
        db.dispose()


def _driven(work: Backfill, picked: list[str], wait: bool, every: float, screen: Console) -> Tally:
    tally = Tally(len(picked))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("cases"), TimeElapsedColumn())
    with Progress(*columns, console=screen) as progress:
        task = progress.add_task("reading", total=len(picked))
        for tally in work.run(picked):
            told = f"round {tally.rounds}, {tally.out} asks with the server, USD {tally.usd:.4f}"
            progress.update(task, description=told, completed=tally.done + len(tally.aside))
            if tally.out and not tally.stopped:
                if not wait:
                    break
                time.sleep(every)
    return tally


def _unfinished(tally: Tally) -> str | None:
    """What is to be done when a run ends before its work does."""
    if tally.stopped.startswith("spend_cap"):
        when = f" in {tally.wait / 60:.0f} min" if tally.wait else ""
        return f"{tally.stopped}: the cap on what {'an hour' if 'hour' in tally.stopped else 'a day'} may cost is reached; start it again{when}"
    if tally.unknown:
        what = f"the model server does not know the batch {tally.unknown} ({tally.stopped}), which is paid for"
        return f"{what}; start it again with the address and key that it was handed over with, or with --give-up to write it off"
    if tally.stopped:
        paid = f"; {tally.lost} asks may have been taken all the same and count as paid for" if tally.lost else ""
        return f"the model server did not take part ({tally.stopped}){paid}; start it again"
    return f"{tally.out} asks are with the server; start it again to collect them" if tally.out else None


def _as_json(tally: Tally) -> dict[str, object]:
    return {
        "cases": tally.cases, "handed_over": tally.done, "aside": dict(Counter(tally.aside.values())), "rounds": tally.rounds, "asked": tally.asked,
        "answered": tally.answered, "errors": tally.errors, "lost": tally.lost, "out": tally.out, "tokens": tally.tokens, "usd": round(tally.usd, 6),
        "stopped": tally.stopped,
    }  # fmt: skip


def _show(tally: Tally) -> None:
    screen = Console()
    table = Table("what", "this run", title="Backfill (costs are estimates by the price list)")
    table.columns[1].justify = "right"
    for what, figure in (
        ("cases", f"{tally.cases}"), ("handed over to the draft", f"{tally.done}"), ("rounds", f"{tally.rounds}"), ("asked", f"{tally.asked}"),
        ("answered", f"{tally.answered}"), ("errors", f"{tally.errors}"), ("lost", f"{tally.lost}"), ("with the server", f"{tally.out}"),
        ("tokens", f"{tally.tokens}"), ("US dollars", f"{tally.usd:.4f}"),
    ):  # fmt: skip
        table.add_row(what, figure)
    screen.print(table)
    for code, number in sorted(Counter(tally.aside.values()).items()):
        screen.print(f"{number} got no further: {code}", markup=False, highlight=False)
