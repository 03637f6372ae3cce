"""Weighs what runs in a box, from outside: its processes, their memory, and what they wrote. For what no kernel caps."""

import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from json import JSONDecodeError, loads
from pathlib import Path

EVERY, DISK_EVERY = 0.05, 0.5
"""seconds between two looks at processes, and at the disk"""
RESERVE = 0.03
"""share of the machine's memory that stays free: what hides in files of memory counts for no process, but is missing here"""
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Scales:
    """A `connectors.processes.Guard` for one box."""

    info: Path
    """where bubblewrap writes the id of the first process inside"""
    folders: Sequence[Path]
    """what can be written to, on the disk"""
    processes: int
    memory: int
    """bytes"""
    disk: int
    """bytes"""
    files: int
    _next: float = field(default=0.0, init=False)
    _next_disk: float = field(default=0.0, init=False)

    def __call__(self, process: int) -> str:
        now = time.monotonic()
        if now < self._next:
            return ""
        self._next = now + EVERY
        found = list(family(process))
        if len(found) > self.processes:
            return "too_many_processes"
        if sum(map(resident, found)) > self.memory or free_share() < RESERVE:
            return "too_much_memory"
        if now < self._next_disk:
            return ""
        took = self._full()
        self._next_disk = time.monotonic() + max(DISK_EVERY, 4 * (time.monotonic() - now))
        return took

    def last(self) -> str:
        """One look more at the disk, once all has ended: what wrote quickly may have ended between two looks."""
        return self._full()

    def _full(self) -> str:
        size, number = 0, 0
        for folder in self.folders:
            for taken in sizes(folder):
                size, number = size + taken, number + 1
                if size > self.disk:
                    return "disk_full"
                if number > self.files:
                    return "too_many_files"
        return ""

    def first(self) -> int | None:
        """The id of the first process inside, whose end is the end of all; None: none was started."""
        try:
            return int(loads(self.info.read_text())["child-pid"])
        except (OSError, JSONDecodeError, KeyError, TypeError, ValueError):
            return None


def family(process: int) -> Iterator[int]:
    """A process and all that descend from it. One that leaves its parents goes to the first one of its box, so it is found all the same."""
    waiting, seen = [process], set[int]()
    while waiting and len(seen) < 10_000:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        yield one
        with suppress(OSError):
            for thread in os.listdir(f"/proc/{one}/task"):
                with suppress(OSError):
                    waiting += map(int, Path(f"/proc/{one}/task/{thread}/children").read_text().split())


def resident(process: int) -> int:
    """Bytes of memory of one process; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError, ValueError):
        return 0


def free_share() -> float:
    """How much of the machine's memory can still be had; 1 when the kernel does not say."""
    try:
        told = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return int(told["MemAvailable"].split()[0]) / int(told["MemTotal"].split()[0])
    except (OSError, KeyError, ValueError, IndexError, ZeroDivisionError):
        return 1.0


def sizes(folder: Path) -> Iterator[int]:
    """Bytes on the disk of each entry below a folder. Never follows a link; what vanishes meanwhile is passed over."""
    waiting = [folder]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    told = entry.stat(follow_symlinks=False)
                    yield told.st_blocks * 512
                    if stat.S_ISDIR(told.st_mode):
                        waiting.append(Path(entry.path))
