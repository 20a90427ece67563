"""16-ary SHA-256 trees: roots, the children that a solver reveals, the proofs that a challenger gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

ARITY: Final = 16
REVEAL_LEVELS: Final = 2  # levels that one reveal opens: up to 256 children

HASH_BYTES: Final = 32
GROUP: Final = ARITY * HASH_BYTES  # bytes of hashes under one parent

LEAF: Final = b"\x00"
INNER: Final = b"\x01"


def leaf_hash(data: bytes | memoryview) -> bytes:
    """Hash of a leaf's bytes (a chunk, or the encoding of a node or slot)."""
    digest = sha256(LEAF)
    digest.update(data)
    return digest.digest()


def depth(leaves: int) -> int:
    """Levels above the leaves of a tree with that number of leaves."""
    levels = 0
    while leaves > 1:
        leaves = -(-leaves // ARITY)
        levels += 1
    return levels


def parents(hashes: bytes) -> bytes:
    """One level up: the parents of consecutive groups of 16, in one string as the hashes are."""
    return b"".join([sha256(INNER + hashes[i : i + GROUP]).digest() for i in range(0, len(hashes), GROUP)])


def separate(hashes: bytes) -> list[bytes]:
    """The single hashes of a string of hashes."""
    return [hashes[i : i + HASH_BYTES] for i in range(0, len(hashes), HASH_BYTES)]


def fold(hashes: Sequence[bytes]) -> list[bytes]:
    """`parents` of single hashes."""
    return separate(parents(b"".join(hashes)))


def root(leaves: Sequence[bytes]) -> bytes:
    """Root of the tree over at least one leaf; of a single leaf, that leaf."""
    return root_of(b"".join(leaves))


def root_of(leaves: bytes) -> bytes:
    """`root` of leaves that follow each other in one string. Raises ValueError where there is none."""
    if not leaves:
        raise ValueError("a tree has at least one leaf")
    while len(leaves) > HASH_BYTES:
        leaves = parents(leaves)
    return leaves


def climb(value: bytes, index: int, count: int, levels: int, proof: Sequence[bytes]) -> bytes:
    """Fold a proof: the hash `levels` above `value`, which stands at `index` of `count` at its level.

    Raises ValueError if the proof has another length than the shape of the tree says.
    """
    rest = list(proof)
    for _ in range(levels):
        group = min(ARITY, count - index // ARITY * ARITY)
        siblings, rest = rest[: group - 1], rest[group - 1 :]
        at = index % ARITY
        if len(siblings) != group - 1 or index >= count:
            raise ValueError("proof is too short")
        value = sha256(INNER + b"".join([*siblings[:at], value, *siblings[at:]])).digest()
        index, count = index // ARITY, -(-count // ARITY)
    if rest:
        raise ValueError("proof is too long")
    return value


@dataclass(frozen=True, slots=True)
class Position:
    """A hash within a tree of `leaves`: level 0 holds the leaves."""

    leaves: int
    level: int
    index: int

    @classmethod
    def top(cls, leaves: int) -> Position:
        return cls(leaves, depth(leaves), 0)

    @property
    def child_level(self) -> int:
        """Level of the children that a reveal below this position opens."""
        return max(self.level - REVEAL_LEVELS, 0)

    def children(self) -> range:
        """Indices, at `child_level`, of the children of this position."""
        width = ARITY ** (self.level - self.child_level)
        return range(self.index * width, min((self.index + 1) * width, width_at(self.leaves, self.child_level)))

    def child(self, index: int) -> Position:
        return Position(self.leaves, self.child_level, index)


def width_at(leaves: int, level: int) -> int:
    """Number of hashes at a level of a tree."""
    for _ in range(level):
        leaves = -(-leaves // ARITY)
    return leaves


class Tree:
    """All levels of a tree; `levels[0]` are the leaves. Never changed once made."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.levels: list[list[bytes]] = [list(leaves)]
        while len(self.levels[-1]) > 1:
            self.levels.append(fold(self.levels[-1]))

    @property
    def leaves(self) -> list[bytes]:
        return self.levels[0]

    def revealed(self, position: Position, children: Sequence[bytes]) -> Tree:
        """This tree with somebody else's hashes below `position`: what a challenger knows of the solver's tree.

        Hashes above `position` stay as they are, so the levels need not fold into each other there.
        """
        other = Tree.__new__(Tree)
        other.levels = [list(level) for level in self.levels]
        start, hashes = position.children().start, list(children)
        for level in range(position.child_level, position.level + 1):
            other.levels[level][start : start + len(hashes)] = hashes
            start, hashes = start // ARITY, fold(hashes)
        return other

    @property
    def root(self) -> bytes:
        return self.levels[-1][0]

    def hash_at(self, position: Position) -> bytes:
        return self.levels[position.level][position.index]

    def reveal(self, position: Position) -> list[bytes]:
        """The hashes that a reveal below `position` opens."""
        children = position.children()
        return self.levels[position.child_level][children.start : children.stop]

    def proof(self, index: int, level: int = 0, levels: int | None = None) -> list[bytes]:
        """Siblings of the hash at `index` of `level`, for `levels` upwards (to the root by default)."""
        out: list[bytes] = []
        top = len(self.levels) - 1 if levels is None else level + levels
        for at in range(level, top):
            start = index // ARITY * ARITY
            out += [h for i, h in enumerate(self.levels[at][start : start + ARITY], start) if i != index]
            index //= ARITY
        return out
