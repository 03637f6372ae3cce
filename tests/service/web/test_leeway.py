"""Waiving and accepting on the page of a pull and over the API, the table of rows, and what is noise."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.store import gate_runs, row_noise, waivers
from service.web import rows
from tests.service.web.test_untrusted import ALL, PAYLOADS, harmless
from tests.service.web.world import Page, World

SUITE: dict[str, Any] = {
    "suite": "fetch-golden", "step": "fetch", "state": "fail", "graded": "self", "rows_base": 9, "rows_head": 9, "kept": 3, "gained": ["g1"], "lost": ["l1", "l 2"],
    "missing": ["m1"], "new": ["n1"], "new_failing": ["nf"], "undecided": ["u1"], "waived": {"w1": "known"}, "quarantined": ["q1"], "failing": ["f1"],
    "counts": {"u1": [8, 8, 4, 8], "q1": [3, 8, 5, 8]}, "seconds_base": 0.1, "seconds_head": 0.1, "detail_base": "", "detail_head": "", "reason": "",
}  # fmt: skip
REPORT: dict[str, Any] = {"reasons": ["x"], "suites": [SUITE], "controls": []}
AUTH = {"authorization": "Bearer a token of this test", "accept": "application/json"}


def a_pull(world: World, gate: str = "fail", state: str = "draft", report: dict[str, Any] = REPORT, **columns: Any) -> str:
    hint = world.rejects()
    world.confirms(hint)
    return world.pull_of(hint, state=state, gate=gate, report=report, **columns)


def test_rows_are_shown_with_both_sides_the_lost_ones_first(world: World) -> None:
    pull = a_pull(world)
    page = world.sees(f"/pulls/{pull}")
    shown = [(one.row, one.base, one.head, one.verdict) for one in rows.lines(REPORT)]
    assert shown == [
        ("l1", "pass", "fail", "lost"), ("l 2", "pass", "fail", "lost"), ("m1", "there", "missing", "missing"), ("nf", "none", "fail", "new, failing"),
        ("u1", "8 of 8", "4 of 8", "undecided"), ("w1", "pass", "fail", "waived"), ("g1", "fail", "pass", "gained"), ("n1", "none", "pass", "new"),
        ("q1", "3 of 8", "5 of 8", "quarantined"), ("f1", "fail", "fail", "failing on both"),
    ]  # fmt: skip
    assert "10 rows worth a look, 3 kept" in page.text and "self-graded" in page.text and "known" in page.text
    assert page.text.index("undecided") < page.text.index("quarantined") and "8 of 84 of 8" in page.text
    assert len(page.all("th", scope="row")) >= 10 and not [tag for tag in page.all("th") if tag.get("scope") not in ("row", "col")]
    assert "self-graded" not in world.begin().sees(f"/pulls/{a_pull(world, report={'suites': [{**SUITE, 'graded': 'outside'}]})}").text


def test_of_many_rows_the_first_are_shown_and_all_are_counted(world: World) -> None:
    lost = [f"r{number:04}" for number in range(rows.MOST + 50)]
    page = world.sees(f"/pulls/{a_pull(world, report={'suites': [{**SUITE, 'lost': lost}]})}")
    assert f"The first {rows.MOST} of {len(lost) + 8} rows." in page.text
    assert len(page.all("option")) == rows.MOST and f">{lost[rows.MOST - 1]}<" in page.html and f">{lost[rows.MOST]}<" not in page.html


def test_a_row_is_waived_by_its_form(world: World) -> None:
    pull = a_pull(world)
    page = world.sees(f"/pulls/{pull}")
    assert [one["value"] for one in page.all("option")] == ["fetch-golden l1", "fetch-golden l 2", "fetch-golden u1"]
    assert page.all("textarea", id="waive-reason")[0].keys() >= {"required", "aria-describedby"} and page.all("label", **{"for": "waive-row"})
    assert page.all("form", action=f"/pulls/{pull}/waive") and not page.all("form", action=f"/pulls/{pull}/accept")
    answer = world.posts(f"/pulls/{pull}/waive", {"row": "fetch-golden l 2", "reason": "retired"})
    assert answer.headers["location"] == f"/pulls/{pull}?done=waived"
    page = world.sees(f"/pulls/{pull}?done=waived")
    for words in (
        "Waived. The gate looks again.",
        "The step evals are running.",
        "waived the row l 2 of fetch-golden: retired",
        "Waived by a person, each for one head",
    ):
        assert words in page.text, words
    assert not page.all("form", action=f"/pulls/{pull}/waive") and page.all("meta", **{"http-equiv": "refresh"})
    again = Page(world.posts(f"/pulls/{pull}/waive", {"row": "fetch-golden l1", "reason": "me too"}, 409).text)
    assert "The gate says running" in again.text


@pytest.mark.parametrize("act", ["waive", "accept"])
def test_what_was_typed_is_kept_when_it_is_refused(world: World, act: str) -> None:
    pull = a_pull(world, gate="inconclusive")
    page = Page(world.posts(f"/pulls/{pull}/{act}", {"row": "fetch-golden l 2", "reason": "x" * 501}, 422).text)
    assert "keep the reason under 500 characters" in page.text.lower()
    assert page.form(act)["reason"] == "x" * 501 and page.form("")["reason"] == "" and [tag for tag in page.all("details") if "open" in tag]
    assert act == "accept" or page.form(act)["row"] == "fetch-golden l 2"
    assert "a reason is needed" in Page(world.posts(f"/pulls/{pull}/{act}", {"row": "fetch-golden l1", "reason": " "}, 422).text).text.lower()


def test_an_undecided_run_is_accepted_by_its_form_and_a_failed_one_is_not(world: World) -> None:
    pull = a_pull(world, gate="inconclusive")
    assert world.sees(f"/pulls/{pull}").all("textarea", id="accept-reason")[0].keys() >= {"required"}
    assert world.posts(f"/pulls/{pull}/accept", {"reason": "by hand"}).headers["location"] == f"/pulls/{pull}?done=accepted"
    page = world.sees(f"/pulls/{pull}?done=accepted")
    assert "took it upon themselves" in page.text and "by hand" in page.text and not page.all("form", action=f"/pulls/{pull}/accept")
    for gate in ("fail", "error", "pass"):
        pull = a_pull(world.begin(), gate=gate)
        assert not world.sees(f"/pulls/{pull}").all("form", action=f"/pulls/{pull}/accept")
        assert world.posts(f"/pulls/{pull}/accept", {"reason": "I want it"}, 409)


def test_programs_can_do_both(world: World) -> None:
    pull = a_pull(world, gate="inconclusive")

    def post(act: str, **body: Any) -> Any:
        return world.client.post(f"/v1/pulls/{pull}/{act}", json=body, headers={**AUTH, "x-triage-by": "gwen"})

    for act in ("waive", "accept"):
        for reason in ("", " ", "\u200b", "x" * 501, 7, None, "a\x00b", "\ud800"):
            body = {"reason": reason, **({"suite": "fetch-golden", "row": "l1"} if act == "waive" else {})}
            if reason != "\ud800":
                assert post(act, **body).status_code == 422, (act, reason)
        assert post(act).status_code == 422 and post(act, reason="x", extra=1).status_code == 422
    assert post("waive", suite="fetch-golden", row="m1", reason="x").status_code == 422
    answer = post("waive", suite="fetch-golden", row="l1", reason="known")
    assert (answer.status_code, answer.json()["state"]) == (202, "running")
    assert post("accept", reason="x").status_code == 409 and post("waive", suite="fetch-golden", row="l1", reason="x").status_code == 409
    assert world.client.post(
        f"/v1/pulls/{pull}/accept", json={"reason": "x"}, headers={"authorization": "Bearer no", "accept": "application/json", "cookie": ""}
    ).status_code in (401, 409)
    with world.house.db.read() as session:
        assert [one.by for one in waivers.of_pull(session, pull)] == ["gwen"]


@pytest.mark.parametrize("payload", [*PAYLOADS, ALL])
def test_no_reason_row_or_line_becomes_a_part_of_the_page(world: World, payload: str) -> None:
    spoilt = {**SUITE, "suite": payload, "lost": [payload], "undecided": [payload], "waived": {payload: payload}, "missing": [payload]}
    pull = a_pull(world, gate="inconclusive", report={"suites": [spoilt, SUITE]})
    now = datetime.now(UTC)
    with world.house.db.begin() as session:
        about = {"pull_id": pull, "head_sha": payload[:9], "suite": payload, "row": payload, "by": payload, "reason": payload, "at": now}
        waivers.add(session, waivers.Waiver(**about))
        row_noise.replace(session, "bank", payload, {payload: (3, 8)}, now, now + timedelta(days=1))
    page = world.sees(f"/pulls/{pull}")
    harmless(page, pull)
    assert page.all("table") and "Waived by a person" in page.text and "1 noisy row" in page.text
    harmless(Page(world.posts(f"/pulls/{pull}/waive", {"row": payload, "reason": payload}, 422).text), "refused")
    if payload.strip():
        world.posts(f"/pulls/{pull}/waive", {"row": "fetch-golden l1", "reason": payload[:500]})
        with world.house.db.begin() as session:
            (run,) = gate_runs.of_pull(session, pull)
            gate_runs.tell(session, run.id, [payload])
        page = world.sees(f"/pulls/{pull}")
        harmless(page, pull)
        assert "1 run of suites has ended" in page.text


def test_noise_is_shown_until_it_expires(world: World) -> None:
    pull, now = a_pull(world), datetime.now(UTC)
    with world.house.db.begin() as session:
        row_noise.replace(session, "bank", "s", {"wavers": (3, 8), "steady": (8, 8)}, now, now + timedelta(days=7))
        row_noise.replace(session, "bank", "old", {"wavered": (3, 8)}, now - timedelta(days=8), now - timedelta(seconds=1))
        row_noise.replace(session, "elsewhere", "s", {"foreign": (3, 8)}, now, now + timedelta(days=7))
    page = world.sees(f"/pulls/{pull}")
    assert "1 noisy row of this target" in page.text and "wavers" in page.text and "3 of 8" in page.text
    for name in ("steady", "wavered", "foreign"):
        assert name not in page.text
