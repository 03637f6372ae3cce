"""A service without a server, for commands that look at the critic: a database of its own, a copy of the target, the critic of the settings."""

import json
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer
from pydantic import SecretStr

from connectors.localgit import LocalGit
from connectors.ports import CriticModel, Ports
from connectors.webhooks import Refusal, parse_case
from rubric.catalogue import Catalogue, load
from rubric.strict import Unreadable, load_json
from service.asking import asking
from service.db import Database
from service.migrate import upgrade
from service.settings import Settings, TargetSettings, read_settings, starting
from service.stages import intake
from service.trials import Trials
from service.wiring import utc_now, wire

NAME = "target"


@dataclass(frozen=True)
class Room:
    """What a draft needs."""

    db: Database
    ports: Ports
    catalogue: Catalogue
    trials: Trials

    def with_critic(self, change: Callable[[CriticModel], CriticModel]) -> "Room":
        """The same room with the critic that a function makes of its own."""
        ports = replace(self.ports, critic=change(self.ports.critic))
        return replace(self, ports=ports, trials=Trials(ports))


def room(folder: Path, target: Path, critic: str | None = None) -> Room:
    """A room in an empty folder. `critic` wins over TRIAGE_CRITIC; keys, models and caps come from the settings as for the server.

    Raises `Refused` for settings, a target or a model profile that do not allow it.
    """
    with starting():
        return _made(folder, target, read_settings(critic=critic))


def _made(folder: Path, target: Path, given: Settings) -> Room:
    LocalGit.create(folder / "target.git", target, "Import the target", name=NAME, now=utc_now)
    settings = given.model_copy(
        update={
            "data_dir": folder / "data", "database_url": None, "token": SecretStr("no server, no token"), "sources": {},
            "targets": {NAME: TargetSettings(repo=folder / "target.git")},
        }
    )  # fmt: skip
    return _opened(settings, folder)


def _opened(settings: Settings, folder: Path) -> Room:
    catalogue = load()
    url = f"sqlite:///{folder / 'critic.db'}"
    upgrade(url)
    db = Database(url, now=utc_now)
    ports = asking(wire(settings, catalogue), db, catalogue, **settings.caps())
    return Room(db, ports, catalogue, Trials(ports))


def received(room: Room, documents: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """external_id → our id, once all are stored and masked: a critic works with all that is open in view. Raises `typer.BadParameter`."""
    deliveries = []
    for one in documents:
        try:
            deliveries.append(intake.Delivery("critic", NAME, parse_case(json.dumps(one).encode()), utc_now()))
        except Refusal as refusal:  # named by its id, as the documents may come from several files
            name = one.get("external_id")
            raise typer.BadParameter(f"{'a case without external_id' if name is None else f'case {str(name)[:80]!r}'}: {refusal}") from None
    receipts = intake.accept(room.db, deliveries, b"critic score")
    ids = {
        str(one.case.external_id): receipt.case_id for one, receipt in zip(deliveries, receipts, strict=True) if isinstance(receipt, intake.Receipt)
    }
    intake.mask(room.db, list(ids.values()))
    return ids


def documents_of(file: Path) -> list[dict[str, Any]]:
    """The JSON objects of a JSONL file. Raises `typer.BadParameter` naming line and file.

    Lines are those of the bytes: `str.splitlines` cuts at U+2028, U+2029 and U+0085 too, which may stand inside a JSON string.
    """
    found = []
    for number, line in enumerate(bytes_of(file).splitlines(), start=1):
        if line.strip():
            said = f"line {number} of {file.name} is no JSON object"
            try:
                one = load_json(line, what="it")
            except Unreadable as error:
                raise typer.BadParameter(f"{said}: {error}") from None
            if not isinstance(one, dict):
                raise typer.BadParameter(said)
            found.append(one)
    return found


def bytes_of(file: Path) -> bytes:
    """A file without the mark that some editors put before UTF-8."""
    return file.read_bytes().removeprefix(BOM_UTF8)
