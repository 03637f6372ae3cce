"""Checks one step against its golden rows.

    python -m evals.run --step fetch [--in FILE] [--out FOLDER]

--in is a file of rows (without it: <step>/cases.jsonl beside this file). With --out the
results go to rows.jsonl there: {"row", "pass", "score", "output"}, one a line. Exit status: 0 every row passes,
1 some do not, 2 cannot be run.
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


def check(settings, step, rows):
    results = []
    for number, row in enumerate(rows, 1):
        try:
            got = output(settings, step, row)
            good = got == row.get("expected")
        except KeyError as error:  # a field the step needs, or a record id nobody has
            got, good = {"error": f"no {error}"}, False
        results.append({"row": row.get("id", str(number)), "pass": good, "score": float(good), "output": got})
    return results


def main():
    parser = argparse.ArgumentParser(prog="evals.run", description="check one step against its golden rows")
    parser.add_argument("--step", required=True, choices=STEPS)
    parser.add_argument("--in", dest="source", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    try:
        results = check(Settings.load(), args.step, read_lines(args.source or HERE / args.step / "cases.jsonl"))
        if args.out:
            args.out.mkdir(parents=True, exist_ok=True)
            lines = "".join(json.dumps(result, ensure_ascii=False) + "\n" for result in results)
            (args.out / "rows.jsonl").write_text(lines, encoding="utf-8")
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
