"""Control groups live here: the kernel's own caps on the processes and the memory of all programs of one box together."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")
NAME = "triage-box-"
NEEDED = ("pids", "memory")
_numbers = count()


@dataclass(frozen=True)
class ControlGroups:
    """Where groups for boxes can be made: one folder (version 2) or one for each of `NEEDED` (version 1); empty when nowhere."""

    parents: tuple[Path, ...] = ()
    version: int = 0

    @contextmanager
    def made(self, processes: int, memory: int) -> Iterator[list[Path]]:
        """New groups with these caps (a number, and bytes), removed afterwards. A program enters them by writing its id to `cgroup.procs` of each.

        Raises `OSError` when they cannot be made: no box must start without the caps that it was promised.
        """
        name = f"{NAME}{os.getpid()}-{next(_numbers)}"
        folders = [parent / name for parent in self.parents]
        try:
            for folder in folders:
                folder.mkdir()
            self._cap(folders, processes, memory)
            yield folders
        finally:
            for folder in folders:
                _remove(folder)

    def _cap(self, folders: list[Path], processes: int, memory: int) -> None:
        if self.version == 2:
            (folders[0] / "pids.max").write_text(str(processes))
            (folders[0] / "memory.max").write_text(str(memory))
            with suppress(OSError):  # a kernel without swap accounting has no such file
                (folders[0] / "memory.swap.max").write_text("0")
        elif self.version == 1:
            (folders[0] / "pids.max").write_text(str(processes))
            (folders[1] / "memory.limit_in_bytes").write_text(str(memory))
            with suppress(OSError):
                (folders[1] / "memory.memsw.limit_in_bytes").write_text(str(memory))


def starved(folders: Sequence[Path]) -> bool:
    """Whether the kernel ended a program of these groups because they were out of memory."""
    for name in ("memory.events", "memory.oom_control"):
        for folder in folders:
            with suppress(OSError):
                if any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in (folder / name).read_text().splitlines()):
                    return True
    return False


def found(delegated: Path | None = None, mount: Path = MOUNT, own: Path = Path("/proc/self/cgroup")) -> ControlGroups:
    """The groups that this process may make children of, tried out by making some; `delegated` is a folder of version 2 that an operator names."""
    candidates = [ControlGroups((delegated,), 2)] if delegated else _candidates(mount, own)
    for one in candidates:
        try:
            with one.made(64, 64 * 1024 * 1024):
                return one
        except OSError:
            continue
    return ControlGroups()


def _candidates(mount: Path, own: Path) -> list[ControlGroups]:
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return []
    paths = {names: mount_of(mount, names, path) for _, names, path in (line.split(":", 2) for line in lines)}
    split = {name: path for names, path in paths.items() for name in names.split(",")}
    candidates = [ControlGroups((paths[""],), 2)] if "" in paths else []
    if all(name in split for name in NEEDED):
        candidates.append(ControlGroups(tuple(split[name] for name in NEEDED), 1))
    return candidates


def mount_of(mount: Path, names: str, path: str) -> Path:
    """The folder of a group: below the mount itself where version 2 stands alone, else below a folder named like its controllers."""
    root = mount / names if names else (mount if (mount / "cgroup.controllers").exists() else mount / "unified")
    return root / path.lstrip("/")


def _remove(folder: Path) -> None:
    """A group whose last process is just ending can be removed a moment later."""
    for _ in range(200):
        try:
            folder.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.005)


def swept(groups: ControlGroups) -> int:
    """Remove what a killed service left behind, as far as nobody is in it; how many."""
    removed = 0
    for parent in groups.parents:
        for folder in parent.glob(f"{NAME}*"):
            with suppress(OSError):
                folder.rmdir()
                removed += 1
    return removed
