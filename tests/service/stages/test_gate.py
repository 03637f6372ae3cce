"""The human decision holds here: bound to the text that was seen, made once, and taken back only while nothing has begun."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from connectors.ports import TreeRun
from connectors.scripted import ScriptedAgent, ScriptedCritic
from rubric.drafting import Drafted
from service.errors import IllegalMove, NotConfirmable, NotFound, StaleVersion, TriageError, Unprocessable
from service.lifecycle import HandoffState, ReviewState
from service.stages import editing, gate, handoff
from service.store import examples, handoffs, hints, history, reviews
from tests.samples.small import weight_hint
from tests.samples.world import World


@pytest.fixture
def hint(world: World) -> hints.HintRow:
    case_id = world.rejects("email postcode", "wrong person")
    return world.runs().hint_of(case_id)


def edit(world: World, hint: hints.HintRow, version: int = 1, by: str = "gwen", **change: object) -> hints.HintRow:
    return editing.edit(world.db, world.ports, world.catalogue, hint.id, version=version, by=by, change=change)


def decisions(world: World, hint: hints.HintRow) -> list[tuple[str, int, str]]:
    with world.db.read() as session:
        return [(one.verdict, one.hint_version, one.by) for one in reviews.of_hint(session, hint.id)]


def test_a_confirmation_is_bound_to_the_bytes_and_starts_after_the_undo_window(world: World, hint: hints.HintRow) -> None:
    row = world.confirms(hint.id)
    handoff = world.handoff_of(hint.id)
    assert (row.state, row.decided_by) == (ReviewState.confirmed, "gwen")
    assert (handoff.state, handoff.hint_hash) == (HandoffState.waiting, hints.content_hash(hint.current))
    assert handoff.due_at == world.time + timedelta(seconds=10)
    assert [(flow, thing, delay) for _, flow, thing, delay in world.asked.all(world.db) if flow == "handoff"] == [("handoff", handoff.id, 10)]
    with world.db.read() as session:
        (review,) = reviews.of_hint(session, hint.id)
        assert (review.seq, review.text, review.hint_hash) == (handoff.review_seq, hint.current, hint.content_hash)


def test_a_double_click_is_one_decision(world: World, hint: hints.HintRow) -> None:
    for _ in range(3):
        assert world.confirms(hint.id).state is ReviewState.confirmed
    assert decisions(world, hint) == [("confirm", 1, "gwen")]
    with world.db.read() as session:
        assert len(handoffs.of_hint(session, hint.id)) == 1


def test_a_second_person_is_told_who_was_faster(world: World, hint: hints.HintRow) -> None:
    world.confirms(hint.id, by="gwen")
    with pytest.raises(IllegalMove) as caught:
        world.dismisses(hint.id, by="tom")
    assert caught.value.details["decided_by"] == "gwen" and caught.value.details["decided_at"]
    with pytest.raises(IllegalMove):
        world.confirms(hint.id, by="tom")


def test_who_saw_an_older_version_decides_nothing(world: World, hint: hints.HintRow) -> None:
    edit(world, hint, summary="clearer")
    for decide in (
        lambda: gate.confirm(world.db, world.ports, hint.id, version=1, by="tom"),
        lambda: gate.dismiss(world.db, hint.id, version=1, by="tom", reason="one_off"),
        lambda: edit(world, hint, version=1, by="tom", summary="mine"),
    ):
        with pytest.raises(StaleVersion) as caught:
            decide()
        assert caught.value.details["version"] == 2
    assert world.hint(hint.id).state is ReviewState.awaiting


def at_once(*calls: Callable[[], object]) -> Counter[str]:
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


def test_two_people_at_once_make_one_decision(world: World) -> None:
    for number in range(6):
        hint = _next(world, number)
        gwen, tom = (lambda by=by, hint=hint: world.dismisses(hint.id, by=by) for by in ("gwen", "tom"))  # type: ignore[misc]
        answers = at_once(gwen, tom)
        assert answers == {"done": 1, "illegal_move": 1}
        assert len(decisions(world, hint)) == 1


def _next(world: World, number: int) -> hints.HintRow:
    case_id = world.rejects("email postcode", "wrong person", name=f"x{number}")
    return world.runs().hint_of(case_id)


def test_two_edits_at_once_lose_neither_unsaid(world: World, hint: hints.HintRow) -> None:
    """Last write wins would throw one person's words away without a word."""
    for version in range(1, 6):
        answers = at_once(
            lambda version=version: edit(world, hint, version, "gwen", summary=f"gwen {version}"),  # type: ignore[misc]
            lambda version=version: edit(world, hint, version, "tom", summary=f"tom {version}"),  # type: ignore[misc]
        )
        assert answers == {"done": 1, "stale_version": 1}
        assert world.hint(hint.id).version == version + 1


def test_twins_confirmed_at_once_are_confirmed_once(world: World) -> None:
    """Two hints with one change: two pulls for the same edit would fight over the base branch."""
    for number in range(6):
        world.with_ports(critic=ScriptedCritic(lambda brief, to=number: Drafted(hints=[weight_hint(brief, to=to - 20)])))
        one, two = (_next(world, 10 * number + place) for place in (1, 2))
        with world.db.begin() as session:  # drafted at the same moment: neither knew of the other
            for hint_id in (one.id, two.id):
                row = hints.get(session, hint_id)
                assert row
                row.findings = []
        assert at_once(lambda one=one: world.confirms(one.id), lambda two=two: world.confirms(two.id)) == {"done": 1, "not_confirmable": 1}  # type: ignore[misc]


def test_a_blocking_finding_stands_against_confirming(world: World) -> None:
    world.with_ports(critic=ScriptedCritic(lambda brief: Drafted(hints=[weight_hint(brief, rules_invented=["always Ada"])])))
    hint = _next(world, 1)
    with pytest.raises(NotConfirmable, match="invented_rule"):
        world.confirms(hint.id)
    assert decisions(world, hint) == [] and world.asked.flows(world.db).count(("handoff", hint.id)) == 0


def test_an_edit_is_linted_again_and_binds_the_new_text(world: World, hint: hints.HintRow) -> None:
    wrong = edit(world, hint, change={"to": 2})
    assert "scores_wrong" in {finding["code"] for finding in wrong.findings}
    right = edit(world, hint, version=2, change={"to": 2, "scores": {"rec_a": [3, 3], "rec_b": [5, 2]}})
    assert [finding for finding in right.findings if finding["blocks"]] == []
    assert (right.version, right.draft) == (3, hint.draft) and right.change_hash != hint.change_hash
    world.confirms(hint.id)
    assert world.handoff_of(hint.id).hint_hash == hints.content_hash(right.current) != hint.content_hash


def test_an_edit_of_nothing_is_no_new_version_and_nonsense_is_refused(world: World, hint: hints.HintRow) -> None:
    assert edit(world, hint, summary=hint.current["summary"]).version == 1
    for change in ({"evidence": []}, {"cure_case": "c"}, {"change": {"to": "many"}}, {"change": {"recipe": "nonsense"}}):
        with pytest.raises(Unprocessable):
            edit(world, hint, **change)
    world.dismisses(hint.id)
    with pytest.raises(IllegalMove):
        edit(world, hint, summary="too late")


def test_dismissing_needs_a_reason_of_the_list_and_teaches(world: World, hint: hints.HintRow) -> None:
    with pytest.raises(Unprocessable):
        world.dismisses(hint.id, "no reason")
    world.dismisses(hint.id, "customer_wrong")
    with world.db.read() as session:
        example = examples.get(session, hint.id)
        assert example and (example.recipe, example.fate) == ("not_a_defect", "dismissed")


def test_a_bad_hint_for_a_good_complaint_teaches_nothing(world: World, hint: hints.HintRow) -> None:
    world.dismisses(hint.id, "wrong_hint")
    with world.db.read() as session:
        assert examples.get(session, hint.id) is None


def test_a_duplicate_names_another_hint_that_is_none_itself(world: World, hint: hints.HintRow) -> None:
    second, third = _next(world, 2), _next(world, 3)
    for of in (hint.id, "nothing"):
        with pytest.raises(Unprocessable):
            world.marks_duplicate(hint.id, of=of)
    assert world.marks_duplicate(second.id, of=hint.id).duplicate_of == hint.id
    with pytest.raises(Unprocessable, match="duplicate itself"):
        world.marks_duplicate(third.id, of=second.id)


def test_undo_takes_everything_back_while_the_window_is_open(world: World, hint: hints.HintRow) -> None:
    world.confirms(hint.id)
    row = world.undoes(hint.id)
    assert (row.state, row.decided_by) == (ReviewState.awaiting, None)
    assert world.handoff_of(hint.id).state is HandoffState.withdrawn
    with world.db.read() as session:
        assert examples.get(session, hint.id) is None
    assert world.undoes(hint.id).state is ReviewState.awaiting
    world.runs()  # the flow that was enqueued finds nothing to do
    assert world.jobs() == []
    world.confirms(hint.id)  # and the mind can be changed again
    assert world.runs().pull_of(hint.id).branch.startswith("triage/")
    assert [verdict for verdict, _, _ in decisions(world, hint)] == ["confirm", "undo", "confirm"]


def test_after_work_has_begun_there_is_no_undo(world: World, hint: hints.HintRow) -> None:
    world.confirms(hint.id)
    world.runs()
    with pytest.raises(IllegalMove, match="close the pull"):
        world.undoes(hint.id)
    assert world.hint(hint.id).state is ReviewState.confirmed and len(decisions(world, hint)) == 1


def test_a_hint_that_is_not_there_is_not_found(world: World) -> None:
    for decide in (lambda: gate.undo(world.db, "h", by="x"), lambda: gate.confirm(world.db, world.ports, "h", version=1, by="x")):
        with pytest.raises(NotFound):
            decide()


def test_every_decision_has_its_move_in_the_history(world: World, hint: hints.HintRow) -> None:
    world.dismisses(hint.id, by="gwen")
    world.undoes(hint.id, by="tom")
    with world.db.read() as session:
        found = [(move.state_to, move.by, move.why) for move in history.of(session, "hints", hint.id)]
    assert found == [("awaiting", "scripted-1", ""), ("dismissed", "gwen", "one_off"), ("awaiting", "tom", "taken back")]


def test_what_was_confirmed_meanwhile_stands_against_the_opposite(world: World) -> None:
    """Neither knew of the other when it was drafted; the second confirmation looks, and saving shows both."""
    down, up = world.drafts_untried(1, "down"), world.drafts_untried(9, "up")
    assert up.findings == [finding for finding in up.findings if not finding["blocks"]]
    world.confirms(down.id)
    with pytest.raises(NotConfirmable, match="opposite") as caught:
        world.confirms(up.id)
    assert caught.value.details["conflict"] == down.id and world.hint(up.id).state is ReviewState.awaiting
    assert [finding["code"] for finding in edit(world, up).findings if finding["blocks"]] == ["conflicts_with_rule"]
    world.undoes(down.id)
    assert [finding for finding in edit(world, up).findings if finding["blocks"]] == []
    world.confirms(up.id)


def test_what_came_to_nothing_stands_against_nothing_and_stays_so_once_the_opposite_is_built(world: World) -> None:
    down, up = world.drafts_untried(1, "down"), world.drafts_untried(9, "up")
    codemod = world.ports.agent
    world.confirms(down.id)
    world.with_ports(agent=ScriptedAgent(lambda job, tree: TreeRun("gave_up", "was_differs"))).runs()
    tried = world.handoff_of(down.id)
    assert tried.state is HandoffState.gave_up
    world.with_ports(agent=codemod).confirms(up.id)
    with pytest.raises(IllegalMove, match="opposite") as caught:
        handoff.retry(world.db, tried.id, by="tom")
    assert caught.value.details["conflict"] == up.id and world.handoff_of(down.id).state is HandoffState.gave_up
    world.undoes(up.id)
    assert handoff.retry(world.db, tried.id, by="tom").state is HandoffState.working


def test_nobody_joins_a_hint_from_which_nothing_comes(world: World) -> None:
    first, early, late = (world.drafts_untried(1, name) for name in ("first", "early", "late"))
    world.marks_duplicate(early.id, of=first.id)
    world.confirms(first.id)
    world.runs()
    world.closes(world.pull_of(first.id).id)
    with pytest.raises(Unprocessable, match="nothing is built"):
        world.marks_duplicate(late.id, of=first.id)
    assert world.hint(late.id).state is ReviewState.awaiting
    assert world.marks_duplicate(early.id, of=first.id).duplicate_of == first.id, "the same decision again passes through"


def test_an_edit_that_goes_along_with_the_rule_takes_the_conflict_away(world: World) -> None:
    down = world.drafts_untried(1, "down")
    world.confirms(down.id)
    up = world.drafts_untried(9, "up")
    with pytest.raises(NotConfirmable, match="conflicts_with_rule"):
        world.confirms(up.id)
    scores = {"rec_a": [3, 3], "rec_b": [5, 4]}
    assert not [finding for finding in edit(world, up, change={"to": 4, "scores": scores}).findings if finding["blocks"]]
    world.confirms(up.id)


def test_opposites_confirmed_at_once_are_confirmed_once(world: World) -> None:
    for number in range(4):
        down, up = world.drafts_untried(1 - number, f"down-{number}"), world.drafts_untried(9 + number, f"up-{number}")
        assert at_once(lambda down=down: world.confirms(down.id), lambda up=up: world.confirms(up.id)) == {"done": 1, "not_confirmable": 1}  # type: ignore[misc]
        for hint in (down, up):
            if world.hint(hint.id).state is ReviewState.confirmed:
                world.undoes(hint.id)
