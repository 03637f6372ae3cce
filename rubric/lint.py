"""Lint lives here: everything that can be held against a hint without running the target, as findings."""

from collections.abc import Iterator, Sequence
from typing import Any

from rubric import recipes as r
from rubric.catalogue import Card, Catalogue
from rubric.conflicts import against
from rubric.entries import Entry, Inventory
from rubric.findings import finding
from rubric.inventory import branches, find, ids_beside, is_named, keyed, scope_exists, shown_number, shown_text, template, under
from rubric.schema import Case, Finding, Hint, Risk, Step, text_of
from rubric.writing import would_write

_RISKS = list(Risk)


def lint(
    hint: Hint, case: Case, inventory: Inventory, catalogue: Catalogue, twins: Sequence[tuple[str, Hint]] = (),
    rules: Sequence[tuple[str, r.Change]] = (),
) -> list[Finding]:  # fmt: skip
    """Every finding about a hint, in the order a person would look; never raises, however odd the values.

    `case` is the hint's own case, redacted as the critic saw it; `twins` are the open and dismissed hints of the same target with their ids,
    `rules` the changes of its confirmed ones.
    """
    card = catalogue.recipe(hint.recipe)
    return [
        *_evidence(hint, case),
        *would_write(hint, case, inventory),
        *_place(hint, card, inventory),
        *_stability(hint, inventory),
        *_names(hint.change, inventory),
        *_idle(hint, inventory),
        *_values(hint, case, inventory),
        *_templates(hint.change, inventory),
        *_support(hint, card),
        *_twins(hint, twins),
        *(finding("conflicts_with_rule", "change", f"{why}: {name}") for name, why in against(hint.change, rules)),
    ]


def confirmable(findings: Sequence[Finding]) -> bool:
    """Whether a gatekeeper may confirm: no finding blocks."""
    return not any(found.blocks for found in findings)


def _evidence(hint: Hint, case: Case) -> Iterator[Finding]:
    for place, span in enumerate(hint.evidence):
        if text_of(case, span.source)[span.start : span.end] != span.quote:
            yield finding("quote_not_in_case", f"evidence.{place}", span.source)
    if not any(span.quote.strip() for span in hint.evidence):
        yield finding("no_evidence", "evidence")
    for place, _ in enumerate(hint.rules_invented):
        yield finding("invented_rule", f"rules_invented.{place}")
    if hint.worked_example is None:
        yield finding("needs_worked_example", "worked_example")


def _record_type(change: r.AdjustFetchWeight | r.AdjustFetchThreshold | r.AddFetchQuery) -> tuple[str, ...]:
    return (change.record_type,) if change.record_type else ()


def _place(hint: Hint, card: Card, inventory: Inventory) -> Iterator[Finding]:
    """Step, recipe and target belong together, and the target is there (or not there yet)."""
    entry = inventory.entries.get(hint.target)
    # a tie comes about in fetch and is settled by a branch of the leaf's plan
    home = Step.plan if isinstance(hint.change, r.AddTieRule) else hint.step
    if card.step not in ("any", hint.step):
        yield finding("step_mismatch", "step", f"{hint.recipe} mends {card.step}")
    # a target without an inventory for a step names what stands nearest, so only a step that has entries can be missed
    elif entry and entry.step is not home and inventory.of(home):
        yield finding("step_mismatch", "target", f"it belongs to {entry.step}")
    if card.target == "new":
        yield from _new_place(hint, inventory)
    elif entry is None:
        yield finding("target_unknown", "target", hint.target)
    elif not _about(hint.change, entry):
        yield finding("change_target_mismatch", "target", hint.target)


def _about(change: r.Change, entry: Entry) -> bool:
    """Whether an existing entry is what the change is about."""
    words = entry.words
    match change:
        case r.PromoteOtherIntent():
            return words[-1:] == ("other",) and words[:-1] in ((change.parent,), ("root",), ())
        case r.RefineIntentBoundary():
            return words == (change.from_parent, change.from_leaf)
        case r.AddSecondParent() | r.RetireLeaf() | r.AddTieRule() | r.AddPlanBranch():
            return words == tuple(change.leaf.split("/"))
        case r.AlterPlanBranch():
            return words in (tuple(change.leaf.split("/")), (*change.leaf.split("/"), *change.branch.split("/")))
        case r.AlterExtractionField():
            return words == (change.group, change.field)
        case r.AdjustFetchWeight():
            return words == (*_record_type(change), change.field)
        case r.AdjustFetchThreshold():
            return words == _record_type(change)
        case r.ChangeReplyTemplate():
            return any(is_named(entry, name) for name in change.templates)
        case _:
            return True


def _new_place(hint: Hint, inventory: Inventory) -> Iterator[Finding]:
    change = hint.change
    if isinstance(change, r.AddPolicyRule):
        if hint.target in inventory.entries:
            yield finding("target_exists", "target", hint.target)
        elif hint.target not in [f"policy:{scope}" for scope in change.scope]:
            yield finding("change_target_mismatch", "target", hint.target)
        for place, scope in enumerate(change.scope):
            if not scope_exists(inventory, scope):
                yield finding("parent_unknown", f"change.scope.{place}", scope)
    elif isinstance(change, r.AddExtractionField | r.AddFetchQuery):
        siblings, ids = _neighbours(change, inventory)
        if not siblings:
            yield finding("parent_unknown", "target", hint.target)
        elif hint.target in inventory.entries or any(change.field == one.words[-1] for one in siblings):
            yield finding("target_exists", "target", hint.target)
        elif hint.target not in ids:
            yield finding("change_target_mismatch", "target", f"expected {min(ids)}")
        fields = inventory.of(Step.extraction)
        if isinstance(change, r.AddFetchQuery) and fields and change.query not in [".".join(one.words) for one in fields]:
            yield finding("parent_unknown", "change.query", change.query)


def _neighbours(change: r.AddExtractionField | r.AddFetchQuery, inventory: Inventory) -> tuple[list[Entry], set[str]]:
    """What a new thing will stand among, and the id it will then have."""
    if isinstance(change, r.AddExtractionField):
        siblings = under(inventory, Step.extraction, (change.group,))
    else:
        siblings = keyed(under(inventory, Step.fetch, _record_type(change)))
    return siblings, ids_beside(siblings, change.field)


def _stability(hint: Hint, inventory: Inventory) -> Iterator[Finding]:
    """Frozen and careful things, whether the hint names them as its target or beside it."""
    touched: list[tuple[str, Entry | None]] = [("target", inventory.entries.get(hint.target))]
    if isinstance(hint.change, r.ChangeReplyTemplate):
        touched += [(f"change.templates.{place}", template(inventory, name)) for place, name in enumerate(hint.change.templates)]
    if isinstance(hint.change, r.RefineIntentBoundary):
        touched.append(("change.to_leaf", find(inventory, Step.intent, (hint.change.to_parent, hint.change.to_leaf))))
    if isinstance(hint.change, r.AddExtractionField | r.AddFetchQuery):
        siblings, _ = _neighbours(hint.change, inventory)
        # what is new has no stability yet; among things that are all frozen it would be frozen too
        touched += [("target", one) for one in siblings[:1] if len({entry.stability for entry in siblings}) == 1]
    seen: set[str] = set()
    for field, entry in touched:
        if entry and entry.id not in seen and entry.stability != "open":
            seen.add(entry.id)
            yield finding("target_frozen" if entry.stability == "frozen" else "target_careful", field, entry.id)


def _names(change: r.Change, inventory: Inventory) -> Iterator[Finding]:
    """Other names in the change: taken, missing, or too deep."""
    parents = {entry.words[0] for entry in inventory.of(Step.intent) if entry.parts}
    match change:
        case r.PromoteOtherIntent() | r.AddSecondParent():
            old_parent, _, name = change.leaf.rpartition("/")
            if change.parent not in parents:
                yield finding("parent_unknown", "change.parent", change.parent)
            elif change.parent != old_parent and find(inventory, Step.intent, (change.parent, name)):
                yield finding("slug_taken", "change.leaf", f"{change.parent}/{name}")
        case r.RefineIntentBoundary() if not find(inventory, Step.intent, (change.to_parent, change.to_leaf)):
            yield finding("target_unknown", "change.to_leaf", f"{change.to_parent}/{change.to_leaf}")
        case r.RetireLeaf() if not find(inventory, Step.intent, change.to.split("/")):
            yield finding("target_unknown", "change.to", change.to)
        case r.AddTieRule() | r.AddPlanBranch() if change.branch in branches(inventory, change.leaf):
            yield finding("slug_taken", "change.branch", change.branch)
        case r.AddPolicyRule() if find(inventory, Step.plan, (change.rule,)):
            yield finding("slug_taken", "change.rule", change.rule)
        case _:
            pass
    if isinstance(change, r.AddTieRule | r.AddPlanBranch | r.AlterPlanBranch):
        known = branches(inventory, change.leaf)
        if known and change.before is not None and change.before not in known:
            yield finding("target_unknown", "change.before", change.before)
        if known and isinstance(change, r.AlterPlanBranch) and change.branch not in known:
            yield finding("target_unknown", "change.branch", change.branch)
    path = change.to if isinstance(change, r.RetireLeaf) else getattr(change, "leaf", "")
    if path.count("/") > 1:
        yield finding("third_level", "change.to" if isinstance(change, r.RetireLeaf) else "change.leaf", path)


def _idle(hint: Hint, inventory: Inventory) -> Iterator[Finding]:
    change, entry = hint.change, inventory.entries.get(hint.target)
    view: dict[str, Any] = entry.view if entry else {}
    match change:
        case r.AdjustFetchWeight() | r.AdjustFetchThreshold():
            idle = change.from_ == change.to
        case r.ChangeReplyTemplate():
            idle = change.old == change.new
        case r.RetireLeaf():
            idle = change.leaf == change.to
        case r.AddSecondParent():
            idle = change.parent == change.leaf.rpartition("/")[0]
        case r.RefineIntentBoundary():
            idle = not (change.cues or change.drop) or (change.from_parent, change.from_leaf) == (change.to_parent, change.to_leaf)
        case r.AlterExtractionField():
            known = view.get("handles")
            new = change.handles if not (isinstance(known, list) and change.handles in known) else None
            idle = new is None and change.normaliser is None and change.counter_example is None
        case r.AlterPlanBranch():
            given = {name: getattr(change, name) for name in ("condition", "template", "tools", "before")}
            idle = not change.drop and all(value is None or (name in view and view[name] == value) for name, value in given.items())
        case _:
            idle = False
    if idle:
        yield finding("no_change", "change")


def _values(hint: Hint, case: Case, inventory: Inventory) -> Iterator[Finding]:
    """Numbers that the change states, against the inventory and the case."""
    change, entry = hint.change, inventory.entries.get(hint.target)
    if isinstance(change, r.AdjustFetchWeight | r.AdjustFetchThreshold) and entry and _about(change, entry) and shown_number(entry) != change.from_:
        yield finding("from_differs", "change.from", hint.target)
    if isinstance(change, r.AdjustFetchWeight):
        yield from _scores(change, case, inventory)
    if isinstance(change, r.RequestEndpoint) and not (isinstance(paths := change.openapi.get("paths"), dict) and paths):
        yield finding("endpoint_missing", "change.openapi")


def _scores(change: r.AdjustFetchWeight, case: Case, inventory: Inventory) -> Iterator[Finding]:
    weights = {one.words[-1]: shown_number(one) or 0.0 for one in under(inventory, Step.fetch, _record_type(change))}
    listed = {candidate.record_id: candidate for candidate in case.plan.fetch}
    for record_id, (before, after) in change.scores.items():
        field, candidate = f"change.scores.{record_id}", listed.get(record_id)
        if candidate is None:
            yield finding("scores_unchecked", field, "the case does not list it")
            continue
        now = sum(weights.get(name, 0.0) for name in candidate.matched_fields)
        then = now + (change.to - weights.get(change.field, 0.0)) * candidate.matched_fields.count(change.field)
        if _same(before, now) and _same(after, then):
            continue
        # a record of another type, or one that was scored by weights since changed: ours cannot speak for it
        if _same(before, candidate.score) and not _same(candidate.score, now):
            yield finding("scores_unchecked", field, f"these weights do not give the case's {candidate.score:g}")
        else:
            yield finding("scores_wrong", field, f"{now:g} before and {then:g} after")
    missing = [record_id for record_id in listed if record_id not in change.scores]
    if missing:
        yield finding("scores_unchecked", "change.scores", f"missing: {', '.join(missing)}")


def _same(one: float, other: float) -> bool:
    return abs(one - other) < 1e-6


def _templates(change: r.Change, inventory: Inventory) -> Iterator[Finding]:
    if isinstance(change, r.ChangeReplyTemplate):
        named = {name: template(inventory, name) for name in change.templates}
        for place, name in enumerate(change.templates):
            entry = named[name]
            if entry is None:
                yield finding("template_unknown", f"change.templates.{place}", name)
            elif change.old not in (shown_text(entry) or ""):
                yield finding("phrase_not_in_template", f"change.templates.{place}", name)
        ids = {entry.id for entry in named.values() if entry}
        others = [entry.id for entry in inventory.of(Step.reply) if entry.id not in ids and change.old in (shown_text(entry) or "")]
        if others:
            yield finding("templates_missing", "change.templates", ", ".join(others))
    elif isinstance(change, r.AddTieRule | r.AddPlanBranch | r.AlterPlanBranch) and change.template is not None and inventory.of(Step.reply):
        known, text = template(inventory, change.template), getattr(change, "reply", None)
        if known is None and text is None:
            yield finding("template_unknown", "change.template", change.template)
        if known is not None and text is not None:
            yield finding("slug_taken", "change.template", change.template)


def _support(hint: Hint, card: Card) -> Iterator[Finding]:
    """Whether there is enough behind the hint for a change of its kind."""
    change = hint.change
    if isinstance(change, r.PromoteOtherIntent):
        if len(set(change.cases)) < 3 or hint.cure_case not in change.cases:
            yield finding("too_few_cases", "change.cases")
        if len(set(change.look_alikes) - set(change.cases)) < 2:
            yield finding("too_few_look_alikes", "change.look_alikes")
    if isinstance(change, r.AlterExtractionField) and change.counter_example is not None:
        yield finding("tightens_extraction", "change.counter_example")
    if _RISKS.index(hint.risk) < _RISKS.index(card.risk.level) or not hint.risk_reason.strip():
        yield finding("risk_understated", "risk", f"usually {card.risk.level}")


def _twins(hint: Hint, twins: Sequence[tuple[str, Hint]]) -> Iterator[Finding]:
    edit = r.edit_of(hint.change.model_dump(mode="json"))
    for name, other in twins:
        if other.recipe == hint.recipe and r.edit_of(other.change.model_dump(mode="json")) == edit:
            yield finding("twin", "change", name)
