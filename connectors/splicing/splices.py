"""Edits of one config document (JSON or YAML) live here: what each means, and the proof that its splice did that and nothing else."""

import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from functools import lru_cache
from typing import Any

from connectors.splicing.page import Page
from connectors.splicing.places import UNSET, Kind, Located, Unfit, read_json, step

__all__ = ["UNSET", "Kind", "Located", "Unfit", "apply"]


def apply(text: str, kind: Kind, edits: Sequence[Located]) -> str:
    """The text after all edits, in order. Raises `Unfit` unless it parses to the parsed original with exactly these edits."""
    try:
        page = _page(text, kind)
        for edit in edits:
            for single in _singles(page.value, edit):
                page = _spliced(page, single)
        return page.text
    except RecursionError:
        raise Unfit("unparsable", (), "is nested too deep") from None


@lru_cache(maxsize=32)
def _page(text: str, kind: Kind) -> Page:
    """Remembered: the same file of one commit is edited again and again while changes are tried out. Nobody writes into a page."""
    return Page(text, kind)


def _spliced(page: Page, edit: Located) -> Page:
    wanted = _reference(copy.deepcopy(page.value) if page.kind == "yaml" else read_json(page.text), edit)
    for candidate in page.candidates(edit):
        try:
            candidate.encode()  # a lone surrogate is no text
            after = Page(candidate, page.kind)
        except (Unfit, UnicodeEncodeError):
            continue
        equal = json.dumps(after.value) == json.dumps(wanted) if page.kind == "json" else _same(after.value, wanted, set())
        if equal:
            return after
    raise Unfit("not_expressible", edit.path, "cannot be edited by splicing text there")


def _same(one: Any, other: Any, seen: set[tuple[int, int]]) -> bool:
    """Equal in value, type and order of keys."""
    if type(one) is not type(other) or not isinstance(one, (dict, list)):
        return type(one) is type(other) and repr(one) == repr(other)
    if len(one) != len(other) or (id(one), id(other)) in seen:  # aliases may meet again, or in a circle
        return len(one) == len(other)
    seen.add((id(one), id(other)))
    pairs = zip(one.items(), other.items(), strict=True) if isinstance(one, dict) else zip(enumerate(one), enumerate(other), strict=True)
    return all(repr(key) == repr(twin) and _same(left, right, seen) for (key, left), (twin, right) in pairs)


def _singles(document: Any, edit: Located) -> list[Located]:
    """One plain edit per place: patterns opened, list items found, put and move told in terms of set, add and remove."""
    if edit.path and edit.op in ("put", "append", "move"):
        return _plain(document, edit)
    places: list[tuple[tuple[str, ...], Any]] = [((), document)]
    if not edit.path or (edit.op != "replace_text" and (edit.op != "remove" or edit.value is UNSET)):
        return [edit]
    for segment in edit.path:
        if segment is ...:
            places = [((*path, key), at[key]) for path, at in places if isinstance(at, dict) for key in at if isinstance(key, str)]
        else:
            places = [((*path, segment), at[step(at, segment, edit.path)]) for path, at in places]
    if edit.op == "replace_text":
        found = [replace(edit, path=path) for path, at in places if isinstance(at, str) and edit.old and edit.old in at]
        if not found:
            raise Unfit("text_not_found", edit.path, "does not hold the phrase to replace")
        return found
    if not isinstance(places[0][1], list):
        raise Unfit("not_a_list", edit.path, "is not a list")
    hits = [index for index, item in enumerate(places[0][1]) if _same(item, edit.value, set())]
    if len(hits) != 1:
        raise Unfit("value_twice" if hits else "path_missing", edit.path, f"holds the item {len(hits)} times, not once")
    return [replace(edit, path=(*edit.path, str(hits[0])), value=UNSET)]


def _plain(document: Any, edit: Located) -> list[Located]:
    """What put, append and move come down to, given what stands there now."""
    holder = document
    for segment in edit.path[:-1]:
        holder = holder[step(holder, segment, edit.path)]
    there = isinstance(holder, dict) and edit.path[-1] in holder
    if edit.op == "put":
        return [replace(edit, op="set" if there else "add")]
    if edit.op == "append":
        return [edit] if there or not isinstance(holder, dict) else [replace(edit, op="add", value=[edit.value])]
    if not there:
        raise Unfit("path_missing", edit.path, "does not exist")
    return [replace(edit, op="remove", before=None), replace(edit, op="add", value=copy.deepcopy(holder[edit.path[-1]]))]


def _reference(document: Any, edit: Located) -> Any:
    """The parsed document with one edit applied: what the spliced text has to parse to."""
    if not edit.path or ... in edit.path:
        raise Unfit("path_missing", edit.path, "is no single place below the top")
    *way, last = edit.path
    holder = document
    for segment in way:
        holder = holder[step(holder, segment, edit.path)]
    if edit.op == "add":
        if not isinstance(holder, dict):
            raise Unfit("not_a_mapping", edit.path, "does not stand in a mapping")
        if last in holder:
            raise Unfit("path_exists", edit.path, "exists already")
        later = list(holder)[list(holder).index(step(holder, edit.before, (*way, edit.before))) :] if edit.before is not None else []
        holder.update({last: edit.value, **{key: holder.pop(key) for key in later}})
        return document
    found = holder[key := step(holder, last, edit.path)]
    equal = found == edit.was and isinstance(found, bool) == isinstance(edit.was, bool)
    if edit.was is not UNSET and not equal and not (isinstance(found, date) and str(found) == edit.was):
        raise Unfit("value_differs", edit.path, "does not hold the value that the edit expects")
    if edit.op == "append" and not isinstance(found, list):
        raise Unfit("not_a_list", edit.path, "is not a list")
    if edit.op == "remove":
        del holder[key]
    elif edit.op == "append":
        found.append(edit.value)
    else:
        holder[key] = found.replace(edit.old, edit.value) if edit.op == "replace_text" else edit.value
    return document
