"""The target's manifest `triage.yaml`: steps, suites, what may change, and how a typed change becomes edits."""

import re
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from rubric.arguing import argues
from rubric.entries import Entry, Inventory
from rubric.plans import Step
from rubric.rendering import names_in
from rubric.strict import Unreadable, load_json, load_yaml

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


def _inside_the_tree(path: str) -> str:
    if path.startswith("/") or "\\" in path or ".." in path.split("/") or any(char < " " for char in path):
        raise ValueError("must be a relative path inside the repository")
    return path


RelativePath = Annotated[str, StringConstraints(min_length=1, max_length=300), AfterValidator(_inside_the_tree)]
Argv = Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=500)]], Field(min_length=1, max_length=50)]
Stability = Literal["open", "careful", "frozen"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


Format = Literal["outputs-jsonl", "rows-jsonl", "junit-xml", "promptfoo-json", "inspect-json"]
SELF_GRADED: tuple[Format, ...] = ("rows-jsonl", "junit-xml", "promptfoo-json", "inspect-json")
"""what the process under test says of itself: as good as its code is honest"""


Graded = Literal["outside", "self"]


class Results(_Part):
    format: Format
    """`outputs-jsonl`: only what the pipeline answers, graded outside by what it never saw. All others are graded by the process under test"""
    path: str
    """Where the suite writes its results; `{out}` is the folder given to it."""


class Grade(_Part):
    """How outputs are graded: outside, against what was never near the code that gave them."""

    expected: str = Field(default="expected", min_length=1, max_length=64)
    """Field of a row that holds what is right; it is taken out of `{in}`."""
    id: str = Field(default="id", min_length=1, max_length=64)
    """Field of a row that names it."""
    argv: Argv | None = None
    """A grader of the base commit: `{in}` whole rows, `{outputs}` the outputs, `{out}` the folder for its `rows.jsonl`. None: equal or not."""


class NewRow(_Part):
    """How a new eval row is made from a case and its plan after the fix."""

    path: RelativePath
    """The suite's rows file; `{in}` of argv points to a copy of it from the base commit."""
    add: dict[str, Any] | None = None
    """Template of a row; None: this suite cannot take rows from us."""


class Suite(_Part):
    id: Slug
    argv: Argv
    results: Results
    kind: Literal["deterministic", "sampled"] = "deterministic"
    timeout_s: int = Field(ge=1, le=3600)
    min_rows: int = Field(ge=1)
    rows: NewRow | None = None
    grade: Grade | None = None

    @property
    def graded(self) -> Graded:
        return "self" if self.results.format in SELF_GRADED else "outside"

    @model_validator(mode="after")
    def _graded_once(self) -> "Suite":
        if self.graded == "self" and self.grade is not None:
            raise ValueError("grade goes with outputs-jsonl; the other formats say themselves what passes")
        if self.graded == "outside" and (self.rows is None or self.grade is None):
            raise ValueError("outputs-jsonl needs rows.path and grade: what is expected has to stand somewhere")
        if self.grade and self.rows and self.rows.add is not None and not {self.grade.id, self.grade.expected} <= set(self.rows.add):
            raise ValueError(f"rows.add makes rows without {self.grade.id} or {self.grade.expected}, which grade asks for")
        return self

    def name_of(self, row: dict[str, Any]) -> str:
        """The name that a row of its rows file has in results."""
        return str(row.get(self.grade.id if self.grade else "id"))


class InventoryRule(_Part):
    """Which entries of which files a hint may name; `*` stands for one key."""

    kind: Literal["json", "yaml"]
    path: RelativePath
    ids: list[str] = Field(min_length=1)
    """Dotted patterns of keys; what stands before the first `*` is left out of the ids."""

    @model_validator(mode="before")
    @classmethod
    def _one_or_many(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("ids"), str):
            return {**data, "ids": [data["ids"]]}
        return data


class StepRules(_Part):
    watches: list[RelativePath] = Field(min_length=1)
    """Globs; a changed path that matches makes the step affected."""
    inventory: InventoryRule | None = None
    view: dict[str, list[str]] = {}
    """Where, inside an entry, the words stand that the critic reads: name → keys."""
    stability: dict[str, Stability] = {}
    suites: list[Suite] = Field(min_length=1)


class Replay(_Part):
    argv: Argv
    timeout_s: int = Field(default=60, ge=1, le=3600)


class Edit(_Part):
    """One edit of one config file, as a template over the fields of a typed change."""

    op: Literal["set", "add", "put", "append", "remove", "move", "replace_text"]
    """`put` sets or adds; `append` makes the list when there is none; `move` puts a key in front of another."""
    file: RelativePath
    at: list[str] = Field(min_length=1)
    value: Any = None
    old: str | None = None
    was: Any = None
    """The value that must stand there before; anything else gives up."""
    before: str | None = None
    each: str | None = None
    """Repeat for every item of a list or mapping; `{item}` and `{key}` name it."""
    if_: str | None = Field(default=None, alias="if")
    """Skip unless this renders to something."""

    @model_validator(mode="after")
    def _edits_by_what_it_does(self) -> "Edit":
        """Two changes that are told apart by nothing else would be taken for one."""
        texts = [self.file, self.at, self.value, self.old, self.was, self.before]
        names = [*names_in(texts), *(name for text in (self.each, self.if_) for name in names_in(text, bare=True))]
        if wrong := next(filter(argues, names), None):
            raise ValueError(f"{{{wrong}}} argues for a change and cannot be written into a file")
        return self


class RecipeRules(_Part):
    edits: list[Edit] = Field(min_length=1)


class Manifest(_Part):
    """Read from the base commit only; a pull can never change its own exam."""

    version: Literal[1]
    steps: dict[Step, StepRules] = Field(min_length=1)
    replay: Replay | None = None
    allow: dict[str, list[RelativePath]] = {}
    recipes: dict[str, RecipeRules] = {}
    protected: list[RelativePath] = []

    @model_validator(mode="after")
    def _suites_fit(self) -> "Manifest":
        """What one suite must not see, no other may be given: it could leave it in the tree."""
        ids = [suite.id for suite in self._all()]
        twice = next((name for name in ids if ids.count(name) > 1), None)
        if twice:
            raise ValueError(f"the suite id {twice!r} stands twice")
        for path in self.kept:
            fields = {suite.id: suite.grade and suite.grade.expected for suite in self._all() if suite.rows and suite.rows.path == path}
            if len(set(fields.values())) > 1:
                raise ValueError(f"{path}: of {' and '.join(fields)} one would be given what another must not see; give each rows of its own")
        return self

    def _all(self) -> list[Suite]:
        return [suite for rules in self.steps.values() for suite in rules.suites]

    @property
    def kept(self) -> set[str]:
        """Rows files of the suites that are graded outside: they hold what no program under test may see."""
        return {suite.rows.path for suite in self._all() if suite.rows and suite.grade}

    def suites(self, steps: set[Step]) -> list[tuple[Step, Suite]]:
        """The suites of some steps, in the order of the pipeline."""
        return [(step, suite) for step in Step if step in steps and step in self.steps for suite in self.steps[step].suites]

    def affected(self, paths: list[str]) -> set[Step]:
        """Steps whose watches match a changed path; a path that nobody watches affects all steps."""
        found: set[Step] = set()
        for path in paths:
            steps = {step for step, rules in self.steps.items() if any(matches(path, glob) for glob in rules.watches)}
            if not steps and not self.is_rows_file(path):
                return set(self.steps)
            found |= steps
        return found

    def is_rows_file(self, path: str) -> bool:
        return any(suite.rows and suite.rows.path == path for suite in self._all())

    def is_exam(self, path: str) -> bool:
        """Whether a file holds rows that changes are judged by: a suite's, or one that is protected and that recipes may add rows to."""
        return self.is_rows_file(path) or (self.is_protected(path) and any(self.may_change(recipe, path) for recipe in self.allow))

    def is_protected(self, path: str) -> bool:
        return any(matches(path, glob) for glob in self.protected) or path == "triage.yaml"

    def may_change(self, recipe: str, path: str) -> bool:
        return any(matches(path, glob) for glob in self.allow.get(recipe, []))


def matches(path: str, glob: str) -> bool:
    """Whether a path fits a glob: `*` within one folder, `**` across folders."""
    expression = re.escape(glob).replace(r"\*\*/", "(?:.*/)?").replace(r"\*\*", ".*").replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
    return re.fullmatch(expression, path, re.DOTALL) is not None


def read_manifest(text: str) -> Manifest:
    """Parse `triage.yaml`; raises `Unreadable` naming the field that does not fit."""
    if len(text) > 256 * 1024:
        raise Unreadable("manifest_too_large", "triage.yaml is larger than 256 KiB")
    data = load_yaml(text, what="triage.yaml")
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "top level"
        raise Unreadable("manifest_invalid", f"triage.yaml, {place}: {first['msg']}") from None


def inventory_files(manifest: Manifest, paths: list[str]) -> list[str]:
    """The files of a tree that the inventory is made from, out of all its paths."""
    globs = [rules.inventory.path for rules in manifest.steps.values() if rules.inventory]
    return [path for path in paths if any(matches(path, glob) for glob in globs)]


def read_inventory(manifest: Manifest, files: dict[str, str]) -> Inventory:
    """Everything a hint may name, from the texts of the config files (path → text).

    Raises `Unreadable` when a config file cannot be parsed or two entries share an id.
    """
    entries: dict[str, Entry] = {}
    for step, rules in manifest.steps.items():
        if not rules.inventory:
            continue
        for path in sorted(files):
            if not matches(path, rules.inventory.path):
                continue
            document = load_json(files[path].encode(), what=path) if rules.inventory.kind == "json" else load_yaml(files[path], what=path)
            for pattern in rules.inventory.ids:
                for keys, parts, value in _walk(document, pattern.split("."), (), ()):
                    entry = _entry(step, rules, path, pattern, keys, parts, value)
                    if entry.id in entries:
                        raise Unreadable("inventory_twice", f"{path}: {entry.id} stands twice in the inventory")
                    entries[entry.id] = entry
    return Inventory(entries=entries)


def _walk(value: Any, pattern: list[str], keys: tuple[str, ...], parts: tuple[str, ...]) -> list[tuple[tuple[str, ...], tuple[str, ...], Any]]:
    if not pattern:
        return [(keys, parts, value)]
    if not isinstance(value, dict):
        return []
    head, rest = pattern[0], pattern[1:]
    if head == "*":
        return [found for key in value for found in _walk(value[key], rest, (*keys, key), (*parts, key))]
    return _walk(value[head], rest, (*keys, head), parts) if head in value else []


def _entry(step: Step, rules: StepRules, path: str, pattern: str, keys: tuple[str, ...], parts: tuple[str, ...], value: Any) -> Entry:
    leading = 0
    segments = pattern.split(".")
    while leading < len(segments) - 1 and segments[leading] != "*" and "*" in segments:
        leading += 1
    name = ".".join(keys[leading:])
    stability: Stability = rules.stability.get("default", "open")
    for glob, level in rules.stability.items():
        if glob != "default" and (fnmatchcase(name, glob) or fnmatchcase(".".join(keys), glob)):
            stability = level
    view = {word: found for word, keys in rules.view.items() if (found := inside(value, keys)) is not None}
    return Entry(id=f"{step}:{name}", step=step, file=path, path=keys, parts=parts, value=value, view=view, stability=stability)


def inside(value: Any, keys: list[str]) -> Any:
    """What stands under some keys of an entry; None when it is not there."""
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            return None
        value = value[key]
    return value
