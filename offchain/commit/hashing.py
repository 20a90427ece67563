"""SHA-256 of many messages at once: by native code on all threads once there is enough to hash, else by hashlib."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Final

from offchain.commit.lanes import BLOCK, LANES
from offchain.commit.merkle import HASH_BYTES
from offchain.commit.messages import Addresses, Hashes, interpreted

if TYPE_CHECKING:  # it imports LLVM, which takes its time
    from offchain.commit.loops import NativeLoop

MANY: Final = 1 << 22  # bytes from which a native loop saves more time than it takes to make
FEW: Final = LANES  # messages from which calling it saves time


def hash_all(tag: bytes, addresses: Addresses, length: int, out: Hashes) -> None:
    """Hashes the tag byte and the `length` bytes at each address into `out` (n, 32).

    `length` is a multiple of 64 above 64.
    """
    assert len(tag) == 1 and length > BLOCK and length % BLOCK == 0 and out.shape == (len(addresses), HASH_BYTES)
    loop = _LOOPS.loop(len(addresses) * length) if len(addresses) >= FEW else None
    (loop.run if loop else interpreted)(tag, addresses, length, out)


class Loops:
    """The native loop of this process, made once enough was hashed without it."""

    def __init__(self) -> None:
        self._hashed, self._lock = 0, Lock()

    def loop(self, size: int) -> NativeLoop | None:
        with self._lock:
            self._hashed += size
            if self._hashed < MANY:
                return None
        from offchain.commit.loops import native_loop  # imports LLVM, and few commands hash so much

        return native_loop()


_LOOPS: Final = Loops()
