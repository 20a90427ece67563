"""Who bid for a task, attempt by attempt, and what became of each bid; and who could have: from events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from offchain.chain.abi import Event
from offchain.chain.client import Call, Chain
from offchain.chain.statement import scan
from offchain.market.view import NOBODY, SOLVER

ANYBODY: Final = ("Registered", "Updated", "Deregistered")


@dataclass(frozen=True, slots=True)
class Bid:
    """One bid. Money in the token's smallest unit; price, promise and burden are known once it was shown.

    Attributes:
        outcome: "sealed", "shown", "solver", "standby", "forfeited" or, as `settled` finds it, "returned".
    """

    attempt: int
    bidder: str
    price: int | None = None
    promised: int | None = None
    burden: int | None = None
    outcome: str = "sealed"


def bids_in(events: Iterable[Event]) -> list[Bid]:
    """The bids that the events of one task tell of, in the order in which they were sealed."""
    found: dict[tuple[int, str], Bid] = {}
    for event in events:
        args = event.args
        key = args.get("attempt", 0), args.get("bidder", "")
        if event.name == "Sealed":
            found[key] = Bid(*key)
        elif event.name == "Revealed":
            found[key] = Bid(*key, args["price"], args["promised"], args["burden"], "shown")
        elif event.name == "Forfeited":
            found[key] = replace(found.get(key, Bid(*key)), outcome="forfeited")
        elif event.name == "Awarded":
            for who, outcome in ((args["solver"], "solver"), (args["standby"], "standby")):
                if (args["attempt"], who) in found and who != NOBODY:
                    found[args["attempt"], who] = replace(found[args["attempt"], who], outcome=outcome)
    return list(found.values())


def settled(chain: Chain, task_id: int, bids: Iterable[Bid]) -> list[Bid]:
    """The same, where those that lock no bond any more are told apart: no event says that one came back."""
    found = list(bids)
    sealed = [n for n, bid in enumerate(found) if bid.outcome == "sealed"]
    calls: list[Call] = [("auction", "committed", task_id, found[n].attempt, found[n].bidder) for n in sealed]
    for n, seal in zip(sealed, chain.calls(calls), strict=True):
        if not any(seal):
            found[n] = replace(found[n], outcome="returned")
    return found


def solvers(chain: Chain) -> dict[str, int]:
    """Every registered solver, and what it has free in the vault."""
    roles: dict[str, int] = {}
    for event in scan(chain, ("registry",), chain.deployment.block, chain.head().number):
        if event.name in ANYBODY:
            roles[event.args["worker"]] = event.args.get("roles", 0)
    there = [account for account, mask in roles.items() if mask & SOLVER]
    calls: list[Call] = [("vault", "freeOf", account) for account in there]
    return dict(zip(there, map(int, chain.calls(calls)), strict=True))
