"""What all pages share lives here: the templates and how text is shown, signing in and out, and errors as pages."""

import difflib
import hmac
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl, quote, urlsplit

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from service.errors import TriageError, Unauthorised
from service.web.deps import COOKIE, SAFE, HouseDep, cookie_for, same_origin

router = APIRouter(include_in_schema=False)
HOME = "/hints?state=awaiting"
FOR_PROGRAMS = ("/v1", "/hooks", "/livez", "/readyz", "/metrics", "/static")
FIELDS = 400
"""most fields of one form"""
TOKENS = 3000
"""words of a text up to which a difference is worked out word by word"""
AGES = ((86_400 * 2, 86_400, "days"), (3600 * 2, 3600, "h"), (60 * 2, 60, "min"))
ADVICE = {
    401: "Nothing was changed. Sign in in another tab, then come back with the Back button: what you typed is still there.",
    404: "Check the address. Things keep their ids for ever, so an id that worked once still works.",
    409: "Nothing was changed. Open the thing again to see where it stands now.",
    413: "Send less text.",
    422: "Nothing was changed. Go back, mend what is named above, and send it again.",
    503: "Nothing is known to be lost. Wait a few seconds and load the page again.",
}
"""status → what to do next"""


def words(slug: object) -> str:
    """A slug as a person reads it."""
    return str(slug).replace("_", " ")


def moment(value: datetime | str | None) -> datetime | None:
    """A time in UTC, from a column or from JSON."""
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    return found.astimezone(UTC) if found and found.tzinfo else found.replace(tzinfo=UTC) if found else None


def iso(value: datetime | str) -> str:
    """RFC 3339, for `<time datetime>`."""
    found = moment(value)
    return found.strftime("%Y-%m-%dT%H:%M:%SZ") if found else ""


def utc(value: datetime | str) -> str:
    """As a person reads it where no script runs."""
    found = moment(value)
    return f"{found.day} {found:%b %Y, %H:%M} UTC" if found else ""


def age(value: datetime | str, now: datetime) -> str:
    """How long ago, in the largest unit of which there are at least two."""
    found = moment(value)
    seconds = int((now - found).total_seconds()) if found else 0
    return next((f"{seconds // unit} {name}" for least, unit, name in AGES if seconds >= least), "just now")


def visible(text: object) -> str:
    """Characters that would hide or reorder code, shown as what they are."""
    return "".join(char if char in "\t\n" or char.isprintable() else f"⟦U+{ord(char):04X}⟧" for char in str(text))


def pretty(value: object) -> str:
    """A JSON value as text."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def number(value: object) -> str:
    """A score without needless digits."""
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def word_diff(old: object, new: object) -> list[tuple[str, str]]:
    """(same | del | ins, text) from one text to the other, word by word; what has little in common is replaced as a whole."""
    before, after = (re.findall(r"\s+|\w+|[^\w\s]", str(text)) for text in (old, new))
    if before == after:
        return [("same", str(old))] if before else []
    if len(before) > TOKENS or len(after) > TOKENS:
        return [("del", str(old)), ("ins", str(new))]
    found: list[list[str]] = []
    blocks = difflib.SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
    a = b = 0
    for start, other, size in blocks:
        kept = "".join(before[start : start + size])
        gone, come = "".join(before[a:start]), "".join(after[b:other])
        edge = start == other == 0 or (start + size == len(before) and other + size == len(after))
        if not edge and len(kept.split()) < 2:  # a lone word between two changes only makes both hard to read
            continue
        found += [["del", gone], ["ins", come], ["same", kept]]
        a, b = start + size, other + size
    return [(kind, text) for kind, text in found if text]


def said(expectation: dict[str, Any]) -> str:
    """An expectation of a hint in words."""
    part, exactly, inside = expectation.get("part"), expectation.get("is"), expectation.get("contains")
    name, _, value = str(exactly or "").partition("=")
    whole = {
        "intent": f"the intent is “{exactly}”",
        "record": f"the record is “{exactly}”" if exactly else "no record is chosen",
        "tool": f"the tool “{exactly}” is called",
        "reply": f"the reply reads “{exactly}”",
        "extraction": f"“{name}” is read as “{value}”",
    }
    within = {"extraction": f"“{inside}” has a value", "tool": f"a tool with “{inside}” in its name is called"}
    parts = [whole.get(str(part), f"{part} is “{exactly}”")] if exactly is not None else []
    parts += [within.get(str(part), f"the {part} contains “{inside}”")] if inside is not None else []
    return " and ".join(parts) or f"{part}: states nothing"


templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
templates.filters.update(words=words, iso=iso, utc=utc, visible=visible, said=said, pretty=pretty, number=number)
templates.globals.update(age=age, word_diff=word_diff)


def page(request: Request, name: str, status: int = 200, **context: Any) -> HTMLResponse:
    """One of our templates. Kept by nobody but this browser, which asks again each time."""
    shown = {"here": request.url.path, "signed_in": True, "now": request.app.state.house.ports.now(), **context}
    return HTMLResponse(templates.get_template(name).render(shown), status, headers={"Cache-Control": "private, no-cache"})


def see(path: str, **query: str | None) -> RedirectResponse:
    """Go to one of our pages with GET."""
    asked = "&".join(f"{key}={quote(value, safe='')}" for key, value in query.items() if value)
    return RedirectResponse(f"{path}{'&' if '?' in path else '?'}{asked}" if asked else path, 303)


def wants_page(request: Request) -> bool:
    """Whether a person's browser asks, not a program."""
    path = request.url.path
    if any(path == start or path.startswith(f"{start}/") for start in FOR_PROGRAMS):
        return False
    return "text/html" in request.headers.get("accept", "")


def error_page(request: Request, error: TriageError, status: int | None = None) -> Response:
    """What went wrong and what to do next. Who is not signed in is sent to sign in and comes back; a form that was sent is not lost."""
    found = status or error.status
    if found == 401 and request.method in SAFE:
        return see("/sign-in", next=_local(f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path))
    advice = ADVICE.get(found, "The log of the service has more. Try again, or tell who runs it.")
    return page(request, "error.html", found, message=str(error), code=error.code, number=found, advice=advice, signed_in=found != 401)


def _local(path: str) -> str:
    """A path of this site to go to after signing in; anything else becomes the queue."""
    parts = urlsplit(path)
    odd = not path.startswith("/") or path.startswith("//") or "\\" in path or any(char <= " " or char == "\x7f" for char in path)
    return HOME if odd or parts.scheme or parts.netloc or parts.path.startswith(("/sign-in", "/sign-out")) else path


class TooMuch(TriageError):
    """This form is larger than what is taken."""

    status, code = 413, "too_large"


async def typed(request: Request, home: HouseDep) -> dict[str, str]:
    """The fields of a sent form; line ends as `\\n`, and no NUL, which a database cannot hold. Raises `TooMuch`."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > home.max_body:
            raise TooMuch
    try:
        pairs = parse_qsl(body.decode("ascii", errors="replace"), keep_blank_values=True, errors="replace", max_num_fields=FIELDS)
    except ValueError:
        raise TooMuch("this form has more fields than are taken") from None
    return {key: value.replace("\r\n", "\n").replace("\x00", "\ufffd") for key, value in pairs}


TypedDep = Annotated[dict[str, str], Depends(typed)]


def segments(text: str, spans: Sequence[tuple[int, int, int]]) -> list[tuple[str, list[int]]]:
    """The text cut at the ends of (start, end, number) spans, each part with the numbers that cover it."""
    ends = sorted({0, len(text), *(min(max(end, 0), len(text)) for start, stop, _ in spans for end in (start, stop))})
    pairs = pairwise(ends)
    return [(text[left:right], [number for start, stop, number in spans if start <= left and right <= stop]) for left, right in pairs]


@router.get("/")
def root() -> Response:
    """The queue is the front page."""
    return see(HOME)


@router.get("/sign-in")
def ask_token(request: Request, next: str = HOME) -> Response:
    """One field for the token."""
    return page(request, "signin.html", next=_local(next), message="", signed_in=False)


@router.post("/sign-in")
def sign_in(request: Request, home: HouseDep, given: TypedDep) -> Response:
    """Exchange the token for a cookie that proves it. Raises `Unauthorised` for a form that is not ours."""
    if not same_origin(request):
        raise Unauthorised("this request did not come from our own pages")
    goal = _local(given.get("next", HOME))
    if not hmac.compare_digest(given.get("token", "").strip().encode(), home.token.encode()):
        message = "This is not the token of this service. Check for missing characters at its ends, then try again."
        return page(request, "signin.html", 401, next=goal, message=message, signed_in=False)
    answer = see(goal)
    answer.set_cookie(COOKIE, cookie_for(home.token), httponly=True, samesite="strict", path="/", secure=request.url.scheme == "https")
    return answer


@router.post("/sign-out")
def sign_out(request: Request) -> Response:
    """Forget the cookie."""
    if not same_origin(request):
        raise Unauthorised("this request did not come from our own pages")
    answer = see("/sign-in")
    answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return answer
