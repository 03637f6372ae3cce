"""Holds what critics said against labels: how often step, recipe and target are right, and whether one critic is better than another."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rubric.stats import by_cluster, mcnemar, wilson

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
    """What the critic said of one case: the first hint, or the outcome of an abstention (step `none`); or nothing, see `failed`."""

    external_id: str
    step: str
    recipe: str
    target: str = ""
    sure: bool = False
    why: str = ""
    seconds: float = 0.0
    failed: str = ""
    """code of what kept the critic from answering: neither a hint nor an abstention, and in no share"""


def score(answers: Sequence[Answer], labels: Mapping[str, Label]) -> dict[str, Any]:
    """Shares with 95 % intervals. Step and recipe count abstentions as answers; target counts the cases that call for a change.

    Cases without an answer are counted under `failed`, by code, and nowhere else.
    `by_cluster` beside an interval is the one of whole clusters drawn again: cases of one cause are not many pieces of evidence.
    """
    everything = [(answer, labels[answer.external_id]) for answer in answers]
    pairs = [pair for pair in everything if not pair[0].failed]
    failed = Counter(answer.failed for answer in answers if answer.failed)
    fixes = [(answer, label) for answer, label in pairs if label.step != NONE]
    rest = [answer for answer, label in pairs if label.step == NONE]
    drafted = [(answer, label) for answer, label in pairs if answer.step != NONE]
    sure = [(answer, label) for answer, label in drafted if answer.sure]
    confusion: dict[str, Counter[str]] = {step: Counter() for step in sorted({label.step for _, label in pairs})}
    for answer, label in pairs:
        confusion[label.step][answer.step] += 1
    return {
        "cases": len(pairs),
        "failed": {"count": failed.total(), "by_code": dict(sorted(failed.items()))},
        "step": _clustered(pairs, _step_right),
        "recipe": _clustered(pairs, _recipe_right),
        "macro_f1": _macro_f1(pairs),
        "target": _share(sum(_target_right(*pair) for pair in fixes), len(fixes)),
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


def compare(first: Sequence[Answer], second: Sequence[Answer], labels: Mapping[str, Label]) -> dict[str, Any]:
    """What the first critic is right about more often than the second, on the same cases: step, recipe, and target where a change is due.

    Each with the paired difference, its 95 % interval (clusters drawn again) and the exact p of McNemar. A case that one of them has no answer to
    is left out. Raises `KeyError` when the cases differ.
    """
    theirs = {answer.external_id: answer for answer in second}
    if theirs.keys() != {answer.external_id for answer in first}:
        raise KeyError("the two did not answer the same cases")
    both = [(answer, theirs[answer.external_id]) for answer in first if not (answer.failed or theirs[answer.external_id].failed)]
    triples = [(answer, other, labels[answer.external_id]) for answer, other in both]
    fixes = [triple for triple in triples if triple[2].step != NONE]
    return {"step": _paired(triples, _step_right), "recipe": _paired(triples, _recipe_right), "target": _paired(fixes, _target_right)}


Question = Callable[[Answer, Label], bool]


def _step_right(answer: Answer, label: Label) -> bool:
    return answer.step == label.step


def _recipe_right(answer: Answer, label: Label) -> bool:
    return answer.recipe in label.recipes


def _target_right(answer: Answer, label: Label) -> bool:
    return place(answer.target) in label.targets


def _paired(triples: Sequence[tuple[Answer, Answer, Label]], is_right: Question) -> dict[str, Any]:
    pairs = [(is_right(one, label), is_right(other, label)) for one, other, label in triples]
    only_first, only_second = sum(one and not other for one, other in pairs), sum(other and not one for one, other in pairs)
    low, high = by_cluster([one - other for one, other in pairs], [label.cluster for *_, label in triples], (-1.0, 1.0))
    return {
        "first": _share(sum(one for one, _ in pairs), len(pairs)), "second": _share(sum(other for _, other in pairs), len(pairs)),
        "difference": round((only_first - only_second) / len(pairs), 4) if pairs else None, "low": round(low, 4), "high": round(high, 4),
        "p": float(f"{mcnemar(only_first, only_second):.3g}"), "only_first": only_first, "only_second": only_second, "of": len(pairs),
    }  # fmt: skip


def _clustered(pairs: Sequence[tuple[Answer, Label]], is_right: Question) -> dict[str, Any]:
    """A share with both of its intervals."""
    hits, clusters = [is_right(*pair) for pair in pairs], [label.cluster for _, label in pairs]
    low, high = by_cluster(hits, clusters, (0.0, 1.0))
    return {**_share(sum(hits), len(hits)), "by_cluster": {"low": round(low, 4), "high": round(high, 4), "clusters": len(set(clusters))}}


def _macro_f1(pairs: Sequence[tuple[Answer, Label]]) -> float | None:
    """F1 of each step that was labelled or said, averaged: a rare step counts as much as a common one."""
    said, labelled = Counter(answer.step for answer, _ in pairs), Counter(label.step for _, label in pairs)
    hits = Counter(answer.step for answer, label in pairs if answer.step == label.step)
    steps = said.keys() | labelled.keys()
    return round(sum(2 * hits[step] / (said[step] + labelled[step]) for step in steps) / len(steps), 4) if steps else None


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
