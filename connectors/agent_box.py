"""A coding agent of others runs from here: one program, whole in a box, its job in a private folder, a model behind a port of loopback.

What the program says about its work is believed nothing: how it ended is read off its exit status, off the box, and off what the gateway counted.
"""

import json
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from connectors import relay
from connectors.gateway_door import Door
from connectors.metering import ENTRY_CAP, Transcript
from connectors.model_gateway import SOCKET_PATH_CAP, ModelGateway
from connectors.ports import PortError, TreeJob, TreeRun
from connectors.processes import Ended, ProcessLimits, destroy, run
from connectors.sandbox import Bubblewrap, Place
from rubric.briefing import briefing
from rubric.gating import escaped

PORT = 8377
"""where a box finds its model: the same in every box, since each has a loopback of its own"""
URL = f"http://127.0.0.1:{PORT}"
PATH = "/usr/local/bin:/usr/bin:/bin"
NAME_ROOM = 32
"""bytes of the path of a socket that lie below `scratch`"""
SYSTEM = tuple(Path(name) for name in ("/usr", "/bin", "/sbin", "/lib", "/lib64"))
FED = 'exec "$@" < "$0"'
"""sh: a program that reads a file; the words come as they are"""
BUDGET = {
    "turns": "it called the model as often as it may",
    "tokens": "it used as many tokens as it may",
    "usd": "it spent as much as it may",
    "seconds": "its time for the model is over",
}
EARLY = {
    "stopped": "the service was stopped",
    "too_many_processes": "it ran more processes at once than its box may",
    "too_much_memory": "it took more memory than its box may",
    "disk_full": "it wrote more than its box may",
    "too_many_files": "it made more files than its box may",
}
CANNOT = {125: "no_box: its box could not be made", 126: "cannot_start: it is no program", 127: "cannot_start: its program was not found"}


@dataclass(frozen=True)
class Seen:
    """What a program finds in its box."""

    job: Path
    """the job as JSON"""
    tree: Path
    key: str
    """opens the gateway, and is worth nothing anywhere else; empty without a gateway"""
    briefing: str
    """what stands in the job"""


@dataclass(frozen=True)
class Program:
    """What is run for one job."""

    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    says: str | None = None
    """what it reads on its standard input; None: nothing"""


@dataclass(frozen=True)
class Left:
    """How a program ended, once its box is gone."""

    ended: Ended
    early: str
    """`timeout`, `stopped`, or what the box objected to; empty when it ended by itself"""
    door: Door | None
    log: Transcript

    def told(self, status: Literal["done", "gave_up", "refused", "budget", "crashed"], reason: str) -> TreeRun:
        door = self.door
        counted: tuple[int, int, float | None] = (door.turns, door.tokens, round(door.usd, 6)) if door else (0, 0, None)
        return TreeRun(status, reason, *counted, self.log.text())

    def cut_short(self) -> TreeRun | None:
        """How it ended if it did not end by itself, or worked without a model at last; None: its exit status tells."""
        spent = self.door.meter.spent if self.door else None
        if self.early == "timeout":
            return self.told("budget", "seconds: the time of this attempt is over")
        if self.early:
            return self.told("crashed", f"{self.early}: {EARLY.get(self.early, 'its box ended it')}")
        if spent in BUDGET:
            return self.told("budget", f"{spent}: {BUDGET[spent]}")
        if spent:
            return self.told("crashed", f"{spent}: the model server failed too often")
        return None

    def crashed(self) -> TreeRun:
        """Names what the gateway refused, when it refused something: an agent without a model ends in many ways."""
        status, refused = self.ended.status, self.door.trouble if self.door else ""
        number = -status if status < 0 else status - 128
        if status in CANNOT:
            return self.told("crashed", CANNOT[status])
        how = f"signal {number} ended it" if number > 0 else f"it ended with status {status}"
        return self.told("crashed", f"{refused}: the gateway refused what it asked, and {how}" if refused else f"exit: {how}")


class AgentBox:
    """Runs one program at a time for a `TreeAgent`, in a new box each time."""

    def __init__(self, box: Bubblewrap, scratch: Path, *, python: str, gateway: ModelGateway | None = None, limits: ProcessLimits | None = None):
        """`python`: one that the box sees; it carries the port. `scratch`: where private folders are made, by a short path."""
        self.gateway = gateway
        self._box, self._scratch, self._python = box, scratch.resolve(), python
        self._limits = limits or ProcessLimits(memory_mb=0)
        self._stopping, self._holds = threading.Event(), False

    def stop(self) -> None:
        """End what runs now, from any thread, and start nothing more."""
        self._stopping.set()

    def trouble(self, program: str) -> str | None:
        """Why `program` cannot be run in a box here, in one line; None when it can. A box that held once is not tried again."""
        if len(os.fsencode(self._scratch)) > SOCKET_PATH_CAP - NAME_ROOM:
            return f"the path of the work folder has to be {SOCKET_PATH_CAP - NAME_ROOM} bytes at most: choose a shorter data folder"
        for wanted in (program, self._python) if self.gateway else (program,):
            if why := self._hidden(wanted):
                return why
        if self._holds:
            return None
        found = self._box.readiness(self._scratch)
        self._holds = found.tier == "bwrap"
        return None if self._holds else f"a coding agent runs in a box only, and there is none: {'; '.join(found.missing)}"

    def _hidden(self, program: str) -> str | None:
        if "/" in program and not program.startswith("/"):
            return f"the program {escaped(program)[:200]} would be looked for in the tree: name it by its whole path"
        where = shutil.which(program, path=PATH)
        if where is None:
            return f"the program {escaped(program)[:200]} is missing: install it, and name it by its whole path"
        real = Path(where).resolve()
        if not all(any(place.is_relative_to(share) for share in (*SYSTEM, *self._box.shares)) for place in (Path(where), real)):
            return f"the program {escaped(program)[:200]} is not seen in a box: share its folder, or install it below /usr"
        return None

    def attempt(self, job: TreeJob, tree: Path, compose: Callable[[Seen], Program], judge: Callable[[Left], TreeRun]) -> TreeRun:
        """One attempt of an agent; `judge` says how one ended that came to its own end, and had a model as long as it wanted."""
        try:
            left = self.run(job, tree, compose)
        except PortError as error:
            return TreeRun("crashed", f"{error.code}: {error}")
        return left.cut_short() or judge(left)

    def run(self, job: TreeJob, tree: Path, compose: Callable[[Seen], Program]) -> Left:
        """Run to the end; then nothing of it lives on. Raises `PortError` when there is no box, gateway or folder for it."""
        with self._folder() as folder, ExitStack() as stack:
            key = f"dummy-{secrets.token_hex(12)}" if self.gateway else ""
            door = stack.enter_context(self.gateway.open(job.job_id, folder / "model.sock", job.budget, key)) if self.gateway else None
            log = door.log if door else Transcript([])
            seen = self._tell(job, tree.resolve(), folder, key)
            ended, early = self._boxed(compose(seen), seen, folder, job.budget.seconds)
            stack.close()
        log.add("$", _lines(ended.printed)[-ENTRY_CAP // 2 :])
        log.add("$", f"status {ended.status} {early} {ended.tail}")
        return Left(ended, early, door, log)

    def once(self, argv: Sequence[str], seconds: float) -> Ended:
        """Run a program without a job, a tree or a model. Raises `PortError`."""
        with self._folder() as folder:
            seen = Seen(folder / "job.json", folder, "", "")
            return self._boxed(Program(argv), seen, folder, seconds, writable=False)[0]

    def _tell(self, job: TreeJob, tree: Path, folder: Path, key: str) -> Seen:
        """Write what the program is told. It has no exams to use: nothing in a box reaches the service."""
        told = briefing(job.hint, job.manifest, job.attempt, job.feedback, replace(job.budget, exams=0))
        text = json.dumps(told, ensure_ascii=False, indent=1)
        (folder / "job.json").write_text(text, encoding="utf-8")
        return Seen(folder / "job.json", tree, key, text)

    def _boxed(self, program: Program, seen: Seen, folder: Path, seconds: float, *, writable: bool = True) -> tuple[Ended, str]:
        words = list(program.argv)
        environment = {"PATH": PATH, "LANG": "C.UTF-8", **program.environment}
        if program.says is not None:
            (folder / "said").write_text(program.says, encoding="utf-8")
            words = ["/bin/sh", "-c", FED, str(folder / "said"), *words]
        if seen.key:
            shutil.copyfile(relay.__file__, folder / "relay.py")  # what is seen in a box may change its owner
            words = [self._python, "-S", "-E", str(folder / "relay.py"), str(folder / "model.sock"), str(PORT), "--", *words]
            environment |= {"ANTHROPIC_BASE_URL": URL, "ANTHROPIC_API_KEY": seen.key}
        places = [Place(folder), *([Place(seen.tree, writable=True)] if writable else [])]
        try:
            with self._box.box(words, environment, places, inside=seen.tree, home=folder / "home") as enclosed:
                ended = run(enclosed.argv, seen.tree, {"PATH": PATH}, seconds, self._limits, self._stopping, enclosed.guard)
                return ended, ended.early or enclosed.after()
        except (OSError, ValueError) as error:
            raise PortError("cannot_start", f"the agent's box cannot be started ({type(error).__name__})", retryable=True) from None

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        """A private folder, gone afterwards."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="agent-", dir=self._scratch))
        try:
            (folder / "home").mkdir()
            yield folder
        finally:
            destroy(folder)


def _lines(printed: str) -> str:
    return "\n".join(map(escaped, printed.splitlines()))
