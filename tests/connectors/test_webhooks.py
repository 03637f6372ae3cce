"""Who may enter by the webhook door, and what a body must look like; each guard is shown refusing."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from connectors.webhooks import CASE_REFUSALS, MAX_VALUES, REFUSALS, TOLERANCE, Delivery, Refusal, parse_case, read_secret, sign, verify
from rubric.schema import TEXT_CAP, Case, Verdict

VECTORS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("webhook_vectors.json").read_text("utf-8"))
"""Values are UTF-8 text, {"base64"} of bytes, or {"text", "then", "times"}; `now` is in seconds since 1970; `expect` is ok or a code."""

SECRET_A, SECRET_B, SECRET_NEW = ("whsec_" + base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2, 3))
NOW = datetime(2026, 11, 20, 8, 32, 42, tzinfo=UTC)
fixed = settings(max_examples=500)


def raw(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if "base64" in value:
        return base64.b64decode(value["base64"])
    return (value["text"] + value["then"] * value["times"]).encode()


def answer(vector: dict[str, Any]) -> str:
    headers = [(raw(name), raw(value)) for name, value in vector["headers"]]
    now = datetime.fromtimestamp(0, UTC) + timedelta(seconds=vector["now"])
    try:
        delivery = verify(headers, raw(vector["body"]), vector["secrets"], now)
    except Refusal as refusal:
        assert refusal.status == REFUSALS[refusal.code]
        assert_harmless(refusal)
        return refusal.code
    given = {name.lower(): value for name, value in headers}
    assert delivery.delivery_id.encode() == given[b"webhook-id"]
    assert delivery.at.timestamp() == int(given[b"webhook-timestamp"])
    return "ok"


def assert_harmless(refusal: Refusal) -> None:
    assert refusal.status in (400, 401, 422)
    assert str(refusal).isprintable()
    assert len(str(refusal)) <= 300


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(Refusal) as caught:
        call()
    assert_harmless(caught.value)
    return caught.value.code


def as_bytes(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]


# --- who sent it ---


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_vector(vector: dict[str, Any]) -> None:
    assert answer(vector) == vector["expect"]


def test_vectors_reach_every_declared_refusal() -> None:
    assert len(VECTORS) >= 60
    assert {vector["expect"] for vector in VECTORS} == {"ok", *REFUSALS}


@pytest.mark.parametrize("body", [b"", b"{}", '{"a": "Grüße 🙂"}'.encode(), b'{"a":1}' * 3000])
def test_the_library_and_we_accept_each_other(body: bytes) -> None:
    now = datetime.now(UTC)
    signed = {"webhook-id": "msg_1", "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": ""}
    signed["webhook-signature"] = Webhook(SECRET_A).sign("msg_1", now, body.decode())
    assert verify(as_bytes(signed), body, [SECRET_A], now) == Delivery("msg_1", now.replace(microsecond=0))
    ours = sign("msg_2", now, body, SECRET_A)
    Webhook(SECRET_A).verify(body, ours, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET_B).verify(body, ours, json_parse=False)


def test_rotation_loses_nothing_and_retires_for_good() -> None:
    by_old, by_new = (sign("m", NOW, b"{}", secret) for secret in (SECRET_A, SECRET_NEW))
    for secrets, admitted in (([SECRET_A], [by_old]), ([SECRET_A, SECRET_NEW], [by_old, by_new]), ([SECRET_NEW], [by_new])):
        for headers in (by_old, by_new):
            if headers in admitted:
                assert verify(headers, b"{}", secrets, NOW).delivery_id == "m"
            else:
                assert refused(lambda headers=headers, secrets=secrets: verify(headers, b"{}", secrets, NOW)) == "signature_mismatch"


def test_a_secret_of_one_source_never_admits_another() -> None:
    headers = sign("m", NOW, b"{}", SECRET_A)
    assert verify(headers, b"{}", [SECRET_A], NOW)
    assert refused(lambda: verify(headers, b"{}", [SECRET_B], NOW)) == "signature_mismatch"


def test_headers_may_come_as_a_mapping_of_text_or_bytes() -> None:
    headers = sign("m", NOW, b"{}", SECRET_A)
    assert verify(headers, b"{}", [SECRET_A], NOW) == verify(dict(as_bytes(headers)), b"{}", [SECRET_A], NOW)
    assert refused(lambda: verify({**headers, "Webhook-Id": "m"}, b"{}", [SECRET_A], NOW)) == "header_repeated"
    look_alike = {"webhoo\u212a-id": headers.pop("webhook-id"), **headers}  # the Kelvin sign, which str.lower() makes a k
    assert refused(lambda: verify(look_alike, b"{}", [SECRET_A], NOW)) == "header_missing"
    assert refused(lambda: verify({**headers, "webhook-id": "\ud800"}, b"{}", [SECRET_A], NOW)) == "id_malformed"


def test_a_refusal_quotes_little_and_escapes_it() -> None:
    headers = {**sign("m", NOW, b"{}", SECRET_A), "webhook-id": "\x1b[31m\r\n" * 1000}
    with pytest.raises(Refusal) as caught:
        verify(headers, b"{}", [SECRET_A], NOW)
    assert "\\x1b[31m\\r\\n" in str(caught.value)
    assert_harmless(caught.value)


def test_our_own_mistakes_are_loud_and_not_refusals() -> None:
    headers = sign("m", NOW, b"{}", SECRET_A)
    with pytest.raises(ValueError, match="zone"):
        verify(headers, b"{}", [SECRET_A], NOW.replace(tzinfo=None))
    with pytest.raises(ValueError, match="whsec_"):
        verify(headers, b"{}", [SECRET_A, "hunter2"], NOW)
    for delivery_id, at in (("m.1", NOW), ("", NOW), ("\ud800", NOW), ("m", NOW.replace(tzinfo=None)), ("m", NOW.replace(year=1969))):
        with pytest.raises(ValueError, match=r"delivery|zone"):
            sign(delivery_id, at, b"{}", SECRET_A)


@pytest.mark.parametrize(("size", "good"), [(0, False), (23, False), (24, True), (32, True), (64, True), (65, False)])
def test_secret_sizes(size: int, good: bool) -> None:
    text = "whsec_" + base64.b64encode(b"k" * size).decode()
    if good:
        assert read_secret(text) == b"k" * size
    else:
        with pytest.raises(ValueError, match="24 to 64 bytes"):
            read_secret(text)


@pytest.mark.parametrize(
    "text", ["", "hunter2-hunter2-hunter2", SECRET_A[6:], SECRET_A.upper(), SECRET_A[:-1], SECRET_A + "\n", "whsec_!!!", "whsec_é"]
)
def test_an_unreadable_secret_is_named_but_not_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="a webhook secret must") as caught:
        read_secret(text)
    assert not text[6:] or text[6:] not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


HEADER_NAME = st.sampled_from([b"webhook-id", b"webhook-timestamp", b"webhook-signature", b"Webhook-Id"]) | st.binary(max_size=12)
NEARLY = st.sampled_from([b"m1", str(int(NOW.timestamp())).encode(), b"v1," + b"A" * 43 + b"=", b"v1,", b"v1,=", b"inf", b"-1", b" "]) | st.binary(
    max_size=60
)


@fixed
@given(st.lists(st.tuples(HEADER_NAME, NEARLY), max_size=6), st.binary(max_size=60))
def test_any_bytes_get_a_declared_refusal(headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    assert refused(lambda: verify(headers, body, [SECRET_A], NOW)) in REFUSALS


@fixed
@given(NEARLY, NEARLY, NEARLY, st.binary(max_size=60))
def test_any_three_headers_get_a_declared_refusal(name: bytes, timestamp: bytes, signature: bytes, body: bytes) -> None:
    headers = [(b"webhook-id", name), (b"webhook-timestamp", timestamp), (b"webhook-signature", signature)]
    assert refused(lambda: verify(headers, body, [SECRET_A], NOW)) in REFUSALS


def test_every_single_bit_of_a_message_counts() -> None:
    """Not sampled: all bits of one message, the unused ones of base64's last digit included."""
    body = b'{"external_id": "demo:1"}'
    parts = [*(value for _, value in as_bytes(sign("msg_1", NOW, body, SECRET_A))), body]
    names = [b"webhook-id", b"webhook-timestamp", b"webhook-signature"]
    assert verify(zip(names, parts[:3], strict=True), parts[3], [SECRET_A], NOW)
    for part in range(4):
        for bit in range(8 * len(parts[part])):
            bent = [bytearray(value) for value in parts]
            bent[part][bit // 8] ^= 1 << bit % 8
            name, timestamp, signature, text = map(bytes, bent)
            headers = list(zip(names, (name, timestamp, signature), strict=True))
            assert refused(lambda headers=headers, text=text: verify(headers, text, [SECRET_A], NOW)) in REFUSALS


@fixed
@given(st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True), st.binary(max_size=200), st.integers(-300, 300), st.data())
def test_a_signed_message_enters_and_a_bent_one_never(delivery_id: str, body: bytes, age: int, data: st.DataObject) -> None:
    headers = as_bytes(sign(delivery_id, NOW - timedelta(seconds=age), body, SECRET_A))
    assert verify(headers, body, [SECRET_B, SECRET_A], NOW) == Delivery(delivery_id, NOW - timedelta(seconds=age))
    parts = [*(bytearray(value) for _, value in headers), bytearray(body)]
    part = data.draw(st.sampled_from([part for part in parts if part]))
    bit = data.draw(st.integers(0, 8 * len(part) - 1))
    part[bit // 8] ^= 1 << bit % 8
    bent = [(name, bytes(value)) for (name, _), value in zip(headers, parts[:3], strict=True)]
    assert refused(lambda: verify(bent, bytes(parts[3]), [SECRET_B, SECRET_A], NOW)) in REFUSALS


@fixed
@given(st.integers(-400, 400))
@example(int(TOLERANCE.total_seconds()))
@example(-int(TOLERANCE.total_seconds()))
def test_freshness_is_300_seconds_both_ways(age: int) -> None:
    headers = sign("m", NOW - timedelta(seconds=age), b"", SECRET_A)
    if abs(age) <= 300:
        assert verify(headers, b"", [SECRET_A], NOW)
    else:
        assert refused(lambda: verify(headers, b"", [SECRET_A], NOW)) == ("timestamp_too_old" if age > 0 else "timestamp_too_new")


# --- what it says ---

FULL: dict[str, Any] = {
    "external_id": "demo:1",
    "revision": 2,
    "occurred_at": "2025-02-03T14:22:58Z",
    "source": "shadow-ui",
    "ticket": {
        "subject": "Top-up",
        "messages": [
            {"role": "customer", "text": "Hi, it is about NSB083112.", "at": "2025-02-03T13:22:58+01:00"},
            {"role": "agent", "text": "Hello"},
        ],
        "attachments": [{"name": "a.txt", "content_type": "text/plain", "text": "x"}, {"name": "b.txt", "media_type": "text/csv"}],
        "locale": "en-GB",
        "known_values": {"name": "Emeka", "accounts": ["NSB083112", "NSB083113"]},
    },
    "plan": {
        "intent_path": "top_up/top_up_reverted",
        "extraction": {"account": {"account_number": "NSB083112", "variants": ["a", {"b": None}], "count": 3}},
        "fetch": [{"record_id": "acc_1", "score": 21, "matched_fields": ["name"]}, {"record_id": "acc_2", "score": 0.5}],
        "reply": "Hello Emeka",
        "tool_calls": [{"name": "get_reason", "arguments": {"record_id": "acc_1", "deep": [1, 2.5, True, None]}}],
        "trace": {"steps": [{"ms": 12}]},
    },
    "verdict": "rejected",
    "rejection": {"reason": "wrong", "comment": "no", "by": "agent-1", "at": "2025-02-03T14:27:58.5Z", "corrected_reply": "Hi"},
    "snapshot": {"pipeline_commit": "abc", "prompt_versions": {"plan": "3"}, "records": [{"id": "acc_1"}]},
}
PLACES: list[tuple[str | int, ...]] = []


def collect_places(value: Any, path: tuple[str | int, ...] = ()) -> None:
    PLACES.append(path)
    for key, child in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        collect_places(child, (*path, key))


collect_places(FULL)
GONE = object()


def full(path: str | tuple[str | int, ...] = (), value: Any = GONE) -> bytes:
    """The full case as bytes, with one value put elsewhere or, without a value, taken away."""
    tree = json.loads(json.dumps(FULL))
    *way, last = path.split(".") if isinstance(path, str) else path or ("",)
    here = tree
    for key in way:
        here = here[int(key) if isinstance(here, list) else key]
    if isinstance(here, list):
        last = int(last)
    if value is not GONE:
        here[last] = value
    elif last in here or isinstance(here, list):
        del here[last]
    return json.dumps(tree).encode()


def replaced(old: str, new: str) -> bytes:
    """The full case with raw JSON text in place of other raw JSON text."""
    text = full().decode()
    assert text.count(old) == 1
    return text.replace(old, new).encode()


def test_a_full_case_comes_in_whole() -> None:
    case = parse_case(full())
    expected = Case.model_validate(FULL)
    assert case == expected
    assert case.occurred_at == datetime(2025, 2, 3, 14, 22, 58, tzinfo=UTC)
    assert case.ticket.messages[0].at == datetime(2025, 2, 3, 12, 22, 58, tzinfo=UTC)
    assert {case.occurred_at.tzinfo, case.ticket.messages[0].at.tzinfo, case.rejection and case.rejection.at.tzinfo} == {UTC}
    assert case.plan.intent_path == ["top_up", "top_up_reverted"]


def test_a_small_case_comes_in() -> None:
    body = b'{"ticket": {"messages": [{"role": "customer", "text": ""}]}, "plan": {"intent_path": ["a"]}, "verdict": "accepted"}'
    assert parse_case(body).verdict is Verdict.accepted
    assert parse_case(full("verdict")).verdict is Verdict.rejected  # said by the rejection
    assert parse_case(full("occurred_at", None)).occurred_at is None


@pytest.mark.parametrize(
    "text",
    ["2025-02-03t14:22:58z", "2025-02-03 14:22:58Z", "2025-02-03T14:22:58.000000999Z", "2025-02-03T14:22:58-00:00", "2025-02-04T14:21:58+23:59"],
)
def test_times_of_rfc_3339_come_in_as_utc(text: str) -> None:
    assert parse_case(full("occurred_at", text)).occurred_at == datetime(2025, 2, 3, 14, 22, 58, tzinfo=UTC)


@pytest.mark.parametrize("path", ["rejection.comment", "plan.reply", "ticket.messages.0.text", "plan.trace.steps", "snapshot.records.0.id"])
def test_a_text_may_hold_64_ki_characters_and_no_more(path: str) -> None:
    assert parse_case(full(path, "é" * TEXT_CAP))
    assert refused(lambda: parse_case(full(path, "é" * (TEXT_CAP + 1)))) == "text_too_long"


BAD: list[tuple[str, bytes, str, str]] = [
    # name, body, code, what the message must say
    ("nothing", b"", "not_json", "line 1"),
    ("not UTF-8", b'{"a": "\xff"}', "not_utf8", "byte 7"),
    ("UTF-16", full().decode().encode("utf-16"), "not_utf8", "byte 0"),
    ("byte order mark", b"\xef\xbb\xbf" + full(), "not_json", "BOM"),
    ("surrogate as UTF-8", replaced('"no"', '"@"').replace(b"@", b"\xed\xa0\x80"), "not_utf8", "byte"),
    ("cut", full()[:-1], "not_json", "line 1"),
    ("two documents", full() * 2, "not_json", "Extra data"),
    ("trailing comma", full()[:-1] + b",}", "not_json", "line 1"),
    ("raw control character", replaced('"no"', '"\x01"'), "not_json", "control character"),
    ("raw NUL", replaced('"no"', '"\x00"'), "not_json", "control character"),
    ("NaN", replaced("0.5", "NaN"), "not_a_number", "NaN"),
    ("Infinity", replaced("0.5", "-Infinity"), "not_a_number", "Infinity"),
    ("1e999", replaced("0.5", "1e999"), "number_too_large", "1e999"),
    ("-1e999", replaced("0.5", "-1e999"), "number_too_large", "-1e999"),
    ("2^53 + 1", replaced("21,", "9007199254740993,"), "number_too_large", "9007199254740993"),
    ("2^63", replaced("21,", f"{2**63},"), "number_too_large", "2^53"),
    ("5,000 digits", replaced("21,", "9" * 5000 + ","), "number_too_large", "2^53"),
    ("duplicate key", replaced('"verdict"', '"verdict": "accepted", "verdict"'), "duplicate_key", "'verdict'"),
    ("duplicate key, spelt otherwise", replaced('"verdict"', '"verdic\\u0074": "accepted", "verdict"'), "duplicate_key", "'verdict'"),
    ("duplicate key deep down", replaced('"ms": 12', '"ms": 12, "ms": 12'), "duplicate_key", "'ms'"),
    ("200,000 [", b"[" * 200_000, "too_deep", "32"),
    ('200,000 {"a":', b'{"a":' * 200_000, "too_deep", "32"),
    ("deep trace", full("plan.trace", json.loads('{"a":' * 31 + "1" + "}" * 31)), "too_deep", "32"),
    ("NUL in a text", replaced('"no"', '"n\\u0000o"'), "unstorable_text", "rejection.comment:"),
    ("lone surrogate in a text", replaced('"no"', '"n\\ud800o"'), "unstorable_text", "rejection.comment:"),
    ("low surrogate in a text", replaced('"no"', '"\\udc00"'), "unstorable_text", "rejection.comment:"),
    ("NUL in an extracted value", full("plan.extraction.account.variants.1.b", "\0"), "unstorable_text", "plan.extraction.account.variants[1].b:"),
    ("NUL in a tool argument", full("plan.tool_calls.0.arguments.deep.3", "\0"), "unstorable_text", "plan.tool_calls[0].arguments.deep[3]:"),
    ("lone surrogate in the trace", full("plan.trace.steps.0.ms", "\ud800"), "unstorable_text", "plan.trace.steps[0].ms:"),
    ("lone surrogate in a record", full("snapshot.records.0.id", "\ud800"), "unstorable_text", "snapshot.records[0].id:"),
    ("NUL in a key", full("plan.trace.a\0", 1), "unstorable_text", "plan.trace['a\\x00']:"),
    ("lone surrogate in a key", full("snapshot.records.0.\ud800", 1), "unstorable_text", "snapshot.records[0]['\\ud800']:"),
    ("two unstorable texts", full("plan.trace.steps", ["\0", "\0", {"\0": "\0"}]), "unstorable_text", "(and 2 more)"),
    ("key of 64 Ki + 1", full("plan.trace." + "k" * (TEXT_CAP + 1), 1), "text_too_long", "plan.trace.kkk"),
    ("label of 201", full("source", "x" * 201), "text_too_long", "source:"),
    ("too many values", full("plan.trace.steps", [0] * MAX_VALUES), "too_many_values", str(MAX_VALUES)),
    ("a list", b"[]", "field_invalid", "the case:"),
    ("a word", b'"x"', "field_invalid", "the case:"),
    ("null", b"null", "field_invalid", "the case:"),
    ("unknown field", full("foo", 1), "field_unknown", "foo: is not a known field"),
    ("unknown fields", replaced('"verdict"', '"foo": 1, "b\\nr": 1, "verdict"'), "field_unknown", "foo, ['b\\nr']: "),
    ("unknown fields, many", json.dumps({**FULL, **{f"f{n}": n for n in range(100)}}).encode(), "field_unknown", "(and 90 more)"),
    ("unknown field inside", full("ticket.messages.0.html", "x"), "field_unknown", "ticket.messages[0].html:"),
    ("both names of one field", full("ticket.attachments.0.media_type", "x/y"), "field_unknown", "ticket.attachments[0].media_type:"),
    ("unknown and invalid", full("ticket.messages.0", {"role": "bot", "html": 1}), "field_invalid", "ticket.messages[0].role: "),
    ("no ticket", full("ticket"), "field_missing", "ticket: is missing"),
    ("no text", full("ticket.messages.1.text"), "field_missing", "ticket.messages[1].text: is missing"),
    ("no comment", full("rejection.comment"), "field_missing", "rejection.comment: is missing"),
    ("no verdict and no rejection", full("verdict").replace(b'"rejection"', b'"x"'), "field_missing", "verdict: is missing (and 1 more)"),
    ("ticket null", full("ticket", None), "field_invalid", "ticket: must be an object"),
    ("plan a list", full("plan", []), "field_invalid", "plan: must be an object"),
    ("no messages", full("ticket.messages", []), "field_invalid", "ticket.messages:"),
    ("201 messages", full("ticket.messages", [{"role": "customer", "text": ""}] * 201), "field_invalid", "ticket.messages:"),
    ("messages an object", full("ticket.messages", {}), "field_invalid", "ticket.messages:"),
    ("51 attachments", full("ticket.attachments", [{"name": "a"}] * 51), "field_invalid", "ticket.attachments:"),
    ("unknown role", full("ticket.messages.0.role", "system"), "field_invalid", "ticket.messages[0].role:"),
    ("text a number", full("ticket.messages.0.text", 1), "field_invalid", "ticket.messages[0].text:"),
    ("known value a number", full("ticket.known_values.name", 1), "field_invalid", "ticket.known_values.name:"),
    ("known value in a list a number", full("ticket.known_values.accounts", ["a", 1]), "field_invalid", "ticket.known_values.accounts"),
    ("known value with a long name", full("ticket.known_values." + "k" * 201, "x"), "text_too_long", "ticket.known_values.kkk"),
    ("revision 0", full("revision", 0), "field_invalid", "revision:"),
    ("revision -1", full("revision", -1), "field_invalid", "revision:"),
    ("revision too large", full("revision", 1_000_001), "field_invalid", "revision:"),
    ("revision false", full("revision", False), "field_invalid", "revision:"),
    ("revision true", full("revision", True), "field_invalid", "revision:"),
    ("revision 1.0", full("revision", 1.0), "field_invalid", "revision:"),
    ("revision as text", full("revision", "1"), "field_invalid", "revision:"),
    ("revision null", full("revision", None), "field_invalid", "revision:"),
    ("score as text", full("plan.fetch.0.score", "21"), "field_invalid", "plan.fetch[0].score:"),
    ("score true", full("plan.fetch.0.score", True), "field_invalid", "plan.fetch[0].score:"),
    ("fetch of numbers", full("plan.fetch", [1] * 9000), "field_invalid", "plan.fetch[0]: must be an object (and 8999 more)"),
    ("arguments as text", full("plan.tool_calls.0.arguments", "{}"), "field_invalid", "plan.tool_calls[0].arguments:"),
    ("intent path a number", full("plan.intent_path", 5), "field_invalid", "plan.intent_path:"),
    ("intent path of numbers", full("plan.intent_path", [5]), "field_invalid", "plan.intent_path[0]:"),
    ("intent path too long", full("plan.intent_path", "a/" + "b" * 201), "text_too_long", "plan.intent_path[1]:"),
    ("id with a newline", full("external_id", "demo:1\n"), "field_invalid", "external_id:"),
    ("id of 65", full("external_id", "x" * 65), "field_invalid", "external_id:"),
    ("id empty", full("external_id", ""), "field_invalid", "external_id:"),
    ("id a number", full("external_id", 36338), "field_invalid", "external_id:"),
    ("unknown verdict", full("verdict", "maybe"), "field_invalid", "verdict: must be accepted or rejected"),
    ("verdict true", full("verdict", True), "field_invalid", "verdict: must be accepted or rejected"),
    ("verdict a list", full("verdict", ["rejected"]), "field_invalid", "verdict: must be accepted or rejected"),
    ("verdict null", full("verdict", None), "field_invalid", "verdict: must be accepted or rejected"),
    ("rejected without rejection", full("rejection"), "field_invalid", "the case: a rejected case needs its rejection"),
    ("accepted with rejection", full("verdict", "accepted"), "field_invalid", "the case: an accepted case cannot carry a rejection"),
    ("time without zone", full("occurred_at", "2025-02-03T14:22:58"), "time_without_zone", "occurred_at:"),
    ("time of a message without zone", full("ticket.messages.0.at", "2025-02-03T14:22:58.5"), "time_without_zone", "ticket.messages[0].at:"),
    ("time of the rejection without zone", full("rejection.at", "2025-02-03 14:22:58"), "time_without_zone", "rejection.at:"),
    ("time a number", full("occurred_at", 1738592578), "field_invalid", "occurred_at: must be a time with a zone"),
    ("time a number as text", full("occurred_at", "1738592578"), "field_invalid", "occurred_at: must be a time with a zone"),
    ("time true", full("occurred_at", True), "field_invalid", "occurred_at:"),
    ("time with a newline", full("occurred_at", "2025-02-03T14:22:58Z\n"), "field_invalid", "occurred_at:"),
    ("time in Arabic digits", full("occurred_at", "٢٠٢٥-02-03T14:22:58Z"), "field_invalid", "occurred_at:"),
    ("date only", full("occurred_at", "2025-02-03"), "field_invalid", "occurred_at:"),
    ("30 February", full("occurred_at", "2025-02-30T00:00:00Z"), "field_invalid", "occurred_at:"),
    ("24 o'clock", full("occurred_at", "2025-02-03T24:00:00Z"), "field_invalid", "occurred_at:"),
    ("zone +25:00", full("occurred_at", "2025-02-03T14:22:58+25:00"), "field_invalid", "occurred_at:"),
    ("before the year 1 in UTC", full("occurred_at", "0001-01-01T00:00:00+05:00"), "field_invalid", "occurred_at:"),
    ("after the year 9999 in UTC", full("occurred_at", "9999-12-31T23:59:59-05:00"), "field_invalid", "occurred_at:"),
    ("rejection at null", full("rejection.at", None), "field_invalid", "rejection.at:"),
]


@pytest.mark.parametrize(("body", "code", "says"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_bad_body_is_refused_by_code_and_place(body: bytes, code: str, says: str) -> None:
    with pytest.raises(Refusal) as caught:
        parse_case(body)
    assert (caught.value.code, caught.value.status) == (code, 422)
    assert says in str(caught.value)
    assert_harmless(caught.value)


def test_bad_bodies_reach_every_declared_refusal() -> None:
    assert {code for _, _, code, _ in BAD} == set(CASE_REFUSALS)
    assert set(CASE_REFUSALS.values()) == {422}


def test_a_refusal_never_quotes_a_value_of_the_case() -> None:
    for path in PLACES[1:]:
        for value in ("Emeka-Hakimi-canary", ["Emeka-Hakimi-canary"], {"a": "Emeka-Hakimi-canary"}):
            try:
                parse_case(full(path, value))
            except Refusal as refusal:
                assert "canary" not in str(refusal)


def outcome(body: bytes) -> Case | None:
    """The case, or None for a declared refusal; anything else is a failed test."""
    try:
        case = parse_case(body)
    except Refusal as refusal:
        assert refusal.code in CASE_REFUSALS
        assert_harmless(refusal)
        return None
    case.model_dump_json().encode()  # holds no lone surrogate
    assert "\\u0000" not in case.model_dump_json()
    return case


SCALAR = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None), max_size=8)
    | st.sampled_from(["\ud800", "a/b", "rejected", "2025-02-03T14:22:58Z"])
)
VALUE = st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=8)


@fixed
@given(st.binary(max_size=200) | st.text(st.sampled_from('[]{}",:\\u0dE-+.1tfn \n'), max_size=60).map(str.encode))
def test_any_bytes_are_a_case_or_a_refusal(body: bytes) -> None:
    assert outcome(body) is None


@fixed
@given(VALUE | st.dictionaries(st.sampled_from([*FULL, "x"]), VALUE))
def test_any_json_is_a_case_or_a_refusal(value: Any) -> None:
    outcome(json.dumps(value).encode())


@settings(fixed, max_examples=1500)
@given(st.sampled_from(PLACES[1:]), VALUE)
def test_any_value_at_any_place_is_a_case_or_a_refusal(path: tuple[str | int, ...], value: Any) -> None:
    outcome(full(path, value))


@fixed
@given(st.data())
def test_a_case_cut_or_bent_anywhere_is_a_case_or_a_refusal(data: st.DataObject) -> None:
    body = bytearray(full())
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    outcome(bytes(body))
    assert outcome(bytes(body[: data.draw(st.integers(0, len(body) - 1))])) is None


def test_every_field_of_the_full_case_may_be_taken_away_without_a_crash() -> None:
    for path in PLACES[1:]:
        outcome(full(path))
