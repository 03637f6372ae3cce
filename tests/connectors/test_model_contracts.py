"""What every `Model` promises, held over the scripted one and over Claude against a server of sockets."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import SecretStr, TypeAdapter

from connectors.claude import ClaudeMessages
from connectors.claude_profile import Profile
from connectors.ports import Model
from connectors.scripted import ScriptedModel
from rubric.drafting import Answered, Ask, AskOutcome, InvalidOutput, Receipt, Refused, TransportError, Truncated, Usage
from tests.samples import messages
from tests.samples.messages import MessagesStub, Play

FORM = {"type": "object", "properties": {"step": {"enum": ["abstain", "fetch"]}}, "required": ["step"], "additionalProperties": False}
ASK = Ask(name="locate", key="k1", rubric="Which step is it?", case="They wrote: wrong account.", form=FORM)
ENDS: dict[str, tuple[AskOutcome | dict[str, Any], Play]] = {
    "answered": ({"step": "fetch"}, messages.says({"step": "fetch"})),
    "refused": (Refused(category="bio"), messages.refuses()),
    "max_tokens": (Truncated(by="max_tokens"), messages.cut()),
    "context_window": (Truncated(by="context_window"), messages.too_long()),
    "invalid_output": (InvalidOutput(why="not_json"), messages.words("no JSON")),
    "transport_error": (TransportError(code="rate_limited", retryable=True, retry_after=7), messages.fails(429, retry_after="7")),
}


@dataclass
class Modelled:
    model: Model
    asked: Callable[[], int]
    """how many asks arrived"""


def scripted(name: str, stack: ExitStack) -> Modelled:
    model = ScriptedModel(lambda ask: ENDS[name][0])
    return Modelled(model, lambda: len(model.asks))


def claude(name: str, stack: ExitStack) -> Modelled:
    stub = stack.enter_context(MessagesStub(ENDS[name][1]))
    model = ClaudeMessages(Profile(base_url=stub.url, api_key=SecretStr("key-of-the-tests"), model="claude-sonnet-5-5"))
    stack.callback(model.close)
    return Modelled(model, lambda: stub.calls)


@pytest.fixture(params=[scripted, claude])
def make(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Modelled]]:
    with ExitStack() as stack:
        yield lambda name: request.param(name, stack)


@pytest.mark.parametrize("name", ENDS)
def test_an_ask_ends_in_one_of_the_declared_ways_and_never_raises(make: Any, name: str) -> None:
    outcome = make(name).model.ask(ASK)
    said = ENDS[name][0]
    meant = Answered(value=said) if isinstance(said, dict) else said
    assert outcome.model_copy(update={"receipt": Receipt()}) == meant
    assert TypeAdapter(AskOutcome).validate_json(outcome.model_dump_json()) == outcome


@pytest.mark.parametrize("name", ENDS)
def test_a_model_asks_once_and_remembers_nothing(make: Any, name: str) -> None:
    made = make(name)
    first = made.model.ask(ASK)
    assert made.asked() == 1
    again = made.model.ask(ASK)
    assert made.asked() == 2 and type(first) is type(again)


def test_an_answer_costs_no_more_than_was_feared(make: Any) -> None:
    model = make("answered").model
    outcome = model.ask(ASK)
    assert outcome.receipt.usage is not None and outcome.receipt.usage.output > 0
    cost = model.cost(outcome.receipt)
    assert cost is not None and 0 < cost <= model.most(ASK)
    assert model.most(ASK.model_copy(update={"most_tokens": 16_000})) > model.most(ASK)
    assert model.most(ASK.model_copy(update={"case": ASK.case * 500})) > model.most(ASK)


def test_what_the_server_did_not_count_has_no_cost(make: Any) -> None:
    model = make("answered").model
    receipt = model.ask(ASK).receipt
    assert model.cost(receipt.model_copy(update={"usage": None})) is None
    assert model.cost(receipt.model_copy(update={"usage": Usage()})) == 0


def test_a_model_has_a_name_that_can_stand_on_a_hint(make: Any) -> None:
    assert 1 <= len(make("answered").model.name) <= 100


def test_a_scripted_model_answers_in_order_and_then_not_at_all() -> None:
    model = ScriptedModel([{"step": "fetch"}, Refused(category="bio")])
    assert [model.ask(ASK).kind for _ in range(3)] == ["answered", "refused", "transport_error"]
    assert model.asks == [ASK] * 3
