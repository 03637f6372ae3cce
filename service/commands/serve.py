"""`triage serve`: one process with server, workers and clock."""

import errno
import gc
import logging
import os
import signal
import socket
import sys
import threading
from typing import Annotated

import structlog
import typer
import uvicorn
from rich.console import Console

from service.app import Running, create_app
from service.settings import Refused, Settings, read_settings, starting
from service.wiring import kept_secret

app = typer.Typer(add_completion=False, help="Start the server. Settings come from the environment or .env; see .env.example.")

SWITCH_SECONDS = 0.0005
"""how long a thread computes while another waits for its turn; with Python's 5 ms every answer waits for masks and drafts several times"""


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="address to bind to; the setting TRIAGE_HOST otherwise")] = None,
    port: Annotated[int | None, typer.Option(help="port to bind to, 0 for any free one; the setting TRIAGE_PORT otherwise")] = None,
    until_stdin_ends: Annotated[bool, typer.Option("--until-stdin-ends", hidden=True, help="internal: stop when standard input ends")] = False,
) -> None:
    """Start the server and print where it listens. Ctrl-C drains and stops it."""
    settings = read_settings(host=host, port=port)
    if until_stdin_ends:
        _watch_stdin()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("apscheduler").setLevel(logging.ERROR)  # a beat that is skipped because the last one still works is no news
    listener = _listen(settings.host, settings.port)
    token = "the setting TRIAGE_TOKEN" if settings.token else f"the file {settings.data_dir / 'token'}"
    with starting():
        if not settings.token:
            kept_secret(settings, "token")
        running = Running(settings, None)
    sys.setswitchinterval(SWITCH_SECONDS)
    listener.listen(2048)  # who reads the line may call at once
    screen = Console(stderr=True, soft_wrap=True)
    screen.print(f"serving {_address(listener, settings)}  (sign in with the token from {token})", markup=False)
    app_of_it = create_app(settings, running=running)
    gc.freeze()  # what is there now stays: not to be looked through again with every collection
    uvicorn.Server(
        uvicorn.Config(app_of_it, log_level="warning", timeout_graceful_shutdown=30, lifespan="on", h11_max_incomplete_event_size=16_384)
    ).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket of the address's own family. Raises `Refused` with the setting that is at fault."""
    name = host.removeprefix("[").removesuffix("]")
    where = f"cannot listen on {_bracketed(name)}:{port}"
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, place = min(found, key=lambda one: one[0] != socket.AF_INET)  # a name with both means what it always meant
        listener = socket.socket(family, kind, protocol)  # asyncio sets TCP_NODELAY only on sockets that name their protocol
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
    except (OSError, UnicodeError) as error:
        port_s = isinstance(error, OSError) and error.errno in (errno.EADDRINUSE, errno.EACCES, errno.EPERM)
        setting = "set TRIAGE_PORT to a free port" if port_s else "set TRIAGE_HOST to an address of this machine"
        raise Refused(f"{where}: {getattr(error, 'strerror', None) or 'not an address'}; {setting}", 69) from None
    return listener


def _address(listener: socket.socket, settings: Settings) -> str:
    return f"http://{_bracketed(settings.host)}:{listener.getsockname()[1]}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _watch_stdin() -> None:
    """End as on SIGTERM when standard input ends: the kernel closes a pipe however its holder dies. Programs we start get none of it."""
    pipe = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

    def watch() -> None:
        while os.read(pipe, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="stdin-watch", daemon=True).start()


def main(argv: list[str]) -> int:
    """Exit status: 0 stopped on request, 64 wrong command line, 69 address or port not to be had, 78 settings not safe or not complete."""
    return int(app(argv, standalone_mode=False, prog_name="triage serve") or 0)
