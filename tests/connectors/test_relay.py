"""The relay is run as a box would run it: bytes go both ways, the program's end is its end, and its end is the program's."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from connectors import relay
from connectors.claude_prices import published
from connectors.model_gateway import ModelGateway
from connectors.ports import Budget
from tests.samples import messages
from tests.samples.messages import MessagesStub

RELAY = str(Path(relay.__file__).resolve())
PYTHON = [sys.executable, "-S", "-E"]


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def upper(tmp_path: Path) -> Iterator[Path]:
    """A server on a unix socket that gives back in capitals what it got, once the client has said all."""
    path = tmp_path / "u.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(64)

    def one(near: socket.socket) -> None:
        with near:
            data = b""
            while part := near.recv(65536):
                data += part
            near.sendall(data.upper())

    def serve() -> None:
        try:
            while True:
                threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()
        except OSError:
            return

    threading.Thread(target=serve, daemon=True).start()
    yield path
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def run(path: Path | str, port: int | str, *argv: str, **more: object) -> "subprocess.CompletedProcess[str]":
    command = [*PYTHON, RELAY, str(path), str(port), "--", *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, **more)  # type: ignore[call-overload,no-any-return]


ASKS = """
import socket, sys, concurrent.futures
def ask(n):
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as wire:
        wire.sendall(b"abc" * n)
        wire.shutdown(socket.SHUT_WR)
        data = b""
        while part := wire.recv(65536):
            data += part
        return data == b"ABC" * n
with concurrent.futures.ThreadPoolExecutor(20) as pool:
    print(all(pool.map(ask, [0, 1, 400000, *range(2, 150)])))
"""


def test_bytes_go_both_ways_for_many_at_once(upper: Path, port: int) -> None:
    done = run(upper, port, sys.executable, "-c", ASKS, str(port))
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def test_the_program_has_our_stdio_and_its_end_is_ours(upper: Path, port: int) -> None:
    done = run(upper, port, "/bin/sh", "-c", "read line; echo got $line; echo $MARK >&2; exit 7", input="hello\n", env={**os.environ, "MARK": "m"})
    assert (done.returncode, done.stdout, done.stderr) == (7, "got hello\n", "m\n")
    assert run(upper, port, "/bin/sh", "-c", "kill -9 $$").returncode == 128 + 9
    assert run(upper, port, "/no/such/program").returncode == 127
    assert run(upper, port, "/etc").returncode == 126


def test_what_is_ended_takes_its_program_along(upper: Path, port: int, tmp_path: Path) -> None:
    stubborn = "trap '' TERM; sleep 60 & echo $$ $! > pids; wait; sleep 60"
    for script in ("sleep 60 & echo $$ $! > pids; wait", stubborn):
        (tmp_path / "pids").unlink(missing_ok=True)
        with subprocess.Popen([*PYTHON, RELAY, str(upper), str(port), "--", "/bin/sh", "-c", script], cwd=tmp_path) as process:
            while not (tmp_path / "pids").exists() or len((tmp_path / "pids").read_text().split()) < 2:
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) in (128 + 15, 128 + 9)
        for pid in (tmp_path / "pids").read_text().split():
            assert gone(int(pid))


def gone(pid: int) -> bool:
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def test_what_a_program_leaves_behind_ends_with_it(upper: Path, port: int, tmp_path: Path) -> None:
    assert run(upper, port, "/bin/sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $! > pid", cwd=tmp_path).returncode == 0
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_gateway_that_is_not_there_is_a_closed_connection(port: int, tmp_path: Path) -> None:
    ask = f"import socket; print(socket.create_connection(('127.0.0.1', {port})).recv(9))"
    assert run(tmp_path / "none.sock", port, sys.executable, "-c", ask).stdout == "b''\n"


@pytest.mark.parametrize("argv", [[], ["s"], ["s", "1", "--"], ["s", "1", "x", "true"], ["s", "x", "--", "true"], ["s", "99999", "--", "true"]])
def test_a_wrong_call_runs_nothing(argv: list[str]) -> None:
    done = subprocess.run([*PYTHON, RELAY, *argv], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and done.stderr


def test_it_starts_fast_and_imports_nothing_of_ours(upper: Path, port: int) -> None:
    best = min(took(upper, port) for _ in range(3))
    assert best < 1.0
    assert "import service" not in Path(RELAY).read_text() and "from connectors" not in Path(RELAY).read_text()


def took(path: Path, port: int) -> float:
    start = time.monotonic()
    assert run(path, port, "/bin/true").returncode == 0
    return time.monotonic() - start


def test_a_client_behind_relay_and_gateway_is_answered(port: int, tmp_path: Path) -> None:
    ask = (
        "import anthropic, sys\n"
        f"client = anthropic.Anthropic(api_key='dummy', base_url='http://127.0.0.1:{port}', max_retries=0)\n"
        "with client.messages.stream(model='claude-sonnet-5-5', max_tokens=99, messages=[{'role': 'user', 'content': 'x'}]) as stream:\n"
        "    print(''.join(stream.text_stream))\n"
    )
    with MessagesStub(messages.words("all the way")) as stub:
        gateway = ModelGateway(stub.url, SecretStr("the-real-key-0123456"), ["claude-sonnet-5-5"], published())
        with gateway.open("j", tmp_path / "m.sock", Budget(), "dummy") as door:
            done = run(tmp_path / "m.sock", port, sys.executable, "-c", ask)
            assert done.stdout == "all the way\n" and door.turns == 1, done.stderr
