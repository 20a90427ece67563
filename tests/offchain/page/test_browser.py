"""The page in headless Chromium, on a real chain: tables fill, a dispute is walked, and the console stays empty."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

import pytest

from offchain.dispute.falsified import Falsehood
from tests.offchain.page.conftest import page_of
from tests.support import tasks
from tests.support.arena import Arena
from tests.support.browser import CHROMIUM, MISSING, Browser, chromium
from tests.support.players import Mind

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason=MISSING)]

HOSTILE: Final = "http://x/<img src=x onerror=\"document.title='taken'\"><script>alert(1)</script>\u202e\x1b"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def text(browser: Browser) -> str:
    return str(browser.js("document.querySelector('main').innerText"))


def test_tables_fill_and_a_dispute_is_walked(arena: Arena, browser: Browser) -> None:
    tasks.post(arena, uri=HOSTILE)
    cheat = Mind(arena.work, Falsehood(step=7, node=arena.work.names["new_w"], element=133))
    arena.commit(cheat.root(1))
    with page_of(arena) as site:
        browser.look(1280, 800)
        browser.open(site.url)
        browser.until("document.querySelectorAll('tbody tr').length >= 2")
        dispute = arena.open(arena.challenger)
        browser.js("location.hash = '#/disputes'")
        browser.until("document.querySelectorAll('tbody tr').length == 1")
        browser.js("document.querySelector('tbody a').click()")
        browser.until("document.querySelectorAll('.walk').length == 1")
        played = arena.play(dispute, (cheat.defend, arena.honest.attack))
        browser.until("document.querySelector('.leaf')")
        browser.until("document.querySelector('.verdict .wrong')")
        assert browser.js("document.querySelectorAll('.walk').length") >= 3
        browser.until(f"document.querySelectorAll('.moves li').length > {len(played.moves)}")
        assert browser.js("document.activeElement.tagName") == "H1"

        browser.js(f"location.hash = '#/task/{arena.task}'")
        browser.until("document.querySelectorAll('.voided li').length == 2")
        browser.until("document.querySelector('tbody tr')")
        browser.until("document.querySelector('main').innerText.includes('No committee has sat down.')")
        for place, found in (("people", arena.challenger.address[:6]), ("gas", "game.open")):
            browser.js(f"location.hash = '#/{place}'")
            browser.until(f"document.querySelector('main').innerText.includes({json.dumps(found)})")
        assert browser.errors == []


def test_what_strangers_wrote_stays_text(arena: Arena, browser: Browser) -> None:
    number = tasks.post(arena, uri=HOSTILE)
    with page_of(arena) as site:
        browser.open(site.url + f"#/task/{number}")
        browser.until("document.querySelector('main').innerText.includes('<script>')")
        assert browser.js("document.querySelectorAll('main img, main script').length") == 0
        assert browser.js("document.title") == f"Task {number} – offchain"
        assert "\u202e" not in text(browser) and "\x1b" not in text(browser)
        assert browser.errors == []


def test_keyboard_and_screen_reader(arena: Arena, browser: Browser) -> None:
    with page_of(arena) as site:
        browser.look(1280, 800)
        browser.open(site.url)
        browser.until("document.querySelector('tbody tr')")
        order = []
        for _ in range(9):
            for kind in ("keyDown", "keyUp"):
                browser.ask("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
            order.append(browser.js("document.activeElement.textContent.trim() || document.activeElement.ariaLabel"))
        assert order == [
            "Skip to the content", "offchain", "Tasks", "Disputes", "People", "Gas", "Theme: system", "Search tasks",
            browser.js("document.querySelector('select').textContent.trim()"),
        ]  # fmt: skip
        nodes = browser.ask("Accessibility.getFullAXTree")["nodes"]
        roles = {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if "role" in node}
        assert {("navigation", "Pages"), ("table", "Tasks"), ("heading", "Tasks")} <= roles
        assert any(role == "columnheader" and "Status" in name for role, name in roles)
        assert not [role for role, name in roles if role in ("link", "button", "textbox", "combobox") and not name]


@pytest.mark.parametrize("place", ["task", "dispute"])
def test_what_is_not_there_has_no_empty_parts(arena: Arena, browser: Browser, place: str) -> None:
    with page_of(arena) as site:
        browser.open(site.url + f"#/{place}/999")
        browser.until(f"document.querySelector('main').innerText.includes('there is no {place} 999')")
        assert browser.js("[...document.querySelectorAll('main section')].filter((n) => n.offsetHeight).length") == 0


@pytest.mark.parametrize("dark", [False, True])
def test_every_colour_of_text_has_contrast(arena: Arena, browser: Browser, dark: bool) -> None:
    with page_of(arena) as site:
        browser.look(1280, 800, dark=dark)
        browser.open(site.url + f"#/task/{arena.task}")
        browser.until("document.querySelector('.timeline li')")
        assert browser.js(CONTRASTS) == []
    browser.look(1280, 800)


CONTRASTS: Final = """(() => {
  const light = (c) => { const v = c / 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  const parse = (text) => (text.match(/[0-9.]+/g) ?? [0, 0, 0, 0]).map(Number);
  const lum = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
  const ground = (node) => { for (; node; node = node.parentElement) {
    const c = parse(getComputedStyle(node).backgroundColor); if (c.length < 4 || c[3] > 0) return c; }
    return [255, 255, 255]; };
  const bad = [];
  for (const node of document.querySelectorAll('body *')) {
    const says = [...node.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!says || !node.getClientRects().length) continue;
    const [a, b] = [lum(parse(getComputedStyle(node).color)), lum(ground(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push(`${node.tagName} ${node.className} ${node.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return bad;
})()"""


def test_a_phone_needs_no_scrolling_sideways(arena: Arena, browser: Browser) -> None:
    with page_of(arena) as site:
        browser.look(390, 844, phone=True)
        for place in ("tasks", "disputes", "people", "gas", f"task/{arena.task}"):
            browser.open(site.url + f"#/{place}")
            browser.until("document.querySelector('main h1') && document.querySelector('#chain').textContent")
            browser.js("for (const note of document.querySelectorAll('.note')) note.textContent = 'x'.repeat(300)")
            assert browser.js("document.documentElement.scrollWidth") <= 390, place
    browser.look(1280, 800)
