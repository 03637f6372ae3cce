"""The fetch step checked by pytest, as a team would that had pytest before it had a gate."""

import json
from pathlib import Path

import pytest
from evals.run import output
from pipeline.settings import Settings

ROWS = [json.loads(line) for line in Path(__file__).with_name("fetch").joinpath("cases.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_row(row):
    assert output(Settings.load(), "fetch", row) == row["expected"]
