"""Which graphs are legal: a table of rules, each with a one-line refusal.

A worker checks every graph before it bids. What passes here has a defined value for every element (views stay
inside their source, programs are well typed, sums are exact) and can be judged by the contract within its gas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from math import prod
from typing import Final

from offchain.errors import IllegalGraph
from offchain.ir.graph import LOG_SLOT, Graph, Input, Node, Source
from offchain.ir.kinds import KINDS, Kind, traits, unknown
from offchain.ir.log import misread
from offchain.ir.moves import Counts, excess
from offchain.ir.primitives import CANONICAL_NAN, MAX_PROGRAM, TABLE, DType, Instr, Op, Program

MAX_LENGTH: Final = 1 << 34
MAX_EXTENT: Final = 1 << 30
EXACT_BITS: Final = 53  # integers that a float64 holds
MAX_REACH: Final = 1 << 53  # offset and strides of a view sum to less, so that 64 bits hold an address in bytes

_F = DType.F32


def check(graph: Graph) -> None:
    """Raise IllegalGraph naming the first node, slot or field that breaks a rule."""
    _check_tensors(graph)
    _check_log(graph)
    for index, node in enumerate(graph.nodes):
        if node.kind not in KINDS:
            raise IllegalGraph(f"node {index}: {unknown(node.kind)}")
        for rule in NODE_RULES:
            for reason in rule(graph, index, node):
                raise IllegalGraph(f"node {index} ({node.kind.name.lower()}): {reason}")
    _check_slots(graph)


def exact(kind: Kind, bits: int, extent: int) -> bool:
    """Whether a sum of `extent` terms at `bits` fits the 53 bits of exact float64 arithmetic."""
    return len(traits(kind).scaled) * (bits - 1) + (extent - 1).bit_length() <= EXACT_BITS


def most_bits(kind: Kind, extent: int) -> int:
    """The most bits at which a sum of `extent` terms of that kind is legal."""
    row = traits(kind)
    return min(row.max_bits, (EXACT_BITS - (extent - 1).bit_length()) // len(row.scaled) + 1)


def result_dtype(node: Node) -> DType:
    """The dtype that a node's kind and inputs imply: the kind's, the last instruction's or the first input's."""
    row = traits(node.kind)
    if row.program:
        return program_types(node)[-1]
    return row.result or node.inputs[0].dtype


def program_types(node: Node) -> list[DType]:
    """The dtype of every value of a program. Raises IllegalGraph for an ill-typed or malformed instruction."""
    return list(_types(node.program, tuple(item.dtype for item in node.inputs), len(node.shape)))


@lru_cache(maxsize=1024)  # the cells of a recurrence have equal programs, and each is asked about several times
def _types(program: Program, inputs: tuple[DType, ...], rank: int) -> tuple[DType, ...]:
    """`program_types` of a map with inputs of these dtypes and so many dimensions."""
    types: list[DType] = []
    for n, instr in enumerate(program):
        if instr.op is Op.INPUT and instr.a >= len(inputs):
            reason: str | None = f"no input {instr.a}"
        elif instr.op is Op.INDEX and instr.a >= rank:
            reason = f"no dimension {instr.a}"
        else:
            reason = _instruction_fault(n, instr, types)
        if reason:
            raise IllegalGraph(f"instruction {n} ({instr.op.name.lower()}): {reason}")
        types.append(inputs[instr.a] if instr.op is Op.INPUT else TABLE[instr.op].result or types[instr.b])
    return tuple(types)


def _instruction_fault(n: int, instr: Instr, types: list[DType]) -> str | None:
    if instr.op is Op.CONST_F32 and instr.word & 0x7FFFFFFF > 0x7F800000 and instr.word != CANONICAL_NAN:
        return "a NaN constant that is not canonical"
    if any(arg >= n for arg in instr.args):
        return "reads a later value"
    return _operand_fault(instr, types) or _unused_fault(instr)


def _operand_fault(instr: Instr, types: list[DType]) -> str | None:
    wanted = TABLE[instr.op].operands
    got = [types[arg] for arg in instr.args]
    if any(want is not None and want is not have for want, have in zip(wanted, got, strict=True)):
        return f"operands are {[t.name for t in got]}"
    if instr.op is Op.SELECT and got[1] is not got[2]:
        return "branches differ in type"
    return None


def _unused_fault(instr: Instr) -> str | None:
    used = {Op.INPUT: 1, Op.INDEX: 1, Op.CONST_F32: 3, Op.CONST_I32: 3}.get(instr.op, len(instr.args))
    constant_a = instr.a if instr.op in (Op.CONST_F32, Op.CONST_I32) else 0
    return "unused operands are not 0" if constant_a or any((instr.a, instr.b, instr.c)[used:]) else None


def _shape(graph: Graph, index: int, node: Node) -> Iterator[str]:
    if len(node.shape) > 8 or any(size < 1 for size in node.shape):
        yield f"shape {node.shape} needs at most 8 dimensions of at least 1"
    elif node.length > MAX_LENGTH:
        yield f"{node.length} elements are above {MAX_LENGTH}"
    if (node.extent != 0) != traits(node.kind).has_extent or node.extent > MAX_EXTENT:
        yield f"extent {node.extent} is not allowed here"


def _arity(graph: Graph, index: int, node: Node) -> Iterator[str]:
    row = traits(node.kind)
    wanted = row.inputs
    if row.program:
        if len(node.inputs) > len(wanted):
            yield f"{len(node.inputs)} inputs are above {len(wanted)}"
    elif len(wanted) != len(node.inputs):
        yield f"takes {len(wanted)} inputs, has {len(node.inputs)}"
    for position, (want, item) in enumerate(zip(wanted, node.inputs, strict=False)):
        if want is not None and want is not item.dtype:
            yield f"input {position} is {item.dtype.name}, must be {want.name}"


def _sources(graph: Graph, index: int, node: Node) -> Iterator[str]:
    counts = {
        Source.NODE: index,
        Source.STATE: len(graph.slots),
        Source.DATA: len(graph.datasets),
        Source.CONST: len(graph.constants),
    }
    for position, item in enumerate(node.inputs):
        if item.index >= counts[item.source]:
            yield f"input {position} reads {item.source.name.lower()} {item.index}, which does not exist before it"
        elif graph.spec_of(item.source, item.index) != (item.dtype, item.length):
            yield f"input {position} misstates dtype or length of its source"


def _views(graph: Graph, index: int, node: Node) -> Iterator[str]:
    for position, item in enumerate(node.inputs):
        shape = node.view_shape(position)
        if len(item.view.axes) != len(shape):
            yield f"input {position} has {len(item.view.axes)} axes, must have {len(shape)}"
        elif any(not 0 <= a.lo <= a.hi <= size for a, size in zip(item.view.axes, shape, strict=True)):
            yield f"input {position} has a valid range outside the node's shape"
        elif item.view != item.view.settled():
            yield f"input {position} has a view that is not in canonical form"
        elif item.view.reach(shape) >= MAX_REACH:
            yield f"input {position} has an offset and strides that sum to 2^53 or more"
        elif not _inside(item):
            yield f"input {position} reads outside its source of {item.length} elements"


def _inside(item: Input) -> bool:
    if not item.view.reads:
        return True
    ends = [(axis.stride * axis.lo, axis.stride * (axis.hi - 1)) for axis in item.view.axes]
    low = item.view.offset + sum(min(pair) for pair in ends)
    high = item.view.offset + sum(max(pair) for pair in ends)
    return low >= 0 and high < item.length


def _program(graph: Graph, index: int, node: Node) -> Iterator[str]:
    if not traits(node.kind).program:
        if node.program:
            yield "only a map has a program"
    elif not 1 <= len(node.program) <= MAX_PROGRAM:
        yield f"program of {len(node.program)} instructions, must be 1 to {MAX_PROGRAM}"
    else:
        try:
            program_types(node)
        except IllegalGraph as error:
            yield str(error)


def _dtype(graph: Graph, index: int, node: Node) -> Iterator[str]:
    if result_dtype(node) is not node.dtype:
        yield f"result is {result_dtype(node).name}, declared {node.dtype.name}"


def _bits(graph: Graph, index: int, node: Node) -> Iterator[str]:
    most = traits(node.kind).max_bits
    if not most:
        if node.bits:
            yield "only sums have bits"
    elif not 2 <= node.bits <= most:
        yield f"{node.bits} bits, must be 2 to {most}"
    elif not exact(node.kind, node.bits, node.extent):
        yield f"a sum of {node.extent} terms is not exact at {node.bits} bits"


def _scatter(graph: Graph, index: int, node: Node) -> Iterator[str]:
    if node.kind is not Kind.SCATTER_ADD:
        return
    if not node.shape:
        yield "needs at least one dimension"
    elif node.inputs[0].view.axes[0].stride or any(a.stride for a in node.inputs[1].view.axes[:-1]):
        yield "the values may not depend on the row, and the index may depend on k only"


def _log(graph: Graph, index: int, node: Node) -> Iterator[str]:
    return misread(graph, node)


def _moves(graph: Graph, index: int, node: Node) -> Iterator[str]:
    reason = excess(node, Counts.of(graph))
    if reason:
        yield reason


NODE_RULES: Final[tuple[Callable[[Graph, int, Node], Iterator[str]], ...]] = (
    _shape,
    _arity,
    _sources,
    _views,
    _program,
    _dtype,
    _bits,
    _scatter,
    _log,
    _moves,
)


def _check_tensors(graph: Graph) -> None:
    if not graph.nodes or not graph.slots:
        raise IllegalGraph("graph: needs at least one node and one slot")
    for what, specs in (("constant", graph.constants), ("dataset", graph.datasets)):
        for spec in specs:
            if not 1 <= spec.length <= MAX_LENGTH or len(spec.shape) > 8:
                raise IllegalGraph(f"{what} {spec.name}: shape {spec.shape} is empty or too large")
    names = [slot.spec.name for slot in graph.slots]
    if len(set(names)) != len(names):
        raise IllegalGraph("graph: two slots have the same name")


def _check_slots(graph: Graph) -> None:
    for number, slot in enumerate(graph.slots):
        where = f"slot {number} ({slot.spec.name})"
        if prod(slot.spec.shape) < 1:
            raise IllegalGraph(f"{where}: empty")
        if slot.source not in (Source.NODE, Source.STATE):
            raise IllegalGraph(f"{where}: must repeat a node or a slot")
        limit = len(graph.nodes) if slot.source is Source.NODE else len(graph.slots)
        if slot.index >= limit:
            raise IllegalGraph(f"{where}: repeats {slot.source.name.lower()} {slot.index}, which does not exist")
        if graph.spec_of(slot.source, slot.index) != (slot.spec.dtype, slot.spec.length):
            raise IllegalGraph(f"{where}: differs in dtype or length from what it repeats")
        if slot is not graph.slots[-1] and (slot.source, slot.index) == (Source.STATE, len(graph.slots) - 1):
            raise IllegalGraph(f"{where}: repeats the log, which a state may be served without")


def _check_log(graph: Graph) -> None:
    log = graph.slots[-1].spec
    if log.name != LOG_SLOT or log.dtype is not _F or len(log.shape) != 2 or log.shape[1] != len(graph.metrics):
        raise IllegalGraph(f"the last slot must be {LOG_SLOT!r}, f32 of shape (interval, metrics)")
    if log.length < 1:
        raise IllegalGraph(f"slot {LOG_SLOT}: empty")
