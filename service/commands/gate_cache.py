"""A folder of results for `triage gate run --cache`: a file a result, written whole or not at all, and believed only where it can be read.

Whoever can write into it decides what a gate is told. The suites run as the same user, so keep it for code that you would run yourself.
"""

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from service.gating import GateRefused

LARGEST = 50 * 1000 * 1000
"""bytes of one file; a larger one is none of ours"""


class CacheFolder:
    """Where results are kept, by key."""

    def __init__(self, folder: Path, now: Callable[[], float] = time.time):
        """`now`: seconds since 1970. Raises `GateRefused` if there can be no such folder."""
        self._folder, self._now = folder, now
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise GateRefused("cache_unusable", f"--cache {folder}: {error.strerror}; name a folder that can be written") from None

    def look_up(self, key: str) -> Any:
        """What stands there; None where nothing does, or nothing that can be used now."""
        try:
            with open(os.open(self._folder / f"{key}.json", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                text = file.read(LARGEST + 1)
            found = json.loads(text) if len(text) <= LARGEST else None
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(found, dict) or found.get("key") != key:
            return None
        ends = found.get("expires")
        return found if ends is None or (isinstance(ends, int | float) and self._now() < ends) else None

    def keep(self, key: str, result: dict[str, Any], holds: timedelta | None) -> None:
        """A folder that is full or gone costs the next gate a run, not this one."""
        text = json.dumps({"key": key, **result, "expires": self._now() + holds.total_seconds() if holds else None})
        with contextlib.suppress(OSError):
            handle, part = tempfile.mkstemp(prefix=".part-", dir=self._folder)
            try:
                with open(handle, "w", encoding="utf-8") as file:
                    file.write(text)
                os.replace(part, self._folder / f"{key}.json")
            except OSError:
                os.unlink(part)
                raise
