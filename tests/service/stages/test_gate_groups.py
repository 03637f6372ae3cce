"""Deciding on a group holds here: one change, many rejections, all of it or nothing, and taken back whole."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from connectors.scripted import ScriptedCritic
from rubric.drafting import Drafted
from service import grouping, reports
from service.errors import GroupChanged, IllegalMove, NotConfirmable, NotFound, TriageError, Unprocessable
from service.lifecycle import HandoffState, ReviewState
from service.stages import editing, gate
from service.stages.gate import Choice
from service.store import examples, handoffs, hints, history, reviews
from tests.samples.small import weight_hint
from tests.samples.world import World


def members(world: World, number: int = 4) -> list[hints.HintRow]:
    """Rejections for which the critic drafts one and the same change, oldest first."""
    cases = []
    for place in range(number):
        cases.append(world.rejects("email postcode", f"wrong person {place}", name=f"m{place}"))
        if number < 10:
            world.runs()  # or all would be drafted at the same moment
    world.runs()
    found = sorted((world.hint_of(case_id) for case_id in cases), key=lambda row: (row.created_at, row.id))
    assert len({one.change_hash for one in found}) == 1
    return found


def decides(world: World, rows: list[hints.HintRow], leader: str | None = "", by: str = "gwen", **reasons: str) -> list[hints.HintRow]:
    """By default the first leads; `reasons` by hint id dismiss."""
    choices = [Choice(row.id, row.version, reasons.get(row.id)) for row in rows]
    first = rows[0].id if leader == "" else leader
    return gate.decide_group(world.db, world.ports, rows[0].change_hash, leader=first, choices=choices, by=by, seconds=30)


def states(world: World, rows: list[hints.HintRow]) -> list[str]:
    return [str(world.hint(row.id).state) for row in rows]


def traces(world: World) -> list[tuple[str, int]]:
    """Rows of everything that a decision writes."""
    with world.db.read() as session:
        connection = session.connection()
        return [
            (table, connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one())
            for table in ("reviews", "handoffs", "examples", "history", "asked")
        ]


def reviews_of(world: World, hint_id: str) -> list[reviews.Review]:
    with world.db.read() as session:
        return reviews.of_hint(session, hint_id)


def a_group(world: World, change_hash: str, **more: str) -> grouping.Group:
    with world.db.read() as session:
        return grouping.group(session, change_hash, ["bank"], **more)


def test_one_is_confirmed_and_the_others_join_it(world: World) -> None:
    rows = members(world)
    decides(world, rows, **{rows[3].id: "one_off"})
    assert states(world, rows) == ["confirmed", "duplicate", "duplicate", "dismissed"]
    assert {world.hint(row.id).duplicate_of for row in rows[1:3]} == {rows[0].id} and world.hint(rows[3].id).reason == "one_off"
    with world.db.read() as session:
        assert [len(handoffs.of_hint(session, row.id)) for row in rows] == [1, 0, 0, 0]
        assert [examples.get(session, row.id).fate for row in rows] == ["confirmed"] * 3 + ["dismissed"]  # type: ignore[union-attr]
    assert [[one.verdict for one in reviews_of(world, row.id)] for row in rows] == [["confirm"], ["duplicate"], ["duplicate"], ["dismiss"]]
    assert [reviews_of(world, row.id)[0].seconds for row in rows] == [30, None, None, None], "the expert's time is counted once"
    pull = world.runs().pull_of(rows[0].id)
    assert "cures 3 rejections" in pull.body
    with world.db.read() as session:
        about = reports.pull_item(session, pull.id)
    assert about.cures == 3 and about.duplicates == [row.id for row in sorted(rows[1:3], key=lambda row: row.id)]
    world.merges(pull.id)
    world.runs()
    assert [world.story(row.case_id)["outcome_of_fix"] for row in rows] == ["cured", "cured", "cured", None]


def test_a_group_may_be_dismissed_whole(world: World) -> None:
    rows = members(world, 2)
    decides(world, rows, leader=None, **{row.id: "wrong_hint" for row in rows})
    assert states(world, rows) == ["dismissed"] * 2


def test_what_is_not_named_stays(world: World) -> None:
    rows = members(world)
    decides(world, rows[:2])
    assert states(world, rows) == ["confirmed", "duplicate", "awaiting", "awaiting"]
    found = a_group(world, rows[0].change_hash)
    assert found.count == 2 and found.leader == rows[0].id and found.confirmed and found.confirmed.id == rows[0].id


def edits(world: World, row: hints.HintRow) -> None:
    editing.edit(world.db, world.ports, world.catalogue, row.id, version=row.version, by="tom", change={"summary": "other words"})


CHANGES: dict[str, Callable[[World, hints.HintRow], object]] = {
    "edited": edits,
    "dismissed": lambda world, row: world.dismisses(row.id, by="tom"),
    "confirmed": lambda world, row: world.confirms(row.id, by="tom"),
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("place", [0, 2])
def test_a_member_that_is_not_as_it_was_seen_is_named_and_nothing_happens(world: World, what: str, place: int) -> None:
    rows = members(world)
    CHANGES[what](world, rows[place])
    before, stood = traces(world), states(world, rows)
    with pytest.raises(GroupChanged, match=rows[place].id) as caught:
        decides(world, rows, **{rows[3].id: "one_off"})
    assert list(caught.value.details["changed"]) == [rows[place].id]  # type: ignore[call-overload]
    assert states(world, rows) == stood and traces(world) == before


def test_every_stale_member_is_named(world: World) -> None:
    rows = members(world)
    for row in rows[1:3]:
        edits(world, row)
    with pytest.raises(GroupChanged) as caught:
        decides(world, rows)
    assert set(caught.value.details["changed"]) == {row.id for row in rows[1:3]}  # type: ignore[call-overload]


def test_a_rule_that_breaks_late_takes_everything_back(world: World) -> None:
    """The reason of the last one is looked at when the others are written already."""
    rows = members(world)
    before = traces(world)
    with pytest.raises(Unprocessable, match="no reason to dismiss"):
        decides(world, rows, **{rows[3].id: "no such reason"})
    assert states(world, rows) == ["awaiting"] * 4 and traces(world) == before


def test_what_blocks_the_leader_blocks_all_of_it(world: World) -> None:
    world.with_ports(critic=ScriptedCritic(lambda brief: Drafted(hints=[weight_hint(brief, rules_invented=["always Ada"])])))
    rows = members(world, 3)
    with pytest.raises(NotConfirmable, match="invented_rule"):
        decides(world, rows)
    assert states(world, rows) == ["awaiting"] * 3
    assert a_group(world, rows[0].change_hash).leader is None


def test_the_leader_offered_is_the_oldest_that_nothing_blocks(world: World) -> None:
    made = iter([["always Ada"], [], []])
    world.with_ports(critic=ScriptedCritic(lambda brief: Drafted(hints=[weight_hint(brief, rules_invented=next(made))])))
    rows = members(world, 3)
    found = a_group(world, rows[0].change_hash)
    assert [one.id for one in found.members] == [row.id for row in rows] and found.leader == found.about.id == rows[1].id
    assert a_group(world, rows[0].change_hash, leader=rows[2].id).leader == rows[2].id
    assert a_group(world, rows[0].change_hash, leader=rows[0].id).leader == rows[1].id


def test_a_second_confirmed_twin_is_refused_however_many_there_are(world: World) -> None:
    rows = members(world, 25)
    world.confirms(rows[24].id)
    with pytest.raises(NotConfirmable, match=rows[24].id):
        decides(world, rows[:24])
    with pytest.raises(NotConfirmable, match=rows[24].id):
        world.confirms(rows[0].id)
    decides(world, rows[:24], leader=rows[24].id)
    assert states(world, rows) == ["duplicate"] * 24 + ["confirmed"]


def test_only_a_confirmed_hint_of_the_group_can_be_joined(world: World) -> None:
    rows = members(world, 3)
    with pytest.raises(Unprocessable, match="the one to confirm is left"):
        decides(world, rows[1:], leader=rows[0].id)
    world.confirms(rows[0].id)
    world.undoes(rows[0].id)
    with pytest.raises(GroupChanged, match="is awaiting"):  # seen as confirmed, it may be: somebody took it back
        decides(world, rows[1:], leader=rows[0].id)
    world.with_ports(critic=ScriptedCritic(lambda brief: Drafted(hints=[weight_hint(brief, to=2)])))
    other = drafted(world, "other")
    world.confirms(other.id)
    with pytest.raises(Unprocessable, match=other.id):
        decides(world, rows, leader=other.id)
    with pytest.raises(Unprocessable, match=other.id):
        gate.decide_group(
            world.db, world.ports, rows[0].change_hash, leader=other.id, choices=[Choice(other.id, 1), Choice(rows[0].id, 1)], by="gwen"
        )
    with pytest.raises(NotFound):
        decides(world, rows, leader="none")
    assert states(world, rows) == ["awaiting"] * 3


def drafted(world: World, name: str) -> hints.HintRow:
    case_id = world.rejects("email postcode", "again", name=name)
    return world.runs().hint_of(case_id)


def test_nonsense_is_refused(world: World) -> None:
    rows = members(world, 2)
    one, two = (Choice(row.id, row.version) for row in rows)
    no = Choice(rows[0].id, 1, "one_off")
    for leader, choices in (
        (None, [one]),
        (rows[0].id, []),
        (rows[0].id, [one, one]),
        (rows[0].id, [no]),
        (rows[0].id, [no, two]),
        (None, [one, no]),
    ):
        with pytest.raises(Unprocessable):
            gate.decide_group(world.db, world.ports, rows[0].change_hash, leader=leader, choices=choices, by="gwen")
    with pytest.raises(Unprocessable, match="not of the group"):
        gate.decide_group(world.db, world.ports, "0" * 32, leader=rows[0].id, choices=[one, two], by="gwen")
    with pytest.raises(Unprocessable, match="at most 200"):
        gate.decide_group(world.db, world.ports, "0" * 32, leader="h0", choices=[Choice(f"h{n}", 1) for n in range(201)], by="gwen")
    assert states(world, rows) == ["awaiting"] * 2


def test_a_double_click_is_one_decision(world: World) -> None:
    rows = members(world)
    decides(world, rows, **{rows[3].id: "one_off"})
    before = traces(world)
    decides(world, rows, **{rows[3].id: "one_off"})
    assert traces(world) == before
    with pytest.raises(GroupChanged, match="confirmed already"):
        decides(world, rows, by="tom")


def test_two_people_at_once_make_one_decision(world: World) -> None:
    for turn in range(2):
        world.with_ports(critic=ScriptedCritic(lambda brief, to=turn: Drafted(hints=[weight_hint(brief, to=to - 20)])))
        cases = [world.rejects("email postcode", "wrong", name=f"t{turn}-{place}") for place in range(6)]
        world.runs()
        rows = [world.hint_of(case_id) for case_id in cases]
        with world.db.begin() as session:
            for row in rows:
                found = hints.get(session, row.id)
                assert found
                found.findings = []
        answers = _at_once(
            lambda rows=rows: decides(world, rows, by="gwen"),  # type: ignore[misc]
            lambda rows=rows: decides(world, rows[::-1], by="tom"),  # type: ignore[misc]
            lambda rows=rows: gate.undo(world.db, rows[2].id, by="ada"),  # type: ignore[misc]
        )
        assert answers["group_changed"] == 1 and answers["done"] == 2, answers
        assert Counter(states(world, rows))["confirmed"] == 1
        with world.db.read() as session:
            assert sum(len(handoffs.of_hint(session, row.id)) for row in rows) == 1


def _at_once(*calls: Callable[[], object]) -> Counter[str]:
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> str:
        start.wait(30)
        try:
            call()
        except TriageError as error:
            return error.code
        return "done"

    with ThreadPoolExecutor(len(calls)) as pool:
        return Counter(pool.map(run, calls))


def test_undoing_the_confirmation_puts_the_whole_group_back(world: World) -> None:
    rows = members(world, 5)
    decides(world, rows[:4], **{rows[3].id: "one_off"})
    world.time += timedelta(minutes=1)
    decides(world, rows[4:], leader=rows[0].id, by="tom")
    world.undoes(rows[0].id, by="ada")
    assert states(world, rows) == ["awaiting", "awaiting", "awaiting", "dismissed", "awaiting"]
    assert world.handoff_of(rows[0].id).state is HandoffState.withdrawn
    assert all(world.hint(row.id).duplicate_of is None for row in rows)
    with world.db.read() as session:
        assert [examples.get(session, row.id) for row in (rows[0], rows[1], rows[4])] == [None] * 3
        assert history.of(session, "hints", rows[1].id)[-1].why == f"taken back with {rows[0].id}"
    assert [one.verdict for one in reviews_of(world, rows[4].id)] == ["duplicate", "undo"]
    found = a_group(world, rows[0].change_hash)
    assert found.count == 4 and found.confirmed is None and [one.id for one in found.dismissed] == [rows[3].id]
    decides(world, [world.hint(row.id) for row in (rows[1], rows[0], rows[2])])
    assert states(world, rows[:3]) == ["duplicate", "confirmed", "duplicate"]


def test_one_member_can_be_taken_back_alone(world: World) -> None:
    rows = members(world, 3)
    decides(world, rows)
    world.undoes(rows[1].id)
    assert states(world, rows) == ["confirmed", "awaiting", "duplicate"]
    assert "cures 2 rejections" in world.runs().pull_of(rows[0].id).body


def test_undo_after_work_has_begun_leaves_all_as_it_is(world: World) -> None:
    rows = members(world, 3)
    decides(world, rows)
    world.runs()
    with pytest.raises(IllegalMove, match="close the pull"):
        world.undoes(rows[0].id)
    assert states(world, rows) == ["confirmed", "duplicate", "duplicate"]


def test_undo_keeps_what_a_person_named_a_duplicate_before(world: World) -> None:
    rows = members(world, 3)
    world.marks_duplicate(rows[2].id, of=rows[0].id)
    world.time += timedelta(minutes=1)
    decides(world, rows[:2])
    world.undoes(rows[0].id)
    assert states(world, rows) == ["awaiting", "awaiting", "duplicate"]


def test_who_joins_brings_his_own_duplicates_along(world: World) -> None:
    """Only the duplicates of what is built are counted and followed up."""
    rows = members(world, 4)
    world.marks_duplicate(rows[3].id, of=rows[2].id)
    decides(world, rows[:3])
    assert [world.hint(row.id).duplicate_of for row in rows] == [None, rows[0].id, rows[0].id, rows[2].id]
    assert "cures 4 rejections" in world.runs().pull_of(rows[0].id).body


def test_lists_show_a_group_once_and_in_pages(world: World) -> None:
    rows = members(world, 3)
    world.with_ports(critic=ScriptedCritic(lambda brief: Drafted(hints=[weight_hint(brief, to=2)])))
    alone = drafted(world, "alone")
    world.with_ports(critic=ScriptedCritic(lambda brief: Drafted(hints=[weight_hint(brief, to=0)])))
    pairs = [drafted(world, "p1"), drafted(world, "p2")]
    with world.db.read() as session:
        whole = grouping.group_list(session)
        queue = reports.hint_list(session, reports.narrow("awaiting"), together=True)
        first = grouping.group_list(session, limit=1)
        second = grouping.group_list(session, first.after, 1)
    assert [(line.count, line.members) for line in whole.rows] == [(3, [row.id for row in rows]), (2, [row.id for row in pairs])]
    assert [(line.id, line.together) for line in queue.rows] == [(rows[0].id, 3), (alone.id, 1), (pairs[0].id, 2)]
    assert [first.rows[0].change_hash, second.rows[0].change_hash] == [rows[0].change_hash, pairs[0].change_hash] and second.after is None
    world.dismisses(rows[0].id)
    world.confirms(rows[1].id)
    with world.db.read() as session:
        assert [line.id for line in reports.hint_list(session, reports.narrow("awaiting"), together=True).rows] == [rows[2].id, alone.id, pairs[0].id]
        assert [line.change_hash for line in grouping.group_list(session).rows] == [pairs[0].change_hash]
        assert reports.hint_item(session, pairs[1].id).together == 2
    assert a_group(world, rows[0].change_hash).count == 1


def test_a_large_group_is_shown_in_pages_and_none_is_lost(world: World) -> None:
    rows = members(world, 53)
    first = a_group(world, rows[0].change_hash)
    assert first.count == 53 and len(first.members) == 50 and first.after
    rest = a_group(world, rows[0].change_hash, after=first.after)
    assert [one.id for one in (*first.members, *rest.members)] == [row.id for row in rows] and rest.after is None
    assert rest.leader == rows[50].id
    decides(world, rows[:50])
    assert Counter(states(world, rows)) == {ReviewState.duplicate: 49, ReviewState.awaiting: 3, ReviewState.confirmed: 1}
    after = a_group(world, rows[0].change_hash)
    assert after.count == 3 and after.leader == rows[0].id


def test_a_change_that_nobody_knows_is_not_found(world: World) -> None:
    with pytest.raises(NotFound):
        a_group(world, "nothing")
