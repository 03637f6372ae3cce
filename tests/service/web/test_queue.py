"""The queue and the page of a hint: empty states, filters, paging, and what is shown."""

import pytest

from service.store import hints
from tests.service.web.world import CASES, World


def test_first_run_says_how_to_send_a_case(world: World) -> None:
    page = world.sees("/hints")
    assert "Waiting for the first case" in page.text and "webhook-signature" in page.text and "/v1/cases" in page.text
    assert world.client.get("/static/sample-case.json").json()["rejection"]["comment"]


def test_a_case_without_a_hint_is_told_apart_from_the_first_run(world: World) -> None:
    accepted = next(name for name, case in CASES.items() if case["verdict"] == "accepted")
    world.receives(accepted)
    page = world.sees("/hints")
    assert "No hint to decide on" in page.text and "1 accepted, kept as controls" in page.text


def test_all_done_counts_the_decisions(world: World) -> None:
    world.confirms(world.rejects())
    page = world.sees("/hints?state=awaiting")
    assert "All decided" in page.text and "Confirmed 1" in page.text


def test_nothing_matches_offers_to_clear_the_filters(world: World) -> None:
    world.rejects()
    page = world.sees("/hints?state=awaiting&step=reply")
    assert "Nothing matches" in page.text and page.all("a", href="/hints?state=awaiting")


def test_filters_and_tabs_live_in_the_address(world: World) -> None:
    fetch, reply = world.rejects("nsb-010", "T-1"), world.rejects("nsb-007", "T-2") if "nsb-007" in CASES else ""
    page = world.sees("/hints?state=awaiting&step=fetch&recipe=adjust_fetch_weight")
    assert page.all("a", href=f"/hints/{fetch}") and not (reply and page.all("a", href=f"/hints/{reply}"))
    assert page.form("")["step"] == "fetch" or any("selected" in option for option in page.all("option"))
    assert any("step=fetch" in tab["href"] and "state=dismissed" in tab["href"] for tab in page.all("a"))
    assert world.sees(f"/hints?case={hints_case(world, fetch)}").all("a", href=f"/hints/{fetch}")


def hints_case(world: World, hint_id: str) -> str:
    with world.house.db.read() as session:
        found = hints.get(session, hint_id)
        assert found
        return found.case_id


@pytest.mark.parametrize(
    "query",
    ["state=nonsense", "limit=-1", "limit=99999999999", "after=garbage", "after=%00", "step=%3Cscript%3E", "done=confirmed&id=none", "done=x"],
)
def test_odd_addresses_still_give_a_page(world: World, query: str) -> None:
    world.rejects()
    world.sees(f"/hints?{query}")
    world.sees(f"/pulls?{query}")


def test_paging_shows_every_hint_once(world: World) -> None:
    made = {world.rejects(name=f"T-{number}") for number in range(7)}
    seen: list[str] = []
    where = "/hints?state=awaiting&limit=3&each=on"
    for _ in range(3):
        page = world.sees(where)
        seen += [link["href"].removeprefix("/hints/") for link in page.all("a") if link["href"].startswith("/hints/h")]
        where = next((link["href"] for link in page.all("a", rel="next")), "")
    assert not where and len(seen) == 7 and set(seen) == made


def test_the_page_shows_case_and_hint_with_its_quotes_marked(world: World) -> None:
    page = world.sees(f"/hints/{world.rejects()}")
    assert len(page.all("h1")) == 1 and page.all("mark") and page.all("meter")
    assert "suspect step" in page.text and "values masked" in page.text and "must hold: the record is “cus_007”" in page.text
    assert "Uncalibrated: 0 decisions so far, 50 are needed" in page.text and "not tried" in page.text and "samples" not in page.text
    form = page.form("hint")
    assert (form["change.from"], form["change.to"]) == ("5", "3") and form["change.scores"] == "cus_008 = 9, 7\ncus_007 = 8, 8"
    assert page.all("input", name="change.to")[0]["type"] == "number"
    assert page.all("div", lang="en-GB")


def test_every_field_has_a_label(world: World) -> None:
    page = world.sees(f"/hints/{world.rejects()}")
    labels = {label.get("for") for label in page.all("label")}
    for tag in ("input", "select", "textarea"):
        for field in page.all(tag):
            assert field.get("type") in ("hidden", "checkbox") or field.get("id") in labels, field
