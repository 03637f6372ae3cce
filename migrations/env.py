"""Runs the revisions: online on any engine, foreign keys off on SQLite while tables are rebuilt, and checked after."""

from alembic import context
from sqlalchemy import create_engine, text
from sqlmodel import SQLModel

from service.settings import Settings

metadata = SQLModel.metadata


def ours(name: str | None, kind: str, _parents: object) -> bool:
    """Only tables of ours: the engine keeps its own beside them on SQLite."""
    return kind != "table" or name in metadata.tables


def run() -> None:
    url = context.config.attributes.get("url") or Settings().url()
    engine = create_engine(url)
    with engine.connect() as connection:
        sqlite = connection.dialect.name == "sqlite"
        if sqlite:  # a batch ALTER of a parent would delete its children otherwise
            connection.execute(text("PRAGMA foreign_keys=OFF"))
            connection.commit()
        context.configure(connection=connection, target_metadata=metadata, include_name=ours, render_as_batch=sqlite, compare_type=True)
        with context.begin_transaction():
            context.run_migrations()
            if sqlite and connection.execute(text("PRAGMA foreign_key_check")).first():
                raise RuntimeError("a revision left rows without their parents; nothing was changed")
        connection.commit()
    engine.dispose()


run()
