"""What every route gets: the desk of things this process holds, who is asking, and errors as problem documents."""

import hashlib
import hmac
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.responses import JSONResponse
from sqlmodel import Session

from connectors.ports import Ports
from rubric.catalogue import Catalogue
from service.db import Database
from service.errors import TriageError, Unauthorised
from service.stages.intake import Desk

COOKIE = "triage_session"
SAFE = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Source:
    """A sender of cases, as the webhook route needs it."""

    secrets: list[str]
    target: str


@dataclass
class House:
    """What one process holds while it runs."""

    db: Database
    ports: Ports
    catalogue: Catalogue
    desk: Desk
    sources: dict[str, Source]
    token: str
    max_body: int
    undo_seconds: int
    ready: Callable[[], dict[str, str]]
    """name of each part that is not ready → why"""


async def house(request: Request) -> House:
    """Async, or each request would wait for a thread to look at an attribute."""
    found: House = request.app.state.house
    return found


HouseDep = Annotated[House, Depends(house)]


def reading(home: HouseDep) -> Iterator[Session]:
    """A session that cannot write."""
    with home.db.read() as session:
        yield session


ReadDep = Annotated[Session, Depends(reading)]


def cookie_for(token: str) -> str:
    """What the browser keeps: proof that it knew the token, not the token."""
    return hmac.new(token.encode(), b"triage session 1", hashlib.sha256).hexdigest()


def person(request: Request, home: HouseDep) -> str:
    """Who is asking: `token` by API, `gatekeeper` by browser. Raises `Unauthorised`.

    A browser's unsafe request must come from our own pages: the cookie alone would let any site act for a person.
    """
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and given and hmac.compare_digest(given.encode(), home.token.encode()):
        return _name(request.headers.get("x-triage-by")) or "token"
    cookie = request.cookies.get(COOKIE, "")
    if not hmac.compare_digest(cookie.encode(), cookie_for(home.token).encode()):
        raise Unauthorised()
    if request.method not in SAFE and not same_origin(request):
        raise Unauthorised("this request did not come from our own pages")
    return "gatekeeper"


def _name(given: str | None) -> str | None:
    """A label for the audit trail that an API client may choose; it grants nothing."""
    return given if given and len(given) <= 40 and given.replace("-", "").replace("_", "").isalnum() else None


def same_origin(request: Request) -> bool:
    """Whether the browser says that one of our own pages sent this."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == request.headers.get("host")


PersonDep = Annotated[str, Depends(person)]


def problem(status: int, code: str, message: str, details: dict[str, Any] | None = None, headers: dict[str, str] | None = None) -> JSONResponse:
    """An RFC 9457 problem document."""
    body = {"type": "about:blank", "title": code.replace("_", " "), "status": status, "code": code, "detail": message, **(details or {})}
    return JSONResponse(body, status, media_type="application/problem+json", headers=headers)


def problem_of(error: TriageError) -> JSONResponse:
    headers = {"Retry-After": "5"} if error.status == 503 else {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
    return problem(error.status, error.code, str(error), error.details, headers)
