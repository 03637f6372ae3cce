"""The gateway's side of a box: requests come in on a unix socket, are looked through, and get their reply or an error in the API's form."""

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

from connectors.claude_profile import OVERHEAD
from connectors.gateway_door import Door
from connectors.gateway_rules import COUNT, MESSAGES, Denied, check_auth, check_thinking, forbidden, invalid, outgoing, read_body, tokens_of
from connectors.gateway_upstream import Answer, Gone, error_body
from connectors.metering import Busy, Reserved, UsedUp
from rubric.drafting import Usage

BODY_CAP = 8 * 1024 * 1024
"""largest request, in bytes"""
HEAD_CAP = 32 * 1024
"""characters of all headers of a request"""
LINGER_SECONDS = 1.0
LEAVE_SECONDS = 5.0
"""how long a door that closes waits for its calls, which are cut"""


class Server(ThreadingMixIn, UnixStreamServer):
    """A thread for each connection, of which there are only so many."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, path: str, door: Door, client_seconds: float, connections: int):
        self.door, self.client_seconds = door, client_seconds
        self._free, self._all = threading.BoundedSemaphore(connections), connections
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(path, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        while not self._free.acquire(timeout=0.05):
            if self.door.closing.is_set():
                return self.shutdown_request(request)
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._open.discard(request)
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing of what a client does is printed: a traceback would hold what it sent."""
        self.door.log.add("!", "a connection broke")

    def leave(self) -> None:
        """Take nobody in any more, cut what goes on, and wait for it to be counted."""
        self.door.closing.set()
        self.shutdown()
        self.server_close()
        self.door.upstream.cut()
        with self._lock:
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
        end = time.monotonic() + LEAVE_SECONDS
        for _ in range(self._all):
            self._free.acquire(timeout=max(0.0, end - time.monotonic()))


class _Handler(BaseHTTPRequestHandler):
    """One request and its reply; the connection ends with it."""

    server: Server
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        self.request.settimeout(self.server.client_seconds)
        super().setup()

    def finish(self) -> None:
        """Take in, for a moment, what the client still sends: else it would see a broken connection in place of its error."""
        super().finish()
        end = time.monotonic() + LINGER_SECONDS
        with suppress(OSError):
            self.request.shutdown(socket.SHUT_WR)
            while (left := end - time.monotonic()) > 0:
                self.request.settimeout(left)
                if not self.request.recv(64 * 1024):
                    return

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the parser of requests objects to, in our own form."""
        self._say(code, "invalid_request_error", "that is no request that this gateway knows")

    def do_HEAD(self) -> None:
        self._probe()

    def do_GET(self) -> None:
        self._probe()

    def do_POST(self) -> None:
        self._within(self._ask)

    def _probe(self) -> None:
        """Clients look whether somebody is there; that tells and costs nothing."""
        if self.path == "/":
            self.server.door.log.add("#", f"probe {self.command} /")
            return self._send(200, [("content-type", "application/json")], b"{}")
        self._within(self._elsewhere)

    def _elsewhere(self) -> None:
        raise forbidden("this gateway leads to /v1/messages only", "path_not_allowed")

    do_PUT = do_PATCH = do_DELETE = do_OPTIONS = lambda self: self._within(self._elsewhere)

    def _within(self, work: Callable[[], None]) -> None:
        door = self.server.door
        try:
            work()
        except Denied as denied:
            door.refused(denied)
            self._say(denied.status, denied.kind, str(denied))
        except UsedUp as error:
            door.log.add("!", str(error))
            self._say(400, "invalid_request_error", "the budget of this job is used up")
        except Busy:
            self._say(429, "rate_limit_error", "other calls of this job hold the rest of its budget", [("retry-after", "1")])
        except Gone as error:
            door.log.add("!", error.code)
            self._say(error.status, "api_error", f"the model server cannot be asked: {error.code}")

    def _ask(self) -> None:
        door, headers = self.server.door, {name.lower(): value for name, value in self.headers.items()}
        raw = self._body(headers)
        path, _, query = self.path.partition("?")
        if path not in (MESSAGES, COUNT) or query not in ("", "beta=true"):
            self._elsewhere()
        if len(headers) < len(self.headers) or sum(len(name) + len(value) for name, value in headers.items()) > HEAD_CAP:
            raise invalid("the headers are too long, or one stands twice")
        check_auth(headers, door.dummy)
        body, left_out = read_body(raw, door.models, counts=path == COUNT)
        if left_out:
            door.log.add("#", f"left out: {', '.join(left_out)}")
        send = partial(door.upstream.post, self.path, outgoing(headers, door.upstream.key, door.upstream.version))
        if path == COUNT:
            door.count()
            with send(json.dumps(body).encode(), door.meter.left_seconds()) as answer:
                return self._pass(answer)
        read = tokens_of(raw, body) + OVERHEAD
        reserved = door.meter.reserve(body["model"], read, body["max_tokens"], cached=b"cache_control" in raw)
        door.log.add(">", {"model": body["model"], "last": body["messages"][-1:]})
        self._metered(reserved, body, send)

    def _metered(self, reserved: Reserved, body: dict[str, Any], send: Callable[..., AbstractContextManager[Answer]]) -> None:
        """One call, settled however it ends: as the most, unless somebody says what it used."""
        door = self.server.door
        try:
            check_thinking(body, reserved.room)
            with send(json.dumps({**body, "max_tokens": reserved.room}).encode(), door.meter.left_seconds()) as answer:
                try:
                    self._pass(answer, reserved)
                finally:
                    door.meter.settle(reserved, answer.used(reserved), answered=answer.ok)
                    door.log.add("<", answer.said if answer.ok else f"status {answer.status}")
        except Gone as error:
            door.meter.settle(reserved, error.usage, answered=False)
            raise
        except Denied:
            door.meter.settle(reserved, Usage(), answered=False)
            raise
        finally:
            door.meter.settle(reserved, None)

    def _body(self, headers: Mapping[str, str]) -> bytes:
        """The body of a request, of a size that it says before. Raises `Denied`."""
        size = headers.get("content-length", "")
        if "transfer-encoding" in headers or "content-encoding" in headers or not (size.isascii() and size.isdigit() and len(size) < 16):
            raise Denied(411, "invalid_request_error", "no_length", "a request has to say its length, and come as it is")
        data, end, cap = bytearray(), time.monotonic() + self.server.client_seconds, int(size)
        while len(data) < min(cap, BODY_CAP):
            part = self.rfile.read1(min(cap, BODY_CAP) - len(data))
            if not part or time.monotonic() > end:
                raise Denied(408, "timeout_error", "slow_client", "the request did not come in whole, or not in time")
            data += part
        if cap > BODY_CAP:
            raise Denied(413, "request_too_large", "too_large", f"a request may have {BODY_CAP} bytes")
        return bytes(data)

    def _pass(self, answer: Answer, reserved: Reserved | None = None) -> None:
        """Hand a reply on. It is settled before its end goes out, so that the client's next call finds what is left."""
        meter = self.server.door.meter
        if answer.streams:
            self._head(answer.status, [*answer.headers, ("transfer-encoding", "chunked")])
            try:
                for part in answer.parts():
                    self._chunk(part)
            except Gone as error:
                self.server.door.log.add("!", error.code)
                self._chunk(b"event: error\ndata: " + error_body("api_error", f"the reply broke off: {error.code}") + b"\n\n")
        if reserved is not None:
            meter.settle(reserved, answer.used(reserved), answered=answer.ok)
        if answer.streams:
            return self._chunk(b"")
        self._send(answer.status, answer.headers, answer.body)

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _say(self, status: int, kind: str, message: str, more: Sequence[tuple[str, str]] = ()) -> None:
        """An error of our own. None of them is worth trying again but the one that says when."""
        retry = [] if more else [("x-should-retry", "false")]
        self._send(status, [("content-type", "application/json"), *retry, *more], error_body(kind, message))

    def _send(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        self._head(status, [*headers, ("content-length", str(len(body)))])
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        self.close_connection = True
        lines = [f"HTTP/1.1 {status} {'OK' if status < 300 else 'Error'}", *(f"{name}: {value}" for name, value in headers), "connection: close"]
        self.wfile.write("".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1", "replace"))
