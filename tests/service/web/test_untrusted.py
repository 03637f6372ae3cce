"""Text of customers, models and repositories is data: whatever it holds, a page gains no element and no attribute by it."""

import json
from typing import Any

import pytest

from rubric.schema import Hint
from tests.service.web.test_pulls import REPORT
from tests.service.web.world import CASES, Page, World

PAYLOADS = [
    "<script>window.pwned=1</script>",
    "\"><img src=x onerror=window.pwned=1>",
    "' onmouseover='window.pwned=1' x='",
    "</textarea><script>window.pwned=1</script>",
    "</title></style></script><svg/onload=window.pwned=1>",
    "<a href=\"javascript:window.pwned=1\">x</a>",
    "{{ 7*7 }}{% raw %}${7*7}<%= 7*7 %>",
    "<!--<iframe srcdoc='<script>parent.pwned=1</script>'>-->",
    "&lt;script&gt; &#60;b&#62; &amp;lt;",
    "<details open ontoggle=window.pwned=1><form action=//evil><button>x",
    "\u202e\u2066gnp.exe\u2069 <math><mtext></form><form>",
    "<meta http-equiv=refresh content='0;url=//evil'><base href=//evil>",
]  # fmt: skip
ALL = " ".join(PAYLOADS)
TAGS = frozenset({
    "html", "head", "meta", "title", "link", "script", "noscript", "body", "a", "header", "img", "nav", "button", "form", "main", "dialog", "h1",
    "h2", "h3", "h4", "dl", "div", "dt", "dd", "p", "label", "input", "kbd", "section", "table", "caption", "thead", "tbody", "tr", "th", "td",
    "span", "code", "b", "bdi", "br", "time", "ol", "ul", "li", "blockquote", "mark", "sup", "q", "ins", "del", "fieldset", "legend", "textarea",
    "select", "option", "details", "summary", "meter", "pre",
})  # fmt: skip
"""every element that our templates use; one more came out of a text"""


def poisoned_case(text: str) -> dict[str, Any]:
    good = CASES["nsb-010"]
    return {
        "ticket": {
            "subject": text, "locale": text[:200], "messages": [{"role": "customer", "text": text}, {"role": "agent", "text": text}],
            "attachments": [{"name": text[:200], "content_type": text[:200], "text": text}],
        },
        "plan": {
            **good["plan"], "reply": text, "extraction": {text: {text: text, "list": [text], "deep": {text: text}}},
            "fetch": [{"record_id": text[:200], "score": -3, "matched_fields": [text[:200]]}, *good["plan"]["fetch"]],
            "tool_calls": [{"name": text[:200], "arguments": {text: text}}, *good["plan"]["tool_calls"]],
        },
        "rejection": {**good["rejection"], "comment": good["rejection"]["comment"] + text, "by": text[:200], "reason": text[:200], "corrected_reply": text + " more"},
    }  # fmt: skip


def poisoned_hint(hint: Hint, text: str) -> Hint:
    raw = hint.model_dump(mode="json", by_alias=True)
    raw |= {
        "target": text, "summary": text, "risk_reason": text, "rules_invented": [text], "eval_to_move": text, "controls": [text],
        "must": [{"part": "reply", "is": text, "contains": text}], "must_not": [{"part": "tool", "contains": text}],
        "worked_example": {"case_id": text, "plan_now": text, "plan_instead": text + " instead"},
        "evidence": [*raw["evidence"], {"source": "ticket", "quote": text, "start": 0, "end": len(text)}, {"source": "plan", "quote": text, "start": 3, "end": 9}],
        "change": {"recipe": "add_policy_rule", "rule": "r", "scope": [text[:100]], "text": text, "owner": text[:100].strip(), "blocks_sentences": [text], "blocks_tools": []},
    }  # fmt: skip
    raw["change"]["scope"] = ["".join(char for char in text[:100] if char.isprintable())]
    raw["change"]["owner"] = raw["change"]["scope"][0]
    return Hint.model_validate(raw)


def poisoned(value: Any, text: str) -> Any:
    """A report with the text wherever a text may stand."""
    if isinstance(value, dict):
        return {key: item if key == "state" else poisoned(item, text) for key, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item, text) for item in value]
    return text if isinstance(value, str) else value


def harmless(page: Page, paths: str) -> None:
    for tag, attrs in page.tags:
        assert tag in TAGS, (paths, tag, attrs)
        assert not [name for name in attrs if name.startswith("on") or name in ("style", "srcdoc")], (paths, tag, attrs)
        if tag == "script":
            assert attrs.get("src") == "/static/keys.js"
        for name in ("href", "src", "action", "formaction"):
            assert attrs.get(name, "/").startswith(("/", "#", "https://www.standardwebhooks.com/")), (paths, tag, attrs)
            assert not attrs.get(name, "/").startswith("//")
    assert not page.open and "${49}" not in page.text


@pytest.mark.parametrize("payload", [*PAYLOADS, ALL])
def test_no_text_becomes_a_part_of_a_page(world: World, payload: str) -> None:
    world.twist = lambda hint: poisoned_hint(hint, payload)
    hint = world.rejects(**poisoned_case(payload))
    second = world.rejects("nsb-001", "T-2")
    form = world.sees(f"/hints/{hint}").form("hint")
    pages = {f"/hints/{hint}": None, "/hints": None, f"/cases/c{hint[1:-2]}": None, "/hints/" + second: None}
    for path in pages:
        harmless(world.sees(path), path)
    typed = {**form, "summary": payload + "typed", "note": payload, "of": payload, "reason": payload, "change.owner": payload, "version": "1"}
    for verdict in ("edit", "confirm", "dismiss", "duplicate"):
        answer = world.client.post(f"/hints/{hint}/{verdict}", data=typed)
        if answer.status_code != 303:
            harmless(Page(answer.text), verdict)
    for query in ("state", "step", "recipe", "case", "after", "limit", "done", "id"):
        harmless(Page(world.client.get("/hints", params={query: payload}).text), query)
        harmless(Page(world.client.get("/pulls", params={query: payload}).text), query)
    harmless(Page(world.client.get("/sign-in", params={"next": payload}).text), "next")
    harmless(Page(world.client.get(f"/hints/{payload.replace('/', '')}").text), "hint id")


@pytest.mark.parametrize("payload", [*PAYLOADS, ALL])
def test_no_text_of_a_pull_becomes_a_part_of_its_page(world: World, payload: str) -> None:
    hint = world.rejects()
    world.confirms(hint)
    world.bank.shows = f"diff --git a/x b/x\n+++ {payload}\n@@ -1 +1 @@ {payload}\n-{payload}\n+{payload}\n"
    columns = {
        "title": payload,
        "body": payload,
        "row_note": payload,
        "row": {payload: [payload]},
        "row_suite": payload,
        "branch": payload,
        "closed_reason": payload,
    }
    pull = world.pull_of(hint, report=poisoned(json.loads(json.dumps(REPORT)), payload), gate="fail", **columns)
    for path in (f"/pulls/{pull}", "/pulls", f"/hints/{hint}", "/cases/T-1"):
        harmless(world.sees(path), path)
    page = Page(world.posts(f"/pulls/{pull}/close", {"reason": payload + "x" * 501}, 422).text)
    harmless(page, "close")
    world.posts(f"/pulls/{pull}/close", {"reason": payload[:500]})
    harmless(world.sees(f"/pulls/{pull}"), "closed")


@pytest.mark.parametrize("payload", [*PAYLOADS, ALL])
def test_no_text_becomes_a_part_of_the_page_of_a_group(world: World, payload: str) -> None:
    """Comments, leaves, summaries, findings and examples of many customers on one page; and what a form sends back."""
    world.twist = lambda hint: poisoned_hint(hint, payload)
    made = [world.rejects(name=f"T-{number}", **poisoned_case(payload)) for number in (1, 2, 3)]
    assert payload in world.sees(f"/hints/{made[0]}").form("hint")["summary"]
    where = next(link["href"] for link in world.sees("/hints").all("a") if link["href"].startswith("/groups/"))
    page = world.sees(where)
    harmless(page, where)
    form = {**page.form("group"), f"verdict.{made[0]}": "dismiss", f"reason.{made[0]}": payload, f"version.{payload[:40]}": "1", "leader": payload}
    for change in (
        {},
        {f"verdict.{made[1]}": payload},
        {"leader": made[1]},
        {"target": payload},
        {"after": payload},
        {f"version.{made[0]}": payload},
    ):
        answer = world.client.post(where.replace("?", "/decision?"), data={**form, **change})
        if answer.status_code != 303:
            harmless(Page(answer.text), str(change))
    for query in ("target", "after", "leader", "done", "id", "each"):
        harmless(Page(world.client.get(where, params={query: payload}).text), query)
        harmless(Page(world.client.get("/hints", params={query: payload}).text), query)
    harmless(Page(world.client.get(f"/groups/{payload.replace('/', '')}").text), "change hash")


def test_what_stands_in_a_field_is_what_was_written(world: World) -> None:
    """Escaping loses nothing: a field sends back the very characters, so that looking is not editing."""
    world.twist = lambda hint: poisoned_hint(hint, "\n" + ALL)
    form = world.sees(f"/hints/{world.rejects(**poisoned_case(ALL))}").form("hint")
    assert form["summary"] == form["was.summary"] == "\n" + ALL
