"""Holds what a critic said against labels: how often step, recipe and target are right, and with what precision when it is sure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rubric.stats import wilson

NONE = "none"
"""the step of an answer, or a label, without a fix"""


@dataclass(frozen=True)
class Label:
    """What is right for one case, and what else can be defended."""

    external_id: str
    step: str
    recipe: str
    target: str
    cluster: str
    recipes: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> "Label":
        """From a line of a label file: `external_id, step, recipe, locus, cluster_id, accept_recipe, accept_locus`. Raises `KeyError`."""
        places = tuple(place(one) for one in (line.get("locus"), *(line.get("accept_locus") or [])) if one)
        return cls(
            external_id=line["external_id"], step=line["step"], recipe=line["recipe"], target=places[0] if places else "", cluster=line["cluster_id"],
            recipes=(line["recipe"], *(line.get("accept_recipe") or [])), targets=places,
        )  # fmt: skip


def place(target: str) -> str:
    """What a target, or the locus of a label, names within its step: labels write `template:a.b` for `reply:a.b`, and `#` before a branch."""
    return target.partition(":")[2].replace("#", ".")


@dataclass(frozen=True)
class Answer:
    """What the critic said of one case: the first hint, or the outcome of an abstention (step `none`)."""

    external_id: str
    step: str
    recipe: str
    target: str = ""
    sure: bool = False
    why: str = ""
    seconds: float = 0.0


def score(answers: Sequence[Answer], labels: Mapping[str, Label]) -> dict[str, Any]:
    """Shares with 95 % intervals. Step and recipe count abstentions as answers; target counts the cases that call for a change."""
    pairs = [(answer, labels[answer.external_id]) for answer in answers]
    fixes = [(answer, label) for answer, label in pairs if label.step != NONE]
    rest = [answer for answer, label in pairs if label.step == NONE]
    drafted = [(answer, label) for answer, label in pairs if answer.step != NONE]
    sure = [(answer, label) for answer, label in drafted if answer.sure]
    confusion: dict[str, Counter[str]] = {step: Counter() for step in sorted({label.step for _, label in pairs})}
    for answer, label in pairs:
        confusion[label.step][answer.step] += 1
    return {
        "cases": len(pairs),
        "step": _share(sum(answer.step == label.step for answer, label in pairs), len(pairs)),
        "recipe": _share(sum(answer.recipe in label.recipes for answer, label in pairs), len(pairs)),
        "target": _share(sum(place(answer.target) in label.targets for answer, label in fixes), len(fixes)),
        "coverage": round(len(drafted) / max(len(pairs), 1), 4),
        "abstained": len(pairs) - len(drafted),
        "drafted": {"precision": _share(sum(right(*pair) for pair in drafted), len(drafted))},
        "confident": {
            "precision": _share(sum(right(*pair) for pair in sure), len(sure)),
            "coverage": round(len(sure) / max(len(pairs), 1), 4),
        },
        "nonfix": {"recall": _share(sum(answer.step == NONE for answer in rest), len(rest))},
        "confusion": {step: dict(sorted(said.items())) for step, said in confusion.items()},
        "recipes": {recipe: _row([pair for pair in pairs if pair[1].recipe == recipe]) for recipe in sorted({label.recipe for _, label in pairs})},
    }  # fmt: skip


def right(answer: Answer, label: Label) -> bool:
    """Recipe and target both as labelled, or as can be defended."""
    return answer.step != NONE and answer.recipe in label.recipes and place(answer.target) in label.targets


def _share(hits: int, of: int) -> dict[str, Any]:
    low, high = wilson(hits, of)
    return {"accuracy": round(hits / of, 4) if of else None, "low": round(low, 4), "high": round(high, 4), "hits": hits, "of": of}


def _row(pairs: Sequence[tuple[Answer, Label]]) -> dict[str, int]:
    return {
        "cases": len(pairs),
        "recipe": sum(answer.recipe in label.recipes for answer, label in pairs),
        "right": sum(right(*pair) for pair in pairs),
        "abstained": sum(answer.step == NONE for answer, _ in pairs),
    }
