"""What a client in a box may send to the model server is decided here: which requests, which headers, which fields of a body."""

import hmac
import re
from collections.abc import Iterator, Mapping
from typing import Any

from rubric.strict import Unreadable, load_json

MESSAGES, COUNT = "/v1/messages", "/v1/messages/count_tokens"
REQUEST_HEADERS = ("accept", "anthropic-beta", "anthropic-version", "user-agent")
REPLY_HEADERS = ("request-id", "retry-after", "retry-after-ms", "x-should-retry")
VALUE_CAP = 2000
"""characters of one header that passes"""
WORDS = ("model", "messages", "system", "max_tokens", "tools", "tool_choice", "stop_sequences", "stream", "metadata", "cache_control")
SETTINGS = ("thinking", "output_config", "output_format", "temperature", "top_p", "top_k", "context_management")
FIELDS = frozenset((*WORDS, *SETTINGS))
"""fields of a body that pass; all others are left out: what they ask for, and what it would cost, is not known here"""
REACHES_OUT = frozenset({"mcp_servers", "container"})
"""fields that make the server connect to others, or run code"""
CLIENT_TOOLS = re.compile(r"custom|(?:bash|text_editor|computer|memory)_\d{8}")
"""types of tools that the client runs itself"""
BLOCKS = frozenset({"text", "image", "document", "tool_use", "tool_result", "thinking", "redacted_thinking", "search_result", "tool_reference"})
SOURCES = {"image": frozenset({"base64"}), "document": frozenset({"text", "content"})}
"""where an image or document may come from: the request itself. Not a PDF, whose length in tokens shows in no number of bytes"""
SERVER_BETAS = re.compile(r"mcp|code-execution|files-api|web-|skills|fast|compact|container")
IMAGE_TOKENS = 6000
"""more than any picture is read as"""


class Denied(Exception):
    """A request that does not pass; becomes an error in the form of the Messages API."""

    def __init__(self, status: int, kind: str, code: str, message: str):
        super().__init__(message)
        self.status, self.kind, self.code = status, kind, code


def invalid(message: str, code: str = "bad_request") -> Denied:
    return Denied(400, "invalid_request_error", code, message)


def forbidden(message: str, code: str) -> Denied:
    return Denied(403, "permission_error", code, message)


def check_auth(headers: Mapping[str, str], dummy: str) -> None:
    """Every credential that the client sends has to be the job's own. `headers`: lower-case names. Raises `Denied`."""
    bearer = headers.get("authorization")
    given = [value for value in (headers.get("x-api-key"), None if bearer is None else bearer.removeprefix("Bearer ")) if value is not None]
    if not given or not all(hmac.compare_digest(value.encode(), dummy.encode()) for value in given):
        raise Denied(401, "authentication_error", "bad_auth", "this gateway takes the key of its job only")


def outgoing(headers: Mapping[str, str], key: str, version: str) -> dict[str, str]:
    """The headers that go to the server: a few of the client's, and the real key in both styles."""
    kept = {name: value for name in REQUEST_HEADERS if (value := headers.get(name)) and len(value) <= VALUE_CAP and value.isprintable()}
    betas = [beta.strip() for beta in kept.pop("anthropic-beta", "").split(",")]
    if passed := [beta for beta in betas if beta and not SERVER_BETAS.search(beta)]:
        kept["anthropic-beta"] = ",".join(passed)
    return {"anthropic-version": version, **kept, "content-type": "application/json", "authorization": f"Bearer {key}", "x-api-key": key}


def read_body(raw: bytes, models: frozenset[str], *, counts: bool) -> tuple[dict[str, Any], list[str]]:
    """The body as it may go on, and the names of the fields that were left out. Raises `Denied`.

    What goes on is written anew from what was read here, so that the server cannot read it otherwise.
    """
    try:
        body = load_json(raw, what="the body")
    except Unreadable as error:
        raise invalid(f"the body cannot be read: {error.code}") from None
    if not isinstance(body, dict):
        raise invalid("the body is no object")
    _check_model(body.get("model"), models)
    if found := sorted(REACHES_OUT & body.keys()):
        raise forbidden(f"{found[0]} would reach out of this job's box", "reaches_out")
    if not counts and not _is_count(body.get("max_tokens")):
        raise invalid("max_tokens has to be a number of tokens")
    if not isinstance(body.get("stream", False), bool):
        raise invalid("stream is true or false")
    _check_tools(body.get("tools"))
    for block in blocks_of(body):
        _check_block(block)
    passed = {name: value for name, value in body.items() if name in FIELDS and not (name == "context_management" and _compacts(value))}
    return passed, sorted(str(name)[:80] for name in body.keys() - passed.keys())


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 1_000_000


def _check_model(model: Any, models: frozenset[str]) -> None:
    """A model of the list, by its name or by that of a snapshot of it."""
    if not isinstance(model, str) or not ({model, re.sub(r"-\d{8}\Z", "", model)} & models):
        raise forbidden("this job may not use that model", "model_not_allowed")


def _check_tools(tools: Any) -> None:
    if tools is not None and not (isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools)):
        raise invalid("tools is a list of objects")
    for tool in tools or []:
        kind = tool.get("type", "custom")
        if not (kind is None or (isinstance(kind, str) and CLIENT_TOOLS.fullmatch(kind))):
            raise forbidden("a tool that the server runs would reach out of this job's box", "reaches_out")


def blocks_of(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every block of content, those inside of results and documents too. Raises `Denied` for content that is none."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise invalid("messages is a list of objects")
    waiting = [body.get("system"), *(message.get("content") for message in messages)]
    while waiting:
        content = waiting.pop()
        if content is None or isinstance(content, str):
            continue
        if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
            raise invalid("content is a text or a list of blocks")
        for block in content:
            yield block
            waiting.append(block.get("content"))
            if isinstance(source := block.get("source"), dict):
                waiting.append(source.get("content"))


def _check_block(block: Mapping[str, Any]) -> None:
    kind, source = block.get("type"), block.get("source")
    if not isinstance(kind, str) or kind not in BLOCKS or "file_id" in block:
        raise forbidden("a block of that type does not pass", "reaches_out")
    if kind in SOURCES or isinstance(source, dict):
        where = source.get("type") if isinstance(source, dict) else None
        if not isinstance(where, str) or where not in SOURCES.get(kind, ()) or "file_id" in source or "url" in source:  # type: ignore[operator]
            raise forbidden("images and documents have to stand in the request itself, and PDFs do not pass", "reaches_out")


def _compacts(management: Any) -> bool:
    """Whether the server would do more than forget: making it shorter is a call of the model that no usage shows."""
    edits = management.get("edits") if isinstance(management, dict) else None
    return not isinstance(edits, list) or not all(isinstance(edit, dict) and str(edit.get("type")).startswith("clear_") for edit in edits)


def check_thinking(body: Mapping[str, Any], room: int) -> None:
    """A server refuses to think for longer than it may answer. Raises `Denied` where that would come of cutting the room."""
    thinking = body.get("thinking")
    asked = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    if isinstance(asked, int) and asked >= room:
        raise invalid("what is left of this job's budget leaves no room to think that long", "thinking")


def tokens_of(raw: bytes, body: Mapping[str, Any]) -> int:
    """The most tokens that a body is read as, besides what the server adds of its own."""
    images = [block for block in blocks_of(body) if block.get("type") == "image"]
    return len(raw) // 2 + 1 + IMAGE_TOKENS * len(images)
