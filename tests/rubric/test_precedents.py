"""The precedent critic on a small bank: what it offers, how it weighs precedents, when it abstains. No example is taken from a data set."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rubric.drafting import Abstained, Brief, Drafted, Neighbour, Precedent
from rubric.entries import Inventory
from rubric.lint import confirmable, lint
from rubric.precedents import adopted, nameable, nearest
from rubric.schema import Case, Hint, Outcome, text_of
from tests.rubric.parcels import CATALOGUE, LATE, TWO, ask, case, parcels


@pytest.fixture(scope="module")
def inventory() -> Inventory:
    return parcels()


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


@settings(max_examples=200)
@given(st.text(max_size=300), st.text(max_size=300), st.sampled_from(["parcel/late", "parcel/other", "gone/leaf", ""]), st.text(max_size=100))
def test_no_text_breaks_it(inventory: Inventory, comment: str, text: str, leaf: str, reply: str) -> None:
    for char in ("\x00", *map(chr, range(0xD800, 0xE000, 512))):
        comment, text, reply = (one.replace(char, "") for one in (comment, text, reply))
    made = ask(inventory, case(comment, leaf=leaf or "x", text=text, reply=reply, fetch=TWO))
    if isinstance(made, Drafted):
        assert all(span.quote for span in made.hints[0].evidence)


# ---- changes in play for others


def hints_of(inventory: Inventory, *cases: Case, **more: Any) -> list[Hint]:
    found = []
    for one in cases:
        made = ask(inventory, one, **more)
        assert isinstance(made, Drafted), made
        found += made.hints
    return found


def test_what_most_ask_for_is_tried_first_and_stands_for_all_equal_edits(inventory: Inventory) -> None:
    soon, later = (case(f'never "Bear with us.", we write "{new}"', reply=LATE) for new in ("Soon.", "Later."))
    hints = hints_of(inventory, later, soon, soon)
    brief = Brief(case_id="c9", case=case("hm", reply=LATE), inventory=inventory, open_hints=hints)
    first, second = adopted(brief, CATALOGUE, 5)
    assert (first.hint.change.new, second.hint.change.new) == ("Soon.", "Later.")  # type: ignore[union-attr]
    assert first.score > second.score and first.hint.cure_case == "c9" and first.hint.worked_example.case_id == "c9"  # type: ignore[union-attr]
    assert [one.hint.change for one in adopted(brief, CATALOGUE, 1)] == [first.hint.change]


def test_a_change_is_adopted_only_by_cases_that_come_past_its_place(inventory: Inventory) -> None:
    elsewhere = case("hm", leaf="parcel/broken", reply="a new one leaves tomorrow.", fetch=TWO)
    customs = [
        case(
            "customs, its own topic",
            leaf="parcel/other",
            text=f"customs papers {number}",
            reply="we will read it.",
            corrected_reply="they are on their way.",
        )
        for number in range(3)
    ]
    hints = {
        hint.recipe: hint
        for hint in [
            *hints_of(
                inventory,
                case('never "Bear with us.", we write "Soon."', reply=LATE),
                case("wrong customer!! the e-mail should count more than a city", reply=LATE, fetch=TWO),
                case('this is about a broken one, not late: "arrived in pieces"', text="It arrived in pieces, and late.", reply=LATE),
            ),
            *hints_of(inventory, customs[0], rejected=[Neighbour(case_id=f"n{number}", case=one) for number, one in enumerate(customs[1:])]),
        ]
    }

    def taken_by(one: Case) -> set[str]:
        return {
            found.hint.recipe for found in adopted(Brief(case_id="c9", case=one, inventory=inventory, open_hints=list(hints.values())), CATALOGUE, 9)
        }

    assert hints.keys() == {"change_reply_template", "adjust_fetch_weight", "refine_intent_boundary", "promote_other_intent"}
    assert taken_by(elsewhere) == {"adjust_fetch_weight"}
    assert taken_by(case("hm", reply=LATE)) == {"adjust_fetch_weight", "refine_intent_boundary", "change_reply_template"}
    assert taken_by(case("hm", leaf="parcel/other", reply="we will read it.")) == {"adjust_fetch_weight", "promote_other_intent"}


def test_an_adopted_weight_comes_with_the_sums_of_its_own_case(inventory: Inventory) -> None:
    (hint,) = hints_of(inventory, case("wrong customer!! the e-mail should count more than a city", reply=LATE, fetch=TWO))
    own = [{"record_id": "r7", "score": 7, "matched_fields": ["email", "order_number"]}, {"record_id": "r8", "score": 5, "matched_fields": ["city"]}]
    (found,) = adopted(Brief(case_id="c9", case=case("hm", reply=LATE, fetch=own), inventory=inventory, open_hints=[hint]), CATALOGUE, 5)
    assert found.hint.change.scores == {"r7": (7.0, 9.0), "r8": (5.0, 5.0)}  # type: ignore[union-attr]


# ---- whatever comes


ODD = {
    "i.json:Parcel-X.sent back": {"about": "returns", "cues": {"back": 3, "x": 1}},
    "i.json:parcel.lost.cues": {"lost": 400, "": 1, "gone": "much"},
    "e.json:order.orderNumber": {"label": "camel case", "handles": ["spaces", ""]},
    "e.json:order.order_number.handles": ["dashes"],
    "f.json:weights.vip-level": 4000,
    "f.json:threshold": 5.5,
    "p.json:parcel/lost.long": {"when": "flag locked and " * 20, "template": "nowhere", "tools": [{"name": "find", "args": [1]}, "", None, 7]},
    "p.json:parcel/lost.default": {"when": "otherwise", "template": "lost.sorry", "tools": "find", "also": "Here is a sentence. " * 300},
    "r.json:lost.sorry": "Dear Mr Miller, we have looked {everywhere}. We have looked. Soon {x}!",
    "r.json:lost.empty": "",
}
"""things that a target may say and no change can name, or that are not what one would expect"""
SCRAPS = st.sampled_from(
    [
        "wrong person", "off topic", "should count more", "is enough", "the last sentence", '"Bear with us."', "never", "instead of", "own topic", "order number",
        "voucher", "locked", "send_form", "raus damit", "falsche Person", "O-12345", "V-8812", "r2", "<NAME_1>", "'", '"', "x", "a" * 130, "open_case",
        "late", "delayed", "damaged", "smashed", "parcel", "\n", "it's a hold",
    ]
)  # fmt: skip
WORDS = st.lists(SCRAPS | st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=8), max_size=8).map(" ".join)
REPLIES = st.sampled_from(
    ["", LATE, "a new one leaves tomorrow.", "we will read it.", "Dear Mr Miller, we have looked at it. We have looked. Soon now!"]
)
VALUES = st.none() | st.integers() | st.floats() | WORDS | st.lists(WORDS, max_size=2)
SCORES = st.sampled_from([0, 3, 4, 5, 5.5, 8, 9, 4000, -1, float("nan"), float("inf")])
FIELDS = st.lists(st.sampled_from(["email", "city", "order_number", "vip-level", "unheard of"]), max_size=3, unique=True)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    said = {"corrected_reply": draw(REPLIES | WORDS)} if draw(st.booleans()) else {}
    return case(
        draw(WORDS),
        leaf=draw(st.sampled_from(["parcel/late", "parcel/lost", "parcel/broken", "parcel/other", "gone/leaf", "parcel", "", "Parcel-X/sent back"])),
        text=draw(WORDS),
        reply=draw(REPLIES | WORDS),
        extraction=draw(st.dictionaries(st.sampled_from(["order", "person", ""]), st.dictionaries(WORDS, VALUES, max_size=2), max_size=2)),
        fetch=draw(
            st.lists(st.fixed_dictionaries({"record_id": st.sampled_from(["r1", "r2", ""]), "score": SCORES, "matched_fields": FIELDS}), max_size=4)
        ),
        tool_calls=draw(st.lists(st.fixed_dictionaries({"name": SCRAPS, "arguments": st.dictionaries(SCRAPS, VALUES, max_size=2)}), max_size=2)),
        **said,
    )


@pytest.fixture(scope="module")
def odd() -> Inventory:
    return parcels(ODD).model_copy(update={"spoken_of": frozenset({"order.voucher", "person.nick_name", "nobody.home"})})


@settings(max_examples=120)
@given(st.booleans(), st.lists(cases(), min_size=1, max_size=5), st.lists(cases(), max_size=2))
def test_no_case_breaks_it_on_no_config(inventory: Inventory, odd: Inventory, strange: bool, rejected: list[Case], accepted: list[Case]) -> None:
    one, *others = rejected
    near = [Neighbour(case_id=f"c{number}", case=other) for number, other in enumerate(others, start=2)]
    kept = [Neighbour(case_id=f"a{number}", case=other) for number, other in enumerate(accepted)]
    known = [
        Precedent(case_id="c0", comment=other.comment, leaf="x", step="fetch", recipe="adjust_fetch_weight", target="fetch:email") for other in others
    ]
    made = ask(odd if strange else inventory, one, rejected=near, accepted=kept, precedents=known)
    hints = [*(made.hints if isinstance(made, Drafted) else []), *(candidate.hint for candidate in made.candidates)]
    for hint in hints:
        assert all(text_of(one, span.source)[span.start : span.end] == span.quote for span in hint.evidence)
        lint(hint, one, odd if strange else inventory, CATALOGUE)
    brief = Brief(case_id="c1", case=one, inventory=inventory, rejected=near, open_hints=hints)
    assert all(candidate.hint.cure_case == "c1" for candidate in adopted(brief, CATALOGUE, 5))


def test_what_no_change_can_name_keeps_nobody_else_from_being_offered(odd: Inventory) -> None:
    """One field in camel case, one weight and one condition too large for a change; the other changes of their rooms are offered."""
    reply = ask(odd, case("4 points is enough, lower the bar", reply=LATE, fetch=[TWO[1]]))
    assert {candidate.hint.target for candidate in reply.candidates} >= {"extraction:person.email"}
    locked = ask(
        odd, case("locked customers must go to the security desk, never a new one", leaf="parcel/broken", reply="a new one leaves tomorrow.")
    )
    assert isinstance(locked, Drafted) and locked.hints[0].recipe == "add_plan_branch"
    assert nameable(odd).entries.keys() == odd.entries.keys() - {
        "intent:Parcel-X.sent back", "extraction:order.orderNumber", "fetch:vip-level", "plan:parcel/lost.long",
    }  # fmt: skip
    assert nameable(odd).spoken_of == odd.spoken_of
