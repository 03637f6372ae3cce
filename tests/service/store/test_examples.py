"""What a critic is shown of the past holds here: the newest decisions, and of many the old ones that are like; never what is held out."""

import random

from sqlalchemy import insert
from sqlmodel import select

from bench.made_up import Ground, comment, decisions
from rubric.precedents import nearest
from rubric.reading import words
from service.store import examples
from service.store.examples import ALIKE, COMMON, Example, ExampleWord
from service.store.hints import HintRow
from tests.samples.world import World

GROUND = Ground("bank", ["cards/lost"], ["fetch:postcode", "fetch:email"])


def decided(world: World, number: int, *, said: str = "") -> list[Example]:
    """Decisions with made-up comments, or with one that is numbered, oldest first; all hang on hints of one case."""
    case_id = world.rejects("email postcode", "wrong person")
    row = world.runs().hint_of(case_id).model_dump()
    made = [one.model_dump() | {"case_id": case_id} for one in decisions(number, GROUND)]
    made = [Example(**one | {"comment": f"{said} {place}" if said else one["comment"]}) for place, one in enumerate(made)]
    with world.db.begin() as session:
        session.connection().execute(insert(HintRow), [{**row, "id": one.hint_id} for one in made])
        for one in made:
            examples.add(session, one)
    return made


def again(world: World, example: Example, **changes: str) -> None:
    with world.db.begin() as session:
        examples.add(session, Example(**example.model_dump() | changes))


def shown(world: World, like: str, limit: int = 5) -> list[str]:
    with world.db.read() as session:
        return [str(one.hint_id) for one in examples.usable(session, "bank", limit, like=like)]


def test_of_many_the_newest_come_and_the_old_ones_that_are_like(world: World) -> None:
    """A copy of each old comment with three words changed finds it, and the critic takes it for the nearest."""
    made = decided(world, 60)
    chance = random.Random(3)
    for old in made[:20]:
        said = old.comment.split()
        for place in chance.sample(range(len(said)), 3):
            said[place] = "anders"
        with world.db.read() as session:
            found = examples.usable(session, "bank", 5, like=" ".join(said))
        assert [one.hint_id for one in found[:5]] == [one.hint_id for one in reversed(made[-5:])]
        assert old.hint_id in {one.hint_id for one in found[5:]} and nearest(" ".join(said), found)[0].hint_id == old.hint_id


def test_where_all_are_shown_nothing_is_looked_up(world: World) -> None:
    made = decided(world, 6)
    assert shown(world, made[0].comment, 7) == [one.hint_id for one in reversed(made)]
    assert shown(world, "", 2) == [one.hint_id for one in reversed(made[-2:])]


def test_a_comment_of_common_words_finds_its_equal(world: World) -> None:
    """No word of it tells anything; all of them as one do, in any case and spacing."""
    made = decided(world, COMMON + 50, said="wrong person")
    again(world, made[7], comment="Wrong,  PERSON")
    assert shown(world, "wrong person", 3)[3:] == [made[7].hint_id]


def test_held_out_decisions_are_found_by_nothing(world: World) -> None:
    made = decided(world, 20)
    assert made[0].hint_id in shown(world, made[0].comment)
    again(world, made[0], side="held_out")
    assert made[0].hint_id not in shown(world, made[0].comment)
    with world.db.read() as session:
        assert session.exec(select(ExampleWord).where(ExampleWord.hint_id == made[0].hint_id)).all() == []


def test_a_decision_that_is_taken_back_or_written_anew_takes_its_words_along(world: World) -> None:
    made = decided(world, 20)
    with world.db.begin() as session:
        examples.remove(session, made[0].hint_id)
    assert made[0].hint_id not in shown(world, made[0].comment)
    again(world, made[1], comment="quite something else")
    assert made[1].hint_id not in shown(world, made[1].comment, 3)
    assert made[1].hint_id in shown(world, "Quite something, else!", 3)


def test_another_target_s_decisions_are_not_looked_at(world: World) -> None:
    made = decided(world, 10)
    with world.db.read() as session:
        assert examples.usable(session, "elsewhere", 2, like=made[0].comment) == []
    assert not set(examples.words_of("bank", "wrong person")) & set(examples.words_of("elsewhere", "wrong person"))


def test_no_more_than_so_many_look_alikes_come(world: World) -> None:
    decided(world, ALIKE + 20, said="a quince")
    assert len(shown(world, "a quince", 2)) == 2 + ALIKE - 2


def test_made_up_comments_are_varied_and_the_same_for_the_same_seed() -> None:
    first, second = ([comment(random.Random(5)) for _ in range(3)] for _ in range(2))
    assert first == second
    many = [comment(chance) for chance in [random.Random(1)] for _ in range(500)]
    assert len(set(many)) == 500 and len({word for one in many for word in words(one)}) > 1000
