"""Reads JSON and YAML from outside strictly: what is ambiguous is refused with its place, never guessed."""

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import yaml

MAX_DEPTH = 32
"""Deepest nesting of any document from outside."""
MAX_INTEGER = 2**53
"""Largest whole number that every JSON reader agrees on."""
_NESTING = re.compile(r'[^"\[\]{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"?[^"\[\]{}]*+)*+([\[{\]}]|\Z)', re.DOTALL)
"""what opens or closes a level, behind whatever does not, strings included; a loop over the characters took a third of reading a case"""


class Unreadable(ValueError):
    """A document that cannot be read one way only; `code` is stable, the message names the place."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


def load_json(data: bytes, *, what: str = "the body") -> Any:
    """Parse UTF-8 JSON. Refuses duplicate keys, NaN, numbers past 2^53, and nesting past `MAX_DEPTH`.

    Raises `Unreadable` for anything that is not exactly one such document.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable("not_utf8", f"{what} is not UTF-8 (byte {error.start})") from None
    _check_depth(text, what)
    try:
        value = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant, parse_int=_integer, parse_float=_number)
    except json.JSONDecodeError as error:
        raise Unreadable("not_json", f"{what} is not JSON (line {error.lineno}, column {error.colno}: {error.msg})") from None
    except (RecursionError, ValueError) as error:
        raise error if isinstance(error, Unreadable) else Unreadable("not_json", f"{what} is not JSON ({error})") from None
    return value


def _check_depth(text: str, what: str) -> None:
    depth = 0
    for token in _NESTING.findall(text):
        if token in ("[", "{"):
            depth += 1
            if depth > MAX_DEPTH:
                raise Unreadable("too_deep", f"{what} is nested deeper than {MAX_DEPTH} levels")
        elif token in ("]", "}"):
            depth -= 1


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        raise Unreadable("duplicate_key", f"the key {twice[:80]!r} stands twice in one object")
    return result


def _no_constant(word: str) -> Any:
    raise Unreadable("not_a_number", f"{word} is not a JSON number")


def _integer(digits: str) -> int:
    if len(digits) > 17 or abs(int(digits)) > MAX_INTEGER:
        raise Unreadable("number_too_large", f"the number {digits[:20]}… is past 2^53")
    return int(digits)


def _number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise Unreadable("number_too_large", f"the number {digits[:20]} does not fit")
    return value


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML without aliases, tags, duplicate keys, or words that turn into other types."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise Unreadable("alias", f"line {line}: aliases are not allowed")
        if getattr(event, "tag", None) is not None:
            raise Unreadable("tag", f"line {line}: the tag {event.tag[:80]!r} is not allowed")
        self._depth = getattr(self, "_depth", 0) + 1
        if self._depth > MAX_DEPTH:
            raise Unreadable("too_deep", f"line {line}: nested deeper than {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys: set[str] = set()
        for key_node, _ in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag != "tag:yaml.org,2002:str":
                raise Unreadable("key_not_text", f"line {line}: the key {key_node.value!r} must be text (quote it)")
            if key_node.value in keys:
                raise Unreadable("duplicate_key", f"line {line}: the key {key_node.value!r} stands twice")
            keys.add(key_node.value)
        return super().construct_mapping(node, deep=deep)


def _yaml_number(read: Callable[[str], Any]) -> Callable[[Any, Any], Any]:
    def construct(loader: Any, node: Any) -> Any:
        try:
            return read(node.value)
        except Unreadable as error:
            raise Unreadable(error.code, f"line {node.start_mark.line + 1}: {error}") from None

    return construct


_WORDS = [
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"([-+]?(0|[1-9][0-9]*)\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?", list("-+.0123456789")),
]
"""Plain words that are not text, with the characters they begin with.

All else stays text: `no`, `12:30:45`, `010`, `0x1F`, `1_000`, `.nan`, dates.
"""

_StrictLoader.yaml_implicit_resolvers = {}
for _name, _pattern, _first in _WORDS:
    _StrictLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(rf"(?:{_pattern})\Z"), _first)
_StrictLoader.add_constructor("tag:yaml.org,2002:int", _yaml_number(_integer))
_StrictLoader.add_constructor("tag:yaml.org,2002:float", _yaml_number(_number))


def load_yaml(text: str, *, what: str) -> Any:
    """Parse one YAML document; raises `Unreadable` with line and reason."""
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 — a SafeLoader subclass
    except Unreadable as error:
        raise Unreadable(error.code, f"{what}, {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}" if mark else ""
        raise Unreadable("not_yaml", f"{what}{place}: {getattr(error, 'problem', error)}") from None
    except (RecursionError, OverflowError, ValueError) as error:  # OverflowError: an escape past U+10FFFF
        raise Unreadable("not_yaml", f"{what}: {error}") from None
