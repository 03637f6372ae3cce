"""Places that are too many for one question are asked for by part: every place lies in exactly one, and no part is too large."""

from hypothesis import given, settings
from hypothesis import strategies as st

from rubric.asks import MOST_IDS, in_part, parts_of
from rubric.choosing.kinds import Place


def places(*names: str) -> list[Place]:
    return [Place(name, "") for name in names]


def found(some: list[Place]) -> list[str]:
    """Ids of all parts' places, after a look that no question would be too long."""
    parts = parts_of(some)
    inside = [in_part(some, part.id) for part in parts]
    assert 0 < len(parts) <= MOST_IDS and all(0 < len(one) <= MOST_IDS for one in inside)
    assert [part.shown for part in parts] == [f"{len(one)} places" for one in inside]
    return sorted(place.id for one in inside for place in one)


def test_parts_are_named_by_how_their_ids_begin() -> None:
    some = places(*(f"plan:{parent}/leaf_{number}" for parent in ("cards", "loans") for number in range(150)))
    assert [part.id for part in parts_of(some)] == ["plan:cards", "plan:loans"] and len(in_part(some, "plan:loans")) == 150
    assert in_part(some, "plan:nobody") == []


def test_a_part_that_is_too_large_is_cut_again() -> None:
    some = places(*(f"plan:cards/leaf_{number:04}" for number in range(450)), "plan:loans/late")
    assert [part.id for part in parts_of(some)] == [
        "plan:cards/leaf_0000 to plan:cards/leaf_0199", "plan:cards/leaf_0200 to plan:cards/leaf_0399",
        "plan:cards/leaf_0400 to plan:cards/leaf_0449", "plan:loans",
    ]  # fmt: skip
    assert found(some) == [place.id for place in some]


def test_more_parts_than_a_question_lists_are_put_together() -> None:
    some = places(*(f"plan:parent_{number:04}/leaf" for number in range(900)))
    assert len(parts_of(some)) == 5 and found(some) == [place.id for place in some]


@given(
    sizes=st.lists(st.integers(1, 700), min_size=1, max_size=12), singles=st.integers(0, 600), separator=st.sampled_from(["/", ".", "-"])
)  # fmt: skip
@settings(max_examples=60)
def test_no_place_is_lost(sizes: list[int], singles: int, separator: str) -> None:
    names = [f"plan:p{number}{separator}{leaf}" for number, size in enumerate(sizes) for leaf in range(size)]
    some = places(*names, *(f"plan:s{number}{separator}x" for number in range(singles)))
    assert found(some) == sorted(place.id for place in some)
