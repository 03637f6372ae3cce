"""`make proof-gate`: all cheats, all honest changes, all planted holes and the box's escape probes, and one line of figures.

Exit status 0 if every cheat gets its very refusal, all that is honest passes, every hole is found and no probe gets out; else 1.
"""

import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

from tests.cheats.catalogue import cheats, honest
from tests.cheats.courts import hold
from tests.cheats.holes import HOLES, ROOT, Found, Hole, plant

PROBES = "tests/connectors/test_sandbox.py::test_nothing_gets_out"
off: list[str] = []
"""what is not as it has to be, a line each"""


def says(line: str) -> None:
    print(line, flush=True)


def is_off(line: str) -> None:
    off.append(line)
    says(f"  !! {line}")


def try_cheats() -> tuple[int, int]:
    """How many cheats are accepted by a court that has to refuse them, and how many courts are known to let one through."""
    accepted, open_ = set(), 0
    for number, (name, cheat) in enumerate(cheats().items(), 1):
        for court, wanted in cheat.refused.items():
            told = hold(cheat, court)
            if told.accepted:
                accepted.add(name)
                is_off(f"{name} is accepted by {court}")
            elif not told.is_as(wanted):
                is_off(f"{name} is refused by {court}, but otherwise than it has to be: {told}")
        for court, why in cheat.open.items():
            open_ += 1
            if hold(cheat, court).accepted:
                says(f"  known: {name} gets through {court} ({why}); {' and '.join(cheat.refused)} refuse it")
            else:
                is_off(f"{name} no longer gets through {court}: take it off its list of what is open")
        if number % 10 == 0:
            says(f"cheats: {number} of {len(cheats())}")
    return len(accepted), open_


def try_honest() -> int:
    """How many honest changes are let through by every court."""
    through = 0
    for name, one in honest().items():
        refused = [f"{court}: {told}" for court in one.passes if not (told := hold(one, court)).accepted]
        through += not refused
        for line in refused:
            is_off(f"the honest change {name} is refused by {line}")
    return through


def try_holes() -> int:
    """How many planted holes let a cheat through that is refused otherwise."""

    def tried(one: Hole) -> Found:
        try:
            return plant(one)
        except AssertionError as error:
            return Found({}, str(error))

    found = 0
    with ThreadPoolExecutor(2) as pool:
        for number, (one, seen) in enumerate(zip(HOLES, pool.map(tried, HOLES), strict=True), 1):
            found += seen.found
            if not seen.found:
                is_off(f"not found: without “{one.guard}” nothing more gets through than with it ({seen.why})")
            if number % 10 == 0:
                says(f"planted holes: {number} of {len(HOLES)}")
    return found


def try_probes() -> tuple[int, int, str]:
    """How many escape probes succeeded, how many there were, and by whom the boxes were made."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "probes.xml")
        argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", PROBES]
        subprocess.run(argv, cwd=ROOT, capture_output=True, check=False)
        cases = list(ElementTree.parse(report).iter("testcase")) if report.exists() else []
    ran = [one for one in cases if one.find("skipped") is None]
    escaped = [one for one in ran if one.find("failure") is not None or one.find("error") is not None]
    for one in escaped:
        is_off(f"escape probe: {one.get('name')}")
    kinds = Counter(one.get("name", "").partition("[")[2].rpartition("-")[0] or "?" for one in ran)
    for one in cases:
        if one not in ran:
            says(f"  not here: {one.get('name')}")
    if not ran:
        is_off("no escape probe could be run; is bubblewrap installed?")
    return len(escaped), len(ran), ", ".join(kinds)


def main() -> int:
    shown = {name.partition(":")[0] for one in HOLES for name in one.lets}
    says(
        f"{len(cheats())} cheats, {len(shown)} of which are to get through without a guard; {len(honest())} honest changes, {len(HOLES)} planted holes"
    )
    accepted, open_ = try_cheats()
    through, found = try_honest(), try_holes()
    escaped, probes, kinds = try_probes()
    says(
        f"proof-gate: cheats accepted {accepted} / {len(cheats())} · honest changes let through {through} / {len(honest())}"
        f" · planted holes found {found} / {len(HOLES)} · escape probes that succeeded {escaped} / {probes} (as {kinds})"
        f" · known to get through one court and not another {open_}"
    )
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(main())
