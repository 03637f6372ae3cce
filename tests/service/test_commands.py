"""The commands from outside: what a wrong setting, a wrong word or a broken place ends with, what SIGTERM leaves, and what the door takes."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from connectors.localgit import BASE_BRANCH
from connectors.webhooks import sign
from service import cli
from service.commands.demo import STAND_IN
from service.settings import BRANCH, Refused, Settings, read_settings, starting
from tests.samples.small import WEBHOOK

ROOT = Path(__file__).parents[2]
HIDDEN = "whsec_SECRETSECRET"
GOOD = "whsec_" + "QUFB" * 11
TARGETS = json.dumps({"bank": {"repo": "no.git"}})


def environment(folder: Path, **settings: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TRIAGE_")}
    return {**kept, "PYTHONPATH": str(ROOT), "TRIAGE_DATA_DIR": str(folder / "data"), **settings}


def triage(folder: Path, *words: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "service.cli", *words]
    return subprocess.run(
        argv, cwd=folder, env=environment(folder, **settings), capture_output=True, text=True, timeout=100, stdin=subprocess.DEVNULL
    )


def is_one_line(done: "subprocess.CompletedProcess[str]", status: int, *said: str) -> None:
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr and "╭" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in said:
        assert word in done.stderr, done.stderr
    for secret in (HIDDEN, "SECRET"):
        assert secret not in done.stderr + done.stdout


# ---- settings

WRONG = {
    "no target": ({"TRIAGE_SOURCES": json.dumps({"s": {"secrets": [HIDDEN]}})}, "TRIAGE_SOURCES s.target: Field required"),
    "secrets no list": ({"TRIAGE_SOURCES": json.dumps({"s": {"secrets": HIDDEN, "target": "t"}})}, "TRIAGE_SOURCES s.secrets"),
    "a secret as name": ({"TRIAGE_SOURCES": json.dumps({HIDDEN: {}})}, "TRIAGE_SOURCES …"),
    "json": ({"TRIAGE_SOURCES": "{bad"}, "TRIAGE_SOURCES: not JSON"),
    "json with a secret": ({"TRIAGE_SOURCES": f'{{"s": {{"secrets": [{HIDDEN}'}, "TRIAGE_SOURCES: not JSON"),
    "mysql": ({"TRIAGE_DATABASE_URL": "mysql://u:SECRET@h/d"}, "TRIAGE_DATABASE_URL: a database is postgresql://"),
    "foo": ({"TRIAGE_DATABASE_URL": "foo"}, "TRIAGE_DATABASE_URL: a database is"),
    "password with @": ({"TRIAGE_DATABASE_URL": "postgresql://u:p@SECRET@h/d"}, "TRIAGE_DATABASE_URL: a database is"),
    "port": ({"TRIAGE_PORT": "SECRET"}, "TRIAGE_PORT: "),
    "branch": ({"TRIAGE_TARGETS": json.dumps({"bank": {"repo": "x", "branch": "a..b"}})}, "TRIAGE_TARGETS bank.branch: a base branch is"),
    "source name": ({"TRIAGE_SOURCES": json.dumps({"a b": {"secrets": [GOOD], "target": "bank"}})}, "TRIAGE_SOURCES …: a name is"),
    "target name": ({"TRIAGE_TARGETS": json.dumps({"x" * 65: {"repo": "x"}})}, "TRIAGE_TARGETS …: a name is"),
    "no price": (
        {"TRIAGE_CLAUDE_PRICES": '{"own": {"input": Infinity, "output": 1}}'},
        "TRIAGE_CLAUDE_PRICES own.input: Input should be a finite number",
    ),
    "two at once": ({"TRIAGE_PORT": "x", "TRIAGE_WORKERS": "x"}, "TRIAGE_PORT", "TRIAGE_WORKERS"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_setting_is_named_and_never_quoted(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings, *said = WRONG[name]
    monkeypatch.chdir(tmp_path)
    for key, value in {"TRIAGE_DATA_DIR": str(tmp_path / "data"), **settings}.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(Refused) as refused:
        read_settings()
    line = str(refused.value)
    assert "\n" not in line and "SECRET" not in line and refused.value.exit_status == 78
    assert all(word in line for word in said), line
    assert refused.value.__suppress_context__


@pytest.mark.parametrize("words", [["serve"], ["migrate"], ["import", "cases.jsonl"]], ids=lambda words: words[0])
def test_every_command_ends_with_the_line(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_text("{}\n")
    done = triage(tmp_path, *words, TRIAGE_SOURCES=json.dumps({"s": {"secrets": [HIDDEN]}}))
    is_one_line(done, 78, f"triage {words[0]}: TRIAGE_SOURCES s.target: Field required")


def test_the_settings_hide_what_they_were_given_whoever_prints_the_error() -> None:
    with pytest.raises(ValueError) as error:
        Settings(_env_file=None, sources={"s": {"secrets": [HIDDEN]}})  # type: ignore[call-arg, dict-item]
    assert HIDDEN not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u@h/d",
        "postgresql+psycopg://nobody@/t1?host=/tmp/x",
        "postgresql://u:p:q%40@[::1]:5432/d?sslmode=require",
        "postgresql:///d",
        "sqlite:////a b.db",
        "",
    ],
)
def test_a_database_that_can_be_meant_is_taken(url: str) -> None:
    assert Settings(_env_file=None, database_url=url).database_url == url  # type: ignore[call-arg]


def test_a_branch_is_what_the_code_host_takes() -> None:
    assert BRANCH.pattern == BASE_BRANCH.pattern


def test_an_env_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"TRIAGE_TOKEN=\xff\xfe\n")
    is_one_line(triage(tmp_path, "migrate"), 78, ".env cannot be read")


# ---- places

COMMANDS = (["serve", "--port", "0"], ["migrate"], ["import", "cases.jsonl"], ["critic", "backfill"])
CLAUDE = {"TRIAGE_CRITIC": "claude", "TRIAGE_CLAUDE_KEY": "a-key", "TRIAGE_CLAUDE_URL": "http://127.0.0.1:1"}


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
@pytest.mark.parametrize("place", ["postgres down", "data is a file", "data cannot be made", "no database"])
def test_a_broken_place_ends_with_one_line(words: list[str], place: str, tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_text("{}\n")
    settings, said = {"TRIAGE_TARGETS": TARGETS, **(CLAUDE if words[0] == "critic" else {})}, "TRIAGE_DATA_DIR"
    if place == "postgres down":
        settings["TRIAGE_DATABASE_URL"], said = "postgresql://u:SECRET@127.0.0.1:1/d", "TRIAGE_DATABASE_URL"
    elif place == "data is a file":
        (tmp_path / "data").write_text("")
    elif place == "data cannot be made":
        settings["TRIAGE_DATA_DIR"] = "/proc/nothing/here"
    else:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "triage.db").write_text("this is no database " * 100)
        said = "not a database"
    is_one_line(triage(tmp_path, *words, **settings), 78, f"triage {words[0]}: ", said)


@pytest.mark.parametrize("words", [["serve", "--port", "0"], ["critic", "backfill"]], ids=lambda words: words[0])
def test_an_address_pasted_with_a_hidden_character_ends_with_one_line(words: list[str], tmp_path: Path) -> None:
    done = triage(tmp_path, *words, **{**CLAUDE, "TRIAGE_TARGETS": TARGETS, "TRIAGE_CLAUDE_URL": "https://api.anthropic.com\u200e"})
    is_one_line(done, 78, f"triage {words[0]}: base_url has to be http:// or https://")


def test_only_known_errors_of_a_start_become_a_line() -> None:
    with pytest.raises(Refused, match="No space"), starting():
        raise OSError(28, "No space left on device", "x")
    with pytest.raises(KeyError), starting():
        raise KeyError("a bug")


@pytest.mark.parametrize("error", [KeyError("a bug"), OSError(28, "No space left on device"), ValueError("a bug")], ids=repr)
def test_a_bug_inside_a_running_command_keeps_its_traceback(error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "broken_command.py").write_text("def main(argv):\n    raise argv[0]\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(cli.COMMANDS, "broken", ("broken_command", "for this test"))
    with pytest.raises(type(error)):
        cli.main(["broken", error])  # type: ignore[list-item]


# ---- words


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["serve", "--nope"], "No such option: --nope"), (["migrate", "--nope"], "No such option: --nope"), (["demo", "--nope"], "No such option: --nope"),
        (["import", "--nope"], "No such option: --nope"), (["import"], "Missing argument"), (["import", "gone.jsonl"], "gone.jsonl"),
        (["import", "."], "directory"), (["migrate", "more"], "unexpected extra argument"), (["serve", "--port", "abc"], "'--port'"),
        (["import", "cases.jsonl", "--source", "x" * 300], "a name is 1 to 64"), (["import", "cases.jsonl", "--source", "a b"], "a name is 1 to 64"),
        (["import", "cases.jsonl", "--source", ""], "a name is 1 to 64"),
    ],
)  # fmt: skip
def test_a_wrong_word_is_64_with_the_usage(words: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_text("{}\n")
    done = triage(tmp_path, *words, TRIAGE_TARGETS=TARGETS)
    assert done.returncode == 64, done.stderr
    assert said in done.stderr and f"Usage: triage {words[0]}" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


# ---- a file of one case

EXAMPLES = ROOT / "examples"


def a_rejection(**more: Any) -> dict[str, Any]:
    found = (json.loads(line) for line in (EXAMPLES / "cases.jsonl").read_text(encoding="utf-8").splitlines())
    return {**next(one for one in found if one["verdict"] == "rejected"), **more}


def drafts(file: Path, *words: str) -> int:
    return cli.main(["critic", "draft", "--case", str(file), "--target", str(EXAMPLES / "target-pipeline"), "--critic", "precedent", *words])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "case.json holds no rejected case: case.json is not JSON (line 1, column 1"),
        (b"[]", "case.json holds no rejected case: an object with"),
        (b'{\n  "external_id": 7,\n  "note": "\xff"\n}', "case.json holds no rejected case: case.json is not UTF-8 (byte 33)"),
        (b'{\n  "a": 1,\n  "a": 2\n}', "case.json holds no rejected case: the key 'a' stands twice"),
        (b'{\n  "a": 1,\n  "b"\n}', "case.json holds no rejected case: case.json is not JSON (line 4, column 1"),
        (b"[]\n{}\n", "case.json holds no rejected case: an object with"),
    ],
)
def test_a_file_without_a_rejected_case_is_64(body: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "case.json").write_bytes(body)
    assert drafts(tmp_path / "case.json") == 64
    assert said in capsys.readouterr().err


def test_a_case_is_read_with_a_mark_before_it_and_what_ends_lines_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = a_rejection()
    case["rejection"]["comment"] += "\u2028and\x85so on"
    text = json.dumps(case, ensure_ascii=False)
    for name, body in {"pretty": json.dumps(case, ensure_ascii=False, indent=2), "first line": f"\n{text}\nno JSON\n"}.items():
        (tmp_path / "case.json").write_bytes(b"\xef\xbb\xbf" + body.encode())
        assert drafts(tmp_path / "case.json", "--json") == 0, name
        assert json.loads(capsys.readouterr().out)["case"] == case["external_id"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"ticket": {}}, "case 'nsb-001': ticket.messages: is missing"),
        ({"external_id": "a\u202eb\x1b" + "x" * 300, "ticket": 1}, f"case 'a\\u202eb\\x1b{'x' * 76}': external_id: String should match"),
        ({"external_id": 7}, "case '7': external_id: Input should be a valid string"),
    ],
)
def test_a_case_that_is_none_is_named(more: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "case.json").write_text(json.dumps(a_rejection(**more)))
    assert drafts(tmp_path / "case.json") == 64
    assert said in capsys.readouterr().err


def test_a_case_beside_it_that_is_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "case.json").write_text(json.dumps(a_rejection()))
    for other, said in (("other", "case 'other': ticket"), (None, "a case without external_id: ticket")):
        (tmp_path / "beside.jsonl").write_text(json.dumps(a_rejection(external_id=other, ticket={})))
        assert drafts(tmp_path / "case.json", "--beside", str(tmp_path / "beside.jsonl")) == 64
        assert said in capsys.readouterr().err


# ---- serve


@contextmanager
def serving(folder: Path, *words: str, stdin: int = subprocess.DEVNULL, **settings: str) -> "Iterator[tuple[subprocess.Popen[bytes], str, Path]]":
    log = folder / "log"
    with log.open("wb") as out:
        argv = [sys.executable, "-m", "service.cli", "serve", "--port", "0", *words]
        process = subprocess.Popen(argv, cwd=folder, env=environment(folder, **settings), stdin=stdin, stdout=out, stderr=out)
    try:
        for _ in range(600):
            found = re.search(r"serving (http://\S+)", log.read_text())
            if found or process.poll() is not None:
                break
            time.sleep(0.1)
        assert found, log.read_text()
        yield process, found[1], log
    finally:
        process.kill()
        process.wait()
        if process.stdin:
            process.stdin.close()


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_serve_listens_on_ipv6(host: str, tmp_path: Path) -> None:
    with serving(tmp_path, TRIAGE_HOST=host) as (_, address, _):
        assert address.startswith("http://[::1]:")
        assert httpx2.get(f"{address}/livez", timeout=20, trust_env=False).status_code == 200


def test_an_address_that_is_not_ours_is_not_blamed_on_the_port(tmp_path: Path) -> None:
    is_one_line(triage(tmp_path, "serve", TRIAGE_HOST="192.0.2.1"), 69, "cannot listen on 192.0.2.1:8321", "set TRIAGE_HOST")
    is_one_line(triage(tmp_path, "serve", TRIAGE_HOST="not..an address"), 69, "set TRIAGE_HOST")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        is_one_line(triage(tmp_path, "serve", TRIAGE_PORT=str(port)), 69, f"127.0.0.1:{port}", "set TRIAGE_PORT")


def test_serve_ends_with_the_pipe_it_was_given(tmp_path: Path) -> None:
    with serving(tmp_path, "--until-stdin-ends", stdin=subprocess.PIPE) as (process, _, log):
        assert process.stdin
        process.stdin.write(b"a word is no end\n")
        process.stdin.flush()
        time.sleep(0.3)
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(timeout=60) in (0, -signal.SIGTERM)
        assert "Traceback" not in log.read_text()


def test_a_body_that_breaks_off_leaves_neither_case_nor_traceback(tmp_path: Path) -> None:
    sources = json.dumps({"s": {"secrets": [GOOD], "target": "bank"}})
    with serving(tmp_path, TRIAGE_SOURCES=sources, TRIAGE_TARGETS=TARGETS, TRIAGE_TOKEN="t" * 32) as (_, address, log):
        host, port = address.removeprefix("http://").split(":")
        for _ in range(3):
            with socket.create_connection((host, int(port)), timeout=20) as caller:
                caller.sendall(b"POST /v1/cases HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{")
                time.sleep(0.3)
        time.sleep(1)
        counts = httpx2.get(f"{address}/v1/stations", headers={"authorization": f"Bearer {'t' * 32}"}, timeout=20, trust_env=False).json()
        assert not counts["cases"]
        assert "Traceback" not in log.read_text() and "ClientDisconnect" not in log.read_text()


# ---- demo


def processes_of(folder: Path) -> list[int]:
    """Living processes whose environment or command names a folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            said = (place / "environ").read_bytes() + (place / "cmdline").read_bytes()
            zombie = (place / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            continue
        if str(folder).encode() in said and not zombie:
            found.append(int(place.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda how: how.name)
@pytest.mark.parametrize("when", ["starting", "working"])
def test_the_demo_leaves_no_server_behind(how: signal.Signals, when: str, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    argv = [sys.executable, "-m", "service.cli", "demo", "--exit"]
    with (tmp_path / "log").open("wb") as out:
        process = subprocess.Popen(
            argv, cwd=ROOT, env=environment(tmp_path, TMPDIR=str(temporary)), stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    mark = "server.log" if when == "starting" else "data/split.key"
    for _ in range(600):
        if process.poll() is not None or list(temporary.glob(f"triage-demo-*/{mark}")):
            break
        time.sleep(0.05)
    assert process.poll() is None, (tmp_path / "log").read_text()
    time.sleep(0.2 if when == "starting" else 2)
    process.send_signal(how)
    status = process.wait(timeout=90)
    deadline = time.monotonic() + 60
    while (left := processes_of(temporary)) and time.monotonic() < deadline:
        time.sleep(0.2)
    for one in left:
        os.kill(one, signal.SIGKILL)
    assert left == []
    assert status == {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGKILL: -signal.SIGKILL}[how], (tmp_path / "log").read_text()
    if how is not signal.SIGKILL:
        assert list(temporary.glob("triage-demo-*")) == []
        assert "Traceback" not in (tmp_path / "log").read_text()


def test_the_demo_names_a_target_that_it_cannot_take(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "triage.yaml").write_text("version: 1\n")
    (tmp_path / "target" / "link").symlink_to("/etc/hostname")
    (tmp_path / "cases.jsonl").write_text("{}\n")
    done = triage(tmp_path, "demo", "--exit", "--cases", "cases.jsonl", "--target", "target")
    assert done.returncode == 1 and "demo: the target cannot be taken over" in done.stderr and "Traceback" not in done.stderr
    assert STAND_IN not in done.stdout


# ---- the signed door: what is JSON


def sent(client: TestClient, **headers: str) -> Any:
    body = b'{"no": "case"}'
    signed = sign(f"t-{time.monotonic_ns()}", datetime.now(UTC), body, WEBHOOK)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/v1/cases", content=body, headers={**signed, **named})


@pytest.mark.parametrize(
    "kind",
    ["application/jsonx", "application/json; charset=utf-16", "application/json-seq", "application/json, text/plain", "application/json; charset=latin-1",
     "application/problem+json", "text/json", "application/json;version=2", "", "utf-8"],
)  # fmt: skip
def test_what_is_not_json_in_utf8_is_415(client: TestClient, kind: str) -> None:
    answer = sent(client, content_type=kind)
    assert (answer.status_code, answer.json()["code"]) == (415, "not_json")


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON", "application/json; charset=utf-8", 'application/json;Charset="UTF-8"', "application/json;"]
)
def test_json_in_utf8_is_read(client: TestClient, kind: str) -> None:
    assert sent(client, content_type=kind).status_code == 422
    assert sent(client, content_type=kind, content_encoding="Identity").status_code == 422


@pytest.mark.parametrize("coding", ["gzip", "br", "identity, gzip", "x"])
def test_a_compressed_body_is_415(client: TestClient, coding: str) -> None:
    answer = sent(client, content_type="application/json", content_encoding=coding)
    assert (answer.status_code, answer.json()["code"]) == (415, "encoded")


def test_a_body_that_breaks_off_is_answered_quietly(client: TestClient) -> None:
    """As the server says it to the application: half a body, then the sender is gone."""
    waiting = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    heard: list[Any] = []

    async def receive() -> Any:
        return waiting.pop(0)

    async def answer(message: Any) -> None:
        heard.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/v1/cases", "raw_path": b"/v1/cases", "query_string": b"", "http_version": "1.1", "scheme": "http",
        "headers": [(b"content-type", b"application/json")], "server": ("x", 1), "client": ("y", 2), "root_path": "",
    }  # fmt: skip

    async def run() -> None:
        await client.app(scope, receive, answer)  # type: ignore[arg-type]

    assert client.portal
    client.portal.call(run)  # raised ClientDisconnect before
    assert heard[0]["status"] == 400
