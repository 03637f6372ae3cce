"""Reads what a Messages server sends: a message into an outcome of the ask, a failure into its code; trusts no field before looking."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import anthropic
import httpcore2
import httpx2

from connectors.claude_wire import TooLong
from rubric.drafting import Answered, AskOutcome, InvalidOutput, Receipt, Refused, TransportError, Truncated, Usage
from rubric.schema import storable
from rubric.strict import Unreadable, load_json

TEXT_CAP = 200_000
"""largest answer, in bytes; what a critic asks for is answered in a few thousand"""
MOST_TOKENS = 100_000_000
"""more than a call can use: a larger count is none"""
FENCE = re.compile(r"\A```(?:json|JSON)?[ \t]*\r?\n(.*)\n[ \t]*```\Z", re.DOTALL)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/-]{0,127}")
CATEGORY = re.compile(r"[a-z][a-z0-9_]{0,39}")

BY_STATUS = {
    400: ("bad_request", False),
    401: ("unauthorised", False),
    402: ("unauthorised", False),
    403: ("unauthorised", False),
    404: ("not_found", False),
    408: ("timeout", True),
    409: ("server_error", True),
    413: ("too_large", False),
    429: ("rate_limited", True),
    431: ("too_large", False),
    503: ("overloaded", True),
    529: ("overloaded", True),
}
NOT_TAKEN = (500, 503, 529)
"""statuses from 500 by which a server says itself that it gave no answer; the others come from what stands before it"""
BY_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "timeout_error": 408,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "overloaded_error": 529,
}
"""type of an error inside a batch → the status that it has outside"""


def whole(parts: Iterable[bytes], cap: int) -> bytes:
    """All of a reply. Raises `TooLong` past the cap, which counts what a compressed reply unfolds to."""
    data = bytearray()
    for part in parts:
        data += part
        if len(data) > cap:
            raise TooLong
    return bytes(data)


def read_message(message: Any, receipt: Receipt, *, fenced: bool = False) -> AskOutcome:
    """What a message says, by its stop reason first. `receipt` holds what is known besides; usage and model are taken from the message.

    `fenced`: the answer may stand in one code fence, as servers without native structure give it.
    """
    if not isinstance(message, Mapping) or not isinstance(message.get("content"), list):
        return TransportError(code="garbage", retryable=False, receipt=receipt)
    receipt = _with(receipt, message)
    stop = message.get("stop_reason")
    if stop == "refusal":
        return Refused(category=_category(message.get("stop_details")), receipt=receipt)
    if stop == "max_tokens":
        return Truncated(by="max_tokens", receipt=receipt)
    if stop == "model_context_window_exceeded":
        return Truncated(by="context_window", receipt=receipt)
    if stop in ("tool_use", "pause_turn"):  # nothing of the kind was asked for
        return InvalidOutput(why=str(stop), receipt=receipt)
    blocks = [block for block in message["content"] if isinstance(block, Mapping) and block.get("type") == "text"]
    text = "".join(block["text"] for block in blocks if isinstance(block.get("text"), str))
    try:
        return Answered(value=read_answer(text, fenced=fenced), receipt=receipt)
    except Unreadable as error:
        return InvalidOutput(why=error.code, receipt=receipt)


def read_answer(text: str, *, fenced: bool = False) -> dict[str, Any]:
    """Exactly one JSON object. Raises `Unreadable` for anything else, and for what our databases cannot hold."""
    text = text.strip()
    if not text:
        raise Unreadable("no_text", "the answer holds no text")
    if len(text) > TEXT_CAP or len(text.encode("utf-8", "replace")) > TEXT_CAP:
        raise Unreadable("too_long", "the answer is too long")
    if fenced and (inside := FENCE.match(text)):
        text = inside[1]
    value = load_json(text.encode("utf-8", "surrogatepass"), what="the answer")
    if not isinstance(value, dict):
        raise Unreadable("not_object", "the answer is no JSON object")
    try:
        for word in _words(value):
            storable(word)
    except ValueError:
        raise Unreadable("not_storable", "the answer holds a NUL or half a character") from None
    return value


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _words(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _words(inner)


def _with(receipt: Receipt, message: Mapping[str, Any]) -> Receipt:
    said, own = named(message.get("model")), named(message.get("id"))
    asked = receipt.model
    model = said if said and (not asked or re.fullmatch(rf"{re.escape(asked)}(-\d{{8}})?", said)) else asked
    return receipt.model_copy(update={"model": model, "request_id": receipt.request_id or own, "usage": usage_of(message.get("usage"))})


def named(value: Any) -> str:
    """An id or a model's name as it is, "" for anything else: it goes on screens."""
    return value if isinstance(value, str) and NAME.fullmatch(value) else ""


def _category(details: Any) -> str:
    found = details.get("category") if isinstance(details, Mapping) else None
    return found if isinstance(found, str) and CATEGORY.fullmatch(found) else ""


def usage_of(said: Any) -> Usage | None:
    """Tokens as the server counted them; None when one count is missing or makes no sense, so that the most is assumed."""
    if not isinstance(said, Mapping):
        return None
    counts = [said.get("input_tokens"), said.get("output_tokens"), *(said.get(f"cache_{kind}_input_tokens") or 0 for kind in ("read", "creation"))]
    if not all(isinstance(count, int) and not isinstance(count, bool) and 0 <= count <= MOST_TOKENS for count in counts):
        return None
    return Usage(input=counts[0], output=counts[1], cache_read=counts[2], cache_write=counts[3])


def by_status(status: int, receipt: Receipt, retry_after: float | None = None) -> TransportError:
    """A reply that is no success. It was not billed, unless a gateway says it, which may have lost the answer of the server behind it."""
    other = ("server_error", True) if status >= 500 else ("bad_request", False) if status >= 400 else ("garbage", False)
    code, retryable = BY_STATUS.get(status, other)
    usage = None if status == 408 or (status >= 500 and status not in NOT_TAKEN) else Usage()
    return TransportError(code=code, retryable=retryable, retry_after=retry_after, receipt=receipt.model_copy(update={"usage": usage}))


def by_type(kind: Any, receipt: Receipt) -> TransportError:
    """A request of a batch that failed by itself. It was not billed."""
    found = by_status(BY_TYPE.get(kind, 500) if isinstance(kind, str) else 500, receipt)
    return found.model_copy(update={"receipt": receipt.model_copy(update={"usage": Usage()})})


def failed(error: Exception, receipt: Receipt) -> AskOutcome:
    """What an exception of a call means. It may hold request, reply and key in its folds, so nothing of it is quoted."""
    causes = list(_causes(error))
    status = next((cause for cause in causes if isinstance(cause, anthropic.APIStatusError)), None)
    if status is not None:
        found = receipt.model_copy(update={"request_id": named(status.request_id)})
        return by_status(status.status_code, found, retry_after(status.response.headers))

    def has(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    unsent = receipt.model_copy(update={"usage": Usage()})
    if has(TooLong):
        return InvalidOutput(why="too_long", receipt=receipt)
    if has(UnicodeError, httpcore2.LocalProtocolError):  # half a character in the ask, or a header that cannot be
        return TransportError(code="bad_request", retryable=False, receipt=unsent)
    if has(httpcore2.ConnectError, httpcore2.ConnectTimeout):
        return TransportError(code="unreachable", retryable=True, receipt=unsent)
    if has(httpcore2.TimeoutException):
        return TransportError(code="timeout", retryable=True, receipt=receipt)
    if has(httpcore2.NetworkError, httpcore2.RemoteProtocolError):
        return TransportError(code="unreachable", retryable=True, receipt=receipt)
    return TransportError(code="garbage", retryable=False, receipt=receipt)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__


def retry_after(headers: Mapping[str, str] | httpx2.Headers) -> float | None:
    """Seconds that the server asks to wait, from its own clock where it names a time; None for none or nonsense."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name) or "") / unit
        except ValueError:
            continue
        return seconds if math.isfinite(seconds) and seconds >= 0 else None
    try:
        wait = (parsedate_to_datetime(headers.get("retry-after") or "") - parsedate_to_datetime(headers.get("date") or "")).total_seconds()
    except (ValueError, TypeError, OverflowError):  # OverflowError: a day, year or zone of twenty digits
        return None
    return max(0.0, wait)
