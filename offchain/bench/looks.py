"""`offchain bench looks`: a worker's look at a chain that is full of other people's tasks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, replace
from typing import Any, Final

from offchain.adjudicate import court
from offchain.adjudicate.trial import PRICE, wait
from offchain.bench.chain import Market
from offchain.bench.timing import Row, Settings, Watch, unwatched
from offchain.chain.abi import interface
from offchain.chain.client import Chain
from offchain.chain.reader import Reader
from offchain.chain.seals import seal_of
from offchain.errors import ChainError
from offchain.market.notes import OwnBid
from offchain.roles import solver, verifier
from offchain.roles.policy import Policy

TASKS: Final = 5_000  # open for bids
CHECKPOINTS: Final = 10_000  # committed and not paid
TRAINING: Final = 10  # tasks that hold them
QUICK: Final = 60  # tasks and checkpoints with --quick
LOOKS: Final = 20
TOGETHER: Final = 50  # transactions in a block
GAS: Final = 500_000  # of each, at most
ROOT: Final = bytes(range(32))
DAY: Final = 86_400  # seconds
SECRET: Final = bytes(32)


def rows(settings: Settings, watch: Watch = unwatched) -> Iterator[Row]:
    """Seconds of the first looks together, of a look when nothing changed, when one task did, and of deciding.

    The peer is a look at a market without tasks, through the same client.
    """
    tasks, checkpoints = (QUICK, QUICK) if settings.quick else (TASKS, CHECKPOINTS)
    count = settings.pairs(LOOKS)
    with court() as chain:
        market = Market(chain)
        crowd = Crowd(market, watch)
        empty = [_look(Reader(market.challenger), market) for _ in range(count)]
        crowd.fill(tasks, checkpoints)
        reader, first = Reader(market.challenger), list[float]()
        while not first or reader.behind:
            first.append(_look(reader, market, wait_first=not first))
        peer = sorted(empty)[count // 2]
        note = {"looks": f"{len(first)}", "longest": f"{max(first):.2f} s"}
        yield replace(Row.of("first looks, all tasks", 0, [(sum(first), peer)]), notes=note)
        quiet = [_look(reader, market) for _ in range(count)]
        yield Row.of("look, nothing changed", 0, list(zip(quiet, empty, strict=True)))
        yield Row.of("look, one task posted", 0, [(crowd.post_and_look(reader), seconds) for seconds in empty])
        view = reader.read()
        decided = [_decide(view) for _ in range(count)]
        yield Row.of("solver and verifier decide", 0, list(zip(decided, empty, strict=True)))


def _look(reader: Reader, market: Market, wait_first: bool = True) -> float:
    """Seconds of a look, by default at a new block."""
    if wait_first:
        wait(market.chain, 1)
    start = time.perf_counter()
    reader.read()
    return time.perf_counter() - start


def _decide(view: Any) -> float:
    start = time.perf_counter()
    solver.decide(view, {}, Policy())
    verifier.decide(view, {}, Policy(), SECRET)
    return time.perf_counter() - start


class Crowd:
    """Strangers who fill a market. The node signs for them, and mines many of their transactions in one block."""

    def __init__(self, market: Market, watch: Watch) -> None:
        self._market, self._watch = market, watch
        self._terms = replace(market.terms, bidding_time=DAY, challenge_window=DAY, clock=DAY // 24)

    def fill(self, tasks: int, checkpoints: int) -> None:
        """Post so many tasks, and commit so many checkpoints of other tasks."""
        market, each = self._market, -(-checkpoints // TRAINING)
        terms = replace(self._terms, steps=each, interval=1, bidding_time=market.terms.bidding_time, interval_time=DAY)
        first = int(market.chain.call("market", "taskCount"))
        training = range(first, first + TRAINING)
        self._send(market.requester, "market", "post", [(astuple(terms),)] * TRAINING, "posted")
        self._bid(training)
        self._send(market.requester, "market", "award", [(number,) for number in training], "awarded")
        commits = [(number, k, ROOT, terms.uri) for k in range(each) for number in training]
        self._send(market.solver, "log", "commit", commits, "committed")
        self._send(market.requester, "market", "post", [(astuple(self._terms),)] * tasks, "posted")

    def _bid(self, tasks: Sequence[int]) -> None:
        """The solver bids for these tasks, and shows its bids."""
        market, solver = self._market, self._market.solver
        bid = OwnBid(0, PRICE, DAY, ROOT)
        house, chain = solver.deployment.addresses["auction"], solver.deployment.chain_id
        seals = [(number, seal_of(chain, house, number, solver.address, bid)) for number in tasks]
        self._send(solver, "auction", "commit", seals, "bids sealed")
        wait(market.chain, market.terms.bidding_time + 1)
        shown = [(number, bid.price, bid.promised, bid.salt) for number in tasks]
        self._send(solver, "auction", "reveal", shown, "bids shown")
        wait(market.chain, market.terms.reveal_time + 1)

    def post_and_look(self, reader: Reader) -> float:
        """Seconds of a look after one more task was posted."""
        self._send(self._market.requester, "market", "post", [(astuple(self._terms),)], "posted")
        return _look(reader, self._market, wait_first=False)

    def _send(self, who: Chain, part: str, function: str, arguments: Sequence[Sequence[Any]], what: str) -> None:
        call = {"from": who.address, "to": who.deployment.addresses[part], "gas": hex(GAS), "gasPrice": hex(10**10)}
        data = ["0x" + interface(part).call_data(function, args).hex() for args in arguments]
        for first in range(0, len(data), TOGETHER):
            self._watch(what, first, len(data))
            who.wire.ask([("miner_stop", ())])
            sent = who.wire.ask(
                [("eth_sendTransaction", (call | {"data": d},)) for d in data[first : first + TOGETHER]]
            )
            who.wire.ask([("miner_start", ())])
            receipts = who.wire.ask([("eth_getTransactionReceipt", (answer["result"],)) for answer in sent])
            if any((receipt.get("result") or {}).get("status") != "0x1" for receipt in receipts):
                raise ChainError(f"{part}.{function}: not all of the crowd's transactions were mined")
