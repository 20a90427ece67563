"""People who play a dispute on the chain: honest ones, and honest ones with one false part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from offchain.chain.abi import interface
from offchain.chain.client import Chain, Receipt
from offchain.chain.disputes import RevealLog, dispute_view
from offchain.chain.reader import Reader
from offchain.chain.reverts import Reverted
from offchain.dispute import challenger, defender
from offchain.dispute.challenger import NothingWrong
from offchain.dispute.falsified import Falsehood, FalsifiedExecutor, FalsifiedReplay
from offchain.dispute.replay import Replay
from offchain.market.actions import Move
from offchain.market.view import DisputeView
from tests.support.works import Work

Strategy = Callable[[DisputeView], Move | None]  # None: says nothing, and loses by its clock
CONCEDE: Final = Move("concede", ())


def silent(view: DisputeView) -> None:
    """Never moves."""


@dataclass
class Mind:
    """What a player believes: the true steps of a task, or those that follow from a falsehood.

    Its `defend` and `attack` are honest. A cheater is a subclass that changes one of them, or lies by `falsehood`.
    """

    work: Work
    falsehood: Falsehood | None = None
    make: Callable[..., Replay] | None = None  # makes its replays; by default as the falsehood asks
    _replays: dict[int, Replay] = field(default_factory=dict)

    def replay(self, checkpoint: int) -> Replay:
        """Its replay of an interval, which starts from the right state: the falsehood lies in that interval."""
        if checkpoint not in self._replays:
            work, executor = self.work, self.work.executor
            if self.falsehood:
                executor = FalsifiedExecutor(executor, work.ledger, self.falsehood)
            make = self.make or (FalsifiedReplay if self.falsehood else Replay)
            start = checkpoint * work.interval
            self._replays[checkpoint] = make(executor, work.ledger, start, work.before(checkpoint))
        return self._replays[checkpoint]

    def root(self, checkpoint: int) -> bytes:
        """The state root that this player would commit."""
        return self.replay(checkpoint).root((checkpoint + 1) * self.work.interval)

    def defend(self, view: DisputeView) -> Move | None:
        return defender.move(view, self.replay(view.checkpoint))

    def attack(self, view: DisputeView) -> Move | None:
        try:
            return challenger.move(view, self.replay(view.checkpoint))
        except NothingWrong:
            return CONCEDE


@dataclass
class Player:
    """An account on the chain. A `careful` one reads disputes as workers do; the others ask less."""

    chain: Chain
    careful: bool = False
    reader: Reader = field(init=False)

    def __post_init__(self) -> None:
        self.reader = Reader(self.chain)

    @property
    def address(self) -> str:
        return self.chain.address

    def dispute(self, dispute_id: int) -> DisputeView | None:
        """A dispute as a role sees it; None once it is over."""
        if self.careful:
            return next((d for d in self.reader.read().disputes if d.id == dispute_id), None)
        on_move = self.chain.call("game", "onMove", dispute_id)
        if not int(on_move[0], 16):
            return None
        raw, revealed = self.raw(dispute_id), RevealLog()
        for event in self.chain.logs(("game",), self.chain.deployment.block, self.chain.head().number):
            revealed.take(event)
        return dispute_view(dispute_id, raw, on_move, revealed.of(raw["taskId"], raw["attempt"]))

    def raw(self, dispute_id: int) -> dict[str, Any]:
        """The contract's own record of a dispute."""
        answer: dict[str, Any] = self.chain.call("game", "dispute", dispute_id)
        return answer


@dataclass
class Played:
    """A finished dispute: each move with its gas, and the receipt of the last one."""

    moves: list[tuple[str, str, int]] = field(default_factory=list)  # solver or challenger, function, gas
    last: Receipt | None = None
    refusals: list[str] = field(default_factory=list)  # typed errors of moves that the contract refused

    @property
    def reveals(self) -> int:
        return sum(who == "solver" for who, _, _ in self.moves)

    @property
    def functions(self) -> list[str]:
        return [function for _, function, _ in self.moves]

    def count(self, function: str) -> int:
        return self.functions.count(function)

    @property
    def max_gas(self) -> int:
        return max(gas for _, _, gas in self.moves)

    def said(self, name: str) -> bool:
        assert self.last is not None
        return any(event.name == name for event in self.last.events)

    def event(self, name: str) -> dict[str, Any]:
        assert self.last is not None
        return dict(self.last.event(name).args)


def play(
    dispute_id: int,
    players: tuple[Player, Player],
    strategies: tuple[Strategy, Strategy],
    travel: Callable[[int], None],
) -> Played:
    """Plays a dispute to its end; pairs name the solver first. A player without a move is timed out by the other.

    A second passes before every move, so that clocks are always written and gas does not depend on the machine.
    """
    played = Played()
    while view := players[0].dispute(dispute_id):
        travel(1)
        moving = 0 if view.mover == view.solver else 1
        move = strategies[moving](view)
        try:
            receipt = players[moving].chain.move(dispute_id, move) if move else None
        except Reverted as refusal:  # a lie that the contract refuses counts as silence
            played.refusals.append(refusal.name)
            receipt = None
        if move is None or receipt is None:
            travel(view.deadline - players[0].chain.head().timestamp + 1)
            played.last = players[1 - moving].chain.timeout(dispute_id)
            continue
        played.last = receipt
        played.moves.append((("solver", "challenger")[moving], move.function, receipt.gas_used))
    return played


def arguments(function: str) -> list[str]:
    """The names of a move's arguments, without the dispute's id."""
    return [item["name"] for item in interface("game").functions[function]["inputs"][1:]]
