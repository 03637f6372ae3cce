"""Things of a target are found by step and words, whatever layout its files have."""

from rubric.entries import Inventory
from rubric.inventory import find, under
from rubric.schema import Step
from tests.rubric.bank import BANK, entry

TWINS = Inventory(
    entries={
        one.id: one for one in (entry("plan:a.l", "p/l x", 1), entry("plan:b.l", "p l x", 2), entry("reply:t", "p l", 3), entry("fetch:all", "", 4))
    }
)


def ids(entries: list) -> list[str]:  # type: ignore[type-arg]
    return [one.id for one in entries]


def test_entries_of_a_step_in_their_order() -> None:
    assert ids(BANK.of(Step.fetch)) == [name for name in BANK.entries if name.startswith("fetch:")]
    assert BANK.of(Step.fallback) == []


def test_an_entry_is_found_by_its_words_alone() -> None:
    found = find(BANK, Step.intent, ["access", "locked"])
    assert found is not None and found.id == "intent:access.leaves.locked"
    assert find(BANK, Step.plan, ["access", "locked"]) is BANK.entries["plan:access/locked"]  # a slash is a word's end too
    assert find(BANK, Step.reply, ["access", "locked"]) is None and find(BANK, Step.intent, ["access"]) is None


def test_of_two_with_the_same_words_the_first_is_meant() -> None:
    found = TWINS.named(Step.plan, ("p", "l", "x"))
    assert found is not None and found.id == "plan:a.l"


def test_what_stands_one_word_below() -> None:
    assert ids(under(BANK, Step.plan, ["access", "locked"])) == ["plan:access/locked.default"]
    assert ids(TWINS.below(Step.plan, ("p", "l"))) == ["plan:a.l", "plan:b.l"]
    assert TWINS.below(Step.plan, ("p",)) == [] and TWINS.below(Step.fetch, ()) == []  # one without wildcards is below nothing
    assert ids(under(BANK, Step.intent, ["cards"])) == ["intent:cards.leaves.lost", "intent:cards.leaves.fraud", "intent:cards.leaves.other"]
