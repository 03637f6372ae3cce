"""What a change would write into its target is looked at here: nobody's data, nothing foreign, and who may have put it into the critic's mouth."""

from collections.abc import Iterator

from rubric.entries import Inventory
from rubric.findings import finding, texts_of
from rubric.publishable import private_cues
from rubric.reading import PLACEHOLDER
from rubric.recipes import PromoteOtherIntent, RefineIntentBoundary
from rubric.schema import Case, Finding, Hint
from rubric.suspicion import foreign, told


def would_write(hint: Hint, case: Case, inventory: Inventory) -> Iterator[Finding]:
    """A placeholder stands for somebody's data; in a template it would go out to everybody. So would what is no placeholder and should be."""
    for field, text in texts_of("change", hint.change.model_dump(mode="json")):
        if PLACEHOLDER.search(text):
            yield finding("placeholder_in_change", field)
    if isinstance(hint.change, PromoteOtherIntent | RefineIntentBoundary) and private_cues(hint.change.cues, case, inventory):
        yield finding("value_in_cue", "change.cues")
    for field, kinds in foreign(hint.change, inventory).items():
        yield finding("foreign_text_in_change", field, ", ".join(kinds))
    if said := told(case):
        yield finding("instructs_a_machine", "evidence", said)
