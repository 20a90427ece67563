"""The primitives of the step graph in LLVM's text.

Floating-point instructions carry no flags, so each is exactly one IEEE-754 operation. The exception are sums of
integers held in doubles (`reassoc`), where order cannot change a bit.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from offchain.errors import IllegalGraph
from offchain.ir.graph import Input, Node, View
from offchain.ir.legality import program_types
from offchain.ir.primitives import CANONICAL_NAN, DType, Op
from offchain.ir.program import as_float, signed
from offchain.native.builder import Coords, LlvmBuilder

LLVM_TYPES: Final = {DType.F32: "float", DType.I32: "i32"}
MAGNITUDE: Final = 0x7FFFFFFF

_OPERATIONS: Final[dict[Op, str]] = {  # one instruction each; what needs several is a method of Function
    Op.ADD: "fadd float {0}, {1}",
    Op.SUB: "fsub float {0}, {1}",
    Op.MUL: "fmul float {0}, {1}",
    Op.DIV: "fdiv float {0}, {1}",
    Op.NEG: "fneg float {0}",
    Op.SQRT: "call float @llvm.sqrt.f32(float {0})",
    Op.ABS: "call float @llvm.fabs.f32(float {0})",
    Op.RINT: "call float @llvm.roundeven.f32(float {0})",
    Op.TO_INT: "call i32 @llvm.fptosi.sat.i32.f32(float {0})",
    Op.TO_FLOAT: "sitofp i32 {0} to float",
    Op.FROM_BITS: "bitcast i32 {0} to float",
    Op.IADD: "add i32 {0}, {1}",
    Op.ISUB: "sub i32 {0}, {1}",
    Op.IMUL: "mul i32 {0}, {1}",
    Op.IAND: "and i32 {0}, {1}",
    Op.IOR: "or i32 {0}, {1}",
    Op.IXOR: "xor i32 {0}, {1}",
}
_COMPARISONS: Final[dict[Op, str]] = {
    Op.EQ: "fcmp oeq float {0}, {1}",
    Op.LT: "fcmp olt float {0}, {1}",
    Op.LE: "fcmp ole float {0}, {1}",
    Op.IEQ: "icmp eq i32 {0}, {1}",
    Op.ILT: "icmp slt i32 {0}, {1}",
}
_SHIFTS: Final[dict[Op, str]] = {Op.SHL: "shl", Op.SHR: "lshr", Op.SAR: "ashr"}


@dataclass(frozen=True)
class Scale:
    """Factors that bring an operand to integers in the type `kind`, and the double that brings a sum back: NaN where
    the exponent is 129.
    """

    kind: str
    factors: tuple[str, ...]
    back: str


class Function(LlvmBuilder):
    """A function of a kernel, that computes elements of tensors."""

    def address(self, view: View, coords: Coords, shape: Sequence[int]) -> tuple[str | int, str | None]:
        """Flat index that a view reads, and the condition under which it does (None: always)."""
        view = view.settled()  # no coordinate that is not read has a stride that leads out of the source
        index: str | int = view.offset
        inside: str | None = None
        for axis, x, size in zip(view.axes, coords, shape, strict=True):
            index = self.plus(index, self.times(x, axis.stride))
            if (axis.lo, axis.hi) != (0, size):
                moved = self.plus(x, -axis.lo)
                here = self.do(f"icmp ult i64 {moved}, {axis.hi - axis.lo}")
                inside = here if inside is None else self.do(f"and i1 {inside}, {here}")
        return index, inside

    def read(self, item: Input, base: str, coords: Coords, shape: Sequence[int], valid: str | None = None) -> str:
        """What an input reads at these coordinates; 0 where that is outside its range, or `valid` is false."""
        kind = LLVM_TYPES[item.dtype]
        index, inside = self.address(item.view, coords, shape)
        if valid is not None:
            inside = valid if inside is None else self.do(f"and i1 {inside}, {valid}")
        if inside is None:
            return self.load(kind, self.at(kind, base, index))
        index = self.do(f"select i1 {inside}, i64 {index}, i64 0")  # any element that exists
        value = self.load(kind, self.at(kind, base, index))
        return self.do(f"select i1 {inside}, {kind} {value}, {kind} {literal(item.dtype, 0)}")

    # --- words ----------------------------------------------------------------------------------------------------

    def canonical(self, x: str) -> str:
        number = self.do(f"fcmp ord float {x}, 0.0")
        return self.do(f"select i1 {number}, float {x}, float {literal(DType.F32, CANONICAL_NAN)}")

    def magnitude(self, x: str) -> str:
        """|x| as an i32 that orders like it."""
        return self.do(f"and i32 {self.do(f'bitcast float {x} to i32')}, {MAGNITUDE}")

    def greatest(self, a: str, b: str) -> str:
        """Of two signed words."""
        return self.do(f"call i32 @llvm.smax.i32(i32 {a}, i32 {b})")

    def order_key(self, x: str) -> str:
        """The order of `max` for a float, as a signed word; its own inverse on words (protocol, section 2)."""
        return self.swapped(self.do(f"bitcast float {x} to i32"))

    def swapped(self, word: str) -> str:
        sign = self.do(f"ashr i32 {word}, 31")
        return self.do(f"xor i32 {word}, {self.do(f'and i32 {sign}, {MAGNITUDE}')}")

    def exponent(self, magnitude: str) -> str:
        """e(x), i32, of a magnitude."""
        biased = self.do(f"lshr i32 {magnitude}, 23")
        zeros = self.do(f"call i32 @llvm.ctlz.i32(i32 {magnitude}, i1 false)")
        small = self.do(f"sub i32 {32 - 149}, {zeros}")
        normal = self.do(f"sub i32 {biased}, 126")
        subnormal = self.do(f"icmp eq i32 {biased}, 0")
        return self.do(f"select i1 {subnormal}, i32 {small}, i32 {normal}")

    def power_f64(self, n: str) -> str:
        """2^n for -1022 <= n <= 1023."""
        wide = self.do(f"sext i32 {n} to i64")
        biased = self.do(f"add i64 {wide}, 1023")
        return self.do(f"bitcast i64 {self.do(f'shl i64 {biased}, 52')} to double")

    def power_f32(self, n: str) -> str:
        """2^n for -126 <= n <= 127."""
        biased = self.do(f"add i32 {n}, 127")
        return self.do(f"bitcast i32 {self.do(f'shl i32 {biased}, 23')} to float")

    def ldexp(self, x: str, n: str) -> str:
        """x·2^n with one rounding: the product is exact in binary64, whose clamp of n changes no result."""
        low = self.do(f"call i32 @llvm.smax.i32(i32 {n}, i32 -400)")
        power = self.power_f64(self.do(f"call i32 @llvm.smin.i32(i32 {low}, i32 400)"))
        wide = self.do(f"fpext float {x} to double")
        return self.do(f"fptrunc double {self.do(f'fmul double {wide}, {power}')} to float")

    def quantised(self, x: str, scale: Scale, bits: int) -> str:
        """quant(x, e, p) for |x| < 2^e, as a `scale.kind` that holds the integer. Means nothing where e is 129."""
        if scale.kind == "float":  # each product is exact, or so small that it rounds to 0 with or without lost bits
            q = self.do(f"fmul float {self.do(f'fmul float {x}, {scale.factors[0]}')}, {scale.factors[1]}")
        else:
            q = self.do(f"fmul double {self.do(f'fpext float {x} to double')}, {scale.factors[0]}")
        suffix = "f32" if scale.kind == "float" else "f64"
        q = self.do(f"call {scale.kind} @llvm.roundeven.{suffix}({scale.kind} {q})")
        limit = float(2 ** (bits - 1) - 1)
        for order, bound in (("olt", limit), ("ogt", -limit)):
            word = struct.unpack("<Q", struct.pack("<d", bound))[0]
            within = self.do(f"fcmp {order} {scale.kind} {q}, 0x{word:016X}")
            q = self.do(f"select i1 {within}, {scale.kind} {q}, {scale.kind} 0x{word:016X}")
        return q

    def scale(self, magnitude: str, bits: int, kind: str) -> Scale:
        """What a greatest magnitude scales by."""
        e = self.exponent(magnitude)
        shift = self.do(f"sub i32 {bits - 1}, {e}")
        factors: tuple[str, ...] = ()
        if kind == "float":
            half = self.do(f"ashr i32 {shift}, 1")
            factors = (self.power_f32(half), self.power_f32(self.do(f"sub i32 {shift}, {half}")))
        else:
            factors = (self.power_f64(shift),)
        back = self.power_f64(self.do(f"sub i32 0, {shift}"))
        finite = self.do(f"icmp slt i32 {e}, 129")
        return Scale(kind, factors, self.do(f"select i1 {finite}, double {back}, double 0x7FF8000000000000"))

    def total(self, kind: str, base: str, index: str | int, slices: int, apart: int) -> str:
        """The double sum of an element's integer totals of that kind."""
        value = "0.0"
        for n in range(slices):
            part = self.load(kind, self.at(kind, base, self.plus(index, n * apart)))
            if kind != "double":
                part = self.do(f"{'sitofp' if kind == 'i32' else 'fpext'} {kind} {part} to double")
            value = self.do(f"fadd double {value}, {part}")
        return value

    def rounded(self, total: str, *backs: str) -> str:
        """The element that an exact sum makes. Adding +0 makes a zero sum +0, as an integer zero is."""
        total = self.do(f"fadd double {total}, 0.0")
        for back in backs:
            total = self.do(f"fmul double {total}, {back}")
        return self.canonical(self.do(f"fptrunc double {total} to float"))

    # --- programs -------------------------------------------------------------------------------------------------

    def program(self, node: Node, inputs: Sequence[str], coords: Coords, step: str) -> str:
        """The value of a map's program. A NaN is canonical only where something sees its bits."""
        values: list[str] = []
        for instr, kind in zip(node.program, program_types(node), strict=True):
            if instr.op is Op.INPUT:
                values.append(inputs[instr.a])
            elif instr.op is Op.INDEX:
                x = coords[instr.a]
                values.append(str(x) if isinstance(x, int) else self.do(f"trunc i64 {x} to i32"))
            elif instr.op is Op.STEP:
                values.append(step)
            elif instr.op in (Op.CONST_F32, Op.CONST_I32):
                values.append(literal(kind, instr.word))
            else:
                values.append(self._operation(instr.op, [values[arg] for arg in instr.args], LLVM_TYPES[kind]))
        return values[-1]

    def _operation(self, op: Op, args: list[str], kind: str) -> str:
        if op in _OPERATIONS:
            return self.do(_OPERATIONS[op].format(*args))
        if op in _COMPARISONS:
            return self.do(f"zext i1 {self.do(_COMPARISONS[op].format(*args))} to i32")
        if op in _SHIFTS:
            return self.do(f"{_SHIFTS[op]} i32 {args[0]}, {self.do(f'and i32 {args[1]}, 31')}")
        if op is Op.BITS:
            return self.do(f"bitcast float {self.canonical(args[0])} to i32")
        if op is Op.LDEXP:
            return self.ldexp(*args)
        if op is Op.SELECT:
            chosen = self.do(f"icmp ne i32 {args[0]}, 0")
            return self.do(f"select i1 {chosen}, {kind} {args[1]}, {kind} {args[2]}")
        raise IllegalGraph(f"primitive {op.name.lower()} has no machine code")


def literal(dtype: DType, word: int) -> str:
    """A constant from its unsigned 32-bit pattern; LLVM writes a float as the double of the same value."""
    if dtype is DType.I32:
        return str(signed(word))
    wide = struct.unpack("<Q", struct.pack("<d", float(as_float(word))))[0]
    return f"0x{0x7FF8000000000000 if word == CANONICAL_NAN else wide:016X}"
