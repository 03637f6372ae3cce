"""Grading from outside: what is taken out of the rows that a pipeline is given, and whether its answers are what was expected.

A row without an answer fails, on either side: were it no row at all, one that neither side answers would not be seen by anybody.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from rubric.manifest import Grade
from rubric.results import OutputLine, RowLine, RowName, broken_rule, lines
from rubric.strict import Unreadable, load_json

Exam = Mapping[str, dict[str, Any]]
"""id of a row → the whole row, in the order of the file"""
NO_OUTPUT = "no output"
"""error of a row that the pipeline said nothing to"""
_NAME: TypeAdapter[str] = TypeAdapter(RowName)


def read_exam(data: bytes, grade: Grade) -> Exam:
    """The rows of a rows file. Raises `Unreadable("bad_exam")` unless each line is an object with an id of its own and what is expected."""
    exam: dict[str, dict[str, Any]] = {}
    for number, line in lines(data):
        place = f"the rows file, line {number}"
        try:
            row = load_json(line, what=place)
            name = _NAME.validate_python(row.get(grade.id) if isinstance(row, dict) else None, strict=True)
        except Unreadable as error:
            raise Unreadable("bad_exam", str(error)) from None
        except ValidationError as error:
            raise Unreadable("bad_exam", f"{place}, {grade.id}: {broken_rule(error)}") from None
        if name in exam:
            raise Unreadable("bad_exam", f"{place}: the row {name} stands twice")
        if grade.expected not in row:
            raise Unreadable("bad_exam", f"{place}: the row {name} has no {grade.expected}")
        exam[name] = row
    return exam


def questions(exam: Exam, grade: Grade) -> bytes:
    """The rows as the pipeline gets them: without what is expected."""
    return as_lines({key: value for key, value in row.items() if key != grade.expected} for row in exam.values())


def answers(outputs: Mapping[str, OutputLine]) -> bytes:
    """The outputs as a grader gets them: as they were read, so that nothing reads them otherwise."""
    return as_lines({"row": one.row, "output": one.output} | ({"error": one.error} if one.error else {}) for one in outputs.values())


def as_lines(values: Iterable[Any]) -> bytes:
    return "".join(json.dumps(value, allow_nan=False) + "\n" for value in values).encode()


def compared(exam: Exam, grade: Grade, outputs: Mapping[str, OutputLine]) -> list[RowLine]:
    """One row for each of the exam: passed if its output is the very value that is expected."""
    return [unanswered(name, outputs) or _row(name, same(outputs[name].output, row[grade.expected])) for name, row in exam.items()]


def graded(exam: Exam, outputs: Mapping[str, OutputLine], verdicts: Collection[RowLine]) -> list[RowLine]:
    """One row for each of the exam, by a grader's verdicts. Raises `Unreadable("bad_grades")` if it names others, or says nothing to an output."""
    said = {one.row: one for one in verdicts}
    if other := next((name for name in said if name not in exam), None):
        raise Unreadable("bad_grades", f"the row {other} is none of the exam")
    rows = []
    for name in exam:
        failed = unanswered(name, outputs)
        if failed is None and name not in said:
            raise Unreadable("bad_grades", f"nothing is said of the row {name}")
        rows.append(failed or said[name])
    return rows


def unanswered(name: str, outputs: Mapping[str, OutputLine]) -> RowLine | None:
    """The failed row of one that has no output to be judged; no grader can make it pass."""
    error = outputs[name].error if name in outputs else NO_OUTPUT
    return _row(name, False, error) if error is not None else None


def _row(name: str, passed: bool, error: str | None = None) -> RowLine:
    return RowLine.model_validate({"row": name, "pass": passed, "error": error})


def same(one: Any, other: Any) -> bool:
    """Equal as JSON: true is not 1, 1 is 1.0, the order of keys says nothing."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)
