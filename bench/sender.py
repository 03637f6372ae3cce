"""A closed-loop sender: each of some keep-alive connections sends the next request when its answer is there.

Requests are bytes that were made before the clock starts, and of an answer only status and length are read, so that the sender takes a small
part of one processor. `Sent.busy` says how much.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


class Refused(Exception):
    """An answer that is not 202: a rate of refusals is no rate."""


@dataclass(frozen=True)
class Sent:
    """One round."""

    number: int
    seconds: float
    busy: float
    """share of the round in which the sender itself had the processor"""

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.number / self.seconds


class _Line(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._got = b""
        self._answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, end, body = self._got.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r")[0]
        if end and len(body) >= int(length or 0) and self._answer and not self._answer.done():
            self._answer.set_result(self._got)

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(Refused("the server closed the connection"))

    async def ask(self, request: bytes) -> None:
        self._got, self._answer = b"", asyncio.get_running_loop().create_future()
        self.transport.write(request)
        answer = await self._answer
        if answer[9:12] != b"202":
            raise Refused(f"answered {answer[:1000].decode(errors='replace')}")


def send(port: int, requests: Sequence[bytes], connections: int, most_seconds: float) -> Sent:
    """Send the requests to a port of this machine, or as many as the time allows. Raises `Refused`."""
    return asyncio.run(_send(port, iter(requests), connections, most_seconds))


async def _send(port: int, requests: Iterator[bytes], connections: int, most_seconds: float) -> Sent:
    loop = asyncio.get_running_loop()
    lines = [(await loop.create_connection(_Line, "127.0.0.1", port))[1] for _ in range(connections)]
    start, busy = time.perf_counter(), time.process_time()

    async def work(line: _Line) -> int:
        done = 0
        for request in requests:
            await line.ask(request)
            done += 1
            if time.perf_counter() - start > most_seconds:
                break
        return done

    number = sum(await asyncio.gather(*(work(line) for line in lines)))
    seconds = time.perf_counter() - start
    used = time.process_time() - busy
    for line in lines:
        line.transport.close()
    return Sent(number, seconds, used / seconds)
