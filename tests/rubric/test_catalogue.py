"""The catalogue refuses whatever does not fit together, and its version knows every byte."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubric import catalogue as module
from rubric.catalogue import FILE_CAP, HERE, load, version_of
from rubric.findings import CODES, WARNINGS
from rubric.schema import Outcome, Risk, Step
from rubric.strict import Unreadable


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(HERE / "cards", tmp_path / "cards")
    return tmp_path


def refusal(folder: Path) -> str:
    with pytest.raises(Unreadable) as caught:
        load(folder)
    return caught.value.code


def test_all_cards_are_there() -> None:
    catalogue = load()
    assert set(catalogue.recipes) == set(module.RECIPES) and len(catalogue.recipes) == 18
    assert set(catalogue.outcomes) == {outcome.value for outcome in Outcome} and len(catalogue.outcomes) == 9


def test_steps_of_a_recipe() -> None:
    catalogue = load()
    assert catalogue.steps_of("adjust_fetch_weight") == (Step.fetch,)
    assert catalogue.steps_of("request_endpoint") == tuple(Step)
    assert {step for slug in catalogue.recipes for step in catalogue.steps_of(slug)} == set(Step)
    with pytest.raises(KeyError):
        catalogue.recipe("make_it_better")
    assert catalogue.outcome("one_off").ask is None


def test_whoever_changes_the_exam_or_the_policy_is_a_high_risk() -> None:
    risky = {card.slug for card in load().recipes.values() if card.risk.level is Risk.high}
    assert {"add_policy_rule", "fix_eval_data"} <= risky


def test_each_lint_code_enforces_one_criterion() -> None:
    enforced = [code for criterion in load().criteria for code in criterion.lint]
    assert sorted(enforced) == sorted(CODES)
    assert set(CODES) >= WARNINGS


def test_no_cue_speaks_for_two_recipes() -> None:
    cards = [*load().recipes.values(), *load().outcomes.values()]
    for language in ("en", "de"):
        cues = [cue for card in cards for cue in getattr(card.cues, language)]
        assert len(cues) == len(set(cues))


def test_refuses_an_example_of_another_recipe(folder: Path) -> None:
    path = folder / "cards/recipes/retire_leaf.yaml"
    path.write_text(path.read_text().replace("recipe: retire_leaf", "recipe: add_second_parent"))
    assert refusal(folder) == "card_invalid"


@pytest.mark.parametrize(
    ("name", "old", "new", "code"),
    [
        ("recipes/adjust_fetch_weight.yaml", "from: 5", "from: five", "card_invalid"),
        ("recipes/adjust_fetch_weight.yaml", "slug: adjust_fetch_weight", "slug: adjust_fetch_height", "card_invalid"),
        ("recipes/adjust_fetch_weight.yaml", "agent: codemod", "agent: codemod\nagent: model", "duplicate_key"),
        ("recipes/adjust_fetch_weight.yaml", "agent: codemod", "agent: robot", "card_invalid"),
        ("recipes/adjust_fetch_weight.yaml", "agent: codemod", "agent: codemod\nowner: me", "card_invalid"),
        ("recipes/adjust_fetch_weight.yaml", "same name]", "wrong person]", "card_invalid"),
        ("recipes/adjust_fetch_weight.yaml", "cues:", "cues: &cues", None),
        ("recipes/adjust_fetch_weight.yaml", "same name]", "*same]", "alias"),
        ("outcomes/one_off.yaml", "slug: one_off", "slug: twice", "card_invalid"),
        ("outcomes/one_off.yaml", "slug: one_off", "slug: policy_question", "card_invalid"),
        ("criteria.yaml", "id: sums_right", "id: one_step", "card_invalid"),
    ],
)
def test_refuses_what_is_not_one_clear_card(folder: Path, name: str, old: str, new: str, code: str | None) -> None:
    path = folder / "cards" / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    if code is None:
        assert load(folder).version != load().version
    else:
        assert refusal(folder) == code


def test_refuses_missing_and_stray_cards(folder: Path) -> None:
    (folder / "cards/recipes/stray.yaml").write_text("slug: stray\n")
    assert refusal(folder) == "card_unknown"
    (folder / "cards/recipes/stray.yaml").unlink()
    (folder / "cards/outcomes/one_off.yaml").unlink()
    assert refusal(folder) == "card_missing"


def test_refuses_a_file_one_byte_too_large(folder: Path) -> None:
    path = folder / "cards/outcomes/one_off.yaml"
    data = path.read_bytes()
    path.write_bytes(data + b"#" * (FILE_CAP - len(data)))
    load(folder)
    path.write_bytes(data + b"#" * (FILE_CAP - len(data) + 1))
    assert refusal(folder) == "card_too_large"


def test_refuses_bytes_that_are_not_utf8(folder: Path) -> None:
    (folder / "cards/criteria.yaml").write_bytes(b"\xff")
    assert refusal(folder) == "not_utf8"


def test_version_is_stable_and_knows_every_file(folder: Path) -> None:
    version = load().version
    assert version.startswith("r-") and len(version) == 14 and int(version[2:], 16) >= 0
    prompts = {}
    if (HERE / "prompts").exists():
        shutil.copytree(HERE / "prompts", folder / "prompts")
    assert load(folder).version == load().version == version
    (folder / "cards/.criteria.yaml.swp").write_text("an editor's")
    assert load(folder).version == version
    (folder / "prompts").mkdir(exist_ok=True)
    for text in ("one", "two"):
        (folder / "prompts/new_ask.md").write_text(text)
        prompts[text] = load(folder).version
    assert len({version, *prompts.values()}) == 3
    (folder / "prompts/new_ask.md").rename(folder / "prompts/other_ask.md")
    assert load(folder).version not in {version, *prompts.values()}


@given(
    st.dictionaries(st.text(max_size=4), st.binary(max_size=6), max_size=4), st.dictionaries(st.text(max_size=4), st.binary(max_size=6), max_size=4)
)
def test_versions_agree_exactly_when_files_do(one: dict[str, bytes], other: dict[str, bytes]) -> None:
    assert version_of(reversed(one.items())) == version_of(one.items())
    assert (version_of(one.items()) == version_of(other.items())) == (one == other)


def test_a_name_cannot_pass_for_contents() -> None:
    assert version_of([("a", b"1:b:0:")]) != version_of([("a", b""), ("b", b"")])
