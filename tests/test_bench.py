"""The bench runs here, in small and without a word about speed; and bare stands on the same server settings as the service."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_bench_measures_everything() -> None:
    argv = [sys.executable, "-m", "bench.speed", "--quick", "--json", "--sqlite-only"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = {row["what"]: row for row in json.loads(done.stdout)["rows"]}
    intake = [f"intake SQLite, {connections}" for connections in ("1 connection", "8 connections", "32 connections")]
    others = [*(f"replay, {batch} at once" for batch in (1, 20, 100)), "drafts, critic and trials", "gate, affected steps"]
    others += [f"precedent critic, {number} decisions" for number in (20, 40, 80)]
    others += [f"{name} / {other}" for name in ("gate command", "gate command, warm cache") for other in ("two sides", "pytest twice")]
    others += ["model draft, the first of an hour", "model draft, rubric in the cache"]
    assert set(rows) == {*intake, "intake SQLite, 8 connections, until masked", *others}
    for row in rows.values():
        assert {"unit", "n", "median", "min", "max"} <= set(row) and 0 < row["min"] <= row["median"] <= row["max"] and row["n"] > 0, row
    assert rows["precedent critic, 80 decisions"]["ratio"] > 0
    assert rows["model draft, rubric in the cache"]["ratio"] < rows["model draft, the first of an hour"]["ratio"]
    for name in intake:
        assert rows[name]["ratio"] > 0 < rows[name]["bare_median"]


def server_settings(path: str) -> list[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    (call,) = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "uvicorn.Config"]
    return sorted(f"{word.arg}={ast.unparse(word.value)}" for word in call.keywords)


def test_bare_runs_on_the_server_settings_of_the_service() -> None:
    assert server_settings("bench/bare.py") == server_settings("service/commands/serve.py")
