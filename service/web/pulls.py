"""What hints became lives here: pulls with their proof and what to do with them, the story of a case, and the console."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from connectors.ports import PortError
from service import reports
from service.errors import IllegalMove, Unprocessable
from service.leniency import leniency
from service.stages import outcome, waiving
from service.web import rows
from service.web.deps import House, HouseDep, PersonDep, ReadDep
from service.web.pages import TypedDep, page, see

router = APIRouter(include_in_schema=False)
TABS = ("draft", "ready", "landing", "merged", "closed")
DONE = {"merge": "Asked to merge.", "closed": "Closed.", "waived": "Waived. The gate looks again.", "accepted": "Accepted: the pull is ready."}
SHOWN_LINES = 3000
"""lines of a diff on the page"""
MOODS = {"pass": "good", "cured": "good", "same": "good", "declared": "note", "inconclusive": "note", "running": "note"}
"""state of a check → how it looks; every other one is bad news"""
DRAFTS = {
    "control": "This draft was accepted. It is kept as a control: no fix may change what happens to it.",
    "queued": "The comment is here. A fix-hint is being drafted from it.",
    "drafted": "A fix-hint was drafted from the comment.",
    "abstained": "No change was proposed.",
    "failed": "A fix-hint could not be drafted. An engineer will look at it.",
    "stale": "A newer revision of this ticket came in and took the place of this one.",
}
"""state of a case → what that means to the person who wrote the comment"""
DECISIONS = {
    "awaiting": "An engineer will look at it and decide.",
    "confirmed": "An engineer confirmed it, and work on the fix was started.",
    "dismissed": "An engineer looked at it and decided against a change.",
    "duplicate": "Somebody else had reported the same; one fix covers both.",
    "snoozed": "An engineer put it off for a while.",
    "asked": "An engineer has a question for you.",
    "stale": "It was put aside because the ticket was revised.",
}
FATES = {
    "draft": "The fix is being checked.",
    "ready": "The fix passed its checks and waits for its last yes.",
    "landing": "The fix is being merged.",
    "merged": "The fix is in use.",
    "closed": "The fix was not taken over.",
    "frozen": "An engineer continues the fix by hand.",
    "reverted": "The fix was taken back later.",
}
OUTCOMES = {
    "watching": "This ticket has not been tried again yet.",
    "cured": "This very ticket was tried again, and now the draft is right.",
    "recurred": "This very ticket was tried again, and the draft is still wrong.",
    "inconclusive": "This ticket could not be tried again.",
}
GONE = {"file_missing", "no_change", "not_a_list", "not_a_mapping", "path_exists", "path_missing", "text_not_found", "value_differs", "value_twice"}
"""codes by which an edit says that it has no place on the newest base"""
AFRESH = "otherwise close it with that reason, and send the case again as a new revision: it is then drafted on the config as it stands."
NEXT = {
    "gone": f"What was merged since has changed the place of this edit. Asking again helps only when that place changes once more; {AFRESH}",
    "gate": f"The proof below is that of the newest base: the change does not pass there. Asking again helps only when the base changes; {AFRESH}",
    "else": "Nothing was found wrong with the change. Ask again; if it comes back with the same reason, the log and the runbook say more.",
}
"""why a pull came back from landing → what a person can do"""


@router.get("/pulls")
def list_pulls(request: Request, session: ReadDep, by: PersonDep, state: str = "", after: str = "", limit: str = "") -> Response:
    """Pulls, newest first."""
    found_states = reports.stations(session)["pulls"]
    shown = state if state in found_states or state in TABS else ""
    size = min(200, max(1, int(limit))) if limit.isascii() and limit.isdigit() and len(limit) < 6 else reports.PAGE
    found = reports.pull_list(session, shown, after or None, size)
    extra = [one for one, number in sorted(found_states.items()) if number and one not in TABS]
    return page(request, "pulls.html", found=found, state=shown, tabs=[*TABS, *extra], after=after, limit=limit, moods=MOODS)


@router.get("/pulls/{pull_id}")
def read_pull(request: Request, home: HouseDep, by: PersonDep, pull_id: str, done: str = "", live: str = "on") -> Response:
    """One pull: what changes, what the evals say of it, why, and the two things that can be done."""
    return _show(request, home, pull_id, done=done, live=live != "off")


@router.post("/pulls/{pull_id}/merge")
def merge(request: Request, home: HouseDep, by: PersonDep, given: TypedDep, pull_id: str) -> Response:
    """Ask to merge."""
    try:
        outcome.ask_to_merge(home.db, pull_id, by=by)
    except IllegalMove as error:
        return _show(request, home, pull_id, 409, problem=str(error))
    return see(f"/pulls/{pull_id}", done="merge")


@router.post("/pulls/{pull_id}/close")
def close(request: Request, home: HouseDep, by: PersonDep, given: TypedDep, pull_id: str) -> Response:
    """Say no, with a reason."""
    reason = given.get("reason", "")
    try:
        if len(reason) > 500:
            raise Unprocessable("keep the reason under 500 characters")
        outcome.close(home.db, pull_id, by=by, reason=reason)
    except (IllegalMove, Unprocessable) as error:
        return _show(request, home, pull_id, error.status, problem=str(error), typed={**given, "form": "close"})
    return see(f"/pulls/{pull_id}", done="closed")


@router.post("/pulls/{pull_id}/waive")
def waive(request: Request, home: HouseDep, by: PersonDep, given: TypedDep, pull_id: str) -> Response:
    """Let a row be lost, with a reason."""
    suite, _, row = given.get("row", "").partition(" ")
    try:
        waiving.waive(home.db, pull_id, suite=suite, row=row, reason=given.get("reason", ""), by=by)
    except (IllegalMove, Unprocessable) as error:
        return _show(request, home, pull_id, error.status, problem=str(error), typed={**given, "form": "waive"})
    return see(f"/pulls/{pull_id}", done="waived")


@router.post("/pulls/{pull_id}/accept")
def accept(request: Request, home: HouseDep, by: PersonDep, given: TypedDep, pull_id: str) -> Response:
    """Take an inconclusive run upon oneself, with a reason."""
    try:
        waiving.accept(home.db, pull_id, reason=given.get("reason", ""), by=by)
    except (IllegalMove, Unprocessable) as error:
        return _show(request, home, pull_id, error.status, problem=str(error), typed={**given, "form": "accept"})
    return see(f"/pulls/{pull_id}", done="accepted")


def _show(
    request: Request,
    home: House,
    pull_id: str,
    status: int = 200,
    *,
    problem: str = "",
    typed: Mapping[str, str] = {},
    done: str = "",
    live: bool = True,
) -> Response:
    """`typed`: what a form held that was refused, and as `form` which one it was."""
    with home.db.read() as session:
        about = reports.pull_item(session, pull_id)
        allowed = leniency(session, pull_id, home.ports.now())
    lines, trouble = _diff(home, about.pull)
    run = about.runs[0] if about.runs else None
    report = (run or {}).get("report") or {}
    unchanged = sum(one.get("state") == "same" for one in report.get("controls") or [])
    controls = sorted(report.get("controls") or [], key=lambda one: one.get("state") == "same")
    moving = about.pull["state"] == "landing" or (about.pull["state"] == "draft" and (run is None or run["state"] == "running"))
    return page(
        request, "pull.html", status, about=about, pull=about.pull, hint=about.hint, run=run, report=report, controls=controls, lines=lines,
        trouble=trouble, problem=problem, typed=typed, flash=DONE.get(done, ""), moving=moving, live=live and moving and not problem,
        moods=MOODS, outcomes=OUTCOMES, unchanged=unchanged, cut=len(lines) > SHOWN_LINES, shown=SHOWN_LINES,
        next_step=next_step(about.pull["closed_reason"] or ""), allowed=allowed, rows=rows.lines(report), kept=rows.kept(report),
        most_rows=rows.MOST, **_leeway(about.pull, run),
    )  # fmt: skip


def _leeway(pull: dict[str, Any], run: dict[str, Any] | None) -> dict[str, Any]:
    """The rows that a person may waive now, and whether the run can be accepted."""
    judged = run is not None and pull["state"] in waiving.OPEN and (run["base_sha"], run["head_sha"]) == (pull["base_sha"], pull["head_sha"])
    if run is None or not judged or run["state"] not in ("fail", "inconclusive"):
        return {"excusable": [], "acceptable": False}
    found = [
        (one.get("suite", ""), row) for one in run["report"].get("suites") or [] for row in waiving.excusable({"suites": [one]}, one.get("suite", ""))
    ]
    return {"excusable": found, "acceptable": run["state"] == "inconclusive" and run["accepted_by"] is None}


def next_step(reason: str) -> str:
    """What a person can do about a pull that came back from landing with this reason."""
    code = reason.partition(":")[0]
    return NEXT["gone" if code in GONE else "gate" if code.startswith("the gate says") else "else"]


def _diff(home: House, pull: dict[str, Any]) -> tuple[list[tuple[str, str]], str]:
    """(kind, line) of the pull's diff, or why there is none."""
    host = home.ports.hosts.get(pull["target"])
    if host is None:
        return [], f"the target {pull['target']!r} is not configured any more; set it in TRIAGE_TARGETS"
    try:
        text = host.diff(pull["base_sha"], pull["head_sha"])
    except PortError as error:
        return [], f"{error.code}: {error}"
    return _kinds(text), ""


def _kinds(text: str) -> list[tuple[str, str]]:
    """Each line of a unified diff with what it is. Headers end at the first hunk, so a removed `-- x` is no header."""
    found, inside = [], False
    for line in text.removesuffix("\n").split("\n"):
        inside = not line.startswith("diff --git ") and (inside or line.startswith("@@"))
        kind = {"+": "add", "-": "del", "@": "hunk", "\\": "note"}.get(line[:1], "same") if inside else "file"
        found.append((kind, line))
    return found


@router.get("/cases/{case_id}")
def read_case(request: Request, session: ReadDep, by: PersonDep, case_id: str) -> Response:
    """What became of a case, in the words of the people who send them."""
    story = reports.case_story(session, case_id)
    about = reports.case_words(session, case_id)
    return page(
        request, "case.html", story=story, about=about, drafts=DRAFTS, decisions=DECISIONS, fates=FATES, outcomes=OUTCOMES,
    )  # fmt: skip


@router.get("/console")
def console(request: Request, session: ReadDep, by: PersonDep) -> Response:
    """How many things are in which state."""
    return page(request, "console.html", stations=reports.stations(session))
