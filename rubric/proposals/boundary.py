"""Intent: the ticket belongs to another leaf; cues that speak for the wrong one have to move."""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

from pydantic import ValidationError

from rubric.drafting import Brief
from rubric.entries import Entry, Inventory
from rubric.proposals.leaves import HEAVY, OTHER, cues_of, matched, taken_leaf
from rubric.proposals.offer import Offer, Signal, signals
from rubric.proposals.plan import branches_of
from rubric.publishable import publishable, values_of
from rubric.reading import content, customer_text, exact, fold, holds_phrase, ngrams, quoted, share_said, template_of, tokens_of
from rubric.recipes import RefineIntentBoundary
from rubric.schema import Expectation, Step
from rubric.symptoms import tells

NEAR = 3
"""leaves that come next by their cues, which may be the right one"""
VAGUE = 0.3
"""share of a leaf's name that a comment may hold by chance"""


def offers(brief: Brief) -> Iterator[Offer]:
    """Candidates for `refine_intent_boundary`.

    Cues that speak for the wrong leaf are moved to a likelier one, and words of the ticket given to a leaf that the comment names.
    """
    here = taken_leaf(brief)
    if here is None:
        return
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
            leaf_named=0.4 * clear, nowhere=-0.15 * (here.words[-1] == OTHER and clear < 0.5 and not answers), 
            right_reply=0.5 * answers, belongs=0.15 * tells(comment, "topic"),
            other_action=0.05 * tells(comment, "action", "not_action"), near=0.12 * (rank == 0) + 0.06 * (rank == 1),
            sibling=0.04 * (here.words[0] == there.words[0]),
        )  # fmt: skip
        for cue, reasons in around.cues(there):
            with suppress(ValidationError):
                offer = _refine(here, there, cue, text, scores, [*said, *reasons], natural=clear < 0.5 and not answers)
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
        self._values = values_of(brief.case)
        self._wrong = matched(here, self._text)
        self._names = {*tokens_of(path), *content(str(here.view.get("about", "")))}
        self._new: list[tuple[float, str]] | None = None

    def cues(self, there: Entry) -> Iterator[tuple[str, list[Signal]]]:
        """Cues of the wrong leaf that the ticket holds, then the best of the ticket's other words, each with its signals."""
        for cue in self._wrong:
            yield cue, self._reasons(cue, moved=True)
        own = cues_of(there)
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
                if not publishable(run, self._values):
                    continue
                shared, told = sum(holds_phrase(one, run) for one in self._like), holds_phrase(self._comment, run)
                if run not in self._wrong and (shared or told or run in self._phrases):
                    size = {1: 0.0, 2: 0.12}.get(len(run.split()), 0.08)
                    self._new.append((0.6 * (run in self._phrases) + 0.25 * min(shared, 2) + 0.35 * told + size, run))
            self._new.sort(key=lambda one: (-one[0], len(one[1]), one[1]))
        return self._new


def _refine(here: Entry, there: Entry, cue: str, text: str, scores: dict[str, int], said: list[Signal], *, natural: bool) -> Offer | None:
    """`natural`: only if the cue turns the scale with the weight that it has; a leaf that nobody names is not helped along."""
    if not 2 <= len(cue) <= 80:
        return None
    drop = [cue] if cue in cues_of(here) else []
    left = scores[here.id] - sum(weight for name, weight in matched(here, text).items() if name in drop)
    rivals = [score for name, score in scores.items() if name not in (here.id, there.id)]
    need = max([left, *rivals]) - scores[there.id] + 1
    usual = max(cues_of(there).values(), default=1)
    weight = max(need, cues_of(here).get(cue, 0), min(usual, need + 1), 1)
    if weight > (cues_of(here).get(cue, 0) if natural else HEAVY * max(usual, 1)):
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
