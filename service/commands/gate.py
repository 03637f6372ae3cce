"""`triage gate run` and `noise`: the gate on commits of a repository on this machine, as CI or a person at a desk wants it.

The repository is foreign: git gets no hooks, no filters, no configuration of the user, and no network.
"""

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn, TextIO

from connectors.eval_port import PortError
from connectors.subprocess_evals import SubprocessEvals
from rubric.gating import escaped
from rubric.manifest import Manifest, read_manifest
from rubric.plans import Step
from rubric.strict import Unreadable
from service.caching import CachedEvals, environment_of
from service.commands.gate_cache import CacheFolder
from service.commands.gate_line import command_line
from service.commands.gate_pages import gate_page, noise_of, noise_page
from service.gating import GateRefused, measure_noise, run_gate

EXIT = {"pass": 0, "fail": 1, "inconclusive": 2, "error": 2}
FILES_CAP, BYTES_CAP = 50_000, 500 * 1000 * 1000
"""Largest tree that is exported, in files and bytes."""
ABOUT = "import json, sys; print(json.dumps([sys.version, sys.path]))"
"""asks a Python what it is"""
Entries = Mapping[str, tuple[str, str, int]]
"""path → (mode, object id, size in bytes) of a commit"""
Done = tuple[int, dict[str, Any], list[str]]
"""Exit status, the report as JSON, and as lines of text."""


def main(argv: list[str]) -> int:
    """Run `triage gate …`; `argv` starts with `run` or `noise`.

    Exit status: 0 pass, or measured; 1 fail; 2 inconclusive or error; 64 the command line is wrong; 130 stopped.
    """
    try:
        asked = command_line().parse_args(argv)
    except SystemExit as done:
        return int(done.code or 0)
    try:
        with tempfile.TemporaryDirectory(prefix="triage-gate-") as folder:
            runner = SubprocessEvals(Path(folder, "runs"), python=asked.python, path=os.environ.get("PATH", os.defpath))
            with _ended_by_signals(runner):
                status, found, page = (_gate if asked.command == "run" else _noise)(asked, Path(folder), runner)
    except (GateRefused, Unreadable, PortError) as error:
        message = escaped(str(error))
        if asked.json:
            _write(sys.stdout, json.dumps({"state": "error", "error": {"code": error.code, "message": message}}, indent=1))
        _write(sys.stderr, f"triage gate: {error.code}: {message}")
        return EXIT["error"]
    except KeyboardInterrupt:
        _write(sys.stderr, "triage gate: stopped; the suites were ended")
        return 130
    _write(sys.stdout, json.dumps(found, indent=1) if asked.json else "\n".join(page))
    return int(status)


def _gate(asked: argparse.Namespace, folder: Path, runner: SubprocessEvals) -> Done:
    git = _Git(asked.repo)
    base, head = git.commit(asked.base), git.commit(asked.head)
    entries = {"base": git.entries(base), "head": git.entries(head)}
    before, after = entries["base"], entries["head"]
    changed = sorted(path for path in {*before, *after} if before.get(path) != after.get(path))
    if not changed:
        raise GateRefused("no_changes", f"{asked.base} and {asked.head} hold the same files; there is nothing to judge")
    manifest = _manifest(git, before, asked.base, base)
    trees = {name: folder / name for name in entries}
    git.export({trees[name]: entries[name] for name in entries})
    tell = _tell if sys.stderr.isatty() else lambda line: None
    tell(f"{len(changed)} paths changed, running suites")
    steps = {Step(name) for name in asked.step} if asked.step else None
    known = _cached(asked, runner) if asked.cache else runner
    report = run_gate(trees["base"], trees["head"], changed, manifest, known, steps=steps, scratch=folder, tell=tell)
    found = {**report.to_json(), "base": base, "head": head, "base_is_ancestor": git.is_ancestor(base, head)}
    return EXIT[report.state], found, gate_page(report, found)


def _cached(asked: argparse.Namespace, runner: SubprocessEvals) -> CachedEvals:
    """The runner with a memory. What the suites' Python is and has is asked of itself; where programs come from is part of it as well."""
    kept, path = CacheFolder(asked.cache), os.environ.get("PATH", os.defpath)
    try:
        done = subprocess.run([asked.python, "-I", "-c", ABOUT], env={"PATH": path}, capture_output=True, timeout=60, check=True)
        version, places = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise GateRefused("python_unusable", f"--python {asked.python} does not say what it is ({type(error).__name__})") from None
    return CachedEvals(runner, kept.look_up, kept.keep, environment=environment_of(f"{asked.python} {path} {version}", places))


def _noise(asked: argparse.Namespace, folder: Path, runner: SubprocessEvals) -> Done:
    git = _Git(asked.repo)
    base = git.commit(asked.base)
    entries = git.entries(base)
    manifest = _manifest(git, entries, asked.base, base)
    git.export({folder / "base": entries})
    why: dict[str, str] = {}
    tell = _tell if sys.stderr.isatty() else lambda line: None
    measured = measure_noise(folder / "base", manifest, runner, k=asked.runs, scratch=folder, tell=tell, failed=why.__setitem__)
    found = {"base": base, "runs": asked.runs, "suites": [noise_of(suite, counts, why.get(suite)) for suite, counts in measured.items()]}
    return EXIT["error"] if why else 0, found, noise_page(found)


def _manifest(git: "_Git", entries: Entries, name: str, commit: str) -> Manifest:
    if "triage.yaml" not in entries:
        raise GateRefused(
            "no_manifest",
            f"triage.yaml is not in BASE: {name} ({commit[:10]}) has none at its top level. Add one there first; "
            "one that only HEAD has does not count, because a change may not write its own exam",
        )
    try:
        return read_manifest(git.blob(entries["triage.yaml"][1]).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Unreadable("manifest_invalid", f"triage.yaml is not UTF-8 (byte {error.start})") from None


class _Git:
    """The few plumbing commands the gate needs; none of them runs anything that the repository configures."""

    def __init__(self, repo: Path):
        settings = ["core.fsmonitor=false", "core.hooksPath=/dev/null", "safe.directory=*"]
        self._words = ["git", "--no-pager", "-C", str(repo), *(word for setting in settings for word in ("-c", setting))]
        self._env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_OPTIONAL_LOCKS": "0",
            # A replaced object would be judged in place of the one that gets merged.
            "GIT_NO_REPLACE_OBJECTS": "1",
            # A partial clone would fetch what is missing, with a command that its configuration names.
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_ALLOW_PROTOCOL": "none",
        }
        if not repo.is_dir() or self._call("rev-parse", "--git-dir").returncode:
            raise GateRefused("not_a_repository", f"{repo} is not a git repository")

    def _call(self, *words: str) -> "subprocess.CompletedProcess[bytes]":
        try:
            return subprocess.run([*self._words, *words], env=self._env, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        except FileNotFoundError:
            raise GateRefused("no_git", "the program git is not installed or not on PATH") from None

    def commit(self, ref: str) -> str:
        done = self._call("rev-parse", "--verify", "--end-of-options", f"{ref}^{{commit}}") if "\x00" not in ref else None
        found = done.stdout.decode("ascii", "replace").strip() if done and not done.returncode else ""
        if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", found):
            raise GateRefused("unknown_ref", f"{ref!r} names no commit of this repository (not fetched? a shallow clone?)")
        return found

    def is_ancestor(self, base: str, head: str) -> bool:
        return self._call("merge-base", "--is-ancestor", base, head).returncode == 0

    def entries(self, commit: str) -> Entries:
        """All files of a commit. Raises `GateRefused` for links, submodules, and paths that no checkout would hold."""
        done = self._call("ls-tree", "-r", "-l", "-z", "--full-tree", commit)
        if done.returncode:
            raise GateRefused("unreadable_commit", f"git cannot list {commit[:10]}: {done.stderr.decode('utf-8', 'replace').strip()[:500]}")
        found: dict[str, tuple[str, str, int]] = {}
        for line in done.stdout.split(b"\0")[:-1]:
            about, _, raw = line.partition(b"\t")
            mode, _, name, size = about.decode("ascii").split()
            path = raw.decode("utf-8", "surrogateescape")
            if mode not in ("100644", "100755", "100664"):
                kind = {"120000": "a symbolic link", "160000": "a submodule"}.get(mode, f"of mode {mode}")
                raise GateRefused("odd_file", f"{path} in {commit[:10]} is {kind}; the gate takes regular files only")
            parts = path.split("/")
            if path in found or any(part.lower() in ("", ".", "..", ".git") for part in parts) or not path.isprintable():
                raise GateRefused("odd_path", f"{path!r} in {commit[:10]} is a path the gate does not write")
            if not size.isdigit():
                raise GateRefused("object_missing", f"the content of {path} in {commit[:10]} is not in this repository (a partial clone?)")
            found[path] = (mode, name, int(size))
        if len(found) > FILES_CAP or sum(size for _, _, size in found.values()) > BYTES_CAP:
            raise GateRefused("too_large", f"{commit[:10]} holds more than {FILES_CAP} files or {BYTES_CAP // 1_000_000} MB")
        return found

    def blob(self, name: str) -> bytes:
        return next(data for _, data in self._blobs([name]))

    def export(self, trees: Mapping[Path, Entries]) -> None:
        """Write commits into new folders, byte for byte: blobs know no filters, and one process gives them all."""
        places: dict[str, list[tuple[Path, int]]] = {}
        for tree, entries in trees.items():
            tree.mkdir()
            for path, (mode, name, _) in entries.items():
                places.setdefault(name, []).append((tree / path, 0o755 if mode == "100755" else 0o644))
        for name, data in self._blobs(list(places)):
            for target, bits in places[name]:
                try:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, bits), "wb") as file:
                        file.write(data)
                except OSError as error:
                    raise GateRefused("odd_path", f"{target.name!r} cannot be written ({error.strerror})") from None

    def _blobs(self, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        with tempfile.TemporaryFile() as ids:  # a file, not a pipe: neither side can wait for the other
            ids.write("".join(f"{name}\n" for name in names).encode("ascii"))
            ids.seek(0)
            words = [*self._words, "cat-file", "--batch"]
            with subprocess.Popen(words, env=self._env, stdin=ids, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
                assert process.stdout is not None
                for name in names:
                    yield name, _one_blob(process.stdout, name)


def _one_blob(stream: IO[bytes], name: str) -> bytes:
    words = stream.readline().split()
    if len(words) != 3 or words[1] != b"blob":
        raise GateRefused("object_missing", f"the object {name[:10]} is not in this repository (a partial or damaged clone?)")
    size = int(words[2])
    data = stream.read(size + 1)
    if len(data) != size + 1:
        raise GateRefused("object_missing", f"git ended in the middle of the object {name[:10]}")
    return data[:-1]


@contextlib.contextmanager
def _ended_by_signals(runner: SubprocessEvals) -> Iterator[None]:
    """Ctrl-C and CI's SIGTERM end the suites too: they have sessions of their own and would live on."""

    def end(*_: object) -> NoReturn:
        runner.stop()
        raise KeyboardInterrupt

    names = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = [(name, signal.signal(name, end)) for name in names]
    try:
        yield
    finally:
        for name, handler in before:
            signal.signal(name, handler)


def _tell(line: str) -> None:
    _write(sys.stderr, f"triage gate: {escaped(line)}")


def _write(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
