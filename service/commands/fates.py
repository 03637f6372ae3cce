"""What became of each rejection of a demo run: where it ended, and why, counted by recipe and stage and told as a table."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rubric.suspicion import without_note

STAGES = ("cured", "merged, not cured", "not merged", "gate", "handoff", "dismissed", "abstained", "failed")
"""where a rejection ends: the first is what everybody wants, the others are where it was lost"""
NO_RECIPE = "(no hint)"


@dataclass(frozen=True)
class Fate:
    """Where one rejection ended."""

    name: str
    """its external id, or ours"""
    recipe: str
    stage: str
    reason: str
    """a code or one line; never a customer's words"""


def fate_of(story: Mapping[str, Any], leader: Mapping[str, Any] | None, cured: bool, gates: Mapping[str, str | None]) -> Fate:
    """`story`: GET /v1/cases/{id}. `leader`: GET /v1/hints/{id} of its last hint, or of the hint that this one duplicates.

    `gates`: pull id → verdict of its gate, from GET /v1/pulls.
    """
    name = str(story["name"])
    if leader is None or not story["hints"]:
        stage = "abstained" if story["state"] == "abstained" else "failed"
        reason = without_note(str(story["reason"] or story["state"])).partition(":")[0]
        return Fate(name, NO_RECIPE, stage, f"{story['outcome']}: {reason}" if story["outcome"] else reason)
    hint = story["hints"][-1]
    stage, reason = _past_the_gatekeeper(leader, cured, gates)
    if hint["state"] not in ("confirmed", "duplicate") or leader["state"] != "confirmed":
        stage, reason = "dismissed", str(leader["reason"] or hint["reason"] or leader["state"])
    return Fate(name, str(hint["recipe"]), stage, reason)


def _past_the_gatekeeper(leader: Mapping[str, Any], cured: bool, gates: Mapping[str, str | None]) -> tuple[str, str]:
    if cured:
        return "cured", ""
    handoff = leader["handoffs"][-1] if leader["handoffs"] else {}
    if not leader["pulls"]:
        return "handoff", f"{handoff.get('state', 'none')}: {str(handoff.get('reason') or '').partition(':')[0]}".strip(": ")
    pull = leader["pulls"][-1]
    if pull["state"] == "merged":
        return "merged, not cured", "its plan is not what the hint promised"
    if pull["state"] == "draft":
        return "gate", str(gates.get(pull["id"]) or "no verdict")
    code = str(pull.get("closed_reason") or "").partition(":")[0]  # what follows may name a cue, which is a word of a ticket
    return "not merged", f"{pull['state']}: {code}".strip(": ")[:120]


def by_recipe(fates: Sequence[Fate]) -> list[tuple[str, list[int]]]:
    """recipe → how many rejections ended at each stage, the most frequent recipe first."""
    count = Counter((fate.recipe, fate.stage) for fate in fates)
    order = [recipe for recipe, _ in Counter(fate.recipe for fate in fates).most_common()]
    return [(recipe, [count[recipe, stage] for stage in STAGES]) for recipe in order]


def as_markdown(figures: Mapping[str, Any], fates: Sequence[Fate], command: str) -> str:
    """The report that `--report` writes; everything in it was counted in this run."""
    lines = [
        "# Real cases: where the loop ends",
        "",
        f"Made by `{command}`; do not edit. What is scripted: only the gatekeeper.",
        "Cured means: sent again through what was merged, the ticket's plan is what its hint promised. Nobody looked at labels.",
        "Figures on cases that the critic's phrases were chosen with are in-sample; this repository's page shows such cases (`docs/commands.md`,",
        "`triage critic score`). Names of missing fields are found in the target's own recorded answers.",
        "",
    ]
    lines += ["| figure | |", "|---|---:|", *(f"| {name} | {value} |" for name, value in figures.items() if not isinstance(value, Mapping))]
    lines += ["", "## Rejections by recipe and stage", "", f"| recipe of the hint | {' | '.join(STAGES)} |", f"|---|{'---:|' * len(STAGES)}"]
    lines += [f"| {recipe} | {' | '.join(str(number or '') for number in numbers)} |" for recipe, numbers in by_recipe(fates)]
    lines += ["", "## Why they were lost", "", "| stage | reason | rejections |", "|---|---|---:|"]
    lost = Counter((fate.stage, fate.reason) for fate in fates if fate.stage != STAGES[0])
    lines += [
        f"| {stage} | {_cell(reason)} | {times} |"
        for (stage, reason), times in sorted(lost.items(), key=lambda one: (STAGES.index(one[0][0]), -one[1]))
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")
