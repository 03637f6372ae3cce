"""How often the gate is right about suites whose rows vary: `python -m bench.gate_noise`, by simulation with the product's own judgement.

Every trial draws runs of a suite on base and on head, hands them to `rubric.noise.judge` as a gate would (three a side, then five more if it
asks for them), and counts what comes out. Three ways of judging see the same runs:

- `one run`: one run of each side, any lost row blocks (`rubric.gating.judge_suite`, the rule for deterministic suites);
- `3, then 8`: the rule for sampled suites;
- `with quarantine`: the same, the rows in quarantine that eight runs of base before (`rubric.noise.floor`) show to be noisy.

Two suites, of 40 and of 80 rows each:

- `drawn`: 15 % of the rows are flaky and pass with a probability drawn from 0.70 to 0.97, the others always;
- `recorded`: rows of `bench/noisy_program.py`, a random search that sometimes does not find a solution. They were recorded by running that program
  with `--record` through the real runner, once a seed; `bench/noisy_rows.jsonl` holds for each row which runs passed. A trial takes some of these
  runs for base and others for head, so rows vary as much as they do there and nobody chose how much. It is one small program and stands for
  no customer's suite; its rows are noisier than those drawn.

Five heads: nothing broken (what fails is a false block), one steady row that never passes any more, one that passes half of the time, three that
never pass, and one noisy row that never passes. A row is broken in all runs of head alike. Shares stand with their 95 % interval (Wilson).
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from connectors.subprocess_evals import SubprocessEvals
from rubric.gating import judge_suite
from rubric.manifest import Suite
from rubric.noise import FIRST, FULL, floor, judge, wants_more
from rubric.schema import Step
from rubric.stats import wilson
from rubric.verdicts import State

HERE = Path(__file__).parent
RECORD = HERE / "noisy_rows.jsonl"
SIZES = (40, 80)
FLAKY, BAND = 0.15, (0.70, 0.97)
PLAIN = {"id": "s", "argv": ["python", "noisy_program.py", "{out}"], "results": {"format": "rows-jsonl", "path": "{out}/rows.jsonl"}, "min_rows": 1}
SAMPLED = Suite.model_validate({**PLAIN, "kind": "sampled", "timeout_s": 60})
SINGLE = Suite.model_validate({**PLAIN, "kind": "deterministic", "timeout_s": 60})
RULES = ("one run", "3, then 8", "with quarantine")
HEADS = {
    "nothing broken": (0, 0, 0.0),
    "1 row broken": (1, 0, 0.0),
    "1 row at .5": (1, 0, 0.5),
    "3 rows broken": (3, 0, 0.0),
    "1 noisy row broken": (0, 1, 0.0),
}
"""head → (steady rows, noisy rows that fall, pass rate they fall to)"""


@dataclass(frozen=True)
class Row:
    row: str
    passed: bool


@dataclass(frozen=True)
class Run:
    rows: tuple[Row, ...]
    failure: str | None = None


Draw = Callable[[], dict[str, bool]]
"""A run of an untouched suite."""


@dataclass(frozen=True)
class Line:
    """What one way of judging made of many trials."""

    source: str
    rows: int
    rule: str
    head: str
    trials: int
    states: dict[State, int]

    def share(self, state: State) -> tuple[int, float, float]:
        return self.states[state], *wilson(self.states[state], self.trials)


def drawn(rows: int, chance: Random) -> tuple[Draw, list[str], list[str]]:
    """A new suite: how its runs are drawn, its steady rows, its flaky ones."""
    flaky = {f"r{row}": chance.uniform(*BAND) for row in range(round(FLAKY * rows))}
    steady = [f"r{row}" for row in range(len(flaky), rows)]
    return lambda: {**{row: chance.random() < rate for row, rate in flaky.items()}, **dict.fromkeys(steady, True)}, steady, list(flaky)


def recorded(rows: int, chance: Random) -> tuple[Draw, list[str], list[str]]:
    """Rows of the record, as many as asked for and spread over it; no run is drawn twice in a trial."""
    lines = [json.loads(line) for line in RECORD.read_text(encoding="ascii").splitlines()]
    kept = {line["row"]: line["runs"] for line in lines[:: len(lines) // rows]}
    order = list(range(len(lines[0]["runs"])))
    chance.shuffle(order)

    def draw() -> dict[str, bool]:
        number = order.pop()
        return {row: runs[number] == "1" for row, runs in kept.items()}

    return (
        draw,
        [row for row, runs in kept.items() if "0" not in runs],
        [row for row, runs in kept.items() if 0.5 <= runs.count("1") / len(runs) < 0.98],
    )


SOURCES = {"drawn": drawn, "recorded": recorded}


def trial(draw: Draw, fallen: set[str], rate: float, chance: Random) -> dict[str, State]:
    """rule → what it says of one head."""
    noise = floor([draw() for _ in range(FULL)])

    def run(on_head: bool) -> Run:
        rows = draw()
        if on_head:
            rows |= {row: chance.random() < rate for row in fallen}
        return Run(tuple(Row(row, passed) for row, passed in rows.items()))

    base, head = [run(False) for _ in range(FULL)], [run(True) for _ in range(FULL)]
    found = {"one run": judge_suite(Step.fetch, SINGLE, base[0], head[0]).state}
    for rule, quarantined in (("3, then 8", []), ("with quarantine", noise)):
        verdict = judge(Step.fetch, SAMPLED, base[:FIRST], head[:FIRST], quarantined)
        if wants_more(verdict):
            verdict = judge(Step.fetch, SAMPLED, base, head, quarantined)
        found[rule] = verdict.state
    return found


def measure(trials: int, seed: int, sources: Collection[str] = tuple(SOURCES), heads: Collection[str] = tuple(HEADS)) -> Iterator[Line]:
    """What each way of judging made of each head. Heads with nothing broken get four times the trials: there the shares are small."""
    for source in sources:
        for rows in SIZES:
            for head in heads:
                steady_rows, noisy_rows, rate = HEADS[head]
                chance = Random(f"{seed}/{source}/{rows}/{head}")
                counts: dict[str, Counter[State]] = {rule: Counter() for rule in RULES}
                many = trials if steady_rows or noisy_rows else 4 * trials
                for _ in range(many):
                    draw, steady, noisy = SOURCES[source](rows, chance)
                    fallen = {*chance.sample(steady, steady_rows), *chance.sample(noisy, noisy_rows)}
                    for rule, state in trial(draw, fallen, rate, chance).items():
                        counts[rule][state] += 1
                for rule in RULES:
                    yield Line(source, rows, rule, head, many, {state: counts[rule][state] for state in ("fail", "inconclusive", "pass", "error")})


def record(runs: int) -> None:
    """Run the program once a seed through the product's runner, and write down which rows passed."""
    said: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        tree.mkdir()
        (tree / "noisy_program.py").write_bytes((HERE / "noisy_program.py").read_bytes())
        runner = SubprocessEvals(Path(folder, "runs"), python=sys.executable)
        for seed in range(runs):
            (tree / "seed").write_text(str(seed), encoding="ascii")
            found = runner.run_suite(SAMPLED, tree, None)
            if found.failure:
                raise SystemExit(f"run {seed}: {found.failure}: {found.detail}")
            for row in found.rows:
                said[row.row] = said.get(row.row, "") + ("1" if row.passed else "0")
    RECORD.write_text("".join(json.dumps({"row": row, "runs": told}) + "\n" for row, told in said.items()), encoding="ascii")


def table(lines: list[Line]) -> Iterator[str]:
    """One text line for each suite and way of judging; under each head what share failed, and where it says so, what went to a person."""
    columns: list[tuple[str, State]] = []
    for head in HEADS:
        columns += [(head, "fail"), (head, "inconclusive")] if head in UNSURE else [(head, "fail")]
    groups: dict[tuple[str, int, str], dict[str, Line]] = {}
    for line in lines:
        groups.setdefault((line.source, line.rows, line.rule), {})[line.head] = line
    yield f"{'':<32}" + "".join(f"{head if state == 'fail' else '':<20}" for head, state in columns)
    yield f"{'suite':<9} {'rows':>4}  {'rule':<16}" + "".join(f"{'fails %' if state == 'fail' else 'inconclusive %':<20}" for _, state in columns)
    for (source, rows, rule), by_head in groups.items():
        if rule == RULES[0]:
            yield f"{'trials':<32}" + "".join(f"{by_head[head].trials:<20}" for head, _ in columns)
        yield f"{source:<9} {rows:>4}  {rule:<16}" + "".join(f"{_cell(by_head[head], state):<20}" for head, state in columns)


UNSURE = ("nothing broken", "1 row at .5", "1 noisy row broken")
"""heads that send something to a person"""


def _cell(line: Line, state: State) -> str:
    hits, low, high = line.share(state)
    return f"{100 * hits / line.trials:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gate_noise", description="How often the gate is right about suites whose rows vary.")
    parser.add_argument("--trials", type=int, default=500, help="trials of each head; four times as many where nothing is broken")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", type=int, metavar="RUNS", help="record the rows of the noisy program anew, instead")
    asked = parser.parse_args()
    if asked.record:
        record(asked.record)
        return
    for line in table(list(measure(asked.trials, asked.seed))):
        print(line)


if __name__ == "__main__":
    main()
