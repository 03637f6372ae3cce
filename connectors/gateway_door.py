"""One job's door of the model gateway: what it may ask, what it has used, what was said."""

import threading
from collections.abc import Collection

from connectors.claude_prices import Prices
from connectors.gateway_rules import Denied, invalid
from connectors.gateway_upstream import Upstream
from connectors.metering import Meter, Transcript
from connectors.ports import Budget

COUNTS = 400
"""times that a job may have tokens counted, which costs nothing"""


class Door:
    """One job's way to the model, open as long as the `with` block lasts; what it counted stays."""

    def __init__(self, upstream: Upstream, models: frozenset[str], prices: Prices, budget: Budget, dummy: str, secrets: Collection[str]):
        self.upstream, self.models, self.dummy = upstream, models, dummy
        self.meter = Meter(budget, prices)
        self.log = Transcript([*secrets, dummy])
        self.closing = threading.Event()
        self._counts, self._said, self._lock = 0, "", threading.Lock()

    @property
    def turns(self) -> int:
        """Calls that the model answered."""
        return self.meter.turns

    @property
    def tokens(self) -> int:
        return self.meter.tokens

    @property
    def usd(self) -> float:
        """An estimate by the price list."""
        return self.meter.usd

    @property
    def trouble(self) -> str:
        """Why something was refused, e.g. `turns`, `tokens`, `usd`, `seconds`, `upstream`, `model_not_allowed`, `reaches_out`; "" for nothing.

        What was used up outweighs all else, because nothing is answered any more.
        """
        return self.meter.spent or self._said

    def transcript(self) -> str:
        """What was said, without keys, `TRANSCRIPT_CAP` characters at most. Data of strangers."""
        return self.log.text()

    def refused(self, denied: Denied) -> None:
        with self._lock:
            self._said = denied.code
        self.log.add("!", f"{denied.status} {denied.code}")

    def count(self) -> None:
        """One more counting of tokens. Raises `Denied`."""
        with self._lock:
            self._counts += 1
            if self._counts > COUNTS:
                raise invalid("this job has counted tokens often enough", "counts")
