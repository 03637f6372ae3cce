"""The fetch step checked by itself, written as the reports of others: `python -m evals.report junit|promptfoo|inspect ROWS OUT`."""

import json
import sys
from pathlib import Path

from evals.run import output
from pipeline.settings import Settings


def junit(passed):
    cases = "".join(f'<testcase name="{row}">{"" if good else "<failure/>"}</testcase>' for row, good in passed.items())
    return f"<testsuite>{cases}</testsuite>"


def promptfoo(passed):
    results = [{"success": good, "testCase": {"metadata": {"row_id": row}}, "failureReason": 0 if good else 1} for row, good in passed.items()]
    return json.dumps({"results": {"version": 3, "results": results}})


def inspect(passed):
    samples = [{"id": row, "epoch": 1, "scores": {"match": {"value": "C" if good else "I"}}} for row, good in passed.items()]
    return json.dumps({"version": 2, "status": "success", "samples": samples})


kind, given, out = sys.argv[1:4]
settings = Settings.load()
rows = [json.loads(line) for line in Path(given).read_text(encoding="utf-8").splitlines()]
passed = {row["id"]: output(settings, "fetch", row) == row["expected"] for row in rows}
Path(out, "report").write_text(globals()[kind](passed), encoding="utf-8")
