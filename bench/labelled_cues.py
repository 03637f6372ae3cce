"""Measuring only, reads labels: finds words that carry some tickets to a leaf and nobody else."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from bench.rehearsal import Cluster, Rehearsal

LONGEST, MOST = 4, 20
"""words of a cue, and cues of a change"""


class Messages:
    """What the leaves score on every ticket that is known, before the change."""

    def __init__(self, rehearsal: Rehearsal, cluster: Cluster, leaf: str, drop: str = "", wrong: str = ""):
        intents, intent = rehearsal.intents(), rehearsal.intent
        self.leaf, self.threshold, self._intent = leaf, intents["threshold"]["leaf"], intent
        if drop:
            kept = {cue: weight for cue, weight in intents["leaves"][wrong]["cues"].items() if cue != drop}
            intents = {**intents, "leaves": {**intents["leaves"], wrong: {**intents["leaves"][wrong], "cues": kept}}}
        self.need: dict[str, int] = {}
        self.words: dict[str, set[str]] = {}
        self.holders: dict[str, list[int]] = defaultdict(list)
        """phrase → tickets that must stay where they are"""
        self.room: list[int] = []
        """points that such a ticket may gain for the leaf before it moves"""
        for case in cluster.cases:
            own, best = self._scores(intents, case["ticket"]["messages"])
            self.need[case["external_id"]] = max(self.threshold, best + 1) - own
            self.words[case["external_id"]] = self._phrases(case)
        others = [(case["ticket"]["messages"], rehearsal.wanted[case["external_id"]]["intent_path"]) for case in rehearsal.cases]
        others += [(row["messages"], row["expected"]) for row in rehearsal.rows["intent"]]
        for messages, path in others:
            if path != leaf:
                own, best = self._scores(intents, messages)
                for phrase in intent.phrases(intent.tokens(messages), LONGEST):
                    self.holders[phrase].append(len(self.room))
                self.room.append(max(self.threshold, best) - 1 - own)

    def _scores(self, intents: Any, messages: Any) -> tuple[int, int]:
        """(what our leaf gets, what the best of the others gets)"""
        ranked = self._intent.scores(intents, messages)
        own = next((score for score, name, _ in ranked if name == self.leaf), 0)
        return own, max((score for score, name, _ in ranked if name != self.leaf and not name.endswith("/other")), default=0)

    def _phrases(self, case: dict[str, Any]) -> set[str]:
        """What may become a cue: no numbers, nothing that the pipeline read as somebody's data."""
        people = [value for group in ("people", "contact") for value in case["plan"]["extraction"].get(group, {}).values()]
        private = set(" ".join(map(str, people)).lower().split())
        found = self._intent.phrases(self._intent.tokens(case["ticket"]["messages"]), LONGEST)
        return {one for one in found if 2 <= len(one) <= 80 and one.replace(" ", "").replace("'", "").isalpha() and not private & set(one.split())}


def find_cues(messages: Messages) -> dict[str, int] | None:
    """A few cues with weights, those first that carry most tickets; None when some ticket cannot be told from others."""
    need, room, cues = dict(messages.need), list(messages.room), dict[str, int]()
    while any(value > 0 for value in need.values()) and len(cues) < MOST:
        best: tuple[tuple[int, int, int], str, int] | None = None
        open_ = [name for name, value in need.items() if value > 0]
        for phrase in sorted({phrase for name in open_ for phrase in messages.words[name]} - set(cues)):
            carried = [name for name in open_ if phrase in messages.words[name]]
            weight = max(need[name] for name in carried)
            if any(room[place] < weight for place in messages.holders.get(phrase, ())):
                continue
            rank = (len(carried), -len(messages.holders.get(phrase, ())), -len(phrase))
            if best is None or rank > best[0]:
                best = (rank, phrase, weight)
        if best is None:
            return None
        _, phrase, weight = best
        cues[phrase] = weight
        for name in need:
            need[name] -= weight if phrase in messages.words[name] else 0
        for place in messages.holders.get(phrase, ()):
            room[place] -= weight
    return cues if all(value <= 0 for value in need.values()) else None


def weights_for(word: str, messages: Messages) -> Sequence[int]:
    """Weights that could be right for one cue that the label names."""
    most = max((value for name, value in messages.need.items() if word in messages.words[name]), default=0)
    return sorted({most, *range(1, 25)}, key=lambda weight: (abs(weight - most), weight))[:9] if most > 0 else ()
