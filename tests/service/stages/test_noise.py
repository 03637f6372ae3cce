"""The noise floor holds here: measured on the base alone, believed for a week, and then the gate judges every row again."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from connectors.ports import PortError, Row, SuiteRun
from connectors.scripted import ScriptedEvals
from rubric.manifest import Suite
from service.lifecycle import GateState
from service.stages import evals, noise
from service.store import row_noise
from service.ticks import Clock, measure
from tests.samples.small import FILES, MANIFEST, plan_of, small_evals, small_host
from tests.samples.world import World
from tests.service.test_ticks import Flows

SAMPLED = MANIFEST.replace("min_rows: 2,", "min_rows: 2, kind: sampled,").encode()
MORE = FILES["evals/fetch/cases.jsonl"] + b"".join(f'{{"id": "s{number}", "words": "email", "expected": "rec_a"}}\n'.encode() for number in range(8))


class Wavering(ScriptedEvals):
    """A sampled suite whose row `f2` passes every second time on base, and never once the change is in."""

    def __init__(self, **fails: str) -> None:
        super().__init__(small_evals()._passes, lambda tree, case: plan_of(tree, case["ticket"]["messages"][0]["text"]), fails)
        self.turns: Counter[str] = Counter()
        """by side, which run at once"""

    def run_suite(self, suite: Suite, tree: Path, rows_file: Path | None, exam: Path | None = None) -> SuiteRun:
        run = super().run_suite(suite, tree, rows_file, exam)
        if suite.id != "fetch-golden" or run.failure:
            return run
        self.turns[tree.name] += 1
        changed = json.loads((tree / "config/fetch.json").read_text())["weights"]["postcode"] != 5
        return SuiteRun(
            suite.id, tuple(Row(row.row, row.passed and (row.row != "f2" or (not changed and self.turns[tree.name] % 2 == 0))) for row in run.rows)
        )


@pytest.fixture
def sampled(world: World) -> World:
    host = small_host(**{"triage.yaml": SAMPLED, "evals/fetch/cases.jsonl": MORE})
    world.host = host
    return world.with_ports(hosts={"bank": host}, evals=Wavering())


def standing(world: World) -> list[row_noise.RowNoise]:
    with world.db.read() as session:
        return row_noise.standing(session, "bank", world.time)


def test_rows_are_counted_on_the_base_and_forgotten_after_a_week(sampled: World) -> None:
    noise.measure(sampled.db, sampled.ports, "bank")
    assert {one.row: (one.passes, one.runs) for one in standing(sampled)} == {"f1": (8, 8), "f2": (4, 8), **{f"s{n}": (8, 8) for n in range(8)}}
    assert {one.suite for one in standing(sampled)} == {"fetch-golden"}, "a deterministic suite has no noise"
    assert sampled.ports.evals.runs == ["fetch-golden"] * 8  # type: ignore[attr-defined]
    sampled.time += noise.HOLDS
    assert standing(sampled) == []


def gated(world: World) -> Any:
    steady = ScriptedEvals(small_evals()._passes, lambda tree, case: plan_of(tree, case["ticket"]["messages"][0]["text"]))
    wavering, world.ports = world.ports.evals, world.with_ports(evals=steady).ports
    case_id = world.rejects("email postcode", "wrong person")
    hint = world.runs().hint_of(case_id)
    world.confirms(hint.id)
    world.reopen("handoff", world.handoff_of(hint.id).id)
    world.with_ports(evals=wavering)
    pull = world.pull_of(hint.id)
    evals.run(world.db, world.ports, pull.id)
    return world.gate_of(pull.id)


def test_a_noisy_row_is_in_quarantine_while_the_measurement_holds(sampled: World) -> None:
    noise.measure(sampled.db, sampled.ports, "bank")
    found = gated(sampled)
    suite = found.report["suites"][0]
    assert (found.state, suite["quarantined"], suite["lost"], suite["undecided"]) == (GateState.passed, ["f2"], [], [])


def test_without_a_measurement_that_holds_every_row_is_judged(sampled: World) -> None:
    noise.measure(sampled.db, sampled.ports, "bank")
    sampled.time += noise.HOLDS
    suite = gated(sampled).report["suites"][0]
    assert suite["quarantined"] == [] and suite["suspects"] == ["f2"]


def test_a_suite_that_cannot_be_measured_keeps_what_was_known(sampled: World) -> None:
    noise.measure(sampled.db, sampled.ports, "bank")
    before = standing(sampled)
    noise.measure(sampled.db, sampled.with_ports(evals=Wavering(**{"fetch-golden": "timeout"})).ports, "bank")
    assert standing(sampled) == before and before


def test_what_is_sampled_no_more_has_no_noise(sampled: World) -> None:
    noise.measure(sampled.db, sampled.ports, "bank")
    sampled.host.pushes({"triage.yaml": MANIFEST.encode()})
    sampled.ports.evals.runs.clear()  # type: ignore[attr-defined]
    noise.measure(sampled.db, sampled.ports, "bank")
    assert standing(sampled) == [] and sampled.ports.evals.runs == []  # type: ignore[attr-defined]


def test_only_targets_with_sampled_suites_are_measured_at_night(sampled: World) -> None:
    plain, away = small_host("plain"), small_host("away", **{"triage.yaml": SAMPLED})
    away.fail_next["head"] = PortError("repo_missing", "gone")
    sampled.with_ports(hosts={"bank": sampled.host, "plain": plain, "away": away})
    assert noise.targets(sampled.ports) == ["bank"]
    assert noise.targets(sampled.ports) == ["bank", "away"]


def test_a_night_asks_once_however_many_processes_there_are(sampled: World) -> None:
    clock = Clock(sampled.db, Flows(), settle=0, noisy=lambda: noise.targets(sampled.ports))  # type: ignore[arg-type]
    beat = {job.id: job.func for job in clock._scheduler.get_jobs()}["noise"]
    beat()
    measure(sampled.db, ["bank"])
    asked = sampled.asked.all(sampled.db)
    assert [(key, flow, thing) for key, flow, thing, _ in asked] == [("noise:bank:2026-03-01", "noise", "bank")]
    sampled.time += noise.HOLDS
    beat()
    assert len(sampled.asked.all(sampled.db)) == 2
    sampled.runs()
    assert standing(sampled) and not sampled.broken


def test_a_clock_without_targets_measures_nothing(world: World) -> None:
    clock = Clock(world.db, Flows(), settle=0)  # type: ignore[arg-type]
    {job.id: job.func for job in clock._scheduler.get_jobs()}["noise"]()
    assert world.asked.all(world.db) == []
