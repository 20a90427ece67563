"""Many tasks: what a look asks the node, what a browser is told, and what it draws do not grow with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from offchain.chain.client import Chain
from offchain.page import watcher as watching
from offchain.page.losses import Losses, limits
from offchain.page.watcher import Watcher
from offchain.store.blobs import BlobStore
from tests.offchain.page.conftest import onlooker, page_of
from tests.support import tasks
from tests.support.arena import Arena
from tests.support.browser import CHROMIUM, MISSING, Browser, chromium

MANY = 12


class Asked:
    """How many questions a client has asked its node."""

    def __init__(self, chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
        self.questions, post = 0, chain.wire._post

        def counted(body: bytes) -> Any:
            self.questions += body.count(b'"method"')
            return post(body)

        monkeypatch.setattr(chain.wire, "_post", counted)

    def by(self, work: Any) -> int:
        before = self.questions
        work()
        return self.questions - before


@pytest.fixture
def chain(arena: Arena) -> Chain:
    return onlooker(arena)


@pytest.fixture
def watcher(chain: Chain, tmp_path: Path) -> Watcher:
    return Watcher(chain, Losses(BlobStore(tmp_path, options=limits(True))))


@pytest.fixture
def asked(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(chain, monkeypatch)


def test_a_look_asks_as_much_among_many_tasks_as_among_few(arena: Arena, watcher: Watcher, asked: Asked) -> None:
    watcher.look()
    tasks.post(arena)
    few = asked.by(watcher.look)
    for _ in range(MANY):
        tasks.post(arena)
    assert asked.by(watcher.look) > few
    tasks.post(arena)
    assert asked.by(watcher.look) == few


def test_a_look_at_a_chain_that_has_not_moved_makes_no_rows(
    arena: Arena, watcher: Watcher, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher.look()
    version, made = watcher.board.version, list[int]()
    monkeypatch.setattr(watching.rows, "task_rows", lambda *_: made.append(1) or [])
    assert asked.by(watcher.look) == 2  # the latest block, and the one that is known
    assert (watcher.board.version, made) == (version, [])
    tasks.post(arena)
    watcher.look()
    assert made


def test_a_browser_is_told_of_one_task_where_one_has_changed(arena: Arena, watcher: Watcher) -> None:
    numbers = [tasks.post(arena) for _ in range(MANY)]
    watcher.look()
    known = watcher.board.since("", -1)
    assert len(known["tasks"]) == MANY + 1
    tasks.bid(arena, numbers[7], "rival", 5)
    watcher.look()
    news = watcher.board.since(known["epoch"], known["version"])
    assert not news["whole"] and [(row["id"], row["bids"]) for row in news["tasks"]] == [(numbers[7], 1)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason=MISSING)
def test_a_thousand_rows_are_drawn_in_parts_and_changed_one_by_one(arena: Arena, browser: Browser) -> None:
    with page_of(arena) as site:
        browser.open(site.url)
        browser.until("document.querySelector('tbody tr')")
        drawn, touched, grown = browser.js(TABLE)
    assert (drawn, grown) == (200, 400)
    assert touched == 1
    assert browser.errors == []


TABLE = """(async () => {
  const { Table } = await import('./tables.js');
  const table = new Table('Many', [{ key: 'id', title: 'Id', kind: 'number' }, { key: 'said', title: 'Said' }], {});
  document.querySelector('main').append(table.node);
  const rows = Array.from({ length: 1000 }, (_, id) => ({ id, said: 'a' }));
  table.update(rows);
  const lines = () => table.node.querySelectorAll('tbody tr').length;
  const drawn = lines(), changes = new MutationObserver(() => {});
  changes.observe(table.node, { childList: true, subtree: true, characterData: true, attributes: true });
  rows[950] = { id: 950, said: 'b' };  // of those that are shown: the greatest come first
  table.update(rows);
  const touched = changes.takeRecords().length;
  table.grow();
  return [drawn, touched, lines()];
})()"""
