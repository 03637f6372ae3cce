"""What `triage critic score` shows: its tables, and the answers of the baseline that a critic is held against."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from rubric.baselines import Baseline, keywords, most_frequent
from rubric.catalogue import Catalogue
from rubric.scoring import Answer, Label


def baseline_answers(which: Baseline, documents: Sequence[Mapping[str, Any]], known: Mapping[str, Label], catalogue: Catalogue) -> list[Answer]:
    """What a baseline says of the same cases in the same order. `most_frequent` is told each label once its case was answered."""
    answers = []
    for place, one in enumerate(documents):
        if which is Baseline.keywords:
            step, recipe = keywords(str((one.get("rejection") or {}).get("comment", "")), catalogue)
        else:
            before = (known[earlier["external_id"]] for earlier in documents[:place])
            step, recipe = most_frequent([(label.step, label.recipe) for label in before])
        answers.append(Answer(one["external_id"], step, recipe))
    return answers


def show(result: Mapping[str, Any]) -> None:
    """All tables of a result, to standard output."""
    screen = Console()
    others = [*result.get("arms", []), *([result["against"]] if "against" in result else [])]
    for name, part in [(result["critic"], result), *((other["name"], other["score"]) for other in others)]:
        if part["failed"]["count"]:
            screen.print(_not_answered(name, part), style="bold red", markup=False)
    screen.print(_shares(result))
    for other in others:
        screen.print(_difference(result["critic"], other))
    steps = sorted({*result["confusion"], *(said for row in result["confusion"].values() for said in row)})
    matrix = Table("labelled, then said", *steps)
    for step, row in result["confusion"].items():
        matrix.add_row(step, *(str(row.get(said, 0)) for said in steps))
    screen.print(matrix)
    recipes = Table("recipe", "cases", "recipe right", "target too", "abstained")
    for recipe, row in result["recipes"].items():
        recipes.add_row(recipe, *(str(row[key]) for key in ("cases", "recipe", "right", "abstained")))
    screen.print(recipes)


def _not_answered(name: str, part: Mapping[str, Any]) -> str:
    """That cases are missing from every figure, how many, and why."""
    failed, of = part["failed"]["count"], part["failed"]["count"] + part["cases"]
    codes = ", ".join(f"{code} {number}" for code, number in part["failed"]["by_code"].items())
    return f"NOT MEASURED: {name} gave no answer to {failed} of {of} cases ({codes}). No figure below counts them."


def _shares(result: Mapping[str, Any]) -> Table:
    title = f"{result['critic']} on {result['cases']} labelled cases ({result['precedents']} precedents)"
    table = Table("what", "share", "95 % interval", "by cluster", "of", title=title)
    for name, part in (
        ("step", result["step"]), ("recipe", result["recipe"]), ("target", result["target"]),
        ("drafted: recipe and target", result["drafted"]["precision"]),
        ("confident: recipe and target", result["confident"]["precision"]), ("no fix due, none drafted", result["nonfix"]["recall"]),
    ):  # fmt: skip
        clusters = part.get("by_cluster")
        table.add_row(name, f"{part['accuracy'] or 0:.3f}", _interval(part), _interval(clusters) if clusters else "", str(part["of"]))
    table.add_row("step: macro F1", f"{result['macro_f1'] or 0:.3f}", "", "", str(result["cases"]))
    return table


def _difference(own: str, against: Mapping[str, Any]) -> Table:
    table = Table("what", own, against["name"], "difference", "95 % interval", "p", "of", title=f"The same cases, against {against['name']}")
    for name in ("step", "recipe", "target"):
        part = against[name]
        shares = (f"{part[side]['accuracy'] or 0:.3f}" for side in ("first", "second"))
        table.add_row(name, *shares, f"{part['difference'] or 0:+.3f}", _interval(part, "+"), f"{part['p']:.3g}", str(part["of"]))
    return table


def _interval(part: Mapping[str, Any], sign: str = "") -> str:
    return f"{part['low']:{sign}.3f} to {part['high']:{sign}.3f}"
