"""A process that runs flows of the engine and writes down when each starts and ends; killed by the tests.

python -m tests.samples.worker URL EXECUTOR FOLDER [rescue]
"""

import sys
import time
from pathlib import Path

from service.engine import Engine, step


def main() -> None:
    url, executor, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    engine = Engine(url, executor=executor, workers=8, poll_seconds=0.02, data_dir=folder)

    def note(word: str) -> None:
        with open(folder / "log", "a") as file:
            file.write(f"{word} {executor}\n")

    def slow(thing: str) -> None:
        step("begin", lambda: note(f"begin {thing}"))
        while not (folder / "go").exists():
            time.sleep(0.02)
        step("end", lambda: note(f"end {thing}"))

    engine.launch({"handoff": slow})
    note("up -")
    while not (folder / f"stop-{executor}").exists():
        if "rescue" in sys.argv:
            note(f"rescued {engine.rescue()}")
        time.sleep(0.1)
    engine.stop()


if __name__ == "__main__":
    main()
