"""`triage migrate`: bring the database up to date without starting anything."""

from typing import Annotated

import typer
from rich.console import Console

from service.db import Database
from service.engine import Engine
from service.migrate import migrate as upgrade
from service.settings import read_settings, starting

app = typer.Typer(add_completion=False)


@app.command()
def migrate(quiet: Annotated[bool, typer.Option("--quiet", help="say nothing")] = False) -> None:
    """Bring the database to the tables of this version. Safe to repeat; `triage serve` does it by itself at start."""
    settings = read_settings()
    with starting():
        engine = Engine(settings.url(), executor=settings.executor, workers=1, poll_seconds=1, data_dir=settings.data_dir)
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        db = Database(settings.url())
        upgrade(db, engine, settings.data_dir)
        db.dispose()
    if not quiet:
        Console(stderr=True).print("the database is up to date", markup=False)


def main(argv: list[str]) -> int:
    """Exit status: 0 done, 64 wrong command line, 78 settings or database cannot be used."""
    return int(app(argv, standalone_mode=False, prog_name="triage migrate") or 0)
