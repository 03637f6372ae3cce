"""Chooses the connectors: the only file that names concrete ones."""

import os
import re
import secrets
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from connectors.claude import ClaudeMessages
from connectors.claude_batches import ClaudeBatches
from connectors.claude_prices import Price
from connectors.claude_profile import Profile
from connectors.codemod import RecipeCodemod
from connectors.localgit import LocalGit
from connectors.ports import Limits, Ports
from connectors.precedent_critic import PrecedentCritic
from connectors.subprocess_evals import SubprocessEvals
from rubric.catalogue import Catalogue
from service.errors import Misconfigured
from service.settings import Settings

SECRET_LENGTH = 16
"""fewest characters of a token or key"""


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
        model=_model(settings) if settings.critic == "claude" else None,
    )


def batches(settings: Settings) -> ClaudeBatches:
    """The door for many asks at once, to the server of the settings. Raises as `wire` does."""
    return ClaudeBatches(_profile(settings))


def _model(settings: Settings) -> ClaudeMessages:
    return ClaudeMessages(_profile(settings))


def _profile(settings: Settings) -> Profile:
    """Raises `PortError` for a profile that cannot work."""
    if settings.claude_key is None or not settings.claude_key.get_secret_value().strip():
        raise Misconfigured("TRIAGE_CLAUDE_KEY is empty; the critic `claude` needs a key, or set TRIAGE_CRITIC=precedent")
    return Profile(
        base_url=settings.claude_url, api_key=settings.claude_key, model=settings.claude_model, models=settings.claude_models,
        effort=settings.claude_effort, efforts=settings.claude_efforts, structured=settings.claude_structured,
        send_effort=settings.claude_send_effort, legacy_auth=settings.claude_legacy_auth, wall_seconds=settings.claude_seconds,
        prices={name: Price(input=one.input, output=one.output) for name, one in settings.claude_prices.items()},
    )  # fmt: skip


def kept_secret(settings: Settings, name: str) -> str:
    """A secret that is made once and kept in the data folder, readable by its owner only.

    Whole or not there: a half-written one would be an empty key. Raises `Misconfigured` for a file that holds too little.
    """
    path = settings.data_dir / name
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        with tempfile.NamedTemporaryFile("w", dir=settings.data_dir, prefix=f".{name}-") as file:  # made with mode 0600
            file.write(secrets.token_urlsafe(32))
            file.flush()
            os.fsync(file.fileno())
            with suppress(FileExistsError):  # another process was faster; its secret counts
                os.link(file.name, path)
    found = path.read_text().strip()
    if len(found) < SECRET_LENGTH:
        raise Misconfigured(f"{path} holds {len(found)} characters, which is no secret; remove it and a new one is made")
    return found


def given_secret(name: str, value: str) -> str:
    """A secret from the settings. Raises `Misconfigured` for one that could be guessed."""
    if len(value.strip()) < SECRET_LENGTH:
        raise Misconfigured(f"{name} needs {SECRET_LENGTH} characters or more")
    return value.strip()
