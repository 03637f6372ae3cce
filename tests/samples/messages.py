"""A Messages server made of sockets: it plays what a script says, misbehaves when told to, and remembers every request.

with MessagesStub(lambda body: {"step": "fetch"}) as stub:
    ...  # ask stub.url
stub.requests, stub.calls, stub.spent
"""

import gzip
import hashlib
import json
import socket
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal

COUNTED: Any = object()
"""usage as the stub counts it"""
CACHE_LEAST = 512
"""tokens from which a prefix is cached"""
How = Literal["whole", "half", "trickle", "trickled_head", "silent", "reset", "gzip", "chunked", "nonsense"]


@dataclass(frozen=True)
class Play:
    """What one request is answered with, and how the bytes are sent."""

    content: tuple[Mapping[str, Any], ...] | None = None
    """blocks of a message; None: `raw` is sent as it is"""
    stop: str | None = "end_turn"
    details: Mapping[str, Any] | None = None
    usage: Any = COUNTED
    """None: left out"""
    model: str | None = None
    """None: the one that was asked"""
    status: int = 200
    raw: bytes = b""
    media: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    how: How = "whole"
    item: str = "succeeded"
    """how the request ends within a batch"""


Said = Play | Mapping[str, Any]
Script = Said | Iterable[Said] | Callable[[dict[str, Any]], Said]


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def says(value: Any, **more: Any) -> Play:
    """A JSON value as the whole answer."""
    return words(json.dumps(value), **more)


def words(*parts: str, **more: Any) -> Play:
    """Text blocks as they are given."""
    return Play(content=tuple(text(part) for part in parts), **more)


def blocks(*given: Mapping[str, Any], **more: Any) -> Play:
    return Play(content=given, **more)


def fails(status: int, kind: str = "api_error", message: str = "no", **headers: str) -> Play:
    """An error reply; `headers` with underscores for dashes: `fails(429, retry_after="7")`."""
    raw = json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()
    return Play(status=status, raw=raw, headers={name.replace("_", "-"): value for name, value in headers.items()}, item="errored")


def refuses(*said: str, category: str | None = "bio") -> Play:
    return words(*said, stop="refusal", details={"type": "refusal", "category": category, "explanation": None})


def cut(so_far: str = '{"a": ') -> Play:
    return words(so_far, stop="max_tokens")


def too_long(so_far: str = "") -> Play:
    return words(so_far, stop="model_context_window_exceeded")


def bytes_of(raw: bytes, media: str = "application/json", **more: Any) -> Play:
    """A success that is no message."""
    return Play(raw=raw, media=media, **more)


HTML = bytes_of(b"<!doctype html><title>Welcome</title>", "text/html")


def half(play: Play) -> Play:
    """Announces all of it, sends half, and hangs up."""
    return replace(play, how="half")


def trickles(play: Play, *, head: bool = False) -> Play:
    """Sends a byte now and then, for as long as anybody listens."""
    return replace(play, how="trickled_head" if head else "trickle")


def zipped(play: Play) -> Play:
    return replace(play, how="gzip")


SILENT = Play(how="silent")
"""takes the request and says nothing"""
RESET = Play(how="reset")
NONSENSE = Play(how="nonsense")
"""what comes back is no HTTP"""


def redirects(to: str, status: int = 307) -> Play:
    return Play(status=status, headers={"location": to})


def errored(kind: str = "invalid_request_error") -> Play:
    """For batches: this request fails by itself."""
    return fails(400, kind)


EXPIRED = Play(content=(), item="expired")
CANCELED = Play(content=(), item="canceled")


@dataclass(frozen=True)
class Seen:
    """A request as it came in."""

    method: str
    path: str
    headers: Mapping[str, str]
    """lower-case names"""
    raw: bytes
    body: Any
    """parsed; None for none"""

    @property
    def whole(self) -> str:
        """Everything that was sent, for a search for what must not have been."""
        head = "\n".join(f"{name}: {value}" for name, value in self.headers.items())
        return f"{self.method} {self.path}\n{head}\n{self.raw.decode('utf-8', 'replace')}\n{json.dumps(self.body, ensure_ascii=False)}"


def tokens(words: str) -> int:
    """Four bytes a token, as far as anybody can tell from outside."""
    return len(words.encode("utf-8", "replace")) // 4 + 1


class MessagesStub:
    """Listens on 127.0.0.1 as long as the `with` block lasts.

    `script`: a `Play` or an object for every request, several of them in order (the last one stays), or a function of the request's body.
    `running`: how often a batch says that it is not ready. `lines`: changes a batch's result lines before they are sent.
    """

    def __init__(self, script: Script, *, running: int = 0, lines: Callable[[list[bytes]], list[bytes]] = lambda lines: lines[::-1]):
        self._script, self._running, self._lines = script, running, lines
        self._queue = [script] if isinstance(script, Play | Mapping) else [] if callable(script) else list(script)
        self._lock = threading.Lock()
        self._cached: set[str] = set()
        self._batches: dict[str, list[dict[str, Any]]] = {}
        self.requests: list[Seen] = []
        self.spent: Counter[str] = Counter()
        """tokens: input, output, cache_read, cache_write"""
        self.stopped = threading.Event()
        self.hung_up = threading.Event()
        """somebody left before a trickled or withheld reply was over"""
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.stub = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def calls(self) -> int:
        """Messages that were asked for, one by one."""
        return sum(seen.path.partition("?")[0] == "/v1/messages" for seen in self.requests)

    def __enter__(self) -> "MessagesStub":
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="stub")
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def play(self, seen: Seen) -> Play:
        """What a request is answered with, message and all."""
        with self._lock:
            self.requests.append(seen)
            if seen.path.startswith("/v1/messages/batches"):
                return self._batch(seen)
            path = seen.path.partition("?")[0]
            if path == "/v1/messages/count_tokens":
                return bytes_of(json.dumps({"input_tokens": tokens(json.dumps(seen.body.get("messages")))}).encode())
            if path != "/v1/messages" or seen.method != "POST":
                return fails(404, "not_found_error")
            return self._message(self._next(seen.body), seen.body)

    def _next(self, body: dict[str, Any]) -> Play:
        if callable(self._script) and not isinstance(self._script, Mapping):
            said: Said = self._script(body)
        else:
            said = self._queue.pop(0) if len(self._queue) > 1 else self._queue[0]
        return said if isinstance(said, Play) else says(said)

    def _message(self, play: Play, body: dict[str, Any]) -> Play:
        if play.content is None:
            return play
        message = self._compose(play, body)
        if body.get("stream"):
            return replace(play, raw=_events(message), media="text/event-stream")
        return replace(play, raw=json.dumps(message).encode())

    def _compose(self, play: Play, body: dict[str, Any]) -> dict[str, Any]:
        usage = self._count(play, body)
        message = {
            "id": f"msg_{len(self.requests):04d}", "type": "message", "role": "assistant", "model": play.model or body["model"],
            "content": list(play.content or ()), "stop_reason": play.stop, "stop_sequence": None, "stop_details": play.details,
        }  # fmt: skip
        given = usage if play.usage is COUNTED else play.usage
        return message if given is None else {**message, "usage": given}

    def _count(self, play: Play, body: dict[str, Any]) -> dict[str, Any]:
        """As the real server bills: what stands up to the last cache mark is written once, then read, if it is long enough."""
        system = body.get("system") or []
        marks = [place for place, block in enumerate(system) if isinstance(block, dict) and "cache_control" in block]
        prefix = json.dumps(system[: marks[-1] + 1]) if marks else ""
        whole = tokens(json.dumps([system, body.get("messages"), body.get("output_config")], ensure_ascii=False))
        kept = tokens(prefix) if tokens(prefix) >= CACHE_LEAST else 0
        key = hashlib.sha256(f"{body.get('model')} {prefix}".encode()).hexdigest()
        hit = kept if key in self._cached else 0
        if kept:
            self._cached.add(key)
        out = sum(tokens(str(block.get("text", ""))) for block in play.content or () if isinstance(block, Mapping))
        self.spent.update({"input": max(0, whole - kept), "output": out, "cache_read": hit, "cache_write": kept - hit})
        return {
            "input_tokens": max(0, whole - kept), "output_tokens": out, "cache_read_input_tokens": hit, "cache_creation_input_tokens": kept - hit,
        }  # fmt: skip

    def _batch(self, seen: Seen) -> Play:
        name = seen.path.removeprefix("/v1/messages/batches").strip("/").split("/")[0]
        if seen.method == "POST" and not name:
            name = f"msgbatch_{len(self._batches):04d}"
            self._batches[name] = seen.body["requests"]
        if name not in self._batches:
            return fails(404, "not_found_error")
        if seen.path.endswith("/results"):
            lines = [json.dumps({"custom_id": one["custom_id"], "result": self._result(one["params"])}).encode() for one in self._batches[name]]
            return bytes_of(b"".join(line + b"\n" for line in self._lines(lines)), "application/x-jsonl", how="chunked")
        ended = seen.method == "GET" and self._running <= 0
        self._running -= seen.method == "GET"
        asked = len(self._batches[name])
        counts = {"processing": 0 if ended else asked, "succeeded": asked if ended else 0, "errored": 0, "canceled": 0, "expired": 0}
        told = {
            "id": name, "type": "message_batch", "processing_status": "ended" if ended else "in_progress", "request_counts": counts,
            "created_at": "2026-11-30T12:00:00Z", "expires_at": "2026-12-01T12:00:00Z", "ended_at": None, "archived_at": None,
            "cancel_initiated_at": None, "results_url": f"http://elsewhere.invalid/v1/messages/batches/{name}/results" if ended else None,
        }  # fmt: skip
        return bytes_of(json.dumps(told).encode())

    def _result(self, params: dict[str, Any]) -> dict[str, Any]:
        play = self._next(params)
        if play.item == "errored":
            return {"type": "errored", "error": json.loads(play.raw)}
        return {"type": play.item, "message": self._compose(play, params)} if play.item == "succeeded" else {"type": play.item}


def _events(message: dict[str, Any]) -> bytes:
    """A message as a stream of events, each block in one delta."""
    start = {**message, "content": [], "stop_reason": None}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    for index, block in enumerate(message["content"]):
        empty = {**block, "text": ""} if "text" in block else {**block, "input": {}} if "input" in block else block
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        if "text" in block:
            events.append({"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": block["text"]}})
        if "input" in block:
            given = json.dumps(block["input"])
            events.append({"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta", "partial_json": given}})
        events.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": None, "stop_details": message["stop_details"]}
    events += [{"type": "message_delta", "delta": delta, "usage": message.get("usage")}, {"type": "message_stop"}]
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    stub: MessagesStub

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what half of the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_CONNECT(self) -> None:
        self._handle()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _handle(self) -> None:
        self.close_connection = True
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            body = None
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._send(self.server.stub.play(Seen(self.command, self.path, headers, raw, body)))

    def _send(self, play: Play) -> None:
        match play.how:
            case "silent":
                self._wait_for_them()
            case "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            case "nonsense":
                self.connection.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
            case _:
                self._send_bytes(play)

    def _send_bytes(self, play: Play) -> None:
        raw = gzip.compress(play.raw) if play.how == "gzip" else play.raw
        head = {"content-type": play.media, "request-id": f"req_{zlib.crc32(play.raw):08x}", "connection": "close", **play.headers}
        head |= {"content-encoding": "gzip"} if play.how == "gzip" else {}
        head |= {"transfer-encoding": "chunked"} if play.how == "chunked" else {"content-length": str(len(raw))}
        start = f"HTTP/1.1 {play.status} Said\r\n{''.join(f'{name}: {value}{chr(13)}{chr(10)}' for name, value in head.items())}".encode()
        if play.how == "trickled_head":
            return self._trickle(start + b"x-padding: " + b"x" * 50_000)
        self.connection.sendall(start + b"\r\n")
        if play.how == "trickle":
            return self._trickle(raw + b" " * 50_000)
        if play.how == "half":
            raw = raw[: len(raw) // 2]
        if play.how == "chunked":
            pieces = [raw[place : place + 1000] for place in range(0, len(raw), 1000)]
            raw = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        self.connection.sendall(raw)

    def _trickle(self, raw: bytes) -> None:
        try:
            for place in range(len(raw)):
                self.connection.sendall(raw[place : place + 1])
                if self.server.stub.stopped.wait(0.02):
                    return
        except OSError:
            self.server.stub.hung_up.set()

    def _wait_for_them(self) -> None:
        self.connection.settimeout(0.05)
        while not self.server.stub.stopped.is_set():
            try:
                if self.connection.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        self.server.stub.hung_up.set()
