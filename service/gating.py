"""The gate alone: a target's suites on two trees, base against head, with base's exam on both. No database, no web.

Manifest, rows and graders come from base: protected files of the head tree are put back to base's before anything runs.
"""

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectors.ports import EvalRunner, SuiteRun
from rubric.gating import GateVerdict, State, SuiteVerdict, judge_gate, judge_suite, rows_path
from rubric.manifest import Manifest, Suite
from rubric.schema import Step
from service.errors import TriageError
from service.exams import set_apart

NOT_RUN = "not_run"
"""Failure of a suite that there is no point in running yet."""
Exam = tuple[Step, Suite, str | None, Path | None]
"""One suite to run, its rows file in the tree, and the copy that it gets."""


class GateRefused(TriageError):
    """The gate cannot judge these trees."""

    status = 422

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class SuiteFacts:
    """What a suite was run on and what it took, in seconds; the details say why a side gave nothing."""

    rows_file: str | None = None
    seconds_base: float = 0.0
    seconds_head: float = 0.0
    detail_base: str = ""
    detail_head: str = ""


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
) -> GateReport:
    """Run the suites of all affected steps on both trees, side by side, and judge row by row.

    Both trees are throw-away copies: head gets base's protected files, and both lose the rows that a suite must not see. `manifest` is
    base's. `extra_rows`: suite id → rows to append to base's, for both sides. `steps`: only these; leaving out an affected one keeps the
    gate from passing. `scratch`: where the rows wait meanwhile. Raises `GateRefused` for trees with links.
    """
    start = time.monotonic()
    extra = dict(extra_rows or {})
    from_base = overlay(base_tree, head_tree, manifest)
    affected = _affected(manifest, changed, set(extra))
    chosen = affected if steps is None else set(steps)
    with tempfile.TemporaryDirectory(prefix="rows-", dir=scratch) as folder:
        exams = _exams(manifest, chosen, base_tree, extra, Path(folder))
        runner = set_apart(runner, manifest, [suite for _, suite, _, _ in exams], base_tree, head_tree, Path(folder))
        base, head = _both_sides(exams, base_tree, head_tree, runner, tell)
    suites = tuple(judge_suite(step, suite, *runs) for (step, suite, _, _), *runs in zip(exams, base, head, strict=True))
    return GateReport(
        verdict=_whole(suites, affected - chosen),
        changed=tuple(changed),
        affected=_in_order(affected),
        steps=_in_order({verdict.step for verdict in suites}),
        from_base=tuple(from_base),
        suites=suites,
        facts={
            old.suite: SuiteFacts(exam[2], old.seconds, new.seconds, old.detail, new.detail) for exam, old, new in zip(exams, base, head, strict=True)
        },
        seconds=round(time.monotonic() - start, 3),
    )


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
        copy.parent.mkdir()
        data, more = (tree / path).read_bytes(), extra.get(suite.id, "").encode()
        copy.write_bytes(data + (b"\n" if more and data and not data.endswith(b"\n") else b"") + more)
        exams.append((step, suite, path, copy))
    lost = set(extra) - {suite.id for _, suite, path, _ in exams if path}
    if lost:
        raise GateRefused("rows_not_taken", f"rows were given for {' '.join(sorted(lost))}, which has no rows file or is not run")
    return exams


def _both_sides(
    exams: Sequence[Exam], base_tree: Path, head_tree: Path, runner: EvalRunner, tell: Callable[[str], None]
) -> tuple[list[SuiteRun], list[SuiteRun]]:
    """One thread a side: two suites never run in the same tree at once."""
    with ThreadPoolExecutor(2) as pool:
        base, head = (pool.submit(_side, name, tree, exams, runner, tell) for name, tree in (("base", base_tree), ("head", head_tree)))
        return base.result(), head.result()


def _side(name: str, tree: Path, exams: Sequence[Exam], runner: EvalRunner, tell: Callable[[str], None]) -> list[SuiteRun]:
    runs = []
    for _, suite, _, rows in exams:
        if suite.kind == "sampled":
            runs.append(SuiteRun(suite.id, failure=NOT_RUN))
            continue
        runs.append(runner.run_suite(suite, tree, rows))
        tell(f"{suite.id} on {name}: {runs[-1].failure or f'{len(runs[-1].rows)} rows'}, {runs[-1].seconds:.2f} s")
    return runs


def _whole(verdicts: Sequence[SuiteVerdict], left_out: set[Step]) -> GateVerdict:
    whole = judge_gate(verdicts, None, [])
    if not left_out:
        return whole
    names = " ".join(step.value for step in _in_order(left_out))
    state: State = "inconclusive" if whole.state == "pass" else whole.state
    return GateVerdict(state=state, reasons=[*whole.reasons, f"affected steps that were left out: {names}"])


def _in_order(steps: Collection[Step]) -> tuple[Step, ...]:
    return tuple(step for step in Step if step in steps)
