"""The words of a shadow run: tickets and plans, and the ground of all frozen values. Apart from hints, so that the gate starts without them."""

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, field_validator

TEXT_CAP = 64 * 1024
"""Largest single text field, in characters."""
LABEL_CAP = 200
"""Largest name of something, in characters."""
ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.:@/-]{0,63}$"

_SURROGATE = re.compile("[\ud800-\udfff]")


def storable(text: str) -> str:
    """Refuse what one of our two databases cannot hold, so that both give the same answer."""
    if "\x00" in text:
        raise ValueError("holds a NUL character, which cannot be stored")
    if not text.isascii() and _SURROGATE.search(text):
        raise ValueError("holds a lone surrogate, which is not a character")
    return text


Text = Annotated[str, StringConstraints(max_length=TEXT_CAP), AfterValidator(storable)]
Id = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
Label = Annotated[str, StringConstraints(max_length=LABEL_CAP), AfterValidator(storable)]


class Value(BaseModel):
    """A frozen value that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Step(StrEnum):
    """The steps of a target pipeline, in the order in which a failure is attributed."""

    preprocess = "preprocess"  # attachments and text before anything is read
    intent = "intent"  # which leaf of the intent tree
    extraction = "extraction"  # which fields the ticket states
    fetch = "fetch"  # which record they find
    plan = "plan"  # which branch of the leaf's plan applies
    reply = "reply"  # the text that goes out
    fallback = "fallback"  # the agent behind the Other leaves


class Verdict(StrEnum):
    """What support staff said of a draft."""

    accepted = "accepted"  # the draft was right; the case serves as a control
    rejected = "rejected"  # the draft was wrong; a hint is due


class Message(Value):
    role: Literal["customer", "agent"]
    text: Text
    at: datetime | None = None


class Attachment(Value):
    name: Label
    media_type: Label = Field(alias="content_type", default="text/plain")
    text: Text | None = None
    """What preprocessing read from the file; None when nothing was read."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Ticket(Value):
    subject: Text | None = None
    messages: list[Message] = Field(min_length=1, max_length=200)
    attachments: list[Attachment] = Field(default=[], max_length=50)
    locale: Label = "en"
    known_values: dict[Label, Label | Annotated[list[Label], Field(max_length=20)]] = Field(default={}, max_length=50)
    """What the ticket system knows of the customer (name, e-mail, account …); masked wherever it occurs."""


class Candidate(Value):
    """A record that fetch looked at, best first."""

    record_id: Label
    score: float
    matched_fields: list[Label] = []


class ToolCall(Value):
    name: Label
    arguments: dict[str, Any] = {}


class Plan(Value):
    """What the pipeline wanted to do with a ticket."""

    intent_path: list[Label] = Field(max_length=8)
    """Parent first, leaf last; `"parent/leaf"` is read as the same."""
    extraction: dict[str, dict[str, Any]] = {}
    """{group: {field: value}}"""
    fetch: list[Candidate] = []
    reply: Text = ""
    tool_calls: list[ToolCall] = []
    trace: dict[str, Any] | None = None

    @field_validator("intent_path", mode="before")
    @classmethod
    def _split(cls, path: Any) -> Any:
        return path.split("/") if isinstance(path, str) else path

    @property
    def leaf(self) -> str:
        """`parent/leaf`"""
        return "/".join(self.intent_path)
