"""The precedent critic on a small bank: what it offers, how it weighs precedents, when it abstains. No example is taken from a data set."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rubric.catalogue import load
from rubric.drafting import Abstained, Brief, Drafted, Neighbour, Precedent
from rubric.entries import Inventory
from rubric.lint import confirmable, lint
from rubric.manifest import read_inventory, read_manifest
from rubric.precedents import answer, nearest
from rubric.schema import Case, Outcome, text_of

CATALOGUE = load()
SUITE = "{id: %s, argv: [x], results: {format: rows-jsonl, path: x}, timeout_s: 1, min_rows: 1}"
MANIFEST = "version: 1\nsteps:\n" + "".join(
    f"  {step}:\n    watches: [{path}]\n    inventory: {{kind: json, path: {path}, ids: {ids}}}\n    view: {view}\n    suites: [{SUITE % step}]\n"
    for step, path, ids, view in [
        ("intent", "i.json", '"*.*"', "{about: [about], cues: [cues]}"),
        ("extraction", "e.json", '"*.*"', "{label: [label], pattern: [pattern]}"),
        ("fetch", "f.json", '["weights.*", "threshold"]', "{}"),
        ("plan", "p.json", '["*", "*.*"]', "{condition: [when], template: [template], tools: [tools]}"),
        ("reply", "r.json", '"*.*"', "{text: []}"),
    ]
)
FILES = {
    "i.json": """{"parcel": {"late": {"about": "a parcel is late", "cues": {"late": 5, "delayed": 5}},
                 "broken": {"about": "what came was damaged", "cues": {"damaged": 5, "smashed": 5}}, "other": {"about": "else", "cues": {"parcel": 1}}}}""",
    "e.json": """{"order": {"order_number": {"label": "order number", "pattern": "\\\\b(O-[0-9]{5})\\\\b"}}, "person": {"email": {"label": "e-mail"}}}""",
    "f.json": """{"weights": {"email": 4, "city": 5, "order_number": 3}, "threshold": 5}""",
    "p.json": """{"parcel/late": {"locked": {"when": "flag locked", "template": "security.call", "tools": ["open_case"]},
                 "default": {"when": "otherwise", "template": "late.sorry", "tools": ["trace"]}},
                 "parcel/broken": {"no_ticket": {"when": "missing order.voucher", "template": "broken.ask", "tools": []},
                 "default": {"when": "otherwise", "template": "broken.replace", "tools": ["replace"]}},
                 "parcel/other": {"locked": {"when": "flag locked", "template": "security.call", "tools": ["open_case"]},
                 "default": {"when": "otherwise", "template": "other.read", "tools": []}}}""",
    "r.json": """{"security": {"call": "our security desk will call you back today."}, "late": {"sorry": "your parcel is on its way. Bear with us."},
                 "broken": {"ask": "please tell us the voucher code on the box.", "replace": "a new one leaves tomorrow."}, "other": {"read": "we will read it."}}""",
}


@pytest.fixture(scope="module")
def inventory() -> Inventory:
    return read_inventory(read_manifest(MANIFEST), FILES)


def case(comment: str, *, leaf: str = "parcel/late", text: str = "Where is it?", reply: str = "", **plan: Any) -> Case:
    rejection = {"comment": comment, "by": "a", "at": "2025-01-01T00:00:00Z"}
    if "corrected_reply" in plan:
        rejection["corrected_reply"] = plan.pop("corrected_reply")
    return Case.model_validate(
        {"ticket": {"messages": [{"role": "customer", "text": text}]}, "plan": {"intent_path": leaf, "reply": reply, **plan}, "rejection": rejection}
    )


def ask(inventory: Inventory, one: Case, **more: Any) -> Drafted | Abstained:
    return answer(Brief(case_id="c1", case=one, inventory=inventory, **more), CATALOGUE)


LATE = "Dear Ann,\n\nyour parcel is on its way. Bear with us."
TWO = [
    {"record_id": "r1", "score": 5, "matched_fields": ["city"]},
    {"record_id": "r2", "score": 4, "matched_fields": ["email"]},
]


@pytest.mark.parametrize(
    ("one", "recipe", "target", "values"),
    [
        (
            case('never "Bear with us.", we write "It arrives tomorrow."', reply=LATE),
            "change_reply_template",
            "reply:late.sorry",
            {"new": "It arrives tomorrow."},
        ),
        (
            case("wrong customer!! the e-mail should count more than a city", reply=LATE, fetch=TWO),
            "adjust_fetch_weight",
            "fetch:email",
            {"from": 4, "to": 6},
        ),
        (
            case("4 points is enough, lower the bar", reply=LATE, fetch=[TWO[1]]),
            "adjust_fetch_threshold",
            "fetch:threshold",
            {"from": 5, "to": 4},
        ),
        (
            case(
                "the voucher code is right there in the message, why do we ask for it",
                leaf="parcel/broken",
                text="It came smashed. Voucher V-8812.",
                reply="Dear Ann,\n\nplease tell us the voucher code on the box.",
            ),
            "add_extraction_field",
            "extraction:order.voucher",
            {"group": "order", "field": "voucher", "pattern": "\\b(V-[0-9]{4})\\b"},
        ),
        (
            case("locked customers must go to the security desk, never a new one", leaf="parcel/broken", reply="a new one leaves tomorrow."),
            "add_plan_branch",
            "plan:parcel/broken",
            {"branch": "locked", "template": "security.call", "tools": ["open_case"]},
        ),
        (
            case('this is about a broken one, not late: "arrived in pieces"', text="It arrived in pieces, and late.", reply=LATE),
            "refine_intent_boundary",
            "intent:parcel.late",
            {"to_leaf": "broken", "cues": {"arrived in pieces": 6}},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_it_offers(inventory: Inventory, one: Case, recipe: str, target: str, values: dict[str, Any]) -> None:
    reply = ask(inventory, one)
    assert isinstance(reply, Drafted), reply
    hint = reply.hints[0]
    assert (hint.recipe, hint.target) == (recipe, target)
    change = hint.change.model_dump(by_alias=True)
    assert {key: change[key] for key in values} == values
    assert all(text_of(one, span.source)[span.start : span.end] == span.quote for span in hint.evidence)
    assert confirmable(lint(hint, one, inventory, CATALOGUE))


def test_one_weight_serves_all_rejections_that_speak_of_the_field(inventory: Inventory) -> None:
    wider = [
        {"record_id": "r3", "score": 8, "matched_fields": ["city", "order_number"]},
        {"record_id": "r4", "score": 4, "matched_fields": ["email"]},
    ]
    one = case("wrong customer!! the e-mail should count more than a city", reply=LATE, fetch=TWO)
    other = Neighbour(case_id="c2", case=case("wrong person, her e-mail is right there", reply=LATE, fetch=wider))
    alone, together = ask(inventory, one), ask(inventory, one, rejected=[other])
    assert isinstance(alone, Drafted) and isinstance(together, Drafted)
    assert (alone.hints[0].change.to, together.hints[0].change.to) == (6, 9)  # type: ignore[union-attr]


def test_two_rules_in_one_comment_are_two_hints(inventory: Inventory) -> None:
    one = case('never "Bear with us.", we write "It arrives tomorrow." And not "on its way" but "with the carrier"', reply=LATE)
    reply = ask(inventory, one)
    assert isinstance(reply, Drafted)
    pairs = {(hint.change.old, hint.change.new) for hint in reply.hints}  # type: ignore[union-attr]
    assert pairs == {("Bear with us.", "It arrives tomorrow."), ("on its way", "with the carrier")}


def test_three_like_rejections_in_other_become_a_leaf(inventory: Inventory) -> None:
    def customs(number: int) -> Case:
        return case(
            "customs papers again under Other, deserves its own topic",
            leaf="parcel/other",
            text=f"The customs papers for parcel {number} are missing",
            reply="we will read it.",
            corrected_reply="the papers are on their way.",
        )

    others = [Neighbour(case_id=f"c{number}", case=customs(number)) for number in (2, 3)]
    stays = Neighbour(
        case_id="c9",
        case=Case.model_validate({**case("", leaf="parcel/other", text="parcel?").model_dump(), "verdict": "accepted", "rejection": None}),
    )
    reply = ask(inventory, customs(1), rejected=others, accepted=[stays])
    assert isinstance(reply, Drafted)
    assert reply.hints[0].recipe == "promote_other_intent"
    assert isinstance(ask(inventory, customs(1), rejected=others[:1]), Abstained)  # two are no pattern


@pytest.mark.parametrize("comment", ["no", "??", "bad", "passt nicht", "nice, but I would have called", ""])
def test_it_abstains_from_what_names_nothing(inventory: Inventory, comment: str) -> None:
    assert isinstance(ask(inventory, case(comment, reply=LATE, fetch=[TWO[0]])), Abstained)


def test_a_like_dismissal_is_remembered(inventory: Inventory) -> None:
    before = Precedent(
        case_id="c0", comment="He is a good customer, just do it", leaf="parcel/late", step="plan", recipe="policy_question", target="x"
    )
    reply = ask(inventory, case("he is a good customer, just do it", reply=LATE), precedents=[before])
    assert isinstance(reply, Abstained) and reply.outcome is Outcome.policy_question


def test_nearest_are_the_most_alike_and_at_most_five() -> None:
    made = [
        Precedent(case_id=f"c{n}", comment=f"wrong person again {n}", leaf="x", step="fetch", recipe="adjust_fetch_weight", target="t")
        for n in range(8)
    ]
    far = Precedent(case_id="z", comment="the wording sounds cold", leaf="x", step="reply", recipe="change_reply_template", target="t")
    assert len(nearest("wrong person again", [far, *made])) == 5
    assert far not in nearest("wrong person again", [far, *made])


def test_the_same_brief_gives_the_same_answer(inventory: Inventory) -> None:
    one = case("wrong customer, e-mail should count more", reply=LATE, fetch=TWO)
    assert ask(inventory, one) == ask(inventory, one)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.text(max_size=300), st.text(max_size=300), st.sampled_from(["parcel/late", "parcel/other", "gone/leaf", ""]), st.text(max_size=100))
def test_no_text_breaks_it(inventory: Inventory, comment: str, text: str, leaf: str, reply: str) -> None:
    for char in ("\x00", *map(chr, range(0xD800, 0xE000, 512))):
        comment, text, reply = (one.replace(char, "") for one in (comment, text, reply))
    made = ask(inventory, case(comment, leaf=leaf or "x", text=text, reply=reply, fetch=TWO))
    if isinstance(made, Drafted):
        assert all(span.quote for span in made.hints[0].evidence)
