"""A bare git repository on this machine as code host: read commits, publish a branch once, land it by compare-and-swap."""

import io
import os
import re
import stat
import subprocess
import threading
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, Self

from connectors.ports import PortError, Published

SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
TRIAGE_BRANCH = re.compile(r"triage/(?=.{1,100}\Z)[a-z0-9][a-z0-9-]*(?:/[a-z0-9][a-z0-9-]*)*")
BASE_BRANCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
COMMIT = re.compile(rb"tree (\w+)\n((?:parent \w+\n)*)")  # how a commit begins; a `parent` further down is not one
UNWRITABLE = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")
DIFF_CAP = 200_000  # UTF-8 bytes, the line about the cut included
MESSAGE_CAP = 10_000  # characters; more is cut
LISTED = 8  # commits whose list of files is remembered
TREE_FILES, TREE_BYTES = 50_000, 200_000_000  # more is not exported; sizes are known before the first byte is written
MODES = {"100644": 0o644, "100755": 0o755}
REFUSED = {"120000": "symlink_in_tree", "160000": "submodule_in_tree"}
# hooksPath: reference-transaction would run on every update-ref. fsync: git's default leaves loose objects to the page cache, a pull
# must survive a power cut. quotePath: names in a diff show hidden characters as escapes.
CONFIG = (
    "core.hooksPath=/dev/null core.fsmonitor=false core.attributesFile=/dev/null core.fsync=objects,reference core.quotePath=true "
    "i18n.commitEncoding=utf-8 gc.auto=0"
)
# NO_REPLACE, GRAFT: refs/replace would show other bytes under an id that was reviewed. LAZY_FETCH, PROTOCOL: a promisor remote in the
# repository's own config would start a program of its choice.
ENVIRONMENT = (
    "LC_ALL=C GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_ATTR_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0 GIT_OPTIONAL_LOCKS=0 "
    "GIT_LITERAL_PATHSPECS=1 GIT_NO_REPLACE_OBJECTS=1 GIT_GRAFT_FILE=/dev/null GIT_NO_LAZY_FETCH=1 GIT_ALLOW_PROTOCOL=none"
)


class _Exit(PortError):
    """Git ran and ended with a status other than 0."""


class _Entry(NamedTuple):
    mode: str
    oid: str
    size: int = 0


class LocalGit:
    """`LandingHost` over a bare repository. `now` must give aware times; `repo` is looked at with each call, not before."""

    def __init__(
        self,
        repo: Path,
        branch: str = "main",
        *,
        name: str,
        author: tuple[str, str] = ("rejection-triage", "triage@localhost.invalid"),
        now: Callable[[], datetime],
        search_path: str = "/usr/local/bin:/usr/bin:/bin",
        timeout_s: float = 60.0,
    ):
        if not BASE_BRANCH.fullmatch(branch):
            raise ValueError(f"not a name for a base branch: {branch!r}")
        self.name = name
        self._repo, self._base, self._author, self._now = repo, f"refs/heads/{branch}", author, now
        self._search_path, self._timeout_s = search_path, timeout_s
        self._listed: OrderedDict[str, dict[str, _Entry]] = OrderedDict()
        self._lock = threading.Lock()
        """of what is remembered; never held while git runs"""

    @classmethod
    def create(cls, repo: Path, from_tree: Path, message: str, branch: str = "main", *, name: str, now: Callable[[], datetime]) -> Self:
        """Make a bare repository whose base branch holds the regular files of a folder. Raises `PortError("repo_exists")`."""
        repo.parent.mkdir(parents=True, exist_ok=True)
        files = list(_folder(from_tree))
        with TemporaryDirectory(dir=repo.parent, prefix=f".{repo.name}-") as around:
            made = Path(around, "new")
            made.mkdir()
            host = cls(made, branch, name=name, now=now)
            host._run("init", "--quiet", "--bare", "--template=", f"--initial-branch={branch}", ".")
            oids = host._blobs([content for _, _, content in files])
            tree = host._tree({path: _Entry(mode, oid) for (path, mode, _), oid in zip(files, oids, strict=True)})
            host._run("update-ref", host._base, host._commit(tree, (), message), "0" * len(tree))
            try:
                made.rename(repo)  # whole or not at all: a crash leaves no half repository under the name
            except OSError:
                raise PortError("repo_exists", f"{repo.name}: something stands there already") from None
        return cls(repo, branch, name=name, now=now)

    def head(self) -> str:
        if (found := self._ref(self._base)) is None:
            raise PortError("ref_missing", f"{self.name} has no branch {self._base.removeprefix('refs/heads/')}")
        return found

    def paths(self, sha: str) -> list[str]:
        return sorted(self._list(sha))

    def tree_id(self, sha: str) -> str:
        return self._look(sha)[0]

    def read(self, sha: str, path: str) -> bytes | None:
        """One file of a commit. Raises `PortError` for a symbolic link or submodule in its place."""
        if _unfit(path) or (entry := self._list(sha).get(path)) is None:
            return None
        _refuse({path: entry})
        return self._run("cat-file", "blob", entry.oid)

    def export(self, sha: str, into: Path) -> None:
        """Write the regular files of a commit into an empty folder. Whatever is refused is refused before the first file is written."""
        entries = self._list(sha)
        _refuse(entries)
        if into.is_symlink() or (into.exists() and (not into.is_dir() or any(into.iterdir()))):
            raise PortError("not_empty", f"{into.name} is not an empty folder")
        try:
            into.mkdir(parents=True, exist_ok=True)
            out = io.BytesIO(self._run("cat-file", "--batch", stdin="".join(f"{entry.oid}\n" for entry in entries.values()).encode()))
            for path, entry in entries.items():
                _write(into / path, entry, out)
        except OSError as error:
            raise PortError("export_failed", f"a file cannot be written: {error.strerror}") from None

    def publish(self, branch: str, base: str, files: Mapping[str, bytes | None], message: str) -> Published:
        if not TRIAGE_BRANCH.fullmatch(branch):
            raise PortError("bad_branch", "a branch of ours is triage/ and lower-case letters, digits, '-' and '/'")
        ref = f"refs/heads/{branch}"
        tree = self._tree(self._changed(base, files))
        if tree == self.tree_id(base):
            raise PortError("nothing_to_publish", "the files are those of the base commit")
        sha = self._commit(tree, (base,), message)
        try:
            self._run("update-ref", ref, sha, "0" * len(sha))
        except _Exit as error:
            return self._adopt(ref, base, tree, _not_moved(error, branch))
        return Published(sha, created=True)

    def changed(self, base: str, head: str) -> list[str]:
        old, new = self._list(base), self._list(head)
        return sorted(path for path in {**old, **new} if old.get(path) != new.get(path))

    def diff(self, base: str, head: str) -> str:
        self._look(base)
        self._look(head)
        # Plumbing reads no diff settings; --text, so that no attribute can hide a change behind "Binary files differ".
        options = ["-p", "-r", "--full-index", "--text", "--no-ext-diff", "--no-textconv", "--no-renames", "--no-color"]
        raw = self._run("diff-tree", *options, base, head, "--")[: DIFF_CAP + 1]
        data = raw.decode("utf-8", "replace").replace("\0", "\ufffd").encode()
        if len(data) <= DIFF_CAP:
            return data.decode()
        note = f"\n[cut: the diff is longer than {DIFF_CAP} bytes]\n"
        return data[: DIFF_CAP - len(note)].decode("utf-8", "ignore").rpartition("\n")[0] + note

    def land(self, head: str, expected_base: str) -> str:
        self._look(expected_base)
        _, parents = self._look(head)
        now = self.head()
        if self._reaches(now, head):
            return head
        if now != expected_base or not parents or not self._reaches(parents[0], expected_base):
            raise PortError("base_moved", "the base branch is not where the change was made on")
        try:
            self._run("update-ref", self._base, head, expected_base)
        except _Exit as error:
            if self.head() == expected_base:
                raise _not_moved(error, self._base) from None
            return self.land(head, expected_base)  # somebody was faster; what they landed is the answer
        return head

    def _run(self, *argv: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> bytes:
        """What one git command prints: the only way to the binary, steered by nothing but its arguments. Raises `_Exit` and `PortError`."""
        # An explicit --git-dir: searching would climb to whatever repository lies around a missing one.
        command = ["git", "-C", str(self._repo), "--git-dir=.", *(word for item in CONFIG.split() for word in ("-c", item)), *argv]
        whole = {**dict(item.split("=") for item in ENVIRONMENT.split()), "PATH": self._search_path, **(env or {})}
        try:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=whole)
        except OSError as error:
            raise PortError("git_missing", f"git cannot be started: {error.strerror}") from None
        with process:
            try:
                out, said = process.communicate(stdin, self._timeout_s)
            except subprocess.TimeoutExpired:
                process.terminate()  # asked first: only then git removes its lock files
                with suppress(subprocess.TimeoutExpired):
                    process.communicate(timeout=2)
                process.kill()
                raise PortError("timeout", f"git {argv[0]} took longer than {self._timeout_s:g} s", retryable=True) from None
        if process.returncode and not ((self._repo / "HEAD").is_file() and (self._repo / "objects").is_dir()):
            raise PortError("repo_missing", f"{self.name}: there is no bare repository at its place")
        if process.returncode:
            raise _Exit("git_failed", f"git {argv[0]} said: {said.decode('utf-8', 'replace').strip()[:400]}")
        return out

    def _look(self, sha: str) -> tuple[str, tuple[str, ...]]:
        """Tree and parents of a commit; the gate through which each commit id of a caller passes."""
        if not SHA.fullmatch(sha):
            raise PortError("bad_sha", "a commit is named by its whole id")
        with suppress(_Exit):
            if found := COMMIT.match(self._run("cat-file", "commit", sha)):
                return found[1].decode(), tuple(found[2].decode().split()[1::2])
        raise PortError("object_missing", f"{self.name} has no commit {sha}")

    def _ref(self, ref: str) -> str | None:
        # Not rev-parse: it would also find refs/tags/refs/heads/….
        lines = self._run("for-each-ref", "--format=%(refname) %(objectname)", ref).decode("utf-8", "replace").splitlines()
        return next((sha for name, _, sha in (line.partition(" ") for line in lines) if name == ref), None)

    def _reaches(self, head: str, ancestor: str) -> bool:
        return not self._run("rev-list", "--max-count=1", ancestor, f"^{head}", "--")

    def _list(self, sha: str) -> dict[str, _Entry]:
        """The files of a commit. The last few commits are remembered: what a commit holds never changes."""
        with self._lock:
            if sha in self._listed:
                self._listed.move_to_end(sha)
                return dict(self._listed[sha])
        entries = self._entries(sha)
        with self._lock:
            self._listed[sha] = entries
            while len(self._listed) > LISTED:
                self._listed.popitem(last=False)
        return dict(entries)

    def _entries(self, sha: str) -> dict[str, _Entry]:
        self._look(sha)
        entries: dict[str, _Entry] = {}
        for record in self._run("ls-tree", "-rzl", "--full-tree", sha).split(b"\0")[:-1]:
            facts, _, raw = record.partition(b"\t")
            mode, _, oid, size = facts.decode().split()
            if (path := os.fsdecode(raw)) in entries:
                raise PortError("bad_path", f"the tree holds {path!a} twice")
            entries[path] = _Entry(mode, oid, int(size) if size.isdigit() else 0)
        return entries

    def _changed(self, base: str, files: Mapping[str, bytes | None]) -> dict[str, _Entry]:
        entries = self._list(base)
        written = {path: content for path, content in files.items() if content is not None}
        for (path, _), oid in zip(written.items(), self._blobs(written.values()), strict=True):
            entries[path] = _Entry(entries[path].mode if path in entries else "100644", oid)
        return {path: entry for path, entry in entries.items() if path not in files or path in written}

    def _blobs(self, contents: Collection[bytes]) -> list[str]:
        with TemporaryDirectory() as folder:
            for number, content in enumerate(contents):
                Path(folder, str(number)).write_bytes(content)
            listing = "".join(f"{folder}/{number}\n" for number in range(len(contents)))
            return self._run("hash-object", "-w", "--no-filters", "--stdin-paths", stdin=listing.encode()).decode().split()

    def _tree(self, entries: Mapping[str, _Entry]) -> str:
        _refuse(entries)
        listing = b"".join(f"{entry.mode} {entry.oid}\t".encode() + os.fsencode(path) + b"\0" for path, entry in entries.items())
        with TemporaryDirectory() as folder:
            env = {"GIT_INDEX_FILE": f"{folder}/index"}
            self._run("update-index", "-z", "--index-info", stdin=listing, env=env)
            return self._run("write-tree", env=env).decode().strip()

    def _commit(self, tree: str, parents: tuple[str, ...], message: str) -> str:
        text = message[:MESSAGE_CAP].strip().encode("utf-8", "replace") + b"\n"
        if b"\0" in text or text == b"\n":
            raise PortError("bad_message", "the message is empty or holds a NUL")
        facts = {"NAME": self._author[0], "EMAIL": self._author[1], "DATE": f"@{int(self._now().timestamp())} +0000"}
        env = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in facts.items()}
        return self._run("commit-tree", tree, *(word for sha in parents for word in ("-p", sha)), stdin=text, env=env).decode().strip()

    def _adopt(self, ref: str, base: str, tree: str, otherwise: PortError) -> Published:
        """The branch that stands there, if it is the one wanted."""
        if (sha := self._ref(ref)) is None:
            raise otherwise
        if self._look(sha) != (tree, (base,)):
            raise PortError("branch_taken", f"{ref.removeprefix('refs/heads/')} stands already, with another change")
        return Published(sha, created=False)


def _not_moved(error: _Exit, branch: str) -> PortError:
    if "exists; cannot create" in str(error):
        return PortError("branch_taken", f"a branch whose name is part of {branch} stands already")
    return PortError("locked", f"{branch} is locked by another process or by one that died", retryable=True) if ".lock'" in str(error) else error


def _unfit(path: str) -> bool:
    """Whether a path may not stand in any tree of ours."""
    # `.git` as macOS and Windows read it: case, width, invisible characters, trailing dots, streams and short names aside.
    plain = "".join(char for char in unicodedata.normalize("NFKC", path) if unicodedata.category(char) not in ("Cf", "Cc", "Mn"))
    git = {".git", "git~1"} & {part.partition(":")[0].rstrip(" .") for part in plain.casefold().split("/")}
    return bool(git or UNWRITABLE.search(path) or {"", ".", ".."} & set(path.split("/")))


def _refuse(entries: Mapping[str, _Entry]) -> None:
    """Raise for what we neither write into a folder nor into a tree."""
    folders = {path[: at.start()] for path in entries for at in re.finditer("/", path)}
    for path, entry in entries.items():
        if entry.mode not in MODES:
            raise PortError(REFUSED.get(entry.mode, "bad_mode"), f"{path!a} is no regular file (mode {entry.mode})")
        if _unfit(path) or path in folders:
            raise PortError("bad_path", f"a tree of ours cannot hold {path!a}")
    if len(entries) > TREE_FILES or sum(entry.size for entry in entries.values()) > TREE_BYTES:
        raise PortError("too_large", "the tree is larger than we work with")


def _write(place: Path, entry: _Entry, batch: io.BytesIO) -> None:
    if batch.readline().split() != [entry.oid.encode(), b"blob", str(entry.size).encode()]:
        raise PortError("object_missing", f"the repository lacks {entry.oid}")
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(batch.read(entry.size + 1)[:-1])
        os.fchmod(file.fileno(), MODES[entry.mode])  # after the umask had its say


def _folder(root: Path) -> Iterator[tuple[str, str, bytes]]:
    """Path, mode and content of the files of a folder; its own `.git` and compiled Python stay behind."""
    for place in sorted(root.rglob("*")):
        kind, path = place.lstat().st_mode, place.relative_to(root)
        if stat.S_ISDIR(kind) or not {".git", "__pycache__"}.isdisjoint(path.parts):
            continue
        if not stat.S_ISREG(kind):
            raise PortError("symlink_in_tree" if stat.S_ISLNK(kind) else "bad_mode", f"{path.as_posix()!a} is not a regular file")
        yield path.as_posix(), "100755" if kind & stat.S_IXUSR else "100644", place.read_bytes()
