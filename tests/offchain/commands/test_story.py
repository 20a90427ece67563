"""What a requester is told at each step: held to the escrow on chain, event by event."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from offchain.chain.client import Chain, GraphHeader
from offchain.commands.story import Story, Teller
from offchain.market.view import NOBODY
from tests.offchain.commands.conftest import Counter
from tests.support import tasks
from tests.support.runs import run
from tests.support.tasks import ROOT
from tests.support.works import every_kind

WORK = every_kind(6, 3)
PRICE = 900 * 10**18


def posted(counter: Counter, **changes: object) -> int:
    terms = {"max_price": PRICE, "attempts": 2, "interval_time": 1_000, "urgency": 10**15, **changes}
    return tasks.post(counter, WORK, **terms)


def told(counter: Counter, task: int, since: int = 0) -> list[str]:
    """The story's sentences; what it takes for locked is held to the pot after every event."""
    chain = counter.quick("stranger")
    terms = chain.terms(task)
    story = Story(task, terms, chain.bill(terms)[0], chain.call("limits", "values")["standbyBps"])
    pot, sentences = chain.call("market", "escrowPot", task), list[str]()
    events = chain.logs(("auction", "market", "log"), since, chain.head().number)
    for event, after in zip(events, [*events[1:], None], strict=True):
        if said := story.take(event):
            sentences.append(said)
        if after is None or after.block != event.block:  # a call may pay several intervals
            held = chain.call("vault", "potOf", chain.deployment.market, pot, block=event.block)
            assert story.locked == held or event.name == "Posted", event
    return [re.sub(r"0x\w+", name_in(counter), said) for said in sentences]


def name_in(counter: Counter) -> Callable[[re.Match[str]], str]:
    names = {counter.address(name)[:10]: name for name in counter.accounts}
    return lambda match: names[match.group()]


def commit(counter: Counter, task: int, who: str, *checkpoints: int) -> None:
    for checkpoint in checkpoints:
        counter.quick(who).commit(task, checkpoint, run(WORK).checkpoint(checkpoint), "")


def test_a_task_that_is_paid(counter: Counter) -> None:
    since = counter.w3.eth.block_number
    task = posted(counter)
    tasks.auction(counter, task, {"solver": 0, "rival": 800 * 10**18}, 10)
    commit(counter, task, "solver", 0, 1)
    counter.close_windows(task)
    counter.quick("solver").collect(task)
    said = told(counter, task, since)
    assert said == [
        "solver bid 0 and 10 s an interval, score 0.02",
        "rival bid 800 and 10 s an interval, score 800.02",
        "awarded to solver for 800 (its score 0.02 is the lowest; the next, 800.02, less 0.02 of its own); "
        "rival stands by; 918 locked, of which 102 will come back",
        "checkpoint 0 paid: 396 to solver, 4 burned, 8 to the standby; 510 locked",
        "checkpoint 1 paid: 396 to solver, 4 burned, 8 to the standby; 102 locked",
        "ended, completed: 102 came back, free in your vault",
    ]


def test_a_lone_bidder_and_a_late_one(counter: Counter) -> None:
    since = counter.w3.eth.block_number
    task = posted(counter)
    tasks.auction(counter, task, {"solver": 0}, 1)
    counter.clock.travel(500)
    commit(counter, task, "solver", 0, 1)
    counter.close_windows(task)
    counter.quick("solver").collect(task)
    said = told(counter, task, since)
    lone = "awarded to solver for 900 (all that you offered: nobody else showed a bid)"
    assert said[1] == f"{lone}; 918 locked, of which 18 will come back"
    assert re.fullmatch(
        r"checkpoint 0 paid: 445\.\d+ to solver, 4\.4\d+ burned, 0\.\d+ kept for you, as it was late; .* locked",
        said[2],
    )


def test_a_task_whose_solver_stalls_and_whose_runner_up_takes_over(counter: Counter) -> None:
    since = counter.w3.eth.block_number
    task = posted(counter)
    tasks.auction(counter, task, {"solver": 0, "rival": 800 * 10**18}, 10)
    commit(counter, task, "solver", 0)
    counter.close_windows(task)
    counter.clock.travel(3_000)
    counter.quick("requester").stall(task)
    counter.quick("rival").take_over(task)
    commit(counter, task, "rival", 1)
    counter.close_windows(task)
    counter.quick("rival").collect(task)
    said = told(counter, task, since)
    stake = counter.quick("rival").terms(task).stake / 10**18
    assert said[3:] == [
        "checkpoint 0 paid: 396 to solver, 4 burned, 8 to the standby; 510 locked",
        f"solver failed: it missed its deadline, and {stake / 10:g} of its stake burned",
        "rival may take over within 60 s; 510 locked",
        "rival took over, for 400: its own price for what is left; 510 locked, of which 110 will come back",
        "checkpoint 1 paid: 396 to rival, 4 burned; 110 locked",
        "ended, completed: 110 came back, free in your vault",
    ]


def test_a_cheat_and_a_runner_up_that_does_not_come(counter: Counter) -> None:
    since = counter.w3.eth.block_number
    task = posted(counter)
    tasks.auction(counter, task, {"solver": 0, "rival": 800 * 10**18}, 10)
    counter.quick("solver").commit(task, 0, ROOT, "")
    dispute = counter.quick("challenger").open(task, 0, GraphHeader.of(WORK.graph))
    counter.quick("solver").concede(dispute)
    counter.clock.travel(100)
    requester = counter.quick("requester")
    requester.reopen(task)
    requester.cancel(task)
    said = told(counter, task, since)
    assert said[3] == "checkpoint 0 is disputed: not paid before that is decided"
    assert re.fullmatch(
        r"solver failed: a checkpoint was false\. Its stake of [\d,]+ is lost, [\d.e-]+ of it to who proved it", said[4]
    )
    assert said[5:] == [
        "rival may take over within 60 s; 918 locked",
        "bids for what is left are taken for 60 s; 918 locked",
        "ended, cancelled: 918 came back, free in your vault",
    ]


def test_news_are_told_once_and_kept_while_the_chain_is_silent(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, task = counter.chain("requester"), posted(counter)
    teller = Teller.of(chain, task, chain.terms(task), counter.w3.eth.block_number)
    assert teller.news(as_json=False) == []
    chain.cancel(task)
    with monkeypatch.context() as patched:
        patched.setattr(chain, "wire", None)
        patched.setattr(chain, "w3", Chain("http://127.0.0.1:1", chain.deployment).w3)
        assert teller.news(as_json=False) == []
    (line,) = teller.news(as_json=True)
    assert json.loads(line) == {"event": "Ended", "task": task, "how": 7, "refunded": str(918 * 10**18), "locked": "0"}
    assert teller.news(as_json=True) == []


def test_another_tasks_events_are_not_told(counter: Counter) -> None:
    task, other = posted(counter), posted(counter)
    counter.quick("requester").cancel(other)
    chain = counter.quick("stranger")
    story = Story(task, chain.terms(task), 1, 0)
    (event,) = [e for e in chain.logs(("market",), 0, chain.head().number) if e.name == "Ended"]
    assert story.take(event) is None
    assert story.locked == 1
    assert NOBODY not in told(counter, task, counter.w3.eth.block_number)
