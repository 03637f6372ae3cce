"""Intent: the ticket belongs to another leaf, or to one that does not exist yet."""

import re
from collections import Counter
from collections.abc import Iterator

from rubric.drafting import Brief, Neighbour
from rubric.inventory import find, words_of
from rubric.proposals.offer import Offer, Signal, signals
from rubric.proposals.plan import branches_of
from rubric.reading import (
    content,
    customer_text,
    exact,
    fold,
    holds_phrase,
    mentions,
    ngrams,
    quoted,
    says,
    template_of,
    tokens_of,
    words,
)
from rubric.recipes import PromoteOtherIntent, RefineIntentBoundary
from rubric.schema import Case, Entry, Expectation, Step

OTHER = "other"
MOST_CUES = 4
_TOOL = re.compile(r"\b[a-z]+(?:_[a-z0-9]+)+\b")


def offers(brief: Brief) -> Iterator[Offer]:
    """Candidates for `refine_intent_boundary` and `promote_other_intent`."""
    here = _leaf(brief, brief.case.plan.leaf)
    if here is None or len(words_of(here)) != 2:
        return
    yield from _boundary(brief, here)
    if words_of(here)[-1] == OTHER:
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
    comment, text = brief.case.comment, customer_text(brief.case)
    corrected = brief.case.rejection.corrected_reply if brief.case.rejection else None
    right_template = template_of(corrected, brief.inventory) if corrected else None
    scores = {one.id: sum(matched(one, text).values()) for one in brief.inventory.of(Step.intent)}
    for there in brief.inventory.of(Step.intent):
        if there.id == here.id or len(words_of(there)) != 2 or words_of(there)[-1] == OTHER:
            continue
        named = _named(comment, there, here)
        answers = right_template is not None and _answers(brief, there, right_template[0]) and not _answers(brief, here, right_template[0])
        if named < 0.5 and not answers:
            continue
        cue = _cue(brief, here, there)
        if cue is None:
            continue
        said = signals(
            leaf_named=0.4 * named,
            right_reply=0.5 * answers,
            belongs=0.2 * bool(says("belongs_to", comment)),
            cue=cue[1],
            sibling=0.05 * _akin(here, there),
        )
        yield _refine(here, there, cue[0], text, scores, said)


def _named(comment: str, there: Entry, here: Entry) -> float:
    """How clearly a comment names a leaf, by its slug, cues or description; words that the other leaf shares do not count."""
    slug = mentions(comment, " ".join(word for word in tokens_of(words_of(there)[-1]) if word not in tokens_of(words_of(here)[-1])))
    cues = max((mentions(comment, cue) for cue in _cues(there) if cue not in _cues(here)), default=0.0)
    about = set(content(str(there.view.get("about", "")))) - set(content(str(here.view.get("about", ""))))
    told = len(about & set(content(comment))) / 3
    return min(1.0, max(slug, 0.9 * cues if cues >= 0.99 else 0.0, 0.0) + min(0.3, 0.3 * told))


def _answers(brief: Brief, leaf: Entry, template: str) -> bool:
    return any(str(branch.view.get("template", "")) == template for branch in branches_of(brief, "/".join(words_of(leaf))))


def _akin(here: Entry, there: Entry) -> bool:
    return words_of(here)[0] == words_of(there)[0]


def _cue(brief: Brief, here: Entry, there: Entry) -> tuple[str, float] | None:
    """The words of the ticket that shall speak for the right leaf: quoted, said in the comment, or shared by like rejections."""
    text, comment = customer_text(brief.case), brief.case.comment
    kept = [customer_text(one.case) for one in brief.accepted if one.case.plan.leaf == "/".join(words_of(here))]
    like = [customer_text(one.case) for one in brief.rejected if one.case.plan.leaf == brief.case.plan.leaf]
    phrases = {fold(phrase).strip() for phrase in quoted(comment) if exact(text, phrase)}
    wrong = matched(here, text)
    names = {*tokens_of("/".join(words_of(here)))}  # the wrong leaf's own name is said to deny it
    ranked: list[tuple[float, str]] = []
    for run in sorted({*ngrams(text), *wrong, *phrases}):
        if any(holds_phrase(one, run) for one in kept) or run in _cues(there) or set(run.split()) <= names or not 2 <= len(run) <= 80:
            continue
        shared = sum(holds_phrase(one, run) for one in like)
        told = holds_phrase(comment, run)
        if shared or told or run in wrong or run in phrases:
            size = {1: 0.0, 2: 0.12}.get(len(run.split()), 0.08)
            ranked.append((0.6 * (run in phrases) + 0.25 * min(shared, 2) + 0.35 * told + 0.25 * (run in wrong) + size, run))
    if not ranked:
        return None
    worth, run = max(ranked, key=lambda one: (one[0], -len(one[1]), one[1]))
    return run, round(min(0.25, 0.25 * worth), 3)


def _refine(here: Entry, there: Entry, cue: str, text: str, scores: dict[str, int], said: list[Signal]) -> Offer:
    drop = [cue] if cue in _cues(here) else []
    left = sum(weight for name, weight in matched(here, text).items() if name not in drop)
    rivals = [score for name, score in scores.items() if name not in (here.id, there.id)]
    need = max([left, *rivals]) - scores[there.id] + 1
    usual = max(_cues(there).values(), default=1)
    weight = max(need, _cues(here).get(cue, 0), min(usual, need + 1), 1)
    (from_parent, from_leaf), (to_parent, to_leaf) = words_of(here), words_of(there)
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
    """Three or more rejections in one Other leaf that ask for a topic of their own, with what tells them from the rest."""
    cluster = [Neighbour(case_id=brief.case_id, case=brief.case), *_companions(brief)]
    if len(cluster) < 3:
        return
    stay = [one for one in brief.accepted if one.case.plan.leaf == brief.case.plan.leaf]
    cues = _cover(cluster, [customer_text(one.case) for one in stay], here)
    covered = [one for one in cluster if any(holds_phrase(customer_text(one.case), cue) for cue in cues)]
    if len(covered) < 3 or brief.case_id not in {one.case_id for one in covered}:
        return
    reply = _common_reply(brief, covered)
    slug = _slug(brief, covered, cues)
    if reply is None or slug is None or find(brief.inventory, Step.intent, (words_of(here)[0], slug)) is not None:
        return
    tools = _tools(covered)
    others = (max(_cues(one).values(), default=1) for one in brief.inventory.of(Step.intent))
    weight = min(100, max(_cues(here).values(), default=1) + max(others, default=1))
    parent = words_of(here)[0]
    found = (exact(customer_text(brief.case), cue) for cue in cues)
    yield Offer(
        step=Step.intent,
        target=here.id,
        change=PromoteOtherIntent(
            parent=parent, leaf=slug, about=f"tickets about {slug.replace('_', ' ')}", cues=dict.fromkeys(cues, weight), reply=reply, tools=tools,
            cases=[one.case_id for one in covered], look_alikes=[one.case_id for one in stay[:2]],
        ),
        summary=f"Give {len(covered)} rejections in {parent}/other a leaf of their own.",
        signals=_promotion_signals(brief, len(covered), tools),
        quotes=[("ticket", quote) for quote in found if quote][:1],
        must=[Expectation.model_validate({"part": "intent", "is": f"{parent}/{slug}"})],
        instead=f"goes to {parent}/{slug}",
    )  # fmt: skip


def _promotion_signals(brief: Brief, size: int, tools: list[str]) -> list[Signal]:
    called = bool(says("own_topic", brief.case.comment))
    return signals(other_leaf=0.2, cluster=0.1 * min(size, 4), own_topic=0.25 * called, reply_given=0.1, tool_named=0.1 * bool(tools))


def _companions(brief: Brief) -> list[Neighbour]:
    """Rejections in the same Other leaf that speak of the same thing: by the comment's call for a topic, or by shared words."""
    here = brief.case.plan.leaf
    own = ngrams(customer_text(brief.case)) & (ngrams(brief.case.comment) or ngrams(customer_text(brief.case)))
    calls = says("own_topic", brief.case.comment)
    found = []
    for one in brief.rejected:
        if one.case.plan.leaf != here:
            continue
        shared = own & ngrams(customer_text(one.case))
        if shared or (calls and says("own_topic", one.case.comment)) or _shared_stem(brief.case, one.case):
            found.append(one)
    return found


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
