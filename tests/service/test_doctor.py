"""`triage doctor` finds what is missing, says what to do, and ends with a status that a script can use."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("TRIAGE_")}


def doctor(folder: Path, *words: str, **settings: str) -> tuple[int, Any]:
    environment = {**ENVIRONMENT, "TRIAGE_DATA_DIR": str(folder / "data"), "PYTHONPATH": str(ROOT), **settings}
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "doctor", "--json", *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert not done.stderr, done.stderr
    return done.returncode, {one["what"]: (one["mark"], one["line"]) for one in json.loads(done.stdout)}


def test_a_machine_that_is_well(tmp_path: Path) -> None:
    status, found = doctor(tmp_path)
    assert status == 0 and {mark for mark, _ in found.values()} <= {"ok", "note"}
    assert found["agent"] == ("ok", "codemod: edits by the manifest's templates; no model")


@pytest.mark.parametrize(
    ("settings", "what", "line"),
    [
        ({"TRIAGE_DATA_DIR": "/dev/null/x"}, "data folder", "TRIAGE_DATA_DIR"),
        ({"TRIAGE_DATABASE_URL": "postgresql://u:SECRET@127.0.0.1:1/d"}, "database", "TRIAGE_DATABASE_URL"),
        ({"TRIAGE_TARGETS": '{"bank": {"repo": "/nowhere.git"}}'}, "target bank", "repo_missing"),
        ({"TRIAGE_AGENT": "builtin"}, "settings", "TRIAGE_CLAUDE_KEY"),
        ({"TRIAGE_AGENT": "builtin", "TRIAGE_CLAUDE_KEY": "a-key", "PATH": "/nonexistent"}, "agent", "refused without a sandbox"),
        ({"PATH": "/nonexistent"}, "git", "not installed"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, settings: dict[str, str], what: str, line: str) -> None:
    status, found = doctor(tmp_path, **settings)
    assert status == 1 and found[what][0] == "bad" and line in found[what][1], found
    assert "SECRET" not in str(found)


def test_no_box_is_a_note_as_long_as_nobody_needs_one(tmp_path: Path) -> None:
    _, found = doctor(tmp_path, PATH="/nonexistent")
    assert found["sandbox"][0] == "note" and "bubblewrap is not installed" in found["sandbox"][1]
