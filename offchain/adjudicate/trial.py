"""Whole disputes on a local chain: a solver falsifies one element, and an honest challenger convicts it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final, cast

import numpy as np
from eth_account import Account

from offchain.adjudicate.case import falsify
from offchain.adjudicate.report import Trial
from offchain.chain.client import Chain, GraphHeader, Receipt
from offchain.chain.deploying import fund
from offchain.chain.deployment import COIN, Funds
from offchain.chain.disputes import VERDICTS, RevealLog, dispute_view
from offchain.chain.ganache import Ganache
from offchain.chain.reverts import Reverted
from offchain.chain.rpc import Wire
from offchain.chain.transactions import SendOptions
from offchain.commit.roots import state_root, state_tree
from offchain.dispute import challenger, defender
from offchain.dispute.falsified import Falsehood, FalsifiedExecutor, FalsifiedReplay
from offchain.dispute.replay import Ledger, Replay
from offchain.errors import ChainError
from offchain.exec.base import Executor
from offchain.ir.arrays import Array
from offchain.ir.kinds import Kind
from offchain.market.notes import OwnBid
from offchain.market.view import SOLVER, DisputeView, Status
from offchain.task import Task
from offchain.worker.posting import Offer, post, terms_of

WEALTH: Final = 10_000 * COIN
PRICE: Final = 1_000
LONG: Final = 100_000  # seconds: nothing here ends by its deadline
OFFER: Final = Offer(
    PRICE,
    bidding_time=60,
    reveal_time=60,
    handover_time=60,
    interval_time=LONG,
    challenge_window=LONG,
    clock=600,
    attempts=1,
)
TRIES: Final = 8  # lies of a kind, until one of them changes the checkpoint


@dataclass(frozen=True)
class Interval:
    """The interval that holds the disputed step: the right states before it, and the executor."""

    task: Task
    ledger: Ledger
    executor: Executor[Any]
    step: int
    roots: tuple[bytes, ...]  # of the checkpoints before it
    state: list[Array]

    @classmethod
    def around(cls, task: Task, step: int, executor: Executor[Any]) -> Interval:
        """Computes the steps before it."""
        held, roots = executor.load(task.state), list[bytes]()
        for t in range(step // task.interval * task.interval):
            held = executor.step(held, t)
            if (t + 1) % task.interval == 0:
                roots.append(state_root(executor.dump(held)))
        ledger = Ledger(task.graph, task.constants, task.datasets)
        return cls(task, ledger, executor, step, tuple(roots), executor.dump(held))

    @property
    def checkpoint(self) -> int:
        return len(self.roots)

    @property
    def end(self) -> int:
        return min((self.checkpoint + 1) * self.task.interval, self.task.steps)

    def replay(self, falsehood: Falsehood | None = None) -> Replay:
        """The replay of an honest player, or of a cheat with that falsehood."""
        first, tree = self.checkpoint * self.task.interval, state_tree(self.state)
        if falsehood is None:
            return Replay(self.executor, self.ledger, first, self.state, tree)
        false = FalsifiedExecutor(self.executor, self.ledger, falsehood)
        return FalsifiedReplay(false, self.ledger, first, self.state, tree)


@dataclass
class Arena:
    """A funded solver and challenger, and a task trained up to the disputed interval. Needs a local Ganache."""

    chain: Chain
    interval: Interval

    def __post_init__(self) -> None:
        owner, requester, solver, opponent = (hand(self.chain, number) for number in range(4))
        funds = {person.address: Funds(vault=WEALTH) for person in (requester, opponent)}
        funds[solver.address] = Funds(vault=WEALTH, roles=SOLVER, endpoint="http://127.0.0.1")
        fund(self.chain.deployment, self.chain.w3, owner.address, funds)
        self.task_id = post(requester, terms_of(requester, self.interval.task, OFFER, "http://127.0.0.1"))
        award_to(solver, self.task_id, PRICE, OFFER)
        for number, root in enumerate(self.interval.roots):
            solver.commit(self.task_id, number, root, "")

    def trials(self, rng: Random) -> Iterator[Trial]:
        """One for each node kind of the graph; each leaves the chain as it was."""
        honest = self.interval.replay()
        nodes = self.interval.task.graph.nodes
        for kind in sorted({node.kind for node in nodes}):
            trial = Trial(0, kind, 0)
            for falsehood in self._falsehoods(kind, honest, rng):
                trial = Trial(falsehood.node, kind, falsehood.element)
                cheat = self.interval.replay(falsehood)
                if cheat.root(self.interval.end) != honest.root(self.interval.end):
                    trial = self.dispute(trial, cheat, honest)
                    break
            yield trial

    def _falsehoods(self, kind: Kind, honest: Replay, rng: Random) -> Iterator[Falsehood]:
        outputs = honest.step(self.interval.step).trace.outputs
        nodes = [n for n, node in enumerate(self.interval.task.graph.nodes) if node.kind is kind]
        for _ in range(TRIES):
            n = rng.choice(nodes)
            element = rng.randrange(outputs[n].size)
            word = int(outputs[n].view(np.uint32)[element])
            yield Falsehood(self.interval.step, n, element, word ^ falsify(word, rng)[1])

    def dispute(self, trial: Trial, cheat: Replay, honest: Replay) -> Trial:
        """Commit what the cheat computes, open a dispute, play it to its end. Leaves the chain as it was."""
        taken = _rpc(self.chain, "evm_snapshot")
        players = hand(self.chain, 2), hand(self.chain, 3)
        number = self.interval.checkpoint
        root = cheat.root(self.interval.end)
        players[0].commit(self.task_id, number, root, "")
        dispute = players[1].open(self.task_id, number, GraphHeader.of(self.interval.task.graph), root)
        ended = self._play(trial, dispute, players, (cheat, honest))
        _rpc(self.chain, "evm_revert", taken)
        return ended

    def _play(self, trial: Trial, dispute: int, players: tuple[Chain, Chain], minds: tuple[Replay, Replay]) -> Trial:
        """Plays to the end. If the contract refuses a move of the cheat, the cheat loses by its clock."""
        first, last, gas, ending = self.chain.head().number, None, list[int](), ""
        while view := self._look(dispute, first):
            cheats = view.mover == view.solver
            mover, other = players if cheats else players[::-1]
            move = defender.move(view, minds[0]) if cheats else challenger.move(view, minds[1])
            try:
                last = mover.move(dispute, move)
                gas.append(last.gas_used)
            except Reverted as refusal:
                if not cheats:
                    return replace(trial, ending=refusal.name, moves=len(gas) + 1)
                ending = refusal.name
                wait(self.chain, view.deadline - self.chain.head().timestamp + 1)
                last = other.timeout(dispute)
        if last is None:
            raise ChainError(f"dispute {dispute} never ran")
        task = players[0].task(self.task_id, players[0].terms(self.task_id))
        convicted = task.status is Status.SLASHED and last.event("Resolved").args["winner"] == players[1].address
        return replace(
            trial, ending=ending or _verdict(last), convicted=convicted, moves=len(gas), gas=sum(gas), largest=max(gas)
        )

    def _look(self, dispute: int, first: int) -> DisputeView | None:
        """The dispute, opened in block `first`; None once it is over."""
        on_move = self.chain.call("game", "onMove", dispute)
        if not int(on_move[0], 16):
            return None
        revealed = RevealLog()
        for event in self.chain.logs(("game",), first, self.chain.head().number):
            revealed.take(event)
        return dispute_view(dispute, self.chain.call("game", "dispute", dispute), on_move, revealed.of(self.task_id, 0))


def hand(chain: Chain, account: int) -> Chain:
    """A client for one of the local Ganache's accounts. What it remembers is lost with a snapshot."""
    url = str(cast(Wire, chain.w3.provider).endpoint_uri)
    key = Ganache(accounts_count=account + 1).accounts[account]
    return Chain(url, chain.deployment, Account.from_key(key), SendOptions(poll=0.02))


def award_to(solver: Chain, task_id: int, price: int, offer: Offer) -> None:
    """Lets the only bidder win the first attempt at a task. On a local chain, whose clock is put forward."""
    bid = OwnBid(0, price, offer.interval_time, bytes(32))
    solver.bid(task_id, bid)
    wait(solver, offer.bidding_time + 1)
    solver.reveal(task_id, bid)
    wait(solver, offer.reveal_time + 1)
    solver.award(task_id)


def wait(chain: Chain, seconds: int) -> None:
    """Put the chain's clock forward."""
    _rpc(chain, "evm_increaseTime", max(0, seconds))
    _rpc(chain, "evm_mine")


def _rpc(chain: Chain, method: str, *args: Any) -> Any:
    return chain.w3.provider.make_request(method, list(args)).get("result")  # type: ignore[arg-type]


def _verdict(last: Receipt) -> str:
    return next((event.name for event in last.events if event.name in VERDICTS), "")
