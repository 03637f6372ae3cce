"""The gateway is tried from inside and outside: what a box may ask, what it cannot see, and that no call costs more than is left."""

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from pydantic import SecretStr

from connectors.claude_prices import Price, published
from connectors.gateway_door import COUNTS, Door
from connectors.gateway_replies import LINE_CAP, Scrub, Stream
from connectors.gateway_rules import outgoing
from connectors.gateway_server import BODY_CAP
from connectors.metering import FAILURES, Busy, Meter, Reserved, Transcript, UsedUp
from connectors.model_gateway import ModelGateway
from connectors.ports import TRANSCRIPT_CAP, Budget, PortError
from rubric.drafting import Usage
from tests.samples import messages
from tests.samples.messages import HTML, RESET, SILENT, MessagesStub, Play, Script

KEY, DUMMY = "real-key-that-no-box-may-see-0123", "dummy-of-job-7"
MODEL = "claude-sonnet-5-5"
PRICES = published()
ASK: dict[str, Any] = {"model": MODEL, "max_tokens": 2000, "messages": [{"role": "user", "content": "hello"}]}
TALK = messages.words("hello back")


class Box:
    """What a client in a box can do: speak HTTP through the socket."""

    def __init__(self, path: Path, door: Door, stub: MessagesStub | None):
        self.path, self.door, self.stub = path, door, stub
        self.http = httpx2.Client(transport=httpx2.HTTPTransport(uds=str(path)), base_url="http://box", timeout=20, trust_env=False)

    def post(self, body: Any = ASK, path: str = "/v1/messages", **headers: str) -> httpx2.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {"x-api-key": DUMMY, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return self.http.post(path, content=content, headers=named)

    def ask(self, **more: Any) -> httpx2.Response:
        return self.post({**ASK, **more})


@contextmanager
def boxed(script: Script = TALK, tmp_path: Path | None = None, url: str = "", budget: Budget = Budget(), **more: Any) -> Iterator[Box]:
    assert tmp_path is not None
    with MessagesStub(script) as stub:
        gateway = ModelGateway(url or stub.url, SecretStr(KEY), **{"models": [MODEL], "prices": PRICES, **more})
        with gateway.open("job-7", tmp_path / "m.sock", budget, DUMMY) as door:
            box = Box(tmp_path / "m.sock", door, stub)
            yield box
            box.http.close()


def kind_of(reply: httpx2.Response) -> tuple[int, str, str]:
    """Status, type and message of an error in the API's form."""
    body = reply.json()
    assert body["type"] == "error" and KEY not in reply.text
    return reply.status_code, body["error"]["type"], body["error"]["message"]


# ---- what passes


@pytest.mark.parametrize("headers", [{"x_api_key": DUMMY}, {"authorization": f"Bearer {DUMMY}"}])
def test_a_call_passes_with_the_real_key_in_both_styles(tmp_path: Path, headers: dict[str, str]) -> None:
    with boxed(tmp_path=tmp_path) as box:
        asked = box.post(ASK, "/v1/messages?beta=true", anthropic_version="2023-06-01", cookie="c", x_forwarded_for="1.2.3.4", **headers)
        assert asked.status_code == 200 and asked.json()["content"][0]["text"] == "hello back"
        seen = box.stub.requests[0]  # type: ignore[union-attr]
        assert seen.headers["x-api-key"] == KEY and seen.headers["authorization"] == f"Bearer {KEY}"
        assert seen.headers["anthropic-version"] == "2023-06-01" and seen.path == "/v1/messages?beta=true"
        assert not {"cookie", "x-forwarded-for"} & seen.headers.keys() and DUMMY not in seen.whole
        assert (box.door.turns, box.door.tokens > 0, box.door.usd > 0, box.door.trouble) == (1, True, True, "")


def test_the_sdk_works_through_it_whole_and_streamed(tmp_path: Path) -> None:
    with boxed(tmp_path=tmp_path) as box:
        client = anthropic.Anthropic(api_key=DUMMY, base_url="http://box", http_client=box.http, max_retries=0, open_telemetry=False)
        assert client.messages.create(**ASK).content[0].text == "hello back"  # type: ignore[union-attr]
        with client.messages.stream(**ASK) as stream:
            assert "".join(stream.text_stream) == "hello back"
        assert client.messages.count_tokens(model=MODEL, messages=ASK["messages"]).input_tokens > 0
        spent = box.stub.spent  # type: ignore[union-attr]
        assert box.door.turns == 2 and box.door.tokens == sum(spent.values())
        assert box.door.usd == pytest.approx((spent["input"] * 2 + spent["output"] * 10) / 1e6)
        assert "anthropic-version" in box.stub.requests[0].headers  # type: ignore[union-attr]


def test_a_stream_passes_as_it_comes_and_ends_with_its_client(tmp_path: Path) -> None:
    start = b'event: message_start\ndata: {"type": "message_start", "message": {"usage": {"input_tokens": 5, "output_tokens": 1}}}\n\n'
    slow = messages.trickles(Play(raw=start, media="text/event-stream"))
    with boxed(slow, tmp_path) as box:
        with box.http.stream("POST", "/v1/messages", json={**ASK, "stream": True}, headers={"x-api-key": DUMMY}) as reply:
            parts = reply.iter_raw()
            assert next(parts)[:1] == b"e"
        assert box.stub.hung_up.wait(10)  # type: ignore[union-attr]
    assert box.door.turns == 1 and box.door.tokens >= ASK["max_tokens"]  # what nobody counted to the end counts as the most


def test_a_probe_is_answered_and_costs_nothing(tmp_path: Path) -> None:
    with boxed(tmp_path=tmp_path) as box:
        assert box.http.head("/").status_code == box.http.get("/").status_code == 200
        assert box.stub.requests == [] and box.door.turns == 0 and "probe HEAD /" in box.door.transcript()  # type: ignore[union-attr]


# ---- what does not


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/models"), ("POST", "/v1/files"), ("POST", "/v1/messages/batches"), ("POST", "/v1/messages/../files"),
     ("POST", "/v1/messages?beta=false"), ("POST", "/v1/messages?x=1&beta=true"), ("DELETE", "/v1/messages"), ("PUT", "/v1/messages"), ("GET", "/v1/messages")],
)  # fmt: skip
def test_other_places_are_closed(tmp_path: Path, method: str, path: str) -> None:
    with boxed(tmp_path=tmp_path) as box:
        raw = f"{method} {path} HTTP/1.1\r\nhost: box\r\nx-api-key: {DUMMY}\r\ncontent-length: 2\r\n\r\n{{}}".encode()
        assert spoken(box, raw).startswith(b"HTTP/1.1 403 ") and box.stub.requests == []  # type: ignore[union-attr]
        assert box.door.trouble == "path_not_allowed"


@pytest.mark.parametrize(
    "headers", [{}, {"x-api-key": KEY}, {"x-api-key": ""}, {"x-api-key": DUMMY, "authorization": "Bearer other"}, {"authorization": f"Basic {DUMMY}"}]
)
def test_only_the_key_of_the_job_opens_it(tmp_path: Path, headers: dict[str, str]) -> None:
    with boxed(tmp_path=tmp_path) as box:
        assert kind_of(box.http.post("/v1/messages", json=ASK, headers=headers))[:2] == (401, "authentication_error")
        assert box.stub.requests == []  # type: ignore[union-attr]


def user(*blocks: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(blocks)}]}


URL = {"type": "url", "url": "https://evil.example/x"}
REACHING: dict[str, dict[str, Any]] = {
    "web search": {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
    "web fetch": {"tools": [{"name": "x", "input_schema": {}}, {"type": "web_fetch_20250910", "name": "web_fetch"}]},
    "code": {"tools": [{"type": "code_execution_20250825", "name": "code_execution"}]},
    "mcp tool": {"tools": [{"type": "mcp_toolset", "mcp_server_name": "x"}]},
    "mcp": {"mcp_servers": [{"type": "url", "url": "https://evil.example"}]},
    "no mcp": {"mcp_servers": []},
    "container": {"container": {"skills": []}},
    "image": user({"type": "image", "source": URL}),
    "document": user({"type": "document", "source": URL}),
    "file": user({"type": "document", "source": {"type": "file", "file_id": "file_1"}}),
    "pdf": user({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "x"}}),
    "in a result": user({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image", "source": URL}]}),
    "in a document": user({"type": "document", "source": {"type": "content", "content": [{"type": "image", "source": URL}]}}),
    "in the system": {"system": [{"type": "image", "source": URL}]},
    "upload": user({"type": "container_upload", "file_id": "file_1"}),
    "without a type": user({"source": URL}),
    "a source at a text": user({"type": "text", "text": "x", "source": URL}),
    "no source": user({"type": "image"}),
}


@pytest.mark.parametrize("name", REACHING)
def test_what_would_reach_out_is_refused(tmp_path: Path, name: str) -> None:
    with boxed(tmp_path=tmp_path) as box:
        for path in ("/v1/messages", "/v1/messages/count_tokens"):
            assert kind_of(box.post({**ASK, **REACHING[name]}, path))[:2] == (403, "permission_error")
        assert box.stub.requests == [] and box.door.trouble == "reaches_out"  # type: ignore[union-attr]


def test_what_an_agent_needs_passes(tmp_path: Path) -> None:
    tools = [{"name": "a", "input_schema": {"type": "object", "properties": {"source": {"type": "url"}}}}, {"type": "bash_20250124", "name": "bash"}]
    call = {"type": "tool_use", "id": "t1", "name": "a", "input": {"source": URL, "type": "container_upload"}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "image", "source": {"type": "base64", "data": "x"}}]}
    talk = [*ASK["messages"], {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    with boxed(tmp_path=tmp_path) as box:
        more = {"speed": "fast", "service_tier": "auto", "context_management": {"edits": [{"type": "compact_20260112"}]}}
        assert box.ask(tools=tools, messages=talk, thinking={"type": "adaptive"}, **more).status_code == 200
        sent = box.stub.requests[0].body  # type: ignore[union-attr]
        assert sent["messages"] == talk and sent["tools"] == tools and not more.keys() & sent.keys()
        assert "left out: context_management, service_tier, speed" in box.door.transcript()
        kept = {"edits": [{"type": "clear_tool_uses_20250919"}]}
        assert box.ask(context_management=kept).status_code == 200 and box.stub.requests[1].body["context_management"] == kept  # type: ignore[union-attr]


def test_a_model_that_is_not_on_the_list_is_refused_and_the_others_go_on(tmp_path: Path) -> None:
    with boxed(tmp_path=tmp_path) as box:
        for model in ("claude-opus-5-5", "", None, 7, f"{MODEL}-2026", [MODEL]):
            assert kind_of(box.ask(model=model))[:2] == (403, "permission_error")
        assert box.door.trouble == "model_not_allowed" and box.stub.requests == []  # type: ignore[union-attr]
        assert box.ask(model=f"{MODEL}-20261001").status_code == 200


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"\xff", b'{"model": "claude-opus-5-5", "model": "claude-sonnet-5-5"}', {**ASK, "max_tokens": 0}, {**ASK, "max_tokens": True},
     {**ASK, "max_tokens": "9"}, {**ASK, "max_tokens": 10**7}, {"model": MODEL, "messages": []}, {**ASK, "messages": {}}, {**ASK, "messages": ["x"]},
     {**ASK, "messages": [{"content": 7}]}, {**ASK, "stream": "yes"}, {**ASK, "tools": {}}, {**ASK, "tools": ["x"]}, {**ASK, "system": [7]}],
)  # fmt: skip
def test_a_body_that_makes_no_sense_goes_nowhere(tmp_path: Path, body: Any) -> None:
    with boxed(tmp_path=tmp_path) as box:
        assert kind_of(box.post(body))[0] == 400 and box.stub.requests == [] and box.door.trouble == "bad_request"  # type: ignore[union-attr]


# ---- budgets


def test_turns_end_it_for_good(tmp_path: Path) -> None:
    with boxed(tmp_path=tmp_path, budget=Budget(turns=2)) as box:
        assert [box.ask().status_code for _ in range(4)] == [200, 200, 400, 400]
        refused = box.ask()
        assert kind_of(refused) == (400, "invalid_request_error", "the budget of this job is used up")
        assert refused.headers["x-should-retry"] == "false"
        assert (box.door.turns, box.door.trouble, box.stub.calls) == (2, "turns", 2)  # type: ignore[union-attr]
        box.ask(model="other")
        assert box.door.trouble == "turns"


def test_counting_tokens_costs_nothing_and_has_an_end(tmp_path: Path) -> None:
    with boxed(tmp_path=tmp_path) as box:
        assert box.post(ASK, "/v1/messages/count_tokens").json()["input_tokens"] > 0 and (box.door.turns, box.door.tokens) == (0, 0)
        for _ in range(COUNTS - 1):
            box.door.count()
        assert box.post(ASK, "/v1/messages/count_tokens").status_code == 400 and box.door.trouble == "counts"
        assert len(box.stub.requests) == 1 and box.ask().status_code == 200  # type: ignore[union-attr]


def test_seconds_end_it(tmp_path: Path) -> None:
    with boxed(tmp_path=tmp_path, budget=Budget(seconds=0.05)) as box:
        time.sleep(0.1)
        assert box.ask().status_code == 400 and box.door.trouble == "seconds" and box.stub.requests == []  # type: ignore[union-attr]


@pytest.mark.parametrize(("budget", "code"), [(Budget(tokens=6000), "tokens"), (Budget(usd=0.05), "usd")])
def test_one_huge_call_cannot_overdraw(tmp_path: Path, budget: Budget, code: str) -> None:
    with boxed(tmp_path=tmp_path, budget=budget) as box:
        assert box.ask(max_tokens=900_000).status_code == 200
        granted = box.stub.requests[0].body["max_tokens"]  # type: ignore[union-attr]
        assert 1024 <= granted < 6000
        assert box.ask(messages=[{"role": "user", "content": "x" * 60_000}], max_tokens=4000).status_code == 400
        assert box.door.trouble == code and box.stub.calls == 1 and box.ask().status_code == 400  # type: ignore[union-attr]


def test_a_server_that_says_nothing_of_its_use_counts_as_the_most(tmp_path: Path) -> None:
    with boxed(messages.words("hello", usage=None), tmp_path, budget=Budget(tokens=8000)) as box:
        box.ask(max_tokens=3000)
        assert 3000 < box.door.tokens < 8000 and box.door.usd > 3000 * 10 / 1e6
        box.ask(max_tokens=3000)
        assert box.ask().status_code == 400 and box.door.trouble == "tokens" and box.door.tokens <= 8000


def test_many_at_once_do_not_overdraw_either(tmp_path: Path) -> None:
    with boxed(tmp_path=tmp_path, budget=Budget(turns=5)) as box, ThreadPoolExecutor(12) as pool:
        found = [reply.status_code for reply in pool.map(lambda _: box.ask(), range(24))]
        assert found.count(200) == box.door.turns == box.stub.calls == 5 and set(found) <= {200, 400, 429}  # type: ignore[union-attr]


def test_room_to_think_is_not_cut_below_what_the_server_takes(tmp_path: Path) -> None:
    with boxed(tmp_path=tmp_path, budget=Budget(tokens=6000)) as box:
        assert kind_of(box.ask(max_tokens=64_000, thinking={"type": "enabled", "budget_tokens": 32_000}))[0] == 400
        assert box.door.trouble == "thinking" and box.stub.requests == [] and box.door.tokens == 0  # type: ignore[union-attr]


def test_a_meter_holds_what_is_in_flight() -> None:
    meter = Meter(Budget(tokens=10_000, turns=3), PRICES)
    first = meter.reserve(MODEL, 1000, 8000, cached=False)
    with pytest.raises(Busy):
        meter.reserve(MODEL, 1000, 8000, cached=False)
    with pytest.raises(UsedUp):
        meter.reserve(MODEL, 20_000, 8000, cached=False)
    assert meter.spent == "tokens"
    meter.settle(first, Usage(input=10, output=10))
    meter.settle(first, None)  # the first word counts
    assert meter.tokens == 20 and meter.turns == 1
    free = Meter(Budget(usd=0), PRICES.over({"own": Price(input=0, output=0)}))
    assert free.reserve("own", 1000, 8000, cached=True).room == 8000
    with pytest.raises(UsedUp):
        Meter(Budget(), PRICES).reserve("no-such-model", 1, 1, cached=False)


def test_what_is_written_into_a_cache_is_reserved_at_its_price() -> None:
    meter = Meter(Budget(), PRICES)
    plain, cached = (meter.reserve(MODEL, 10_000, 1, cached=cached).usd for cached in (False, True))
    assert cached == pytest.approx(2 * plain, rel=0.01)


# ---- a server in trouble


def test_errors_of_the_server_pass_with_status_and_words(tmp_path: Path) -> None:
    for status in (400, 401, 413, 429, 500, 529):
        with boxed(messages.fails(status, "some_error", f"no {KEY} here", retry_after="7"), tmp_path) as box:
            reply = box.ask()
            assert kind_of(reply) == (status, "some_error", "no [key] here") and reply.headers["retry-after"] == "7"
            assert (box.door.turns, box.door.tokens, box.door.usd) == (0, 0, 0.0)


@pytest.mark.parametrize("status", [408, 502, 504])
def test_what_may_have_been_billed_counts_as_the_most(tmp_path: Path, status: int) -> None:
    with boxed(messages.fails(status), tmp_path) as box:
        assert box.ask().status_code == status and box.door.tokens > ASK["max_tokens"] and box.door.turns == 0


def test_an_error_that_is_no_json_and_a_page_that_is_no_message_become_errors(tmp_path: Path) -> None:
    with boxed([Play(status=502, raw=b"<h1>Bad</h1>", media="text/html"), HTML, messages.redirects("http://x.example/")], tmp_path) as box:
        assert [kind_of(box.ask(max_tokens=1))[0] for _ in range(3)] == [502, 502, 502]
        assert box.door.turns == 0 and box.door.tokens > 0  # a 502 and a page may have been billed


@pytest.mark.parametrize(("script", "status"), [(SILENT, 504), (RESET, 502), (messages.trickles(TALK), 504), (messages.half(TALK), 502)])
def test_a_server_that_does_not_answer_ends_in_time(tmp_path: Path, script: Script, status: int) -> None:
    with boxed(script, tmp_path, seconds=0.6) as box:
        start = time.monotonic()
        assert kind_of(box.ask())[0] == status and time.monotonic() - start < 5
        assert box.door.tokens >= ASK["max_tokens"] and box.door.turns == 0


def test_a_stream_that_breaks_off_says_so(tmp_path: Path) -> None:
    with boxed(messages.half(messages.words("x" * 4000)), tmp_path) as box:
        reply = box.ask(stream=True)
        assert reply.status_code == 200 and "event: error" in reply.text and box.door.tokens >= ASK["max_tokens"]


def test_nobody_at_home_is_a_502_and_a_client_that_goes_on_is_cut(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with boxed(tmp_path=tmp_path, url=f"http://127.0.0.1:{port}") as box:
        found = [box.ask().status_code for _ in range(FAILURES + 3)]
        assert found == [502] * FAILURES + [400] * 3 and box.door.trouble == "upstream" and box.door.tokens == 0


# ---- the key


def test_the_key_is_seen_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(logging.DEBUG)
    echo = messages.words(f"your key is {KEY}", headers={"request-id": KEY, "retry-after": f"7 {KEY}"})
    with boxed(echo, tmp_path) as box:
        whole, streamed = box.ask(), box.ask(stream=True)
        for reply in (whole, streamed):
            assert KEY not in reply.text and KEY not in str(reply.headers) and "your key is [key]" in reply.text
        box.ask(messages=[{"role": "user", "content": f"is it {KEY} or {DUMMY} or sk-ant-api03-abcdefghijklmnop?"}])
        box.post(b"{")
        said = box.door.transcript()
        assert "your key is [key]" in said and "is it [key] or [key] or [key]?" in said
        assert KEY not in said and DUMMY not in said
    assert KEY not in caplog.text and KEY not in "".join(capfd.readouterr())


def test_a_key_is_found_wherever_a_stream_is_cut() -> None:
    text = f"data: one {KEY}{KEY[:5]}{KEY} two {KEY[:-1]}!".encode()
    for size in range(1, len(text)):
        scrub = Scrub(KEY)
        parts = [scrub.feed(text[place : place + size]) for place in range(0, len(text), size)]
        assert b"".join([*parts, scrub.rest()]) == text.replace(KEY.encode(), b"[key]")
    assert Scrub(KEY).feed(b"data: x\n\n") == b"data: x\n\n"  # nothing is held back that begins no key


def test_a_transcript_is_bounded_and_can_be_stored() -> None:
    log = Transcript([KEY])
    for number in range(3000):
        log.add(">", f"{number} {KEY} \x00\ud800\x1b[31m " + "x" * 300)
    text = log.text()
    assert len(text) <= TRANSCRIPT_CAP and KEY not in text and not any(char in text for char in "\x00\ud800\x1b")
    assert text.startswith("> 0 [key]") and "[…]" in text and "> 2999 [key]" in text
    log.add("<", "y" * 10**6)
    assert len(log.text()) <= TRANSCRIPT_CAP and "> 2999 [key]" in log.text()  # one entry does not drive out all others


def test_a_stream_with_an_endless_line_counts_as_the_most() -> None:
    stream, reserved = Stream(), Reserved(MODEL, 10, 500, 0.0)
    stream.feed(b'data: {"type": "message_start", "message": {"usage": {"input_tokens": 5, "output_tokens": 1}}}\n')
    assert stream.used(reserved) == Usage(input=5, output=500)
    stream.feed(b'data: {"type": "message_delta", "usage": {"output_tokens": 9}}\n')
    assert stream.used(reserved) == Usage(input=5, output=9)
    for _ in range(3):
        stream.feed(b"x" * LINE_CAP)
    stream.feed(b"\n")
    assert stream.used(reserved) is None


def test_betas_that_only_a_server_could_serve_are_left_out() -> None:
    sent = outgoing({"anthropic-beta": "interleaved-thinking-2025-05-14, mcp-client-2025-04-04,code-execution-2025-05-22"}, KEY, "v")
    assert sent["anthropic-beta"] == "interleaved-thinking-2025-05-14"
    assert "anthropic-beta" not in outgoing({"anthropic-beta": "files-api-2025-04-14"}, KEY, "v")


# ---- the socket


def spoken(box: Box, raw: bytes, seconds: float = 10.0) -> bytes:
    """What comes back for bytes as they are."""
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(seconds)
        wire.connect(str(box.path))
        wire.sendall(raw)
        data = b""
        while part := wire.recv(65536):
            data += part
        return data


def head(**more: str) -> bytes:
    named = {"host": "box", "x-api-key": DUMMY, **{name.replace("_", "-"): value for name, value in more.items()}}
    return "".join(["POST /v1/messages HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in named.items()), "\r\n"]).encode()


def test_odd_clients_get_an_error_and_hold_nothing_up(tmp_path: Path) -> None:
    good = json.dumps(ASK).encode()
    with boxed(tmp_path=tmp_path, client_seconds=0.5) as box:
        for raw, status in (
            (head(transfer_encoding="chunked") + b"0\r\n\r\n", 411),
            (head(content_length="-1"), 411),
            (head(), 411),
            (head(content_length="2", content_encoding="gzip") + b"{}", 411),
            (head(content_length=str(len(good)), x_long="y" * 40_000) + good, 400),
            (head(content_length=str(len(good)), transfer_encoding="identity") + good, 411),
            (b"\x16\x03\x01 nonsense\r\n\r\n", 400),
            (b"FROB / HTTP/1.1\r\n\r\n", 501),
        ):
            for _ in range(5):
                assert spoken(box, raw).startswith(b"HTTP/1.1 %d " % status), raw[:99]
        assert spoken(box, head(content_length=str(BODY_CAP + 10)) + b" " * (BODY_CAP + 10)).startswith(b"HTTP/1.1 413 ")
        assert box.stub.requests == [] and box.ask().status_code == 200  # type: ignore[union-attr]


@pytest.mark.parametrize("begun", [b"", b"POST /v1/mess", head(content_length="50"), head(content_length="50") + b"{"])
def test_a_client_that_stops_speaking_is_left(tmp_path: Path, begun: bytes) -> None:
    with boxed(tmp_path=tmp_path, client_seconds=0.3) as box:
        start = time.monotonic()
        assert not spoken(box, begun) and time.monotonic() - start < 3


def test_a_client_that_trickles_its_request_is_left(tmp_path: Path) -> None:
    with boxed(tmp_path=tmp_path, client_seconds=0.4) as box, socket.socket(socket.AF_UNIX) as wire:
        wire.connect(str(box.path))
        wire.sendall(head(content_length="50"))
        start = time.monotonic()
        with suppress(OSError):
            while time.monotonic() - start < 5:
                wire.sendall(b" ")
                time.sleep(0.1)
        assert time.monotonic() - start < 3 and box.door.trouble == "slow_client"


def test_only_so_many_are_served_at_a_time_and_the_rest_waits(tmp_path: Path) -> None:
    with boxed(tmp_path=tmp_path, connections=2, client_seconds=0.5) as box:
        idle = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        for one in idle:
            one.connect(str(box.path))
        start = time.monotonic()
        assert box.ask().status_code == 200 and time.monotonic() - start > 0.2
        for one in idle:
            one.close()


def test_a_door_that_closes_cuts_its_calls_and_counts_them(tmp_path: Path) -> None:
    found: list[Any] = []
    with boxed(SILENT, tmp_path) as box:

        def call() -> None:
            try:
                found.append(box.ask().status_code)
            except httpx2.HTTPError as error:
                found.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        while not box.stub.requests:  # type: ignore[union-attr]
            time.sleep(0.01)
        start = time.monotonic()
    thread.join(10)
    assert time.monotonic() - start < 4 and found and box.door.tokens >= ASK["max_tokens"]
    assert not box.path.exists()


def test_the_socket_is_for_everybody_who_sees_its_folder(tmp_path: Path) -> None:
    with boxed(tmp_path=tmp_path) as box:
        assert box.path.stat().st_mode & 0o777 == 0o666
        assert code_of(lambda: opened(tmp_path / "m.sock")) == "bad_socket"
    assert code_of(lambda: opened(tmp_path / ("x" * 120))) == "bad_socket"


def opened(path: Path, dummy: str = DUMMY) -> None:
    with ModelGateway("http://127.0.0.1:9", SecretStr(KEY), [MODEL], PRICES).open("j", path, Budget(), dummy):
        pass


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(PortError) as caught:
        call()
    assert KEY not in str(caught.value)
    return caught.value.code


def test_what_cannot_work_is_refused_at_once(tmp_path: Path) -> None:
    assert code_of(lambda: ModelGateway("http://x", SecretStr(KEY), [], PRICES)) == "no_models"
    assert code_of(lambda: ModelGateway("http://x", SecretStr(KEY), ["my-own"], PRICES)) == "no_price"
    assert code_of(lambda: ModelGateway("ftp://x", SecretStr(KEY), [MODEL], PRICES)) == "bad_base_url"
    assert code_of(lambda: ModelGateway("http://x", SecretStr(""), [MODEL], PRICES)) == "no_key"
    for dummy in (KEY, "", KEY[:9], f"{KEY}!"):
        assert code_of(lambda dummy=dummy: opened(tmp_path / "m.sock", dummy)) == "bad_key"  # type: ignore[misc]
