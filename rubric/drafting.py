"""What a critic is asked and what it may answer: briefs, drafts and abstentions; single asks to a model and how each can end."""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field

from rubric.entries import Inventory
from rubric.schema import Case, Hint, Outcome, Value


class Precedent(Value):
    """A hint that a gatekeeper confirmed or answered without a fix, with the comment that led to it."""

    case_id: str
    comment: str
    leaf: str
    step: str
    recipe: str
    """A recipe, or an outcome when the answer was not to change code."""
    target: str
    hint_id: str | None = None
    record: str = ""
    """id of the record that the case was about, to tell one customer's cases; "" when unknown"""


class Neighbour(Value):
    """Another case of the same target, redacted, that a critic may compare with."""

    case_id: str
    case: Case
    sealed: bool = False
    """kept from the critic: a change is tried on it, and it stands in no brief"""


class Brief(Value):
    """Everything a critic may look at for one rejection. Holds redacted text only."""

    case_id: str
    case: Case
    inventory: Inventory
    precedents: list[Precedent] = []
    rejected: list[Neighbour] = []
    """open rejections on the same leaf or with a like comment, newest first"""
    accepted: list[Neighbour] = []
    """accepted cases, nearest first: the controls"""
    open_hints: list[Hint] = []
    """hints of the same target that are waiting or confirmed, to name twins"""
    facts: list[str] = []
    """what was found out since an earlier answer to this brief, in our own words: lint findings, replay results, a reviewer's answer"""


class Cost(Value):
    calls: int = 0
    tokens: int = 0
    usd: float = 0.0


class Candidate(Value):
    """A hint that the critic could stand behind, and how strongly; replay decides between several."""

    hint: Hint
    score: float
    together: str = ""
    """name of candidates that may be tried in one go: many, each unlikely, at different places; "" for one to be tried alone"""


class Drafted(Value):
    """One hint per rule that the comment holds."""

    hints: list[Hint]
    notes: list[str] = []
    candidates: list[Candidate] = []
    """what else might be meant, best first; tried when the hints do not move their case"""
    cost: Cost = Cost()


class Abstained(Value):
    """No hint, and why."""

    outcome: Outcome
    reason: str
    """One sentence of our own for the gatekeeper; holds no customer text."""
    candidates: list[Candidate] = []
    """too weak to offer untried, best first"""
    cost: Cost = Cost()


class Usage(Value):
    """Tokens that a call was billed for, as the server counted them."""

    input: int = 0
    """read, neither from nor into the cache"""
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0


class Receipt(Value):
    """What a call cost and how to find it again at the server."""

    model: str = ""
    request_id: str = ""
    usage: Usage | None = None
    """None: the server did not say, so the most that the call could have used is assumed"""
    seconds: float = 0.0


class Ask(Value):
    """One small question to a model, with a closed form of answer. A request made of it never carries tools."""

    name: Literal["rules", "locate", "target", "fill", "plain"]
    """which of the critic's questions it is; settings choose model and effort by it"""
    key: str
    """names the ask within its case: the same text has the same key, so that an answer is paid for once"""
    rubric: str
    """what is the same for all cases of a target: sent first, and cached by the server"""
    case: str
    """what is about this case; untrusted text stands here and nowhere else, fenced"""
    form: dict[str, Any]
    """JSON schema of the answer"""
    most_tokens: int = 8000
    """room for thinking and answer together"""

    @property
    def sha(self) -> str:
        """Hash of everything that is sent, and of the key: two samples of one question may be the same text and are two asks all the same."""
        whole = json.dumps([self.name, self.key, self.rubric, self.case, self.form, self.most_tokens], sort_keys=True)
        return hashlib.sha256(whole.encode()).hexdigest()


class Answered(Value):
    """The model answered with one JSON object. Whether it fits the form is for the reader to check."""

    kind: Literal["answered"] = "answered"
    value: dict[str, Any]
    receipt: Receipt = Receipt()


class Refused(Value):
    """The model declined to answer."""

    kind: Literal["refused"] = "refused"
    category: str = ""
    receipt: Receipt = Receipt()


class Truncated(Value):
    """The answer ended before it was whole: too few tokens, or a case too long for the model."""

    kind: Literal["truncated"] = "truncated"
    by: Literal["max_tokens", "context_window"]
    receipt: Receipt = Receipt()


class InvalidOutput(Value):
    """There was an answer, and it is no JSON object."""

    kind: Literal["invalid_output"] = "invalid_output"
    why: str
    """our own words, or a stable code"""
    receipt: Receipt = Receipt()


class TransportError(Value):
    """No answer. `retryable`: the same ask may succeed later."""

    kind: Literal["transport_error"] = "transport_error"
    code: str
    """stable: `rate_limited`, `overloaded`, `server_error`, `timeout`, `unreachable`, `bad_request`, `unauthorised`, `too_large`, `not_found`,
    `garbage`; of a batch also `expired`, `canceled`, `missing`"""
    retryable: bool
    retry_after: float | None = None
    """seconds that the server asks to wait"""
    receipt: Receipt = Receipt()


AskOutcome = Annotated[Answered | Refused | Truncated | InvalidOutput | TransportError, Field(discriminator="kind")]
