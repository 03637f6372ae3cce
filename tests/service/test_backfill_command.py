"""`triage critic backfill` from outside: real processes, the example target, a model server of sockets."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from connectors.localgit import LocalGit
from service.wiring import utc_now
from tests.samples.messages import MessagesStub

ROOT = Path(__file__).parents[2]
NO_RULES: dict[str, Any] = {"rules": []}
"""one ask a case: its course ends in an abstention"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    LocalGit.create(tmp_path / "target.git", ROOT / "examples" / "target-pipeline", "Import the target", name="bank", now=utc_now)
    lines = (ROOT / "examples" / "cases.jsonl").read_text(encoding="utf-8").splitlines()
    rejected = [line for line in lines if json.loads(line)["verdict"] == "rejected"]
    (tmp_path / "cases.jsonl").write_text("\n".join(rejected[:3]), encoding="utf-8")
    return tmp_path


def settings(folder: Path, url: str = "") -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TRIAGE_")}
    targets = json.dumps({"bank": {"repo": str(folder / "target.git")}})
    ours = {"TRIAGE_DATA_DIR": str(folder / "data"), "TRIAGE_TARGETS": targets, "PYTHONPATH": str(ROOT), "COLUMNS": "300"}
    model = {"TRIAGE_CRITIC": "claude", "TRIAGE_CLAUDE_KEY": "a-key", "TRIAGE_CLAUDE_URL": url, "TRIAGE_CLAUDE_MODEL": "claude-haiku-5-5"}
    return {**kept, **ours, **(model if url else {})}


def triage(folder: Path, *words: str, url: str = "", **more: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "service.cli", *words]
    done = subprocess.run(
        argv, cwd=folder, env={**settings(folder, url), **more}, capture_output=True, text=True, timeout=100, stdin=subprocess.DEVNULL
    )
    assert "Traceback" not in done.stderr and "╭" not in done.stderr, done.stderr
    return done


def test_old_rejections_are_asked_about_once_and_wait_for_the_server_s_draft(folder: Path) -> None:
    assert triage(folder, "import", "cases.jsonl").returncode == 0
    with MessagesStub(NO_RULES) as stub:
        first = triage(folder, "critic", "backfill", "--every", "0", "--json", url=stub.url)
        assert first.returncode == 0, first.stderr
        found = json.loads(first.stdout)
        assert (found["cases"], found["handed_over"], found["rounds"], found["asked"], found["answered"]) == (3, 3, 1, 3, 3)
        assert found["tokens"] > 0 < found["usd"] and found["aside"] == {} and found["stopped"] == ""
        again = triage(folder, "critic", "backfill", url=stub.url)
        assert json.loads(triage(folder, "critic", "backfill", "--json", url=stub.url).stdout)["cases"] == 0  # they wait for the server
        anew = triage(folder, "critic", "backfill", "--of", "abstained", "--of", "failed", "--json", url=stub.url)
        assert anew.returncode == 0 and json.loads(anew.stdout)["cases"] == 0
    assert again.returncode == 0 and "handed over to the draft" in again.stdout
    assert sum(seen.path == "/v1/messages/batches" for seen in stub.requests) == 1 and stub.calls == 0


def test_one_round_can_be_handed_over_and_collected_another_day(folder: Path) -> None:
    triage(folder, "import", "cases.jsonl")
    with MessagesStub(NO_RULES, running=1) as stub:
        first = triage(folder, "critic", "backfill", "--no-wait", "--json", url=stub.url)
        assert first.returncode == 75 and json.loads(first.stdout)["out"] == 3 and "start it again to collect" in first.stderr
        second = triage(folder, "critic", "backfill", "--no-wait", "--json", url=stub.url)
        assert second.returncode == 75
        third = triage(folder, "critic", "backfill", "--no-wait", "--json", url=stub.url)
    assert third.returncode == 0 and json.loads(third.stdout)["handed_over"] == 3
    assert sum(seen.method == "POST" for seen in stub.requests) == 1


def test_a_batch_that_the_server_does_not_know_is_named_and_given_up_only_when_told(folder: Path) -> None:
    triage(folder, "import", "cases.jsonl")
    with MessagesStub(NO_RULES, running=1) as stub:
        triage(folder, "critic", "backfill", "--no-wait", url=stub.url)
    with MessagesStub(NO_RULES) as other:
        stopped = triage(folder, "critic", "backfill", "--every", "0", url=other.url)
        assert stopped.returncode == 75 and "msgbatch_0000 (not_found)" in stopped.stderr and "--give-up" in stopped.stderr
        assert not any(seen.method == "POST" for seen in other.requests)
        told = triage(folder, "critic", "backfill", "--every", "0", "--give-up", "--json", url=other.url)
    found = json.loads(told.stdout)
    assert told.returncode == 0 and (found["lost"], found["handed_over"], found["asked"]) == (3, 3, 3)


def test_a_process_that_is_killed_while_it_waits_pays_for_nothing_twice(folder: Path) -> None:
    triage(folder, "import", "cases.jsonl")
    with MessagesStub(NO_RULES, running=10**6) as stub:
        argv = [sys.executable, "-m", "service.cli", "critic", "backfill", "--every", "0.1"]
        process = subprocess.Popen(argv, cwd=folder, env=settings(folder, stub.url), stderr=subprocess.PIPE, stdout=subprocess.PIPE)
        until = time.monotonic() + 60
        while not any(seen.method == "GET" for seen in stub.requests) and time.monotonic() < until:
            time.sleep(0.05)
        busy = triage(folder, "critic", "backfill", url=stub.url)
        assert busy.returncode == 75 and "another backfill" in busy.stderr
        process.send_signal(signal.SIGKILL)
        process.communicate()
        stub._running = 0
        done = triage(folder, "critic", "backfill", "--every", "0", "--json", url=stub.url)
    found = json.loads(done.stdout)
    assert done.returncode == 0 and (found["handed_over"], found["asked"], found["answered"], found["lost"]) == (3, 0, 3, 0)
    assert sum(seen.method == "POST" for seen in stub.requests) == 1


def test_a_cap_ends_it_before_anything_goes_out(folder: Path) -> None:
    triage(folder, "import", "cases.jsonl")
    with MessagesStub(NO_RULES) as stub:
        done = triage(folder, "critic", "backfill", url=stub.url, TRIAGE_SPEND_HOUR_USD="0")
        assert done.returncode == 75 and "spend_cap_hour" in done.stderr and stub.requests == []
        aside = triage(folder, "critic", "backfill", "--json", url=stub.url, TRIAGE_SPEND_CASE_USD="0")
        assert aside.returncode == 1 and json.loads(aside.stdout)["aside"] == {"spend_cap_case": 3} and stub.requests == []


def test_without_a_model_one_line_says_what_to_set(folder: Path) -> None:
    done = triage(folder, "critic", "backfill")
    assert done.returncode == 78 and "TRIAGE_CRITIC=claude" in done.stderr and len(done.stderr.strip().splitlines()) == 1
    wrong = triage(folder, "critic", "backfill", "--target", "nowhere", url="http://127.0.0.1:9")
    assert wrong.returncode == 64 and len(wrong.stderr.strip().splitlines()) == 1
    keyless = triage(folder, "critic", "backfill", TRIAGE_CRITIC="claude")
    assert keyless.returncode == 78 and "TRIAGE_CLAUDE_KEY" in keyless.stderr
