"""Deterministic doubles of every port: they keep the promises of the real ones, in memory, and remember what they were asked."""

import difflib
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from connectors.ports import PortError, Published, ReplayAnswer, Row, SuiteRun, TreeJob, TreeRun
from rubric.drafting import Abstained, Answered, Ask, AskOutcome, Brief, Drafted, Receipt, TransportError, Usage
from rubric.grading import read_exam
from rubric.manifest import Replay, Suite
from rubric.schema import Outcome, Plan
from rubric.strict import Unreadable

Reply = Drafted | Abstained | PortError
"""What a scripted critic says; a `PortError` is raised."""


class ScriptedCritic:
    """Answers by the sender's name of the case, or by a function of the brief; abstains on what nobody scripted."""

    name = "scripted-1"
    listens = False

    def __init__(self, answers: Mapping[str, Reply] | Callable[[Brief], Reply] | None = None):
        self._answers = answers if callable(answers) else dict(answers or {})
        self.briefs: list[Brief] = []
        """what it was asked, in order"""

    def says(self, external_id: str, reply: Reply) -> None:
        """Script one more case. Raises `TypeError` when the answers are a function."""
        if callable(self._answers):
            raise TypeError("this critic answers by a function")
        self._answers[external_id] = reply

    def draft(self, brief: Brief) -> Drafted | Abstained:
        self.briefs.append(brief)
        if callable(self._answers):
            reply: Reply | None = self._answers(brief)
        else:
            reply = self._answers.get(brief.case.external_id or "")
        if isinstance(reply, PortError):
            raise reply
        return reply or Abstained(outcome=Outcome.unclear_ask_back, reason="nothing is scripted for this case")


Said = AskOutcome | Mapping[str, Any]
"""How a scripted model's ask ends; a bare object is an answer."""


class ScriptedModel:
    """Answers asks by a list, in order, or by a function of the ask. Past the end of the list nobody can be reached.

    Tokens are counted at four characters each, so that spend can be followed; each token costs `usd`.
    """

    name = how = "scripted-model-1"

    def __init__(self, answers: Callable[[Ask], Said] | Iterable[Said] = (), *, usd: float = 0.000_001):
        self._answers: Callable[[Ask], Said] = answers if callable(answers) else self._by_list(answers)
        self._usd = usd
        self.asks: list[Ask] = []
        """what it was asked, in order"""

    def ask(self, ask: Ask) -> AskOutcome:
        self.asks.append(ask)
        said = self._answers(ask)
        if not isinstance(said, Mapping):
            return said
        value = dict(said)
        usage = Usage(input=(len(ask.rubric) + len(ask.case)) // 4, output=min(ask.most_tokens, len(json.dumps(value)) // 4 + 1))
        return Answered(value=value, receipt=Receipt(model=self.name, request_id=f"scripted-{len(self.asks)}", usage=usage))

    def trouble(self) -> str | None:
        return None

    def model_of(self, ask: Ask) -> str:
        return self.name

    def most(self, ask: Ask) -> float:
        return (len(ask.rubric) + len(ask.case) + ask.most_tokens) * self._usd

    def cost(self, receipt: Receipt) -> float | None:
        usage = receipt.usage
        return None if usage is None else (usage.input + usage.output + usage.cache_read + usage.cache_write) * self._usd

    @staticmethod
    def _by_list(answers: Iterable[Said]) -> Callable[[Ask], Said]:
        left = iter(tuple(answers))
        return lambda ask: next(left, TransportError(code="unreachable", retryable=False, receipt=Receipt(usage=Usage())))


class ScriptedAgent:
    """Writes what its script returns for a job (path → new bytes, None removes), or ends as the script says.

    A path that leaves the tree is refused, as is writing through a link; no file has changed then.
    """

    name = "scripted"

    def __init__(self, script: Callable[[TreeJob, Path], Mapping[str, bytes | None] | TreeRun], *, by_model: bool = False):
        self._script, self.by_model = script, by_model
        self.jobs: list[TreeJob] = []
        """what it was told, in order"""

    def trouble(self) -> str | None:
        return None

    def run(self, job: TreeJob, tree: Path) -> TreeRun:
        self.jobs.append(job)
        answer = self._script(job, tree)
        if isinstance(answer, TreeRun):
            return answer
        root = tree.resolve()
        places = {path: (root / path) for path in answer}
        for path, place in places.items():
            if place.resolve() != place or root not in place.parents:
                return TreeRun("refused", f"path_unsafe: {path!a} is no plain path inside the tree")
        changed = {path: new for path, new in answer.items() if new != (places[path].read_bytes() if places[path].is_file() else None)}
        if not changed:
            return TreeRun("gave_up", "no_change: the script leaves every file as it is")
        for path, new in changed.items():
            if new is None:
                places[path].unlink()
            else:
                places[path].parent.mkdir(parents=True, exist_ok=True)
                places[path].write_bytes(new)
        return TreeRun("done", f"wrote {', '.join(changed)}")


class ScriptedEvals:
    """A pipeline made of two functions: whether a row of a suite passes in a tree, and the plan that a tree gives a case.

    `fails`: suite id, or `"replay"`, → the failure that the whole run ends in.
    """

    name = "scripted"

    def __init__(
        self,
        passes: Callable[[str, Path, dict[str, Any]], bool],
        plan: Callable[[Path, dict[str, Any]], Any],
        fails: Mapping[str, str] | None = None,
    ):
        self._passes, self._plan = passes, plan
        self.fails = dict(fails or {})
        self.runs: list[str] = []
        """suite ids and `replay`, in order"""

    def run_suite(self, suite: Suite, tree: Path, rows_file: Path | None, exam: Path | None = None) -> SuiteRun:
        """Rows come from the rows file, by their `id`; the function sees them whole, as pipeline and grader in one."""
        self.runs.append(suite.id)
        if suite.id in self.fails:
            return SuiteRun(suite.id, failure=self.fails[suite.id], detail="scripted")
        if rows_file is None or not rows_file.is_file():
            return SuiteRun(suite.id, failure="no_rows_path", detail="no rows file is known")
        if suite.grade and suite.grade.argv and exam is None:
            return SuiteRun(suite.id, failure="no_grader", detail="no tree to take the grader from")
        try:
            if suite.grade:
                read_exam(rows_file.read_bytes(), suite.grade)
        except Unreadable as error:
            return SuiteRun(suite.id, failure=error.code, detail=str(error))
        name = suite.grade.id if suite.grade else "id"
        given = [json.loads(line) for line in rows_file.read_text(encoding="utf-8").splitlines() if line.strip()]
        rows = tuple(Row(str(row[name]), self._passes(suite.id, tree, row)) for row in given)
        names = [row.row for row in rows]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            return SuiteRun(suite.id, failure="duplicate_row", detail=f"the row {twice} stands twice")
        if len(rows) < suite.min_rows:
            failure = "too_few_rows" if rows else "no_rows"
            return SuiteRun(suite.id, rows, failure, f"{len(rows)} rows, at least {suite.min_rows} are needed")
        return SuiteRun(suite.id, rows)

    def replay(self, replay: Replay, tree: Path, cases: Mapping[str, dict[str, Any]]) -> list[ReplayAnswer]:
        """The function's plan for each case; what it raises sinks only that case."""
        if not cases:
            return []
        self.runs.append("replay")
        if "replay" in self.fails:
            return [ReplayAnswer(case_id, failure=self.fails["replay"], detail="scripted") for case_id in cases]
        return [self._answer(tree, case_id, case) for case_id, case in cases.items()]

    def _answer(self, tree: Path, case_id: str, case: dict[str, Any]) -> ReplayAnswer:
        try:
            plan = self._plan(tree, {**case, "external_id": case_id})
        except Exception as error:  # as a process of its own would: a bad case ends itself
            return ReplayAnswer(case_id, failure="replay_exit", detail=type(error).__name__)
        try:
            return ReplayAnswer(case_id, plan=Plan.model_validate(plan).model_dump(mode="json"))
        except ValidationError:
            return ReplayAnswer(case_id, failure="replay_garbage", detail="that is no plan")


@dataclass(frozen=True)
class _Commit:
    tree: dict[str, bytes]
    parents: tuple[str, ...]
    message: str


BRANCH = re.compile(r"triage/[a-z0-9][a-z0-9-]*(?:/[a-z0-9][a-z0-9-]*)*")
DIFF_CAP = 200_000


@dataclass
class ScriptedHost:
    """`LandingHost` in memory. `fail_next` makes the next call of a method raise, before or after its effect."""

    name: str
    files: Mapping[str, bytes]
    """what the first commit holds"""
    branches: dict[str, str] = field(default_factory=dict)
    fail_next: dict[str, PortError] = field(default_factory=dict)
    """method → raised once, before anything happened"""
    lose_answer_of: set[str] = field(default_factory=set)
    """methods whose next effect happens and whose answer is lost in a retryable `PortError`"""

    def __post_init__(self) -> None:
        self._commits: dict[str, _Commit] = {}
        self._base = self._add(dict(self.files), (), "Start")

    __hash__ = object.__hash__  # a host is itself: what is kept per host must not mix two alike

    def head(self) -> str:
        self._due("head")
        return self._base

    def pushes(self, files: Mapping[str, bytes | None], message: str = "Somebody else's change") -> str:
        """Somebody commits on the base branch, past us."""
        self._base = self._add(_changed(self._commit(self._base).tree, files), (self._base,), message)
        return self._base

    def message(self, sha: str) -> str:
        return self._commit(sha).message

    def export(self, sha: str, into: Path) -> None:
        self._due("export")
        tree = self._commit(sha).tree
        if into.exists() and (not into.is_dir() or any(into.iterdir())):
            raise PortError("not_empty", f"{into.name} is not an empty folder")
        for path, content in tree.items():
            (into / path).parent.mkdir(parents=True, exist_ok=True)
            (into / path).write_bytes(content)

    def paths(self, sha: str) -> list[str]:
        return sorted(self._commit(sha).tree)

    def read(self, sha: str, path: str) -> bytes | None:
        self._due("read")
        return self._commit(sha).tree.get(path)

    def tree_id(self, sha: str) -> str:
        return _digest("tree", *(part for path, content in sorted(self._commit(sha).tree.items()) for part in (path.encode(), content)))

    def publish(self, branch: str, base: str, files: Mapping[str, bytes | None], message: str) -> Published:
        self._due("publish")
        if not BRANCH.fullmatch(branch):
            raise PortError("bad_branch", "a branch of ours is triage/ and lower-case letters, digits, '-' and '/'")
        tree = _changed(self._commit(base).tree, files)
        if tree == self._commit(base).tree:
            raise PortError("nothing_to_publish", "the files are those of the base commit")
        stands = self.branches.get(branch)
        if stands is not None:
            there = self._commit(stands)
            if (there.tree, there.parents) != (tree, (base,)):
                raise PortError("branch_taken", f"{branch} stands already, with another change")
            return Published(stands, created=False)
        sha = self._add(tree, (base,), message)
        self.branches[branch] = sha
        self._lose("publish")
        return Published(sha, created=True)

    def changed(self, base: str, head: str) -> list[str]:
        old, new = self._commit(base).tree, self._commit(head).tree
        return sorted(path for path in {**old, **new} if old.get(path) != new.get(path))

    def diff(self, base: str, head: str) -> str:
        self._due("diff")
        old, new = self._commit(base).tree, self._commit(head).tree
        text = "".join(_diff_of(path, old.get(path), new.get(path)) for path in sorted(old.keys() | new.keys()) if old.get(path) != new.get(path))
        return text if len(text) <= DIFF_CAP else text[: DIFF_CAP - 40] + "\n[cut: the diff is too long]\n"

    def land(self, head: str, expected_base: str) -> str:
        self._due("land")
        self._commit(expected_base)
        parents = self._commit(head).parents
        if self._reaches(self._base, head):
            return head
        if self._base != expected_base or not parents or not self._reaches(parents[0], expected_base):
            raise PortError("base_moved", "the base branch is not where the change was made on")
        self._base = head
        self._lose("land")
        return head

    def _reaches(self, head: str, ancestor: str) -> bool:
        return head == ancestor or any(self._reaches(parent, ancestor) for parent in self._commit(head).parents)

    def _commit(self, sha: str) -> _Commit:
        if sha not in self._commits:
            raise PortError("object_missing", f"{self.name} has no commit {sha}")
        return self._commits[sha]

    def _add(self, tree: dict[str, bytes], parents: tuple[str, ...], message: str) -> str:
        parts = [part for path, content in sorted(tree.items()) for part in (path.encode(), content)]
        sha = _digest("commit", str(len(self._commits)).encode(), *(parent.encode() for parent in parents), *parts)
        self._commits[sha] = _Commit(tree, parents, message)
        return sha

    def _due(self, method: str) -> None:
        if method in self.fail_next:
            raise self.fail_next.pop(method)

    def _lose(self, method: str) -> None:
        if method in self.lose_answer_of:
            self.lose_answer_of.discard(method)
            raise PortError("connection_lost", f"the answer to {method} was lost", retryable=True)


def _changed(tree: Mapping[str, bytes], files: Mapping[str, bytes | None]) -> dict[str, bytes]:
    return {path: content for path, content in {**tree, **files}.items() if content is not None}


def _digest(kind: str, *parts: bytes) -> str:
    return hashlib.sha1(kind.encode() + b"".join(b"%d:%b" % (len(part), part) for part in parts), usedforsecurity=False).hexdigest()


def _diff_of(path: str, old: bytes | None, new: bytes | None) -> str:
    names = ("/dev/null" if old is None else f"a/{path}", "/dev/null" if new is None else f"b/{path}")
    before, after = ((side or b"").decode("utf-8", "replace").splitlines() for side in (old, new))
    lines = difflib.unified_diff(before, after, *names, lineterm="")
    return f"diff --git a/{path} b/{path}\n" + "".join(line + "\n" for line in lines)
