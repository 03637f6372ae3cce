"""What one job may use of a model is kept here: a meter that reserves before a call and settles after it, and a transcript without keys."""

import json
import re
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal

from connectors.claude_prices import MILLION, Prices
from connectors.ports import TRANSCRIPT_CAP, Budget
from rubric.drafting import Usage

LEAST_ROOM = 1024
"""tokens of room for an answer under which a call is not worth making"""
FAILURES = 20
"""calls of one job that may fail at the server: a client that retries for ever ends here"""
ENTRY_CAP = 20_000
"""characters of one entry of a transcript"""
KEYS = re.compile(r"sk-[A-Za-z0-9_-]{12,}|gh[oprsu]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}|(?<=Bearer )[A-Za-z0-9._~+/=-]{12,}")
NOT_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
Spent = Literal["turns", "tokens", "usd", "seconds", "upstream"]


class UsedUp(Exception):
    """Nothing more may be asked in this job; `code` says what is used up."""

    def __init__(self, code: Spent):
        super().__init__(f"the budget of this job is used up: {code}")
        self.code = code


class Busy(Exception):
    """Other calls of the same job hold what is left; some of it comes back when they end."""


@dataclass(frozen=True, eq=False)
class Reserved:
    """The most that a call in flight can use."""

    model: str
    read: int
    room: int
    """tokens of the answer: what was asked for, or what is left"""
    usd: float

    @property
    def most(self) -> Usage:
        return Usage(input=self.read, output=self.room)


class Meter:
    """Counts the calls of one job against its budget. May be used by several threads at once.

    A call that may cost more than is left is not made, and one whose use nobody told counts as the most: the budget is not overdrawn by a
    server, or a client, that says nothing.
    """

    def __init__(self, budget: Budget, prices: Prices, clock: Callable[[], float] = time.monotonic):
        self._budget, self._prices, self._clock = budget, prices, clock
        self._end = clock() + budget.seconds
        self._lock = threading.Lock()
        self._flying: list[Reserved] = []
        self._failures = 0
        self.turns, self.tokens, self.usd = 0, 0, 0.0
        self.spent: Spent | None = None
        """what was used up first"""

    def left_seconds(self) -> float:
        return self._end - self._clock()

    def reserve(self, model: str, read: int, room: int, *, cached: bool) -> Reserved:
        """Room for a call that reads at most `read` tokens and would answer in at most `room`, which is cut down to what is left.

        `cached`: some of what is read may be written into a cache, which costs more. Raises `UsedUp` or `Busy`.
        """
        with self._lock:
            if self.spent is not None:
                raise UsedUp(self.spent)
            flying_tokens, flying_usd = sum(one.read + one.room for one in self._flying), sum(one.usd for one in self._flying)
            try:
                found = self._fit(model, read, room, cached, len(self._flying), flying_tokens, flying_usd)
            except UsedUp as error:
                if self._flying:
                    self._fit_alone(model, read, room, cached)
                    raise Busy from None
                self.spent = error.code
                raise
            self._flying.append(found)
            return found

    def _fit_alone(self, model: str, read: int, room: int, cached: bool) -> None:
        """Raises `UsedUp` for a call that would not fit although nothing else were in flight."""
        try:
            self._fit(model, read, room, cached, 0, 0, 0.0)
        except UsedUp as error:
            self.spent = error.code
            raise

    def _fit(self, model: str, read: int, room: int, cached: bool, turns: int, tokens: int, usd: float) -> Reserved:
        price = self._prices.of(model)
        if price is None:
            raise UsedUp("usd")  # nobody could say what it costs
        if self.left_seconds() <= 0:
            raise UsedUp("seconds")
        if self._failures >= FAILURES:
            raise UsedUp("upstream")
        if self.turns + turns >= self._budget.turns:
            raise UsedUp("turns")
        least = min(room, LEAST_ROOM)
        by_tokens = self._budget.tokens - self.tokens - tokens - read
        if by_tokens < least:
            raise UsedUp("tokens")
        asked = read * price.input * (self._prices.cache_write if cached else 1.0)
        left = (self._budget.usd - self.usd - usd) * MILLION - asked
        by_usd = int(left / price.output) if price.output and left > 0 else room if left >= 0 else -1
        if by_usd < least:
            raise UsedUp("usd")
        granted = min(room, by_tokens, by_usd)
        return Reserved(model, read, granted, (asked + granted * price.output) / MILLION)

    def settle(self, reserved: Reserved, usage: Usage | None, *, answered: bool = True) -> None:
        """A call has ended. None: nobody said what it used, so that the most is counted. Not answered: no turn, but a failure.

        The first word counts: a call that is settled already stays as it is.
        """
        with self._lock:
            if reserved not in self._flying:
                return
            self._flying.remove(reserved)
            used = reserved.most if usage is None else usage
            self.tokens += used.input + used.output + used.cache_read + used.cache_write
            self.usd += reserved.usd if usage is None else self._prices.usd(reserved.model, used) or 0.0
            self.turns += answered
            self._failures += not answered


class Transcript:
    """What was said in a job, for a person: the beginning and the end of it, without keys and without what a database cannot hold."""

    def __init__(self, secrets: Collection[str] = (), cap: int = TRANSCRIPT_CAP):
        self._secrets = sorted({form for secret in secrets for form in (secret, json.dumps(secret)[1:-1]) if form}, key=len, reverse=True)
        self._half, self._lock = cap // 2 - 20, threading.Lock()
        self._head, self._tail, self._cut = "", "", False

    def add(self, who: str, what: Any) -> None:
        """One entry. Keys are taken out before anything is cut, so that no half of one stays."""
        text = what if isinstance(what, str) else json.dumps(what, ensure_ascii=False)
        line = f"{who} {self.clean(text)}"
        line = (line if len(line) <= ENTRY_CAP else f"{line[:ENTRY_CAP]} […]") + "\n"
        with self._lock:
            if not self._tail and len(self._head) + len(line) <= self._half:
                self._head += line
                return
            self._cut = self._cut or len(self._tail) + len(line) > self._half
            self._tail = (self._tail + line)[-self._half :]

    def clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "[key]")
        return NOT_TEXT.sub("\N{REPLACEMENT CHARACTER}", KEYS.sub("[key]", text))

    def text(self) -> str:
        with self._lock:
            return self._head + ("[…]\n" if self._cut else "") + self._tail
