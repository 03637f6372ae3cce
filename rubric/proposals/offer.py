"""One candidate change with what speaks for it. One that cannot be written down is left out where it is made, and costs no other."""

from rubric.recipes import Change
from rubric.schema import Expectation, Step, Value


class Signal(Value):
    """One independent reason for a candidate."""

    name: str
    weight: float
    """adds to the candidate's score; 1.0 is as good as said outright"""


class Offer(Value):
    """A candidate: the change, where it goes, what it promises, and the signals for it."""

    step: Step
    target: str
    change: Change
    summary: str
    """our words only"""
    signals: list[Signal]
    quotes: list[tuple[str, str]] = []
    """(source, verbatim quote) that carry it"""
    must: list[Expectation] = []
    must_not: list[Expectation] = []
    instead: str = ""
    """what the plan does after the change, in our words"""
    together: str = ""
    """name of candidates that can be tried in one go, because they change different places; "" for one to be tried alone"""

    @property
    def score(self) -> float:
        return sum(signal.weight for signal in self.signals)


def signals(**weights: float) -> list[Signal]:
    """Signals by name; those without weight are left out."""
    return [Signal(name=name, weight=round(weight, 3)) for name, weight in weights.items() if weight]
