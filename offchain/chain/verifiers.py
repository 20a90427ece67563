"""A verifier's key and stake on chain, and its draws: what a client does with Verifiers and Auditor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from offchain.bls.points import G1, G2
from offchain.bls.signing import possession_message, public_key, sign
from offchain.chain.client import BlockNumber, Call, Chain, Receipt
from offchain.market.tickets import Audited, winning


@dataclass(frozen=True, slots=True)
class Standing:
    """What the contracts know of a verifier. Money in the token's smallest unit, times as timestamps.

    Attributes:
        point: its key in G1; None if it has no key.
        key_from: the key counts for what is committed from then on.
        stake, all_stakes: once all changes count.
        leaving, free_from: what was taken out of the stake, and when it can be freed.
    """

    point: G1 | None
    key_from: int
    stake: int
    all_stakes: int
    leaving: int
    free_from: int


@dataclass(frozen=True, slots=True)
class Draw:
    """A verifier's proof that it is drawn to audit a checkpoint: IAuditor.Draw. `fees`: how many its ticket wins."""

    ticket: G1
    twin: G2
    own_place: int
    all_place: int
    fees: int

    def encoded(self) -> tuple[Any, ...]:
        """As the ABI wants it."""
        return self.ticket, self.twin, self.own_place, self.all_place


def enroll(chain: Chain, secret: int) -> Receipt:
    """Name the account's signing key, or replace it, and prove that it is the account's own."""
    key = public_key(secret)
    deployment = chain.deployment
    proof = sign(secret, possession_message(deployment.chain_id, deployment.verifiers, chain.address, key.point))
    return chain.send("verifiers", "enroll", key.point, key.twin, proof)


def stake(chain: Chain, amount: int) -> Receipt:
    """Add free balance to the account's stake. It counts after the delay."""
    return chain.send("verifiers", "stake", amount)


def unstake(chain: Chain, amount: int) -> Receipt:
    """Take a part of the stake out. It counts and stays locked until the delay is over."""
    return chain.send("verifiers", "unstake", amount)


def release(chain: Chain) -> Receipt:
    """Free what was taken out of the stake."""
    return chain.send("verifiers", "release")


def standing(chain: Chain, account: str | None = None) -> Standing:
    """How a verifier, by default the account itself, stands."""
    who = account or chain.address
    key, own, total, (leaving, free_from) = chain.calls(
        [
            ("verifiers", "keyOf", who),
            ("verifiers", "stakeOf", who),
            ("verifiers", "allStakes"),
            ("verifiers", "leavingOf", who),
        ]
    )
    point = G1(**key["point"]) if key["from"] else None
    return Standing(point, key["from"], own, total, leaving, free_from)


def draw(chain: Chain, secret: int, task_id: int, checkpoint: int, block: BlockNumber = None) -> Draw | None:
    """The account's winning ticket for a committed checkpoint; None if it is not drawn. Sends nothing.

    Args:
        secret: of the account's signing key.

    Raises:
        Reverted: the checkpoint is not there, or the registered key is another one.
    """
    asked: list[Call] = [("log", "checkpoint", task_id, checkpoint), ("verifiers", "keyOf", chain.address)]
    committed, key, budget = chain.calls([*asked, ("auditor", "budgetOf", task_id)], block)
    time = committed["committedAt"]
    if not 0 < key["from"] <= time:
        return None
    places = chain.call("verifiers", "places", chain.address, time, block=block)
    twin = public_key(secret).twin
    own, total = chain.call("verifiers", "weight", chain.address, twin, time, *places, block=block)
    rate_bps = budget["rateBps"]
    deployment = chain.deployment
    about = committed["attempt"], checkpoint, committed["root"], committed["beacon"]
    audited = Audited(deployment.chain_id, deployment.market, task_id, *about)
    won = winning(secret, audited, rate_bps, own, total)
    return None if won is None else Draw(won[0], twin, places[0], places[1], won[1])
