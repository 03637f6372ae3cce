"""A small program that really varies from run to run: a random search (WalkSAT, Selman et al. 1994) that is given few steps for each of 80 puzzles.

A row is a puzzle, random clauses of three over 20 variables made around a hidden solution; it passes when the search finds one in time. Nobody
set how often a row passes: puzzles with few clauses are always solved, crowded ones now and then. `seed` in the working folder is the luck of
the run. Run as `python noisy_program.py OUT`; writes `rows.jsonl` there. It knows nothing of the product.
"""

import json
import pathlib
import sys
from random import Random

ROWS, VARIABLES, STEPS = 80, 20, 45
Clause = tuple[tuple[int, bool], ...]


def puzzle(row: int) -> list[Clause]:
    made = Random(row)
    solution = [made.random() < 0.5 for _ in range(VARIABLES)]
    clauses: list[Clause] = []
    while len(clauses) < 20 + row * 3 // 4:
        clause = tuple((name, made.random() < 0.5) for name in made.sample(range(VARIABLES), 3))
        if any(solution[name] == wanted for name, wanted in clause):
            clauses.append(clause)
    return clauses


def solved(clauses: list[Clause], luck: Random) -> bool:
    values = [luck.random() < 0.5 for _ in range(VARIABLES)]
    for _ in range(STEPS):
        open_ones = [clause for clause in clauses if all(values[name] != wanted for name, wanted in clause)]
        if not open_ones:
            return True
        clause = luck.choice(open_ones)
        name = luck.choice(clause)[0] if luck.random() < 0.5 else min((name for name, _ in clause), key=lambda one: _open_after(clauses, values, one))
        values[name] = not values[name]
    return False


def _open_after(clauses: list[Clause], values: list[bool], name: int) -> int:
    after = [value != (number == name) for number, value in enumerate(values)]
    return sum(all(after[other] != wanted for other, wanted in clause) for clause in clauses)


if __name__ == "__main__":
    seed = pathlib.Path("seed").read_text(encoding="ascii")
    rows = [{"row": f"p{row:02}", "pass": solved(puzzle(row), Random(f"{seed}/{row}"))} for row in range(ROWS)]
    pathlib.Path(sys.argv[1], "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="ascii")
