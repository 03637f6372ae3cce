"""The doors as Protocols, the values that pass through them, and the tray that carries them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from connectors.eval_port import EvalRunner as EvalRunner
from connectors.eval_port import PortError as PortError
from connectors.eval_port import ReplayAnswer as ReplayAnswer
from connectors.eval_port import Row as Row
from connectors.eval_port import SuiteRun as SuiteRun
from rubric.drafting import Abstained, Ask, AskOutcome, Brief, Drafted, Receipt
from rubric.manifest import Manifest
from rubric.schema import Hint, Step


class CriticModel(Protocol):
    """Drafts hints for one rejection."""

    name: str
    """Goes on every hint, with its version, e.g. `precedent-1`."""
    listens: bool
    """Whether an answer may be another one once the brief holds new facts."""

    def draft(self, brief: Brief) -> Drafted | Abstained:
        """Read one brief. Raises `PortError` when no answer could be had."""
        ...


class Model(Protocol):
    """Answers one ask at a time over the Messages API. Remembers nothing, retries nothing, decides nothing."""

    name: str
    """Goes on every hint, e.g. `claude-sonnet-5-5`."""
    how: str
    """Names all that the same ask may be answered otherwise by: models, efforts, how the form is held."""

    def ask(self, ask: Ask) -> AskOutcome:
        """One call, within a bound of wall-clock time. Never raises for what the server does."""
        ...

    def trouble(self) -> str | None:
        """Why it cannot be used now, in one line, found out by a small real ask; None when it can."""
        ...

    def model_of(self, ask: Ask) -> str:
        """Which model an ask goes to, by the name that it has a price under."""
        ...

    def most(self, ask: Ask) -> float:
        """The most US dollars that this ask can cost, estimated from its length and the price list."""
        ...

    def cost(self, receipt: Receipt) -> float | None:
        """US dollars of a call by the price list, an estimate; None when the server did not say what was used."""
        ...


class BatchModel(Protocol):
    """Answers many asks handed over at once, later and cheaper."""

    name: str
    how: str
    """As `Model.how`: of one profile it is the same, so that either takes the other's answers."""

    def submit(self, asks: Mapping[str, Ask]) -> str:
        """Hand over asks by ids of ours; gives the batch's id. Raises `PortError`, `lost` when the batch may stand at the server all the same."""
        ...

    def collect(self, batch: str, models: Mapping[str, str]) -> Iterator[tuple[str, AskOutcome]]:
        """The outcome of each ask by its id, in no order; `models`: id → the model that it went to.

        Raises `PortError("batch_running")` before the batch has ended.
        """
        ...

    def model_of(self, ask: Ask) -> str:
        """As `Model.model_of`."""
        ...

    def most(self, ask: Ask) -> float:
        """As `Model.most`, at the price of batches."""
        ...

    def cost(self, receipt: Receipt) -> float | None:
        """As `Model.cost`, at the price of batches."""
        ...


@dataclass(frozen=True)
class Budget:
    """What one attempt of a model-driven agent may use up."""

    seconds: float = 600
    """wall clock"""
    turns: int = 40
    """calls of the model"""
    usd: float = 1.0
    """an estimate by the price list"""
    tokens: int = 2_000_000
    """in and out together"""
    exams: int = 3
    """times that it may have its tree examined"""


@dataclass(frozen=True)
class TreeJob:
    """What an agent is told: the approved hint and what it may touch. Never ticket or comment."""

    job_id: str
    hint: Hint
    manifest: Manifest
    attempt: int = 1
    feedback: tuple[str, ...] = ()
    """ids of failed rows and our own texts, never a model's"""
    budget: Budget = Budget()
    examine: Callable[[Step], str] | None = None
    """Runs a step's visible suites on the tree as it is now; answers in our own words, with ids of failing rows. The agent keeps to `budget.exams`"""


@dataclass(frozen=True)
class TreeRun:
    """How an agent's run ended. Holds no diff and no claim about tests: the service looks for itself."""

    status: Literal["done", "gave_up", "refused", "budget", "crashed"]
    reason: str = ""
    """One sentence of our own; named paths and ids only."""
    turns: int = 0
    """calls of a model"""
    tokens: int = 0
    usd: float | None = None
    """an estimate by the price list; None: unknown"""
    transcript: str = ""
    """What was said, for a person who looks for what went wrong: keys taken out, cut at `TRANSCRIPT_CAP` characters. Data of strangers."""


TRANSCRIPT_CAP = 200_000


class TreeAgent(Protocol):
    """Changes the files of a tree so that an approved hint holds."""

    name: str
    by_model: bool
    """A model writes what it changes: its tree is run in a box only, and believed nothing."""

    def trouble(self) -> str | None:
        """Why it cannot be used now, in one line that says what to do; None when it can. Changes nothing."""
        ...

    def run(self, job: TreeJob, tree: Path) -> TreeRun:
        """Work in `tree` (a throw-away copy without `.git`). Never raises for an unfit hint: gives up with a reason."""
        ...


@dataclass(frozen=True)
class Published:
    sha: str
    """commit that the branch points to"""
    created: bool
    """False: the branch stood there already with this very tree"""


class CodeHost(Protocol):
    """Where a target repository lives."""

    name: str

    def head(self) -> str:
        """Commit id of the base branch now."""
        ...

    def export(self, sha: str, into: Path) -> None:
        """Write the regular files of a commit into an empty folder, without `.git`. Raises `PortError` on symlinks or submodules."""
        ...

    def paths(self, sha: str) -> list[str]:
        """All file paths of a commit."""
        ...

    def read(self, sha: str, path: str) -> bytes | None:
        """One file of a commit; None when it is not there."""
        ...

    def tree_id(self, sha: str) -> str:
        """Content id of the whole tree of a commit."""
        ...

    def publish(self, branch: str, base: str, files: Mapping[str, bytes | None], message: str) -> Published:
        """Commit `files` (None removes) on top of `base` and create `branch` there, once.

        Creating the ref is the compare-and-swap: when the branch exists with the same tree and parent it is adopted,
        with another one `PortError("branch_taken")` is raised.
        """
        ...

    def changed(self, base: str, head: str) -> list[str]:
        """Paths that differ between two commits, sorted: changed, added or removed, content or mode."""
        ...

    def diff(self, base: str, head: str) -> str:
        """Unified diff between two commits, at most 200 kB."""
        ...


class LandingHost(CodeHost, Protocol):
    """A host without a merge page of its own: a person's click on ours moves the base branch."""

    def land(self, head: str, expected_base: str) -> str:
        """Move the base branch from `expected_base` to `head` (a child of it). Raises `PortError("base_moved")` otherwise."""
        ...


@dataclass(frozen=True)
class Ports:
    """The tray: every door, the clock, and the limits. Stages get this and nothing else from outside."""

    critic: CriticModel
    agent: TreeAgent
    evals: EvalRunner
    """for trees that hold nothing but a person's code and validated values"""
    hosts: Mapping[str, CodeHost]
    """target name → where it lives"""
    now: Callable[[], datetime]
    workdir: Path
    """folder for throw-away trees"""
    held_out: Mapping[str, Path] = field(default_factory=dict)
    """target name → folder of rows that the service alone holds"""
    limits: "Limits" = field(default_factory=lambda: Limits())
    model: Model | None = None
    """what the critic asks, when it asks one"""
    coder: TreeAgent | None = None
    """the model-driven agent, for recipes that need one, when one is set up"""
    boxed: EvalRunner | None = None
    """as `evals`, in a box, for trees that a model wrote in; None: there is no box, and such trees are not run"""


@dataclass(frozen=True)
class Limits:
    undo_seconds: int = 10
    """how long a decision can be taken back before work starts"""
    attempts: int = 3
    controls: int = 20
    """accepted cases that a change is tried on while it is drafted"""
    gate_controls: int = 150
    """accepted cases that the gate replays on base and head"""
    diff_files: int = 20
    diff_bytes: int = 200_000
    budget: Budget = Budget()
    """of one attempt of a model-driven agent"""
