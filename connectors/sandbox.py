"""The box lives here: bubblewrap around a program that nobody trusts. No network, no secrets, no files of the machine but programs.

Processes and memory are capped by the kernel where a control group can be made, and watched where none can; the disk is watched. When a box is
left, nothing that was in it lives on. What was measured, and why it is so, stands in ADR 23.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from connectors.cgroups import ControlGroups, found, starved
from connectors.eval_port import PortError
from connectors.processes import Enclosed
from connectors.scales import Scales

WAIT_SECONDS = 10.0
"""for the kernel to end all that was in a killed box"""
MB = 1024 * 1024
TMP, SHARED = "/tmp", "/dev/shm"  # noqa: S108  (inside of a box)
WALLS = "--unshare-ipc --unshare-pid --unshare-net --unshare-uts --unshare-cgroup --die-with-parent --new-session --clearenv --hostname box"
USER = "--unshare-user --disable-userns --uid 1000 --gid 1000 --cap-drop ALL"
STAND_DOWN = "--cap-drop ALL --cap-add CAP_SETUID --cap-add CAP_SETGID --cap-add CAP_SETPCAP"
"""what root keeps until its walls stand: enough to become somebody else"""
SOMEBODY = 1_870_000_000
"""A user that no machine has. A box that root makes runs as it: the kernel lets user 0 write to /proc/sys, whatever a namespace calls it."""
ENTER = """
n=$1; shift
while [ "$n" -gt 0 ]; do echo $$ > "$1/cgroup.procs" || exit 125; shift; n=$((n-1)); done
i=$1; shift
umask 022
exec env -i PATH="$PATH" "$@" 9> "$i"
"""
"""sh: enter $1 control groups, then become the rest, without variables, and with descriptor 9 on a file that stands outside of the box"""
FEW = 'n=$1; shift; ulimit -u "$n" 2>/dev/null || ulimit -p "$n" 2>/dev/null; exec "$@"'
"""sh, inside: the kernel counts the processes of this box alone, unless it was made by root, whom it never stops"""
OF_SYSTEM = ("/etc/ld.so.cache", "/etc/alternatives")
"""what programs below /usr do not start without"""
SWITCHES = (
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "AppArmor forbids user namespaces: give bwrap a profile that allows them (Ubuntu 24.04)"),
    ("kernel/unprivileged_userns_clone", "0", "set kernel.unprivileged_userns_clone=1"),
    ("user/max_user_namespaces", "0", "set user.max_user_namespaces above 0"),
)
"""setting of the kernel, the value that forbids boxes, and what to do"""
PROBE = """
id -u
if : 2>/dev/null > /usr/triage-probe; then echo wrote; fi
if : 2>/dev/null > "$3/triage-probe"; then echo wrote; fi
cat "$1" 2>/dev/null
if { exec 3<>"/dev/tcp/127.0.0.1/$2"; } 2>/dev/null; then echo connected; fi
echo end
"""


@dataclass(frozen=True)
class Caps:
    """What all programs of one box together may take."""

    processes: int = 256
    memory_mb: int = 2048
    disk_mb: int = 512
    """written below its folders; and for `/tmp` and its home each, which are memory"""
    files: int = 20_000
    """below its folders"""


@dataclass(frozen=True)
class Place:
    """A throw-away folder or file of the machine that is seen inside, at the same path. Made by root, it changes its owner."""

    path: Path
    writable: bool = False


@dataclass(frozen=True)
class Readiness:
    """What boxes can be made here."""

    tier: str
    """`bwrap`, or `none`"""
    caps: str
    """`kernel`: processes and memory are capped by control groups; `watched`: looked at from outside, some twenty times a second"""
    missing: tuple[str, ...] = ()
    """what stands in the way, a line each, that says what to do"""


@dataclass(frozen=True)
class Bubblewrap:
    """A `connectors.processes.Box`. Where it cannot be made, running fails: there is no way around it."""

    shares: tuple[Path, ...] = ()
    """folders with programs that lie outside of /usr, read only; never one with secrets"""
    caps: Caps = Caps()
    groups: ControlGroups = field(default_factory=ControlGroups)
    program: str = "bwrap"
    by_root: bool = field(default_factory=lambda: os.geteuid() == 0)

    @contextmanager
    def around(self, argv: Sequence[str], environment: Mapping[str, str], *, tree: Path, folder: Path) -> Iterator[Enclosed]:
        """For an examination: `tree` and `folder` read only, `folder/out` writable, `folder/home` a small one in memory."""
        places = [Place(tree), Place(folder), Place(folder / "out", writable=True)]
        with self.box(argv, environment, places, inside=tree, home=folder / "home") as enclosed:
            yield enclosed

    @contextmanager
    def box(self, argv: Sequence[str], environment: Mapping[str, str], places: Sequence[Place], *, inside: Path, home: Path) -> Iterator[Enclosed]:
        """The command that runs `argv` in a new box, in the folder `inside`, and what ends it when it takes too much.

        Once this is left, all that ran in it is dead, and what it wrote stays as it is. Raises `PortError`: `box_lingers` if the kernel does not
        come to an end with it, `no_box` if its caps cannot be set.
        """
        caps = self.caps
        with ExitStack() as stack:
            try:
                groups = stack.enter_context(self.groups.made(caps.processes, caps.memory_mb * MB))
            except OSError as error:
                raise PortError("no_box", f"no control group can be made for it ({error.strerror})", retryable=True) from None
            info = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="box-")), "info")
            words = [self.program, *self._walls(places, home), *_variables({"TMPDIR": TMP, **environment, "HOME": str(home)})]
            words += ["--info-fd", "9", *self._user(places), "--chdir", str(inside), "--", "/bin/sh", "-c", FEW, "sh", str(caps.processes), *argv]
            writable = [place.path for place in places if place.writable]
            scales = Scales(info, writable, caps.processes, caps.memory_mb * MB, caps.disk_mb * MB, caps.files)
            command = ["/bin/sh", "-c", ENTER, "sh", str(len(groups)), *map(str, groups), str(info), *words]
            try:
                yield Enclosed(command, scales, lambda: "too_much_memory" if starved(groups) else scales.last())
            finally:
                _end_all(scales.first())

    def _walls(self, places: Sequence[Place], home: Path) -> list[str]:
        small, large = (["--perms", "1777", "--size", str(min(most, self.caps.disk_mb) * MB), "--tmpfs"] for most in (64, self.caps.disk_mb))
        seen = [Place(share) for share in self.shares if not share.is_relative_to("/usr")] + list(places)
        return [
            *WALLS.split(), "--ro-bind", "/usr", "/usr", *_roots(), "--proc", "/proc", "--dev", "/dev", *small, SHARED, *large, TMP,
            *_way_to([place.path for place in seen]),
            *(word for place in seen for word in ("--bind" if place.writable else "--ro-bind", str(place.path), str(place.path))),
            *large, str(home), "--remount-ro", "/dev", "--remount-ro", "/",
        ]  # fmt: skip

    def _user(self, places: Sequence[Place]) -> list[str]:
        """Words that make it run as nobody of this machine. What root makes steps down first, and what it may see or change is given to it."""
        if not self.by_root:
            return USER.split()
        for place in places:
            _give(place.path)
        own = f"--reuid {SOMEBODY} --regid {SOMEBODY} --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs"
        inner = shutil.which(self.program) or self.program
        return [
            *STAND_DOWN.split(),
            "--chdir",
            "/",
            "--",
            "/usr/bin/setpriv",
            *own.split(),
            inner,
            *USER.split(),
            "--die-with-parent",
            "--dev-bind",
            "/",
            "/",
        ]

    def readiness(self, scratch: Path) -> Readiness:
        """What boxes can be made here, found out by making one that tries to get out. `scratch`: a folder outside of it."""
        caps = "kernel" if self.groups.parents else "watched"
        if shutil.which(self.program) is None:
            return Readiness("none", caps, ("bubblewrap is not installed (Debian, Ubuntu, Fedora: package bubblewrap)",))
        try:
            told, status, said = self._tried(scratch)
        except (OSError, PortError) as error:
            return Readiness("none", caps, (f"a box cannot be made: {error}",))
        if told[-1:] != ["end"]:
            return Readiness("none", caps, (_why_not(said, status),))
        holes = {"wrote": "writes outside of it", "read": "reads files outside of it", "connected": "reaches the network"}
        found = tuple(f"a program in a box {holes.get(line, line)}; it is no box" for line in told[1:-1] if line in holes)
        found += () if told[0] == "1000" else (f"a program in a box runs as user {told[0]}",)
        return Readiness("none" if found else "bwrap", caps, found)

    def _tried(self, scratch: Path) -> tuple[list[str], int, str]:
        scratch.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(dir=scratch) as aside,
            tempfile.TemporaryDirectory(dir=scratch) as own,
            socket.create_server(("127.0.0.1", 0)) as door,
        ):
            canary, folder = Path(aside, "canary"), Path(own).resolve()
            canary.write_text("read\n")
            (folder / "home").mkdir()
            shell = shutil.which("bash", path="/usr/bin:/bin") or "/bin/sh"
            asked = [shell, "-c", PROBE, "sh", str(canary.resolve()), str(door.getsockname()[1]), str(Path(aside).resolve())]
            with self.box(asked, {"PATH": "/usr/bin:/bin"}, [Place(folder)], inside=folder, home=folder / "home") as enclosed:
                done = subprocess.run(enclosed.argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
        return done.stdout.decode("utf-8", "replace").split(), done.returncode, done.stderr.decode("utf-8", "replace")


def made(
    *, programs: Sequence[str] = (sys.executable,), shares: Sequence[Path] = (), caps: Caps = Caps(), delegated: Path | None = None
) -> Bubblewrap:
    """A box for this machine: `programs` can be run in it, `shares` are more folders with programs, `delegated` is a control group to use."""
    prefixes = [prefix for program in programs for prefix in _prefixes(Path(program))]
    wanted = dict.fromkeys(path.resolve() if path not in prefixes else path for path in [*prefixes, *shares])
    return Bubblewrap(tuple(wanted), caps, found(delegated))


def _prefixes(program: Path) -> list[Path]:
    """The folders that a program needs around it: for `PREFIX/bin/python` its prefix, and the prefix of each link on the way to it."""
    found: list[Path] = []
    for _ in range(20):
        if program.parent.name == "bin" and not program.is_relative_to("/usr") and len(program.parts) > 3:
            found.append(program.parent.parent)
        if not program.is_symlink():
            break
        program = Path(os.path.normpath(program.parent / program.readlink()))
    return found


def _roots() -> list[str]:
    """/bin, /lib and the like, as this machine has them: links into /usr, or folders of their own."""
    words = ["--perms", "0755", "--dir", "/etc"]  # made on the way to a file, it would be closed to everybody but root
    for name in ("bin", "sbin", "lib", "lib64", "lib32", "libx32"):
        root = Path("/", name)
        if root.is_symlink():
            words += ["--symlink", str(root.readlink()), str(root)]
        elif root.is_dir():
            words += ["--ro-bind", str(root), str(root)]
    return [*words, *(word for path in OF_SYSTEM for word in ("--ro-bind-try", path, path))]


def _way_to(paths: Sequence[Path]) -> list[str]:
    """Empty folders above some paths, which anybody may pass: bubblewrap would make them as closed as what lies at their end."""
    above = {parent for path in paths for parent in path.parents} - {Path("/"), Path(TMP), Path("/usr")}
    return [word for parent in sorted(above) for word in ("--perms", "0755", "--dir", str(parent))]


def _give(place: Path) -> None:
    """Make the stepped-down user the owner of a throw-away file or folder and of all below it; links are not followed."""
    os.chown(place, SOMEBODY, SOMEBODY, follow_symlinks=False)
    for folder, folders, files in os.walk(place):
        for name in (*folders, *files):
            full = os.path.join(folder, name)
            if os.lstat(full).st_uid != SOMEBODY:
                os.chown(full, SOMEBODY, SOMEBODY, follow_symlinks=False)


def _variables(environment: Mapping[str, str]) -> list[str]:
    return [word for name, value in environment.items() for word in ("--setenv", name, value)]


def _end_all(first: int | None) -> None:
    """Wait until the first process of a box is gone: the kernel lets it go only after all others in there."""
    until = time.monotonic() + WAIT_SECONDS
    while first is not None and _is_first(first):
        if time.monotonic() > until:
            raise PortError("box_lingers", "what ran in a box does not end", retryable=True)
        time.sleep(0.001)


def _is_first(process: int) -> bool:
    """Whether a process is the first one of a box and lives: its number may have gone to another one, and a dead one may wait for its parent."""
    try:
        told = dict(line.partition(":")[::2] for line in Path(f"/proc/{process}/status").read_text().splitlines())
    except OSError:
        return False
    numbers = told.get("NSpid", "").split()
    return len(numbers) > 1 and numbers[-1] == "1" and told.get("State", "").split()[:1] not in (["Z"], ["X"])


def _why_not(said: str, status: int) -> str:
    """What bubblewrap says, and the usual cause."""
    line = next((line for line in said.splitlines() if line.startswith("bwrap:")), said.strip()[-300:] or f"exit status {status}")
    if "disable-userns" in line or "Unknown option" in line:
        return f"bubblewrap is too old, 0.8 is needed ({line})"
    for name, bad, advice in SWITCHES:
        place = Path("/proc/sys", name)
        if place.exists() and place.read_text().strip() == bad:
            return f"{advice} ({line})"
    return f"a box cannot be made: {line}; in a container, allow user namespaces"
