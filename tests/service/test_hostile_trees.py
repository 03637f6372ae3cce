"""What a hostile agent may hand over: each trick of the list has one named test and the code that it gets; what we write of it is ours alone."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from connectors.localgit import LocalGit
from connectors.ports import PortError
from rubric.drafting import Brief
from rubric.entries import Inventory
from rubric.manifest import read_manifest
from rubric.schema import Case, Hint
from service.treepolicy import TreeChange, check_tree
from service.trees import ENTRY_CAP, walk
from service.wording import body, branch, commit_message, title
from tests.samples.small import FILES, NOON, weight_hint

Trick = Callable[[Path], object]
GOOD = b'{"weights": {"email": 3, "postcode": 1}}\n'
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 12345\n"


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    base = tmp_path / "base"
    put(FILES | {"config/reply.txt": b"Dear customer,\n\nit is on its way.\n"})(base)
    return base, Path(shutil.copytree(base, tmp_path / "head"))


def put(files: dict[str, bytes]) -> Trick:
    def write(root: Path) -> None:
        for path, content in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content)

    return write


def check(trees: tuple[Path, Path], recipe: str = "anything", may_hold_personal: bool = False) -> TreeChange:
    manifest = read_manifest(FILES["triage.yaml"].decode().replace("allow: {", 'allow: {anything: ["**"], '))
    return check_tree(*trees, manifest, recipe, max_files=20, max_bytes=200_000, may_hold_personal=may_hold_personal)


def codes(change: TreeChange) -> set[tuple[str, str]]:
    return {(one.path, one.code) for one in change.violations}


def renamed_into_ci(head: Path) -> None:
    (head / ".github/workflows").mkdir(parents=True)
    (head / "config/fetch.json").rename(head / ".github/workflows/fetch.yml")


def folder_becomes_a_link(head: Path) -> None:
    outside = head.parent / "outside"
    (head / "config").rename(outside)
    (head / "config").symlink_to(outside)


def history(head: Path) -> None:
    """A repository of its own: a merge commit of 2099 by a person on a base that was rewritten."""
    when = {
        "GIT_AUTHOR_DATE": "2099-01-01T00:00:00Z",
        "GIT_COMMITTER_DATE": "2099-01-01T00:00:00Z",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "PATH": os.environ["PATH"],
    }
    ann = ["-c", "user.name=Ann Person", "-c", "user.email=ann@bank.example"]
    for argv in (
        ["init", "--quiet", "--initial-branch=main"], ["add", "."], ["commit", "--quiet", "-m", "Rewrite the base"], ["checkout", "--quiet", "-b", "side"],
        ["commit", "--quiet", "--allow-empty", "-m", "Fixes #1 @everyone [skip ci]"], ["checkout", "--quiet", "main"],
        ["commit", "--quiet", "--allow-empty", "-m", "x"], ["merge", "--quiet", "--no-ff", "-m", "Merge", "side"],
    ):  # fmt: skip
        subprocess.run(["git", *ann, *argv], cwd=head, env=when, check=True, capture_output=True)


SUBMODULE = b'[submodule "x"]\n\tpath = x\n\turl = --upload-pack=touch${IFS}/tmp/pwned\n'
TRICKS: dict[str, tuple[Trick, str, str]] = {
    "rename into CI": (renamed_into_ci, ".github/workflows/fetch.yml", "dot_path"),
    "write through a link": (folder_becomes_a_link, "config", "not_regular"),
    "submodule whose address is an option": (put({".gitmodules": SUBMODULE}), ".gitmodules", "dot_path"),
    "gitlink of a submodule": (put({"vendor/x/.git": b"gitdir: ../../.git/modules/x\n"}), "vendor/x/.git", "git_path"),
    "filter by attributes": (put({"config/.gitattributes": b"*.json filter=evil\n"}), "config/.gitattributes", "dot_path"),
    "new git hook": (put({".git/hooks/pre-push": b"#!/bin/sh\n"}), ".git", "git_path"),
    "hook outside .git": (put({"hooks/pre-push": b"#!/bin/sh\n"}), "hooks/pre-push", "path_protected"),
    "LFS pointer": (put({"config/fetch.json": POINTER}), "config/fetch.json", "binary"),
    "LFS pointer, old name": (put({"config/new": POINTER.replace(b"git-lfs", b"hawser")}), "config/new", "binary"),
    "annex pointer": (put({"config/new": b"/annex/objects/SHA256E-s3--" + b"4d" * 32 + b".json\n"}), "config/new", "binary"),
    "sparse file of 1 GB": (lambda head: os.truncate(head / "config/fetch.json", 1 << 30), "config/fetch.json", "too_large"),
    "history of its own": (history, ".git", "git_path"),
    "only white space": (put({"config/reply.txt": b"Dear customer, \n\n\tit is on its way.\n\n"}), "", "empty"),
    "only another kind of space": (put({"config/reply.txt": "Dear\u00a0customer,\n\nit is on its\u2003way.\n".encode()}), "", "empty"),
    "a new file of white space": (put({"config/new": b"\n \n"}), "", "empty"),
    "secret beside the change": (put({"config/fetch.json": GOOD, "config/new": b"key: AKIAABCDEFGHIJKLMNOP\n"}), "config/new", "secret_shaped"),
    "canary mail address": (put({"config/reply.txt": b"Dear ada.canary@mail.example,\n"}), "config/reply.txt", "leak"),
    "canary telephone number": (put({"config/reply.txt": b"call +44 1632 960002\n"}), "config/reply.txt", "leak"),
    "canary IBAN": (put({"config/new": b"GB82 WEST 1234 5698 7654 32\n"}), "config/new", "leak"),
}
"""trick → how the tree is made, and the path and code of what is found; more of them in test_treepolicy.py"""


@pytest.mark.parametrize("trick", TRICKS)
def test_each_trick_gets_its_code(trees: tuple[Path, Path], trick: str) -> None:
    make, path, code = TRICKS[trick]
    make(trees[1])
    assert (path, code) in codes(check(trees))


def test_a_tree_of_too_many_entries_is_not_walked_to_its_end(trees: tuple[Path, Path]) -> None:
    """A flood of 100,001 files takes half a minute to make; the count is the same with fewer."""
    put({f"many/{n}": b"" for n in range(60)})(trees[1])
    walked = walk(trees[1], cap=50)
    assert [one.code for one in walked.found] == ["too_many_files"] and len(walked.files) < 50 <= ENTRY_CAP
    assert walk(trees[1], cap=100).found == set()


def test_white_space_alone_says_so_and_beside_a_change_it_is_a_change(trees: tuple[Path, Path]) -> None:
    put({"config/reply.txt": b"Dear customer,\n\n it is on its way.\n"})(trees[1])
    assert [one.text for one in check(trees).violations] == ["nothing but white space changed"]
    put({"config/fetch.json": GOOD})(trees[1])
    assert check(trees).violations == []


def test_a_right_change_with_a_file_more_is_refused_for_the_file(trees: tuple[Path, Path]) -> None:
    put({"config/fetch.json": GOOD})(trees[1])
    assert check(trees, "adjust_fetch_weight").violations == []
    put({"config/reply.txt": b"Dear all,\n"})(trees[1])
    assert codes(check(trees, "adjust_fetch_weight")) == {("config/reply.txt", "path_not_allowed")}


def test_personal_data_may_come_where_a_person_wrote_it_or_where_it_stood(trees: tuple[Path, Path]) -> None:
    for root in trees:
        put({"config/reply.txt": b"call +44 1632 960001\n"})(root)
    put({"config/reply.txt": b"please call +44 1632 960001\n"})(trees[1])
    assert check(trees).violations == []
    put({"config/reply.txt": b"call +44 1632 960002 or write to ada@mail.example\n"})(trees[1])
    (found,) = check(trees).violations
    assert found.text == "the change brings what looks like EMAIL, PHONE"
    assert check(trees, may_hold_personal=True).violations == []


# --- what is published of it: files, never a commit


def test_nothing_of_the_agents_own_commits_is_published(trees: tuple[Path, Path], tmp_path: Path) -> None:
    host = LocalGit.create(tmp_path / "target.git", trees[0], "Start", name="bank", now=lambda: NOON)
    put({"config/fetch.json": GOOD})(trees[1])
    change = check(trees, "adjust_fetch_weight")
    history(trees[1])
    assert (".git", "git_path") in codes(check(trees, "adjust_fetch_weight"))
    start = host.head()
    sha = host.publish("triage/h1-x", start, change.changed, "fix(fetch): x").sha
    raw = subprocess.run(["git", "--git-dir", tmp_path / "target.git", "cat-file", "commit", sha], check=True, capture_output=True, text=True).stdout
    head, _, message = raw.partition("\n\n")
    stamp = f"rejection-triage <triage@localhost.invalid> {int(NOON.timestamp())} +0000"
    assert head.splitlines()[1:] == [f"parent {start}", f"author {stamp}", f"committer {stamp}"]
    assert message.strip() == "fix(fetch): x" and host.changed(start, sha) == ["config/fetch.json"]


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "config/../../x", ".git/config", ".GIT/config", "a//b"])
def test_a_path_that_leaves_the_tree_is_not_published_whoever_asks(trees: tuple[Path, Path], tmp_path: Path, path: str) -> None:
    host = LocalGit.create(tmp_path / "target.git", trees[0], "Start", name="bank", now=lambda: NOON)
    with pytest.raises(PortError):
        host.publish("triage/h1-x", host.head(), {path: b"x"}, "fix(fetch): x")


MARKS = {
    "closing word": ("fetch:Fixes #1", "#"),
    "closing word, elsewhere": ("fetch:Closes other/repo#7", "#"),
    "closing by address": ("fetch:resolves https://github.com/o/r/issues/1", "://"),
    "all are told": ("fetch:@everyone", "@"),
    "a person is told": ("fetch:x @ann", "@"),
    "CI is skipped": ("fetch:[skip ci]", "[skip"),
    "CI is skipped, other order": ("fetch:[ci skip] [no ci] [skip actions]", "[ci"),
    "CI is skipped, Azure": ("fetch:***NO_CI***", "*"),
    "CI is skipped by a trailer": ("fetch:x\n\n\nskip-checks: true", "\nskip-checks"),
    "a trailer of our own": ("fetch:x\n\nConfirmed-By: boss", "\nConfirmed-By: boss"),
    "co-author": ("fetch:x\nCo-authored-by: Ann <ann@bank.example>", "\nCo-authored"),
    "command of a bot": ("fetch:x\n/merge", "\n/merge"),
    "markup": ("fetch:<img src=x onerror=alert(1)>![x](//evil.example)", "<"),
    "code fence": ("fetch:``` `x`", "```"),
    "hidden": ("fetch:a\u202eb\u200bc", "\u202e"),
    "escape": ("fetch:\x1b[2J", "\x1b"),
    "very long": ("fetch:" + "a" * 5_000, "a" * 200),
}


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("by", ["ann", "@everyone Fixes #1 [skip ci]"])
def test_no_field_of_a_hint_starts_anything_on_a_code_host(mark: str, by: str) -> None:
    target, bad = MARKS[mark]
    hint = hint_at(target)
    note = "none: the suite could not be run with the new row"
    message = commit_message("h1", hint, confirmed_by=by, rubric_version="r1", row_note=note)
    text = body("h1", hint, confirmed_by=by, rubric_version="r1", critic=by, cures=2, row_note=note)
    shown = [message, text, title("h1", hint), branch("h1", f"{hint.recipe} {target}", 2)]
    assert all(bad not in one and "#" not in one and "@" not in one and "[skip" not in one for one in shown)
    assert len(message.splitlines()) == 9 and len(title("h1", hint).splitlines()) == 1
    assert message.splitlines()[6:] == ["Hint-Id: h1", f"Confirmed-By: {'ann' if by == 'ann' else 'everyone-fixes-1-skip-ci'}", "Rubric-Version: r1"]


def test_summary_reasons_and_evidence_are_not_published_at_all() -> None:
    said = "Fixes #1 @everyone [skip ci] ghp_" + "a1B2" * 9
    hint = hint_at("fetch:postcode").model_copy(update={"summary": said, "risk_reason": said, "rules_invented": [said], "eval_to_move": said})
    message = commit_message("h1", hint, confirmed_by="ann", rubric_version="r1", row_note="none")
    text = body("h1", hint, confirmed_by="ann", rubric_version="r1", critic="precedent", cures=1, row_note="none")
    assert not {"ghp_", "#1", "@", "[skip"} & {part for part in ("ghp_", "#1", "@", "[skip") if part in f"{message}{text}{title('h1', hint)}"}


def test_a_token_in_a_target_is_not_spelled_out() -> None:
    hint = hint_at("fetch:ghp_" + "a1B2" * 9)
    message = commit_message("h1", hint, confirmed_by="ann", rubric_version="r1", row_note="none")
    assert "a1B2a1B2a1B2" not in message + title("h1", hint)


def hint_at(target: str) -> Hint:
    text = {"messages": [{"role": "customer", "text": "postcode"}]}
    rejection = {"comment": "wrong person", "by": "ann", "at": NOON}
    case = Case.model_validate({"ticket": text, "plan": {"intent_path": []}, "verdict": "rejected", "rejection": rejection})
    brief = Brief(case=case, case_id="c1", inventory=Inventory())
    return weight_hint(brief).model_copy(update={"target": target})
