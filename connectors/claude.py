"""Claude, or any server that speaks the Messages API, lives here: one ask, one request, one outcome, within a bound of time."""

import logging
import time
from typing import NamedTuple

import anthropic
import httpx2

from connectors.claude_profile import ASKS, Profile, request_of, usd_at_most
from connectors.claude_reading import failed, named, read_message, whole
from connectors.claude_wire import RAW_CAP, Wire
from rubric.drafting import Answered, Ask, AskOutcome, InvalidOutput, Receipt, Refused, TransportError, Truncated
from rubric.strict import Unreadable, load_json


class NotReady(NamedTuple):
    """Why the server cannot be used, for `/readyz`."""

    code: str
    sentence: str


class ClaudeMessages:
    """`Model` on the anthropic SDK. Holds no connection between calls and may be used by several threads at once."""

    def __init__(self, profile: Profile):
        """Raises `PortError("no_price")` when one of the profile's models has no price."""
        self.name = profile.model
        self.how = profile.how
        self._profile = profile
        self._prices = profile.price_list()
        self._client = client_of(profile)

    def ask(self, ask: Ask) -> AskOutcome:
        """One call. Raises `PortError("bad_form")` for an ask whose form is no schema, and nothing for what the server does."""
        body = request_of(self._profile, ask)
        receipt = Receipt(model=self.model_of(ask))
        start = time.monotonic()
        try:
            with self._client.messages.with_streaming_response.create(**body) as reply:
                receipt = receipt.model_copy(update={"request_id": named(reply.request_id)})
                message = load_json(whole(reply.iter_bytes(), RAW_CAP), what="the reply")
        except Unreadable:
            return TransportError(code="garbage", retryable=False, receipt=_took(receipt, start))
        except Exception as error:  # the SDK raises untyped ones too
            return failed(error, _took(receipt, start))
        return read_message(message, _took(receipt, start), fenced=self._profile.structured == "prompt_json")

    def model_of(self, ask: Ask) -> str:
        return self._profile.model_of(ask.name)

    def most(self, ask: Ask) -> float:
        return usd_at_most(self._profile, self._prices, ask)

    def cost(self, receipt: Receipt) -> float | None:
        return None if receipt.usage is None else self._prices.usd(receipt.model, receipt.usage)

    def probe(self) -> NotReady | None:
        """One small ask to each model of the profile, which has to come back in its form; None when all did."""
        names = {self._profile.model_of(name): name for name in reversed(ASKS)}
        for model, name in names.items():
            outcome = self.ask(PROBE.model_copy(update={"name": name}))
            if isinstance(outcome, Answered) and outcome.value == {"ready": "yes"}:
                continue
            return _not_ready(model, outcome)
        return None

    def trouble(self) -> str | None:
        found = self.probe()
        return None if found is None else f"{found.code}: {found.sentence}"

    def close(self) -> None:
        self._client.close()


PROBE = Ask(
    name="plain",
    key="probe",
    rubric="This is a check of the connection before any work is sent.",
    case="Answer that you are ready.",
    form={"type": "object", "properties": {"ready": {"enum": ["yes"]}}, "required": ["ready"], "additionalProperties": False},
    most_tokens=4000,
)
"""what `probe` asks"""


def _not_ready(model: str, outcome: AskOutcome) -> NotReady:
    match outcome:
        case TransportError():
            return NotReady(outcome.code, f"the model server did not answer for {model}: {outcome.code}")
        case Refused():
            return NotReady("refused", f"{model} refused the check of the connection")
        case Truncated():
            return NotReady("truncated", f"{model} did not get to the end of the check of the connection")
        case InvalidOutput():
            return NotReady("invalid_output", f"{model} did not answer the check in JSON ({outcome.why}); see the profile's `structured`")
        case Answered():
            return NotReady("wrong_form", f"{model} does not hold its answers to the form; see the profile's `structured`")


def _took(receipt: Receipt, start: float) -> Receipt:
    return receipt.model_copy(update={"seconds": round(time.monotonic() - start, 3)})


def client_of(profile: Profile, wall_seconds: float | None = None, raw_cap: int = RAW_CAP) -> anthropic.Anthropic:
    """The SDK's client of a profile: no retries, no spans, no proxy, no redirects, and nothing taken from the environment."""
    bound = wall_seconds or profile.wall_seconds
    client = anthropic.Anthropic(
        api_key=profile.api_key.get_secret_value(),
        base_url=profile.base_url,
        max_retries=0,
        timeout=bound,  # the wire keeps it; without one the SDK refuses asks with much room
        open_telemetry=False,
        http_client=httpx2.Client(
            transport=Wire(profile.base_url, profile.headers(), bound, raw_cap=raw_cap), trust_env=False, follow_redirects=False
        ),
    )
    _hush()
    return client


class _NoContent(logging.Filter):
    """The SDK logs whole requests at DEBUG."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.DEBUG


_NO_CONTENT = _NoContent()


def _hush() -> None:
    """Keep the SDK's DEBUG lines from every handler, whatever level is set now or later."""
    for name in list(logging.Logger.manager.loggerDict):
        if name == "anthropic" or name.startswith("anthropic."):
            logging.getLogger(name).addFilter(_NO_CONTENT)
