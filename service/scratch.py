"""Throw-away folders for trees."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scratch(workdir: Path, name: str) -> Iterator[Path]:
    """An empty folder of that name, gone afterwards; what a killed run left there is cleared first."""
    folder = workdir / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
