"""Fetch: the record that was chosen, or not chosen, and the weights and threshold that made it so."""

from collections.abc import Iterator
from statistics import median

from rubric.drafting import Brief
from rubric.entries import Entry
from rubric.expectations import record_of
from rubric.inventory import keyed, shown_number
from rubric.proposals.offer import Offer, signals
from rubric.reading import mentions, says, words
from rubric.recipes import AdjustFetchThreshold, AdjustFetchWeight
from rubric.schema import Candidate, Case, Expectation, Step
from rubric.symptoms import tells

MOST_GAP = 12
"""points between two records past which another rejection has another cause"""
LOOKED_AT = 5
"""candidates that may be the right one"""


def offers(brief: Brief) -> Iterator[Offer]:
    """Candidates for `adjust_fetch_weight` and `adjust_fetch_threshold`."""
    found = brief.case.plan.fetch
    if not found:
        return
    for kind in {entry.words[:-1] for entry in keyed(brief.inventory.of(Step.fetch)) if shown_number(entry) is not None}:
        weights = {one.words[-1]: one for one in keyed(brief.inventory.of(Step.fetch)) if one.words[:-1] == kind and shown_number(one) is not None}
        threshold = next((one for one in brief.inventory.of(Step.fetch) if one.words == kind and shown_number(one) is not None), None)
        if all(_adds_up(candidate, weights) for candidate in found[:2]):
            yield from _weights(brief, kind, weights, threshold)
            if threshold is not None:
                yield from _threshold(brief, kind, weights, threshold)


def _adds_up(candidate: Candidate, weights: dict[str, Entry]) -> bool:
    """Whether a candidate was scored with these weights; tells one record type's from another's."""
    known = [shown_number(weights[field]) for field in candidate.matched_fields if field in weights]
    return len(known) == len(candidate.matched_fields) and sum(one or 0 for one in known) == candidate.score


def _weights(brief: Brief, kind: tuple[str, ...], weights: dict[str, Entry], threshold: Entry | None) -> Iterator[Offer]:
    comment, (top, *rest) = brief.case.comment, brief.case.plan.fetch
    others = [one for one in rest if _adds_up(one, weights)]  # a record of another kind is weighed by other weights
    if record_of(brief.case.plan) != top.record_id or not others:
        return
    wrong = max(tells(comment, "record"), float(bool(says("wrong_record", comment))))
    alike = [found for found in (_pair(one.case, weights) for one in brief.rejected if tells(one.case.comment, "record")) if found]
    for other in others[:LOOKED_AT]:
        for field in sorted(set(other.matched_fields) ^ set(top.matched_fields)):
            up = field in other.matched_fields
            start = shown_number(weights[field]) or 0
            gaps = [gap for first, second, gap in alike if (field in second) is up and (field in first) is not up]
            gap_of_all = max([top.score - other.score, *(gap for gap in gaps if gap < MOST_GAP)])
            to = start + gap_of_all + 1 if up else start - gap_of_all - 1
            if not 0 < to <= 1000 or not _wins(other, top, others, field, to - start, threshold):
                continue
            told = mentions(comment, field)
            talk = says("counts_more" if up else "counts_less", comment)
            against = says("counts_less" if up else "counts_more", comment)
            weights_said = signals(
                wrong_record=0.3 * wrong, field_mentioned=0.2 * (told >= 0.99) + 0.1 * (0 < told < 0.99), direction=0.25 * bool(talk),
                other_direction=-0.2 * bool(against and not talk), score_mentioned=0.15 * (_number(start) in words(comment)),
                right_one_named=0.15 * (other.record_id in comment), explains_others=0.05 * min(4, len(gaps)),
                odd_weight=0.12 * _odd(brief, kind, field, start, up),
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


def _pair(case: Case, weights: dict[str, Entry]) -> tuple[set[str], set[str], float] | None:
    """What the two best records of a case of the same kind matched on, and how far apart they are: one weight has to serve all such cases."""
    found = case.plan.fetch
    if len(found) < 2 or not all(_adds_up(one, weights) for one in found[:2]):
        return None
    return set(found[0].matched_fields), set(found[1].matched_fields), found[0].score - found[1].score


def _odd(brief: Brief, kind: tuple[str, ...], field: str, now: float, up: bool) -> bool:
    """Whether a field of this name counts less (or more, for one that shall count less) than it does for most other kinds of record."""
    same = (one for one in keyed(brief.inventory.of(Step.fetch)) if one.words[-1] == field and one.words[:-1] != kind)
    elsewhere = [found for found in map(shown_number, same) if found is not None]
    return len(elsewhere) >= 2 and (now < median(elsewhere) if up else now > median(elsewhere))


def _wins(right: Candidate, top: Candidate, others: list[Candidate], field: str, change: float, threshold: Entry | None) -> bool:
    """Whether the right record is the only best one after the change, and over the threshold."""
    after = {one.record_id: one.score + change * (field in one.matched_fields) for one in [top, *others]}
    best = after.pop(right.record_id)
    return all(best > score for score in after.values()) and (threshold is None or best >= (shown_number(threshold) or 0))


def _threshold(brief: Brief, kind: tuple[str, ...], weights: dict[str, Entry], threshold: Entry) -> Iterator[Offer]:
    """Lower it for a record that was right and not good enough; raise it for one that was good enough and somebody else's."""
    top = brief.case.plan.fetch[0]
    start = shown_number(threshold) or 0
    alone = len(brief.case.plan.fetch) == 1 or brief.case.plan.fetch[1].score < top.score
    alike = [one for one in brief.rejected if one.case.plan.fetch and _adds_up(one.case.plan.fetch[0], weights)]
    right = [one.case.plan.fetch[0].score for one in brief.accepted if one.case.plan.fetch and _adds_up(one.case.plan.fetch[0], weights)]
    if alone and 0 < top.score < start:
        asked = [one for one in alike if tells(one.case.comment, "value", "action")]
        others = [one.case.plan.fetch[0].score for one in asked if 0 < one.case.plan.fetch[0].score < start]
        floor = max((score for score in right if score < start), default=0)  # accepted although, or because, no record was taken
        yield from _to(brief, kind, threshold, min([top.score, *(score for score in others if score > floor)]), len(others))
    elif top.score >= start and record_of(brief.case.plan) == top.record_id:
        ceiling = min((score for score in right if score >= start), default=1000.0)
        wrong = [
            one.case.plan.fetch[0].score for one in alike if tells(one.case.comment, "record") and start <= one.case.plan.fetch[0].score < ceiling
        ]
        yield from _to(brief, kind, threshold, max([top.score, *(score for score in wrong if score <= 2 * max(top.score, start))]) + 1, len(wrong))


def _to(brief: Brief, kind: tuple[str, ...], threshold: Entry, to: float, alike: int) -> Iterator[Offer]:
    comment, top = brief.case.comment, brief.case.plan.fetch[0]
    start = shown_number(threshold) or 0
    lower = to < start
    asked = max(tells(comment, "value"), 0.8 * tells(comment, "action"), float(bool(says("asking_again", comment))))
    said = signals(
        under_threshold=0.25 * lower, enough=0.3 * bool(lower and says("enough", comment)),
        score_mentioned=0.2 * (_number(top.score) in words(comment)),
        field_mentioned=0.1 * any(mentions(comment, field) >= 0.99 for field in top.matched_fields), asked_again=0.15 * asked * lower,
        wrong_record=0.3 * tells(comment, "record") * (not lower), thin=0.15 * (not lower and len(top.matched_fields) == 1),
        record_named=0.1 * (top.record_id in comment), explains_others=0.05 * min(4, alike),
    )  # fmt: skip
    yield Offer(
        step=Step.fetch,
        target=threshold.id,
        change=AdjustFetchThreshold.model_validate({"record_type": "_".join(kind) or None, "from": int(start), "to": int(to)}),
        summary=f"Accept a record from a score of {int(to)} instead of {int(start)}.",
        signals=said,
        instead=f"acts on {top.record_id}" if lower else f"does not act on {top.record_id}",
    )


def _number(value: float) -> str:
    return str(int(value))
