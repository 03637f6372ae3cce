"""Throw-away folders for trees, and the programs that were left running in them."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def scratch(workdir: Path, name: str) -> Iterator[Path]:
    """An empty folder of one's own, gone afterwards. Two flows may use the same name at once."""
    with tempfile.TemporaryDirectory(prefix=f"{name[:80]}-", dir=workdir, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def clear(workdir: Path) -> None:
    """Remove what a killed process left, and end what still runs there. Only for a process that holds this folder alone."""
    end_strays(workdir)
    for entry in workdir.iterdir() if workdir.is_dir() else ():
        shutil.rmtree(entry, ignore_errors=True)
    workdir.mkdir(parents=True, exist_ok=True)


def end_strays(workdir: Path) -> list[int]:
    """End every process that works in a folder below `workdir`: those that a killed service started and that nobody waits for any more.

    A box dies with the service by itself; evals of trees that need none do not. Nothing where the kernel shows no processes.
    """
    place, ended = workdir.resolve(), []
    for entry in Path("/proc").iterdir() if Path("/proc/self").exists() else ():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            where = Path(os.readlink(entry / "cwd").removesuffix(" (deleted)"))
            if where != place and where.is_relative_to(place):
                os.kill(int(entry.name), signal.SIGKILL)
                ended.append(int(entry.name))
    return ended
