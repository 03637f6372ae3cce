"""The driver of the asks holds here: every reply is kept, no cap is passed, a crash costs one call at most, and every failure has its reason."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from connectors.ports import PortError
from connectors.scripted import ScriptedCritic, ScriptedModel
from rubric.catalogue import load
from rubric.drafting import Abstained, Answered, Ask, AskOutcome, Brief, Drafted, InvalidOutput, Receipt, Refused, TransportError, Truncated, Usage
from rubric.schema import Outcome, Span
from service import answering
from service.asking import AskingCritic, Caps, Watch, _failure, asking
from service.stages import critic
from service.store import calls
from tests.samples.small import small_host, weight_hint
from tests.samples.world import World

CATALOGUE = load()
RULES = {"rules": [{"quotes": [{"source": "comment", "quote": "wrong person"}], "wants": "the other record"}]}
PLENTY = Caps(case=100, hour=100, day=100)
WHOLE = 8
"""asks of one draft: rules, three times where, three times which, and what"""


def tells(ask: Ask) -> Any:
    """A model that reads the comment right."""
    given = {"rules": RULES, "locate": {"choice": "adjust_fetch_weight"}, "target": {"choice": "fetch:postcode"}, "fill": {"to": 1}}
    return given[ask.name]


def listens(world: World, answers: Callable[[Ask], Any] = tells, caps: Caps = PLENTY) -> ScriptedModel:
    """The world's critic asks a model from now on."""
    model = ScriptedModel(answers)
    world.with_ports(model=model)
    world.ports = asking(world.ports, world.db, CATALOGUE, case=caps.case, hour=caps.hour, day=caps.day)
    return model


def made(world: World, case_id: str) -> list[calls.Call]:
    with world.db.read() as session:
        return calls.of_case(session, case_id)


def test_a_draft_keeps_each_call_with_its_tokens_and_its_cost(world: World) -> None:
    model = listens(world)
    case_id = world.rejects("email postcode", "wrong person")
    hint = world.runs().hint_of(case_id)
    kept = made(world, case_id)
    assert [call.ask for call in kept] == ["rules", *3 * ["locate"], *3 * ["target"], "fill"] and {call.kind for call in kept} == {"answered"}
    assert hint.cost == {
        "calls": WHOLE,
        "tokens": sum(call.tokens for call in kept),
        "usd": pytest.approx(sum(call.usd or 0 for call in kept), abs=1e-6),
    }
    assert hint.critic == "asking-1 scripted-model-1" and len(model.asks) == WHOLE and hint.hint.confidence.replay == "moved"


def test_drafting_again_pays_for_nothing_twice(world: World) -> None:
    model = listens(world)
    case_id = world.rejects("email postcode", "wrong person")
    world.runs()
    with world.db.begin() as session:
        session.connection().exec_driver_sql("DELETE FROM hints")
        session.connection().exec_driver_sql("UPDATE cases SET state = 'queued'")
    world.reopen("draft", case_id)
    assert len(model.asks) == WHOLE == len(made(world, case_id)) and world.case(case_id).state == "drafted"


class Killed(BaseException):
    """Stands for SIGKILL: nobody catches it."""


@pytest.mark.parametrize("point", range(WHOLE))
def test_a_kill_between_reply_and_commit_costs_one_call(world: World, point: int) -> None:
    """The reply is there and the process is gone before it is written: that one call is made again, all others are not."""
    model = listens(world)
    case_id = world.rejects("email postcode", "wrong person")
    answer, times = model.ask, iter(range(100))

    def dies(ask: Ask) -> AskOutcome:
        found = answer(ask)
        if next(times) == point:
            raise Killed
        return found

    model.ask = dies  # type: ignore[method-assign]
    with pytest.raises(Killed):
        world.runs()
    model.ask = answer  # type: ignore[method-assign]
    world.reopen("draft", case_id)
    assert world.case(case_id).state == "drafted" and len(model.asks) == WHOLE + 1
    kept = made(world, case_id)
    assert [call.kind for call in kept].count("open") == 1 and len(kept) == WHOLE + 1
    lost = next(call for call in kept if call.kind == "open")
    assert lost.usd is None and world.hint_of(case_id).cost["usd"] >= round(lost.most_usd, 6)  # nobody knows what it used: the most is counted


FAILURES: dict[str, AskOutcome] = {
    "refused": Refused(category="cyber"),
    "truncated": Truncated(by="context_window"),
    "invalid_output": InvalidOutput(why="not_json"),
    "unauthorised": TransportError(code="unauthorised", retryable=False),
    "garbage": TransportError(code="garbage", retryable=False),
}


@pytest.mark.parametrize("code", FAILURES)
def test_a_failure_for_good_ends_in_a_state_with_its_code_and_can_be_tried_again(world: World, code: str) -> None:
    model = listens(world, lambda ask: FAILURES[code])
    case_id = world.rejects("email postcode", "wrong person")
    row = world.runs().case(case_id)
    assert (row.state, row.reason) == ("failed", code) and len(model.asks) == 1 and world.broken == []
    assert world.story(case_id)["reason"] == code
    listens(world)
    critic.draft_again(world.db, case_id, by="gwen")
    assert world.runs().case(case_id).state == "drafted"


@pytest.mark.parametrize("wrong", [{"choice": "merge_now"}, {"answer": "x"}], ids=str)
def test_an_answer_that_cannot_be_read_is_asked_for_anew_when_somebody_drafts_again(world: World, wrong: dict[str, Any]) -> None:
    """The server did answer, so the ledger holds it as answered: it is not given again for ever."""
    listens(world, lambda ask: wrong if ask.name == "locate" else tells(ask))
    case_id = world.rejects("email postcode", "wrong person")
    assert world.runs().case(case_id).reason == "invalid_output" and {call.kind for call in made(world, case_id)} == {"answered"}
    model = listens(world)
    critic.draft_again(world.db, case_id, by="gwen")
    assert world.runs().case(case_id).state == "drafted" and len(model.asks) == WHOLE


def test_a_refusal_is_not_asked_for_again_by_a_draft_that_only_waited(world: World) -> None:
    """One of the samples was refused before the server was busy: the retry takes it as it was."""
    turn = iter(range(100))

    def answer(ask: Ask) -> Any:
        place = next(turn)
        return Refused() if place == 1 else TransportError(code="overloaded", retryable=True) if place == 3 else tells(ask)

    model = listens(world, answer)
    case_id = world.rejects("email postcode", "wrong person")
    assert world.runs().case(case_id).state == "drafted"
    keys = [ask.key for ask in model.asks]
    assert [key for key in set(keys) if keys.count(key) > 1] == [keys[3]]


def test_another_model_or_profile_is_asked_anew(world: World) -> None:
    busy = [TransportError(code="overloaded", retryable=True)]
    listens(world, lambda ask: busy.pop() if busy and ask.name == "fill" else tells(ask))
    case_id = world.rejects("email postcode", "wrong person")
    world.runs(wait=1)
    assert world.case(case_id).state == "queued" and len(made(world, case_id)) == WHOLE
    other = ScriptedModel(tells)
    other.how = "scripted-model-1 high"
    world.with_ports(critic=AskingCritic(world.db, other, CATALOGUE, PLENTY))
    world.runs()
    assert world.case(case_id).state == "drafted" and len(other.asks) == WHOLE


def test_what_failed_for_want_of_money_goes_on_where_it_was(world: World) -> None:
    listens(world, caps=Caps(case=0.013, hour=100, day=100))
    case_id = world.rejects("email postcode", "wrong person")
    assert world.runs().case(case_id).reason == "spend_cap_case"
    paid = len(made(world, case_id))
    model = listens(world)
    critic.draft_again(world.db, case_id, by="gwen")
    assert world.runs().case(case_id).state == "drafted" and len(model.asks) == WHOLE - paid


def test_what_changes_while_a_draft_waits_makes_it_pay_for_nothing_twice(world: World) -> None:
    """Between a wait and its retry target, neighbours and precedents move on, and with them every text: the question is the same one."""
    busy = [TransportError(code="overloaded", retryable=True, retry_after=60.0)]
    model = listens(world, lambda ask: busy.pop() if busy and ask.name == "fill" else tells(ask))
    case_id = world.rejects("email postcode", "wrong person")
    world.runs(wait=1)
    before = {call.key: call.sha for call in made(world, case_id)}
    model.asks.clear()
    world.with_ports(hosts={"bank": small_host(**{"config/fetch.json": b'{"weights": {"email": 3, "postcode": 6}}\n'})})
    world.runs()
    assert world.case(case_id).state == "drafted" and [ask.name for ask in model.asks] == ["fill"]
    assert model.asks[0].sha != before[model.asks[0].key]


def test_an_answer_that_may_not_be_given_any_more_is_asked_for_anew(world: World) -> None:
    ask = Ask(name="locate", key="locate 1 0", rubric="r", case="c", form=form("a", "b"))
    case_id = world.rejects("email postcode", "wrong person")
    asker = AskingCritic(world.db, model := ScriptedModel(lambda ask: {"choice": "a"}), CATALOGUE, PLENTY)
    asker.ask(case_id, ask)
    asker.ask(case_id, ask.model_copy(update={"case": "other precedents"}))
    assert len(model.asks) == 1
    asker.ask(case_id, ask.model_copy(update={"form": form("b", "c")}))
    assert len(model.asks) == 2


def form(*choices: str) -> dict[str, Any]:
    return {"type": "object", "properties": {"choice": {"type": "string", "enum": list(choices)}}}


def test_a_rejection_that_is_looked_at_once_more_is_not_read_again(world: World) -> None:
    """The change in play is the news, and it is tried; what the comment says has not changed."""
    model = listens(world, lambda ask: {"choice": "abstain"} if ask.name == "locate" and "comment: hm" in ask.case else tells_of(ask))
    vague = world.rejects("email postcode", "hm")
    assert world.runs().case(vague).state == "abstained"
    asked = len(made(world, vague))
    told = world.rejects("email postcode", "wrong person")
    world.runs()
    assert world.hint_of(told).hint.also_moves == [vague] and world.moves("cases", vague)[:2] == ["abstained", "queued"]
    assert len(made(world, vague)) == asked and len(model.asks) == asked + WHOLE


def tells_of(ask: Ask) -> Any:
    if ask.name == "rules" and "wrong person" not in ask.case:
        return {"rules": [{"quotes": [{"source": "comment", "quote": "hm"}], "wants": "hm"}]}
    return tells(ask)


def test_what_may_succeed_later_is_tried_later_and_says_so(world: World) -> None:
    busy = [TransportError(code="overloaded", retryable=True, retry_after=30.0), TransportError(code="rate_limited", retryable=True)]
    model = listens(world, lambda ask: busy.pop(0) if busy else tells(ask))
    case_id = world.rejects("email postcode", "wrong person")
    world.runs(wait=29)
    assert (
        world.case(case_id).state == "queued" and "overloaded" in (world.case(case_id).reason or "") and "30 s" in (world.case(case_id).reason or "")
    )
    world.runs()
    assert world.case(case_id).state == "drafted" and len(model.asks) == 2 + WHOLE and world.case(case_id).attempts <= 1
    delays = [delay for key, _, _, delay in world.asked.all(world.db) if key.startswith(f"draft:{case_id}:wait")]
    assert delays == [30.0, 10.0]


def test_a_server_that_never_comes_back_is_given_up_and_named(world: World) -> None:
    model = listens(world, lambda ask: TransportError(code="overloaded", retryable=True, retry_after=10**9))
    case_id = world.rejects("email postcode", "wrong person")
    row = world.runs().case(case_id)
    assert (row.state, row.reason) == ("failed", "overloaded") and len(model.asks) == critic.MOST_WAITS + 1
    delays = [delay for key, _, _, delay in world.asked.all(world.db) if ":wait-" in key]
    assert max(delays) == critic.LONGEST_WAIT and world.broken == []


def test_no_call_goes_out_past_the_cap_of_a_case(world: World) -> None:
    model = listens(world, caps=Caps(case=0.013, hour=100, day=100))
    case_id = world.rejects("email postcode", "wrong person")
    row = world.runs().case(case_id)
    assert (row.state, row.reason) == ("failed", "spend_cap_case") and 0 < len(model.asks) < WHOLE
    assert sum(call.usd if call.usd is not None else call.most_usd for call in made(world, case_id)) <= 0.013


@pytest.mark.parametrize("code", ["spend_cap_hour", "spend_cap_day", "in_batch"])
def test_waiting_for_money_or_a_batch_never_becomes_a_failure(world: World, code: str) -> None:
    """Steps of a quarter of an hour at most, so that a raised cap is seen soon; a server that is away is counted from where it was."""
    said = [
        PortError("overloaded", "busy", retryable=True),
        *3 * critic.MOST_WAITS * [PortError(code, "later", retryable=True, retry_after=80_000.0)],
    ]
    world.with_ports(critic=ScriptedCritic(lambda brief: said.pop(0) if said else Drafted(hints=[weight_hint(brief)])))
    case_id = world.rejects("email postcode", "wrong person")
    world.runs(wait=critic.LONGEST_WAIT - 1)
    row = world.case(case_id)
    assert row.state == "queued" and row.waits == 1 and (row.reason or "").endswith("later; next in 15 min")
    assert world.runs().case(case_id).state == "drafted" and not said
    delays = [delay for key, _, _, delay in world.asked.all(world.db) if f"draft:{case_id}:wait-1-" in key]
    assert delays == [5.0, *3 * critic.MOST_WAITS * [critic.LONGEST_WAIT]]


@pytest.mark.parametrize("cap", ["hour", "day"])
def test_a_cap_in_time_makes_drafts_wait_until_it_allows_them(world: World, cap: str) -> None:
    model = listens(world, caps=Caps(case=100, hour=100, day=100).model_copy(update={cap: 0.013}))
    case_id = world.rejects("email postcode", "wrong person")
    world.runs(wait=1)
    row = world.case(case_id)
    assert row.state == "queued" and (row.reason or "").startswith(f"spend_cap_{cap}")
    spent = len(model.asks)
    world.time += timedelta(days=1, minutes=1)
    world.reopen("draft", case_id)
    assert len(model.asks) > spent


def test_a_cap_of_nothing_asks_nothing(world: World) -> None:
    model = listens(world, caps=Caps(case=0, hour=0, day=0))
    case_id = world.rejects("email postcode", "wrong person")
    assert world.runs().case(case_id).reason == "spend_cap_case" and model.asks == [] and made(world, case_id) == []


def test_many_workers_at_once_do_not_pass_a_cap(world: World) -> None:
    """The reservation is made under one lock: eight at once see each other's."""
    listens(world)
    ids = [world.rejects("email postcode", f"wrong person {number}") for number in range(8)]
    ask = Ask(name="rules", key="x", rubric="r", case="c", form={})
    gate, refused = threading.Barrier(8), []

    def reserve(case_id: str) -> None:
        gate.wait()
        try:
            with world.db.begin() as session:
                calls.Purse(session, Caps(case=10, hour=3, day=10)).open(case_id, ask, "m", 1.0)
        except calls.Spent as spent:
            refused.append(spent.cap)

    threads = [threading.Thread(target=reserve, args=(one,)) for one in ids]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(refused) == 5 and set(refused) == {"hour"}


def test_a_server_that_does_not_say_what_was_used_is_counted_at_the_most(world: World) -> None:
    listens(world, lambda ask: Answered(value=tells(ask), receipt=Receipt(model="m", request_id="r", usage=None)))
    case_id = world.rejects("email postcode", "wrong person")
    cost = world.runs().hint_of(case_id).cost
    assert cost["usd"] == pytest.approx(sum(call.most_usd for call in made(world, case_id)), abs=1e-6) and cost["tokens"] == 0


def test_a_failed_call_that_was_never_billed_costs_nothing(world: World) -> None:
    busy: list[AskOutcome] = [TransportError(code="overloaded", retryable=True, receipt=Receipt(usage=Usage()))]
    listens(world, lambda ask: busy.pop() if busy else tells(ask))
    case_id = world.rejects("email postcode", "wrong person")
    world.runs()
    first = made(world, case_id)[0]
    assert (first.kind, first.usd) == ("transport_error", 0.0)


def test_what_lint_or_replay_find_out_is_the_only_reason_to_ask_again(world: World) -> None:
    """The first filling changes nothing: replay says so, and the second answer knows it. The evidence is not asked for again."""
    fills = iter([{"to": 4}, {"to": 1}])
    model = listens(world, lambda ask: next(fills) if ask.name == "fill" else tells(ask))
    case_id = world.rejects("email postcode", "wrong person")
    hint = world.runs().hint_of(case_id)
    assert hint.current["change"]["to"] == 1 and [ask.name for ask in model.asks].count("rules") == 1
    assert "no_effect" in model.asks[-1].case and "no_effect" not in model.asks[WHOLE - 1].case


def test_it_is_asked_again_at_most_twice(world: World) -> None:
    """Each answer names another place, so that each try is a new fact; the third answer is the last."""
    places = ["fetch:postcode", "fetch:email", "fetch:postcode", "fetch:email"]

    def answer(ask: Ask) -> Any:
        turn = ask.case.count(" was tried: ")
        return (
            {"fetch:postcode": {"to": 6}, "fetch:email": {"to": 4}}[places[turn]]
            if ask.name == "fill"
            else tells(ask) | ({"choice": places[turn]} if ask.name == "target" else {})
        )

    model = listens(world, answer)
    case_id = world.rejects("email postcode", "wrong person")
    assert world.runs().case(case_id).state == "abstained"
    assert [ask.name for ask in model.asks].count("fill") == 1 + answering.PASSES


def test_the_same_fact_twice_is_no_news(world: World) -> None:
    model = listens(world, lambda ask: {"to": 6} if ask.name == "fill" else tells(ask))
    case_id = world.rejects("email postcode", "wrong person")
    assert world.runs().case(case_id).state == "abstained"
    assert [ask.name for ask in model.asks].count("fill") == 2


def test_a_second_pass_that_may_still_come_is_waited_for_where_there_is_no_hint(world: World) -> None:
    busy: list[AskOutcome] = [TransportError(code="rate_limited", retryable=True)]
    fills = iter([{"to": 6}, {"to": 1}])

    def answer(ask: Ask) -> Any:
        if "was tried" in ask.case and busy:
            return busy.pop()
        return next(fills) if ask.name == "fill" else tells(ask)

    listens(world, answer)
    case_id = world.rejects("email postcode", "wrong person")
    assert world.runs(wait=1).case(case_id).state == "queued"
    assert world.runs().hint_of(case_id).current["change"]["to"] == 1


def test_a_second_pass_that_cannot_be_had_leaves_the_first_abstention(world: World) -> None:
    listens(world, lambda ask: Refused() if "was tried" in ask.case else {"to": 6} if ask.name == "fill" else tells(ask))
    case_id = world.rejects("email postcode", "wrong person")
    row = world.runs().case(case_id)
    assert row.state == "abstained" and (row.reason or "").startswith("no_effect")


class Listening(ScriptedCritic):
    listens = True


NO_QUOTE = [Span(source="comment", start=0, end=5, quote="never")]
"""lint says that it does not stand in the case"""


@pytest.mark.parametrize("later", [Abstained(outcome=Outcome.unclear_ask_back, reason="unsure"), PortError("rate_limited", "later", retryable=True)])
def test_a_hint_that_replay_has_proven_outlasts_a_later_abstention(world: World, later: Abstained | PortError) -> None:
    """A hint that changes nothing comes between, so that it is not the last answer that counts."""

    def say(brief: Brief) -> Drafted | Abstained | PortError:
        turn = len(double.briefs)
        return Drafted(hints=[weight_hint(brief, 1 if turn == 1 else 6, evidence=NO_QUOTE)]) if turn < 3 else later

    double = Listening(say)
    world.with_ports(critic=double)
    case_id = world.rejects("email postcode", "wrong person")
    hint = world.runs().hint_of(case_id)
    assert hint.current["change"]["to"] == 1 and hint.hint.confidence.replay == "moved" and len(double.briefs) == 3
    assert "quote_not_in_case" in [one["code"] for one in hint.findings]


def test_a_hint_that_replay_has_not_proven_gives_way_to_a_later_abstention(world: World) -> None:
    said: list[Any] = [
        lambda brief: Drafted(hints=[weight_hint(brief, 6, evidence=NO_QUOTE)]),
        lambda brief: Abstained(outcome=Outcome.one_off, reason="once"),
    ]
    world.with_ports(critic=Listening(lambda brief: said.pop(0)(brief)))
    case_id = world.rejects("email postcode", "wrong person")
    assert world.runs().case(case_id).outcome == "one_off" and said == []


def test_a_critic_that_has_nothing_new_to_hear_is_not_asked_again(world: World) -> None:
    model = listens(world, lambda ask: {"choice": "abstain"} if ask.name == "locate" else tells(ask))
    case_id = world.rejects("email postcode", "wrong person")
    assert world.runs().case(case_id).state == "abstained" and len(model.asks) == 4


def test_asks_hold_masked_text_only(world: World) -> None:
    model = listens(world)
    ticket = {"messages": [{"role": "customer", "text": "Ada Byron here, ada@example.com, email postcode"}], "known_values": {"name": "Ada Byron"}}
    world.rejects(ticket, "wrong person, that is not Ada Byron")
    world.runs()
    sent = " ".join(ask.model_dump_json() for ask in model.asks)
    assert model.asks and "Ada" not in sent and "Byron" not in sent and "ada@example.com" not in sent and "<NAME_1" in sent


def test_the_tray_without_a_model_stays_as_it_was(world: World) -> None:
    assert asking(world.ports, world.db, CATALOGUE, case=1, hour=1, day=1) is world.ports


def test_refusal_of_a_case_is_an_error_with_our_words_only() -> None:
    assert "<script>" not in str(_failure(Refused(category="<script>")))
    assert isinstance(_failure(InvalidOutput(why="x" * 1000)), PortError) and len(str(_failure(InvalidOutput(why="x" * 1000)))) < 300


def test_the_watch_looks_beside_everything_else_and_again_only_after_trouble() -> None:
    said, now, looks = ["unreachable: nobody there", None, None], [0.0], []

    def look() -> str | None:
        looks.append(now[0])
        return said.pop(0)

    watch = Watch(look, lambda: now[0])
    assert watch.trouble() == "it has not answered yet"
    watch.wait()
    assert watch.trouble() == "unreachable: nobody there" and len(looks) == 1  # not within the same minute
    now[0] = 61.0
    watch.trouble()
    watch.wait()
    assert watch.trouble() is None and len(looks) == 2
    now[0] = 1000.0
    assert watch.trouble() is None and len(looks) == 2


def looks_of(said: str, minutes: int) -> list[float]:
    """When a watch that is asked every second looks at a model whose trouble stays."""
    now, looks = [0.0], []

    def look() -> str:
        looks.append(now[0] / 60)
        return said

    watch = Watch(look, lambda: now[0])
    for second in range(0, minutes * 60, 20):
        now[0] = float(second)
        watch.trouble()
        watch.wait()
    return looks


def test_looks_at_trouble_that_stays_become_seldom() -> None:
    """A look is a call that no cap knows of."""
    assert looks_of("unreachable: nobody there", 200) == [0, 1, 3, 7, 15, 31, 63, 123, 183]
    assert len(looks_of("unreachable: nobody there", 24 * 60)) == 29


@pytest.mark.parametrize("code", ["truncated", "wrong_form", "invalid_output", "refused"])
def test_a_model_that_answers_badly_is_looked_at_once_an_hour(code: str) -> None:
    assert looks_of(f"{code}: so it is", 130) == [0, 60, 120]


def test_a_look_that_breaks_is_trouble() -> None:
    def breaks() -> str | None:
        raise ZeroDivisionError("not for everybody")

    watch = Watch(breaks, lambda: 0.0)
    watch.trouble()
    watch.wait()
    assert watch.trouble() == "the look at it broke (ZeroDivisionError)"


def test_the_critic_s_name_says_who_answers(world: World) -> None:
    model = ScriptedModel(tells)
    assert AskingCritic(world.db, model, CATALOGUE, PLENTY).name == "asking-1 scripted-model-1"


class Watched:
    """A database that knows whether somebody writes."""

    def __init__(self, world: World):
        self._db, self.read, self.writes = world.db, world.db.read, False

    @contextmanager
    def begin(self) -> Iterator[Any]:
        with self._db.begin() as session:
            self.writes = True
            yield session
            self.writes = False


def test_nobody_waits_for_the_lock_while_an_ask_is_priced_or_out(world: World) -> None:
    seen: list[tuple[str, bool]] = []

    class Slow(ScriptedModel):
        def most(self, ask: Ask) -> float:
            seen.append(("priced", db.writes))
            return super().most(ask)

        def ask(self, ask: Ask) -> AskOutcome:
            seen.append(("out", db.writes))
            return super().ask(ask)

    db, case_id = Watched(world), world.rejects("email postcode", "wrong person")
    AskingCritic(db, Slow(tells), CATALOGUE, PLENTY).ask(case_id, Ask(name="rules", key="rules", rubric="r", case="c", form={}))  # type: ignore[arg-type]
    assert seen == [("priced", False), ("out", False)]


class Late:
    """A database in which something happens between a look at the ledger and the lock."""

    def __init__(self, world: World, happens: Callable[[Any], None]):
        self._db, self._happens, self.read = world.db, happens, world.db.read

    def begin(self) -> Any:
        with self._db.begin() as session:
            self._happens(session)
        self._happens = lambda session: None
        return self._db.begin()


@pytest.mark.parametrize("ended", [False, True])
def test_an_ask_that_went_out_with_a_batch_a_moment_ago_is_not_doubled(world: World, ended: bool) -> None:
    """The look under the lock decides: it waits for the batch, or takes its answer."""
    case_id = world.rejects("email postcode", "wrong person")
    ask, model = Ask(name="rules", key="rules", rubric="r", case="c", form={}), ScriptedModel(tells)

    def batch(session: Any) -> None:
        name = calls.Purse(session, PLENTY).open(case_id, ask, "m", 0.1, "batch_1", how=model.how)
        if ended:
            calls.end(session, name, Answered(value=RULES), 0.1)

    asker = AskingCritic(Late(world, batch), model, CATALOGUE, PLENTY)  # type: ignore[arg-type]
    if ended:
        assert asker.ask(case_id, ask) == Answered(value=RULES)
    else:
        with pytest.raises(PortError, match="in a batch"):
            asker.ask(case_id, ask)
    assert model.asks == [] and len(made(world, case_id)) == 1
