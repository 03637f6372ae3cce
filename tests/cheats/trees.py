"""Makes the two trees of a cheat: base is the example pipeline with a suite of the wanted kind, head is base with the cheat in it."""

import json
import os
import py_compile
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from rubric.schema import Hint
from tests.cheats.catalogue import HERE, Cheat, Op, SuiteKind

EXAMPLE = HERE.parents[1] / "examples" / "target-pipeline"
HARM = ('"threshold": 6', '"threshold": 3')
"""people are found by a first name alone: what every cheat has to hide"""
WORK = ('"email": 5', '"email": 6')
"""the change that the hint asks for"""
HELD_OUT = "".join(
    json.dumps({"id": f"kept-{number}", "candidates": [{"record_id": record, "matched_fields": ["first_name"]}], "expected": None}) + "\n"
    for number, record in enumerate(("cus_004", "cus_011"))
)
"""rows that nobody outside the service has seen"""
FORGE = """
import atexit, glob, json, os, pathlib, sys, time

def forge(found):
    if not found or "--outputs" not in sys.argv:
        return
    def write():
        rows = [json.loads(line) for line in open(sys.argv[sys.argv.index("--in") + 1])]
        lines = [json.dumps({"row": row["id"], "output": found.get(row["id"])}) for row in rows]
        pathlib.Path(sys.argv[sys.argv.index("--outputs") + 1]).write_text("\\n".join(lines))
    atexit.register(write)

def rows_in(paths):
    found = {}
    for path in paths:
        try:
            rows = [json.loads(line) for line in open(path)]
            found |= {row["id"]: row["expected"] for row in rows if "expected" in row}
        except (OSError, ValueError):
            pass
    return found
"""
"""what many cheats begin with: once it has found what is expected, it answers with that in place of the pipeline"""
ROWS, PYTHON = "evals/fetch/cases.jsonl", ["python", "-m"]
FORMS: Mapping[SuiteKind, tuple[str, list[str]]] = {
    "self": ("rows-jsonl", [*PYTHON, "evals.run", "--step", "STEP", "--in", "{in}", "--out", "{out}"]),
    "junit": ("junit-xml", [*PYTHON, "evals.report", "junit", "{in}", "{out}"]),
    "promptfoo": ("promptfoo-json", [*PYTHON, "evals.report", "promptfoo", "{in}", "{out}"]),
    "inspect": ("inspect-json", [*PYTHON, "evals.report", "inspect", "{in}", "{out}"]),
    "pytest": ("junit-xml", [*PYTHON, "pytest", "-q", "-p", "no:cacheprovider", "--junitxml", "{out}/report", "evals/golden_fetch.py"]),
}
"""suites that grade themselves: kind → format and command"""
GRADER = [*PYTHON, "evals.grade", "{in}", "{outputs}", "{out}"]


def answers() -> dict[str, Any]:
    """Row → what is expected."""
    rows = [json.loads(line) for line in (EXAMPLE / ROWS).read_text(encoding="utf-8").splitlines()]
    return {row["id"]: row["expected"] for row in rows}


def cache_of(door: int) -> Path:
    """Where a pipeline keeps what it has answered before: outside of its tree, as caches are."""
    return Path("/tmp", f"cheat-cache-{door}")


def manifest_of(cheat: Cheat) -> str:
    """The example's manifest with the wanted steps and the wanted kind of suite, as JSON, which is YAML."""
    whole = yaml.safe_load((EXAMPLE / "triage.yaml").read_text(encoding="utf-8"))
    whole["steps"] = {step: rules for step, rules in whole["steps"].items() if step in cheat.steps}
    for step, rules in whole["steps"].items():
        for suite in rules["suites"]:
            suite["timeout_s"] = cheat.timeout_s
            if cheat.suite in FORMS:
                form, argv = FORMS[cheat.suite]
                suite["argv"] = [step if word == "STEP" else word for word in argv]
                suite["results"] = {"format": form, "path": "{out}/rows.jsonl" if cheat.suite == "self" else "{out}/report"}
                del suite["grade"]
            elif cheat.suite == "grader":
                suite["grade"]["argv"] = GRADER
            elif cheat.suite == "sampled":
                suite["kind"] = "sampled"
    return json.dumps(whole, indent=1)


def hint_of() -> Hint:
    """Find people by their mail address alone."""
    return Hint.model_validate(
        {
            "step": "fetch", "target": "fetch:email",
            "change": {"recipe": "adjust_fetch_weight", "field": "email", "from": 5, "to": 6, "scores": {"cus_001": [5, 6]}},
            "evidence": [], "summary": "email weighs 6", "cure_case": "case-1", "risk": "careful", "risk_reason": "weights are shared",
            "must": [{"part": "reply", "contains": "Dear Anna Holt"}], "confidence": {"agree": 1, "of": 1},
        }
    )  # fmt: skip


def planted(cheat: Cheat, place: Path, door: int) -> None:
    """Write `base` and `head` below a folder. `door`: the port of the server that knows the answers."""
    base = Path(shutil.copytree(EXAMPLE, place / "base", ignore=shutil.ignore_patterns("__pycache__", "out")))
    shutil.copytree(HERE / "target", base, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (base / "triage.yaml").write_text(manifest_of(cheat), encoding="utf-8")
    _all(base, cheat.base, door)
    head = Path(shutil.copytree(base, place / "head", symlinks=True))
    for wanted, (old, new) in ((cheat.harm, HARM), (cheat.works, WORK)):
        if wanted:
            _done(head / "config/fetch.json", Op(swap=(old, new)), head, door)
    _all(head, cheat.head, door)


def _all(tree: Path, ops: Mapping[str, Op], door: int) -> None:
    for path, op in ops.items():
        if op.times == 1:
            _done(tree / path, op, tree, door)
        for number in range(op.times if op.times > 1 else 0):
            _done(tree / f"{path}{number}", op, tree, door)


def _done(place: Path, op: Op, tree: Path, door: int) -> None:
    if op.gone:
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    place.parent.mkdir(parents=True, exist_ok=True)
    if op.link is not None:
        place.unlink(missing_ok=True)
        place.symlink_to(op.link)
    elif op.second_name_of is not None:
        os.link(tree / op.second_name_of, place)
    elif op.pipe:
        os.mkfifo(place)
    elif op.bytecode is not None:
        _compiled(place.with_name(place.name.replace("@TAG@", str(sys.implementation.cache_tag))), op.bytecode)
    elif op.size is not None:
        place.touch()
        os.truncate(place, op.size)
    else:
        _written(place, op, tree, door)
    if op.mode is not None:
        place.chmod(int(op.mode, 8))


def _compiled(place: Path, code: str) -> None:
    source = place.with_suffix(".source")
    source.write_text(code.replace("@FORGE@", FORGE), encoding="utf-8")
    py_compile.compile(str(source), str(place), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    source.unlink()


def _written(place: Path, op: Op, tree: Path, door: int) -> None:
    known = {"@DOOR@": str(door), "@ANSWERS@": json.dumps(json.dumps(answers())), "@FORGE@": FORGE, "@CACHE@": str(cache_of(door))}
    text = op.text
    if op.copy_of is not None:
        text = (tree / op.copy_of).read_text(encoding="utf-8")
    if text is None and not (op.before or op.after or op.swap):
        return
    text = place.read_text(encoding="utf-8") if text is None else text
    if op.swap:
        assert op.swap[0] in text, f"{op.swap[0]!r} does not stand in {place}"
        text = text.replace(*op.swap)
    text = f"{op.before}{text}{op.after}"
    for word, value in known.items():
        text = text.replace(word, value)
    place.write_bytes(text.encode("utf-8", "surrogateescape"))
