"""How fast it is here: `make bench`. Intake against a bare endpoint, replay, drafts, the critic, and the gate of a pull; a table at the end.

Machines differ, and this one may have other work, so intake is judged by a ratio: ours and bare take turns in one run (A B A B …), each
round of ours is divided by the round of bare beside it, and the median of these ratios is what counts. 0.4 at 8 connections is asked for.

The rules between the two:

- the same stack: FastAPI on uvicorn with the settings of `triage serve`, one process, new empty databases on the same disk or server;
- the same promise: 202 means on disk. SQLite in WAL with synchronous=FULL, Postgres with fsync and synchronous_commit on;
- the same requests from the same sender: signed cases of about 4 KB, all new, over keep-alive connections, made before the clock starts;
- bare reads the body, verifies its HMAC, inserts it as one row under a unique key and commits, one commit a request. It does not look into
  the JSON, check times or header forms, limit sizes, know revisions, keep counts or history, split, mask, or speak to an engine;
- ours is `triage serve` as it is, with everything it does for a case: two rows, a count, the sweep, masking, and an enqueued draft for
  each rejection. Drafting itself is put off (TRIAGE_SETTLE_SECONDS) and measured apart. Ours commits what waits together;
  that is a choice of its design and counts for it;
- ours masks and enqueues when senders have been calm for half a second, so that much of it falls behind a round; the line "until masked"
  is the rate with all of it. Bare's turn comes when ours is done.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench import critic, gate_command, intake, loop
from bench.figures import Figure, as_table
from service.commands.critic_room import documents_of
from tests.samples.postgres import Cluster, NoPostgres

EXAMPLES = Path(__file__).parents[1] / "examples"
app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    rounds: int
    requests: dict[int, int]
    """connections → requests a round"""
    replays: int
    drafts: int
    draft_rounds: int
    pulls: int
    gate_rounds: int
    stores: tuple[int, ...]
    """decisions that the precedent critic looks back on"""
    answers: int
    answer_rounds: int


FULL = Size(
    rounds=5, requests={1: 80, 8: 250, 32: 250}, replays=7, drafts=20, draft_rounds=3, pulls=5, gate_rounds=3,
    stores=critic.STORES, answers=20, answer_rounds=7,
)  # fmt: skip
QUICK = Size(
    rounds=1,
    requests={1: 8, 8: 24, 32: 64},
    replays=1,
    drafts=4,
    draft_rounds=1,
    pulls=1,
    gate_rounds=1,
    stores=(20, 40, 80),
    answers=2,
    answer_rounds=1,
)
BATCHES = (1, 20, 100)


@app.command()
def speed(
    cases: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="JSONL file of cases; the example's otherwise")] = EXAMPLES / "cases.jsonl",
    target: Annotated[Path, typer.Option(exists=True, file_okay=False, help="folder of the target repository; the example's otherwise")] = EXAMPLES
    / "target-pipeline",
    quick: Annotated[bool, typer.Option("--quick", help="small counts: shows that it runs, says little about speed")] = False,
    sqlite_only: Annotated[bool, typer.Option("--sqlite-only", help="leave Postgres out")] = False,
    require_postgres: Annotated[bool, typer.Option("--require-postgres", help="fail where no Postgres is installed")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print one line of JSON; the table goes to stderr")] = False,
) -> None:
    """Measure intake, replay, drafts, the critic and the gate on this machine. Progress is shown on stderr."""
    screen, start = Console(stderr=True, soft_wrap=True), time.monotonic()

    def tell(line: str) -> None:
        screen.print(f"[{time.monotonic() - start:4.0f} s] {line}", markup=False, highlight=False)

    size = QUICK if quick else FULL
    with tempfile.TemporaryDirectory(prefix="triage-bench-", ignore_cleanup_errors=True) as folder:
        place = loop.set_up(Path(folder), target, documents_of(cases))
        figures = _sqlite(place, size, tell)
        if not sqlite_only:
            figures += _postgres(place, size, require_postgres, tell)
        figures += loop.replays(place, BATCHES, size.replays, tell)
        drafts, hints = loop.drafts(place, size.drafts, size.draft_rounds, tell)
        figures += [drafts, *critic.answers(place, size.stores, size.answers, size.answer_rounds, tell), *critic.tokens(place.folder, 3, tell)]
        figures.append(loop.gates(place, hints, size.pulls, size.gate_rounds, tell))
        figures += gate_command.measure(place.folder / "gate-command", 2 * size.gate_rounds + 1, tell)
    Console(stderr=as_json, width=None if sys.stdout.isatty() else 160).print(as_table(figures))
    if as_json:
        print(json.dumps({"seconds": round(time.monotonic() - start, 1), "rows": [one.to_json() for one in figures]}))


def _sqlite(place: loop.Loop, size: Size, tell: loop.Tell) -> list[Figure]:
    folder = place.folder / "sqlite"
    folder.mkdir()
    urls = f"sqlite:///{folder / 'ours.db'}", f"sqlite:///{folder / 'bare.db'}"
    return intake.measure("SQLite", urls, folder, place.repo, intake.Plan(place.cases, size.requests, size.rounds), tell)


def _postgres(place: loop.Loop, size: Size, required: bool, tell: loop.Tell) -> list[Figure]:
    folder = place.folder / "postgres"
    folder.mkdir()
    try:
        with _cluster() as cluster:
            urls = cluster.create("ours"), cluster.create("bare")
            return intake.measure("Postgres", urls, folder, place.repo, intake.Plan(place.cases, size.requests, size.rounds), tell)
    except NoPostgres as error:
        tell(str(error))
        if required:
            raise typer.Exit(1) from None
        return [Figure("intake Postgres", "cases/s", [], note="no Postgres server is installed here")]


@contextmanager
def _cluster() -> Iterator[Cluster]:
    """A server of our own with Postgres's own durability; the one of the tests has it off."""
    found = Cluster(durable=True)
    try:
        yield found
    finally:
        found.stop()


if __name__ == "__main__":
    app()
