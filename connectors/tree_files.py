"""The hands of an agent that runs in our own process: text files of one throw-away tree, read and written by rules that it cannot talk away.

Each folder on the way is opened by itself and never through a symlink, so that no name leads out of the tree.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rubric.manifest import Manifest

FILE_CAP = 1024 * 1024
"""largest file that is read or written, in bytes"""
NAMES = 400
"""most names of a folder that are listed"""
NEW_FILES = 20
PATH_CAP, DEPTH = 240, 12
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class NotAllowed(Exception):
    """What was asked for is not done; `str()` is a sentence for the agent, `code` for counting."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


class TreeFiles:
    """Reads every text file but the rows that changes are judged by, and writes only what the recipe may change."""

    def __init__(self, tree: Path, manifest: Manifest, recipe: str):
        self._tree, self._manifest, self._recipe = tree, manifest, recipe
        self._before: dict[str, bytes | None] = {}

    def changed(self) -> list[str]:
        """Paths that are not as they were."""
        return sorted(path for path, before in self._before.items() if self._now(path) != before)

    def restore(self) -> None:
        """Everything as it was before the first write; new folders that are empty go too."""
        for path, before in self._before.items():
            with suppress(OSError, NotAllowed):
                if before is not None:
                    self._put(path, before)
                    continue
                with self._folder(path) as (folder, name):
                    os.unlink(name, dir_fd=folder)
                for parent in list(Path(path).parents)[:-1]:
                    (self._tree / parent).rmdir()  # fails on one that holds something
        self._before.clear()

    def listing(self, path: str) -> list[str]:
        """Names in a folder, those of folders with a slash; "" or "." is the tree itself. What is neither file nor folder is left out."""
        parts = [] if path in ("", ".") else _parts(path.rstrip("/"))
        folder = self._walk(parts, make=False)
        try:
            with os.scandir(folder) as found:
                entries = sorted((entry.name, entry.is_dir(follow_symlinks=False), entry.is_file(follow_symlinks=False)) for entry in found)
        finally:
            os.close(folder)
        names = [f"{name}/" if is_folder else name for name, is_folder, is_file in entries if is_folder or is_file]
        return [name for name in names if name.lower().rstrip("/") != ".git" and name.isprintable()][:NAMES]

    def is_folder(self, path: str) -> bool:
        return path in ("", ".") or path.endswith("/") or (self._tree.joinpath(*_parts(path)).is_dir())

    def read(self, path: str) -> str:
        """A text file. Raises `NotAllowed` for what is none and for eval rows."""
        return _text(self._bytes(path))

    def replace(self, path: str, old: str, new: str) -> None:
        """Put `new` where `old` stands, which has to be one place."""
        self._check_writing(path)
        text = self.read(path)
        found = text.count(old) if old else 0
        if found != 1 or text.find(old, text.find(old) + 1) >= 0:  # the second: places that overlap
            raise NotAllowed("no_single_match", f"`old` stands in {found} places of the file; it has to stand in exactly one")
        self._write(path, text.replace(old, new))

    def create(self, path: str, text: str) -> None:
        """A new file; one that is there already stays."""
        self._check_writing(path)
        if sum(before is None for before in self._before.values()) >= NEW_FILES:
            raise NotAllowed("too_many_files", f"a change may bring {NEW_FILES} new files")
        data = _encoded(text)
        with self._folder(path, make=True) as (folder, name):
            try:
                handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=folder)
            except FileExistsError:
                raise NotAllowed("exists", "there is something of that name already; use replace") from None
            self._before.setdefault(path, None)
            with os.fdopen(handle, "wb") as file:
                file.write(data)

    def _write(self, path: str, text: str) -> None:
        data, before = _encoded(text), self._bytes(path)
        self._put(path, data)
        self._before.setdefault(path, before)

    def _put(self, path: str, data: bytes) -> None:
        """In one go, and with the mode that the file had."""
        with self._folder(path) as (folder, name):
            spare = f".{name[:40]}.{os.getpid()}.new"
            mode = stat.S_IMODE(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
            handle = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                    os.fchmod(file.fileno(), mode)
                os.replace(spare, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                os.unlink(spare, dir_fd=folder)
                raise

    def _check_writing(self, path: str) -> None:
        _parts(path)
        if self._manifest.is_protected(path) or self._manifest.is_exam(path) or not self._manifest.may_change(self._recipe, path):
            raise NotAllowed("path_not_allowed", "this job may not change that file")

    def _now(self, path: str) -> bytes | None:
        try:
            return self._bytes(path)
        except NotAllowed:
            return None

    def _bytes(self, path: str) -> bytes:
        _parts(path)
        if self._manifest.is_exam(path):
            raise NotAllowed("exam", "these are the rows that changes are judged by; nobody reads or writes them")
        with self._folder(path) as (folder, name):
            try:
                handle = os.open(name, FILE, dir_fd=folder)
            except OSError as error:
                raise _unfit(error) from None
            with os.fdopen(handle, "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise NotAllowed("not_a_file", "that is no regular file")
                data = file.read(FILE_CAP + 1)
        if len(data) > FILE_CAP:
            raise NotAllowed("too_large", f"the file is larger than {FILE_CAP // 1024} kB")
        return data

    @contextmanager
    def _folder(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """The open folder of a file, and the file's name in it."""
        *parts, name = _parts(path)
        folder = self._walk(parts, make=make)
        try:
            yield folder, name
        finally:
            os.close(folder)

    def _walk(self, parts: list[str], *, make: bool) -> int:
        folder = os.open(self._tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in parts:
            try:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(part, 0o755, dir_fd=folder)
                inner = os.open(part, FOLDER, dir_fd=folder)
            except OSError as error:
                raise _unfit(error) from None
            finally:
                os.close(folder)
            folder = inner
        return folder


def _parts(path: str) -> list[str]:
    """The parts of a plain path inside the tree. Raises `NotAllowed`."""
    parts = path.split("/")
    odd = any(part in ("", ".", "..") or part.lower().rstrip(". ") == ".git" for part in parts)
    if odd or "\\" in path or not path.isprintable() or len(path.encode("utf-8", "replace")) > PATH_CAP or len(parts) > DEPTH:
        raise NotAllowed("path_unsafe", "a path is plain, relative to the tree, and stays in it")
    return parts


def _unfit(error: OSError) -> NotAllowed:
    if isinstance(error, FileNotFoundError):
        return NotAllowed("missing", "there is nothing of that name")
    return NotAllowed("not_a_file", "that is no regular file, or stands behind something that is no folder")


def _text(data: bytes) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise NotAllowed("not_text", "that is no text file") from None
    if "\x00" in text:
        raise NotAllowed("not_text", "that is no text file")
    return text


def _encoded(text: str) -> bytes:
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError:
        raise NotAllowed("not_text", "half a character cannot be written") from None
    if "\x00" in text:
        raise NotAllowed("not_text", "a NUL cannot be written")
    if len(data) > FILE_CAP:
        raise NotAllowed("too_large", f"a file may have {FILE_CAP // 1024} kB")
    return data
