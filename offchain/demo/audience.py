"""Watches a run: prints every move of a dispute, every bid and verdict, and counts the gas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from rich.console import Console

from offchain.chain.abi import Event
from offchain.chain.keepers import member_from
from offchain.chain.reader import Reader
from offchain.demo.stage import Stage
from offchain.market.view import TaskView

PARTS: Final = ("auction", "market", "log", "game", "auditor", "keepers")


@dataclass
class Move:
    """A transaction to the dispute game."""

    dispute: int
    who: str
    what: str
    gas: int


@dataclass
class Audience:
    """Follows the chain from a block on. `look` prints what is new; `word` shows what an element's 32 bits mean."""

    stage: Stage
    console: Console
    word: Callable[[int], str] = lambda word: _float(word)
    reader: Reader = field(init=False)
    gas: int = 0
    max_gas: int = 0
    moves: list[Move] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._next = self.stage.w3.eth.block_number + 1
        self.reader = Reader(self.stage.chains["requester"], ended=True)
        self._game = self.stage.deployment.contract(self.stage.w3, "game")

    def look(self, task_id: int) -> TaskView:
        """Take in new blocks, print what is new in them, and return the task as it is now."""
        last = self.stage.w3.eth.block_number
        for number in range(self._next, last + 1):
            for transaction in self.stage.w3.eth.get_block(number, full_transactions=True)["transactions"]:
                self._take(transaction)
        if last >= self._next:
            found = self.stage.chains["requester"].logs(PARTS, self._next, last)
            self.events += found
            for event in found:
                self._say(event)
        self._next = last + 1
        return self.reader.read().task(task_id)

    def _take(self, transaction: Any) -> None:
        used = self.stage.w3.eth.get_transaction_receipt(transaction["hash"])["gasUsed"]
        self.gas += used
        self.max_gas = max(self.max_gas, used)
        if transaction["to"] != self.stage.deployment.game:
            return
        function, args = self._game.decode_function_input(transaction["input"])
        who = self.stage.name_of(transaction["from"])
        self.moves.append(Move(args.get("id", 0), who, function.fn_name, used))
        self.console.print(
            f"  [bold]{who:10}[/] {function.fn_name:13} [dim]{used:>9,} gas[/]  {_shown(function.fn_name, args)}"
        )

    def _say(self, event: Event) -> None:
        args, name = event.args, self.stage.name_of
        lines: dict[str, Callable[[], str]] = {
            "Sealed": lambda: f"  {name(args['bidder'])} bids, sealed",
            "Revealed": lambda: f"  {name(args['bidder'])} shows its bid: {_bid(args)}",
            "Awarded": lambda: (
                f"  [bold]{name(args['solver'])} wins[/], is paid {args['price'] / 1e18:.4g}, "
                f"what the second best would have cost, and trains; {name(args['standby'])} stands by"
            ),
            "TookOver": lambda: f"  [bold]{name(args['solver'])} takes over[/] at {args['price'] / 1e18:.4g}",
            "ElementJudged": lambda: (
                f"  [red]contract computes {self.word(args['computed'])}, claimed {self.word(args['claimed'])}[/]"
            ),
            "TermJudged": lambda: (
                f"  [red]contract computes term {args['k']}: {args['computed']}, claimed {args['claimed']}[/]"
            ),
            "Resolved": lambda: f"  [bold]{name(args['winner'])} wins against {name(args['loser'])}[/]",
            "Claimed": lambda: (
                f"  [dim]{name(args['verifier'])} is drawn, and vouches for checkpoint {args['checkpoint']}"
                f"{', for ' + str(args['fees']) + ' fees' if args['fees'] > 1 else ''}[/]"
            ),
            "Vouched": lambda: (
                f"  [dim]{name(args['verifier'])} shows that it replayed checkpoint {args['checkpoint']}[/]"
            ),
            "Seated": lambda: (
                f"  [dim]keepers: {', '.join(name(m.holder) for m in map(member_from, args['members']))}[/]"
            ),
            "Attested": lambda: f"  [dim]keepers hold all checkpoints up to {args['checkpoint']}, and serve them[/]",
            "Followed": lambda: "  [dim]revealed in another dispute already[/]",
            "Slashed": lambda: f"  [bold red]{name(args['solver'])} is slashed {args['slashed'] / 1e18:g}[/]",
        }
        if event.name in lines:
            self.console.print(str(lines[event.name]()))

    def bids(self) -> list[dict[str, Any]]:
        """Every bid that was shown, with its score and its bidder's record."""
        shown = [event.args for event in self.events if event.name == "Revealed"]
        return [
            {
                "bidder": self.stage.name_of(args["bidder"]),
                "price": args["price"],
                "time": args["promised"],
                "score": args["price"] + args["burden"],
                "record": dict(self.stage.chains["requester"].call("registry", "record", args["bidder"])),
            }
            for args in shown
        ]

    def event(self, *names: str) -> Event | None:
        """The last event that has one of these names."""
        return next((event for event in reversed(self.events) if event.name in names), None)


def _bid(args: Mapping[str, Any]) -> str:
    score = args["price"] + args["burden"]
    return f"{args['price'] / 1e18:.4g}, {args['promised']} s an interval; score {score / 1e18:.4g}"


def _float(word: int) -> str:
    return f"{np.array([word], np.uint32).view(np.float32)[0].item():.9g}"


def _shown(function: str, args: dict[str, Any]) -> str:
    """What a move says, in a few words."""
    texts: dict[str, Callable[[], str]] = {
        "open": lambda: f"checkpoint {args['checkpoint']} is wrong",
        "revealSteps": lambda: f"{len(args['roots'])} state roots",
        "nameStep": lambda: f"root {args['i']} is the first wrong one",
        "revealTrace": lambda: f"{len(args['nodeChildren'])} nodes, {len(args['slotChildren'])} slots",
        "nameNode": lambda: f"node {args['node']} is the first wrong one",
        "nameSlot": lambda: f"slot {args['slot']} does not repeat its node",
        "revealChunks": lambda: f"{len(args['children'])} chunks",
        "nameChunk": lambda: f"chunk {args['index']}",
        "revealChunk": lambda: "1,024 elements",
        "nameElement": lambda: f"element {args['element']}",
        "revealSums": lambda: f"{len(args['sums'])} partial sums",
        "nameSum": lambda: f"partial sum {args['i']}",
        "nameExponent": lambda: f"the exponent of operand {args['operand']} is wrong",
        "proveTerm": lambda: f"term {args['i']}: multiply and compare",
    }
    return texts[function]() if function in texts else ""
