"""Reads JSON and YAML from outside strictly: what is ambiguous is refused with its place, never guessed."""

import json
import math
from typing import Any

import yaml

MAX_DEPTH = 32
"""Deepest nesting of any document from outside."""
MAX_INTEGER = 2**53
"""Largest whole number that every JSON reader agrees on."""


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
    depth, in_string, escaped = 0, False, False
    for char in text:
        if in_string:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                in_string = False
        elif char == '"':
            in_string = True
        elif char in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise Unreadable("too_deep", f"{what} is nested deeper than {MAX_DEPTH} levels")
        elif char in "]}":
            depth -= 1


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
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
    """Safe YAML without aliases, duplicate keys, or words that turn into other types."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):  # type: ignore[no-untyped-call]
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise Unreadable("alias", f"line {mark.line + 1}: aliases are not allowed")
        self._depth = getattr(self, "_depth", 0) + 1
        if self._depth > MAX_DEPTH:
            raise Unreadable("too_deep", f"nested deeper than {MAX_DEPTH} levels")
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


_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, expression) for tag, expression in resolvers if tag.rsplit(":", 1)[1] in ("int", "float", "null", "bool")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    if first not in "yYnNoO"
}
"""`no`, `on` and dates stay text; `1:30` is still base 60 to YAML and is refused where a number is not wanted."""


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
    except (RecursionError, ValueError) as error:
        raise Unreadable("not_yaml", f"{what}: {error}") from None
