"""Made-up decisions: comments as reviewers write them, varied, of common and of rare words, the same for the same seed."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rubric.catalogue import RECIPES
from service.store.examples import Example

OPENINGS = (
    "wrong", "this is wrong", "no", "please", "the reply says", "why", "should be", "must be", "not right", "it should", "we never", "again",
    "the customer asked", "das ist falsch", "bitte", "hier fehlt", "der Kunde wollte", "sollte",
)  # fmt: skip
COMMON = [
    "the",
    "a",
    "is",
    "of",
    "to",
    "and",
    "in",
    "for",
    "with",
    "not",
    "customer",
    "account",
    "record",
    "reply",
    "field",
    "intent",
    "template",
    "address",
    "postcode",
    "email",
    "phone",
    "name",
    "card",
    "payment",
    "transfer",
    "fee",
    "limit",
    "order",
    "number",
    "date",
    "branch",
    "balance",
    "loan",
    "contract",
    "statement",
    "login",
    "password",
    "form",
    "letter",
    "policy",
    "refund",
    "charge",
    "currency",
    "lost",
    "blocked",
    "new",
    "old",
    "first",
    "second",
    "other",
    "same",
    "wrong",
    "right",
    "missing",
    "different",
    "should",
    "must",
    "weight",
    "score",
    "match",
    "tie",
    "picked",
    "chosen",
    "sent",
    "asked",
    "wrote",
    "der",
    "die",
    "das",
    "nicht",
    "Konto",
    "Kunde",
    "Karte",
]
SYLLABLES = [f"{consonant}{vowel}" for consonant in "bdfgklmnprstv" for vowel in "aeio"]
RARE = 20_000
"""different rare words; the lower their number, the more often they come"""
FIRST = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Ground:
    """What a target has: decisions are about that."""

    target: str
    leaves: Sequence[str]
    places: Sequence[str]


def decisions(number: int, ground: Ground, seed: int = 7) -> Iterator[Example]:
    """So many decided cases, oldest first, none of them held out."""
    chance = random.Random(seed)
    recipes = sorted(RECIPES)
    for place in range(number):
        target_id = chance.choice(ground.places)
        yield Example(
            hint_id=f"h{place:08d}", case_id=f"c{place:08d}", target=ground.target, side="dev", comment=comment(chance),
            leaf=chance.choice(ground.leaves), step=target_id.partition(":")[0], recipe=chance.choice(recipes), target_id=target_id, edited=False,
            at=FIRST + timedelta(minutes=place),
        )  # fmt: skip


def comment(chance: random.Random) -> str:
    """Six to thirty words, one in four of them rare."""
    words = [chance.choice(OPENINGS)]
    for _ in range(chance.randint(5, 28)):
        words.append(_rare(chance) if chance.random() < 0.25 else chance.choice(COMMON))
    return " ".join(words)


def _rare(chance: random.Random) -> str:
    place = int(RARE * chance.random() ** 3)
    word = ""
    while place or not word:
        place, digit = divmod(place, len(SYLLABLES))
        word += SYLLABLES[digit]
    return f"{word}n"
