"""Where contracts keep what they have stored: `scripts/compile.py` writes the table."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

from eth_utils.crypto import keccak

WORD: Final = 32  # bytes of a storage slot


class Place(NamedTuple):
    """Some bytes of a storage slot.

    Attributes:
        slot: key of the slot.
        offset: bytes to the right of it.
        size: in bytes.
    """

    slot: int
    offset: int
    size: int

    def within(self, word: int) -> int:
        """What is there, of a slot that holds this word."""
        return word >> 8 * self.offset & (1 << 8 * self.size) - 1


def place_of(contract: str, variable: str, *keys: int, member: str | None = None) -> Place:
    """Where a contract keeps a variable; with keys, that entry of a mapping (of mappings); of a struct, one member."""
    entry = _places()[contract][variable]
    slot, offset, size = entry["place"]
    for key in keys:
        slot = int.from_bytes(keccak(key.to_bytes(WORD) + slot.to_bytes(WORD)))
    if member is None:
        return Place(slot, offset, size)
    more, offset, size = entry["members"][member]
    return Place((slot + more) % 2**256, offset, size)


@cache
def _places() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files("offchain.chain").joinpath("storage.json").read_text())
    return found
