"""People who play a dispute on the chain: honest ones, and honest ones with one false part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from eth_account.signers.local import LocalAccount

from offchain.chain.client import Chain, GraphHeader, Receipt
from offchain.chain.reader import Reader
from offchain.chain.reverts import Reverted
from offchain.exec import make_executor
from offchain.roles.actions import Move
from offchain.roles.attack import attack
from offchain.roles.defence import defend
from offchain.roles.falsified import Falsehood, FalsifiedExecutor, FalsifiedReplay
from offchain.roles.replay import Ledger, Replay
from offchain.roles.view import DisputeView
from tests.protocol.everything import INTERVAL, Work

Strategy = Callable[[DisputeView], Move | None]  # None: says nothing, and loses by its clock


@dataclass
class Mind:
    """What a player believes: the true steps, or those that follow from a falsehood."""

    work: Work
    falsehood: Falsehood | None = None
    ledger: Ledger = field(init=False)
    executor: Any = field(init=False)

    def __post_init__(self) -> None:
        work = self.work
        self.ledger = Ledger(work.graph, work.constants, work.datasets)
        self.executor = make_executor("torch", work.graph, work.constants, work.datasets)
        if self.falsehood:
            self.executor = FalsifiedExecutor(self.executor, self.ledger, self.falsehood)
        self._replays: dict[int, Replay] = {}

    def replay(self, checkpoint: int) -> Replay:
        """Its replay of an interval, from the initial state on."""
        if checkpoint not in self._replays:
            state, start = self.work.state, checkpoint * INTERVAL
            held = self.executor.load(state)
            for t in range(start):
                held = self.executor.step(held, t)
            make = FalsifiedReplay if self.falsehood else Replay
            self._replays[checkpoint] = make(self.executor, self.ledger, start, self.executor.dump(held))
        return self._replays[checkpoint]

    def root(self, checkpoint: int) -> bytes:
        """The state root that this player would commit."""
        return self.replay(checkpoint).root((checkpoint + 1) * INTERVAL)

    def defend(self, view: DisputeView) -> Move | None:
        return defend(view, self.replay(view.checkpoint))

    def attack(self, view: DisputeView) -> Move | None:
        return attack(view, self.replay(view.checkpoint))


@dataclass
class Player:
    """An account on the chain."""

    chain: Chain
    reader: Reader = field(init=False)

    def __post_init__(self) -> None:
        self.reader = Reader(self.chain)

    @property
    def address(self) -> str:
        return self.chain.address

    def dispute(self, dispute_id: int) -> DisputeView | None:
        """None once it is over."""
        return next((d for d in self.reader.read().disputes if d.id == dispute_id), None)


@dataclass
class Played:
    """A finished dispute: who moved what, for how much gas, and what the last move said."""

    moves: list[tuple[str, str, int]] = field(default_factory=list)  # solver or challenger, function, gas
    last: Receipt | None = None
    refusals: list[str] = field(default_factory=list)  # typed errors of moves that the contract refused

    @property
    def reveals(self) -> int:
        return sum(who == "solver" for who, _, _ in self.moves)

    @property
    def max_gas(self) -> int:
        return max(gas for _, _, gas in self.moves)

    def event(self, name: str) -> dict[str, Any]:
        assert self.last is not None
        return dict(self.last.event(name).args)


def play(
    dispute_id: int,
    solver: Player,
    challenger: Player,
    strategies: tuple[Strategy, Strategy],
    travel: Callable[[int], None],
) -> Played:
    """Play to the end; `strategies` of solver and challenger. A player without a move is timed out by the other."""
    played = Played()
    while view := solver.dispute(dispute_id):
        moving = view.mover == view.solver
        player, other = (solver, challenger) if moving else (challenger, solver)
        move = strategies[0 if moving else 1](view)
        try:
            played.last = player.chain.move(dispute_id, move) if move else None
        except Reverted as refusal:  # a lie that the contract does not take is as good as silence
            played.refusals.append(refusal.name)
            move = None
        if move is None or played.last is None:
            travel(view.deadline + 1)
            played.last = other.chain.timeout(dispute_id)
            continue
        played.moves.append(("solver" if moving else "challenger", move.function, played.last.gas_used))
    return played


def header(work: Work) -> GraphHeader:
    return GraphHeader.of(work.graph)


def chain_of(url: str, deployment: Any, account: LocalAccount) -> Chain:
    return Chain(url, deployment, account)
