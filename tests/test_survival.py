"""The server, or one of its programs, is killed at seeded points of the whole loop: nothing that was acknowledged is lost, nothing is done twice."""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from connectors.localgit import LocalGit
from rubric.recipes import edit_of
from service.commands.demo import ruling
from service.engine import Engine
from service.lifecycle import FOLLOWS
from service.wiring import utc_now
from tests.samples.survivor import REBUILT, ROOT, Survivor, points

CASES = [json.loads(line) for line in (ROOT / "examples/cases.jsonl").read_text(encoding="utf-8").splitlines()]
REJECTED = sum(case["verdict"] == "rejected" for case in CASES)
POINTS, STRETCH = 11, 19
"""deaths of the server in a run; cases and moves between two of them"""
ENOUGH, ENOUGH_PROGRAMS = 10, 3
MERGED = 7
"""pulls that are asked for; each costs a rebuild and another gate"""
SEEDS = {"sqlite": 20, "postgres": 21}
FLOWS = sorted({"draft", "mask", *FOLLOWS.values()})

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for child processes in /proc"),
]


@dataclass
class Run:
    """What the people were told, by thing."""

    server: Survivor
    receipts: dict[int, str] = field(default_factory=dict)
    """number of the case → our id"""
    decisions: dict[str, str] = field(default_factory=dict)
    """hint → state"""
    asked: set[str] = field(default_factory=set)
    """pulls that a person asked to merge"""
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)


@pytest.fixture(
    params=[
        pytest.param("sqlite", marks=pytest.mark.xdist_group("survival on sqlite")),
        pytest.param("postgres", marks=[pytest.mark.postgres, pytest.mark.xdist_group("survival on postgres")]),
    ]
)
def survivor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Survivor]:
    url = request.getfixturevalue("durable").create() if request.param == "postgres" else None
    LocalGit.create(tmp_path / "target.git", ROOT / "examples/target-pipeline", "Import the target", name="target", now=utc_now)
    server = Survivor(tmp_path, tmp_path / "target.git", url)
    server.starts()
    server.dies_at(points(SEEDS[request.param], POINTS, STRETCH))
    yield server
    server.stops()


def test_nothing_is_lost_and_nothing_is_done_twice(survivor: Survivor, request: pytest.FixtureRequest, record_property: Any) -> None:
    run, start = Run(survivor), time.monotonic()
    send(run)
    survivor.until("every rejection has its draft or its reason", lambda: counted(survivor, "cases", "queued") == 0)
    decide(run)
    survivor.until("every pull has its verdict", lambda: built(survivor))
    merge(run)
    survivor.until("every merged pull was looked at", lambda: counted(survivor, "outcomes", "watching") == 0)
    survivor.until("no flow is left", lambda: not active(survivor))
    for check in (cases_are_there, decisions_stand, pulls_are_single, verdicts_stand, merges_are_single, nothing_stands_still):
        check(run)
    figures = {
        "points": len(survivor.hit), "acknowledged": len(run.receipts), "lost": len(run.lost), "doubled": len(run.doubled),
        "repeated": survivor.repeated, "refused": survivor.refused, "pulls": len(pulls(survivor)), "verdicts": len(survivor.seen),
        "merged": counted(survivor, "pulls", "merged"), "programs": sum(point.victim == "program" for point, _ in survivor.hit), "seconds": round(time.monotonic() - start), "signs": dict(Counter(point.sign for point, _ in survivor.hit)),
    }  # fmt: skip
    told = ", ".join(f"{name} {value}" for name, value in figures.items())
    record_property("told", f"survival on {request.node.callspec.params['survivor']}: {told}")
    assert (run.lost, run.doubled) == ([], [])
    assert len(run.receipts) == len(CASES)
    victims = Counter(point.victim for point, _ in survivor.hit)
    assert victims["all"] + victims["server"] >= ENOUGH
    assert victims["program"] >= ENOUGH_PROGRAMS


# ---- the people


def send(run: Run) -> None:
    for number, document in enumerate(CASES):
        answer = run.server.sends(number, document)
        assert answer.status_code in (200, 202), answer.text
        run.receipts[number] = answer.json()["id"]


def decide(run: Run) -> None:
    """By the demo's own rule."""
    seen: dict[str, str] = {}
    for line in run.server.gets("/v1/hints", state="awaiting", limit=200)["rows"]:
        hint = run.server.gets(f"/v1/hints/{line['id']}")
        change = json.dumps(edit_of(hint["current"]["change"]), sort_keys=True)
        decision = {"version": hint["version"], **ruling(hint, seen.get(change))}
        answer = run.server.posts(f"/v1/hints/{hint['id']}/decision", decision)
        if answer.status_code >= 400:
            answer = run.server.posts(f"/v1/hints/{hint['id']}/decision", {"verdict": "dismiss", "version": hint["version"], "reason": "wrong_hint"})
        assert answer.status_code == 200, answer.text
        run.decisions[hint["id"]] = answer.json()["state"]
        if answer.json()["state"] == "confirmed":
            seen[change] = hint["id"]


def merge(run: Run) -> None:
    """Ask for some of the ready pulls; what is handed back is asked for once more."""
    for _ in range(3):
        ready = run.server.gets("/v1/pulls", state="ready", limit=200)["rows"]
        for pull in ready[-MERGED:] if not run.asked else [pull for pull in ready if pull["id"] in run.asked]:
            assert run.server.posts(f"/v1/pulls/{pull['id']}/merge").status_code == 202
            run.asked.add(pull["id"])
        run.server.until("nothing is landing", lambda: counted(run.server, "pulls", "landing") == 0)


# ---- what they look at


def counted(server: Survivor, thing: str, *states: str) -> int:
    found = server.gets("/v1/stations")[thing]
    return sum(found.get(state, 0) for state in states)


def pulls(server: Survivor) -> list[dict[str, Any]]:
    return list(server.gets("/v1/pulls", limit=200)["rows"])


def built(server: Survivor) -> bool:
    waits = any(pull["state"] == "draft" and pull["gate"] in (None, "running", "error") for pull in pulls(server))
    return not waits and counted(server, "handoffs", "waiting", "working") == 0


def active(server: Survivor) -> set[str]:
    engine = Engine(server.url, executor="test", workers=1, poll_seconds=1, data_dir=server.folder)
    try:
        return engine.active([f"{flow}:" for flow in FLOWS])
    finally:
        engine.client.destroy()


# ---- what has to hold


def cases_are_there(run: Run) -> None:
    """Each acknowledged case has its receipt still, and stands where its verdict says."""
    for number, case_id in run.receipts.items():
        again = run.server.sends(number, CASES[number])
        if (again.status_code, again.json().get("id")) != (200, case_id):
            run.lost.append(f"case {number}: acknowledged as {case_id}, now {again.status_code} {again.text[:100]}")
    fine = {"rejected": {"drafted", "abstained"}, "accepted": {"control"}}
    states = dict(run.server.rows("SELECT id, state FROM cases"))
    for number, case_id in run.receipts.items():
        if states.get(case_id) not in fine[CASES[number]["verdict"]]:
            run.lost.append(f"case {number} is {states.get(case_id)}")
    if len(states) != len(CASES):
        run.doubled.append(f"{len(states)} cases")
    drafted = {case for case, state in states.items() if state == "drafted"}
    if drafted != {case for (case,) in run.server.rows("SELECT DISTINCT case_id FROM hints")}:
        run.lost.append("a drafted case without a hint, or a hint without a drafted case")


def decisions_stand(run: Run) -> None:
    states = dict(run.server.rows("SELECT id, state FROM hints"))
    run.lost += [f"hint {hint}: said {said}, now {states.get(hint)}" for hint, said in run.decisions.items() if states.get(hint) != said]
    reviews = Counter(hint for (hint,) in run.server.rows("SELECT hint_id FROM reviews"))
    run.doubled += [f"hint {hint}: decided {number} times" for hint, number in reviews.items() if number > 1]
    moves = Counter(run.server.rows("SELECT thing, thing_id, state_to FROM history WHERE state_from IS NULL"))
    run.doubled += [f"{move} begun {number} times" for move, number in moves.items() if number > 1]


def pulls_are_single(run: Run) -> None:
    """A confirmed hint has one pull, or a handoff that says why not; a branch stands once for each base."""
    made = Counter(hint for (hint,) in run.server.rows("SELECT hint_id FROM pulls"))
    work = run.server.rows("SELECT hint_id, state FROM handoffs")
    ended = {hint for hint, state in work if state in ("gave_up", "refused")}
    confirmed = {hint for hint, said in run.decisions.items() if said == "confirmed"}
    run.lost += [f"hint {hint} has no pull: {dict(work).get(hint)}" for hint in confirmed - set(made) - ended]
    run.doubled += [f"hint {hint} has {number} pulls" for hint, number in made.items() if number > 1]
    run.doubled += [f"hint {hint} has {number} handoffs" for hint, number in Counter(hint for hint, _ in work).items() if number > 1]
    branches = git(run, "for-each-ref", "--format=%(refname:lstrip=2) %(objectname) %(parent) %(tree)", "refs/heads/triage")
    places = Counter((REBUILT.sub("", name), parent) for name, _, parent, _ in map(str.split, branches))
    run.doubled += [f"{name} stands {number} times on {base[:8]}" for (name, base), number in places.items() if number > 1]
    heads = {name: sha for name, sha, _, _ in map(str.split, branches)}
    run.lost += [f"branch {name} was {sha[:8]}" for name, sha in run.server.heads.items() if heads.get(name) != sha]
    run.lost += [f"the branch of {pull['id']} is gone" for pull in pulls(run.server) if heads.get(pull["branch"]) != pull["head_sha"]]


def verdicts_stand(run: Run) -> None:
    """A verdict is final, the pull went where it says, and none is the work of the killer: all pulls of the example pass when nobody dies."""
    run.lost += [f"gate run {name} failed: {report}" for name, report in run.server.rows("SELECT id, report FROM gate_runs WHERE state <> 'pass'")]
    runs = {row[0]: row[1:] for row in run.server.rows("SELECT id, state, pull_id, base_sha, head_sha FROM gate_runs")}
    run.lost += [f"gate run {name}: was {said}, now {runs.get(name)}" for name, said in run.server.seen.items() if runs.get(name, ("",))[0] != said]
    given = Counter(run.server.rows("SELECT thing_id FROM history WHERE thing = 'gate_runs' AND state_to IN ('pass', 'fail', 'inconclusive')"))
    run.doubled += [f"gate run {name} was judged {number} times" for (name,), number in given.items() if number > 1]
    passed = {(pull, base, head) for state, pull, base, head in runs.values() if state == "pass"}
    for pull in pulls(run.server):
        fits = (pull["id"], pull["base_sha"], pull["head_sha"]) in passed
        if fits is (pull["state"] == "draft") or (pull["state"] == "merged" and not fits):
            run.lost.append(f"pull {pull['id']} is {pull['state']}, gate {pull['gate']}")


def merges_are_single(run: Run) -> None:
    """The base branch is the import and one commit for each merged pull, and nothing else."""
    commits = git(run, "rev-list", "--first-parent", "main")
    merged = {pull["id"]: pull["merged_sha"] for pull in pulls(run.server) if pull["state"] == "merged"}
    run.lost += [f"pull {name} was merged as {sha[:8]}" for name, sha in run.server.landed.items() if merged.get(name) != sha]
    run.lost += [f"the merge of {name} is not on the base" for name, sha in merged.items() if sha not in commits]
    run.lost += [f"pull {name} was asked for and stays" for name in run.asked if name in stays(run)]
    if len(commits) != 1 + len(set(merged.values())) or len(set(merged.values())) != len(merged):
        run.doubled.append(f"{len(commits) - 1} commits for {len(merged)} merged pulls")
    ends = Counter(run.server.rows("SELECT thing_id FROM history WHERE thing = 'pulls' AND state_to = 'merged'"))
    run.doubled += [f"pull {name} was merged {number} times" for (name,), number in ends.items() if number > 1]


def stays(run: Run) -> set[str]:
    """Asked for and neither merged nor closed, without a word why."""
    return {pull["id"] for pull in pulls(run.server) if pull["state"] not in ("merged", "closed") and not pull["closed_reason"]}


def nothing_stands_still(run: Run) -> None:
    still = {
        "cases": ("queued",),
        "handoffs": ("waiting", "working", "failed"),
        "gate_runs": ("running", "error"),
        "pulls": ("landing",),
        "outcomes": ("watching",),
    }
    for thing, states in still.items():
        rows = run.server.rows(f"SELECT id, state FROM {thing}")
        run.lost += [f"{thing} {name} is {state}" for name, state in rows if state in states]
        told = {state: number for state, number in run.server.gets("/v1/stations")[thing].items() if number}
        if told != Counter(state for _, state in rows):
            run.doubled.append(f"the tally of {thing} says {told}")
    broken = [line for line in (run.server.folder / "server.log").read_text(errors="replace").splitlines() if "flow failed" in line]
    run.lost += broken


def git(run: Run, *words: str) -> list[str]:
    return subprocess.run(["git", "-C", str(run.server.repo), *words], capture_output=True, text=True, check=True).stdout.splitlines()
