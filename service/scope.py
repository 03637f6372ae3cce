"""An approved hint against the tree that was made of it: what it asks for and is not there, and what is there that it does not ask for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rubric.keypaths import MISSING, ORDER, KeyPath, apart, moves, tally, texts_of
from rubric.manifest import Manifest, matches, read_inventory
from rubric.parts import Names, Part, parts, spaced, stands_in
from rubric.schema import Hint
from rubric.strict import Unreadable, load_json, load_yaml
from service.trees import VIOLATION_CAP, Violation, changed_paths, escaped, lines_of, read, violation, walk

FILES_CAP, BYTES_CAP = 200, 20_000_000
"""Most changed files that are compared, and most bytes of all of them."""
YAML_CAP = 200_000
"""Largest YAML file that is compared key by key, in bytes: reading one of 5 MB takes a minute."""
SHOWN, DEEP = 60, 8
"""Characters of a key or a value, and keys of a path, that a finding shows."""
WHERE = {"brought": "in what was added", "gone": "in what was removed", "named": "in the files that were changed"}

UNREADABLE: Any = object()
"""a document that two readers may read in two ways, or none at all"""
TEXT: Any = object()
"""a file that has no keys"""


@dataclass(frozen=True)
class _File:
    path: str
    old: bytes | None
    new: bytes | None
    """None: there is no such file"""


@dataclass
class _Seen:
    """What the changed files hold, for the values of a change to be looked for."""

    brought: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    named: list[str] = field(default_factory=list)


def check_scope(base: Path, head: Path, manifest: Manifest, hint: Hint, expected: Mapping[str, bytes | None] | None = None) -> list[Violation]:
    """Hold the change between two folders against the hint: `unapplied` is what it lacks, `scope_drift` what it has beyond.

    `expected`: the files as the codemod would leave them, if there are templates for this recipe; then nothing else passes, but for how a
    document is laid out. Without it every value that the hint names has to be found, and no key that it does not name may change: weaker, as a
    value may be in the wrong place. `manifest` is that of the base commit, filled in as `targets.look` does. Comments are changes. Goes with
    `check_tree`, which says what may be published at all. Raises nothing for what stands in the files.
    """
    files, found = _changed(base, head, expected or {})
    if expected is None:
        found |= _against_the_words(files, manifest, hint)
    else:
        found |= {one for file in files for one in _against_the_edit(file, manifest, expected.get(file.path, file.old))}
    return sorted(found)[:VIOLATION_CAP]


def _changed(base: Path, head: Path, expected: Mapping[str, bytes | None]) -> tuple[list[_File], set[Violation]]:
    before, after = walk(base), walk(head)
    paths = sorted({*changed_paths(base, head, before, after), *expected})
    found: set[Violation] = set()
    if len(paths) > FILES_CAP:
        found.add(violation("scope_drift", "", f"{len(paths)} files changed, {FILES_CAP} are looked at"))
    files, left = [], BYTES_CAP
    for path in paths[:FILES_CAP]:
        old, new = (read(root / path) if path in walked.files else None for root, walked in ((base, before), (head, after)))
        left -= len(old or b"") + len(new or b"")
        if left < 0 or (path in before.files and old is None) or (path in after.files and new is None):
            found.add(violation("scope_drift", path, "too large to be compared, or it cannot be read"))
        else:
            files.append(_File(path, old, new))
    return files, found


# --- against the edit that the codemod makes


def _against_the_edit(file: _File, manifest: Manifest, wanted: bytes | None) -> Iterator[Violation]:
    if wanted == file.new:
        return
    base, due, now = (_document(manifest, file.path, side) for side in (file.old, wanted, file.new))
    if now is UNREADABLE and base is not UNREADABLE:
        yield violation("scope_drift", file.path, "the file can no longer be read in one way only")
    if any(side is MISSING or side is UNREADABLE or side is TEXT for side in (due, now)) or base is UNREADABLE:
        yield from _lines_against_the_edit(file, wanted)
        return
    for place in apart(base, due, now):
        if place.undone:
            yield violation("unapplied", file.path, f"{_shown(place.path)} is not as the hint asks")
        if place.beyond:
            yield violation("scope_drift", file.path, f"{_shown(place.path)} is changed beyond the hint")
    if _comments(manifest, file.path, file.new) != _comments(manifest, file.path, wanted):
        yield violation("scope_drift", file.path, "comments are changed beyond the hint")


def _lines_against_the_edit(file: _File, wanted: bytes | None) -> Iterator[Violation]:
    undone, beyond = tally(*((side or b"").splitlines(keepends=True) for side in (file.old, wanted, file.new)))
    there, due, now = (side is not None for side in (file.old, wanted, file.new))
    if undone:
        yield violation("unapplied", file.path, f"lines not as the hint asks: {undone}")
    if beyond:
        yield violation("scope_drift", file.path, f"lines changed beyond the hint: {beyond}")
    if due != now and due != there:
        yield violation("unapplied", file.path, "the file should be gone" if there else "the file should be there")
    elif due != now:
        yield violation("scope_drift", file.path, "the file is gone beyond the hint" if there else "the file is there beyond the hint")
    if not undone and not beyond and due == now:
        yield violation("scope_drift", file.path, "its lines stand in another order")


# --- against the words of the hint


def _against_the_words(files: list[_File], manifest: Manifest, hint: Hint) -> set[Violation]:
    change = hint.change.model_dump(mode="json", by_alias=True)
    named, names, seen = parts(change), Names(change, hint.target), _Seen()
    found: set[Violation] = set()
    for file in files:
        if not manifest.may_change(hint.change.recipe, file.path):
            found.add(violation("scope_drift", file.path, f"the recipe {hint.change.recipe} does not reach this file"))
        found |= set(_look(file, manifest, hint.target, names, named, seen))
    texts = {"brought": spaced("\n".join(seen.brought)), "gone": spaced("\n".join(seen.gone)), "named": spaced("\n".join(seen.named))}
    for part in named:
        if not stands_in(part.value, texts[part.place]):
            found.add(violation("unapplied", "", f"{_cut(part.name)}={_cut(str(part.value))} is nowhere {WHERE[part.place]}"))
    return found


def _look(file: _File, manifest: Manifest, target: str, names: Names, named: list[Part], seen: _Seen) -> Iterator[Violation]:
    """Gather what a file brings, and name what is beyond the hint in it."""
    whole = [file.path, *(side.decode("utf-8", "replace") for side in (file.old, file.new) if side is not None)]
    seen.named += whole
    old, new = _document(manifest, file.path, file.old), _document(manifest, file.path, file.new)
    if new is UNREADABLE and old is not UNREADABLE:
        yield violation("scope_drift", file.path, "the file can no longer be read in one way only")
    if any(side is UNREADABLE or side is TEXT for side in (old, new)):
        added, removed = lines_of(file.old or b"", file.new or b"")
        seen.brought.append(b"".join(added).decode("utf-8", "replace"))
        seen.gone.append(b"".join(removed).decode("utf-8", "replace"))
        if named and not any(stands_in(part.value, spaced("\n".join(whole))) for part in named):
            yield violation("scope_drift", file.path, "nothing that the hint names stands in this file")
        return
    scope = _Scope(manifest, file, old, target, names)
    for move in moves(old, new):
        seen.brought += [*_new_keys(move.path, old), *texts_of(move.new)]
        seen.gone += [*_new_keys(move.path, new), *texts_of(move.old)]
        seen.named += [*move.path, *texts_of(move.new), *texts_of(move.old)]
        if not scope.holds(move.path):
            yield violation("scope_drift", file.path, f"{_shown(move.path)} is changed, and the hint does not speak of it")
    if _comments(manifest, file.path, file.old) != _comments(manifest, file.path, file.new):
        yield violation("scope_drift", file.path, "comments are changed, and the hint does not speak of them")


class _Scope:
    """Which keys of a file a hint speaks of: its target's, and those whose every varying part it names."""

    def __init__(self, manifest: Manifest, file: _File, old: Any, target: str, names: Names):
        self._old, self._names, self._entry = old, names, _entry_of(manifest, file, target)
        rules = [rules.inventory for rules in manifest.steps.values() if rules.inventory and matches(file.path, rules.inventory.path)]
        self._patterns = [pattern.split(".") for rule in rules for pattern in rule.ids]

    def holds(self, path: KeyPath) -> bool:
        path = tuple(key for key in path if key != ORDER)
        if self._entry and path[: len(self._entry)] == self._entry:
            return True
        known = path[: len(path) - len(_new_keys(path, self._old)) + 1]  # below a new key that is named everything is new
        fits = [pattern for pattern in self._patterns if all(word in ("*", key) for word, key in zip(pattern, known, strict=False))]
        if not fits:
            return any(key in self._names for key in path)
        varying = max(([key for word, key in zip(pattern, known, strict=False) if word == "*"] for pattern in fits), key=len)
        return bool(varying) and all(key in self._names for key in varying)


def _entry_of(manifest: Manifest, file: _File, target: str) -> KeyPath | None:
    try:
        entries = read_inventory(manifest, {file.path: (file.old or b"").decode("utf-8")}).entries
    except (Unreadable, UnicodeDecodeError):
        return None
    return entries[target].path if target in entries else None


def _new_keys(path: KeyPath, side: Any) -> KeyPath:
    """The end of a path that one side of a change does not have."""
    for depth, key in enumerate(path):
        if key == ORDER or not isinstance(side, dict) or key not in side:
            return tuple(word for word in path[depth:] if word != ORDER)
        side = side[key]
    return ()


# --- documents


def _kind(manifest: Manifest, path: str) -> str | None:
    """`json` or `yaml`, as the codemod takes the file."""
    for rules in manifest.steps.values():
        if rules.inventory and matches(path, rules.inventory.path):
            return rules.inventory.kind
    return "json" if path.endswith(".json") else "yaml" if path.endswith((".yaml", ".yml")) else None


def _document(manifest: Manifest, path: str, content: bytes | None) -> Any:
    """The value of a file, read strictly: what could hide a key from one reader (twice the same, an alias) makes it unreadable."""
    if content is None:
        return MISSING
    kind = _kind(manifest, path)
    if kind is None:
        return TEXT
    try:
        if kind == "json":
            return load_json(content)
        return load_yaml(content.decode("utf-8"), what=path) if len(content) <= YAML_CAP else UNREADABLE
    except (Unreadable, UnicodeDecodeError):
        return UNREADABLE


def _comments(manifest: Manifest, path: str, content: bytes | None) -> list[str]:
    """The comments of a YAML file: what stands between its tokens."""
    if content is None or _kind(manifest, path) != "yaml" or len(content) > YAML_CAP:
        return []
    text, end, found = content.decode("utf-8", "replace"), 0, []
    try:
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            found += [line.strip() for line in text[end : token.start_mark.index].splitlines() if "#" in line]
            end = max(end, token.end_mark.index)
    except yaml.YAMLError:
        return []
    return found + [line.strip() for line in text[end:].splitlines() if "#" in line]


def _shown(path: KeyPath) -> str:
    return " > ".join(map(_cut, path[:DEEP])) + (" > …" if len(path) > DEEP else "") or "the document"


def _cut(text: str) -> str:
    return escaped(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")
