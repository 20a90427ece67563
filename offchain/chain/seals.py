"""The hash that a bidder commits to before it shows its bid."""

from __future__ import annotations

from typing import Final

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from offchain.market.notes import OwnBid

SEAL_BYTES: Final = 28  # the contract keeps a bid's place in the order beside it
KINDS: Final = ("uint256", "address", "uint256", "uint8", "address", "uint128", "uint32", "bytes32")


def seal_of(chain_id: int, auction: str, task_id: int, bidder: str, bid: OwnBid) -> bytes:
    """What IAuction.commit takes, as IAuction.sealOf computes it: 28 bytes."""
    values = (chain_id, auction, task_id, bid.attempt, bidder, bid.price, bid.promised, bid.salt)
    return keccak(encode(KINDS, values))[:SEAL_BYTES]
