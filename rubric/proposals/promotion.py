"""Intent: a topic that has no leaf yet and lands in Other again and again."""

import re
from collections import Counter
from collections.abc import Iterator
from math import ceil
from statistics import median

from rubric.drafting import Brief, Neighbour
from rubric.entries import Entry
from rubric.inventory import find, listed_tools, shown_text, template, tool_name
from rubric.proposals.leaves import HEAVY, OTHER, cues_of, matched, taken_leaf
from rubric.proposals.offer import Offer, Signal, signals
from rubric.proposals.plan import taken_branch
from rubric.publishable import publishable, values_of
from rubric.reading import content, customer_text, exact, holds_phrase, ngrams, says, template_of, words
from rubric.recipes import PromoteOtherIntent
from rubric.schema import Case, Expectation, Step
from rubric.symptoms import tells

MOST_CUES = 4
_TOOL = re.compile(r"\b[a-z]+(?:_[a-z0-9]+)+\b")


def offers(brief: Brief) -> Iterator[Offer]:
    """Candidates for `promote_other_intent`: three or more rejections in one Other leaf that ask for a topic of their own.

    Without a reply that reviewers wrote, the new leaf does what Other does until somebody writes one: the topic is told apart, and counted.
    """
    here = taken_leaf(brief)
    if here is None or here.words[-1] != OTHER:
        return
    cluster = [Neighbour(case_id=brief.case_id, case=brief.case), *_companions(brief)]
    if len(cluster) < 3:
        return
    stay = [one for one in brief.accepted if one.case.plan.leaf == brief.case.plan.leaf]
    cues = _cover(brief, cluster, here)
    covered = [one for one in cluster if any(holds_phrase(customer_text(one.case), cue) for cue in cues)]
    if len(covered) < 3 or brief.case_id not in {one.case_id for one in covered}:
        return
    written, tools = _common_reply(brief, covered), _tools(brief, covered)
    parent, slug = _parent(brief, here, covered), _slug(brief, covered, cues)
    usual = _as_other(brief)
    reply = written or (usual[0] if usual else None)
    if reply is None or slug is None or find(brief.inventory, Step.intent, (parent, slug)) is not None:
        return
    weight = _telling(brief, covered, cues)
    look_alikes = [one.case_id for one in stay]
    found = (exact(customer_text(brief.case), cue) for cue in cues)
    until = "" if written else "; until it has a reply of its own, it answers as Other does"
    yield Offer(
        step=Step.intent,
        target=here.id,
        change=PromoteOtherIntent(
            parent=parent, leaf=slug, about=f"tickets about {slug.replace('_', ' ')}", cues=dict.fromkeys(cues, weight), reply=reply,
            tools=tools if written or usual is None else usual[1],
            cases=[one.case_id for one in covered], look_alikes=look_alikes[:2],
        ),
        summary=f"Give {len(covered)} rejections in {'/'.join(here.words)} a leaf of their own{until}.",
        signals=_promotion_signals(brief, len(covered), tools, bool(written)),
        quotes=[("ticket", quote) for quote in found if quote][:1],
        must=[Expectation.model_validate({"part": "intent", "is": f"{parent}/{slug}"})],
        instead=f"goes to {parent}/{slug}",
    )  # fmt: skip


def _telling(brief: Brief, covered: list[Neighbour], cues: list[str]) -> int:
    """The weight that each cue needs to turn the scale for all tickets of the cluster, as far as one word should weigh so much.

    A leaf has to come before every other, and to reach what is enough to be taken at all: the least that an accepted ticket's leaf had.
    """
    leaves = brief.inventory.of(Step.intent)
    usual = round(median([heaviest for one in leaves if (heaviest := max(cues_of(one).values(), default=0)) > 0] or [1]))
    enough = min((won for one in brief.accepted if (won := _won(brief, one.case)) > 0), default=usual)
    weight = 1
    for one in covered:
        text = customer_text(one.case)
        best = max((sum(matched(leaf, text).values()) for leaf in leaves), default=0)
        weight = max(weight, ceil(max(best + 1, enough) / sum(holds_phrase(text, cue) for cue in cues)))
    return min(weight, HEAVY * usual, 100)


def _won(brief: Brief, case: Case) -> int:
    """The score by which an accepted ticket reached its leaf, 0 for Other: what belongs nowhere needs less."""
    leaf = find(brief.inventory, Step.intent, case.plan.leaf.split("/"))
    return sum(matched(leaf, customer_text(case)).values()) if leaf is not None and leaf.words[-1] != OTHER else 0


def _promotion_signals(brief: Brief, size: int, tools: list[str], written: bool) -> list[Signal]:
    comment = brief.case.comment
    return signals(
        other_leaf=0.25, cluster=0.07 * min(size, 4), own_topic=0.25 * bool(says("own_topic", comment)),
        reply_given=0.15 * written, tool_named=0.1 * bool(tools),
        topic=0.1 * tells(comment, "topic", "action", "not_action"),
    )  # fmt: skip


def _as_other(brief: Brief) -> tuple[str, list[str]] | None:
    """(text, names of tools) of what the Other leaf does."""
    taken = taken_branch(brief)
    holder = template(brief.inventory, str(taken.view.get("template", ""))) if taken else None
    text = shown_text(holder) if holder else None
    return (text, [name for name in map(tool_name, listed_tools(taken)) if name]) if taken and text else None


def _parent(brief: Brief, here: Entry, covered: list[Neighbour]) -> str:
    """Where a new leaf goes: beside Other, or, from the Other of everything, to the parent whose leaves come nearest."""
    own = here.words[0]
    if any(leaf.words[0] == own and leaf.id != here.id for leaf in brief.inventory.of(Step.intent)):
        return own
    count: Counter[str] = Counter()
    for one in covered:
        text = customer_text(one.case)
        for leaf in brief.inventory.of(Step.intent):
            if leaf.words[0] != own:
                count[leaf.words[0]] += sum(matched(leaf, text).values())
    return min(count, key=lambda parent: (-count[parent], parent)) if count else own


def _companions(brief: Brief) -> list[Neighbour]:
    """Rejections in the same Other leaf that speak of the same thing: by the comment's call for a topic, or by shared words."""
    here = brief.case.plan.leaf
    own = ngrams(customer_text(brief.case)) & (ngrams(brief.case.comment) or ngrams(customer_text(brief.case)))
    calls = says("own_topic", brief.case.comment)
    rare = _rare(brief)
    found = []
    for one in brief.rejected:
        if one.case.plan.leaf != here:
            continue
        shared = own & ngrams(customer_text(one.case))
        alike = {*content(customer_text(one.case))} & {*content(customer_text(brief.case))} & rare
        if shared or len(alike) >= 2 or (calls and says("own_topic", one.case.comment)) or _shared_stem(brief.case, one.case):
            found.append(one)
    return found


def _rare(brief: Brief) -> set[str]:
    """Words that at most a fifth of the rejections at hand hold: sharing them says something."""
    count = Counter(word for one in brief.rejected for word in {*content(customer_text(one.case))})
    return {word for word, times in count.items() if times <= max(3, len(brief.rejected) / 5) and not word.isdigit()}


def _shared_stem(one: Case, other: Case) -> bool:
    """A long word in both comments or tickets, whole or inside a compound."""
    first = {word for word in content(one.comment + " " + customer_text(one)) if len(word) >= 7}
    second = {word for word in content(other.comment + " " + customer_text(other)) if len(word) >= 7}
    return any(word in longer for word in first for longer in second) or any(word in longer for word in second for longer in first)


def _cover(brief: Brief, cluster: list[Neighbour], here: Entry) -> list[str]:
    """Few cues that together occur in the cluster's tickets, in none that must stay; those that comments repeat come first.

    What any accepted ticket says, or several rejected ones elsewhere, is no cue, and nor is what belongs to one customer.
    """
    stay = [customer_text(one.case) for one in brief.accepted]
    elsewhere = [customer_text(one.case) for one in brief.rejected if one.case.plan.leaf != brief.case.plan.leaf]
    texts = {one.case_id: customer_text(one.case) for one in cluster}
    comments = " \n ".join(one.case.comment + "\n" + ((one.case.rejection.corrected_reply or "") if one.case.rejection else "") for one in cluster)
    values = set().union(*(values_of(one.case) for one in cluster))
    common = Counter(run for text in texts.values() for run in ngrams(text) if publishable(run, values))
    ranked = sorted(
        (
            run
            for run in common
            if 2 <= len(run) <= 80 and not any(holds_phrase(text, run) for text in stay) and sum(holds_phrase(text, run) for text in elsewhere) < 2
        ),
        key=lambda run: (-(2 * common[run] + 2 * holds_phrase(comments, run) + (len(run.split()) == 2) + (run in cues_of(here))), len(run), run),
    )
    cues: list[str] = []
    left = set(texts)
    for run in ranked:
        hit = {case_id for case_id in left if holds_phrase(texts[case_id], run)}
        if hit and (common[run] > 1 or holds_phrase(comments, run) or run in cues_of(here)):
            cues.append(run)
            left -= hit
        if not left or len(cues) == MOST_CUES:
            break
    return cues


def _common_reply(brief: Brief, covered: list[Neighbour]) -> str | None:
    """The reply that reviewers wrote for the cluster, without greeting; the shortest of those that agree most."""
    replies = []
    for one in covered:
        corrected = one.case.rejection.corrected_reply if one.case.rejection else None
        if corrected:
            made = template_of(one.case.plan.reply, brief.inventory)
            greeting = one.case.plan.reply[: made[1].start] if made else ""
            replies.append(corrected.removeprefix(greeting).strip() if greeting.strip() else corrected.strip())
    return min(Counter(replies).items(), key=lambda item: (-item[1], len(item[0])))[0] if replies else None


def _tools(brief: Brief, covered: list[Neighbour]) -> list[str]:
    """The tool that comments name most. What has a digit may be an identifier, unless the target calls it so."""
    known = {tool_name(tool) for branch in brief.inventory.of(Step.plan) for tool in listed_tools(branch)}
    named = Counter(name for one in covered for name in set(_TOOL.findall(one.case.comment)) if name in known or publishable(name, set()))
    return [name for name, _ in named.most_common(1)]


def _slug(brief: Brief, covered: list[Neighbour], cues: list[str]) -> str | None:
    """A name for the leaf: from the tool that it calls, else from its first plain cue."""
    tools = _tools(brief, covered)
    candidates = [re.sub(r"^(?:send|get|check|open|start|create|order|stop)_", "", tools[0])] if tools else []
    candidates += ["_".join(words(cue)) for cue in cues]
    fit = (one for one in candidates if re.fullmatch(r"[a-z][a-z0-9_]{2,40}", one))
    return next(fit, None)
