"""Chooses the connectors: the only file that names concrete ones."""

import os
import re
import secrets
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from connectors.agent_box import AgentBox
from connectors.builtin_agent import BuiltinAgent
from connectors.claude import ClaudeMessages
from connectors.claude_agent import ClaudeAgent
from connectors.claude_batches import ClaudeBatches
from connectors.claude_prices import Price
from connectors.claude_profile import Profile
from connectors.codemod import RecipeCodemod
from connectors.command_agent import CommandAgent
from connectors.localgit import LocalGit
from connectors.model_gateway import ModelGateway
from connectors.ports import Budget, Limits, Ports, TreeAgent
from connectors.precedent_critic import PrecedentCritic
from connectors.processes import ProcessLimits
from connectors.sandbox import Bubblewrap, Caps, made
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
    evals = SubprocessEvals(workdir / "evals", python=sys.executable)
    coder = _coder(settings, workdir)
    return Ports(
        critic=PrecedentCritic(catalogue),
        agent=RecipeCodemod(),
        evals=evals,
        hosts={name: LocalGit(target.repo, target.branch, name=name, now=now) for name, target in settings.targets.items()},
        held_out={name: target.held_out.resolve() for name, target in settings.targets.items() if target.held_out},
        now=now,
        workdir=workdir,
        limits=Limits(undo_seconds=settings.undo_seconds, attempts=settings.agent_attempts, budget=_budget(settings)),
        model=_model(settings) if settings.critic == "claude" else None,
        coder=coder,
        boxed=_boxed(settings, workdir, evals) if coder else None,
    )


def batches(settings: Settings) -> ClaudeBatches:
    """The door for many asks at once, to the server of the settings. Raises as `wire` does."""
    return ClaudeBatches(_profile(settings))


def box_of(settings: Settings) -> Bubblewrap:
    """The box of this machine, not yet tried."""
    caps = Caps(settings.box_processes, settings.box_memory_mb, settings.box_disk_mb)
    return made(shares=settings.box_shares, caps=caps, delegated=settings.box_cgroup)


def _boxed(settings: Settings, workdir: Path, plain: SubprocessEvals) -> SubprocessEvals | None:
    """What runs trees that a model wrote in; None where there is no box, and then none is run."""
    if settings.sandbox == "off":
        return plain
    box = box_of(settings)
    ready = box.readiness(workdir / "probe").tier == "bwrap"
    return SubprocessEvals(workdir / "boxed", python=sys.executable, limits=ProcessLimits(memory_mb=0), box=box) if ready else None


def _coder(settings: Settings, workdir: Path) -> TreeAgent | None:
    """The model-driven agent, if one is asked for. `claude` and `command` run whole in a box, whatever TRIAGE_SANDBOX says."""
    if settings.agent == "codemod":
        return None
    if settings.agent == "builtin":
        return BuiltinAgent(replace(_profile(settings), model=settings.agent_models[0], models={}, efforts={}))
    runner = AgentBox(box_of(settings), workdir / "agent", python=sys.executable, gateway=_gateway(settings))
    if settings.agent == "claude":
        return ClaudeAgent(runner, program=settings.agent_program, model=settings.agent_models[0])
    return CommandAgent(runner, settings.agent_command)


def _gateway(settings: Settings) -> ModelGateway | None:
    """The only way from a box to a model. An agent that asks none needs no key."""
    if settings.agent == "command" and settings.claude_key is None:
        return None
    profile = _profile(settings)
    return ModelGateway(profile.base_url, profile.api_key, settings.agent_models, profile.price_list(), seconds=settings.claude_seconds)


def _budget(settings: Settings) -> Budget:
    return Budget(
        seconds=settings.agent_seconds, turns=settings.agent_turns, tokens=settings.agent_tokens, usd=settings.agent_usd, exams=settings.agent_exams
    )


def _model(settings: Settings) -> ClaudeMessages:
    return ClaudeMessages(_profile(settings))


def _profile(settings: Settings) -> Profile:
    """Raises `PortError` for a profile that cannot work."""
    if settings.claude_key is None or not settings.claude_key.get_secret_value().strip():
        who, instead = (
            ("critic `claude`", "TRIAGE_CRITIC=precedent") if settings.critic == "claude" else (f"agent `{settings.agent}`", "TRIAGE_AGENT=codemod")
        )
        raise Misconfigured(f"TRIAGE_CLAUDE_KEY is empty; the {who} needs a key, or set {instead}")
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
