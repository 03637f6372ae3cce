"""A grader of the target: `python -m evals.grade ROWS OUTPUTS OUT`."""

import json
import sys
from pathlib import Path

given, outputs, out = map(Path, sys.argv[1:4])
said = {one["row"]: one["output"] for one in map(json.loads, outputs.read_text(encoding="utf-8").splitlines())}
rows = [json.loads(line) for line in given.read_text(encoding="utf-8").splitlines()]
done = [{"row": row["id"], "pass": said[row["id"]] == row["expected"]} for row in rows if row["id"] in said]
(out / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in done), encoding="utf-8")
