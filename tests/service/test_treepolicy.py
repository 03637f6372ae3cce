"""The tree policy: every way in which a tree may not be published fires on a real folder, and a clean change passes."""

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rubric.manifest import Manifest
from service.treepolicy import TreeChange, check_tree
from service.trees import Violation

BASE = {
    "config/fetch.json": b'{"email": 3, "name": 1}\n',
    "config/heart.txt": "Thank you \u200d\n".encode(),
    "evals/fetch/cases.jsonl": b"{}\n",
    "run.sh": b"true\n",
}
MANIFEST = Manifest.model_validate(
    {
        "version": 1,
        "steps": {
            "fetch": {
                "watches": ["config/**"],
                "suites": [{"id": "s", "argv": ["x"], "results": {"format": "rows-jsonl", "path": "r"}, "timeout_s": 1, "min_rows": 1}],
            }
        },
        "allow": {"adjust_fetch_weight": ["config/**", "evals/**", "run.sh"], "anything": ["**"]},
        "protected": ["evals/**", "triage.yaml"],
    }
)


def write(root: Path, files: dict[str, bytes]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    base = write(tmp_path / "base", BASE)
    (base / "run.sh").chmod(0o755)
    return base, Path(shutil.copytree(base, tmp_path / "head"))


def check(trees: tuple[Path, Path], recipe: str = "anything", *, max_files: int = 20, max_bytes: int = 200_000) -> TreeChange:
    return check_tree(*trees, MANIFEST, recipe, max_files=max_files, max_bytes=max_bytes)


def codes(change: TreeChange) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for violation in change.violations:
        found.setdefault(violation.path, set()).add(violation.code)
    return found


def test_a_clean_change_passes(trees: tuple[Path, Path]) -> None:
    write(trees[1], {"config/fetch.json": b'{"email": 4, "name": 1}\n', "config/new.json": '{"heart": "\u2764\ufe0f"}\n'.encode()})
    (trees[1] / "config/heart.txt").unlink()
    (trees[1] / "an-empty-folder").mkdir()
    (trees[1] / "config/fetch.json").chmod(0o600)  # git keeps no more than the executable bit
    change = check(trees, "adjust_fetch_weight")
    assert change.violations == []
    assert list(change.changed.items()) == [
        ("config/fetch.json", b'{"email": 4, "name": 1}\n'),
        ("config/heart.txt", None),
        ("config/new.json", '{"heart": "\u2764\ufe0f"}\n'.encode()),
    ]


def put(path: str, content: bytes = b"x\n") -> Callable[[Path], object]:
    return lambda head: write(head, {path: content})


def swap(path: str, make: Callable[[Path], object]) -> Callable[[Path], object]:
    def change(head: Path) -> None:
        (head / path).unlink(missing_ok=True)
        make(head / path)

    return change


def listen(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as door:
        here = os.getcwd()
        os.chdir(place.parent)  # the address of a socket may hold 108 bytes only
        door.bind(place.name)
        os.chdir(here)


def mode(path: str, bits: int) -> Callable[[Path], object]:
    return lambda head: (head / path).chmod(bits)


TOKEN = "ghp_" + "a1B2" * 9
FIRES = {
    "link to a host file": (swap("config/fetch.json", lambda place: place.symlink_to("/etc/passwd")), "config/fetch.json", "not_regular"),
    "link to a folder": (swap("config/dir", lambda place: place.symlink_to("/etc")), "config/dir", "not_regular"),
    "dangling link": (swap("config/gone", lambda place: place.symlink_to("nowhere")), "config/gone", "not_regular"),
    "pipe": (swap("config/fetch.json", os.mkfifo), "config/fetch.json", "not_regular"),
    "socket": (swap("config/s", listen), "config/s", "not_regular"),
    "second name": (swap("config/copy", lambda place: os.link(place.parent / "fetch.json", place)), "config/copy", "not_regular"),
    "+x": (mode("config/fetch.json", 0o755), "config/fetch.json", "mode_changed"),
    "-x": (mode("run.sh", 0o644), "run.sh", "mode_changed"),
    "setuid": (mode("run.sh", 0o4755), "run.sh", "mode_changed"),
    "new +x": (lambda head: (put("config/x")(head), mode("config/x", 0o755)(head)), "config/x", "mode_changed"),
    "protected": (put("evals/fetch/cases.jsonl", b"{}\n{}\n"), "evals/fetch/cases.jsonl", "path_protected"),
    "protected, new": (put("evals/other"), "evals/other", "path_protected"),
    "protected, other case": (put("Evals/fetch/x"), "Evals/fetch/x", "path_protected"),
    "manifest": (put("triage.yaml"), "triage.yaml", "path_protected"),
    "binary NUL": (put("config/fetch.json", b"a\0b"), "config/fetch.json", "binary"),
    "binary Latin-1": (put("config/fetch.json", b"\xe9"), "config/fetch.json", "binary"),
    "bidi": (put("config/fetch.json", "a\u202eb".encode()), "config/fetch.json", "hidden_unicode"),
    "isolate": (put("config/fetch.json", "a\u2066b".encode()), "config/fetch.json", "hidden_unicode"),
    "zero width": (put("config/heart.txt", "Thank you \u200d\u200d\n".encode()), "config/heart.txt", "hidden_unicode"),
    "tag": (put("config/new", "a\U000e0041".encode()), "config/new", "hidden_unicode"),
    "variation": (put("config/new", "a\U000e0141".encode()), "config/new", "hidden_unicode"),
    "escape": (put("config/new", b"a\x1b[8m"), "config/new", "hidden_unicode"),
    "lone CR": (put("config/new", b"good\revil\n"), "config/new", "hidden_unicode"),
    "twin": (put("config/FETCH.json"), "config/FETCH.json", "case_twin"),
    "twin folder": (put("Config/other"), "Config", "case_twin"),
    "accent twin": (lambda head: (put("\u00e9")(head), put("e\u0301")(head)), "\u00e9", "case_twin"),
    "line break": (put("config/a\nb"), "config/a\\nb", "odd_name"),
    "trailing dot": (put("config./x"), "config./x", "odd_name"),
    "trailing space": (put("config/x "), "config/x ", "odd_name"),
    "reserved": (put("config/nul.json"), "config/nul.json", "odd_name"),
    "reserved folder": (put("CON/x"), "CON/x", "odd_name"),
    "backslash": (put("config\\x"), "config\\x", "odd_name"),
    "stream": (put("config/x:y"), "config/x:y", "odd_name"),
    "option": (put("config/-rf"), "config/-rf", "odd_name"),
    "bidi name": (put("config/x\u202ejson"), "config/x\\u202ejson", "odd_name"),
    "bytes name": (put(os.fsdecode(b"config/\xe9")), "config/\\udce9", "odd_name"),
    "GitHub token": (put("config/fetch.json", f"k {TOKEN}\n".encode()), "config/fetch.json", "secret_shaped"),
    "key": (put("config/new", b"-----BEGIN OPENSSH PRIVATE KEY-----\n"), "config/new", "secret_shaped"),
    "API key": (put("config/new", b'"sk-ant-api03-' + b"a1B2" * 8 + b'"'), "config/new", "secret_shaped"),
    "assigned": (put("config/new", b'{"client_secret": "Zm9vYmFyYmF6cXV4MTIzNA=="}'), "config/new", "secret_shaped"),
    "address": (put("config/new", b"https://ann:hunter2@host/"), "config/new", "secret_shaped"),
    "secret in a name": (put(f"config/{TOKEN}"), f"config/{TOKEN}", "secret_shaped"),
    "dot file": (put("config/.hidden"), "config/.hidden", "dot_path"),
    "workflow": (put(".github/workflows/x.yml"), ".github/workflows/x.yml", "dot_path"),
    "attributes": (put(".gitattributes"), ".gitattributes", "dot_path"),
    "git folder": (put(".git/hooks/post-checkout"), ".git", "git_path"),
    "git folder, other case": (put("config/.GIT/config"), "config/.GIT", "git_path"),
    "git file": (put("config/.git", b"gitdir: /x"), "config/.git", "git_path"),
    "git, HFS": (put(".g\u200cit/config"), ".g\\u200cit", "git_path"),
    "git, NTFS": (put("GIT~1/config"), "GIT~1", "git_path"),
    "empty": (lambda head: None, "", "empty"),
    "too large to read": (lambda head: os.truncate(write(head, {"config/big": b""}) / "config/big", 1 << 40), "config/big", "too_large"),
}


@pytest.mark.parametrize("what", FIRES)
def test_each_violation_fires(trees: tuple[Path, Path], what: str) -> None:
    change, path, code = FIRES[what]
    change(trees[1])
    found = check(trees)
    assert code in codes(found).get(path, set())
    assert found == check(trees)
    if code not in ("path_protected", "case_twin", "dot_path", "odd_name", "mode_changed"):  # these may come in company
        assert {violation.code for violation in found.violations} == {code}


STEERING = """
CLAUDE.md docs/CLAUDE.md CLAUDE.local.md AGENTS.md config/Agents.md AGENT.md GEMINI.md skills/x/SKILL.md docs/copilot-instructions.md mcp.json
CODEOWNERS docs/CODEOWNERS Jenkinsfile ci/Jenkinsfile.release azure-pipelines.yml bitbucket-pipelines.yml cloudbuild.yaml buildspec.yml appveyor.yml
Makefile config/Makefile GNUmakefile rules.mk justfile Taskfile.yml noxfile.py Dockerfile Dockerfile.dev Containerfile compose.yaml docker-compose.dev.yml
conftest.py config/conftest.py pytest.ini pytest.toml pytest.py tox.ini setup.cfg setup.py pyproject.toml sub/pyproject.toml jest.config.js vitest.config.mts
sitecustomize.py lib/usercustomize.py evil.pth lib/evil.pth x.egg-link x-1.dist-info/entry_points.txt x.egg-info/SOURCES.txt
uv.lock poetry.lock package.json package-lock.json npm-shrinkwrap.json pnpm-lock.yaml pnpm-workspace.yaml requirements.txt requirements-dev.txt
constraints.txt environment.yml Pipfile Gemfile Cargo.toml uv.toml go.mod go.sum go.work bun.lockb
hooks/pre-commit githooks/post-checkout hooks/commit-msg hooks/prepare-commit-msg hooks/pre-push hooks/post-merge hooks/applypatch-msg
"""


@pytest.mark.parametrize("path", STEERING.split())
def test_what_steers_agents_ci_tests_imports_or_git_is_protected_without_a_manifest_saying_so(trees: tuple[Path, Path], path: str) -> None:
    write(trees[1], {path: b"x\n"})
    assert codes(check(trees)) == {path: {"path_protected"}}


@pytest.mark.parametrize(
    "path",
    [".claude/settings.json", ".claude/agents/x.md", ".mcp.json", ".cursor/rules/x.mdc", ".cursorrules", ".github/workflows/x.yml", ".gitlab-ci.yml",
     ".husky/pre-commit", ".githooks/pre-commit", ".vscode/tasks.json", ".envrc", ".npmrc", ".pre-commit-config.yaml", "config/.aider.conf.yml"],
)  # fmt: skip
def test_files_of_tools_are_hidden_files_and_refused_as_such(trees: tuple[Path, Path], path: str) -> None:
    write(trees[1], {path: b"x\n"})
    assert "dot_path" in codes(check(trees))[path]


@pytest.mark.parametrize(
    "path", ["config/agents.json", "config/setup.json", "docs/makefile.md", "config/pre-commit.json", "config/intents.config.json"]
)
def test_what_only_sounds_like_it_may_change(trees: tuple[Path, Path], path: str) -> None:
    write(trees[1], {path: b"x\n"})
    assert codes(check(trees)) == {}


def test_a_path_outside_the_recipe_is_not_allowed(trees: tuple[Path, Path]) -> None:
    write(trees[1], {"config/ok": b"1\n", "pipeline/fetch.py": b"1\n"})
    (trees[1] / "run.sh").unlink()
    assert codes(check(trees, "adjust_fetch_weight")) == {"pipeline/fetch.py": {"path_not_allowed"}}
    assert set(codes(check(trees, "no_such_recipe"))) == {"config/ok", "pipeline/fetch.py", "run.sh"}


def test_limits_hold_to_the_byte(trees: tuple[Path, Path]) -> None:
    write(trees[1], {f"config/{n}": b"1234\n" for n in range(3)})
    assert check(trees, max_files=3, max_bytes=15).violations == []
    assert codes(check(trees, max_files=2, max_bytes=15)) == {"": {"too_many_files"}}
    assert codes(check(trees, max_files=3, max_bytes=14)) == {"": {"too_large"}}


def test_size_is_what_changed_not_the_file(trees: tuple[Path, Path]) -> None:
    lines = [b"line %d\n" % n for n in range(100_000)]
    write(trees[0], {"config/long": b"".join(lines)})
    lines[0], lines[50_000] = b"first\n", b""
    write(trees[1], {"config/long": b"".join(lines)})
    assert check(trees, max_bytes=30).violations == []


def test_what_stood_there_before_is_not_held_against_the_change(trees: tuple[Path, Path]) -> None:
    old = f"{TOKEN} \u202e\n".encode()
    for root in trees:
        write(root, {"config/old": old, "config/OLD": b"1", ".hidden": b"1", "nul": b"\0"})
    write(trees[1], {"config/old": b"first, in the same line: " + old})
    assert check(trees).violations == []


def test_a_text_that_only_talks_of_secrets_passes(trees: tuple[Path, Path]) -> None:
    text = b"Reset your password: https://example.com/reset-your-password-now. Token: {token}. sk-some-very-long-slug-of-words\n"
    write(trees[1], {"config/reply.json": text})
    assert check(trees).violations == []


def test_no_text_of_a_violation_repeats_the_secret(trees: tuple[Path, Path]) -> None:
    write(trees[1], {"config/x": TOKEN.encode()})
    assert [violation.text for violation in check(trees).violations] == ["the change brings text that looks like a GitHub token"]


def test_a_folder_that_cannot_be_read_and_one_that_is_a_link(trees: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(trees[1])
    assert Violation("", "not_regular", "the tree is not a folder") in check((trees[0], tmp_path / "link")).violations
    deep = trees[1]
    here = os.open(deep, os.O_RDONLY)
    for _ in range(30):  # deeper than a path can name
        os.mkdir("d" * 200, dir_fd=here)
        inner = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    assert {violation.code for violation in check(trees).violations} == {"not_regular"}
    shutil.rmtree(trees[1])


def test_a_flood_of_files_is_refused_without_reading_it(trees: tuple[Path, Path]) -> None:
    for n in range(3_000):
        (trees[1] / f"f{n}").touch()
    change = check(trees, "adjust_fetch_weight")
    assert change.violations[0] == Violation("", "too_many_files", "3000 files changed, 20 may")
    assert len(change.violations) == 200 and len(change.changed) == 20


names = st.lists(st.sampled_from(["a", "b", "c", "data.json", "sub"]), min_size=1, max_size=3).map("/".join)
trees_of_files = st.dictionaries(names, st.binary(max_size=4), max_size=6).map(
    lambda files: {path: content for path, content in files.items() if not any(other.startswith(f"{path}/") for other in files)}
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=trees_of_files, after=trees_of_files)
def test_the_changed_set_is_that_of_a_plain_comparison(tmp_path: Path, before: dict[str, bytes], after: dict[str, bytes]) -> None:
    roots = (tmp_path / "one", tmp_path / "other")
    for root, files in zip(roots, (before, after), strict=True):
        shutil.rmtree(root, ignore_errors=True)
        write(root, files)
    expected = {path: after.get(path) for path in sorted(before.keys() | after.keys()) if before.get(path) != after.get(path)}
    change = check(roots)
    assert list(change.changed.items()) == list(expected.items())
    assert (Violation("", "empty", "nothing changed") in change.violations) is (not expected)
