"""Suites whose rows vary: what is lost, what a person has to see, what quarantine and waivers let through, and what they do not."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubric.manifest import Suite
from rubric.noise import FIRST, FULL, capped, floor, judge, noisy, tally, wants_more
from rubric.schema import Step

RANK = {"pass": 0, "inconclusive": 1, "error": 2, "fail": 3}
STEADY = "1" * FULL


@dataclass(frozen=True)
class R:
    row: str
    passed: bool


@dataclass(frozen=True)
class Run:
    rows: tuple[R, ...] = ()
    failure: str | None = None


def suite(**changes):
    plain = {"id": "s", "argv": ["x"], "results": {"format": "rows-jsonl", "path": "{out}/rows.jsonl"}, "timeout_s": 1, "min_rows": 1}
    return Suite.model_validate({**plain, "kind": "sampled", **changes})


def side(**rows):
    """Runs of a side; a row is written as its runs: `1` passed, `0` failed, `-` was not there."""
    return [Run(tuple(R(row, said[k] == "1") for row, said in rows.items() if said[k] != "-")) for k in range(max(map(len, rows.values())))]


def judged(base, head, quarantined=(), waived=None, **changes):
    return judge(Step.fetch, suite(**changes), base, head, quarantined, waived)


def of_a(base, head, **more):
    return judged(side(a=base, b="1" * len(base)), side(a=head, b="1" * len(head)), **more)


def test_rows_that_keep_passing_pass_and_ask_for_nothing():
    found = of_a("111", "111")
    assert (found.state, found.kept, found.suspects, found.runs, found.counts, found.reason) == ("pass", 2, [], (3, 3), {}, "")
    assert not wants_more(found)


def test_a_suspect_is_never_passed_and_never_failed_by_its_first_runs():
    for head in ("110", "010", "000"):
        found = of_a("111", head)
        assert (found.state, found.suspects, found.undecided, found.lost) == ("inconclusive", ["a"], ["a"], [])
        assert wants_more(found) and found.counts == {"a": (3, 3, head.count("1"), 3)} and "may be lost" in found.reason
    assert of_a("011", "101").suspects == [] == of_a("011", "111").suspects


@pytest.mark.parametrize(
    ("base", "head", "state"),
    [
        ("11111111", "00000000", "fail"),
        ("11111111", "00001110", "fail"),  # 8 : 3, p .013
        ("11111111", "00001111", "inconclusive"),  # 8 : 4, p .038
        ("11111111", "01101110", "pass"),  # 8 : 5, p .10
        ("11111110", "00000110", "fail"),  # 7 : 2, p .020
        ("11111110", "00000111", "pass"),  # 7 : 3, p .059
        ("11111000", "00000000", "fail"),  # 5 : 0, p .013
        ("11110000", "00000000", "inconclusive"),  # 4 : 0, p .038
        ("11100000", "00000000", "pass"),  # 3 : 0, p .10
    ],
)
def test_a_suspect_is_decided_by_eight_runs_of_each_side(base, head, state):
    found = of_a(base, head)
    assert found.state == state and found.suspects == ["a"] and not wants_more(found)
    assert (found.lost, found.undecided) == (["a"] * (state == "fail"), ["a"] * (state == "inconclusive"))
    assert found.counts["a"] == (base.count("1"), 8, head.count("1"), 8) and (state == "pass" or "a" in found.reason)
    assert found.kept == 1 + (state == "pass")


def test_rows_that_fall_a_little_each_are_seen_together():
    """Right less often everywhere: 8 of 8 → 5 of 8 is no news of one row, and of a dozen it is."""
    base = side(**{f"r{n}": STEADY for n in range(12)})
    worse, one = "11100110", {f"r{n}": STEADY for n in range(12)}
    found = judged(base, side(**{f"r{n}": worse for n in range(12)}))
    assert (found.state, found.lost, found.undecided) == ("inconclusive", [], []) and "rows together pass less often" in found.reason
    assert not wants_more(found), "more runs would not be made"
    assert judged(base, side(**{**one, "r0": worse})).state == "pass"
    assert judged(side(**{name: worse for name in one}), side(**{name: worse for name in one})).state == "pass"


def test_a_row_that_falls_only_later_is_no_pass_and_no_fail():
    found = of_a(STEADY, "11100000")
    assert (found.state, found.suspects, found.undecided) == ("inconclusive", [], ["a"])
    assert not wants_more(found)


def test_one_lost_row_fails_however_many_are_gained():
    found = judged(side(a=STEADY, b="0" * 8, c="0" * 8), side(a="0" * 8, b=STEADY, c=STEADY))
    assert (found.state, found.lost, found.gained, found.kept) == ("fail", ["a"], ["b", "c"], 0)


def test_gained_and_failing_rows_are_shown():
    found = judged(side(a="000", b="001", c="000", d="111"), side(a="111", b="111", c="000", d="111"))
    assert (found.state, found.gained, found.failing, found.kept) == ("pass", ["a"], ["c"], 2)


def test_a_row_missing_in_one_run_of_head_fails():
    found = of_a("111", "11-")
    assert (found.state, found.missing, found.lost, found.kept) == ("fail", ["a"], [], 1) and "missing in a run of head: a" in found.reason
    assert judged(side(a="000", b="111"), side(b="111")).missing == ["a"]


def test_a_row_missing_in_one_run_of_base_leaves_nothing_to_compare_with():
    found = of_a("1-1", "111")
    assert found.state == "error" and "not in every run of base: a" in found.reason


@pytest.mark.parametrize(("head", "state"), [("111", "pass"), ("110", "pass"), ("100", "fail"), ("11-", "pass"), ("1--", "fail"), ("000", "fail")])
def test_a_new_row_has_to_pass_in_most_runs(head, state):
    found = judged(side(b="111"), side(b="111", a=head))
    assert found.state == state and (found.new, found.new_failing) == ((["a"], []) if state == "pass" else ([], ["a"]))


@pytest.mark.parametrize(
    ("base", "head", "state", "word"),
    [
        (side(a="111"), [*side(a="11"), Run(failure="exit_code")], "fail", "on head: the suite could not run (exit_code)"),
        (side(a="111"), [Run(failure="timeout")], "fail", "timeout"),
        (side(a="111"), [*side(a="11"), Run()], "fail", "no_rows"),
        (side(a="111"), [*side(a="11"), Run(failure="killed")], "error", "killed"),
        (side(a="111"), [Run(failure="cannot_start")], "error", "cannot_start"),
        ([*side(a="11"), Run(failure="exit_code")], side(a="111"), "error", "on base"),
        ([], side(a="111"), "inconclusive", "not run"),
        (side(a="111"), [], "inconclusive", "not run"),
        (side(a="11"), side(a="111"), "inconclusive", "fewer than 3 runs"),
        (side(a="111"), side(a="1"), "inconclusive", "fewer than 3 runs"),
    ],
)
def test_one_run_without_result_is_enough(base, head, state, word):
    found = judged(base, head)
    assert found.state == state and word in found.reason and not wants_more(found) and found.runs == (len(base), len(head))


def test_too_few_rows_in_one_run_fail():
    assert judged(side(a="111", b="111"), side(a="111", b="11-"), min_rows=2).state == "fail"


def test_nothing_more_is_run_where_the_verdict_stands():
    found = judged(side(a="111", b="111"), side(a="110", b="11-"))
    assert found.state == "fail" and found.undecided == ["a"] and not wants_more(found)


# Quarantine and waivers


TEN = {f"r{k}": STEADY for k in range(10)}
TWO_LOST = {**TEN, "r3": "0" * 8, "r7": "0" * 8}


def test_quarantined_rows_are_shown_and_do_not_block():
    found = judged(side(**TEN), side(**TWO_LOST), {"r3", "r7"})
    assert (found.state, found.quarantined, found.lost, found.suspects, found.kept) == ("pass", ["r3", "r7"], [], [], 8)
    assert found.counts == {"r3": (8, 8, 0, 8), "r7": (8, 8, 0, 8)}
    assert judged(side(**TEN), side(**TWO_LOST), ["r3"]).lost == ["r7"]


def test_a_quarantined_row_has_to_be_there():
    assert judged(side(**TEN), side(**{**TEN, "r3": "1111111-"}), ["r3"]).missing == ["r3"]


def test_quarantine_holds_a_fifth_of_a_suite_and_the_rest_is_judged():
    lost = {**TEN, "r1": "0" * 8, "r3": "0" * 8, "r7": "0" * 8}
    found = judged(side(**TEN), side(**lost), ["r7", "r3", "r1"])
    assert (found.state, found.lost, found.quarantined) == ("fail", ["r1"], ["r3", "r7"]) and "judged although listed for quarantine" in found.reason
    found = judged(side(**TEN), side(**TEN), ["r7", "r3", "r1"])
    assert found.state == "pass" and "1 judged although listed for quarantine, which holds one row in 5: r1" in found.reason
    four = {row: TEN[row] for row in ("r0", "r1", "r2", "r3")}
    assert judged(side(**four), side(**{**four, "r3": "0" * 8}), ["r3"]).state == "fail"


def test_quarantine_takes_the_first_given_and_of_a_set_the_first_by_name():
    assert capped(["d", "x", "b", "d", "a"], "abcdefghij") == (["d", "b"], ["a"])
    assert capped({"d", "b", "a"}, "abcdefghij") == (["a", "b"], ["d"])
    assert capped(["a"], "abcd") == ([], ["a"]) and capped(["z"], "abcdefghij") == ([], [])


def test_a_waived_row_does_not_block_and_says_why():
    found = judged(side(**TEN), side(**TWO_LOST), waived={"r3": "the cards team knows", "r7": "so does billing"})
    assert (found.state, found.lost, found.waived) == ("pass", [], {"r3": "the cards team knows", "r7": "so does billing"})
    assert judged(side(**TEN), side(**TWO_LOST), waived={"r3": "the cards team knows"}).lost == ["r7"]


def test_a_waived_suspect_asks_for_no_more_runs():
    found = of_a("111", "110", waived={"a": "known"})
    assert found.state == "pass" and found.waived == {"a": "known"} and not wants_more(found)


@pytest.mark.parametrize("reason", ["", " \n"])
def test_a_waiver_without_a_reason_is_none(reason):
    assert of_a(STEADY, "0" * 8, waived={"a": reason}).state == "fail"


def test_a_waiver_is_shown_only_where_it_was_needed_and_covers_no_missing_row():
    assert of_a(STEADY, STEADY, waived={"a": "known"}).waived == {}
    found = of_a("111", "11-", waived={"a": "known"})
    assert (found.state, found.missing, found.waived) == ("fail", ["a"], {})


# The noise floor


def test_the_noise_floor_is_what_neither_passes_nor_fails():
    runs = [{"a": True, "b": k % 2 == 0, "c": False, "d": k > 0} for k in range(8)]
    assert floor(runs) == ["b", "d"] and tally(runs) == {"a": (8, 8), "b": (4, 8), "c": (0, 8), "d": (7, 8)}
    assert floor([]) == []


def test_a_row_that_fails_once_in_thirty_runs_is_no_noise():
    assert noisy({"a": (29, 30), "b": (1, 30), "c": (19, 20), "d": (1, 20), "e": (18, 20), "f": (0, 0)}) == ["e"]


# What holds of any suite

ROW = st.text("01", min_size=FULL, max_size=FULL)
SUITES = st.dictionaries(st.sampled_from([f"r{k}" for k in range(12)]), st.tuples(ROW, ROW), min_size=1)


def both(rows, runs=FULL):
    return [side(**{row: pair[which][:runs] for row, pair in rows.items()}) for which in (0, 1)]


@given(SUITES, st.sampled_from([FIRST, 5, FULL]), st.randoms(use_true_random=False), st.lists(st.sampled_from([f"r{k}" for k in range(12)])))
def test_the_order_of_rows_changes_nothing(rows, runs, chance, quarantined):
    found = judged(*both(rows, runs), quarantined)
    names = list(rows)
    chance.shuffle(names)
    again = judged(*both({row: rows[row] for row in names}, runs), quarantined)
    lists = [name for name, value in found if isinstance(value, list)]
    assert found.state == again.state and all(sorted(getattr(found, name)) == sorted(getattr(again, name)) for name in lists)


@given(SUITES, st.data())
def test_a_pass_more_on_head_never_makes_it_worse(rows, data):
    row = data.draw(st.sampled_from(sorted(rows)))
    at = data.draw(st.integers(0, FULL - 1))
    base, head = rows[row]
    better = {**rows, row: (base, head[:at] + "1" + head[at + 1 :])}
    for runs in (FIRST, FULL):
        assert RANK[judged(*both(better, runs)).state] <= RANK[judged(*both(rows, runs)).state]


@given(SUITES, st.sets(st.sampled_from([f"r{k}" for k in range(12)])), st.booleans())
def test_a_row_stands_in_one_place_and_none_is_forgotten(rows, some, waive):
    found = judged(*both(rows), () if waive else some, dict.fromkeys(some, "known") if waive else None)
    places = [*found.lost, *found.missing, *found.gained, *found.failing, *found.undecided, *found.waived, *found.quarantined]
    assert len(places) == len(set(places)) and len(places) + found.kept == len(rows)
    assert (found.state == "pass") == (not found.lost and not found.undecided)


@given(SUITES)
def test_the_same_runs_on_both_sides_pass(rows):
    same = {row: (base, base) for row, (base, _) in rows.items()}
    assert judged(*both(same)).state == judged(*both(same, FIRST)).state == "pass"


@given(SUITES, st.sampled_from([f"r{k}" for k in range(12)]))
def test_quarantine_and_waivers_never_make_it_worse(rows, row):
    plain = RANK[judged(*both(rows)).state]
    assert RANK[judged(*both(rows), [row]).state] <= plain >= RANK[judged(*both(rows), waived={row: "known"}).state]


@given(SUITES, st.sampled_from([f"r{k}" for k in range(12)]))
def test_a_row_that_breaks_for_good_is_never_passed(rows, row):
    broken = {**rows, row: (STEADY, "0" * FULL)}
    assert judged(*both(broken)).state == "fail" and wants_more(judged(*both(broken, FIRST)))
