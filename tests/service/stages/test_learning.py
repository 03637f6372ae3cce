"""What a decided pull teaches holds here: the fate goes to the hint and its duplicates, once, and only when there is one."""

import pytest

from service.lifecycle import PullState
from service.stages import learning
from service.store import examples
from tests.samples.world import World


def fates(world: World, *hint_ids: str) -> list[str]:
    with world.db.read() as session:
        return [found.fate for hint_id in hint_ids if (found := examples.get(session, hint_id))]


@pytest.mark.parametrize(("end", "fate"), [("merges", "merged"), ("closes", "closed")])
def test_the_end_of_a_pull_goes_to_its_hint_and_the_duplicates(world: World, end: str, fate: str) -> None:
    first, second, third = (world.rejects("email postcode", f"wrong person {number}") for number in range(3))
    one, two, other = (world.runs().hint_of(case).id for case in (first, second, third))
    world.confirms(one)
    world.marks_duplicate(two, of=one)
    world.dismisses(other, "one_off")
    pull = world.runs().pull_of(one)
    assert fates(world, one, two, other) == ["confirmed", "confirmed", "dismissed"]
    getattr(world, end)(pull.id)
    world.runs()
    assert fates(world, one, two, other) == [fate, fate, "dismissed"]
    learning.absorb(world.db, pull.id)
    assert fates(world, one, two, other) == [fate, fate, "dismissed"]


def test_a_pull_without_an_end_teaches_nothing_yet(world: World) -> None:
    case_id = world.rejects("email postcode", "wrong person")
    hint = world.runs().hint_of(case_id)
    world.confirms(hint.id)
    pull = world.runs().pull_of(hint.id)
    assert pull.state is PullState.ready
    learning.absorb(world.db, pull.id)
    learning.absorb(world.db, "nothing")
    assert fates(world, hint.id) == ["confirmed"]


def test_what_was_decided_is_what_the_next_critic_reads(world: World) -> None:
    case_id = world.rejects("email postcode", "wrong person")
    hint = world.runs().hint_of(case_id)
    world.confirms(hint.id)
    with world.db.read() as session:
        shown, example = examples.usable(session, "bank", 10), examples.get(session, hint.id)
    assert [one.hint_id for one in shown] == ([] if world.case(case_id).side == "held_out" else [hint.id])
    assert example and (example.recipe, example.step, example.target_id, example.edited, example.comment) == (
        "adjust_fetch_weight", "fetch", "fetch:postcode", False, "wrong person",
    )  # fmt: skip
    world.undoes(hint.id)
    with world.db.read() as session:
        assert examples.get(session, hint.id) is None
