"""`triage import`: cases from a JSONL file. Good lines are kept, bad ones set aside; running it again goes on where it stopped."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from connectors.webhooks import Refusal, parse_case
from service.db import Database
from service.engine import Engine
from service.errors import CaseConflict
from service.migrate import migrate
from service.settings import Settings
from service.stages.intake import Delivery, accept
from service.wiring import kept_secret, utc_now

app = typer.Typer(add_completion=False)
LINE_CAP = 1_048_576
"""longest line, in bytes"""
BATCH = 200
SHOWN = 20
"""bad lines that are named on the screen; the file beside the input has all"""


@dataclass
class Tally:
    """What became of the lines so far."""

    new: int = 0
    duplicates: int = 0
    bad: list[tuple[int, str, str, bytes]] = field(default_factory=list)
    """(line number, code, reason, the line)"""


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="one case per line, as POST /v1/cases takes them")],
    source: Annotated[str, typer.Option(help="name that the cases are stored under")] = "import",
    target: Annotated[str | None, typer.Option(help="target whose pipeline wrote the plans; may be left out when there is one")] = None,
) -> None:
    """Take cases in from a JSONL file.

    Lines that are no cases are reported by number and reason and set aside in FILE.bad.jsonl (with their reasons in
    FILE.bad.txt); the rest is kept. A line that was stored before is counted as a duplicate, so a broken run is simply
    started again. The server need not run; it picks the cases up when it does.
    """
    settings, screen = Settings(), Console(stderr=True)
    name = target or (next(iter(settings.targets)) if len(settings.targets) == 1 else None)
    if name is None or name not in settings.targets:
        screen.print(f"name the target: --target NAME, one of {', '.join(settings.targets) or 'TRIAGE_TARGETS, which is empty'}", markup=False)
        raise typer.Exit(64)
    engine = Engine(settings.url(), executor="import", workers=1, poll_seconds=1, data_dir=settings.data_dir)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    db = Database(settings.url())
    migrate(db, engine, settings.data_dir)
    secret = settings.split_secret.get_secret_value() if settings.split_secret else kept_secret(settings, "split.key")
    tally = Tally()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("bytes"), TimeRemainingColumn())
    with file.open("rb") as stream, Progress(*columns, console=screen) as progress:
        task = progress.add_task(f"importing {file.name}", total=file.stat().st_size)
        for batch in _batches(stream):
            _take(db, batch, tally, source, name, secret.encode())
            progress.update(task, completed=stream.tell())
    db.dispose()
    _report(file, tally, screen)
    if tally.bad:
        raise typer.Exit(1)


def _batches(stream: IO[bytes]) -> Iterator[list[tuple[int, bytes]]]:
    """(line number, line) in groups. A line over the cap comes cut, one byte too long, and is skipped to its end."""
    batch: list[tuple[int, bytes]] = []
    number = 0
    while line := stream.readline(LINE_CAP + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if len(line) > LINE_CAP and not line.endswith(b"\n"):
            while (rest := stream.readline(LINE_CAP)) and not rest.endswith(b"\n"):
                pass
        if line.strip():
            batch.append((number, line))
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _take(db: Database, batch: list[tuple[int, bytes]], tally: Tally, source: str, target: str, secret: bytes) -> None:
    good: list[tuple[int, bytes, Delivery]] = []
    for number, line in batch:
        if len(line) > LINE_CAP:
            tally.bad.append((number, "too_large", f"longer than {LINE_CAP} bytes", line[:200]))
            continue
        try:
            good.append((number, line, Delivery(source, target, parse_case(line.strip()), utc_now())))
        except Refusal as refusal:
            tally.bad.append((number, refusal.code, str(refusal), line))
    for (number, line, _), answer in zip(good, accept(db, [delivery for _, _, delivery in good], secret), strict=True):
        if isinstance(answer, CaseConflict):
            tally.bad.append((number, answer.code, str(answer), line))
        elif answer.new:
            tally.new += 1
        else:
            tally.duplicates += 1


def _report(file: Path, tally: Tally, screen: Console) -> None:
    screen.print(f"{tally.new} new, {tally.duplicates} duplicates, {len(tally.bad)} set aside", markup=False)
    if not tally.bad:
        return
    aside, reasons = file.with_name(f"{file.name}.bad.jsonl"), file.with_name(f"{file.name}.bad.txt")
    aside.write_bytes(b"".join(line.rstrip(b"\r\n") + b"\n" for _, _, _, line in tally.bad))
    reasons.write_text("".join(f"line {number}\t{code}\t{json.dumps(reason)}\n" for number, code, reason, _ in tally.bad))
    for number, code, reason, _ in tally.bad[:SHOWN]:
        screen.print(f"  line {number}: {code}: {reason}", markup=False, highlight=False)
    if len(tally.bad) > SHOWN:
        screen.print(f"  … and {len(tally.bad) - SHOWN} more", markup=False)
    screen.print(f"the lines are in {aside.name}, the reasons in {reasons.name}; mend and import {aside.name}", markup=False)


def main(argv: list[str]) -> int:
    """Exit status: 0 all lines taken, 1 some set aside, 64 no target named."""
    return int(app(argv, standalone_mode=False, prog_name="triage import") or 0)
