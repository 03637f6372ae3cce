"""What is ambiguous in JSON or YAML from outside is refused with its place, never guessed."""

import json
import math
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rubric.strict import MAX_DEPTH, MAX_INTEGER, Unreadable, load_json, load_yaml

fixed = settings(max_examples=1000)


def refusal(call: Any) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        call()
    return caught.value


# --- YAML ---


@pytest.mark.parametrize("word", ["no", "No", "NO", "yes", "Yes", "on", "On", "ON", "off", "Off", "y", "n", "Y", "N"])
def test_yes_and_no_stay_words(word: str) -> None:
    assert load_yaml(f"a: {word}", what="f") == {"a": word}


@pytest.mark.parametrize(
    "word",
    [
        "12:30:45",
        "1:30",
        "190:20:30.15",
        "010",
        "0o17",
        "0x1F",
        "0b11",
        "1_000",
        "1_0.5",
        "00.5",
        "1e3",
        "1.5e3",
        ".inf",
        "-.inf",
        ".nan",
        ".NaN",
        "-.5",
        "+",
        "-",
        "=",
        "<<",
        "2024-01-01",
        "2024-01-01T10:00:00Z",
        "1.2.3",
        "v1",
    ],
)
def test_what_readers_disagree_on_stays_text(word: str) -> None:
    assert load_yaml(f"a: {word if word != '-' else repr(word)}", what="f") == {"a": word}


@pytest.mark.parametrize(
    ("word", "value"),
    [
        *[(word, None) for word in ("", "~", "null", "Null", "NULL")],
        *[(word, True) for word in ("true", "True", "TRUE")],
        *[(word, False) for word in ("false", "False", "FALSE")],
        *[("0", 0), ("1", 1), ("-1", -1), ("+1", 1), (str(MAX_INTEGER), MAX_INTEGER)],
        *[("1.5", 1.5), ("-0.5", -0.5), ("1.", 1.0), (".5", 0.5), ("1.5e+3", 1500.0), ("1.0e-3", 0.001)],
    ],
)
def test_plain_words_still_type(word: str, value: object) -> None:
    found = load_yaml(f"a: {word}", what="f")["a"]
    assert found == value
    assert type(found) is type(value)


def test_a_version_number_must_be_quoted_to_stay_text() -> None:
    """`1.10` is a number to every YAML reader; a schema that wants text refuses the number, so nothing is lost in silence."""
    assert load_yaml("a: 1.10\nb: '1.10'", what="f") == {"a": 1.1, "b": "1.10"}
    assert type(load_yaml("a: 1.10", what="f")["a"]) is float


@pytest.mark.parametrize("word", ["12:30:45", "1", "true", "~", "null", "1.5"])
def test_quoted_words_stay_text(word: str) -> None:
    assert load_yaml(f"a: '{word}'\nb: \"{word}\"", what="f") == {"a": word, "b": word}


ALIAS_BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdef", "bcdefg", strict=True)
)


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        (ALIAS_BOMB, "alias", "line 2"),
        ("a: &a [*a]", "alias", "line 1"),
        ("base: &b {x: 1}\nuse:\n  <<: *b", "alias", "line 3"),
        ("weight: 1\nweight: 99", "duplicate_key", "line 2"),
        ("a:\n  b: 1\n  'b': 2", "duplicate_key", "line 3"),
        ("a: [{b: 1, b: 2}]", "duplicate_key", "'b'"),
        ("1: a", "key_not_text", "'1'"),
        ("true: a", "key_not_text", "'true'"),
        ("~: a", "key_not_text", "'~'"),
        ("1.5: a", "key_not_text", "'1.5'"),
        ("? [a, b]\n: c", "key_not_text", "line 1"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "too_deep", "line 1"),
        ("[" * 200_000, "too_deep", "line 1"),
        ("{a: " * 200_000, "too_deep", "line 1"),
        ("- " * 10_000 + "x", "too_deep", "line 1"),
        ("a: !!python/object/apply:os.system [echo]", "tag", "python/object"),
        ("a: !!python/name:os.system ''", "tag", "python/name"),
        ("%TAG ! tag:yaml.org,2002:python/object:\n---\n!os.system x", "tag", "line 3"),
        ("a: !custom x", "tag", "!custom"),
        # each of these five left load_yaml as AttributeError, KeyError, TypeError or IndexError while tags were read
        ("a: !!timestamp x", "tag", "timestamp"),
        ("a: !!bool x", "tag", "bool"),
        ("!!map [1]", "tag", "map"),
        ("a: !!int ''", "tag", "int"),
        ("a: !!float ''", "tag", "float"),
        ("a: !!set {x}", "tag", "set"),
        ("a: !!binary eA==", "tag", "binary"),
        (f"a: {MAX_INTEGER + 1}", "number_too_large", "line 1"),
        ("a: 1\nb: " + "9" * 5000, "number_too_large", "line 2"),
        ("a: 1.0e+400", "number_too_large", "line 1"),
        ("a: " + "9" * 400 + ".0", "number_too_large", "line 1"),
        ("\ta: 1", "not_yaml", "line 1"),
        ("a:\n\tb: 1", "not_yaml", "line 2"),
        ("a: b: c", "not_yaml", "line 1"),
        ("a: 'open", "not_yaml", "line 1"),
        ("a: \x07", "not_yaml", "#x0007"),
        ("a: \ud800", "not_yaml", "#xd800"),
        ("a: 1\n---\nb: 2", "not_yaml", "line 2"),
        ('a: "\\UFFFFFFFF"', "not_yaml", "f"),
        ('a: "\\U00110000"', "not_yaml", "f"),
        ("%YAML 2.0\n---\na: 1", "not_yaml", "line 1"),
    ],
)
def test_yaml_refused(text: str, code: str, says: str) -> None:
    error = refusal(lambda: load_yaml(text, what="f"))
    assert error.code == code
    assert str(error).startswith("f")
    assert says in str(error)


def test_deepest_yaml_comes_in() -> None:
    assert load_yaml("[" * MAX_DEPTH + "]" * MAX_DEPTH, what="f")
    assert load_yaml("[" * 8 + "]" * 8 + "\n", what="f") == [[[[[[[[]]]]]]]]


def test_anchors_without_alias_and_empty_documents_come_in() -> None:
    assert load_yaml("a: &x [1]", what="f") == {"a": [1]}
    assert load_yaml("", what="f") is None


@fixed
@given(st.text(st.sampled_from("abnoyxeE019.:_-+~=<[]{},&*!%|>?'\"\\#\t\n UFtrue"), max_size=40) | st.text(max_size=40))
@example("!")
def test_any_text_is_yaml_or_unreadable(text: str) -> None:
    try:
        json.dumps(load_yaml(text, what="f"), allow_nan=False)
    except Unreadable as error:
        assert error.code in {"alias", "tag", "too_deep", "key_not_text", "duplicate_key", "number_too_large", "not_yaml"}


@fixed
@given(st.text("0123456789.+-_eExobtrufalsn~:NU", min_size=1, max_size=8))
@example("true")
@example("1.5")
def test_a_plain_word_is_what_pyyaml_says_or_text(word: str) -> None:
    """We type fewer words than YAML 1.1, never other ones."""
    try:
        ours = load_yaml(f"[{word}]", what="f")
        theirs = yaml.safe_load(f"[{word}]")
    except (Unreadable, ValueError, yaml.YAMLError):
        return
    assert isinstance(ours, list)
    if len(ours) == 1 and not isinstance(ours[0], str | dict):
        assert ours == theirs
        assert type(ours[0]) is type(theirs[0])


# --- JSON ---


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (b"", "not_json", "line 1"),
        (b"\xff", "not_utf8", "byte 0"),
        (b'"\xed\xa0\x80"', "not_utf8", "byte 1"),
        (b"\xef\xbb\xbf{}", "not_json", "BOM"),
        (b"{} {}", "not_json", "Extra data"),
        (b"[1,]", "not_json", "line 1"),
        (b"{'a': 1}", "not_json", "line 1"),
        (b"[01]", "not_json", "line 1"),
        (b'{"a":\n  tru}', "not_json", "line 2"),
        (b'"\x00"', "not_json", "control character"),
        (b'"\\', "not_json", "line 1"),
        (b'{"a": 1, "a": 1}', "duplicate_key", "'a'"),
        (b'[{"\\u0061": 1, "a": 2}]', "duplicate_key", "'a'"),
        (b'{"%b": 1, "%b": 2}' % (b"k" * 5000, b"k" * 5000), "duplicate_key", "kkk"),
        (b"NaN", "not_a_number", "NaN"),
        (b"[-Infinity]", "not_a_number", "Infinity"),
        (b"1e999", "number_too_large", "1e999"),
        (str(MAX_INTEGER + 1).encode(), "number_too_large", "2^53"),
        (str(-MAX_INTEGER - 1).encode(), "number_too_large", "2^53"),
        (str(2**63).encode(), "number_too_large", "2^53"),
        (b"9" * 5000, "number_too_large", "2^53"),
        (b"-" + b"9" * 1_000_000, "number_too_large", "2^53"),
        (b"[" * 200_000, "too_deep", "32"),
        (b'{"a":' * 200_000, "too_deep", "32"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "too_deep", "32"),
    ],
)
def test_json_refused(data: bytes, code: str, says: str) -> None:
    error = refusal(lambda: load_json(data, what="row 7"))
    assert error.code == code
    assert says in str(error)
    assert len(str(error)) < 200


def test_the_first_of_many_keys_that_stands_twice_is_found_in_time() -> None:
    data = json.dumps({f"k{n}": n for n in range(50_000)})[:-1] + ', "k49999": 1}'
    assert "'k49999'" in str(refusal(lambda: load_json(data.encode())))


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"null", None),
        (str(MAX_INTEGER).encode(), MAX_INTEGER),
        (str(-MAX_INTEGER).encode(), -MAX_INTEGER),
        (b"-0", 0),
        (b"1.0", 1.0),
        (b"1e5", 1e5),
        (b"1e-9999", 0.0),
        (b' {"a": [1, "\\u00e9 [[[ {{{ \\" [["]}\r\n', {"a": [1, 'é [[[ {{{ " [[']}),
        (b'["' + b"[" * 100 + b'"]', ["[" * 100]),
        (b'{"a": {"a": 1}}', {"a": {"a": 1}}),
    ],
)
def test_json_that_comes_in(data: bytes, value: object) -> None:
    found = load_json(data)
    assert found == value
    assert type(found) is type(value)


def test_deepest_json_comes_in() -> None:
    assert load_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)


@fixed
@given(st.binary(max_size=60) | st.text(st.sampled_from('[]{}",:\\u0dE-+.1tfn \n'), max_size=60).map(str.encode))
def test_any_bytes_are_json_or_unreadable(data: bytes) -> None:
    try:
        load_json(data)
    except Unreadable as error:
        assert error.code in {"not_utf8", "not_json", "duplicate_key", "not_a_number", "number_too_large", "too_deep"}


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@fixed
@given(VALUE)
def test_what_json_writes_comes_back(value: Any) -> None:
    assert load_json(json.dumps(value).encode()) == value
    assert all(math.isfinite(number) for number in [value] if isinstance(number, float))
