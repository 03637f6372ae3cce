"""The embedded critic: no model, no key, no network; the same brief gives the same answer."""

from rubric.catalogue import Catalogue
from rubric.drafting import Abstained, Brief, Drafted
from rubric.precedents import answer


class PrecedentCritic:
    """`rubric.precedents` behind the port."""

    name = "precedent-1"
    listens = False

    def __init__(self, catalogue: Catalogue):
        self._catalogue = catalogue

    def draft(self, brief: Brief) -> Drafted | Abstained:
        return answer(brief, self._catalogue)
