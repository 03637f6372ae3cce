"""`triage import`: cases from a JSONL file. Good lines are kept, bad ones set aside; running it again goes on where it stopped."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import IO, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from connectors.webhooks import Refusal, parse_case
from service.db import UNREACHABLE, Database
from service.engine import Engine
from service.errors import CaseConflict
from service.migrate import migrate
from service.settings import NAME, NAME_RULE, Refused, Settings, read_settings, starting
from service.stages.intake import Delivery, accept
from service.wiring import kept_secret, utc_now

app = typer.Typer(add_completion=False)
LINE_CAP = 1_048_576
"""longest line, in bytes"""
BATCH = 200
SHOWN = 20
"""bad lines that are named on the screen; the file beside the input has all"""
MARK = b"\xef\xbb\xbf"
"""what some editors put before UTF-8"""


@dataclass
class Tally:
    """What became of the lines so far."""

    new: int = 0
    duplicates: int = 0
    bad: list[tuple[int, str, str, bytes | None]] = field(default_factory=list)
    """(line number, code, reason, the line; None when it was too long to be kept)"""


def _a_name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise typer.BadParameter(NAME_RULE)
    return text


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="one case per line, as POST /v1/cases takes them")],
    source: Annotated[str, typer.Option(callback=_a_name, help="name that the cases are stored under")] = "import",
    target: Annotated[str | None, typer.Option(help="target whose pipeline wrote the plans; may be left out when there is one")] = None,
) -> None:
    """Take cases in from a JSONL file.

    Lines that are no cases are reported by number and reason and set aside in FILE.bad.jsonl (with their reasons in
    FILE.bad.txt); the rest is kept. A line that was stored before is counted as a duplicate, so a broken run is simply
    started again. The server need not run; it picks the cases up when it does.
    """
    settings, screen = read_settings(), Console(stderr=True, soft_wrap=True)
    name = settings.target_named(target)
    with starting():
        db, secret = _open(settings)
    tally = Tally()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("bytes"), TimeRemainingColumn())
    try:
        with file.open("rb") as stream, Progress(*columns, console=screen) as progress:
            task = progress.add_task(f"importing {file.name[:60]}", total=file.stat().st_size)
            for batch in _batches(stream):
                _take(db, batch, tally, source, name, secret)
                progress.update(task, completed=stream.tell())
    except UNREACHABLE as error:
        told = f"{tally.new} new, {tally.duplicates} duplicates; then the database did not answer ({type(error).__name__})"
        raise Refused(f"{told}; nothing of that is lost: start the same import again", 75) from None
    db.dispose()
    _report(file, tally, screen)
    if tally.bad:
        raise typer.Exit(1)


def _open(settings: Settings) -> tuple[Database, bytes]:
    """The migrated database, and the key of the split."""
    engine = Engine(settings.url(), executor="import", workers=1, poll_seconds=1, data_dir=settings.data_dir)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    db = Database(settings.url())
    migrate(db, engine, settings.data_dir)
    secret = settings.split_secret.get_secret_value() if settings.split_secret else kept_secret(settings, "split.key")
    return db, secret.encode()


def _batches(stream: IO[bytes]) -> Iterator[list[tuple[int, bytes | None]]]:
    """(line number, line) in groups; None for a line over the cap, which is skipped to its end."""
    start = stream.read(3)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Refused("the file is UTF-16; save it as UTF-8 and import it again", 64)
    stream.seek(len(MARK) if start == MARK else 0)
    batch: list[tuple[int, bytes | None]] = []
    number = 0
    while line := stream.readline(LINE_CAP + 2):
        number += 1
        whole = line.endswith(b"\n")
        while not whole and (rest := stream.readline(LINE_CAP)):
            whole = rest.endswith(b"\n")
        if len(line.rstrip(b"\r\n")) > LINE_CAP:
            batch.append((number, None))
        elif line.strip():
            batch.append((number, line))
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _take(db: Database, batch: list[tuple[int, bytes | None]], tally: Tally, source: str, target: str, secret: bytes) -> None:
    good: list[tuple[int, bytes, Delivery]] = []
    for number, line in batch:
        if line is None:
            tally.bad.append((number, "too_large", f"longer than {LINE_CAP} bytes, so it was not copied; it stands in the imported file only", None))
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
    screen.print(f"{tally.new} new, {tally.duplicates} duplicates, {len(tally.bad)} set aside", markup=False, highlight=False)
    if not tally.bad:
        return
    for number, code, reason, _ in tally.bad[:SHOWN]:
        screen.print(f"  line {number}: {code}: {reason}", markup=False, highlight=False)
    if len(tally.bad) > SHOWN:
        screen.print(f"  … and {len(tally.bad) - SHOWN} more", markup=False)
    try:
        said = _set_aside(file, tally)
    except OSError as error:
        said = f"they could not be set aside beside {file.name}: {error.strerror}; mend them in the file itself and import it again"
    screen.print(said, markup=False, highlight=False)


def _set_aside(file: Path, tally: Tally) -> str:
    """Write bad lines and reasons under names that nobody has: what was set aside before may be half mended. Returns what to do."""
    kept = [line.rstrip(b"\r\n") + b"\n" for *_, line in tally.bad if line is not None]
    ends = (f"bad{'' if number == 1 else f'-{number}'}" for number in count(1))
    pairs = ((file.with_name(f"{file.name}.{end}.jsonl"), file.with_name(f"{file.name}.{end}.txt")) for end in ends)
    aside, reasons = next(pair for pair in pairs if not pair[0].exists() and not pair[1].exists())
    with reasons.open("x", encoding="utf-8") as stream:
        stream.writelines(f"line {number}\t{code}\t{json.dumps(reason)}\n" for number, code, reason, _ in tally.bad)
    long = len(tally.bad) - len(kept)
    said = f"the reasons are in {reasons.name}"
    if kept:
        with aside.open("xb") as copy:
            copy.writelines(kept)
        said = f"the lines are in {aside.name}, the reasons in {reasons.name}; mend and import {aside.name}"
    return said + (f"; {long} too long to be copied, see {reasons.name}" if long and kept else "; too long lines are not copied" if long else "")


def main(argv: list[str]) -> int:
    """Exit status: 0 all lines taken, 1 some set aside, 64 wrong command line or no target named, 75 database gone midway, 78 cannot start."""
    return int(app(argv, standalone_mode=False, prog_name="triage import") or 0)
