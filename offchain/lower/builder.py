"""Makes the nodes of a step graph from lazy tensors. Equal nodes are made once; views and constants need no node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from math import prod
from typing import Any, TypeVar

import numpy as np

from offchain.errors import Unsupported
from offchain.ir.arrays import Array, dtype_of
from offchain.ir.graph import Input, Node, Source
from offchain.ir.kinds import MAX_INPUTS, Kind
from offchain.ir.legality import most_bits
from offchain.ir.primitives import MAX_PROGRAM, DType, Instr, Op, Program
from offchain.ir.program import F32, FULL, I32, Bounds, ProgramBuilder, Value
from offchain.lower.refs import Ref, broadcast

T = TypeVar("T")


@dataclass(frozen=True)
class _Written:
    """What a program became: a `uniform` number, one of its inputs, or a program that `reads` these of its inputs."""

    dtype: DType
    bounds: Bounds
    uniform: Instr | None = None
    program: Program | None = None
    reads: tuple[int, ...] = ()


@dataclass
class GraphBuilder:
    """Nodes and constants of one graph. `bits` is the precision of dots, `steps` bounds the step number."""

    bits: int
    steps: int
    nodes: list[Node] = field(default_factory=list)
    constants: list[Array] = field(default_factory=list)
    _numbers: dict[Node, int] = field(default_factory=dict)
    _written: dict[object, _Written] = field(default_factory=dict)
    _constants: dict[tuple[int, bytes], int] = field(default_factory=dict)

    def constant(self, array: Array) -> Ref:
        """A constant tensor; a single number becomes part of programs."""
        dtype = dtype_of(array)
        if array.size == 1 or (array.size and (array.view(np.int32) == array.view(np.int32).flat[0]).all()):
            return Ref.constant(dtype, array.flat[0].item(), array.shape)
        content = sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data).digest()
        place = self._constants.setdefault((dtype, content), len(self.constants))
        if place == len(self.constants):
            self.constants.append(array.reshape(-1))
        bounds = (int(array.min()), int(array.max())) if dtype is I32 else FULL
        return Ref.whole(Source.CONST, place, dtype, array.shape, bounds)

    def map(self, program: Callable[..., Value], *refs: Ref, checked: bool = False, key: object = None) -> Ref:
        """Elementwise over the common (broadcast) shape; `program` gets one value per tensor.

        `key`: what the program is, where it is always the same. It is then written once for equal operands.
        """
        return self.generate(broadcast(*(ref.shape for ref in refs)), program, *refs, checked=checked, key=key)

    def generate(
        self, shape: tuple[int, ...], program: Callable[..., Value], *refs: Ref, checked: bool = False,
        key: object = None,
    ) -> Ref:  # fmt: skip
        """Like `map`, for a given shape. The program reads coordinates and t from its values' builder.

        With no tensors `program` gets the ProgramBuilder itself.
        """
        wide = [ref.expand(shape) for ref in refs]
        inputs: dict[Input, int] = {}
        for ref in wide:
            if ref.uniform is None:
                inputs.setdefault(ref.input, len(inputs))
        operands = tuple(
            (inputs[ref.input], ref.dtype, ref.bounds) if ref.uniform is None else ref.uniform for ref in wide
        )
        pattern = (key, shape, checked, operands)
        made = self._written.get(pattern) if key is not None else None
        if made is None:
            made = self._write(shape, program, operands, checked)
            self._written |= {pattern: made} if key is not None else {}
        if made.uniform is not None:
            return Ref(made.dtype, shape, made.uniform, bounds=made.bounds)
        tensors = [*inputs]
        if made.program is None:  # the result is one of the operands
            return next(ref for ref in wide if _is(ref, tensors[made.reads[0]]))
        used = tuple(tensors[number] for number in made.reads)
        return self._add(Node(Kind.MAP, made.dtype, shape, used, program=made.program), made.bounds)

    def _write(
        self, shape: tuple[int, ...], program: Callable[..., Value], operands: Sequence[Any], checked: bool
    ) -> _Written:
        builder = ProgramBuilder(shape, self.steps, checked)
        values = [_value(builder, operand) for operand in operands]
        result = program(*values) if operands else program(builder)
        instr = builder.instr(result)
        if instr.op in (Op.CONST_F32, Op.CONST_I32, Op.STEP):
            return _Written(result.dtype, result.bounds, uniform=instr)
        if instr.op is Op.INPUT:
            return _Written(result.dtype, result.bounds, reads=(instr.a,))
        body, reads = compact(builder.finish(result), range(len(operands)))
        _check_limits(len(body), len(reads))
        return _Written(result.dtype, result.bounds, program=body, reads=reads)

    def numbers(self, shape: tuple[int, ...], program: Program, bounds: Bounds) -> Ref:
        """A map that reads no tensor, with exactly this program, which makes integers within `bounds`."""
        return self._add(Node(Kind.MAP, I32, shape, (), program=program), bounds)

    def copy(self, ref: Ref) -> Ref:
        """The same elements as a whole, row-major node."""
        if ref.is_whole and ref.source is Source.NODE:
            return ref
        builder = ProgramBuilder(ref.shape, self.steps)
        inputs: dict[Input, int] = {}
        result = _read(builder, ref, inputs)
        program = builder.finish(result)
        return self._add(Node(Kind.MAP, ref.dtype, ref.shape, tuple(inputs), program=program), ref.bounds)

    def reshape(self, ref: Ref, shape: tuple[int, ...]) -> Ref:
        """Row-major reshape, by a view where strides allow, else by a copy."""
        direct = ref.reshape(shape)
        if direct is not None:
            return direct
        through = self.copy(ref).reshape(shape)
        if through is None:
            raise AssertionError("a whole tensor has every shape")
        return through

    def dot(self, a: Ref, b: Ref, bits: int | None = None) -> Ref:
        """Σ_k a·b over the last axis of both (other axes broadcast), at the job's bits unless others are given."""
        shape = broadcast(a.shape[:-1], b.shape[:-1])
        extent = a.shape[-1]
        a, b = (self.solid(ref.expand((*shape, extent))) for ref in (a, b))
        bits = min(bits or self.bits, most_bits(Kind.DOT, extent))
        return self._add(Node(Kind.DOT, F32, shape, (a.input, b.input), extent, bits))

    def sum(self, x: Ref, dims: Sequence[int]) -> Ref:
        """Sum over some axes, which disappear."""
        x = self._along(x, dims)
        extent = x.shape[-1]
        if x.uniform is not None and extent <= 1 << 24:  # exact in binary32, so one rounding as in a sum
            return self.map(lambda v: v * float(extent), replace(x, shape=x.shape[:-1]))
        if extent == 1:
            return x.squeeze([len(x.shape) - 1])
        x = self.solid(x)
        bits = most_bits(Kind.SUM, extent)
        return self._add(Node(Kind.SUM, F32, x.shape[:-1], (x.input,), extent, bits))

    def max(self, x: Ref, dims: Sequence[int]) -> Ref:
        """Maximum over some axes, which disappear; NaN wins, +0 is above −0."""
        x = self._along(x, dims)
        if x.uniform is not None or x.shape[-1] == 1:
            return x.slice(len(x.shape) - 1, 0, 1).squeeze([len(x.shape) - 1])
        return self._add(Node(Kind.MAX, x.dtype, x.shape[:-1], (x.input,), x.shape[-1]), x.bounds)

    def gather(self, table: Ref, index: Ref) -> Ref:
        """`table[d, index[d]]` along the last axis of `table`; 0 where the index is outside."""
        shape = broadcast(table.shape[:-1], index.shape)
        extent = table.shape[-1]
        inside = index.bounds[0] >= 0 and index.bounds[1] < extent
        if inside and table.uniform is not None:
            return replace(table, shape=shape)
        table = self.solid(table.expand((*shape, extent)))
        index = self.solid(index.expand(shape))
        low, high = table.bounds
        bounds = (low, high) if inside else (min(low, 0), max(high, 0))
        node = Node(Kind.GATHER, table.dtype, shape, (table.input, index.input), extent)
        return self._add(node, bounds)

    def scatter_add(self, rows: int, index: Ref, x: Ref) -> Ref:
        """out[v, c…] = Σ_k x[c…, k] where index[k] = v. `index` has one axis, k; k is the last axis of x."""
        extent = x.shape[-1]
        shape = (rows, *x.shape[:-1])
        wide = self.solid(x.expand((*shape, extent)))
        at = self.solid(index).expand((*shape, extent))
        bits = most_bits(Kind.SCATTER_ADD, extent)
        return self._add(Node(Kind.SCATTER_ADD, F32, shape, (wide.input, at.input), extent, bits))

    def solid(self, ref: Ref) -> Ref:
        """The tensor as nodes other than map can read it: a repeated number becomes a node."""
        if ref.uniform is None:
            return ref
        return self.copy(replace(ref, shape=())).expand(ref.shape)

    def _along(self, x: Ref, dims: Sequence[int]) -> Ref:
        """The named axes merged into one, which comes last, in any order: sums and maxima do not depend on it."""
        keep = [i for i in range(len(x.shape)) if i not in dims]
        size = prod(x.shape[i] for i in dims)
        if x.uniform is not None:
            return replace(x, shape=(*(x.shape[i] for i in keep), size))
        order = [*keep, *sorted(dims, key=lambda i: (-abs(x.axes[i].stride), i))]
        shape = (*(x.shape[i] for i in keep), size)
        return self.reshape(x.permute(order), shape)

    def _add(self, node: Node, bounds: Bounds = FULL) -> Ref:
        number = self._numbers.setdefault(node, len(self.nodes))
        if number == len(self.nodes):
            self.nodes.append(node)
        return Ref.whole(Source.NODE, number, node.dtype, node.shape, bounds)


def compact(program: Program, inputs: Sequence[T]) -> tuple[Program, tuple[T, ...]]:
    """The program over only those inputs that it reads, in order of first use."""
    new: dict[int, int] = {}
    body = tuple(Instr(Op.INPUT, new.setdefault(i.a, len(new))) if i.op is Op.INPUT else i for i in program)
    return body, tuple(inputs[old] for old in new)


def _read(builder: ProgramBuilder, ref: Ref, inputs: dict[Input, int]) -> Value:
    if ref.uniform is not None:
        return builder.step() if ref.uniform.op is Op.STEP else builder.const(ref.uniform)
    return builder.input(inputs.setdefault(ref.input, len(inputs)), ref.dtype, ref.bounds)


def _value(builder: ProgramBuilder, operand: Any) -> Value:
    """A number that is the same everywhere, or an input."""
    if isinstance(operand, Instr):
        return builder.step() if operand.op is Op.STEP else builder.const(operand)
    return builder.input(*operand)


def _is(ref: Ref, item: Input) -> bool:
    return ref.uniform is None and ref.input == item


def _check_limits(instructions: int, inputs: int) -> None:
    if instructions > MAX_PROGRAM:
        raise Unsupported(
            f"one operation of {instructions} instructions; a node holds at most {MAX_PROGRAM}, so write it as several"
        )
    if inputs > MAX_INPUTS:
        raise Unsupported(
            f"one operation reads {inputs} tensors; a node reads at most {MAX_INPUTS}, so write it as several"
        )
