"""Measuring only, reads labels: what a demo run really cured, judged by the plans that labels call right and not by the hints' own promises.

triage demo --cases dev.jsonl --target target --exit --keep kept.jsonl
python bench/against_labels.py --cases dev.jsonl --labels dev.gold.jsonl --kept kept.jsonl [--json]
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.table import Table

from bench.rehearsal import is_right
from service.commands.critic_room import documents_of


def compare(cases: dict[str, Any], labels: list[dict[str, Any]], kept: dict[str, Any]) -> dict[str, Any]:
    """Counts by the recipe of the label; a rejection is cured when its plan is now the right one and was not before."""
    rows: dict[str, Counter[str]] = {}
    clusters: dict[str, list[bool]] = {}
    for label in labels:
        name, right = label["external_id"], label["meta"].get("right_plan")
        row = rows.setdefault(label["recipe"], Counter())
        row["cases"] += 1
        now = _plain(kept[name]["plan"])
        if label["step"] == "none":
            row["touched"] += not is_right(now, cases[name]["plan"])
            continue
        cured = is_right(now, right) and not is_right(cases[name]["plan"], right)
        row["cured"] += cured
        row["leaf right"] += now["intent_path"] == right["intent_path"]
        row["told cured"] += kept[name].get("stage") == "cured"
        clusters.setdefault(label["cluster_id"], []).append(cured)
    return {
        "cured": sum(row["cured"] for row in rows.values()), "told_cured": sum(row["told cured"] for row in rows.values()),
        "clusters": len(clusters), "clusters_cured": sum(all(found) for found in clusters.values()),
        "clusters_in_part": sum(any(found) and not all(found) for found in clusters.values()),
        "not_defects_touched": sum(row["touched"] for row in rows.values()), "by_recipe": {recipe: dict(row) for recipe, row in sorted(rows.items())},
    }  # fmt: skip


def _plain(plan: dict[str, Any]) -> dict[str, Any]:
    """The plan as the pipeline wrote it: the leaf as one word."""
    path = plan["intent_path"]
    return {**plan, "intent_path": "/".join(path) if isinstance(path, list) else path}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("cases", "labels", "kept"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    lines = {name: documents_of(getattr(given, name)) for name in ("cases", "labels", "kept")}
    by_name = {name: {line["external_id"]: line for line in lines[name]} for name in ("cases", "kept")}
    found = compare(by_name["cases"], lines["labels"], by_name["kept"])
    if given.json:
        sys.stdout.write(json.dumps(found) + "\n")
        return 0
    shown = ("cases", "cured", "told cured", "leaf right", "touched")
    table = Table("recipe of the label", *shown, title=", ".join(f"{key} {value}" for key, value in found.items() if isinstance(value, int)))
    for recipe, row in found["by_recipe"].items():
        table.add_row(recipe, *(str(row.get(name, "")) for name in shown))
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
