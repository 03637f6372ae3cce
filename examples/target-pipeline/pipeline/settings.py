"""Loads the files in config/ and records/, and refuses them when they do not fit together."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter

from pipeline import conditions
from pipeline.steps import SHAPES

HOME = Path(__file__).resolve().parents[1]


class PipelineError(Exception):
    """Something a maintainer has to put right; the message is one line and names the place."""


def read_json(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PipelineError(f"file-missing: {path.name}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise PipelineError(f"not-json: {path.name}: {error}") from None


def read_lines(path):
    """The JSON objects of a .jsonl file."""
    rows = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise PipelineError(f"file-missing: {path.name}") from None
    except UnicodeDecodeError as error:
        raise PipelineError(f"not-utf8: {path.name}: {error.reason}") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise PipelineError(f"not-json: {path.name} line {number}: {error}") from None
    return rows


@dataclass
class Settings:
    intents: dict
    extraction: dict
    fetch: dict
    plans: dict
    templates: dict
    records: dict
    patterns: dict = field(default_factory=dict)

    @classmethod
    def load(cls, home=HOME):
        names = ("intents", "extraction", "fetch", "plans", "templates")
        parts = {name: read_json(home / "config" / f"{name}.json") for name in names}
        records = {row["record_id"]: row for row in read_lines(home / "records" / "records.jsonl")}
        settings = cls(**parts, records=records)
        try:
            settings.check()
        except (KeyError, TypeError, AttributeError) as error:
            raise PipelineError(f"bad-config: {type(error).__name__}: {error}") from None
        return settings

    def check(self):
        for parent, branch in self.intents["tree"].items():
            if "other" not in branch["leaves"]:
                raise PipelineError(f"no-other-leaf: intents.json: {parent}")
            for leaf in branch["leaves"]:
                self.check_plan(f"{parent}/{leaf}")
        for group, fields in self.extraction.items():
            for name, entry in fields.items():
                try:
                    self.patterns[group, name] = re.compile(entry["pattern"])
                except re.error as error:
                    raise PipelineError(f"bad-pattern: extraction.json: {group}.{name}: {error}") from None
        for name, weight in self.fetch["weights"].items():
            if not isinstance(weight, int):
                raise PipelineError(f"bad-weight: fetch.json: {name}: {weight!r} is not a whole number")

        for name, shape in self.fetch["search"]["compare"].items():
            if shape not in SHAPES:
                raise PipelineError(f"bad-compare: fetch.json: {name}: {shape!r} is none of {', '.join(SHAPES)}")
        for group, texts in self.templates.items():
            for name, text in texts.items():
                try:
                    list(Formatter().parse(text))
                except ValueError as error:
                    raise PipelineError(f"bad-template: templates.json: {group}.{name}: {error}") from None

    def check_plan(self, path):
        branches = self.plans.get(path)
        if not branches:
            raise PipelineError(f"no-plan: plans.json: {path}")
        for name, branch in branches.items():
            try:
                conditions.parse(branch["when"])
            except ValueError as error:
                raise PipelineError(f"bad-condition: plans.json: {path}.{name}: {error}") from None
            group, _, text = branch["template"].partition(".")
            if text not in self.templates.get(group, {}):
                raise PipelineError(f"no-template: plans.json: {path}.{name}: {branch['template']}")
        if list(branches.values())[-1]["when"] != "otherwise":
            raise PipelineError(f"no-otherwise: plans.json: {path}")
