"""The default agent lives here: it turns an approved hint into edits by the manifest's templates and splices them into the config files."""

import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from connectors.ports import TreeJob, TreeRun
from connectors.splicing.splices import UNSET, Kind, Located, Unfit, apply
from rubric.manifest import Edit, Manifest, matches
from rubric.rendering import BadTemplate, asked, render, render_word

FILE_CAP = 4 * 1024 * 1024
"""Largest config file that is edited, in bytes."""


class GaveUp(Exception):
    """The hint does not fit these templates or files; `str()` is the reason that a screen shows."""


class Refused(Exception):
    """The edit would leave what the manifest allows; `str()` is the reason that a screen shows."""


class RecipeCodemod:
    """Edits config files by the templates of the manifest; no model, no key, the same answer each time."""

    name = "codemod"
    by_model = False

    def trouble(self) -> str | None:
        return None

    def run(self, job: TreeJob, tree: Path) -> TreeRun:
        """Edit the files of `tree`. All edits are made in memory first: unless the run is done, no file has changed."""
        rules = job.manifest.recipes.get(job.hint.recipe)
        if rules is None:
            return TreeRun("gave_up", f"no_rule: the manifest says no edits for {job.hint.recipe}")
        scope = job.hint.change.model_dump(mode="json", by_alias=True)
        before: dict[str, str] = {}
        after: dict[str, str] = {}
        try:
            for edit in rules.edits:
                for fields in _repeats(edit, scope):
                    path = _allowed(edit, fields, job, tree)
                    if path not in after:
                        before[path] = after[path] = _text(tree, path)
                    try:
                        after[path] = apply(after[path], _kind(job.manifest, path), [_located(edit, fields)])
                    except Unfit as error:
                        raise GaveUp(f"{error.code}: {path}, {error}") from None
        except GaveUp as error:
            return TreeRun("gave_up", str(error))
        except BadTemplate as error:
            return TreeRun("gave_up", f"{error.code}: {error}")
        except Refused as error:
            return TreeRun("refused", str(error))
        changed = {path: text for path, text in after.items() if text != before[path]}
        if not changed:
            return TreeRun("gave_up", "no_change: the edits leave every file as it is")
        _write(tree, changed)
        return TreeRun("done", f"edited {', '.join(changed)}")


# ---- edits: the manifest's templates over the fields of a typed change


def _repeats(edit: Edit, scope: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The fields of each time that an edit is due."""
    rounds: list[Mapping[str, Any]] = [scope]
    if edit.each is not None:
        items = asked(edit.each, scope)
        if isinstance(items, Mapping):
            rounds = [{**scope, "key": key, "item": item} for key, item in items.items()]
        elif items is None or isinstance(items, (list, tuple)):
            rounds = [{**scope, "item": item} for item in items or ()]
        else:
            raise GaveUp(f"bad_template: each ({edit.each}) is no list and no mapping")
    for fields in rounds:
        answer = True if edit.if_ is None else asked(edit.if_, fields)
        if not (answer is None or answer is False or (isinstance(answer, (str, list, tuple, Mapping)) and not answer)):
            yield fields


def _located(edit: Edit, fields: Mapping[str, Any]) -> Located:
    path: list[Any] = [
        ... if segment == "*" and edit.op == "replace_text" else render_word(segment, fields, f"part {place} of the path")
        for place, segment in enumerate(edit.at)
    ]  # only a star that the manifest writes is a pattern; one that is filled in is a key
    value = UNSET
    if "value" in edit.model_fields_set or edit.op not in ("remove", "move"):
        value = render(edit.value, fields)
        if value is None and (edit.value is not None or "value" not in edit.model_fields_set):
            raise GaveUp(f"nothing_to_write: {edit.op} in {edit.file} has no value")
    before = None if edit.before is None else render(edit.before, fields)
    if before is not None and edit.op not in ("add", "move"):
        raise GaveUp(f"bad_template: before goes with add, not with {edit.op}")
    old = None if edit.old is None else render(edit.old, fields)
    if edit.op == "replace_text" and not (isinstance(old, str) and old and isinstance(value, str)):
        raise GaveUp(f"bad_template: replace_text in {edit.file} needs an old and a new text")
    was = render(edit.was, fields) if "was" in edit.model_fields_set else UNSET
    return Located(edit.op, tuple(path), value, was=was, before=None if before is None else str(before), old=old or "")


# ---- files: what may be touched, and how it is written


def _allowed(edit: Edit, fields: Mapping[str, Any], job: TreeJob, tree: Path) -> str:
    """The file of an edit, when it is a regular file of the tree that this recipe may change."""
    path = render_word(edit.file, fields, "a file")
    parts = path.split("/")
    if any(part in ("", ".", "..") or part.lower() == ".git" for part in parts) or "\\" in path or not path.isprintable() or len(path.encode()) > 240:
        raise Refused(f"path_unsafe: {edit.file} renders to no plain path inside the tree")
    if job.manifest.is_protected(path) or not job.manifest.may_change(job.hint.recipe, path):
        raise Refused(f"path_not_allowed: {job.hint.recipe} may not change {path}")
    place = tree
    for part in parts:
        place = place / part
        try:
            mode = place.lstat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            raise GaveUp(f"file_missing: there is no {path}") from None
        if stat.S_ISLNK(mode):
            raise Refused(f"symlink: {path} is or stands behind a symlink")
    if not stat.S_ISREG(mode):
        raise Refused(f"not_a_file: {path} is no regular file")
    return path


def _text(tree: Path, path: str) -> str:
    with os.fdopen(os.open(tree / path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        data = file.read(FILE_CAP + 1)
    if len(data) > FILE_CAP:
        raise GaveUp(f"too_large: {path} is larger than {FILE_CAP // 1024**2} MiB")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise GaveUp(f"not_utf8: {path} is not UTF-8") from None


def _kind(manifest: Manifest, path: str) -> Kind:
    for rules in manifest.steps.values():
        if rules.inventory and matches(path, rules.inventory.path):
            return rules.inventory.kind
    if path.endswith(".json"):
        return "json"
    if path.endswith((".yaml", ".yml")):
        return "yaml"
    raise GaveUp(f"unknown_kind: {path} is neither JSON nor YAML")


def _write(tree: Path, texts: Mapping[str, str]) -> None:
    """Put the new texts in place: all are on disk before the first takes its name; modes stay."""
    ready: list[tuple[str, Path]] = []
    try:
        for path, text in texts.items():
            place = tree / path
            handle, name = tempfile.mkstemp(dir=place.parent, prefix=".codemod-")
            ready.append((name, place))
            with os.fdopen(handle, "wb") as file:
                file.write(text.encode("utf-8"))
            os.chmod(name, stat.S_IMODE(place.stat().st_mode))
        for name, place in ready:
            os.replace(name, place)
    finally:
        for name, _ in ready:
            with suppress(FileNotFoundError):
                os.unlink(name)
