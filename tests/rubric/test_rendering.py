"""Templates of the manifest: values keep their type, nothing filled in is read again, what cannot be named is refused."""

import pytest

from rubric.rendering import BadTemplate, NothingToName, asked, render, render_word

FIELDS = {
    "to": 7,
    "leaf": "cards/lost",
    "template": "close.joint",
    "cues": {"please block": 7},
    "tools": ["stop", "order"],
    "reply": None,
    "evil": "{to} {{x}}",
    "after": {"fetch": [{"record_id": "c1"}]},
    "none": [],
    "written": ["block", {"name": "order", "send": "fields"}],
}


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{to}", 7),
        ("weight {to}", "weight 7"),
        ("{cues}", {"please block": 7}),
        ("{leaf|parent}", "cards"),
        ("{leaf|leaf}", "lost"),
        ("{template|group}.{template|name}", "close.joint"),
        ("{cues|keys}", ["please block"]),
        ("{tools.1}", "order"),
        ("{written|named}", [{"name": "block"}, {"name": "order", "send": "fields"}]),
        ("{after.fetch.0.record_id}", "c1"),
        ("{after.fetch.5.record_id}", None),
        ("{{literal}}", "{literal}"),
        ("{evil}", "{to} {{x}}"),
        ({"when": "{leaf}", "text": "{reply}"}, {"when": "cards/lost"}),
        (["{to}", "x"], [7, "x"]),
        (True, True),
    ],
)
def test_render(template: object, value: object) -> None:
    assert render(template, FIELDS) == value


@pytest.mark.parametrize("template", ["{unknown}", "a {tools} b", "{to", "to}", "{to|shout}", {"{to}": 1, "7": 2}])
def test_a_bad_template_is_refused(template: object) -> None:
    with pytest.raises(BadTemplate):
        render(template, FIELDS)


@pytest.mark.parametrize("template", ["{reply}", "{tools}", "{none}"])
def test_a_name_has_to_be_a_text(template: str) -> None:
    with pytest.raises(NothingToName):
        render_word(template, FIELDS, "a key")


def test_conditions_may_leave_the_braces_out() -> None:
    assert asked("reply", FIELDS) is None and asked("{to}", FIELDS) == 7
