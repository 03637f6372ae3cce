"""Every cheat of the catalogue gets the very refusal that it has to get, and what is honest passes: a gate that refuses everything is none."""

import os
import shutil
from collections import Counter

import pytest

from tests.cheats.catalogue import cheats, honest
from tests.cheats.courts import COURTS, IN_A_BOX, hold
from tests.cheats.holes import HOLES, ROOT, plant

NO_BOX = shutil.which("bwrap") is None and os.environ.get("TRIAGE_TEST_REQUIRE_SANDBOX") != "1"
LEAST = 90
"""Cheats; the catalogue only grows."""
REFUSALS = [(name, court) for name, cheat in cheats().items() for court in cheat.refused]
OPEN = [
    pytest.param(name, court, marks=pytest.mark.xfail(strict=True, reason=why))
    for name, cheat in cheats().items()
    for court, why in cheat.open.items()
]
IN_THE_SUITE = ("no tree holds rows while suites run", "a missing row fails")
"""holes that are planted here; all of them are by `make proof-gate`"""


def sits(court: str) -> None:
    if court in IN_A_BOX and NO_BOX:
        pytest.skip("!!! bubblewrap is not installed !!!")


@pytest.mark.parametrize(("name", "court"), REFUSALS)
def test_a_cheat_is_refused_as_it_has_to_be(name: str, court: str) -> None:
    sits(court)
    told = hold(cheats()[name], court)
    assert told.is_as(cheats()[name].refused[court]), told


@pytest.mark.parametrize(("name", "court"), OPEN)
def test_what_is_known_to_get_through_one_court_still_does(name: str, court: str) -> None:
    """Strict: whoever closes it takes it off the cheat's `open`."""
    sits(court)
    told = hold(cheats()[name], court)
    assert not told.accepted, told


@pytest.mark.parametrize(("name", "court"), [(name, court) for name, one in honest().items() for court in one.passes])
def test_what_is_honest_passes(name: str, court: str) -> None:
    sits(court)
    told = hold(honest()[name], court)
    assert told.accepted, told


def test_the_harm_alone_is_refused() -> None:
    """Or no cheat would have anything to hide."""
    sits("gate")
    bare = honest()["config-change"].model_copy(update={"harm": True})
    assert "3 lost (passed on base, not on head)" in hold(bare, "gate").reasons


def test_the_catalogue_is_whole() -> None:
    assert len(cheats()) >= LEAST
    assert all(cheat.refused and not cheat.passes and cheat.what.endswith(".") for cheat in cheats().values())
    assert all(one.passes and not one.refused and not one.open and not one.harm for one in honest().values())
    assert {court for _, court in REFUSALS} == set(COURTS) == {court for one in honest().values() for court in one.passes}
    assert not set(cheats()) & set(honest())
    assert not [name for name, cheat in cheats().items() if set(cheat.open) & set(cheat.refused)], "a court refuses a cheat or does not"


@pytest.mark.parametrize("hole", [one for one in HOLES if one.guard in IN_THE_SUITE], ids=lambda one: one.guard)
def test_without_its_guard_a_cheat_gets_through(hole) -> None:
    if any(one.partition(":")[2] in IN_A_BOX for one in hole.lets):
        sits("gate")
    seen = plant(hole)
    assert seen.found, seen.why


def test_every_hole_fits_the_code_and_names_what_it_lets_through() -> None:
    assert len(HOLES) >= 40 and max(Counter(one.guard for one in HOLES).values()) == 1
    for one in HOLES:
        text = (ROOT / one.file).read_text(encoding="utf-8") if one.file else ""
        assert one.unboxed or one.swaps, one.guard
        assert all(text.count(old) == 1 for old, _ in one.swaps), f"{one.guard}: the code has changed; say anew how this guard is broken"
        for name, _, court in (pair.partition(":") for pair in one.lets):
            assert court in cheats()[name].refused, f"{one.guard}: {name} is not refused by {court} in the first place"
