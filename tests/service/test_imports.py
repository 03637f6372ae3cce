"""`triage import` with files as they come from foreign hands, and with a process that is killed half-way."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from service.commands.importing import LINE_CAP

ROOT = Path(__file__).parents[2]


def case(name: str, reply: str = "Dear rec_b") -> dict[str, Any]:
    plan = {"intent_path": ["cards", "lost"], "fetch": [], "reply": reply}
    return {"external_id": name, "ticket": {"messages": [{"role": "customer", "text": "my card"}]}, "plan": plan, "verdict": "accepted"}


def line(name: str, reply: str = "Dear rec_b") -> bytes:
    return json.dumps(case(name, reply), ensure_ascii=False).encode()


def argv_and_environment(folder: Path) -> tuple[list[str], dict[str, str]]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TRIAGE_")}
    settings = {"PYTHONPATH": str(ROOT), "TRIAGE_DATA_DIR": str(folder / "data"), "TRIAGE_TARGETS": json.dumps({"bank": {"repo": "no.git"}})}
    return [sys.executable, "-m", "service.cli", "import"], {**kept, **settings, "COLUMNS": "300"}


def run(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    argv, environment = argv_and_environment(folder)
    done = subprocess.run([*argv, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=100, stdin=subprocess.DEVNULL)
    assert "Traceback" not in done.stderr and "╭" not in done.stderr, done.stderr
    return done


def take(folder: Path, content: bytes, status: int = 0) -> str:
    (folder / "cases.jsonl").write_bytes(content)
    done = run(folder, "cases.jsonl")
    assert done.returncode == status, done.stderr
    return done.stderr


def names(folder: Path) -> list[str]:
    aside = sqlite3.connect(folder / "data" / "triage.db", timeout=30)
    try:
        return [name for (name,) in aside.execute("SELECT name FROM cases ORDER BY name")]
    finally:
        aside.close()


def beside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("cases.jsonl.*"))


def test_an_empty_file_is_no_error(tmp_path: Path) -> None:
    assert "0 new, 0 duplicates, 0 set aside" in take(tmp_path, b"")
    assert names(tmp_path) == [] and beside(tmp_path) == []


def test_a_byte_order_mark_is_no_part_of_the_first_case(tmp_path: Path) -> None:
    assert "2 new" in take(tmp_path, b"\xef\xbb\xbf" + line("a") + b"\n" + line("b") + b"\n")
    assert names(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-be"])
def test_utf16_is_named_once(coding: str, tmp_path: Path) -> None:
    text = (line("a") + b"\n" + line("b") + b"\n").decode()
    content = text.encode(coding) if coding == "utf-16" else b"\xfe\xff" + text.encode(coding)
    said = take(tmp_path, content, 64)
    assert "UTF-16" in said and "UTF-8" in said and beside(tmp_path) == [] and names(tmp_path) == []


def test_utf16_without_a_mark_is_set_aside(tmp_path: Path) -> None:
    assert "0 new" in take(tmp_path, (line("a") + b"\n").decode().encode("utf-16-le"), 1)
    assert names(tmp_path) == []


def test_newlines_of_all_kinds(tmp_path: Path) -> None:
    content = line("a") + b"\r\n" + b"\r\n" + b"\n" + line("b") + b"\n  \n" + line("c") + b"\r\n" + line("d") + b"\r" + line("e") + b"\n" + line("f")
    said = take(tmp_path, content, 1)  # a lone return ends no line: those two cases stand on one
    assert "4 new, 0 duplicates, 1 set aside" in said and "line 7: not_json" in said
    assert names(tmp_path) == ["a", "b", "c", "f"]


def test_a_last_line_that_is_cut_is_set_aside(tmp_path: Path) -> None:
    cut = line("b")[:-20]
    said = take(tmp_path, line("a") + b"\n" + cut, 1)
    assert "1 new, 0 duplicates, 1 set aside" in said and "line 2: not_json" in said
    assert (tmp_path / "cases.jsonl.bad.jsonl").read_bytes() == cut + b"\n"
    assert (tmp_path / "cases.jsonl.bad.txt").read_text().startswith("line 2\tnot_json\t")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_line_that_is_too_long_is_named_and_not_copied(mark: bytes, tmp_path: Path) -> None:
    long = line("long", "x" * 3_000_000)
    said = take(tmp_path, mark + long + b"\n" + line("a") + b"\n{\n" + long, 1)
    assert "1 new, 0 duplicates, 3 set aside" in said and "line 1: too_large" in said and "line 4: too_large" in said
    assert "2 too long to be copied" in said
    assert (tmp_path / "cases.jsonl.bad.jsonl").read_bytes() == b"{\n"
    assert "was not copied" in (tmp_path / "cases.jsonl.bad.txt").read_text().splitlines()[0]
    assert names(tmp_path) == ["a"]


def test_nothing_is_to_be_mended_when_all_bad_lines_are_too_long(tmp_path: Path) -> None:
    said = take(tmp_path, line("a") + b"\n" + b"x" * (LINE_CAP + 1) + b"\n" + line("b"), 1)
    assert beside(tmp_path) == ["cases.jsonl.bad.txt"] and "mend and import" not in said and names(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_the_cap_counts_the_line_and_not_its_end(end: bytes, mark: bytes, tmp_path: Path) -> None:
    short = line("a")
    whole = short + b" " * (LINE_CAP - len(short))
    assert "2 new, 0 duplicates, 0 set aside" in take(tmp_path, mark + whole + (end or b"\n") + line("b") + end)
    assert "0 new, 1 duplicates, 1 set aside" in take(tmp_path, mark + whole + b" " + (end or b"\n") + line("b") + end, 1)


def test_names_that_come_twice(tmp_path: Path) -> None:
    said = take(tmp_path, b"\n".join([line("a"), line("b"), line("a"), line("a", "something else")]), 1)
    assert "2 new, 1 duplicates, 1 set aside" in said and "line 4: case_conflict" in said
    assert names(tmp_path) == ["a", "b"]


def test_half_a_file_is_good(tmp_path: Path) -> None:
    bad = [
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe\xff",
        b'{"a": NaN}',
        b'{"external_id": "x", "external_id": "x"}',
        b"[" * 5000,
        line("nul").replace(b"card", b"\\u0000"),
    ]
    content = b"".join(line(f"n{number:03}") + b"\n" + bad[number % len(bad)] + b"\n" for number in range(300))
    said = take(tmp_path, content, 1)
    assert "300 new, 0 duplicates, 300 set aside" in said and "and 280 more" in said
    assert len(names(tmp_path)) == 300
    aside = (tmp_path / "cases.jsonl.bad.jsonl").read_bytes().splitlines()
    assert aside == [bad[number % len(bad)] for number in range(300)]
    assert len((tmp_path / "cases.jsonl.bad.txt").read_text().splitlines()) == 300


def test_what_was_set_aside_before_is_never_written_over(tmp_path: Path) -> None:
    for expected in ("bad", "bad-2", "bad-3"):
        said = take(tmp_path, line("a") + b"\n{\n", 1)
        assert f"cases.jsonl.{expected}.jsonl" in said
        (tmp_path / f"cases.jsonl.{expected}.jsonl").write_bytes(f"mended {expected}\n".encode())
    assert (tmp_path / "cases.jsonl.bad.jsonl").read_bytes() == b"mended bad\n"
    assert beside(tmp_path) == [f"cases.jsonl.{name}.{end}" for name in ("bad-2", "bad-3", "bad") for end in ("jsonl", "txt")]


def test_mended_lines_come_in(tmp_path: Path) -> None:
    take(tmp_path, line("a") + b"\n{\n", 1)
    aside = tmp_path / "cases.jsonl.bad.jsonl"
    aside.write_bytes(line("b") + b"\n")
    assert run(tmp_path, aside.name).returncode == 0
    assert names(tmp_path) == ["a", "b"]


def test_no_target_is_64(tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_bytes(line("a"))
    done = run(tmp_path, "cases.jsonl", "--target", "nobody")
    assert done.returncode == 64 and "one of bank" in done.stderr


def test_an_import_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    total = 6000
    (tmp_path / "cases.jsonl").write_bytes(b"".join(line(f"n{number:05}") + b"\n" for number in range(total)))
    argv, environment = argv_and_environment(tmp_path)
    process = subprocess.Popen([*argv, "cases.jsonl"], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found = 0
    while process.poll() is None and not found:
        try:
            found = len(names(tmp_path))
        except sqlite3.OperationalError:  # the table is not there yet
            time.sleep(0.01)
    process.kill()
    process.wait()
    before = len(names(tmp_path))
    assert 0 < before < total, "it was not killed in the middle"
    done = run(tmp_path, "cases.jsonl")
    assert done.returncode == 0 and f"{total - before} new, {before} duplicates, 0 set aside" in done.stderr
    assert names(tmp_path) == [f"n{number:05}" for number in range(total)]
    assert f"0 new, {total} duplicates" in run(tmp_path, "cases.jsonl").stderr


def test_a_database_that_goes_away_midway_is_said_in_one_line(tmp_path: Path) -> None:
    take(tmp_path, line("a") + b"\n")
    aside = sqlite3.connect(tmp_path / "data" / "triage.db")
    aside.execute("ALTER TABLE originals RENAME TO away")
    said = take(tmp_path, line("a") + b"\n" + line("b") + b"\n", 75)
    assert "the database did not answer" in said and "start the same import again" in said
    aside.execute("ALTER TABLE away RENAME TO originals")
    aside.close()
    assert "1 new, 1 duplicates" in take(tmp_path, line("a") + b"\n" + line("b") + b"\n")
