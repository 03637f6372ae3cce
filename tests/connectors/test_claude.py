"""The model server's door is tried against a server of sockets: each way of answering and of failing ends as declared, in one request."""

import json
import logging
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anthropic
import httpcore2
import httpx2
import pytest
from pydantic import SecretStr

from connectors import claude_profile
from connectors.claude import PROBE, ClaudeMessages, client_of
from connectors.claude_batches import ClaudeBatches
from connectors.claude_prices import Price, published
from connectors.claude_profile import Profile, request_of
from connectors.claude_reading import TEXT_CAP, read_answer, retry_after, usage_of
from connectors.claude_wire import Elsewhere, Wire
from connectors.ports import PortError
from rubric.drafting import Answered, Ask, AskOutcome, Receipt, Refused, Truncated, Usage
from rubric.strict import Unreadable
from tests.samples import messages
from tests.samples.messages import HTML, NONSENSE, RESET, SILENT, MessagesStub, Play, Script

KEY = "key-that-nobody-may-see-0123456789"
CANARY = "Ottilie Canary, account 4711"
RUBRIC = "Say which step failed. " * 200
FORM = {
    "type": "object",
    "properties": {
        "step": {"enum": ["abstain", "fetch", "reply"]},
        "by": {"type": "integer", "minimum": 1, "maximum": 9},
        "note": {"type": "string", "maxLength": 300},
    },
    "required": ["step"],
    "additionalProperties": False,
}
ASK = Ask(name="locate", key="k1", rubric=RUBRIC, case=f"<<<{CANARY} got the wrong account>>>", form=FORM)
ANSWER = {"step": "fetch"}
SOON = 0.5
"""seconds that a call may take where the server would never end"""


def profile_of(url: str, **more: Any) -> Profile:
    return Profile(**{"base_url": url, "api_key": SecretStr(KEY), "model": "claude-sonnet-5-5", "wall_seconds": 20.0, **more})


@contextmanager
def asked(script: Script, ask: Ask = ASK, **more: Any) -> Iterator[tuple[AskOutcome, MessagesStub]]:
    """The outcome of one ask, and the server that was asked."""
    with MessagesStub(script) as stub:
        model = ClaudeMessages(profile_of(stub.url, **more))
        outcome = model.ask(ask)
        model.close()
        yield outcome, stub


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(PortError) as caught:
        call()
    assert KEY not in str(caught.value)
    return caught.value.code


def told(outcome: AskOutcome) -> str:
    """An outcome in one line: its kind and what sets it apart."""
    match outcome.kind:
        case "answered":
            return f"answered {json.dumps(outcome.value, sort_keys=True)}"
        case "refused":
            return f"refused {outcome.category}".strip()
        case "truncated":
            return f"truncated {outcome.by}"
        case "invalid_output":
            return f"invalid_output {outcome.why}"
        case "transport_error":
            return f"{outcome.code} {'retryable' if outcome.retryable else 'final'} {outcome.retry_after or ''}".strip()


# ---- each way of answering

GOOD = 'answered {"step": "fetch"}'
PLAIN = json.dumps(ANSWER)
UNKNOWN = {"type": "hologram", "payload": {"x": 1}}
THOUGHT = {"type": "thinking", "thinking": "it was fetch", "signature": "c2ln"}
ENDS: dict[str, tuple[Play, str]] = {
    "ok": (messages.says(ANSWER), GOOD),
    "ok, zipped unasked": (messages.zipped(messages.says(ANSWER)), GOOD),
    "two text blocks": (messages.words(PLAIN[:5], PLAIN[5:]), GOOD),
    "an unknown block and thoughts": (messages.blocks(THOUGHT, UNKNOWN, messages.text(PLAIN)), GOOD),
    "a text block that holds none": (messages.blocks({"type": "text", "text": 7}, "no block", messages.text(PLAIN)), GOOD),  # type: ignore[arg-type]
    "an unknown stop reason": (messages.says(ANSWER, stop="tired"), GOOD),
    "no stop reason": (messages.says(ANSWER, stop=None), GOOD),
    "refusal": (messages.refuses(), "refused bio"),
    "refusal with text": (messages.refuses("I would rather not", '{"step": "fetch"}'), "refused bio"),
    "refusal for no reason": (messages.refuses(category=None), "refused"),
    "refusal with a novel for a reason": (messages.refuses(category=CANARY), "refused"),
    "cut": (messages.cut(), "truncated max_tokens"),
    "cut and whole by chance": (messages.cut(PLAIN), "truncated max_tokens"),
    "context window": (messages.too_long(), "truncated context_window"),
    "a call of a tool": (messages.blocks({"type": "tool_use", "id": "t", "name": "bash", "input": {}}, stop="tool_use"), "invalid_output tool_use"),
    "nothing said": (messages.blocks(), "invalid_output no_text"),
    "only blanks": (messages.words(" \n"), "invalid_output no_text"),
    "prose": (messages.words("It was the fetch step."), "invalid_output not_json"),
    "prose before JSON": (messages.words("Here you are: " + PLAIN), "invalid_output not_json"),
    "JSON in a fence": (messages.words(f"```json\n{PLAIN}\n```"), "invalid_output not_json"),
    "two objects": (messages.words(PLAIN + PLAIN), "invalid_output not_json"),
    "a list": (messages.words(f"[{PLAIN}]"), "invalid_output not_object"),
    "a word": (messages.words('"fetch"'), "invalid_output not_object"),
    "a key twice": (messages.words('{"step": "fetch", "step": "reply"}'), "invalid_output duplicate_key"),
    "NaN": (messages.words('{"by": NaN}'), "invalid_output not_a_number"),
    "an endless number": (messages.words('{"by": 1e999}'), "invalid_output number_too_large"),
    "a huge integer": (messages.words('{"by": ' + "9" * 5000 + "}"), "invalid_output number_too_large"),
    "deep": (messages.words('{"a":' * 40 + "1" + "}" * 40), "invalid_output too_deep"),
    "very deep": (messages.words("[" * 90_000), "invalid_output too_deep"),
    "half a character": (messages.words('{"note": "\\ud83d"}'), "invalid_output not_storable"),
    "half a character, bare": (messages.words('{"note": "\ud83d"}'), "invalid_output not_utf8"),
    "a NUL": (messages.words('{"note": "a\\u0000b"}'), "invalid_output not_storable"),
    "200 kB": (messages.says({"note": "x" * TEXT_CAP}), "invalid_output too_long"),
    "9 MB": (messages.says({"note": "x" * 9_000_000}), "invalid_output too_long"),
    "a zipped bomb": (messages.zipped(messages.says({"note": "x" * 30_000_000})), "invalid_output too_long"),
    "HTML": (HTML, "garbage final"),
    "nothing": (messages.bytes_of(b""), "garbage final"),
    "another JSON": (messages.bytes_of(b'{"hello": "world"}'), "garbage final"),
    "a list of nothing": (messages.bytes_of(b"[]"), "garbage final"),
    "null": (messages.bytes_of(b"null"), "garbage final"),
    "content that is a word": (messages.bytes_of(b'{"type": "message", "content": "hi"}'), "garbage final"),
    "an envelope with a key twice": (messages.bytes_of(b'{"content": [], "content": []}'), "garbage final"),
    "not UTF-8": (messages.bytes_of(b'{"content": ["\xff"]}'), "garbage final"),
    "JSON called something else": (messages.says(ANSWER, media="text/plain"), GOOD),
    "false zip": (messages.bytes_of(b"no zip at all", headers={"content-encoding": "gzip"}), "garbage final"),
    "429": (messages.fails(429), "rate_limited retryable"),
    "429 and when": (messages.fails(429, retry_after="7"), "rate_limited retryable 7.0"),
    "429 and when, finely": (messages.fails(429, retry_after_ms="1500", retry_after="9"), "rate_limited retryable 1.5"),
    "429 for days": (messages.fails(429, retry_after="864000"), "rate_limited retryable 864000.0"),
    "429 with nonsense": (messages.fails(429, retry_after="soon"), "rate_limited retryable"),
    "429 until no time there is": (messages.fails(429, retry_after=f"Mon, 01 Jan 2026 00:00:00 +{'9' * 20}"), "rate_limited retryable"),
    "529": (messages.fails(529, "overloaded_error", retry_after="3"), "overloaded retryable 3.0"),
    "503": (messages.fails(503), "overloaded retryable"),
    "500": (messages.fails(500), "server_error retryable"),
    "500, please again": (messages.fails(500, x_should_retry="true"), "server_error retryable"),
    "502 of a gateway": (Play(status=502, raw=b"<html>bad gateway</html>", media="text/html"), "server_error retryable"),
    "504": (messages.fails(504), "server_error retryable"),
    "400": (messages.fails(400, message=f"you sent {CANARY}"), "bad_request final"),
    "401": (messages.fails(401, message=f"the key {KEY} is wrong"), "unauthorised final"),
    "402": (messages.fails(402), "unauthorised final"),
    "403": (messages.fails(403), "unauthorised final"),
    "404": (messages.fails(404), "not_found final"),
    "408": (messages.fails(408), "timeout retryable"),
    "413": (messages.fails(413), "too_large final"),
    "418": (messages.fails(418), "bad_request final"),
    "422": (messages.fails(422), "bad_request final"),
    "307": (messages.redirects("http://elsewhere.invalid/v1/messages"), "garbage final"),
    "302": (messages.redirects("/v1/other", 302), "garbage final"),
    "half a reply": (messages.half(messages.says(ANSWER)), "unreachable retryable"),
    "a reset": (RESET, "unreachable retryable"),
    "no HTTP": (NONSENSE, "unreachable retryable"),
}


@pytest.mark.parametrize("name", ENDS)
def test_each_reply_ends_as_declared_after_one_request(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    play, declared = ENDS[name]
    with asked(play) as (outcome, stub):
        assert told(outcome) == declared
        assert len(stub.requests) == 1 and stub.calls == 1
        assert "tools" not in stub.requests[0].body and "tool_choice" not in stub.requests[0].body
        assert outcome.receipt.seconds >= 0
        said = f"{outcome!r} {outcome.model_dump_json()} {caplog.text}"
        assert KEY not in said and "Canary" not in said and RUBRIC[:30] not in said


@pytest.mark.parametrize("play", [SILENT, messages.trickles(messages.says(ANSWER)), messages.trickles(messages.says(ANSWER), head=True)])
def test_a_call_ends_by_its_bound_whatever_trickles_in(play: Play) -> None:
    before = {thread.name for thread in threading.enumerate()}
    with asked(play, wall_seconds=SOON) as (outcome, stub):
        assert told(outcome) == "timeout retryable" and stub.calls == 1
        assert outcome.receipt.seconds >= SOON * 0.9 and outcome.receipt.usage is None
        assert stub.hung_up.wait(20)  # the connection is not left open
    assert {thread.name for thread in threading.enumerate()} <= before


def test_a_call_ends_by_its_bound_when_nobody_reads_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        model = ClaudeMessages(profile_of(f"http://127.0.0.1:{deaf.getsockname()[1]}", wall_seconds=SOON))
        assert told(model.ask(ASK.model_copy(update={"case": "x" * 30_000_000}))) == "timeout retryable"


def test_nobody_there_is_told_as_such_and_costs_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    outcome = ClaudeMessages(profile_of(f"http://127.0.0.1:{port}")).ask(ASK)
    assert told(outcome) == "unreachable retryable" and outcome.receipt.usage == Usage()


def test_looking_up_a_name_ends_by_the_bound_too() -> None:
    never = threading.Event()

    def hangs(host: str, port: int) -> list[str]:
        never.wait()
        return []

    def fails(host: str, port: int) -> list[str]:
        raise socket.gaierror("no such name")

    for resolve, expected in ((hangs, httpcore2.ConnectTimeout), (fails, httpcore2.ConnectError), (lambda host, port: [], httpcore2.ConnectError)):
        wire = Wire("http://model.invalid", {}, 0.2, resolve=resolve)
        with pytest.raises(expected):
            wire.handle_request(httpx2.Request("POST", "http://model.invalid/v1/messages", content=b"{}"))
    never.set()


def test_a_name_with_several_addresses_is_tried_at_each() -> None:
    with MessagesStub(ANSWER) as stub:
        port = int(stub.url.rpartition(":")[2])
        wire = Wire(f"http://model.invalid:{port}", {"X-Us": "1"}, 20.0, resolve=lambda host, port: ["127.0.0.9", "127.0.0.1"])
        reply = wire.handle_request(httpx2.Request("POST", f"http://model.invalid:{port}/v1/messages", content=b'{"model": "m"}'))
        assert reply.status_code == 200 and b"fetch" in reply.read()
        reply.close()
        assert stub.requests[0].headers["host"] == f"model.invalid:{port}"


# ---- what is sent


def test_the_request_holds_rubric_case_form_and_nothing_else() -> None:
    with asked(ANSWER) as (_, stub):
        body = stub.requests[0].body
    schema = body["output_config"]["format"]["schema"]
    assert body == {
        "model": "claude-sonnet-5-5",
        "max_tokens": 8000,
        "system": [{"type": "text", "text": RUBRIC, "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "messages": [{"role": "user", "content": ASK.case}],
        "output_config": {"effort": "medium", "format": {"type": "json_schema", "schema": schema}},
    }
    assert list(schema["properties"]) == ["step", "by", "note"] and schema["properties"]["step"] == {"enum": ["abstain", "fetch", "reply"]}
    assert "minimum" not in schema["properties"]["by"] and "minimum: 1" in schema["properties"]["by"]["description"]


def test_only_our_own_headers_go_out() -> None:
    with asked(ANSWER) as (_, stub), asked(ANSWER, legacy_auth=True) as (_, older):
        sent, legacy = stub.requests[0].headers, older.requests[0].headers
    ours = {
        "host": stub.url.removeprefix("http://"), "accept": "*/*", "accept-encoding": "identity", "connection": "close",
        "authorization": f"Bearer {KEY}", "anthropic-version": "2026-10-21", "user-agent": "rejection-triage",
        "content-type": "application/json", "content-length": sent["content-length"],
    }  # fmt: skip
    assert sent == ours
    assert legacy == {**ours, "x-api-key": KEY, "host": legacy["host"]}


def test_the_api_version_is_the_one_the_sdk_was_made_for() -> None:
    assert client_of(profile_of("http://127.0.0.1:1")).default_headers["anthropic-version"] == claude_profile.API_VERSION


def test_the_environment_moves_neither_destination_nor_headers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with MessagesStub(ANSWER) as evil:
        for name in ("ANTHROPIC_BASE_URL", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, evil.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.setenv(
            "ANTHROPIC_CUSTOM_HEADERS", "X-Evil: evil-header\nAuthorization: Bearer evil\nUSER-AGENT: evil\nhost: evil\nx-api-key: evil"
        )
        monkeypatch.setenv("ANTHROPIC_API_KEY", "evil-key")
        monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "evil-token")
        monkeypatch.setenv("ANTHROPIC_PROFILE", "evil")
        monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path))
        monkeypatch.setenv("ANTHROPIC_OPEN_TELEMETRY_TRACES_CONTENT_MODE", "content")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        (tmp_path / "netrc").write_text("default login evil password evil\n")
        with asked(ANSWER) as (outcome, stub):
            assert told(outcome) == GOOD
            assert "evil" not in stub.requests[0].whole.lower()
            assert stub.requests[0].headers["authorization"] == f"Bearer {KEY}"
            assert stub.requests[0].headers["host"] == stub.url.removeprefix("http://")
        assert evil.requests == []


def test_a_redirect_is_not_followed_anywhere() -> None:
    with MessagesStub(ANSWER) as other, asked(messages.redirects(other.url + "/v1/messages")) as (outcome, stub):
        assert told(outcome) == "garbage final" and stub.calls == 1 and other.requests == []


def test_the_wire_leads_to_one_server_only() -> None:
    wire = Wire("https://model.invalid/base", {}, 1.0)
    for url in ("https://other.invalid/base/v1", "http://model.invalid/base/v1", "https://model.invalid:8443/base/v1"):
        with pytest.raises(Elsewhere):
            wire.handle_request(httpx2.Request("GET", url))


def test_no_span_is_made() -> None:
    assert client_of(profile_of("http://127.0.0.1:1")).open_telemetry["traces"]["enabled"] is False


@pytest.mark.parametrize("before", [True, False], ids=["level set before", "level set after"])
def test_the_sdk_logs_no_request_even_at_debug(before: bool, caplog: pytest.LogCaptureFixture) -> None:
    names = [None, "anthropic", "anthropic._base_client", "anthropic._response", "httpx2", "httpcore2", "httpcore2.http11", "httpcore2.connection"]
    for name in names if before else []:
        caplog.set_level(logging.DEBUG, logger=name)
    with MessagesStub(ANSWER) as stub:
        model = ClaudeMessages(profile_of(stub.url))
        for name in names:
            caplog.set_level(logging.DEBUG, logger=name)
        model.ask(ASK)
    assert "httpx2" in {record.name for record in caplog.records}
    assert "Canary" not in caplog.text and "Say which step" not in caplog.text and KEY not in caplog.text


def test_the_key_shows_nowhere() -> None:
    profile = profile_of("http://127.0.0.1:1")
    model = ClaudeMessages(profile)
    assert KEY not in f"{profile!r} {profile} {model!r} {vars(model)!r} {client_of(profile)!r}"


def test_the_same_ask_is_the_same_bytes() -> None:
    with MessagesStub(ANSWER) as stub:
        for _ in range(2):
            ClaudeMessages(profile_of(stub.url)).ask(ASK.model_copy(deep=True))
        first, second = stub.requests
    assert first.raw == second.raw


def test_several_threads_share_one_model() -> None:
    with MessagesStub(lambda body: {"step": body["messages"][0]["content"]}) as stub:
        model = ClaudeMessages(profile_of(stub.url))
        outcomes: dict[str, AskOutcome] = {}

        def one(name: str) -> None:
            outcomes[name] = model.ask(ASK.model_copy(update={"case": name}))

        threads = [threading.Thread(target=one, args=(f"case {number}",)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {name: told(outcome) for name, outcome in outcomes.items()} == {name: f'answered {{"step": "{name}"}}' for name in outcomes}
    assert len(outcomes) == 16


# ---- profiles


def test_what_an_answer_depends_on_has_a_name_and_the_rest_has_none() -> None:
    """The ledger tells answers by it: the key, the address and the prices may change."""
    how = profile_of("http://127.0.0.1:1").how
    assert how == "claude-sonnet-5-5 native medium" == profile_of("http://127.0.0.1:2", wall_seconds=5.0, legacy_auth=True).how
    assert ClaudeMessages(profile_of("http://127.0.0.1:1")).how == how == ClaudeBatches(profile_of("http://127.0.0.1:1")).how
    others: list[dict[str, Any]] = [
        {"model": "claude-opus-5-5"}, {"effort": "low"}, {"structured": "prompt_json"}, {"send_effort": False},
        {"models": {"fill": "claude-opus-5-5"}}, {"efforts": {"fill": "high"}},
    ]  # fmt: skip
    assert len({how, *(profile_of("http://127.0.0.1:1", **other).how for other in others)}) == 7


def test_model_and_effort_are_chosen_by_the_name_of_the_ask() -> None:
    more = {"models": {"fill": "claude-opus-5-5"}, "effort": "low", "efforts": {"fill": "high"}}
    with asked(ANSWER, **more) as (_, stub), asked(ANSWER, ASK.model_copy(update={"name": "fill"}), **more) as (_, other):
        sent = [(seen.body["model"], seen.body["output_config"]["effort"]) for seen in (stub.requests[0], other.requests[0])]
    assert sent == [("claude-sonnet-5-5", "low"), ("claude-opus-5-5", "high")]


def test_a_server_without_native_structure_is_told_the_schema_in_words() -> None:
    more = {"structured": "prompt_json", "send_effort": False}
    with asked(messages.words(f"\n```json\n{PLAIN}\n```\n"), **more) as (outcome, stub):
        body = stub.requests[0].body
        assert told(outcome) == GOOD and "output_config" not in body
        assert body["system"][0] == {"type": "text", "text": RUBRIC, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
        assert json.loads(body["system"][1]["text"].partition("\n")[2]) == FORM
        assert body["messages"] == [{"role": "user", "content": ASK.case}]


@pytest.mark.parametrize(
    ("words", "declared"),
    [
        (PLAIN, GOOD),
        (f"```\n{PLAIN}\n```", GOOD),
        (f"```json\r\n{PLAIN}\n```", GOOD),
        ('```json\n{"note": "```"}\n```', 'answered {"note": "```"}'),
        (f"```json\n{PLAIN}\n```\n```json\n{PLAIN}\n```", "invalid_output not_json"),
        (f"```json\n{PLAIN}\n{PLAIN}\n```", "invalid_output not_json"),
        (f"Sure!\n```json\n{PLAIN}\n```", "invalid_output not_json"),
        (f"```json\n{PLAIN}\n```\nAnything else?", "invalid_output not_json"),
        (f"```json\n[{PLAIN}]\n```", "invalid_output not_object"),
        ("```json\n```", "invalid_output not_json"),
        (f"```json\n{PLAIN}", "invalid_output not_json"),
    ],
)
def test_a_fence_may_hold_exactly_one_object(words: str, declared: str) -> None:
    with asked(messages.words(words), structured="prompt_json") as (outcome, _):
        assert told(outcome) == declared


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"api_key": SecretStr("")}, "no_key"),
        ({"api_key": SecretStr(KEY + "\nX-Evil: 1")}, "bad_key"),
        ({"api_key": SecretStr(KEY + " ")}, "bad_key"),
        ({"api_key": SecretStr("schlüssel")}, "bad_key"),
        ({"base_url": "ftp://model.invalid"}, "bad_base_url"),
        ({"base_url": "model.invalid"}, "bad_base_url"),
        ({"base_url": "https://user:word@model.invalid"}, "bad_base_url"),
        ({"base_url": "https://model.invalid/?x=1"}, "bad_base_url"),
        ({"base_url": "https://model.invalid:99999"}, "bad_base_url"),
        ({"base_url": ""}, "bad_base_url"),
        ({"base_url": "https://model.invalid\u200e"}, "bad_base_url"),
        ({"base_url": "https://model.invalid/\x01"}, "bad_base_url"),
        ({"base_url": "https://model.invalid/\udcff"}, "bad_base_url"),
        ({"base_url": "https://model.invalid:0"}, "bad_base_url"),
        ({"base_url": "https://" + "m" * 70_000}, "bad_base_url"),
        ({"base_url": " https://model.invalid"}, "bad_base_url"),
        ({"base_url": "https://model.invalid/#x"}, "bad_base_url"),
        ({"models": {"everything": "claude-opus-5-5"}}, "bad_profile"),
        ({"efforts": {"locate": "heroic"}}, "bad_profile"),
        ({"wall_seconds": 0}, "bad_profile"),
        ({"wall_seconds": float("nan")}, "bad_profile"),
        ({"model": "our-own-model"}, "no_price"),
        ({"models": {"fill": "our-own-model"}}, "no_price"),
    ],
)
def test_a_profile_that_cannot_work_is_refused_before_anything_is_asked(more: dict[str, Any], code: str) -> None:
    assert code_of(lambda: ClaudeMessages(profile_of("http://127.0.0.1:1", **more) if "base_url" not in more else profile_of(**_url(more)))) == code


def _url(more: dict[str, Any]) -> dict[str, Any]:
    return {"url": more["base_url"], **{name: value for name, value in more.items() if name != "base_url"}}


def test_a_form_that_is_no_schema_is_our_own_mistake() -> None:
    for form in ({}, {"type": ["string", "null"]}, {"type": "object", "properties": {"a": {}}}, {"anyOf": "x", "type": "thing"}):
        assert code_of(lambda form=form: request_of(profile_of("http://127.0.0.1:1"), ASK.model_copy(update={"form": form}))) == "bad_form"  # type: ignore[misc]


def test_half_a_character_in_an_ask_ends_it_unsent() -> None:
    with asked(ANSWER, ASK.model_copy(update={"case": "\ud83d"})) as (outcome, stub):
        assert told(outcome) == "bad_request final" and outcome.receipt.usage == Usage() and stub.requests == []
    assert ClaudeMessages(profile_of("http://127.0.0.1:1")).most(ASK.model_copy(update={"case": "\ud83d"})) > 0


# ---- what it costs


def test_the_receipt_names_request_model_and_tokens() -> None:
    with asked(messages.says(ANSWER, model="claude-sonnet-5-5-20261001")) as (outcome, stub):
        receipt = outcome.receipt
        assert receipt.request_id.startswith("req_") and receipt.model == "claude-sonnet-5-5-20261001" and receipt.seconds > 0
        spent = stub.spent
        assert receipt.usage == Usage(input=spent["input"], output=spent["output"], cache_read=0, cache_write=spent["cache_write"])
        assert spent["cache_write"] > 512


@pytest.mark.parametrize("model", ["claude-opus-5-5", CANARY, "", "claude-sonnet-5-5-evil"])
def test_another_model_than_the_one_asked_is_not_believed(model: str) -> None:
    with asked(messages.says(ANSWER, model=model)) as (outcome, _):
        assert outcome.receipt.model == "claude-sonnet-5-5"


def test_a_failure_keeps_the_request_id() -> None:
    with asked(messages.fails(500, request_id="req_42")) as (outcome, _), asked(messages.fails(500, request_id=f"{CANARY}")) as (odd, _):
        assert outcome.receipt == Receipt(model="claude-sonnet-5-5", request_id="req_42", usage=Usage(), seconds=outcome.receipt.seconds)
        assert odd.receipt.request_id == ""


def test_the_rubric_is_written_into_the_cache_once_and_read_from_then_on() -> None:
    with MessagesStub(ANSWER) as stub:
        model = ClaudeMessages(profile_of(stub.url))
        first, second = (model.ask(ASK.model_copy(update={"case": f"case {number}"})).receipt for number in range(2))
        short = model.ask(ASK.model_copy(update={"rubric": "too short to be kept"})).receipt
    assert first.usage and second.usage and short.usage
    assert first.usage.cache_write == second.usage.cache_read > 512 and first.usage.cache_read == second.usage.cache_write == 0
    assert (short.usage.cache_read, short.usage.cache_write) == (0, 0)
    one, two = model.cost(first), model.cost(second)
    assert one is not None and two is not None and two < one <= model.most(ASK)


@pytest.mark.parametrize(
    "usage",
    [
        None, "much", [], {}, {"input_tokens": 5}, {"output_tokens": 5}, {"input_tokens": -1, "output_tokens": 5}, {"input_tokens": "5", "output_tokens": 5},
        {"input_tokens": 5.5, "output_tokens": 5}, {"input_tokens": True, "output_tokens": 5}, {"input_tokens": 10**12, "output_tokens": 5},
        {"input_tokens": 5, "output_tokens": 5, "cache_read_input_tokens": -5}, {"input_tokens": 5, "output_tokens": 5, "cache_creation_input_tokens": "x"},
        {"input_tokens": 5, "output_tokens": None},
    ],
)  # fmt: skip
def test_usage_that_makes_no_sense_counts_as_not_told(usage: Any) -> None:
    with asked(messages.says(ANSWER, usage=usage)) as (outcome, stub):
        assert told(outcome) == GOOD and outcome.receipt.usage is None
        assert ClaudeMessages(profile_of(stub.url)).cost(outcome.receipt) is None


def test_usage_without_a_cache_is_whole() -> None:
    assert usage_of({"input_tokens": 5, "output_tokens": 6, "cache_read_input_tokens": None}) == Usage(input=5, output=6)


def test_refusals_and_cuts_are_paid_for() -> None:
    for play, kind in ((messages.refuses("no"), Refused), (messages.cut(), Truncated)):
        with asked(play) as (outcome, _):
            assert isinstance(outcome, kind) and outcome.receipt.usage is not None and outcome.receipt.usage.input > 0


@pytest.mark.parametrize("name", ["429", "529", "503", "500", "400", "401", "404", "413", "307"])
def test_a_failed_request_was_not_billed(name: str) -> None:
    with asked(ENDS[name][0]) as (outcome, stub):
        assert outcome.receipt.usage == Usage() and ClaudeMessages(profile_of(stub.url)).cost(outcome.receipt) == 0


@pytest.mark.parametrize("name", ["half a reply", "a reset", "HTML", "9 MB", "502 of a gateway", "408"])
def test_a_reply_that_was_lost_may_have_been_billed(name: str) -> None:
    with asked(ENDS[name][0]) as (outcome, _):
        assert outcome.receipt.usage is None


def test_the_price_list_says_when_and_where_from() -> None:
    prices = published()
    assert prices.date == "2026-11" and "price list" in prices.source and "://" not in prices.source
    million = 1_000_000
    usd = {
        kind: prices.usd("claude-opus-5-5", Usage(**{kind: million}))  # type: ignore[arg-type]
        for kind in ("input", "output", "cache_read", "cache_write")
    }
    assert usd == {"input": 4, "output": 20, "cache_read": pytest.approx(0.4), "cache_write": 8}
    assert prices.of("claude-haiku-5-5") == Price(input=0.10, output=0.50) == prices.of("claude-haiku-5-5-20261001")
    assert prices.of("claude-haiku") is None and prices.usd("claude-haiku", Usage()) is None


def test_a_server_of_ones_own_has_prices_of_its_own() -> None:
    free = ClaudeMessages(profile_of("http://127.0.0.1:1", model="our-own", prices={"our-own": Price(input=0, output=0)}))
    assert free.most(ASK) == 0 and free.cost(Receipt(model="our-own", usage=Usage(input=10))) == 0
    dear = ClaudeMessages(profile_of("http://127.0.0.1:1", prices={"claude-sonnet-5-5": Price(input=100, output=500)}))
    assert dear.most(ASK) == pytest.approx(50 * ClaudeMessages(profile_of("http://127.0.0.1:1")).most(ASK))


@pytest.mark.parametrize(
    "words", ["plain words of a ticket, and some more of them", "Überweisungsaufträge für größere Beträge", "転送された請求書", "🎈" * 9]
)
def test_the_most_counts_more_tokens_than_a_text_can_have(words: str) -> None:
    assert claude_profile.tokens_at_most(words) > len(words) // 2
    assert claude_profile.tokens_at_most(words) >= len(words.encode()) / 2


def test_a_character_of_four_bytes_counts_as_two_tokens() -> None:
    assert claude_profile.tokens_at_most("🎈" * 9) == 19


# ---- readiness and small readers


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (messages.says({"ready": "yes"}), None),
        (messages.says({"ready": "no"}), "wrong_form"),
        (messages.says({}), "wrong_form"),
        (messages.words("I am ready"), "invalid_output"),
        (messages.refuses(), "refused"),
        (messages.cut(), "truncated"),
        (messages.fails(401), "unauthorised"),
        (messages.fails(404), "not_found"),
        (HTML, "garbage"),
    ],
)
def test_a_probe_says_why_the_server_cannot_be_used(script: Play, code: str | None) -> None:
    with MessagesStub(script) as stub:
        found = ClaudeMessages(profile_of(stub.url)).probe()
        assert (found and found.code) == code and stub.calls == 1
        assert found is None or (found.sentence and KEY not in found.sentence)


def test_a_probe_tries_each_model_once() -> None:
    def script(body: dict[str, Any]) -> Play:
        return messages.fails(404) if body["model"] == "claude-opus-5-5" else messages.says({"ready": "yes"})

    with MessagesStub(script) as stub:
        found = ClaudeMessages(profile_of(stub.url, models={"fill": "claude-opus-5-5", "rules": "claude-sonnet-5-5"})).probe()
        assert found is not None and found.code == "not_found" and "claude-opus-5-5" in found.sentence
        assert sorted(seen.body["model"] for seen in stub.requests) == ["claude-opus-5-5", "claude-sonnet-5-5"]
        assert PROBE.form == stub.requests[0].body["output_config"]["format"]["schema"]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None), ({"retry-after": "12"}, 12), ({"retry-after": "1.5"}, 1.5), ({"retry-after": "-3"}, None), ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None), ({"retry-after-ms": "250"}, 0.25), ({"retry-after": "tomorrow"}, None),
        ({"retry-after": "Mon, 30 Nov 2026 12:00:30 GMT"}, None),
        ({"retry-after": f"Mon, {'9' * 20} Nov 2026 12:00:30 GMT"}, None), ({"retry-after": f"Mon, 30 Nov {'9' * 20} 12:00:30 GMT"}, None),
        ({"retry-after": "Mon, 30 Nov 2026 12:00:30 GMT", "date": "Mon, 30 Nov 2026 12:00:00 GMT"}, 30),
        ({"retry-after": "Mon, 30 Nov 2026 11:00:00 GMT", "date": "Mon, 30 Nov 2026 12:00:00 GMT"}, 0),
        ({"retry-after": "Mon, 30 Nov 2026 11:00:00 GMT", "date": "Mon, 30 Nov 2026 12:00:00 -0000"}, None),
    ],
)  # fmt: skip
def test_the_wait_is_read_from_whatever_form_it_has(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_an_answer_is_read_by_one_strict_reader() -> None:
    assert read_answer(' {"a": [1, {"b": "ü"}]}\n') == {"a": [1, {"b": "ü"}]}
    with pytest.raises(Unreadable):
        read_answer(f"```json\n{PLAIN}\n```")
    assert read_answer(f"```json\n{PLAIN}\n```", fenced=True) == ANSWER


def test_the_stub_streams_what_an_sdk_reads() -> None:
    with MessagesStub(messages.words(PLAIN[:4], PLAIN[4:])) as stub:
        client = anthropic.Anthropic(api_key=KEY, base_url=stub.url, max_retries=0, http_client=httpx2.Client(trust_env=False))
        with client.messages.stream(model="claude-sonnet-5-5", max_tokens=9, messages=[{"role": "user", "content": "hi"}]) as stream:
            assert "".join(stream.text_stream) == PLAIN
        assert stream.get_final_message().stop_reason == "end_turn" and stub.requests[0].body["stream"] is True


def test_a_scripted_list_is_played_in_order_and_its_last_entry_stays() -> None:
    with MessagesStub([messages.fails(529), ANSWER]) as stub:
        model = ClaudeMessages(profile_of(stub.url))
        assert [told(model.ask(ASK)) for _ in range(3)] == ["overloaded retryable", GOOD, GOOD]
        assert isinstance(model.ask(ASK), Answered) and stub.calls == 4


def test_a_look_at_a_model_costs_at_most_what_the_page_says() -> None:
    page = (Path(__file__).parents[2] / "docs" / "critic.md").read_text(encoding="utf-8")
    said = re.search(r"at most ([\d.]+) US cents a model with `([\w-]+)` .*?, ([\d.]+) with `([\w-]+)`, ([\d.]+) with `([\w-]+)`", page)
    assert said is not None
    for cents, model in zip(said.groups()[::2], said.groups()[1::2], strict=True):
        most = 100 * ClaudeMessages(profile_of("http://127.0.0.1:1", model=model)).most(PROBE)
        assert 0.5 * float(cents) < most <= float(cents), (model, most)
