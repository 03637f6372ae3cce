"""The screen of a group by plain forms: one change, a verdict for each rejection, one submit; and the same by API."""

from typing import Any

import pytest

from rubric.schema import Hint
from service.lifecycle import ReviewState
from service.stages import editing, gate, outcome
from service.store import hints
from tests.service.web.test_decisions import snapshot
from tests.service.web.world import TOKEN, Page, World


def group_of(world: World, number: int = 3) -> tuple[str, list[str]]:
    """Address of a group, and its hints, oldest first."""
    made = [world.rejects(name=f"T-{place}") for place in range(1, number + 1)]
    return f"/groups/{row_of(world, made[0]).change_hash}", made


def row_of(world: World, hint_id: str) -> hints.HintRow:
    with world.house.db.read() as session:
        found = hints.get(session, hint_id)
        assert found
        return found


def states(world: World, made: list[str]) -> list[str]:
    return [str(row_of(world, one).state) for one in made]


def sends(world: World, where: str, form: dict[str, str], status: int = 303) -> Any:
    return world.posts(f"{where}/decision", form, status)


def blocked(hint: Hint) -> Hint:
    return hint.model_copy(update={"rules_invented": ["always the father in law"]})


def test_the_queue_shows_one_line_with_the_count(world: World) -> None:
    where, made = group_of(world)
    other = world.rejects("nsb-001", "T-9")
    page = world.sees("/hints")
    assert page.all("a", href=f"{where}?target=bank") and "3 rejections, one change" in page.text and "and 2 more" in page.text
    assert page.all("a", href=f"/hints/{other}") and not page.all("a", href=f"/hints/{made[0]}")
    each = world.sees(next(link["href"] for link in page.all("a") if "each=on" in link["href"]))
    assert all(each.all("a", href=f"/hints/{one}") for one in (*made, other)) and "one change" not in each.text.replace("Put one change", "")
    assert world.sees(f"/hints?case={row_of(world, made[1]).case_id}").all("a", href=f"/hints/{made[1]}")
    assert len(world.sees("/hints?step=fetch").all("tr", **{"data-row": ""})) >= 1


def test_the_page_shows_the_change_once_and_each_rejection(world: World) -> None:
    where, made = group_of(world)
    page = world.sees(f"{where}?target=bank")
    assert len(page.all("h1")) == 1 and len(page.all("li", **{"data-member": ""})) == 3 and page.text.count("In the words of") == 1
    assert "must hold: the record is “cus_007”" in page.text and "not tried" in page.text and "accepted cases not tried" in page.text
    form = page.form("group")
    assert form["leader"] == made[0] and [form[f"verdict.{one}"] for one in made] == ["cure"] * 3
    assert all(page.all("a", href=f"/hints/{one}") for one in made) and "an equal change is open" not in page.text
    assert all("readonly" in field for field in page.all("textarea") if field["name"].startswith(("summary", "change")))
    item = world.sees(f"/hints/{made[1]}")
    assert item.all("a", href=f"{where}?target=bank", **{"data-key": "g"}) and "3 rejections, one change" in item.text
    assert item.text.count("an equal change is open") == 1
    labels = {label.get("for") for label in page.all("label")}
    assert all(field["id"] in labels for field in page.all("select"))


def test_one_submit_decides_all_and_undo_takes_all_back(world: World) -> None:
    where, made = group_of(world)
    answer = sends(world, where, world.sees(where).form("group"))
    assert states(world, made) == ["confirmed", "duplicate", "duplicate"]
    assert answer.headers["location"] == f"/hints?state=awaiting&done=confirmed&id={made[0]}"
    page = world.sees(answer.headers["location"])
    assert "Confirmed: one change, 3 rejections." in page.text and page.all("form", action=f"/hints/{made[0]}/undo")
    assert world.reviews_of(made[0])[0].seconds is not None
    pull = world.sees(f"/pulls/{world.pull_of(made[0])}")
    assert "cures 3 rejections" in pull.text and all(pull.all("a", href=f"/hints/{one}") for one in made)
    assert "Cures 3 rejections" in world.sees(f"/hints/{made[0]}").text
    world.posts(f"/hints/{made[0]}/undo", {})
    assert states(world, made) == ["awaiting"] * 3
    assert len(world.sees(where).all("li", **{"data-member": ""})) == 3


def test_each_has_its_own_verdict(world: World) -> None:
    where, made = group_of(world, 4)
    form = world.sees(where).form("group")
    form |= {f"verdict.{made[0]}": "dismiss", f"reason.{made[0]}": "one_off", f"verdict.{made[3]}": "leave", "leader": made[2]}
    answer = sends(world, where, form)
    assert states(world, made) == ["dismissed", "duplicate", "confirmed", "awaiting"] and row_of(world, made[1]).duplicate_of == made[2]
    assert answer.headers["location"] == f"/hints/{made[3]}?done=confirmed&id={made[2]}"
    assert world.client.get(where).headers["location"] == f"/hints/{made[3]}", "a single rejection has no group"


def test_what_is_left_joins_what_is_confirmed(world: World) -> None:
    where, made = group_of(world, 4)
    form = world.sees(where).form("group") | {f"verdict.{one}": "leave" for one in made[2:]}
    location = sends(world, where, form).headers["location"]
    assert location == f"{where}?target=bank&done=confirmed&id={made[0]}"
    page = world.sees(location)
    assert "is confirmed already" in page.text and page.form("group")["leader"] == made[0] and not page.all("input", type="radio", name="leader")
    assert page.all("form", action=f"/hints/{made[0]}/undo")
    location = sends(world, where, page.form("group")).headers["location"]
    assert states(world, made) == ["confirmed"] + ["duplicate"] * 3 and location.endswith(f"done=joined&id={made[0]}")
    assert "Joined: one change, 4 rejections." in world.sees(location).text


@pytest.mark.parametrize("what", ["edited", "dismissed"])
def test_a_member_that_changed_is_named_and_choices_are_kept(world: World, what: str) -> None:
    where, made = group_of(world, 4)
    form = world.sees(where).form("group") | {f"verdict.{made[3]}": "dismiss", f"reason.{made[3]}": "one_off", "leader": made[2]}
    if what == "edited":
        editing.edit(world.house.db, world.ports, world.house.catalogue, made[1], version=1, by="tom", change={"summary": "Theirs."})
    else:
        gate.dismiss(world.house.db, made[1], version=1, by="tom", reason="one_off")
    before = snapshot(world)
    page = Page(sends(world, where, form, 409).text)
    assert snapshot(world) == before
    assert "Somebody was faster" in page.text and page.all("a", href=f"/hints/{made[1]}") and "Nothing of this group was decided" in page.text
    again = page.form("group")
    assert (again["leader"], again[f"verdict.{made[3]}"], again[f"reason.{made[3]}"]) == (made[2], "dismiss", "one_off")
    assert again.get(f"version.{made[1]}") == ("2" if what == "edited" else None)
    sends(world, where, again)
    assert states(world, [made[0], *made[2:]]) == ["duplicate", "confirmed", "dismissed"]


def test_a_group_that_is_gone_says_so(world: World) -> None:
    where, made = group_of(world, 2)
    form = world.sees(where).form("group")
    for one in made:
        gate.dismiss(world.house.db, one, version=1, by="tom", reason="one_off")
    page = Page(sends(world, where, form, 409).text)
    assert "nothing was decided" in page.text and made[0] in page.text and made[1] in page.text
    assert world.client.get(where).headers["location"] == f"/hints/{made[0]}"


def test_a_missing_reason_is_said_beside_the_field(world: World) -> None:
    where, made = group_of(world)
    form = world.sees(where).form("group") | {f"verdict.{made[1]}": "dismiss"}
    page = Page(sends(world, where, form, 422).text)
    assert [one["name"] for one in page.all("select", **{"aria-invalid": "true"})] == [f"reason.{made[1]}"] and "choose why" in page.text
    assert page.form("group")[f"verdict.{made[1]}"] == "dismiss" and states(world, made) == ["awaiting"] * 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("leader", ""),
        ("leader", "none"),
        ("version.{0}", "x"),
        ("version.{0}", ""),
        ("verdict.{0}", "<b>"),
        ("reason.{0}", "nonsense"),
        ("leader", "{0}"),
    ],
)
def test_odd_forms_decide_nothing(world: World, name: str, value: str) -> None:
    where, made = group_of(world)
    form = world.sees(where).form("group")
    if name.startswith("reason") or value == "{0}":
        form |= {f"verdict.{made[0]}": "dismiss", f"reason.{made[0]}": "one_off"}
    form[name.format(made[0])] = value.format(made[0])
    assert world.client.post(f"{where}/decision", data=form).status_code in (404, 409, 422)
    assert states(world, made) == ["awaiting"] * 3
    sends(world, where, {one: value for one, value in form.items() if not one.startswith("version.")}, 422)


def test_leaving_all_is_no_decision(world: World) -> None:
    where, made = group_of(world)
    form = world.sees(where).form("group") | {f"verdict.{one}": "leave" for one in made}
    assert "every rejection is left as it is" in Page(sends(world, where, form, 422).text).text


def test_what_blocks_or_harms_is_left_until_somebody_chooses(world: World) -> None:
    first = world.rejects(name="T-1")
    world.twist = blocked
    second = world.rejects(name="T-2")
    world.twist = lambda hint: hint.model_copy(update={"changes_controls": ["c-other"]})
    third = world.rejects(name="T-3")
    world.twist = None
    where = f"/groups/{row_of(world, first).change_hash}"
    page = world.sees(where)
    form = page.form("group")
    assert [form[f"verdict.{one}"] for one in (first, second, third)] == ["cure", "leave", "leave"]
    assert "changes 1 accepted case" in page.text and "Blocks confirming" in page.text
    assert "disabled" in page.all("input", name="leader", value=second)[0]
    answer = sends(world, where, form | {f"verdict.{second}": "cure", "leader": second}, 422)
    assert "open findings" in Page(answer.text).text.lower() and states(world, [first, second, third]) == ["awaiting"] * 3
    sends(world, where, form | {f"verdict.{second}": "cure"})
    assert states(world, [first, second, third]) == ["confirmed", "duplicate", "awaiting"]


def test_the_one_to_confirm_is_one_that_the_page_does_not_leave(world: World) -> None:
    world.twist = lambda hint: hint.model_copy(update={"changes_controls": ["c-other"]})
    first = world.rejects(name="T-0")
    world.twist = None
    where, made = group_of(world, 2)
    page = world.sees(where)
    form = page.form("group")
    assert (form["leader"], [form[f"verdict.{one}"] for one in (first, *made)]) == (made[0], ["leave", "cure", "cure"])
    assert not page.all("a", href=f"{where}?target=bank&leader={first}")
    assert world.sees(f"{where}?leader={first}").form("group")["leader"] == made[0]
    sends(world, where, form)
    assert states(world, [first, *made]) == ["awaiting", "confirmed", "duplicate"]


def test_where_a_person_should_look_at_each_one_of_them_can_still_be_confirmed(world: World) -> None:
    world.twist = lambda hint: hint.model_copy(update={"changes_controls": ["c-other"]})
    where, made = group_of(world, 2)
    form = world.sees(where).form("group")
    assert (form["leader"], [form[f"verdict.{one}"] for one in made]) == (made[0], ["leave", "leave"])
    sends(world, where, form | {f"verdict.{one}": "cure" for one in made} | {"leader": made[1]})
    assert states(world, made) == ["duplicate", "confirmed"]


def test_a_leader_that_is_left_is_said_and_nobody_is_called_faster(world: World) -> None:
    where, made = group_of(world)
    form = world.sees(where).form("group") | {f"verdict.{made[0]}": "leave"}
    page = Page(sends(world, where, form, 422).text)
    assert "the one to confirm is left" in page.text and "Somebody was faster" not in page.text
    again = page.form("group")
    assert (again["leader"], [again[f"verdict.{one}"] for one in made]) == (made[1], ["leave", "cure", "cure"])
    sends(world, where, again)
    assert states(world, made) == ["awaiting", "confirmed", "duplicate"]


def test_what_came_in_meanwhile_is_left_and_marked(world: World) -> None:
    where, made = group_of(world)
    form = world.sees(where).form("group") | {f"verdict.{made[1]}": "dismiss"}
    new = world.rejects(name="T-9")
    page = Page(sends(world, where, form, 422).text)
    again = page.form("group")
    assert [again[f"verdict.{one}"] for one in (*made, new)] == ["cure", "dismiss", "cure", "leave"]
    assert page.text.count("new since you looked") == 1 and "changed since you looked" not in page.text
    assert "1 that you have not seen as it is now" in page.text
    sends(world, where, again | {f"reason.{made[1]}": "one_off"})
    assert states(world, [*made, new]) == ["confirmed", "dismissed", "duplicate", "awaiting"]


def test_what_was_edited_meanwhile_is_marked_whatever_the_page_comes_back_for(world: World) -> None:
    where, made = group_of(world)
    form = world.sees(where).form("group") | {f"verdict.{made[1]}": "dismiss"}
    editing.edit(world.house.db, world.ports, world.house.catalogue, made[2], version=1, by="tom", change={"summary": "Theirs."})
    page = Page(sends(world, where, form, 422).text)
    assert (
        page.text.count("changed since you looked") == 1
        and len(page.all("li", **{"class": "panel member changed", "aria-labelledby": f"m-{made[2]}"})) == 1
    )
    assert "since you looked" not in world.sees(where).text


def test_what_was_not_tried_is_left_where_the_target_can_try_it(world: World) -> None:
    """An edit makes a hint one of the group; that its change moves this case as well is not known."""

    def tried(hint: Hint) -> Hint:
        return hint.model_copy(update={"confidence": hint.confidence.model_copy(update={"replay": "moved"})})

    world.twist = tried
    where, made = group_of(world, 2)
    target = row_of(world, made[0]).current["change"]["to"]
    world.twist = lambda hint: tried(hint).model_copy(update={"change": hint.change.model_copy(update={"to": target + 1})})
    third = world.rejects(name="T-3")
    assert row_of(world, third).change_hash != row_of(world, made[0]).change_hash
    editing.edit(world.house.db, world.ports, world.house.catalogue, third, version=1, by="tom", change={"change": {"to": target}})
    page = world.sees(where)
    form = page.form("group")
    assert [form[f"verdict.{one}"] for one in (*made, third)] == ["cure", "cure", "leave"] and "not tried" in page.text


def test_a_closed_pull_is_not_offered_to_join(world: World) -> None:
    where, made = group_of(world)
    world.confirms(made[0])
    pull = world.pull_of(made[0])
    assert world.sees(where).form("group")["leader"] == made[0]
    outcome.close(world.house.db, pull, by="tom", reason="not this way")
    page = world.sees(where)
    assert "is confirmed already" not in page.text and page.form("group")["leader"] == made[1]
    sends(world, where, page.form("group"))
    assert states(world, made) == ["confirmed", "confirmed", "duplicate"]


def test_where_all_are_blocked_nothing_is_offered(world: World) -> None:
    world.twist = blocked
    where, made = group_of(world, 2)
    page = world.sees(where)
    assert "Something blocks every one" in page.text and page.form("group")[f"verdict.{made[0]}"] == "leave"


def test_another_leader_is_shown_in_his_words(world: World) -> None:
    where, made = group_of(world)
    editing.edit(world.house.db, world.ports, world.house.catalogue, made[1], version=1, by="tom", change={"summary": "In other words."})
    page = world.sees(where)
    assert "Worded: In other words." in page.text
    page = world.sees(next(link["href"] for link in page.all("a") if f"leader={made[1]}" in link["href"]))
    assert page.form("none")["summary"] == "In other words." and page.form("group")["leader"] == made[1]


def test_an_equal_change_that_was_dismissed_is_shown(world: World) -> None:
    where, made = group_of(world)
    gate.dismiss(world.house.db, made[0], version=1, by="tom", reason="one_off")
    page = world.sees(where)
    assert "the same change was dismissed" in page.text and page.all("a", href=f"/hints/{made[0]}")


def test_a_single_rejection_has_no_group(world: World) -> None:
    hint = world.rejects()
    assert world.client.get(f"/groups/{row_of(world, hint).change_hash}").headers["location"] == f"/hints/{hint}"
    assert "one change" not in world.sees(f"/hints/{hint}").text and "one change" not in world.sees("/hints").text.replace("Show each", "")
    assert world.client.get("/groups/none").status_code == 404
    assert world.client.get(f"/groups/{row_of(world, hint).change_hash}?target=other").status_code == 404


@pytest.mark.parametrize(
    "query", ["after=garbage", "after=2026-01-01T00:00:00Z~x", "leader=none", "target=bank&leader=%3Cb%3E", "done=confirmed&id=none"]
)
def test_odd_addresses_still_give_a_page(world: World, query: str) -> None:
    where, _ = group_of(world)
    assert world.client.get(f"{where}?{query}").status_code in (200, 303)


def test_looking_changes_nothing_and_strangers_decide_nothing(world: World) -> None:
    where, _ = group_of(world)
    form, before = world.sees(where).form("group"), snapshot(world)
    world.client.get(f"{where}/decision")
    answer = world.client.post(f"{where}/decision", data=form, headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 401 and snapshot(world) == before


# ---- by API


def asks(world: World, method: str, path: str, **body: Any) -> Any:
    headers = {"authorization": f"Bearer {TOKEN}", "accept": "application/json", "x-triage-by": "robot"}
    return world.client.request(method, path, headers=headers, json=body or None)


def test_the_list_of_groups(world: World) -> None:
    where, made = group_of(world)
    world.rejects("nsb-001", "T-9")
    (row,) = asks(world, "GET", "/v1/groups").json()["rows"]
    assert (row["change_hash"], row["target"], row["count"], row["members"]) == (where.rpartition("/")[2], "bank", 3, made)
    assert row["recipe"] == "adjust_fetch_weight" and row["target_id"].startswith("fetch:")


def test_a_decision_by_api_is_all_or_nothing(world: World) -> None:
    where, made = group_of(world)
    seen = [{"hint": one, "version": 1} for one in made]
    editing.edit(world.house.db, world.ports, world.house.catalogue, made[1], version=1, by="tom", change={"summary": "Theirs."})
    path = f"/v1{where}/decision"
    answer = asks(world, "POST", path, leader=made[0], confirm=seen[:2], dismiss=[{**seen[2], "reason": "one_off"}])
    assert answer.status_code == 409 and answer.json()["code"] == "group_changed" and list(answer.json()["changed"]) == [made[1]]
    assert states(world, made) == ["awaiting"] * 3
    seen[1]["version"] = 2
    for _ in range(2):
        answer = asks(world, "POST", path, leader=made[0], confirm=seen[:2], dismiss=[{**seen[2], "reason": "one_off"}])
        assert [one["state"] for one in answer.json()["hints"]] == ["confirmed", "duplicate", "dismissed"], answer.text
    assert row_of(world, made[0]).decided_by == "robot" and row_of(world, made[0]).state is ReviewState.confirmed


@pytest.mark.parametrize(
    "body",
    [{}, {"leader": "h"}, {"confirm": [{"hint": "h"}]}, {"confirm": [{"hint": "h", "version": "1"}]}, {"all": True},
     {"leader": "h\x00", "confirm": [{"hint": "h", "version": 1}]}, {"dismiss": [{"hint": "h", "version": 1}]}],
)  # fmt: skip
def test_bodies_that_make_no_sense(world: World, body: dict[str, Any]) -> None:
    where, _ = group_of(world, 2)
    assert asks(world, "POST", f"/v1{where}/decision", **body).status_code == 422
