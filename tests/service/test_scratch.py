"""What a killed service leaves behind is gone before the next one begins: folders, and programs that nobody waits for."""

import subprocess
import sys
from pathlib import Path

from service.scratch import clear, end_strays, scratch

STARTS = "import os, subprocess, sys; subprocess.Popen(['sleep', '600'], cwd=sys.argv[1], start_new_session=True); os.kill(os.getpid(), 9)"


def working_in(place: Path) -> list[int]:
    """Ids of the processes whose folder is `place`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            found += [int(entry.name)] if entry.name.isdigit() and (entry / "cwd").readlink() == place and state(entry) not in "ZX" else []
        except OSError:
            continue
    return found


def state(entry: Path) -> str:
    return (entry / "stat").read_text().rpartition(")")[2].split()[0]


def test_a_program_that_outlived_its_service_is_ended(tmp_path: Path) -> None:
    workdir, elsewhere = tmp_path / "work" / "main", tmp_path / "work" / "main2"
    for place in (workdir / "gate-1" / "head", elsewhere):
        place.mkdir(parents=True)
        subprocess.run([sys.executable, "-c", STARTS, str(place)], check=False)
    (stray,), (other,) = working_in(workdir / "gate-1" / "head"), working_in(elsewhere)
    try:
        assert stray and end_strays(workdir) == [stray]
        assert working_in(elsewhere) == [other], "what another process of the service started is not ours"
    finally:
        end_strays(tmp_path)


def test_a_program_whose_folder_is_gone_already_is_found_too(tmp_path: Path) -> None:
    with scratch(tmp_path, "gone") as folder, subprocess.Popen(["sleep", "600"], cwd=folder) as program:
        folder.rmdir()
        clear(tmp_path)
        assert program.wait(10) == -9


def test_whoever_stands_at_the_top_is_left_alone(tmp_path: Path) -> None:
    """A person's shell may well be there, to look at what is going on."""
    with subprocess.Popen(["sleep", "600"], cwd=tmp_path) as shell:
        assert end_strays(tmp_path) == [] and shell.poll() is None
        shell.kill()
