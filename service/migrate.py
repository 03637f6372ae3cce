"""Brings a database to the tables of this version, one process at a time."""

import fcntl
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


def migrate(db: Database, engine: Engine, data_dir: Path) -> None:
    """Upgrade our tables, then the engine's. Several processes may start at once; one works, the others wait."""
    data_dir.mkdir(parents=True, exist_ok=True)
    if db.is_sqlite:
        with open(data_dir / "migrate.lock", "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            command.upgrade(config_for(db.url), "head")
            engine.migrate()
        return
    with db.engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:class, 0)"), {"class": LOCK_CLASS})
        try:
            command.upgrade(config_for(db.url), "head")
            engine.migrate()
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:class, 0)"), {"class": LOCK_CLASS})
