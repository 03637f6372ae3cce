"""The critic on a config that is legal and odd: whatever stands in an entry, every other change is offered, and nothing raises."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rubric.drafting import Brief, Neighbour
from rubric.entries import Inventory
from rubric.precedents import answer, rank
from rubric.schema import Case
from tests.rubric.parcels import CATALOGUE, FILES, LATE, TWO, case, parcels

CUSTOMS = [
    case(
        "customs papers again, its own topic: call send_papers",
        leaf="parcel/other",
        text=f"customs papers {name} are missing",
        reply="we will read it.",
    )
    for name in ("one", "two", "three")
]
CASES = [
    case(
        'no trace, please. We must not say never "Bear with us.", compliance', reply=LATE, fetch=TWO, text="It came late, delayed and damaged. O-12"
    ),
    case("nothing happened, no open case, no security desk: it is locked", leaf="parcel/broken", reply="a new one leaves tomorrow.", text="O-12345"),
    case("the voucher code on the box was given", leaf="parcel/broken", reply="please tell us the voucher code on the box.", text="Voucher V-8812"),
    CUSTOMS[0],
    case("4 points is enough, wrong person", reply=LATE, fetch=[TWO[1]], corrected_reply="Dear Ann,\n\nyour parcel is on its way. Soon."),
]
NEIGHBOURS = [Neighbour(case_id=f"c{number}", case=one) for number, one in enumerate([*CUSTOMS[1:], *CASES[:2]], start=2)]


def places() -> Iterator[str]:
    """Every place of an entry and inside one."""

    def inside(value: Any, path: str) -> Iterator[str]:
        yield path
        for key, one in value.items() if isinstance(value, dict) else ():
            yield from inside(one, f"{path}.{key}")

    for name, text in FILES.items():
        for key, one in json.loads(text).items():
            yield from inside(one, f"{name}:{key}")


def look(inventory: Inventory, one: Case) -> None:
    brief = Brief(case_id="c1", case=one, inventory=inventory, rejected=NEIGHBOURS)
    rank(brief, CATALOGUE, [])
    answer(brief, CATALOGUE)


WORDS = st.text(max_size=12) | st.sampled_from(["name", "tools", "when", "x" * 200, "a b", "\ud800", "\x00", "{", "<NAME_1>"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300)
@given(st.sampled_from(sorted(places())), JSON, st.sampled_from(CASES))
def test_any_value_in_place_of_another_breaks_nobody(place: str, value: Any, one: Case) -> None:
    look(parcels({place: value}), one)


@pytest.mark.parametrize(
    "tools", [True, 3, "trace", {"name": "trace"}, None, [None], [["trace"]], [None, "trace", {"name": 3}, {"name": "file_note", "to": "\ud800"}]]
)
@pytest.mark.parametrize("place", ["p.json:parcel/late.default.tools", "p.json:parcel/broken.default.tools", "p.json:parcel/other.default.tools"])
def test_a_list_of_tools_that_is_none_or_holds_what_is_no_tool(place: str, tools: Any) -> None:
    for one in CASES:
        look(parcels({place: tools} if tools is not None else {place[:-6] + ".tools": None}), one)


def offered(place: str, value: Any, one: Case) -> set[str]:
    """recipe and target of what is offered"""
    brief = Brief(case_id="c1", case=one, inventory=parcels({place: value}), rejected=NEIGHBOURS)
    return {f"{offer.change.recipe} {offer.target}" for _, offer in rank(brief, CATALOGUE, [])}


def test_a_name_that_no_change_can_hold_costs_its_own_offer_and_no_other() -> None:
    """A branch in camel case before one that fits, and forms of which one is too long."""
    other = {"when": "flag gone", "template": "security.call", "tools": []}
    one = case("gone and locked customers go to the security desk", leaf="parcel/broken", reply="a new one leaves tomorrow.")
    assert "add_plan_branch plan:parcel/broken" in offered("p.json:parcel/late.aGone", {**other, "when": "flag a_gone"}, one)
    forms = ["x" * 200, "", "dashes"]
    assert "alter_extraction_field extraction:person.email" in offered("e.json:order.order_number.handles", forms, one)
    assert {"alter_plan_branch plan:parcel/broken.default"} <= offered("p.json:parcel/broken.default.tools", ["x" * 200, "replace"], one)
