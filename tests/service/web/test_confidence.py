"""What a hint's page says of its confidence and of rules that say the opposite: counts in words, both texts, and the same for programs."""

from typing import Any

from rubric.schema import Confidence, Hint
from tests.service.web.world import TOKEN, World


def program_reads(world: World, hint: str) -> dict[str, Any]:
    found: dict[str, Any] = world.client.get(f"/v1/hints/{hint}", headers={"authorization": f"Bearer {TOKEN}"}).json()
    return found


def sure(weight: float, **more: Any) -> Any:
    """A twist of hints: drafted with a weight."""
    return lambda hint: hint.model_copy(update={"confidence": Confidence(agree=0, of=0, weight=weight, replay="moved", **more)})


def drafts(world: World, number: int, confirms: int, weight: float, first: str = "") -> str:
    """Some hints of a weight: so many are confirmed, or join the first that was, and the others are dismissed. Id of the first."""
    world.twist = sure(weight)
    for place in range(number):
        hint = world.rejects(name=f"{weight}-{place}")
        form = world.sees(f"/hints/{hint}").form("hint")
        if place >= confirms:
            world.posts(f"/hints/{hint}/dismiss", {**form, "reason": "wrong_hint"})
        elif first:
            world.posts(f"/hints/{hint}/duplicate", {**form, "of": first})
        else:
            world.posts(f"/hints/{hint}/confirm", form)
            first = hint
    return first


def test_few_decisions_are_no_confidence(world: World) -> None:
    drafts(world, 2, 1, 1.2)
    hint = world.rejects(name="new")
    page = world.sees(f"/hints/{hint}")
    assert "Uncalibrated: 2 decisions so far, 50 are needed" in page.text and "✓ the plan moved" in page.text
    assert "samples" not in page.text and "like it" not in page.text
    told = program_reads(world, hint)["calibration"]
    assert told == {"decisions": 2, "needed": 50, "alike": None, "right": None, "share": None, "low": None, "high": None}


def test_many_decisions_are_told_as_counts_with_an_interval(world: World) -> None:
    first = drafts(world, 26, 24, 1.2)
    drafts(world, 26, 4, 0.7, first)
    world.twist = sure(1.2)
    page = world.sees(f"/hints/{world.rejects(name='new')}")
    assert "Of 26 like it, 24 were confirmed as drafted (0.76 to 0.98)" in page.text
    world.twist = sure(0.8)
    hint = world.rejects(name="newer")
    assert "Of 26 like it, 4 were confirmed as drafted (0.06 to 0.34)" in world.sees(f"/hints/{hint}").text
    told = program_reads(world, hint)["calibration"]
    assert (told["decisions"], told["alike"], told["right"]) == (52, 26, 4) and told["low"] < told["share"] < told["high"]


def test_an_edited_change_was_not_right(world: World) -> None:
    world.twist = sure(1.2)
    edited, reworded = world.rejects(name="T-1"), world.rejects(name="T-2")
    for hint, field, value in ((edited, "change.to", "4"), (reworded, "summary", "In other words.")):
        form = {
            **world.sees(f"/hints/{hint}").form("hint"),
            field: value,
            "change.scores": world.sees(f"/hints/{hint}").form("hint")["change.scores"],
        }
        world.posts(f"/hints/{hint}/edit", {**form, **({"change.scores": ""} if field == "change.to" else {})})
    world.posts(f"/hints/{edited}/confirm", world.sees(f"/hints/{edited}").form("hint"))
    world.posts(f"/hints/{reworded}/confirm", world.sees(f"/hints/{reworded}").form("hint"))
    drafts(world, 48, 0, 1.2)
    told = program_reads(world, world.rejects(name="new"))["calibration"]
    assert (told["alike"], told["right"]) == (50, 1)


def test_agreement_is_of_samples_where_a_model_was_asked(world: World) -> None:
    world.twist = lambda hint: hint.model_copy(update={"confidence": Confidence(agree=2, of=3)})
    page = world.sees(f"/hints/{world.rejects()}")
    assert "Agreement2 of 3 samples" in page.text and "%" not in page.text.partition("Confidence")[2].partition("Where it comes from")[0]


def opposite(hint: Hint) -> Hint:
    """The weight goes up where the known hint takes it down."""
    change = hint.change.model_copy(update={"to": 9, "scores": {}})
    return hint.model_copy(update={"change": change, "summary": "Let it count for <b>more</b>."})


def test_both_rules_are_shown_side_by_side(world: World) -> None:
    world.twist = lambda hint: hint.model_copy(update={"summary": "Let it count for less."})
    first = world.rejects(name="T-1")
    world.confirms(first)
    world.twist = opposite
    second = world.rejects(name="T-2")
    page = world.sees(f"/hints/{second}")
    assert "Two rules that say the opposite" in page.text and "Let it count for less." in page.text and "Let it count for <b>more</b>." in page.text
    assert page.all("a", href=f"/hints/{first}") and "the same number is moved the other way" in page.text and "confirmed by" in page.text
    assert any("disabled" in button for button in page.all("button", formaction=f"/hints/{second}/confirm"))
    (told,) = program_reads(world, second)["conflicts"]
    assert (told["id"], told["summary"], told["state"]) == (first, "Let it count for less.", "confirmed")


def test_a_rule_that_was_taken_back_says_how_to_go_on(world: World) -> None:
    first = world.rejects(name="T-1")
    world.confirms(first)
    world.twist = opposite
    second = world.rejects(name="T-2")
    world.posts(f"/hints/{first}/undo", {})
    page = world.sees(f"/hints/{second}")
    assert "awaiting by now: save this one to have it checked again" in page.text
    world.posts(f"/hints/{second}/edit", page.form("hint"))
    assert "opposite" not in world.sees(f"/hints/{second}").text and program_reads(world, second)["conflicts"] == []


def test_what_was_confirmed_while_the_page_was_open_is_told(world: World) -> None:
    first = world.rejects(name="T-1")
    world.twist = opposite
    second = world.rejects(name="T-2")
    form = world.sees(f"/hints/{second}").form("hint")
    world.confirms(first)
    answer = world.posts(f"/hints/{second}/confirm", form, 422)
    assert f"{first[1:]} is confirmed and asks for the opposite" in answer.text  # a sentence begins with a capital
    world.posts(f"/hints/{second}/edit", form)
    assert "Two rules that say the opposite" in world.sees(f"/hints/{second}").text
