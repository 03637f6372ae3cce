"""Measuring only, reads labels: writes the typed change that a label means, as a few ways to choose from by replay."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from bench.labelled_cues import Messages, find_cues, weights_for
from bench.rehearsal import Cluster, Rehearsal
from rubric.entries import Entry
from rubric.schema import Step
from service.targets import Target

Options = Iterator[dict[str, Any]]
GREETING = re.compile(r"(?:Hello(?: [^,.]{1,40})?|Dear [^,.]{1,40}), ")


@dataclass(frozen=True)
class Desk:
    """What options are made from."""

    cluster: Cluster
    target: Target
    rehearsal: Rehearsal
    ids: dict[str, str]
    """external id → the service's id"""

    @property
    def locus(self) -> str:
        return self.cluster.locus.partition(":")[2]

    def entry(self, step: Step, name: str) -> Entry | None:
        return self.target.inventory.entries.get(f"{step}:{name}")

    def branches(self) -> list[Entry]:
        return [entry for entry in self.target.inventory.of(Step.plan) if "condition" in entry.view]

    def pairs(self) -> list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
        """(case, plan now, right plan)"""
        return [(case, self.rehearsal.before[case["external_id"]], self.cluster.right[case["external_id"]]) for case in self.cluster.cases]


def options(desk: Desk) -> Options:
    """Changes of the label's recipe at the label's place, the likeliest first."""
    yield from _WAYS[desk.cluster.recipe](desk)


def tools_like(calls: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """How a list of tools may be written that makes such calls."""
    plain: list[dict[str, Any]] = [{"name": call["name"]} for call in calls]
    fields = [{"name": call["name"], **({"send": "fields"} if set(call["arguments"]) - {"record_id"} else {})} for call in calls]
    every = [{"name": call["name"], "send": "fields"} for call in calls]
    none = [{"name": call["name"], "send": "none", "fixed_arguments": call["arguments"]} for call in calls]
    found: list[list[dict[str, Any]]] = []
    for one in (fields, every, plain, none):
        if one not in found:
            found.append(one)
    return found


def _longest_calls(desk: Desk) -> list[dict[str, Any]]:
    return max((right["tool_calls"] for _, _, right in desk.pairs()), key=lambda calls: sum(len(call["arguments"]) for call in calls))


def _text_of(desk: Desk) -> str:
    """The right reply as a template: no greeting, the values of the ticket as slots."""
    texts = []
    for _, _, right in desk.pairs():
        text = GREETING.sub("", right["reply"], count=1)
        values = {name: value for call in right["tool_calls"] for name, value in call["arguments"].items() if isinstance(value, str)}
        texts.append((text, values))
    if len({text for text, _ in texts}) > 1:
        for place, (text, values) in enumerate(texts):
            for name, value in sorted(values.items(), key=lambda pair: -len(pair[1])):
                text = text.replace(value, f"{{{name}}}")
            texts[place] = (text, values)
    return Counter(text for text, _ in texts).most_common(1)[0][0]


def _promote(desk: Desk) -> Options:
    path, about = re.search(r"sub-intent (\S+) \((.*)\)", desk.cluster.fix).groups()  # type: ignore[union-attr]
    parent, leaf = path.split("/")
    cues = find_cues(Messages(desk.rehearsal, desk.cluster, path))
    if not cues:
        return
    alike = [case["external_id"] for case in desk.rehearsal.cases if desk.rehearsal.wanted[case["external_id"]]["intent_path"] == desk.locus]
    alike = [name for name in alike if name not in desk.cluster.right][:4]
    for tools in tools_like(_longest_calls(desk)):
        yield {
            "recipe": "promote_other_intent", "parent": parent, "leaf": leaf, "about": about, "cues": cues, "reply": _text_of(desk), "tools": tools,
            "cases": [desk.ids[name] for name in desk.cluster.right], "look_alikes": [desk.ids[name] for name in alike],
        }  # fmt: skip


def _refine(desk: Desk) -> Options:
    word, right, wrong = re.search(r"with '(.*)' belong to (\S+), not (\S+)", desk.cluster.fix).groups()  # type: ignore[union-attr]
    names = dict(zip(("from_parent", "from_leaf", "to_parent", "to_leaf"), [*wrong.split("/"), *right.split("/")], strict=True))
    base = {"recipe": "refine_intent_boundary", **names}
    leaves = desk.rehearsal.intents()["leaves"]
    drop = [word] if word in leaves[wrong]["cues"] else []
    if drop:
        yield {**base, "drop": drop}
    own = leaves[right]["cues"].get(word, 0)
    plain = Messages(desk.rehearsal, desk.cluster, right)
    for weight in weights_for(word, plain):
        yield {**base, "cues": {word: own + weight}}
    dropped = Messages(desk.rehearsal, desk.cluster, right, word, wrong) if drop else None
    for weight in weights_for(word, dropped) if dropped else ():
        yield {**base, "cues": {word: own + weight}, "drop": drop}
    for messages, away in ((plain, []), (dropped, drop)):
        cues = find_cues(messages) if messages else None
        if cues:
            yield {**base, "cues": {cue: leaves[right]["cues"].get(cue, 0) + weight for cue, weight in cues.items()}, "drop": away}


def _new_field(desk: Desk) -> Options:
    group, field = desk.locus.split(".")
    label = field.replace("_", " ")
    siblings = [entry.value for entry in desk.target.inventory.of(Step.extraction) if isinstance(entry.value, dict)]
    known = {value["type"] for value in siblings if isinstance(value.get("type"), str)} | set(getattr(desk.rehearsal.extraction, "TYPES", {}))
    years = sorted({found for _, _, right in desk.pairs() for found in re.findall(r"\b(20\d\d)-\d\d-\d\d\b", str(right["tool_calls"]))})
    kinds: list[dict[str, Any]] = [{}, *({"type": kind} for kind in sorted(known))]
    kinds += [{"type": kind, "year": int(year)} for kind in sorted(known) for year in years]
    for kind in kinds:
        yield {"recipe": "add_extraction_field", "group": group, "field": field, "label": label, "settings": kind, "example": label}


def _handles(desk: Desk) -> Options:
    group, field = desk.locus.split(".")
    told = desk.cluster.fix.rpartition(": ")[2].replace(" ", "_")
    documented = re.findall(r"[a-z]+(?:_[a-z]+)*", desk.rehearsal.extraction.__doc__ or "")
    known = [word for entry in desk.target.inventory.of(Step.extraction) for word in entry.view.get("handles", [])]
    for word in dict.fromkeys([told, *sorted({*documented, *known}, key=lambda one: (not set(one.split("_")) <= set(told.split("_")), one))]):
        yield {"recipe": "alter_extraction_field", "group": group, "field": field, "handles": word}


def _weight(desk: Desk) -> Options:
    kind, field = desk.locus.replace(".weights.", ".").split(".")
    entry = desk.entry(Step.fetch, desk.locus)
    now = entry.value if entry else 0
    for to in sorted(range(0, 13), key=lambda value: abs(value - now)):
        if to != now and (to < now) == ("lower" in desk.cluster.fix):
            yield {"recipe": "adjust_fetch_weight", "record_type": kind, "field": field, "from": now, "to": to}


def _threshold(desk: Desk) -> Options:
    entry = desk.entry(Step.fetch, desk.locus)
    now = entry.value if entry else 0
    for to in sorted(range(0, 15), key=lambda value: abs(value - now)):
        if to != now and (to < now) == ("lower" in desk.cluster.fix):
            yield {"recipe": "adjust_fetch_threshold", "record_type": desk.locus.partition(".")[0], "from": now, "to": to}


def _new_branch(desk: Desk) -> Options:
    name = re.search(r"branch '(\w+)'", desk.cluster.fix)[1]  # type: ignore[index]
    beside = [entry for entry in desk.branches() if ".".join(entry.parts[:-1]) == desk.locus]
    namesakes = [(entry.view["condition"], entry.view["template"]) for entry in desk.branches() if entry.parts[-1] == name]
    for entry in beside:  # like a sibling whose condition and template are called after it
        if entry.parts[-1] in entry.view["condition"] and entry.parts[-1] in entry.view["template"]:
            namesakes.append(tuple(entry.view[word].replace(entry.parts[-1], name) for word in ("condition", "template")))
    for (condition, template), _ in Counter(namesakes).most_common(4):
        for tools in tools_like(_longest_calls(desk)):
            for before in reversed(beside):
                yield {
                    "recipe": "add_plan_branch", "leaf": desk.locus, "branch": name, "condition": condition, "template": template,
                    "tools": tools, "before": before.parts[-1],
                }  # fmt: skip


def _alter_branch(desk: Desk) -> Options:
    leaf, _, branch = desk.locus.partition("#")
    entry = desk.entry(Step.plan, f"{leaf}.{branch}")
    if entry is None:
        return
    base = {"recipe": "alter_plan_branch", "leaf": leaf, "branch": branch}
    tools = entry.view.get("tools", [])
    usual = {"when", "template", "tools"}
    for key in entry.value:
        if key not in usual and entry.value[key] not in entry.view.values():
            yield {**base, "drop": [key]}
    for place, tool in enumerate(tools):
        yield {**base, "tools": [*tools[:place], *tools[place + 1 :]]}
        for key in [key for key in tool if key != "name"]:
            yield {**base, "tools": [*tools[:place], {name: value for name, value in tool.items() if name != key}, *tools[place + 1 :]]}
    for written in tools_like(_longest_calls(desk)):
        yield {**base, "tools": written}
    namesakes = [one for one in desk.branches() if one.parts[-1] == branch]
    parent = leaf.partition("/")[0]
    for word in ("condition", "template"):
        near = Counter({one.view[word]: 0 for one in namesakes})
        near.update(one.view[word] for one in namesakes)
        near.update(value for one in namesakes if one.parts[0].startswith(f"{parent}/") for value in [one.view[word]] * 100)
        for value, _ in near.most_common():
            if value != entry.view[word]:
                yield {**base, word: value}


def _policy(desk: Desk) -> Options:
    text = desk.cluster.fix.partition("rule: ")[2]
    sentences: Counter[str] = Counter()
    tools: Counter[str] = Counter()
    for _, now, right in desk.pairs():
        sentences.update(one for one in _sentences(now["reply"]) if one not in right["reply"])
        tools.update({call["name"] for call in now["tool_calls"]} - {call["name"] for call in right["tool_calls"]})
    rule = "_".join(re.findall("[a-z]+", text.lower())[:4])
    base = {"recipe": "add_policy_rule", "rule": rule, "scope": [desk.locus], "text": text, "owner": "support"}
    yield {**base, "blocks_sentences": list(sentences), "blocks_tools": list(tools)}


def _sentences(text: str) -> list[str]:
    return re.findall(r"\S.*?[.?!](?=\s|$)|\S[^.?!]*$", text)


def _phrase(desk: Desk) -> Options:
    entry = desk.entry(Step.reply, desk.locus)
    if entry is None:
        return
    text = str(entry.value)
    sentences = _sentences(text)
    olds = [f" {one}" if f" {one}" in text else f"{one} " for one in sentences if len(sentences) > 1]
    olds += [found[0] for found in [GREETING.match(text)] if found] + [f" {one} {two}" for one, two in pairwise(sentences)]
    for old in reversed(olds):
        holders = [".".join(one.parts) for one in desk.target.inventory.of(Step.reply) if old in str(one.value)]
        for templates in dict.fromkeys([tuple(holders), (desk.locus,)]):
            yield {"recipe": "change_reply_template", "templates": list(templates), "old": old, "new": ""}


_WAYS: dict[str, Callable[[Desk], Options]] = {
    "promote_other_intent": _promote, "refine_intent_boundary": _refine, "add_extraction_field": _new_field, "alter_extraction_field": _handles,
    "adjust_fetch_weight": _weight, "adjust_fetch_threshold": _threshold, "add_plan_branch": _new_branch, "alter_plan_branch": _alter_branch,
    "add_policy_rule": _policy, "change_reply_template": _phrase,
}  # fmt: skip
