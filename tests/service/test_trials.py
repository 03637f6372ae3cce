"""Trials hold here: an answer is remembered, a failure is not, and what is kept on disk and in memory has an end."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from connectors.ports import PortError, Ports, ReplayAnswer, TreeRun
from connectors.scripted import ScriptedAgent, ScriptedHost
from rubric.schema import Hint
from service.targets import Target, look
from service.trials import KEPT_BASES, KEPT_MANY, KEPT_REFUSALS, Trials
from tests.samples.small import FILES, MANIFEST, small_agent, small_brief, small_ports, weight_hint

TICKETS = {"c1": {"ticket": {"messages": [{"role": "customer", "text": "email postcode"}]}}}


class Gate:
    """A replay that can be held up, that counts, and that fails for some cases."""

    name = "gate"

    def __init__(self, inner: Any):
        self._inner = inner
        self.asked: list[list[str]] = []
        self.fails: set[str] = set()
        self.exams = 0
        self.seen: list[tuple[bool, ...]] = []
        """whether there are rows in the tree, and in the grader's"""

    def run_suite(self, suite: Any, tree: Path, rows_file: Path | None, exam: Path | None = None) -> Any:
        self.exams += 1
        self.seen.append(tuple(bool(folder and list(folder.rglob("*.jsonl"))) for folder in (tree, exam)))
        return self._inner.run_suite(suite, tree, rows_file, exam)

    def replay(self, replay: Any, tree: Path, cases: Mapping[str, dict[str, Any]]) -> list[ReplayAnswer]:
        self.asked.append(sorted(cases))
        answers = self._inner.replay(replay, tree, cases)
        return [ReplayAnswer(one.case_id, failure="timeout") if one.case_id in self.fails else one for one in answers]


class Ground:
    def __init__(self, folder: Path):
        small = small_ports(folder)
        self.evals, self.agent = Gate(small.evals), ScriptedAgent(small_agent())
        self.host: ScriptedHost = small.hosts["bank"]  # type: ignore[assignment]
        self.ports = Ports(small.critic, self.agent, self.evals, small.hosts, small.now, small.workdir, small.limits)
        self.trials = Trials(self.ports)

    def target(self) -> Target:
        return look(self.host, self.host.head())

    def next_commit(self, number: int) -> Target:
        self.host.pushes({"README.md": f"{number}\n".encode()})
        return self.target()

    def folders(self) -> list[str]:
        return sorted(path.name for path in self.ports.workdir.iterdir())


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


@pytest.fixture
def hint() -> Hint:
    return weight_hint(small_brief())


def test_an_answer_is_remembered_by_commit_change_and_case(ground: Ground, hint: Hint) -> None:
    target = ground.target()
    before = ground.trials.before(target, TICKETS).after["c1"]
    after = ground.trials.of(target, [hint], "less", TICKETS).after["c1"]
    assert before and after and before["fetch"][0]["record_id"] == "rec_b" and after["fetch"][0]["record_id"] == "rec_a"
    assert ground.trials.before(target, TICKETS).after == {"c1": before}
    assert ground.trials.of(target, [hint], "less", TICKETS).after == {"c1": after}
    assert ground.evals.asked == [["c1"], ["c1"]] and len(ground.agent.jobs) == 1
    ground.trials.before(target, {**TICKETS, "c2": TICKETS["c1"]})
    assert ground.evals.asked[2:] == [["c2"]]  # only what is not known yet
    ground.trials.before(ground.next_commit(1), TICKETS)
    assert ground.evals.asked[3:] == [["c1"]]


def test_a_replay_that_failed_is_run_again(ground: Ground, hint: Hint) -> None:
    target, two = ground.target(), {**TICKETS, "c2": TICKETS["c1"]}
    ground.evals.fails = {"c1"}
    whole = ground.trials.before(target, two)
    first = whole.after
    assert first["c1"] is None and first["c2"] and whole.failures == {"c1": "timeout"}
    assert ground.trials.of(target, [hint], "less", TICKETS) == ground.trials.of(target, [hint], "less", TICKETS)
    assert ground.evals.asked == [["c1", "c2"], ["c1"], ["c1"]]
    ground.evals.fails = set()
    again = ground.trials.before(target, two)
    assert again.after["c1"] == first["c2"] and again.failures == {}
    assert ground.trials.of(target, [hint], "less", TICKETS).after["c1"]
    assert ground.evals.asked[3:] == [["c1"], ["c1"]]
    ground.trials.before(target, two)
    assert len(ground.evals.asked) == 5


def test_a_refusal_is_remembered_and_a_crash_is_not(ground: Ground, hint: Hint) -> None:
    target, ends = ground.target(), iter([TreeRun("crashed", "no memory"), TreeRun("gave_up", "no way")])
    ground.agent._script = lambda job, tree: next(ends)
    seen = [ground.trials.of(target, [hint], "less", TICKETS) for _ in range(4)]
    assert [(one.status, one.reason, one.after) for one in seen] == [("crashed", "no memory", {})] + [("gave_up", "no way", {})] * 3
    assert len(ground.agent.jobs) == 2 and ground.evals.asked == []


def test_refusals_do_not_pile_up(ground: Ground, hint: Hint) -> None:
    target = ground.target()
    for number in range(KEPT_REFUSALS):
        ground.trials._refused["long ago", str(number)] = ("gave_up", "")
    ground.agent._script = lambda job, tree: TreeRun("refused", "no")
    ground.trials.of(target, [hint], "less", TICKETS)
    assert len(ground.trials._refused) == KEPT_REFUSALS and ("long ago", "0") not in ground.trials._refused
    assert (target.sha, "less") in ground.trials._refused


def base_of(target: Target) -> str:
    return f"base-bank-{target.sha[:16]}-base"


def test_only_the_newest_bases_stay(ground: Ground) -> None:
    targets = [ground.next_commit(number) for number in range(5)]
    for target in targets:
        ground.trials.before(target, TICKETS)
        assert len(ground.folders()) <= KEPT_BASES
    assert ground.folders() == sorted(base_of(target) for target in targets[-KEPT_BASES:])
    assert ground.trials.before(targets[0], {"c9": TICKETS["c1"]}).after["c9"]  # one that is gone is exported again
    assert base_of(targets[0]) in ground.folders() and len(ground.folders()) == KEPT_BASES
    shelf = ground.trials._shelf
    assert len(shelf._places) == KEPT_BASES and set(shelf._readers) == set(shelf._making) == set(shelf._places)


def test_a_base_that_is_being_copied_stays_until_the_copy_is_done(ground: Ground) -> None:
    first, shelf = ground.target(), ground.trials._shelf
    ground.trials.before(first, TICKETS)
    with shelf.tree(first, (), "") as place, shelf.tree(first, (), "") as again:
        assert place == again
        others = [ground.next_commit(number) for number in range(3)]
        for target in others:
            ground.trials.before(target, TICKETS)
        assert (place / "triage.yaml").is_file() and ground.folders() == sorted(map(base_of, [first, *others[-KEPT_BASES:]]))
    assert len(ground.folders()) == KEPT_BASES
    for number in range(3, 3 + KEPT_BASES):
        ground.trials.before(ground.next_commit(number), TICKETS)
    assert not place.exists() and len(ground.folders()) == KEPT_BASES


def test_a_base_that_could_not_be_exported_troubles_nobody_else(ground: Ground) -> None:
    broken = ground.next_commit(0)
    ground.host.fail_next["export"] = PortError("unavailable", "the disk is away")
    with pytest.raises(PortError, match="the disk is away"):
        ground.trials.before(broken, TICKETS)
    for number in range(1, KEPT_BASES + 3):
        assert ground.trials.before(ground.next_commit(number), TICKETS).after["c1"]
    assert len(ground.folders()) == KEPT_BASES and len(ground.trials._shelf._places) == KEPT_BASES
    assert ground.trials.before(broken, TICKETS).after["c1"]


def test_many_changes_are_made_once_and_share_a_shelf_of_their_own(ground: Ground, hint: Hint) -> None:
    """One that cannot be made is left out of the many; alone it would end the trial."""
    target, stale = ground.target(), hint.model_copy(update={"change": hint.change.model_copy(update={"from_": 77})})
    email = weight_hint(small_brief(), field="email", to=9)
    both = ground.trials.of(target, [stale, email], "both", TICKETS)
    assert both.status == "done" and both.after["c1"] and both.after["c1"]["fetch"][0] == {
        "record_id": "rec_a", "score": 9, "matched_fields": ["email"],
    }  # fmt: skip
    assert ground.trials.of(target, [stale], "stale", TICKETS).status == "gave_up"
    made = len(ground.agent.jobs)
    ground.trials.of(target, [stale, email], "both", {"c2": TICKETS["c1"]})
    assert len(ground.agent.jobs) == made  # the tree stands; another ticket needs no second one
    for number in range(KEPT_MANY + 3):
        ground.trials.of(target, [hint, email], f"many {number}", TICKETS)
    kinds = ["base" if name.endswith("-base") else "many" for name in ground.folders()]
    assert (kinds.count("base"), kinds.count("many")) == (1, KEPT_MANY)


def test_many_tries_on_many_commits_at_once_all_find_their_base(ground: Ground) -> None:
    targets = [ground.next_commit(number) for number in range(4)]
    wrong: list[Any] = []

    def tries(start: int) -> None:
        try:
            for turn in range(12):
                plans = ground.trials.before(targets[(start + turn) % 4], {f"c{start}-{turn}": TICKETS["c1"]}).after
                wrong.extend(case_id for case_id, plan in plans.items() if plan is None)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=tries, args=(start,)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and len(ground.folders()) == KEPT_BASES


def test_what_is_known_of_a_case_is_told_without_a_replay(ground: Ground, hint: Hint) -> None:
    target = ground.target()
    assert ground.trials.known(target, "less", "c1") is None
    plan = ground.trials.of(target, [hint], "less", TICKETS).after["c1"]
    assert ground.trials.known(target, "less", "c1") == plan and ground.trials.known(target, "less", "c2") is None
    assert ground.trials.known(ground.next_commit(1), "less", "c1") is None
    assert len(ground.evals.asked) == 1


def test_rows_that_a_change_loses_are_those_of_its_own_step_and_looked_up_once(ground: Ground, hint: Hint) -> None:
    same = weight_hint(small_brief(), field="email", to=4)
    ground.host.pushes(
        {"evals/fetch/cases.jsonl": FILES["evals/fetch/cases.jsonl"] + b'{"id": "f3", "words": "email postcode", "expected": "rec_b"}\n'}
    )
    target = ground.target()
    assert ground.trials.lost(target, hint, "less") == {"fetch-golden f3"}
    assert ground.trials.lost(target, same, "same") == frozenset()
    made = ground.evals.exams
    assert ground.trials.lost(target, hint, "less") == {"fetch-golden f3"} and ground.evals.exams == made
    assert ground.folders() == [base_of(target)]


def test_a_suite_that_ran_late_once_is_asked_again(ground: Ground, hint: Hint) -> None:
    """On the base, and with the change: what was not known then is not taken for nothing lost."""
    ground.host.pushes(
        {"evals/fetch/cases.jsonl": FILES["evals/fetch/cases.jsonl"] + b'{"id": "f3", "words": "email postcode", "expected": "rec_b"}\n'}
    )
    target, fails = ground.target(), ground.evals._inner.fails
    fails["fetch-golden"] = "timeout"
    assert ground.trials.lost(target, hint, "less") == frozenset()
    del fails["fetch-golden"]
    assert ground.trials.lost(target, hint, "less") == {"fetch-golden f3"}
    other = weight_hint(small_brief(), to=2)
    fails["fetch-golden"] = "stopped"
    assert ground.trials.lost(target, other, "other") == frozenset()
    del fails["fetch-golden"]
    assert ground.trials.lost(target, other, "other") == {"fetch-golden f3"}


def test_a_suite_without_a_result_or_a_change_that_cannot_be_made_loses_nothing(ground: Ground, hint: Hint) -> None:
    target = ground.target()
    ground.evals._inner.fails["fetch-golden"] = "timeout"
    assert ground.trials.lost(target, hint, "less") == frozenset()
    del ground.evals._inner.fails["fetch-golden"]
    ground.agent._script = lambda job, tree: TreeRun("gave_up", "no way")
    assert ground.trials.lost(target, hint, "less") == frozenset()


def test_where_a_suite_is_graded_outside_its_rows_are_not_in_the_tree_that_is_tried(ground: Ground, hint: Hint) -> None:
    graded = (
        MANIFEST.replace("rows-jsonl", "outputs-jsonl")
        .replace("min_rows: 2,", "min_rows: 2, grade: {argv: [grade]},")
        .replace("min_rows: 1,", "min_rows: 1, grade: {},")
    )
    rows = FILES["evals/fetch/cases.jsonl"] + b'{"id": "f3", "words": "email postcode", "expected": "rec_b"}\n'
    ground.host.pushes({"triage.yaml": graded.encode(), "evals/fetch/cases.jsonl": rows})
    assert ground.trials.lost(ground.target(), hint, "less") == {"fetch-golden f3"}
    assert ground.evals.seen == [(False, True)] * 2
