"""Brings a database to the tables of this version, one process at a time."""

import fcntl
import time
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import text

from service.db import Database
from service.engine import LOCK_CLASS, Engine

MIGRATIONS = Path(__file__).parents[1] / "migrations"


def config_for(url: str) -> Config:
    """Alembic's settings for a database, wherever the package lies."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = url
    return config


def upgrade(url: str) -> None:
    """Our tables alone, in a database that nobody else uses."""
    command.upgrade(config_for(url), "head")


def migrate(db: Database, engine: Engine, data_dir: Path) -> None:
    """Upgrade our tables, then the engine's. Several processes may start at once; one works, the others wait."""
    data_dir.mkdir(parents=True, exist_ok=True)
    if db.is_sqlite:
        with open(data_dir / "migrate.lock", "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            command.upgrade(config_for(db.url), "head")
            engine.migrate()
        return
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # Asked for again and again, outside any transaction: one that waits would hold a snapshot, for whose end the
        # engine's CREATE INDEX CONCURRENTLY waits in its turn.
        while not connection.execute(text("SELECT pg_try_advisory_lock(:class, 0)"), {"class": LOCK_CLASS}).scalar_one():
            time.sleep(0.1)
        try:
            command.upgrade(config_for(db.url), "head")
            engine.migrate()
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:class, 0)"), {"class": LOCK_CLASS})
