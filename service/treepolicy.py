"""The policy on the tree an agent left behind: looks at the folders themselves, believes no patch text, and says what may not be published."""

import os
import re
import stat
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rubric.manifest import Manifest

READ_CAP = 5_000_000
"""Largest changed file that is read, in bytes."""
ENTRY_CAP = 100_000
"""Most entries of a folder that are looked at; a larger tree is refused as it is."""
VIOLATION_CAP = 200
"""Most violations that are handed out; they end on a screen."""
ALWAYS_PROTECTED = re.compile(
    r"(?:.*/)?(?:conftest\.py|codeowners|claude\.md|agents\.md|gemini\.md|sitecustomize\.py|usercustomize\.py|jenkinsfile|[^/]*\.pth|[^/]*\.lock"
    r"|package-lock\.json|npm-shrinkwrap\.json|pnpm-lock\.yaml|requirements[^/]*\.txt|go\.sum)",
    re.DOTALL,
)
"""What steers CI, test collection, dependencies, reviews or agents, whatever a manifest says."""
RESERVED = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?", re.IGNORECASE)
SECRETS = {
    "a private key": re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY"),
    "a GitHub token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{20,255}|github_pat_[A-Za-z0-9_]{20,255})"),
    "a GitLab token": re.compile(r"\bglpat-[A-Za-z0-9_-]{20,64}"),
    "an API key": re.compile(r"\b(?:sk|rk|pk)[-_](?:ant-|live[-_]|test[-_]|proj-|or-)?(?=[A-Za-z_-]{0,200}[0-9])[A-Za-z0-9_-]{20,200}"),
    "an AWS key": re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    "a Google key": re.compile(r"\bAIza[A-Za-z0-9_-]{35}"),
    "a Slack token": re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,200}"),
    "a webhook secret": re.compile(r"\bwhsec_[A-Za-z0-9+/=]{20,200}"),
    "a signed token": re.compile(r"\beyJ[A-Za-z0-9_-]{10,2000}\.[A-Za-z0-9_-]{10,2000}\.[A-Za-z0-9_-]{5,2000}"),
    "a password in an address": re.compile(r"://[^\s/:@\"']{1,100}:[^\s/@\"']{3,200}@"),
    "an assigned secret": re.compile(
        r"(?:passw(?:or)?d|secret|token|api[_-]?key|credential)[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?=[A-Za-z+/_-]{0,200}[0-9])[A-Za-z0-9+/_=-]{20,200}",
        re.IGNORECASE,
    ),
}


@dataclass(frozen=True, order=True)
class Violation:
    path: str
    """Empty for the tree as a whole; characters that a screen would hide are escaped."""
    code: str
    text: str
    """One sentence of our own; holds nothing of the file's content."""


@dataclass(frozen=True)
class TreeChange:
    changed: Mapping[str, bytes | None]
    """Path → new content, None for a removed file; complete unless there are violations."""
    violations: list[Violation]


@dataclass
class _Walked:
    files: dict[str, os.stat_result] = field(default_factory=dict)
    found: set[Violation] = field(default_factory=set)


def check_tree(base: Path, head: Path, manifest: Manifest, recipe: str, *, max_files: int, max_bytes: int) -> TreeChange:
    """Compare two folders and judge what changed between them.

    `max_files` counts changed paths, `max_bytes` the bytes of all lines added and removed. The rows that the service itself adds to eval files
    come after this check: here any change of a protected path is a violation. Raises nothing for what stands in the folders.
    """
    before, after = _walk(base), _walk(head)
    found = before.found | after.found | _twins(before.files, after.files)
    paths = sorted(path for path in before.files.keys() | after.files.keys() if _differs(base, head, path, before.files, after.files))
    found |= {violation for path in paths for violation in _judge_path(path, manifest, recipe)}
    found |= {violation for path, info in after.files.items() for violation in _judge_mode(path, before.files.get(path), info)}
    changed: dict[str, bytes | None] = {}
    size = 0
    for path in paths[:max_files]:
        old, new = (_read(root / path) if path in walked.files else b"" for root, walked in ((base, before), (head, after)))
        if old is None or new is None:
            found.add(_violation("too_large", path, f"the file is larger than {READ_CAP} bytes or cannot be read"))
            continue
        changed[path] = new if path in after.files else None
        added, removed = _lines(old, new)
        size += sum(map(len, added)) + sum(map(len, removed))
        found |= set(_judge_content(path, old, new, added))
    if len(paths) > max_files:
        found.add(_violation("too_many_files", "", f"{len(paths)} files changed, {max_files} may"))
    if size > max_bytes:
        found.add(_violation("too_large", "", f"the lines added and removed hold {size} bytes, {max_bytes} may"))
    if not paths and not found:
        found.add(_violation("empty", "", "nothing changed"))
    return TreeChange(changed, sorted(found)[:VIOLATION_CAP])


def _violation(code: str, path: str, text: str) -> Violation:
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode() for char in path)
    return Violation(shown, code, text)


def _walk(root: Path) -> _Walked:
    """The regular files below a folder, and whatever else stands there as violations. Links are never followed."""
    walked = _Walked()
    if not stat.S_ISDIR(os.lstat(root).st_mode):
        walked.found.add(_violation("not_regular", "", "the tree is not a folder"))
        return walked
    waiting, seen = [""], 0
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    seen += 1
                    if seen > ENTRY_CAP:
                        walked.found.add(_violation("too_many_files", "", f"the tree holds more than {ENTRY_CAP} entries"))
                        return walked
                    waiting += _note(walked, f"{folder}{entry.name}", entry)
        except OSError as error:
            walked.found.add(_violation("not_regular", folder, f"the folder cannot be read ({error.strerror})"))
    return walked


def _note(walked: _Walked, path: str, entry: "os.DirEntry[str]") -> list[str]:
    """Take one entry in; returns the folder to look into, if it is one."""
    info = entry.stat(follow_symlinks=False)
    if _is_git(entry.name):
        walked.found.add(_violation("git_path", path, "a name that git takes for its own folder"))
    elif stat.S_ISDIR(info.st_mode):
        return [f"{path}/"]
    elif stat.S_ISREG(info.st_mode):
        walked.files[path] = info
    else:
        kind = "a symbolic link" if stat.S_ISLNK(info.st_mode) else "a pipe, socket or device"
        walked.found.add(_violation("not_regular", path, f"{kind}, not a regular file"))
    return []


def _is_git(part: str) -> bool:
    # As macOS and Windows read names: case, width, invisible characters, trailing dots, streams and short names aside.
    plain = "".join(char for char in unicodedata.normalize("NFKC", part) if unicodedata.category(char) not in ("Cf", "Cc", "Mn"))
    return plain.casefold().partition(":")[0].rstrip(" .") in (".git", "git~1")


def _open(place: Path) -> int:
    # Without waiting for a writer, should a pipe have taken the place of the file since the walk.
    return os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _read(place: Path) -> bytes | None:
    """The file's bytes; None when it is too large or not what the walk saw."""
    try:
        with open(_open(place), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None
            content = file.read(READ_CAP + 1)
    except OSError:
        return None
    return content if len(content) <= READ_CAP else None


def _differs(base: Path, head: Path, path: str, before: Mapping[str, os.stat_result], after: Mapping[str, os.stat_result]) -> bool:
    if path not in before or path not in after or before[path].st_size != after[path].st_size:
        return True
    try:
        with open(_open(base / path), "rb") as one, open(_open(head / path), "rb") as other:
            while chunk := one.read(1 << 20):
                if chunk != other.read(1 << 20):
                    return True
    except OSError:
        return True
    return False


def _lines(old: bytes, new: bytes) -> tuple[list[bytes], list[bytes]]:
    """Lines added and removed, wherever they stand: linear in the size, where a hostile file makes a true diff quadratic."""
    before, after = Counter(old.splitlines(keepends=True)), Counter(new.splitlines(keepends=True))
    return list((after - before).elements()), list((before - after).elements())


def _judge_path(path: str, manifest: Manifest, recipe: str) -> Iterator[Violation]:
    if not manifest.may_change(recipe, path):
        yield _violation("path_not_allowed", path, f"the recipe {recipe} may not change this path")
    # Read as a file system without case reads it, too: Evals/ lands in evals/ there.
    plain = _plain(path)
    if manifest.is_protected(path) or manifest.is_protected(plain) or ALWAYS_PROTECTED.fullmatch(plain):
        yield _violation("path_protected", path, "a protected path")
    parts = path.split("/")
    if any(part.startswith(".") for part in parts):
        yield _violation("dot_path", path, "a hidden file or a file in a hidden folder")
    if any(_is_odd(part) for part in parts):
        yield _violation("odd_name", path, "a name that some systems cannot hold or that screens show as another")


def _is_odd(part: str) -> bool:
    return part[-1] in ". " or part[0] in "- " or bool(set(part) & set('\\:<>"|?*')) or not part.isprintable() or bool(RESERVED.fullmatch(part))


def _judge_mode(path: str, old: os.stat_result | None, new: os.stat_result) -> Iterator[Violation]:
    was = old.st_mode & stat.S_IXUSR if old else 0
    if new.st_mode & (stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX) or new.st_mode & stat.S_IXUSR != was:
        yield _violation("mode_changed", path, "the file became executable, stopped being so, or carries a special mode")
    if new.st_nlink > 1 and (old is None or old.st_nlink == 1):
        yield _violation("not_regular", path, "a second name of a file that stands elsewhere")


def _judge_content(path: str, old: bytes, new: bytes, added: Iterable[bytes]) -> Iterator[Violation]:
    try:
        text = new.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        yield _violation("binary", path, "not a text file in UTF-8")
        return
    before = old.decode("utf-8", "replace")
    if hidden := sorted(f"U+{ord(char):04X}" for char in _hidden(text) - _hidden(before)):
        yield _violation("hidden_unicode", path, f"the change brings characters that screens do not show: {', '.join(hidden[:5])}")
    brought = b"".join(added).decode("utf-8", "replace")
    for kind, pattern in SECRETS.items():
        if any(match not in before for match in (found.group() for found in pattern.finditer(f"{path}\n{brought}"))):
            yield _violation("secret_shaped", path, f"the change brings text that looks like {kind}")


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
        _violation("case_twin", name, "differs from another path only in case or in how accents are written")
        for names in spellings.values()
        if len(names) > 1 and not names <= known
        for name in names
    }


def _names(paths: Iterable[str]) -> Iterator[str]:
    """All paths and the folders above them."""
    for path in paths:
        yield path
        yield from (path[: at.start()] for at in re.finditer("/", path))
