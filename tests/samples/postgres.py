"""A private Postgres server for one test process: unix socket only, without durability unless asked for, run as `nobody` when we are root."""

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

SIZE = "-c listen_addresses= -c max_connections=200 -c shared_buffers=64MB"
OFF = "-c fsync=off -c full_page_writes=off -c synchronous_commit=off"


class NoPostgres(Exception):
    """There are no server binaries; the message says how to get them."""


class Cluster:
    """Databases come and go by name; a template makes a new one a copy of files."""

    def __init__(self, *, durable: bool = False) -> None:
        """`durable`: as the service wants it, or it does not start."""
        binaries = _binaries()
        self._folder = Path(tempfile.mkdtemp(prefix="triage-pg-", dir="/tmp"))  # short: a socket's path has 107 bytes at most
        self._count = 0
        self._who: dict[str, Any] = {"cwd": "/"}
        user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        if os.geteuid() == 0:  # initdb refuses root
            nobody = pwd.getpwnam("nobody")
            os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
            self._who |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self._user = user
        data = self._folder / "data"
        made = subprocess.run(
            [binaries / "initdb", "-N", "-A", "trust", "-U", user, "-E", "UTF8", "--locale=C", "-D", data], capture_output=True, **self._who
        )
        if made.returncode:
            raise NoPostgres(f"initdb failed: {made.stderr.decode()[-500:]}")
        self._log = open(self._folder / "log", "wb")  # noqa: SIM115 — the server writes to it
        argv: list[str | Path] = [binaries / "postgres", "-D", data, "-k", self._folder, *SIZE.split(), *("" if durable else OFF).split()]
        self._server = subprocess.Popen(argv, stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL, preexec_fn=_end_with_us, **self._who)
        self._admin = self._connected()

    def _connected(self) -> psycopg.Connection:
        deadline = time.monotonic() + 30
        while True:
            try:
                return psycopg.connect(host=str(self._folder), user=self._user, dbname="postgres", autocommit=True)
            except psycopg.OperationalError:
                if self._server.poll() is not None or time.monotonic() > deadline:
                    raise NoPostgres(f"the server did not start: {(self._folder / 'log').read_text()[-500:]}") from None
                time.sleep(0.02)

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://{self._user}@/{name}?host={self._folder}"

    def create(self, name: str | None = None, template: str = "template0") -> str:
        """A new database, as URL."""
        self._count += 1
        name = name or f"t{self._count}"
        self._admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def drop(self, url: str) -> None:
        name = url.rpartition("/")[0] and url.split("@/", 1)[1].split("?")[0]
        self._admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def stop(self) -> None:
        self._admin.close()
        self._server.send_signal(signal.SIGQUIT)  # at once: nothing in it is kept
        self._server.wait(timeout=30)
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _end_with_us() -> None:
    """A test run that is killed takes its server along, where the kernel can see to that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


def _binaries() -> Path:
    """The folder of initdb and postgres: TRIAGE_TEST_PG_BIN, Debian's versioned folders (newest first), PATH."""
    named = os.environ.get("TRIAGE_TEST_PG_BIN")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: -int(folder.parent.name.partition(".")[0] or 0))
    on_path = shutil.which("initdb")
    for folder in [Path(named)] if named else [*debian, *([Path(on_path).resolve().parent] if on_path else [])]:
        if all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres")):
            return folder
    raise NoPostgres(
        "NO POSTGRES SERVER BINARIES: half of the database tests do not run. Install postgresql or set TRIAGE_TEST_PG_BIN to its bin folder"
    )
