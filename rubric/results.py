"""What a target's programs write is read here, line by line: rows, outputs, plans. What can be read two ways is refused with its place."""

from collections.abc import Collection, Iterator
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, FiniteFloat, StringConstraints, ValidationError

from rubric.gating import escaped
from rubric.plans import Value
from rubric.strict import Unreadable, load_json

ROWS_CAP = 100_000
"""Rows of one result file."""


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("holds control or invisible characters")
    return text


RowName = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_one_line)]


class _Line(Value):
    """A field we do not know is refused: `skipped: true` must not read as a pass."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class RowLine(_Line):
    """One row, and what came of it."""

    row: RowName
    passed: bool = Field(alias="pass")
    score: FiniteFloat | None = None
    output: Any = None
    cluster: str | None = None
    error: str | None = None


class OutputLine(_Line):
    """What a pipeline answers to one row. Whether that is right is not its to say."""

    row: RowName
    output: Any
    error: Annotated[str, StringConstraints(min_length=1)] | None = None
    """why there is no answer; the row fails, whatever `output` holds"""


class PlanLine(Value):
    """One line of a replay's answer."""

    external_id: str
    plan: Any


L = TypeVar("L", bound=_Line)


def read_rows(data: bytes) -> list[RowLine]:
    """The rows of a rows-jsonl file; raises for the first line that is not exactly one row, or names a row again."""
    rows: dict[str, RowLine] = {}
    for number, line in lines(data):
        add_row(rows, f"line {number}", _read(RowLine, number, line))
    return list(rows.values())


def read_outputs(data: bytes, asked: Collection[str]) -> dict[str, OutputLine]:
    """Row → output of an outputs-jsonl file. Raises for a line that is not exactly one output, for a second one, and for a row that was not asked."""
    outputs: dict[str, OutputLine] = {}
    for number, line in lines(data):
        one = _read(OutputLine, number, line)
        if one.row not in asked:
            raise Unreadable("unknown_row", f"line {number}: the row {one.row} was not asked")
        if one.row in outputs:
            raise Unreadable("duplicate_row", f"line {number}: the row {one.row} stands twice")
        outputs[one.row] = one
    return outputs


def _read(kind: type[L], number: int, line: bytes) -> L:
    try:
        return kind.model_validate(load_json(line, what=f"line {number}"))
    except ValidationError as error:
        raise Unreadable("bad_rows", f"line {number}, {broken_rule(error)}") from None
    except Unreadable as error:
        raise Unreadable("bad_rows", escaped(str(error))) from None


def add_row(rows: dict[str, RowLine], place: str, one: RowLine) -> None:
    """Take a row in. Raises `Unreadable` for one that is there already, that contradicts itself, or that is one too many."""
    if one.row in rows:
        raise Unreadable("duplicate_row", f"{place}: the row {one.row} stands twice")
    if one.error and one.passed:
        raise Unreadable("bad_rows", f"{place}: the row {one.row} passes and has an error")
    if len(rows) == ROWS_CAP:
        raise Unreadable("too_large", f"more than {ROWS_CAP} rows")
    rows[one.row] = one


def read_plans(data: bytes, asked: set[str]) -> dict[str, Any]:
    """Our id → plan, not yet checked; raises unless there is exactly one line for each case that was asked about."""
    plans: dict[str, Any] = {}
    for number, line in lines(data):
        try:
            one = PlanLine.model_validate(load_json(line, what=f"line {number}"))
        except ValidationError as error:
            raise Unreadable("replay_garbage", f"line {number}, {broken_rule(error)}") from None
        except Unreadable as error:
            raise Unreadable("replay_garbage", f"line {number}: {error.code}") from None
        if one.external_id not in asked:
            raise Unreadable("replay_other_case", f"line {number} answers for a case that was not asked about")
        if one.external_id in plans:
            raise Unreadable("replay_garbage", f"line {number}: a second plan for {one.external_id}")
        plans[one.external_id] = one.plan
    if missing := sorted(asked - set(plans)):
        raise Unreadable("replay_missing", f"no plan for {len(missing)} of {len(asked)} cases")
    return plans


def lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines that hold something, with their numbers from 1; raises `Unreadable` for more than `ROWS_CAP`."""
    found = data.split(b"\n")
    if len(found) > ROWS_CAP + 1:
        raise Unreadable("too_large", f"more than {ROWS_CAP} lines")
    return ((number, line) for number, line in enumerate(found, 1) if line.strip())


def broken_rule(error: ValidationError) -> str:
    """Where a value does not fit and what it should be; never the value itself, which may be a customer's words."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return escaped(f"{place or 'as a whole'}: {first['msg']}")[:500]
