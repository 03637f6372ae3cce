"""Where each value of a config text stands lives here: edits by name, nodes with their positions, and the readers of JSON and YAML."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from types import EllipsisType
from typing import Any, Literal

import yaml

Kind = Literal["json", "yaml"]
KeyPath = tuple[str | EllipsisType, ...]
UNSET: Any = object()
"""No value given; None is a value."""
_SPACE = re.compile(r"[ \t\r\n]*")
_scan = json.JSONDecoder().raw_decode


class Unfit(Exception):
    """An edit that does not fit the document; `code` is stable, the message names the path and never a value."""

    def __init__(self, code: str, path: KeyPath, message: str):
        words = ["*" if segment is ... else "".join(char if char.isprintable() else "?" for char in segment[:60]) for segment in path]
        super().__init__(f"{' > '.join(words) or 'the document'} {message}")
        self.code = code


@dataclass(frozen=True)
class Located:
    """One edit. `path` goes key by key; a number indexes a list; `...` (replace_text only) stands for any key."""

    op: Literal["set", "add", "put", "append", "remove", "move", "replace_text"]
    path: KeyPath
    value: Any = UNSET
    """What to write; for remove the item of the list at `path` (UNSET: the path itself); for replace_text the new phrase."""
    was: Any = UNSET
    before: str | None = None
    """Existing key that an added one goes in front of; None: at the end."""
    old: str = ""


def step(at: Any, segment: str | EllipsisType, path: KeyPath) -> Any:
    """The key or index that a segment means in a parsed value."""
    if isinstance(at, dict) and segment in at:
        return segment
    if isinstance(at, list) and isinstance(segment, str) and re.fullmatch("0|[1-9][0-9]{0,8}", segment) and int(segment) < len(at):
        return int(segment)
    if isinstance(at, (dict, list)):
        raise Unfit("path_missing", path, "does not exist")
    raise Unfit("not_a_mapping", path, "stands below a plain value")


@dataclass(slots=True)
class Node:
    """A value and where it stands; `outer` is where its member begins (key, dash), `slot` where the value's side begins (after colon or dash)."""

    start: int
    end: int
    kind: type
    """dict, list, str, or object for any other scalar"""
    key: Any = None
    outer: int = 0
    key_end: int = 0
    slot: int = 0
    block: bool = False
    shared: bool = False
    """anchored or aliased: an edit there would show elsewhere too"""
    members: list["Node"] = field(default_factory=list)


def skip(text: str, at: int, what: re.Pattern[str] = _SPACE) -> int:
    return match.end() if (match := what.match(text, at)) else at


def _json_node(text: str, at: int) -> Node:
    """The node that begins at a position of JSON that is known to be valid."""
    if text[at] not in "{[":
        return Node(at, _scan(text, at)[1], str if text[at] == '"' else object)
    node = Node(at, at, dict if text[at] == "{" else list)
    at = skip(text, at + 1)
    while text[at] not in "}]":
        key, outer, end, slot = len(node.members), at, at, at
        if node.kind is dict:
            key, end = _scan(text, at)
            slot = skip(text, end) + 1
        child = _json_node(text, skip(text, slot))
        child.key, child.outer, child.key_end, child.slot = key, outer, end, slot
        node.members.append(child)
        at = skip(text, child.end)
        at = skip(text, at + 1) if text[at] == "," else at
    node.end = at + 1
    return node


class _Loader(yaml.SafeLoader):
    """Safe YAML that remembers which nodes have an anchor or stand for one."""

    shared: frozenset[int] = frozenset()

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        node = super().compose_node(parent, index)
        if getattr(event, "anchor", None):
            self.shared |= {id(node)}
        return node


def _yaml_node(text: str, source: Any, shared: frozenset[int]) -> Node:
    start, end = source.start_mark.index, source.end_mark.index
    node = Node(start, end, {"tag:yaml.org,2002:str": str, "tag:yaml.org,2002:map": dict, "tag:yaml.org,2002:seq": list}.get(source.tag, object))
    if id(source) in shared:
        return replace(node, kind=object, shared=True)
    if isinstance(source, yaml.ScalarNode):  # the empty lines after a block scalar are not its own, unless it says so
        own = source.style in ("|", ">") and "+" not in text[start:end].partition("\n")[0]
        return replace(node, end=start + len(text[start:end].rstrip(" \t\r\n"))) if own else node
    node.block, dash = not source.flow_style, re.compile(rf"^ {{{source.start_mark.column}}}(?=-\s|-$)", re.MULTILINE)
    for index, item in enumerate(source.value):
        if node.kind is dict:
            child, name = _yaml_node(text, item[1], shared), item[0]
            outer, key_end = name.start_mark.index, name.end_mark.index
            key, slot = name.value if name.tag.endswith(":str") else (name.tag, name.value), text.find(":", key_end) + 1
        else:
            child = _yaml_node(text, item, shared)
            key, outer, key_end, slot = index, child.start, child.start, child.start
            if node.block:
                outer = skip(text, match.start(), re.compile(" *")) if index and (match := dash.search(text, node.members[-1].end)) else start
                key_end = slot = outer + 1
        node.members.append(replace(child, key=key, outer=outer, key_end=key_end, slot=slot))
    return replace(node, end=node.members[-1].end) if node.block and node.members else node


def read_json(text: str) -> Any:
    """The value of a JSON text, without nodes. Raises `Unfit`, also for a key that stands twice."""
    try:
        return json.loads(text, parse_constant=int, object_pairs_hook=_mapping)  # int("NaN") raises
    except _Twice:
        for _ in walk(_json_node(text, skip(text, 0)), ()):  # says where
            pass
        raise AssertionError("walk names the key that stands twice") from None
    except ValueError as error:
        line = getattr(error, "lineno", None)
        raise Unfit("unparsable", (), "cannot be read as JSON" + (f" (line {line})" if line else "")) from None


class _Twice(Exception):
    """A key stands twice in one mapping."""


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Twice
    return found


def read_nodes(text: str, kind: Kind) -> tuple[Node, Any]:
    """The nodes of a text, and of YAML its value, which comes of the same reading. Raises `Unfit`."""
    if kind == "json":
        return _json_node(text, skip(text, 0)), None
    try:
        loader = _Loader(text)
        source = loader.get_single_node()
        root = _yaml_node(text, source, loader.shared)  # before constructing, which rewrites merge keys
        return root, loader.construct_document(source)
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        raise Unfit("unparsable", (), "cannot be read as YAML" + (f" (line {mark.line + 1})" if mark else "")) from None


def walk(node: Node, path: KeyPath) -> Iterator[Node]:
    keys: list[Any] = [member.key for member in node.members]
    if twice := [key for key in keys if keys.count(key) > 1] if len(set(keys)) < len(keys) else []:
        raise Unfit("duplicate_key", (*path, str(twice[0])), "stands twice in one mapping")
    yield node
    for member in node.members:
        yield from walk(member, (*path, str(member.key)))
