"""SHA-256 by x86's SHA instructions, of four messages at a time.

A round waits 4 cycles for the one before it, on processors that could begin another every 2: a single message, which is
what OpenSSL hashes, leaves that unit idle half of the time. Sections are those of FIPS 180-4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from offchain.commit.merkle import HASH_BYTES
from offchain.native.builder import LlvmBuilder

LANES: Final = 4
BLOCK: Final = 64  # bytes
MESSAGES: Final = ("ptr", "ptr", "i64", "i64", "i64")  # kinds of the arguments, `loops.Messages`
_INITIAL: Final = "6a09e667 bb67ae85 3c6ef372 a54ff53a 510e527f 9b05688c 1f83d9ab 5be0cd19"  # 5.3.3
_CONSTANTS: Final = """
428a2f98 71374491 b5c0fbcf e9b5dba5 3956c25b 59f111f1 923f82a4 ab1c5ed5
d807aa98 12835b01 243185be 550c7dc3 72be5d74 80deb1fe 9bdc06a7 c19bf174
e49b69c1 efbe4786 0fc19dc6 240ca1cc 2de92c6f 4a7484aa 5cb0a9dc 76f988da
983e5152 a831c66d b00327c8 bf597fc7 c6e00bf3 d5a79147 06ca6351 14292967
27b70a85 2e1b2138 4d2c6dfc 53380d13 650a7354 766a0abb 81c2c92e 92722c85
a2bfe8a1 a81a664b c24b8b70 c76c51a3 d192e819 d6990624 f40e3585 106aa070
19a4c116 1e376c08 2748774c 34b0bcb5 391c0cb3 4ed8aa4a 5b9cca4f 682e6ff3
748f82ee 78a5636f 84c87814 8cc70208 90befffa a4506ceb bef9a3f7 c67178f2
"""  # 4.2.2
_FOUR: Final = "<4 x i32>"
_BYTES: Final = "<16 x i8>"
_DECLARED: Final = (
    "".join(
        f"declare {_FOUR} @llvm.x86.sha256{name}({', '.join([_FOUR] * operands)})\n"
        for name, operands in (("rnds2", 3), ("msg1", 2), ("msg2", 2))
    )
    + "declare i64 @llvm.bswap.i64(i64)\n"
)


def lanes_text() -> str:
    """Hashes LANES messages at a time."""
    f, (addresses, out, count, length, tag) = LlvmBuilder.kernel(*MESSAGES)
    greatest = f.do(f"sub i64 {count}, 1")
    blocks = f.do(f"udiv i64 {length}, {BLOCK}")
    lanes = [_Lane(f) for _ in range(LANES)]
    with f.loop("%first", "%end") as group:
        first = f.times(group, LANES)
        which = [f.least(str(f.plus(first, n)), greatest) for n in range(2 * LANES)]  # the last one again
        data = [f.load("ptr", f.at("ptr", addresses, n)) for n in which]
        for lane, message in zip(lanes, data, strict=False):
            lane.begin(message, length, f.narrow(tag, "i8"))
        with f.loop(0, f.do(f"add i64 {blocks}, 1")) as b:
            for message in data[LANES:]:  # each begins a page, before which the processor does not look ahead
                f.prefetch(f.at("i8", message, f.times(b, BLOCK)))
            _compress(f, lanes, [lane.block(b, blocks) for lane in lanes])
        for lane, n in zip(lanes, which, strict=False):
            lane.digest(f.at("i8", out, f.times(n, HASH_BYTES)))
    return f"{_DECLARED}{f}"


class _Lane:
    """One message: a tag byte before `length` bytes, of which there are whole blocks, and what 5.1.1 pads them with.

    Every block but the first and the last begins one byte before a block of the data.
    """

    def __init__(self, f: LlvmBuilder) -> None:
        self._f = f
        self.abef, self.cdgh = f.local(_FOUR), f.local(_FOUR)  # the words of the state, as the instructions want them
        self._head, self._tail, self._data = f.local("i8", BLOCK), f.local("i8", BLOCK), ""

    def begin(self, data: str, length: str, tag: str) -> None:
        f, self._data = self._f, data
        a, b, c, d, e, g, h, i = _words(_INITIAL)
        f.store(_FOUR, _four(g, e, b, a), self.abef)
        f.store(_FOUR, _four(i, h, d, c), self.cdgh)
        f.store("i8", tag, self._head)
        for at in (0, 16, 32, BLOCK - 1 - 16):
            part = f.do(f"load {_BYTES}, ptr {f.at('i8', data, at)}, align 1")
            f.store(_BYTES, part, f"{f.at('i8', self._head, 1 + at)}, align 1")
        last = f.load("i8", f.at("i8", data, f.do(f"sub i64 {length}, 1")))
        bits = f.do(f"shl i64 {f.do(f'add i64 {length}, 1')}, 3")
        f.store(f"[{BLOCK} x i8]", "zeroinitializer", self._tail)
        f.store("i8", last, self._tail)
        f.store("i8", str(-0x80), f.at("i8", self._tail, 1))
        f.store("i64", f.do(f"call i64 @llvm.bswap.i64(i64 {bits})"), f.at("i8", self._tail, BLOCK - 8))

    def block(self, b: str, last: str) -> str:
        """Where block b lies."""
        f = self._f
        inner = f.at("i8", self._data, f.plus(f.times(b, BLOCK), -1))
        here = f.do(f"select i1 {f.do(f'icmp eq i64 {b}, {last}')}, ptr {self._tail}, ptr {inner}")
        return f.do(f"select i1 {f.do(f'icmp eq i64 {b}, 0')}, ptr {self._head}, ptr {here}")

    def digest(self, to: str) -> None:
        f = self._f
        abef, cdgh = f.load(_FOUR, self.abef), f.load(_FOUR, self.cdgh)
        for n, lanes in enumerate([(3, 2, 7, 6), (1, 0, 5, 4)]):
            words = f.do(f"shufflevector {_FOUR} {abef}, {_FOUR} {cdgh}, <4 x i32> {_four(*lanes)}")
            f.store(_FOUR, _swapped(f, words), f"{f.at('i8', to, 16 * n)}, align 1")


def _compress(f: LlvmBuilder, lanes: Sequence[_Lane], blocks: Sequence[str]) -> None:
    """A block of each lane into its state (6.2.2), four rounds of all lanes at a time."""
    constants = _words(_CONSTANTS)
    before = [(f.load(_FOUR, lane.abef), f.load(_FOUR, lane.cdgh)) for lane in lanes]
    states, expanded = list(before), [list[str]() for _ in lanes]
    for n in range(0, 64, 4):
        for k, (block, words) in enumerate(zip(blocks, expanded, strict=True)):
            words.append(_next_words(f, block, words))
            states[k] = _four_rounds(f, states[k], words[-1], _four(*constants[n : n + 4]))
    for lane, old, new in zip(lanes, before, states, strict=True):
        f.store(_FOUR, f.do(f"add {_FOUR} {old[0]}, {new[0]}"), lane.abef)
        f.store(_FOUR, f.do(f"add {_FOUR} {old[1]}, {new[1]}"), lane.cdgh)


def _next_words(f: LlvmBuilder, block: str, before: Sequence[str]) -> str:
    """The next four of the words W_t of 6.2.2: those of the block, then made of the sixteen before."""
    if len(before) < 4:
        return _swapped(f, f.do(f"load {_FOUR}, ptr {f.at('i8', block, 16 * len(before))}, align 1"))
    m1, m2, m3, m4 = before[:-5:-1]
    some = _instruction(f, "msg1", m4, m3)
    seventh = f.do(f"shufflevector {_FOUR} {m2}, {_FOUR} {m1}, <4 x i32> {_four(1, 2, 3, 4)}")
    return _instruction(f, "msg2", f.do(f"add {_FOUR} {some}, {seventh}"), m1)


def _four_rounds(f: LlvmBuilder, state: tuple[str, str], words: str, constants: str) -> tuple[str, str]:
    abef, cdgh = state
    first = f.do(f"add {_FOUR} {words}, {constants}")
    second = f.do(f"shufflevector {_FOUR} {first}, {_FOUR} poison, <4 x i32> {_four(2, 3, 0, 0)}")
    middle = _instruction(f, "rnds2", cdgh, abef, first)
    return _instruction(f, "rnds2", abef, middle, second), middle


def _instruction(f: LlvmBuilder, name: str, *operands: str) -> str:
    return f.do(f"call {_FOUR} @llvm.x86.sha256{name}({', '.join(f'{_FOUR} {operand}' for operand in operands)})")


def _swapped(f: LlvmBuilder, words: str) -> str:
    """Words with their bytes in the other order: SHA-256's are big-endian."""
    raw = f.do(f"bitcast {_FOUR} {words} to {_BYTES}")
    order = ", ".join(f"i32 {n ^ 3}" for n in range(16))
    return f.do(
        f"bitcast {_BYTES} {f.do(f'shufflevector {_BYTES} {raw}, {_BYTES} poison, <16 x i32> <{order}>')} to {_FOUR}"
    )


def _words(text: str) -> list[int]:
    """Words as LLVM takes them: signed."""
    return [int.from_bytes(bytes.fromhex(word), signed=True) for word in text.split()]


def _four(*numbers: int) -> str:
    return f"<{', '.join(f'i32 {number}' for number in numbers)}>"
