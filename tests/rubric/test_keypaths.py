"""Differences of documents are named by their keys, and what was asked for is told from what was done beyond it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubric.keypaths import MISSING, ORDER, Apart, Move, apart, moves, same, tally, texts_of

BASE = {"weights": {"email": 3, "name": 1}, "tools": ["a", "b"], "plan": {"lost": {"when": "x"}, "otherwise": {"when": "y"}}}


def changed(**parts: Any) -> dict[str, Any]:
    return {**BASE, **parts}


@pytest.mark.parametrize(
    ("wanted", "found", "places"),
    [
        (changed(weights={"email": 5, "name": 1}), BASE, [(("weights", "email"), True, False)]),
        (BASE, changed(weights={"email": 5, "name": 1}), [(("weights", "email"), False, True)]),
        (changed(weights={"email": 5, "name": 1}), changed(weights={"email": 7, "name": 1}), [(("weights", "email"), True, True)]),
        (changed(weights={"email": 5, "name": 1}), changed(weights={"email": "5", "name": 1}), [(("weights", "email"), True, True)]),
        (changed(new={"a": 1}), BASE, [(("new",), True, False)]),
        (BASE, changed(new={"a": 1}), [(("new",), False, True)]),
        (BASE, {key: BASE[key] for key in ("weights", "tools")}, [(("plan",), False, True)]),
        ({key: BASE[key] for key in ("weights", "tools")}, BASE, [(("plan",), True, False)]),
        (BASE, {key: BASE[key] for key in ("tools", "weights", "plan")}, [((ORDER,), False, True)]),
        ({key: BASE[key] for key in ("tools", "weights", "plan")}, BASE, [((ORDER,), True, False)]),
        (changed(tools=["a", "b", "c"]), BASE, [(("tools",), True, False)]),
        (BASE, changed(tools=["a", "b", "c"]), [(("tools",), False, True)]),
        (changed(tools=["a", "b", "c"]), changed(tools=["a", "b", "c", "d"]), [(("tools",), False, True)]),
        (changed(tools=["a"]), changed(tools=["a", "b"]), [(("tools",), True, False)]),
        (changed(tools=["a", "b", "c"]), changed(tools=["a", "b", "d"]), [(("tools", "2"), True, True)]),
        (BASE, changed(tools=["a", "x"]), [(("tools", "1"), False, True)]),
        (BASE, changed(tools={"a": 1}), [(("tools",), False, True)]),
        (BASE, BASE, []),
    ],
)
def test_what_is_undone_and_what_is_beyond(wanted: Any, found: Any, places: list[tuple[tuple[str, ...], bool, bool]]) -> None:
    assert list(apart(BASE, wanted, found)) == [Apart(*place) for place in places]


def test_lines_are_told_apart_wherever_they_stand() -> None:
    assert tally("abc", "abcd", "dcba") == (0, 0)
    assert tally("abc", "abcd", "abc") == (1, 0)
    assert tally("abc", "ab", "abc") == (1, 0)
    assert tally("abc", "abc", "ab") == (0, 1)
    assert tally("abc", "abd", "abe") == (1, 1)


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (1, True), (1, "1"), (None, MISSING), ({"a": 1, "b": 2}, {"b": 2, "a": 1}), ([], {})])
def test_values_of_two_kinds_are_not_the_same(one: Any, other: Any) -> None:
    assert not same(one, other) and same(one, one)


def test_moves_go_down_to_plain_values_and_items() -> None:
    new = {"weights": {"email": 5}, "tools": ["b", "c"], "plan": {"otherwise": {"when": "y"}, "lost": {"when": "x"}, "new": {"when": "z"}}}
    assert list(moves(BASE, new)) == [
        Move(("weights", "email"), 3, 5),
        Move(("weights", "name"), 1, MISSING),
        Move(("tools",), ["a"], ["c"]),
        Move(("plan", "new", "when"), MISSING, "z"),
        Move(("plan", ORDER), MISSING, MISSING),
    ]
    assert list(moves({"a": [1, 2]}, {"a": [2, 1]})) == [Move(("a", ORDER), MISSING, MISSING)]
    assert list(moves({"a": 1}, {"a": {"b": 2}})) == [Move(("a",), 1, MISSING), Move(("a", "b"), MISSING, 2)]
    assert list(moves(MISSING, {"a": {}})) == [Move(("a",), MISSING, {})]


def test_texts_of_a_document() -> None:
    assert list(texts_of({"a": [1, True, {"b": "x"}]})) == ["a", "1", "true", "b", "x"] and list(texts_of(MISSING)) == []


documents = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from("ab"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=8,
)


@given(documents, documents, documents)
def test_nothing_is_apart_exactly_when_all_is_as_wanted(base: Any, wanted: Any, found: Any) -> None:
    places = list(apart(base, wanted, found))
    assert bool(places) is not same(wanted, found)
    assert all(place.undone or place.beyond for place in places)
    assert not any(place.beyond for place in apart(base, wanted, base)) and not any(place.undone for place in apart(base, base, found))
    assert bool(list(moves(base, found))) is not same(base, found)
