"""Pulls, the story of a case, and the console."""

from pathlib import Path
from typing import Any

import pytest

from connectors.ports import PortError
from service.web.pulls import GONE
from tests.service.web.world import Page, World

DIFF = "diff --git a/c.json b/c.json\n--- a/c.json\n+++ b/c.json\n@@ -1,3 +1,3 @@\n a\n-b\n--- c\n+d\u202e\n\\ No newline at end of file\n"
REPORT: dict[str, Any] = {
    "reasons": ["fetch-golden: 1 lost"],
    "steps": ["fetch"],
    "suites": [
        {"suite": "fetch-golden", "step": "fetch", "state": "fail", "rows_base": 17, "rows_head": 18, "kept": 15, "lost": ["row-7"], "gained": ["row-9"], "new": ["n1"],
         "missing": [], "new_failing": [], "reason": "1 lost (passed on base, not on head): row-7", "seconds_base": 0.25, "seconds_head": 0.5, "detail_base": "", "detail_head": ""}
    ],
    "cure": {"case_id": "c1", "state": "cured", "reason": ""},
    "controls": [{"case_id": "same-1", "state": "same", "reason": ""}, {"case_id": "moved-2", "state": "changed", "reason": "intent: a → b"}],
    "effect": ["record: cus_008 → cus_007"],
    "seconds": 1.5,
}  # fmt: skip


def a_pull(world: World, **columns: Any) -> str:
    hint = world.rejects()
    world.confirms(hint)
    return world.pull_of(hint, **columns)


def test_no_pulls_yet(world: World) -> None:
    assert "No pulls yet" in world.sees("/pulls").text
    assert "No merged pulls" in world.sees("/pulls?state=merged").text


def test_the_list_has_tabs_and_the_gate(world: World) -> None:
    pull = a_pull(world, report=REPORT, gate="fail")
    page = world.sees("/pulls?state=ready")
    assert page.all("a", href=f"/pulls/{pull}") and page.all("span", **{"class": "verdict bad"})
    assert not world.sees("/pulls?state=merged").all("a", href=f"/pulls/{pull}")


def test_a_pull_shows_its_proof(world: World) -> None:
    world.bank.shows = DIFF
    page = world.sees(f"/pulls/{a_pull(world, report=REPORT, gate='fail')}")
    for words in ("17 → 18", "row-7", "row-9", "0.2 / 0.5", "record: cus_008 → cus_007", "2 controls: 1 unchanged", "cured", "no row"):
        assert words in page.text, words
    assert page.text.index("moved-2") < page.text.index("same-1")
    kinds = [tag["class"] for tag in page.all("span") if tag.get("class") in ("file", "hunk", "add", "del", "note", "same")]
    assert kinds == ["file"] * 3 + ["hunk", "same", "del", "del", "add", "note"]
    assert "⟦U+202E⟧" in page.text


@pytest.mark.parametrize(
    "report", [{}, {"reasons": ["no_manifest: gone"]}, {"suites": [{}], "cure": {}, "controls": [{}]}, {"suites": None, "controls": None}]
)
def test_a_run_that_ended_early_is_shown_too(world: World, report: dict[str, Any]) -> None:
    page = world.sees(f"/pulls/{a_pull(world, report=report, gate='error', state='draft')}")
    assert all(reason in page.text for reason in report.get("reasons") or [])


def test_a_diff_out_of_reach_is_a_message_in_the_page(world: World) -> None:
    world.bank.shows = PortError("no_repo", "the repository is away")
    assert "no_repo: the repository is away" in world.sees(f"/pulls/{a_pull(world)}").text


def test_a_target_that_is_gone_is_a_message_in_the_page(world: World) -> None:
    assert "not configured any more" in world.sees(f"/pulls/{a_pull(world, target='gone')}").text


@pytest.mark.parametrize(
    ("state", "live"), [("draft", True), ("landing", True), ("ready", False), ("merged", False), ("closed", False), ("frozen", False)]
)
def test_only_what_moves_by_itself_is_followed(world: World, state: str, live: bool) -> None:
    pull = a_pull(world, state=state)
    page = world.sees(f"/pulls/{pull}")
    assert bool(page.all("meta", **{"http-equiv": "refresh", "content": "3"})) is live
    assert not world.sees(f"/pulls/{pull}?live=off").all("meta", **{"http-equiv": "refresh"})
    assert bool(page.all("form", action=f"/pulls/{pull}/merge")) is (state == "ready")
    assert bool(page.all("form", action=f"/pulls/{pull}/close")) is (state not in ("merged", "closed"))


def test_a_gate_that_said_no_is_not_waited_for(world: World) -> None:
    assert not world.sees(f"/pulls/{a_pull(world, state='draft', report=REPORT, gate='fail')}").all("meta", **{"http-equiv": "refresh"})
    world.begin()
    assert world.sees(f"/pulls/{a_pull(world, state='draft', report={}, gate='running')}").all("meta", **{"http-equiv": "refresh"})


def test_merging_is_asked_once(world: World) -> None:
    pull = a_pull(world)
    for _ in range(2):
        assert world.posts(f"/pulls/{pull}/merge", {}).headers["location"] == f"/pulls/{pull}?done=merge"
    page = world.sees(f"/pulls/{pull}?done=merge")
    assert "Asked to merge." in page.text and "Landing." in page.text


def test_a_pull_that_is_not_ready_cannot_be_merged(world: World) -> None:
    page = Page(world.posts(f"/pulls/{a_pull(world, state='draft')}/merge", {}, 409).text)
    assert "only a ready one can be merged" in page.text


def test_closing_needs_a_reason_and_keeps_it(world: World) -> None:
    pull = a_pull(world)
    assert "closing needs a reason" in Page(world.posts(f"/pulls/{pull}/close", {"reason": "  "}, 422).text).text.lower()
    long = "x" * 501
    assert Page(world.posts(f"/pulls/{pull}/close", {"reason": long}, 422).text).form("")["reason"] == long
    world.posts(f"/pulls/{pull}/close", {"reason": "Not like this."})
    assert "Not like this." in world.sees(f"/pulls/{pull}?done=closed").text
    answer = world.posts(f"/pulls/{pull}/merge", {}, 409)
    assert "is closed" in Page(answer.text).text


def test_the_story_of_a_case_in_words(world: World) -> None:
    hint = world.rejects()
    case = hint.removeprefix("h").removesuffix("-1")
    page = world.sees(f"/cases/c{case}")
    assert "What became of T-1" in page.text and "An engineer will look at it and decide." in page.text and "father in law" in page.text
    world.confirms(hint)
    pull = world.pull_of(hint, state="merged")
    page = world.sees("/cases/T-1")
    assert "The fix is in use." in page.text and page.all("a", href=f"/pulls/{pull}")


def test_a_case_without_a_change_says_why(world: World) -> None:
    case = world.receives("nsb-010", "T-9", rejection={"comment": "hm", "by": "a", "at": "2026-01-01T00:00:00Z"})
    page = world.sees(f"/cases/{case}")
    assert "No change was proposed." in page.text and "The reason is:" in page.text


def test_the_console_counts_with_links(world: World) -> None:
    world.rejects()
    page = world.sees("/console")
    assert page.all("a", href="/hints?state=awaiting") and "drafted1" in page.text


def test_pages_of_pulls(world: World) -> None:
    hint = world.rejects()
    for turn in range(5):
        world.confirms(hint)
        world.pull_of(hint)
        if turn < 4:
            world.posts(f"/hints/{hint}/undo", {})
    seen: list[str] = []
    where = "/pulls?limit=2"
    while where:
        page = world.sees(where)
        seen += [link["href"] for link in page.all("a") if link["href"].startswith("/pulls/p")]
        where = next((link["href"] for link in page.all("a", rel="next")), "")
    assert len(seen) == len(set(seen)) == 5


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("path_missing: config/x.json, cues > fee does not exist", "send the case again as a new revision"),
        ("path_exists: config/x.json, leaves > fee exists already", "has changed the place"),
        ("value_differs: config/x.json, weights > email does not hold the value that the edit expects", "has changed the place"),
        ("the gate says fail on the newest base", "The proof below is that of the newest base"),
        ("the base branch kept moving; ask again", "Ask again"),
    ],
)
def test_a_pull_that_came_back_says_why_and_what_to_do(world: World, reason: str, words: str) -> None:
    """It read `Ready. Every step eval passed on this head`, also where the gate had just said no."""
    page = world.sees(f"/pulls/{a_pull(world, closed_reason=reason)}")
    assert reason in page.text and words in page.text
    assert "Every step eval passed" not in page.text
    assert "Every step eval passed" in world.sees(f"/pulls/{a_pull(world.begin())}").text


def test_the_codes_of_an_edit_without_a_place_are_those_of_the_codemod() -> None:
    root = Path(__file__).parents[3] / "connectors"
    said = " ".join(path.read_text(encoding="utf-8") for path in [root / "codemod.py", *(root / "splicing").glob("*.py")])
    assert {code for code in GONE if f'"{code}"' not in said and f'"{code}: ' not in said} == set()
