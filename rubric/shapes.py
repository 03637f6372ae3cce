"""What a manifest leaves out, read off the target's own config: where the words stand, and the edits that recipes come down to.

Nothing here knows a layout. A view is found by what entries look like (texts that name templates, mappings of words to
numbers …), an edit by the patterns of the inventory. What the manifest says itself always wins; what cannot be told is left
out, and the recipe gives up by name.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from rubric.entries import Entry, Inventory
from rubric.manifest import Edit, Manifest, RecipeRules, StepRules, inside, matches
from rubric.schema import Step
from rubric.views import SHARE, is_words, view_of


def complete(manifest: Manifest, inventory: Inventory, policies: Any = None) -> tuple[Manifest, Inventory]:
    """The manifest with views and edits filled in, and the inventory seen through those views.

    `policies`: the parsed file that `policy_file` names, when there is one; new rules are written like those in it.
    """
    steps = dict(manifest.steps)
    entries = dict(inventory.entries)
    for step, rules in manifest.steps.items():
        if rules.view or rules.inventory is None:
            continue
        view = view_of(step, inventory)
        steps[step] = rules.model_copy(update={"view": view})
        for entry in inventory.of(step):
            seen = {word: found for word, keys in view.items() if (found := inside(entry.value, keys)) is not None}
            entries[entry.id] = entry.model_copy(update={"view": seen})
    whole, seen_inventory = manifest.model_copy(update={"steps": steps}), Inventory(entries=entries)
    guessed = _edits(whole, seen_inventory) | _policy_edits(whole, policies)
    rules_of = {**{recipe: RecipeRules(edits=edits) for recipe, edits in guessed.items() if edits}, **manifest.recipes}
    return whole.model_copy(update={"recipes": rules_of}), seen_inventory


class _Place:
    """How the entries of one inventory pattern are addressed: file and path as templates over names for the wildcards."""

    def __init__(self, file: str, path: list[str]):
        self.file = file
        self.path = path


def _patterns(rules: StepRules) -> list[list[str]]:
    return [pattern.split(".") for pattern in (rules.inventory.ids if rules.inventory else [])]


def _place(manifest: Manifest, inventory: Inventory, step: Step, pattern: list[str], names: list[str]) -> _Place | None:
    """Address of a pattern whose wildcards are called `names`; None when there are more or fewer."""
    rules = manifest.steps.get(step)
    if rules is None or rules.inventory is None or pattern.count("*") != len(names):
        return None
    left = list(names)
    path = [left.pop(0) if part == "*" else part for part in pattern]
    file = rules.inventory.path
    if "*" in file:
        file = _file_template(inventory, step, file)
    return _Place(file, path) if file else None


def _file_template(inventory: Inventory, step: Step, glob: str) -> str:
    """Which file an entry stands in, told from its name: `config/plans/*.json` by the leaf's parent."""
    entries = [entry for entry in inventory.of(step) if entry.parts]
    if glob.count("*") != 1:
        return ""
    if all(entry.file == glob.replace("*", entry.parts[0].split("/")[0]) for entry in entries):
        return glob.replace("*", "{leaf|parent}")
    return glob.replace("*", "{leaf}") if all(entry.file == glob.replace("*", entry.parts[0]) for entry in entries) else ""


def _joined(inventory: Inventory, step: Step) -> bool:
    """Whether a leaf is one key (`cards/lost`) and not two."""
    return any("/" in part for entry in inventory.of(step) for part in entry.parts)


def _leaf(parent: str, leaf: str, joined: bool) -> list[str]:
    return [f"{{{parent}}}/{{{leaf}}}"] if joined else [f"{{{parent}}}", f"{{{leaf}}}"]


def _edits(manifest: Manifest, inventory: Inventory) -> dict[str, list[Edit]]:
    """recipe → edits, for what the inventory's patterns let one tell."""
    found: dict[str, list[dict[str, Any]]] = {}
    for room in (_fetch_edits, _intent_edits, _extraction_edits, _plan_edits, _reply_edits):
        found |= room(manifest, inventory)
    return {recipe: [Edit.model_validate(edit) for edit in edits] for recipe, edits in found.items()}


def _fetch_edits(manifest: Manifest, inventory: Inventory) -> dict[str, list[dict[str, Any]]]:
    edits: dict[str, list[dict[str, Any]]] = {}
    rules = manifest.steps.get(Step.fetch)
    for pattern in _patterns(rules) if rules else []:
        stars = pattern.count("*")
        if pattern[-1] == "*" and stars in (1, 2):
            place = _place(manifest, inventory, Step.fetch, pattern, ["{record_type}", "{field}"][2 - stars :])
            if place:
                edits["adjust_fetch_weight"] = [{"op": "set", "file": place.file, "at": place.path, "was": "{from}", "value": "{to}"}]
        elif stars in (0, 1):
            place = _place(manifest, inventory, Step.fetch, pattern, ["{record_type}"][1 - stars :])
            if place:
                edits["adjust_fetch_threshold"] = [{"op": "set", "file": place.file, "at": place.path, "was": "{from}", "value": "{to}"}]
    return edits


def _intent_edits(manifest: Manifest, inventory: Inventory) -> dict[str, list[dict[str, Any]]]:
    rules = manifest.steps.get(Step.intent)
    if rules is None or "cues" not in rules.view:
        return {}
    joined, cues = _joined(inventory, Step.intent), rules.view["cues"]
    pattern = next(iter(_patterns(rules)), [])

    def at(parent: str, leaf: str) -> _Place | None:
        return _place(manifest, inventory, Step.intent, pattern, _leaf(parent, leaf, joined))

    right, wrong, new = at("to_parent", "to_leaf"), at("from_parent", "from_leaf"), at("parent", "leaf")
    if right is None or wrong is None or new is None:
        return {}
    value = _nested({"cues": "{cues}", "about": "{about}"}, rules.view)
    return {
        "refine_intent_boundary": [
            {"op": "put", "file": right.file, "at": [*right.path, *cues, "{key}"], "each": "{cues}", "value": "{item}"},
            {"op": "remove", "file": wrong.file, "at": [*wrong.path, *cues, "{item}"], "each": "{drop}"},
        ],
        "promote_other_intent": [
            {"op": "add", "file": new.file, "at": new.path, "value": value},
            *_new_leaf_plan(manifest, inventory),
        ],
    }


def _nested(values: Mapping[str, Any], view: Mapping[str, list[str]]) -> dict[str, Any]:
    """An entry with its values at the places where its siblings have them."""
    entry: dict[str, Any] = {}
    for word, keys in view.items():
        inside = entry
        for key in keys[:-1]:
            inside = inside.setdefault(key, {})
        if keys and word in values:
            inside[keys[-1]] = values[word]
    return entry


def _tools_value(manifest: Manifest, inventory: Inventory) -> str:
    """How a list of tool names is written: as names, or as mappings with a name."""
    key = manifest.steps[Step.plan].view.get("tools", [])
    lists = [found for entry in inventory.of(Step.plan) if isinstance(found := inside(entry.value, key), list) and found] if key else []
    return "{tools|named}" if lists and all(isinstance(item, dict) for found in lists for item in found) else "{tools}"


def _new_leaf_plan(manifest: Manifest, inventory: Inventory) -> list[dict[str, Any]]:
    """A plan of one branch and a template for a new leaf, like those of its siblings."""
    plan, reply = manifest.steps.get(Step.plan), manifest.steps.get(Step.reply)
    if plan is None or reply is None or "condition" not in plan.view or "template" not in plan.view:
        return []
    last = Counter(
        str(entry.view["condition"])
        for leaf in _by_leaf(inventory).values()
        for entry in leaf[-1:]
    )  # fmt: skip
    name = Counter(entry.parts[-1] for leaf in _by_leaf(inventory).values() for entry in leaf[-1:])
    pattern = next((one for one in _patterns(plan) if one.count("*") == 1), None)
    joined = _joined(inventory, Step.plan)
    place = _place(manifest, inventory, Step.plan, pattern, ["{parent}/{leaf}"]) if pattern and joined else None
    if place is None or not last:
        return []
    branch, condition = name.most_common(1)[0][0], last.most_common(1)[0][0]
    value = _nested({"condition": condition, "template": f"{{leaf}}.{branch}", "tools": _tools_value(manifest, inventory)}, plan.view)
    texts = _patterns(reply)[0] if _patterns(reply) else []
    file = reply.inventory.path if reply.inventory else ""
    if texts != ["*", "*"] or "*" in file or reply.view.get("text") != []:
        return []
    return [
        {"op": "add", "file": place.file.replace("{leaf|parent}", "{parent}"), "at": place.path, "value": {branch: value}},
        {"op": "add", "file": file, "at": ["{leaf}"], "value": {branch: "{reply}"}},
    ]


def _by_leaf(inventory: Inventory) -> dict[tuple[str, ...], list[Entry]]:
    """The branches of every leaf, in order."""
    found: dict[tuple[str, ...], list[Entry]] = {}
    for entry in inventory.of(Step.plan):
        if "condition" in entry.view:
            found.setdefault(entry.parts[:-1], []).append(entry)
    return found


def _extraction_edits(manifest: Manifest, inventory: Inventory) -> dict[str, list[dict[str, Any]]]:
    rules = manifest.steps.get(Step.extraction)
    pattern = next((one for one in _patterns(rules) if one.count("*") == 2), None) if rules else None
    place = _place(manifest, inventory, Step.extraction, pattern, ["{group}", "{field}"]) if pattern else None
    if rules is None or place is None:
        return {}
    value = _nested({"label": "{label}", "pattern": "{pattern}"}, rules.view)
    setting = {"op": "put", "file": place.file, "at": [*place.path, "{key}"], "each": "{settings}", "value": "{item}"}
    edits: dict[str, list[dict[str, Any]]] = {"add_extraction_field": [{"op": "add", "file": place.file, "at": place.path, "value": value}, setting]}
    if "handles" in rules.view:
        at = [*place.path, *rules.view["handles"]]
        edits["alter_extraction_field"] = [{"op": "append", "file": place.file, "at": at, "value": "{handles}", "if": "{handles}"}]
    return edits


def _plan_edits(manifest: Manifest, inventory: Inventory) -> dict[str, list[dict[str, Any]]]:
    rules = manifest.steps.get(Step.plan)
    if rules is None or "condition" not in rules.view or "template" not in rules.view or not _joined(inventory, Step.plan):
        return {}
    pattern = next((one for one in _patterns(rules) if one.count("*") == 2), None)
    place = _place(manifest, inventory, Step.plan, pattern, ["{leaf}", "{branch}"]) if pattern else None
    if place is None:
        return {}
    tools = _tools_value(manifest, inventory)
    value = _nested({"condition": "{condition}", "template": "{template}", "tools": tools}, rules.view)
    branch: list[dict[str, Any]] = [{"op": "add", "file": place.file, "at": place.path, "before": "{before}", "value": value}]
    reply = manifest.steps.get(Step.reply)
    if reply and reply.inventory and reply.view.get("text") == [] and _patterns(reply) == [["*", "*"]] and "*" not in reply.inventory.path:
        name = ["{template|group}", "{template|name}"]
        branch.append({"op": "add", "file": reply.inventory.path, "at": name, "if": "{reply}", "value": "{reply}"})
    alter = [
        {"op": "set", "file": place.file, "at": [*place.path, *rules.view[word]], "value": filled, "if": f"{{{word}}}"}
        for word, filled in (("condition", "{condition}"), ("template", "{template}"))
    ]
    if "tools" in rules.view:
        alter.append({"op": "put", "file": place.file, "at": [*place.path, *rules.view["tools"]], "value": "{tools}", "if": "{tools}"})
    alter.append({"op": "remove", "file": place.file, "at": [*place.path, "{item}"], "each": "{drop}"})
    alter.append({"op": "move", "file": place.file, "at": place.path, "before": "{before}", "if": "{before}"})
    tie = _nested({"condition": "{rule}", "template": "{template}"}, rules.view)
    return {
        "add_plan_branch": branch,
        "add_tie_rule": [{"op": "add", "file": place.file, "at": place.path, "before": "{before}", "value": tie}],
        "alter_plan_branch": alter,
    }


def _reply_edits(manifest: Manifest, inventory: Inventory) -> dict[str, list[dict[str, Any]]]:
    rules = manifest.steps.get(Step.reply)
    pattern = next((one for one in _patterns(rules) if one.count("*") == 2), None) if rules else None
    place = _place(manifest, inventory, Step.reply, pattern, ["{item|group}", "{item|name}"]) if pattern else None
    if rules is None or place is None or "text" not in rules.view:
        return {}
    at = [*place.path, *rules.view["text"]]
    return {"change_reply_template": [{"op": "replace_text", "file": place.file, "at": at, "each": "{templates}", "old": "{old}", "value": "{new}"}]}


def policy_file(manifest: Manifest) -> str | None:
    """The file of the policies: the one that a policy rule may change, besides eval rows and what the inventory lists."""
    globs = [glob for glob in manifest.allow.get("add_policy_rule", []) if not manifest.is_protected(glob) and "*" not in glob]
    inventories = [rules.inventory.path for rules in manifest.steps.values() if rules.inventory]
    own = [glob for glob in globs if not any(matches(glob, one) for one in inventories)]
    return own[0] if len(own) == 1 else None


def _policy_edits(manifest: Manifest, policies: Any) -> dict[str, list[Edit]]:
    """A new rule looks like those beside it: which key holds the scope, the words, and what a machine blocks."""
    file = policy_file(manifest)
    rules = [rule for rule in policies.values() if isinstance(rule, dict)] if isinstance(policies, dict) else []
    scope, words = _most(rules, lambda value: isinstance(value, list)), _most(rules, is_words)
    if file is None or scope is None or words is None:
        return {}
    value: dict[str, Any] = {scope: "{scope}", words: "{text}"}
    holder = Counter(key for rule in rules for key, inside in rule.items() if isinstance(inside, dict)).most_common(1)
    if holder:
        lists = [(key, inside) for rule in rules for key, inside in _mapping(rule.get(holder[0][0])).items() if isinstance(inside, list)]
        sentences = Counter(key for key, inside in lists if any(is_words(item) for item in inside)).most_common(1)
        tools = Counter(key for key, inside in lists if inside and not any(is_words(item) for item in inside)).most_common(1)
        value[holder[0][0]] = {
            key: filled for found, filled in ((sentences, "{blocks_sentences|filled}"), (tools, "{blocks_tools|filled}")) for key, _ in found
        }
    return {"add_policy_rule": [Edit.model_validate({"op": "add", "file": file, "at": ["{rule}"], "value": value})]}


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _most(rules: list[dict[str, Any]], looks: Callable[[Any], bool]) -> str | None:
    counted = Counter(key for rule in rules for key, value in rule.items() if looks(value)).most_common(1)
    return counted[0][0] if counted and counted[0][1] >= SHARE * len(rules) else None
