"""What each room offers for a rejection, and what it keeps quiet about. The parcel service is ours; so is every word of the comments."""

from collections.abc import Mapping
from typing import Any

import pytest

from rubric.drafting import Brief, Neighbour
from rubric.entries import Inventory
from rubric.proposals import boundary, extraction, fetch, plan, policy, promotion, repair, reply
from rubric.proposals.offer import Offer
from rubric.schema import Case, Hint
from tests.rubric.parcels import LATE, TWO, ask, case, parcels

SORRY = "your parcel is on its way. Bear with us."


def brief(
    one: Case,
    changes: Mapping[str, Any] | None = None,
    *,
    rejected: list[Case] | None = None,
    accepted: list[Case] | None = None,
    spoken_of: str = "",
) -> Brief:
    inventory = parcels(changes).model_copy(update={"spoken_of": frozenset(spoken_of.split())})
    return Brief(
        case_id="c1", case=one, inventory=inventory,
        rejected=[Neighbour(case_id=f"c{number}", case=other) for number, other in enumerate(rejected or [], start=2)],
        accepted=[Neighbour(case_id=f"a{number}", case=other) for number, other in enumerate(accepted or [], start=1)],
    )  # fmt: skip


def changes_of(offers: Any) -> list[Any]:
    return [offer.change for offer in offers]


def signals_of(offer: Offer) -> dict[str, float]:
    return {signal.name: signal.weight for signal in offer.signals}


# ---- intent: a boundary

CUES = {"i.json:parcel.late.cues": {"late": 2, "delayed": 9}, "i.json:parcel.broken.cues": {"damaged": 1, "crushed": 9}}
BOTH = "It came late, I mean delayed, and damaged."


def test_a_cue_moves_only_where_its_own_weight_turns_the_scale_unless_the_leaf_is_named() -> None:
    unnamed = changes_of(boundary.offers(brief(case("no", text=BOTH), CUES)))
    assert [(one.to_leaf, one.drop, one.cues) for one in unnamed] == [("broken", ["delayed"], {"delayed": 9})]
    named = changes_of(boundary.offers(brief(case("this is a broken one", text=BOTH), CUES)))
    assert {(one.drop[0], one.cues[one.drop[0]]) for one in named if one.drop} == {("delayed", 9), ("late", 9)}


def test_no_cue_moves_to_a_leaf_that_nothing_speaks_for() -> None:
    assert list(boundary.offers(brief(case("no", text="It is late and delayed"), CUES))) == []
    assert list(boundary.offers(brief(case("this is a broken one", text=BOTH, leaf="parcel/gone"), CUES))) == []


def test_a_cue_of_accepted_tickets_counts_less_and_one_of_like_rejections_more() -> None:
    one, like, kept = case("no", text=BOTH), case("no", text="delayed again"), case("", text="delayed, thanks")
    (alone,), (shared,), (needed,) = (list(boundary.offers(brief(one, CUES, **more))) for more in ({}, {"rejected": [like]}, {"accepted": [kept]}))
    assert shared.score > alone.score > needed.score
    assert signals_of(shared)["shared"] > 0 > signals_of(needed)["accepted_too"]


def test_a_word_of_the_comment_may_speak_for_the_leaf_that_it_names() -> None:
    offers = changes_of(boundary.offers(brief(case("broken! it says in pieces", text="in pieces, and late"), CUES)))
    assert any(one.drop == [] and "pieces" in next(iter(one.cues)) for one in offers)


# ---- intent: a leaf of its own


def customs(number: int, **more: Any) -> Case:
    return case(
        "customs papers again, its own topic", leaf="parcel/other", text=f"customs papers for {number} are missing", reply="we will read it.", **more
    )


def test_a_new_leaf_without_a_written_reply_answers_as_other_does() -> None:
    tools = {"p.json:parcel/other.default.tools": ["file_note"]}
    (offer,) = promotion.offers(brief(customs(1), tools, rejected=[customs(2), customs(3)]))
    assert (offer.change.reply, offer.change.tools) == ("we will read it.", ["file_note"])  # type: ignore[union-attr]
    assert "until it has a reply of its own" in offer.summary and offer.change.cases == ["c1", "c2", "c3"]  # type: ignore[union-attr]
    written = [customs(number, corrected_reply="the papers are on their way.") for number in (1, 2, 3)]
    (better,) = promotion.offers(brief(written[0], tools, rejected=written[1:]))
    assert (better.change.reply, better.change.tools) == ("the papers are on their way.", [])  # type: ignore[union-attr]
    assert better.score > offer.score and "until" not in better.summary


def test_no_leaf_for_two_for_what_has_one_or_where_nothing_could_be_answered() -> None:
    assert list(promotion.offers(brief(customs(1), rejected=[customs(2)]))) == []
    late = [case("its own topic", text="customs papers", reply=LATE) for _ in range(3)]
    assert list(promotion.offers(brief(late[0], rejected=late[1:]))) == []
    silent = [case("its own topic", leaf="parcel/other", text="customs papers", reply="who knows") for _ in range(3)]
    assert list(promotion.offers(brief(silent[0], rejected=silent[1:]))) == []


def test_a_cue_is_never_a_single_letter() -> None:
    one, two, three = (case("x y, its own topic", leaf="parcel/other", text=f"x y {word}", reply="we will read it.") for word in ("aa", "bb", "cc"))
    for offer in promotion.offers(brief(one, rejected=[two, three])):
        assert all(len(cue) >= 2 for cue in offer.change.cues)  # type: ignore[union-attr]


def weights(changes: Mapping[str, Any] | None = None, text: str = "", accepted: list[Case] | None = None) -> set[int]:
    cluster = [case("customs papers again, its own topic", leaf="parcel/other", text=f"customs papers {word} {text}", reply="we will read it.")
               for word in ("one", "two", "three")]  # fmt: skip
    (offer,) = promotion.offers(brief(cluster[0], changes, rejected=cluster[1:], accepted=accepted))
    return set(offer.change.cues.values())  # type: ignore[union-attr]


def test_cues_of_a_new_leaf_weigh_what_the_tickets_of_the_cluster_need_and_no_more() -> None:
    """Two cues; leaves are won with one cue of 5."""
    heavy = {"i.json:parcel.late.cues": {"late": 40, "delayed": 5}, "i.json:parcel.broken.cues": {"damaged": 5, "smashed": 5}}
    assert weights() == weights(heavy) == {5}  # nothing else speaks for these tickets: what is usual is enough, whatever one leaf has
    assert weights(text="damaged") == {6} and weights(text="damaged smashed") == {10}
    assert weights(accepted=[case("", text="late and delayed")]) == {10}  # the least that an accepted leaf was won with
    assert weights(accepted=[case("", text="late"), case("", text="late and delayed"), case("", leaf="parcel/other", text="parcel")]) == {5}
    assert weights(text="damaged smashed late delayed") == {10}  # no word should weigh more


# ---- extraction


def test_fields_that_the_target_speaks_of_and_does_not_read_are_tried_together() -> None:
    (offer,) = extraction.offers(brief(case("the voucher is given"), spoken_of="order.voucher order.order_number nobody.home"))
    assert offer.target == "extraction:order.voucher" and offer.together
    assert {"spoken_of", "field_mentioned", "not_read"} <= set(signals_of(offer))
    assert [one.contains for one in offer.must] == ["order.voucher"]


def test_a_form_that_other_fields_cope_with_is_offered_to_the_rest_but_for_frozen_ones() -> None:
    handles = {"e.json:order.order_number.handles": ["dashes"], "e.json:person.phone": {"label": "phone"}}
    given = brief(case("the phone was not read", extraction={"person": {"phone": "12"}}), handles)
    entries = given.inventory.entries
    frozen = entries["extraction:person.email"].model_copy(update={"stability": "frozen"})
    inventory = Inventory(entries={**entries, frozen.id: frozen})
    (offer,) = extraction.offers(given.model_copy(update={"inventory": inventory}))
    assert (offer.target, offer.change.handles) == ("extraction:person.phone", "dashes")  # type: ignore[union-attr]
    assert list(extraction.offers(brief(case("the phone was not read")))) == []  # no form is known


def test_a_value_is_offered_to_a_field_that_a_branch_waits_for_and_only_if_nothing_reads_it() -> None:
    asked = {"leaf": "parcel/broken", "reply": "please tell us the voucher code on the box."}
    offer, weighed = sorted(extraction.offers(brief(case("it is right there", text="Voucher V-8812, smashed.", **asked))), key=lambda one: -one.score)
    assert weighed.target == "extraction:order.city"  # a weight waits for it, too
    assert offer.target == "extraction:order.voucher" and offer.change.example == "V-8812"  # type: ignore[union-attr]
    read = case("it is right there", text="Voucher V-8812, smashed.", extraction={"order": {"order_number": "V8812"}}, **asked)
    assert list(extraction.offers(brief(read))) == []


def test_a_new_field_is_named_as_its_siblings_are() -> None:
    """A target whose fields stand below their name: `order.order_number.form`."""
    given = brief(
        case("it is right there", leaf="parcel/broken", text="V-8812", reply="please tell us the voucher code on the box."), spoken_of="order.size"
    )
    below = {
        f"{name}.form" if one.step == "extraction" else name: one.model_copy(update={"id": f"{name}.form", "path": (*one.path, "form")})
        if one.step == "extraction"
        else one
        for name, one in given.inventory.entries.items()
    }
    inventory = Inventory(entries=below, spoken_of=given.inventory.spoken_of)
    targets = {offer.target for offer in extraction.offers(given.model_copy(update={"inventory": inventory}))}
    assert targets == {"extraction:order.size.form", "extraction:order.voucher.form", "extraction:order.city.form"}


# ---- fetch


def threshold_of(one: Case, **more: Any) -> list[tuple[int, int]]:
    return [(offer.change.from_, offer.change.to) for offer in fetch.offers(brief(one, **more)) if offer.change.recipe == "adjust_fetch_threshold"]  # type: ignore[union-attr]


def found(record: str, score: float, *fields: str) -> dict[str, Any]:
    return {"record_id": record, "score": score, "matched_fields": list(fields)}


def test_the_threshold_is_lowered_for_all_that_ask_and_no_further_than_accepted_cases_allow() -> None:
    low, lower = case("it was given", fetch=[TWO[1]]), case("it was given", fetch=[found("r3", 3, "order_number")])
    assert threshold_of(low) == [(5, 4)]
    assert threshold_of(low, rejected=[lower]) == [(5, 3)]
    assert threshold_of(low, rejected=[lower], accepted=[case("", fetch=[found("r4", 3, "order_number")])]) == [(5, 4)]
    assert threshold_of(low, rejected=[case("the tone is cold", fetch=[found("r3", 3, "order_number")])]) == [(5, 4)]


def test_the_threshold_is_raised_for_strangers_and_not_past_accepted_cases() -> None:
    wrong, worse = case("wrong person", fetch=[TWO[0]]), case("wrong person", fetch=[found("r3", 7, "email", "order_number")])
    assert threshold_of(wrong) == [(5, 6)]
    assert threshold_of(wrong, rejected=[worse]) == [(5, 8)]
    assert threshold_of(wrong, rejected=[worse], accepted=[case("", fetch=[found("r4", 7, "email", "order_number")])]) == [(5, 6)]


def test_no_threshold_moves_for_a_tie_for_nobody_and_for_scores_that_other_weights_made() -> None:
    assert threshold_of(case("it was given", fetch=[TWO[1], found("r9", 4, "email")])) == []
    assert threshold_of(case("it was given")) == []
    assert threshold_of(case("it was given", fetch=[found("r1", 2, "email")])) == []
    assert threshold_of(case("it was given", fetch=[found("r1", 4, "shoe_size")])) == []


def test_a_weight_is_offered_only_where_it_makes_the_other_record_win() -> None:
    def weights(*records: dict[str, Any]) -> set[tuple[str, int]]:
        offers = fetch.offers(brief(case("wrong person", fetch=list(records))))
        return {(offer.change.field, offer.change.to) for offer in offers if offer.change.recipe == "adjust_fetch_weight"}  # type: ignore[union-attr]

    assert weights(*TWO) == {("email", 6)}  # a lighter city would leave r2 under the threshold
    assert weights(found("r1", 9, "email", "city"), found("r2", 5, "city")) == set()  # whatever speaks for r2 speaks for r1
    assert weights(found("r1", 5, "city"), found("r2", 4, "email"), found("r3", 4, "email")) == set()  # both would win


# ---- plan


def test_a_branch_that_other_leaves_have_is_offered_where_it_is_missing() -> None:
    conditions = [offer.change.condition for offer in plan.offers(brief(case("locked!", leaf="parcel/broken")))]  # type: ignore[union-attr]
    assert "flag locked" in conditions
    assert "flag locked" not in [offer.change.condition for offer in plan.offers(brief(case("locked!", leaf="parcel/late")))]  # type: ignore[union-attr]


# ---- plan: repairs

CLAIM = {"r.json:broken.replace": "we have sent a new one.", "p.json:parcel/broken.default.tools": []}


def added_tools(comment: str, answer: str, changes: Mapping[str, Any]) -> set[str]:
    offers = repair.offers(brief(case(comment, leaf="parcel/broken", reply=answer), changes))
    return {name for offer in offers for name in offer.change.tools or [] if isinstance(name, str) and offer.summary.startswith("Call ")}  # type: ignore[union-attr]


def test_a_tool_is_missing_only_where_the_reply_claims_to_have_acted() -> None:
    assert added_tools("nothing happened", "we have sent a new one.", CLAIM) == {"broken"}
    assert "open_case" in added_tools("nothing happened, no open case", "we have sent a new one.", CLAIM)
    promise = {**CLAIM, "r.json:broken.replace": "a new one leaves tomorrow."}
    assert added_tools("nothing happened, no open case", "a new one leaves tomorrow.", promise) == set()


def test_a_tool_may_be_one_too_many() -> None:
    (offer,) = [one for one in repair.offers(brief(case("nobody asked for a trace", reply=LATE))) if one.change.tools == []]  # type: ignore[union-attr]
    assert offer.target == "plan:parcel/late.default" and {"extra_tool", "mentioned", "too_much"} <= set(signals_of(offer))


def test_a_condition_of_its_own_is_held_against_its_sisters() -> None:
    odd = {
        "p.json:parcel/late.locked.when": "flag lock",
        "p.json:parcel/broken.locked": {"when": "flag locked", "template": "security.call", "tools": []},
    }
    (offer,) = [one for one in repair.offers(brief(case("no"), odd)) if one.change.condition]  # type: ignore[union-attr]
    assert (offer.target, offer.change.condition) == ("plan:parcel/late.locked", "flag locked")  # type: ignore[union-attr]
    one_sister = {"p.json:parcel/late.locked.when": "flag lock"}
    assert [one for one in repair.offers(brief(case("no"), one_sister)) if one.change.condition] == []  # type: ignore[union-attr]


def test_a_setting_that_hardly_any_branch_has_may_be_one_too_many() -> None:
    def dropped(*leaves: str) -> list[list[str]]:
        rare = {f"p.json:parcel/{leaf}.default.pause": 3 for leaf in leaves}
        return [one.change.drop for one in repair.offers(brief(case("no", reply=LATE), rare)) if one.change.drop]  # type: ignore[union-attr]

    assert dropped("late") == [["pause"]]
    assert dropped("late", "broken", "other") == [] == dropped("broken")


def test_nothing_is_repaired_in_other() -> None:
    assert list(repair.offers(brief(case("nobody asked", leaf="parcel/other", reply="we will read it."), CLAIM))) == []


# ---- plan: policies

ADDED = {"p.json:parcel/late.default.also": "Ring us any time."}


def test_a_sentence_that_the_branch_adds_may_break_a_rule() -> None:
    (offer,) = policy.offers(brief(case("hm", reply=f"{LATE} Ring us any time."), ADDED))
    assert offer.change.blocks_sentences == ["Ring us any time."] and offer.change.scope == ["parcel"]  # type: ignore[union-attr]
    assert list(policy.offers(brief(case("hm", reply=LATE), ADDED))) == []  # it was not sent


def test_a_tool_breaks_a_rule_only_if_the_comment_speaks_of_one() -> None:
    (offer,) = policy.offers(brief(case("we must not trace, compliance", reply=LATE)))
    assert offer.change.blocks_tools == ["trace"] and offer.must_not[0].is_ == "trace"  # type: ignore[union-attr]
    assert list(policy.offers(brief(case("why a trace", reply=LATE)))) == []


def test_a_sentence_too_long_for_a_rule_leaves_what_others_offer() -> None:
    long = "Here is more of it. " * 250
    said = case('never "Bear with us.", we write "Soon."', reply=f"{LATE} {long}")
    made = ask(parcels({"p.json:parcel/late.default.also": long}), said)
    assert "change_reply_template" in {
        hint.recipe for hint in [*getattr(made, "hints", []), *(one.hint for one in made.candidates)] if isinstance(hint, Hint)
    }


# ---- reply


def sentences(one: Case, changes: Mapping[str, Any] | None = None) -> dict[str, Offer]:
    """Sentence that is taken out → its offer."""
    return {offer.change.old.strip(): offer for offer in reply.offers(brief(one, changes)) if offer.summary == "Take one sentence out of a template."}  # type: ignore[union-attr]


FIRST, LAST = "your parcel is on its way.", "Bear with us."


def test_a_sentence_that_is_quoted_or_last_or_said_is_the_likelier_one() -> None:
    quoted = sentences(case('"on its way" is not true', reply=LATE))
    assert quoted[FIRST].score > quoted[LAST].score and "quoted" in signals_of(quoted[FIRST])
    last = sentences(case("always delete the last sentence", reply=LATE))
    assert last[LAST].score > last[FIRST].score and "last_said" in signals_of(last[LAST])
    assert "last_said" not in signals_of(sentences(case("always delete it", reply=LATE))[LAST])
    said = sentences(case("parcel way, nonsense", reply=LATE))
    assert signals_of(said[FIRST])["said"] > 0 and "said" not in signals_of(said[LAST])


def test_a_sentence_that_other_templates_share_goes_from_all_and_is_less_likely() -> None:
    shared = {"r.json:other.read": "we will read it. Bear with us."}
    alone, both = sentences(case("hm", reply=LATE))[LAST], sentences(case("hm", reply=LATE), shared)[LAST]
    assert both.change.templates == ["late.sorry", "other.read"] and both.target == "reply:late.sorry"  # type: ignore[union-attr]
    assert signals_of(both)["shared"] < 0 and both.score < alone.score


def test_a_sentence_that_stands_there_twice_is_seen() -> None:
    twice = sentences(case("hm", reply="Soon. Soon. Bye now."), {"r.json:late.sorry": "Soon. Soon. Bye now."})
    assert "twice" in signals_of(twice["Soon."]) and "twice" not in signals_of(twice["Bye now."])


@pytest.mark.parametrize("answer", ["nothing of ours", "a new one leaves tomorrow."])
def test_no_sentence_goes_from_an_unknown_text_or_as_the_only_one(answer: str) -> None:
    assert sentences(case("always delete the last sentence", reply=answer, leaf="parcel/broken")) == {}


@pytest.mark.parametrize(
    ("address", "offered"), [("Dear Mr Miller, ", True), ("Guten Tag Frau Meier, ", True), ("Dear {name}, ", False), ("Parcel news, ", False)]
)
def test_a_fixed_name_in_the_address_is_offered_to_go(address: str, offered: bool) -> None:
    changes = {"r.json:late.sorry": address + SORRY}
    given = brief(case("that is somebody else", reply=f"Hello,\n\n{address.format(name='Ann')}{SORRY}"), changes)
    found = [offer.change.old for offer in reply.offers(given) if "address" in offer.summary]  # type: ignore[union-attr]
    assert found == ([address] if offered else [])


# ---- what belongs to one customer is published by nobody


def cues_offered(one: Case, *rejected: Case, room: Any = boundary) -> set[str]:
    return {cue for change in changes_of(room.offers(brief(one, CUES, rejected=list(rejected)))) for cue in change.cues}


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("broken! account NSB015051 came in pieces", "account NSB015051 in pieces, and late"),
        ('broken! "Mrs <NAME_1B> called" says it', "Mrs <NAME_1B> called, it came late"),
        ('broken! "flat 7b" came in pieces', "flat 7b in pieces, and late"),
        ("broken! lovelace says so", "lovelace here, it came late"),
        ('broken! "Byron Lovelace wrote" says it', "Byron Lovelace wrote, it came late"),
    ],
)
def test_no_identifier_placeholder_or_name_becomes_a_cue(said: str, written: str) -> None:
    read = {"person": {"family_name": "Lovelace", "given_name": "Ada Byron"}}
    for cue in cues_offered(case(said, text=written, extraction=read)):
        assert not any(char in cue for char in "0123456789<>") and not {"lovelace", "byron"} & set(cue.split()), cue


def test_a_value_that_was_read_is_no_cue_and_a_cue_that_the_target_has_may_move_whatever_was_read() -> None:
    read = case(
        "this is a broken one, in a crate", text=f"{BOTH} In a crate.", extraction={"order": {"packing": ["crate"], "state": "delayed", "size": "in"}}
    )
    offered = cues_offered(read)
    assert "delayed" in offered and not any("crate" in cue.split() for cue in offered)
    assert any("crate" in cue.split() for cue in cues_offered(case("this is a broken one, in a crate", text=f"{BOTH} In a crate.")))


def test_no_leaf_is_named_after_a_customer() -> None:
    people = [
        case("lovelace estate A77 again, its own topic: call send_a77", leaf="parcel/other", text=f"lovelace estate A77 {word}", reply="we will read it.",
             extraction={"person": {"surname": "x", "last_name": "Lovelace"}})
        for word in ("papers", "keys", "will")
    ]  # fmt: skip
    (offer,) = promotion.offers(brief(people[0], rejected=people[1:]))
    assert (offer.change.leaf, list(offer.change.cues), offer.change.tools) == ("estate", ["estate"], [])  # type: ignore[union-attr]


def test_no_branch_is_named_after_a_customer() -> None:
    flags = {"p.json:parcel/late.gone": {"when": "flag gone", "template": "security.call", "tools": []}}
    told = {"leaf": "parcel/broken", "reply": "a new one leaves tomorrow.", "corrected_reply": "please wait for our call."}
    one = case("lovelace abroad: never a new one", **told, extraction={"person": {"family_name": "Lovelace"}})
    named = {change.branch for change in changes_of(plan.offers(brief(one, flags)))}
    assert "abroad" in named and "lovelace" not in named
