"""The desk for groups lives here: one change that cures many rejections, with a verdict for each, decided with one click."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from rubric.dismissals import DISMISSALS
from service import grouping, reports
from service.errors import GroupChanged, NotConfirmable, NotFound, TriageError, Unprocessable
from service.stages import gate
from service.web.deps import House, HouseDep, PersonDep, ReadDep
from service.web.hintform import parts_of, place_findings
from service.web.inbox import flash_of, seconds_of, version_of
from service.web.pages import TypedDep, page, see

router = APIRouter(include_in_schema=False)
SEEN = "version."
"""what the name of a field begins with that says which version of a hint the form shows"""


@router.get("/groups/{change_hash}")
def show(
    request: Request, home: HouseDep, session: ReadDep, by: PersonDep, change_hash: str, target: str = "", after: str = "", leader: str = "",
    done: str = "", id: str = "",
) -> Response:  # fmt: skip
    """One change, then a line for each rejection that it cures. A single rejection has its own page, and no group."""
    found = grouping.group(session, change_hash, _targets(home, target), after or None, leader)
    if found.count < 2 or not found.members:
        return see(f"/hints/{found.members[0].id if found.members else found.about.id}", done=done, id=id)
    return _page(request, home, found, flash=flash_of(session, done, id), after=after)


@router.post("/groups/{change_hash}/decision")
def decide(request: Request, home: HouseDep, by: PersonDep, given: TypedDep, change_hash: str) -> Response:
    """Every verdict of the form, or none of them."""
    leader = given.get("leader") or None
    wrong: dict[str, str] = {}
    try:
        choices = _choices(given, wrong)
        if wrong:
            raise Unprocessable("nothing was decided yet: a rejection is to be dismissed, and the reason is missing")
        cured = [one.hint_id for one in choices if one.reason is None]
        if cured and leader not in cured and f"{SEEN}{leader}" in given:
            raise Unprocessable("nothing was decided: the one to confirm is left; cure it together with the others, or confirm another one")
        gate.decide_group(
            home.db, home.ports, change_hash, leader=leader if cured else None, choices=choices, by=by, seconds=seconds_of(home, given)
        )  # fmt: skip
    except (GroupChanged, NotConfirmable, Unprocessable) as error:
        return _again(request, home, change_hash, given, error, wrong)
    return _onwards(home, change_hash, given.get("target", ""), leader if cured else None, choices)


def _choices(given: dict[str, str], wrong: dict[str, str]) -> list[gate.Choice]:
    """What the form says of each hint that it shows, but for those that are left as they are."""
    found = []
    for name in given:
        hint_id = name.removeprefix(SEEN)
        verdict = given.get(f"verdict.{hint_id}", "leave")
        if hint_id == name or verdict == "leave":
            continue
        reason = given.get(f"reason.{hint_id}", "") if verdict == "dismiss" else None
        if reason == "":
            wrong[hint_id] = "choose why; the critic learns from it"
        elif verdict not in ("cure", "dismiss"):
            raise Unprocessable("the form holds a verdict that is none; load the page again")
        found.append(gate.Choice(hint_id, version_of(given, name), reason))
    if not found:
        raise Unprocessable("nothing was decided: every rejection is left as it is")
    return found


def _targets(home: House, named: str) -> list[str]:
    """Where to look for a change. Two targets may wait for equal ones, so our own links say which."""
    return [named] if named else sorted(home.ports.hosts)


def _again(request: Request, home: House, change_hash: str, given: dict[str, str], error: TriageError, wrong: dict[str, str]) -> Response:
    """The same page with every choice that was made, and what was not seen marked; where no group is left, the message alone."""
    after, targets = given.get("after", ""), _targets(home, given.get("target", ""))
    cured = {name.removeprefix(SEEN) for name in given if name.startswith(SEEN) and given.get(f"verdict.{name.removeprefix(SEEN)}") == "cure"}
    try:
        with home.db.read() as session:
            found = grouping.group(session, change_hash, targets, after or None, given.get("leader", ""), cured)
    except NotFound:
        raise error from None
    if not found.members:
        raise error
    told = error.details.get("changed")
    changed = told if isinstance(told, dict) else {}
    return _page(request, home, found, error.status, problem=str(error), changed=changed, given=given, wrong=wrong, after=after)


def _onwards(home: House, change_hash: str, target: str, leader: str | None, choices: list[gate.Choice]) -> Response:
    """To what is left of the group, or to the next hint that waits."""
    joined = leader is not None and leader not in {one.hint_id for one in choices}
    done, named = "joined" if joined else "confirmed" if leader else "dismissed" if len(choices) == 1 else "decided", leader or choices[0].hint_id
    with home.db.read() as session:
        rest = grouping.group(session, change_hash, _targets(home, target))
        after = reports.hint_item(session, named)
    if rest.count > 1:
        return see(f"/groups/{change_hash}", target=rest.target, done=done, id=named)
    onwards = rest.members[0].id if rest.members else after.next or after.before
    return see(f"/hints/{onwards}" if onwards else "/hints?state=awaiting", done=done, id=named)


def _page(
    request: Request, home: House, found: grouping.Group, status: int = 200, *, problem: str = "", changed: dict[str, Any] | None = None,
    given: dict[str, str] | None = None, wrong: dict[str, str] | None = None, flash: dict[str, Any] | None = None, after: str = "",
) -> Response:  # fmt: skip
    about = found.about.model_copy(update={"findings": [one for one in found.about.findings if one["code"] != "twin"]})
    parts = parts_of(about, {}, {})
    place_findings(about, parts)
    sent = given or {}
    marks = {one.id: "changed" if f"{SEEN}{one.id}" in sent else "new" for one in found.members if sent.get(f"{SEEN}{one.id}") != str(one.version)}
    verdicts = {one.id: "cure" if one.offered and found.leader else "leave" for one in found.members}
    if sent:  # nobody has seen a new one, so nobody has said anything of it
        verdicts = {one.id: "leave" if marks.get(one.id) == "new" else sent.get(f"verdict.{one.id}", "leave") for one in found.members}
    return page(
        request, "group.html", status, group=found, about=about, hint=about.current, parts=parts, members=found.members, verdicts=verdicts,
        marks=marks if sent else {}, leader=found.leader, problem=problem, changed=changed or {}, given=sent, wrong=wrong or {}, flash=flash,
        after=after, card=home.catalogue.recipe(about.current["change"]["recipe"]),
        reasons=sorted(DISMISSALS), opened=int(home.ports.now().timestamp()),
    )  # fmt: skip
