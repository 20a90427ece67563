"""Claims of verifiers: what a client does with Auditor, and who vouched for what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from offchain.chain.abi import Event
from offchain.chain.client import BlockNumber, Chain, Receipt
from offchain.chain.verifiers import Draw
from offchain.commit.logs import LogChunk


class Fate(StrEnum):
    """What became of a claim."""

    CLAIMED = "claimed"  # it has not been revealed
    VOUCHED = "vouched"  # revealed, and not settled
    PAID = "paid"
    RETURNED = "returned"  # the attempt failed first: the bond came back, and nothing was paid
    FORFEITED = "forfeited"  # not revealed in time, or the checkpoint was proved false

    @property
    def is_open(self) -> bool:
        """Whether the claim is not settled yet."""
        return self in (Fate.CLAIMED, Fate.VOUCHED)


@dataclass(frozen=True, slots=True)
class Claim:
    """A verifier's claim about a checkpoint of an attempt. `fees`: how many it took out of the budget."""

    task_id: int
    attempt: int
    checkpoint: int
    verifier: str
    fate: Fate
    fees: int


@dataclass(frozen=True, slots=True)
class Budget:
    """IAuditor.Budget: what is left of what a requester pays for audits.

    Attributes:
        fee: of which a ticket wins one or more, or none.
        rate_bps: fees to expect per checkpoint, in 1/10,000.
        left: fees that it still pays, beside those that are claimed.
        closed: the task has ended.
    """

    fee: int
    rate_bps: int
    left: int
    closed: bool


EVENTS: Final = ("Claimed", "Vouched", "Settled")


def claim(chain: Chain, task_id: int, checkpoint: int, draw: Draw, commitment: bytes) -> Receipt:
    """Vouch for a checkpoint, and lock the bond. `commitment`: 30 bytes, of `LogChunk.commitment`."""
    return chain.send("auditor", "claim", task_id, checkpoint, commitment, draw.encoded(), urgent=True)


def reveal(chain: Chain, task_id: int, checkpoint: int, shown: LogChunk) -> Receipt:
    """Show what the account committed to. Whoever misses the window loses the bond."""
    return chain.send("auditor", "reveal", task_id, checkpoint, shown.encoded(), urgent=True)


def settle(chain: Chain, task_id: int, attempt: int, checkpoint: int, verifier: str = "") -> Receipt:
    """End a claim, by default the account's own, whose fate is known: pay it, return its bond, or burn it."""
    return chain.send("auditor", "settle", task_id, attempt, checkpoint, verifier or chain.address)


def budget(chain: Chain, task_id: int, block: BlockNumber = None) -> Budget:
    """What is left for audits of a task."""
    found = chain.call("auditor", "budgetOf", task_id, block=block)
    return Budget(found["fee"], found["rateBps"], found["left"], found["closed"])


def claims_of(chain: Chain, task_id: int, first_block: int | None = None) -> list[Claim]:
    """Who vouched for what in a task, in the order of the claims, and what became of it."""
    since = chain.deployment.block if first_block is None else first_block
    events = chain.logs(("auditor",), since, chain.head().number)
    return told(event for event in events if event.args.get("taskId") == task_id)


def told(events: Iterable[Event]) -> list[Claim]:
    """The claims that the auditor's events tell of."""
    claims: dict[tuple[int, int, int, str], Claim] = {}
    for event in events:
        if event.name not in EVENTS:
            continue
        args = event.args
        key = args["taskId"], args["attempt"], args["checkpoint"], args["verifier"]
        if event.name == "Claimed":
            claims[key] = Claim(*key, Fate.CLAIMED, args["fees"])
        elif key in claims:
            claims[key] = replace(claims[key], fate=_fate(event))
    return list(claims.values())


def _fate(event: Event) -> Fate:
    if event.name == "Vouched":
        return Fate.VOUCHED
    if event.args["forfeited"]:
        return Fate.FORFEITED
    return Fate.PAID if event.args["earned"] else Fate.RETURNED
