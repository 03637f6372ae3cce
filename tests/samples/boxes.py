"""A real box, a gateway behind which a scripted model answers, and a tree to work in, for tests of coding agents."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from connectors.agent_box import AgentBox
from connectors.claude_prices import published
from connectors.model_gateway import ModelGateway
from connectors.sandbox import Bubblewrap, Caps, made
from tests.samples import messages
from tests.samples.messages import MessagesStub, Script
from tests.samples.repos import tree_of
from tests.samples.small import FILES

KEY = "real-key-that-no-box-may-see-0123"
MODEL = "claude-sonnet-5-5"
needs_box = pytest.mark.skipif(
    shutil.which("bwrap") is None and os.environ.get("TRIAGE_TEST_REQUIRE_SANDBOX") != "1", reason="!!! bubblewrap is not installed !!!"
)


@dataclass
class Bench:
    """What one test of an agent needs."""

    place: Path
    """of a short path, since a socket lies below it"""
    tree: Path
    box: Bubblewrap
    stub: MessagesStub
    gateway: ModelGateway

    def runner(self, *, model: bool = True) -> AgentBox:
        return AgentBox(self.box, self.place / "w", python=sys.executable, gateway=self.gateway if model else None)


@contextmanager
def bench(
    script: Script = messages.words("hello"), *, shares: Sequence[Path] = (), caps: Caps = Caps(), source: Path | None = None
) -> Iterator[Bench]:
    """`source`: the folder that the tree is a copy of; the small pipeline without one."""
    place = Path(tempfile.mkdtemp(prefix="bench-")).resolve()
    try:
        tree = tree_of(FILES, place / "tree") if source is None else Path(shutil.copytree(source, place / "tree"))
        with MessagesStub(script) as stub:
            gateway = ModelGateway(stub.url, SecretStr(KEY), [MODEL], published())
            yield Bench(place, tree, made(programs=(sys.executable,), shares=shares, caps=caps), stub, gateway)
    finally:
        shutil.rmtree(place, ignore_errors=True)
