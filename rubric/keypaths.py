"""Where parsed documents differ, key by key, lives here: two of them, or one that was found against one that was wanted and the one before."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from json import dumps
from typing import Any

KeyPath = tuple[str, ...]
ORDER = "(order of the keys)"
"""stands at the end of the path of a mapping whose keys are in another order: in a plan the first branch that fits wins"""
MISSING: Any = object()
"""no value there; None is a value"""


@dataclass(frozen=True)
class Apart:
    """A place where what was found is not what was wanted."""

    path: KeyPath
    undone: bool
    """something was wanted there that base does not have, and it is not there"""
    beyond: bool
    """something is there that base does not have, and nobody wanted it"""


@dataclass(frozen=True)
class Move:
    """A value that changed; of lists the items that went and came."""

    path: KeyPath
    old: Any
    new: Any


def same(one: Any, other: Any) -> bool:
    """Equal down to the type of each number and the order of keys: 1, 1.0, "1" and true are four values."""
    if one is MISSING or other is MISSING:
        return one is other
    return dumps(one) == dumps(other)


def apart(base: Any, wanted: Any, found: Any, path: KeyPath = ()) -> Iterator[Apart]:
    """Every place where `found` is not `wanted`, as deep as it can be named."""
    if same(wanted, found):
        return
    if isinstance(wanted, dict) and isinstance(found, dict):
        was = base if isinstance(base, dict) else {}
        for key in {**was, **wanted, **found}:
            yield from apart(was.get(key, MISSING), wanted.get(key, MISSING), found.get(key, MISSING), (*path, key))
        before, due, now = ([key for key in side if key in wanted and key in found] for side in (was, wanted, found))
        if due != now:
            yield Apart((*path, ORDER), undone=due != before, beyond=now != before)
    elif isinstance(wanted, list) and isinstance(found, list):
        had = base if isinstance(base, list) else []
        if len(wanted) != len(found):
            undone, beyond = tally([dumps(item) for item in had], [dumps(item) for item in wanted], [dumps(item) for item in found])
            yield Apart(path, bool(undone), bool(beyond))
            return
        for place, (due, now) in enumerate(zip(wanted, found, strict=True)):
            yield from apart(had[place] if place < len(had) else MISSING, due, now, (*path, str(place)))
    else:
        yield Apart(path, undone=not same(wanted, base), beyond=not same(found, base))


def tally(base: Sequence[Any], wanted: Sequence[Any], found: Sequence[Any]) -> tuple[int, int]:
    """How many items, wherever they stand, were left undone, and how many were done beyond what was wanted."""
    had, due, now = Counter(base), Counter(wanted), Counter(found)
    to_do, done = (due - had, had - due), (now - had, had - now)
    undone = sum((added - there).total() for added, there in zip(to_do, done, strict=True))
    beyond = sum((there - added).total() for added, there in zip(to_do, done, strict=True))
    return undone, beyond


def moves(old: Any, new: Any, path: KeyPath = ()) -> Iterator[Move]:
    """Every value that differs between two documents, down to plain values and lists."""
    if same(old, new):
        return
    mappings = [side if isinstance(side, dict) else {} for side in (old, new)]
    if not any(mappings):
        yield from _plain(old, new, path)
        return
    for side, value in enumerate((old, new)):
        if not isinstance(value, dict) and value is not MISSING:
            yield Move(path, *((value, MISSING) if side == 0 else (MISSING, value)))
    for key in {**mappings[0], **mappings[1]}:
        yield from moves(mappings[0].get(key, MISSING), mappings[1].get(key, MISSING), (*path, key))
    before, now = ([key for key in side if key in mappings[0] and key in mappings[1]] for side in mappings)
    if before != now:
        yield Move((*path, ORDER), MISSING, MISSING)


def _plain(old: Any, new: Any, path: KeyPath) -> Iterator[Move]:
    if not (isinstance(old, list) and isinstance(new, list)):
        yield Move(path, old, new)
        return
    had, has = Counter(map(dumps, old)), Counter(map(dumps, new))
    gone, come = had - has, has - had
    if not gone and not come:
        yield Move((*path, ORDER), MISSING, MISSING)
        return
    yield Move(path, [item for item in old if dumps(item) in gone], [item for item in new if dumps(item) in come])


def texts_of(value: Any) -> Iterator[str]:
    """Every key and plain value of a document, as text."""
    if isinstance(value, dict):
        for key, inside in value.items():
            yield key
            yield from texts_of(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from texts_of(inside)
    elif value is not MISSING:
        yield value if isinstance(value, str) else dumps(value)
