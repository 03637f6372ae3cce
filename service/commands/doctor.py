"""`triage doctor`: looks whether all that the settings ask for can be had here, and says what to do about what cannot."""

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from connectors.ports import PortError, Ports
from rubric.catalogue import load
from service.db import Database
from service.errors import Misconfigured
from service.settings import Refused, Settings, read_settings, starting
from service.targets import look
from service.wiring import box_of, wire

Mark = Literal["ok", "note", "bad"]
MARKS: dict[Mark, str] = {"ok": "✓", "note": "△", "bad": "✕"}
app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Finding:
    what: str
    mark: Mark
    line: str


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="print the findings as JSON")] = False) -> None:
    """Look whether all that the settings ask for can be had here.

    Asks no model, and changes nothing that is there; what the server would make at its start may be made now.

    Exit status: 0 all is well, 1 something that the settings ask for is missing.
    """
    settings = read_settings()
    found = list(findings(settings))
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=1))  # noqa: T201
    else:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("", "part", "finding"):
            table.add_column(name)
        for one in found:
            table.add_row(MARKS[one.mark], one.what, one.line, style={"bad": "red", "note": "yellow"}.get(one.mark))
        Console(soft_wrap=True, highlight=False, markup=False).print(table)
    if any(one.mark == "bad" for one in found):
        raise typer.Exit(1)


def findings(settings: Settings) -> Iterator[Finding]:
    """What was found, part by part, in the order in which one would mend it."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", "ok", version)
    git = shutil.which("git")
    yield Finding("git", "ok" if git else "bad", git or "not installed (package git)")
    yield _tried("data folder", lambda: _folder(settings.data_dir))
    yield _tried("database", lambda: _database(settings))
    yield from _sandbox(settings)
    try:
        ports = wire(settings, load())
    except (Misconfigured, PortError, OSError) as error:
        yield Finding("settings", "bad", str(error))
        return
    yield from _targets(ports)
    yield _agent(settings, ports)
    critic = f"claude: {settings.claude_url}, not asked" if ports.model else f"{ports.critic.name}: no key, no network"
    yield Finding("critic", "ok", critic)


def _tried(what: str, look_at: Callable[[], str]) -> Finding:
    try:
        with starting():
            return Finding(what, "ok", look_at())
    except Refused as error:
        return Finding(what, "bad", str(error))


def _folder(path: Path) -> str:
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryFile(dir=path):
        return str(path.resolve())


def _database(settings: Settings) -> str:
    db = Database(settings.url())
    try:
        db.check()
    finally:
        db.dispose()
    return "SQLite in the data folder" if settings.url().startswith("sqlite") else "Postgres"


def _sandbox(settings: Settings) -> Iterator[Finding]:
    needed = settings.agent != "codemod" and settings.sandbox == "required"
    try:
        with tempfile.TemporaryDirectory(prefix="triage-doctor-") as aside:
            ready = box_of(settings).readiness(Path(aside))
    except OSError as error:
        yield Finding("sandbox", "bad" if needed else "note", f"cannot be tried out: {error.strerror}")
        return
    if ready.tier != "bwrap":
        use = "what a model wrote is not run" if settings.sandbox == "required" else "TRIAGE_SANDBOX=off: what a model wrote runs as a plain process"
        for line in ready.missing:
            yield Finding("sandbox", "bad" if needed else "note", f"tier none: {line}; {use}")
        return
    yield Finding("sandbox", "ok", "tier bwrap: no network, no files of this machine, no secrets; tried out just now")
    if ready.caps == "kernel":
        yield Finding("sandbox caps", "ok", "memory and processes are capped by the kernel (control groups)")
    else:
        why = "no control group can be made here (delegate one and set TRIAGE_BOX_CGROUP); memory and processes are watched instead"
        yield Finding("sandbox caps", "note", why)
    if settings.sandbox == "off":
        yield Finding("sandbox use", "note", "TRIAGE_SANDBOX=off: what a model wrote runs outside of it, as a plain process")


def _targets(ports: Ports) -> Iterator[Finding]:
    if not ports.hosts:
        yield Finding("targets", "note", "none; set TRIAGE_TARGETS")
    for name, host in ports.hosts.items():
        try:
            target = look(host, host.head())
        except PortError as error:
            yield Finding(f"target {name}", "bad", f"{error.code}: {error}")
            continue
        suites = [suite for _, suite in target.manifest.suites(set(target.manifest.steps))]
        selves = [suite.id for suite in suites if suite.graded == "self"]
        said = f"{target.sha[:10]}: {len(suites)} suites"
        kept = ports.held_out.get(name)
        if kept and not kept.is_dir():
            yield Finding(f"target {name}", "bad", f"its folder of held-out rows is not there: {kept}")
            continue
        yield Finding(f"target {name}", "ok", said if not selves else f"{said}; graded by the code under test: {' '.join(selves)}")


def _agent(settings: Settings, ports: Ports) -> Finding:
    if ports.coder is None:
        return Finding("agent", "ok", "codemod: edits by the manifest's templates; no model")
    if ports.boxed is None:
        return Finding("agent", "bad", f"{ports.coder.name}: refused without a sandbox")
    trouble = ports.coder.trouble()
    return Finding("agent", "bad" if trouble else "ok", f"{ports.coder.name}: {trouble or ', '.join(settings.agent_models)}")


def main(argv: list[str]) -> int:
    """Exit status: 0 all is well, 1 something is missing, 64 wrong command line, 78 settings cannot be read."""
    return int(app(argv, standalone_mode=False, prog_name="triage doctor") or 0)
