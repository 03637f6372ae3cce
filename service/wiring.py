"""Chooses the connectors: the only file that names concrete ones."""

import os
import re
import secrets
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from connectors.codemod import RecipeCodemod
from connectors.localgit import LocalGit
from connectors.ports import Limits, Ports
from connectors.precedent_critic import PrecedentCritic
from connectors.subprocess_evals import SubprocessEvals
from rubric.catalogue import Catalogue
from service.settings import Settings


def utc_now() -> datetime:
    return datetime.now(UTC)


def wire(settings: Settings, catalogue: Catalogue, now: Callable[[], datetime] = utc_now) -> Ports:
    """The ports that the settings ask for."""
    executor = re.sub(r"[^A-Za-z0-9_-]", "-", settings.executor)
    workdir = settings.data_dir.resolve() / "work" / executor  # processes may share the data folder, never this one
    workdir.mkdir(parents=True, exist_ok=True)
    return Ports(
        critic=PrecedentCritic(catalogue),
        agent=RecipeCodemod(),
        evals=SubprocessEvals(workdir / "evals", python=sys.executable),
        hosts={name: LocalGit(target.repo, target.branch, name=name, now=now) for name, target in settings.targets.items()},
        now=now,
        workdir=workdir,
        limits=Limits(undo_seconds=settings.undo_seconds),
    )


def kept_secret(settings: Settings, name: str) -> str:
    """A secret that is made once and kept in the data folder, readable by its owner only."""
    path = settings.data_dir / name
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _read(path)
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_urlsafe(32))
    return _read(path)


def _read(path: Path) -> str:
    return path.read_text().strip()
