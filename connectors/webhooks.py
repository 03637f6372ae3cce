"""The door for signed messages, sans-I/O: who sent this (Standard Webhooks 1.0), and what it says."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from rubric.schema import TEXT_CAP, Case, Verdict
from rubric.strict import Unreadable, load_json

TOLERANCE = timedelta(seconds=300)
"""Furthest a message's time may lie from ours, both ways, inclusive."""
MAX_SIGNATURES = 10
"""Signatures of one message that are looked at; those behind them do not count."""
MAX_VALUES = 20_000
"""Values in one case; bounds what a refusal can cost (1 MiB of wrong items took 500 MB of error reports)."""

REFUSALS = {
    "header_missing": 401,
    "header_repeated": 400,
    "id_malformed": 400,
    "timestamp_malformed": 400,
    "timestamp_too_old": 401,
    "timestamp_too_new": 401,
    "signature_malformed": 400,
    "signature_version": 401,
    "signature_mismatch": 401,
    "source_without_secret": 401,
}
"""Everything `verify` can answer besides a delivery: {code: HTTP status}."""

_OF_JSON = "not_utf8 not_json not_a_number number_too_large duplicate_key too_deep too_many_values unstorable_text text_too_long"
CASE_REFUSALS = dict.fromkeys(f"{_OF_JSON} field_missing field_unknown field_invalid time_without_zone".split(), 422)
"""Everything `parse_case` can answer besides a case: {code: HTTP status}."""

_ID = re.compile(rb"[A-Za-z0-9_-]{1,64}")
_TIMESTAMP = re.compile(rb"0|[1-9][0-9]{0,9}")
_SIGNATURE = re.compile(rb"[A-Za-z0-9+/]{43}=")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ](?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?P<zone>[Zz]|[+-][0-9]{2}:[0-9]{2})?")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_ESCAPED = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")  # without one, a body of few bytes has neither what cannot be stored nor too much
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Headers = Iterable[tuple[bytes, bytes]] | Mapping[str, str] | Mapping[bytes, bytes]
Path = tuple[str | int, ...]


class Refusal(Exception):
    """A message that does not come in. `code` is stable; the text names what and where, and quotes at most 80 characters."""

    def __init__(self, status: int, code: str, message: str):
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Delivery:
    """An authentic message: the sender's id of it (the same on every retry) and the time it was signed for."""

    delivery_id: str
    at: datetime


def read_secret(text: str) -> bytes:
    """The key in a `whsec_…` secret, 24 to 64 bytes. Raises ValueError, which never quotes the secret."""
    if not text.startswith("whsec_"):
        raise ValueError("a webhook secret must begin with whsec_")
    try:
        key = base64.b64decode(text.removeprefix("whsec_").encode(), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("a webhook secret must be whsec_ and then padded base64") from None
    if not 24 <= len(key) <= 64:
        raise ValueError(f"a webhook secret must hold 24 to 64 bytes, this one holds {len(key)}")
    return key


def sign(delivery_id: str, at: datetime, body: bytes, secret: str) -> dict[str, str]:
    """Headers for sending a body; `at` needs a zone. Raises ValueError for what `verify` would refuse anyway."""
    _require_zone(at, "at")
    name, timestamp = delivery_id.encode("utf-8", "replace"), str(int(at.timestamp())).encode()
    if not _ID.fullmatch(name):
        raise ValueError("a delivery id must be 1 to 64 of A-Z a-z 0-9 _ -")
    if not _TIMESTAMP.fullmatch(timestamp):
        raise ValueError("the time of a delivery must lie between 1970 and 2286")
    signature = _signature(name, timestamp, body, read_secret(secret))
    return {"webhook-id": delivery_id, "webhook-timestamp": timestamp.decode(), "webhook-signature": f"v1,{signature.decode()}"}


def verify(headers: Headers, body: bytes, secrets: Sequence[str], now: datetime) -> Delivery:
    """Admit a message that one of the source's secrets signed within `TOLERANCE` of now, or raise `Refusal` (codes: `REFUSALS`).

    Total over headers and body. Raises ValueError only for our own mistakes, whatever the message: an unreadable secret, `now` without a zone.
    """
    _require_zone(now, "now")
    keys = [read_secret(secret) for secret in secrets]
    name, timestamp, signatures = _three_headers(headers)
    if not _ID.fullmatch(name):
        raise _refused("id_malformed", f"webhook-id must be 1 to 64 of A-Z a-z 0-9 _ -, not {_quoted(name)}")
    at = _fresh(timestamp, now)
    given = _v1_signatures(signatures)
    if not keys:
        raise _refused("source_without_secret", "this source has no secret")
    expected = [_signature(name, timestamp, body, key) for key in keys]
    if not any([hmac.compare_digest(ours, theirs) for ours in expected for theirs in given]):  # a list: all are compared
        raise _refused("signature_mismatch", "no signature in webhook-signature fits this id, timestamp and body")
    return Delivery(name.decode(), at)


def _three_headers(headers: Headers) -> tuple[bytes, bytes, bytes]:
    found: dict[bytes, list[bytes]] = {b"webhook-id": [], b"webhook-timestamp": [], b"webhook-signature": []}
    for name, value in headers.items() if isinstance(headers, Mapping) else headers:
        values = found.get(_as_bytes(name).lower())  # lower() of bytes is ASCII only: no look-alike letter folds into a name
        if values is not None:
            values.append(_as_bytes(value))
    for name, values in found.items():
        if not values:
            raise _refused("header_missing", f"the header {name.decode()} is missing")
        if len(values) > 1:
            raise _refused("header_repeated", f"the header {name.decode()} stands {len(values)} times")
    return found[b"webhook-id"][0], found[b"webhook-timestamp"][0], found[b"webhook-signature"][0]


def _fresh(timestamp: bytes, now: datetime) -> datetime:
    if not _TIMESTAMP.fullmatch(timestamp):
        raise _refused("timestamp_malformed", f"webhook-timestamp must be whole seconds since 1970 in plain digits, not {_quoted(timestamp)}")
    at = datetime.fromtimestamp(int(timestamp), UTC)
    if abs(now - at) > TOLERANCE:
        code, side = ("timestamp_too_old", "past") if at < now else ("timestamp_too_new", "future")
        raise _refused(code, f"webhook-timestamp {timestamp.decode()} lies more than {TOLERANCE.seconds} s in the {side}")
    return at


def _v1_signatures(header: bytes) -> list[bytes]:
    """The `v1` values among the first ten; other versions are passed over, as the standard asks."""
    given = []
    for place, token in enumerate(header.split(b" ", MAX_SIGNATURES)[:MAX_SIGNATURES], 1):
        version, comma, value = token.partition(b",")
        if not version or not comma or (version == b"v1" and not _SIGNATURE.fullmatch(value)):
            raise _refused("signature_malformed", f"signature {place} in webhook-signature is not `v1,` and the base64 of 32 bytes")
        if version == b"v1":
            given.append(value)
    if not given:
        raise _refused("signature_version", "webhook-signature holds no v1 signature")
    return given


def _signature(name: bytes, timestamp: bytes, body: bytes, key: bytes) -> bytes:
    """Base64, and compared as such: two spellings of the same 32 bytes are not the same signature."""
    mac = hmac.new(key, b"%b.%b." % (name, timestamp), hashlib.sha256)
    mac.update(body)
    return base64.b64encode(mac.digest())


def _as_bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")


def _require_zone(at: datetime, what: str) -> None:
    if at.utcoffset() is None:
        raise ValueError(f"{what} needs a time zone")


def _refused(code: str, message: str) -> Refusal:
    return Refusal(REFUSALS[code], code, message)


def _quoted(value: bytes) -> str:
    return _clipped(ascii(value[:80].decode("latin-1")))


@dataclass(frozen=True)
class _Problem:
    code: str
    path: Path
    text: str


def parse_case(body: bytes) -> Case:
    """Read one case; JSON types must match the schema exactly, times become UTC. Any other bytes raise `Refusal` 422 (`CASE_REFUSALS`)."""
    try:
        tree = load_json(body)
    except Unreadable as error:
        raise Refusal(422, error.code, str(error)) from None
    _raise_first(list(_unstorable(tree)) if len(body) > min(2 * MAX_VALUES, TEXT_CAP) or _ESCAPED.search(body) else [])
    problems = list(_read_times(tree))
    if isinstance(tree, dict) and tree.get("verdict") in ("accepted", "rejected"):
        tree["verdict"] = Verdict(tree["verdict"])
    try:
        case = Case.model_validate(tree, strict=True)
    except ValidationError as error:
        problems += _of_schema(error, tree)
    _raise_first(problems)
    return case


def _raise_first(problems: list[_Problem]) -> None:
    """Refuse for the first problem, if any, and count the other places; unknown fields are named together."""
    if not problems:
        return
    first = problems[0]
    named = [problem.path for problem in problems if problem is first or problem.code == first.code == "field_unknown"][:10]
    more = len({problem.path for problem in problems} - set(named))
    where = _clipped(", ".join(_written(path) for path in named))
    raise Refusal(422, first.code, f"{where}: {first.text}" + (f" (and {more} more)" if more else ""))


def _unstorable(tree: Any) -> Iterator[_Problem]:
    for count, (path, value) in enumerate(_values_and_keys(tree, ())):
        if count > 2 * MAX_VALUES:
            raise Refusal(422, "too_many_values", f"the body holds more than {MAX_VALUES} values")
        if isinstance(value, str) and len(value) > TEXT_CAP:
            yield _Problem("text_too_long", path, f"is longer than {TEXT_CAP} characters")
        elif isinstance(value, str) and _UNSTORABLE.search(value):
            yield _Problem("unstorable_text", path, "holds a NUL or a lone surrogate, which cannot be stored")


def _values_and_keys(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """Every value, and before it its key or place, in the order of the document; `load_json` bounds the depth."""
    yield path, value
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield (*path, key), key
        yield from _values_and_keys(child, (*path, key))


def _read_times(tree: Any) -> Iterator[_Problem]:
    """Put UTC times where the case has RFC 3339 texts; what is not one stays, and the schema refuses it."""
    for path, holder, key in _time_fields(tree):
        text = holder.get(key) if isinstance(holder, dict) else None
        match = _TIME.fullmatch(text) if isinstance(text, str) else None
        if not match:
            continue
        try:
            at = datetime.fromisoformat(match[0].upper())
            holder[key] = at.astimezone(UTC) if match["zone"] else at
        except (ValueError, OverflowError):
            continue
        if not match["zone"]:
            yield _Problem("time_without_zone", (*path, key), "has no time zone; write UTC as 2025-02-03T14:22:58Z")


def _time_fields(tree: Any) -> Iterator[tuple[Path, Any, str]]:
    if not isinstance(tree, dict):
        return
    yield (), tree, "occurred_at"
    messages = tree["ticket"].get("messages") if isinstance(tree.get("ticket"), dict) else None
    for place, message in enumerate(messages if isinstance(messages, list) else []):
        yield ("ticket", "messages", place), message, "at"
    yield ("rejection",), tree.get("rejection"), "at"


_KINDS = {
    "missing": ("field_missing", "is missing"),
    "extra_forbidden": ("field_unknown", "is not a known field"),
    "string_too_long": ("text_too_long", None),
    "datetime_type": ("field_invalid", "must be a time with a zone, such as 2025-02-03T14:22:58Z"),
    "is_instance_of": ("field_invalid", "must be accepted or rejected"),
    "model_type": ("field_invalid", "must be an object"),
}


def _of_schema(error: ValidationError, tree: Any) -> Iterator[_Problem]:
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        code, text = _KINDS.get(item["type"], ("field_invalid", None))
        yield _Problem(code, _path_of(item["loc"], tree), text or item["msg"].removeprefix("Value error, "))


def _path_of(loc: Path, tree: Any) -> Path:
    """The JSON path of a pydantic place, without the labels it adds for unions and keys (`list[…]`, `[key]`)."""
    path: Path = ()
    here = tree
    for part in loc:
        try:
            here = here[part]
        except (KeyError, IndexError, TypeError):
            if not isinstance(here, dict) or "[" in str(part):
                continue
            here = None
        path = (*path, part)
    return path


def _written(path: Path) -> str:
    text = ""
    for part in path:
        plain = isinstance(part, str) and _PLAIN_KEY.fullmatch(part)
        text += f".{part}" if plain else f"[{_clipped(repr(part))}]"
    return text.removeprefix(".") or "the case"


def _clipped(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"
