"""Builds `map` programs: values with operators, duplicate elimination, constant folding, integer bounds.

The bounds remove comparisons with only one possible result (`label != -100`), and allow torch's int64 arithmetic to be
lowered to int32 where it provably cannot overflow.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from offchain.errors import Unsupported
from offchain.ir.primitives import TABLE, DType, Instr, Op, Program

F32, I32 = DType.F32, DType.I32
Bounds = tuple[int, int]
FULL: Final[Bounds] = (-(1 << 31), (1 << 31) - 1)
BOOL: Final[Bounds] = (0, 1)
Number = int | float


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a program under construction. Operators emit instructions of the value's own type."""

    program: ProgramBuilder
    id: int
    dtype: DType
    bounds: Bounds = FULL

    def _pair(self, f: Op, i: Op, other: Value | Number) -> Value:
        return self.program.emit(f if self.dtype is F32 else i, self, self.program.like(self, other))

    def __add__(self, other: Value | Number) -> Value:
        return self._pair(Op.ADD, Op.IADD, other)

    def __sub__(self, other: Value | Number) -> Value:
        return self._pair(Op.SUB, Op.ISUB, other)

    def __mul__(self, other: Value | Number) -> Value:
        return self._pair(Op.MUL, Op.IMUL, other)

    def __radd__(self, other: Number) -> Value:
        return self.program.like(self, other) + self

    def __rsub__(self, other: Number) -> Value:
        return self.program.like(self, other) - self

    def __rmul__(self, other: Number) -> Value:
        return self.program.like(self, other) * self

    def __truediv__(self, other: Value | Number) -> Value:
        return self.program.emit(Op.DIV, self, self.program.like(self, other))

    def __rtruediv__(self, other: Number) -> Value:
        return self.program.like(self, other) / self

    def __neg__(self) -> Value:
        return self.program.emit(Op.NEG, self) if self.dtype is F32 else 0 - self

    def __and__(self, other: Value | int) -> Value:
        return self.program.emit(Op.IAND, self, self.program.like(self, other))

    def __or__(self, other: Value | int) -> Value:
        return self.program.emit(Op.IOR, self, self.program.like(self, other))

    def __xor__(self, other: Value | int) -> Value:
        return self.program.emit(Op.IXOR, self, self.program.like(self, other))

    def __lshift__(self, other: Value | int) -> Value:
        return self.program.emit(Op.SHL, self, self.program.like(self, other))

    def __rshift__(self, other: Value | int) -> Value:
        """Arithmetic shift."""
        return self.program.emit(Op.SAR, self, self.program.like(self, other))

    def shr(self, other: Value | int) -> Value:
        """Logical shift."""
        return self.program.emit(Op.SHR, self, self.program.like(self, other))

    def eq(self, other: Value | Number) -> Value:
        return self._pair(Op.EQ, Op.IEQ, other)

    def lt(self, other: Value | Number) -> Value:
        return self._pair(Op.LT, Op.ILT, other)

    def gt(self, other: Value | Number) -> Value:
        return self.program.like(self, other).lt(self)

    def le(self, other: Value | Number) -> Value:
        if self.dtype is F32:
            return self.program.emit(Op.LE, self, self.program.like(self, other))
        return self.gt(other).negated()

    def ge(self, other: Value | Number) -> Value:
        return self.program.like(self, other).le(self)

    def ne(self, other: Value | Number) -> Value:
        return self.eq(other).negated()

    def negated(self) -> Value:
        """Logical not of a 0 or 1."""
        return self ^ 1

    def truth(self) -> Value:
        """1 where the value is not zero, else 0. NaN is not zero."""
        return self if self.dtype is I32 and self.bounds == BOOL else self.ne(0)

    def where(self, yes: Value | Number, no: Value | Number) -> Value:
        """`self != 0 ? yes : no`. At least one of the two is a Value; it gives the type."""
        model = yes if isinstance(yes, Value) else no
        if not isinstance(model, Value):
            raise TypeError("where needs at least one value")
        like = self.program.like
        return self.program.emit(Op.SELECT, self, like(model, yes), like(model, no))

    def abs(self) -> Value:
        return self.program.emit(Op.ABS, self)

    def sqrt(self) -> Value:
        return self.program.emit(Op.SQRT, self)

    def rint(self) -> Value:
        return self.program.emit(Op.RINT, self)

    def ldexp(self, exponent: Value) -> Value:
        return self.program.emit(Op.LDEXP, self, exponent)

    def to_int(self) -> Value:
        return self.program.emit(Op.TO_INT, self)

    def to_float(self) -> Value:
        return self.program.emit(Op.TO_FLOAT, self)

    def bits(self) -> Value:
        return self.program.emit(Op.BITS, self)

    def from_bits(self) -> Value:
        return self.program.emit(Op.FROM_BITS, self)

    def cast(self, dtype: DType) -> Value:
        """The same number in another type (float to int truncates)."""
        if dtype is self.dtype:
            return self
        return self.to_float() if dtype is F32 else self.to_int()


class ProgramBuilder:
    """Collects instructions; equal instructions are the same value."""

    def __init__(self, shape: tuple[int, ...], steps: int = 1 << 31, checked: bool = False) -> None:
        self.shape, self.steps, self.checked = shape, steps, checked
        self.instrs: list[Instr] = []
        self._values: dict[Instr, Value] = {}

    def input(self, number: int, dtype: DType, bounds: Bounds = FULL) -> Value:
        return self._append(Instr(Op.INPUT, number), dtype, bounds)

    def index(self, axis: int) -> Value:
        return self._append(Instr(Op.INDEX, axis), I32, (0, self.shape[axis] - 1))

    def step(self) -> Value:
        return self._append(Instr(Op.STEP), I32, (0, self.steps - 1))

    def real(self, value: float) -> Value:
        return self.const(literal(F32, value))

    def whole(self, value: int) -> Value:
        return self.const(literal(I32, value))

    def const(self, instr: Instr) -> Value:
        if instr.op is Op.CONST_F32:
            return self._append(instr, F32, FULL)
        return self._append(instr, I32, (signed(instr.word), signed(instr.word)))

    def like(self, model: Value, other: Value | Number) -> Value:
        """A number as a constant of the model's type; values pass."""
        if isinstance(other, Value):
            return other
        return self.real(other) if model.dtype is F32 else self.whole(int(other))

    def emit(self, op: Op, *args: Value) -> Value:
        """Append an instruction, unless an earlier value is provably the same word."""
        bounds = _bounds(op, args)
        if not FULL[0] <= bounds[0] <= bounds[1] <= FULL[1]:
            if self.checked:
                reach = max(bounds, key=abs)
                raise Unsupported(f"64-bit integers that may reach {reach} do not fit int32; use smaller, or float32")
            bounds = FULL
        same = self._simplify(op, args, bounds)
        if same is not None:
            return same
        ids = [arg.id for arg in args] + [0] * (3 - len(args))
        return self._append(Instr(op, *ids), TABLE[op].result or args[1].dtype, bounds)

    def repeat(self, program: Program, read: Callable[[int], Value], index: Callable[[int], Value]) -> Value:
        """Append a whole program, its inputs written by `read(number)`, its coordinates by `index(axis)`."""
        values: list[Value] = []
        for instr in program:
            if instr.op is Op.INPUT:
                values.append(read(instr.a))
            elif instr.op is Op.INDEX:
                values.append(index(instr.a))
            elif instr.op is Op.STEP:
                values.append(self.step())
            elif instr.op in (Op.CONST_F32, Op.CONST_I32):
                values.append(self.const(instr))
            else:
                values.append(self.emit(instr.op, *(values[arg] for arg in instr.args)))
        return values[-1]

    def finish(self, result: Value) -> Program:
        """The live instructions, in order; the last one is the result."""
        live, todo = set(), [result.id]
        while todo:
            at = todo.pop()
            if at not in live:
                live.add(at)
                todo += self.instrs[at].args
        order = sorted(live)
        new = {old: number for number, old in enumerate(order)}
        return tuple(_renumber(self.instrs[old], new) for old in order)

    def instr(self, value: Value) -> Instr:
        return self.instrs[value.id]

    def _append(self, instr: Instr, dtype: DType, bounds: Bounds) -> Value:
        if instr not in self._values:
            self._values[instr] = Value(self, len(self.instrs), dtype, bounds)
            self.instrs.append(instr)
        return self._values[instr]

    def _constant(self, value: Value) -> Number | None:
        instr = self.instr(value)
        if instr.op is Op.CONST_F32:
            return float(as_float(instr.word))
        return signed(instr.word) if instr.op is Op.CONST_I32 else None

    def _simplify(self, op: Op, args: tuple[Value, ...], bounds: Bounds) -> Value | None:
        result = TABLE[op].result
        if result is I32 and bounds[0] == bounds[1]:
            return self.whole(bounds[0])
        numbers = [self._constant(arg) for arg in args]
        if op in _FOLD and all(number is not None for number in numbers):
            with np.errstate(all="ignore"):
                return self.real(float(_FOLD[op](*(np.float32(n) for n in numbers))))
        if op is Op.TO_FLOAT and numbers[0] is not None:
            return self.real(float(np.float32(numbers[0])))
        if op is Op.TO_INT and numbers[0] is not None and abs(numbers[0]) < 1 << 31:
            return self.whole(int(numbers[0]))
        if op is Op.SELECT:
            return self._simplify_select(args)
        return self._identity(op, args, numbers)

    def _simplify_select(self, args: tuple[Value, ...]) -> Value | None:
        condition, yes, no = args
        if yes.id == no.id or condition.bounds[0] > 0 or condition.bounds[1] < 0:
            return yes
        return no if condition.bounds == (0, 0) else None

    def _identity(self, op: Op, args: tuple[Value, ...], numbers: list[Number | None]) -> Value | None:
        """x·1, x/1, x−0, x+0 (integers), masks that keep every bit. (x+0 in floats would lose −0.)"""
        right = numbers[-1]
        if op is Op.MUL and numbers[0] == 1:
            return args[1]
        if op in (Op.MUL, Op.DIV) and right == 1:
            return args[0]
        if op is Op.SUB and right == 0 and not np.signbit(right):
            return args[0]
        if op in (Op.IADD, Op.ISUB, Op.SHL, Op.SHR, Op.SAR, Op.IOR, Op.IXOR) and right == 0:
            return args[0]
        if op is Op.IADD and numbers[0] == 0:
            return args[1]
        if op is Op.IMUL and 1 in numbers:
            return args[1 - numbers.index(1)]
        if op is Op.IAND and isinstance(right, int):
            return self._mask(args[0], right)
        return None

    def _mask(self, value: Value, mask: int) -> Value | None:
        if mask > 0 and mask & (mask + 1) == 0:
            if value.bounds[0] >= 0 and value.bounds[1] <= mask:
                return value
            shift = self.instr(value)
            if shift.op is Op.SAR:
                by = signed(self.instrs[shift.b].word) if self.instrs[shift.b].op is Op.CONST_I32 else 0
                if 0 < by < 32 and mask == (1 << (32 - by)) - 1:
                    shifted, count = (self._values[self.instrs[i]] for i in (shift.a, shift.b))
                    return self.emit(Op.SHR, shifted, count)
        return None


def literal(dtype: DType, value: Number) -> Instr:
    """A constant instruction; floats round to binary32, integers must fit."""
    if dtype is F32:
        with np.errstate(over="ignore"):
            word = struct.unpack("<I", np.float32(value).tobytes())[0]
        return Instr.const(F32, 0x7FC00000 if value != value else word)
    if not FULL[0] <= value < 1 << 32:
        raise Unsupported(f"the integer {value} does not fit int32")
    return Instr.const(I32, int(value) & 0xFFFFFFFF)


def signed(word: int) -> int:
    return word - (1 << 32) if word >> 31 else word


def as_float(word: int) -> np.float32:
    return np.float32(struct.unpack("<f", struct.pack("<I", word))[0])


def _renumber(instr: Instr, new: dict[int, int]) -> Instr:
    count = len(TABLE[instr.op].operands)
    if not count:
        return instr
    fields = [new[arg] for arg in instr.args] + [0] * (3 - count)
    return Instr(instr.op, *fields)


_FOLD: Final = {
    Op.ADD: np.add,
    Op.SUB: np.subtract,
    Op.MUL: np.multiply,
    Op.DIV: np.divide,
    Op.SQRT: np.sqrt,
    Op.NEG: np.negative,
}


_EXACT: Final = {Op.IAND: operator.and_, Op.IOR: operator.or_, Op.IXOR: operator.xor}


def _bounds(op: Op, args: tuple[Value, ...]) -> Bounds:
    """Bounds of an integer result before wrapping (FULL for floats)."""
    if op is Op.SELECT and args[1].dtype is I32:
        (a, b), (c, d) = args[1].bounds, args[2].bounds
        return min(a, c), max(b, d)
    if op in (Op.EQ, Op.LT, Op.LE):
        return BOOL
    if TABLE[op].operands != (I32, I32):
        return FULL
    (a, b), (c, d) = args[0].bounds, args[1].bounds
    if op in (Op.IADD, Op.ISUB, Op.IMUL):
        return _arithmetic(op, a, b, c, d)
    if op is Op.IEQ:
        return (0, 0) if b < c or d < a else (1, 1) if a == b == c == d else BOOL
    if op is Op.ILT:
        return (1, 1) if b < c else (0, 0) if d <= a else BOOL
    return _bitwise(op, a, b, c, d)


def _arithmetic(op: Op, a: int, b: int, c: int, d: int) -> Bounds:
    if op is Op.IADD:
        return a + c, b + d
    if op is Op.ISUB:
        return a - d, b - c
    products = [a * c, a * d, b * c, b * d]
    return min(products), max(products)


def _bitwise(op: Op, a: int, b: int, c: int, d: int) -> Bounds:
    if a == b and c == d and op in _EXACT:
        value = signed(_EXACT[op](a, c) & 0xFFFFFFFF)
        return value, value
    if op is Op.IAND and (a >= 0 or c >= 0):
        return 0, min(high for low, high in ((a, b), (c, d)) if low >= 0)
    if op in (Op.IOR, Op.IXOR) and a >= 0 and c >= 0:
        return 0, (1 << max(b, d).bit_length()) - 1
    if op in (Op.SHL, Op.SHR, Op.SAR) and c == d:
        by = c & 31
        if op is Op.SHL:
            return a << by, b << by
        if op is Op.SAR or a >= 0:
            return a >> by, b >> by
        return (0, (1 << (32 - by)) - 1) if by else FULL
    return FULL
