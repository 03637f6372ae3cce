"""Proving holds here: what does nothing costs one try however many it is, what does what it says is offered, and what it does to others counts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from connectors.ports import PortError
from rubric.drafting import Candidate
from rubric.schema import Case, Expectation, Hint, Plan
from service.proving import GOOD, HARM, LIKELY, SUPPORT, SUPPORTERS, TRIES, UNSEEN, Around, Verdict, prove
from service.trials import Trial

BASE: dict[str, Any] = {"intent_path": "cards/lost", "extraction": {}, "fetch": [], "reply": "Hello, it is on its way.", "tool_calls": []}
Effect = Callable[[dict[str, Any], str], dict[str, Any] | None]
"""(plan, ticket) → the plan after the change; None: the replay fails"""


def writes(reply: str, word: str = "") -> Effect:
    """Changes the reply to tickets that hold a word."""
    return lambda plan, ticket: {**plan, "reply": reply} if word in ticket else plan


def reads(field: str, word: str = "") -> Effect:
    def read(plan: dict[str, Any], ticket: str) -> dict[str, Any]:
        return {**plan, "extraction": {"form": {**plan["extraction"].get("form", {}), field: "7"}}} if word in ticket else plan

    return read


class Trying:
    """Trials of a pipeline that is nothing but the effects of its changes, by the hint's target."""

    def __init__(
        self, effects: Mapping[str, Effect], broken: Mapping[str, str] | None = None, *, loses: str = "", knows: bool = False, slow: str = ""
    ):
        """`broken`: case → code of its replay. `loses`: target whose change loses eval rows. `knows`: every change was tried with the case before.
        `slow`: "base" or "head", the side on which a1 does not end in time."""
        self._slow = slow
        self._effects, self._broken, self._loses, self._knows = effects, dict(broken or {}), loses, knows
        self.tries: list[tuple[list[str], list[str]]] = []
        """(targets changed together, cases they were tried on), in order"""
        self.exams: list[str] = []
        """targets whose change was held against the evals"""

    def before(self, target: Any, tickets: Mapping[str, dict[str, Any]]) -> Trial:
        return self._trial((), tickets)

    def of(self, target: Any, hints: Sequence[Hint], key: str, tickets: Mapping[str, dict[str, Any]]) -> Trial:
        self.tries.append(([hint.target for hint in hints], list(tickets)))
        return self._trial(hints, tickets)

    def known(self, target: Any, key: str, case_id: str) -> dict[str, Any] | None:
        return self._trial((), {case_id: {}}).after[case_id] if self._knows else None

    def lost(self, target: Any, hint: Hint, key: str) -> frozenset[str]:
        self.exams.append(hint.target)
        return frozenset({"golden r1"} if hint.target == self._loses else ())

    def _trial(self, hints: Sequence[Hint], tickets: Mapping[str, dict[str, Any]]) -> Trial:
        after = {}
        broken = {**self._broken, **({"a1": "timeout"} if self._slow == ("head" if hints else "base") else {})}
        for name, ticket in tickets.items():
            plan: dict[str, Any] | None = None if name in broken else BASE
            for hint in hints:
                effect = self._effects.get(hint.target)
                plan = effect(plan, ticket["ticket"]["messages"][0]["text"]) if effect and plan is not None else plan
            after[name] = plan and Plan.model_validate(plan).model_dump(mode="json")
        return Trial("done", "", after, {name: code for name, code in broken.items() if name in tickets})


def document(text: str, comment: str = "", leaf: str = "cards/lost") -> dict[str, Any]:
    said = {"comment": comment, "by": "staff-1", "at": "2026-03-01T11:00:00Z"}
    return {
        "external_id": text.replace(" ", "-"), "ticket": {"messages": [{"role": "customer", "text": text}]}, "plan": {**BASE, "intent_path": leaf},
        **({"verdict": "rejected", "rejection": said} if comment else {"verdict": "accepted"}),
    }  # fmt: skip


def around(comment: str = "hm", *, like: Mapping[str, dict[str, Any]] | None = None, controls: Mapping[str, dict[str, Any]] | None = None) -> Around:
    documents = {**(like or {}), "c1": document("my card", comment)}
    rejected = {name: Case.model_validate(one) for name, one in documents.items()}
    return Around("c1", rejected, list(controls or {}), {**(controls or {}), **documents})


def candidate(target: str = "reply:one", score: float = 0.5, together: str = "", step: str = "reply", **more: Any) -> Candidate:
    change = {"recipe": "change_reply_template", "templates": [target], "old": target, "new": ""}
    text: dict[str, Any] = {
        "step": step, "target": target, "change": change, "evidence": [], "summary": "x", "cure_case": "c1", "risk": "low", "risk_reason": "x",
        "confidence": {"agree": 0, "of": 0}, **more,
    }  # fmt: skip
    return Candidate(hint=Hint.model_validate(text), score=score, together=together)


def proves(trying: Trying, where: Around, *candidates: Candidate) -> Verdict:
    return prove(trying, None, where, candidates)  # type: ignore[arg-type]


def test_what_moves_the_case_is_shown_with_what_it_did() -> None:
    found = proves(Trying({"reply:one": writes("Hello, it has left.")}), around(), candidate())
    (proof,) = found.proofs
    assert found.tried == 1 and proof.hint.confidence.replay == "moved" and proof.hint.changes_controls == []
    assert proof.hint.must_not == [Expectation(part="reply", contains=BASE["reply"])]
    assert proof.hint.worked_example is not None and "it has left" in proof.hint.worked_example.plan_instead


def test_many_without_effect_cost_one_try() -> None:
    trying = Trying({})
    found = proves(trying, around(), *(candidate(f"reply:{number}", together="all") for number in range(16)))
    assert (found.proofs, found.tried) == ([], 1) and len(trying.tries[0][0]) == 16
    like = {"c2": document("card 2", "x"), "c3": document("card 3", "x", "cards/other")}
    proves(trying, around(like=like, controls={"a1": document("fine")}), *(candidate(f"reply:{number}", together="all") for number in range(16)))
    assert set(trying.tries[1][1]) == {"c1", "c2"}  # many at once harm nobody: accepted cases are not looked at


def test_the_one_of_many_that_works_is_found_by_halves() -> None:
    trying = Trying({"reply:5": writes("Goodbye.")})
    found = proves(trying, around(), *(candidate(f"reply:{number}", score=0.5 - number / 100, together="all") for number in range(8)))
    assert [proof.hint.target for proof in found.proofs] == ["reply:5"]
    assert [len(targets) for targets, _ in trying.tries] == [8, 4, 4, 2, 1, 1, 2] and found.tried == 7


def breaks(plan: dict[str, Any], ticket: str) -> None:
    """The target does not run any more."""


def test_one_that_breaks_the_target_does_not_silence_those_tried_with_it() -> None:
    for place in range(4):
        trying = Trying({f"reply:{place}": breaks, f"reply:{(place + 2) % 4}": writes("Goodbye.")})
        found = proves(trying, around(), *(candidate(f"reply:{number}", score=0.5 - number / 100, together="all") for number in range(4)))
        assert [proof.hint.target for proof in found.proofs] == [f"reply:{(place + 2) % 4}"], trying.tries
    alone = Trying({"reply:0": breaks, "reply:1": breaks})
    assert proves(alone, around(), candidate("reply:0", together="all"), candidate("reply:1", together="all")).proofs == []
    everywhere = Trying({f"reply:{number}": breaks for number in range(64)})
    assert proves(everywhere, around(), *(candidate(f"reply:{number}", together="all") for number in range(64))).tried == TRIES


def test_those_that_claim_what_was_seen_are_tried_first_of_all() -> None:
    effects = {"extraction:form.f5": reads("f5")}
    many = [candidate(f"extraction:form.f{number}", together="all", step="extraction") for number in range(8)]
    trying = Trying(effects)
    found = proves(trying, around(), *many)
    assert [proof.hint.target for proof in found.proofs] == ["extraction:form.f5"] and [len(targets) for targets, _ in trying.tries] == [8, 1]
    told = [
        candidate(f"extraction:form.f{number}", together="all", step="extraction", must=[{"part": "extraction", "contains": f"form.f{number}"}])
        for number in range(8)
    ]
    assert proves(Trying(effects), around(), *told).tried == 2


def test_of_two_in_a_group_that_both_work_the_likelier_one_comes_first() -> None:
    trying = Trying({"reply:1": writes("Goodbye."), "reply:2": writes("So long.")})
    found = proves(trying, around(), candidate("reply:1", 0.4, "all"), candidate("reply:2", 0.5, "all"))
    assert [proof.hint.target for proof in found.proofs] == ["reply:2", "reply:1"]


def test_accepted_cases_that_change_cost() -> None:
    controls = {"a1": document("accepted stamp"), "a2": document("accepted")}
    only = proves(Trying({"reply:one": writes("Bye.", "card")}), around(controls=controls), candidate()).proofs[0]
    both = proves(
        Trying({"reply:one": lambda plan, ticket: writes("Bye.")(plan, ticket) if ticket != "accepted" else plan}),
        around(controls=controls),
        candidate(),
    ).proofs[0]
    assert only.hint.changes_controls == [] and both.hint.changes_controls == ["a1"]
    assert only.score - both.score == pytest.approx(HARM)


@pytest.mark.parametrize("side", ["base", "head"])
def test_an_accepted_case_whose_replay_only_ran_late_is_not_harmed_and_shown_as_not_tried(side: str) -> None:
    controls = {"a1": document("accepted"), "a2": document("fine")}
    (late,) = proves(Trying({"reply:one": writes("Bye.", "card")}, slow=side), around(controls=controls), candidate()).proofs
    (none,) = proves(Trying({"reply:one": writes("Bye.", "card")}), around(controls=controls), candidate()).proofs
    assert late.hint.changes_controls == [] and late.score == none.score
    assert (late.hint.controls_not_tried, none.hint.controls_not_tried) == (["a1"], [])
    (gone,) = proves(
        Trying({"reply:one": lambda plan, ticket: {**plan, "reply": "Bye."} if ticket != "fine" else None}), around(controls=controls), candidate()
    ).proofs
    assert gone.hint.changes_controls == ["a1", "a2"]  # what gives no plan any more is harmed


def test_a_change_that_loses_eval_rows_is_not_offered_and_only_what_would_be_is_examined() -> None:
    effects = {"reply:one": writes("Bye."), "reply:two": writes("So long.")}
    good, bad = Trying(effects), Trying(effects, loses="reply:one")
    sure, unsure = candidate("reply:one", 0.9), candidate("reply:two", 0.3)
    kept, lost = proves(good, around(), sure, unsure), proves(bad, around(), sure, unsure)
    assert kept.proofs[0].hint.target == "reply:one" and kept.broke == 0
    assert all(one.hint.target != "reply:one" for one in lost.proofs) and lost.broke == 1
    assert good.exams == bad.exams == ["reply:one"]
    assert kept.proofs[0].hint.confidence.weight == pytest.approx(kept.proofs[0].score, abs=0.005)


def test_a_change_that_is_known_to_leave_the_case_alone_is_not_replayed() -> None:
    trying = Trying({}, knows=True)
    assert proves(trying, around(), candidate()).proofs == [] and trying.tries == []


def test_what_nobody_outside_would_notice_costs() -> None:
    seen = proves(
        Trying({"extraction:form.f": lambda plan, ticket: {**reads("f")(plan, ticket), "reply": "Bye."}}),
        around(),
        candidate("extraction:form.f", step="extraction"),
    )
    unseen = proves(Trying({"extraction:form.f": reads("f")}), around(), candidate("extraction:form.f", step="extraction"))
    assert seen.proofs[0].score - unseen.proofs[0].score == pytest.approx(UNSEEN)


def test_like_rejections_that_move_with_it_support_it_and_those_that_complain_of_something_else_do_less() -> None:
    effects = {"reply:one": writes("Bye.")}

    def score(*comments: str, leaf: str = "cards/lost") -> float:
        like = {f"c{number}": document(f"card {number}", comment, leaf) for number, comment in enumerate(comments, start=2)}
        return proves(Trying(effects), around("the tone is cold", like=like), candidate()).proofs[0].score

    alone = score()
    assert score("the tone of this sentence") > score("wrong person") and score("the tone of this sentence") > alone
    assert score(*["the tone of this sentence"] * 12) <= alone + SUPPORT * SUPPORTERS
    assert score("the tone of this sentence", leaf="cards/other") == alone  # a template of another leaf is not looked at


def test_a_change_of_shared_settings_is_tried_on_cases_of_any_leaf_and_others_on_their_own() -> None:
    like = {"c2": document("card 2", "x", "cards/lost"), "c3": document("card 3", "x", "cards/other")}
    trying = Trying({})
    proves(trying, around(like=like, controls={"a1": document("fine")}), candidate("reply:one"), candidate("fetch:one", step="fetch"))
    seen = {targets[0]: set(cases) for targets, cases in trying.tries}
    assert seen == {"reply:one": {"c1", "c2", "a1"}, "fetch:one": {"c1", "c2", "c3", "a1"}}


def test_one_whose_own_claim_fails_is_no_proof() -> None:
    effects = {"reply:one": writes("Bye.")}
    claim = candidate(must=[{"part": "reply", "contains": "so long"}])
    kept = candidate(must_not=[{"part": "reply", "contains": "Bye"}])
    assert proves(Trying(effects), around(), claim).proofs == proves(Trying(effects), around(), kept).proofs == []
    assert proves(Trying(effects), around(), candidate(must=[{"part": "reply", "contains": "Bye"}])).proofs


def test_a_change_under_which_the_replay_fails_is_no_proof() -> None:
    assert proves(Trying({"reply:one": lambda plan, ticket: None}), around(), candidate()).proofs == []


def test_no_try_after_the_budget() -> None:
    found = proves(Trying({"reply:29": writes("Bye.")}), around(), *(candidate(f"reply:{number}", 0.9 - number / 100) for number in range(30)))
    assert (found.proofs, found.tried) == ([], TRIES)
    groups = [candidate(f"reply:{number}", 0.5 - number / 1000, f"group {number // 2}") for number in range(2 * (TRIES + 5))]
    assert proves(Trying({}), around(), *groups).tried == TRIES


def test_nothing_is_tried_past_a_proof_that_is_good_enough_or_out_of_reach() -> None:
    effects = {"reply:one": writes("Bye."), "reply:two": writes("So long.")}
    trying = Trying(effects)
    assert proves(trying, around(), candidate("reply:one", GOOD), candidate("reply:two", GOOD - 0.01)).tried == 1
    assert proves(Trying(effects), around(), candidate("reply:one", 0.9), candidate("reply:two", 0.9 - LIKELY - 0.01)).tried == 1
    found = proves(Trying(effects), around(), candidate("reply:one", 0.9), candidate("reply:two", 0.9 - LIKELY + 0.01))
    assert found.tried == 2 and [proof.hint.target for proof in found.proofs] == ["reply:one", "reply:two"]


def test_the_comment_decides_between_two_that_work() -> None:
    effects = {
        "reply:one": writes("Hello, it is late."),
        "extraction:form.voucher": lambda plan, ticket: {**reads("voucher")(plan, ticket), "reply": "Hi."},
    }
    two = [candidate("reply:one"), candidate("extraction:form.voucher", step="extraction")]
    said = {comment: proves(Trying(effects), around(comment), *two).proofs[0].hint.target for comment in ("the tone is cold", "the voucher is given")}
    assert said == {"the tone is cold": "reply:one", "the voucher is given": "extraction:form.voucher"}


def test_without_a_plan_of_its_own_case_nothing_is_tried() -> None:
    trying = Trying({"reply:one": writes("Bye.")}, broken={"c1": "replay_exit"})
    with pytest.raises(PortError) as failed:
        proves(trying, around(), candidate())
    assert failed.value.code == "replay_exit" and trying.tries == []
    other = Trying({"reply:one": writes("Bye.")}, broken={"a1": "replay_exit"})
    (proof,) = proves(other, around(controls={"a1": document("fine")}), candidate()).proofs
    assert proof.hint.changes_controls == []  # what gives no plan either way is not harmed


def test_hidden_characters_are_no_effect_and_no_harm() -> None:
    """A change that nobody can see is none: it does not prove a candidate, and it does not speak against one."""
    assert proves(Trying({"reply:one": writes(f"{BASE['reply']}\u200b\u00ad")}), around(), candidate()).proofs == []
    controls = {"a1": document("accepted")}

    def mend(plan: dict[str, Any], ticket: str) -> dict[str, Any]:
        return {**plan, "reply": "Bye.\u200b" if "card" in ticket else plan["reply"] + "\u2060"}

    (proof,) = proves(Trying({"reply:one": mend}), around(controls=controls), candidate(must=[{"part": "reply", "is": "Bye."}])).proofs
    assert proof.hint.changes_controls == []
