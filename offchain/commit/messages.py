"""SHA-256 of many messages by hashlib, one after the other: what the native loop of `loops` must equal."""

from __future__ import annotations

import ctypes
from hashlib import sha256

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint8]
Addresses = npt.NDArray[np.int64]


def interpreted(tag: bytes, addresses: Addresses, length: int, out: Hashes) -> None:
    """Hashes the tag byte and the `length` bytes at each address into `out` (n, 32)."""
    seed, found = sha256(tag), []
    for address in addresses.tolist():
        digest = seed.copy()
        digest.update((ctypes.c_char * length).from_address(address))
        found.append(digest.digest())
    out[:] = np.frombuffer(b"".join(found), np.uint8).reshape(out.shape)
