"""Triton source as text: coordinates, reads through views, and the programs of maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Final

from offchain.ir.graph import Input, Node, View
from offchain.ir.legality import program_types
from offchain.ir.primitives import DType, Op
from offchain.ir.program import signed

_LONG: Final = (1 << 31) - (1 << 20)  # from here on numbers take 64 bits: coordinates of a last block go a bit further

_OPERATIONS: Final[dict[Op, str]] = {
    Op.ADD: "{0} + {1}",
    Op.SUB: "{0} - {1}",
    Op.MUL: "{0} * {1}",
    Op.DIV: "tl.div_rn({0}, {1})",
    Op.SQRT: "tl.sqrt_rn({0})",
    Op.NEG: "device.neg({0})",
    Op.ABS: "device.absolute({0})",
    Op.RINT: "device.rint({0})",
    Op.LDEXP: "device.ldexp({0}, {1})",
    Op.EQ: "({0} == {1}).to(tl.int32)",
    Op.LT: "({0} < {1}).to(tl.int32)",
    Op.LE: "({0} <= {1}).to(tl.int32)",
    Op.TO_INT: "device.to_int({0})",
    Op.TO_FLOAT: "{0}.to(tl.float32)",
    Op.BITS: "device.canonical_bits({0})",
    Op.FROM_BITS: "device.real({0})",
    Op.IADD: "tl.add({0}, {1}, sanitize_overflow=False)",
    Op.ISUB: "tl.sub({0}, {1}, sanitize_overflow=False)",
    Op.IMUL: "tl.mul({0}, {1}, sanitize_overflow=False)",
    Op.IAND: "{0} & {1}",
    Op.IOR: "{0} | {1}",
    Op.IXOR: "{0} ^ {1}",
    Op.SHL: "{0} << ({1} & 31)",
    Op.SHR: "device.shift_right_logical({0}, {1})",
    Op.SAR: "{0} >> ({1} & 31)",
    Op.IEQ: "({0} == {1}).to(tl.int32)",
    Op.ILT: "({0} < {1}).to(tl.int32)",
    Op.SELECT: "tl.where({0} != 0, {1}, {2})",
}


def power_above(n: int) -> int:
    """The least power of two that is at least n."""
    return 1 << max(n - 1, 0).bit_length()


def reach(view: View, shape: Sequence[int]) -> int:
    """A bound on every number on the way to an address: far coordinates may have large terms in a small tensor."""
    return view.settled().reach(shape)


class KernelText:
    """The body of a kernel under construction. Values are names; `let` gives a new one to an expression."""

    def __init__(self, *numbers: int) -> None:
        """`numbers` are bounds on coordinates and addresses: large ones take 64 bits."""
        self.lines: list[str] = []
        self._wide = ".to(tl.int64)" if max(numbers) >= _LONG else ""
        self._names = 0
        self._depth = 1

    def do(self, line: str) -> None:
        self.lines.append("    " * self._depth + line)

    def let(self, value: str, stem: str = "v") -> str:
        self._names += 1
        name = f"{stem}{self._names}"
        self.do(f"{name} = {value}")
        return name

    @contextmanager
    def loop(self, count: int) -> Iterator[str]:
        self._names += 1
        name = f"n{self._names}"
        self.do(f"for {name} in range(0, {count}):")
        self._depth += 1
        yield name
        self._depth -= 1

    # --- places -------------------------------------------------------------------------------------------------------

    def block(self, axis: int, size: int, number: str = "0", each: int = 1) -> str:
        """`size` neighbouring indices: block `number` of the `each` that a program of the grid has along an axis."""
        first = f"tl.program_id({axis}){self._wide} * {each} + {number}"
        return self.let(f"({first}) * {size} + tl.arange(0, {size})", "i")

    def widened(self, value: str) -> str:
        """A coordinate that was read from memory, as wide as the others."""
        return f"{value}{self._wide}"

    def split(self, index: str, shape: Sequence[int]) -> list[str]:
        """Row-major coordinates of a flat index."""
        coords = []
        for d, size in enumerate(shape):
            inner = prod(shape[d + 1 :])
            quotient = index if inner == 1 else f"{index} // {inner}"
            coords.append(self.let(quotient if d == 0 else f"({quotient}) % {size}", "c"))
        return coords

    def address(self, view: View, coords: Sequence[str], shape: Sequence[int], index: str) -> tuple[str, list[str]]:
        """The flat index that a view reads, as a block like `index`, and the conditions under which it reads."""
        view = view.settled()
        terms, inside = [f"{index} * 0 + {view.offset}"], []
        for axis, x, size in zip(view.axes, coords, shape, strict=True):
            if axis.stride:
                terms.append(f"{x} * {axis.stride}")
            if (axis.lo, axis.hi) != (0, size):
                inside.append(f"({x} >= {axis.lo}) & ({x} < {axis.hi})")
        return self.let(" + ".join(terms), "a"), inside

    def load(self, base: str, address: str, *conditions: str) -> str:
        """The value at an address; 0 where a condition does not hold."""
        return self.let(f"tl.load({base} + {address}, mask={' & '.join(conditions)}, other=0)")

    def read(self, item: Input, base: str, coords: Sequence[str], shape: Sequence[int], index: str, live: str) -> str:
        address, inside = self.address(item.view, coords, shape, index)
        return self.load(base, address, live, *inside)

    # --- programs -----------------------------------------------------------------------------------------------------

    def program(self, node: Node, coords: Sequence[str], index: str, live: str) -> str:
        """The value of a map's program, whose inputs are x0, x1, …. A NaN is canonical only where its bits are seen."""
        values: list[str] = []
        for instr, kind in zip(node.program, program_types(node), strict=True):
            if instr.op is Op.INPUT:
                values.append(self.read(node.inputs[instr.a], f"x{instr.a}", coords, node.shape, index, live))
            elif instr.op is Op.INDEX:
                values.append(self.let(f"{coords[instr.a]}.to(tl.int32)"))
            elif instr.op is Op.STEP:
                values.append(self.let("tl.load(step)"))
            elif instr.op in (Op.CONST_F32, Op.CONST_I32):
                word = f"tl.full([1], {signed(instr.word)}, tl.int32)"
                values.append(self.let(f"device.real({word})" if kind is DType.F32 else word))
            else:
                values.append(self.let(_OPERATIONS[instr.op].format(*(values[arg] for arg in instr.args))))
        return values[-1]
