"""The world of the pages' tests: the real app over the example bank, a browser without scripts, and support staff who reject."""

import copy
import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlmodel import SQLModel

from connectors.localgit import LocalGit
from connectors.ports import PortError, Ports
from connectors.precedent_critic import PrecedentCritic
from connectors.scripted import ScriptedCritic
from rubric.catalogue import load
from rubric.drafting import Abstained, Brief, Drafted
from rubric.schema import Case, Hint
from service.app import create_app
from service.redaction import redact
from service.settings import Settings
from service.stages import critic, intake
from service.store import gate_runs, handoffs, history, pulls, reviews
from service.web.deps import House
from service.wiring import wire

EXAMPLES = Path(__file__).parents[3] / "examples"
CASES = {case["external_id"]: case for case in map(json.loads, (EXAMPLES / "cases.jsonl").read_text().splitlines())}
TOKEN = "a token of this test"
PAGE = {"accept": "text/html,application/xhtml+xml", "sec-fetch-site": "same-origin"}


class Bank(LocalGit):
    """The example target, with a diff that a test may choose."""

    shows: str | PortError | None = None

    def diff(self, base: str, head: str) -> str:
        if isinstance(self.shows, PortError):
            raise self.shows
        return self.shows if self.shows is not None else super().diff(base, head)


def bank_repo(folder: Path) -> Path:
    """A bare repository with the example target on `main`."""
    subprocess.run(["cp", "-r", EXAMPLES / "target-pipeline", folder / "tree"], check=True)
    say = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], [*say, "commit", "-q", "-m", "begin"]):
        subprocess.run(["git", *words], cwd=folder / "tree", check=True)
    subprocess.run(["git", "clone", "-q", "--bare", folder / "tree", folder / "bank.git"], check=True)
    return folder / "bank.git"


class World:
    """What a test can do: send rejections, look at pages, fill in forms."""

    def __init__(self, folder: Path):
        self.twist: Callable[[Hint], Hint] | None = None
        settings = Settings(
            data_dir=folder / "var", token=TOKEN, undo_seconds=3600, sources={"ui": {"secrets": ["whsec_" + "A" * 32], "target": "bank"}},
            targets={"bank": {"repo": bank_repo(folder)}}, _env_file=None,
        )  # fmt: skip
        self._drafter = PrecedentCritic(load())
        ports = wire(settings, load())
        self.bank = Bank(folder / "bank.git", name="bank", now=ports.now)
        self.ports: Ports = replace(ports, critic=ScriptedCritic(self._draft), hosts={"bank": self.bank})
        self.app: FastAPI = create_app(settings, self.ports)

    def _draft(self, brief: Brief) -> Drafted | Abstained:
        """As the embedded critic does; for a twisted hint it reads a case that it surely knows."""
        if self.twist is None:
            return self._drafter.draft(brief)
        known = Case.model_validate(redact(CASES["nsb-010"])[0])
        reply = self._drafter.draft(brief.model_copy(update={"case": known, "open_hints": []}))
        assert isinstance(reply, Drafted)
        return reply.model_copy(update={"hints": [self.twist(hint) for hint in reply.hints]})

    @property
    def house(self) -> House:
        found: House = self.app.state.house
        return found

    def begin(self) -> "World":
        """As on the first day. Flows stay still: a test moves things itself."""
        self.house.db.enqueue = None
        with self.house.db.begin() as session:
            for table in reversed(SQLModel.metadata.sorted_tables):
                session.connection().execute(table.delete())
        self.twist, self.bank.shows = None, None
        self.client = TestClient(self.app, headers=PAGE, follow_redirects=False)
        self.sign_in()
        return self

    def sign_in(self) -> None:
        assert self.client.post("/sign-in", data={"token": TOKEN}).status_code == 303

    def receives(self, like: str = "nsb-010", name: str = "T-1", **changes: Any) -> str:
        """A case comes in and is drafted; its id."""
        document = {**copy.deepcopy(CASES[like]), "external_id": name, **changes}
        delivery = intake.Delivery(source="ui", target="bank", case=Case.model_validate(document), received_at=datetime.now(UTC))
        case_id = intake.case_id_of("ui", name, document.get("revision", 1))
        intake.accept(self.house.db, [delivery], b"secret")
        intake.mask(self.house.db, [case_id])
        critic.draft(self.house.db, self.ports, self.house.catalogue, case_id)
        return case_id

    def rejects(self, like: str = "nsb-010", name: str = "T-1", **changes: Any) -> str:
        """Like `receives`, for a case that leads to a hint; the hint's id."""
        return f"h{self.receives(like, name, **changes)[1:]}-1"

    def pull_of(self, hint_id: str, *, state: str = "ready", report: dict[str, Any] | None = None, gate: str = "pass", **columns: Any) -> str:
        """A pull of a confirmed hint, as if the flows had run."""
        head = self.bank.head()
        with self.house.db.begin() as session:
            work = handoffs.of_hint(session, hint_id)[-1]
            pull = pulls.Pull(**{
                "id": f"p{work.id[1:]}", "handoff_id": work.id, "hint_id": hint_id, "target": "bank", "step": "fetch", "recipe": "adjust_fetch_weight",
                "state": pulls.PullState(state), "branch": "triage/x", "base_sha": head, "head_sha": head, "title": "fix(fetch): x", "body": "why",
                "row_note": "no row", "opened_at": datetime.now(UTC), **columns,
            })  # fmt: skip
            history.begin(session, pull, by="test")
            if report is not None:
                run = gate_runs.GateRun(
                    id=f"{pull.id}-run", pull_id=pull.id, base_sha=head, head_sha=head, state=gate_runs.GateState(gate), report=report,
                    started_at=datetime.now(UTC), finished_at=datetime.now(UTC),
                )  # fmt: skip
                history.begin(session, run, by="test")
            return pull.id

    def reviews_of(self, hint_id: str) -> list[reviews.Review]:
        with self.house.db.read() as session:
            return reviews.of_hint(session, hint_id)

    def sees(self, path: str, status: int = 200) -> "Page":
        answer = self.client.get(path)
        assert answer.status_code == status, (answer.status_code, answer.text[:500])
        return Page(answer.text)

    def posts(self, path: str, form: dict[str, str], status: int = 303) -> Any:
        answer = self.client.post(path, data=form)
        assert answer.status_code == status, (answer.status_code, Page(answer.text).text[:800])
        return answer

    def confirms(self, hint_id: str) -> str:
        """By the form of the page; where it leads."""
        where: str = self.posts(f"/hints/{hint_id}/confirm", self.sees(f"/hints/{hint_id}").form("hint")).headers["location"]
        return where


class Page(HTMLParser):
    """A page as a browser without scripts reads it."""

    VOID = frozenset({"meta", "link", "input", "br", "img", "hr"})

    def __init__(self, html: str):
        super().__init__()
        self.html = html
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.pieces: list[str] = []
        self._forms: dict[str, dict[str, str]] = {}
        self._filling: tuple[str, str] | None = None
        self._select: tuple[str, str] | None = None
        self._form = ""
        self.feed(html)
        self.close()

    @property
    def text(self) -> str:
        return " ".join("".join(self.pieces).split())

    def form(self, name: str) -> dict[str, str]:
        """The fields of a form by its id, as they would be sent."""
        return dict(self._forms.get(name, {}))

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        return [found for name, found in self.tags if name == tag and all(found.get(key) == value for key, value in wanted.items())]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {key: value or "" for key, value in attrs}
        self.tags.append((tag, found))
        if tag not in self.VOID:
            self.open.append(tag)
        owner, name = found.get("form") or self._form, found.get("name", "")
        fields = self._forms.setdefault(owner, {})
        if tag == "form":
            self._form = found.get("id", "")
        elif tag == "input" and name and ("checked" in found or found.get("type") not in ("radio", "checkbox")):
            fields[name] = found.get("value", "")
        elif tag == "textarea":
            fields[name], self._filling = "", (owner, name)
        elif tag == "select":
            fields[name], self._select = "", (owner, name)
        elif tag == "option" and self._select and "selected" in found:
            self._forms[self._select[0]][self._select[1]] = found.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()
        if tag == "form":
            self._form = ""
        if tag == "textarea" and self._filling:
            owner, name = self._filling
            self._forms[owner][name] = self._forms[owner][name].removeprefix("\n")
            self._filling = None

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)
        if self._filling:
            self._forms[self._filling[0]][self._filling[1]] += data
