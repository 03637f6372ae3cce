"""Runs one foreign program to its end: a session of its own, limits, a bound of wall-clock time, and the last of what it printed."""

import math
import os
import selectors
import shutil
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from subprocess import run as call
from typing import IO, Any, Protocol

from connectors.eval_port import PortError
from rubric.gating import escaped

OUTPUT_CAP = 64 * 1024
"""Bytes kept of stdout and of stderr: the last ones."""
TAIL = 2000
"""Characters of stderr that a detail quotes."""
Guard = Callable[[int], str]
"""Looks at a running program by its process id, some ten times a second; the code that it has to be ended with, or nothing."""


def nothing() -> str:
    return ""


@dataclass(frozen=True)
class Enclosed:
    """A command that runs a program in a box."""

    argv: Sequence[str]
    guard: Guard
    after: Callable[[], str] = nothing
    """one look more when it has ended by itself: the code that it has to be ended with, or nothing"""


class Box(Protocol):
    """What stands around a program that nobody trusts."""

    def around(self, argv: Sequence[str], environment: Mapping[str, str], *, tree: Path, folder: Path) -> AbstractContextManager[Enclosed]:
        """Of the machine's files the program sees programs, `tree` and `folder`; of those it may write to `folder/out` and a home.

        Once this is left, nothing of it runs any more. Raises `PortError` if that cannot be had.
        """
        ...


@dataclass(frozen=True)
class ProcessLimits:
    """What one process may take. The wall clock comes from the manifest."""

    memory_mb: int = 4096
    """address space; interpreters reserve far more than they use. 0: any, for programs that reserve terabytes"""
    file_mb: int = 256
    processes: int = 4096
    """of our user altogether, as the kernel counts them: stops a fork bomb, not a busy machine"""
    cpu_per_second: int = 4
    """seconds of processor time a process may use per second of its timeout; ends what escaped the kill"""
    replay_budget: int = 4
    """replaying cases one by one may take this many times the manifest's timeout in all"""

    def shell(self, timeout_s: float) -> str:
        """Commands of sh that set the limits and become the program.

        Not `preexec_fn`: that is unsafe in a service with threads. A limit that is stricter already stays as it is.
        """
        cpu = math.ceil(timeout_s) * self.cpu_per_second
        memory = [f"-v {self.memory_mb * 1024}"] if self.memory_mb else []
        settings = ["-c 0", *memory, f"-f {self.file_mb * 2048}", f"-S -t {cpu}", f"-H -t {cpu + 5}"]
        many = f"ulimit -u {self.processes} 2>/dev/null || ulimit -p {self.processes} 2>/dev/null"  # bash || dash
        return "; ".join([*(f"ulimit {setting} 2>/dev/null" for setting in settings), many, 'exec "$@"'])


@dataclass(frozen=True)
class Ended:
    early: str
    """timeout, stopped, or what the guard said; empty when it ended by itself"""
    status: int
    """as `Popen.returncode`"""
    tail: str
    """the end of what it printed, on stderr or else on stdout; one line, harmless to a terminal"""
    printed: str = ""
    """the end of its stdout as it is"""


def run(
    argv: Sequence[str],
    tree: Path,
    environment: Mapping[str, str],
    timeout_s: float,
    limits: ProcessLimits,
    stopping: threading.Event,
    guard: Guard | None = None,
) -> Ended:
    """Run to the end, in time, in `tree`; then all of its group is killed. Raises `OSError` or `ValueError` if it cannot be started."""
    if stopping.is_set():
        return Ended("stopped", 0, "")
    command = ["/bin/sh", "-c", limits.shell(timeout_s), "sh", *argv]
    with Popen(command, cwd=tree, env=dict(environment), stdin=DEVNULL, stdout=PIPE, stderr=PIPE, start_new_session=True) as process:
        early, printed, said = _watch(process, time.monotonic() + timeout_s, stopping, guard)
    return Ended(early, process.returncode, escaped((said or printed)[-TAIL:])[-TAIL:], printed)


def _watch(process: "Popen[bytes]", deadline: float, stopping: threading.Event, guard: Guard | None) -> tuple[str, str, str]:
    """Read until the program ends, the time is up, the guard objects or we are told to stop, then kill all of its group.

    Returns (why it was ended or nothing, the ends of its stdout and stderr). A pipe that some grandchild holds open ends nothing and holds
    nothing up.
    """
    tails: dict[IO[bytes], bytearray] = {pipe: bytearray() for pipe in (process.stdout, process.stderr) if pipe}
    early = ""
    with selectors.DefaultSelector() as selector:
        for pipe in tails:
            selector.register(pipe, selectors.EVENT_READ)
        try:
            # WNOWAIT leaves the zombie: its id, and with it the group's, cannot go to someone else before the kill.
            while not early and not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                left = deadline - time.monotonic()
                early = "stopped" if stopping.is_set() else "timeout" if left <= 0 else guard(process.pid) if guard else ""
                _drain(selector, tails, min(max(left, 0), 0.05 if selector.get_map() else 0.002))
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for _ in range(32):  # bounded: what left the group may print for ever
            if not _drain(selector, tails, 0):
                break
    printed, said = (bytes(tail).decode("utf-8", "replace").strip() for tail in tails.values())
    return early, printed, said


def _drain(selector: selectors.BaseSelector, tails: dict[IO[bytes], bytearray], wait: float) -> bool:
    events = selector.select(wait)
    for key, _ in events:
        pipe: Any = key.fileobj
        data = os.read(pipe.fileno(), OUTPUT_CAP)
        tails[pipe] += data
        del tails[pipe][:-OUTPUT_CAP]
        if not data:
            selector.unregister(pipe)
    return bool(events)


def destroy(folder: Path) -> None:
    """Remove a folder that foreign code wrote into: unreadable folders, any depth. Raises `PortError` if some of it is left."""
    with suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
    for command in (["chmod", "-R", "u+rwX"], ["rm", "-rf"]) * 3:
        if os.path.lexists(folder):
            call([*command, "--", folder], capture_output=True, check=False)
    if os.path.lexists(folder):
        raise PortError("folder_left", "a private folder with inputs could not be removed", retryable=True)
