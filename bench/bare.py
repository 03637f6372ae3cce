"""The bare endpoint that intake is measured against: the least that can say 202 and mean it. `python -m bench.bare`, started by `bench.intake`.

It reads the body, verifies the HMAC, inserts one row under a unique key, commits, answers. What it leaves out stands in `bench/speed.py`.
"""

import base64
import hashlib
import hmac
import os
import socket
import sqlite3
import sys
import threading
from collections.abc import Callable

import psycopg
import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool

TABLE = "CREATE TABLE item (delivery_id TEXT PRIMARY KEY, body TEXT NOT NULL)"
Insert = Callable[[str, str], None]


def into_sqlite(path: str) -> Insert:
    """One durable commit a request, one writer at a time: without the lock SQLite's busy handler would make bare slower, not faster."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", TABLE):
        connection.execute(statement)
    lock = threading.Lock()

    def insert(delivery_id: str, body: str) -> None:
        with lock:
            connection.execute("INSERT INTO item VALUES (?, ?) ON CONFLICT DO NOTHING", (delivery_id, body))

    return insert


def into_postgres(url: str) -> Insert:
    """A connection a thread, each statement a transaction; the server itself puts commits that meet into one flush."""
    with psycopg.connect(url, autocommit=True) as once:
        once.execute(TABLE)
    of_thread = threading.local()

    def insert(delivery_id: str, body: str) -> None:
        if not hasattr(of_thread, "connection"):
            of_thread.connection = psycopg.connect(url, autocommit=True)
        of_thread.connection.execute("INSERT INTO item VALUES (%s, %s) ON CONFLICT DO NOTHING", (delivery_id, body))

    return insert


def application(insert: Insert, key: bytes) -> FastAPI:
    app = FastAPI(openapi_url=None)

    @app.post("/v1/cases")
    async def receive(request: Request) -> Response:
        body = await request.body()
        name, at = request.headers["webhook-id"], request.headers["webhook-timestamp"]
        signature = base64.b64encode(hmac.new(key, f"{name}.{at}.".encode() + body, hashlib.sha256).digest()).decode()
        if not hmac.compare_digest(f"v1,{signature}", request.headers["webhook-signature"]):
            return Response(status_code=401)
        await run_in_threadpool(insert, name, body.decode())
        return Response(status_code=202)

    return app


def main() -> None:
    """Arguments: database URL and webhook secret. Ends with its standard input, as `triage serve --until-stdin-ends` does."""
    url, secret = sys.argv[1:]
    insert = into_sqlite(url.removeprefix("sqlite:///")) if url.startswith("sqlite") else into_postgres(url.replace("+psycopg", ""))
    app = application(insert, base64.b64decode(secret.removeprefix("whsec_")))
    threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(0)), daemon=True).start()
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, or asyncio would leave Nagle's delay on
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)
    print(f"serving http://127.0.0.1:{listener.getsockname()[1]} ", file=sys.stderr, flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=30, lifespan="on", h11_max_incomplete_event_size=16_384)).run(
        sockets=[listener]
    )


if __name__ == "__main__":
    main()
