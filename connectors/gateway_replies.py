"""Replies of the model server are looked through on their way into a box: what they used, what they said, and that no key is in them."""

import json
from collections.abc import Mapping
from typing import Any

from connectors.claude_reading import usage_of
from connectors.metering import ENTRY_CAP, Reserved
from rubric.drafting import Usage
from rubric.strict import Unreadable, load_json

LINE_CAP = 1024 * 1024
"""bytes of one line of a stream that is read; what is longer passes unread, and its call counts as the most"""


class Scrub:
    """Takes a key out of bytes that come in parts. Holds back only what might be the beginning of the key."""

    def __init__(self, key: str):
        self._needles = sorted({key.encode(), json.dumps(key)[1:-1].encode()})
        self._held = b""

    def feed(self, part: bytes) -> bytes:
        data = self._held + part
        for needle in self._needles:
            data = data.replace(needle, b"[key]")
        held = max((self._begun(data, needle) for needle in self._needles), default=0)
        self._held = data[len(data) - held :]
        return data[: len(data) - held]

    @staticmethod
    def _begun(data: bytes, needle: bytes) -> int:
        return next((size for size in range(min(len(needle) - 1, len(data)), 0, -1) if data.endswith(needle[:size])), 0)

    def rest(self) -> bytes:
        held, self._held = self._held, b""
        return held


def without_key(data: bytes, key: str) -> bytes:
    scrub = Scrub(key)
    return scrub.feed(data) + scrub.rest()


class Whole:
    """What a reply that came in one piece used and said."""

    def __init__(self, data: bytes):
        try:
            message = load_json(data, what="the reply")
        except Unreadable:
            message = None
        self.message: Mapping[str, Any] | None = message if isinstance(message, dict) else None

    @property
    def usage(self) -> Usage | None:
        return None if self.message is None else usage_of(self.message.get("usage"))

    @property
    def said(self) -> Any:
        return None if self.message is None else self.message.get("content", self.message)


class Stream:
    """What a stream of events used and said, read along without holding it up."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._skipping = self._blind = self._started = self._ended = False
        self._usage: dict[str, Any] = {}
        self._words: list[str] = []
        self._room = ENTRY_CAP

    def feed(self, part: bytes) -> None:
        for number, piece in enumerate(part.split(b"\n")):
            if number:
                self._end_line()
            if len(self._line) + len(piece) > LINE_CAP:
                self._skipping = self._blind = True
                self._line.clear()
            if not self._skipping:
                self._line += piece

    def _end_line(self) -> None:
        line = bytes(self._line).strip()
        skipped, self._skipping = self._skipping, False
        self._line.clear()
        if skipped or not line.startswith(b"data:"):
            return
        try:
            event = json.loads(line[5:])
        except (ValueError, RecursionError):
            self._blind = True
            return
        if isinstance(event, dict):
            self._read(event)

    def _read(self, event: Mapping[str, Any]) -> None:
        match event.get("type"):
            case "message_start":
                message = event.get("message")
                self._started = True
                self._add(message.get("usage") if isinstance(message, dict) else None)
            case "message_delta":
                self._ended = True
                self._add(event.get("usage"))
            case "content_block_start":
                block = event.get("content_block")
                if isinstance(block, dict) and block.get("type") == "tool_use":
                    self._say(f"\n{block.get('name')} ")
            case "content_block_delta":
                delta = event.get("delta")
                if isinstance(delta, dict):
                    self._say(str(delta.get("text") or delta.get("partial_json") or ""))

    def _add(self, usage: Any) -> None:
        """Counts are of the whole message so far: a later one stands for the earlier."""
        if isinstance(usage, dict):
            self._usage |= {name: count for name, count in usage.items() if count is not None}

    def _say(self, words: str) -> None:
        self._words.append(words[: self._room])
        self._room = max(0, self._room - len(words))

    def used(self, reserved: Reserved) -> Usage | None:
        """What the call used. A stream that broke off counts with all of its room: the server may have gone on for as long."""
        usage = usage_of(self._usage) if self._started and not self._blind else None
        if usage is None or self._ended:
            return usage
        return usage.model_copy(update={"output": max(usage.output, reserved.room)})

    @property
    def said(self) -> str:
        return "".join(self._words)
