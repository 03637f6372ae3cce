"""Fills the manifest's templates: strings over the fields of a change, a case or a plan. What is filled in is never read as a template."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_EXPRESSION = re.compile(r"([A-Za-z_]\w*)((?:\.[\w-]+)*)((?:\|(?:group|named|name|parent|leaf|keys|filled))*)", re.ASCII)
_FILTERS = {"group": (".", 0), "name": (".", 2), "parent": ("/", 0), "leaf": ("/", 2)}


class BadTemplate(ValueError):
    """A template of the manifest that does not fit what it is filled with; the message names the place."""

    code = "bad_template"


class NothingToName(BadTemplate):
    """A key, path or file name that renders to no text."""

    code = "nothing_to_name"


def render(template: Any, fields: Mapping[str, Any]) -> Any:
    """A template's value: one `{name}` alone keeps its type, other strings are filled in; mapping entries that render to null are dropped.

    Raises `BadTemplate("…")`. What is filled in is never read as a template again.
    """
    if isinstance(template, Mapping):
        pairs = [(render_word(key, fields, "a key"), render(item, fields)) for key, item in template.items()]
        if len({key for key, _ in pairs}) < len(pairs):
            raise BadTemplate("two keys of one mapping render to the same")
        return {key: item for key, item in pairs if item is not None}
    if isinstance(template, list):
        return [render(item, fields) for item in template]
    if not isinstance(template, str):
        return template
    whole = _TOKEN.fullmatch(template)
    if whole and whole[1] is not None:
        return _evaluate(whole[1], fields)
    parts: list[str] = []
    end = 0
    for token in _TOKEN.finditer(template):
        filled = token[0][0] if len(token[0]) == 2 and token[1] is None else _scalar(token, template, fields)
        if filled is None:
            return None  # a text about a field that was left out is left out as well
        parts += [template[end : token.start()], filled]
        end = token.end()
    return "".join(parts) + template[end:]


def _scalar(token: re.Match[str], template: str, fields: Mapping[str, Any]) -> str | None:
    if token[1] is None:
        raise BadTemplate(f"a single brace in {template!r}; double it to mean itself")
    value = _evaluate(token[1], fields)
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or isinstance(value, (str, int, float)):
        return None if value is None else str(value)
    raise BadTemplate(f"{{{token[1]}}} is a list or a mapping and cannot stand inside a text")


def _evaluate(expression: str, fields: Mapping[str, Any]) -> Any:
    """The value of `name.sub.0|filter`; what a mapping or list does not hold is null, an unknown name is an error."""
    match = _EXPRESSION.fullmatch(expression)
    if not match or match[1] not in fields:
        raise BadTemplate(f"{{{expression}}} names no field of the change")
    value = fields[match[1]]
    for part in match[2].split(".")[1:]:
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, (list, tuple)):
            value = value[int(part)] if re.fullmatch("[0-9]{1,6}", part) and int(part) < len(value) else None
        else:
            value = None
    for word in match[3].split("|")[1:]:
        value = _filtered(word, value, expression)
    return value


def _filtered(word: str, value: Any, expression: str) -> Any:
    if value is None:
        return None
    if word == "keys":
        if not isinstance(value, Mapping):
            raise BadTemplate(f"{{{expression}}} is no mapping and has no keys")
        return list(value)
    if word in ("named", "filled"):
        items = list(value) if isinstance(value, (list, tuple)) else [value]
        return (items or None) if word == "filled" else [item if isinstance(item, Mapping) else {"name": item} for item in items]
    if not isinstance(value, str):
        raise BadTemplate(f"{{{expression}}} is no text to take a part of")
    separator, side = _FILTERS[word]
    return value.partition(separator)[side] or None


def render_word(template: Any, fields: Mapping[str, Any], what: str) -> str:
    """A template that has to give one piece of text: a key, a file name."""
    value = render(template, fields)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        raise NothingToName(f"{what} ({template}) renders to no text")
    return str(value)


def names_in(template: Any, *, bare: bool = False) -> Iterator[str]:
    """The fields that a template names, right or wrong. `bare`: a text without braces is one expression, as in `if` and `each`."""
    if isinstance(template, Mapping):
        for key, inside in template.items():
            yield from names_in(key)
            yield from names_in(inside)
    elif isinstance(template, list):
        for inside in template:
            yield from names_in(inside)
    elif isinstance(template, str):
        found = [template] if bare and "{" not in template else [one for one in _TOKEN.findall(template) if one]
        yield from (re.split(r"[.|]", expression.strip())[0] for expression in found)


def asked(template: str, fields: Mapping[str, Any]) -> Any:
    """`if` and `each` may be written with braces or as the bare expression."""
    return render(template, fields) if "{" in template else _evaluate(template.strip(), fields)
