"""Runs inside a box: `python -S -E relay.py SOCKET PORT -- argv…` turns the gateway's unix socket into a port of loopback for one program.

Imports little and nothing of ours, because it is bound into the box as one file. Ends as the program ends, and takes it along when it is ended.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress

CONNECTIONS = 64
"""relayed at a time; more of them wait"""
PIECE = 64 * 1024
GRACE = 2
"""seconds that the program has between being asked to end and being killed"""
ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
USAGE = "usage: relay.py SOCKET PORT -- argv..."


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Carry bytes one way to their end; the other way may go on."""
    with suppress(OSError):
        while part := source.recv(PIECE):
            sink.sendall(part)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _relay(near: socket.socket, path: str, free: threading.BoundedSemaphore) -> None:
    try:
        with near, socket.socket(socket.AF_UNIX) as far:
            far.connect(path)
            back = threading.Thread(target=_pump, args=(far, near), daemon=True)
            back.start()
            _pump(near, far)
            back.join()
    except OSError:
        pass  # the program sees a closed connection, as from any server that is not there
    finally:
        free.release()


def _serve(listener: socket.socket, path: str) -> None:
    free = threading.BoundedSemaphore(CONNECTIONS)
    while True:
        free.acquire()
        try:
            near, _ = listener.accept()
            threading.Thread(target=_relay, args=(near, path, free), daemon=True).start()
        except OSError:
            free.release()
            return


def _start(argv: list[str]) -> int:
    """The program, as a process of its own group, with our stdio and environment. Forked before any thread runs."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)  # one that comes before `_take_along` waits for it
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
        try:
            os.execvp(argv[0], argv)  # noqa: S606 — no shell is wanted
        except OSError as error:
            os.write(2, f"relay: cannot run {argv[0]}: {error.strerror}\n".encode())
            os._exit(126 if isinstance(error, PermissionError) else 127)
    with suppress(OSError):  # it may have done so itself, or be gone
        os.setpgid(child, child)
    return child


def _take_along(child: int) -> None:
    """Ending us ends the program: asked first, killed after `GRACE` seconds."""

    def end(number: int, frame: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL if number == signal.SIGALRM else signal.SIGTERM)
        signal.alarm(GRACE)

    for number in (*ENDS, signal.SIGALRM):
        signal.signal(number, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)


def main(argv: Sequence[str]) -> int:
    """The exit status of the program: its own, or 128 and the number of the signal that ended it. 2: it was not even tried."""
    if len(argv) < 4 or argv[2] != "--" or not (argv[1].isascii() and argv[1].isdigit()):
        print(USAGE, file=sys.stderr)  # noqa: T201 — a script
        return 2
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", int(argv[1])))
        listener.listen(CONNECTIONS)
    except (OSError, OverflowError) as error:
        print(f"relay: cannot listen on port {argv[1]}: {error}", file=sys.stderr)  # noqa: T201
        return 2
    child = _start(list(argv[3:]))
    _take_along(child)
    threading.Thread(target=_serve, args=(listener, argv[0]), daemon=True).start()
    _, status = os.waitpid(child, 0)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)  # what it left behind
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
