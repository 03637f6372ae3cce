"""Measuring only, reads labels: stands in for the critic with hints that are right, because a label says them."""

from typing import Any

from bench.rehearsal import Cluster
from rubric.catalogue import load
from rubric.drafting import Abstained, Brief, Drafted
from rubric.entries import Entry
from rubric.recipes import AdjustFetchWeight
from rubric.schema import Case, Expectation, Hint, Outcome, Plan, Step, ToolCall, text_of

CATALOGUE = load()


class LabelledCritic:
    """A critic that was told: the hint of a label for the one case it is for, nothing for the others."""

    name = "labels-1"
    listens = False

    def __init__(self) -> None:
        self.told: dict[str, tuple[Cluster, dict[str, Any]]] = {}

    def draft(self, brief: Brief) -> Drafted | Abstained:
        if brief.case_id not in self.told:
            return Abstained(outcome=Outcome.duplicate_rule, reason="another case of its cluster speaks for it")
        cluster, change = self.told[brief.case_id]
        hint = hint_of(cluster, change, brief.case_id, brief.case, brief.inventory.of(Step.fetch))
        must, must_not = promised(brief.case.plan, cluster.right[brief.case.external_id or ""])
        return Drafted(hints=[hint.model_copy(update={"must": must, "must_not": must_not})])


def hint_of(cluster: Cluster, change: dict[str, Any], case_id: str, case: Case, weights: list[Entry]) -> Hint:
    """A hint as the critic's port gives it, without its expectations."""
    comment = text_of(case, "comment")
    place = cluster.locus.replace("template:", "reply:").replace("#", ".")
    hint = Hint.model_validate({
        "step": cluster.step, "target": place, "change": change,
        "evidence": [{"source": "comment", "quote": comment, "start": 0, "end": len(comment)}],
        "summary": f"{change['recipe'].replace('_', ' ')} at {place}", "worked_example": None, "cure_case": case_id,
        "risk": CATALOGUE.recipe(change["recipe"]).risk.level, "risk_reason": CATALOGUE.recipe(change["recipe"]).risk.reason,
        "confidence": {"agree": 1, "of": 1},
    })  # fmt: skip
    if isinstance(hint.change, AdjustFetchWeight):
        hint = hint.model_copy(update={"change": hint.change.model_copy(update={"scores": _scores(hint.change, case, weights)})})
    return hint


def promised(now: Plan, right: dict[str, Any]) -> tuple[list[Expectation], list[Expectation]]:
    """(must, must not): the first thing that the right plan does otherwise, in the words of the masked case; no value of the customer is needed."""

    def one(part: str, **words: str) -> Expectation:
        return Expectation.model_validate({"part": part, **words})

    if now.leaf != right["intent_path"]:
        return [one("intent", **{"is": right["intent_path"]})], []
    calls = [ToolCall.model_validate(call) for call in right["tool_calls"]]
    old, new = {call.name for call in now.tool_calls}, {call.name for call in calls}
    if old != new:
        return [one("tool", **{"is": name}) for name in sorted(new - old)], [one("tool", **{"is": name}) for name in sorted(old - new)]
    records = [next((call.arguments["record_id"] for call in some if "record_id" in call.arguments), None) for some in (now.tool_calls, calls)]
    if records[0] != records[1] and records[1]:
        return [one("record", **{"is": records[1]})], []
    had, has = ({f"{call.name}.{key}" for call in some for key in call.arguments} for some in (now.tool_calls, calls))
    if had != has:
        return [one("tool", contains=name) for name in sorted(has - had)], [one("tool", contains=name) for name in sorted(had - has)]
    wanted = {(call.name, key): value for call in calls for key, value in call.arguments.items()}
    said = [(call.name, key, value) for call in now.tool_calls for key, value in call.arguments.items()]
    other = [one("tool", **{"is": f"{name}.{key}={value}"}) for name, key, value in said if wanted[name, key] != value and "[" not in str(value)]
    return [], other or [one("reply", **{"is": now.reply})]


def _scores(change: AdjustFetchWeight, case: Case, weights: list[Entry]) -> dict[str, tuple[float, float]]:
    numbers = {entry.words[-1]: entry.value for entry in weights if entry.words[:-1] == (change.record_type,)}
    delta = change.to - change.from_
    return {
        one.record_id: (one.score, sum(numbers.get(name, 0) for name in one.matched_fields) + delta * one.matched_fields.count(change.field))
        for one in case.plan.fetch
    }
