"""Puts the server together: routes, error documents, and what starts and stops with the process."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from pydantic import SecretStr
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from connectors.ports import PortError, Ports
from connectors.webhooks import read_secret
from rubric.catalogue import load
from service.asking import Watch, asking
from service.db import UNREACHABLE, Database, UnsafeDatabase
from service.engine import Engine
from service.errors import Malformed, Misconfigured, Overloaded, TriageError, Unreached
from service.flows import bodies
from service.migrate import migrate
from service.scratch import clear
from service.settings import Settings
from service.stages import noise
from service.stages.intake import Desk
from service.targets import look
from service.ticks import Clock
from service.web import api, groups, hooks, inbox, pages, pulls
from service.web.deps import House, Source, problem, problem_of
from service.wiring import given_secret, kept_secret, wire

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def _teller(loop: asyncio.AbstractEventLoop) -> Callable[[Callable[[], None]], None]:
    """Answers a group of senders in the server's loop, or at once when that is closed already: what is stored is told."""

    def tell(answer: Callable[[], None]) -> None:
        try:
            loop.call_soon_threadsafe(answer)
        except RuntimeError:
            answer()

    return tell


def create_app(settings: Settings | None = None, ports: Ports | None = None, *, running: "Running | None" = None) -> FastAPI:
    """The whole service as one ASGI application. `ports` replaces the connectors, for tests; `running` is a start made before."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        started = running if running is not None else await run_in_threadpool(lambda: Running(settings or Settings(), ports))
        app.state.house = started.house
        started.desk.tell = _teller(asyncio.get_running_loop())
        try:
            yield
        finally:
            await run_in_threadpool(started.stop)

    app = FastAPI(title="rejection-triage", version="0.1.0", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.include_router(hooks.router)
    app.include_router(api.router)
    app.include_router(pages.router)
    app.include_router(inbox.router)
    app.include_router(groups.router)
    app.include_router(pulls.router)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "web" / "static"), name="static")
    app.add_exception_handler(TriageError, _triage_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(PortError, _port_error)
    for error in UNREACHABLE:
        app.add_exception_handler(error, _unreachable)
    app.add_exception_handler(Exception, _broken)
    app.add_middleware(_Edge)
    return app


class Running:
    """Everything that lives as long as the process, in the order it starts.

    Raises `Misconfigured` or `ExecutorTaken` before anything has been changed.
    """

    def __init__(self, settings: Settings, ports: Ports | None):
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        sources = _sources(settings)
        token = _secret(settings, settings.token, "TRIAGE_TOKEN", "token")
        self.engine = Engine(
            settings.url(), executor=settings.executor, workers=settings.workers, poll_seconds=settings.poll_seconds, data_dir=settings.data_dir
        )
        catalogue = load()
        tray = ports or wire(settings, catalogue)
        self.db = Database(settings.url(), enqueue=self.engine.enqueue, now=tray.now)
        try:
            self.db.check()
        except UnsafeDatabase as error:
            raise Misconfigured(str(error)) from None
        migrate(self.db, self.engine, settings.data_dir)
        tray = asking(tray, self.db, catalogue, **settings.caps())
        self._watch = Watch(tray.model.trouble, time.monotonic) if tray.model is not None else None
        self.engine.lock()
        clear(tray.workdir)
        self.engine.launch(bodies(self.db, tray, catalogue))
        self.clock = Clock(self.db, self.engine, settle=settings.settle_seconds, noisy=lambda: noise.targets(tray))
        split = _secret(settings, settings.split_secret, "TRIAGE_SPLIT_SECRET", "split.key")
        self.desk = Desk(self.db, split.encode(), nudge=self.clock.nudge)
        self.clock.start()
        self.house = House(
            db=self.db, ports=tray, catalogue=catalogue, desk=self.desk, sources=sources,
            token=token,
            max_body=settings.max_body_bytes, undo_seconds=settings.undo_seconds, ready=self.missing,
        )  # fmt: skip

    def missing(self) -> dict[str, str]:
        """Parts that cannot do their work now, and why."""
        found = {}
        try:
            self.db.check()
        except (*UNREACHABLE, UnsafeDatabase) as error:
            found["database"] = str(error) if isinstance(error, UnsafeDatabase) else type(error).__name__
        if trouble := self.engine.trouble():
            found["engine"] = trouble
        if self._watch is not None and (silent := self._watch.trouble()):
            found["model"] = silent
        if self.house.ports.coder and self.house.ports.boxed is None:
            found["sandbox"] = "what a model wrote runs in a box only, and none can be made here; `triage doctor` says why"
        for name, host in self.house.ports.hosts.items():
            try:
                look(host, host.head())
            except PortError as error:
                found[f"target {name}"] = f"{error.code}: {error}"
        return found

    def stop(self) -> None:
        self.desk.close()
        self.clock.stop()
        self.engine.stop(patience=20)
        self.db.dispose()


def _secret(settings: Settings, given: SecretStr | None, name: str, file: str) -> str:
    return given_secret(name, given.get_secret_value()) if given else kept_secret(settings, file)


def _sources(settings: Settings) -> dict[str, Source]:
    """Check the senders before anything starts. Raises `Misconfigured`, never quoting a secret."""
    found = {}
    for name, source in settings.sources.items():
        if source.target not in settings.targets:
            raise Misconfigured(f"source {name!r} names the target {source.target!r}, which is not in TRIAGE_TARGETS")
        keys = [secret.get_secret_value() for secret in source.secrets]
        for number, key in enumerate(keys, start=1):
            try:
                read_secret(key)
            except ValueError as error:
                raise Misconfigured(f"secret {number} of source {name!r}: {error}") from None
        found[name] = Source(keys, source.target)
    return found


def _triage_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, TriageError)
    return _told(request, error)


def _told(request: Request, error: TriageError) -> Response:
    """A page for a person, a problem document for a program."""
    return pages.error_page(request, error) if pages.wants_page(request) else problem_of(error)


def _port_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, PortError)
    return _told(request, Unreached(str(error), status=503 if error.retryable else 502, code=error.code))


def _unreachable(request: Request, error: Exception) -> Response:
    return _told(request, Overloaded())


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return _told(request, Malformed(f"{place}: {first['msg']}", problems=len(error.errors())))


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404 and pages.wants_page(request):
        return pages.error_page(request, TriageError("There is no such page."), status=404)
    return problem(error.status_code, str(error.detail).lower().replace(" ", "_")[:40], str(error.detail))


def _broken(request: Request, error: Exception) -> Response:
    """The log has the story; the reply names nothing of it."""
    return _told(request, TriageError("Something broke on our side; the log says what."))


def _without_nul(query: bytes) -> bytes:
    """Taking one out may make another: `%%0000`."""
    while b"%00" in query:
        query = query.replace(b"%00", b"")
    return query


class _Edge:
    """Adds the security headers to every answer, errors included, and keeps NULs out of addresses."""

    def __init__(self, app: ASGIApp):
        self._app = app
        self._extra = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":  # no database of ours takes a NUL, so no address has one
            path = "/nul" if "\x00" in scope["path"] else scope["path"]
            scope = {**scope, "path": path, "query_string": _without_nul(scope.get("query_string", b""))}

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._extra]
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)
