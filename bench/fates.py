"""Measuring only: what became of the clusters, as figures and as a table."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass
class Fate:
    """How far one cluster came."""

    cluster: str
    recipe: str
    locus: str
    cases: int
    right_before: bool = False
    found: bool = False
    confirmed: bool = False
    built: bool = False
    gate_pass: bool = False
    merged: bool = False
    right: int = 0
    reason: str = ""
    change: dict[str, Any] = field(default_factory=dict)

    @property
    def cured(self) -> bool:
        return self.right == self.cases


def figures_of(fates: list[Fate], changed: dict[str, int], broken: list[str]) -> dict[str, Any]:
    columns = ("confirmed", "built", "gate_pass", "merged", "cured", "right_before")

    def counted(some: list[Fate]) -> dict[str, int]:
        return {"clusters": len(some), **{name: sum(getattr(fate, name) for fate in some) for name in columns}}

    recipes = sorted({fate.recipe for fate in fates})
    total = counted(fates)
    cases, right = sum(fate.cases for fate in fates), sum(fate.right for fate in fates)
    missing = [
        {
            key: value
            for key, value in {**asdict(fate), "cured": fate.cured}.items()
            if key in ("cluster", "recipe", "locus", "cases", "right", "reason")
        }
        for fate in fates
        if not fate.cured or not (fate.merged or fate.right_before)
    ]
    return {
        **total, "share": round(total["cured"] / max(1, len(fates)), 4), "cases": cases, "cases_right": right,
        **changed,
        "by_recipe": {recipe: counted([fate for fate in fates if fate.recipe == recipe]) for recipe in recipes},
        "missing": missing, "broken": dict(Counter(broken)),
    }  # fmt: skip


def show(figures: dict[str, Any]) -> None:
    columns = ("clusters", "confirmed", "built", "gate_pass", "merged", "cured", "right_before")
    table = Table(title="Hints written from labels, and what became of them")
    for name in ("recipe", *columns):
        table.add_column(name.replace("_", " "), justify="left" if name == "recipe" else "right", no_wrap=name == "recipe")
    for recipe, line in figures["by_recipe"].items():
        table.add_row(recipe, *(str(line[name]) for name in columns))
    table.add_row("all", *(str(figures[name]) for name in columns), style="bold")
    screen = Console()
    screen.print(table)
    screen.print(
        f"cured {figures['share']:.1%} of the clusters, {figures['cases_right']} of {figures['cases']} cases right, "
        f"{figures['controls_changed']} of {figures['controls']} controls and {figures['not_actionable_changed']} of "
        f"{figures['not_actionable']} rejections without a fault changed, {figures['seconds']} s",
        soft_wrap=True,
    )
    for one in figures["missing"]:
        line = f"- {one['cluster']} {one['recipe']} {one['locus']}: {one['right']} of {one['cases']} right; {one['reason']}"
        screen.print(line, markup=False, soft_wrap=True)
    for line, times in figures["broken"].items():
        screen.print(f"! broken {times} times: {line}", markup=False)
