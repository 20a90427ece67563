"""The definition of every node kind and primitive, in plain NumPy: slow and short. Everything fast must equal it.

Everything is defined for single elements (docs/protocol.md, sections 1 and 2) and evaluated for any set of them:
`evaluate` gives whole tensors; `element_value`, `terms` and `exponents` give what the players of a dispute need.
`sources` are always the flat arrays that a node's inputs name, in input order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from offchain.errors import BadInput
from offchain.exec.base import DEFAULT, Setting, Tensors, state_after
from offchain.exec.plan.memory import memory_for, memory_of, require_memory
from offchain.ir.arrays import Array, canonical, numpy_dtype
from offchain.ir.graph import Graph, Node, Source, View
from offchain.ir.kinds import Kind, chosen, traits, unknown
from offchain.ir.primitives import DType, Op

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NO_NUMBER: Final = 129  # exponent of infinities and NaN
_BLOCK: Final = 1 << 20  # terms evaluated at once
_TERM_BYTES: Final = 32  # for each input of a term: address, value, and value and exponent as 64-bit integers
_LOW, _HIGH = -(1 << 31), (1 << 31) - 1


# --- words -------------------------------------------------------------------------------------------------------


def exponent_of(x: Array) -> Array:
    """e(x), int32: least e with |x| < 2^e; -149 for zeros, 129 for infinities and NaN."""
    e = np.where(x == 0, -149, np.frexp(x)[1])
    return np.where(np.isfinite(x), e, NO_NUMBER).astype(np.int32)


def quant(x: Array, e: Array, bits: int) -> Ints:
    """quant(x, e, p), int64. The scaling is exact in float64; the clip of e changes no result."""
    limit = 2 ** (bits - 1) - 1
    shift = np.clip(bits - 1 - e.astype(np.int64), -400, 600).astype(np.int32)
    scaled_x = np.rint(np.ldexp(x.astype(np.float64), shift))
    return np.clip(np.where(np.isnan(x), 0, scaled_x), -limit, limit).astype(np.int64)


def scaled(total: Ints, exponent: Ints) -> Array:
    """RNE_binary32(S·2^k) for |S| <= 2^53: exact in float64 (the clip of k changes no result), then one rounding."""
    k = np.clip(exponent, -900, 900).astype(np.int32)
    with np.errstate(all="ignore"):
        rounded_once: Array = np.ldexp(total.astype(np.float64), k).astype(np.float32)
    return rounded_once


def key(x: Array) -> Ints:
    """Order of `max`, int64: signed for int32; -inf < … < -0 < +0 < … < +inf < NaN for float32."""
    words = canonical(x).view(np.int32).astype(np.int64)
    ordered: Ints = np.where(words < 0, words ^ 0x7FFFFFFF, words) if x.dtype.kind == "f" else words
    return ordered


def _wrap(x: Array) -> Array:
    return x.astype(np.int64).astype(np.int32)


def _wide(operation: Callable[[Any, Any], Any]) -> Callable[[Array, Array], Array]:
    """Wrapping int32 arithmetic: in int64, where none of it overflows, then the low 32 bits."""
    return lambda a, b: _wrap(operation(a.astype(np.int64), b.astype(np.int64)))


def _to_int(x: Array) -> Array:
    wide = np.where(np.isnan(x), 0, x.astype(np.float64))
    return np.clip(np.trunc(wide), _LOW, _HIGH).astype(np.int32)


def _ldexp(x: Array, n: Array) -> Array:
    wide: Array = np.ldexp(x.astype(np.float64), np.clip(n, -400, 400))
    return wide.astype(np.float32)


PRIMITIVES: Final[dict[Op, Callable[..., Any]]] = {  # results are canonicalised and cast by `program_value`
    Op.ADD: np.add,
    Op.SUB: np.subtract,
    Op.MUL: np.multiply,
    Op.DIV: np.divide,
    Op.SQRT: np.sqrt,
    Op.NEG: np.negative,
    Op.ABS: np.abs,
    Op.RINT: np.rint,
    Op.LDEXP: _ldexp,
    Op.EQ: np.equal,
    Op.LT: np.less,
    Op.LE: np.less_equal,
    Op.TO_INT: _to_int,
    Op.TO_FLOAT: lambda n: n.astype(np.float32),
    Op.BITS: lambda x: x.view(np.int32),  # already canonical
    Op.FROM_BITS: lambda n: n.view(np.float32),
    Op.IADD: _wide(np.add),
    Op.ISUB: _wide(np.subtract),
    Op.IMUL: _wide(np.multiply),
    Op.IAND: np.bitwise_and,
    Op.IOR: np.bitwise_or,
    Op.IXOR: np.bitwise_xor,
    Op.SHL: _wide(lambda a, b: a << (b & 31)),
    Op.SHR: _wide(lambda a, b: (a & 0xFFFFFFFF) >> (b & 31)),
    Op.SAR: lambda a, b: a >> (b & 31),
    Op.IEQ: np.equal,
    Op.ILT: np.less,
    Op.SELECT: lambda a, b, c: np.where(a != 0, b, c),
}


# --- elements ----------------------------------------------------------------------------------------------------


def coordinates_of(elements: Ints, shape: tuple[int, ...]) -> list[Ints]:
    """Row-major coordinates of flat indices, one array per dimension."""
    out = []
    for size in reversed(shape):
        elements, rest = np.divmod(elements, size)
        out.append(rest)
    return out[::-1]


def read(source: Array, view: View, coords: Sequence[Ints], valid: Bools | bool = True) -> Array:
    """What a view reads at broadcast coordinates; 0 where one is outside its range, or `valid` is false."""
    inside, address = np.asarray(valid), np.asarray(view.offset, np.int64)
    for axis, x in zip(view.axes, coords, strict=True):
        inside = inside & (axis.lo <= x) & (x < axis.hi)
        address = address + axis.stride * x
    return np.atleast_1d(np.where(inside, source[np.where(inside, address, 0)], source.dtype.type(0)))


def program_value(node: Node, inputs: Sequence[Array], coords: Sequence[Ints], t: int) -> Array:
    """The program of a `map` on what its inputs read at these coordinates."""
    values: list[Array] = []
    for instr in node.program:
        if instr.op is Op.INPUT:
            value = inputs[instr.a]
        elif instr.op is Op.INDEX:
            value = _wrap(coords[instr.a])
        elif instr.op is Op.STEP:
            value = _wrap(np.array([t]))
        elif instr.op in (Op.CONST_F32, Op.CONST_I32):
            value = np.array([instr.word], np.uint32)
            value = value.view(np.float32 if instr.op is Op.CONST_F32 else np.int32)
        else:
            with np.errstate(all="ignore"):
                value = PRIMITIVES[instr.op](*(values[arg] for arg in instr.args))
            value = value.astype(np.int32) if value.dtype == np.bool_ else canonical(value)
        values.append(value)
    return values[-1]


def _along_k(node: Node, coords: Sequence[Ints]) -> list[Ints]:
    return [*(x[:, None] for x in coords), np.arange(node.extent, dtype=np.int64)[None, :]]


def _map(node: Node, sources: Sequence[Array], coords: Sequence[Ints], t: int) -> Array:
    inputs = [read(s, item.view, coords) for s, item in zip(sources, node.inputs, strict=True)]
    return program_value(node, inputs, coords, t)


_ORDERS: Final[dict[Kind, Callable[[Array], Ints]]] = {Kind.MAX: key}  # the extremum has the greatest key


def _extremum_keys(node: Node, sources: Sequence[Array], coords: Sequence[Ints]) -> Ints:
    return chosen(_ORDERS, node.kind)(read(sources[0], node.inputs[0].view, _along_k(node, coords)))


def _extremum(node: Node, sources: Sequence[Array], coords: Sequence[Ints], t: int) -> Array:
    keys: Ints = _extremum_keys(node, sources, coords).max(axis=1)
    words: Array = np.where(keys < 0, keys ^ 0x7FFFFFFF, keys) if node.dtype is DType.F32 else keys
    return words.astype(np.int32).view(numpy_dtype(node.dtype))


def _operands(
    node: Node, sources: Sequence[Array], coords: Sequence[Ints], claimed: Sequence[int] | None = None
) -> tuple[list[Ints], list[Ints]]:
    """The scaled operands as integers along k, and the exponent of each: its own or the claimed one."""
    along = _along_k(node, coords)
    values = [read(sources[i], node.inputs[i].view, along) for i in traits(node.kind).scaled]
    exponents = [exponent_of(x).max(axis=1).astype(np.int64) for x in values]
    if claimed is not None:
        exponents = [np.full_like(own, e) for own, e in zip(exponents, claimed, strict=True)]
    return [quant(x, e[:, None], node.bits) for x, e in zip(values, exponents, strict=True)], exponents


def _terms(node: Node, sources: Sequence[Array], coords: Sequence[Ints], operands: Sequence[Ints]) -> Ints:
    if node.kind is Kind.DOT:
        return operands[0] * operands[1]
    if node.kind is Kind.SUM:
        return operands[0]
    if node.kind is Kind.SCATTER_ADD:
        along = _along_k(node, coords)
        return np.where(read(sources[1], node.inputs[1].view, along) == along[0], operands[0], 0)
    raise unknown(node.kind)


def rounded(node: Node, exponents: Sequence[Array], total: Ints) -> Array:
    """The element that an exact sum of terms makes: scaled back by its exponents; NaN where one is 129 or more."""
    shift = sum(e.astype(np.int64) - (node.bits - 1) for e in exponents)
    finite = np.all([e < NO_NUMBER for e in exponents], axis=0)
    return np.where(finite, scaled(total, np.asarray(shift)), np.float32(np.nan))


def _sum(node: Node, sources: Sequence[Array], coords: Sequence[Ints], t: int) -> Array:
    operands, exponents = _operands(node, sources, coords)
    return rounded(node, exponents, _terms(node, sources, coords, operands).sum(axis=1))


def _gather(node: Node, sources: Sequence[Array], coords: Sequence[Ints], t: int) -> Array:
    k = read(sources[1], node.inputs[1].view, coords).astype(np.int64)
    return read(sources[0], node.inputs[0].view, [*coords, k], (k >= 0) & (k < node.extent))


_KINDS: Final[dict[Kind, Callable[[Node, Sequence[Array], Sequence[Ints], int], Array]]] = {
    Kind.MAP: _map,
    Kind.DOT: _sum,
    Kind.SUM: _sum,
    Kind.SCATTER_ADD: _sum,
    Kind.MAX: _extremum,
    Kind.GATHER: _gather,
}


def evaluate(node: Node, sources: Sequence[Array], t: int, elements: Ints | None = None) -> Array:
    """The named elements of a node's output (all of them by default), flat, NaN canonical.

    Raises IllegalGraph for a kind that is not known.
    """
    wanted = np.arange(node.length, dtype=np.int64) if elements is None else elements
    out = np.empty(len(wanted), numpy_dtype(node.dtype))
    block = max(1, _BLOCK // max(node.extent, 1))
    for start in range(0, len(wanted), block):
        coords = coordinates_of(wanted[start : start + block], node.shape)
        out[start : start + block] = chosen(_KINDS, node.kind)(node, sources, coords, t)
    return canonical(out)


# --- for the players of a dispute --------------------------------------------------------------------------------


def _at(node: Node, element: int) -> list[Ints]:
    return coordinates_of(np.array([element], np.int64), node.shape)


def element_value(node: Node, sources: Sequence[Array], element: int, t: int = 0) -> int:
    """One element of a node's output, as an unsigned word."""
    return int(evaluate(node, sources, t, np.array([element], np.int64)).view(np.uint32)[0])


def terms(node: Node, sources: Sequence[Array], element: int, claimed: Sequence[int] | None = None) -> Ints:
    """The exact integer terms of an element of a dot, sum or scatter_add, int64 of shape (K,).

    Scaled by the claimed exponents, by default by the operands' own. Raises IllegalGraph for another kind.
    """
    at = _at(node, element)
    return _terms(node, sources, at, _operands(node, sources, at, claimed)[0]).reshape(node.extent)


def exponents(node: Node, sources: Sequence[Array], element: int) -> tuple[int, ...]:
    """The exponents that an element of a dot (two), sum or scatter_add (one) is scaled by."""
    return tuple(int(e[0]) for e in _operands(node, sources, _at(node, element))[1])


def exponent_keys(node: Node, sources: Sequence[Array], element: int, operand: int) -> Ints:
    """The exponents of what one operand reads, in order of k. Their argmax is a witness of the operand's exponent."""
    values = read(sources[operand], node.inputs[operand].view, _along_k(node, _at(node, element)))
    return exponent_of(values).reshape(node.extent).astype(np.int64)


def rounded_word(node: Node, exponents: Sequence[int], total: int) -> int:
    """The unsigned word that a total of terms makes with these exponents."""
    value = rounded(node, [np.array([e], np.int64) for e in exponents], np.array([total], np.int64))
    return int(value.view(np.uint32)[0])


def extremum_keys(node: Node, sources: Sequence[Array], element: int) -> Ints:
    """The keys of what an extremum reads for one element, in order of k. Their argmax is a witness of it."""
    return _extremum_keys(node, sources, _at(node, element)).reshape(node.extent)


def extremum_key(node: Node, word: int) -> int:
    """The key of a claimed extremum, in the order of `extremum_keys`."""
    value = np.array([word], np.uint32).view(numpy_dtype(node.dtype))
    return int(chosen(_ORDERS, node.kind)(value)[0])


def _scratch(node: Node) -> int:
    """About as many bytes are alive, beside its sources and its output, while `evaluate` makes a block of a node."""
    terms = min(node.length * max(node.extent, 1), max(_BLOCK, node.extent))
    return terms * (_TERM_BYTES * len(node.inputs) + 4 * len(node.program))


class ReferenceExecutor:
    """The definition as an executor. A state is a list of flat arrays in slot order.

    It runs on the CPU, in one process, and compiles nothing. Raises BadInput for any other device, or processes.
    """

    def __init__(
        self, graph: Graph, constants: Sequence[Array], datasets: Sequence[Array], setting: Setting = DEFAULT
    ) -> None:
        if setting.device_type != "cpu":
            raise BadInput(f"executor reference runs on the CPU, not on {setting.device}: take fused or torch")
        if setting.processes is not None:
            raise BadInput("executor reference runs in one process: take fused or torch")
        self.graph = graph
        self._tensors = Tensors(graph, constants, datasets)
        for number, node in enumerate(graph.nodes):
            require_memory(*memory_of(number, node), _scratch(node), setting.limits.memory)

    def load(self, state: Sequence[Array]) -> list[Array]:
        return [array.copy() for array in self._tensors.state(state)]

    def dump(self, state: list[Array]) -> list[Array]:
        return [array.copy() for array in state]

    def lend(self, state: list[Array], slots: Sequence[int]) -> list[Array]:
        return [state[n] for n in slots]

    def sources(self, node: Node, state: Sequence[Array], outputs: Sequence[Array]) -> list[Array]:
        """The flat arrays that a node's inputs name."""
        return sources_of(node, state, outputs, self._tensors.constants, self._tensors.datasets)

    def outputs(self, state: list[Array], t: int) -> Iterator[Array]:
        for output in self._run(state, t, []):
            yield output.copy()  # later nodes read the one that is kept

    def _run(self, state: list[Array], t: int, done: list[Array]) -> Iterator[Array]:
        """Runs the nodes in order into `done`."""
        for number, node in enumerate(self.graph.nodes):
            with memory_for(*memory_of(number, node)):
                done.append(evaluate(node, self.sources(node, state, done), t))
            yield done[-1]

    def step(self, state: list[Array], t: int) -> list[Array]:
        return state_after(self.graph, state, list(self._run(state, t, [])))


def sources_of(
    node: Node,
    state: Sequence[Array],
    outputs: Sequence[Array],
    constants: Sequence[Array],
    datasets: Sequence[Array],
) -> list[Array]:
    """The flat arrays that a node's inputs name, in input order."""
    tensors = {
        Source.NODE: outputs,
        Source.STATE: state,
        Source.DATA: datasets,
        Source.CONST: constants,
    }
    return [tensors[item.source][item.index] for item in node.inputs]
