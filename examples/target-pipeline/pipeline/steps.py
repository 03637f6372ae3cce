"""The five steps. Each is a function of the settings and of what the steps before it found."""

import re
from functools import lru_cache

from pipeline.conditions import holds


def customer_text(messages):
    text = "\n".join(message["text"] for message in messages if message["role"] == "customer")
    return text.replace("\u2019", "'")


@lru_cache(maxsize=None)
def cue_form(cue):
    return re.compile(r"(?<!\w)" + r"\s+".join(map(re.escape, cue.lower().split())) + r"(?!\w)")


def intent(settings, messages):
    """[parent, leaf]: the best leaf that reaches the threshold, or else the `other` whose cues speak loudest."""
    text = customer_text(messages).lower()
    proper, rest = [], []
    for parent, branch in settings.intents["tree"].items():
        for leaf, entry in branch["leaves"].items():
            score = sum(weight for cue, weight in entry["cues"].items() if cue_form(cue).search(text))
            (rest if leaf == "other" else proper).append((score, parent, leaf))
    best = max(proper, key=lambda found: found[0])  # the first in the file wins among equals
    if best[0] < settings.intents["threshold"]:
        best = max(rest, key=lambda found: found[0])
    return [best[1], best[2]]


def extract(settings, messages):
    """{group: {field: value}}: the first match of each pattern; its first group if it has one."""
    text = customer_text(messages)
    found = {}
    for (group, name), pattern in settings.patterns.items():
        match = pattern.search(text)
        if match:
            found.setdefault(group, {})[name] = " ".join((match[1] if pattern.groups else match[0]).split())
    return found


SHAPES = {
    "plain": str.casefold,
    "compact": lambda value: re.sub(r"\s", "", value).casefold(),
    "digits": lambda value: re.sub(r"\D", "", value),
}


def score(settings, matched_fields):
    weights = settings.fetch["weights"]
    return sum(weights.get(name, 0) for name in matched_fields)


def ranked(candidates):
    return sorted(candidates, key=lambda found: (-found["score"], found["record_id"]))


def search(settings, extraction):
    """Records that share a field with the message, best first, also those below the threshold."""
    rules = settings.fetch["search"]
    given = {name: value for fields in extraction.values() for name, value in fields.items() if name in settings.fetch["weights"]}
    candidates = []
    for record in settings.records.values():
        matched = [name for name, value in given.items() if same(rules, name, value, record.get(name))]
        if matched:
            candidates.append({"record_id": record["record_id"], "score": score(settings, matched), "matched_fields": matched})
    return ranked(candidates)[: rules["limit"]]


def same(rules, name, value, stored):
    shape = SHAPES[rules["compare"].get(name, "plain")]
    return bool(stored) and shape(value) == shape(stored)


def choose(settings, candidates):
    """(record id or None, tie): the best candidate at or above the threshold, unless two share the first place."""
    good = [found for found in ranked(candidates) if found["score"] >= settings.fetch["threshold"]]
    if len(good) > 1 and good[0]["score"] == good[1]["score"]:
        return None, True
    return (good[0]["record_id"] if good else None), False


def decide(settings, path, extraction, candidates):
    """(branch, record): the first branch of the leaf that applies"""
    record_id, tie = choose(settings, candidates)
    record = settings.records[record_id] if record_id else None
    for branch in settings.plans["/".join(path)].values():
        if holds(branch["when"], extraction, record, tie):
            return branch, record


def tool_calls(branch, record, extraction):
    """Every call gets the record id and what the message says about the payment."""
    arguments = {"record_id": record["record_id"]} if record else {}
    arguments.update(extraction.get("payment", {}))
    return [{"name": name, "arguments": dict(arguments)} for name in branch["tools"]]


class Gaps(dict):
    def __missing__(self, key):
        return f"[{key}]"


def reply(settings, branch, record, extraction):
    group, _, name = branch["template"].partition(".")
    values = Gaps({key: value for fields in extraction.values() for key, value in fields.items()})
    greeting = f"Dear {record['first_name']} {record['last_name']}," if record else "Hello,"
    return f"{greeting}\n\n{settings.templates[group][name].format_map(values)}"
