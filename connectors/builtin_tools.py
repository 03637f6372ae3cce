"""What the builtin agent's model may do, as tools: look, replace, create, have the evals run, and end; every mistake is an answer, not an error."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from connectors.ports import PortError, TreeJob
from connectors.tree_files import NotAllowed, TreeFiles
from rubric.schema import Step

VIEW_LINES, VIEW_CAP, LINE_CAP = 400, 30_000, 2000
"""of one look at a file: lines, characters, and characters of a line"""
EXAM_CAP = 4000
"""characters of what an examination says"""
TROUBLES = 3
"""examinations that could not be held, after which none is tried any more"""
Path_ = Annotated[str, Field(min_length=0, max_length=300, description="relative to the tree, e.g. config/fetch.json")]


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class View(_Input):
    """Show a text file with line numbers, or the names in a folder ("." is the whole tree)."""

    path: Path_
    first: int | None = Field(default=None, ge=1, description="first line, from 1")
    last: int | None = Field(default=None, ge=1, description="last line")


class Replace(_Input):
    """Replace a text that stands in exactly one place of a file. Keep everything else as it is, blanks and order included."""

    path: Path_
    old: str = Field(min_length=1)
    new: str


class Create(_Input):
    """Write a new text file. One that exists stays as it is."""

    path: Path_
    text: str


class RunEval(_Input):
    """Have a step's visible eval suites run on the tree as it is now. There are only a few runs in a job."""

    step: Literal["preprocess", "intent", "extraction", "fetch", "plan", "reply", "fallback"]


class Done(_Input):
    """End the job: the change is made."""

    summary: str = Field(default="", max_length=2000, description="not shown to anybody who decides")


class GiveUp(_Input):
    """End the job without a change. Everything that was written is taken back."""

    reason: Literal["does_not_fit", "target_missing", "already_so", "not_allowed", "unclear", "too_large"]


GIVEN_UP = {
    "does_not_fit": "the files are not as the change expects them",
    "target_missing": "what the change names is not there",
    "already_so": "the files say already what the change asks for",
    "not_allowed": "the change needs files that this recipe may not change",
    "unclear": "the change can be read in more than one way",
    "too_large": "the change is too large for one job",
}
"""reason → what a screen says, in our own words"""
TOOLS: dict[str, type[_Input]] = {"view": View, "replace": Replace, "create": Create, "run_eval": RunEval, "done": Done, "give_up": GiveUp}


def specs() -> list[dict[str, Any]]:
    """The tools as a request names them; the same bytes each time."""
    return [{"name": name, "description": kind.__doc__, "input_schema": _schema(kind)} for name, kind in TOOLS.items()]


def _schema(kind: type[_Input]) -> dict[str, Any]:
    schema = kind.model_json_schema()
    return {name: schema[name] for name in ("type", "properties", "required", "additionalProperties") if name in schema}


@dataclass
class Hands:
    """Carries out what the model asks for, within one job."""

    job: TreeJob
    tree: Path
    ended: Done | GiveUp | None = None
    """how the model ended the job, once it did"""
    files: TreeFiles = field(init=False)
    _exams: int = 0
    _troubles: int = 0

    def __post_init__(self) -> None:
        self.files = TreeFiles(self.tree, self.job.manifest, self.job.hint.recipe)

    def use(self, name: Any, given: Any) -> tuple[str, bool]:
        """What a tool answers, and whether that is an error. Never raises for what the model asks."""
        kind = TOOLS.get(name) if isinstance(name, str) else None
        if kind is None:
            return f"there is no such tool; there are {', '.join(TOOLS)}", True
        if self.ended is not None:
            return "the job has ended", True
        try:
            asked = kind.model_validate(given)
            return self._do(asked), False
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            return f"the input does not fit: {'.'.join(str(part)[:40] for part in first['loc'][:3]) or 'input'}: {first['msg'][:200]}", True
        except NotAllowed as error:
            return f"{error.code}: {error}", True
        except OSError as error:
            return f"the file cannot be used: {error.strerror}", True

    def _do(self, asked: _Input) -> str:
        if isinstance(asked, View):
            return self._view(asked)
        if isinstance(asked, Replace):
            self.files.replace(asked.path, asked.old, asked.new)
            return "replaced"
        if isinstance(asked, Create):
            self.files.create(asked.path, asked.text)
            return "created"
        if isinstance(asked, RunEval):
            return self._examine(Step(asked.step))
        if isinstance(asked, Done) and not self.files.changed():
            raise NotAllowed("nothing_changed", "no file differs from what it was; make the change, or give up")
        self.ended = asked if isinstance(asked, Done | GiveUp) else None
        return "the job has ended"

    def _view(self, asked: View) -> str:
        if self.files.is_folder(asked.path):
            return "\n".join(self.files.listing(asked.path)) or "the folder is empty"
        lines = self.files.read(asked.path).split("\n")
        first = asked.first or 1
        last = min(asked.last or first + VIEW_LINES - 1, first + VIEW_LINES - 1, len(lines))
        if first > len(lines) or last < first:
            raise NotAllowed("no_such_lines", f"the file has {len(lines)} lines")
        shown, room = [], VIEW_CAP
        for number in range(first, last + 1):
            line = lines[number - 1]
            line = f"{number}\t{line if len(line) <= LINE_CAP else line[:LINE_CAP] + ' […]'}"
            room -= len(line)
            if room < 0:
                last = number - 1
                break
            shown.append(line)
        return "\n".join([*shown, f"[lines {first} to {last} of {len(lines)}]"])

    def _examine(self, step: Step) -> str:
        if self.job.examine is None:
            raise NotAllowed("no_evals", "there are no evals to run in this job")
        if self._exams >= self.job.budget.exams or self._troubles >= TROUBLES:
            raise NotAllowed("exams_used_up", "all runs of this job are used up")
        try:
            said = self.job.examine(step)
        except PortError as error:
            self._troubles += 1
            raise NotAllowed(error.code, "the evals could not be run") from None
        self._exams += 1
        left = self.job.budget.exams - self._exams
        return f"{said[:EXAM_CAP]}\n[{left} runs left]"


Use = Callable[[Any, Any], tuple[str, bool]]


def results(content: list[Mapping[str, Any]], use: Use, most: int) -> list[dict[str, Any]]:
    """The answers to all calls of one message, in their order; those past `most` are not carried out."""
    found: list[dict[str, Any]] = []
    for number, block in enumerate(block for block in content if block.get("type") == "tool_use"):
        said, wrong = use(block.get("name"), block.get("input")) if number < most else (f"at most {most} calls at a time", True)
        found.append({"type": "tool_result", "tool_use_id": block["id"], "content": said, **({"is_error": True} if wrong else {})})
    return found
