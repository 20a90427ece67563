"""What shows that somebody holds a state: a chunk that nobody could know would be asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from offchain.commit.merkle import Tree
from offchain.commit.roots import chunk, chunk_hashes
from offchain.ir.arrays import Array, dtype_of
from offchain.ir.graph import CHUNK


@dataclass(frozen=True, slots=True)
class ShownChunk:
    """IKeepers.Chunk: a chunk of a state, and its proof.

    Attributes:
        slots: of the state.
        slot_proof: from the chunk's slot to the tree of slots.
        dtype, length: of the slot.
        chunk_proof: to the tree of the slot's chunks.
        chunk: 4,096 bytes.
    """

    slots: int
    slot_proof: tuple[bytes, ...]
    dtype: int
    length: int
    chunk_proof: tuple[bytes, ...]
    chunk: bytes

    @classmethod
    def of(cls, state: Sequence[Array], tree: Tree, draw: int) -> ShownChunk:
        """The chunk that `draw` chooses, as Chunks.requireDrawn says.

        Args:
            state: a flat tensor for each slot. The last one, the log, is read only if it is the only one.
            tree: over the tensor roots of the slots.
        """
        slots = len(tree.leaves)
        slot = draw % (slots - 1) if slots > 1 else 0
        tensor = state[slot].reshape(-1)
        place = (draw >> 128) % -(-tensor.size // CHUNK)
        proof = Tree(chunk_hashes(tensor)).proof(place)
        about = tuple(tree.proof(slot)), int(dtype_of(tensor)), tensor.size
        return cls(slots, *about, tuple(proof), chunk(tensor, place))

    def encoded(self) -> tuple[Any, ...]:
        """As the ABI wants it."""
        return self.slots, self.slot_proof, self.dtype, self.length, self.chunk_proof, self.chunk
