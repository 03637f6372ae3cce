"""`triage critic draft`: one case's draft with every ask, what it cost, what lint says and what replay showed."""

import json
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rubric.strict import Unreadable, load_json
from service.commands.critic_room import bytes_of, documents_of, received, room
from service.stages import critic
from service.store import calls, cases, hints


def draft_command(
    file: Annotated[
        Path, typer.Option("--case", exists=True, dir_okay=False, help="file with one rejected case: JSON, or a JSONL file's first line")
    ],
    target: Annotated[Path, typer.Option(exists=True, file_okay=False, help="folder of the target repository")],
    beside: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="JSONL file of other cases, rejected and accepted")] = None,
    which: Annotated[str | None, typer.Option("--critic", help="precedent or claude; TRIAGE_CRITIC otherwise")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one line of JSON")] = False,
) -> None:
    """Draft one case as the service does, without a server, and show how the draft came about.

    Nothing is kept. With the critic `claude` this asks the server of the settings, within their caps.
    """
    case = _one(file)
    others = [one for one in (documents_of(beside) if beside else []) if one.get("external_id") != case["external_id"]]
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="triage-draft-", ignore_cleanup_errors=True) as name:
        place = room(Path(name), target, which)
        case_id = received(place, [case, *others])[str(case["external_id"])]
        critic.draft(place.db, place.ports, place.catalogue, case_id, place.trials)
        with place.db.read() as session:
            row = cases.get(session, case_id)
            made, asked = hints.of_case(session, case_id), calls.of_case(session, case_id)
        place.db.dispose()
    assert row is not None  # it was stored above
    found = {
        "case": str(case["external_id"]), "critic": place.ports.critic.name, "state": str(row.state), "outcome": row.outcome, "reason": row.reason,
        "hidden": row.hidden, "masked": row.masked, "seconds": round(time.monotonic() - start, 1),
        "asks": [_ask(call) for call in asked],
        "hints": [{**one.current, "findings": one.findings, "cost": one.cost} for one in made],
    }  # fmt: skip
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
    else:
        _show(found)


def _one(file: Path) -> dict[str, Any]:
    """The case of a JSON file, or the first one of a JSONL file. Raises `typer.BadParameter`."""
    data = bytes_of(file)
    try:
        whole = load_json(data, what=file.name)
    except Unreadable as error:
        first = next((line for line in data.splitlines() if line.strip()), b"")
        try:
            whole = load_json(first)
        except Unreadable:
            raise typer.BadParameter(f"{file.name} holds no rejected case: {error}") from None
    if not isinstance(whole, dict) or not isinstance(whole.get("rejection"), dict):
        raise typer.BadParameter(f"{file.name} holds no rejected case: an object with ticket, plan and rejection")
    return {**whole, "external_id": whole.get("external_id") or "case"}


def _ask(call: calls.Call) -> dict[str, Any]:
    outcome = call.outcome or {}
    receipt = outcome.get("receipt") or {}
    return {
        "ask": call.ask, "key": call.key, "model": call.model, "ended": call.kind, "answer": outcome.get("value"),
        "why": outcome.get("why") or outcome.get("code") or outcome.get("category"), "usage": receipt.get("usage"), "tokens": call.tokens,
        "usd": call.usd, "seconds": receipt.get("seconds"), "request_id": receipt.get("request_id"),
    }  # fmt: skip


def _show(found: dict[str, Any]) -> None:
    screen = Console()
    screen.print(Text(f"{found['case']}: {found['state']}" + (f", {found['outcome']}" if found["outcome"] else ""), style="bold"))
    if found["reason"]:
        screen.print(Text(f"  {found['reason']}"))
    notes = [f"{found['masked']} values masked"] + ([f"{found['hidden']} hidden characters removed"] if found["hidden"] else [])
    screen.print(Text(f"  critic {found['critic']}, {found['seconds']} s, {', '.join(notes)}", style="dim"))
    if found["asks"]:
        table = Table("ask", "ended", "answer", "tokens", "US dollars", "seconds", title="What was asked (costs are estimates by the price list)")
        for one in found["asks"]:
            answer = json.dumps(one["answer"], ensure_ascii=False) if one["answer"] is not None else str(one["why"] or "")
            spent = f"{one['usd']:.5f}" if one["usd"] is not None else "not said"
            cells = [one["key"], one["ended"], answer[:200], str(one["tokens"]), spent, str(one["seconds"] or "")]
            table.add_row(*(Text(cell) for cell in cells))
        screen.print(table)
    for hint in found["hints"]:
        _show_hint(screen, hint)


def _show_hint(screen: Console, hint: dict[str, Any]) -> None:
    table = Table(show_header=False, title=f"{hint['change']['recipe']} at {hint['target']}")
    confidence = hint["confidence"]
    rows = [
        ("summary", hint["summary"]),
        ("change", json.dumps({key: value for key, value in hint["change"].items() if value not in (None, [], {})}, ensure_ascii=False)),
        *(("quote", f"{span['source']}: {span['quote']}") for span in hint["evidence"]),
        ("agreement", f"{confidence['agree']} of {confidence['of']}"),
        ("replay", confidence["replay"] + (f"; accepted cases that change: {len(hint['changes_controls'])}" if hint["changes_controls"] else "")),
        ("now → instead", " → ".join([hint["worked_example"]["plan_now"], hint["worked_example"]["plan_instead"]]) if hint["worked_example"] else ""),
        ("risk", f"{hint['risk']}: {hint['risk_reason']}"),
        *((f"{'✕' if one['blocks'] else '!'} {one['code']}", f"{one['field']}: {one['text']}") for one in hint["findings"]),
    ]
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    screen.print(table)
