"""The service from outside: what a sender and a program are told, and what nobody is told."""

import json
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.webhooks import sign
from tests.samples.small import TOKEN, WEBHOOK

AUTH = {"authorization": f"Bearer {TOKEN}", "x-triage-by": "gwen"}
CANARIES = {"name": "Quirina Zebedee", "email": "quirina.zebedee@canary.example", "account_number": "77123409876"}


def case(name: str, comment: str = "wrong person", words: str = "email postcode", **more: Any) -> dict[str, Any]:
    reply = "Dear rec_b,\n\nit is on its way."
    return {
        "external_id": name,
        "ticket": {"messages": [{"role": "customer", "text": words}]},
        "plan": {
            "intent_path": ["cards", "lost"], "reply": reply,
            "fetch": [{"record_id": "rec_b", "score": 5, "matched_fields": ["postcode"]}, {"record_id": "rec_a", "score": 3, "matched_fields": ["email"]}],
        },
        "verdict": "rejected",
        "rejection": {"comment": comment, "by": "staff-1", "at": "2026-03-01T11:00:00Z"},
        **more,
    }  # fmt: skip


def send(client: TestClient, document: Any, delivery: str = "", **headers: str) -> Any:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    signed = sign(delivery or f"d-{time.monotonic_ns()}", datetime.now(UTC), body, WEBHOOK)
    return client.post("/v1/cases", content=body, headers={**signed, "content-type": "application/json", **headers})


def is_problem(answer: Any, status: int, code: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert found["status"] == status and found["code"] == code and found["detail"] and found["title"]


def until(what: Callable[[], Any]) -> Any:
    for _ in range(600):
        found = what()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it never came")


# ---- the signed door


def test_new_duplicate_and_conflict(client: TestClient) -> None:
    first = send(client, case("w1"), "msg-1")
    assert (first.status_code, first.json()["status"]) == (202, "new")
    again = send(client, case("w1"), "msg-1")
    assert (again.status_code, again.json()) == (200, {**first.json(), "status": "duplicate"})
    assert first.headers["location"] == f"/v1/cases/{first.json()['id']}"
    is_problem(send(client, case("w1", "else"), "msg-2"), 409, "case_conflict")
    is_problem(send(client, case("w2"), "msg-1"), 409, "case_conflict")
    revised = send(client, case("w1", "else", revision=2), "msg-3")
    assert (revised.status_code, revised.json()["revision"]) == (202, 2)


def test_what_is_not_signed_for_us_stays_out(client: TestClient) -> None:
    body = json.dumps(case("forged")).encode()
    good = sign("f-1", datetime.now(UTC), body, WEBHOOK)
    other = sign("f-1", datetime.now(UTC), body, "whsec_" + "QUFB" * 11)
    for headers, code in (
        ({}, "header_missing"),
        (other, "signature_mismatch"),
        ({**good, "webhook-id": "f-2"}, "signature_mismatch"),
        (sign("f-1", datetime(2020, 1, 1, tzinfo=UTC), body, WEBHOOK), "timestamp_too_old"),
    ):
        is_problem(client.post("/v1/cases", content=body, headers={"content-type": "application/json", **headers}), 401, code)
    is_problem(client.post("/v1/cases", content=body + b" ", headers=good), 401, "signature_mismatch")
    is_problem(client.post("/v1/cases?source=nobody", content=body, headers=good), 401, "unknown_source")
    assert client.get("/v1/cases/forged", headers=AUTH).status_code == 404


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "not_json"), (b"{", "not_json"), (b"\xff", "not_utf8"), (b'{"a": NaN}', "not_a_number"), (b"[" * 100_000, "too_deep"),
        (b'{"verdict": "accepted", "verdict": "accepted"}', "duplicate_key"), (b"{}", "field_missing"),
        (json.dumps(case("x", surplus=1)).encode(), "field_unknown"), (json.dumps(case("x", comment="a\x00b")).encode(), "unstorable_text"),
        (json.dumps(case("x", comment="\ud800")).encode(), "unstorable_text"), (json.dumps(case("no spaces")).encode(), "field_invalid"),
    ],
)  # fmt: skip
def test_what_is_no_case_is_named(client: TestClient, body: bytes, code: str) -> None:
    is_problem(send(client, body), 422, code)


def test_only_json_is_read(client: TestClient) -> None:
    is_problem(send(client, case("x"), **{"content-type": "text/plain"}), 415, "not_json")


def test_a_body_at_the_limit_is_read_and_one_byte_more_is_not(client: TestClient) -> None:
    limit = 1_048_576
    assert send(client, b" " * limit).status_code == 422
    is_problem(send(client, b" " * (limit + 1)), 413, "too_large")


def stream(client: TestClient, headers: dict[str, str], chunk: bytes, times: int) -> tuple[int, int]:
    """Speak ASGI directly: (status, bytes that the application asked for)."""
    asked, status = 0, 0

    async def receive() -> dict[str, Any]:
        nonlocal asked
        asked += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": asked < times * len(chunk)}

    async def answer(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)

    scope = {
        "type": "http", "method": "POST", "path": "/v1/cases", "raw_path": b"/v1/cases", "query_string": b"", "http_version": "1.1", "scheme": "http",
        "headers": [(key.encode(), value.encode()) for key, value in headers.items()], "server": ("x", 1), "client": ("y", 2), "root_path": "",
    }  # fmt: skip

    async def run() -> None:
        await client.app(scope, receive, answer)  # type: ignore[arg-type]

    assert client.portal
    client.portal.call(run)
    return status, asked


def test_three_hundred_megabytes_are_refused_without_being_read(client: TestClient) -> None:
    json_type = {"content-type": "application/json"}
    status, asked = stream(client, json_type, b"x" * 65_536, 4_800)  # no length given
    assert status == 413 and asked < 1_048_576 + 2 * 65_536
    status, asked = stream(client, {**json_type, "content-length": str(300 * 2**20)}, b"x" * 65_536, 4_800)
    assert status == 413 and asked == 0
    status, asked = stream(client, {**json_type, "content-length": "7"}, b"x" * 65_536, 4_800)  # a lie
    assert status == 413 and asked < 1_048_576 + 2 * 65_536


def test_a_store_that_does_not_answer_is_503_and_the_retry_is_taken(client: TestClient) -> None:
    path = client.app.state.house.db.url.removeprefix("sqlite:///")  # type: ignore[attr-defined]
    aside = sqlite3.connect(path, timeout=30)
    aside.execute("ALTER TABLE originals RENAME TO away")
    refused = send(client, case("later"), "later-1")
    aside.execute("ALTER TABLE away RENAME TO originals")
    aside.close()
    is_problem(refused, 503, "overloaded")
    assert int(refused.headers["retry-after"]) > 0
    assert send(client, case("later"), "later-1").status_code == 202


# ---- programs with a token


def routes(client: TestClient) -> list[tuple[str, str]]:
    found = [(method, route.path) for route in _all(client.app.routes) for method in route.methods - {"HEAD", "OPTIONS"}]  # type: ignore[attr-defined]
    return sorted(found)


def _all(found: Any) -> list[APIRoute]:
    """Routers may stand inside routers."""
    plain: list[APIRoute] = []
    for route in found:
        inner = getattr(route, "original_router", None) or getattr(route, "router", None)
        if isinstance(route, APIRoute):
            plain.append(route)
        elif inner is not None:
            plain += _all(inner.routes)
    return plain


OPEN = {("POST", "/v1/cases"), ("POST", "/sign-in")}


def test_every_route_that_changes_something_needs_the_token(client: TestClient) -> None:
    unsafe = [one for one in routes(client) if one[0] != "GET" and one not in OPEN]
    assert ("POST", "/v1/hints/{hint_id}/decision") in unsafe and ("POST", "/v1/pulls/{pull_id}/merge") in unsafe and len(unsafe) >= 5
    for method, path in unsafe:
        place = path.replace("{", "").replace("}", "")
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}, {"cookie": f"triage_session={TOKEN}"}):
            answer = client.request(method, place, headers=headers, json={}, follow_redirects=False)
            assert answer.status_code in (401, 303), (method, path, headers, answer.status_code)


def test_every_reading_route_of_the_api_needs_the_token_but_the_health_ones(client: TestClient) -> None:
    free = {path for method, path in routes(client) if method == "GET" and path.startswith("/v1/") and client.get(path).status_code != 401}
    assert free == set()
    assert [client.get(path).status_code for path in ("/livez", "/readyz", "/metrics")] == [200, 200, 200]


def test_the_whole_loop_by_program(client: TestClient) -> None:
    """A signed rejection to a merged pull, by HTTP alone; and no raw value of the customer in anything that was said."""
    words = f"I am {CANARIES['name']}, {CANARIES['email']}, account {CANARIES['account_number']}: email postcode"
    comment = f"{CANARIES['name']} is not rec_b, see {CANARIES['account_number']}"
    document = case("loop", comment, words)
    document["ticket"]["known_values"] = CANARIES
    heard = [send(client, document, "loop-1")]

    def get(path: str) -> Any:
        heard.append(client.get(path, headers=AUTH))
        assert heard[-1].status_code == 200, heard[-1].text
        return heard[-1].json()

    def post(path: str, body: Any = None) -> Any:
        heard.append(client.post(path, headers=AUTH, json=body))
        return heard[-1]

    story = until(lambda: (found := get("/v1/cases/loop"))["hints"] and found)
    hint = get(f"/v1/hints/{story['hints'][0]['id']}")
    is_problem(post(f"/v1/hints/{hint['id']}/decision", {"verdict": "confirm", "version": 9}), 409, "stale_version")
    is_problem(post(f"/v1/hints/{hint['id']}/decision", {"verdict": "dismiss", "version": 1}), 422, "unprocessable")
    decided = post(f"/v1/hints/{hint['id']}/decision", {"verdict": "confirm", "version": 1})
    assert (decided.status_code, decided.json()["decided_by"]) == (200, "gwen")
    pull = until(lambda: next((one for one in get("/v1/cases/loop")["pulls"] if one["state"] == "ready"), None))
    assert post(f"/v1/pulls/{pull['id']}/merge").status_code == 202
    until(lambda: get("/v1/cases/loop")["outcome_of_fix"] == "cured")
    for path in ("/v1/hints", "/v1/pulls", f"/v1/pulls/{pull['id']}", f"/v1/hints/{hint['id']}", "/v1/stations"):
        get(path)
    post(f"/v1/hints/{hint['id']}/undo")
    heard += [client.get("/metrics"), client.get("/readyz")]
    said = "\n".join(answer.text for answer in heard)
    for value in CANARIES.values():
        for word in [value, *(value.split() if " " in value else [])]:
            assert word not in said, word


def test_what_is_not_there_is_a_problem_document(client: TestClient) -> None:
    for path in ("/v1/cases/x", "/v1/hints/x", "/v1/pulls/x"):
        is_problem(client.get(path, headers=AUTH), 404, "not_found")
    for method, path in (("GET", "/v1/nothing"), ("DELETE", "/v1/hints"), ("PATCH", "/v1/cases/x")):
        answer = client.request(method, path, headers=AUTH)
        assert answer.status_code in (404, 405) and answer.headers["content-type"] == "application/problem+json"
    is_problem(client.get("/v1/hints?limit=0", headers=AUTH), 422, "field_invalid")


def test_no_answer_lacks_the_security_headers(client: TestClient) -> None:
    for answer in (client.get("/livez"), client.get("/v1/nothing"), client.get("/v1/hints"), send(client, b"{"), client.get("/static/nothing")):
        assert "default-src 'none'" in answer.headers["content-security-policy"] and answer.headers["x-content-type-options"] == "nosniff"


# ---- whatever is sent

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*case("x"), "messages", "text", "role"]) | st.text(max_size=5), inner, max_size=5),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=150)
@given(
    body=st.one_of(
        st.binary(max_size=200),
        JSON.map(lambda found: json.dumps(found).encode()),
        JSON.map(lambda found: json.dumps({**case("h"), "ticket": found}).encode()),
    )
)
def test_no_signed_body_is_our_error(client: TestClient, body: bytes) -> None:
    assert send(client, body).status_code in (200, 202, 409, 422)


@settings(max_examples=150)
@given(data=st.data())
def test_no_call_is_our_error(client: TestClient, data: st.DataObject) -> None:
    """Any route of the API with any ids, queries and bodies: a declared refusal, never a 5xx."""
    method, path = data.draw(st.sampled_from([one for one in routes(client) if one[1].startswith("/v1/") and one[1] != "/v1/cases"]))
    thing = data.draw(st.text(st.characters(exclude_characters="/?#\\", exclude_categories=["Cs"]), min_size=1, max_size=20))
    for name in ("case_id", "hint_id", "pull_id"):
        path = path.replace(f"{{{name}}}", quote(thing, safe=""))
    query = data.draw(st.dictionaries(st.sampled_from(["after", "limit", "state", "step", "recipe", "case", "x"]), st.text(max_size=20), max_size=3))
    body = data.draw(
        JSON | st.fixed_dictionaries({"verdict": st.sampled_from(["confirm", "dismiss", "duplicate"]), "version": st.integers(0, 3), "reason": JSON})
    )
    answer = client.request(method, path, params=query, headers=AUTH, content=json.dumps(body).encode(), follow_redirects=False)
    assert answer.status_code < 500, (method, path, query, body, answer.text)
