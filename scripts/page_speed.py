#!/usr/bin/env python
"""How fast the page is with many tasks: a deployment on Ganache, headless Chromium, seconds.

scripts/page_speed.py --tasks 1000 --disputes 20
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any, Final

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from offchain.chain.client import Chain, GraphHeader  # noqa: E402
from offchain.chain.ganache import Ganache  # noqa: E402
from offchain.chain.onlooker import Onlooker  # noqa: E402
from offchain.commands.page import page, watched  # noqa: E402
from offchain.market.view import Terms  # noqa: E402
from offchain.page.site import Site  # noqa: E402
from tests.support import tasks  # noqa: E402
from tests.support.browser import Browser, chromium  # noqa: E402
from tests.support.deployment import Funded  # noqa: E402
from tests.support.works import every_kind  # noqa: E402

POLL: Final = next(option.default for option in page.params if option.name == "poll")  # as `offchain page` looks
LINES: Final = "document.querySelectorAll('main tbody tr').length"
WATCH: Final = """(() => {
  const look = () => {
    if (!window.filled && document.querySelectorAll('main tbody tr').length >= %d) window.filled = performance.now();
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})()"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1_000)
    parser.add_argument("--disputes", type=int, default=20)
    parser.add_argument("--times", type=int, default=5, help="of each measurement")
    options = parser.parse_args()
    with Ganache() as ganache:
        place = Funded.kept(ganache)
        terms = crowd(place, options.tasks, options.disputes)
        print(json.dumps(measured(place, terms, options.tasks, options.times), indent=2))


def crowd(place: Funded, number: int, disputes: int) -> Terms:
    """So many tasks: a tenth takes bids, some train, and of these so many are disputed."""
    work = every_kind(12, 3)
    terms = tasks.terms(place, work, challenge_window=10**6, clock=10**6, bidding_time=10**6)
    solver, challenger, requester = (place.quick(name) for name in ("solver", "challenger", "requester"))
    trained = [requester.post(terms) for _ in range(disputes)]
    bids = [tasks.bid(place, task, "solver", 0) for task in trained]
    place.clock.travel(terms.bidding_time)
    for task, sealed in zip(trained, bids, strict=True):
        solver.reveal(task, sealed)
    place.clock.travel(terms.reveal_time)
    for task in trained:
        solver.award(task)
        solver.commit(task, 0, tasks.ROOT, tasks.URI)
        challenger.open(task, 0, GraphHeader.of(work.graph))
    for n in range(number - disputes):
        task = requester.post(terms)
        if n % 10 == 0:
            tasks.bid(place, task, "rival", 0)
        if n % 100 == 0:
            print(f"{disputes + n} tasks", file=sys.stderr)
    return terms


def measured(place: Funded, terms: Terms, number: int, times: int) -> dict[str, Any]:
    chain = Chain(place.url, place.deployment, sender=Onlooker(place.address("stranger")))
    began = time.monotonic()
    with watched(chain, private=True, host="127.0.0.1", port=0, poll=POLL) as site, chromium() as browser:
        browser.look(1280, 800)
        rows = min(number, 200)
        browser.open(site.url)
        browser.until(f"{LINES} >= {rows}", 600)
        known = time.monotonic() - began
        browser.ask("Page.addScriptToEvaluateOnNewDocument", source=WATCH % rows)
        paints = [painted(browser, site) for _ in range(times)]
        news = [told(browser, place, terms) for _ in range(times)]
        return {
            "tasks": number,
            "first_reading_s": round(known, 2),
            "first_paint_s": round(median(paint for paint, _ in paints), 2),
            "table_filled_s": [round(filled, 2) for _, filled in paints],
            "update_s": [round(seconds, 2) for seconds in news],
            "update_median_s": round(median(news), 2),
        }


def painted(browser: Browser, site: Site) -> tuple[float, float]:
    """Seconds from asking for the page to its first paint, and to a table that is full."""
    browser.open(site.url)
    browser.until("window.filled")
    first = browser.js("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0")
    return first / 1000, browser.js("window.filled") / 1000


def told(browser: Browser, place: Funded, terms: Terms) -> float:
    """Seconds from a transaction that is mined until the page shows what it did: one task more."""
    top = int(browser.js("document.querySelector('main tbody td').textContent.replaceAll(',', '')"))
    browser.js(
        f"""window.seen = 0; (() => {{
        const look = () => {{
          const top = Number(document.querySelector('main tbody td').textContent.replaceAll(',', ''));
          if (top > {top}) window.seen = Date.now(); else requestAnimationFrame(look);
        }}; look(); }})()"""
    )
    place.quick("requester").post(terms)
    mined = time.time()
    browser.until("window.seen")
    return max(0.0, browser.js("window.seen") / 1000 - mined)


if __name__ == "__main__":
    main()
