"""Checks one step against its golden rows, or only answers them.

    python -m evals.run --step fetch [--in FILE] [--out FOLDER]
    python -m evals.run --step fetch --in FILE --outputs FILE

--in is a file of rows (without it: <step>/cases.jsonl beside this file). With --out the
results go to rows.jsonl there: {"row", "pass", "score", "output"}, one a line. Exit status: 0 every row passes,
1 some do not, 2 cannot be run.

With --outputs nothing is checked, and the rows need not say what is expected: {"row", "output"} goes to that file, one a
line, with an "error" where there is no answer. Who asks so grades for himself. Exit status: 0, or 2 as above.
"""

import argparse
import json
import sys
from pathlib import Path

from pipeline import steps
from pipeline.settings import PipelineError, Settings, read_lines

HERE = Path(__file__).resolve().parent
STEPS = ("intent", "extraction", "fetch", "plan", "reply")


def output(settings, step, row):
    if step == "intent":
        return steps.intent(settings, row["messages"])
    if step == "extraction":
        return steps.extract(settings, row["messages"])
    if step == "fetch":  # scores are added up afresh: a row knows only what matched
        found = [dict(item, score=steps.score(settings, item["matched_fields"])) for item in row["candidates"]]
        return steps.choose(settings, found)[0]
    extraction = row.get("extraction", {})
    branch, record = steps.decide(settings, row["intent_path"], extraction, row.get("candidates", []))
    if step == "plan":
        return {"tool_calls": steps.tool_calls(branch, record, extraction)}
    return steps.reply(settings, branch, record, extraction)


def answer(settings, step, rows):
    answers = []
    for number, row in enumerate(rows, 1):
        found = {"row": row.get("id", str(number)), "output": None}
        try:
            found["output"] = output(settings, step, row)
        except KeyError as error:  # a field the step needs, or a record id nobody has
            found["error"] = f"no {error}"
        answers.append(found)
    return answers


def check(settings, step, rows):
    results = []
    for row, found in zip(rows, answer(settings, step, rows), strict=True):
        good = "error" not in found and found["output"] == row.get("expected")
        got = {"error": found["error"]} if "error" in found else found["output"]
        results.append({"row": found["row"], "pass": good, "score": float(good), "output": got})
    return results


def write(path, results):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(result, ensure_ascii=False) + "\n" for result in results), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(prog="evals.run", description="check one step against its golden rows")
    parser.add_argument("--step", required=True, choices=STEPS)
    parser.add_argument("--in", dest="source", type=Path)
    parser.add_argument("--out", type=Path, help="folder for rows.jsonl")
    parser.add_argument("--outputs", type=Path, help="file for answers that somebody else grades")
    args = parser.parse_args()
    try:
        settings, rows = Settings.load(), read_lines(args.source or HERE / args.step / "cases.jsonl")
        if args.outputs:
            write(args.outputs, answer(settings, args.step, rows))
            return 0
        results = check(settings, args.step, rows)
        if args.out:
            write(args.out / "rows.jsonl", results)
    except PipelineError as error:
        print(f"evals: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"evals: file-error: {error.strerror}: {error.filename}", file=sys.stderr)
        return 2
    failed = [result["row"] for result in results if not result["pass"]]
    print(f"{args.step}: {len(results) - len(failed)}/{len(results)} pass" + "".join(f"\n  failed: {name}" for name in failed))
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main())
