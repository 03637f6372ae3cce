"""A page holds what it read: values at once, nodes of JSON only when somebody asks, and no key twice either way."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.splicing.page import Page
from connectors.splicing.places import Unfit, read_json

TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


def test_json_is_read_to_nodes_only_when_they_are_needed() -> None:
    page = Page('{"a": {"b": [1, 2]}}', "json")
    assert page.value == {"a": {"b": [1, 2]}} and not {"root", "nodes"} & vars(page).keys()
    assert [page.text[node.start : node.end] for node in page.nodes] == ['{"a": {"b": [1, 2]}}', '{"b": [1, 2]}', "[1, 2]", "1", "2"]


@pytest.mark.parametrize(
    ("text", "kind", "place"),
    [
        ('{"a": 1, "b": [{"c": 1, "c": 2}]}', "json", "b > 0 > c"),
        ('{"a": {}, "a": {}}', "json", "a"),
        ('{"a": 1, "\\u0061": 2}', "json", "a"),
        ("b:\n  - c: 1\n    c: 2\n", "yaml", "b > 0 > c"),
    ],
)
def test_a_key_that_stands_twice_is_named_wherever_it_is(text: str, kind: str, place: str) -> None:
    with pytest.raises(Unfit) as refused:
        Page(text, kind)  # type: ignore[arg-type]
    assert refused.value.code == "duplicate_key" and str(refused.value).startswith(f"{place} ")


@pytest.mark.parametrize("text", ["", "{", '{"a": NaN}', '{"a": Infinity}', "[1,]", '{"a": 1} x', "\ufeff{}", "'a'"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(Unfit):
        Page(text, "json")


@settings(max_examples=100)
@given(TREES, st.sampled_from([None, 2]), st.booleans())
def test_values_and_nodes_tell_the_same(tree: object, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(tree, indent=indent, ensure_ascii=ascii_only)
    page = Page(text, "json")
    assert page.value == read_json(text) == tree
    for node in page.nodes:
        value = json.loads(text[node.start : node.end])
        assert node.kind is (type(value) if isinstance(value, (dict, list, str)) else object)
        assert [member.key for member in node.members] == (list(value) if isinstance(value, dict) else list(range(len(node.members))))
