"""How an edit looks on the page lives here: new text imitates its neighbours and is spliced in at the place of a node."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

from connectors.splicing.places import KeyPath, Kind, Located, Node, Unfit, read_json, read_nodes, skip, step, walk

_PLAIN = re.compile(r"(?!(?i:y|n)$)[^\W\d][\w ./()+%&'!?;€$-]*")
"""Text that YAML of any version reads as text without quotes; whether it does so at its place shows when it is read again."""
_ODD = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_PIECE = re.compile(r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u.{4}|\\.|[^\\]", re.DOTALL)
_NOTE = re.compile(r"[ \t]+#[^\r\n]*")
_WAYS = ((True, False), (False, False), (False, True))
"""Ways to write a value, tried in turn: like its neighbours, with all text quoted, and on one line as well."""
_BLANK = re.compile(r"[ \t]*\r?\n")
_REST = re.compile(r"[ \t]*(?:#[^\r\n]*)?(?:\r?\n|$)")


class Page:
    """A document as text, as plain objects and as nodes; every method that changes something returns a new text."""

    def __init__(self, text: str, kind: Kind):
        if text.startswith("\ufeff"):
            raise Unfit("bom", (), "begins with a byte order mark")
        self.text, self.kind = text, kind
        self.nl = "\r\n" if 2 * text.count("\r\n") > text.count("\n") else "\n"
        if kind == "json":
            self.value = read_json(text)
        else:
            self._read, self.value = read_nodes(text, kind)
            len(self.nodes)  # walks them all: a key that stands twice is refused here, as read_json does

    @cached_property
    def root(self) -> Node:
        """Nodes of JSON are read when they are needed: to prove a splice, values are enough."""
        root = self._read if self.kind == "yaml" else read_nodes(self.text, "json")[0]
        return replace(root, outer=root.start, key_end=root.start, slot=root.start)

    @cached_property
    def nodes(self) -> list[Node]:
        return [*walk(self.root, ())]

    @cached_property
    def colon(self) -> str:
        likely = (self._own_colon(node) for node in self.nodes if node.kind is dict and node.members and not node.block)
        return next((found for found in likely), None) or ": "

    def multi(self, node: Node) -> bool:
        """Whether its members stand on lines of their own."""
        return bool(node.members) and (node.block or "\n" in self.text[node.start + 1 : node.members[0].outer])

    def margin(self, at: int, block: bool) -> str:
        """The indentation of the line at a position; in block style the column counts, dashes included."""
        line = self.text[self.text.rfind("\n", 0, at) + 1 : at]
        return " " * len(line) if block else line[: len(line) - len(line.lstrip(" \t"))]

    def unit(self, like: Node) -> str:
        if like is self.root and like.block:
            return next((unit for node in self.nodes[1:] if node.kind is dict and self.multi(node) and (unit := self.unit(node))), "  ")
        return self.margin(like.members[0].outer, like.block).removeprefix(self.margin(like.outer, like.block))

    def colon_of(self, like: Node) -> str:
        return self._own_colon(like) or self.colon

    def _own_colon(self, like: Node) -> str | None:
        found = next((self.text[member.key_end : member.start] for member in like.members if member.end > member.start), "")
        return found if re.fullmatch("[ \t]*:[ \t]*", found) else None

    def gap(self, like: Node, index: int) -> str:
        """What separates two members of a flow collection where one is put in at an index."""
        at = max(0, min(index, len(like.members) - 1) - 1)
        gap = self.text[like.members[at].end : like.members[at + 1].outer] if len(like.members) > 1 else "#"
        wide = "," + self.nl + self.margin(like.members[0].outer, False)
        return gap if "#" not in gap else wide if self.multi(like) else ", " if self.colon_of(like).endswith(" ") else ","

    def spell(self, word: str, like: str, plain: bool) -> str:
        """A string, quoted like another one (by its first character) when that is safe."""
        if self.kind == "yaml" and plain:
            if like == "'" and word.isprintable():
                return "'" + word.replace("'", "''") + "'"
            if like not in ('"', "'") and _PLAIN.fullmatch(word):
                return word
        text = json.dumps(word, ensure_ascii=False)
        return text if self.kind == "json" else _ODD.sub(lambda match: f"\\u{ord(match[0]):04x}", text)

    def write(self, value: Any, near: list[Node], indent: str, inline: bool, plain: bool) -> str:
        """A value as text, imitating the first node of its kind; block style begins with a line break."""
        if isinstance(value, str):
            return self.spell(value, next((self.text[node.start] for node in near if node.kind is str and node.end > node.start), ""), plain)
        if not isinstance(value, (dict, list)) or not value:
            try:
                text = json.dumps(value, allow_nan=False)
            except (TypeError, ValueError):
                raise Unfit("not_expressible", (), "cannot hold a value of that type") from None
            return re.sub(r"^(-?\d+)e", r"\1.0e", text) if self.kind == "yaml" else text
        fit = [node for node in [*near, *self.nodes[::-1]] if node.kind is type(value) and node.members and not (inline and self.multi(node))]
        like = fit[0] if fit else replace(self.root, members=[])
        wide, quote = self.multi(like), self.text[like.members[0].outer] if like.members else '"'
        block, inner, kids = wide and like.block, indent + (self.unit(like) if wide else ""), [kid for node in fit for kid in node.members]
        parts = []
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            body = self.write(item, sorted(kids, key=lambda kid: bool(kid.key != key)), inner, not wide, plain)
            parts.append(self.entry(str(key) if isinstance(value, dict) else None, quote, body, inner, block, self.colon_of(like), plain))
        if block:
            return "".join(self.nl + inner + part for part in parts)
        left, right = "{}" if isinstance(value, dict) else "[]"
        if wide:
            return left + self.nl + inner + f",{self.nl}{inner}".join(parts) + self.nl + indent + right
        pad = self.text[like.start + 1 : like.members[0].outer] if like.members else ""
        return left + pad + (self.gap(like, 0) if like.members else ", ").join(parts) + pad + right

    def entry(self, key: str | None, quote: str, body: str, indent: str, block: bool, colon: str, plain: bool) -> str:
        """A member: key and value, or list item."""
        if not block:
            return body if key is None else self.spell(key, quote, plain) + colon + body
        return ("-" if key is None else self.spell(key, quote, plain) + ":") + self.hung(body, indent, key is None)

    def hung(self, body: str, indent: str, dash: bool) -> str:
        """A written value as it follows a colon or a dash in block style."""
        if not body.startswith(self.nl):
            return " " + body
        return body[len(self.nl + indent) + 1 :] if dash else body

    def near(self, holder: Node, at: int, key: Any) -> list[Node]:
        """Nodes to imitate: the members of the holder, nearest first, then values that have the same key elsewhere."""
        cousins = [node for node in self.nodes if isinstance(key, str) and node.key == key]
        return [*sorted(holder.members, key=lambda node: abs(node.outer - at)), *cousins]

    def trail(self, path: KeyPath) -> list[Node]:
        """The nodes from above the root down to a path."""
        trail = [Node(self.root.start, self.root.end, list, members=[self.root]), self.root]
        for segment in path:
            trail += [member for member in trail[-1].members if str(member.key) == segment]
        if len(trail) != len(path) + 2 or any(node.shared for node in trail):
            raise Unfit("alias", path, "stands at or below an anchor, an alias or a merge key")
        return trail

    def candidates(self, edit: Located) -> Iterator[str]:
        """Texts that may be what the edit means, the one that keeps most of the old spelling first."""
        path = edit.path[:-1] if edit.op == "add" else edit.path
        *above, holder, node = self.trail(path)
        if edit.op == "replace_text":
            found = self.value
            for segment in path:
                found = found[step(found, segment, path)]
            yield from self.reworded(node, found, edit.old, edit.value)
            if self.text[node.start] not in "|>":
                yield from (self.put(holder, node, found.replace(edit.old, edit.value), *way) for way in _WAYS)
        elif edit.op == "remove":
            yield from self.removed(above[-1], holder, node)
        elif edit.op == "set":
            yield from (self.put(holder, node, edit.value, *way) for way in _WAYS)
        else:
            key = edit.path[-1] if edit.op == "add" else None
            keys = [member.key for member in node.members]
            at = keys.index(edit.before) if edit.before in keys else len(keys)
            if not node.members:
                fresh = [edit.value] if key is None else {key: edit.value}
                yield from (self.put(holder, node, fresh, *way) for way in _WAYS)
            else:
                yield from (self.inserted(node, at, key, edit.value, *way) for way in _WAYS)

    def put(self, holder: Node, old: Node, value: Any, plain: bool = True, flow: bool = False) -> str:
        """Another value where one stands."""
        indent = self.margin(old.outer, holder.block)
        new = self.write(value, self.near(holder, old.outer, old.key), indent, flow or not self.multi(holder), plain)
        if holder.block and (old.block or new.startswith(self.nl)):  # a comment right after the key or the dash stays there
            note = self.text[old.slot : skip(self.text, old.slot, _NOTE)] if old.block else ""
            hung = self.hung(new, indent, holder.kind is list)
            return self.text[: old.slot] + (note + hung if new.startswith(self.nl) else hung + note) + self.text[old.end :]
        return self.text[: old.start] + (" " if old.start == old.end else "") + new + self.text[old.end :]

    def below(self, node: Node) -> int:
        """Where the line after a block member begins."""
        if self.text[node.end - 1] == "\n":
            return node.end
        if match := _REST.match(self.text, node.end):
            return match.end()
        raise Unfit("not_expressible", (str(node.key),), "shares its line with something else")

    def inserted(self, holder: Node, at: int, key: Any, value: Any, plain: bool, flow: bool) -> str:
        """A new member in front of the one at an index, or at the end."""
        members, text = holder.members, self.text
        first, previous = members[0], members[at - 1]
        indent = self.margin(first.outer, holder.block)
        body = self.write(value, self.near(holder, members[min(at, len(members) - 1)].outer, key), indent, flow or not self.multi(holder), plain)
        entry = self.entry(key, text[first.outer], body, indent, holder.block, self.colon_of(holder), plain)
        if holder.block:
            blank = self.nl if members[1:] and all(_BLANK.match(text, self.below(member)) for member in members[:-1]) else ""
            if at == 0:
                return text[: first.outer] + entry + self.nl + blank + indent + text[first.outer :]
            here = self.below(previous)
            ended = text[here - 1] == "\n"
            return text[:here] + ("" if ended else self.nl) + blank + indent + entry + (self.nl if ended else "") + text[here:]
        gap = self.gap(holder, at)
        if at == 0:
            return text[: first.outer] + entry + gap + text[first.outer :]
        if note := re.compile(r"[ \t]*(,?)[ \t]*#[^\r\n]*").match(text, previous.end):  # the comment stays with the member before
            comma, other = ("", ",") if note[1] else (",", "")
            return text[: previous.end] + comma + note[0] + self.nl + indent + entry + other + text[note.end() :]
        return text[: previous.end] + gap + entry + text[previous.end :]

    def removed(self, above: Node, holder: Node, node: Node) -> Iterator[str]:
        """Without a member; a comment on its own line goes with it, comments on other lines stay."""
        text, alone = self.text, len(holder.members) == 1
        line = text.rfind("\n", 0, node.outer) + 1
        if holder.block and (not alone or above.kind is dict):
            end = self.below(node)
            if text[line : node.outer].strip():  # behind a dash: the next key moves up
                yield text[: node.outer] + text[skip(text, end) :]
            line -= len(self.nl) if end == len(text) and text[-1] != "\n" else 0
            kept = text[: holder.slot] + " " + json.dumps(holder.kind()) + text[holder.slot : line] if alone else text[:line]
            yield kept + text[end:]
        if alone:
            yield self.put(above, holder, holder.kind())
        elif node.outer != holder.members[-1].outer:
            yield text[: node.outer] + text[skip(text, node.end, re.compile(r"\s*,[ \t]*(#[^\r\n]*)?\s*")) :]
        else:
            previous = max(member.end for member in holder.members[:-1])
            gap = text[previous : node.outer]
            noted = "#" in gap
            yield text[: previous + (len(gap.rstrip()) if noted else 0)] + text[skip(text, node.end, _NOTE) if noted else node.end :]

    def reworded(self, node: Node, found: str, old: str, new: str) -> Iterator[str]:
        """A phrase replaced inside a string, the rest of its spelling (escapes, line breaks) kept."""
        raw, left, right = self.text[node.start : node.end], self.text[: node.start], self.text[node.end :]
        if raw[0] == '"':
            fresh, pieces = self.spell(new, '"', False)[1:-1], _PIECE.findall(raw[1:-1])
            try:
                spelled = "".join(json.loads(f'"{piece}"', strict=False) for piece in pieces) == found
            except ValueError:  # an escape that only YAML knows
                spelled = False
            body, at = "", 0
            while spelled and (hit := found.find(old, at)) >= 0:
                body, at = body + "".join(pieces[at:hit]) + fresh, hit + len(old)
            if spelled:
                yield left + '"' + body + "".join(pieces[at:]) + '"' + right
            yield left + raw.replace(self.spell(old, '"', False)[1:-1], fresh) + right
        elif raw[0] == "'":
            yield left + raw.replace(old.replace("'", "''"), new.replace("'", "''")) + right
        elif raw[0] in "|>":
            head, _, body = raw.partition("\n")
            step = self.nl + re.sub(r"(?s)^[\r\n]*([ ]*).*", r"\1", body)
            yield left + head + "\n" + body.replace(old.replace("\n", step), new.replace("\n", step)) + right
        else:
            yield left + raw.replace(old, new) + right
