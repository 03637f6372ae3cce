"""Where a Messages server stands and how it wants to be asked: the profile that the settings give, and the request made by it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import httpx2
from anthropic import transform_schema
from pydantic import SecretStr

from connectors.claude_prices import Price, Prices, published
from connectors.ports import PortError
from rubric.drafting import Ask, Usage

API_VERSION = "2026-10-21"
"""of the Messages API; fixed here, so that neither the environment nor an update of the SDK moves it"""
ASKS: tuple[str, ...] = get_args(Ask.model_fields["name"].annotation)
Effort = Literal["low", "medium", "high", "xhigh", "max"]
PROMPT = "Answer with exactly one JSON object and nothing before or after it. It has to fit this JSON schema:\n"
OVERHEAD = 1000
"""tokens that a server may add of its own, for the form of the answer"""


@dataclass(frozen=True)
class Profile:
    """One server that speaks the Messages API. Raises `PortError` for what cannot work, before anything is asked."""

    base_url: str
    api_key: SecretStr
    model: str
    """answers every ask that `models` does not name"""
    models: Mapping[str, str] = field(default_factory=dict)
    """name of an ask → model"""
    effort: Effort = "medium"
    efforts: Mapping[str, Effort] = field(default_factory=dict)
    """name of an ask → effort"""
    structured: Literal["native", "prompt_json"] = "native"
    """`native`: the server holds the answer to the schema. `prompt_json`: the schema stands in the prompt and the answer is taken as it comes"""
    send_effort: bool = True
    """False for servers that refuse the field"""
    legacy_auth: bool = False
    """True: the key goes out as `x-api-key` too, which older gateways read"""
    wall_seconds: float = 180.0
    """a call has ended by then, whatever the server does"""
    prices: Mapping[str, Price] = field(default_factory=dict)
    """model → price, over the published list; for servers of one's own"""

    def __post_init__(self) -> None:
        key, names = self.api_key.get_secret_value(), {*self.models, *self.efforts}
        if not key:
            raise PortError("no_key", "the model server needs a key")
        if not all("!" <= character <= "~" for character in key):
            raise PortError("bad_key", "the key of the model server holds a character that cannot stand in a header")
        if not _is_base(self.base_url):
            raise PortError("bad_base_url", "base_url has to be http:// or https://, a host, and a path at most")
        if names - set(ASKS):
            raise PortError("bad_profile", f"there is no ask named {', '.join(sorted(names - set(ASKS)))}; there are {', '.join(ASKS)}")
        if {self.effort, *self.efforts.values()} - set(get_args(Effort)):
            raise PortError("bad_profile", f"an effort is one of {', '.join(get_args(Effort))}")
        if not 0 < self.wall_seconds <= 3600:
            raise PortError("bad_profile", "wall_seconds has to be above 0 and at most 3600")

    def model_of(self, ask: str) -> str:
        return self.models.get(ask, self.model)

    def effort_of(self, ask: str) -> Effort:
        return self.efforts.get(ask, self.effort)

    @property
    def how(self) -> str:
        """Models, efforts and how the form is held, in one line."""
        own = [f"{ask}={self.model_of(ask)}/{self.effort_of(ask)}" for ask in ASKS if ask in {*self.models, *self.efforts}]
        return " ".join([self.model, self.structured, self.effort if self.send_effort else "no-effort", *own])

    def price_list(self) -> Prices:
        """Raises `PortError("no_price")` when a model has none: its spend could not be held to a cap."""
        prices = published().over(self.prices)
        without = sorted({model for model in (self.model, *self.models.values()) if prices.of(model) is None})
        if without:
            raise PortError("no_price", f"no price is known for {', '.join(without)}; give one with the profile, 0 for a server of your own")
        return prices

    def headers(self) -> dict[str, str]:
        """Everything about a request that names its sender. Nothing else of that kind is sent."""
        key = self.api_key.get_secret_value()
        legacy = {"x-api-key": key} if self.legacy_auth else {}
        return {"Authorization": f"Bearer {key}", "anthropic-version": API_VERSION, "User-Agent": "rejection-triage", **legacy}


def _is_base(url: str) -> bool:
    """By the reader that makes the requests, so that what it refuses is refused here."""
    try:
        parts = httpx2.URL(url)
    except (httpx2.InvalidURL, UnicodeError):  # UnicodeError: half a character
        return False
    port_fits = parts.port is None or 0 < parts.port < 65_536
    return bool(parts.scheme in ("http", "https") and parts.host and port_fits and not (parts.userinfo or parts.query or parts.fragment))


def request_of(profile: Profile, ask: Ask) -> dict[str, Any]:
    """The body of the request: rubric first and cached, the case alone in the message, and never a tool.

    The same ask gives the same bytes, so that the server's caches hold. Raises `PortError("bad_form")` for a form that no server could take.
    """
    system: list[dict[str, Any]] = [{"type": "text", "text": ask.rubric, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    config: dict[str, Any] = {"effort": profile.effort_of(ask.name)} if profile.send_effort else {}
    if profile.structured == "native":
        config["format"] = {"type": "json_schema", "schema": _schema(ask)}
    else:
        system.append({"type": "text", "text": PROMPT + json.dumps(ask.form, ensure_ascii=False, separators=(",", ":"))})
    body = {
        "model": profile.model_of(ask.name),
        "max_tokens": ask.most_tokens,
        "system": system,
        "messages": [{"role": "user", "content": ask.case}],
    }
    return {**body, "output_config": config} if config else body


def _schema(ask: Ask) -> dict[str, Any]:
    try:
        return transform_schema(ask.form)
    except (ValueError, AssertionError, TypeError, AttributeError):
        raise PortError("bad_form", f"the form of the ask {ask.name} is no JSON schema that a server can hold an answer to") from None


def tokens_at_most(text: str) -> int:
    """An upper bound of the tokens of a text: models read English at four characters a token, and nothing usual at less than two bytes."""
    return len(text.encode("utf-8", "replace")) // 2 + 1


def usd_at_most(profile: Profile, prices: Prices, ask: Ask) -> float:
    """The most that one call can cost: all of the rubric is written into the cache, and all room for the answer is used."""
    rubric = tokens_at_most(ask.rubric)
    whole = tokens_at_most(json.dumps(request_of(profile, ask), ensure_ascii=False)) + OVERHEAD
    usd = prices.usd(profile.model_of(ask.name), Usage(input=whole - rubric, cache_write=rubric, output=ask.most_tokens))
    if usd is None:
        raise PortError("no_price", "this model has no price")
    return usd
