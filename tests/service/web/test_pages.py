"""Signing in, who may ask, headers, errors as pages, and the small texts that all pages share."""

import random
import time
from datetime import UTC, datetime

import pytest
from fastapi.testclient import TestClient

from rubric.schema import Case, Expectation, text_of
from service.web.deps import COOKIE
from service.web.hintform import texts_of
from service.web.pages import ADVICE, age, iso, said, segments, utc, visible, word_diff
from tests.service.web.world import CASES, PAGE, TOKEN, Page, World

PATHS = ["/hints", "/hints/none", "/pulls", "/pulls/none", "/cases/none", "/console"]
POSTS = [
    "/hints/none/confirm", "/hints/none/edit", "/hints/none/dismiss", "/hints/none/duplicate", "/hints/none/undo", "/pulls/none/merge", "/pulls/none/close"
]  # fmt: skip


def stranger(world: World, **headers: str) -> TestClient:
    return TestClient(world.app, headers={**PAGE, **headers}, follow_redirects=False)


def test_the_front_page_is_the_queue(world: World) -> None:
    assert world.client.get("/").headers["location"] == "/hints?state=awaiting"


@pytest.mark.parametrize("path", PATHS)
def test_who_is_not_signed_in_is_sent_to_sign_in_and_back(world: World, path: str) -> None:
    answer = stranger(world).get(f"{path}?a=1&b=2")
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/sign-in?next={path.replace('/', '%2F')}%3Fa%3D1%26b%3D2"


def test_the_right_token_signs_in_and_leads_back(world: World) -> None:
    someone = stranger(world)
    form = Page(someone.get("/sign-in?next=/pulls?state=ready").text).form("")
    answer = someone.post("/sign-in", data={**form, "token": f" {TOKEN} "})
    assert (answer.status_code, answer.headers["location"]) == (303, "/pulls?state=ready")
    cookie = answer.headers["set-cookie"].lower()
    assert all(word in cookie for word in ("httponly", "samesite=strict", "path=/")) and TOKEN not in cookie
    assert someone.get("/pulls").status_code == 200


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", TOKEN.upper(), "ü", "\udcff".encode("utf-8", "surrogatepass").decode("latin1")])
def test_a_wrong_token_is_refused_and_not_shown_again(world: World, token: str) -> None:
    answer = stranger(world).post("/sign-in", data={"token": token, "next": "/console"})
    assert answer.status_code == 401 and COOKIE not in answer.headers.get("set-cookie", "")
    page = Page(answer.text)
    assert page.all("input", name="token")[0].get("value", "") == "" and "not the token" in page.text
    assert page.all("input", name="next")[0]["value"] == "/console"


@pytest.mark.parametrize(
    "goal",
    ["https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil", "/\t/evil.example", "javascript:alert(1)", "evil", "", "/sign-in?next=/x", "/ok\n//x"],
)  # fmt: skip
def test_signing_in_never_leads_to_another_site(world: World, goal: str) -> None:
    someone = stranger(world)
    assert someone.post("/sign-in", data={"token": TOKEN, "next": goal}).headers["location"] == "/hints?state=awaiting"
    page = Page(someone.get("/sign-in", params={"next": goal}).text)
    assert page.all("input", name="next")[0]["value"] == "/hints?state=awaiting"


def test_signing_out_forgets(world: World) -> None:
    assert world.client.post("/sign-out").headers["location"] == "/sign-in"
    assert world.client.get("/hints").status_code == 303


CROSS = [{"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"sec-fetch-site": "", "origin": "null"}]


@pytest.mark.parametrize("headers", CROSS)
@pytest.mark.parametrize("path", [*POSTS, "/sign-in", "/sign-out"])
def test_a_form_of_another_site_is_refused(world: World, path: str, headers: dict[str, str]) -> None:
    answer = world.client.post(path, data={"token": TOKEN, "version": "1", "reason": "one_off"}, headers=headers)
    assert answer.status_code == 401 and "not come from our own pages" in Page(answer.text).text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("path", POSTS)
def test_a_form_of_nobody_is_refused_and_says_how_to_keep_what_was_typed(world: World, path: str) -> None:
    answer = stranger(world).post(path, data={"version": "1"})
    assert answer.status_code == 401 and "Back button" in answer.text


def test_every_answer_carries_the_security_headers(world: World) -> None:
    hint = world.rejects()
    answers = [world.client.get(path) for path in ("/", *PATHS, f"/hints/{hint}", "/static/keys.js", "/static/nothing", "/nowhere", "/sign-in")]
    answers += [world.client.post(path, data={}) for path in POSTS] + [stranger(world).get("/hints"), world.client.put("/hints")]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "form-action 'self'" in policy, answer.url
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_page_that_is_not_there_says_what_to_do(world: World) -> None:
    for path in ("/nowhere", "/hints/none", "/pulls/none", "/cases/none"):
        page = world.sees(path, 404)
        assert ADVICE[404] in page.text and page.all("a", href="/")
        assert len(page.all("h1")) == 1


def test_programs_get_problem_documents(world: World) -> None:
    answer = world.client.get("/v1/hints/none")
    assert answer.headers["content-type"] == "application/problem+json"


def test_too_much_is_refused(world: World) -> None:
    hint = world.rejects()
    assert world.client.post(f"/hints/{hint}/edit", data={"summary": "x" * 1_100_000}).status_code == 413
    assert world.client.post(f"/hints/{hint}/edit", data={f"f{n}": "x" for n in range(500)}).status_code == 413


@pytest.mark.parametrize("case_id", sorted(CASES))
def test_the_texts_of_a_page_are_those_that_quotes_count_in(case_id: str) -> None:
    case = Case.model_validate(CASES[case_id])
    for source, texts in texts_of(case.model_dump(mode="json", exclude_none=True)).items():
        joined = "\n".join(texts)
        assert joined == text_of(case, source) or (source == "plan" and not case.plan.tool_calls and joined + "\n" == text_of(case, source))


def test_segments_cover_the_text_once() -> None:
    rng = random.Random(1)
    for _ in range(300):
        text = "abcdefghij"[: rng.randint(0, 10)]
        spans = [(rng.randint(-3, 9), rng.randint(0, 13), number) for number in range(rng.randint(0, 4))]
        found = segments(text, spans)
        assert "".join(part for part, _ in found) == text
        for start, end, number in spans:
            marked = "".join(part for part, numbers in found if number in numbers)
            assert marked == text[max(start, 0) : max(end, max(start, 0))]


def test_word_diff_gives_both_texts_back() -> None:
    rng = random.Random(2)
    for _ in range(2000):
        old, new = (" ".join(rng.choices(["a", "b", "c,", "d\n"], k=rng.randint(0, 9))) for _ in range(2))
        found = word_diff(old, new)
        assert "".join(text for kind, text in found if kind != "ins") == old
        assert "".join(text for kind, text in found if kind != "del") == new


def test_word_diff_of_long_texts_is_quick() -> None:
    before = time.perf_counter()
    word_diff("a b " * 20_000, "b a " * 20_000)
    word_diff("a b " * 740, "b a " * 740)
    assert time.perf_counter() - before < 3


def test_times_and_ages() -> None:
    assert (iso("2026-05-05T09:30:00+02:00"), utc("2026-05-05T09:30:00Z")) == ("2026-05-05T07:30:00Z", "5 May 2026, 09:30 UTC")
    noon = datetime(2026, 5, 5, 12, tzinfo=UTC)
    assert [age(f"2026-05-0{day}T{hour}Z", noon) for day, hour in ((5, "11:59:30"), (5, "11:50:00"), (5, "02:00:00"), (1, "12:00:00"))] == [
        "just now", "10 min", "10 h", "4 days"
    ]  # fmt: skip


def test_hidden_characters_are_shown_in_code() -> None:
    assert visible("a\u202eb\tc\n\x1b") == "a⟦U+202E⟧b\tc\n⟦U+001B⟧"


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (Expectation(part="intent", is_="a/b"), "the intent is “a/b”"),
        (Expectation(part="record", is_=""), "no record is chosen"),
        (Expectation(part="reply", contains="x"), "the reply contains “x”"),
        (Expectation(part="extraction", contains="g.f"), "“g.f” has a value"),
        (Expectation(part="extraction", is_="g.f=v=w"), "“g.f” is read as “v=w”"),
        (Expectation(part="tool", is_="t", contains="u"), "the tool “t” is called and a tool with “u” in its name is called"),
        (Expectation(part="tool"), "tool: states nothing"),
    ],
)
def test_expectations_in_words(one: Expectation, words: str) -> None:
    assert said(one.model_dump(mode="json", by_alias=True)) == words
