"""Reports of suites that grade themselves: rows-jsonl, JUnit, promptfoo, Inspect. What they say is as good as the code under test is honest.

Of the formats of others only what says whether a row passed is read, and that strictly: a mark we do not know could be the one that says it
did not run. Every refusal is one `Unreadable` that names the place.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from xml.parsers import expat

from pydantic import ValidationError

from rubric.gating import escaped
from rubric.manifest import Format
from rubric.results import RowLine, add_row, broken_rule, read_rows
from rubric.strict import MAX_DEPTH, Unreadable, load_json

T = TypeVar("T")

INSIDE = {
    "": {"testsuites", "testsuite"},
    "testsuites": {"testsuite", "properties"},
    "testsuite": {"testsuite", "testcase", "properties", "system-out", "system-err"},
    "testcase": {"failure", "error", "skipped", "properties", "system-out", "system-err"},
    "properties": {"property"},
}
"""JUnit: element → those that may stand in it. `flakyFailure`, `rerunError` and their like are retries, and a retry is no pass."""
RAN = {"run", "passed", "failed", "completed"}
"""JUnit: what `status` and `result` of a test case may say without meaning that it did not run"""
VALUES = {"C": 1.0, "P": 0.5, "N": 0.0, "I": 0.0}
"""Inspect: correct, partial, no answer, incorrect"""
PROMPTFOO, INSPECT = 3, 2
"""versions of the formats that are read"""
ERROR = 2
"""promptfoo: the `failureReason` that says that nothing was judged"""


def _refused(place: str, why: str) -> Unreadable:
    return Unreadable("bad_rows", escaped(f"{place}: {why}")[:500])


def _row(place: str, row: Any, passed: bool, score: Any = None, error: str | None = None) -> RowLine:
    try:
        return RowLine.model_validate({"row": row, "pass": passed, "score": score, "error": error})
    except ValidationError as wrong:
        raise _refused(place, broken_rule(wrong)) from None


class _Junit:
    """Follows the elements of one JUnit file; text between them says nothing of a row and is passed over."""

    def __init__(self) -> None:
        self.rows: dict[str, RowLine] = {}
        self.parser = expat.ParserCreate("utf-8")
        self.parser.StartElementHandler = self._opens
        self.parser.EndElementHandler = self._closes
        self.parser.StartDoctypeDeclHandler = self._doctype
        self._open = [""]
        self._case: dict[str, str] = {}
        self._marks: dict[str, str] = {}
        """failure, error, skipped → its message"""
        self._ids: list[str] = []

    def _place(self) -> str:
        return f"line {self.parser.CurrentLineNumber}"

    def _doctype(self, *_: Any) -> None:
        raise _refused(self._place(), "a DOCTYPE is not allowed: entities are declared in it")

    def _opens(self, name: str, attributes: dict[str, str]) -> None:
        if name not in INSIDE.get(self._open[-1], ()):
            raise _refused(
                self._place(), f"<{name[:80]}> in <{self._open[-1]}> is unknown" if self._open[-1] else f"<{name[:80]}> is no JUnit report"
            )
        if len(self._open) > MAX_DEPTH:
            raise _refused(self._place(), f"nested deeper than {MAX_DEPTH} levels")
        if name == "testcase":
            self._case, self._marks, self._ids = attributes, {}, []
        elif self._open[-1] == "testcase":
            self._marks[name] = attributes.get("message") or attributes.get("type") or name
        elif name == "property" and self._open[-2] == "testcase" and attributes.get("name") == "row_id":
            self._ids.append(attributes.get("value", ""))
        self._open.append(name)

    def _closes(self, name: str) -> None:
        self._open.pop()
        if name != "testcase":
            return
        failed = "failure" in self._marks or "error" in self._marks
        ran = "skipped" not in self._marks and {self._case.get(key, "run") for key in ("status", "result")} <= RAN
        if len(self._ids) > 1:
            raise _refused(self._place(), "a test case has two properties row_id")
        if not failed and not ran:
            return  # no row: the gate sees that it is missing
        names = (self._case.get("classname"), self._case.get("name", ""))
        row = self._ids[0] if self._ids else "::".join(filter(None, names)) if names[1] else ""
        add_row(self.rows, self._place(), _row(self._place(), row, not failed, error=self._marks.get("error")))


def read_junit(data: bytes) -> list[RowLine]:
    """The test cases of a JUnit file by `classname::name`, or by their property `row_id`; one that was skipped is no row."""
    found = _Junit()
    try:
        found.parser.Parse(data, True)
    except expat.ExpatError as error:
        raise _refused(f"line {error.lineno}, column {error.offset}", expat.ErrorString(error.code) or "not XML") from None
    return list(found.rows.values())


def _document(data: bytes, what: str) -> Any:
    try:
        return load_json(data, what=what)
    except Unreadable as error:
        raise Unreadable("bad_rows", escaped(str(error))[:500]) from None


def _field(holder: Any, name: str, place: str, kind: type[T]) -> T:
    """A field that has to be there. True is no number."""
    value = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise _refused(place, f"{name} is missing or no {kind.__name__}")
    return value


def read_promptfoo(data: bytes) -> list[RowLine]:
    """The results of a promptfoo file by `testCase.metadata.row_id` or `testCase.description`; never by an index, which a new test moves."""
    results = _field(_document(data, "the report"), "results", "the report", dict)
    if _field(results, "version", "results", int) != PROMPTFOO:
        raise _refused("results", f"version is not {PROMPTFOO}")
    rows: dict[str, RowLine] = {}
    for number, one in enumerate(_field(results, "results", "results", list)):
        place = f"results.results.{number}"
        passed, case = _field(one, "success", place, bool), _field(one, "testCase", place, dict)
        reason = one.get("failureReason")
        if reason not in (None, 0, 1, ERROR) or isinstance(reason, bool) or (passed and reason):
            raise _refused(place, "failureReason is unknown or says otherwise than success")
        metadata = case.get("metadata")
        row = metadata["row_id"] if isinstance(metadata, dict) and "row_id" in metadata else case.get("description")
        error = str(one.get("error") or "error") if reason == ERROR else None
        add_row(rows, place, _row(place, row, passed, one.get("score"), error))
    return list(rows.values())


def read_inspect(data: bytes) -> list[RowLine]:
    """The samples of an Inspect log by their id, one row each.

    A sample that ran for several epochs passes only if all of them do. They are no rows of their own: epoch 1 of base is no more like epoch 1
    of head than like epoch 2, and a suite whose rows vary is run again by the gate, which counts on both sides.
    """
    log = _document(data, "the log")
    if _field(log, "version", "the log", int) != INSPECT:
        raise _refused("the log", f"version is not {INSPECT}")
    if _field(log, "status", "the log", str) != "success" or log.get("invalidated"):
        raise _refused("the log", "its status is not success: it does not say what the samples that are missing would have been")
    of: dict[str, dict[int, RowLine]] = {}
    for number, sample in enumerate(_field(log, "samples", "the log", list)):
        place = f"samples.{number}"
        epoch, row = _field(sample, "epoch", place, int), _sample(place, sample)
        if epoch in of.setdefault(row.row, {}):
            raise Unreadable("duplicate_row", f"{place}: epoch {epoch} of {row.row} stands twice")
        of[row.row][epoch] = row
    if len({len(epochs) for epochs in of.values()}) > 1:
        raise _refused("samples", "some ran for fewer epochs than others")
    rows: dict[str, RowLine] = {}
    for name, epochs in of.items():
        add_row(rows, "samples", _together(name, list(epochs.values())))
    return list(rows.values())


def _sample(place: str, sample: dict[str, Any]) -> RowLine:
    """One epoch of a sample, under the sample's own id."""
    name = sample.get("id")
    row = str(name) if type(name) is int else name
    if error := sample.get("error"):
        message = error.get("message") if isinstance(error, dict) else error
        return _row(place, row, False, error=str(message or "error"))
    scores = [_value(f"{place}.scores.{scorer}", score) for scorer, score in _field(sample, "scores", place, dict).items()]
    if not scores:
        raise _refused(place, "has no score")
    return _row(place, row, min(scores) == 1, min(scores))


def _value(place: str, score: Any) -> float:
    """1 is right. A number past that is on a scale that nobody told us the end of."""
    value = score.get("value") if isinstance(score, dict) else None
    if isinstance(value, str) and value in VALUES:
        return VALUES[value]
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise _refused(place, "value is none of C, P, N, I, true, false, or a number from 0 to 1")
    return float(value)


def _together(name: str, rows: list[RowLine]) -> RowLine:
    scores = [row.score for row in rows if row.score is not None]
    error = next((row.error for row in rows if row.error), None)
    return _row("samples", name, all(row.passed for row in rows), sum(scores) / len(scores) if scores else None, error)


READERS: Mapping[Format, Callable[[bytes], list[RowLine]]] = {
    "rows-jsonl": read_rows,
    "junit-xml": read_junit,
    "promptfoo-json": read_promptfoo,
    "inspect-json": read_inspect,
}
FINE: Mapping[Format, tuple[int, ...]] = {"outputs-jsonl": (0,), "promptfoo-json": (0, 1, 100)}
"""Exit statuses of a suite that ran to its end, where they are not 0 and 1. Who grades nothing has no failed rows to tell of."""
