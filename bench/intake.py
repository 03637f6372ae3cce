"""Measures intake: the real server and the bare endpoint stand side by side and are sent the same cases in turn."""

import base64
import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import text

from bench.figures import Figure
from bench.sender import Sent, send
from connectors.webhooks import sign
from service.db import Database

ROOT = Path(__file__).parents[1]
BODY_BYTES = 4096
"""what a short example is filled up to; longer ones stay as they are"""
LEAST, AT = 0.4, 8
"""the rate that is asked for, as part of bare's, and at how many connections"""
ROUND_SECONDS = 4.0
"""after which a round ends early"""
QUIET_SECONDS = 60
"""most time that ours may take to mask what one round left"""
Tell = Callable[[str], None]
_numbers = count()


@dataclass(frozen=True)
class Plan:
    """What is sent."""

    cases: Sequence[dict[str, Any]]
    requests: dict[int, int]
    """connections → requests a round"""
    rounds: int


def measure(name: str, urls: tuple[str, str], folder: Path, repo: Path, plan: Plan, tell: Tell) -> list[Figure]:
    """Requests a second at each number of connections. `urls`: two new, empty databases, ours and bare's."""
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    settings = {
        "TRIAGE_DATABASE_URL": urls[0],
        "TRIAGE_DATA_DIR": str(folder / "data"),
        "TRIAGE_SOURCES": json.dumps({"bench": {"secrets": [secret], "target": "target"}}),
        "TRIAGE_TARGETS": json.dumps({"target": {"repo": str(repo)}}),
        "TRIAGE_SETTLE_SECONDS": "3600",
    }
    serve = ["service.cli", "serve", "--host", "127.0.0.1", "--port", "0", "--until-stdin-ends"]
    db, figures = Database(urls[0]), []
    with _server(folder, "ours", serve, settings) as ours, _server(folder, "bare", ["bench.bare", urls[1], secret], {}) as bare:
        for connections, number in plan.requests.items():
            _, *rounds = [_one_round((ours, bare), db, plan.cases, connections, number, secret) for _ in range(plan.rounds + 1)]  # warms up
            what = f"intake {name}, {connections} connection{'s'[: connections - 1]}"
            mine, other = ([sent[place].rate for sent, _ in rounds] for place in (0, 1))
            busiest = max(one.busy for sent, _ in rounds for one in sent)
            figures.append(Figure(what, "cases/s", mine, other, f"sender busy {busiest:.0%}", LEAST if connections == AT else None))
            tell(f"{what}: ours {_said(mine)}; bare {_said(other)}")
            if connections == AT:
                figures.append(Figure(f"{what}, until masked", "cases/s", [rate for _, rate in rounds]))
    db.dispose()
    return figures


def _one_round(
    ports: tuple[int, int], db: Database, cases: Sequence[dict[str, Any]], connections: int, number: int, secret: str
) -> tuple[list[Sent], float]:
    """Ours, then bare; and how many cases a second ours took in and masked, from the first request to the last mask."""
    requests = [_requests(cases, number, secret) for _ in ports]
    start = time.perf_counter()
    ours = send(ports[0], requests[0], connections, ROUND_SECONDS)
    _wait_until_masked(db)
    masked = ours.number / (time.perf_counter() - start)
    return [ours, send(ports[1], requests[1], connections, ROUND_SECONDS)], masked


def _said(rates: list[float]) -> str:
    return " ".join(f"{rate:.0f}" for rate in rates)


def _requests(cases: Sequence[dict[str, Any]], number: int, secret: str) -> list[bytes]:
    """Signed requests, none of which was there before."""
    made = []
    for _ in range(number):
        place = next(_numbers)
        body = _body(cases, place)
        headers = sign(f"msg_bench_{place}", datetime.now(UTC), body, secret)
        head = [
            "POST /v1/cases HTTP/1.1",
            "host: 127.0.0.1",
            "content-type: application/json",
            f"content-length: {len(body)}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        made.append("\r\n".join(head).encode() + b"\r\n\r\n" + body)
    return made


def _body(cases: Sequence[dict[str, Any]], place: int) -> bytes:
    """A case of the file under a new name; a short one also gets what other customers wrote, up to `BODY_BYTES`."""
    case = {**cases[place % len(cases)], "external_id": f"bench-{place}"}
    messages = list(case["ticket"]["messages"])
    room = BODY_BYTES - len(json.dumps(case).encode())
    for step in range(1, len(cases) + 1):
        if room <= 100:
            break
        words = cases[(place + step) % len(cases)]["ticket"]["messages"][0]["text"][: room - 80]
        messages.append({"role": "customer", "text": words or "-"})
        room -= len(json.dumps(messages[-1]).encode()) + 2
    return json.dumps({**case, "ticket": {**case["ticket"], "messages": messages}}).encode()


def _wait_until_masked(db: Database) -> None:
    """Ours goes on working after its answers; bare's round must not pay for that."""
    deadline = time.monotonic() + QUIET_SECONDS
    while time.monotonic() < deadline:
        with db.read() as session:
            if not session.connection().execute(text("SELECT EXISTS (SELECT 1 FROM cases WHERE redacted_at IS NULL)")).scalar_one():
                return
        time.sleep(0.02)
    raise TimeoutError(f"cases are still not masked after {QUIET_SECONDS} s")


@contextmanager
def _server(folder: Path, name: str, words: list[str], settings: dict[str, str]) -> Iterator[int]:
    """A server in a process of its own, which ends with its standard input, so also with us; its port, once it answers."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("TRIAGE_")}
    log = folder / f"{name}.log"
    environment = {**inherited, **settings, "PYTHONPATH": str(ROOT)}
    with open(log, "wb") as out:  # in the folder: a .env of the checkout must not count
        process = subprocess.Popen([sys.executable, "-m", *words], cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=out, stderr=out)
    try:
        yield _port(process, log)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(rb"serving http://127.0.0.1:(\d+) ", log.read_bytes()):
            return int(found[1])
        time.sleep(0.05)
    raise RuntimeError(f"{log.name} says: {log.read_text()[-2000:]}")
