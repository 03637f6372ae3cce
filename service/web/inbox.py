"""The gatekeeper's desk lives here: the queue of hints, one hint with its evidence, and the decision as plain forms."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from connectors.ports import PortError
from rubric.dismissals import DISMISSALS
from rubric.findings import named_by
from rubric.reading import LOOKED_AT, customer_text
from rubric.schema import Case
from service import reports
from service.errors import IllegalMove, NotConfirmable, NotFound, StaleVersion, Unprocessable
from service.stages import editing, gate
from service.web.deps import House, HouseDep, PersonDep, ReadDep
from service.web.hintform import Mistyped, marks_of, parts_of, place_findings, typed_change
from service.web.pages import TypedDep, page, see

router = APIRouter(include_in_schema=False)
TABS = ("awaiting", "confirmed", "dismissed", "duplicate", "stale")
DONE = {
    "confirmed": "Confirmed.", "dismissed": "Dismissed.", "duplicate": "Marked as duplicate.", "undone": "Taken back; it waits again.",
    "edited": "Saved and checked again.", "joined": "Joined.", "decided": "Decided.",
}  # fmt: skip
"""what a page says after a decision"""


@router.get("/hints")
def queue(
    request: Request, home: HouseDep, session: ReadDep, by: PersonDep, state: str = "awaiting", step: str = "", recipe: str = "",
    case: str = "", after: str = "", limit: str = "", done: str = "", id: str = "", each: str = "",
) -> Response:  # fmt: skip
    """The hints of one state, oldest first, those that wait for one change on one line; every choice is in the address."""
    counts = reports.stations(session)
    shown = state if state in counts["hints"] or state in TABS else "awaiting"
    size = min(200, max(1, int(limit))) if limit.isascii() and limit.isdigit() and len(limit) < 6 else reports.PAGE
    together = shown == "awaiting" and not case and not each
    found = reports.hint_list(session, reports.narrow(shown, step, recipe, case), after or None, size, together=together)
    chosen = {"state": shown, "step": step, "recipe": recipe, "case": case, "limit": limit, "each": each and "on"}
    extra = [one for one, number in sorted(counts["hints"].items()) if number and one not in TABS]
    return page(
        request, "queue.html", found=found, chosen=chosen, tabs=[*TABS, *extra], steps=reports.STEPS, recipes=reports.RECIPES, after=after,
        cases=counts["cases"], sources=sorted(home.sources), base=str(request.base_url), flash=flash_of(session, done, id),
    )  # fmt: skip


@router.get("/hints/{hint_id}")
def item(request: Request, home: HouseDep, session: ReadDep, by: PersonDep, hint_id: str, done: str = "", id: str = "") -> Response:
    """Evidence on the left, decision on the right."""
    return _show(request, home, reports.hint_item(session, hint_id), flash=flash_of(session, done, id))


@router.post("/hints/{hint_id}/edit")
def save(request: Request, home: HouseDep, by: PersonDep, given: TypedDep, hint_id: str) -> Response:
    """Save what was typed; lint runs again even when nothing was."""

    def act() -> Response:
        editing.edit(home.db, home.ports, home.catalogue, hint_id, version=version_of(given), by=by, change=typed_change(_load(home, hint_id), given))
        return see(f"/hints/{hint_id}", done="edited", id=hint_id)

    return _attempt(request, home, hint_id, given, act)


@router.post("/hints/{hint_id}/confirm")
def confirm(request: Request, home: HouseDep, by: PersonDep, given: TypedDep, hint_id: str) -> Response:
    """Approve the hint as it stands on the screen: what was typed is saved first, and new findings are shown before anything starts."""

    def act() -> Response:
        version, before = version_of(given), _load(home, hint_id)
        change = typed_change(before, given)
        if change:
            version = editing.edit(home.db, home.ports, home.catalogue, hint_id, version=version, by=by, change=change).version
            given.clear()  # it is saved now
            if [one for one in _load(home, hint_id).findings if one not in before.findings]:
                raise NotConfirmable("Your edit is saved, and it brought findings that were not there before. Read them, then confirm.")
        gate.confirm(home.db, home.ports, hint_id, version=version, by=by, seconds=seconds)
        return _onwards(home, hint_id, "confirmed")

    seconds = seconds_of(home, given)
    return _attempt(request, home, hint_id, given, act)


@router.post("/hints/{hint_id}/dismiss")
def dismiss(request: Request, home: HouseDep, by: PersonDep, given: TypedDep, hint_id: str) -> Response:
    """Say no with a reason."""

    def act() -> Response:
        reason, note = given.get("reason", ""), given.get("note", "").strip()
        if reason not in DISMISSALS:
            raise Mistyped({"reason": "choose why; the critic learns from it"})
        if len(note) > 2000:
            raise Mistyped({"note": "keep it under 2000 characters"})
        gate.dismiss(home.db, hint_id, version=version_of(given), by=by, reason=reason, note=note or None, seconds=seconds_of(home, given))
        return _onwards(home, hint_id, "dismissed")

    return _attempt(request, home, hint_id, given, act)


@router.post("/hints/{hint_id}/duplicate")
def duplicate(request: Request, home: HouseDep, by: PersonDep, given: TypedDep, hint_id: str) -> Response:
    """Name the hint that says the same."""

    def act() -> Response:
        of = given.get("of", "").strip()
        if not of:
            raise Mistyped({"of": "write the id of the hint that says the same"})
        try:
            gate.duplicate(home.db, hint_id, version=version_of(given), by=by, of=of, seconds=seconds_of(home, given))
        except Unprocessable as error:
            raise Mistyped({"of": str(error)}) from None
        return _onwards(home, hint_id, "duplicate")

    return _attempt(request, home, hint_id, given, act)


@router.post("/hints/{hint_id}/undo")
def undo(request: Request, home: HouseDep, by: PersonDep, given: TypedDep, hint_id: str) -> Response:
    """Take the decision back."""

    def act() -> Response:
        gate.undo(home.db, hint_id, by=by)
        return see(f"/hints/{hint_id}", done="undone", id=hint_id)

    return _attempt(request, home, hint_id, given, act)


def _attempt(request: Request, home: House, hint_id: str, given: dict[str, str], act: Callable[[], Response]) -> Response:
    """Act; whatever stands against it comes back as the same page with everything that was typed."""
    problem, errors = "", {}
    try:
        return act()
    except Mistyped as mistyped:
        status, errors = 422, mistyped.errors
        problem = "Nothing was decided yet: something is missing or cannot be read."
    except (StaleVersion, IllegalMove) as clash:
        status, problem = 409, str(clash)
    except (NotConfirmable, Unprocessable) as refusal:
        status, problem = 422, str(refusal)
        for one in _list_of(refusal.details.get("problems")):
            errors[_field_of(str(one["field"]))] = str(one["text"])
    except PortError as error:
        status, problem = 503, f"The target could not be looked at ({error.code}: {error}). What you typed is still here; try again."
    return _show(request, home, _load(home, hint_id), status, given=given, errors=errors, problem=problem)


def _list_of(found: object) -> list[dict[str, Any]]:
    return found if isinstance(found, list) else []


def _field_of(place: str) -> str:
    """`change.adjust_fetch_weight.to` → `change.to`; the union's tag is no field."""
    parts = place.split(".")
    return ".".join([parts[0], *parts[2:3]] if parts[0] == "change" else parts[:1])


def _load(home: House, hint_id: str) -> reports.HintItem:
    with home.db.read() as session:
        return reports.hint_item(session, hint_id)


def _onwards(home: House, hint_id: str, done: str) -> Response:
    """To the next hint that waits, or the empty queue."""
    decided = _load(home, hint_id)
    onwards = decided.next or decided.before
    return see(f"/hints/{onwards}" if onwards else "/hints?state=awaiting", done=done, id=hint_id)


def flash_of(session: Any, done: str, hint_id: str) -> dict[str, Any] | None:
    """What was just done, and whether it can be taken back."""
    if done not in DONE:
        return None
    try:
        about = reports.hint_item(session, hint_id)
    except NotFound:
        return None
    many = done in ("confirmed", "joined") and bool(about.duplicates)
    text = f"{DONE[done].removesuffix('.')}: one change, {1 + len(about.duplicates)} rejections." if many else DONE[done]
    return {"text": text, "item": about, "undo": done == about.state and _can_undo(about)}


def _can_undo(about: reports.HintItem) -> bool:
    if about.state == "confirmed":
        return about.undo_until is not None or any(work["state"] == "blocked" for work in about.handoffs)
    return about.state in ("dismissed", "duplicate", "snoozed", "asked")


def version_of(given: dict[str, str], name: str = "version") -> int:
    """The version of a hint that a form shows. Raises `Unprocessable` where it says none."""
    text = given.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) < 8):
        raise Unprocessable("the form does not say which version of the hint it shows; load the page again")
    return int(text)


def seconds_of(home: House, given: dict[str, str]) -> float | None:
    """From opening the page to the decision."""
    text = given.get("opened", "")
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        return None
    return min(86_400.0, max(0.0, home.ports.now().timestamp() - int(text)))


def _one_twin(about: reports.HintItem) -> reports.HintItem:
    """With one twin named instead of each: in a group they are all twins, and the link to the group says so."""
    twins = [one for one in about.findings if one["code"] == "twin"]
    return about.model_copy(update={"findings": [one for one in about.findings if one not in twins[1:]]})


def _show(
    request: Request, home: House, about: reports.HintItem, status: int = 200, *, given: dict[str, str] | None = None,
    errors: dict[str, str] | None = None, problem: str = "", flash: dict[str, Any] | None = None,
) -> Response:  # fmt: skip
    sent, wrong = given or {}, errors or {}
    about = _one_twin(about)
    parts = parts_of(about, sent, wrong)
    rest = place_findings(about, parts)
    blocking = [one for one in about.findings if one["blocks"]]
    twin = next((named_by(str(one["text"])) for one in about.findings if one["code"] == "twin"), "")
    card = home.catalogue.recipe(about.current["change"]["recipe"])
    return page(
        request, "item.html", status, item=about, hint=about.current, parts=parts, rest=rest, blocking=blocking, twin=twin, card=card, given=sent,
        wrong=wrong, problem=problem, flash=flash, reasons=sorted(DISMISSALS), can_undo=_can_undo(about), steps=reports.STEPS,
        open=about.state == "awaiting", stale=bool(sent) and sent.get("version", "") != str(about.version), marks=marks_of(about),
        of_customer=customer_text(Case.model_validate(about.case)) if about.case else "", looked_at=LOOKED_AT,
        opened=int(home.ports.now().timestamp()),
    )  # fmt: skip
