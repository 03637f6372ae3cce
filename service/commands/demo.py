"""`triage demo`: the whole loop on a real server, real git and real evals, with a scripted stand-in for the gatekeeper."""

import base64
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx2
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from connectors.localgit import LocalGit
from connectors.ports import PortError, ReplayAnswer
from connectors.subprocess_evals import SubprocessEvals
from connectors.webhooks import sign
from rubric.expectations import difference, judge
from rubric.manifest import read_manifest
from rubric.recipes import edit_of
from rubric.schema import Case, Expectation, Plan
from service.commands import fates
from service.redaction import redact, redact_plan
from service.wiring import utc_now

app = typer.Typer(add_completion=False)
EXAMPLES = Path(__file__).parents[2] / "examples"
STAND_IN = "stand-in-gatekeeper"
"""name under which the script decides; it shows on every page"""
SETTLE = 3
"""seconds between a case's arrival and its draft; the whole file is sent in less"""
PATIENCE = 900
"""seconds that one stage may take"""
REFUSALS = (400, 409, 413, 422)
"""answers that say that a line is no case, or contradicts one; the others mean that the loop is broken"""
NAMED = 20
"""lines that are named on the screen; the others are counted"""


class DemoFailed(Exception):
    """The demo cannot go on; the message says what to look at."""


class Terminated(KeyboardInterrupt):
    """SIGTERM: the same way out as Ctrl-C, so that the server and the folder go too."""


@dataclass
class Figures:
    """What the closing table shows, and `--json` prints."""

    cases: int = 0
    rejections: int = 0
    hints: int = 0
    abstained: int = 0
    confirmed: int = 0
    pulls: int = 0
    gate_pass: int = 0
    gate_fail: int = 0
    merged: int = 0
    cured: int = 0
    recurred: int = 0
    controls_changed: int = 0
    seconds: float = 0.0
    loop_seconds: float = 0.0
    """of them from the first webhook to the last ticket sent again"""
    cases_per_second: float = 0.0
    """throughput of the loop"""
    ended: dict[str, int] = field(default_factory=dict)
    """rejections by where they ended; see `fates.STAGES`"""


@dataclass
class Stage:
    """One demo world: a folder, a hosted copy of the target, a running server."""

    folder: Path
    host: LocalGit
    address: str
    token: str
    secret: str
    server: subprocess.Popen[bytes]
    client: httpx2.Client = field(default_factory=lambda: httpx2.Client(timeout=60))
    endings: list[fates.Fate] = field(default_factory=list)
    plans: list[tuple[str, dict[str, Any] | None]] = field(default_factory=list)
    """external id, and the plan that the pipeline gives now, as it came"""

    def get(self, path: str, **query: Any) -> Any:
        return self._checked(self.client.get(self.address + path, params=query, headers=self._headers()))

    def post(self, path: str, body: Any = None) -> httpx2.Response:
        return self.client.post(self.address + path, json=body, headers=self._headers())

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}", "x-triage-by": STAND_IN}

    def _checked(self, answer: httpx2.Response) -> Any:
        if answer.status_code >= 400:
            raise DemoFailed(f"the server answered {answer.status_code} to {answer.request.url.path}: {answer.text[:300]}")
        return answer.json()


@app.command()
def demo(
    cases: Annotated[Path | None, typer.Option(help="JSONL file of cases; the example's otherwise")] = None,
    target: Annotated[Path | None, typer.Option(help="folder of the target repository; the example's otherwise")] = None,
    controls: Annotated[Path | None, typer.Option(help="JSONL file of accepted cases, when they are not among the cases")] = None,
    leave: Annotated[bool, typer.Option("--exit", help="end after the closing table instead of serving the pages")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the closing numbers as one line of JSON")] = False,
    report: Annotated[Path | None, typer.Option(help="write where each rejection ended, by recipe and stage, to this Markdown file")] = None,
    keep: Annotated[Path | None, typer.Option(help="write one line a case to this file: what became of it, and its plan at the end")] = None,
) -> None:
    """Run the whole loop in a private folder: real server, SQLite, git, webhooks over HTTP, evals as processes.

    What is scripted: only the gatekeeper. The stand-in confirms only what lint and replay support, marks equal changes as duplicates,
    dismisses the rest, and merges what the gate passed. It never looks at labels. Nothing leaves this machine.
    """
    screen = Console(stderr=True)
    paths = _inputs(cases, target, controls)
    start = time.monotonic()
    with _sigterm_ends(), tempfile.TemporaryDirectory(prefix="triage-demo-", ignore_cleanup_errors=True) as name:
        stage: Stage | None = None
        figures: Figures | None = None
        try:
            stage = _prepare(Path(name), paths[1])
            figures = _play(stage, paths[0], paths[2], screen)
            figures.seconds = round(time.monotonic() - start, 1)
            _write(figures, stage, report, keep, (cases, target, controls))
            _close(figures, stage.endings, as_json)
            if not leave and sys.stdin.isatty() and sys.stdout.isatty():
                screen.print(f"\nThe pages: [bold]{stage.address}[/]   token: [bold]{stage.token}[/]   (Ctrl-C ends)")
                stage.server.wait()
        except DemoFailed as error:
            screen.print(f"demo: {error}", markup=False)
            raise typer.Exit(1) from None
        except KeyboardInterrupt as end:
            if figures is None:
                raise typer.Exit(143 if isinstance(end, Terminated) else 130) from None
        finally:
            if stage is not None:
                _stop(stage.server)


@contextmanager
def _sigterm_ends() -> Iterator[None]:
    """The first SIGTERM interrupts us; more of them do not disturb the clearing up."""

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _inputs(cases: Path | None, target: Path | None, controls: Path | None) -> tuple[Path, Path, Path | None]:
    chosen = (cases or EXAMPLES / "cases.jsonl", target or EXAMPLES / "target-pipeline", controls)
    for path in chosen:
        if path is not None and not path.exists():
            Console(stderr=True).print(f"demo: there is no {path}; give --cases and --target, or run it in a checkout of the project", markup=False)
            raise typer.Exit(64)
    if not (chosen[1] / "triage.yaml").is_file():
        Console(stderr=True).print(f"demo: {chosen[1]} has no triage.yaml; see docs/manifest.md", markup=False)
        raise typer.Exit(64)
    return chosen


def _prepare(folder: Path, target: Path) -> Stage:
    """Host a copy of the target in a bare repository and start the real server on it."""
    try:
        host = LocalGit.create(folder / "target.git", target, "Import the target", name="target", now=utc_now)
    except (PortError, OSError) as error:
        raise DemoFailed(f"the target cannot be taken over: {error}") from None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token, secret = secrets.token_urlsafe(24), _webhook_secret()
    settings = {
        "TRIAGE_DATA_DIR": str(folder / "data"),
        "TRIAGE_PORT": str(port),
        "TRIAGE_TOKEN": token,
        "TRIAGE_UNDO_SECONDS": "0",
        "TRIAGE_SETTLE_SECONDS": str(SETTLE),
        "TRIAGE_POLL_SECONDS": "0.1",
        "TRIAGE_WORKERS": str(2 * (os.cpu_count() or 1)),
        "TRIAGE_SOURCES": json.dumps({"demo": {"secrets": [secret], "target": "target"}}),
        "TRIAGE_TARGETS": json.dumps({"target": {"repo": str(folder / "target.git")}}),
    }
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("TRIAGE_")}
    argv = [sys.executable, "-m", "service.cli", "serve", "--host", "127.0.0.1", "--until-stdin-ends"]
    with open(folder / "server.log", "wb") as log:  # the pipe ends when we do, however we end; the server ends with it
        server = subprocess.Popen(argv, env={**inherited, **settings}, cwd=folder, stdin=subprocess.PIPE, stdout=log, stderr=log)
    try:
        stage = Stage(folder, host, f"http://127.0.0.1:{port}", token, secret, server)
        _until(stage, "the server is up", lambda: _ready(stage), patience=60)
    except BaseException:
        _stop(server)
        raise
    return stage


def _webhook_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def _ready(stage: Stage) -> bool:
    try:
        return stage.client.get(stage.address + "/readyz").status_code == 200
    except httpx2.TransportError:
        return False


def _until(stage: Stage, what: str, done: Callable[[], bool], patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not done():
        if stage.server.poll() is not None:
            raise DemoFailed(f"the server ended while waiting until {what}:\n{(stage.folder / 'server.log').read_text()[-2000:]}")
        if time.monotonic() > deadline:
            raise DemoFailed(f"gave up after {patience:.0f} s waiting until {what}")
        time.sleep(0.1)


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(timeout=30)
    except subprocess.TimeoutExpired:
        pass
    finally:  # also when a second Ctrl-C cuts the patience short
        server.kill()
        server.wait()
        if server.stdin is not None:
            server.stdin.close()


def _play(stage: Stage, cases: Path, controls: Path | None, screen: Console) -> Figures:
    """The five acts: send, draft, decide, build and gate, merge; then try the tickets again."""
    given = [line for path in (cases, controls) if path for line in _lines(path)]
    before = stage.host.head()
    start = time.monotonic()
    columns = (TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen) as progress:
        sent = _send(stage, given, progress)
        documents = list(sent.values())
        figures = Figures(cases=len(sent), rejections=sum(one.get("verdict", "rejected") == "rejected" for one in documents))
        _draft(stage, figures.rejections, progress)
        hints = _decide(stage, progress)
        figures.confirmed = sum(hint["state"] == "confirmed" for hint in hints)
        _build(stage, figures.confirmed, progress)
        _merge(stage, progress)
        tried = _try_again(stage, documents, before, progress)
    figures.loop_seconds = round(time.monotonic() - start, 2)
    figures.cases_per_second = round(figures.cases / figures.loop_seconds, 2)
    counts = stage.get("/v1/stations")
    figures.hints, figures.abstained = sum(counts["hints"].values()), counts["cases"].get("abstained", 0)
    pulls = _all(stage, "/v1/pulls")
    figures.pulls, figures.merged = len(pulls), sum(pull["state"] == "merged" for pull in pulls)
    figures.gate_pass = sum(pull["gate"] == "pass" for pull in pulls)
    figures.gate_fail = figures.pulls - figures.gate_pass
    _judge(stage, figures, documents, list(sent), tried, {hint["case_id"]: hint for hint in hints})
    return figures


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """(place, line) of a file, without what is empty."""
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if line.strip():
            yield f"{path.name} line {number}", line.strip()


def _send(stage: Stage, given: list[tuple[str, bytes]], progress: Progress) -> dict[str, dict[str, Any]]:
    """Every line as a signed webhook. Returns our id → case of those that count, in order.

    What does not count is named: a line that is refused, one that was stored before, a revision that another one replaces.
    """
    task = progress.add_task("sending signed webhooks", total=len(given))
    sent: dict[str, dict[str, Any]] = {}
    places: dict[str, str] = {}
    newest: dict[str, tuple[int, str]] = {}
    left: list[str] = []
    for number, (place, body) in enumerate(given, start=1):
        headers = sign(f"msg_demo_{number}", utc_now(), body, stage.secret)
        answer = stage.client.post(stage.address + "/v1/cases", content=body, headers={**headers, "content-type": "application/json"})
        progress.advance(task)
        if answer.status_code in REFUSALS:
            left.append(f"{place}: refused with {answer.status_code}, {answer.json().get('detail', '')[:300]}")
            continue
        if answer.status_code not in (200, 202):
            raise DemoFailed(f"{place} was answered with {answer.status_code}: {answer.text[:300]}")
        case_id, revision = answer.json()["id"], answer.json()["revision"]
        if case_id in places:
            left.append(f"{place}: the same case as {places[case_id]}")
            continue
        places[case_id], sent[case_id] = place, json.loads(body)
        name = str(sent[case_id].get("external_id") or case_id)
        before = newest.get(name)
        newest[name] = max((revision, case_id), before) if before else (revision, case_id)
        if before:
            old = min((revision, case_id), before)[1]
            left.append(f"{places[old]}: replaced by revision {newest[name][0]}, {places[newest[name][1]]}")
            del sent[old]
    _name(left, progress)
    return sent


def _name(left: list[str], progress: Progress) -> None:
    for line in left[:NAMED]:
        progress.console.print(f"not counted: {line}", markup=False, highlight=False)
    if len(left) > NAMED:
        progress.console.print(f"not counted: {len(left) - NAMED} more lines")


def _draft(stage: Stage, rejections: int, progress: Progress) -> None:
    """Wait until no case is queued: all that were stored have their draft or their reason then, however many lines said them."""
    task = progress.add_task("masking and drafting hints", total=rejections)

    def done() -> bool:
        queued = int(stage.get("/v1/stations")["cases"].get("queued", 0))
        progress.update(task, completed=max(0, rejections - queued))
        return queued == 0

    _until(stage, "every rejection has its draft or its reason", done)


def ruling(hint: Mapping[str, Any], leader: str | None) -> dict[str, str]:
    """The stand-in's rule: it confirms only what lint and replay support, an equal change as a duplicate of `leader`, and dismisses the rest.

    `hint`: GET /v1/hints/{id}. `leader`: the confirmed hint with the very same change. A change that was not tried has no support: it is the
    replay that says whether the ticket at hand needs it, also where another one's change was equal.
    """
    current = hint["current"]
    blocking = any(finding["blocks"] and finding["code"] != "twin" for finding in hint["findings"])  # a twin is what a duplicate has
    if blocking or current["changes_controls"] or current["confidence"]["replay"] != "moved":
        return {"verdict": "dismiss", "reason": "wrong_hint"}
    return {"verdict": "duplicate", "of": leader} if leader else {"verdict": "confirm"}


def _decide(stage: Stage, progress: Progress) -> list[dict[str, Any]]:
    """Each waiting hint by the stand-in's rule."""
    waiting = _all(stage, "/v1/hints", state="awaiting")
    task = progress.add_task(f"{STAND_IN} decides", total=len(waiting))
    seen: dict[str, str] = {}
    for line in waiting:
        hint = stage.get(f"/v1/hints/{line['id']}")
        change = json.dumps(edit_of(hint["current"]["change"]), sort_keys=True)
        decision = ruling(hint, seen.get(change))
        answer = stage.post(f"/v1/hints/{hint['id']}/decision", {"version": hint["version"], **decision})
        if decision["verdict"] == "confirm" and answer.status_code < 400:
            seen[change] = hint["id"]
        if answer.status_code >= 400:
            stage.post(f"/v1/hints/{hint['id']}/decision", {"version": hint["version"], "verdict": "dismiss", "reason": "wrong_hint"})
        progress.advance(task)
    return _all(stage, "/v1/hints")


def _all(stage: Stage, path: str, **query: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    after: str | None = None
    while True:
        page = stage.get(path, limit=200, **query, **({"after": after} if after else {}))
        rows += page["rows"]
        after = page["after"]
        if after is None:
            return rows


def _build(stage: Stage, confirmed: int, progress: Progress) -> None:
    task = progress.add_task("codemod builds pulls, evals gate them", total=confirmed)

    def done() -> bool:
        counts = stage.get("/v1/stations")
        ended = sum(counts["handoffs"].get(state, 0) for state in ("gave_up", "refused", "blocked", "failed"))
        gated = sum(counts["gate_runs"].get(state, 0) for state in ("pass", "fail", "inconclusive", "error"))
        progress.update(task, completed=min(confirmed, ended + gated))
        return bool(ended + gated >= confirmed)

    _until(stage, "every confirmed hint has its verdict", done)


def _merge(stage: Stage, progress: Progress) -> None:
    ready = _all(stage, "/v1/pulls", state="ready")
    task = progress.add_task(f"{STAND_IN} merges the green ones", total=len(ready))
    for pull in reversed(ready):
        stage.post(f"/v1/pulls/{pull['id']}/merge")

    def done() -> bool:
        landing = stage.get("/v1/stations")["pulls"].get("landing", 0)
        progress.update(task, completed=len(ready) - landing)
        return bool(landing == 0)

    _until(stage, "nothing is landing any more", done)


def _try_again(stage: Stage, documents: list[dict[str, Any]], before: str, progress: Progress) -> list[tuple[Plan | None, Plan | None]]:
    """Every ticket through the pipeline as it was and as it is now: (plan then, plan now), masked."""
    task = progress.add_task("sending the tickets again", total=2)
    runner = SubprocessEvals(stage.folder / "again", python=sys.executable)
    plans: list[dict[str, ReplayAnswer]] = []
    for name, sha in (("before", before), ("after", stage.host.head())):
        tree = stage.folder / name
        tree.mkdir()
        stage.host.export(sha, tree)
        replay = read_manifest((tree / "triage.yaml").read_text()).replay
        if replay is None:
            raise DemoFailed("the target's manifest names no replay")
        inputs = {f"c{number}": {"ticket": one["ticket"]} for number, one in enumerate(documents)}
        plans.append({answer.case_id: answer for answer in runner.replay(replay, tree, inputs)})
        progress.advance(task)
    stage.plans = [(str(one.get("external_id")), plans[1][f"c{n}"].plan) for n, one in enumerate(documents)]
    return [(_masked(plans[0][f"c{n}"], one), _masked(plans[1][f"c{n}"], one)) for n, one in enumerate(documents)]


def _masked(answer: ReplayAnswer, document: dict[str, Any]) -> Plan | None:
    if answer.plan is None:
        return None
    whole = Case.model_validate(document).model_dump(mode="json", by_alias=True, exclude_none=True)
    return Plan.model_validate(redact_plan(answer.plan, redact(whole)[1]))


def _judge(
    stage: Stage,
    figures: Figures,
    documents: list[dict[str, Any]],
    ids: list[str],
    tried: list[tuple[Plan | None, Plan | None]],
    hints: dict[str, Any],
) -> None:
    """Cured: the plan is now what the confirmed hint promised. A control changed when its plan is another than before."""
    items: dict[str, dict[str, Any]] = {}
    gates = {pull["id"]: pull["gate"] for pull in _all(stage, "/v1/pulls")}
    for case_id, document, (before, after) in zip(ids, documents, tried, strict=True):
        if document.get("verdict", "rejected") == "accepted":
            figures.controls_changed += before is not None and (after is None or bool(difference(before, after)))
            continue
        story, line, leader, cured = stage.get(f"/v1/cases/{case_id}"), hints.get(case_id), None, False
        if line is not None:
            leading = line["duplicate_of"] or line["id"]
            leader = items[leading] = items.get(leading) or stage.get(f"/v1/hints/{leading}")
            if line["state"] in ("confirmed", "duplicate") and before is not None and after is not None:
                hint = leader["current"] if leading == line["id"] else stage.get(f"/v1/hints/{line['id']}")["current"]
                must, must_not = ([Expectation.model_validate(one) for one in hint[key]] for key in ("must", "must_not"))
                cured = not judge(must, must_not, before, after)
        figures.cured += cured
        figures.recurred += not cured and any(pull["state"] == "merged" for pull in story["pulls"])
        stage.endings.append(fates.fate_of(story, leader, cured, gates))
    ended = Counter(fate.stage for fate in stage.endings)
    figures.ended = {name: ended[name] for name in fates.STAGES}


def _write(figures: Figures, stage: Stage, report: Path | None, keep: Path | None, given: tuple[Path | None, ...]) -> None:
    if report is not None:
        options = (f"--{name} {path.name}" for name, path in zip(("cases", "target", "controls"), given, strict=True) if path)
        report.write_text(
            fates.as_markdown(vars(figures), stage.endings, " ".join(["triage demo", *options, "--exit", "--report FILE"])), encoding="utf-8"
        )
    if keep is not None:
        told = {fate.name: vars(fate) for fate in stage.endings}
        lines = ({"external_id": name, **told.get(name, {}), "plan": plan} for name, plan in stage.plans)
        keep.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")


def _close(figures: Figures, endings: list[fates.Fate], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(vars(figures)))
        return
    table = Table(title="What became of the cases", show_header=False)
    for name, text in LABELS.items():
        table.add_row(text, str(getattr(figures, name)))
    Console().print(table)
    rows = fates.by_recipe(endings)
    used = [place for place in range(len(fates.STAGES)) if any(numbers[place] for _, numbers in rows)]  # all would not fit a terminal
    ends = Table(title="By the recipe of their hint")
    ends.add_column("rejections ended", no_wrap=True)
    for place in used:
        ends.add_column(fates.STAGES[place], justify="right")
    for recipe, numbers in rows:
        ends.add_row(recipe, *(str(numbers[place] or "") for place in used))
    Console().print(ends)


LABELS = {
    "cases": "cases received",
    "rejections": "of them rejections",
    "hints": "hints drafted",
    "abstained": "answered without a fix",
    "confirmed": f"hints confirmed ({STAND_IN}, scripted)",
    "pulls": "pulls built",
    "gate_pass": "let through by the gate",
    "gate_fail": "stopped by the gate",
    "merged": "pulls merged",
    "cured": "rejections cured, tickets sent again",
    "recurred": "merged and still wrong",
    "controls_changed": "accepted cases that changed",
    "seconds": "seconds",
    "loop_seconds": "of them from the first webhook to the last ticket sent again",
    "cases_per_second": "cases a second of the loop",
}


def main(argv: list[str]) -> int:
    """Exit status: 0 done, 1 the loop broke, 64 inputs missing, 130 Ctrl-C, 143 SIGTERM."""
    return int(app(argv, standalone_mode=False, prog_name="triage demo") or 0)
