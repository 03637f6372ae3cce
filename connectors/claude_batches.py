"""Message batches live here: many asks handed over at once for half the price, and fetched when the server has worked them off."""

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import IO, Any

import anthropic
import httpx2

from connectors.claude import client_of
from connectors.claude_profile import Profile, request_of, usd_at_most
from connectors.claude_reading import by_type, failed, read_message, whole
from connectors.claude_wire import RAW_CAP, TooLong
from connectors.ports import PortError
from rubric.drafting import Ask, AskOutcome, Receipt, TransportError, Usage
from rubric.strict import Unreadable, load_json

MOST_ASKS = 10_000
"""in one batch; a batch that is lost should not hold a day's work"""
DOWNLOAD_SECONDS = 600.0
DOWNLOAD_CAP = 256 * 1024 * 1024
LINE_CAP = RAW_CAP
CUSTOM_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
BATCH_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
UNBILLED = {"expired", "canceled"}


class ClaudeBatches:
    """Asks in batches. What goes wrong with the batch raises `PortError`; what goes wrong with one ask is its outcome.

    A submission whose answer is lost may stand at the server without anybody who knows its id: it is paid for and never collected.
    """

    def __init__(self, profile: Profile, *, download_seconds: float = DOWNLOAD_SECONDS):
        self.name = profile.model
        self.how = profile.how
        self._profile = profile
        self._prices = profile.price_list()
        self._client = client_of(profile)
        self._downloads = client_of(profile, download_seconds, DOWNLOAD_CAP)

    def submit(self, asks: Mapping[str, Ask]) -> str:
        """Hand over asks by ids of our own; gives the batch's id."""
        if not 1 <= len(asks) <= MOST_ASKS:
            raise PortError("bad_batch", f"a batch holds 1 to {MOST_ASKS} asks")
        if not all(CUSTOM_ID.fullmatch(name) for name in asks):
            raise PortError("bad_custom_id", "an id in a batch is 1 to 64 letters, digits, '-' and '_'")
        requests: Any = [{"custom_id": name, "params": request_of(self._profile, ask)} for name, ask in asks.items()]
        told = self._call(lambda: self._client.messages.batches.with_streaming_response.create(requests=requests))
        found = told.get("id")
        if not isinstance(found, str) or not BATCH_ID.fullmatch(found):
            raise PortError("garbage", "the model server took a batch and gave no id for it", lost=True)
        return found

    def ended(self, batch: str) -> bool:
        """Whether the server has worked off all of a batch."""
        name = _batch_id(batch)
        told = self._call(lambda: self._client.messages.batches.with_streaming_response.retrieve(name))
        return told.get("processing_status") == "ended"

    def collect(self, batch: str, models: Mapping[str, str]) -> Iterator[tuple[str, AskOutcome]]:
        """Each ask's outcome, in no order. Nothing is yielded before all of the results are here, so a broken download is asked for anew.

        `models`: id → the model that its ask went to, of all that were handed over. Each is answered once: of two results under one id the first
        counts, what cannot be read or stands under another id is passed over, and at the end what has no result is told as `missing`.
        Raises `PortError("batch_running")`, retryable, before the batch has ended.
        """
        if not self.ended(batch):
            raise PortError("batch_running", "the batch has not ended yet", retryable=True)
        seen: set[str] = set()
        with tempfile.TemporaryFile() as file:
            self._download(batch, file)
            file.seek(0)
            while line := file.readline(LINE_CAP):
                name, result = _read_line(line)
                if name in models and name not in seen:
                    seen.add(name)
                    yield name, _outcome(result, Receipt(model=models[name]), fenced=self._profile.structured == "prompt_json")
        for name, model in models.items():
            if name not in seen:
                yield name, TransportError(code="missing", retryable=True, receipt=Receipt(model=model))

    def model_of(self, ask: Ask) -> str:
        """As `Model.model_of`."""
        return self._profile.model_of(ask.name)

    def most(self, ask: Ask) -> float:
        """As `Model.most`, at the price of batches."""
        return usd_at_most(self._profile, self._prices, ask) * self._prices.batch

    def cost(self, receipt: Receipt) -> float | None:
        """As `Model.cost`, at the price of batches."""
        if receipt.usage == Usage():
            return 0.0  # whatever the model: its price may have gone from the settings
        usd = None if receipt.usage is None else self._prices.usd(receipt.model, receipt.usage)
        return None if usd is None else usd * self._prices.batch

    def close(self) -> None:
        self._client.close()
        self._downloads.close()

    def _call(self, call: Callable[[], Any]) -> Mapping[str, Any]:
        try:
            with call() as reply:
                told = load_json(whole(reply.iter_bytes(), RAW_CAP), what="the reply")
        except Unreadable:
            told = None
        except Exception as error:  # the SDK raises untyped ones too
            raise _port_error(error) from None
        if not isinstance(told, Mapping):
            raise PortError("garbage", "the model server answered about a batch with something else", lost=True)
        return told

    def _download(self, batch: str, file: IO[bytes]) -> None:
        """By the batch's id, not by the address that the server gives for the results: the key goes to one server only."""
        path = f"/v1/messages/batches/{_batch_id(batch)}/results"
        try:
            reply: Any = self._downloads.get(path, cast_to=httpx2.Response, stream=True, stream_cls=anthropic.Stream[object])
            with closing(reply) as response:  # a plain response, unread
                size = 0
                for part in response.iter_bytes():
                    size += file.write(part)
                    if size > DOWNLOAD_CAP:
                        raise TooLong
        except Exception as error:  # as above
            raise _port_error(error) from None


def _batch_id(batch: str) -> str:
    if not BATCH_ID.fullmatch(batch):
        raise PortError("bad_batch", "that is no id of a batch")
    return batch


def _port_error(error: Exception) -> PortError:
    outcome = failed(error, Receipt())
    if isinstance(outcome, TransportError):
        arrived = outcome.receipt.usage is None or outcome.code == "server_error"  # a gateway may have lost the answer of the server behind it
        said = f"the model server did not answer about a batch: {outcome.code}"
        return PortError(outcome.code, said, retryable=outcome.retryable, retry_after=outcome.retry_after, lost=arrived)
    return PortError("garbage", "the model server sent more about a batch than a batch can hold", lost=True)


def _read_line(line: bytes) -> tuple[str, Mapping[str, Any]]:
    """Whose result a line is, and what it says; "" when it does not say whose."""
    try:
        told = load_json(line, what="a result")
    except Unreadable:
        return "", {}
    name = told.get("custom_id") if isinstance(told, Mapping) else None
    if not isinstance(name, str):
        return "", {}
    result = told.get("result")
    return name, result if isinstance(result, Mapping) else {}


def _outcome(result: Mapping[str, Any], receipt: Receipt, *, fenced: bool) -> AskOutcome:
    """How an ask of a batch ended. `receipt` names the model that it went to: what a server calls it otherwise has no price."""
    kind, unbilled = result.get("type"), receipt.model_copy(update={"usage": Usage()})
    if kind == "succeeded":
        return read_message(result.get("message"), receipt, fenced=fenced)
    if kind == "errored":
        return by_type(_inner_type(result.get("error")), unbilled)
    if isinstance(kind, str) and kind in UNBILLED:
        return TransportError(code=kind, retryable=True, receipt=unbilled)
    return TransportError(code="garbage", retryable=False, receipt=receipt)


def _inner_type(error: Any) -> Any:
    """The type of an error, which stands in an envelope of type `error`."""
    inner = error.get("error") if isinstance(error, Mapping) else None
    found = inner if isinstance(inner, Mapping) else error
    return found.get("type") if isinstance(found, Mapping) else None
