"""The lottery that draws who audits a checkpoint: the twin of contracts/audit/Tickets.sol.

A verifier signs each checkpoint and looks at its own ticket first. A ticket that does not win is never sent.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from eth_abi.abi import encode

from offchain.bls.points import G1
from offchain.bls.signing import sign
from offchain.market.money import BPS

DOMAIN: Final = b"offchain.ticket.1"
KINDS: Final = ("bytes32", "uint256", "address", "uint256", "uint8", "uint32", "bytes32", "uint56")
BITS: Final = 80  # of fractions
ONE: Final = 1 << BITS


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


def fees(ticket: G1, rate_bps: int, own: int, total: int) -> int:
    """How many fees a ticket wins: Poisson, with mean p = rate · own / total.

    The largest k for which sha256(ticket) / 2^256 < P(N >= k). Each of these probabilities is off by less than 2^-74
    (docs/decisions/0029).

    Args:
        rate_bps: fees to expect per checkpoint, in 1/10,000; 16 bits.
        own, total: the verifier's stake, and all stakes, when the checkpoint was committed.
    """
    return fees_of(int.from_bytes(hashlib.sha256(encoded(ticket)).digest()), rate_bps, own, total)


def fees_of(draw: int, rate_bps: int, own: int, total: int) -> int:
    """The same, of a ticket's hash."""
    if not own:
        return 0
    sums = _sums(rate_bps * own * ONE // (BPS * total))
    reached = (2**256 - 1 - draw) * sums[-1] >> 256
    return bisect_right(sums, reached)


def _sums(mean: int) -> list[int]:
    """1, 1 + p, 1 + p + p²/2, … up to e^p, in 2^-80, each term rounded down until one is 0."""
    terms = [ONE]
    while term := (terms[-1] * mean >> BITS) // len(terms):
        terms.append(term)
    return list(accumulate(terms))


def winning(secret: int, audited: Audited, rate_bps: int, own: int, total: int) -> tuple[G1, int] | None:
    """The verifier's ticket for a checkpoint and how many fees it wins; None where it wins none."""
    if not own:
        return None
    ticket = sign(secret, audited.message())
    won = fees(ticket, rate_bps, own, total)
    return (ticket, won) if won else None


def encoded(ticket: G1) -> bytes:
    """64 bytes: x and y."""
    return ticket.x.to_bytes(32) + ticket.y.to_bytes(32)
