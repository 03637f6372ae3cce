"""`triage serve`: one process with server, workers and clock."""

import logging
import socket
import sys
from typing import Annotated

import structlog
import typer
import uvicorn
from pydantic import ValidationError
from rich.console import Console

from service.app import Running, create_app
from service.engine import ExecutorTaken
from service.errors import Misconfigured
from service.settings import Settings
from service.wiring import kept_secret

app = typer.Typer(add_completion=False, help="Start the server. Settings come from the environment or .env; see .env.example.")


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="address to bind to; the setting TRIAGE_HOST otherwise")] = None,
    port: Annotated[int | None, typer.Option(help="port to bind to, 0 for any free one; the setting TRIAGE_PORT otherwise")] = None,
) -> None:
    """Start the server and print where it listens. Ctrl-C drains and stops it."""
    try:
        settings = Settings(**{key: value for key, value in {"host": host, "port": port}.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = "_".join(str(part) for part in first["loc"]).upper()
        Console(stderr=True).print(f"TRIAGE_{place}: {first['msg']}; see .env.example", markup=False)
        raise typer.Exit(78) from None
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("apscheduler").setLevel(logging.ERROR)  # a beat that is skipped because the last one still works is no news
    listener = socket.socket(proto=socket.IPPROTO_TCP)  # asyncio sets TCP_NODELAY only on sockets that name their protocol
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        Console(stderr=True).print(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; set TRIAGE_PORT", markup=False)
        raise typer.Exit(69) from None
    address = f"http://{settings.host}:{listener.getsockname()[1]}"
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    token = "the setting TRIAGE_TOKEN" if settings.token else f"the file {settings.data_dir / 'token'}"
    if not settings.token:
        kept_secret(settings, "token")
    try:
        running = Running(settings, None)
    except (Misconfigured, ExecutorTaken) as error:
        Console(stderr=True).print(str(error), markup=False)
        raise typer.Exit(78) from None
    Console(stderr=True).print(f"serving {address}  (sign in with the token from {token})", markup=False)
    app_of_it = create_app(settings, running=running)
    uvicorn.Server(
        uvicorn.Config(app_of_it, log_level="warning", timeout_graceful_shutdown=30, lifespan="on", h11_max_incomplete_event_size=16_384)
    ).run(sockets=[listener])


def main(argv: list[str]) -> int:
    """Exit status: 0 stopped on request, 69 port taken, 78 settings not safe or not complete."""
    return int(app(argv, standalone_mode=False, prog_name="triage serve") or 0)
