"""The gateway's side of the model server: one connection a call, bound in time, whose replies are scrubbed and counted as they pass."""

import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpcore2
import httpx2

from connectors.claude_profile import API_VERSION
from connectors.claude_reading import by_status, failed, whole
from connectors.claude_wire import BoundBackend, Deadline, addresses_of
from connectors.gateway_replies import Scrub, Stream, Whole, without_key
from connectors.gateway_rules import REPLY_HEADERS, VALUE_CAP
from connectors.metering import Reserved
from rubric.drafting import Receipt, TransportError, Usage

REPLY_CAP = 16 * 1024 * 1024
"""largest reply in one piece, in bytes"""
STREAM_CAP = 64 * 1024 * 1024
ERROR_CAP = 64 * 1024


class Gone(Exception):
    """There is no reply to pass on. `usage`: what the call cost all the same; None: nobody knows, so the most."""

    def __init__(self, code: str, usage: Usage | None):
        super().__init__(code)
        self.code, self.usage = code, usage
        self.status = 504 if code == "timeout" else 502


def _gone(error: Exception) -> Gone:
    """What an exception of a call means; nothing of it is quoted, since it may hold the request and with it the key."""
    outcome = failed(error, Receipt(model=""))
    code = outcome.code if isinstance(outcome, TransportError) else "too_long"
    return Gone(code, outcome.receipt.usage)


class _Cuttable(BoundBackend):
    """Keeps a second handle of the connection, by which another thread can end what waits on it."""

    handle: socket.socket | None = None

    def connect_tcp(self, *given: Any, **more: Any) -> httpcore2.NetworkStream:
        stream = super().connect_tcp(*given, **more)
        self.handle = stream.get_extra_info("socket").dup()
        return stream

    def cut(self) -> None:
        if self.handle is not None:
            with suppress(OSError):
                self.handle.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        if self.handle is not None:
            self.handle.close()


class Answer:
    """A reply of the server, as far as it may be passed on."""

    def __init__(self, raw: httpcore2.Response, key: str):
        """Raises `Gone` for what is no reply of a Messages server."""
        self._raw, self._key = raw, key
        named = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in raw.headers}
        media = named.get("content-type", "").partition(";")[0].strip().lower()
        self.status, self.ok = raw.status, 200 <= raw.status < 300
        self.streams = self.ok and media == "text/event-stream"
        kept = [(name, named[name]) for name in REPLY_HEADERS if name in named and named[name].isprintable() and key not in named[name]]
        self.headers = [("content-type", media if media.endswith("json") or self.streams else "application/json"), *kept]
        self.headers = [(name, value[:VALUE_CAP]) for name, value in self.headers]
        self._stream, self._whole = Stream(), Whole(b"")
        self.body = b""
        if not self.ok and self.status < 400:
            raise Gone("garbage", Usage())
        if named.get("content-encoding", "identity") != "identity" or (self.ok and not self.streams and media != "application/json"):
            raise Gone("garbage", None)
        if not self.streams:
            self._read(media)

    def _read(self, media: str) -> None:
        """All of a reply that comes in one piece. What a failing server says passes as it is when it is JSON."""
        data = whole(self._raw.iter_stream(), REPLY_CAP if self.ok else ERROR_CAP)
        self._whole = Whole(data)
        if not self.ok and (media != "application/json" or self._whole.message is None):
            data = error_body("api_error", f"the model server answered {self.status}")
        self.body = without_key(data, self._key)

    def parts(self) -> Iterator[bytes]:
        """The bytes of a stream as they come. Raises `Gone` when it breaks off."""
        scrub, total = Scrub(self._key), 0
        try:
            for part in self._raw.iter_stream():
                total += len(part)
                if total > STREAM_CAP:
                    raise Gone("too_long", None)
                self._stream.feed(part)
                if clean := scrub.feed(part):
                    yield clean
        except (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError) as error:
            raise _gone(error) from None
        if rest := scrub.rest():
            yield rest

    def used(self, reserved: Reserved) -> Usage | None:
        """None: nobody knows."""
        if not self.ok:
            return by_status(self.status, Receipt(model="")).receipt.usage
        return self._stream.used(reserved) if self.streams else self._whole.usage

    @property
    def said(self) -> Any:
        return self._stream.said if self.streams else self._whole.said


def error_body(kind: str, message: str) -> bytes:
    """An error in the form of the Messages API."""
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()


class _NoHeaders(logging.Filter):
    """The transport logs the headers of replies at DEBUG, in which a server may quote the key."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "receive_response_headers.complete" not in record.getMessage()


_NO_HEADERS = _NoHeaders()


class Upstream:
    """One Messages server and the real key."""

    version = API_VERSION
    """for clients that name none"""

    def __init__(self, base_url: str, key: str, seconds: float):
        self.key, self._seconds = key, seconds
        self._home = httpx2.URL(base_url)
        self._tls = httpx2.create_ssl_context(trust_env=False) if self._home.scheme == "https" else None
        self._flying: set[_Cuttable] = set()
        self._lock, self._closed = threading.Lock(), False
        logging.getLogger("httpcore2.http11").addFilter(_NO_HEADERS)

    @contextmanager
    def post(self, target: str, headers: dict[str, str], body: bytes, seconds: float) -> Iterator[Answer]:
        """One request; its connection ends with the block. Raises `Gone`."""
        backend = _Cuttable(Deadline(min(self._seconds, seconds)), addresses_of)
        with self._lock:
            if self._closed:
                raise Gone("stopped", Usage())
            self._flying.add(backend)
        pool = httpcore2.ConnectionPool(ssl_context=self._tls, max_connections=1, max_keepalive_connections=0, network_backend=backend)
        try:
            yield self._answer(pool, self._request(target, headers, body))
        finally:
            with self._lock:
                self._flying.discard(backend)
            with suppress(Exception):  # a connection that was cut
                pool.close()
            backend.close()

    def _answer(self, pool: httpcore2.ConnectionPool, request: httpcore2.Request) -> Answer:
        try:
            return Answer(pool.handle_request(request), self.key)
        except Gone:
            raise
        except Exception as error:  # whatever it is, nothing of it may reach a client or a log
            raise _gone(error) from None

    def _request(self, target: str, headers: dict[str, str], body: bytes) -> httpcore2.Request:
        home = self._home
        path = home.raw_path.rstrip(b"/") + target.encode("ascii")
        where = httpcore2.URL(scheme=home.raw_scheme, host=home.raw_host, port=home.port, target=path)
        fixed = {"host": home.netloc.decode("ascii"), "accept-encoding": "identity", "connection": "close", "content-length": str(len(body))}
        return httpcore2.Request("POST", where, headers=list({**headers, **fixed}.items()), content=body)

    def cut(self) -> None:
        """End all calls now, and let none begin."""
        with self._lock:
            self._closed = True
            for backend in self._flying:
                backend.cut()
