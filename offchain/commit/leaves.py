"""Leaf hashes of many chunks: OpenSSL's SHA-256 in a native loop, so that threads do not wait for the interpreter.

hashlib releases the interpreter's lock for each chunk and takes it back 3 µs later: so often that a second thread gains
nothing. One call of the loop is many chunks.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from threading import Event
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from offchain.commit.merkle import LEAF

Bytes = npt.NDArray[np.uint8]

CHUNK_BYTES: Final = 4096
HASH_BYTES: Final = 32
MANY: Final = 64  # chunks from which it pays to make the loop
_FEW: Final = 3  # chunks from which it pays to call it once it is there
_MADE: Final = Event()
_OPENSSL: Final = ("SHA256_Init", "SHA256_Update", "SHA256_Final")
_LOOP: Final = f"""
declare i32 @SHA256_Init(ptr)
declare i32 @SHA256_Update(ptr, ptr, i64)
declare i32 @SHA256_Final(ptr, ptr)
@leaf = private constant i8 {LEAF[0]}
define void @leaves(ptr %chunks, i64 %count, ptr %out) nounwind {{
start:
  %context = alloca [256 x i8], align 16
  br label %head
head:
  %n = phi i64 [ 0, %start ], [ %next, %body ]
  %more = icmp ult i64 %n, %count
  br i1 %more, label %body, label %done
body:
  %at = mul i64 %n, {CHUNK_BYTES}
  %chunk = getelementptr i8, ptr %chunks, i64 %at
  %to = mul i64 %n, {HASH_BYTES}
  %hash = getelementptr i8, ptr %out, i64 %to
  call i32 @SHA256_Init(ptr %context)
  call i32 @SHA256_Update(ptr %context, ptr @leaf, i64 {len(LEAF)})
  call i32 @SHA256_Update(ptr %context, ptr %chunk, i64 {CHUNK_BYTES})
  call i32 @SHA256_Final(ptr %hash, ptr %context)
  %next = add i64 %n, 1
  br label %head
done:
  ret void
}}
"""


def leaf_hashes(chunks: Bytes, out: Bytes) -> None:
    """Hash chunks (n, 4096) into `out` (n, 32); both contiguous."""
    loop = native_loop() if len(chunks) >= (_FEW if _MADE.is_set() else MANY) else None
    if loop is None:
        _interpreted(chunks, out)
    else:
        loop(chunks.ctypes.data, len(chunks), out.ctypes.data)


def _interpreted(chunks: Bytes, out: Bytes) -> None:
    seed, found = sha256(LEAF), []
    for chunk in chunks:
        digest = seed.copy()
        digest.update(chunk)
        found.append(digest.digest())
    out[:] = np.frombuffer(b"".join(found), np.uint8).reshape(out.shape)


@cache
def native_loop() -> Callable[[int, int, int], None] | None:
    """(address of chunks, how many, address of their hashes); None where Python's OpenSSL cannot be called."""
    library = _openssl()
    if library is None:
        return None
    import llvmlite.binding as llvm  # takes its time, and few commands hash so much

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    for name in _OPENSSL:
        llvm.add_symbol(name, ctypes.cast(getattr(library, name), ctypes.c_void_p).value)
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(_LOOP), machine)
    engine.finalize_object()
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)
    loop: Any = kind(engine.get_function_address("leaves"))
    loop.engine = engine  # it owns the code
    _MADE.set()
    return loop if _is_right(loop) else None


def _openssl() -> ctypes.CDLL | None:
    """The library that hashlib has loaded; None where it is part of the interpreter, or too new for these functions."""
    spec = importlib.util.find_spec("_hashlib")
    if spec is None or not spec.has_location or spec.origin is None:
        return None
    library = ctypes.CDLL(spec.origin)
    return library if all(hasattr(library, name) for name in _OPENSSL) else None


def _is_right(loop: Callable[[int, int, int], None]) -> bool:
    chunks = np.arange(3 * CHUNK_BYTES, dtype=np.uint32).astype(np.uint8).reshape(3, CHUNK_BYTES)
    native, interpreted = np.empty((2, 3, HASH_BYTES), np.uint8)
    loop(chunks.ctypes.data, len(chunks), native.ctypes.data)
    _interpreted(chunks, interpreted)
    return native.tobytes() == interpreted.tobytes()
