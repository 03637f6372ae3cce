"""The gate as a whole command: 200 trivial cases in four steps, base against head, beside its limit line and beside pytest run twice.

The limit line is two Python processes at once, one a side, that run all cases, and a third that compares them; no git, no manifest, no limits
on what runs, no isolation of one suite from the next. pytest runs the same cases twice, one run a side; the comparing is left to a person.
All three are timed as whole processes, taking turns in one run, and judged by the ratio to the round beside.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.figures import Figure

STEPS = ("intent", "extraction", "fetch", "plan")
ROWS = 50
PIPELINE = """def run(text):
    step, value = text.split()[0], sum(map(ord, text)) % 97
    {extra}
    return f"{{step}}:{{value}}"
"""
WORSE = 'value += step == "plan" and text.split()[2] in ("3", "17", "41")'
EVALS = """import json, sys
sys.path.insert(0, ".")
from pipeline import run
rows = [json.loads(line) for line in open(sys.argv[1])]
open(sys.argv[2], "w").write("".join(json.dumps({"row": row["id"], "output": run(row["input"])}) + "\\n" for row in rows))
"""
SIDE = """import json, sys
sys.path.insert(0, sys.argv[1])
from pipeline import run
for step in ("intent", "extraction", "fetch", "plan"):
    print(step, *(int(run(row["input"]) == row["expected"]) for row in map(json.loads, open(f"{sys.argv[1]}/evals/{step}.jsonl"))))
"""
TWO_SIDES = """import subprocess, sys
sides = [subprocess.Popen([sys.executable, "-S", sys.argv[1], tree], stdout=subprocess.PIPE, text=True) for tree in sys.argv[2:]]
base, head = ({line.split()[0]: line.split()[1:].count("1") for line in side.communicate()[0].splitlines()} for side in sides)
for step in base: print(step, base[step], head[step], head[step] - base[step])
"""
TESTS = """import json, pathlib, sys
import pytest
HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))
from pipeline import run
CASES = [json.loads(line) for line in open(HERE / "evals" / "{step}.jsonl")]
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_case(case):
    assert run(case["input"]) == case["expected"]
"""
SUITE = """      - id: {step}-rows
        argv: [python, -S, evals/run.py, "{{in}}", "{{out}}/o.jsonl"]
        results: {{format: outputs-jsonl, path: "{{out}}/o.jsonl"}}
        grade: {{expected: expected, id: id}}
        timeout_s: 60
        min_rows: 50
        rows: {{path: evals/{step}.jsonl}}
"""


def measure(folder: Path, rounds: int, tell: Callable[[str], None]) -> list[Figure]:
    """Seconds of the command without and with a warm cache, and its ratios to the two others."""
    base, head = _set_up(folder)
    python = sys.executable
    gate = [python, "-m", "service.cli", "gate", "run", "--repo", str(folder / "repo"), "--base", base, "--head", head, "--json"]
    tests = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(f"test_{step}.py" for step in STEPS)]
    commands: dict[str, Callable[[], None]] = {
        "gate command": lambda: _run(gate, 1),
        "gate command, warm cache": lambda: _run([*gate, "--cache", str(folder / "cache")], 1),
        "two sides": lambda: _run([python, str(folder / "two.py"), str(folder / "side.py"), str(folder / "base"), str(folder / "head")], 0),
        "pytest twice": lambda: _both(tests, folder),
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            start = time.monotonic()
            command()
            if number:  # the first round warms the disk
                seconds[name].append(time.monotonic() - start)
    for name, values in seconds.items():
        tell(f"200 rows, {name}: {statistics.median(values):.3f} s")
    return [
        Figure(f"{name} / {other}", "s", seconds[name], bare=seconds[other], note=f"200 rows, whole processes; at most {most} is asked for")
        for name in ("gate command", "gate command, warm cache")
        for other, most in (("two sides", 4), ("pytest twice", 0.7))
    ]


def _both(tests: list[str], folder: Path) -> None:
    _run(tests, 0, folder / "base")
    _run(tests, 1, folder / "head")


def _run(command: list[str], status: int, where: Path | None = None) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # compiled once, as for a user
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    done = subprocess.run(command, cwd=where, env=environment, capture_output=True, check=False)
    if done.returncode != status:
        raise RuntimeError(f"{command[:4]} ended with {done.returncode}: {(done.stderr or done.stdout)[-500:]!r}")


def _set_up(folder: Path) -> tuple[str, str]:
    """A repository with both commits, and their trees beside it; the ids of base and head."""
    repo = folder / "repo"
    for tree, extra in ((repo, "pass"), (folder / "base", "pass"), (folder / "head", WORSE)):
        (tree / "evals").mkdir(parents=True)
        (tree / "pipeline.py").write_text(PIPELINE.format(extra=extra))
        (tree / "evals" / "run.py").write_text(EVALS)
        for step in STEPS:
            inputs = [f"{step} ticket {number} refund {number * 7 % 13}" for number in range(ROWS)]
            rows = [{"id": f"{step}-{n}", "input": text, "expected": f"{step}:{sum(map(ord, text)) % 97}"} for n, text in enumerate(inputs)]
            (tree / "evals" / f"{step}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            (tree / f"test_{step}.py").write_text(TESTS.format(step=step))
    steps = "".join(f'  {step}:\n    watches: ["pipeline.py"]\n    suites:\n{SUITE.format(step=step)}' for step in STEPS)
    (repo / "triage.yaml").write_text(f'version: 1\nsteps:\n{steps}protected: ["evals/**"]\n')
    (folder / "side.py").write_text(SIDE)
    (folder / "two.py").write_text(TWO_SIDES)
    git = ["git", "-C", str(repo), "-c", "user.name=bench", "-c", "user.email=bench@localhost.invalid"]
    _run([*git, "init", "-q"], 0)
    ids = []
    for message in ("base", "head"):
        _run([*git, "add", "-A"], 0)
        _run([*git, "commit", "-q", "-m", message], 0)
        ids.append(subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip())
        (repo / "pipeline.py").write_text(PIPELINE.format(extra=WORSE))
    return ids[0], ids[1]
