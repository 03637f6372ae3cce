"""Fetch: the record that was chosen, or not chosen, and the weights and threshold that made it so."""

from collections.abc import Iterator

from rubric.drafting import Brief
from rubric.expectations import record_of
from rubric.inventory import keyed, shown_number, words_of
from rubric.proposals.offer import Offer, signals
from rubric.reading import mentions, says, words
from rubric.recipes import AdjustFetchThreshold, AdjustFetchWeight
from rubric.schema import Candidate, Entry, Expectation, Step

LOOKED_AT = 5
"""candidates that may be the right one"""


def offers(brief: Brief) -> Iterator[Offer]:
    """Candidates for `adjust_fetch_weight` and `adjust_fetch_threshold`."""
    found = brief.case.plan.fetch
    if not found:
        return
    for kind in {words_of(entry)[:-1] for entry in keyed(brief.inventory.of(Step.fetch)) if shown_number(entry) is not None}:
        weights = {
            words_of(one)[-1]: one for one in keyed(brief.inventory.of(Step.fetch)) if words_of(one)[:-1] == kind and shown_number(one) is not None
        }
        threshold = next((one for one in brief.inventory.of(Step.fetch) if words_of(one) == kind and shown_number(one) is not None), None)
        if all(_adds_up(candidate, weights) for candidate in found[:2]):
            yield from _weights(brief, kind, weights, threshold)
            if threshold is not None:
                yield from _threshold(brief, kind, threshold)


def _adds_up(candidate: Candidate, weights: dict[str, Entry]) -> bool:
    """Whether a candidate was scored with these weights; tells one record type's from another's."""
    known = [shown_number(weights[field]) for field in candidate.matched_fields if field in weights]
    return len(known) == len(candidate.matched_fields) and sum(one or 0 for one in known) == candidate.score


def _weights(brief: Brief, kind: tuple[str, ...], weights: dict[str, Entry], threshold: Entry | None) -> Iterator[Offer]:
    comment, (top, *rest) = brief.case.comment, brief.case.plan.fetch
    others = [one for one in rest if _adds_up(one, weights)]  # a record of another kind is weighed by other weights
    if record_of(brief.case.plan) != top.record_id or not others:
        return
    wrong = says("wrong_record", comment)
    for other in others[:LOOKED_AT]:
        gap = top.score - other.score
        for field in sorted(set(other.matched_fields) ^ set(top.matched_fields)):
            up = field in other.matched_fields
            start = shown_number(weights[field]) or 0
            gap_of_all = max([gap, *_like_gaps(brief, field, up)])
            to = start + gap_of_all + 1 if up else start - gap_of_all - 1
            if not 0 < to <= 1000 or not _wins(other, top, others, field, to - start, threshold):
                continue
            told = mentions(comment, field)
            talk = says("counts_more" if up else "counts_less", comment)
            against = says("counts_less" if up else "counts_more", comment)
            weights_said = signals(
                wrong_record=0.35 * bool(wrong), field_mentioned=0.35 * (told >= 0.99) + 0.15 * (0 < told < 0.99), direction=0.25 * bool(talk),
                other_direction=-0.2 * bool(against and not talk), score_mentioned=0.15 * (_number(start) in words(comment)),
            )  # fmt: skip
            scores = {one.record_id: (one.score, one.score + (to - start) * (field in one.matched_fields)) for one in brief.case.plan.fetch}
            yield Offer(
                step=Step.fetch,
                target=weights[field].id,
                change=AdjustFetchWeight.model_validate(
                    {"record_type": "_".join(kind) or None, "field": field, "from": int(start), "to": int(to), "scores": scores}
                ),
                summary=f"Let {field} count {int(to)} instead of {int(start)}, so that the record which matches on it wins.",
                signals=weights_said,
                must=[Expectation.model_validate({"part": "record", "is": other.record_id})],
                instead=f"acts on {other.record_id}",
            )


def _like_gaps(brief: Brief, field: str, up: bool) -> Iterator[float]:
    """How far apart the two records are in other rejections that speak of this field: one weight has to serve them all."""
    for one in brief.rejected:
        found = one.case.plan.fetch
        if len(found) >= 2 and mentions(one.case.comment, field) >= 0.99:
            top, other = found[0], found[1]
            if (field in (other if up else top).matched_fields) and field not in (top if up else other).matched_fields:
                yield top.score - other.score


def _wins(right: Candidate, top: Candidate, others: list[Candidate], field: str, change: float, threshold: Entry | None) -> bool:
    """Whether the right record is the only best one after the change, and over the threshold."""
    after = {one.record_id: one.score + change * (field in one.matched_fields) for one in [top, *others]}
    best = after.pop(right.record_id)
    return all(best > score for score in after.values()) and (threshold is None or best >= (shown_number(threshold) or 0))


def _threshold(brief: Brief, kind: tuple[str, ...], threshold: Entry) -> Iterator[Offer]:
    comment, top = brief.case.comment, brief.case.plan.fetch[0]
    start = shown_number(threshold) or 0
    alone = len(brief.case.plan.fetch) == 1 or brief.case.plan.fetch[1].score < top.score
    if not alone or top.score >= start or top.score <= 0:
        return
    yield Offer(
        step=Step.fetch,
        target=threshold.id,
        change=AdjustFetchThreshold.model_validate({"record_type": "_".join(kind) or None, "from": int(start), "to": int(top.score)}),
        summary=f"Accept a record from a score of {int(top.score)} instead of {int(start)}.",
        signals=signals(
            under_threshold=0.25, enough=0.3 * bool(says("enough", comment)), score_mentioned=0.2 * (_number(top.score) in words(comment)),
            field_mentioned=0.1 * any(mentions(comment, field) >= 0.99 for field in top.matched_fields),
            asked_again=0.1 * bool(says("asking_again", comment)),
        ),
        must_not=[Expectation.model_validate({"part": "reply", "is": brief.case.plan.reply})],
        instead=f"acts on {top.record_id}",
    )  # fmt: skip


def _number(value: float) -> str:
    return str(int(value))
