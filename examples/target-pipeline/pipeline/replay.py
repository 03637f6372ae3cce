"""Case in, plan out.

    python -m pipeline.replay --in case.json --out plan.json
    python -m pipeline.replay --in cases.jsonl --out plans.jsonl

A .jsonl file gives one {"external_id", "plan"} a line, in the order of the cases. Exit status 2 with one line on
stderr when a file or a case cannot be used.
"""

import argparse
import json
import sys
from pathlib import Path

from pipeline import steps
from pipeline.settings import PipelineError, Settings, read_json, read_lines


def plan(settings, case):
    try:
        messages = [{"role": message["role"], "text": message["text"] + ""} for message in case["ticket"]["messages"]]
    except (KeyError, TypeError):
        label = case.get("external_id") if isinstance(case, dict) else None
        raise PipelineError(f"bad-case: {label or 'without id'}: needs ticket.messages with role and text") from None
    path = steps.intent(settings, messages)
    extraction = steps.extract(settings, messages)
    candidates = steps.search(settings, extraction)
    branch, record = steps.decide(settings, path, extraction, candidates)
    return {
        "intent_path": path,
        "extraction": extraction,
        "fetch": candidates,
        "reply": steps.reply(settings, branch, record, extraction),
        "tool_calls": steps.tool_calls(branch, record, extraction),
    }


def run(source, target):
    settings = Settings.load()
    if source.suffix == ".jsonl":
        plans = [(plan(settings, case), case) for case in read_lines(source)]
        rows = [{"external_id": case.get("external_id"), "plan": done} for done, case in plans]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    else:
        text = json.dumps(plan(settings, read_json(source)), ensure_ascii=False, indent=2) + "\n"
    target.write_text(text, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(prog="pipeline.replay", description="case in, plan out")
    parser.add_argument("--in", dest="source", type=Path, required=True)
    parser.add_argument("--out", dest="target", type=Path, required=True)
    args = parser.parse_args()
    try:
        run(args.source, args.target)
    except PipelineError as error:
        print(f"replay: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"replay: file-error: {error.strerror}: {error.filename}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
