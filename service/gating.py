"""The gate alone: a target's suites on two trees, base against head, with base's exam on both. No database, no web.

Manifest, rows and graders come from base: protected files of the head tree are put back to base's before anything runs.
"""

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectors.eval_port import EvalRunner, SuiteRun
from rubric.gating import judge_gate, rows_path
from rubric.manifest import Manifest
from rubric.noise import FULL, tally
from rubric.plans import Step
from rubric.verdicts import GateVerdict, State, SuiteVerdict
from service.caching import KeptRun
from service.errors import TriageError
from service.exams import set_apart
from service.turns import Exam, Side, judged, together


class GateRefused(TriageError):
    """The gate cannot judge these trees."""

    status = 422

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class SuiteFacts:
    """What a suite was run on and what all its runs took, in seconds; the details say why a side gave nothing."""

    rows_file: str | None = None
    seconds_base: float = 0.0
    seconds_head: float = 0.0
    detail_base: str = ""
    detail_head: str = ""
    cached_base: int = 0
    cached_head: int = 0
    """runs of a side whose result was there already"""


@dataclass(frozen=True)
class GateReport:
    """Everything a person or a pull request is told about one run of the gate."""

    verdict: GateVerdict
    changed: tuple[str, ...]
    affected: tuple[Step, ...]
    """steps that the changed paths touch"""
    steps: tuple[Step, ...]
    """steps whose suites were run"""
    from_base: tuple[str, ...]
    """protected files that head changed, added or removed; base's were used"""
    suites: tuple[SuiteVerdict, ...]
    facts: Mapping[str, SuiteFacts]
    """by suite id"""
    seconds: float

    @property
    def state(self) -> State:
        return self.verdict.state

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return {
            "state": self.verdict.state,
            "reasons": self.verdict.reasons,
            "affected": [step.value for step in self.affected],
            "steps": [step.value for step in self.steps],
            "changed": list(self.changed),
            "from_base": list(self.from_base),
            "suites": [{**suite.model_dump(mode="json"), **vars(self.facts[suite.suite])} for suite in self.suites],
            "seconds": self.seconds,
        }


def run_gate(
    base_tree: Path,
    head_tree: Path,
    changed: Sequence[str],
    manifest: Manifest,
    runner: EvalRunner,
    extra_rows: Mapping[str, str] | None = None,
    *,
    steps: Collection[Step] | None = None,
    scratch: Path | None = None,
    tell: Callable[[str], None] = lambda line: None,
    quarantined: Mapping[str, Collection[str]] = {},
    waived: Mapping[str, Mapping[str, str]] = {},
) -> GateReport:
    """Run the suites of all affected steps on both trees, side by side, and judge row by row; sampled suites are run again and again.

    Both trees are throw-away copies: head gets base's protected files, and both lose the rows that a suite must not see. `manifest` is
    base's. `extra_rows`: suite id → rows to append to base's, for both sides. `steps`: only these; leaving out an affected one keeps the
    gate from passing. `scratch`: where rows and copies wait. `quarantined`: suite id → rows of sampled suites that are too noisy to judge
    by. `waived`: suite id → row → the reason of a person. Raises `GateRefused` for trees with links.
    """
    start, extra = time.monotonic(), dict(extra_rows or {})
    from_base = overlay(base_tree, head_tree, manifest)
    affected = _affected(manifest, changed, set(extra))
    chosen = affected if steps is None else set(steps)
    with tempfile.TemporaryDirectory(prefix="rows-", dir=scratch) as folder:
        exams = _exams(manifest, chosen, base_tree, extra, Path(folder, "rows"))
        examiner = set_apart(runner, manifest, [suite for _, suite, _, _ in exams], base_tree, head_tree, Path(folder))
        base, head = (Side(name, tree, Path(folder), exams) for name, tree in (("base", base_tree), ("head", head_tree)))
        suites = judged(exams, base, head, quarantined, waived, lambda side, which: side.run(which, examiner, tell))
    return GateReport(
        verdict=_whole(suites, affected - chosen),
        changed=tuple(changed),
        affected=_in_order(affected),
        steps=_in_order({verdict.step for verdict in suites}),
        from_base=tuple(from_base),
        suites=tuple(suites),
        facts={suite.id: _facts(path, base.runs[suite.id], head.runs[suite.id]) for _, suite, path, _ in exams},
        seconds=round(time.monotonic() - start, 3),
    )


def measure_noise(
    tree: Path,
    manifest: Manifest,
    runner: EvalRunner,
    *,
    k: int = FULL,
    scratch: Path | None = None,
    tell: Callable[[str], None] = lambda line: None,
    failed: Callable[[str, str], None] = lambda suite, why: None,
) -> dict[str, dict[str, tuple[int, int]]]:
    """Run every sampled suite `k` times on one tree that does not change: suite id → row → (passes, runs). `rubric.noise.noisy` reads it.

    A suite of which any run gives no result has no rows here; `failed` is told its id and why. The tree is not written to.
    Raises `GateRefused` for a tree with links.
    """
    with tempfile.TemporaryDirectory(prefix="noise-", dir=scratch) as folder:
        every = _exams(manifest, set(Step), tree, {}, Path(folder, "rows"))
        exams = [exam for exam in every if exam[1].kind == "sampled"]
        tree = Path(shutil.copytree(tree, Path(folder, "tree")))
        runner = set_apart(runner, manifest, [suite for _, suite, _, _ in exams], tree, tree, Path(folder))
        halves = [Side(name, tree, Path(folder), exams, times) for name, times in (("one", (k + 1) // 2), ("two", k // 2))]
        together(halves, lambda side: side.run(exams, runner, tell))
    found = {}
    for _, suite, _, _ in exams:
        runs = [run for side in halves for run in side.runs[suite.id]]
        broken = next((run for run in runs if run.failure), None)
        if broken:
            failed(suite.id, f"{broken.failure}: {broken.detail}")
        found[suite.id] = {} if broken else tally([{row.row: row.passed for row in run.rows} for run in runs])
    return found


def overlay(base_tree: Path, head_tree: Path, manifest: Manifest) -> list[str]:
    """Put base's protected files into the head tree and remove those that only head has; the paths that differed."""
    wanted = {path for path in tree_paths(base_tree) if manifest.is_protected(path)}
    differed = []
    for path in tree_paths(head_tree):
        if manifest.is_protected(path) and path not in wanted:
            (head_tree / path).unlink()
            differed.append(path)
    for path in sorted(wanted):
        source, target = base_tree / path, head_tree / path
        if _same(source, target):
            continue
        differed.append(path)
        _make_room(head_tree, path)
        shutil.copy(source, target)
    return sorted(differed)


def tree_paths(tree: Path) -> list[str]:
    """All files of a tree, sorted. Raises `GateRefused` for links and devices: through them a run could read or write elsewhere."""
    found = []
    for folder, folders, files in os.walk(tree):
        for name in (*folders, *files):
            full = Path(folder, name)
            mode = full.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise GateRefused("odd_file", f"{full.relative_to(tree)} is a link or no regular file; the gate takes neither")
            if stat.S_ISREG(mode):
                found.append(full.relative_to(tree).as_posix())
    return sorted(found)


def _same(source: Path, target: Path) -> bool:
    if not target.is_file():
        return False
    executable = 0o111
    modes = [path.stat().st_mode & executable for path in (source, target)]
    return modes[0] == modes[1] and source.read_bytes() == target.read_bytes()


def _make_room(tree: Path, path: str) -> None:
    """Head may hold a file where base has a folder, or the other way round."""
    target = tree / path
    for parent in reversed(target.relative_to(tree).parents):
        if (tree / parent).is_file():
            (tree / parent).unlink()
    if target.is_dir():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)


def _affected(manifest: Manifest, changed: Sequence[str], with_rows: set[str]) -> set[Step]:
    """The manifest's answer, and the steps that get new rows: `affected` counts a rows file for no step."""
    own = {step for step, suite in manifest.suites(set(Step)) if suite.id in with_rows or (suite.rows and suite.rows.path in changed)}
    return manifest.affected(list(changed)) | own


def _exams(manifest: Manifest, steps: Collection[Step], tree: Path, extra: dict[str, str], folder: Path) -> list[Exam]:
    """The suites to run. Rows are copied before anything runs: what a suite does to its tree must not reach those of the next one."""
    exams: list[Exam] = []
    paths = tree_paths(tree)
    for step, suite in manifest.suites(set(steps)):
        path = rows_path(manifest, step, suite, paths)
        if path is None or path not in paths:
            exams.append((step, suite, None, None))
            continue
        copy = folder / suite.id / Path(path).name
        copy.parent.mkdir(parents=True)
        data, more = (tree / path).read_bytes(), extra.get(suite.id, "").encode()
        copy.write_bytes(data + (b"\n" if more and data and not data.endswith(b"\n") else b"") + more)
        exams.append((step, suite, path, copy))
    lost = set(extra) - {suite.id for _, suite, path, _ in exams if path}
    if lost:
        raise GateRefused("rows_not_taken", f"rows were given for {' '.join(sorted(lost))}, which has no rows file or is not run")
    return exams


def _facts(rows_file: str | None, base: Sequence[SuiteRun], head: Sequence[SuiteRun]) -> SuiteFacts:
    took_base, took_head = (round(sum(run.seconds for run in side), 3) for side in (base, head))
    kept_base, kept_head = (sum(isinstance(run, KeptRun) for run in side) for side in (base, head))
    return SuiteFacts(rows_file, took_base, took_head, base[-1].detail, head[-1].detail, kept_base, kept_head)


def _whole(verdicts: Sequence[SuiteVerdict], left_out: set[Step]) -> GateVerdict:
    whole = judge_gate(verdicts, None, [])
    if not left_out:
        return whole
    names = " ".join(step.value for step in _in_order(left_out))
    state: State = "inconclusive" if whole.state == "pass" else whole.state
    return GateVerdict(state=state, reasons=[*whole.reasons, f"affected steps that were left out: {names}"])


def _in_order(steps: Collection[Step]) -> tuple[Step, ...]:
    return tuple(step for step in Step if step in steps)
