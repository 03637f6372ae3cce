"""The documents hold here: what they say of settings, states, routes, commands, files and formats is read from the code and compared."""

import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import pytest
from fastapi import APIRouter
from pydantic import BaseModel

from connectors.codemod import RecipeCodemod
from connectors.webhooks import parse_case, verify
from rubric import manifest as manifest_module
from rubric import rendering
from rubric.catalogue import RECIPES
from rubric.manifest import Manifest, read_inventory, read_manifest
from rubric.schema import Outcome, Step
from service.app import create_app
from service.cli import COMMANDS
from service.commands import demo
from service.db import Database
from service.lifecycle import FOLLOWS, MOVES
from service.settings import Settings
from service.stages.intake import case_id_of

ROOT = Path(__file__).resolve().parents[1]
DOCS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
DECISIONS = sorted((ROOT / "docs" / "adr").glob("*.md"))


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def rows_of(text: str, columns: int) -> list[list[str]]:
    """Rows of all tables with so many columns, without heads and rules."""
    found = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        head = number + 1 < len(lines) and re.fullmatch(r"\|(-+\|)+", lines[number + 1])
        if len(cells) == columns and not head and not re.fullmatch(r"\|(-+\|)+", line):
            found.append(cells)
    return found


def blocks_of(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


# ---- all documents


@pytest.mark.parametrize("document", DOCS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_and_paths_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    plain = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", plain) if "://" not in link]
    broken = [link for link in links if link and not (document.parent / link).exists()]
    named = re.findall(r"`((?:service|rubric|connectors|migrations|tests|examples|docs)/[\w./-]*\w/?)`", plain)
    broken += [path for path in named if not (ROOT / path).exists()]
    assert not broken, f"{document.name} names what is not there: {', '.join(broken)}"


@pytest.mark.parametrize("name", [*(path.relative_to(ROOT).as_posix() for path in DOCS), "Makefile", "Dockerfile", ".env.example", ".ci/run"])
def test_no_document_names_a_place_of_one_machine(name: str) -> None:
    found = re.findall(r"/(?:home|root|Users|work|tmp)/\S*|\b(?:10|192\.168)\.\d+\.\d+\.\d+\b", text_of(name))
    assert not found, f"{name}: {', '.join(found)}"


def test_every_document_can_be_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or not page.exists():
            continue
        seen.add(page)
        links = re.findall(r"\]\(([^)#\s]+\.md)", page.read_text(encoding="utf-8"))
        waiting += [(page.parent / link).resolve() for link in links if "://" not in link]
    lost = [path.relative_to(ROOT).as_posix() for path in DOCS if path not in seen]
    assert not lost, f"no way leads to {', '.join(lost)}"


# ---- settings


def env_lines() -> dict[str, str]:
    return dict(re.findall(r"^# (TRIAGE_[A-Z_]+)=(.*)$", text_of(".env.example"), re.MULTILINE))


def test_every_setting_is_in_the_example_and_nothing_else() -> None:
    wanted = {f"TRIAGE_{name.upper()}" for name in Settings.model_fields}
    assert set(env_lines()) == wanted
    live = [line for line in text_of(".env.example").splitlines() if line and not line.startswith("#")]
    assert not live, "a copied file changes nothing until a line is taken in"


def test_defaults_in_the_example_are_the_defaults() -> None:
    lines = env_lines()
    wrong = []
    for name, field in Settings.model_fields.items():
        shown = lines[f"TRIAGE_{name.upper()}"]
        written = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
        written = json.dumps(field.default) if isinstance(field.default, list) else written
        if field.default not in (None, {}, []) and written != shown:
            wrong.append(f"TRIAGE_{name.upper()} is {field.default} by default; the example says {shown}")
    assert not wrong, "\n".join(wrong)


def test_the_example_can_be_read_and_its_secret_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "env"
    file.write_text("".join(f"{name}={value}\n" for name, value in env_lines().items()), encoding="utf-8")
    for name in env_lines():
        monkeypatch.delenv(name, raising=False)
    found = Settings(_env_file=file)  # type: ignore[call-arg]
    assert found.sources["shadow-ui"].target in found.targets
    with pytest.raises(ValueError, match="base64"):
        verify({}, b"", [secret.get_secret_value() for secret in found.sources["shadow-ui"].secrets], datetime.now(UTC))


# ---- states


def machine_of(enum: type[StrEnum]) -> str:
    """A state machine as text, as ARCHITECTURE.md shows it."""
    lines = [f"{enum.__name__}: {(enum.__doc__ or '').splitlines()[0]}"]
    for start, goals in MOVES[enum].items():
        lines.append(f"  {start:<12} → {' '.join(to for to in enum if to in goals) or '(ends here)'}")
    return "\n".join(lines)


@pytest.mark.parametrize("enum", list(MOVES), ids=lambda enum: enum.__name__)
def test_the_state_machines_are_the_moves(enum: type[StrEnum]) -> None:
    assert machine_of(enum) in text_of("ARCHITECTURE.md"), f"ARCHITECTURE.md does not hold this machine; put it in:\n{machine_of(enum)}"


def follows_as_markdown() -> str:
    lines = ["| when a row of | becomes | this flow is enqueued |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| `{table}` | `{state}` | `{flow}` |" for (table, state), flow in FOLLOWS.items())])


def test_what_follows_a_move_is_shown() -> None:
    assert follows_as_markdown() in text_of("ARCHITECTURE.md"), f"ARCHITECTURE.md does not hold this table; put it in:\n{follows_as_markdown()}"
    assert not [table for table, _ in FOLLOWS if table == "cases"], "taking a case in enqueues nothing; the sweep does"


@pytest.mark.parametrize(
    "word", sorted({str(state) for states in MOVES for state in states} | set(RECIPES) | {one.value for one in Outcome} | set(Step))
)
def test_the_glossary_has_every_state_recipe_outcome_and_step(word: str) -> None:
    assert f"`{word}`" in text_of("docs/glossary.md"), f"docs/glossary.md does not explain {word}"


# ---- routes


def programs_as_markdown() -> str:
    """The routes of the OpenAPI schema, as docs/api.md shows them."""
    lines = ["| route | answers | what it does |", "|---|---|---|"]
    for path, methods in create_app(Settings(_env_file=None)).openapi()["paths"].items():  # type: ignore[call-arg]
        for method, about in methods.items():
            said = (about.get("description") or about["summary"]).splitlines()[0]
            lines.append(f"| `{method.upper()} {path}` | {' '.join(sorted(about['responses']))} | {said} |")
    return "\n".join(lines)


def pages_of_the_app() -> set[str]:
    found = set()
    for file in sorted((ROOT / "service" / "web").glob("*.py")):
        module = importlib.import_module(f"service.web.{file.stem}") if file.stem != "__init__" else None
        router = getattr(module, "router", None)
        for route in router.routes if isinstance(router, APIRouter) else []:
            if not getattr(route, "include_in_schema", True):
                found |= {f"{method} {route.path}" for method in route.methods if method != "HEAD"}  # type: ignore[attr-defined]
    return found


def test_every_route_for_programs_is_shown_with_its_answers() -> None:
    wanted = programs_as_markdown()
    shown = {tuple(row[:2]) for row in rows_of(text_of("docs/api.md"), 3)}
    missing = [tuple(row[:2]) for row in rows_of(wanted, 3) if tuple(row[:2]) not in shown]
    assert not missing, f"docs/api.md has other routes or answers; its table should be:\n{wanted}"
    assert len(shown) == len(rows_of(wanted, 3)), f"docs/api.md shows routes that are gone; its table should be:\n{wanted}"


def test_every_page_is_shown() -> None:
    shown = {route for row in rows_of(text_of("docs/api.md"), 2) for route in re.findall(r"`((?:GET|POST|PUT|DELETE) [^`]+)`", row[0])}
    assert shown == pages_of_the_app(), f"missing: {sorted(pages_of_the_app() - shown)}; gone: {sorted(shown - pages_of_the_app())}"


# ---- commands


def help_of(words: list[str]) -> str:
    environment = {**os.environ, "COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", *words, "--help"], cwd=ROOT, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def options_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) - {"--help"}


def test_every_command_is_shown_with_its_options() -> None:
    sections = dict(re.findall(r"^## `triage ([a-z ]+)`\n(.*?)(?=^## |\Z)", text_of("docs/commands.md"), re.DOTALL | re.MULTILINE))
    assert {words.split()[0] for words in sections} == set(COMMANDS)
    for words, section in sections.items():
        said = help_of(words.split())
        shown = set(re.findall(r"^\| `(--[a-z-]+)", section, re.MULTILINE))
        wanted = options_in(said.partition("example:")[0])
        assert shown == wanted, f"triage {words}: docs/commands.md lacks {sorted(wanted - shown)} and has too many {sorted(shown - wanted)}"
    assert "positional arguments:" in help_of(["gate"])
    inner = set(re.findall(r"^    ([a-z]+) {2,}", help_of(["gate"]), re.MULTILINE))
    assert {f"gate {name}" for name in inner} <= set(sections)


def test_exit_statuses_are_shown() -> None:
    """Each command's docstring lists its exit statuses; the page has all of them."""
    sections: dict[str, str] = {}
    for name, section in re.findall(r"^## `triage ([a-z]+)[a-z ]*`\n(.*?)(?=^## |\Z)", text_of("docs/commands.md"), re.DOTALL | re.MULTILINE):
        sections[name] = sections.get(name, "") + section
    for name, (module, _) in COMMANDS.items():
        found = importlib.import_module(module)
        said = f"{found.main.__doc__ or ''} {getattr(found, 'EXAMPLE', '').partition('exit status:')[2]}"
        for status in re.findall(r"(?<![\w-])(\d{1,2})(?= )", said):
            assert re.search(rf"(?<!\d){status}(?!\d)", sections[name]), f"docs/commands.md does not say what exit status {status} of {name} means"


# ---- the way of a case


def test_every_step_of_the_way_exists() -> None:
    rows = rows_of(text_of("docs/one-rejection.md"), 5)
    assert len(rows) > 20
    for number, file, function, *_ in rows:
        tree = ast.parse(text_of(file.strip("`")))
        body = tree.body
        for part in function.strip("`").split("."):
            found = next((one for one in body if getattr(one, "name", None) == part), None)
            assert found is not None, f"row {number}: there is no {function} in {file}"
            body = getattr(found, "body", [])


# ---- the manifest


def parts_of_a_manifest() -> dict[str, type[BaseModel]]:
    models = {name: found for name, found in inspect.getmembers(manifest_module, inspect.isclass) if issubclass(found, BaseModel)}
    return {name: found for name, found in models.items() if found.__module__ == manifest_module.__name__}


def test_every_manifest_shown_can_be_read() -> None:
    shown = blocks_of(text_of("docs/manifest.md"), "yaml")
    assert shown
    for one in shown:
        read_manifest(one)


def test_every_field_of_a_manifest_is_explained() -> None:
    text = text_of("docs/manifest.md")
    fields = {field.alias or name for model in parts_of_a_manifest().values() for name, field in model.model_fields.items()}
    assert {"edits", "format"} <= fields
    missing = sorted(name for name in fields if f"`{name}`" not in text and not re.search(rf"^ *(- \{{)?{name}:|[{{ ]{name}:", text, re.MULTILINE))
    assert not missing, f"docs/manifest.md does not explain {', '.join(missing)}"


def test_every_filter_and_operation_is_explained() -> None:
    text = text_of("docs/manifest.md")
    operations = manifest_module.Edit.model_json_schema()["properties"]["op"]["enum"]
    filters = re.search(r"\\\|\(\?:([a-z|]+)\)", rendering._EXPRESSION.pattern)
    assert filters
    words = [*operations, *filters[1].split("|"), *Step]
    assert not [word for word in words if f"`{word}`" not in text and f"`{word} " not in text]


def test_ids_are_made_as_the_page_says() -> None:
    example = read_manifest(text_of("examples/target-pipeline/triage.yaml"))
    for file, pattern, wanted in rows_of(text_of("docs/manifest.md").partition("### Inventory")[2].partition("###")[0], 3):
        step = wanted.strip("`").partition(":")[0]
        rules = example.steps[Step(step)]
        assert rules.inventory is not None
        changed = rules.model_copy(update={"inventory": rules.inventory.model_copy(update={"ids": [pattern.strip("`")]})})
        found = read_inventory(Manifest(version=1, steps={Step(step): changed}), {rules.inventory.path: file.strip("`")})
        assert list(found.entries) == [wanted.strip("`")]


def test_the_codemod_is_the_agent_that_the_pages_name() -> None:
    assert RecipeCodemod.name in text_of("docs/add-a-recipe.md")


# ---- the readme


def test_the_readme_signs_as_we_verify(tmp_path: Path) -> None:
    script = tmp_path / "sign.py"
    script.write_text(blocks_of(text_of("README.md"), "python")[0], encoding="utf-8")
    payload = ROOT / "examples" / "payloads" / "rejected.json"
    maker = re.search(r"^python3 -c '(.*)'$", text_of("README.md"), re.MULTILINE)
    assert maker
    secret = subprocess.run([sys.executable, "-c", maker[1]], capture_output=True, text=True, check=True).stdout.strip()
    printed = subprocess.run(
        [sys.executable, str(script), str(payload)], env={**os.environ, "WEBHOOK_SECRET": secret}, capture_output=True, text=True, check=True
    ).stdout
    headers = dict(line.split(": ", 1) for line in printed.splitlines())
    assert verify(headers, payload.read_bytes(), [secret], datetime.now(UTC)).delivery_id == headers["webhook-id"]
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize("name", ["rejected", "accepted", "revision"])
def test_the_payloads_that_the_readme_names_are_cases(name: str) -> None:
    parse_case((ROOT / "examples" / "payloads" / f"{name}.json").read_bytes())


def test_the_readme_explains_every_line_of_the_demo_s_table() -> None:
    shown = [row[0] for row in rows_of(text_of("README.md"), 2)]
    assert shown == list(demo.LABELS.values()), f"the table of README.md should have these lines: {list(demo.LABELS.values())}"


def test_every_target_of_make_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    for path in DOCS:
        named = set(re.findall(r"(?:^|`)make ([a-z-]+)", path.read_text(encoding="utf-8"), re.MULTILINE))
        assert named <= targets, f"{path.name} names {sorted(named - targets)}"


def test_make_alone_lists_the_targets() -> None:
    said = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    assert {line.split()[1] for line in said.splitlines()} == targets


# ---- the runbook


def test_the_backup_of_the_runbook_is_whole(tmp_path: Path) -> None:
    command = next(line for line in text_of("docs/runbook.md").splitlines() if "VACUUM INTO" in line and "python3 -c" in line)
    (tmp_path / "var").mkdir()
    db = Database(f"sqlite:///{tmp_path / 'var' / 'triage.db'}")
    with db.begin() as session:
        session.connection().exec_driver_sql("CREATE TABLE things (name TEXT)")
        session.connection().exec_driver_sql("INSERT INTO things VALUES ('kept')")
    subprocess.run(command.strip().replace("python3", sys.executable, 1), shell=True, cwd=tmp_path, check=True)
    db.dispose()
    copies = [path for path in tmp_path.glob("*.db")]
    assert len(copies) == 1
    copy = Database(f"sqlite:///{copies[0]}")
    with copy.read() as session:
        assert session.connection().exec_driver_sql("SELECT name FROM things").scalar_one() == "kept"
    copy.dispose()


def test_what_readyz_says_is_in_the_runbook() -> None:
    """Codes that looking at a target can raise, out of the code."""
    source = text_of("service/targets.py") + text_of("connectors/localgit.py").partition("def head")[2].partition("def publish")[0]
    codes = set(re.findall(r'PortError\("([a-z_]+)"', source)) - {"target_unknown", "not_empty", "export_failed"}
    assert {"no_manifest", "manifest_invalid"} <= codes
    missing = [code for code in codes if f"`{code}`" not in text_of("docs/runbook.md")]
    assert not missing, f"docs/runbook.md does not say what to do about {', '.join(missing)}"


# ---- decisions


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [path.name[:4] for path in DECISIONS] == [f"{number:04d}" for number in range(1, len(DECISIONS) + 1)]


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_each_decision_is_short_and_names_a_test_that_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# {int(path.name[:4])}. ")
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## Decision", "## Why", "## Weighed and left", "## Held by"]
    assert len(text.splitlines()) <= 40
    named = re.findall(r"`(tests/[\w/.]+)::(\w+)`", text.partition("## Held by")[2])
    assert named, f"{path.name} names no test"
    for file, function in named:
        assert re.search(rf"^ *(async )?def {function}\(", text_of(file), re.MULTILINE), f"{path.name}: there is no {function} in {file}"


def test_ids_are_made_from_content() -> None:
    """The same case has the same id on every machine, so a retry after a lost answer finds its first receipt."""
    assert case_id_of("shadow-ui", "nsb-101", 1) == "cc431cd7277f95a4"
    assert case_id_of("shadow-ui", "nsb-101", 2) != case_id_of("shadow-ui", "nsb-101", 1) != case_id_of("other", "nsb-101", 1)
