"""The splices hold here: only the named path changes, every other byte stays, and what does not fit is said by name."""

import copy
import difflib
import json
import random
import re
from dataclasses import dataclass

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from connectors.splicing.splices import UNSET, Located, Unfit, apply

MANY = settings(max_examples=400, suppress_health_check=list(HealthCheck))


def changed(text: str, kind: str, *edits: Located) -> str:
    """The lines that go (-) and come (+), nothing else."""
    lines = difflib.ndiff(text.splitlines(keepends=True), apply(text, kind, edits).splitlines(keepends=True))
    return "".join(line for line in lines if line[0] in "+-")


def code(text: str, kind: str, *edits: Located) -> str:
    with pytest.raises(Unfit) as caught:
        apply(text, kind, edits)
    return caught.value.code


# ---- any document, any style, any edit


@dataclass
class Style:
    """How a made-up document is written; `rnd` decides container by container."""

    rnd: random.Random
    unit: str
    colon: str
    comma: str
    nl: str
    ascii: bool
    wide: float
    comments: bool = False


WORDS = ["a", "when", "fact: poa", "x.y/z w", "é ü", "😀 face", "tab\there", "line\nbreak", ""]
WORDS += ["no", "12", "it's", 'say "so"', "#not", "- dash", "{b}", "null"]


def value_of(rnd: random.Random, depth: int):
    pick = rnd.random()
    if depth and pick < 0.35:
        return {key: value_of(rnd, depth - 1) for key in rnd.sample(WORDS, rnd.randint(0, 4))}
    if depth and pick < 0.55:
        return [value_of(rnd, depth - 1) for _ in range(rnd.randint(0, 4))]
    return rnd.choice([0, 7, -3, 2.5, True, False, None, *WORDS])


def json_text(value, style: Style, indent: str = "") -> str:
    if not isinstance(value, (dict, list)) or not value:
        return json.dumps(value, ensure_ascii=style.ascii)
    wide, inner = style.rnd.random() < style.wide, indent + style.unit
    if isinstance(value, dict):
        parts = [json.dumps(key, ensure_ascii=style.ascii) + style.colon + json_text(item, style, inner) for key, item in value.items()]
    else:
        parts = [json_text(item, style, inner) for item in value]
    left, right = "{}" if isinstance(value, dict) else "[]"
    if wide:
        return left + style.nl + inner + ("," + style.nl + inner).join(parts) + style.nl + indent + right
    return left + style.comma.join(parts) + right


def yaml_word(word: str, rnd: random.Random) -> str:
    ways = [json.dumps(word, ensure_ascii=False), json.dumps(word, ensure_ascii="😀" not in word)]  # YAML knows no surrogate pairs
    if word.isprintable():
        ways.append("'" + word.replace("'", "''") + "'")
    if word in ("a", "when", "é ü", "it's", "x.y/z w"):
        ways += [word] * 3
    return rnd.choice(ways)


def yaml_flow(value, style: Style) -> str:
    if isinstance(value, str):
        return yaml_word(value, style.rnd)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{yaml_word(key, style.rnd)}: {yaml_flow(item, style)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(yaml_flow(item, style) for item in value) + "]"
    return json.dumps(value)


def yaml_block(value, style: Style, indent: str) -> str:
    """Lines of a non-empty collection, each with its line break."""
    out = []
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if style.comments and style.rnd.random() < 0.25:
            out.append(style.rnd.choice([f"{indent}# note {style.rnd.randint(0, 999)}", "", "# far left"]) + style.nl)
        head = indent + (yaml_word(key, style.rnd) + ":" if isinstance(value, dict) else "-")
        tail = f"  # on line {style.rnd.randint(0, 999)}" if style.comments and style.rnd.random() < 0.2 else ""
        if isinstance(item, (dict, list)) and item and style.rnd.random() < style.wide:
            same = isinstance(item, list) and isinstance(value, dict) and style.unit == ""
            inner = indent if same else indent + (style.unit or "  ")
            below = yaml_block(item, style, inner)
            if isinstance(value, list) and inner == indent + "  " and below.startswith(inner) and below[len(inner)] not in "# \r\n":
                out.append(head + " " + below[len(inner) :])
            else:
                out.append(head + tail + style.nl + below)
        elif isinstance(item, str) and item.isprintable() and item.strip() and style.rnd.random() < 0.15:
            out.append(head + " " + style.rnd.choice("|>") + "-" + style.nl + indent + "    " + item + style.nl)
        else:
            out.append(head + (" " + yaml_flow(item, style) if item is not None or isinstance(value, list) else "") + tail + style.nl)
    return "".join(out)


def places(value, path=()):
    """Every path below the top, with what stands there."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, str(key)), item
        yield from places(item, (*path, str(key)))


def holders(document):
    return [((), document), *((path, item) for path, item in places(document) if isinstance(item, (dict, list)))]


def random_edit(document, rnd: random.Random) -> Located | None:
    """An edit that fits, or None when the document has no place for the kind that was picked."""
    op = rnd.choice(["set", "add", "append", "remove", "replace_text"])
    every = list(places(document))
    new = value_of(rnd, 2)
    if op == "add":
        found = [(path, item) for path, item in holders(document) if isinstance(item, dict)]
        if not found:
            return None
        path, item = rnd.choice(found)
        return Located("add", (*path, "brand.new/key"), new, before=rnd.choice([None, *item]))
    if op == "append":
        found = [(path, item) for path, item in every if isinstance(item, list)]
        return Located("append", rnd.choice(found)[0], new) if found else None
    if op == "replace_text":
        found = [(path, item) for path, item in every if isinstance(item, str) and item]
        if not found:
            return None
        path, item = rnd.choice(found)
        at = rnd.randrange(len(item))
        return Located("replace_text", path, rnd.choice(["", "new", 'q"uote', "é", "a: b #c"]), old=item[at : at + rnd.randint(1, 3)])
    if not every:
        return None
    path, item = rnd.choice(every)
    return Located("remove", path) if op == "remove" else Located("set", path, new, was=rnd.choice([UNSET, item]))


def expected(document, edit: Located):
    """What the edit means, said a second time and more simply."""
    if isinstance(document, list):
        listed = expected({str(index): item for index, item in enumerate(document)}, edit)
        return list(listed.values())
    head, rest = edit.path[0], edit.path[1:]
    if rest:
        below = Located(edit.op, rest, edit.value, edit.was, edit.before, edit.old)
        return {key: expected(item, below) if key == head else item for key, item in document.items()}
    if edit.op == "add":
        names = list(document)
        names.insert(names.index(edit.before) if edit.before is not None else len(names), head)
        return {name: edit.value if name == head else document[name] for name in names}
    if edit.op == "remove":
        return {key: item for key, item in document.items() if key != head}
    new = {
        "set": lambda old: edit.value,
        "append": lambda old: [*old, edit.value],
        "replace_text": lambda old: old.replace(edit.old, edit.value),
    }[edit.op]
    return {key: new(item) if key == head else item for key, item in document.items()}


def window(old: str, new: str) -> tuple[str, str]:
    """What is left of both texts without their common beginning and end."""
    least = min(len(old), len(new))
    front = next((at for at in range(least) if old[at] != new[at]), least)
    back = next((at for at in range(least - front) if old[-1 - at] != new[-1 - at]), least - front)
    return old[front : len(old) - back], new[front : len(new) - back]


def comments(text: str) -> list[str]:
    return [*re.findall(r"(?m)^ *# [^\r\n]*", text), *re.findall("  # on line [0-9]+", text)]


def at(document, path):
    for key in path:
        document = document[int(key) if isinstance(document, list) else key]
    return document


def check_window(text: str, after: str, document, edit: Located) -> None:
    gone, come = window(text, after)
    target = at(document, edit.path[:-1] if edit.op == "add" else edit.path)
    if edit.op in ("add", "append"):
        assert len(gone) <= (0 if target else 3), "adding takes nothing away but an empty collection"
    elif edit.op == "remove":
        last = len(at(document, edit.path[:-1])) == 1
        assert come == "" or (last and (len(come) <= 3 or "[]" in come or "{}" in come)), "removing adds nothing but an empty collection"
    elif not isinstance(target, (dict, list)):
        most = len(json.dumps(target)) if not isinstance(target, str) else len(json.dumps(target, ensure_ascii=True)) + 20
        assert len(gone) <= most + 1, "only the scalar itself is replaced"


@MANY
@given(st.randoms(use_true_random=False))
def test_a_json_edit_changes_its_path_and_nothing_else(rnd):
    unit, nl = rnd.choice(["  ", "    ", "\t", " "]), rnd.choice(["\n", "\n", "\r\n"])
    style = Style(rnd, unit, rnd.choice([": ", ":", " : "]), rnd.choice([", ", ","]), nl, rnd.random() < 0.3, rnd.choice([0, 0.5, 1]))
    document = value_of(rnd, 4)
    document = document if isinstance(document, (dict, list)) else {"only": document}
    text = rnd.choice(["", "\n", "  "]) + json_text(document, style) + rnd.choice(["", style.nl])
    edit = next(filter(None, (random_edit(document, rnd) for _ in range(20))), None)
    assume(edit)
    after = apply(text, "json", [edit])
    assert json.dumps(json.loads(after)) == json.dumps(expected(copy.deepcopy(document), edit))
    check_window(text, after, document, edit)


@pytest.mark.parametrize("flow", [False, True])
@MANY
@given(rnd=st.randoms(use_true_random=False))
def test_a_yaml_edit_changes_its_path_and_nothing_else(flow, rnd):
    unit, nl = rnd.choice(["  ", "    ", ""]), rnd.choice(["\n", "\n", "\r\n"])
    style = Style(rnd, unit, ": ", ", ", nl, False, rnd.choice([0.3, 0.7, 1]), comments=rnd.random() < 0.6)
    document = value_of(rnd, 4)
    document = document if isinstance(document, (dict, list)) and document else {"only": document}
    text = yaml_flow(document, style) + style.nl if flow else yaml_block(document, style, "")
    text = text if rnd.random() < 0.7 else text.removesuffix(style.nl)
    assert yaml.safe_load(text) == document, "the generator writes what it means"
    edit = next(filter(None, (random_edit(document, rnd) for _ in range(20))), None)
    assume(edit)
    try:
        after = apply(text, "yaml", [edit])
    except Unfit as unfit:  # a phrase of a block scalar may not be replaceable without writing the whole anew
        assert unfit.code == "not_expressible" and edit.op == "replace_text" and re.search(r"(?m)[|>]-\r?$", text)
        return
    assert json.dumps(yaml.safe_load(after)) == json.dumps(expected(copy.deepcopy(document), edit))
    if edit.op != "set":
        gone = [note for note in comments(text) if note not in comments(after)]
        assert not gone or (edit.op == "remove" and (isinstance(at(document, edit.path), (dict, list)) or len(gone) == 1))
    check_window(text, after, document, edit)


# ---- how an edit looks


NESTED = """{
  "account": {
    "weights": {
      "email": 4,
      "postcode": 2
    },
    "handles": ["spaces", "dots"],
    "none": {}
  }
}
"""
BLOCK = """\
# head
weights:   # of fields
  email: 4  # mail
  # about the postcode
  postcode: 2
plans:
  cash:
    - name: tie
      when: two best
    # the last one
    - name: default
      when: otherwise
line: {a: x, b: [y, z]}
text: |
  Hello there,
  friend

empty:
"""


def test_a_scalar_changes_alone_on_its_line():
    assert changed(NESTED, "json", Located("set", ("account", "weights", "email"), 6, was=4)) == '-       "email": 4,\n+       "email": 6,\n'
    assert changed(BLOCK, "yaml", Located("set", ("weights", "email"), 6, was=4)) == "-   email: 4  # mail\n+   email: 6  # mail\n"


def test_new_members_look_like_their_siblings():
    assert changed(NESTED, "json", Located("add", ("account", "weights", "iban"), 8, before="postcode")) == '+       "iban": 8,\n'
    assert changed(NESTED, "json", Located("append", ("account", "handles"), "masked")) == (
        '-     "handles": ["spaces", "dots"],\n+     "handles": ["spaces", "dots", "masked"],\n'
    )
    assert changed(NESTED, "json", Located("add", ("guest",), {"weights": {"email": 1}, "handles": ["x"]})) == (
        '+   },\n+   "guest": {\n+     "weights": {\n+       "email": 1\n+     },\n+     "handles": ["x"]\n'
    )
    assert changed(NESTED, "json", Located("add", ("account", "none", "a"), 1)) == '-     "none": {}\n+     "none": {\n+       "a": 1\n+     }\n'
    lines = '{\n\t"a": {"when":"x","tools":[1,2]},\n\t"b": {"when":"y"}\n}'
    assert changed(lines, "json", Located("add", ("c",), {"when": "é", "tools": [3, 4]}, before="b")) == '+ \t"c": {"when":"é","tools":[3,4]},\n'
    assert apply('{"a":1,"b":[ ]}', "json", [Located("add", ("c",), {"d": [1]}), Located("append", ("b",), "x")]) == '{"a":1,"b":["x"],"c":{"d":[1]}}'


def test_yaml_members_keep_comments_with_their_neighbours():
    assert changed(BLOCK, "yaml", Located("add", ("weights", "iban"), 8, before="postcode")) == "+   iban: 8\n"
    after = apply(BLOCK, "yaml", [Located("add", ("weights", "iban"), 8, before="postcode")])
    assert "  email: 4  # mail\n  iban: 8\n  # about the postcode\n  postcode: 2\n" in after
    branch = {"name": "hold", "when": "a: b"}
    assert changed(BLOCK, "yaml", Located("append", ("plans", "cash"), branch)) == '+     - name: hold\n+       when: "a: b"\n'
    assert changed(BLOCK, "yaml", Located("add", ("plans", "card"), [{"name": "x"}])) == "+   card:\n+     - name: x\n"
    assert changed(BLOCK, "yaml", Located("remove", ("plans", "cash", "0"))) == "-     - name: tie\n-       when: two best\n"
    assert changed(BLOCK, "yaml", Located("add", ("line", "c"), "w")) == "- line: {a: x, b: [y, z]}\n+ line: {a: x, b: [y, z], c: w}\n"
    assert changed(BLOCK, "yaml", Located("set", ("empty",), "no")) == '- empty:\n+ empty: "no"\n'


def test_comments_inside_a_yaml_flow_mapping_stay_with_their_member():
    flow = "w: {\n  a: 1,  # one\n  # about b\n  b: 2  # two\n}\n"
    assert apply(flow, "yaml", [Located("add", ("w", "z"), 0, before="b")]) == "w: {\n  a: 1,  # one\n  z: 0,\n  # about b\n  b: 2  # two\n}\n"
    assert apply(flow, "yaml", [Located("add", ("w", "z"), 0)]) == "w: {\n  a: 1,  # one\n  # about b\n  b: 2,  # two\n  z: 0\n}\n"
    assert apply(flow, "yaml", [Located("remove", ("w", "b"))]) == "w: {\n  a: 1,  # one\n  # about b\n}\n"


def test_an_item_is_removed_by_its_value():
    assert apply('{"a": ["p", "q"]}', "json", [Located("remove", ("a",), "p")]) == '{"a": ["q"]}'
    noted = "a:  # why\n  # forms\n  - p  # p\nb: 1\n"
    assert apply(noted, "yaml", [Located("remove", ("a",), "p")]) == "a: []  # why\n  # forms\nb: 1\n"
    assert apply("a:\n- p\n- q\n", "yaml", [Located("remove", ("a",), "q"), Located("remove", ("a",), "p")]) == "a: []\n"


def test_a_phrase_is_replaced_and_the_rest_of_the_spelling_stays():
    text = r'{"t": {"a": "caf\u00e9 \/ old \ud83d\ude00", "b": "an old \"one\"", "c": "new"}, "n": 1}'
    after = apply(text, "json", [Located("replace_text", ("t", ...), 'q"', old="old")])
    assert after == r'{"t": {"a": "caf\u00e9 \/ q\" \ud83d\ude00", "b": "an q\" \"one\"", "c": "new"}, "n": 1}'
    assert changed(BLOCK, "yaml", Located("replace_text", ("text",), "all\nof you", old="friend")) == "-   friend\n+   all\n+   of you\n"
    assert apply("a: 'it''s old'\n", "yaml", [Located("replace_text", ("a",), "John's", old="old")]) == "a: 'it''s John''s'\n"
    assert apply("a: plain old  # c\n", "yaml", [Located("replace_text", ("a",), "x: y", old="old")]) == 'a: "plain x: y"  # c\n'
    assert apply('a: "one\n  two old"\n', "yaml", [Located("replace_text", ("a",), "new", old="old")]) == 'a: "one\n  two new"\n'


def test_line_ends_tabs_and_a_missing_last_line_break_stay():
    assert apply('{\r\n\t"a": 1\r\n}', "json", [Located("add", ("b",), [2])]) == '{\r\n\t"a": 1,\r\n\t"b": [2]\r\n}'
    assert apply("a:\r\n  - x\r\n  - y # c\r\nb: 1", "yaml", [Located("append", ("a",), "z"), Located("add", ("c",), 2)]) == (
        "a:\r\n  - x\r\n  - y # c\r\n  - z\r\nb: 1\r\nc: 2"
    )
    assert apply("a: 1\nb: 2", "yaml", [Located("remove", ("b",))]) == "a: 1"
    assert apply("a:\n  x: 1\n\n  y: 2\n\nb: 1", "yaml", [Located("add", ("a", "z"), 0)]) == "a:\n  x: 1\n\n  y: 2\n\n  z: 0\n\nb: 1"


def test_yaml_text_is_quoted_when_it_would_read_as_something_else():
    for word in ["no", "y", "12", "1:30", "null", "a: b", "x #y", "", " pad", "2024-01-02", "- x", "\x85\u2028", "line\nbreak", "~", "*a", "{x}"]:
        after = apply("a: plain\nb: 'single'\n", "yaml", [Located("set", ("a",), word), Located("set", ("b",), word)])
        assert yaml.safe_load(after) == {"a": word, "b": word}
        assert after.startswith('a: "')
    assert apply("a: plain\nb: 'single'\n", "yaml", [Located("set", ("a",), "word"), Located("set", ("b",), "it's")]) == "a: word\nb: 'it''s'\n"


ALIASES = "base: &x {a: 1}\nuse: *x\nother: 1\nmerged:\n  <<: *x\n  b: 2\n"


@pytest.mark.parametrize(
    ("text", "kind", "edit", "named"),
    [
        ('{"a":1,"a":2}', "json", Located("set", ("a",), 3), "duplicate_key"),
        ('{"b":{"a":1,"a":2},"c":1}', "json", Located("set", ("c",), 3), "duplicate_key"),
        ("a: 1\na: 2\n", "yaml", Located("set", ("a",), 3), "duplicate_key"),
        ("\ufeff{}", "json", Located("add", ("a",), 3), "bom"),
        ('{"a": NaN}', "json", Located("set", ("a",), 3), "unparsable"),
        ("a: [\n", "yaml", Located("set", ("a",), 3), "unparsable"),
        ("", "yaml", Located("add", ("a",), 3), "unparsable"),
        ("a: 1\n---\nb: 2\n", "yaml", Located("set", ("a",), 3), "unparsable"),
        ("[" * 9000 + "]" * 9000, "json", Located("set", ("0",), 3), "unparsable"),
        (ALIASES, "yaml", Located("set", ("base", "a"), 3), "alias"),
        (ALIASES, "yaml", Located("set", ("use", "a"), 3), "alias"),
        (ALIASES, "yaml", Located("set", ("use",), 3), "alias"),
        (ALIASES, "yaml", Located("set", ("merged", "a"), 3), "alias"),
        ('{"a": 1}', "json", Located("set", ("b",), 3), "path_missing"),
        ('{"a": [1]}', "json", Located("set", ("a", "1"), 3), "path_missing"),
        ('{"a": [1]}', "json", Located("set", ("a", "-1"), 3), "path_missing"),
        ('{"a": 1}', "json", Located("set", (), 3), "path_missing"),
        ('{"a": 1}', "json", Located("set", (...,), 3), "path_missing"),
        ('{"a": 1}', "json", Located("add", ("b",), 3, before="c"), "path_missing"),
        ('{"a": [1]}', "json", Located("remove", ("a",), 2), "path_missing"),
        ('{"a": [1, 1]}', "json", Located("remove", ("a",), 1), "value_twice"),
        ('{"a": 1}', "json", Located("add", ("a",), 3), "path_exists"),
        ('{"a": 1}', "json", Located("set", ("a",), 3, was=2), "value_differs"),
        ('{"a": 1}', "json", Located("set", ("a",), 3, was=True), "value_differs"),
        ('{"a": 1}', "json", Located("set", ("a", "b"), 3), "not_a_mapping"),
        ('{"a": [1]}', "json", Located("add", ("a", "b"), 3), "not_a_mapping"),
        ('{"a": 1}', "json", Located("append", ("a",), 3), "not_a_list"),
        ('{"a": "x"}', "json", Located("replace_text", ("a",), "z", old="y"), "text_not_found"),
        ('{"a": ""}', "json", Located("replace_text", ("a",), "z", old=""), "text_not_found"),
        ('{"a": 1}', "json", Located("set", ("a",), float("nan")), "not_expressible"),
        ('{"a": 1}', "json", Located("set", ("a",), "\ud800"), "not_expressible"),
        ("? a\n: 1\n", "yaml", Located("add", ("b",), 3, before="a"), "not_expressible"),
        ("a: >\n  one\n  two\n", "yaml", Located("replace_text", ("a",), "x", old="one two"), "not_expressible"),
    ],
)
def test_what_does_not_fit_is_said_by_name(text, kind, edit, named):
    assert code(text, kind, edit) == named


def test_the_edit_beside_an_alias_is_made():
    after = apply(ALIASES, "yaml", [Located("set", ("other",), 3), Located("set", ("merged", "b"), 4)])
    assert after == ALIASES.replace("other: 1", "other: 3").replace("b: 2", "b: 4")


def test_reasons_name_the_path_and_never_a_value():
    with pytest.raises(Unfit) as caught:
        apply('{"a": {"k\\n": "secret"}}', "json", [Located("set", ("a", "k\n"), "other secret", was="third")])
    assert "a > k?" in str(caught.value) and "secret" not in str(caught.value) and "third" not in str(caught.value)
