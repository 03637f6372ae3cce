"""What was measured: a line a figure, as table for people and as JSON for programs."""

from dataclasses import dataclass, field
from statistics import median
from typing import Any

from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One thing measured several times, where it makes sense against something else measured between."""

    what: str
    unit: str
    values: list[float]
    """one a round; empty when it could not be measured"""
    bare: list[float] = field(default_factory=list)
    """the same rounds of what it is held against"""
    note: str = ""
    least: float | None = None
    """smallest median ratio that is good enough"""

    @property
    def ratios(self) -> list[float]:
        """Round by round: neighbours in time share the machine's mood."""
        return [ours / theirs for ours, theirs in zip(self.values, self.bare, strict=True)] if self.bare else []

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"what": self.what, "unit": self.unit, "n": len(self.values), "note": self.note}
        for name, values in (("", self.values), ("bare_", self.bare), ("ratio_", self.ratios)):
            if values:
                found |= {f"{name}median": round(median(values), 4), f"{name}min": round(min(values), 4), f"{name}max": round(max(values), 4)}
        if "ratio_median" in found:
            found["ratio"] = found.pop("ratio_median")
        return found


def as_table(figures: list[Figure]) -> Table:
    table = Table("what", "unit", "median", "min–max", "n", "bare", "ratio (min–max)", "")
    for column in table.columns[2:7]:
        column.justify = "right"
    for one in figures:
        bare = _short(median(one.bare)) if one.bare else ""
        ratio = " ".join(_spread(one.ratios, brackets=True)).strip()
        table.add_row(one.what, one.unit, *_spread(one.values), str(len(one.values) or ""), bare, ratio, _note(one))
    return table


def _spread(values: list[float], *, brackets: bool = False) -> tuple[str, str]:
    if not values:
        return "", ""
    around = f"{_short(min(values))}–{_short(max(values))}"
    return _short(median(values)), f"({around})" if brackets else around


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _note(one: Figure) -> str:
    if one.ratios and one.least is not None and median(one.ratios) < one.least:
        return f"[red]below {one.least} of bare[/] {one.note}"
    return one.note
