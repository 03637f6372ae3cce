"""The catalogue lives here: the rubric's cards and criteria, read from our own data files, checked, and given a version."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import Field, StringConstraints, ValidationError, model_validator

from rubric.recipes import Change
from rubric.schema import Outcome, Risk, Step, Value
from rubric.strict import Unreadable, load_yaml

HERE = Path(__file__).resolve().parent
FILE_CAP = 64 * 1024
"""Largest data file, in bytes."""
RECIPES: tuple[str, ...] = tuple(change.model_fields["recipe"].default for change in get_args(get_args(Change)[0]))
"""Slugs of all typed changes, in the order of the pipeline."""

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,59}$")]
Sentence = Annotated[str, StringConstraints(min_length=3, max_length=1200, strip_whitespace=True)]
Cue = Annotated[str, StringConstraints(min_length=2, max_length=80, to_lower=True, strip_whitespace=True)]


class Cues(Value):
    """Words in support staff's comments that speak for a card; matched without regard to case."""

    en: tuple[Cue, ...] = Field(min_length=3)
    de: tuple[Cue, ...] = Field(min_length=3)

    @model_validator(mode="after")
    def _each_once(self) -> "Cues":
        for words in (self.en, self.de):
            twice = next((word for word in words if words.count(word) > 1), None)
            if twice:
                raise ValueError(f"the cue {twice!r} stands twice")
        return self


class UsualRisk(Value):
    """What a change of this kind can break, and how much that matters."""

    level: Risk
    reason: Sentence


class Example(Value):
    """A comment and the change that it leads to."""

    comment: Sentence
    target: str
    """Id of the thing that the hint names."""
    change: Change


class CounterExample(Value):
    """A comment and a change that looks right and is refused."""

    comment: Sentence
    target: str
    change: dict[str, Any]
    """May be invalid on purpose, so it is not typed."""
    refused: Slug
    """The lint code, the validation code or the outcome that it gets."""
    why: Sentence


class Card(Value):
    """One recipe as a person reads it."""

    slug: Slug
    step: Step | Literal["any"]
    title: Sentence
    when: Sentence
    """When this recipe applies, for use by hand."""
    names: tuple[Sentence, ...] = Field(min_length=1)
    """What the hint must name."""
    target: Literal["existing", "new"]
    """Whether the target id must be in the inventory, or must not be while its parent is."""
    risk: UsualRisk
    agent: Literal["codemod", "model", "none"]
    """Who carries it out unless the operator says otherwise."""
    cues: Cues
    example: Example
    counter_example: CounterExample

    @model_validator(mode="after")
    def _own_examples(self) -> "Card":
        if self.example.change.recipe != self.slug or self.counter_example.change.get("recipe") != self.slug:
            raise ValueError("example and counter_example must be changes of this recipe")
        return self


class OutcomeCard(Value):
    """One answer without a fix as a person reads it."""

    slug: Outcome
    title: Sentence
    when: Sentence
    ask: Sentence | None = None
    """A closed question to send back, where an answer would help."""
    cues: Cues
    example: Sentence
    """A comment that gets this answer."""


class Level(Value):
    name: Literal["met", "partly", "missed"]
    text: Sentence


class Criterion(Value):
    """One question that a good hint answers with yes."""

    id: Slug
    question: Sentence
    why: Sentence
    levels: tuple[Level, ...] = Field(min_length=2, max_length=3)
    lint: tuple[Slug, ...] = ()
    """Codes of the lint findings that enforce it; none where only a person can tell."""


class Catalogue(Value):
    """Everything that the rubric knows, at one version."""

    version: str
    """`r-` and 12 hex digits of the hash over all data files; any changed byte gives another one."""
    recipes: dict[str, Card]
    outcomes: dict[str, OutcomeCard]
    criteria: tuple[Criterion, ...]

    def recipe(self, slug: str) -> Card:
        """Raises `KeyError` for a slug that no typed change has."""
        return self.recipes[slug]

    def outcome(self, slug: str) -> OutcomeCard:
        return self.outcomes[slug]

    def steps_of(self, slug: str) -> tuple[Step, ...]:
        """The steps that a recipe may mend, in the order of the pipeline."""
        step = self.recipe(slug).step
        return tuple(Step) if step == "any" else (Step(step),)


class _CriteriaFile(Value):
    criteria: tuple[Criterion, ...] = Field(min_length=1)


def load(folder: Path = HERE) -> Catalogue:
    """Read and check `cards/` (and, for the version, `prompts/`) of a folder, by default our own.

    Raises `Unreadable`: `card_invalid`, `card_missing`, `card_unknown`, `card_too_large`, or why a file is not plain YAML.
    """
    files = _files(folder)
    criteria = _read(files, "cards/criteria.yaml", _CriteriaFile).criteria
    ids = [criterion.id for criterion in criteria]
    twice = next((name for name in ids if ids.count(name) > 1), None)
    if twice:
        raise Unreadable("card_invalid", f"cards/criteria.yaml: the criterion {twice!r} stands twice")
    recipes = {slug: _read(files, f"cards/recipes/{slug}.yaml", Card) for slug in RECIPES}
    outcomes = {slug.value: _read(files, f"cards/outcomes/{slug}.yaml", OutcomeCard) for slug in Outcome}
    slugs = [(name, card.slug) for name, card in recipes.items()] + [(name, card.slug.value) for name, card in outcomes.items()]
    for name, slug in slugs:
        if slug != name:
            raise Unreadable("card_invalid", f"{name}.yaml: its slug is {slug!r}")
    known = {"cards/criteria.yaml", *(f"cards/recipes/{slug}.yaml" for slug in recipes), *(f"cards/outcomes/{slug}.yaml" for slug in outcomes)}
    stray = next((name for name in files if name.startswith("cards/") and name not in known), None)
    if stray:
        raise Unreadable("card_unknown", f"{stray} belongs to no recipe and no outcome")
    return Catalogue(version=version_of(files.items()), recipes=recipes, outcomes=outcomes, criteria=criteria)


def version_of(files: Iterable[tuple[str, bytes]]) -> str:
    """The rubric version of some data files (name → bytes), whatever order they come in."""
    digest = hashlib.sha256()
    for name, data in sorted(files):
        # lengths in front, so that no two sets of files read as the same bytes
        digest.update(f"{len(name.encode())}:{name}:{len(data)}:".encode() + data)
    return f"r-{digest.hexdigest()[:12]}"


def _files(folder: Path) -> dict[str, bytes]:
    """The data files by their name below the folder; names that begin with a dot are an editor's, not ours."""
    found = {}
    for part in ("cards", "prompts"):
        for path in sorted((folder / part).rglob("*")):
            if not path.is_file() or path.name.startswith("."):
                continue
            name = path.relative_to(folder).as_posix()
            if path.stat().st_size > FILE_CAP:
                raise Unreadable("card_too_large", f"{name} is larger than {FILE_CAP // 1024} KiB")
            found[name] = path.read_bytes()
    return found


ReadFrom = TypeVar("ReadFrom", bound=Value)


def _read(files: dict[str, bytes], name: str, kind: type[ReadFrom]) -> ReadFrom:
    if name not in files:
        raise Unreadable("card_missing", f"{name} is missing")
    try:
        text = files[name].decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable("not_utf8", f"{name} is not UTF-8 (byte {error.start})") from None
    try:
        return kind.model_validate(load_yaml(text, what=name))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "top level"
        raise Unreadable("card_invalid", f"{name}, {place}: {first['msg']}") from None
