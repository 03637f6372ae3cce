"""What a critic is asked and what it may answer: briefs, drafts and abstentions."""

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


class Neighbour(Value):
    """Another case of the same target, redacted, that a critic may compare with."""

    case_id: str
    case: Case


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
