"""A real server that is killed at seeded points of its work and started again on the same data, or loses a program; a client that does not mind."""

import base64
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError

from connectors.webhooks import sign
from service.wiring import utc_now

ROOT = Path(__file__).parents[2]
TOKEN, SECRET = "t" * 32, "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
PATIENCE = 480
"""seconds that a whole run may take"""
PROGRESS = "SELECT (SELECT COUNT(*) FROM cases) + (SELECT COUNT(*) FROM history)"
REBUILT = re.compile(r"-[0-9]+$")
"""how a branch ends that is not its hint's first"""
SIGNS = {
    "moves": "at once",
    "child": "as soon as a program runs",
    "program": "as soon as an eval or a replay of the target runs",
    "head": "as soon as the gate runs one on a head tree: killed there alone, it looks like the change's own fault",
    "branch": "as soon as a new branch stands in the repository",
    "rebuilt": "as soon as a pull has another branch",
    "base": "as soon as the base branch moves",
}
"""what is waited for, once the work has got as far as the point says"""
EVALS = b"evals.run"
PROGRAMS = (EVALS, b"pipeline.replay")
"""words by which the target's own programs are known, among those of git"""
GATED = re.compile(r"/gate-(.+-[0-9a-f]{8}-[0-9a-f]{8})-[^/]*/(base|head)$")
"""the folder that they run in when the gate tries a change: its run, and the side"""


@dataclass(frozen=True)
class Point:
    """Where somebody dies."""

    progress: int
    """cases received and moves made"""
    sign: str
    victim: str
    """all: the server and its programs; server: they live on as orphans; program: one eval or replay, and the server lives"""


def points(seed: int, number: int, step: int) -> list[Point]:
    """One death of the server in each stretch of the work, and before some of them the death of a program. A sign stands only where it can come."""
    rnd = random.Random(seed)
    early, middle, late = ["moves", "moves", "child"], ["moves", "child", "branch"], ["child", "branch", "rebuilt", "base"]
    for signs in (early, middle, late):
        rnd.shuffle(signs)
    whole = ["moves", *early, *(middle * 2)[: number - 8], *late]
    found = [Point(place * step + rnd.randrange(1, step), sign, "all" if rnd.random() < 0.5 else "server") for place, sign in enumerate(whole)]
    for place, one in ((8, "head"), (5, "program"), (2, "program")):
        found.insert(place, Point(place * step, one, "program"))
    return found


class Survivor:
    """Server and killer. `ask` repeats a request until somebody answers."""

    def __init__(self, folder: Path, repo: Path, url: str | None):
        self.folder, self.repo = folder, repo
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        self.url = url or f"sqlite:///{folder / 'data' / 'triage.db'}"
        kept = {key: value for key, value in os.environ.items() if not key.startswith("TRIAGE_")}
        self._environment = {
            **kept, "PYTHONPATH": str(ROOT), "TRIAGE_DATA_DIR": str(folder / "data"), "TRIAGE_PORT": str(port), "TRIAGE_TOKEN": TOKEN,
            "TRIAGE_UNDO_SECONDS": "0", "TRIAGE_SETTLE_SECONDS": "0", "TRIAGE_POLL_SECONDS": "0.05",
            "TRIAGE_SOURCES": json.dumps({"demo": {"secrets": [SECRET], "target": "target"}}),
            "TRIAGE_TARGETS": json.dumps({"target": {"repo": str(repo)}}), **({"TRIAGE_DATABASE_URL": url} if url else {}),
        }  # fmt: skip
        self.deadline = time.monotonic() + PATIENCE
        self.hit: list[tuple[Point, int]] = []
        """points at which somebody died, with the progress that the work had made"""
        self.refused = 0
        """starts that ended by themselves"""
        self.repeated = 0
        """requests that were sent again because nobody answered"""
        self.seen: dict[str, str] = {}
        """gate run → verdict, as it stood on disk at some death"""
        self.landed: dict[str, str] = {}
        """pull → commit, likewise"""
        self.heads: dict[str, str] = {}
        """branch → commit, likewise"""
        self._database: Engine | None = None
        self._client = httpx2.Client(timeout=60)
        self._process: subprocess.Popen[bytes] | None = None
        self._killer: threading.Thread | None = None
        self._done = threading.Event()
        self.broken: list[str] = []

    # ---- the server

    def starts(self) -> None:
        argv = [sys.executable, "-m", "service.cli", "serve", "--until-stdin-ends"]
        with open(self.folder / "server.log", "ab") as log:
            self._process = subprocess.Popen(argv, env=self._environment, cwd=self.folder, stdin=subprocess.PIPE, stdout=log, stderr=log)

    def dies_at(self, points: list[Point]) -> None:
        """Kill and start again, one point after the other, beside the work."""

        def work() -> None:
            try:
                for point in points:
                    self._waits_for(point)
                    if self._done.is_set():
                        return
                    if point.victim == "program":
                        self._loses(point)
                        continue
                    self._dies(point)
                    self.starts()
            except Exception as error:
                self.broken.append(repr(error))

        self._killer = threading.Thread(target=work, daemon=True)
        self._killer.start()

    def _waits_for(self, point: Point) -> None:
        while not self._done.is_set() and self.progress() < point.progress:
            self._looks_after_it()
            time.sleep(0.02)
        marks = {"branch": self._branches, "rebuilt": self._rebuilt, "base": self._base}
        mark = marks.get(point.sign)
        before = mark() if mark else None
        seen: dict[str, Callable[[], Any]] = {"child": self._children, "moves": lambda: True}
        came = (lambda: mark() != before) if mark else seen.get(point.sign, lambda: self._programs(point.sign))
        while not self._done.is_set() and not came():
            self._looks_after_it()
            time.sleep(0.01 if point.sign == "child" else 0.001)

    def _looks_after_it(self) -> None:
        if self._process and self._process.poll() is not None:
            self.refused += 1
            if self.refused > 20:
                raise AssertionError((self.folder / "server.log").read_text()[-2000:])
            time.sleep(0.5)
            self.starts()

    def _dies(self, point: Point) -> None:
        assert self._process
        family = self._children() if point.victim == "all" else []
        self._process.send_signal(signal.SIGKILL)
        for child in family:
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()
        self._process.stdin.close()  # type: ignore[union-attr]
        self.hit.append((point, self.progress()))
        self.seen |= dict(self.rows("SELECT id, state FROM gate_runs WHERE state IN ('pass', 'fail', 'inconclusive')"))
        self.landed |= dict(self.rows("SELECT id, merged_sha FROM pulls WHERE state = 'merged'"))
        self.heads |= self._branches()

    def _loses(self, point: Point) -> None:
        """One program dies while the server waits for it. One that was just ending does not count: the next one is taken."""
        while not self._done.is_set():
            for program, gated in self._programs(point.sign).items():
                try:
                    os.kill(program, signal.SIGSTOP)  # it cannot end between our look and the kill
                    alive = Path(f"/proc/{program}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
                    os.kill(program, signal.SIGKILL)
                except (OSError, ProcessLookupError):
                    continue
                if alive:
                    self.hit.append((point, self.progress()))
                    self._lets_end(gated)
                    return
            self._looks_after_it()
            time.sleep(0.002)

    def _lets_end(self, gate_run: str) -> None:
        """The next death waits for the verdict: had the server died as well, the gate would begin anew."""
        while not self._done.is_set() and self.rows(f"SELECT id FROM gate_runs WHERE id = '{gate_run}' AND state = 'running'"):
            self._looks_after_it()
            time.sleep(0.01)

    def stops(self) -> None:
        self._done.set()
        if self._killer:
            self._killer.join(timeout=30)
        if self._process:
            self._process.terminate()
            try:
                self._process.wait(timeout=60)
            finally:
                self._process.kill()
                self._process.wait()
                self._process.stdin.close()  # type: ignore[union-attr]
        self._client.close()
        if self._database:
            self._database.dispose()

    # ---- what is to be seen from outside

    def rows(self, question: str) -> list[Any]:
        """Rows of a question; none before there are tables."""
        if self._database is None:
            if self.url.startswith("sqlite") and not Path(self.url.removeprefix("sqlite:///")).exists():
                return []
            self._database = create_engine(self.url.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
        try:
            with self._database.connect() as connection:
                return [tuple(row) for row in connection.execute(text(question))]
        except DBAPIError:
            return []

    def progress(self) -> int:
        found = self.rows(PROGRESS)
        return int(found[0][0]) if found else 0

    def _children(self) -> list[int]:
        """The server's programs, and theirs."""
        parents = {}
        for place in Path("/proc").glob("[0-9]*/stat"):
            try:
                parents[int(place.parent.name)] = int(place.read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
        found: list[int] = []
        around = {self._process.pid} if self._process else set()
        while around:
            around = {child for child, parent in parents.items() if parent in around}
            found += around
        return found

    def _programs(self, sign: str) -> dict[int, str]:
        """Those of the server's programs that are evals or replays of the target, each with the gate run that it works for, if any.

        `head`: evals that the gate runs on the head tree.
        """
        found = {}
        for child in self._children():
            try:
                said, tree = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"), os.readlink(f"/proc/{child}/cwd")
            except OSError:
                continue
            gated = GATED.search(tree)
            if any(word in said for word in PROGRAMS) and (sign == "program" or (EVALS in said and gated and gated[2] == "head")):
                found[child] = gated[1] if gated else ""
        return found

    def _branches(self) -> dict[str, str]:
        found = {}
        for place in sorted((self.repo / "refs/heads/triage").rglob("*")):
            if place.is_file() and not place.name.endswith(".lock"):
                found[place.relative_to(self.repo / "refs/heads").as_posix()] = place.read_text().strip()
        return found

    def _rebuilt(self) -> int:
        return sum(bool(REBUILT.search(branch)) for (branch,) in self.rows("SELECT branch FROM pulls"))

    def _base(self) -> str:
        return (self.repo / "refs/heads/main").read_text()

    # ---- the client

    def ask(self, send: Callable[[], httpx2.Response]) -> httpx2.Response:
        """An answer, however often the server dies on the way."""
        while True:
            assert not self.broken, self.broken
            assert time.monotonic() < self.deadline, f"gave up after {PATIENCE} s; killed at {self.hit}"
            try:
                answer = send()
            except httpx2.TransportError:
                self.repeated += 1
                time.sleep(0.2)
                continue
            if answer.status_code < 500:
                return answer
            time.sleep(0.2)

    def sends(self, number: int, document: dict[str, Any]) -> httpx2.Response:
        """One case as its source sends it: each try is signed anew, under the same delivery id."""
        body = json.dumps(document, ensure_ascii=False).encode()

        def send() -> httpx2.Response:
            headers = {**sign(f"msg_{number}", utc_now(), body, SECRET), "content-type": "application/json"}
            return self._client.post(self.address + "/v1/cases", content=body, headers=headers)

        return self.ask(send)

    def gets(self, path: str, **query: Any) -> Any:
        answer = self.ask(lambda: self._client.get(self.address + path, params=query, headers=self._who()))
        assert answer.status_code == 200, (path, answer.text)
        return answer.json()

    def posts(self, path: str, body: Any = None) -> httpx2.Response:
        return self.ask(lambda: self._client.post(self.address + path, json=body, headers=self._who()))

    def until(self, what: str, done: Callable[[], bool]) -> None:
        while not done():
            assert time.monotonic() < self.deadline, f"gave up waiting until {what}; killed at {self.hit}; {self.gets('/v1/stations')}"
            time.sleep(0.25)

    def _who(self) -> dict[str, str]:
        return {"authorization": f"Bearer {TOKEN}", "x-triage-by": "gwen"}
