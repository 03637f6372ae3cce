"""The durable flows, one to four steps each. Every step loads by id and ends in a state, so running one twice is harmless."""

from collections.abc import Callable, Mapping

import structlog

from connectors.ports import PortError, Ports
from rubric.catalogue import Catalogue
from service.db import Database
from service.engine import step
from service.stages import critic, evals, handoff, intake, learning, noise, outcome
from service.trials import Trials

log = structlog.get_logger(__name__)


def bodies(db: Database, ports: Ports, catalogue: Catalogue) -> Mapping[str, Callable[[str], None]]:
    """flow name → what it does with the id of a thing"""
    trials = Trials(ports)

    def mask(case_ids: str) -> None:
        names = case_ids.split(",")
        try:
            step("mask", lambda: intake.mask(db, names))
        except Exception:
            if len(names) == 1:
                raise
            for name in names:  # one that cannot be masked must not take its neighbours with it
                step(f"mask-{name}", lambda name=name: mask_one(name))  # type: ignore[misc]

    def mask_one(case_id: str) -> None:
        try:
            intake.mask(db, [case_id])
        except Exception as error:
            log.error("a case cannot be masked", case=case_id, error=type(error).__name__)
            intake.fail(db, [case_id], f"cannot be masked ({type(error).__name__}); see the log")

    def draft(case_id: str) -> None:
        step("mask", lambda: intake.mask(db, [case_id]))
        step("draft", lambda: critic.draft(db, ports, catalogue, case_id, trials))

    def hand_off(handoff_id: str) -> None:
        step("build", lambda: handoff.build(db, ports, catalogue, handoff_id))

    def gate(pull_id: str) -> None:
        step("gate", lambda: evals.run(db, ports, pull_id))

    def land(pull_id: str) -> None:
        for turn in range(outcome.ROUNDS):
            answer = step(f"land-{turn}", lambda: outcome.land(db, ports, pull_id))
            if answer in ("landed", "stopped") or step(f"settle-{turn}", lambda: outcome.settle(db, ports, pull_id)):
                return
            if why := step(f"rebuild-{turn}", lambda: handoff.rebuild(db, ports, catalogue, pull_id)):
                step("give-up", lambda: outcome.give_up_landing(db, pull_id, why))
                return
            step(f"gate-{turn}", lambda: evals.run(db, ports, pull_id))
        answer = step("land-last", lambda: outcome.land(db, ports, pull_id))
        if answer in outcome.UNDECIDED:
            step("give-up", lambda: outcome.give_up_landing(db, pull_id, outcome.UNDECIDED[answer]))

    def learn(pull_id: str) -> None:
        step("absorb", lambda: learning.absorb(db, pull_id))
        step("recheck", lambda: outcome.recheck_after(db, ports, pull_id))

    def measure(target: str) -> None:
        step("measure", lambda: noise.measure(db, ports, target))

    return {
        "mask": _told(mask, lambda ids, why: intake.fail(db, ids.split(","), why)),
        "draft": _told(draft, lambda case_id, why: intake.fail(db, [case_id], why)),
        "handoff": _told(hand_off, lambda handoff_id, why: handoff.fail(db, handoff_id, why)),
        "gate": _told(gate, lambda pull_id, why: evals.fail(db, pull_id, why)),
        "land": _told(land, lambda pull_id, why: outcome.give_up_landing(db, pull_id, why)),
        "learn": _told(learn, lambda pull_id, why: None),
        "noise": _told(measure, lambda target, why: None),
    }


def _told(body: Callable[[str], None], tell: Callable[[str, str], None]) -> Callable[[str], None]:
    """A flow that breaks says so in the state of its thing before it ends as failed."""

    def run(thing_id: str) -> None:
        try:
            body(thing_id)
        except Exception as error:
            log.error("flow failed", flow=body.__name__, thing=thing_id[:80], error=type(error).__name__)
            # the words of a `PortError` are meant for screens; those of others may hold what a customer wrote
            tell(thing_id, f"{error.code}: {error}" if isinstance(error, PortError) else f"internal error ({type(error).__name__}); see the log")
            raise

    return run
