"""What shows that somebody replayed an interval: the end of its log, proven to the state root after it."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from eth_abi.abi import decode, encode

from offchain.commit.merkle import Tree
from offchain.commit.roots import chunk, chunk_hashes
from offchain.ir.arrays import Array
from offchain.ir.graph import CHUNK

COMMITMENT_BYTES: Final = 30  # it shares a slot on chain
KINDS: Final = ("bytes", "bytes32[]", "uint64", "bytes32[]", "uint32")


@dataclass(frozen=True, slots=True)
class LogChunk:
    """IAuditor.LogChunk: the chunk that holds an interval's last row of the log, and its proof.

    Attributes:
        chunk: 4,096 bytes.
        chunk_proof: to the tree of the log's chunks.
        length: elements of the log.
        slot_proof: from the log, which is the last slot, to the tree of slots.
        slots: of the state.
    """

    chunk: bytes
    chunk_proof: tuple[bytes, ...]
    length: int
    slot_proof: tuple[bytes, ...]
    slots: int

    @classmethod
    def of(cls, log: Array, tree: Tree, rows: int, written: int) -> LogChunk:
        """Of the state after an interval.

        Args:
            log: float32, its last slot.
            tree: over the tensor roots of its slots.
            rows: of the log; steps of a full interval.
            written: rows that the interval wrote; steps of it. The rows after them are zeros, which anybody knows.
        """
        last = (written * (log.size // rows) - 1) // CHUNK
        chunks, slots = Tree(chunk_hashes(log)), len(tree.leaves)
        return cls(chunk(log, last), tuple(chunks.proof(last)), log.size, tuple(tree.proof(slots - 1)), slots)

    @classmethod
    def from_bytes(cls, raw: bytes) -> LogChunk:
        """From what `to_bytes` made."""
        return cls(*decode(KINDS, raw))

    def to_bytes(self) -> bytes:
        """For a file."""
        return encode(KINDS, self.encoded())

    def encoded(self) -> tuple[Any, ...]:
        """As the ABI wants it."""
        return self.chunk, self.chunk_proof, self.length, self.slot_proof, self.slots

    def commitment(self, verifier: str) -> bytes:
        """What a verifier commits to, as IAuditor.commitmentOf says: worth nothing to any other account."""
        return sha256(bytes.fromhex(verifier.removeprefix("0x")) + self.chunk).digest()[:COMMITMENT_BYTES]
