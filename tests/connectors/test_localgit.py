"""What a code host promises, tried on real git repositories: exactly once, nothing executed, nothing written outside."""

import os
import stat
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connectors.localgit import DIFF_CAP, LocalGit
from connectors.ports import LandingHost, PortError, Published

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FILES = {"config/fetch.json": b'{"email": 3}\n', "config/größe.txt": "Übergröße\n".encode(), "run.sh": b"#!/bin/sh\n", "README.md": b"hello\n"}
BRANCH = "triage/h-1-abc"


def write(root: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


def local_git(tmp_path: Path) -> LocalGit:
    tree = write(tmp_path / "from", FILES)
    (tree / "run.sh").chmod(0o755)
    return LocalGit.create(tmp_path / "target.git", tree, "Start", name="target", now=lambda: NOON)


# Each entry makes a host that holds FILES, run.sh executable; a connector for another host joins the promises here.
HOSTS: list[Callable[[Path], LandingHost]] = [local_git]


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest, tmp_path: Path) -> LandingHost:
    return request.param(tmp_path)  # type: ignore[no-any-return]


def git(repo: Path, *argv: str, stdin: bytes = b"") -> str:
    env = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    env |= {f"GIT_{who}_{what}": "x@x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return subprocess.run(["git", "-C", str(repo), *argv], input=stdin, env=env, capture_output=True, check=True).stdout.decode().strip()


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(PortError) as caught:
        call()
    return caught.value.code


# --- promises of every host


def test_a_commit_can_be_listed_read_and_exported(host: LandingHost, tmp_path: Path) -> None:
    sha = host.head()
    assert host.paths(sha) == sorted(FILES)
    assert {path: host.read(sha, path) for path in FILES} == FILES
    assert [host.read(sha, path) for path in ("nothing", "config", "config/", "", "../x", "/etc/passwd", ":(glob)*", "-r", "a\0b", "\ud800")] == [
        None
    ] * 10
    before = os.umask(0o077)
    try:
        host.export(sha, tmp_path / "out")
    finally:
        os.umask(before)
    assert contents(tmp_path / "out") == FILES
    assert stat.S_IMODE((tmp_path / "out/run.sh").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "out/README.md").stat().st_mode) == 0o644
    assert not (tmp_path / "out/.git").exists()


def test_an_export_needs_an_empty_folder(host: LandingHost, tmp_path: Path) -> None:
    full = write(tmp_path / "full", {"x": b""})
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    assert code_of(lambda: host.export(host.head(), full)) == "not_empty"
    assert code_of(lambda: host.export(host.head(), tmp_path / "link")) == "not_empty"
    assert contents(tmp_path / "empty") == {}


def test_publishing_changes_adds_and_removes_and_keeps_modes(host: LandingHost, tmp_path: Path) -> None:
    base = host.head()
    published = host.publish(BRANCH, base, {"run.sh": b"#!/bin/sh\ntrue\n", "new/file": b"\x00\r\n", "README.md": None, "not/there": None}, "Change")
    assert published.created
    host.export(published.sha, tmp_path / "out")
    assert contents(tmp_path / "out") == {
        **{k: v for k, v in FILES.items() if k != "README.md"},
        "run.sh": b"#!/bin/sh\ntrue\n",
        "new/file": b"\x00\r\n",
    }
    assert (tmp_path / "out/run.sh").stat().st_mode & 0o111
    assert not (tmp_path / "out/new/file").stat().st_mode & 0o111
    assert host.head() == base


def test_publishing_again_after_a_crash_adopts(host: LandingHost) -> None:
    first = host.publish(BRANCH, host.head(), {"a": b"1"}, "Change")
    assert host.publish(BRANCH, host.head(), {"a": b"1"}, "Other words") == Published(first.sha, created=False)


def test_another_tree_or_another_base_finds_the_branch_taken(host: LandingHost) -> None:
    base = host.head()
    host.publish(BRANCH, base, {"a": b"1", "b": b"1"}, "Change")
    other = host.publish("triage/other", base, {"a": b"1"}, "Change").sha
    assert code_of(lambda: host.publish(BRANCH, base, {"a": b"2"}, "Change")) == "branch_taken"
    assert code_of(lambda: host.publish(BRANCH, other, {"b": b"1"}, "Change")) == "branch_taken"  # the same tree, on another base
    assert code_of(lambda: host.publish(BRANCH + "/more", base, {"a": b"1"}, "Change")) == "branch_taken"


def at_once(*calls: Callable[[], object]) -> list[object]:
    """Run all calls from one starting shot; a `PortError` counts as its code."""
    shot = threading.Barrier(len(calls))

    def one(call: Callable[[], object]) -> object:
        shot.wait()
        try:
            return call()
        except PortError as error:
            return error.code

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(one, calls))


def test_of_publishers_at_once_exactly_one_creates(host: LandingHost) -> None:
    base = host.head()
    for round_ in range(4):
        branch = f"triage/race-{round_}"
        answers = at_once(*[lambda branch=branch: host.publish(branch, base, {"a": b"1"}, "Same")] * 6)
        assert sorted(answer.created for answer in answers if isinstance(answer, Published)) == [False] * 5 + [True]
        assert len({answer.sha for answer in answers if isinstance(answer, Published)}) == 1


def test_of_publishers_with_different_trees_one_wins(host: LandingHost) -> None:
    base = host.head()
    answers = at_once(*[lambda n=n: host.publish(BRANCH, base, {"a": b"%d" % n}, "Mine") for n in range(6)])
    assert answers.count("branch_taken") == 5
    assert [answer.created for answer in answers if isinstance(answer, Published)] == [True]


@pytest.mark.parametrize(
    "branch",
    [
        "main",
        "triage/",
        "triage/A",
        "triage/-x",
        "triage/a//b",
        "triage/a/",
        "triage/a\n",
        "triage/../main",
        "x/triage/a",
        "triage/a.lock",
        "triage/" + "a" * 101,
    ],
)
def test_only_our_branches_are_published(host: LandingHost, branch: str) -> None:
    assert code_of(lambda: host.publish(branch, host.head(), {"a": b"1"}, "Change")) == "bad_branch"


@pytest.mark.parametrize(
    "path",
    ["../x", "/x", "a//b", "", ".git/config", "a/.GIT/hooks/x", "a/.g\u200cit/x", ".git./x", "git~1/x", "a\0b", "README.md/x", "config", "\ud800"],
)
def test_paths_that_no_tree_may_hold(host: LandingHost, path: str) -> None:
    assert code_of(lambda: host.publish(BRANCH, host.head(), {path: b"1"}, "Change")) == "bad_path"


def test_nothing_to_publish_and_bad_messages(host: LandingHost) -> None:
    base = host.head()
    assert code_of(lambda: host.publish(BRANCH, base, {}, "Change")) == "nothing_to_publish"
    assert code_of(lambda: host.publish(BRANCH, base, {"README.md": FILES["README.md"]}, "Change")) == "nothing_to_publish"
    assert [code_of(lambda text=text: host.publish(BRANCH, base, {"a": b"1"}, text)) for text in ("", " \n", "a\0b")] == ["bad_message"] * 3  # type: ignore[misc]


@pytest.mark.parametrize("sha", ["main", "HEAD", "--all", "a" * 39, "A" * 40, "a" * 40 + "\n", ""])
def test_commits_are_named_by_their_whole_id(host: LandingHost, tmp_path: Path, sha: str) -> None:
    good = host.head()
    calls: list[Callable[[], object]] = [
        lambda: host.paths(sha),
        lambda: host.read(sha, "a"),
        lambda: host.tree_id(sha),
        lambda: host.export(sha, tmp_path / "out"),
        lambda: host.publish(BRANCH, sha, {"a": b"1"}, "Change"),
        lambda: host.diff(good, sha),
        lambda: host.diff(sha, good),
        lambda: host.land(sha, good),
        lambda: host.land(good, sha),
    ]
    assert {code_of(call) for call in calls} == {"bad_sha"}


def test_a_commit_that_is_not_there(host: LandingHost, tmp_path: Path) -> None:
    assert code_of(lambda: host.export("a" * 40, tmp_path / "out")) == "object_missing"
    assert code_of(lambda: host.publish(BRANCH, host.tree_id(host.head()), {"a": b"1"}, "Change")) == "object_missing"


def test_landing_moves_the_base_once(host: LandingHost) -> None:
    base = host.head()
    one = host.publish("triage/one", base, {"a": b"1"}, "One").sha
    two = host.publish("triage/two", base, {"b": b"1"}, "Two").sha
    assert host.land(one, base) == one == host.head()
    assert host.land(one, base) == one
    assert code_of(lambda: host.land(two, base)) == "base_moved"
    assert code_of(lambda: host.land(two, one)) == "base_moved"
    three = host.publish("triage/three", one, {"b": b"1"}, "Three").sha
    assert host.land(three, one) == three == host.head()
    assert host.land(one, base) == one
    assert host.head() == three


def test_of_landings_at_once_exactly_one_lands(host: LandingHost) -> None:
    for round_ in range(4):
        base = host.head()
        heads = [host.publish(f"triage/r{round_}-{n}", base, {"a": b"%d %d" % (round_, n)}, "Race").sha for n in range(4)]
        answers = at_once(*[lambda head=head, base=base: host.land(head, base) for head in heads])
        assert answers.count("base_moved") == 3
        assert host.head() in heads and host.head() in answers
        winner = host.head()
        assert at_once(*[lambda winner=winner, base=base: host.land(winner, base)] * 3) == [winner] * 3


def test_a_diff_shows_the_change_and_is_cut_with_a_word(host: LandingHost) -> None:
    base = host.head()
    small = host.publish("triage/small", base, {"config/fetch.json": b'{"email": 4}\n', "raw": b"\xff\0"}, "Small").sha
    text = host.diff(base, small)
    assert '-{"email": 3}' in text and '+{"email": 4}' in text and "\ufffd" in text and "\0" not in text
    huge = host.publish("triage/huge", base, {"huge": "äöü\n".encode() * 40_000, "raw": b"\xff" * 90_000}, "Huge").sha
    text = host.diff(base, huge)
    assert len(text.encode()) <= DIFF_CAP
    assert text.endswith("\n[cut: the diff is longer than 200000 bytes]\n")
    raw = host.publish("triage/raw", base, {"raw": b"\xff" * 90_000}, "Raw").sha
    assert len(host.diff(base, raw).encode()) <= DIFF_CAP


# --- the local repository


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    local_git(tmp_path)
    return tmp_path / "target.git"


def at(repo: Path, **options: object) -> LocalGit:
    return LocalGit(repo, name="target", now=lambda: NOON, **options)  # type: ignore[arg-type]


def commit_of(repo: Path, tree: str, *parents: str) -> str:
    return git(repo, "commit-tree", tree, *(word for sha in parents for word in ("-p", sha)), stdin=b"x")


def test_author_time_and_message_are_ours(repo: Path) -> None:
    sha = at(repo, author=("Ann", "ann@localhost.invalid")).publish(BRANCH, at(repo).head(), {"a": b"1"}, "Täg $(id)\n\n" + "x" * 20_000).sha
    assert (
        git(repo, "log", "-1", "--format=%an|%ae|%cn|%at|%ct", sha)
        == f"Ann|ann@localhost.invalid|Ann|{int(NOON.timestamp())}|{int(NOON.timestamp())}"
    )
    message = git(repo, "log", "-1", "--format=%B", sha)
    assert message.startswith("Täg $(id)\n\nxxx") and len(message) == 10_000


def test_a_diff_knows_no_renames_and_no_attribute_hides_it(repo: Path) -> None:
    host = at(repo)
    (repo / "info").mkdir(exist_ok=True)
    (repo / "info/attributes").write_text("* -diff\n* filter=evil diff=evil\n")
    for key in ("diff.external", "diff.evil.command", "diff.evil.textconv", "core.pager", "filter.evil.smudge"):
        git(repo, "config", key, f"touch {repo}/marker #")
    sha = host.publish(BRANCH, host.head(), {"README.md": None, "READ.md": FILES["README.md"]}, "Move").sha
    assert "-hello" in host.diff(host.head(), sha) and "+hello" in host.diff(host.head(), sha)
    assert not (repo / "marker").exists()


def test_hooks_filters_and_settings_of_the_repository_run_nothing(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "marker"
    names = [
        "post-update",
        "reference-transaction",
        "pre-receive",
        "update",
        "post-receive",
        "post-index-change",
        "fsmonitor-watchman",
        "pre-auto-gc",
        "post-commit",
    ]
    for name in names:
        place = write(repo, {f"hooks/{name}": f"#!/bin/sh\necho {name} >> {marker}\n".encode()}) / "hooks" / name
        place.chmod(0o755)
    git(repo, "config", "core.fsmonitor", f"touch {marker}")
    git(repo, "config", "filter.evil.smudge", f"touch {marker}; cat")
    git(repo, "config", "filter.evil.clean", f"touch {marker}; cat")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", f"touch {marker}")
    host = at(repo)
    sha = host.publish(BRANCH, host.head(), {".gitattributes": b"* filter=evil export-ignore ident eol=crlf\n", "id": b"$Id$\n"}, "Change").sha
    assert host.diff(host.head(), sha)
    host.land(sha, host.head())
    host.export(sha, tmp_path / "out")
    assert contents(tmp_path / "out")["id"] == b"$Id$\n"
    assert host.read(sha, "id") == b"$Id$\n"
    assert not marker.exists()
    monkeypatch.undo()
    git(repo, "update-ref", "refs/heads/proof", sha)  # the trap works: plain git runs the hook
    assert marker.exists()


def test_a_promisor_remote_is_not_asked(repo: Path, tmp_path: Path) -> None:
    for key, value in {
        "remote.o.url": "ext::touch " + str(tmp_path / "marker"),
        "remote.o.promisor": "true",
        "extensions.partialClone": "o",
        "protocol.ext.allow": "always",
    }.items():
        git(repo, "config", key, value)
    git(repo, "config", "core.repositoryFormatVersion", "1")
    tree = git(repo, "mktree", "--missing", stdin=b"100644 blob " + b"a" * 40 + b"\tgone\n")
    sha = commit_of(repo, tree)
    assert code_of(lambda: at(repo).export(sha, tmp_path / "out")) == "object_missing"
    assert not (tmp_path / "marker").exists()
    with pytest.raises(subprocess.CalledProcessError):
        git(repo, "cat-file", "blob", "a" * 40)
    assert (tmp_path / "marker").exists()  # the trap works: plain git asks


def test_replacements_do_not_change_what_a_commit_is(repo: Path) -> None:
    host = at(repo)
    old = host.head()
    new = host.publish(BRANCH, old, {"README.md": b"other\n"}, "Change").sha
    git(repo, "replace", old, new)
    assert host.read(old, "README.md") == b"hello\n"


LINK = b"120000 blob %s\tlink\n"
HOSTILE = {
    "symlink": (LINK, "symlink_in_tree"),
    "submodule": (b"160000 commit " + b"a" * 40 + b"\tsub\n", "submodule_in_tree"),
    ".GIT": (b"100644 blob %s\t.GIT\n", "bad_path"),
    ".git": (b"100755 blob %s\t.git\n", "bad_path"),
    "dots": (b"100644 blob %s\t..\n", "bad_path"),
    "HFS": (b"100644 blob %s\t.g\xe2\x80\x8cit\n", "bad_path"),
    "NTFS": (b"100644 blob %s\tgit~1\n", "bad_path"),
    "mode": (b"100600 blob %s\tx\n", None),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_trees_are_refused_before_anything_is_written(repo: Path, tmp_path: Path, kind: str) -> None:
    entry, code = HOSTILE[kind]
    blob = git(repo, "hash-object", "-w", "--stdin", stdin=b"/etc/passwd").encode()
    inner = git(repo, "mktree", "--missing", stdin=entry.replace(b"%s", blob))
    sha = commit_of(repo, git(repo, "mktree", stdin=b"100644 blob " + blob + b"\tplain\n040000 tree " + inner.encode() + b"\tdeep\n"))
    around = write(tmp_path / "around", {"beside": b""})
    if code is None:  # git itself reads odd modes as one of its own
        at(repo).export(sha, around / "out")
        assert {stat.S_IMODE(path.stat().st_mode) for path in (around / "out").rglob("*") if path.is_file()} == {0o644}
        return
    assert code_of(lambda: at(repo).export(sha, around / "out")) == code
    assert code_of(lambda: at(repo).publish(BRANCH, sha, {"a": b"1"}, "Change")) == code
    assert contents(around) == {"beside": b""}
    if kind == "symlink":
        assert code_of(lambda: at(repo).read(sha, "deep/link")) == code


@pytest.mark.parametrize("names", [[b"../../escape"], [b"%s/escape"], [b"a", b"a"], [b"a", b"a/b"]], ids=repr)
def test_trees_that_git_itself_would_not_make(repo: Path, tmp_path: Path, names: list[bytes]) -> None:
    blob = git(repo, "hash-object", "-w", "--stdin", stdin=b"x")
    raw = b"".join(b"100644 " + name.replace(b"%s", os.fsencode(tmp_path)) + b"\0" + bytes.fromhex(blob) for name in names)
    sha = commit_of(repo, git(repo, "hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=raw))
    (tmp_path / "a/b").mkdir(parents=True)
    assert code_of(lambda: at(repo).export(sha, tmp_path / "a/b/out")) == "bad_path"
    assert contents(tmp_path / "a") == {} and not (tmp_path / "escape").exists()


@pytest.mark.parametrize("kind", ["symlink", "pipe"])
def test_a_repository_is_made_of_regular_files(tmp_path: Path, kind: str) -> None:
    tree = write(tmp_path / "from", {"a/b": b"1", ".git/config": b"x", "p/__pycache__/x.pyc": b"x"})
    make = LocalGit.create(tmp_path / "one.git", tree, "Start", name="one", now=lambda: NOON)
    assert make.paths(make.head()) == ["a/b"]
    assert code_of(lambda: LocalGit.create(tmp_path / "one.git", tree, "Start", name="one", now=lambda: NOON)) == "repo_exists"
    (tree / "a/link").symlink_to("/etc/passwd") if kind == "symlink" else os.mkfifo(tree / "a/pipe")
    assert code_of(lambda: LocalGit.create(tmp_path / "two.git", tree, "Start", name="two", now=lambda: NOON)) in ("symlink_in_tree", "bad_mode")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["from", "one.git"]


def test_odd_names_travel_unharmed(tmp_path: Path) -> None:
    names = [
        "a b",
        "new\nline",
        'quo"te',
        "tab\t",
        "-r",
        ":(top)x",
        "ünï/cødé",
        "e\u0301",
        "emoji 😀",
        "*",
        "back\\slash",
        os.fsdecode(b"latin-\xe9"),
        "trailing ",
    ]
    files = {name: name.encode("utf-8", "surrogateescape") for name in names}
    host = LocalGit.create(tmp_path / "odd.git", write(tmp_path / "from", files), "Start", name="odd", now=lambda: NOON)
    assert host.paths(host.head()) == sorted(names)
    assert {name: host.read(host.head(), name) for name in names} == files
    sha = host.publish(BRANCH, host.head(), {**dict.fromkeys(names, b"new"), "*": None}, "Change").sha
    host.export(sha, tmp_path / "out")
    assert contents(tmp_path / "out") == {name: b"new" for name in names if name != "*"}


def test_an_empty_repository_has_no_head(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--bare", "empty.git")
    assert code_of(at(tmp_path / "empty.git").head) == "ref_missing"
    git(tmp_path / "empty.git", "update-ref", "refs/tags/refs/heads/main", git(tmp_path / "empty.git", "hash-object", "-w", "--stdin"))
    assert code_of(at(tmp_path / "empty.git").head) == "ref_missing"


def test_a_missing_repository_is_not_looked_for_around(repo: Path) -> None:
    inside = repo / "not-a-repository"
    inside.mkdir()
    for place in (inside, repo / "nowhere"):
        assert code_of(at(place).head) == "repo_missing"
        assert code_of(lambda place=place: at(place).paths("a" * 40)) in ("repo_missing", "object_missing")  # type: ignore[misc]


def test_without_git(repo: Path, tmp_path: Path) -> None:
    assert code_of(at(repo, search_path=str(tmp_path)).head) == "git_missing"


def test_a_git_that_hangs_is_ended(repo: Path, tmp_path: Path) -> None:
    (write(tmp_path / "bin", {"git": b"#!/bin/sh\nexec sleep 60\n"}) / "git").chmod(0o755)
    with pytest.raises(PortError) as caught:
        at(repo, search_path=f"{tmp_path}/bin:/usr/bin:/bin", timeout_s=0.2).head()
    assert (caught.value.code, caught.value.retryable) == ("timeout", True)


def test_a_lock_left_behind_is_worth_another_try(repo: Path) -> None:
    host = at(repo)
    base = host.head()
    (write(repo, {"refs/heads/triage/x.lock": b""}))
    with pytest.raises(PortError) as caught:
        host.publish("triage/x", base, {"a": b"1"}, "Change")
    assert (caught.value.code, caught.value.retryable) == ("locked", True)
    head = host.publish("triage/y", base, {"a": b"1"}, "Change").sha
    (write(repo, {"refs/heads/main.lock": b""}))
    assert code_of(lambda: host.land(head, base)) == "locked"
    (repo / "refs/heads/main.lock").unlink()
    assert host.land(head, base) == head


def test_landing_takes_no_foreign_history(repo: Path) -> None:
    host = at(repo)
    base = host.head()
    stranger = commit_of(repo, host.tree_id(base))
    second = commit_of(repo, host.tree_id(base), stranger, base)
    forged = git(
        repo,
        "hash-object",
        "-t",
        "commit",
        "-w",
        "--literally",
        "--stdin",
        stdin=f"tree {host.tree_id(base)}\nauthor x <x> 1 +0000\nparent {base}\n\nx\n".encode(),
    )
    assert [code_of(lambda sha=sha: host.land(sha, base)) for sha in (stranger, second, forged)] == ["base_moved"] * 3  # type: ignore[misc]
    assert host.head() == base


def test_longer_ids_work_too(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--bare", "--object-format=sha256", "--initial-branch=main", "long.git")
    repo = tmp_path / "long.git"
    git(repo, "update-ref", "refs/heads/main", commit_of(repo, git(repo, "mktree")))
    host = at(repo)
    sha = host.publish(BRANCH, host.head(), {"a": b"1"}, "Change").sha
    assert len(sha) == 64 and host.land(sha, host.head()) == sha


def test_base_branches_are_plain_names(tmp_path: Path) -> None:
    for name in ("-main", "a..b", "", "triage/x", "main\n"):
        with pytest.raises(ValueError):
            LocalGit(tmp_path, name, name="x", now=lambda: NOON)
