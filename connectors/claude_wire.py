"""The wire to a Messages server: one connection a call, a bound of wall-clock time around all of it, our headers, and one destination."""

import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import httpcore2
import httpx2

CONNECT_SECONDS = 10.0
PIECE = 16 * 1024
"""bytes that are written in one go; a socket that can be written to takes so many at once, so that no write outlasts the bound"""
RAW_CAP = 4 * 1024 * 1024
"""largest reply, in bytes on the wire"""
KEPT = ("request-id", "retry-after", "retry-after-ms", "date")
"""headers of a failed reply that are looked at"""
Resolve = Callable[[str, int], list[str]]


class TooLong(Exception):
    """A reply is larger than any answer could be."""


class Elsewhere(Exception):
    """A request would have left for another server than the profile's."""


class Deadline:
    """Counts down from the moment it is made."""

    def __init__(self, seconds: float):
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left. Raises `httpcore2.ReadTimeout` when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout("the bound of this call has passed")
        return left


def addresses_of(host: str, port: int) -> list[str]:
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class BoundStream(httpcore2.NetworkStream):
    """A connection whose every read and write ends at the deadline, however slowly the other side goes on."""

    def __init__(self, inner: httpcore2.NetworkStream, deadline: Deadline):
        self._inner, self._deadline = inner, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, timeout=self._deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), PIECE):
            self._inner.write(buffer[start : start + PIECE], timeout=self._deadline.left())

    def close(self) -> None:
        self._inner.close()

    def start_tls(self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None) -> httpcore2.NetworkStream:
        return BoundStream(self._inner.start_tls(ssl_context, server_hostname, self._deadline.left()), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class BoundBackend(httpcore2.NetworkBackend):
    """Opens connections within the deadline, looking the name up included."""

    def __init__(self, deadline: Deadline, resolve: Resolve):
        self._deadline, self._resolve = deadline, resolve

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        failed: Exception = httpcore2.ConnectError("the name has no address")
        for address in self._look_up(host, port):
            try:
                seconds = min(CONNECT_SECONDS, self._deadline.left())
                return BoundStream(httpcore2.SyncBackend().connect_tcp(address, port, timeout=seconds), self._deadline)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failed = error
        raise failed

    def _look_up(self, host: str, port: int) -> list[str]:
        """A look-up has no bound of its own: it runs in a thread that is left alone when it takes too long, and ends with the look-up."""
        try:
            return [str(ipaddress.ip_address(host.strip("[]")))]
        except ValueError:
            pass
        found: queue.SimpleQueue[list[str] | None] = queue.SimpleQueue()

        def look() -> None:
            try:
                found.put(self._resolve(host, port))
            except (OSError, UnicodeError):
                found.put(None)

        threading.Thread(target=look, name="model-look-up", daemon=True).start()
        try:
            addresses = found.get(timeout=min(CONNECT_SECONDS, self._deadline.left()))
        except queue.Empty:
            raise httpcore2.ConnectTimeout("looking up the name took too long") from None
        if not addresses:
            raise httpcore2.ConnectError("the name was not found")
        return addresses


class _Body(httpx2.SyncByteStream):
    """The bytes of a reply as they come in, up to a size; closing it closes the connection."""

    def __init__(self, raw: httpcore2.Response, pool: httpcore2.ConnectionPool, cap: int):
        self._raw, self._pool, self._cap = raw, pool, cap

    def __iter__(self) -> Iterator[bytes]:
        total = 0
        for part in self._raw.iter_stream():
            total += len(part)
            if total > self._cap:
                raise TooLong
            yield part

    def close(self) -> None:
        self._raw.close()
        self._pool.close()


class Wire(httpx2.BaseTransport):
    """Sends a request to one server, with our headers only, and gives the body of a success; of a failure the status and little else.

    The SDK fills requests from the environment too (`ANTHROPIC_CUSTOM_HEADERS` and others), so nothing of what it would send but method,
    path and body goes out. Redirects come back as failures without their destination, and no proxy is asked.
    """

    def __init__(self, base_url: str, headers: Mapping[str, str], wall_seconds: float, *, raw_cap: int = RAW_CAP, resolve: Resolve = addresses_of):
        self._home = httpx2.URL(base_url)
        self._headers, self._wall, self._cap, self._resolve = dict(headers), wall_seconds, raw_cap, resolve
        self._tls = httpx2.create_ssl_context(trust_env=False) if self._home.scheme == "https" else None

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        url, home = request.url, self._home
        if (url.scheme, url.host, url.port) != (home.scheme, home.host, home.port):
            raise Elsewhere
        backend = BoundBackend(Deadline(self._wall), self._resolve)
        pool = httpcore2.ConnectionPool(ssl_context=self._tls, max_connections=1, max_keepalive_connections=0, network_backend=backend)
        try:
            return self._answer(pool.handle_request(self._outgoing(request)), pool)
        except BaseException:
            pool.close()
            raise

    def _outgoing(self, request: httpx2.Request) -> httpcore2.Request:
        url, content = request.url, request.read()
        headers = {"Host": url.netloc.decode("ascii"), "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close", **self._headers}
        if request.method != "GET":
            headers |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
        where = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        return httpcore2.Request(request.method, where, headers=list(headers.items()), content=content)

    def _answer(self, raw: httpcore2.Response, pool: httpcore2.ConnectionPool) -> httpx2.Response:
        body = _Body(raw, pool, self._cap)
        if 200 <= raw.status < 300:
            return httpx2.Response(raw.status, headers=raw.headers, stream=body)
        body.close()  # unread: what a failing server writes is nobody's business, and may quote the request
        kept = [(name, value) for name, value in raw.headers if name.decode("ascii", "replace").lower() in KEPT]
        return httpx2.Response(raw.status, headers=kept, content=b"")
