"""The words that every floor speaks: frozen values for cases, plans, hints, findings and inventories."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from rubric.plans import ID_PATTERN as ID_PATTERN
from rubric.plans import LABEL_CAP as LABEL_CAP
from rubric.plans import TEXT_CAP as TEXT_CAP
from rubric.plans import Attachment as Attachment
from rubric.plans import Candidate as Candidate
from rubric.plans import Id as Id
from rubric.plans import Label as Label
from rubric.plans import Message as Message
from rubric.plans import Plan as Plan
from rubric.plans import Step as Step
from rubric.plans import Text as Text
from rubric.plans import Ticket as Ticket
from rubric.plans import ToolCall as ToolCall
from rubric.plans import Value as Value
from rubric.plans import Verdict as Verdict
from rubric.plans import storable as storable
from rubric.recipes import Change


class Outcome(StrEnum):
    """Answers without a code change; abstaining is an answer, not a failure."""

    not_a_defect = "not_a_defect"  # the customer or the reviewer was wrong
    one_off = "one_off"  # right to complain, not worth a rule
    unclear_ask_back = "unclear_ask_back"  # nothing in the comment says what was wrong
    policy_question = "policy_question"  # the owner of a policy has to answer first
    duplicate_rule = "duplicate_rule"  # an open or confirmed hint says this already
    conflicts_with_rule = "conflicts_with_rule"  # a confirmed hint says the opposite
    unstable_leaf = "unstable_leaf"  # the leaf is frozen or being rebuilt
    not_reproducible = "not_reproducible"  # the target no longer does what the case shows
    already_fixed = "already_fixed"  # the target now does what the reviewer wanted


class Rejection(Value):
    reason: Label | None = None
    comment: Text
    by: Label
    at: datetime
    corrected_reply: Text | None = None


class Snapshot(Value):
    """What the pipeline ran on; without it a case may not be replayable."""

    pipeline_commit: Label | None = None
    prompt_versions: dict[Label, Label] = {}
    records: list[dict[str, Any]] = []


class Case(Value):
    """One shadow run as received: ticket, plan, verdict."""

    external_id: Id | None = None
    """The sender's name of the ticket; without it the content hash names the case."""
    revision: int = Field(default=1, ge=1, le=1_000_000)
    occurred_at: datetime | None = None
    source: Label | None = None
    ticket: Ticket
    plan: Plan
    verdict: Verdict
    rejection: Rejection | None = None
    snapshot: Snapshot | None = None

    @model_validator(mode="before")
    @classmethod
    def _verdict_of_rejection(cls, data: Any) -> Any:
        if isinstance(data, dict) and "verdict" not in data and data.get("rejection") is not None:
            return {**data, "verdict": Verdict.rejected}
        return data

    @model_validator(mode="after")
    def _one_story(self) -> "Case":
        if self.verdict is Verdict.rejected and self.rejection is None:
            raise ValueError("a rejected case needs its rejection (comment, by, at)")
        if self.verdict is Verdict.accepted and self.rejection is not None:
            raise ValueError("an accepted case cannot carry a rejection")
        return self

    @property
    def comment(self) -> str:
        return self.rejection.comment if self.rejection else ""


class Span(Value):
    """A verbatim quote and where it stands: `text_of(case, source)[start:end] == quote`."""

    source: Literal["ticket", "plan", "comment"]
    quote: Text
    start: int = Field(ge=0)
    end: int = Field(ge=0)


class Expectation(Value):
    """One checkable statement about a plan, used as `must` (holds) or `must_not` (does not hold)."""

    part: Literal["intent", "extraction", "record", "tool", "reply"]
    is_: Text | None = Field(default=None, alias="is")
    """intent: `parent/leaf`; record: its id, "" for none; tool: a name, or `name.argument=value`; extraction: `group.field=value`."""
    contains: Text | None = None
    """reply: a phrase; tool: a part of a name, or `name.argument` is sent; extraction: `group.field` has any value."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class WorkedExample(Value):
    """The hint tried on one case: what the plan is now and what it should be instead."""

    case_id: str
    plan_now: str
    plan_instead: str


class Risk(StrEnum):
    low = "low"
    careful = "careful"
    high = "high"


class Confidence(Value):
    """How sure the critic is, as counts that can be checked; never a percentage a model stated."""

    agree: int
    of: int
    """how many readings of a model were taken; with `of_precedents`, how many decisions on like comments there were"""
    of_precedents: bool = False
    replay: Literal["moved", "no_effect", "not_tried"] = "not_tried"
    weight: float = 0.0
    """what signals, effect and other rejections add up to; it puts hints in order and is no probability"""
    calibrated: bool = False


class Hint(Value):
    """One proposed change to the target pipeline."""

    step: Step
    target: str
    """An id of the target's inventory, e.g. `fetch:email`."""
    change: Change
    evidence: list[Span]
    summary: Text
    """One sentence of our own about the change; holds no customer text."""
    worked_example: WorkedExample | None = None
    cure_case: str
    """Id of the case that must fail on base and pass on head."""
    controls: list[str] = []
    """Ids of accepted cases that must not change."""
    changes_controls: list[str] = []
    """Accepted cases whose plan changes with this hint, as replay showed; a person should see none."""
    also_moves: list[str] = []
    """Other rejections whose plan it moves in the same way, as replay showed."""
    controls_not_tried: list[str] = []
    """Those of the controls whose replay did not end in time, so that nothing is known of them."""
    eval_to_move: str | None = None
    """Id of the suite that shows the change."""
    must: list[Expectation] = []
    must_not: list[Expectation] = []
    risk: Risk
    risk_reason: Text
    rules_invented: list[Text] = []
    """Claims that no quote carries; any entry blocks confirming."""
    precedents: list[str] = []
    """Ids of the decided cases that a model was shown while it drafted this."""
    confidence: Confidence

    @property
    def recipe(self) -> str:
        return self.change.recipe


class Finding(Value):
    """What lint says about one field of a hint."""

    code: str
    field: str
    text: str
    blocks: bool = True


def text_of(case: Case, source: str) -> str:
    """The text that evidence spans of a source count in."""
    if source == "comment":
        return case.comment
    if source == "plan":
        calls = "\n".join(f"{call.name} {call.arguments}" for call in case.plan.tool_calls)
        return f"{case.plan.leaf}\n{case.plan.reply}\n{calls}"
    parts = [case.ticket.subject or "", *(message.text for message in case.ticket.messages)]
    return "\n".join([*parts, *(file.text or "" for file in case.ticket.attachments)])
