"""Two folders, as they stand: what is in them, what differs, and how a finding about them is named. Links are never followed."""

import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

READ_CAP = 5_000_000
"""Largest changed file that is read, in bytes."""
ENTRY_CAP = 100_000
"""Most entries of a folder that are looked at; a larger tree is refused as it is."""
VIOLATION_CAP = 200
"""Most violations that are handed out; they end on a screen."""


@dataclass(frozen=True, order=True)
class Violation:
    path: str
    """Empty for the tree as a whole; characters that a screen would hide are escaped."""
    code: str
    text: str
    """One sentence of our own; of the file's content it shows key paths at most, escaped and cut."""


@dataclass
class Walked:
    files: dict[str, os.stat_result] = field(default_factory=dict)
    found: set[Violation] = field(default_factory=set)


def violation(code: str, path: str, text: str) -> Violation:
    return Violation(escaped(path), code, text)


def escaped(text: str) -> str:
    """The text with each character that a screen would hide spelled out."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode() for char in text)


def walk(root: Path, cap: int = ENTRY_CAP) -> Walked:
    """The regular files below a folder, and whatever else stands there as violations. Past `cap` entries it looks no further."""
    walked = Walked()
    if not stat.S_ISDIR(os.lstat(root).st_mode):
        walked.found.add(violation("not_regular", "", "the tree is not a folder"))
        return walked
    waiting, seen = [""], 0
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    seen += 1
                    if seen > cap:
                        walked.found.add(violation("too_many_files", "", f"the tree holds more than {cap} entries"))
                        return walked
                    waiting += _note(walked, f"{folder}{entry.name}", entry)
        except OSError as error:
            walked.found.add(violation("not_regular", folder, f"the folder cannot be read ({error.strerror})"))
    return walked


def _note(walked: Walked, path: str, entry: "os.DirEntry[str]") -> list[str]:
    """Take one entry in; returns the folder to look into, if it is one."""
    info = entry.stat(follow_symlinks=False)
    if _is_git(entry.name):
        walked.found.add(violation("git_path", path, "a name that git takes for its own folder"))
    elif stat.S_ISDIR(info.st_mode):
        return [f"{path}/"]
    elif stat.S_ISREG(info.st_mode):
        walked.files[path] = info
    else:
        kind = "a symbolic link" if stat.S_ISLNK(info.st_mode) else "a pipe, socket or device"
        walked.found.add(violation("not_regular", path, f"{kind}, not a regular file"))
    return []


def _is_git(part: str) -> bool:
    # As macOS and Windows read names: case, width, invisible characters, trailing dots, streams and short names aside.
    plain = "".join(char for char in unicodedata.normalize("NFKC", part) if unicodedata.category(char) not in ("Cf", "Cc", "Mn"))
    return plain.casefold().partition(":")[0].rstrip(" .") in (".git", "git~1")


def _open(place: Path) -> int:
    # Without waiting for a writer, should a pipe have taken the place of the file since the walk.
    return os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def read(place: Path) -> bytes | None:
    """The file's bytes; None when it is too large or not what the walk saw."""
    try:
        with open(_open(place), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None
            content = file.read(READ_CAP + 1)
    except OSError:
        return None
    return content if len(content) <= READ_CAP else None


def changed_paths(base: Path, head: Path, before: Walked, after: Walked) -> list[str]:
    """Paths of the files that are not the same on both sides, in order."""
    return sorted(path for path in before.files.keys() | after.files.keys() if _differs(base, head, path, before.files, after.files))


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


def lines_of(old: bytes, new: bytes) -> tuple[list[bytes], list[bytes]]:
    """Lines added and removed, wherever they stand: linear in the size, where a hostile file makes a true diff quadratic."""
    before, after = Counter(old.splitlines(keepends=True)), Counter(new.splitlines(keepends=True))
    return list((after - before).elements()), list((before - after).elements())
