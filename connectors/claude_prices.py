"""What tokens cost lives here: the published price list, a target's own prices over it, and estimates by them."""

import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from rubric.drafting import Usage
from rubric.schema import Value
from rubric.strict import load_yaml

FILE = Path(__file__).resolve().with_name("prices.yaml")
MILLION = 1_000_000


class Price(Value):
    """US dollars per million tokens of one model."""

    input: float = Field(ge=0, allow_inf_nan=False)
    output: float = Field(ge=0, allow_inf_nan=False)


class Prices(Value):
    """A price list. All factors multiply the input price, `batch` multiplies everything."""

    date: str
    source: str
    cache_write: float = Field(ge=1, allow_inf_nan=False)
    cache_read: float = Field(ge=0, le=1)
    batch: float = Field(gt=0, le=1)
    models: dict[str, Price]

    def of(self, model: str) -> Price | None:
        """The price of a model by its name, with or without the date of a snapshot behind it."""
        return self.models.get(model) or self.models.get(re.sub(r"-\d{8}\Z", "", model))

    def usd(self, model: str, usage: Usage) -> float | None:
        """What a call has cost, an estimate; None for a model that is not on the list."""
        price = self.of(model)
        if price is None:
            return None
        read = usage.input + usage.cache_write * self.cache_write + usage.cache_read * self.cache_read
        return (read * price.input + usage.output * price.output) / MILLION

    def over(self, own: Mapping[str, Price]) -> "Prices":
        """This list with some prices replaced or added, as a server of one's own has them."""
        return self.model_copy(update={"models": {**self.models, **own}})


def published() -> Prices:
    """The list that comes with the package."""
    return Prices.model_validate(load_yaml(FILE.read_text(encoding="utf-8"), what=FILE.name))
