"""The lottery that draws who audits a checkpoint: the twin of contracts/audit/Tickets.sol.

A verifier signs each checkpoint and looks at its own ticket first. A ticket that does not win is never sent.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from eth_abi.abi import encode

from offchain.bls.points import G1
from offchain.bls.signing import sign
from offchain.market.money import BPS

DOMAIN: Final = b"offchain.ticket.1"
KINDS: Final = ("bytes32", "uint256", "address", "uint256", "uint8", "uint32", "bytes32", "uint56")


@dataclass(frozen=True, slots=True)
class Audited:
    """A committed checkpoint, as tickets name it.

    Attributes:
        chain_id, market: of the task.
        attempt: of the solver who committed the checkpoint.
        root: 32 bytes, the state root that it committed.
        beacon: 56 bits of the randomness of the block that it was committed in. So nobody knows what a key will sign
            when the key is made.
    """

    chain_id: int
    market: str
    task_id: int
    attempt: int
    checkpoint: int
    root: bytes
    beacon: int

    def message(self) -> bytes:
        """What a verifier signs: 256 bytes, as IAuditor.message says."""
        values = (self.chain_id, self.market, self.task_id, self.attempt, self.checkpoint, self.root, self.beacon)
        return encode(KINDS, (DOMAIN, *values))


def wins(ticket: G1, rate_bps: int, own: int, total: int) -> bool:
    """Whether sha256(ticket) / 2^256 < rate · own / total, exactly.

    Args:
        rate_bps: audits to expect per checkpoint, in 1/10,000.
        own, total: the verifier's stake, and all stakes, when the checkpoint was committed.
    """
    draw = int.from_bytes(hashlib.sha256(encoded(ticket)).digest())
    return draw * BPS * total >> 256 < rate_bps * own


def winning(secret: int, audited: Audited, rate_bps: int, own: int, total: int) -> G1 | None:
    """The verifier's ticket for a checkpoint, if it wins."""
    if not own:
        return None
    ticket = sign(secret, audited.message())
    return ticket if wins(ticket, rate_bps, own, total) else None


def encoded(ticket: G1) -> bytes:
    """64 bytes: x and y."""
    return ticket.x.to_bytes(32) + ticket.y.to_bytes(32)
