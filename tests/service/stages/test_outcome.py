"""What becomes of a pull holds here: it lands only with a pass on exactly these commits, and what happened is seen again afterwards."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from connectors.ports import PortError
from connectors.scripted import ScriptedCritic, ScriptedEvals
from rubric.drafting import Drafted
from service.errors import IllegalMove, NotFound, Unprocessable
from service.lifecycle import OutcomeState, PullState
from service.stages import critic, handoff, intake, outcome
from service.store import examples, gate_runs, hints, history, outcomes, pulls
from tests.samples.small import Killed, plan_of, small_evals, weight_hint
from tests.samples.world import World


@pytest.fixture
def pull(world: World) -> Iterator[pulls.Pull]:
    """A ready pull."""
    case_id = world.rejects("email postcode", "wrong person")
    hint = world.runs().hint_of(case_id)
    world.confirms(hint.id)
    pull = world.runs().pull_of(hint.id)
    assert pull.state is PullState.ready
    yield pull


def fates(world: World, pull_id: str) -> list[OutcomeState]:
    with world.db.read() as session:
        return [row.state for row in outcomes.of_pull(session, pull_id)]


def weights(world: World) -> dict[str, int]:
    return json.loads(world.host.read(world.host.head(), "config/fetch.json") or b"")["weights"]  # type: ignore[no-any-return]


def test_a_ready_pull_lands_when_a_person_asks(world: World, pull: pulls.Pull) -> None:
    assert weights(world) == {"email": 3, "postcode": 5}
    assert world.merges(pull.id, by="tom").state is PullState.landing
    world.runs()
    merged = world.pull(pull.id)
    assert (merged.state, merged.merged_sha, merged.asked_by) == (PullState.merged, pull.head_sha, "tom")
    assert world.host.head() == pull.head_sha and weights(world) == {"email": 3, "postcode": 1}
    assert fates(world, pull.id) == [OutcomeState.cured]


def test_only_a_ready_pull_can_be_asked_for_and_asking_twice_is_asking_once(world: World, pull: pulls.Pull) -> None:
    world.merges(pull.id)
    world.merges(pull.id)
    world.runs()
    assert world.merges(pull.id).state is PullState.merged
    assert world.moves("pulls", pull.id) == ["draft", "ready", "landing", "merged"]
    with pytest.raises(NotFound):
        world.merges("p")


def test_a_draft_is_not_merged_whoever_asks(world: World) -> None:
    world.with_ports(evals=small_evals(**{"fetch-golden": "timeout"}))
    case_id = world.rejects("email postcode", "wrong person")
    hint = world.runs().hint_of(case_id)
    world.confirms(hint.id)
    pull = world.runs().pull_of(hint.id)
    with pytest.raises(IllegalMove):
        world.merges(pull.id)
    assert weights(world) == {"email": 3, "postcode": 5}


@pytest.mark.parametrize("tampering", ["no pass", "another head", "another base", "no run"])
def test_nothing_lands_without_a_pass_on_exactly_these_commits(world: World, pull: pulls.Pull, tampering: str) -> None:
    """P20: a verdict belongs to a pair of commits; the pull's word that it is ready is not enough."""
    before = world.host.head()
    world.merges(pull.id)
    with world.db.begin() as session:
        (run,) = gate_runs.of_pull(session, pull.id)
        if tampering == "no run":
            session.delete(run)
        elif tampering == "no pass":
            run.report, run.state = {}, type(run.state).failed
        else:
            setattr(run, "head_sha" if tampering == "another head" else "base_sha", "0" * 40)
    assert outcome.land(world.db, world.ports, pull.id) in ("behind", "stopped")
    assert world.host.head() == before and world.pull(pull.id).state is not PullState.merged


def test_a_pull_behind_the_base_is_built_again_and_gated_again(world: World, pull: pulls.Pull) -> None:
    moved = world.host.pushes({"README.md": b"news\n"})  # type: ignore[attr-defined]
    world.merges(pull.id)
    world.runs()
    merged = world.pull(pull.id)
    assert merged.state is PullState.merged and merged.base_sha == moved and merged.branch.endswith("-2")
    assert world.host.read(world.host.head(), "README.md") == b"news\n" and weights(world)["postcode"] == 1
    with world.db.read() as session:
        assert [(run.base_sha, run.head_sha) for run in gate_runs.of_pull(session, pull.id)] == [
            (pull.base_sha, pull.head_sha), (moved, merged.head_sha),
        ]  # fmt: skip


def test_a_rebuild_whose_end_was_lost_is_not_made_again(world: World, pull: pulls.Pull) -> None:
    """The crash between writing the new branch down and the flow's note that the step is done."""
    world.host.pushes({"README.md": b"news\n"})  # type: ignore[attr-defined]
    world.merges(pull.id)
    assert handoff.rebuild(world.db, world.ports, world.catalogue, pull.id) is None
    once, jobs = world.pull(pull.id), len(world.jobs())
    assert handoff.rebuild(world.db, world.ports, world.catalogue, pull.id) is None
    assert world.pull(pull.id) == once and once.branch.endswith("-2")
    assert (len(world.host.branches), len(world.jobs())) == (2, jobs)  # type: ignore[attr-defined]
    assert world.runs().pull(pull.id).state is PullState.merged


def test_a_change_that_does_not_fit_any_more_goes_back_to_the_person(world: World, pull: pulls.Pull) -> None:
    world.host.pushes({"config/fetch.json": b'{"weights": {"email": 3, "postcode": 4}}\n'})  # type: ignore[attr-defined]
    world.merges(pull.id)
    world.runs()
    back = world.pull(pull.id)
    assert back.state is PullState.ready and "was_differs" in (back.closed_reason or "")
    assert weights(world)["postcode"] == 4


def test_a_change_that_fails_the_gate_on_the_newest_base_does_not_land(world: World, pull: pulls.Pull) -> None:
    def plan(tree: Path, case: dict[str, Any]) -> dict[str, Any]:
        found = plan_of(tree, case["ticket"]["messages"][0]["text"])
        return {**found, "tool_calls": []} if (tree / "README.md").exists() and json.loads((tree / "config/fetch.json").read_text())["weights"][
            "postcode"
        ] == 1 and case["external_id"] != hint_case else found  # fmt: skip

    hint_case = world.hint(pull.hint_id).case_id
    world.accepts("postcode")
    world.runs()
    world.host.pushes({"README.md": b"news\n"})  # type: ignore[attr-defined]
    world.with_ports(evals=ScriptedEvals(small_evals()._passes, plan))
    world.merges(pull.id)
    world.runs()
    back = world.pull(pull.id)
    assert (back.state, back.closed_reason) == (PullState.ready, "the gate says fail on the newest base")
    assert weights(world)["postcode"] == 5


def test_a_base_that_keeps_moving_hands_the_pull_back(world: World, pull: pulls.Pull) -> None:
    real: Any = world.host

    class Busy:
        name = "bank"
        count = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def land(self, head: str, expected: str) -> str:
            self.count += 1
            real.pushes({"README.md": f"{self.count}\n".encode()})
            return real.land(head, expected)  # type: ignore[no-any-return]

    busy = Busy()
    world.with_ports(hosts={"bank": busy})
    world.merges(pull.id)
    world.runs()
    assert busy.count == outcome.ROUNDS + 1
    assert world.pull(pull.id).state is PullState.ready and "kept moving" in (world.pull(pull.id).closed_reason or "")
    world.with_ports(hosts={"bank": real}).merges(pull.id)
    assert world.runs().pull(pull.id).state is PullState.merged


def test_a_suite_that_somebody_kills_while_the_pull_lands_is_run_again_at_once(world: World, pull: pulls.Pull) -> None:
    world.host.pushes({"README.md": b"news\n"})  # type: ignore[attr-defined]
    world.with_ports(evals=Killed(2)).merges(pull.id)  # once while its row is tried, once in the gate
    assert world.runs().pull(pull.id).state is PullState.merged
    assert world.moves("gate_runs", world.gate_of(pull.id).id) == ["running", "error", "running", "pass"]


def test_a_gate_that_never_runs_hands_the_pull_back_and_asking_again_tries_again(world: World, pull: pulls.Pull) -> None:
    """An error on the newest base was taken for its verdict: whoever asked again was sent away unheard."""
    world.host.pushes({"README.md": b"news\n"})  # type: ignore[attr-defined]
    world.with_ports(evals=Killed(99)).merges(pull.id)
    back = world.runs().pull(pull.id)
    assert back.state is PullState.ready and "could not be run on the newest base" in (back.closed_reason or "")
    assert world.moves("gate_runs", world.gate_of(pull.id).id).count("running") == outcome.ROUNDS
    world.with_ports(evals=small_evals()).merges(pull.id)
    assert world.runs().pull(pull.id).state is PullState.merged and world.broken == []


def test_a_landing_whose_approval_does_not_fit_any_more_goes_back(world: World, pull: pulls.Pull) -> None:
    """It stood at landing for ever, and nobody looked at all tickets as long as it did."""
    world.host.pushes({"README.md": b"news\n"})  # type: ignore[attr-defined]
    world.merges(pull.id)
    with world.db.begin() as session:
        session.connection().execute(text("UPDATE reviews SET hint_hash = 'other'"))
    back = world.runs().pull(pull.id)
    assert (back.state, back.closed_reason) == (PullState.ready, handoff.UNAPPROVED)


def test_a_landing_whose_answer_was_lost_is_found_landed(world: World, pull: pulls.Pull) -> None:
    """The crash between moving the branch and writing it down."""
    real: Any = world.host
    world.merges(pull.id)
    real.lose_answer_of.add("land")
    with pytest.raises(PortError):
        outcome.land(world.db, world.ports, pull.id)
    assert world.pull(pull.id).state is PullState.landing
    assert outcome.land(world.db, world.ports, pull.id) == "landed"
    assert world.pull(pull.id).merged_sha == pull.head_sha and fates(world, pull.id) == [OutcomeState.watching]
    assert outcome.land(world.db, world.ports, pull.id) == "stopped"
    assert len(fates(world, pull.id)) == 1


def test_a_host_that_fails_hands_the_pull_back_with_its_reason(world: World, pull: pulls.Pull) -> None:
    world.host.fail_next["land"] = PortError("locked", "main is locked")  # type: ignore[attr-defined]
    world.merges(pull.id)
    world.runs()
    assert (world.pull(pull.id).state, world.pull(pull.id).closed_reason) == (PullState.ready, "locked: main is locked")


def test_a_host_with_a_merge_page_of_its_own_is_left_alone(world: World, pull: pulls.Pull) -> None:
    real: Any = world.host

    class NoLanding:
        name = "bank"

        def __getattr__(self, name: str) -> Any:
            if name == "land":
                raise AttributeError(name)
            return getattr(real, name)

    world.with_ports(hosts={"bank": NoLanding()}).merges(pull.id)
    world.runs()
    assert world.pull(pull.id).closed_reason == "bank is merged where it lives, not here"


def test_a_closed_pull_stays_closed(world: World, pull: pulls.Pull) -> None:
    with pytest.raises(Unprocessable):
        world.closes(pull.id, "  ")
    world.closes(pull.id, "we do it by hand")
    assert world.closes(pull.id, "again").closed_reason == "we do it by hand"
    for late in (lambda: world.merges(pull.id), lambda: world.undoes(pull.hint_id)):
        with pytest.raises(IllegalMove):
            late()
    world.runs()
    world.reopen("land", pull.id)
    world.reopen("gate", pull.id)
    world.reopen("handoff", pull.handoff_id)
    assert world.pull(pull.id).state is PullState.closed and weights(world)["postcode"] == 5
    assert handoff.rebuild(world.db, world.ports, world.catalogue, pull.id) == handoff.NOT_LANDING


def test_closing_while_it_lands_wins_until_it_has_landed(world: World, pull: pulls.Pull) -> None:
    world.merges(pull.id)
    world.closes(pull.id, "changed my mind")
    world.runs()
    assert world.pull(pull.id).state is PullState.closed and weights(world)["postcode"] == 5


def test_the_cases_of_duplicates_are_watched_too(world: World, pull: pulls.Pull) -> None:
    other = world.rejects("postcode email", "same again")
    world.runs().marks_duplicate(world.hint_of(other).id, of=pull.hint_id)
    world.merges(pull.id)
    world.runs()
    assert fates(world, pull.id) == [OutcomeState.cured] * 2
    assert world.story(other)["outcome_of_fix"] == "cured"
    with world.db.read() as session:
        found = [examples.get(session, one) for one in (pull.hint_id, world.hint_of(other).id)]
    assert [one.fate for one in found if one] == ["merged", "merged"]


def test_what_comes_back_is_seen_and_what_cannot_be_looked_at_is_not_unseen(world: World, pull: pulls.Pull) -> None:
    world.merges(pull.id)
    world.runs()
    real = world.ports.evals
    recheck = lambda: outcome.recheck_after(world.db, world.ports, pull.id)  # noqa: E731
    world.with_ports(evals=small_evals(replay="timeout"))
    recheck()
    assert fates(world, pull.id) == [OutcomeState.cured]  # nobody saw it fall ill
    world.with_ports(evals=real)
    world.host.pushes({"config/fetch.json": b'{"weights": {"email": 3, "postcode": 5}}\n'})  # type: ignore[attr-defined]
    recheck()
    assert fates(world, pull.id) == [OutcomeState.recurred]
    world.host.pushes({"config/fetch.json": b'{"weights": {"email": 3, "postcode": 2}}\n'})  # type: ignore[attr-defined]
    recheck()
    assert fates(world, pull.id) == [OutcomeState.cured]


@pytest.mark.parametrize("trouble", ["no manifest", "no plan"])
def test_a_recheck_that_is_not_possible_says_so(world: World, pull: pulls.Pull, trouble: str) -> None:
    world.merges(pull.id)
    world.reopen("land", pull.id)
    if trouble == "no manifest":
        world.host.pushes({"triage.yaml": None})  # type: ignore[attr-defined]
    else:
        world.with_ports(evals=small_evals(replay="replay_garbage"))
    world.runs()
    assert fates(world, pull.id) == [OutcomeState.inconclusive] and world.broken == []


def test_one_case_that_cannot_be_replayed_does_not_hide_the_others(world: World, pull: pulls.Pull) -> None:
    other = world.rejects("postcode email", "same again")
    world.runs().marks_duplicate(world.hint_of(other).id, of=pull.hint_id)

    def plan(tree: Path, case: dict[str, Any]) -> dict[str, Any]:
        if case["external_id"] == other:
            raise ValueError
        return plan_of(tree, case["ticket"]["messages"][0]["text"])

    world.merges(pull.id)
    world.runs()
    world.with_ports(evals=ScriptedEvals(small_evals()._passes, plan))
    world.host.pushes({"config/fetch.json": b'{"weights": {"email": 3, "postcode": 5}}\n'})  # type: ignore[attr-defined]
    outcome.recheck_after(world.db, world.ports, pull.id)
    with world.db.read() as session:
        assert {row.case_id: row.state for row in outcomes.of_pull(session, pull.id)} == {
            world.hint(pull.hint_id).case_id: OutcomeState.recurred, other: OutcomeState.cured,
        }  # fmt: skip


def test_a_pull_that_another_one_made_needless_is_settled(world: World, pull: pulls.Pull) -> None:
    """Somebody mended the very thing by hand meanwhile."""
    world.host.pushes({"config/fetch.json": b'{"weights": {"email": 9, "postcode": 5}}\n'})  # type: ignore[attr-defined]
    world.merges(pull.id)
    world.runs()
    assert world.pull(pull.id).state is PullState.closed and "already_fixed" in (world.pull(pull.id).closed_reason or "")
    assert fates(world, pull.id) == [OutcomeState.cured]
    assert weights(world) == {"email": 9, "postcode": 5}


def test_a_pull_is_needed_as_long_as_any_hint_of_a_case_is(world: World) -> None:
    """The first hint of the case promises what nobody has mended; a second one of the same case, which joined it, does."""
    unmended = {"must": [{"part": "record", "is": "rec_c"}]}
    both = ScriptedCritic(lambda brief: Drafted(hints=[weight_hint(brief, **unmended), weight_hint(brief)]))
    case_id = world.with_ports(critic=both).rejects("email postcode", "wrong person, and wrong again")
    intake.mask(world.db, [case_id])
    critic.draft(world.db, world.ports, world.catalogue, case_id)  # without a look at what it does, which would keep one
    with world.db.read() as session:
        first, second = hints.of_case(session, case_id)
    assert first.hint.must != second.hint.must
    world.marks_duplicate(second.id, of=first.id)
    world.confirms(first.id)
    pull_id = world.runs().pull_of(first.id).id
    world.host.pushes({"config/fetch.json": b'{"weights": {"email": 9, "postcode": 5}}\n'})  # type: ignore[attr-defined]
    with world.db.begin() as session:
        row = pulls.get(session, pull_id)
        assert row is not None
        for state in (PullState.ready, PullState.landing):  # which its gate, that asks for a mended record, would not let it
            history.move(session, row, state, by="gwen")
    assert not outcome.settle(world.db, world.ports, pull_id)
    assert world.pull(pull_id).state is PullState.landing


def burst(world: World) -> list[str]:
    """Three pulls: the first is merged and was looked at, the second was merged while the third was landing, which still is."""
    fields = iter([{}, {"to": 2}, {"to": 0}])
    world.with_ports(critic=ScriptedCritic(lambda brief: Drafted(hints=[weight_hint(brief, **next(fields))])))
    made = []
    for number in range(3):
        case_id = world.rejects("email postcode", f"wrong {number}", name=f"x{number}")
        world.runs()
        hint = world.hint_of(case_id)
        world.confirms(hint.id)
        world.runs()
        made.append(world.pull_of(hint.id).id)
    world.merges(made[0])
    world.runs()
    with world.db.begin() as session:
        for pull_id in made[1:]:
            row = pulls.get(session, pull_id)
            assert row is not None
            history.move(session, row, PullState.landing, by="gwen")
        one = pulls.get(session, made[1])
        assert one is not None
        history.move(session, one, PullState.merged, by="gwen", merged_at=world.time)
    return made


def test_the_last_of_a_burst_that_does_not_land_leaves_the_look_at_all_to_who_landed(world: World) -> None:
    """A merge looks at its own tickets only while others are landing; one of those goes back, and somebody has to look at the rest."""
    made = burst(world)
    before = len(world.asked.flows(world.db))
    outcome.give_up_landing(world.db, made[2], "the host is away")
    assert [(flow, thing in made[:2]) for flow, thing in world.asked.flows(world.db)[before:]] == [("learn", True)]


def test_so_does_one_whose_change_does_not_fit_the_newest_base(world: World) -> None:
    made = burst(world)
    world.host.pushes({"config/fetch.json": b'{"weights": {"email": 3, "postcode": 4}}\n'})  # type: ignore[attr-defined]
    before = len(world.asked.flows(world.db))
    world.reopen("land", made[2])
    assert "was_differs" in (world.pull(made[2]).closed_reason or "")
    assert [(flow, thing in made[:2]) for flow, thing in world.asked.flows(world.db)[before:]] == [("learn", True)]
