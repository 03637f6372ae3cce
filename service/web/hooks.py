"""Signed messages in: the raw body is counted while it streams, checked, and answered only when it is on disk."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import ClientDisconnect

from connectors.webhooks import Refusal, parse_case, verify
from service.errors import CaseConflict
from service.stages.intake import Delivery
from service.web.deps import House, Source, problem

router = APIRouter(tags=["intake"])
HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "duplicate: stored before, nothing changed"},
    400: {"description": "malformed headers, or a body that broke off"},
    401: {"description": "signature, time or source not accepted"},
    409: {"description": "other content under a known id"},
    411: {"description": "no body"},
    413: {"description": "body larger than the limit"},
    415: {"description": "content type is not JSON in UTF-8, or the body is compressed"},
    422: {"description": "not a case; `detail` names the field"},
    503: {"description": "not known to be stored; send it again"},
}
PARAMETERS: list[dict[str, Any]] = [
    {
        "name": "source", "in": "query", "required": False, "schema": {"type": "string", "maxLength": 64},
        "description": "name of the sending source; may be left out when there is one",
    },
    *({"name": name, "in": "header", "required": True, "schema": {"type": "string"}} for name in HEADERS),
]  # fmt: skip
"""for the schema only: `verify` reads the headers itself, as they came; to have FastAPI read the query cost a tenth of the loop's time"""


class TooLarge(Exception):
    """More bytes than the limit."""


@router.post("/v1/cases", status_code=202, summary="Receive a case", responses=ANSWERS, openapi_extra={"parameters": PARAMETERS})
async def receive_case(request: Request) -> Response:
    """Take one signed case (Standard Webhooks). 202 new and 200 duplicate are said only of what is stored durably."""
    home: House = request.app.state.house
    name, known = _source(home, request.query_params.get("source"))
    if known is None:
        return problem(401, "unknown_source", "no such source; use ?source=NAME with a name from TRIAGE_SOURCES")
    if not is_json(request.headers.getlist("content-type")):
        return problem(415, "not_json", "the content type must be application/json, in UTF-8")
    if any(value.strip().lower() not in ("", "identity") for value in request.headers.getlist("content-encoding")):
        return problem(415, "encoded", "the body must come as it is, without a Content-Encoding")
    try:
        body = await read_body(request, home.max_body)
    except TooLarge:
        return problem(413, "too_large", f"a case may have {home.max_body} bytes", headers={"Connection": "close"})
    except ClientDisconnect:  # nobody reads this; nothing is stored
        return problem(400, "cut_off", "the body broke off")
    try:
        delivery = verify(request.headers.raw, body, known.secrets, home.ports.now())
        case = parse_case(body)
    except Refusal as refusal:
        return problem(refusal.status, refusal.code, str(refusal))
    waiting = home.desk.submit(Delivery(source=name, target=known.target, case=case, received_at=home.ports.now(), delivery_id=delivery.delivery_id))
    try:
        receipt = await asyncio.wrap_future(waiting)
    except SQLAlchemyError:
        return problem(503, "overloaded", "not known to be stored; send it again", headers={"Retry-After": "5"})
    if isinstance(receipt, CaseConflict):
        return problem(receipt.status, receipt.code, str(receipt), receipt.details)
    status, word = (202, "new") if receipt.new else (200, "duplicate")
    return JSONResponse(
        {"id": receipt.case_id, "revision": receipt.revision, "status": word}, status, headers={"Location": f"/v1/cases/{receipt.case_id}"}
    )


def _source(home: House, name: str | None) -> tuple[str, Source | None]:
    if name is None and len(home.sources) == 1:
        name = next(iter(home.sources))
    return name or "", home.sources.get(name or "")


def is_json(content_types: list[str]) -> bool:
    """Whether a body of this type is JSON in UTF-8; one without a type is taken for it."""
    if len(content_types) != 1:
        return not content_types
    media, *parameters = (part.strip().lower() for part in content_types[0].split(";"))
    return media == "application/json" and all(one in ("", "charset=utf-8", 'charset="utf-8"') for one in parameters)


async def read_body(request: Request, limit: int) -> bytes:
    """The raw body. Raises `TooLarge` as soon as it passes the limit, whatever its headers say."""
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:20]) > limit:
        raise TooLarge
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLarge
    return bytes(body)
