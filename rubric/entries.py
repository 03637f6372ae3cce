"""What a target has that a hint may name: entries of its config at one commit, found by id, by step and by name."""

from functools import cached_property
from typing import Any, Literal

from rubric.hygiene import clean
from rubric.plans import Step, Value


class Entry(Value):
    """One thing of the target that a hint may name."""

    id: str
    step: Step
    file: str
    path: tuple[str, ...]
    """Where it stands in the file, key by key."""
    parts: tuple[str, ...]
    """What the wildcards of the manifest's pattern stood for."""
    value: Any
    view: dict[str, Any] = {}
    """The words the critic reads: cues, condition, template, tools, text … as the manifest's `view` locates them."""
    stability: Literal["open", "careful", "frozen"] = "open"

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The names that tell an entry from its neighbours: parent and leaf, group and field, leaf and branch …

        `leaves.*` over `cards/lost` and `tree.*.leaves.*` over `cards`, `lost` give the same words.
        Clean, as those of a plan are.
        """
        return tuple(word for part in self.parts for word in clean(part)[0].split("/"))


class Inventory(Value):
    """Everything that exists in a target at one commit, by id."""

    entries: dict[str, Entry] = {}
    spoken_of: frozenset[str] = frozenset()
    """dotted names (`group.field`) that the target's data files use, whether there is an entry for them or not"""

    def of(self, step: Step) -> list[Entry]:
        return self._by_step.get(step, [])

    def named(self, step: Step, words: tuple[str, ...]) -> Entry | None:
        """The first entry of a step that has these words."""
        return self._by_words.get((step, words))

    def below(self, step: Step, words: tuple[str, ...]) -> list[Entry]:
        """The entries of a step one word longer than these, in order."""
        return self._below.get((step, words), [])

    @cached_property
    def _by_step(self) -> dict[Step, list[Entry]]:
        found: dict[Step, list[Entry]] = {}
        for entry in self.entries.values():
            found.setdefault(entry.step, []).append(entry)
        return found

    @cached_property
    def _by_words(self) -> dict[tuple[Step, tuple[str, ...]], Entry]:
        found: dict[tuple[Step, tuple[str, ...]], Entry] = {}
        for entry in self.entries.values():
            found.setdefault((entry.step, entry.words), entry)
        return found

    @cached_property
    def _below(self) -> dict[tuple[Step, tuple[str, ...]], list[Entry]]:
        found: dict[tuple[Step, tuple[str, ...]], list[Entry]] = {}
        for entry in self.entries.values():
            if entry.parts:
                found.setdefault((entry.step, entry.words[:-1]), []).append(entry)
        return found
