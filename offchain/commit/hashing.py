"""SHA-256 of many messages at once: by all threads, where there is enough of it (`loops`)."""

from __future__ import annotations

import ctypes
from hashlib import sha256
from threading import Lock
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from offchain.commit.lanes import BLOCK, LANES
from offchain.commit.merkle import HASH_BYTES

if TYPE_CHECKING:
    from offchain.commit.loops import NativeLoop

Hashes = npt.NDArray[np.uint8]
Addresses = npt.NDArray[np.int64]

MANY: Final = 1 << 22  # bytes from which it pays to have a native loop
FEW: Final = LANES  # messages from which it pays to call it


def hash_all(tag: bytes, addresses: Addresses, length: int, out: Hashes) -> None:
    """Hashes a tag byte and the `length` bytes at each address, a multiple of 64 above it, into `out` (n, 32)."""
    assert len(tag) == 1 and length > BLOCK and length % BLOCK == 0 and out.shape == (len(addresses), HASH_BYTES)
    loop = _LOOPS.loop(len(addresses) * length) if len(addresses) >= FEW else None
    (loop.run if loop else interpreted)(tag, addresses, length, out)


class Loops:
    """The native loop of this process, made when enough was hashed without it."""

    def __init__(self) -> None:
        self._hashed, self._lock = 0, Lock()

    def loop(self, size: int) -> NativeLoop | None:
        with self._lock:
            self._hashed += size
            if self._hashed < MANY:
                return None
        from offchain.commit.loops import native_loop  # takes its time, and few commands hash so much

        return native_loop()


_LOOPS: Final = Loops()


def interpreted(tag: bytes, addresses: Addresses, length: int, out: Hashes) -> None:
    """`hash_all`, by hashlib."""
    seed, found = sha256(tag), []
    for address in addresses.tolist():
        digest = seed.copy()
        digest.update((ctypes.c_char * length).from_address(address))
        found.append(digest.digest())
    out[:] = np.frombuffer(b"".join(found), np.uint8).reshape(out.shape)
