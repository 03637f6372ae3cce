"""`triage gate run --cache` holds here: what was run before is not run again, a damaged folder costs a run, and many processes may share one."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from service.commands.gate_cache import CacheFolder
from service.gating import GateRefused
from tests.service.test_gate_command import ROOT, Repo, fetch

KEY = "k" * 64
RESULT = {"rows": [{"row": "r", "passed": True, "score": None}], "seconds": 1.0}


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    found = Repo(tmp_path / "a repo")
    found.commit(fetch(c=1))
    return found


def gate(repo: Repo, folder: Path, *words: str) -> tuple[int, dict]:
    argv = [
        sys.executable,
        "-m",
        "service.cli",
        "gate",
        "run",
        "--repo",
        str(repo.path),
        "--base",
        "base",
        "--head",
        "main",
        "--json",
        "--cache",
        str(folder),
        *words,
    ]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    return done.returncode, json.loads(done.stdout)


def cached(found: dict) -> list[tuple[int, int]]:
    return [(suite["cached_base"], suite["cached_head"]) for suite in found["suites"]]


def test_the_second_run_is_read_and_says_the_same(repo: Repo, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "cache"
    first, second = gate(repo, folder), gate(repo, folder)
    assert first[0] == second[0] == 0 and cached(first[1]) == [(0, 0)] and cached(second[1]) == [(1, 1)]
    timed = {"seconds", "seconds_base", "seconds_head", "cached_base", "cached_head"}
    plain = [[{key: value for key, value in suite.items() if key not in timed} for suite in found["suites"]] for _, found in (first, second)]
    assert plain[0] == plain[1]
    assert folder.stat().st_mode & 0o777 == 0o700 and len(list(folder.iterdir())) == 2
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "gate", "run", "--repo", repo.path, "--base", "base", "--head", "main", "--cache", folder],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert "from cache on base: 1 run" in done.stdout and "from cache on head: 1 run" in done.stdout


def test_another_head_finds_only_base(repo: Repo, tmp_path: Path) -> None:
    gate(repo, tmp_path / "c")
    repo.commit(fetch(a=2, c=1))
    status, found = gate(repo, tmp_path / "c")
    assert (status, cached(found), found["suites"][0]["lost"]) == (1, [(1, 0)], ["ra"])


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff\x00", b'{"rows": []}', b"[" * 100_000])
def test_a_damaged_file_is_run_and_made_good(repo: Repo, tmp_path: Path, damage: bytes) -> None:
    folder = tmp_path / "c"
    gate(repo, folder)
    for file in folder.iterdir():
        file.write_bytes(damage)
    assert cached(gate(repo, folder)[1]) == [(0, 0)]
    assert cached(gate(repo, folder)[1]) == [(1, 1)]


def test_a_result_under_another_s_name_is_not_taken(repo: Repo, tmp_path: Path) -> None:
    """Files swapped: each says whose result it is."""
    folder = tmp_path / "c"
    gate(repo, folder)
    one, two = sorted(folder.iterdir())
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    assert cached(gate(repo, folder)[1]) == [(0, 0)]


def test_a_failure_is_not_kept(repo: Repo, tmp_path: Path) -> None:
    repo.commit(fetch(do="sys.exit(3)"))
    for number in range(2):
        status, found = gate(repo, tmp_path / "c")
        assert (status, cached(found)) == (1, [(min(1, number), 0)])


def test_two_processes_may_share_a_folder(repo: Repo, tmp_path: Path) -> None:
    argv = [
        sys.executable,
        "-m",
        "service.cli",
        "gate",
        "run",
        "--repo",
        str(repo.path),
        "--base",
        "base",
        "--head",
        "main",
        "--json",
        "--cache",
        str(tmp_path / "c"),
    ]
    both = [subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    answers = [json.loads(one.communicate(timeout=120)[0]) for one in both]
    assert [answer["state"] for answer in answers] == ["pass", "pass"]
    assert not [name for name in os.listdir(tmp_path / "c") if name.startswith(".")] and cached(gate(repo, tmp_path / "c")[1]) == [(1, 1)]


def test_a_folder_that_cannot_be_is_refused_in_words(repo: Repo, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    status, found = gate(repo, tmp_path / "file" / "c")
    assert status == 2 and found["error"]["code"] == "cache_unusable"
    status, found = gate(repo, tmp_path / "c", "--python", str(tmp_path / "no python"))
    assert status == 2 and found["error"]["code"] == "python_unusable"
    with pytest.raises(GateRefused):
        CacheFolder(tmp_path / "file")


def test_what_holds_for_a_while_is_gone_afterwards_and_odd_files_are_nothing(tmp_path: Path) -> None:
    now = [1000.0]
    folder = CacheFolder(tmp_path / "c", lambda: now[0])
    folder.keep(KEY, RESULT, timedelta(seconds=10))
    assert folder.look_up(KEY)["rows"] == RESULT["rows"] and folder.look_up("other") is None
    now[0] += 10
    assert folder.look_up(KEY) is None
    folder.keep(KEY, RESULT, None)
    now[0] += 10**9
    assert folder.look_up(KEY) is not None
    (tmp_path / "away").write_text(json.dumps({"key": "link", **RESULT, "expires": None}))
    (tmp_path / "c" / "link.json").symlink_to(tmp_path / "away")
    os.mkfifo(tmp_path / "c" / "pipe.json")
    (tmp_path / "c" / "sub.json").mkdir()
    assert [folder.look_up(name) for name in ("link", "pipe", "sub", "../c/" + KEY)] == [None] * 4
    folder.keep("sub", RESULT, None)
    assert not [name for name in os.listdir(tmp_path / "c") if name.startswith(".")]
    for entry in ("link.json", "pipe.json", f"{KEY}.json"):
        (tmp_path / "c" / entry).unlink()
    (tmp_path / "c" / "sub.json").rmdir()
    (tmp_path / "c").rmdir()
    folder.keep(KEY, RESULT, None)  # somebody emptied it meanwhile: no harm
    assert folder.look_up(KEY) is None
