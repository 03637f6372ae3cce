"""A whole service without a server, in the user's words: staff reject and accept, a gatekeeper decides, flows run one after another."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from sqlalchemy import text
from sqlmodel import Session

from connectors.ports import Ports, TreeJob
from connectors.scripted import ScriptedCritic
from connectors.webhooks import parse_case
from rubric.catalogue import Catalogue, load
from rubric.drafting import Drafted
from service import reports
from service.db import Database
from service.flows import bodies
from service.stages import critic, gate, intake, outcome
from service.store import cases, gate_runs, handoffs, hints, history, pulls
from service.targets import look
from tests.samples.small import NOON, weight_hint

SECRET = b"the split's secret"
CATALOGUE = load()
T = TypeVar("T")


class Asked:
    """An enqueue that writes into a table of the same database: it commits and rolls back with the caller, and a key counts once."""

    def prepare(self, db: Database) -> None:
        with db.begin() as session:
            session.connection().execute(
                text("CREATE TABLE asked (key VARCHAR(900) PRIMARY KEY, flow VARCHAR(40), thing VARCHAR(900), delay FLOAT, place INTEGER)")
            )

    def __call__(self, session: Session, flow: str, key: str, thing_id: str, delay: float) -> None:
        row = {"key": key, "flow": flow, "thing": thing_id, "delay": delay}
        known = session.connection().execute(text("SELECT 1 FROM asked WHERE key = :key"), row).first()
        if not known:
            place = "(SELECT COALESCE(MAX(place), 0) + 1 FROM asked)"
            session.connection().execute(text(f"INSERT INTO asked VALUES (:key, :flow, :thing, :delay, {place})"), row)

    def all(self, db: Database) -> list[tuple[str, str, str, float]]:
        """(key, flow, thing id, delay), in the order they were asked for."""
        with db.read() as session:
            rows = session.connection().execute(text("SELECT key, flow, thing, delay FROM asked ORDER BY place, key")).all()
        return [(key, flow, thing, delay) for key, flow, thing, delay in rows]

    def flows(self, db: Database) -> list[tuple[str, str]]:
        return [(flow, thing) for _, flow, thing, _ in self.all(db)]


class World:
    def __init__(self, db: Database, ports: Ports, catalogue: Catalogue = CATALOGUE):
        """On one target: the only host of the tray. The world's clock is everybody's."""
        self.db, self.catalogue = db, catalogue
        (self.host,) = ports.hosts.values()
        self.time = NOON
        db.now = lambda: self.time
        self.ports = replace(ports, now=lambda: self.time)
        self.asked: Asked = db.enqueue  # type: ignore[assignment]
        self._done: set[str] = set()
        self._bodies: tuple[Ports, dict[str, Callable[[str], None]]] | None = None
        self._tickets = 0
        self.broken: list[str] = []
        """flows that ended in an exception"""

    def with_ports(self, **changes: Any) -> "World":
        """The same world with other connectors from now on."""
        self.ports = replace(self.ports, **changes)
        return self

    # ---- support staff

    def sends(self, document: dict[str, Any], delivery_id: str | None = None) -> Any:
        """One received case, as the webhook would hand it over; the receipt, or the conflict."""
        case = parse_case(json.dumps(document).encode())
        delivery = intake.Delivery("desk", self.host.name, case, self.time, delivery_id)
        self.time += timedelta(seconds=1)
        return intake.accept(self.db, [delivery], SECRET)[0]

    def rejects(self, ticket: str | dict[str, Any], comment: str, *, name: str | None = None, revision: int = 1) -> str:
        """Staff saw what the pipeline makes of a ticket and did not like it. Returns our id of the case."""
        said = {"comment": comment, "by": "staff-1", "at": "2026-03-01T11:00:00Z"}
        return self._shadow_run(ticket, name, revision, {"verdict": "rejected", "rejection": said})

    def accepts(self, ticket: str | dict[str, Any], *, name: str | None = None) -> str:
        return self._shadow_run(ticket, name, 1, {"verdict": "accepted"})

    def _shadow_run(self, ticket: str | dict[str, Any], name: str | None, revision: int, verdict: dict[str, Any]) -> str:
        self._tickets += 1
        whole = ticket if isinstance(ticket, dict) else {"messages": [{"role": "customer", "text": ticket}]}
        plan = self.pipeline_says(whole)
        document = {"external_id": name or f"t-{self._tickets}", "revision": revision, "ticket": whole, "plan": plan, **verdict}
        return str(self.sends(document).case_id)

    def pipeline_says(self, ticket: dict[str, Any]) -> dict[str, Any]:
        """The plan of the pipeline as it stands on the base branch."""
        sha = self.host.head()
        manifest = look(self.host, sha).manifest
        assert manifest.replay is not None
        with TemporaryDirectory() as folder:
            self.host.export(sha, Path(folder, "tree"))
            answer = self.ports.evals.replay(manifest.replay, Path(folder, "tree"), {"x": {"ticket": ticket}})[0]
        assert answer.plan is not None, answer
        return {key: value for key, value in answer.plan.items() if value is not None}

    # ---- the machine

    def flows(self) -> dict[str, Callable[[str], None]]:
        if self._bodies is None or self._bodies[0] is not self.ports:
            self._bodies = self.ports, dict(bodies(self.db, self.ports, self.catalogue))
        return self._bodies[1]

    def runs(self, *, wait: float = 3600) -> "World":
        """Sweep, then run whatever is due within `wait` seconds, and what follows from it, until nothing is left."""
        for _ in range(200):
            while intake.sweep(self.db) == 500:
                pass
            due = [one for one in self.asked.all(self.db) if one[0] not in self._done and one[3] <= wait]
            if not due:
                return self
            for key, flow, thing, delay in due:
                self._done.add(key)
                self.time += timedelta(seconds=delay)
                try:
                    self.flows()[flow](thing)
                except Exception as error:
                    self.broken.append(f"{flow}: {type(error).__name__}: {error}")
        raise AssertionError("the flows never come to rest")

    def drafts_untried(self, to: int, name: str) -> hints.HintRow:
        """A hint that moves the weight of `postcode` to a value, drafted at once and without a look at what it does: up would do nothing."""
        self.with_ports(critic=ScriptedCritic(lambda brief: Drafted(hints=[weight_hint(brief, to=to)])))
        case_id = self.rejects("email postcode", "wrong person", name=name)
        intake.mask(self.db, [case_id])
        critic.draft(self.db, self.ports, self.catalogue, case_id)
        return self.hint_of(case_id)

    def reopen(self, flow: str, thing_id: str) -> None:
        """Run one flow's body once more, as after a crash."""
        self.flows()[flow](thing_id)

    # ---- the gatekeeper

    def confirms(self, hint_id: str, *, by: str = "gwen") -> hints.HintRow:
        return gate.confirm(self.db, self.ports, hint_id, version=self.hint(hint_id).version, by=by)

    def dismisses(self, hint_id: str, reason: str = "one_off", *, by: str = "gwen") -> hints.HintRow:
        return gate.dismiss(self.db, hint_id, version=self.hint(hint_id).version, by=by, reason=reason)

    def marks_duplicate(self, hint_id: str, of: str, *, by: str = "gwen") -> hints.HintRow:
        return gate.duplicate(self.db, hint_id, version=self.hint(hint_id).version, by=by, of=of)

    def undoes(self, hint_id: str, *, by: str = "gwen") -> hints.HintRow:
        return gate.undo(self.db, hint_id, by=by)

    def merges(self, pull_id: str, *, by: str = "gwen") -> pulls.Pull:
        return outcome.ask_to_merge(self.db, pull_id, by=by)

    def closes(self, pull_id: str, reason: str = "not now", *, by: str = "gwen") -> pulls.Pull:
        return outcome.close(self.db, pull_id, by=by, reason=reason)

    # ---- what is to be seen

    def jobs(self) -> list[TreeJob]:
        """What the scripted agent was told, tries of the critic aside."""
        return [job for job in self.ports.agent.jobs if job.job_id != "trial"]  # type: ignore[attr-defined]

    def case(self, case_id: str) -> cases.CaseRow:
        return self._one(cases.get, case_id)

    def hint(self, hint_id: str) -> hints.HintRow:
        return self._one(hints.get, hint_id)

    def hint_of(self, case_id: str) -> hints.HintRow:
        """The one hint of a case."""
        with self.db.read() as session:
            (row,) = hints.of_case(session, case_id)
            return row

    def handoff_of(self, hint_id: str) -> handoffs.Handoff:
        with self.db.read() as session:
            return handoffs.of_hint(session, hint_id)[-1]

    def pull(self, pull_id: str) -> pulls.Pull:
        return self._one(pulls.get, pull_id)

    def pull_of(self, hint_id: str) -> pulls.Pull:
        """The newest pull of a hint."""
        with self.db.read() as session:
            return pulls.of_hint(session, hint_id)[-1]

    def gate_of(self, pull_id: str) -> gate_runs.GateRun:
        """The newest gate run of a pull."""
        with self.db.read() as session:
            return gate_runs.of_pull(session, pull_id)[-1]

    def story(self, case_id: str) -> dict[str, Any]:
        with self.db.read() as session:
            return reports.case_story(session, case_id)

    def moves(self, thing: str, thing_id: str) -> list[str]:
        with self.db.read() as session:
            return [str(move.state_to) for move in history.of(session, thing, thing_id)]

    def _one(self, get: Callable[[Session, str], T | None], thing_id: str) -> T:
        with self.db.read() as session:
            found = get(session, thing_id)
            assert found is not None, thing_id
            return found
