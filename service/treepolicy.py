"""The policy on the tree an agent left behind: looks at the folders themselves, believes no patch text, and says what may not be published."""

import os
import re
import stat
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rubric.manifest import Manifest
from rubric.secrets import secrets_in
from service.redaction import leaks
from service.trees import READ_CAP, VIOLATION_CAP, Violation, changed_paths, lines_of, read, violation, walk

STEERS = {
    "agents": r"(?:claude|claude\.local|agents?|gemini|qwen|crush|warp|skill|copilot-instructions)\.md|mcp\.json",
    "reviews and CI": r"codeowners|jenkinsfile[^/]*|(?:azure|bitbucket)-pipelines\.ya?ml|cloudbuild\.ya?ml|buildspec\.ya?ml|appveyor\.yml",
    "what runs by hand": r"(?:gnu)?makefile|[^/]*\.mk|justfile|taskfile\.ya?ml|noxfile\.py|(?:docker|container)file[^/]*"
    r"|(?:docker-)?compose[^/]*\.ya?ml",
    "which tests run": r"conftest\.py|pytest\.(?:ini|toml|py)|tox\.(?:ini|toml)|setup\.(?:py|cfg)|pyproject\.toml"
    r"|(?:jest|vitest|vite|playwright|cypress|karma|ava|babel|webpack|rollup|eslint)\.config\.[^/]*",
    "what Python imports": r"(?:site|user)customize\.py|[^/]*\.(?:pth|egg-link)|[^/]*\.(?:dist|egg)-info/.*",
    "dependencies": r"[^/]*\.lock|package(?:-lock)?\.json|npm-shrinkwrap\.json|pnpm-(?:lock|workspace)\.yaml|(?:requirements|constraints)[^/]*\.txt"
    r"|environment\.ya?ml|pipfile|gemfile|cargo\.toml|(?:uv|poetry)\.toml|go\.(?:mod|sum|work)|bun\.lockb",
    "git": r"(?:pre|post)-(?:commit|merge|merge-commit|applypatch|rebase|rewrite|checkout|push|receive|update|auto-gc)"
    r"|(?:prepare-)?commit-msg|applypatch-msg",
}
"""What steers agents, reviews, CI, test collection, imports, dependencies or git, whatever a manifest says; hidden files are refused anyway."""
ALWAYS_PROTECTED = re.compile(rf"(?:.*/)?(?:{'|'.join(STEERS.values())})", re.DOTALL)
ELSEWHERE = re.compile(rb"version https?://(?:git-lfs\.github\.com|hawser\.github\.com)/spec/|[^\n]{0,200}/annex/objects/")
"""How a file begins that only points to its content: git LFS, git-annex. What a checkout puts in its place is seen by nobody here."""
RESERVED = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?", re.IGNORECASE)


@dataclass(frozen=True)
class TreeChange:
    changed: Mapping[str, bytes | None]
    """Path → new content, None for a removed file; complete unless there are violations."""
    violations: list[Violation]


def check_tree(
    base: Path, head: Path, manifest: Manifest, recipe: str, *, max_files: int, max_bytes: int, may_hold_personal: bool = True
) -> TreeChange:
    """Compare two folders and judge what changed between them.

    `max_files` counts changed paths, `max_bytes` the bytes of all lines added and removed. The rows that the service itself adds to eval files
    come after this check: here any change of a protected path is a violation. Raises nothing for what stands in the folders.
    `may_hold_personal`: a person wrote the new texts and may mean a number; otherwise new personal data is a `leak`.
    """
    before, after = walk(base), walk(head)
    found = before.found | after.found | _twins(before.files, after.files)
    paths = changed_paths(base, head, before, after)
    found |= {one for path in paths for one in _judge_path(path, manifest, recipe)}
    found |= {one for path, info in after.files.items() for one in _judge_mode(path, before.files.get(path), info)}
    changed: dict[str, bytes | None] = {}
    size, blank = 0, len(paths) <= max_files
    for path in paths[:max_files]:
        old, new = (read(root / path) if path in walked.files else b"" for root, walked in ((base, before), (head, after)))
        if old is None or new is None:
            found.add(violation("too_large", path, f"the file is larger than {READ_CAP} bytes or cannot be read"))
            continue
        changed[path] = new if path in after.files else None
        added, removed = lines_of(old, new)
        size += sum(map(len, added)) + sum(map(len, removed))
        found |= set(_judge_content(path, old, new, added))
        if not may_hold_personal and size <= max_bytes:
            found |= set(_judge_personal(path, old, added))
        blank = blank and _without_space(old) == _without_space(new)
    if len(paths) > max_files:
        found.add(violation("too_many_files", "", f"{len(paths)} files changed, {max_files} may"))
    if size > max_bytes:
        found.add(violation("too_large", "", f"the lines added and removed hold {size} bytes, {max_bytes} may"))
    if blank and not found:
        found.add(violation("empty", "", "nothing but white space changed" if paths else "nothing changed"))
    return TreeChange(changed, sorted(found)[:VIOLATION_CAP])


def _judge_path(path: str, manifest: Manifest, recipe: str) -> Iterator[Violation]:
    if not manifest.may_change(recipe, path):
        yield violation("path_not_allowed", path, f"the recipe {recipe} may not change this path")
    # Read as a file system without case reads it, too: Evals/ lands in evals/ there.
    plain = _plain(path)
    if manifest.is_protected(path) or manifest.is_protected(plain) or ALWAYS_PROTECTED.fullmatch(plain):
        yield violation("path_protected", path, "a protected path")
    parts = path.split("/")
    if any(part.startswith(".") for part in parts):
        yield violation("dot_path", path, "a hidden file or a file in a hidden folder")
    if any(_is_odd(part) for part in parts):
        yield violation("odd_name", path, "a name that some systems cannot hold or that screens show as another")


def _is_odd(part: str) -> bool:
    return part[-1] in ". " or part[0] in "- " or bool(set(part) & set('\\:<>"|?*')) or not part.isprintable() or bool(RESERVED.fullmatch(part))


def _judge_mode(path: str, old: os.stat_result | None, new: os.stat_result) -> Iterator[Violation]:
    was = old.st_mode & stat.S_IXUSR if old else 0
    if new.st_mode & (stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX) or new.st_mode & stat.S_IXUSR != was:
        yield violation("mode_changed", path, "the file became executable, stopped being so, or carries a special mode")
    if new.st_nlink > 1 and (old is None or old.st_nlink == 1):
        yield violation("not_regular", path, "a second name of a file that stands elsewhere")


def _judge_content(path: str, old: bytes, new: bytes, added: Iterable[bytes]) -> Iterator[Violation]:
    try:
        text = new.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        yield violation("binary", path, "not a text file in UTF-8")
        return
    if ELSEWHERE.match(new):
        yield violation("binary", path, "a pointer to content that is kept elsewhere")
    before = old.decode("utf-8", "replace")
    if hidden := sorted(f"U+{ord(char):04X}" for char in _hidden(text) - _hidden(before)):
        yield violation("hidden_unicode", path, f"the change brings characters that screens do not show: {', '.join(hidden[:5])}")
    brought = b"".join(added).decode("utf-8", "replace")
    for kind in secrets_in(f"{path}\n{brought}", before):
        yield violation("secret_shaped", path, f"the change brings text that looks like {kind}")


def _judge_personal(path: str, old: bytes, added: Iterable[bytes]) -> Iterator[Violation]:
    """What looks like personal data on lines that base does not have; a number that stood on base may stay where its line is edited."""
    if kinds := leaks(b"".join(added).decode("utf-8", "replace"), old.decode("utf-8", "replace")):
        yield violation("leak", path, f"the change brings what looks like {', '.join(kinds)}")


def _without_space(content: bytes) -> str:
    return "".join(content.decode("utf-8", "surrogateescape").split())


def _hidden(text: str) -> Counter[str]:
    # U+FE0F stays: it only asks for the coloured form of a sign, and each heart in a reply template brings one.
    return Counter({char: count for char, count in Counter(text.replace("\r\n", "\n")).items() if _is_hidden(char)})


def _is_hidden(char: str) -> bool:
    if char in "\t\n\ufe0f":
        return False
    return (
        unicodedata.category(char) in ("Cf", "Cc", "Zl", "Zp")
        or char in "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"
        or "\u180b" <= char <= "\u180f"
        or "\ufe00" <= char <= "\ufe0e"
        or "\U000e0000" <= char <= "\U000e0fff"
    )


def _plain(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _twins(before: Iterable[str], after: Iterable[str]) -> set[Violation]:
    """Names that one file system holds apart and another does not; twins that stood in base are not the agent's doing."""
    known = set(_names(before))
    spellings: dict[str, set[str]] = defaultdict(set)
    for name in _names(after):
        spellings[_plain(name)].add(name)
    return {
        violation("case_twin", name, "differs from another path only in case or in how accents are written")
        for names in spellings.values()
        if len(names) > 1 and not names <= known
        for name in names
    }


def _names(paths: Iterable[str]) -> Iterator[str]:
    """All paths and the folders above them."""
    for path in paths:
        yield path
        yield from (path[: at.start()] for at in re.finditer("/", path))
