"""Lists hold here: a page asks the database as often for many rows as for few."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event
from sqlmodel import Session

from connectors.scripted import ScriptedCritic
from rubric.drafting import Drafted
from service import grouping, reports
from tests.samples.small import weight_hint
from tests.samples.world import World


@contextmanager
def asked(world: World) -> Iterator[list[str]]:
    """Every statement that is sent to the database meanwhile: at least one, or nobody was listened to."""
    found: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        found.append(statement)

    engine = world.db._reader
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
        assert found
    finally:
        event.remove(engine, "before_cursor_execute", note)


def groups(world: World, sizes: list[int]) -> list[str]:
    """Groups of so many hints; their change hashes."""
    made = []
    for number, size in enumerate(sizes):
        world.with_ports(critic=ScriptedCritic(lambda brief, to=-number: Drafted(hints=[weight_hint(brief, to=to)])))
        cases = [world.rejects("email postcode", "wrong person", name=f"g{len(made)}-{number}-{place}") for place in range(size)]
        made.append(world.runs().hint_of(cases[0]).change_hash)
    return made


LISTS: dict[str, Callable[[Session], Any]] = {
    "groups": grouping.group_list,
    "queue": lambda session: reports.hint_list(session, reports.narrow("awaiting"), together=True),
    "each": lambda session: reports.hint_list(session, reports.narrow("awaiting")),
}


def cost(world: World, look: Callable[[Session], Any]) -> tuple[int, Any]:
    """How many statements a look takes, and what it shows."""
    with world.db.read() as session, asked(world) as found:
        answer = look(session)
    return len(found), answer


def test_no_list_loads_whole_cases(world: World) -> None:
    groups(world, [2])
    for look in LISTS.values():
        with world.db.read() as session, asked(world) as found:
            look(session)
        assert not any("cases.work" in statement for statement in found)


@pytest.mark.parametrize("name", LISTS)
def test_a_list_asks_as_often_for_many_as_for_few(world: World, name: str) -> None:
    groups(world, [2])
    few, first = cost(world, LISTS[name])
    groups(world, [5, 3, 4])
    many, then = cost(world, LISTS[name])
    assert len(then.rows) > len(first.rows) and many == few <= 5


def test_a_group_asks_as_often_for_many_members_as_for_few(world: World) -> None:
    (change,) = groups(world, [2])
    few, _ = cost(world, lambda session: grouping.group(session, change, ["bank"]))
    for place in range(9):
        world.rejects("email postcode", "wrong person", name=f"more{place}")
    world.runs()
    many, found = cost(world, lambda session: grouping.group(session, change, ["bank"]))
    assert len(found.members) == 11 and many == few
    assert {(one.case_name[:4], one.comment) for one in found.members[2:]} == {("more", "wrong person")}


def test_pulls_are_listed_with_their_gates_in_as_many_questions(world: World) -> None:
    counts = []
    for turn in range(2):
        world.with_ports(critic=ScriptedCritic(lambda brief, to=-10 * turn: Drafted(hints=[weight_hint(brief, to=to)])))
        for place in range(1 + turn):
            world.with_ports(critic=ScriptedCritic(lambda brief, to=-10 * turn - place: Drafted(hints=[weight_hint(brief, to=to)])))
            case_id = world.rejects("email postcode", "wrong person", name=f"p{turn}-{place}")
            world.confirms(world.runs().hint_of(case_id).id)
            world.runs()
        number, found = cost(world, reports.pull_list)
        counts.append(number)
        assert len(found.rows) == 1 + 2 * turn and {row["gate"] for row in found.rows} == {"pass"}
    assert counts[0] == counts[1] <= 4
