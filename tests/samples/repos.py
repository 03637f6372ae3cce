"""Folders and real repositories that tests work on."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory


def tree_of(files: Mapping[str, bytes], root: Path) -> Path:
    """Write files below a folder."""
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


def push(repo: Path, files: Mapping[str, bytes | None]) -> str:
    """Somebody commits on the base branch of a bare repository, past us, with plain git; None removes. Returns the commit."""

    def git(*argv: str) -> str:
        who = ("-c", "user.name=somebody", "-c", "user.email=somebody@else.invalid")
        return subprocess.run(["git", *who, *argv], check=True, capture_output=True, text=True).stdout.strip()

    with TemporaryDirectory() as clone:
        git("clone", "--quiet", str(repo), clone)
        tree_of({path: content for path, content in files.items() if content is not None}, Path(clone))
        for path in [path for path, content in files.items() if content is None]:
            Path(clone, path).unlink()
        git("-C", clone, "add", "-A")
        git("-C", clone, "commit", "--quiet", "-m", "Somebody else's change")
        git("-C", clone, "push", "--quiet", "origin", "HEAD:main")
        return git("-C", clone, "rev-parse", "HEAD")
