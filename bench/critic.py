"""Measures the critic alone: the precedent critic's answers on ever larger stores of decisions, and what a draft by a model costs, cached or not."""

import random
import sqlite3
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from alembic import command
from pydantic import SecretStr

from bench.figures import Figure
from bench.loop import NAME, Loop, Tell, taken_in
from bench.made_up import Ground, comment, decisions
from connectors.claude import ClaudeMessages
from connectors.claude_prices import published
from connectors.claude_profile import Profile
from rubric.catalogue import load
from rubric.drafting import Usage
from rubric.precedents import answer
from service.asking import asking
from service.db import Database
from service.migrate import config_for
from service.stages import critic
from service.store import calls, examples
from tests.samples.messages import MessagesStub
from tests.samples.reader import tells
from tests.samples.small import small_ports
from tests.samples.world import Asked, World

STORES = (1_000, 10_000, 100_000)
MODEL = "claude-sonnet-5-5"
SLOWEST = 1 / 3
"""of the rate on the smallest store"""
CENTS = 100


def answers(loop: Loop, stores: Sequence[int], most: int, rounds: int, tell: Tell) -> list[Figure]:
    """Cases a second: reading what a draft reads, then the precedent critic's answer, without replay. The stores take turns."""
    ground = Ground(NAME, sorted({"/".join(case["plan"]["intent_path"]) for case in loop.cases}), sorted(loop.target.inventory.entries))
    rates: dict[int, list[float]] = {number: [] for number in stores}
    catalogue, filled = load(), {}
    for number in stores:
        filled[number] = _filled(loop, number, ground, most)
        tell(f"critic: {number} decisions stored")
    for _ in range(rounds):
        for number, (db, case_ids) in filled.items():
            start = time.perf_counter()
            for case_id in case_ids:
                brief = critic.brief_of(db, loop.ports, case_id)
                assert brief is not None
                answer(brief, catalogue)
            rates[number].append(len(case_ids) / (time.perf_counter() - start))
    for db, _ in filled.values():
        db.dispose()
    first = rates[stores[0]]
    return [
        Figure(f"precedent critic, {number:,} decisions", "cases/s", rates[number], bare=first if number != stores[0] else [],
               note=f"against {stores[0]:,}; no replay" if number != stores[0] else "no replay", least=SLOWEST)
        for number in stores
    ]  # fmt: skip


def _filled(loop: Loop, number: int, ground: Ground, most: int) -> tuple[Database, list[str]]:
    """A store of made-up decisions, and rejections whose comments hold some of their words."""
    file = loop.folder / f"decisions-{number}.db"
    db = Database(f"sqlite:///{file}", enqueue=lambda *_: None)
    chance = random.Random(number)
    case_ids = taken_in(db, [_wordier(case, chance) for case in loop.cases])[:most]
    made = (one.model_dump() for one in decisions(number, ground))
    with sqlite3.connect(file) as store:  # without an eye on keys: nobody looks at the cases behind these decisions
        while some := list(islice(made, 5000)):
            rows = [{**one, "at": one["at"].replace(tzinfo=None).isoformat(" ", "microseconds")} for one in some]
            names = list(rows[0])
            store.executemany(f"INSERT INTO examples ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})", rows)
            words = [(word, one["hint_id"]) for one in some for word in examples.words_of(one["target"], one["comment"])]
            store.executemany("INSERT INTO example_words (word, hint_id) VALUES (?, ?)", words)
    store.close()
    return db, case_ids


def _wordier(case: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    said = case.get("rejection")
    return case if said is None else {**case, "rejection": {**said, "comment": f"{said['comment']} {comment(chance)}"}}


def tokens(folder: Path, drafts: int, tell: Tell) -> list[Figure]:
    """US cents a draft by the price list, as the server of sockets counts tokens: with the cache that every ask marks, and without one."""
    db = Database(f"sqlite:///{folder / 'tokens.db'}", enqueue=(asked := Asked()))
    command.upgrade(config_for(db.url), "head")
    asked.prepare(db)
    with MessagesStub(tells) as stub:
        world = World(db, small_ports(folder))
        world.with_ports(model=ClaudeMessages(Profile(base_url=stub.url, api_key=SecretStr("stub"), model=MODEL)))
        world.ports = asking(world.ports, db, world.catalogue, case=100, hour=100, day=100)
        used = [_used(world, number) for number in range(drafts + 1)]
    db.dispose()
    tell(f"critic: {len(used)} drafts by a model")
    return [_cents("model draft, the first of an hour", used[:1]), _cents("model draft, rubric in the cache", used[1:])]


def _used(world: World, number: int) -> Usage:
    """All that one draft was billed for."""
    case_id = world.rejects("email postcode", f"wrong person, take {number}")
    world.runs()
    with world.db.read() as session:
        receipts = [(call.outcome or {})["receipt"]["usage"] for call in calls.of_case(session, case_id)]
    return Usage(**{name: sum(one[name] for one in receipts) for name in Usage.model_fields})


def _cents(what: str, used: Sequence[Usage]) -> Figure:
    prices = published()
    whole = [Usage(input=one.input + one.cache_read + one.cache_write, output=one.output) for one in used]
    mean = {name: round(sum(getattr(one, name) for one in used) / len(used)) for name in Usage.model_fields}
    said = f"tokens: {mean['input']:,} in, {mean['cache_write']:,} into the cache, {mean['cache_read']:,} out of it, {mean['output']:,} out"
    with_cache, without = ([CENTS * (prices.usd(MODEL, one) or 0) for one in some] for some in (used, whole))
    return Figure(what, "US cents", with_cache, bare=without, note=f"{said}; bare: no cache; {MODEL}, prices of {prices.date}")
