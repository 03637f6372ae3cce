"""Throw-away folders for trees."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scratch(workdir: Path, name: str) -> Iterator[Path]:
    """An empty folder of one's own, gone afterwards. Two flows may use the same name at once."""
    with tempfile.TemporaryDirectory(prefix=f"{name[:80]}-", dir=workdir, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def clear(workdir: Path) -> None:
    """Remove what a killed process left. Only for a process that holds this folder alone."""
    for entry in workdir.iterdir() if workdir.is_dir() else ():
        shutil.rmtree(entry, ignore_errors=True)
    workdir.mkdir(parents=True, exist_ok=True)
