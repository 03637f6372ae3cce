"""Decisions by plain forms: verdicts, edits, conflicts, and what was typed is never lost."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from connectors.ports import PortError
from rubric.schema import Hint
from service.lifecycle import ReviewState
from service.stages import editing, gate
from service.store import handoffs, hints, history
from tests.service.web.world import PAGE, Page, World


def test_confirming_leads_to_the_next_hint_and_can_be_undone_there(world: World) -> None:
    first, second = world.rejects("nsb-010", "T-1"), world.rejects("nsb-001", "T-2")
    where = world.confirms(first)
    assert where == f"/hints/{second}?done=confirmed&id={first}"
    page = world.sees(where)
    assert "Confirmed." in page.text and page.all("form", action=f"/hints/{first}/undo")
    assert page.all("span", **{"class": "countdown"})
    assert world.posts(f"/hints/{first}/undo", {}).headers["location"] == f"/hints/{first}?done=undone&id={first}"
    assert world.sees(f"/hints/{first}?done=undone&id={first}").form("hint")["version"] == "1"


def test_the_last_one_leads_to_the_empty_queue(world: World) -> None:
    hint = world.rejects()
    assert world.confirms(hint) == f"/hints?state=awaiting&done=confirmed&id={hint}"
    assert world.sees(f"/hints?state=awaiting&done=confirmed&id={hint}").all("form", action=f"/hints/{hint}/undo")


def test_a_double_click_is_one_decision(world: World) -> None:
    hint = world.rejects()
    form = world.sees(f"/hints/{hint}").form("hint")
    for _ in range(3):
        world.posts(f"/hints/{hint}/confirm", form)
    assert [review.verdict for review in world.reviews_of(hint)] == ["confirm"]


def test_confirming_saves_what_was_typed_first(world: World) -> None:
    hint = world.rejects()
    form = {**world.sees(f"/hints/{hint}").form("hint"), "summary": "In other words."}
    world.posts(f"/hints/{hint}/confirm", form)
    reviews = world.reviews_of(hint)
    assert [review.verdict for review in reviews] == ["edit", "confirm"] and reviews[1].text["summary"] == "In other words."
    assert reviews[1].seconds is not None and reviews[1].seconds < 60


def test_confirming_stops_when_the_edit_brings_new_findings(world: World) -> None:
    hint = world.rejects()
    form = {**world.sees(f"/hints/{hint}").form("hint"), "change.to": "4", "change.scores": ""}
    answer = world.posts(f"/hints/{hint}/confirm", form, 422)
    page = Page(answer.text)
    assert "saved" in page.text and "scores_unchecked" in page.text and page.form("hint")["version"] == "2"
    assert [review.verdict for review in world.reviews_of(hint)] == ["edit"]
    world.posts(f"/hints/{hint}/confirm", page.form("hint"))


def test_a_blocking_finding_disables_confirm_and_says_why(world: World) -> None:
    hint = world.rejects()
    world.posts(f"/hints/{hint}/edit", {**world.sees(f"/hints/{hint}").form("hint"), "target": "fetch:nowhere"})
    page = world.sees(f"/hints/{hint}")
    assert any("disabled" in button for button in page.all("button", formaction=f"/hints/{hint}/confirm"))
    assert "Cannot be confirmed" in page.text
    answer = world.posts(f"/hints/{hint}/confirm", page.form("hint"), 422)
    assert "target_unknown" in Page(answer.text).text.lower()


def test_a_twin_is_named_and_refused_once_the_other_is_confirmed(world: World) -> None:
    first, second = world.rejects(name="T-1"), world.rejects(name="T-2")
    world.posts(f"/hints/{first}/confirm", world.sees(f"/hints/{first}").form("hint"))
    page = world.sees(f"/hints/{second}")
    assert page.form("hint")["of"] == first
    answer = world.posts(f"/hints/{second}/confirm", page.form("hint"), 422)
    assert "duplicate" in Page(answer.text).text.lower()
    where = world.posts(f"/hints/{second}/duplicate", page.form("hint")).headers["location"]
    assert where == f"/hints?state=awaiting&done=duplicate&id={second}"
    assert second in world.sees(f"/hints/{first}").text


def test_editing_changes_only_what_was_touched(world: World) -> None:
    hint = world.rejects()
    before = world.sees(f"/hints/{hint}").form("hint")
    where = world.posts(f"/hints/{hint}/edit", {**before, "summary": "One\r\ntwo\r\n"}).headers["location"]
    assert where == f"/hints/{hint}?done=edited&id={hint}"
    page = world.sees(where)
    after = page.form("hint")
    assert after["summary"] == "One\ntwo\n" and after["version"] == "2"
    assert {key: value for key, value in after.items() if "summary" not in key and key not in ("version", "opened")} == {
        key: value for key, value in before.items() if "summary" not in key and key not in ("version", "opened")
    }
    assert "✎ edited" in page.text and page.all("del") and page.all("ins")


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("change.to", "many", "write a number"),
        ("change.to", "", "write a number"),
        ("change.to", "1e99", "write a number"),
        ("change.to", "5.5", "integer"),
        ("change.to", "5000", "less than or equal"),
        ("change.scores", "cus_008 : 9", "line 1: write `key = number`"),
        ("change.scores", "cus_008 = 9", "tuple"),
        ("change.field", "", "pattern"),
        ("change.field", "Not A Slug", "pattern"),
    ],
)
def test_a_wrong_field_keeps_what_was_typed_and_says_what_to_write(world: World, field: str, text: str, message: str) -> None:
    hint = world.rejects()
    form = {**world.sees(f"/hints/{hint}").form("hint"), field: text, "summary": "Kept words."}
    page = Page(world.posts(f"/hints/{hint}/edit", form, 422).text)
    assert page.form("hint")[field] == text and page.form("hint")["summary"] == "Kept words."
    wrong = [one for tag in ("input", "textarea") for one in page.all(tag) if one.get("aria-invalid") == "true"]
    assert [one["name"] for one in wrong] == [field] and message in page.text
    assert not world.reviews_of(hint)


def test_somebody_faster_shows_mine_and_theirs_and_loses_nothing(world: World) -> None:
    hint = world.rejects()
    form = {**world.sees(f"/hints/{hint}").form("hint"), "summary": "Mine.", "note": "A note of mine", "reason": "one_off"}
    editing.edit(
        world.house.db, world.ports, world.house.catalogue, hint, version=1, by="other", change={"summary": "Theirs.", "risk_reason": "Their reason."}
    )
    page = Page(world.posts(f"/hints/{hint}/edit", form, 409).text)
    assert "Somebody was faster" in page.text and "Mine." in page.text and "Theirs." in page.text
    again = page.form("hint")
    assert (again["summary"], again["risk_reason"], again["note"], again["reason"]) == ("Mine.", "Their reason.", "A note of mine", "one_off")
    assert again["version"] == "2"
    world.posts(f"/hints/{hint}/edit", again)
    after = world.sees(f"/hints/{hint}").form("hint")
    assert (after["summary"], after["risk_reason"], after["version"]) == ("Mine.", "Their reason.", "3")


@pytest.mark.parametrize("verdict", ["confirm", "dismiss", "duplicate"])
def test_every_verdict_on_an_old_version_is_a_conflict(world: World, verdict: str) -> None:
    other, hint = world.rejects("nsb-001", "T-1"), world.rejects("nsb-010", "T-2")
    form = {**world.sees(f"/hints/{hint}").form("hint"), "reason": "one_off", "note": "kept", "of": other}
    editing.edit(world.house.db, world.ports, world.house.catalogue, hint, version=1, by="other", change={"summary": "Theirs."})
    page = Page(world.posts(f"/hints/{hint}/{verdict}", form, 409).text)
    assert page.form("hint")["note"] == "kept" and page.form("hint")["of"] == other and "Theirs." in page.text


def test_a_hint_that_somebody_decided_shows_what_was_typed(world: World) -> None:
    hint = world.rejects()
    form = {**world.sees(f"/hints/{hint}").form("hint"), "summary": "My long thoughts."}
    gate.dismiss(world.house.db, hint, version=1, by="other", reason="one_off")
    page = Page(world.posts(f"/hints/{hint}/confirm", form, 409).text)
    assert "is dismissed" in page.text and "My long thoughts." in page.text and "by other" in page.text


def test_dismissing_needs_a_reason_and_keeps_the_note(world: World) -> None:
    hint = world.rejects()
    form = {**world.sees(f"/hints/{hint}").form("hint"), "note": "Because.\nReally."}
    page = Page(world.posts(f"/hints/{hint}/dismiss", form, 422).text)
    assert "choose why" in page.text and page.form("hint")["note"] == "Because.\nReally."
    world.posts(f"/hints/{hint}/dismiss", {**page.form("hint"), "reason": "one_off"})
    review = world.reviews_of(hint)[-1]
    assert (review.reason, review.note) == ("one_off", "Because.\nReally.")
    assert "one off" in world.sees(f"/hints/{hint}").text


@pytest.mark.parametrize("of", ["", "none", "self", "<script>"])
def test_a_duplicate_of_nothing_is_refused_beside_the_field(world: World, of: str) -> None:
    hint = world.rejects()
    form = {**world.sees(f"/hints/{hint}").form("hint"), "of": hint if of == "self" else of}
    page = Page(world.posts(f"/hints/{hint}/duplicate", form, 422).text)
    assert page.all("input", name="of")[0].get("aria-invalid") == "true" and page.form("hint")["of"] == form["of"]


@pytest.mark.parametrize("version", ["", "-1", "x", "99999999999999999999", "٣"])
def test_a_form_without_its_version_decides_nothing(world: World, version: str) -> None:
    hint = world.rejects()
    for verdict in ("confirm", "dismiss", "edit"):
        world.posts(f"/hints/{hint}/{verdict}", {"version": version, "reason": "one_off"}, 422)
    assert not world.reviews_of(hint)


def test_a_target_out_of_reach_keeps_what_was_typed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    hint = world.rejects()
    form = {**world.sees(f"/hints/{hint}").form("hint"), "summary": "Typed before."}

    def away() -> str:
        raise PortError("no_repo", "the repository is away", retryable=True)

    monkeypatch.setattr(world.bank, "head", away)
    page = Page(world.posts(f"/hints/{hint}/edit", form, 503).text)
    assert "no_repo" in page.text and page.form("hint")["summary"] == "Typed before."


def test_undo_after_work_has_started_is_a_conflict_with_a_way_out(world: World) -> None:
    hint = world.rejects()
    world.confirms(hint)
    pull = world.pull_of(hint)
    with world.house.db.begin() as session:
        row = hints.get(session, hint)
        assert row and row.state is ReviewState.confirmed
    started(world, hint)
    page = Page(world.posts(f"/hints/{hint}/undo", {}, 409).text)
    assert "work has started" in page.text and page.all("a", href=f"/pulls/{pull}")


def started(world: World, hint_id: str) -> None:
    with world.house.db.begin() as session:
        history.move(session, handoffs.of_hint(session, hint_id)[0], handoffs.HandoffState.working, by="test")


def test_looking_changes_nothing(world: World) -> None:
    hint, second = world.rejects("nsb-010", "T-1"), world.rejects("nsb-001", "T-2")
    world.confirms(hint)
    pull, before = world.pull_of(hint, report={}), snapshot(world)
    for path in (
        "/",
        "/hints",
        f"/hints/{hint}",
        f"/hints/{second}?done=confirmed&id={hint}",
        "/pulls",
        f"/pulls/{pull}",
        "/console",
        f"/cases/{hint[:-2]}",
    ):
        world.client.get(path)
    for verdict in ("confirm", "edit", "dismiss", "duplicate", "undo"):
        assert world.client.get(f"/hints/{second}/{verdict}").status_code in (404, 405)
    assert snapshot(world) == before


def snapshot(world: World) -> dict[str, list[Any]]:
    with world.house.db.read() as session:
        connection = session.connection()
        return {
            table: list(connection.exec_driver_sql(f"SELECT * FROM {table}"))
            for table in ("hints", "reviews", "handoffs", "pulls", "history", "cases")
        }


def test_a_cookie_without_any_word_of_the_browser_decides_nothing(world: World) -> None:
    hint = world.rejects()
    bare = TestClient(world.app, headers={"accept": PAGE["accept"]}, follow_redirects=False, cookies=dict(world.client.cookies))
    assert bare.get(f"/hints/{hint}").status_code == 200
    assert bare.post(f"/hints/{hint}/confirm", data={"version": "1"}).status_code == 401
    assert not world.reviews_of(hint)


def odd(hint: Hint) -> Hint:
    """Values that a plain field cannot hold without loss."""
    text = hint.model_dump(mode="json", by_alias=True)
    text["change"] = {"recipe": "add_policy_rule", "rule": "r", "scope": ["s"], "text": "t", "owner": "o", "blocks_sentences": ["a\nb", " "]}
    return Hint.model_validate(text)


def test_what_a_plain_field_would_lose_is_edited_as_json(world: World) -> None:
    world.twist = odd
    hint = world.rejects()
    form = world.sees(f"/hints/{hint}").form("hint")
    assert form["change.blocks_sentences"] == '[\n  "a\\nb",\n  " "\n]'
    for bad in ("nonsense", "[1", '["a", NaN]', '["\\u0000"]', "[" * 5000):
        page = Page(world.posts(f"/hints/{hint}/edit", {**form, "change.blocks_sentences": bad}, 422).text)
        assert page.form("hint")["change.blocks_sentences"] == bad
    world.posts(f"/hints/{hint}/edit", {**form, "change.blocks_sentences": '["one"]', "change.blocks_tools": "x\ny\n\n"})
    with world.house.db.read() as session:
        row = hints.get(session, hint)
        assert row and row.current["change"]["blocks_sentences"] == ["one"] and row.current["change"]["blocks_tools"] == ["x", "y"]


@pytest.mark.parametrize("late", [["c2"], []])
def test_accepted_cases_that_ran_late_are_shown_as_not_tried(world: World, late: list[str]) -> None:
    world.twist = lambda hint: hint.model_copy(update={"controls": ["c1", "c2", "c3"], "controls_not_tried": late})
    said = " ".join(world.sees(f"/hints/{world.rejects()}").text.split())
    assert ("3 accepted cases named, 1 not tried: their replay did not end in time" in said) is bool(late)
    assert "3 accepted cases named" in said
