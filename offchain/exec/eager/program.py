"""Runs the programs of `map` nodes on whole tensors, one instruction after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

import torch

from offchain.exec.eager import words
from offchain.exec.eager.views import read
from offchain.exec.plan.pieces import cuts
from offchain.ir.graph import Node, View
from offchain.ir.primitives import DType, Instr, Op, Program

Tensor = torch.Tensor

_PRIMITIVES: Final[dict[Op, Callable[..., Tensor]]] = {
    Op.ADD: torch.add,
    Op.SUB: torch.sub,
    Op.MUL: torch.mul,
    Op.DIV: torch.div,
    Op.SQRT: words.sqrt,
    Op.NEG: torch.neg,
    Op.ABS: torch.abs,
    Op.RINT: torch.round,
    Op.LDEXP: words.ldexp,
    Op.EQ: torch.eq,
    Op.LT: torch.lt,
    Op.LE: torch.le,
    Op.TO_INT: words.to_int,
    Op.TO_FLOAT: lambda n: n.float(),
    Op.BITS: lambda x: words.canonical(x).view(torch.int32),
    Op.FROM_BITS: lambda n: n.view(torch.float32),
    Op.IADD: torch.add,
    Op.ISUB: torch.sub,
    Op.IMUL: torch.mul,
    Op.IAND: torch.bitwise_and,
    Op.IOR: torch.bitwise_or,
    Op.IXOR: torch.bitwise_xor,
    Op.SHL: lambda a, n: a << (n & 31),
    Op.SHR: words.shift_right_logical,
    Op.SAR: lambda a, n: a >> (n & 31),
    Op.IEQ: torch.eq,
    Op.ILT: torch.lt,
}


def run_map(node: Node, sources: Sequence[Tensor], t: int, device: torch.device) -> Tensor:
    """The output of a `map`, broadcastable to its shape. A map that selects by a coordinate is computed in pieces."""
    parts = _pieces(node)
    if len(parts) == 1:
        return run_program(node, sources, t, device)
    out = torch.empty(node.shape, dtype=torch.float32 if node.dtype is DType.F32 else torch.int32, device=device)
    for part, view, used in parts:
        value = run_program(part, [sources[number] for number in used], t, device)
        out.as_strided(part.shape, [axis.stride for axis in view.axes], view.offset).copy_(value)
    return out


@lru_cache(maxsize=4096)
def _pieces(node: Node) -> tuple[tuple[Node, View, tuple[int, ...]], ...]:
    """The pieces of a map, the place of each in the map, and the numbers of the sources that its inputs read."""
    numbers = {(item.source, item.index): number for number, item in enumerate(node.inputs)}
    return tuple(
        (part, view, tuple(numbers[item.source, item.index] for item in part.inputs))
        for part, view in cuts(node, View.contiguous(node.shape))
    )


def run_program(node: Node, sources: Sequence[Tensor], t: int, device: torch.device) -> Tensor:
    """The output of a `map`, broadcastable to its shape.

    A NaN keeps whatever payload the device gives it until something can see it: a bit cast, an order, a dump.
    Comparisons stay booleans until something other than a `select` reads them.
    """
    dead = _dead_after(node.program)
    values: list[Tensor | None] = []
    for instr, unread in zip(node.program, dead, strict=True):
        values.append(_value(instr, values, node, sources, t, device))
        for n in unread:
            values[n] = None
    result = values[-1]
    assert result is not None
    return _word(result)


def _value(
    instr: Instr,
    values: Sequence[Tensor | None],
    node: Node,
    sources: Sequence[Tensor],
    t: int,
    device: torch.device,
) -> Tensor:
    if instr.op is Op.INPUT:
        return read(sources[instr.a], node.inputs[instr.a].view, node.shape)
    if instr.op is Op.INDEX:
        ones = [1] * (len(node.shape) - instr.a - 1)
        return torch.arange(node.shape[instr.a], device=device).to(torch.int32).reshape(-1, *ones)
    if instr.op is Op.STEP:
        return _constant(DType.I32, t & 0xFFFFFFFF, device)
    if instr.op in (Op.CONST_F32, Op.CONST_I32):
        return _constant(DType.F32 if instr.op is Op.CONST_F32 else DType.I32, instr.word, device)
    args = [value for value in (values[arg] for arg in instr.args) if value is not None]
    if instr.op is Op.SELECT:
        chosen = args[0] if args[0].dtype is torch.bool else args[0] != 0
        return torch.where(chosen, _word(args[1]), _word(args[2]))
    return _PRIMITIVES[instr.op](*map(_word, args))


def _word(value: Tensor) -> Tensor:
    return value.to(torch.int32) if value.dtype is torch.bool else value


@lru_cache(maxsize=4096)
def _constant(dtype: DType, word: int, device: torch.device) -> Tensor:
    """A constant as a tensor on the device: CUDA divides by a Python number by multiplying with its inverse."""
    signed = word - (1 << 32) if word >> 31 else word
    value = torch.tensor(signed, dtype=torch.int32, device=device)
    return value.view(torch.float32) if dtype is DType.F32 else value


def alive(program: Program) -> int:
    """The most values of the size of the output that exist at the same time."""
    small = (Op.INDEX, Op.STEP, Op.CONST_F32, Op.CONST_I32)
    large = [instr.op not in small for instr in program]
    count = most = 0
    for n, unread in enumerate(_dead_after(program)):
        count += large[n]
        most = max(most, count)
        count -= sum(large[i] for i in unread)
    return most


@lru_cache(maxsize=4096)
def _dead_after(program: Program) -> tuple[tuple[int, ...], ...]:
    """For each instruction, the values that no later one reads."""
    last = list(range(len(program)))
    for n, instr in enumerate(program):
        for arg in instr.args:
            last[arg] = n
    dead: list[list[int]] = [[] for _ in program]
    for n, reader in enumerate(last[:-1]):
        dead[reader].append(n)
    return tuple(map(tuple, dead))
