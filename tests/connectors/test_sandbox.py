"""What tries to get out of a box, and what tries to take all it can: none succeeds, whoever made the box and whatever caps it."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from connectors.cgroups import ControlGroups, found, swept
from connectors.ports import PortError
from connectors.processes import Ended, ProcessLimits, run
from connectors.sandbox import Bubblewrap, Caps, Readiness, made
from connectors.scales import family, sizes
from connectors.subprocess_evals import SubprocessEvals
from rubric.manifest import Suite

pytestmark = pytest.mark.skipif(
    shutil.which("bwrap") is None and os.environ.get("TRIAGE_TEST_REQUIRE_SANDBOX") != "1", reason="!!! bubblewrap is not installed !!!"
)
CAPS = Caps(processes=40, memory_mb=200, disk_mb=24, files=300)
PYTHON = next((one for one in ("/usr/bin/python3", "/usr/local/bin/python3") if os.path.exists(one)), sys.executable)
NOBODY = 65534
AS_NOBODY = f'#!/bin/sh\nexec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups -- bwrap "$@"\n'


@dataclass
class Boxed:
    """A box with folders of its own, and a machine around it that has things to hide."""

    box: Bubblewrap
    place: Path
    outside: Path

    def runs(self, code: str, *words: str, seconds: float = 20) -> Ended:
        """Run Python in the box as an examination is: the code's own words follow `tree`, `folder` and `outside`."""
        tree, folder = self.place / "tree", self.place / "folder"
        argv = [PYTHON, "-S", "-E", "-c", code, str(tree), str(folder), str(self.outside), *words]
        with self.box.around(argv, {"PATH": "/usr/bin:/bin"}, tree=tree, folder=folder) as enclosed:
            ended = run(enclosed.argv, tree, dict(os.environ), seconds, ProcessLimits(), threading.Event(), enclosed.guard)
            return Ended(ended.early or enclosed.after(), ended.status, ended.tail, ended.printed)


def boxes() -> list[str]:
    return ["capped by root", "watched by root", "watched, unprivileged"] if os.getuid() == 0 else ["watched, unprivileged"]


@pytest.fixture(params=boxes())
def boxed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boxed]:
    place = Path("/tmp") / f"triage-test-box-{os.getpid()}-{time.monotonic_ns()}"
    for name in ("tree", "folder/out", "folder/in", "folder/home", "outside"):
        (place / name).mkdir(parents=True)
    (place / "tree" / "code.py").write_text("answer = 1\n")
    (place / "outside" / "canary").write_text("CANARY")
    program = "bwrap"
    if os.getuid() == 0 and "unprivileged" in request.param:
        program = str(place / "bwrap-as-nobody")
        Path(program).write_text(AS_NOBODY)
        Path(program).chmod(0o755)
        os.chown(place / "folder" / "out", NOBODY, NOBODY)
    groups = found() if "capped" in request.param else ControlGroups()
    if "capped" in request.param and not groups.parents:
        pytest.skip("!!! no control group can be made here !!!")
    shares = () if PYTHON.startswith("/usr/") else made().shares
    yield Boxed(Bubblewrap(shares, CAPS, groups, program, os.getuid() == 0 and "unprivileged" not in request.param), place, place / "outside")
    shutil.rmtree(place, ignore_errors=True)


HEAD = """
import os, sys, socket, ctypes, signal, subprocess, time
tree, folder, outside, *words = sys.argv[1:]
def escaped(what=''):
    print('ESCAPED', what, flush=True)
def tries(call, *args, **named):
    try:
        return call(*args, **named)
    except (OSError, ValueError, AttributeError) as error:
        return None
"""
PROBES = {
    "the environment": "[escaped(name) for name in os.environ if name.startswith('TRIAGE')]; 'CANARY' in str(os.environ) and escaped()",
    "a file beside its folders": "tries(open, outside + '/canary') and escaped()",
    "the way up to it": "os.path.exists(folder + '/../outside/canary') and escaped()",
    "accounts of the machine": "[escaped(p) for p in ('/etc/passwd', '/etc/shadow', '/etc/hostname', '/etc/ssh') if os.path.exists(p)]",
    "homes and data": "[escaped(p) for p in ('/root/.bashrc', '/home', '/var', '/srv', '/opt', '/run', '/mnt') if os.path.exists(p)]",
    "a server on loopback": "tries(socket.create_connection, ('127.0.0.1', int(words[0])), 2) and escaped()",
    "a server on the machine's address": "tries(socket.create_connection, (words[2], int(words[0])), 2) and escaped()",
    "the internet": "tries(socket.create_connection, ('1.1.1.1', 443), 2) and escaped()",
    "a datagram to a name server": "tries(socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto, b'CANARY.example', ('1.1.1.1', 53)) and escaped()",
    "a datagram to loopback": "tries(socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto, b'x', ('127.0.0.1', int(words[1])))",
    "a name looked up": "tries(socket.getaddrinfo, 'example.com', 80) and escaped()",
    "an abstract socket": "s = socket.socket(socket.AF_UNIX)\ntry:\n    s.connect('\\0' + words[3]); escaped()\nexcept OSError: pass",
    "a socket in a folder": "s = socket.socket(socket.AF_UNIX)\ntry:\n    s.connect(outside + '/socket'); escaped()\nexcept OSError: pass",
    "a raw packet": "tries(socket.socket, socket.AF_PACKET, socket.SOCK_RAW) and escaped()",
    "processes of the machine": "len([p for p in os.listdir('/proc') if p.isdigit()]) > 6 and escaped()",
    "the environment of process 1": "b'TRIAGE' in (tries(lambda: open('/proc/1/environ', 'rb').read()) or b'') and escaped()",
    "a signal to the service": "[escaped(sig) for sig in (0, 9) if tries(lambda: os.kill(int(words[4]), sig) or 'sent')]",
    "a debugger on the service": "libc = ctypes.CDLL(None, use_errno=True); libc.ptrace(16, int(words[4]), 0, 0) == 0 and escaped()",
    "memory of the service": "tries(open, f'/proc/{words[4]}/mem', 'rb') and escaped()",
    "programs of the system changed": "tries(open, '/usr/bin/triage-probe', 'w') and escaped()",
    "the root written to": "[escaped(p) for p in ('/x', '/etc/x', '/dev/x', '/lib/x', '/proc/sys/kernel/hostname') if tries(open, p, 'w')]",
    "the tree changed": "tries(open, tree + '/code.py', 'w') and escaped(); tries(os.rename, tree, tree + '2') and escaped()",
    "the given rows changed": "tries(open, folder + '/in/rows.jsonl', 'w') and escaped()",
    "a hard link to the tree": "tries(lambda: os.link(tree + '/code.py', folder + '/out/link') or 1) and escaped()",
    "a link to the machine": "os.symlink(outside + '/canary', folder + '/out/link'); tries(open, folder + '/out/link') and escaped()",
    "another user namespace": "libc = ctypes.CDLL(None); libc.unshare(0x10000000) == 0 and escaped()",
    "a mount": "libc = ctypes.CDLL(None); libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0 and escaped()",
    "a remount": "libc = ctypes.CDLL(None); libc.mount(None, tree.encode(), None, 32 | 4096, None) == 0 and escaped()",
    "being root": "tries(lambda: os.setuid(0) or 1) and escaped(); os.getuid() == 0 and escaped()",
    "a program with setuid": "[escaped(p) for p in ('/usr/bin/su', '/usr/bin/sudo', '/usr/bin/mount') if os.path.exists(p)"
    " and subprocess.run([p, '-c', 'id'], capture_output=True, stdin=subprocess.DEVNULL).returncode == 0]",
    "capabilities": "'0000000000000000' not in [l for l in open('/proc/self/status') if l.startswith('CapEff')][0] and escaped()",
    "a device": "[escaped(p) for p in ('/dev/mem', '/dev/kmem', '/dev/sda', '/dev/vda', '/dev/kvm', '/dev/fuse') if tries(open, p, 'rb')];"
    "tries(lambda: os.mknod(folder + '/out/null', 0o60666, os.makedev(8, 0)) or 1) and escaped()",
    "a terminal": "tries(open, '/dev/tty', 'w') and escaped()",
    "files that we hold open": "[escaped(os.readlink('/proc/self/fd/%s' % n)) for n in os.listdir('/proc/self/fd') if int(n) > 2"
    " and tries(os.readlink, '/proc/self/fd/%s' % n) and '/proc' not in os.readlink('/proc/self/fd/%s' % n)]",
    "its own caps": "[escaped(p) for p in ('/sys', '/sys/fs/cgroup') if os.path.exists(p)]",
    "a clock": "tries(lambda: time.clock_settime(0, 0) or 1) and escaped()",
    "everybody killed": "print('end', flush=True); tries(os.kill, -1, signal.SIGKILL)",
    # those of its own namespaces: messages and shared memory, and the numbers of its processes
    "settings of the kernel": "own = ('/fs/mqueue', 'kernel/shm', 'kernel/msg', 'kernel/auto_msg', 'kernel/sem', 'kernel/pid_max', 'kernel/ns_last_pid')\n"
    "[escaped(os.path.join(d, f)) for d, _, fs in os.walk('/proc/sys') for f in fs if not any(o in os.path.join(d, f) for o in own) and tries(open, os.path.join(d, f), 'r+b', 0)]",
    "switches of the kernel": "[escaped(p) for p in ('/proc/sysrq-trigger', '/proc/kcore', '/proc/sys/kernel/core_pattern') if tries(open, p, 'r+b')]",
}


@pytest.mark.parametrize("probe", PROBES)
def test_nothing_gets_out(boxed: Boxed, probe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIAGE_TOKEN", "CANARY")
    name = f"triage-{os.getpid()}-{time.monotonic_ns()}"
    with (
        socket.create_server(("0.0.0.0", 0)) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX) as named,
        subprocess.Popen(["sleep", "600"]) as service,
    ):
        datagrams.bind(("127.0.0.1", 0))
        datagrams.setblocking(False)
        abstract.bind("\0" + name)
        abstract.listen()
        named.bind(str(boxed.outside / "socket"))
        named.listen()
        try:
            words = (str(server.getsockname()[1]), str(datagrams.getsockname()[1]), address(), name, str(service.pid))
            ended = boxed.runs(HEAD + PROBES[probe] + "\nprint('end')", *words)
            assert set(ended.printed.split()) == {"end"}, ended
            assert service.poll() is None
            with pytest.raises(BlockingIOError):
                datagrams.recv(10)
        finally:
            service.kill()
    assert (boxed.outside / "canary").read_text() == "CANARY" and (boxed.place / "tree" / "code.py").read_text() == "answer = 1\n"


def address() -> str:
    """An address of this machine other than loopback, if it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def test_the_probes_find_a_way_out_where_there_is_one(tmp_path: Path) -> None:
    """Without a box around them most succeed: they look for something that is there."""
    for name in ("tree", "folder/out", "folder/in"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "tree" / "code.py").write_text("answer = 1\n")
    (tmp_path / "canary").write_text("CANARY")
    with socket.create_server(("127.0.0.1", 0)) as server, subprocess.Popen(["sleep", "600"]) as service:
        words = [str(server.getsockname()[1]), "9", "127.0.0.1", "none", str(service.pid)]
        sure = ("the environment", "a file beside its folders", "accounts of the machine", "a server on loopback", "processes of the machine")
        sure += ("a signal to the service", "the tree changed", "a hard link to the tree", "its own caps", "the given rows changed")
        for probe in sure:
            (tmp_path / "tree").mkdir(exist_ok=True)
            (tmp_path / "tree" / "code.py").touch()
            argv = [PYTHON, "-S", "-E", "-c", HEAD + PROBES[probe], *(str(tmp_path / one) for one in ("tree", "folder", ".")), *words]
            done = subprocess.run(argv, capture_output=True, env={"TRIAGE_TOKEN": "CANARY"}, check=False)
            assert b"ESCAPED" in done.stdout, (probe, done)
        service.kill()


GREEDY = {
    "a fork bomb": ("while True:\n    tries(os.fork)", "too_many_processes too_much_memory timeout"),
    "many sleepers": (
        "n = 0\nfor _ in range(2000):\n    if tries(os.fork) == 0: time.sleep(60); os._exit(0)\ntime.sleep(60)",
        "too_many_processes too_much_memory timeout",
    ),
    "memory": ("kept = []\nwhile True: kept.append(bytearray(b'x' * 10_000_000))", "too_much_memory"),
    "memory of many": ("os.fork(); os.fork(); os.fork()\nkept = bytearray(b'x' * 60_000_000)\ntime.sleep(60)", "too_much_memory"),
    "a large file": ("f = open(folder + '/out/f', 'wb')\nwhile True: f.write(b'x' * 1_000_000)", "disk_full"),
    "many files": ("for n in range(400): open(f'{folder}/out/{n}', 'w').close()", "too_many_files"),
    "many folders": ("for n in range(400): os.mkdir(f'{folder}/out/{n}')", "too_many_files"),
    "a closed pipe and no end": ("os.close(1); os.close(2)\nwhile True: pass", "timeout"),
    "no end, and deaf": (
        "[signal.signal(s, signal.SIG_IGN) for s in range(1, 65) if s not in (9, 19, 32, 33)]\nwhile True: time.sleep(1)",
        "timeout",
    ),
}


@pytest.mark.parametrize("greed", GREEDY)
def test_nothing_takes_all_it_can(boxed: Boxed, greed: str) -> None:
    code, ends = GREEDY[greed]
    ended = boxed.runs(HEAD + code, seconds=1.5 if "timeout" in ends else 20)
    assert ended.early in ends.split(), ended
    left = sum(sizes(boxed.place / "folder"))
    assert left < 2000 * 1024 * 1024, "what was written between two looks"


@pytest.mark.parametrize("where", ["/tmp", "/dev/shm"])
def test_memory_that_looks_like_files_is_small(boxed: Boxed, where: str) -> None:
    code = f"f = open('{where}/f', 'wb', buffering=0)\nn = 0\ntry:\n    while n < 200: n += f.write(b'x' * 1_000_000) // 1_000_000\nexcept OSError: pass\nprint(n)"
    assert int(boxed.runs(HEAD + code).printed) <= CAPS.disk_mb * 1.1


def test_what_programs_need_of_the_system_can_be_read(boxed: Boxed) -> None:
    code = HEAD + "print([p for p in ('/etc/ld.so.cache', '/etc/alternatives') if not os.access(p, os.R_OK)])"
    missing = [path for path in ("/etc/ld.so.cache", "/etc/alternatives") if not os.path.exists(path)]
    assert boxed.runs(code).printed == str(missing)


def test_who_leaves_the_group_dies_with_the_box(boxed: Boxed) -> None:
    """A grandchild in a session of its own would go on writing into what we are about to read."""
    code = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True:
            open(folder + '/out/beat', 'a').write('x')
            time.sleep(0.001)
    os._exit(0)
while not os.path.exists(folder + '/out/beat'): time.sleep(0.001)
print('leaving')
"""
    assert boxed.runs(HEAD + code).printed == "leaving"
    beat = boxed.place / "folder" / "out" / "beat"
    size = beat.stat().st_size
    for _ in range(20):
        os.sched_yield()
        time.sleep(0.005)
    assert beat.stat().st_size == size


def test_the_box_dies_with_the_service(boxed: Boxed) -> None:
    """`kill -9` of the process that started it: the box is gone before anybody cleans up."""
    tree, folder = boxed.place / "tree", boxed.place / "folder"
    argv = [PYTHON, "-c", "import sys, time; open(sys.argv[1], 'w').write('x'); time.sleep(600)", str(folder / "out" / "started")]
    with boxed.box.around(argv, {}, tree=tree, folder=folder) as enclosed:
        service = subprocess.Popen([sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])", *enclosed.argv])
        assert any((folder / "out" / "started").exists() or time.sleep(0.005) for _ in range(4000))
        inside = [one for one in family(service.pid) if one != service.pid]
        service.kill()
        service.wait()
    assert len(inside) >= 2
    assert all(dead(one) for one in inside)


def dead(process: int) -> bool:
    for _ in range(2000):
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return True
        except OSError:
            return True
        time.sleep(0.001)
    return False


def test_an_examination_in_a_box_cannot_hand_in_a_link(boxed: Boxed) -> None:
    (boxed.outside / "rows.jsonl").write_text('{"row": "a", "pass": true}\n')
    runner = SubprocessEvals(boxed.place / "scratch", python=PYTHON, box=Bubblewrap(boxed.box.shares, CAPS, boxed.box.groups))
    asked = {
        "id": "s", "argv": ["python", "-c", f"import os, sys; os.symlink('{boxed.outside}/rows.jsonl', sys.argv[1] + '/rows.jsonl')", "{out}"],
        "results": {"format": "rows-jsonl", "path": "{out}/rows.jsonl"}, "timeout_s": 20, "min_rows": 1,
    }  # fmt: skip
    assert runner.run_suite(Suite.model_validate(asked), boxed.place / "tree", None).failure == "bad_rows"


# What can be had here


def test_a_box_is_tried_out(boxed: Boxed) -> None:
    caps = "kernel" if boxed.box.groups.parents else "watched"
    if boxed.box.program == "bwrap":
        assert boxed.box.readiness(boxed.place / "scratch") == Readiness("bwrap", caps)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (None, "bubblewrap is not installed"),
        ("echo 'bwrap: setting up uid map: Permission denied' >&2; exit 1", "a box cannot be made: bwrap: setting up uid map"),
        ("echo 'bwrap: Unknown option --disable-userns' >&2; exit 1", "bubblewrap is too old"),
        ('while [ "$1" != -- ]; do shift; done; shift; exec "$@"', "writes outside of it"),
        ('while [ "$1" != -- ]; do shift; done; shift; exec "$@"', "reads files outside of it"),
        ('while [ "$1" != -- ]; do shift; done; shift; exec "$@"', "reaches the network"),
        ("exit 0", "a box cannot be made: exit status 0"),
    ],
)
def test_what_is_no_box_is_found_out_and_named(tmp_path: Path, script: str | None, said: str) -> None:
    program = tmp_path / "bwrap"
    if script is not None:
        program.write_text(f"#!/bin/bash\n{script}\n")
        program.chmod(0o755)
    found_out = Bubblewrap(program=str(program), by_root=False).readiness(tmp_path / "scratch")
    assert found_out.tier == "none" and any(said in line for line in found_out.missing), found_out


def test_a_box_whose_caps_cannot_be_set_is_not_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    box = Bubblewrap(groups=ControlGroups((tmp_path / "file",), 2))
    with pytest.raises(PortError, match="no control group"), box.around(["true"], {}, tree=tmp_path, folder=tmp_path):
        raise AssertionError("was made")


@pytest.mark.skipif(not found().parents, reason="!!! no control group can be made here !!!")
def test_groups_are_gone_afterwards_and_left_ones_are_swept() -> None:
    groups = found()
    with groups.made(10, 1 << 20) as folders:
        assert all(folder.is_dir() for folder in folders)
        names = [folder.name for folder in folders]
    assert not any((parent / name).exists() for parent in groups.parents for name in names)
    for parent in groups.parents:
        (parent / "triage-box-0-0").mkdir()
    assert swept(groups) == len(groups.parents)
