"""Intent: the ticket belongs to another leaf, or to one that does not exist yet."""

import re
from collections import Counter
from collections.abc import Iterator

from rubric.drafting import Brief, Neighbour
from rubric.inventory import find, shown_text, template
from rubric.proposals.offer import Offer, Signal, signals
from rubric.proposals.plan import branches_of, taken_branch
from rubric.reading import (
    content,
    customer_text,
    exact,
    fold,
    holds_phrase,
    ngrams,
    quoted,
    says,
    share_said,
    template_of,
    tokens_of,
    words,
)
from rubric.recipes import PromoteOtherIntent, RefineIntentBoundary
from rubric.schema import Case, Entry, Expectation, Inventory, Step
from rubric.symptoms import tells

OTHER = "other"
MOST_CUES = 4
NEAR = 3
"""leaves that come next by their cues, which may be the right one"""
VAGUE = 0.3
"""share of a leaf's name that a comment may hold by chance"""
HEAVY = 2
"""times the heaviest cue of a leaf that a new one may weigh"""
_TOOL = re.compile(r"\b[a-z]+(?:_[a-z0-9]+)+\b")


def offers(brief: Brief) -> Iterator[Offer]:
    """Candidates for `refine_intent_boundary` and `promote_other_intent`."""
    here = _leaf(brief, brief.case.plan.leaf)
    if here is None or len(here.words) != 2:
        return
    yield from _boundary(brief, here)
    if here.words[-1] == OTHER:
        yield from _promotion(brief, here)


def _leaf(brief: Brief, path: str) -> Entry | None:
    return find(brief.inventory, Step.intent, path.split("/"))


def _cues(entry: Entry) -> dict[str, int]:
    found = entry.view.get("cues", entry.value.get("cues") if isinstance(entry.value, dict) else None)
    return {cue: weight for cue, weight in found.items() if isinstance(weight, int)} if isinstance(found, dict) else {}


def matched(entry: Entry, text: str) -> dict[str, int]:
    """The cues of a leaf that a text holds. Approximates any classifier that adds up cues."""
    return {cue: weight for cue, weight in _cues(entry).items() if holds_phrase(text, cue)}


# ---- another leaf


def _boundary(brief: Brief, here: Entry) -> Iterator[Offer]:
    """Cues that speak for the wrong leaf moved to a likelier one, and words of the ticket given to a leaf that the comment names."""
    text, comment = customer_text(brief.case), brief.case.comment
    corrected = brief.case.rejection.corrected_reply if brief.case.rejection else None
    right_template = template_of(corrected, brief.inventory) if corrected else None
    scores = {one.id: sum(matched(one, text).values()) for one in brief.inventory.of(Step.intent)}
    named = _named(brief.inventory, comment, here)
    leaves = [one for one in brief.inventory.of(Step.intent) if one.id != here.id and len(one.words) == 2 and one.words[-1] != OTHER]
    nearest = sorted(leaves, key=lambda one: (-scores[one.id], one.id))[:NEAR]
    around = _Around(brief, here)
    for there in leaves:
        answers = right_template is not None and _answers(brief, there, right_template[0]) and not _answers(brief, here, right_template[0])
        rank = nearest.index(there) if there in nearest and scores[there.id] > 0 else NEAR
        if rank == NEAR and named.get(there.id, 0.0) < 0.5 and not answers:
            continue
        clear = max(0.0, named.get(there.id, 0.0) - VAGUE) / (1 - VAGUE)
        said = signals(
            leaf_named=0.4 * clear, nowhere=-0.15 * (here.words[-1] == OTHER and clear < 0.5 and not answers), right_reply=0.5 * answers, belongs=0.15 * tells(comment, "topic"),
            other_action=0.05 * tells(comment, "action", "not_action"), near=0.12 * (rank == 0) + 0.06 * (rank == 1),
            sibling=0.04 * (here.words[0] == there.words[0]),
        )  # fmt: skip
        for cue, reasons in around.cues(there):
            offer = _refine(here, there, cue, text, scores, [*said, *reasons])
            if offer is not None:
                yield offer


def _named(inventory: Inventory, comment: str, here: Entry) -> dict[str, float]:
    """id of a leaf → how clearly a comment names it by slug or description. Words that few leaves have count most, those of the wrong leaf not."""
    rare = rarity(inventory)
    own = {*tokens_of(here.words[-1]), *content(str(here.view.get("about", "")))}
    found = {}
    for leaf in inventory.of(Step.intent):
        names = (tokens_of(leaf.words[-1]), content(str(leaf.view.get("about", ""))))
        shares = [share_said(comment, {word: rare.get(word, 1.0) for word in name if word not in own}) for name in names]
        if max(shares) > 0:
            found[leaf.id] = max(shares)
    return found


def rarity(inventory: Inventory) -> dict[str, float]:
    """word of a leaf's slug or description → 1 over the number of leaves that have it."""
    count: Counter[str] = Counter()
    for leaf in inventory.of(Step.intent):
        count.update({*tokens_of(leaf.words[-1]), *content(str(leaf.view.get("about", "")))})
    return {word: 1 / times for word, times in count.items()}


def _answers(brief: Brief, leaf: Entry, template: str) -> bool:
    return any(str(branch.view.get("template", "")) == template for branch in branches_of(brief, "/".join(leaf.words)))


class _Around:
    """What speaks for one of the ticket's words as the cue that has to move: who else was rejected or accepted on the same leaf with it."""

    def __init__(self, brief: Brief, here: Entry):
        path = "/".join(here.words)
        self._text, self._comment = customer_text(brief.case), brief.case.comment
        self._kept = [customer_text(one.case) for one in brief.accepted if one.case.plan.leaf == path]
        self._like = [customer_text(one.case) for one in brief.rejected if one.case.plan.leaf == path]
        self._phrases = {fold(phrase).strip() for phrase in quoted(self._comment) if exact(self._text, phrase)}
        self._wrong = matched(here, self._text)
        self._names = {*tokens_of(path), *content(str(here.view.get("about", "")))}
        self._new: list[tuple[float, str]] | None = None

    def cues(self, there: Entry) -> Iterator[tuple[str, list[Signal]]]:
        """Cues of the wrong leaf that the ticket holds, then the best of the ticket's other words, each with its signals."""
        for cue in self._wrong:
            yield cue, self._reasons(cue, moved=True)
        own = _cues(there)
        for _, run in [one for one in self._fresh() if one[1] not in own][:1]:
            yield run, self._reasons(run, moved=False)

    def _reasons(self, cue: str, *, moved: bool) -> list[Signal]:
        like = sum(holds_phrase(text, cue) for text in self._like)
        kept = sum(holds_phrase(text, cue) for text in self._kept)
        foreign = not set(cue.split()) & self._names
        return signals(
            cue_quoted=0.15 * (cue in self._phrases), shared=0.05 * min(like, 4), alone=0.05 * foreign * moved, long=0.02 * (" " in cue),
            accepted_too=-0.15 * min(kept, 2), cue_moves=0.08 * moved,
        )  # fmt: skip

    def _fresh(self) -> list[tuple[float, str]]:
        """Words that shall speak for another leaf from now on: quoted, said in the comment, or shared by like rejections; best first."""
        if self._new is None:
            self._new = []
            for run in sorted({*ngrams(self._text), *self._phrases}):
                if any(holds_phrase(one, run) for one in self._kept) or set(run.split()) <= self._names or not 2 <= len(run) <= 80:
                    continue
                shared, told = sum(holds_phrase(one, run) for one in self._like), holds_phrase(self._comment, run)
                if run not in self._wrong and (shared or told or run in self._phrases):
                    size = {1: 0.0, 2: 0.12}.get(len(run.split()), 0.08)
                    self._new.append((0.6 * (run in self._phrases) + 0.25 * min(shared, 2) + 0.35 * told + size, run))
            self._new.sort(key=lambda one: (-one[0], len(one[1]), one[1]))
        return self._new


def _refine(here: Entry, there: Entry, cue: str, text: str, scores: dict[str, int], said: list[Signal]) -> Offer | None:
    drop = [cue] if cue in _cues(here) else []
    left = scores[here.id] - sum(weight for name, weight in matched(here, text).items() if name in drop)
    rivals = [score for name, score in scores.items() if name not in (here.id, there.id)]
    need = max([left, *rivals]) - scores[there.id] + 1
    usual = max(_cues(there).values(), default=1)
    weight = max(need, _cues(here).get(cue, 0), min(usual, need + 1), 1)
    if weight > HEAVY * max(usual, 1):
        return None  # no word should outweigh everything else that a leaf has
    (from_parent, from_leaf), (to_parent, to_leaf) = here.words, there.words
    return Offer(
        step=Step.intent,
        target=here.id,
        change=RefineIntentBoundary(
            from_parent=from_parent, from_leaf=from_leaf, to_parent=to_parent, to_leaf=to_leaf, cues={cue: min(weight, 100)}, drop=drop
        ),
        summary=f"Let one more cue speak for {to_parent}/{to_leaf}" + (f", and no longer for {from_parent}/{from_leaf}." if drop else "."),
        signals=said,
        quotes=[("ticket", exact(text, cue) or cue)],
        must=[Expectation.model_validate({"part": "intent", "is": f"{to_parent}/{to_leaf}"})],
        instead=f"goes to {to_parent}/{to_leaf}",
    )


# ---- a leaf that does not exist yet


def _promotion(brief: Brief, here: Entry) -> Iterator[Offer]:
    """Three or more rejections in one Other leaf that ask for a topic of their own, with what tells them from the rest.

    Without a reply that reviewers wrote, the new leaf does what Other does until somebody writes one: the topic is told apart, and counted.
    """
    cluster = [Neighbour(case_id=brief.case_id, case=brief.case), *_companions(brief)]
    if len(cluster) < 3:
        return
    stay = [one for one in brief.accepted if one.case.plan.leaf == brief.case.plan.leaf]
    cues = _cover(cluster, [customer_text(one.case) for one in stay], here)
    covered = [one for one in cluster if any(holds_phrase(customer_text(one.case), cue) for cue in cues)]
    if len(covered) < 3 or brief.case_id not in {one.case_id for one in covered}:
        return
    written, tools = _common_reply(brief, covered), _tools(covered)
    parent, slug = _parent(brief, here, covered), _slug(brief, covered, cues)
    usual = _as_other(brief)
    reply = written or (usual[0] if usual else None)
    if reply is None or slug is None or find(brief.inventory, Step.intent, (parent, slug)) is not None:
        return
    others = (max(_cues(one).values(), default=1) for one in brief.inventory.of(Step.intent))
    weight = min(100, max(_cues(here).values(), default=1) + max(others, default=1))
    look_alikes = [one.case_id for one in (*stay, *brief.rejected) if one.case_id not in {other.case_id for other in covered}]
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


def _promotion_signals(brief: Brief, size: int, tools: list[str], written: bool) -> list[Signal]:
    comment = brief.case.comment
    return signals(
        other_leaf=0.25, cluster=0.07 * min(size, 4), own_topic=0.25 * bool(says("own_topic", comment)), reply_given=0.15 * written, tool_named=0.1 * bool(tools),
        topic=0.1 * tells(comment, "topic", "action", "not_action"),
    )  # fmt: skip


def _as_other(brief: Brief) -> tuple[str, list[str]] | None:
    """(text, names of tools) of what the Other leaf does."""
    taken = taken_branch(brief)
    holder = template(brief.inventory, str(taken.view.get("template", ""))) if taken else None
    text = shown_text(holder) if holder else None
    tools = (taken.view.get("tools") or []) if taken else []
    return (text, [name for name in (tool if isinstance(tool, str) else str(tool.get("name", "")) for tool in tools) if name]) if text else None


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


def _cover(cluster: list[Neighbour], stay: list[str], here: Entry) -> list[str]:
    """Few cues that together occur in the cluster's tickets, in none that must stay; those that comments repeat come first."""
    texts = {one.case_id: customer_text(one.case) for one in cluster}
    comments = " \n ".join(one.case.comment + "\n" + ((one.case.rejection.corrected_reply or "") if one.case.rejection else "") for one in cluster)
    common = Counter(run for text in texts.values() for run in ngrams(text))
    ranked = sorted(
        (run for run in common if not any(holds_phrase(text, run) for text in stay)),
        key=lambda run: (-(2 * common[run] + 2 * holds_phrase(comments, run) + (len(run.split()) == 2) + (run in _cues(here))), len(run), run),
    )
    cues: list[str] = []
    left = set(texts)
    for run in ranked:
        hit = {case_id for case_id in left if holds_phrase(texts[case_id], run)}
        if hit and (common[run] > 1 or holds_phrase(comments, run) or run in _cues(here)):
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
            greeting = one.case.plan.reply[: made[1].start()] if made else ""
            replies.append(corrected.removeprefix(greeting).strip() if greeting.strip() else corrected.strip())
    return min(Counter(replies).items(), key=lambda item: (-item[1], len(item[0])))[0] if replies else None


def _tools(covered: list[Neighbour]) -> list[str]:
    named = Counter(name for one in covered for name in set(_TOOL.findall(one.case.comment)))
    return [name for name, _ in named.most_common(1)]


def _slug(brief: Brief, covered: list[Neighbour], cues: list[str]) -> str | None:
    """A name for the leaf: from the tool that it calls, else from its first plain cue."""
    tools = _tools(covered)
    candidates = [re.sub(r"^(?:send|get|check|open|start|create|order|stop)_", "", tools[0])] if tools else []
    candidates += ["_".join(words(cue)) for cue in cues]
    fit = (one for one in candidates if re.fullmatch(r"[a-z][a-z0-9_]{2,40}", one))
    return next(fit, None)
