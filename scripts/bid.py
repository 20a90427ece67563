"""`brownie run bid --network offchain-local main TASK PRICE SECONDS [ACCOUNT]`: bid for a task, sealed, and show it.

PRICE in tokens, for all that is left; SECONDS are promised for each full interval. The node's clock is put forward
to the end of bidding, as Ganache's can be. An operator runs `offchain worker`, which bids what it costs.
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import Any

from brownie import accounts, chain

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from offchain.chain.deployment import COIN  # noqa: E402
from offchain.chain.seals import seal_of  # noqa: E402
from offchain.market.notes import OwnBid  # noqa: E402
from offchain.market.view import SOLVER  # noqa: E402
from scripts.post_task import deposit, part  # noqa: E402


def commit(parts: dict[str, Any], task_id: int, price: int, promised: int, bidder: Any) -> OwnBid:
    """Commit to a bid. Whoever loses what this returns loses the bond."""
    attempt, _, _ = parts["market"].bidding(task_id)
    bid = OwnBid(attempt, price, promised, secrets.token_bytes(32))
    seal = seal_of(chain.id, parts["auction"].address, task_id, bidder.address, bid)
    parts["auction"].commit(task_id, seal, {"from": bidder})
    return bid


def reveal(parts: dict[str, Any], task_id: int, bid: OwnBid, bidder: Any) -> Any:
    """Show a bid, once bidding is over."""
    return parts["auction"].reveal(task_id, bid.price, bid.promised, bid.salt, {"from": bidder})


def wait_until(timestamp: int) -> None:
    """Put the clock of a local node forward."""
    chain.mine(timestamp=max(timestamp, chain.time() + 1))


def main(task_id: str, price: str, promised: str, account: str = "2") -> None:
    """Register and deposit, commit, wait, reveal."""
    parts = {name: part(name) for name in ("token", "vault", "registry", "auction", "market")}
    number, bidder = int(task_id), accounts[int(account)]
    if not parts["registry"].hasRoles(bidder, SOLVER):
        parts["registry"].register(SOLVER, "", {"from": bidder})
    deposit(parts, parts["market"].terms(number).dict()["stake"] + parts["auction"].bidBond(), bidder)
    bid = commit(parts, number, int(float(price) * COIN), int(promised), bidder)
    _, ends, _ = parts["market"].bidding(number)
    wait_until(ends)
    reveal(parts, number, bid, bidder)
    leader, _ = parts["auction"].bids(number, bid.attempt)
    place = "leads" if leader[0] == bidder.address else "does not lead"
    print(f"task {number}: {bid.price} units and {bid.promised} s an interval: the bid {place}")
