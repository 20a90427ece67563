"""SHA-256 of many messages in one call of native code: in lanes where the processor can, else by OpenSSL.

hashlib releases the interpreter's lock for each message and takes it back 3 µs later, so often that a second thread
gains nothing.
"""

from __future__ import annotations

import ctypes
import importlib.util
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from itertools import pairwise
from typing import Final

import llvmlite.binding as llvm
import numpy as np

from offchain.commit.lanes import BLOCK, LANES, MESSAGES, lanes_text
from offchain.commit.merkle import HASH_BYTES
from offchain.commit.messages import Addresses, Hashes, interpreted
from offchain.native.builder import LlvmBuilder
from offchain.native.jit import ENTRY, call, compiler, processors
from offchain.native.kernel import NativeKernel

ENOUGH: Final = 1 << 16  # bytes that are worth waking another thread for
OPENSSL: Final = {"SHA256_Init": "ptr", "SHA256_Update": "ptr, ptr, i64", "SHA256_Final": "ptr, ptr"}
_DECLARED: Final = "".join(f"declare void @{name}({taken})\n" for name, taken in OPENSSL.items())
_CONTEXT: Final = 256  # bytes that are enough for OpenSSL's SHA256_CTX


class Messages(ctypes.Structure):
    """Arguments of a native loop: tag byte ‖ `length` bytes at each address. Its tasks are groups of LANES messages."""

    _fields_ = [
        ("addresses", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("count", ctypes.c_int64),
        ("length", ctypes.c_int64),
        ("tag", ctypes.c_int64),
    ]


class NativeLoop:
    """Compiled code that hashes messages, and the threads that call it.

    OpenMP's threads wait for work by spinning, which takes processor time from all other threads. So they hash, too,
    where the calling thread has some. Where it has none, a pool hashes: new OpenMP threads would outnumber the
    processors, and OpenMP would wait for work more slowly as long as the thread lives (docs/decisions/0012).
    """

    def __init__(self, text: str) -> None:
        kernel = NativeKernel.of(text)
        self._compiler = compiler()  # it owns the code
        self._address = self._compiler.load([kernel])[kernel.name]
        self._function = ENTRY(self._address)

    def run(self, tag: bytes, addresses: Addresses, length: int, out: Hashes) -> None:
        """`hashing.hash_all`."""
        count, size = len(addresses), len(addresses) * length
        messages = Messages(addresses.ctypes.data, out.ctypes.data, count, length, tag[0])
        groups = -(-count // LANES)
        threads = min(self._compiler.threads(), groups, 1 + size // ENOUGH)
        if self._compiler.has_team():
            row = call(self._address, ctypes.addressof(messages), groups, threads)
            self._compiler.run((ctypes.c_int64 * len(row))(*row), 1)
        elif threads == 1:
            self._function(ctypes.addressof(messages), 0, groups)
        else:
            self._in_pool(messages, groups, threads)

    def _in_pool(self, messages: Messages, groups: int, threads: int) -> None:
        ends = [groups * n // threads for n in range(threads + 1)]
        done: list[Future[None]] = []
        try:
            for part in pairwise(ends):
                done.append(_pool().submit(self._function, ctypes.addressof(messages), *part))
        finally:
            wait(done)  # they read and write this frame's memory until then

    def is_right(self) -> bool:
        """Whether it gives the same as hashlib for some messages."""
        data = (np.arange(3 * 4096, dtype=np.uint32) * 2654435761 >> 24).astype(np.uint8)
        addresses = data.ctypes.data + np.arange(2 * LANES + 1, dtype=np.int64) * 613
        for length in (2 * BLOCK, 4096):
            native, slow = np.empty((2, len(addresses), HASH_BYTES), np.uint8)
            self.run(b"\1", addresses, length, native)
            interpreted(b"\1", addresses, length, slow)
            if native.tobytes() != slow.tobytes():
                return False
        return True


@cache
def native_loop() -> NativeLoop | None:
    """The fastest loop that this machine allows and that is right; None if there is none."""
    for text in texts().values():
        found = NativeLoop(text)
        if found.is_right():
            return found
    return None


def texts() -> dict[str, str]:
    """The loops that this processor and Python's OpenSSL allow, the fastest first."""
    found = {}
    if has_instructions():
        found["lanes"] = lanes_text()
    library = _openssl()
    if library is not None:
        for name in OPENSSL:
            llvm.add_symbol(name, ctypes.cast(getattr(library, name), ctypes.c_void_p).value)
        found["openssl"] = _openssl_text()
    return found


def has_instructions() -> bool:
    """Whether this processor has those of `lanes`."""
    features = llvm.get_host_cpu_features()
    return all(features.get(name) for name in ("sha", "ssse3"))


def _openssl() -> ctypes.CDLL | None:
    """The library that hashlib uses; None where it is part of the interpreter, or has no such functions any more."""
    spec = importlib.util.find_spec("_hashlib")
    if spec is None or not spec.has_location or spec.origin is None:
        return None
    library = ctypes.CDLL(spec.origin)
    return library if all(hasattr(library, name) for name in OPENSSL) else None


def _openssl_text() -> str:
    """Hashes one message at a time."""
    f, (addresses, out, count, length, tag) = LlvmBuilder.kernel(*MESSAGES)
    context, head = f.local("i8", _CONTEXT), f.local("i8")
    f.store("i8", f.narrow(tag, "i8"), head)
    with f.loop(f.times("%first", LANES), f.least(str(f.times("%end", LANES)), count)) as n:
        f.call("SHA256_Init", [context])
        f.call("SHA256_Update", [context, head], 1)
        f.call("SHA256_Update", [context, f.load("ptr", f.at("ptr", addresses, n))], length)
        f.call("SHA256_Final", [f.at("i8", out, f.times(n, HASH_BYTES)), context])
    return f"{_DECLARED}{f}"


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(processors(), thread_name_prefix="hash")
