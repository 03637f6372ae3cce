"""The backfill holds here, against a server of sockets: batches fill the ledger, a killed one pays for nothing twice, and no cap is passed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from connectors.claude import ClaudeMessages
from connectors.claude_batches import UNBILLED, ClaudeBatches
from connectors.claude_profile import Profile
from connectors.claude_reading import BY_STATUS
from connectors.ports import PortError
from connectors.scripted import ScriptedCritic
from rubric.asks import rules_ask
from rubric.catalogue import load
from rubric.drafting import Abstained, Ask
from rubric.schema import Outcome
from service.asking import AskingCritic
from service.backfill import TRIES, Backfill, Tally
from service.lifecycle import DraftState
from service.picking import FOR_WANT, pick
from service.stages import critic, intake
from service.store import calls
from service.store.calls import Caps
from tests.samples import messages
from tests.samples.messages import EXPIRED, MessagesStub, Said
from tests.samples.reader import WHOLE, tells, which
from tests.samples.small import small_host
from tests.samples.world import World

CATALOGUE = load()
PLENTY = Caps(case=100, hour=100, day=100)


class Desk:
    """A world whose critic asks a stub, and the backfill beside it."""

    def __init__(self, world: World, stub: MessagesStub):
        self.world, self.stub = world, stub
        profile = Profile(base_url=stub.url, api_key=SecretStr("key"), model="claude-haiku-5-5", wall_seconds=20.0)
        self.batches, model = ClaudeBatches(profile), ClaudeMessages(profile)
        world.with_ports(model=model, critic=AskingCritic(world.db, model, CATALOGUE, PLENTY))

    def steps(self, ids: Sequence[str], caps: Caps = PLENTY, **more: Any) -> Iterator[Tally]:
        return Backfill(self.world.db, self.world.ports, CATALOGUE, self.batches, caps, **{"call_seconds": 180, **more}).run(ids)

    def runs(self, ids: Sequence[str], caps: Caps = PLENTY, **more: Any) -> Tally:
        """To its end."""
        *_, last = self.steps(ids, caps, **more)
        return last

    def rejects(self, number: int) -> list[str]:
        return [self.world.rejects("email postcode", f"wrong person {one}") for one in range(number)]

    def made(self, *ids: str) -> list[calls.Call]:
        with self.world.db.read() as session:
            return [call for case_id in ids for call in calls.of_case(session, case_id)]

    @property
    def submitted(self) -> list[list[str]]:
        """The asks of each batch that reached the server, by name."""
        return [
            [which(one["params"]) for one in seen.body["requests"]]
            for seen in self.stub.requests
            if seen.method == "POST" and seen.path == "/v1/messages/batches"
        ]


@pytest.fixture
def at(world: World) -> Iterator[Callable[..., Desk]]:
    opened: list[MessagesStub] = []

    def open_desk(script: Any = tells, **more: Any) -> Desk:
        opened.append(MessagesStub(script, **more).__enter__())
        return Desk(world, opened[-1])

    yield open_desk
    for stub in opened:
        stub.__exit__(None, None, None)


def test_many_courses_advance_in_lockstep_and_the_drafts_pay_for_nothing(at: Callable[..., Desk]) -> None:
    """The brief is the one of the draft: it finds every answer in the ledger. Results come in reverse order."""
    desk = at()
    ids = desk.rejects(3)
    tally = desk.runs(ids)
    assert [sorted(batch) for batch in desk.submitted] == [3 * ["rules"], 9 * ["locate"], 9 * ["target"], 3 * ["fill"]]
    assert (tally.done, tally.rounds, tally.asked, tally.answered, tally.errors, tally.out) == (3, 4, 3 * WHOLE, 3 * WHOLE, 0, 0)
    desk.world.runs()
    assert [str(desk.world.case(one).state) for one in ids] == 3 * ["drafted"]
    assert desk.stub.calls == 0 and {call.kind for call in desk.made(*ids)} == {"answered"}
    assert desk.world.hint_of(ids[0]).hint.confidence.replay == "moved"


def test_the_brief_holds_precedents_neighbours_and_open_hints_as_the_draft_s_does(at: Callable[..., Desk]) -> None:
    desk = at()
    world = desk.world
    world.accepts("email")
    first = desk.rejects(8)
    world.runs()
    paid = desk.stub.calls
    for one in first:
        world.confirms(world.hint_of(one).id) if one == first[0] else world.marks_duplicate(world.hint_of(one).id, of=world.hint_of(first[0]).id)
    later = [world.rejects("email postcode", f"wrong person, number {one}") for one in range(2)]
    assert desk.runs(later).done == 2
    world.runs()
    shown = critic.brief_of(world.db, world.ports, later[0])
    assert shown is not None and shown.precedents and shown.rejected and shown.accepted and shown.open_hints
    assert desk.stub.calls == paid == 8 * WHOLE and len(desk.made(*later)) == 2 * WHOLE
    assert [str(world.case(one).state) for one in later] == 2 * ["drafted"]


def test_a_case_without_anybody_to_ask_is_handed_over_at_once(at: Callable[..., Desk]) -> None:
    """Its leaf is gone from the target: the draft says so, and no model is asked."""
    desk = at()
    (one,) = desk.rejects(1)
    desk.world.with_ports(hosts={"bank": small_host(**{"config/intents.json": b'{"tree": {"cards": {"leaves": {"other": {}}}}}\n'})})
    assert (desk.runs([one]).done, desk.stub.requests) == (1, [])
    assert desk.world.runs().case(one).outcome == "not_reproducible"
    (two,) = desk.rejects(1)
    desk.world.with_ports(hosts={})
    assert desk.runs([two]).aside == {two: "target_unknown"}


def test_what_a_batch_costs_is_half_and_stands_in_the_ledger(at: Callable[..., Desk]) -> None:
    desk = at()
    (one,) = desk.rejects(1)
    tally = desk.runs([one])
    kept, spent = desk.made(one), desk.stub.spent
    assert sum(call.tokens for call in kept) == tally.tokens == spent.total()
    whole = (spent["input"] + spent["cache_write"] * 2 + spent["cache_read"] * 0.1) * 0.10 + spent["output"] * 0.50
    assert sum(call.usd or 0 for call in kept) == pytest.approx(tally.usd) == pytest.approx(whole / 2 / 1_000_000)
    assert all(call.usd is not None and call.usd <= call.most_usd for call in kept)
    assert len({call.batch for call in kept}) == 4 and calls.SENDING not in {call.batch for call in kept}


def test_each_call_is_priced_by_the_model_that_it_went_to(at: Callable[..., Desk]) -> None:
    desk = at()
    profile = Profile(base_url=desk.stub.url, api_key=SecretStr("key"), model="claude-haiku-5-5", models={"locate": "claude-sonnet-5-5"})
    desk.batches = ClaudeBatches(profile)
    (one,) = desk.rejects(1)
    named = [{call.id: call.model for call in desk.made(one)} for tally in desk.steps([one]) if tally.out or tally.done]
    made = desk.made(one)
    assert {call.model for call in made if call.ask == "locate"} == {"claude-sonnet-5-5"}
    assert {call.model for call in made if call.ask != "locate"} == {"claude-haiku-5-5"}
    assert all(names.items() <= {call.id: call.model for call in made}.items() for names in named)  # from the first, also while it is out
    assert {call.ask for call in made if call.usd is not None and call.usd > 0.000_5} == {"locate"}


def test_single_failures_are_asked_again_in_the_next_round(at: Callable[..., Desk]) -> None:
    """One errored and one expired: they stay unanswered, cost nothing, and go out again while the other cases go on."""
    broken = [messages.errored("overloaded_error"), EXPIRED]
    desk = at(lambda body: broken.pop() if broken and which(body) == "rules" else tells(body))
    ids = desk.rejects(3)
    tally = desk.runs(ids)
    assert [sorted(batch) for batch in desk.submitted][1] == [*3 * ["locate"], *2 * ["rules"]]
    assert (tally.done, tally.errors, tally.answered) == (3, 2, 3 * WHOLE)
    failed = [call for call in desk.made(*ids) if call.kind == "transport_error"]
    assert [call.usd for call in failed] == [0.0, 0.0] and len(failed) == 2
    desk.world.runs()
    assert [str(desk.world.case(one).state) for one in ids] == 3 * ["drafted"] and desk.stub.calls == 0


@pytest.mark.parametrize(("play", "code", "times"), [(messages.errored(), "bad_request", 1), (EXPIRED, "unanswered", TRIES)])
def test_what_never_gets_an_answer_is_put_aside_with_a_code(at: Callable[..., Desk], play: Said, code: str, times: int) -> None:
    desk = at(lambda body: play)
    (one,) = desk.rejects(1)
    tally = desk.runs([one])
    assert tally.aside == {one: code} and len(desk.submitted) == times and tally.done == 0
    assert desk.world.case(one).state is DraftState.queued


class Killed(BaseException):
    """Stands for SIGKILL: nobody catches it."""


@pytest.mark.parametrize("point", range(1, 9))
def test_a_kill_between_any_two_steps_pays_for_nothing_twice(at: Callable[..., Desk], point: int) -> None:
    """Also between submit and collect: the batch that is out is collected, not handed over again."""
    desk = at(running=1)
    ids = desk.rejects(2)
    for step, _ in enumerate(desk.steps(ids), start=1):
        if step == point:
            break
    tally = desk.runs(ids)
    assert [len(batch) for batch in desk.submitted] == [2, 6, 6, 2] and tally.lost == 0
    desk.world.runs()
    assert [str(desk.world.case(one).state) for one in ids] == 2 * ["drafted"]
    assert desk.stub.calls == 0 and len(desk.made(*ids)) == 2 * WHOLE


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_while_a_batch_is_handed_over_counts_it_as_paid_for(at: Callable[..., Desk], when: str) -> None:
    """Nobody knows its id any more: its asks stay open at their most, and are asked again."""
    desk = at()
    (one,) = desk.rejects(1)
    submit = desk.batches.submit

    def dies(asks: dict[str, Ask]) -> str:
        if when == "after":
            submit(asks)
        raise Killed

    desk.batches.submit = dies  # type: ignore[method-assign, assignment]
    with pytest.raises(Killed):
        desk.runs([one])
    desk.batches.submit = submit  # type: ignore[method-assign]
    tally = desk.runs([one])
    lost = [call for call in desk.made(one) if call.kind == "open"]
    assert (tally.done, tally.lost, len(lost)) == (1, 1, 1) and lost[0].usd is None and lost[0].batch == calls.LOST
    desk.world.runs()
    assert desk.world.case(one).state is DraftState.drafted and desk.stub.calls == 0


def test_a_kill_while_replies_are_written_loses_none(at: Callable[..., Desk]) -> None:
    desk = at()
    ids = desk.rejects(3)
    cost, times = desk.batches.cost, iter(range(100))

    def dies(receipt: Any) -> float | None:
        if next(times) == 1:
            raise Killed
        return cost(receipt)

    desk.batches.cost = dies  # type: ignore[method-assign]
    with pytest.raises(Killed):
        desk.runs(ids)
    desk.batches.cost = cost  # type: ignore[method-assign]
    assert desk.runs(ids).done == 3 and [len(batch) for batch in desk.submitted] == [3, 9, 9, 3]


def test_an_answer_to_a_submission_that_is_lost_stops_and_counts(at: Callable[..., Desk]) -> None:
    desk = at()
    (one,) = desk.rejects(1)
    desk.batches = Lossy(desk.batches)  # type: ignore[assignment]
    tally = desk.runs([one])
    assert (tally.stopped, tally.lost, tally.asked) == ("timeout", 1, 0) and desk.made(one)[0].kind == "open"
    assert desk.runs([one]).done == 1


class Lossy:
    """The first batch arrives, and its answer does not."""

    def __init__(self, batches: ClaudeBatches):
        self._batches, self._lost = batches, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batches, name)

    def submit(self, asks: dict[str, Ask]) -> str:
        found = self._batches.submit(asks)
        if not self._lost:
            self._lost = True
            raise PortError("timeout", "no answer", retryable=True, lost=True)
        return found


def test_a_server_that_refuses_a_batch_is_paid_nothing(world: World) -> None:
    with MessagesStub(tells) as stub:
        desk = Desk(world, stub)
        (one,) = desk.rejects(1)
        nobody = Profile(base_url=f"{stub.url}/elsewhere", api_key=SecretStr("key"), model="claude-haiku-5-5")
        desk.batches = ClaudeBatches(nobody)
        tally = desk.runs([one])
    assert (tally.stopped, tally.lost) == ("not_found", 0) and [call.usd for call in desk.made(one)] == [0.0]
    desk.batches = ClaudeBatches(replace(nobody, base_url="http://127.0.0.1:9"))
    tally = desk.runs([one])
    assert (tally.stopped, tally.lost) == ("unreachable", 0) and [call.usd for call in desk.made(one)] == [0.0, 0.0]


def test_a_batch_that_the_server_does_not_know_is_kept_until_somebody_gives_it_up(at: Callable[..., Desk]) -> None:
    """It may be another server, or another key: what is paid for is not written off by itself, and not asked for twice."""
    desk = at()
    (one,) = desk.rejects(1)
    for tally in desk.steps([one]):
        if tally.out:
            break
    batches, (sent,) = dict(desk.stub._batches), desk.made(one)
    desk.stub._batches.clear()
    for _ in range(2):
        tally = desk.runs([one])
        assert (tally.stopped, tally.unknown, tally.lost, tally.out, tally.done) == ("not_found", sent.batch, 0, 1, 0)
    assert [(call.kind, call.batch) for call in desk.made(one)] == [("open", sent.batch)] and len(desk.submitted) == 1
    desk.stub._batches.update(batches)
    tally = desk.runs([one])
    assert (tally.lost, tally.done, tally.answered) == (0, 1, WHOLE) and len(desk.made(one)) == WHOLE


def test_a_batch_that_is_given_up_counts_as_paid_for_and_is_asked_anew(at: Callable[..., Desk]) -> None:
    desk = at()
    (one,) = desk.rejects(1)
    for tally in desk.steps([one]):
        if tally.out:
            break
    desk.stub._batches.clear()
    tally = desk.runs([one], give_up=True)
    assert (tally.lost, tally.done, tally.unknown) == (1, 1, "")
    assert [(call.usd, call.batch) for call in desk.made(one) if call.kind == "open"] == [(None, calls.LOST)]


@pytest.mark.parametrize("cap", ["case", "hour", "day"])
def test_a_cap_of_nothing_hands_over_nothing(at: Callable[..., Desk], cap: str) -> None:
    desk = at()
    ids = desk.rejects(2)
    tally = desk.runs(ids, PLENTY.model_copy(update={cap: 0.0}))
    assert desk.stub.requests == [] and desk.made(*ids) == [] and tally.done == 0
    assert (tally.stopped, set(tally.aside.values())) == (("", {"spend_cap_case"}) if cap == "case" else (f"spend_cap_{cap}", set()))


def test_a_cap_in_time_lets_out_what_fits_and_goes_on_with_what_the_replies_did_not_cost(at: Callable[..., Desk]) -> None:
    desk = at()
    ids = desk.rejects(4)
    most = desk.batches.most(first_ask(desk, ids[0]))
    cap = PLENTY.model_copy(update={"hour": 2.5 * most})
    tally = desk.runs(ids, cap)
    assert tally.done == 4 and max(map(len, desk.submitted)) == 2 and len(desk.submitted) > 4
    assert sum(call.usd or 0 for call in desk.made(*ids)) <= cap.hour


def first_ask(desk: Desk, case_id: str) -> Ask:
    intake.mask(desk.world.db, [case_id])
    brief = critic.brief_of(desk.world.db, desk.world.ports, case_id)
    assert brief is not None
    return rules_ask(brief)


def test_reservations_stand_before_the_batch_goes_out(at: Callable[..., Desk]) -> None:
    desk = at()
    (one,) = desk.rejects(1)
    submit, seen = desk.batches.submit, []

    def looks(asks: dict[str, Ask]) -> str:
        seen.append([(call.kind, call.batch, call.usd, call.most_usd > 0) for call in desk.made(one) if call.id in asks])
        return submit(asks)

    desk.batches.submit = looks  # type: ignore[method-assign, assignment]
    desk.runs([one])
    assert seen[0] == [("open", calls.SENDING, None, True)]


def test_a_draft_waits_while_its_asks_are_out_and_asks_nothing_itself(at: Callable[..., Desk]) -> None:
    desk = at(running=10**6)
    (one,) = desk.rejects(1)
    for tally in desk.steps([one]):
        if tally.out:
            break
    desk.world.runs(wait=10)
    row = desk.world.case(one)
    assert row.state is DraftState.queued and (row.reason or "").startswith("in_batch") and desk.stub.calls == 0


def test_a_case_that_somebody_asks_about_now_is_left_to_them(at: Callable[..., Desk]) -> None:
    desk = at()
    (one,) = desk.rejects(1)
    ask = first_ask(desk, one)
    with desk.world.db.begin() as session:
        calls.Purse(session, PLENTY).open(one, ask, "m", 0.1)
    desk.world.time += timedelta(seconds=239)
    assert desk.runs([one]).aside == {one: "asked_now"} and desk.stub.requests == []
    desk.world.time += timedelta(seconds=2)
    assert desk.runs([one], call_seconds=3600).aside == {one: "asked_now"}
    assert desk.runs([one]).done == 1


def test_a_single_call_that_goes_out_while_a_round_is_made_up_is_not_doubled(at: Callable[..., Desk]) -> None:
    """The look under the lock decides: another process asked after the round had read the case."""
    desk = at()
    one, two = desk.rejects(2)
    most = desk.batches.most

    def late(ask: Ask) -> float:
        if not desk.made(one):
            with desk.world.db.begin() as session:
                calls.Purse(session, PLENTY).open(one, ask, "m", 0.1)
        return most(ask)

    desk.batches.most = late  # type: ignore[method-assign]
    tally = desk.runs([one, two])
    assert tally.aside == {one: "asked_now"} and tally.done == 1 and len(desk.made(one)) == 1


def test_what_a_draft_asked_itself_while_a_round_is_made_up_is_taken(at: Callable[..., Desk]) -> None:
    desk = at()
    (one,) = desk.rejects(1)
    most, critic_of = desk.batches.most, desk.world.ports.critic
    assert isinstance(critic_of, AskingCritic)

    def late(ask: Ask) -> float:
        if not desk.made(one):
            critic_of.ask(one, ask)
        return most(ask)

    desk.batches.most = late  # type: ignore[method-assign]
    assert desk.runs([one]).done == 1 and [sorted(batch) for batch in desk.submitted] == [3 * ["locate"], 3 * ["target"], ["fill"]]
    assert len(desk.made(one)) == WHOLE and desk.stub.calls == 1


def test_nothing_is_bought_for_a_case_whose_draft_ended_while_a_round_was_made_up(at: Callable[..., Desk]) -> None:
    desk = at()
    (one,) = desk.rejects(1)
    most = desk.batches.most

    def late(ask: Ask) -> float:
        if not desk.made(one):
            desk.world.runs()
        return most(ask)

    desk.batches.most = late  # type: ignore[method-assign]
    tally = desk.runs([one])
    assert desk.world.case(one).state is DraftState.drafted and tally.aside == {one: "drafted_meanwhile"}
    assert desk.submitted == [] and len(desk.made(one)) == WHOLE == desk.stub.calls


def test_what_failed_by_its_answers_is_asked_anew_and_the_draft_takes_that(at: Callable[..., Desk]) -> None:
    """The answers of the failed draft count no more; those of the backfill count for the draft that it hands over to, also after a kill."""
    said: list[Said] = [{"rules": "none"}]
    desk = at(lambda body: said.pop() if said else tells(body))
    (one,) = desk.rejects(1)
    assert desk.world.runs().case(one).reason == "invalid_output"
    paid = len(desk.made(one))
    for tally in desk.steps([one]):
        if tally.answered:
            break
    assert desk.runs([one]).done == 1
    desk.world.runs()
    assert desk.world.case(one).state is DraftState.drafted and desk.stub.calls == paid and len(desk.made(one)) == paid + WHOLE


def test_an_empty_queue_asks_nothing(at: Callable[..., Desk]) -> None:
    desk = at()
    tally = desk.runs([])
    assert (tally.cases, tally.done, tally.rounds, tally.asked) == (0, 0, 0, 0) and desk.stub.requests == []
    assert pick(desk.world.db, "bank", (), (), 10) == []


def test_it_picks_what_failed_or_abstained_for_want_of_a_model(at: Callable[..., Desk], world: World) -> None:
    said: list[Abstained | PortError] = [
        Abstained(outcome=Outcome.unclear_ask_back, reason="too weak"), Abstained(outcome=Outcome.one_off, reason="happens"),
        PortError("overloaded", "later"), PortError("refused", "no"),
    ]  # fmt: skip
    world.with_ports(critic=ScriptedCritic(lambda brief: said[int(brief.case.comment[-1])]))
    ids = [world.rejects("email postcode", f"wrong person {one}") for one in range(4)]
    world.accepts("email")
    world.runs()
    waits = world.rejects("email postcode", "wrong person 9")
    assert pick(world.db, "bank", (), (), 10) == [waits, ids[2], ids[0]]
    assert pick(world.db, "bank", (), {waits}, 1) == [ids[2]]
    assert pick(world.db, "bank", [DraftState.abstained], (), 10) == ids[:2] and pick(world.db, "elsewhere", (), (), 10) == []
    desk = at()
    assert desk.runs(pick(world.db, "bank", (), (), 10)).done == 3
    world.runs()
    assert [str(world.case(one).state) for one in (waits, ids[2], ids[0])] == 3 * ["drafted"] and desk.stub.calls == 0
    assert pick(world.db, "bank", (), (), 10) == []


def test_what_is_picked_as_failed_for_want_of_a_model_can_be_the_end_of_a_draft() -> None:
    """A single ask ends by the codes of its status or its wire, or stands before a cap; a batch's own codes, and waits, end none."""
    of_one = {code for code, _ in BY_STATUS.values()} | {"server_error", "unreachable", "timeout", "garbage"}
    assert of_one | {"spend_cap_case", "spend_cap_hour", "spend_cap_day"} >= FOR_WANT
    assert not FOR_WANT & {*UNBILLED, "missing", "in_batch"}


def test_what_a_model_has_answered_badly_is_not_asked_again_by_itself(at: Callable[..., Desk]) -> None:
    """The course ends in a refusal: the draft says so, and the next backfill leaves it alone."""
    desk = at(lambda body: messages.refuses())
    (one,) = desk.rejects(1)
    assert desk.runs([one]).done == 1
    row = desk.world.runs().case(one)
    assert (row.state, row.reason) == ("failed", "refused") and pick(desk.world.db, "bank", (), (), 10) == []
