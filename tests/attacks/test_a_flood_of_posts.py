"""Attack 10: thousands of free posts that nobody takes, and thousands of checkpoints that nobody pays for.

A worker that asks for every task at every look takes 5 ms longer for each; above 100,000 tasks it stopped for good, and
its stakes were lost. The look follows events: it does not ask for what has not changed, or is nobody's business here.
"""

from __future__ import annotations

from dataclasses import astuple
from typing import Final

import pytest

from offchain.chain.client import Chain
from offchain.chain.deployment import COIN
from offchain.chain.reader import Reader
from offchain.market.view import Status
from tests.support import tasks
from tests.support.crowd import flood
from tests.support.deployment import PARAMETERS, Funded

POSTS: Final = 120
CHECKPOINTS: Final = 120
PRICE: Final = 10 * COIN
SHAM: Final = {"steps": CHECKPOINTS, "interval": 1, "max_price": PRICE, "challenge_window": 100_000}
GAS: Final = COIN // 10


def questions(reader: Reader, chain: Chain) -> list[int]:
    """How many questions each request of a look holds."""
    sizes: list[int] = []
    post = chain.wire._post

    def counting(body: bytes) -> tuple[bytes, int]:
        sizes.append(body.count(b'"method"'))
        return post(body)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain.wire, "_post", counting)
        reader.read()
    return sizes


def attack(place: Funded) -> int:
    """A sham task among friends, whose checkpoints are never paid for, and posts. Returns the sham task's id."""
    sham = place.quick("stranger").post(tasks.terms(place, **SHAM))
    tasks.auction(place, sham, {"rival": 1})
    flood(place, "rival", "log", "commit", [(sham, k, tasks.ROOT, tasks.URI) for k in range(CHECKPOINTS)])
    flood(place, "stranger", "market", "post", [(astuple(tasks.terms(place, max_price=PRICE)),)] * POSTS)
    return sham


@pytest.mark.slow
def test_a_look_does_not_grow_with_what_strangers_post(place: Funded) -> None:
    before, chain = place.fortunes(), place.chain("solver")
    solver, verifier = Reader(chain, audits=False), Reader(chain)
    mine = tasks.train(place, roots=[tasks.ROOT] * 2, max_price=PRICE)
    quiet = []
    for reader in (solver, verifier):
        reader.read()
        place.clock.travel(1)
        quiet.append(questions(reader, chain))
    sham = attack(place)
    for reader in (solver, verifier):
        while reader.behind or len(reader.read().tasks) < POSTS:
            reader.read()
    assert len(verifier.read().task(sham).checkpoints) == CHECKPOINTS
    assert sham not in solver.read()
    place.clock.travel(1)
    assert [questions(reader, chain) for reader in (solver, verifier)] == quiet  # not one question more
    assert questions(verifier, chain) == [2]  # at the same block again: whether it is the same

    place.clock.travel(61)
    assert [task.id for task in solver.read().tasks] == [mine]  # what nobody took is not even kept
    assert [task.id for task in verifier.read().tasks] == [mine, sham]
    counted(place, before, mine)


@pytest.mark.slow
def test_no_look_is_long_on_a_slow_node(place: Funded, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 20 ms a question, by a clock that only questions move: the first looks share the reading among them."""
    attack(place)
    chain, now, longest = place.chain("solver"), [0.0], 0.0
    post = chain.wire._post

    def slow(body: bytes) -> tuple[bytes, int]:
        now[0] += 0.02 * body.count(b'"method"')
        return post(body)

    monkeypatch.setattr(chain.wire, "_post", slow)
    monkeypatch.setattr("offchain.chain.reader.time.monotonic", lambda: now[0])
    reader = Reader(chain)
    while not longest or reader.behind:
        before = now[0]
        reader.read()
        longest = max(longest, now[0] - before)
    assert longest < 2


def counted(place: Funded, before: dict[str, object], mine: int) -> None:
    """The solver goes on, and is paid. The flood cost the stranger and its friend gas."""
    place.quick("solver").commit(mine, 2, tasks.ROOT, tasks.URI)
    place.close_windows(mine)
    place.quick("solver").collect(mine)
    assert place.status(mine) is Status.COMPLETED
    net = place.net(before, ended=False)  # type: ignore[arg-type]
    assert net["solver"] > PRICE - GAS
    assert -PRICE - PARAMETERS.post_fee - GAS < net["requester"] < -PRICE
    assert net["stranger"] < -GAS and net["rival"] < 0 == net["challenger"]
