"""Batches are tried against a server of sockets: unordered results, single failures, lines missing or doubled, and a download that breaks."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr

from connectors.claude_batches import ClaudeBatches
from connectors.claude_profile import Profile
from connectors.ports import PortError
from rubric.drafting import Answered, Ask, TransportError, Usage
from tests.samples import messages
from tests.samples.messages import CANCELED, EXPIRED, MessagesStub, Play, Said

KEY = "key-that-nobody-may-see-0123456789"
FORM = {"type": "object", "properties": {"step": {"enum": ["abstain", "fetch"]}}, "required": ["step"], "additionalProperties": False}


def ask(case: str) -> Ask:
    return Ask(name="rules", key=case, rubric="Which rule is it?", case=case, form=FORM)


ASKS = {f"case-{number}_a": ask(f"case {number}") for number in range(5)}
WENT = dict.fromkeys(ASKS, "claude-haiku-5-5")


def batches_of(stub: MessagesStub, **more: Any) -> ClaudeBatches:
    return ClaudeBatches(Profile(base_url=stub.url, api_key=SecretStr(KEY), model="claude-haiku-5-5", wall_seconds=20.0, **more))


def echo(body: dict[str, Any]) -> Said:
    return {"step": body["messages"][0]["content"]}


def code_of(call: Callable[[], object]) -> tuple[str, bool]:
    with pytest.raises(PortError) as caught:
        call()
    assert KEY not in str(caught.value) and caught.value.__cause__ is None
    return caught.value.code, caught.value.retryable


def test_each_ask_of_a_batch_gets_its_own_answer_whatever_the_order() -> None:
    with MessagesStub(echo, running=2) as stub:
        batches = batches_of(stub)
        batch = batches.submit(ASKS)
        assert not batches.ended(batch)
        assert code_of(lambda: list(batches.collect(batch, WENT))) == ("batch_running", True)
        assert batches.ended(batch)
        found = list(batches.collect(batch, WENT))
    assert [name for name, _ in found] == list(reversed(ASKS))
    assert {name: outcome.value for name, outcome in found if isinstance(outcome, Answered)} == {
        name: {"step": one.case} for name, one in ASKS.items()
    }
    params = [one["params"] for one in stub.requests[0].body["requests"]]
    assert not any("tools" in one for one in params) and params[0]["system"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    receipt = found[0][1].receipt
    assert receipt.model == "claude-haiku-5-5" and receipt.request_id.startswith("msg_") and receipt.usage is not None
    cost = batches.cost(receipt)
    whole = (receipt.usage.input * 0.10 + receipt.usage.output * 0.50) / 1_000_000
    assert cost == pytest.approx(whole / 2) and cost <= batches.most(ASKS["case-0_a"])


def test_what_goes_wrong_with_one_ask_is_its_own_outcome() -> None:
    plays: dict[str, Play] = {
        "ok": messages.says({"step": "fetch"}), "bad": messages.errored(), "busy": messages.errored("overloaded_error"),
        "rate": messages.errored("rate_limit_error"), "broken": messages.errored("api_error"), "slow": messages.errored("timeout_error"), "new": messages.errored("something_new"),
        "big": messages.errored("request_too_large"), "expired": EXPIRED, "canceled": CANCELED, "refused": messages.refuses(), "cut": messages.cut(),
        "prose": messages.words("no"),
    }  # fmt: skip
    with MessagesStub(lambda body: plays[body["messages"][0]["content"]]) as stub:
        batches = batches_of(stub)
        found = dict(batches.collect(batches.submit({name: ask(name) for name in plays}), dict.fromkeys(plays, "claude-haiku-5-5")))
    ends = {name: (one.code, one.retryable) if isinstance(one, TransportError) else one.kind for name, one in found.items()}
    assert ends == {
        "ok": "answered", "bad": ("bad_request", False), "busy": ("overloaded", True), "rate": ("rate_limited", True),
        "broken": ("server_error", True), "new": ("server_error", True), "slow": ("timeout", True), "big": ("too_large", False), "expired": ("expired", True),
        "canceled": ("canceled", True), "refused": "refused", "cut": "truncated", "prose": "invalid_output",
    }  # fmt: skip
    assert all(found[name].receipt.usage == Usage() for name in ("bad", "busy", "broken", "slow", "expired", "canceled"))


def line(name: Any, result: Any) -> bytes:
    return json.dumps({"custom_id": name, "result": result}).encode()


def test_missing_doubled_foreign_and_broken_lines_leave_one_outcome_an_ask() -> None:
    def lines(sent: list[bytes]) -> list[bytes]:
        first, second, third = sent[:3]
        other = line("case-0_a", {"type": "errored", "error": {"type": "error", "error": {"type": "api_error"}}})
        odd = [line("someone-else", {"type": "expired"}), line(7, {}), line("a b", {}), b"no JSON", b"[]", b"", b"\xff", b'{"a":1,"a":2}']
        return [*odd, first, other, second, second, third[: len(third) // 2], line("case-3_a", "nonsense"), line("case-4_a", {"type": "vanished"})]

    with MessagesStub(echo, lines=lines) as stub:
        batches = batches_of(stub)
        found = list(batches.collect(batches.submit(ASKS), WENT))
    assert [name for name, _ in found] == ["case-0_a", "case-1_a", "case-3_a", "case-4_a", "case-2_a"]
    ends = {name: (one.code, one.retryable) if isinstance(one, TransportError) else one.kind for name, one in found}
    assert ends == {
        "case-0_a": "answered", "case-1_a": "answered", "case-2_a": ("missing", True), "case-3_a": ("garbage", False), "case-4_a": ("garbage", False),
    }  # fmt: skip


@pytest.mark.parametrize("said", ["our-gateway/haiku", "claude-opus-5-5", "claude-haiku-5-5-20261001"])
def test_each_ask_costs_what_its_own_model_costs_whatever_the_server_calls_it(said: str) -> None:
    with MessagesStub(messages.says({"step": "fetch"}, model=said)) as stub:
        batches = batches_of(stub, models={"locate": "claude-sonnet-5-5"})
        asks = {"a": ask("x"), "b": ask("x").model_copy(update={"name": "locate"})}
        models = {name: batches.model_of(one) for name, one in asks.items()}
        found = dict(batches.collect(batches.submit(asks), models))
    assert models == {"a": "claude-haiku-5-5", "b": "claude-sonnet-5-5"}
    costs = [batches.cost(found[name].receipt) or 0.0 for name in "ab"]
    assert costs[1] == pytest.approx(20 * costs[0]) and costs[0] > 0


def test_fences_are_opened_where_the_profile_says_so() -> None:
    with MessagesStub(messages.words('```json\n{"step": "fetch"}\n```')) as stub:
        batches = batches_of(stub, structured="prompt_json", send_effort=False)
        assert [outcome.kind for _, outcome in batches.collect(batches.submit(ASKS), WENT)] == ["answered"] * 5


@pytest.mark.parametrize("name", ["", "a b", "ü", "x" * 65, "a/b", "a\n"])
def test_an_id_that_no_server_takes_is_refused_before_anything_is_sent(name: str) -> None:
    with MessagesStub(echo) as stub:
        assert code_of(lambda: batches_of(stub).submit({name: ask("x")})) == ("bad_custom_id", False)
        assert code_of(lambda: batches_of(stub).submit({})) == ("bad_batch", False)
        assert stub.requests == []


@pytest.mark.parametrize("batch", ["", "../messages", "a?b", "x" * 200])
def test_an_id_that_is_none_of_a_batch_is_refused(batch: str) -> None:
    with MessagesStub(echo) as stub:
        assert code_of(lambda: batches_of(stub).ended(batch)) == ("bad_batch", False)
        assert stub.requests == []


class Broken(MessagesStub):
    """Answers about batches by `broken`, a play for each request in turn, and after that as usual."""

    def __init__(self, *broken: Play | None):
        super().__init__(echo)
        self._broken = list(broken)

    def _batch(self, seen: Any) -> Play:
        play = self._broken.pop(0) if self._broken else None
        return super()._batch(seen) if play is None else play


@pytest.mark.parametrize(
    ("play", "code"),
    [
        (messages.fails(429), ("rate_limited", True)),
        (messages.fails(401), ("unauthorised", False)),
        (messages.fails(404), ("not_found", False)),
        (messages.fails(500), ("server_error", True)),
        (messages.RESET, ("unreachable", True)),
        (messages.HTML, ("garbage", False)),
        (messages.bytes_of(b"[]"), ("garbage", False)),
        (messages.bytes_of(b'{"id": "a b"}'), ("garbage", False)),
        (messages.bytes_of(b"{}"), ("garbage", False)),
    ],
)
def test_what_goes_wrong_with_the_batch_is_told_by_its_code(play: Play, code: tuple[str, bool]) -> None:
    with Broken(play) as stub:
        assert code_of(lambda: batches_of(stub).submit(ASKS)) == code
        assert len(stub.requests) == 1


def test_a_broken_download_yields_nothing_and_can_be_asked_for_anew() -> None:
    cut_short = messages.half(messages.bytes_of(line("case-0_a", {"type": "expired"}) * 50))
    with Broken(None, None, cut_short) as stub:
        batches = batches_of(stub)
        batch = batches.submit(ASKS)
        seen: list[str] = []
        assert code_of(lambda: seen.extend(name for name, _ in batches.collect(batch, WENT))) == ("unreachable", True)
        assert seen == [] and len(list(batches.collect(batch, WENT))) == 5


def test_results_come_from_our_server_and_not_from_where_it_points() -> None:
    with MessagesStub(echo) as stub:
        batches = batches_of(stub)
        batch = batches.submit(ASKS)
        assert len(list(batches.collect(batch, WENT))) == 5
        assert [seen.path for seen in stub.requests] == [
            "/v1/messages/batches",
            f"/v1/messages/batches/{batch}",
            f"/v1/messages/batches/{batch}/results",
        ]
        assert all(seen.headers["authorization"] == f"Bearer {KEY}" for seen in stub.requests)
