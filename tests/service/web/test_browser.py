"""The pages in a real browser: no text runs as a script, keys do what they say, and everything can be read."""

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from service import reports
from tests.service.web.browser import Browser
from tests.service.web.test_pulls import DIFF, REPORT
from tests.service.web.test_untrusted import ALL, poisoned, poisoned_case, poisoned_hint
from tests.service.web.world import TOKEN, World

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
pytestmark = [pytest.mark.browser, pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")]


@pytest.fixture(scope="module")
def address(running: World) -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(running.app, lifespan="off", log_level="error"))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()


def opened(address: str, profile: Path, **options: Any) -> Browser:
    browser = Browser(CHROMIUM, profile, **options)
    browser.goes(f"{address}/sign-in?next=/hints")
    if options.get("scripts", True):
        browser.asks(f"document.querySelector('#token').value = {TOKEN!r}")
    else:
        browser.call("Input.insertText", text=TOKEN)
    browser.clicks("main button.primary")
    return browser


@pytest.fixture
def browser(world: World, address: str, tmp_path: Path) -> Iterator[Browser]:
    found = opened(address, tmp_path)
    yield found
    found.close()


def where(browser: Browser) -> str:
    return str(browser.asks("location.pathname"))


def group_of(world: World, hint_id: str) -> str:
    with world.house.db.read() as session:
        return f"/groups/{reports.hint_item(session, hint_id).change_hash}"


def states(world: World, *made: str) -> list[str]:
    with world.house.db.read() as session:
        return [reports.hint_item(session, one).state for one in made]


FOCUS = "(document.activeElement.closest('[data-member]') || document.body).getAttribute('aria-labelledby')"
CHOICES = "[...document.querySelectorAll('[data-member]')].map((one) => one.querySelector('input[name^=verdict]:checked').value)"
WORDS = "document.querySelector('#words').innerText.trim()"
LEADER = "document.querySelector('input[name=leader]:checked').value"


def test_no_text_runs_as_a_script(world: World, address: str, browser: Browser) -> None:
    world.twist = lambda hint: poisoned_hint(hint, ALL)
    hint = world.rejects(**poisoned_case(ALL))
    world.twist = None
    good = world.rejects(name="T-2")
    world.posts(f"/hints/{hint}/dismiss", {"version": "1", "reason": "one_off", "note": ALL})
    world.confirms(good)
    world.bank.shows = f"diff --git a/x b/x\n@@ -1 +1 @@ {ALL}\n-{ALL}\n+{ALL}\n"
    pull = world.pull_of(good, report=poisoned(REPORT, ALL), gate="fail", title=ALL, body=ALL, row_note=ALL, row={ALL: ALL}, closed_reason=ALL)
    world.twist = lambda hint: poisoned_hint(hint, ALL)
    pair = [world.rejects(name=f"P-{number}", **poisoned_case(ALL)) for number in (1, 2)]
    world.twist = None
    for path in (
        group_of(world, pair[0]),
        f"/hints/{hint}",
        "/hints?state=dismissed",
        f"/pulls/{pull}",
        "/pulls",
        f"/cases/c{hint[1:-2]}",
        "/cases/T-2",
        f"/hints/{good}",
        "/console",
    ):
        browser.goes(address + path)
        assert browser.asks("typeof window.pwned") == "undefined" and browser.asks("document.title").endswith("rejection-triage"), path
        assert browser.asks("document.querySelectorAll('main svg, main iframe, main script, main img, main math').length") == 0, path
    assert browser.complaints == []


def test_the_policy_would_stop_a_script_that_got_in(world: World, address: str, browser: Browser) -> None:
    browser.goes(address + "/hints")
    browser.asks("document.querySelector('main').innerHTML = '<img src=x onerror=\"window.pwned=1\">'")
    time.sleep(0.3)
    assert browser.asks("typeof window.pwned") == "undefined" and browser.complaints


def test_a_hint_is_decided_without_touching_the_mouse(world: World, address: str, browser: Browser) -> None:
    first, second = world.rejects("nsb-010", "T-1"), world.rejects("nsb-001", "T-2")
    browser.goes(address + "/hints")
    browser.presses("j")
    browser.presses("j")
    browser.presses("k")
    browser.presses("Enter", leads_on=True)
    assert where(browser) == f"/hints/{first}"
    browser.presses("ArrowRight", leads_on=True)
    assert where(browser) == f"/hints/{second}"
    browser.presses("ArrowLeft", leads_on=True)
    browser.presses("1", leads_on=True)
    assert where(browser) == f"/hints/{second}" and "s left" in browser.asks("document.querySelector('.countdown').textContent")
    browser.presses("u", leads_on=True)
    assert where(browser) == f"/hints/{first}" and [one.verdict for one in world.reviews_of(first)] == ["confirm", "undo"]
    browser.presses("3")
    assert browser.asks("document.activeElement.id") == "reason"
    browser.asks("document.activeElement.value = 'one_off'")
    browser.presses("Enter", control=True, leads_on=True)
    assert [one.verdict for one in world.reviews_of(first)] == ["confirm", "undo", "dismiss"]
    assert browser.complaints == []


def test_a_group_is_decided_without_touching_the_mouse(world: World, address: str, browser: Browser) -> None:
    made = [world.rejects("nsb-010", f"T-{number}") for number in range(1, 6)]
    browser.goes(address + "/hints")
    browser.presses("j")
    browser.presses("Enter", leads_on=True)
    assert where(browser) == group_of(world, made[0])
    walked = []
    for key in "jjjjjjkk":
        browser.presses(key)
        walked.append(browser.asks(FOCUS).removeprefix("m-"))
    assert walked == [*made, made[4], made[3], made[2]]
    assert browser.asks("document.querySelector('#sum').textContent") == f"This confirms {made[0]}, joins 4 to it."
    browser.presses("m")
    assert browser.asks(LEADER) == made[2]
    assert (
        browser.asks(WORDS)
        == f"In the words of {made[0]}; the edit is the same for all. △ The one to confirm is {made[2]} now, in its own words, not in these."
    )
    browser.presses("l")
    assert browser.asks(WORDS) == f"In the words of {made[0]}, the one to confirm; the edit is the same for all."
    assert browser.asks(LEADER) == made[0] and browser.asks(CHOICES) == ["cure", "cure", "leave", "cure", "cure"]
    browser.presses("k")
    browser.presses("k")
    browser.presses("d")
    assert browser.asks("document.activeElement.name") == f"reason.{made[0]}" and browser.asks(LEADER) == made[1], "the next one takes its place"
    for key in "oneoff":  # letters choose in the list and are no shortcuts there
        browser.presses(key)
    browser.asks("document.activeElement.value = 'one_off'")
    browser.presses("Escape")
    assert browser.asks("document.activeElement.dataset.member") == "" and browser.asks(FOCUS) == f"m-{made[0]}"
    browser.presses("j")
    browser.presses("j")
    browser.presses("c")
    browser.asks(f"document.querySelector('input[name=\"verdict.{made[3]}\"][value=cure]').focus()")
    browser.presses("l")
    assert browser.asks(CHOICES) == ["dismiss", "cure", "cure", "leave", "cure"]
    assert browser.asks("document.querySelector('#sum').textContent") == f"This confirms {made[1]}, joins 2 to it, dismisses 1, leaves 1."
    assert states(world, *made) == ["awaiting"] * 5
    browser.presses("Enter", control=True, leads_on=True)
    assert states(world, *made) == ["dismissed", "confirmed", "duplicate", "awaiting", "duplicate"]
    assert where(browser) == f"/hints/{made[3]}" and "3 rejections" in browser.asks("document.querySelector('.flash').textContent")
    browser.presses("u", leads_on=True)
    assert states(world, *made) == ["dismissed"] + ["awaiting"] * 4 and where(browser) == f"/hints/{made[1]}"
    browser.presses("g", leads_on=True)
    assert where(browser) == group_of(world, made[0]) and browser.asks(CHOICES) == ["cure"] * 4
    for key in "jjljljl":
        browser.presses(key)
    browser.presses("Enter", control=True, leads_on=True)
    assert states(world, *made) == ["dismissed", "confirmed", "awaiting", "awaiting", "awaiting"] and where(browser) == group_of(world, made[0])
    assert browser.asks("document.querySelector('#sum').textContent") == f"This joins 3 to {made[1]}."
    browser.presses("Enter", control=True, leads_on=True)
    assert states(world, *made) == ["dismissed", "confirmed", "duplicate", "duplicate", "duplicate"]
    assert browser.complaints == []


def test_what_is_blocked_cannot_lead_and_the_page_says_so(world: World, address: str, browser: Browser) -> None:
    world.twist = lambda hint: hint.model_copy(update={"rules_invented": ["always"]})
    made = [world.rejects("nsb-010", f"T-{number}") for number in (1, 2)]
    browser.goes(address + group_of(world, made[0]))
    assert browser.asks(CHOICES) == ["leave", "leave"] and browser.asks("document.querySelector('[data-all]').disabled")
    for key in "jcm":
        browser.presses(key)
    assert "something blocks each" in browser.asks("document.querySelector('#sum').textContent")
    browser.presses("Enter", control=True)
    time.sleep(0.3)
    assert where(browser) == group_of(world, made[0]) and states(world, *made) == ["awaiting"] * 2


def test_keys_of_a_group_can_be_switched_off(world: World, address: str, browser: Browser) -> None:
    made = [world.rejects("nsb-010", f"T-{number}") for number in (1, 2)]
    browser.goes(address + group_of(world, made[0]))
    browser.asks("document.querySelector('[data-help]').click(); document.querySelector('#keys-on').click()")
    browser.presses("Escape")
    for key in "jdlm":
        browser.presses(key)
    assert browser.asks(CHOICES) == ["cure", "cure"] and browser.asks("document.activeElement.closest('[data-member]')") is None
    browser.asks("document.querySelector('[data-help]').click(); document.querySelector('#keys-on').click()")


def test_keys_are_dead_while_typing_held_down_or_switched_off(world: World, address: str, browser: Browser) -> None:
    hint = world.rejects()
    browser.goes(f"{address}/hints/{hint}")
    browser.presses("1", repeat=True)
    browser.presses("2")
    assert browser.asks("document.activeElement.id") == "f-summary"
    before = browser.asks("document.activeElement.value.length")
    for key in "1234u?jk":
        browser.presses(key)
    assert browser.asks("document.activeElement.value.length") == before + 8 and not browser.asks("document.querySelector('#help').open")
    browser.presses("Escape")
    browser.presses("?")
    assert browser.asks("document.querySelector('#help').open")
    browser.presses("1")
    browser.asks("document.querySelector('#keys-on').click()")
    browser.presses("Escape")
    browser.goes(f"{address}/hints/{hint}")
    for key in "1u3":
        browser.presses(key)
    time.sleep(0.3)
    assert where(browser) == f"/hints/{hint}" and not world.reviews_of(hint)
    assert not browser.asks("document.querySelector('details.pop[open]')")
    browser.asks("document.querySelector('[data-help]').click(); document.querySelector('#keys-on').click()")


def test_enter_in_a_field_saves_and_never_confirms(world: World, address: str, browser: Browser) -> None:
    hint = world.rejects()
    browser.goes(f"{address}/hints/{hint}")
    browser.asks("document.querySelector('[name=\"change.from\"]').focus()")
    browser.presses("Enter", leads_on=True)
    assert browser.asks("location.search").startswith("?done=edited") and not world.reviews_of(hint)


def test_a_followed_pull_waits_for_who_is_typing(world: World, address: str, browser: Browser) -> None:
    hint = world.rejects()
    world.confirms(hint)
    pull = world.pull_of(hint, state="draft")
    browser.goes(f"{address}/pulls/{pull}")
    browser.asks("window.mine = 1; document.querySelector('details.pop').open = true")
    time.sleep(3.6)
    assert browser.asks("window.mine") == 1
    browser.asks("document.querySelector('details.pop').open = false")
    time.sleep(3.8)
    assert browser.asks("typeof window.mine") == "undefined"


def test_everything_works_without_scripts(world: World, address: str, tmp_path: Path) -> None:
    hint = world.rejects()
    browser = opened(address, tmp_path, scripts=False)
    try:
        browser.goes(f"{address}/hints/{hint}")
        browser.clicks("button.primary")
        browser.clicks(".flash button")
        browser.clicks("[data-save]")
    finally:
        browser.close()
    assert [one.verdict for one in world.reviews_of(hint)] == ["confirm", "undo"]


def test_a_group_is_decided_without_scripts(world: World, address: str, tmp_path: Path) -> None:
    made = [world.rejects("nsb-010", f"T-{number}") for number in (1, 2, 3)]
    browser = opened(address, tmp_path, scripts=False)
    try:
        browser.goes(address + group_of(world, made[0]))
        browser.clicks("[data-all]")
        assert where(browser) == "/hints"
    finally:
        browser.close()
    assert states(world, *made) == ["confirmed", "duplicate", "duplicate"]


CONTRAST = """
(() => {
  const rgb = (text) => { const c = document.createElement('canvas').getContext('2d', {willReadFrequently: true}); c.clearRect(0, 0, 1, 1); c.fillStyle = text;
    c.fillRect(0, 0, 1, 1); return [...c.getImageData(0, 0, 1, 1).data]; };
  const light = (c) => c.slice(0, 3).map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] === 255) return c; } return rgb('Canvas'); };
  const bad = [];
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) || !e.checkVisibility() || e.closest(':disabled, .aside, .skip, meter, option')) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) bad.push([e.tagName, e.className, e.textContent.slice(0, 30), ((a + 0.05) / (b + 0.05)).toFixed(2)]);
  }
  return bad;
})()
"""


TOO_WIDE = """
document.documentElement.scrollWidth <= window.innerWidth ? [] : [...document.querySelectorAll('body *')]
  .filter((e) => e.getBoundingClientRect().right > window.innerWidth + 1 && !e.closest('.scroll, pre, .aside, .facts-table > *')).map((e) => `${e.tagName} ${e.className}`)
"""


@pytest.mark.parametrize("dark", [False, True])
def test_everything_can_be_read(world: World, address: str, tmp_path: Path, dark: bool) -> None:
    """AA contrast in both schemes, and no sideways scrolling at 320 px, which is 400 % zoom of a small screen."""
    first = world.rejects("nsb-010", "T-1")
    world.rejects("nsb-010", "T-2")
    world.confirms(first)
    blocked = f"/hints/{world.rejects('nsb-010', 'T-3')}"
    world.bank.shows = DIFF
    pull = world.pull_of(first, report=REPORT, gate="fail")
    pair = [world.rejects("nsb-001", f"P-{number}") for number in (1, 2)]
    browser = opened(address, tmp_path, dark=dark)
    try:
        for path in (
            "/hints",
            "/hints?state=confirmed",
            f"/hints/{first}",
            blocked,
            group_of(world, first),
            group_of(world, pair[0]),
            "/pulls",
            f"/pulls/{pull}",
            "/cases/T-1",
            "/console",
            "/sign-in",
            "/nowhere",
        ):
            browser.size(1400, 900)
            browser.goes(address + path)
            browser.asks("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            assert browser.asks(CONTRAST) == [], path
            for width in (900, 600, 320):
                browser.size(width, 800)
                browser.asks("document.querySelectorAll('details.pop').forEach((one) => { one.open = false; })")
                assert browser.asks(TOO_WIDE) == [], (path, width)
    finally:
        browser.close()
