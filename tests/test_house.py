"""The house rules hold here: who may import whom, and what stands nowhere. ARCHITECTURE.md shows the same table."""

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = ("rubric", "connectors", "service", "migrations")
GROUND = "service.errors service.lifecycle service.db service.redaction service.scratch"
AIDES = (
    "service.wording service.trees service.treepolicy service.scope service.targets service.caching service.gating service.building "
    "service.eval_rows service.heldout service.trials service.proving service.answering"
)
DOORS = "connectors.eval_port connectors.ports connectors.webhooks"
CLAUDE = (
    "connectors.claude connectors.claude_profile connectors.claude_prices connectors.claude_reading connectors.claude_wire connectors.ports rubric.*"
)

GATEWAY = (
    "connectors.metering connectors.gateway_door connectors.gateway_replies connectors.gateway_rules connectors.gateway_server "
    "connectors.gateway_upstream connectors.claude_prices connectors.claude_profile connectors.claude_reading connectors.claude_wire "
    "connectors.ports rubric.*"
)

BUILTIN = (
    "connectors.builtin_tools connectors.tree_files connectors.metering connectors.claude connectors.claude_profile connectors.claude_reading "
    "connectors.claude_wire connectors.ports rubric.*"
)

BOXED = (
    "connectors.agent_box connectors.sandbox connectors.processes connectors.model_gateway connectors.gateway_door connectors.metering "
    "connectors.relay connectors.ports rubric.*"
)


@dataclass(frozen=True)
class Room:
    """Some files, and everything besides the standard library that they may import."""

    name: str
    files: str
    """globs; the first room with a glob that fits a file is the file's room"""
    ours: str = ""
    """modules of ours, or `package.*`"""
    theirs: str = ""
    """packages of others, or single names of them"""


ROOMS = (
    Room("rubric", "rubric/*", "rubric.*", "pydantic yaml jinja2 rapidfuzz"),
    Room("the door to evals", "connectors/eval_port.py", "rubric.manifest"),
    Room("the doors' shapes", "connectors/ports.py", "connectors.eval_port rubric.*"),
    Room("the webhook door", "connectors/webhooks.py", "rubric.*", "pydantic"),
    Room("splicing", "connectors/splicing/*", "connectors.splicing.*", "yaml"),
    Room("the codemod", "connectors/codemod.py", "connectors.ports connectors.splicing.* rubric.*", "pydantic"),
    Room("programs", "connectors/processes.py", "connectors.eval_port rubric.gating"),
    Room("what weighs and caps them", "connectors/cgroups.py connectors/scales.py"),
    Room("the box", "connectors/sandbox.py", "connectors.processes connectors.cgroups connectors.scales connectors.eval_port"),
    Room("what runs programs", "connectors/subprocess_evals.py", "connectors.processes connectors.eval_port rubric.*", "pydantic"),
    Room("agents in a box", "connectors/agent_box.py connectors/command_agent.py connectors/claude_agent.py", BOXED),
    Room("the model server", "connectors/claude*.py", CLAUDE, "httpcore2 httpx2 pydantic"),
    Room("the model gateway", "connectors/model_gateway.py connectors/gateway_*.py connectors/metering.py", GATEWAY, "httpcore2 httpx2 pydantic"),
    Room("the builtin agent", "connectors/builtin_*.py", BUILTIN, "pydantic"),
    Room("other connectors", "connectors/*", "connectors.ports rubric.*", "pydantic"),
    Room("ground: settings", "service/settings.py", "", "pydantic pydantic_settings"),
    Room("ground: words and states", "service/errors.py service/lifecycle.py service/scratch.py"),
    Room("ground: database", "service/db.py", "", "sqlalchemy sqlmodel"),
    Room("ground: redaction", "service/redaction.py", "rubric.hygiene", "phonenumbers stdnum"),
    Room("aides that know the rubric", "service/wording.py service/trees.py", "rubric.*"),
    Room("judges of trees", "service/treepolicy.py service/scope.py", "service.trees service.redaction rubric.*", "yaml"),
    Room(
        "aides that hold a door",
        "service/targets.py service/exams.py service/caching.py service/gating.py service/turns.py service/eval_rows.py service/heldout.py",
        f"{GROUND} service.turns service.exams service.caching connectors.ports connectors.eval_port rubric.*",
    ),
    Room(
        "building", "service/building.py", "service.gating service.scope service.treepolicy service.trees service.lifecycle connectors.ports rubric.*"
    ),
    Room(
        "trying out",
        "service/trials.py service/proving.py",
        f"{GROUND} service.targets service.exams service.gating service.trials connectors.ports rubric.*",
    ),
    Room(
        "answering",
        "service/answering.py",
        f"{GROUND} service.targets service.proving service.trials connectors.ports rubric.*",
    ),
    Room("store", "service/store/*", "service.db service.errors service.lifecycle rubric.*", "pydantic sqlalchemy sqlmodel"),
    Room("drafts", "service/drafts.py", "service.store.* service.lifecycle", "sqlmodel.Session sqlmodel.select"),
    Room("notes of a gate", "service/gate_notes.py", "service.store.* service.db"),
    Room(
        "stages",
        "service/stages/*",
        f"service.store.* service.drafts service.gate_notes {GROUND} {AIDES} connectors.ports rubric.*",
        "pydantic structlog sqlmodel.Session sqlalchemy.exc",
    ),
    Room(
        "reports",
        "service/reports.py service/grouping.py service/leniency.py",
        "service.reports service.store.* service.errors service.lifecycle rubric.*",
        "pydantic sqlmodel.Session",
    ),
    Room("asking", "service/asking.py", "service.db service.drafts service.store.calls connectors.ports rubric.*"),
    Room(
        "backfill",
        "service/backfill.py service/picking.py",
        "service.stages.* service.store.* service.drafts service.db service.errors service.lifecycle connectors.ports rubric.*",
    ),
    Room("engine", "service/engine.py", "", "dbos sqlalchemy sqlmodel"),
    Room("migrate", "service/migrate.py", "service.db service.engine", "alembic sqlalchemy"),
    Room("flows", "service/flows.py", "service.engine service.db service.stages.* service.trials connectors.ports rubric.*", "structlog"),
    Room("ticks", "service/ticks.py", f"service.engine service.stages.* service.store.* {GROUND}", "apscheduler structlog sqlmodel.Session"),
    Room(
        "web",
        "service/web/*",
        f"service.web.* service.reports service.grouping service.leniency service.stages.* {GROUND} {DOORS} rubric.*",
        "fastapi starlette pydantic jinja2 prometheus_client sqlmodel.Session sqlalchemy.exc",
    ),
    Room("wiring", "service/wiring.py", "service.settings service.errors connectors.* rubric.catalogue"),
    Room(
        "app",
        "service/app.py",
        f"service.web.* service.flows service.ticks service.engine service.migrate service.wiring service.settings service.stages.intake service.stages.noise "
        f"service.asking service.targets {GROUND} {DOORS} rubric.catalogue",
        "fastapi starlette pydantic.SecretStr",
    ),
    Room("command table", "service/cli.py"),
    Room(
        "command: gate",
        "service/commands/gate.py service/commands/gate_cache.py service/commands/gate_line.py service/commands/gate_pages.py",
        "service.caching service.gating service.commands.gate_cache service.commands.gate_line service.commands.gate_pages connectors.eval_port "
        "connectors.subprocess_evals rubric.*",
    ),
    Room(
        "command: demo",
        "service/commands/demo.py",
        "service.wiring service.redaction service.commands.fates connectors.ports connectors.webhooks connectors.localgit connectors.subprocess_evals rubric.*",
        "httpx2 rich typer",
    ),
    Room(
        "command: backfill",
        "service/commands/critic_backfill.py",
        f"service.backfill service.picking service.engine service.migrate service.wiring service.settings service.store.calls {GROUND} connectors.ports rubric.catalogue",
        "rich typer",
    ),
    Room(
        "commands: critic",
        "service/commands/critic*.py",
        f"service.commands.critic_backfill service.commands.critic_draft service.commands.critic_room service.commands.critic_score service.commands.critic_tables "
        f"service.asking service.wiring service.settings service.migrate service.trials service.stages.* service.store.* "
        f"{GROUND} {DOORS} connectors.localgit rubric.*",
        "pydantic.SecretStr rich typer",
    ),
    Room(
        "other commands",
        "service/commands/*",
        f"service.app service.engine service.migrate service.wiring service.settings service.targets service.stages.* {GROUND} {DOORS} rubric.*",
        "pydantic rich structlog typer uvicorn",
    ),
    Room("migrations", "migrations/env.py", "service.settings", "alembic sqlalchemy sqlmodel"),
    Room("revisions", "migrations/*", "", "alembic sqlalchemy sqlmodel"),
)

STRANGERS = ("service/stages/*", "service/store/*")
"""Folders whose files never import each other."""
ONLY_IN = {
    "dbos": {"service/engine.py": "the durable engine stands behind one module"},
    "apscheduler": {"service/ticks.py": "the clock, and nothing but the clock"},
    "anthropic": {"connectors/claude*.py": "one outside system a file"},
    "github": {"connectors/github*.py": "one outside system a file"},
    "subprocess": {
        "connectors/localgit.py": "git is a program",
        "connectors/sandbox.py": "tries out whether a box holds, at the start",
        "connectors/processes.py": "the one place that starts programs of a target or of others",
        "service/commands/gate.py": "reads a foreign repository with git's plumbing, without a service around it",
        "service/commands/demo.py": "starts the real server as a user would, in a process of its own",
    },
    "service.store.originals": {
        "service/stages/intake.py": "stores what came in, and masks it",
        "service/stages/critic.py": "tries candidates on the case and its controls by replay; the critic itself is given masked text",
        "service/stages/handoff.py": "tries the eval row of a pull by replay, under made-up names",
        "service/stages/evals.py": "replays the case and its controls on base and head",
        "service/stages/outcome.py": "sends the ticket again after a merge",
    },
    "importlib": {"service/cli.py": "loads a command only when it is asked for"},
}
"""module → the files that may import it, each with its reason"""
CONCRETE = {
    "service/wiring.py": "chooses them by the settings",
    "service/commands/gate.py": "runs evals on two commits, without a database to keep settings or results in",
    "service/commands/demo.py": "plays the world around the server: hosts the target, and sends the tickets again to see for itself",
    "service/commands/critic_room.py": "drafts cases without a server: hosts a copy of the target",
}
"""files of service that may name a concrete connector"""
ENVIRONMENT = {
    "service/cli.py": "turns off what would load plugins into our values, before anything is loaded",
    "service/commands/gate.py": "gives PATH to git and to the suites",
    "service/commands/demo.py": "gives the server it starts the environment without our own settings",
}
SEEDED = {"rubric/stats.py": "draws clusters again with a fixed seed: the same answers give the same interval"}
"""files of rubric that may draw, by `Random(seed)` and nothing else"""
ASYNC = {
    "service/app.py": "the server's start and stop, and the headers around every answer",
    "service/web/deps.py": "what every route gets is at hand; a thread for it took a tenth of the rate of intake",
    "service/web/hooks.py": "the raw body is counted while it streams in",
    "service/web/pages.py": "a form's body is counted while it streams in",
    "service/web/api.py": "readiness answers even when all threads are busy",
}
BROAD = {
    "connectors/claude.py": "the SDK raises untyped errors too; each is an outcome of the ask",
    "connectors/claude_batches.py": "the SDK raises untyped errors too; each is a `PortError`, or an outcome of the ask",
    "connectors/builtin_agent.py": "the SDK raises untyped errors too; each ends the attempt with a reason",
    "connectors/gateway_upstream.py": "whatever breaks a call, nothing of it may reach what runs in a box",
    "connectors/scripted.py": "a bad case ends a replay of its own, as it would end a process",
    "service/asking.py": "whatever breaks a look at the model, it cannot be used",
    "service/cli.py": "the one place where refusals become a line and an exit status; a bug keeps its traceback",
    "service/engine.py": "whatever the engine's tables raise, no flows are taken; the database's own check names the reason",
    "service/flows.py": "the end of every flow, where what broke becomes a state",
    "service/settings.py": "what a start trips over becomes one line, known by its class's name; a bug stays as it is",
    "service/stages/intake.py": "every sender of a group is answered, whatever one row does",
    "service/ticks.py": "a tick that fails must not end the clock",
}
"""files that may catch whatever comes, each with its reason; whoever only cleans up and lets it go on needs none"""
COMMITS = {"service/commands/gate.py": "`git.commit(ref)` looks a commit up; no database is near"}
LONG_FILES = {
    "connectors/scripted.py": "one double a port, all where a test looks for them; they share nothing to split by",
    "connectors/localgit.py": "one outside system a file; publishing and reading share the plumbing",
    "migrations/versions/0001_first_tables.py": "one revision is one file",
    "service/store/hints.py": "one noun a file: all that is asked of the table of hints",
    "service/commands/demo.py": "a script in five acts, read from top to bottom; no rule of the loop lives in it",
}
LONG_FUNCTIONS = {
    "migrations/versions/0001_first_tables.py:upgrade": "a revision is one list of tables",
    "migrations/versions/0001_first_tables.py:downgrade": "the same list backwards",
}
"""`file:function` → reason"""
FILE_LINES, FUNCTION_LINES = 300, 40
VAGUE = {"utils", "util", "helpers", "helper", "manager", "managers", "base", "common", "misc", "stuff"}
NOT_PURE = "asyncio http os random secrets select socket sqlite3 ssl subprocess tempfile threading time urllib"
"""Parts of the standard library that rubric does without: no network, no environment, no clock, no chance."""


@dataclass(frozen=True)
class Import:
    path: str
    line: int
    name: str
    """full dotted name of what comes in"""
    nested: bool
    """not at the top of the file"""


def module_of(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imports(path: str, tree: ast.Module, modules: set[str]) -> Iterator[Import]:
    """Every import; `from a import b` counts as `a.b`, cut back to the module where `a.b` is one of ours but no module."""
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = f"{'.' * node.level}{node.module or ''}"
            names = [
                f"{source}.{alias.name}" if source.partition(".")[0] not in FLOORS or f"{source}.{alias.name}" in modules else source
                for alias in node.names
            ]
        for name in names:
            yield Import(path, node.lineno, name, id(node) not in top)


def fits(name: str, allowed: str) -> bool:
    """Whether a dotted name is, or stands below, one of some names; `package.*` is the package and all below."""
    return any(name == one or name.startswith(f"{one}.") for one in (word.removesuffix(".*") for word in allowed.split()))


def room_of(path: str) -> Room | None:
    return next((room for room in ROOMS if any(fnmatchcase(path, glob) for glob in room.files.split())), None)


def violations(sources: Mapping[str, str]) -> list[str]:
    """Everything that is against the house rules, in words. `sources`: path → text."""
    trees = {path: ast.parse(text) for path, text in sources.items()}
    modules = {module_of(path) for path in trees}
    everything = {path: list(imports(path, tree, modules)) for path, tree in trees.items()}
    found: list[str] = []
    for path, tree in trees.items():
        for one in everything[path]:
            found += _import_rules(one)
        found += _file_rules(path, sources[path], tree)
        found += [*_call_rules(path, tree), *_intake_rules(path, tree)]
    return [*found, *_circles(everything, modules), *_names(trees)]


def _import_rules(one: Import) -> Iterator[str]:
    where = f"{one.path}:{one.line}"
    if one.nested:
        yield f"{where} imports {one.name} inside a function, class or condition; imports stand at the top"
    if one.name.startswith("."):
        yield f"{where} imports {one.name} relatively; write the whole name"
        return
    room, top = room_of(one.path), one.name.partition(".")[0]
    for name, places in ONLY_IN.items():
        if fits(one.name, name) and not any(fnmatchcase(one.path, glob) for glob in places):
            yield f"{where} imports {name}; only {', '.join(places)} may"
    concrete = top == "connectors" and not fits(one.name, DOORS)
    if concrete and one.path.startswith("service/") and one.path not in CONCRETE:
        yield f"{where} names the connector {one.name}; only {', '.join(CONCRETE)} do"
    if room is None:
        yield f"{one.path} belongs to no room of the table"
    elif top in FLOORS:
        if not fits(one.name, room.ours) and one.name != module_of(one.path):
            yield f"{where} ({room.name}) imports {one.name}; it may import of ours: {room.ours or 'nothing'}"
        for folder in STRANGERS:
            if fnmatchcase(one.path, folder) and fits(one.name, module_of(folder.removesuffix("/*"))):
                yield f"{where} imports its neighbour {one.name}; files of {folder.removesuffix('/*')} never import each other"
    elif top in sys.stdlib_module_names:
        if one.path.startswith("rubric/") and fits(top, NOT_PURE) and not (one.path in SEEDED and one.name == "random.Random"):
            yield f"{where} imports {one.name}; rubric has no network, environment, clock or chance"
    elif top in ONLY_IN:
        pass  # said above, or one of the files that may
    elif not fits(one.name, room.theirs):
        yield f"{where} ({room.name}) imports {one.name}; it may import of others: {room.theirs or 'nothing'}"


def _file_rules(path: str, text: str, tree: ast.Module) -> Iterator[str]:
    said = ast.get_docstring(tree)
    if not (said or "").strip():
        yield f"{path} does not begin with a sentence about who lives there"
    if path.endswith("/__init__.py") and len(tree.body) > 1:
        yield f"{path} holds more than its docstring"
    stem = path.rpartition("/")[2].removesuffix(".py")
    if VAGUE & set(stem.split("_")):
        yield f"{path}: {stem!r} is no name for a room; say what it is about"
    lines = len(text.splitlines())
    if lines > FILE_LINES and path not in LONG_FILES:
        yield f"{path} has {lines} lines, more than {FILE_LINES}; split it by decision, or list it with a reason"
    if lines <= FILE_LINES and path in LONG_FILES:
        yield f"{path} is short enough by now; take it off LONG_FILES"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length, name = (node.end_lineno or node.lineno) - node.lineno + 1, f"{path}:{node.name}"
            if length > FUNCTION_LINES and name not in LONG_FUNCTIONS and not _holds_functions(node):
                yield f"{name} has {length} lines, more than {FUNCTION_LINES}; split it, or list it with a reason"
            if length <= FUNCTION_LINES and name in LONG_FUNCTIONS:
                yield f"{name} is short enough by now; take it off LONG_FUNCTIONS"


def _holds_functions(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function only holds others and hands them out: each is counted by itself then."""
    inner = [one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    own = sum((one.end_lineno or one.lineno) - one.lineno + 1 for one in node.body if one not in inner)
    return bool(inner) and own <= FUNCTION_LINES


def _call_rules(path: str, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        where = f"{path}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            goals = node.targets if isinstance(node, ast.Assign) else [node.target]
            for goal in goals:
                own = isinstance(goal, ast.Attribute) and isinstance(goal.value, ast.Name) and goal.value.id == "self"
                if isinstance(goal, ast.Attribute) and goal.attr == "state" and not own and path != "service/store/history.py":
                    yield f"{where} sets a state; only history.move does"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield from _method_rules(path, where, node, node.func)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Random" and not (node.args and path in SEEDED):
            yield f"{where} draws without a seed"
        if isinstance(node, ast.AsyncFunctionDef) and path not in ASYNC:
            yield f"{where} is async; the house is sync, exceptions are listed with a reason"
        if isinstance(node, ast.ExceptHandler) and _catches_all(node) and path not in BROAD:
            yield f"{where} catches whatever comes; name what is expected, exceptions are listed with a reason"
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv") and path not in ENVIRONMENT:
            yield f"{where} reads the environment; settings come by argument"
        if isinstance(node, ast.Name) and node.id == "TYPE_CHECKING":
            yield f"{where} uses TYPE_CHECKING; an import that is needed only there is in a wrong room"
        if isinstance(node, ast.Name | ast.Attribute) and (node.id if isinstance(node, ast.Name) else node.attr) == "__import__":
            yield f"{where} imports by __import__"


def _catches_all(handler: ast.ExceptHandler) -> bool:
    """Whether any error at all ends there."""
    last = handler.body[-1]
    goes_on = isinstance(last, ast.Raise) and last.exc is None
    named = [handler.type] if not isinstance(handler.type, ast.Tuple) else handler.type.elts
    return not goes_on and any(one is None or (isinstance(one, ast.Name) and one.id in ("Exception", "BaseException")) for one in named)


def _method_rules(path: str, where: str, call: ast.Call, method: ast.Attribute) -> Iterator[str]:
    if method.attr == "commit" and path.startswith("service/") and path not in COMMITS:
        yield f"{where} commits; a transaction is a `with db.begin()` block"
    if method.attr == "values" and any(word.arg == "state" for word in call.keywords) and path != "service/store/history.py":
        yield f"{where} updates a state; only history.move does"
    through = isinstance(method.value, ast.Name) and method.value.id == "outcome"
    if method.attr == "land" and path.startswith("service/") and path != "service/stages/outcome.py" and not through:
        yield f"{where} lands a pull; only service/stages/outcome.py does, when a person asked"
    if method.attr == "begin" and path.startswith(("service/web/", "service/reports.py", "service/grouping.py")):
        yield f"{where} begins a write transaction; pages, routes and reports read, stages write"
    if method.attr in ("now", "today", "utcnow") and path.startswith("rubric/"):
        yield f"{where} looks at the clock; rubric is given the time"


def _intake_rules(path: str, tree: ast.Module) -> Iterator[str]:
    if path == "service/stages/intake.py":
        for part in tree.body:
            calls = [node for node in ast.walk(part) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
            if getattr(part, "name", "") != "sweep" and any(call.func.attr == "enqueue" for call in calls if isinstance(call.func, ast.Attribute)):
                yield f"{path}:{part.lineno} enqueues while a case comes in; only the sweep does, in batches"


def _circles(everything: Mapping[str, list[Import]], modules: set[str]) -> Iterator[str]:
    """Each module that reaches itself, with its way round."""
    arrows = {module_of(path): sorted({one.name for one in found if one.name in modules}) for path, found in everything.items()}
    done: set[frozenset[str]] = set()
    for start in sorted(arrows):
        ways = [[start]]
        seen = {start}
        while ways:
            way = ways.pop()
            for goal in arrows.get(way[-1], []):
                if goal == start and frozenset(way) not in done:
                    done.add(frozenset(way))
                    yield f"import circle: {' → '.join([*way, start])}"
                if goal not in seen:
                    seen.add(goal)
                    ways.append([*way, goal])


def _names(trees: Mapping[str, ast.Module]) -> Iterator[str]:
    folders = {path.rpartition("/")[0] for path in trees}
    for path in sorted(trees):
        if path.removesuffix(".py") in folders:
            yield f"{path} stands beside a folder of the same name; import tools mistake one for the other"


def the_house() -> dict[str, str]:
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for floor in FLOORS for path in sorted((ROOT / floor).rglob("*.py"))}


def test_the_house_stands() -> None:
    found = violations(the_house())
    assert not found, f"{len(found)} house rules are broken:\n" + "\n".join(f"- {line}" for line in found)


def test_every_exception_is_still_one() -> None:
    """A file on a list of exceptions that is gone, or that no longer does what it is excused for, comes off the list."""
    sources = the_house()
    stale = [
        f"{path} is on a list and does not exist"
        for path in (*LONG_FILES, *ASYNC, *BROAD, *COMMITS, *CONCRETE, *ENVIRONMENT, *SEEDED)
        if path not in sources
    ]
    for name, places in ONLY_IN.items():
        for glob in places:
            if "*" not in glob and not re.search(rf"\b{name.rpartition('.')[2]}\b", sources.get(glob, "")):
                stale.append(f"{glob} may import {name} and does not")
    words = {"async def": ASYNC, "except Exception": BROAD, "environ": ENVIRONMENT, ".commit(": COMMITS, "Random(": SEEDED}
    stale += [
        f"{path} is excused for {word!r} and has none" for word, places in words.items() for path in places if word not in sources.get(path, "")
    ]
    assert not stale, "\n".join(stale)


def test_every_room_has_somebody_in_it() -> None:
    paths = list(the_house())
    empty = [room.name for room in ROOMS if not any(room_of(path) is room for path in paths)]
    assert not empty, f"rooms without a file: {', '.join(empty)}"


def rooms_as_markdown() -> str:
    """The table as ARCHITECTURE.md shows it."""
    lines = ["| room | files | may import of ours | may import of others |", "|---|---|---|---|"]
    for room in ROOMS:
        cells = [" ".join(f"`{word}`" for word in words.split()) or "—" for words in (room.files, room.ours, room.theirs)]
        lines.append(f"| {room.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def doors_as_markdown() -> str:
    """Who alone may import what, and why, as ARCHITECTURE.md shows it."""
    lines = ["| module | only in | because |", "|---|---|---|"]
    lines += [f"| `{name}` | `{glob}` | {why} |" for name, places in ONLY_IN.items() for glob, why in places.items()]
    lines += [f"| a concrete connector | `{path}` | {why} |" for path, why in CONCRETE.items()]
    return "\n".join(lines)


@pytest.mark.parametrize("table", [rooms_as_markdown, doors_as_markdown])
def test_the_document_shows_this_table(table) -> None:
    document = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert table() in document, f"ARCHITECTURE.md does not hold this table; put it in:\n{table()}"


def test_tests_replace_nothing_behind_the_back() -> None:
    """Doubles are handed over by argument."""
    patch = re.compile(r"\bmock\.patch\b|from unittest(\.mock)? import|monkeypatch\.setattr\(\s*[\"']?(service|rubric|connectors)\b")
    found = [
        f"{path.relative_to(ROOT)}:{number} {line.strip()}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if path != Path(__file__).resolve()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if patch.search(line)
    ]
    assert not found, "\n".join(found)


def test_no_package_marker_stands_under_tests() -> None:
    found = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("__init__.py")]
    assert not found, f"{', '.join(found)}: pytest would import the test folder under the name of the code"


DOC = '"""Somebody lives here."""\n'
BROKEN = {
    "upwards": ("rubric/a.py", "import connectors.ports", "may import of ours"),
    "unclean": ("rubric/a.py", "import os", "no network, environment"),
    "chance": ("rubric/a.py", "from random import Random", "no network, environment"),
    "no seed": ("rubric/stats.py", "from random import Random\nx = Random()", "without a seed"),
    "all of chance": ("rubric/stats.py", "import random", "no network, environment"),
    "clock": ("rubric/a.py", "from datetime import datetime\nx = datetime.now()", "looks at the clock"),
    "sdk": ("connectors/a.py", "import httpx2", "may import of others"),
    "another's sdk": ("connectors/a.py", "import anthropic", "only connectors/claude"),
    "connector to connector": ("connectors/a.py", "import connectors.localgit", "may import of ours"),
    "engine": ("service/flows.py", "from dbos import DBOS", "only service/engine.py"),
    "concrete connector": ("service/flows.py", "import connectors.localgit", "names the connector"),
    "stage to stage": ("service/stages/gate.py", "from service.stages import critic", "never import each other"),
    "store to store": ("service/store/cases.py", "import service.store.hints", "never import each other"),
    "stage to web": ("service/stages/gate.py", "import service.web.deps", "may import of ours"),
    "stage with queries": ("service/stages/gate.py", "from sqlmodel import Session, select", "sqlmodel.select"),
    "web to store": ("service/web/api.py", "from service.store import cases", "may import of ours"),
    "raw text": ("service/stages/gate.py", "from service.store import originals", "only service/stages/intake.py"),
    "process": ("service/stages/critic.py", "import subprocess", "only connectors/localgit.py"),
    "inside a function": ("service/errors.py", "def f():\n    import json", "inside a function"),
    "for types only": ("service/errors.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import json", "TYPE_CHECKING"),
    "by name": ("service/errors.py", "import importlib", "only service/cli.py"),
    "relative": ("service/errors.py", "from . import db", "relatively"),
    "state": ("service/stages/gate.py", "def f(row):\n    row.state = 1", "only history.move"),
    "state by update": ("service/store/cases.py", "def f(update):\n    update.values(state=1)", "only history.move"),
    "commit": ("service/stages/gate.py", "def f(session):\n    session.commit()", "commits"),
    "write in a page": ("service/web/api.py", "def f(db):\n    db.begin()", "stages write"),
    "landing": ("service/web/api.py", "def f(host):\n    host.land()", "lands a pull"),
    "intake enqueues": ("service/stages/intake.py", "def accept(history):\n    history.enqueue()", "only the sweep"),
    "async": ("service/stages/gate.py", "async def f(): ...", "async"),
    "any error": ("service/stages/gate.py", "try:\n    x = 1\nexcept Exception:\n    x = 2", "catches whatever comes"),
    "any error unnamed": ("service/stages/gate.py", "try:\n    x = 1\nexcept:\n    x = 2", "catches whatever comes"),
    "any error among others": ("rubric/a.py", "try:\n    x = 1\nexcept (ValueError, BaseException) as e:\n    x = 2", "catches whatever comes"),
    "environment": ("connectors/a.py", "import os\nx = os.environ", "environment"),
    "no sentence": ("service/errors.py", None, "sentence"),
    "vague": ("service/web/form_helpers.py", "", "no name for a room"),
    "nowhere": ("service/attic.py", "import json", "no room"),
    "long file": ("service/errors.py", "x = 1\n" * 300, "lines, more than 300"),
    "long function": ("service/errors.py", "def f():\n" + "    x = 1\n" * 41, "lines, more than 40"),
    "full package": ("service/web/__init__.py", "x = 1", "more than its docstring"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_rule_fires(name: str) -> None:
    path, text, said = BROKEN[name]
    others = {
        one: DOC
        for one in ("service/stages/critic.py", "service/stages/gate.py", "service/store/originals.py", "service/store/cases.py", "service/db.py")
    }
    found = violations({**others, path: "x = 1" if text is None else DOC + text})
    assert any(said in line and path in line for line in found), found


def test_a_circle_and_a_twin_are_named() -> None:
    found = violations({"rubric/a.py": DOC + "import rubric.b", "rubric/b.py": DOC + "import rubric.a", "rubric/b/c.py": DOC})
    assert "import circle: rubric.a → rubric.b → rubric.a" in found
    assert any("rubric/b.py stands beside a folder" in line for line in found)


def test_a_clean_house_has_nothing_against_it() -> None:
    tidy = "try:\n    x = 1\nexcept BaseException:\n    x = 2\n    raise\n"
    clean = {
        "rubric/a.py": DOC + "import json\nimport yaml\n" + tidy,
        "service/stages/gate.py": DOC + "from sqlmodel import Session\nimport rubric.a\n",
    }
    assert violations(clean) == []
