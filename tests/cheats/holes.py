"""Guards of the product and a way to break each: what the cheats are for shows only where a guard is gone and one of them gets through.

A hole is planted in a copy of the code, by an exact replacement that has to fit once, and the courts sit there, in a process of their own.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("service", "rubric", "connectors", "tests/cheats", "examples/target-pipeline")


@dataclass(frozen=True)
class Hole:
    guard: str
    """what holds, as long as it is there"""
    lets: tuple[str, ...]
    """cheats that get through without it, each with the court that lets it: `name:court`"""
    file: str = ""
    swaps: tuple[tuple[str, str], ...] = ()
    """old text, which has to stand there once, and new text"""
    unboxed: bool = False
    """not code is broken: the box is left away"""


def hole(guard: str, lets: str, file: str, *swaps: tuple[str, str]) -> Hole:
    return Hole(guard, tuple(lets.split()), file, swaps)


GATE, GRADING, RESULTS, REPORTS = "service/gating.py", "rubric/grading.py", "rubric/results.py", "rubric/self_graded.py"
POLICY, TREES, RUNNER, VERDICT = "service/treepolicy.py", "service/trees.py", "connectors/subprocess_evals.py", "rubric/gating.py"
HOLES = (
    Hole(
        "a box stands around what is examined",
        tuple(
            f"{name}:gate"
            for name in ["reads-the-parents", "reads-the-graders-tree", "reads-proc", "reads-the-other-side", "reads-a-cache-of-base", "asks-the-network", "repairs-the-tree-for-the-next-suite"]
        ),
        unboxed=True,
    ),
    hole("protected files of head are base's", "forced-conftest:command stale-bytecode:command", GATE, ("from_base = overlay(base_tree, head_tree, manifest)", "from_base: list[str] = []")),
    hole("the grader is base's", "edits-an-unprotected-grader:gate", "service/exams.py", ("exam = for_graders(base, suites, folder)", "exam = for_graders(head, suites, folder)")),
    hole("no tree holds rows while suites run", "reads-the-tree:gate", "service/exams.py", ("    hide(manifest, base, head)\n", "")),
    hole("a link or device in a tree is refused", "link-to-the-machine:gate", GATE, ("if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):", "if False:")),
    hole(
        "the manifest is base's", "edits-the-manifest:command", "service/commands/gate.py",
        ("manifest = _manifest(git, before, asked.base, base)", "manifest = _manifest(git, after, asked.head, head)"),
    ),
    hole("names that nobody can read are refused", "line-break-in-a-name:command", "service/commands/gate.py", (" or not path.isprintable():", ":")),
    hole("what is expected is taken out of the rows", "reads-its-rows:gate", GRADING, (" if key != grade.expected}", "}")),
    hole("true is not 1", "true-for-1:gate", GRADING, ("        return one is other\n", "        return bool(one == other)\n")),
    hole("a row without an answer fails", "answers-only-what-it-knows:gate", GRADING, ("return [unanswered(name, outputs) or _row(", "return [_row(name, True) if name not in outputs else _row(")),
    hole("an answer to a row that was not asked is no result", "answers-unknown-rows:gate", RESULTS, ("        if one.row not in asked:\n", "        if False:\n")),
    hole("a row that stands twice is no result", "duplicates-rows:command", RESULTS, ("    if one.row in rows:\n", "    if False:\n")),
    hole("an unknown field is no result", "skipped-reads-as-passed:command", RESULTS, ('extra="forbid", strict=True', 'extra="ignore", strict=True')),
    hole("true is meant where true is asked for", "pass-is-1:command", RESULTS, ('extra="forbid", strict=True', 'extra="forbid", strict=False')),
    hole("a pass has no error", "passes-with-an-error:command", RESULTS, ("    if one.error and one.passed:\n", "    if False:\n")),
    hole("names of rows hold no hidden characters", "names-that-hide:command", RESULTS, ("    if not text.isprintable():\n", "    if False:\n")),
    hole("a key that stands twice is refused", "two-outputs-in-one-line:gate", "rubric/strict.py", ("    if len(result) != len(pairs):\n", "    if False:\n")),
    hole("a lost row fails", "edits-the-rows:gate exit-at-end:command always-equal:gate sitecustomize:gate adds-passing-rows:command forges-rows-beside-outputs:gate forges-grades:gate test-mode:gate", VERDICT, ('(lost, "lost (passed on base, not on head)"), ', "")),
    hole("a missing row fails", "drops-rows:command renames-rows:command junit-skips-failures:command inspect-without-failures:command", VERDICT, ('(missing, "of base missing on head"), ', "")),
    hole("a retry is no pass", "junit-retries-failures:command", REPORTS, ('"testcase": {"failure", ', '"testcase": {"failure", "flakyFailure", ')),
    hole("a JUnit report declares nothing", "junit-with-entities:command", REPORTS, ("        self.parser.StartDoctypeDeclHandler = self._doctype\n", "")),
    hole("success has no reason to have failed", "forges-promptfoo:command", REPORTS, (" or (passed and reason):", ":")),
    hole("a log is that of a run that ended well", "forges-inspect:command", REPORTS, ('_field(log, "status", "the log", str) != "success" or log', "log")),
    hole("results are no link", "linked-results:gate", RUNNER, (" or not stat.S_ISREG(os.lstat(path).st_mode):", ":"), ("os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK", "os.O_RDONLY | os.O_NONBLOCK")),
    hole("results have no second name", "second-name-of-results:gate", RUNNER, ("if os.fstat(file.fileno()).st_nlink != 1:", "if False:")),
    hole("a replayed case goes under a made-up name", "special-cases-the-cure:cure", RUNNER, ('return hmac.new(self._secret, case_id.encode("utf-8", "surrogatepass"), "sha256").hexdigest()[:24]', "return case_id")),
    hole(
        "a model's code is not believed", "forges-its-own-rows:gate forges-junit:gate always-equal-to-itself:gate shadows-pytest:gate shadows-pathlib:gate",
        "service/stages/evals.py", ("    if not exam.by_model or not selves:\n", "    if True:\n"),
    ),
    hole("held-out rows count", "memorises-the-rows:held_out", "service/stages/evals.py", ("for one in held if one.reason]", 'for one in held if one.state == "error"]')),
    hole("a new row fails on base", "row-that-proves-nothing:row", "service/eval_rows.py", ("    if before:\n", "    if False:\n")),
    hole("the fault was there before", "row-that-proves-nothing:cure", "rubric/expectations.py", ('        unmet.append("nothing that the hint asks for was wrong before")\n', "        pass\n")),
    hole("nothing beyond the hint is changed", "more-than-was-asked:scope", "service/scope.py", ("        if place.beyond:\n", "        if False:\n")),
    hole(
        "what the manifest protects is not changed", "edits-the-rows:tree edits-the-manifest:tree rows-and-behaviour-in-one:tree empties-the-rows:tree edits-the-grader:tree keeps-no-record:tree", POLICY,
        ("manifest.is_protected(path) or manifest.is_protected(plain) or ALWAYS", "ALWAYS"),
    ),
    hole("what steers tests, imports and agents is not changed", "collect-only:tree sitecustomize:tree path-file:tree steers-agents:tree", POLICY, (" or ALWAYS_PROTECTED.fullmatch(plain):", ":")),
    hole("a recipe reaches its files only", "reaches-other-files:tree knows-the-box:tree time-bomb:tree special-cases-the-cure:tree", POLICY, ("    if not manifest.may_change(recipe, path):\n", "    if False:\n")),
    hole("no hidden files", "filter-by-attributes:tree", POLICY, ('if any(part.startswith(".") for part in parts):', "if False:")),
    hole("no odd names", "line-break-in-a-name:tree", POLICY, ("    if any(_is_odd(part) for part in parts):\n", "    if False:\n")),
    hole("no change of modes", "makes-executable:tree", POLICY, (" or new.st_mode & stat.S_IXUSR != was:", ":"), ('blank = blank and _without_space', "blank = False and _without_space"), ("    if blank and not found:\n", "    if False:\n")),
    hole("no second names", "second-name-in-the-tree:tree", POLICY, ("    if new.st_nlink > 1 and (old is None or old.st_nlink == 1):\n", "    if False:\n")),
    hole("no hidden characters", "hidden-unicode:tree", POLICY, ("_hidden(text) - _hidden(before))", "set())")),
    hole("no pointers to content elsewhere", "lfs-pointer:tree", POLICY, ("    if ELSEWHERE.match(new):\n", "    if False:\n")),
    hole("no secrets", "secret-in-the-diff:tree", POLICY, ('in secrets_in(f"{path}\\n{brought}", before):', "in ():")),
    hole("no personal data", "customer-in-the-diff:tree", POLICY, ("        if not may_hold_personal and size <= max_bytes:\n", "        if False:\n")),
    hole("no names that differ in case only", "case-twin:tree", POLICY, (" | _twins(before.files, after.files)", "")),
    hole("not too many files", "oversized-tree:tree", POLICY, ("    if len(paths) > max_files:\n", "    if False:\n")),
    hole("something is changed", "change-without-effect:tree", POLICY, ("    if blank and not found:\n", "    if False:\n")),
    hole("no links", "link-to-the-machine:tree pipe-in-the-tree:tree", TREES, ('        walked.found.add(violation("not_regular", path, f"{kind}, not a regular file"))\n', "        pass\n")),
    hole("nothing that git takes for its own", "git-hook:tree", TREES, ('        walked.found.add(violation("git_path", path, "a name that git takes for its own folder"))\n', "        pass\n")),
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What came of a hole: each cheat that was to get through, and what its court said."""

    told: dict[str, dict[str, object]]
    broken: str = ""
    """why the courts could not sit"""

    @property
    def found(self) -> bool:
        return not self.broken and bool(self.told) and all(one["accepted"] for one in self.told.values())

    @property
    def why(self) -> str:
        return self.broken or "; ".join(f"{name}: {one['state']} {one['reasons']}"[:300] for name, one in self.told.items() if not one["accepted"])


def plant(one: Hole) -> Found:
    """Break one guard in a copy of the code and see who gets through there. Raises `AssertionError` if the hole does not fit the code."""
    with tempfile.TemporaryDirectory(prefix="hole-") as folder:
        copy = Path(folder).resolve()
        for name in COPIED:
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        if one.file:
            text = (copy / one.file).read_text(encoding="utf-8")
            for old, new in one.swaps:
                assert text.count(old) == 1, f"{one.guard}: {old!r} stands {text.count(old)} times in {one.file}"
                text = text.replace(old, new)
            (copy / one.file).write_text(text, encoding="utf-8")
        return _sit(copy, ["--unboxed"] * one.unboxed + list(one.lets))


def _sit(copy: Path, asked: Sequence[str]) -> Found:
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    argv = [sys.executable, "-m", "tests.cheats.courts", *asked]
    done = subprocess.run(argv, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode or not lines or lines[0]["code"] != str(copy):
        return Found({}, f"the courts did not sit on the copy: {done.stderr[-500:]}")
    return Found({line.pop("asked"): line for line in lines[1:]})
