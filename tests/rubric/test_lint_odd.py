"""Odd hints and odd inventories get findings from lint, never an exception."""

from typing import Any, get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from rubric.entries import Entry, Inventory
from rubric.findings import CODES, WARNINGS
from rubric.lint import lint
from rubric.recipes import Change
from rubric.schema import Hint, Step
from tests.rubric.bank import BANK, CASE, CATALOGUE, CHANGES, COMMENT, found, hint

WORDS = st.sampled_from(["access", "locked", "login", "other", "cards", "root", "customer", "number", "account", "tie", "default", "a/b", "", "x"])
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["login problem", "x", "\ud800"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)
NAMES = st.sampled_from([*BANK.entries, "policy:*", "policy:access", "extraction:account.iban", "fetch:iban", ""])
ODD_ENTRIES = st.builds(
    lambda name, step, path, parts, value, view, stability: Entry(
        id=name, step=step, file="f", path=tuple(path), parts=tuple(parts), value=value, view=view, stability=stability
    ),
    NAMES,
    st.sampled_from(Step),
    st.lists(WORDS, max_size=3),
    st.lists(WORDS, max_size=3),
    ODD,
    st.dictionaries(st.sampled_from(["text", "number", "template", "condition", "tools", "handles", "cues"]), ODD, max_size=3),
    st.sampled_from(["open", "careful", "frozen"]),
)
SCORES = st.dictionaries(st.sampled_from(["rec_1", "rec_2", "rec_9"]), st.tuples(st.floats(), st.floats()), max_size=2)
TWEAKS: dict[str, st.SearchStrategy[Any]] = {
    "scores": SCORES,
    "from": st.integers(0, 9),
    "to": st.integers(0, 9),
    "record_type": st.none() | st.sampled_from(["customer", "account"]),
    "templates": st.lists(st.sampled_from(["login.help", "x", "reply:x", "."]), min_size=1, max_size=3),
    "old": st.sampled_from(["login problem", "x", "\n"]),
    "openapi": st.dictionaries(st.sampled_from(["paths", "x"]), ODD, max_size=2),
    "scope": st.lists(st.sampled_from(["*", "access", "a//b", "/"]), min_size=1, max_size=2),
    "before": st.none() | st.sampled_from(["tie", "x"]),
    "cases": st.lists(st.sampled_from(["c1", "c2", "", "c3"]), min_size=3, max_size=4),
}


@st.composite
def odd_hints(draw: st.DrawFn) -> Hint:
    recipe = draw(st.sampled_from(sorted(CHANGES)))
    known = next(kind for kind in get_args(get_args(Change)[0]) if kind.model_fields["recipe"].default == recipe)
    names = {field.alias or name for name, field in known.model_fields.items()}
    fields = {
        name: draw(TWEAKS[name]) for name in sorted(names & set(TWEAKS)) if not (recipe == "retire_leaf" and name == "to") and draw(st.booleans())
    }
    spans = st.fixed_dictionaries(
        {
            "source": st.sampled_from(["ticket", "plan", "comment"]),
            "quote": st.sampled_from(["", "Wrong", COMMENT, "ticket"]),
            "start": st.integers(0, 2**70),
            "end": st.integers(0, 2**70),
        }
    )
    return hint(recipe, draw(NAMES), {"step": draw(st.sampled_from(Step)), "evidence": draw(st.lists(spans, max_size=2))}, **fields)


@settings(max_examples=400)
@given(odd_hints(), st.lists(ODD_ENTRIES, max_size=6), odd_hints())
def test_odd_values_get_findings_and_never_an_exception(one: Hint, entries: list[Entry], other: Hint) -> None:
    bank = Inventory(entries={item.id: item for item in entries})
    for inventory in (bank, BANK):
        findings = lint(one, CASE, inventory, CATALOGUE, [("h1", other), ("h2", one)])
        assert all(finding.code in CODES and finding.blocks == (finding.code not in WARNINGS) for finding in findings)
        assert findings == lint(one, CASE, inventory, CATALOGUE, [("h1", other), ("h2", one)])
        assert any(finding.code == "twin" and "h2" in finding.text for finding in findings) or "nan" in repr(one.change)


@given(st.sampled_from(["comment", "ticket", "plan"]), st.integers(0, 80), st.integers(0, 80), st.text(max_size=3))
def test_only_exact_spans_pass(source: str, start: int, end: int, other: str) -> None:
    text = {"comment": COMMENT, "ticket": "Help\nMy account 123 is locked", "plan": "access/locked\nHello\n"}[source]
    exact = {"source": source, "quote": text[start:end], "start": start, "end": end}

    def misses(span: dict[str, Any]) -> bool:
        return "quote_not_in_case" in {finding.code for finding in found(hint("change_reply_template", _hint={"evidence": [span]}))}

    assert not misses(exact)
    if "\x00" not in other and not any("\ud800" <= char <= "\udfff" for char in other):
        assert misses({**exact, "quote": other}) == (other != text[start:end])
