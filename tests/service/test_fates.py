"""Where a rejection ended is told from what the API says of it: each stage with its reason, and a table that nothing breaks."""

from typing import Any

import pytest

from service.commands.fates import NO_RECIPE, STAGES, Fate, as_markdown, by_recipe, fate_of


def story(**more: Any) -> dict[str, Any]:
    hint = {"recipe": "adjust_fetch_weight", "state": "confirmed", "reason": None}
    return {"name": "t-1", "state": "drafted", "outcome": None, "reason": None, "hints": [hint], **more}


def leader(**more: Any) -> dict[str, Any]:
    return {"state": "confirmed", "reason": None, "handoffs": [{"state": "done", "reason": None}], "pulls": [], **more}


def pull(state: str, **more: Any) -> list[dict[str, Any]]:
    return [{"id": "p0", "state": "closed", "closed_reason": "an older one"}, {"id": "p1", "state": state, **more}]


GATES = {"p0": "pass", "p1": "fail", "p2": None}
"""pull → verdict of its gate, as the list of pulls says"""


def hinted(state: str, reason: str | None = None) -> list[dict[str, Any]]:
    return [{"recipe": "adjust_fetch_weight", "state": state, "reason": reason}]


ENDS: dict[str, tuple[dict[str, Any], dict[str, Any] | None, tuple[str, str]]] = {
    "no hint, an answer": ({"state": "abstained", "hints": [], "outcome": "one_off", "reason": "happens once"}, None, ("abstained", "one_off: happens once")),
    "no hint, tries": (
        {"state": "abstained", "hints": [], "outcome": "unclear_ask_back", "reason": "no_effect: none of 3 tries"}, None,
        ("abstained", "unclear_ask_back: no_effect"),
    ),
    "no hint, an answer to a case that speaks to a machine": (
        {"state": "abstained", "hints": [], "outcome": "one_off", "reason": "happens once (instructs a machine: the ticket holds encoded text)"}, None,
        ("abstained", "one_off: happens once"),
    ),
    "no hint, a failure": ({"state": "failed", "hints": [], "reason": "replay_exit"}, None, ("failed", "replay_exit")),
    "no hint, still waiting": ({"state": "queued", "hints": []}, None, ("failed", "queued")),
    "dismissed": ({"hints": hinted("dismissed", "one_off")}, leader(state="dismissed", reason="wrong_hint"), ("dismissed", "wrong_hint")),
    "its leader was dismissed": ({"hints": hinted("duplicate")}, leader(state="dismissed"), ("dismissed", "dismissed")),
    "not decided": ({"hints": hinted("awaiting")}, leader(state="awaiting"), ("dismissed", "awaiting")),
    "the codemod gave up": (
        {}, leader(handoffs=[{"state": "failed", "reason": "x"}, {"state": "gave_up", "reason": "was_differs: fetch: is 3"}]),
        ("handoff", "gave_up: was_differs"),
    ),
    "nothing was built": ({}, leader(handoffs=[]), ("handoff", "none")),
    "the gate said no": ({}, leader(pulls=pull("draft")), ("gate", "fail")),
    "the gate said nothing": ({}, leader(pulls=pull("draft", id="p2")), ("gate", "no verdict")),
    "closed": ({}, leader(pulls=pull("closed", closed_reason="path_missing: config/x, cues > a word of a ticket")), ("not merged", "closed: path_missing")),
    "ready": ({}, leader(pulls=pull("ready")), ("not merged", "ready")),
    "merged": ({}, leader(pulls=pull("merged")), ("merged, not cured", "its plan is not what the hint promised")),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_each_end_has_its_stage_and_reason(name: str) -> None:
    told, leading, (stage, reason) = ENDS[name]
    recipe = "adjust_fetch_weight" if leading else NO_RECIPE
    assert fate_of(story(**told), leading, False, GATES) == Fate("t-1", recipe, stage, reason)
    assert stage in STAGES


def test_cured_counts_for_a_duplicate_too_and_not_for_what_was_dismissed() -> None:
    assert fate_of(story(hints=hinted("duplicate")), leader(pulls=pull("merged")), True, GATES) == Fate("t-1", "adjust_fetch_weight", "cured", "")
    assert fate_of(story(), leader(pulls=pull("draft")), True, GATES).stage == "cured"  # another's change did it
    assert fate_of(story(hints=hinted("dismissed")), leader(state="dismissed"), True, GATES).stage == "dismissed"


FATES = [Fate("1", "a", "cured", ""), Fate("2", "b", "gate", "fail"), Fate("3", "b", "gate", "fail"), Fate("4", "b", "handoff", "x | y\nz")]


def test_the_most_frequent_recipe_comes_first() -> None:
    assert [(recipe, sum(numbers)) for recipe, numbers in by_recipe(FATES)] == [("b", 3), ("a", 1)]
    assert dict(by_recipe(FATES))["b"] == [0, 0, 0, 2, 1, 0, 0, 0]
    assert by_recipe([]) == []


def test_the_report_is_a_table_that_no_reason_breaks() -> None:
    text = as_markdown({"cases": 4, "ended": {"cured": 1}}, FATES, "triage demo --exit")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert "| cases | 4 |" in rows and not any("ended" in row for row in rows)
    assert "| b |  |  |  | 2 | 1 |  |  |  |" in rows
    assert rows[-2:] == ["| gate | fail | 2 |", "| handoff | x / y z | 1 |"]
    assert not [row for row in rows if row.startswith("| cured")]
    assert text.endswith("\n") and "`triage demo --exit`" in text
