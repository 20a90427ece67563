"""`offchain bench chain`: every transaction of a task on Ganache beside a plain token transfer."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

import torch

from offchain.adjudicate import court
from offchain.adjudicate.trial import LONG, PRICE, WEALTH, hand, wait
from offchain.bench.alone import computing
from offchain.bench.timing import Row, Settings, Watch, unwatched
from offchain.chain.client import Chain, GraphHeader
from offchain.chain.deploying import fund
from offchain.chain.deployment import Funds
from offchain.market.notes import OwnBid
from offchain.market.view import SOLVER
from offchain.worker.posting import Offer, terms_of

TASKS: Final = 5
CHECKPOINTS: Final = 3
URI: Final = "http://127.0.0.1:8000/blobs/task"  # about as long as a worker's
OFFER: Final = Offer(
    PRICE,
    bidding_time=60,
    reveal_time=60,
    handover_time=60,
    interval_time=LONG,
    challenge_window=60,
    clock=600,
    attempts=1,
)


@dataclass(frozen=True)
class Spent:
    """What a transaction took, from the client's call to its receipt."""

    seconds: float
    gas: int

    def in_unit(self, unit: str) -> float:
        return self.seconds if unit == "s" else float(self.gas)


Pair = tuple[Spent, Spent]  # a transaction of the task, and the transfer after it


def rows(settings: Settings, unit: str = "s", watch: Watch = unwatched) -> Iterator[Row]:
    """Seconds or gas of each verb, of whole honest tasks of CHECKPOINTS checkpoints, and of a dispute's ends."""
    count, found = settings.pairs(TASKS), defaultdict[str, list[Pair]](list)
    with court() as chain:
        market = Market(chain)
        for i in range(count):
            watch("tasks", i, count)
            task = list(market.task())
            for name, pair in task:
                found[name].append(pair)
            found["whole task"].append(_whole([pair for _, pair in task]))
            for name, pair in market.dispute():
                found[name].append(pair)
    for name, pairs in found.items():
        row = Row.of(name, 0, [(ours.in_unit(unit), peer.in_unit(unit)) for ours, peer in pairs], unit)
        gas = statistics.median(ours.gas for ours, _ in pairs)
        yield replace(row, notes={"gas": f"{gas:,.0f}"}) if unit == "s" else row


def _whole(pairs: list[Pair]) -> Pair:
    """All transactions of a task, and the mean transfer."""
    ours, peers = zip(*pairs, strict=True)
    mean = Spent(statistics.fmean(p.seconds for p in peers), round(statistics.fmean(p.gas for p in peers)))
    return Spent(sum(o.seconds for o in ours), sum(o.gas for o in ours)), mean


class Market:
    """A requester, a solver and a challenger with money, on a chain of our own."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        owner, self.requester, self.solver, self.challenger = (hand(chain, number) for number in range(4))
        funds = {person.address: Funds(WEALTH, WEALTH) for person in (self.requester, self.challenger)}
        funds[self.solver.address] = Funds(WEALTH, WEALTH, SOLVER, URI)
        fund(chain.deployment, chain.w3, owner.address, funds)
        task = replace(computing(torch.neg, torch.zeros(2)), steps=CHECKPOINTS)  # an interval is one step
        self.terms = terms_of(self.requester, task, OFFER, URI)
        self.header = GraphHeader.of(task.graph)

    def task(self) -> Iterator[tuple[str, Pair]]:
        """An honest task from its posting to its last pay, each transaction by name."""
        number = self._next()
        yield from self._training(number, CHECKPOINTS)
        wait(self.chain, OFFER.challenge_window + (CHECKPOINTS - 1) * LONG + 1)
        yield "collect", self._pair(self.solver, lambda: self.solver.collect(number))

    def dispute(self) -> Iterator[tuple[str, Pair]]:
        """A first checkpoint is challenged, its solver gives up and is slashed; what comes before is not measured."""
        number, opened = self._next(), list[int]()
        for _ in self._training(number, 1):
            pass
        challenger, solver = self.challenger, self.solver
        yield "open", self._pair(challenger, lambda: opened.append(challenger.open(number, 0, self.header)))
        yield "concede", self._pair(solver, lambda: solver.concede(opened[0]))

    def _next(self) -> int:
        return int(self.chain.call("market", "taskCount"))

    def _training(self, number: int, checkpoints: int) -> Iterator[tuple[str, Pair]]:
        """The next task: posted, awarded, and with that many `checkpoints`."""
        requester, solver = self.requester, self.solver
        yield "post", self._pair(requester, lambda: requester.post(self.terms))
        bid = OwnBid(0, PRICE, OFFER.interval_time, sha256(b"salt").digest())
        yield "commit a bid", self._pair(solver, lambda: solver.bid(number, bid))
        wait(self.chain, OFFER.bidding_time + 1)
        yield "reveal it", self._pair(solver, lambda: solver.reveal(number, bid))
        wait(self.chain, OFFER.reveal_time + 1)
        yield "award", self._pair(requester, lambda: requester.award(number))
        for i in range(checkpoints):
            root = sha256(bytes([i])).digest()
            commit = self._pair(solver, lambda i=i, root=root: solver.commit(number, i, root, URI))  # type: ignore[misc]
            yield "commit" if i else "commit, first", commit

    def _pair(self, who: Chain, transaction: Callable[[], object]) -> Pair:
        return self.spent(transaction), self.transfer(who)

    def transfer(self, who: Chain) -> Spent:
        """A token transfer by the same account through the same client."""
        return self.spent(lambda: who.send("token", "transfer", self.chain.deployment.vault, 1))

    def spent(self, transaction: Callable[[], object]) -> Spent:
        """Ganache mines each transaction in a block of its own."""
        start = time.perf_counter()
        transaction()
        seconds = time.perf_counter() - start
        return Spent(seconds, int(self.chain.w3.eth.get_block("latest")["gasUsed"]))
