"""Hypothesis strategies for random legal graphs with the tensors that they read.

`nodes(kind)` gives a graph whose last node is of that kind, `graphs()` one of several nodes, `strange()` one of the
nastiest views; all come with a state, constants, datasets and a step number. Shapes, views and programs are drawn one
by one, so that a failure shrinks; the content of tensors comes from a drawn seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Final

import numpy as np
from hypothesis import strategies as st

from offchain.commit.roots import tensor_root
from offchain.ir.arrays import Array, canonical
from offchain.ir.graph import Axis, Graph, Input, Node, Slot, Source, TensorSpec, View, row_major
from offchain.ir.kinds import MAX_INPUTS, Kind, traits, unknown
from offchain.ir.legality import check, most_bits
from offchain.ir.primitives import MAX_PROGRAM, TABLE, DType, Instr, Op

Draw = Callable[[st.SearchStrategy[Any]], Any]
Tensor = tuple[Source, int, DType, int]  # where it lives, its dtype and its length

F32, I32 = DType.F32, DType.I32
MAX_SPAN: Final = 6_000  # elements of a source
_STRIDES: Final = [0, 1, -1, 2, -2, 3, -3, 4, -4, 7, -8, 9, 16]  # beside those of packed tensors
SPECIAL_FLOATS: Final = [
    0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x007FFFFF, 0x00800000, 0x80800000, 0x3F800000, 0xBF800000,
    0x3FFFFFFF, 0x40000000, 0x3F000000, 0x3F000001, 0x4B000000, 0x4B000001, 0x4F000000, 0xCF000000, 0x7F7FFFFF,
    0xFF7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000,
]  # fmt: skip
SPECIAL_INTS: Final = [0, 1, 2, 3, 31, 32, 127, 128, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 149, 2**32 - 2, 2**32 - 1]


@dataclass(frozen=True)
class Case:
    """A legal graph and everything that a step of it reads."""

    graph: Graph
    state: list[Array]
    constants: list[Array]
    datasets: list[Array]
    t: int


# --- content -----------------------------------------------------------------------------------------------------


def float_words(rng: np.random.Generator, length: int, mode: str) -> Array:
    """float32 with canonical NaN: standard normals, nearby powers of two, any bits, or special values."""
    if mode == "normal":
        return rng.standard_normal(length, dtype=np.float32)
    if mode == "special":
        return rng.choice(np.array(SPECIAL_FLOATS, np.uint32), length).view(np.float32)
    if mode == "subnormal":
        signs = rng.integers(0, 2, length, dtype=np.uint32) << np.uint32(31)
        return (rng.integers(0, 1 << 24, length, dtype=np.uint32) | signs).view(np.float32)
    return canonical(rng.integers(0, 1 << 32, length, dtype=np.uint32).view(np.float32))


def int_words(rng: np.random.Generator, length: int, mode: str) -> Array:
    """int32: small values (rows of a table, and some outside it), special values, or any bits."""
    if mode in ("normal", "subnormal"):
        return rng.integers(-2, 8, length, dtype=np.int32)
    if mode == "special":
        return rng.choice(np.array(SPECIAL_INTS, np.uint32), length).view(np.int32)
    return rng.integers(0, 1 << 32, length, dtype=np.uint32).view(np.int32)


def tensors(dtype: DType, length: int) -> st.SearchStrategy[Array]:
    """A flat array of that dtype and length."""
    make = float_words if dtype is F32 else int_words
    modes = st.sampled_from(["normal", "normal", "special", "subnormal", "any"])
    return st.builds(lambda seed, mode: make(np.random.default_rng(seed), length, mode), st.integers(0, 2**32), modes)


# --- shapes and programs -----------------------------------------------------------------------------------------

small_shapes = st.lists(st.integers(1, 5), max_size=4).map(tuple)
deep_shapes = st.lists(st.integers(1, 2), min_size=5, max_size=8).map(tuple)
long_shapes = st.sampled_from([(1025,), (3, 700), (2100,), (1, 1024, 2)])
shapes = st.one_of(small_shapes, small_shapes, deep_shapes, long_shapes)
extents = st.one_of(st.integers(1, 9), st.integers(1, 40))
sides = st.one_of(st.integers(1, 5), st.integers(1, 70))  # of loops that are vectorised, with a rest
plain_shapes = st.one_of(st.tuples(sides), st.tuples(st.integers(1, 4), sides), small_shapes)


def instruction(draw: Draw, types: list[DType], inputs: Sequence[DType], rank: int) -> tuple[Instr, DType]:
    """One well-typed instruction over values of these types."""
    have = set(types)
    pure = [op for op, row in TABLE.items() if row.operands and {t for t in row.operands if t} <= have]
    leaves = [Op.CONST_F32, Op.CONST_I32, Op.STEP] + [Op.INPUT] * 3 * bool(inputs) + [Op.INDEX] * bool(rank)
    op = draw(st.sampled_from(pure if pure and draw(st.integers(0, 3)) else leaves))

    def value(dtype: DType) -> int:
        return int(draw(st.sampled_from([n for n, have in enumerate(types) if have is dtype])))

    if op is Op.INPUT:
        a = draw(st.integers(0, len(inputs) - 1))
        return Instr(op, a), inputs[a]
    if op is Op.INDEX:
        return Instr(op, draw(st.integers(0, rank - 1))), I32
    if op is Op.CONST_F32:
        return Instr.const(F32, draw(st.sampled_from(SPECIAL_FLOATS))), F32
    if op is Op.CONST_I32:
        return Instr.const(I32, draw(st.sampled_from(SPECIAL_INTS))), I32
    if op is Op.SELECT:
        branch = draw(st.sampled_from(sorted(have)))
        return Instr(op, value(I32), value(branch), value(branch)), branch
    args = [value(dtype) for dtype in TABLE[op].operands if dtype]
    result = TABLE[op].result
    return Instr(op, *args), result if result is not None else F32


@st.composite
def programs(
    draw: Draw, inputs: Sequence[DType], rank: int, longest: Sequence[int] = (4, 12, 40)
) -> tuple[tuple[Instr, ...], DType]:
    """A well-typed program and the dtype of its result. It reads every input once before anything else."""
    code = [Instr(Op.INPUT, a) for a in range(len(inputs))]
    types = list(inputs)
    most = min(draw(st.sampled_from(longest)), MAX_PROGRAM - len(code))
    for _ in range(draw(st.integers(not code, most))):
        instr, dtype = instruction(draw, types, inputs, rank)
        code.append(instr)
        types.append(dtype)
    return tuple(code), types[-1]


# --- graphs ------------------------------------------------------------------------------------------------------


@dataclass
class Drawing:
    """A graph that is being drawn: its nodes so far, and the tensors that they read."""

    draw: Draw
    nodes: list[Node] = field(default_factory=list)
    held: dict[Source, list[Array]] = field(
        default_factory=lambda: {Source.STATE: [], Source.DATA: [], Source.CONST: []}
    )
    known: list[Tensor] = field(default_factory=list)
    strange: bool = False  # short programs over views of long axes

    def add(self, node: Node) -> Tensor:
        self.nodes.append(node)
        self.known.append((Source.NODE, len(self.nodes) - 1, node.dtype, node.length))
        return self.known[-1]

    def source(self, dtype: DType, least: int) -> Tensor:
        """A tensor of at least that many elements: one that exists, or a new one."""
        fitting = [t for t in self.known if t[2] is dtype and t[3] >= least]
        if fitting and self.draw(st.booleans()):
            return self.draw(st.sampled_from(fitting))  # type: ignore[no-any-return]
        length = max(least, 1) + self.draw(st.sampled_from([0, 0, 1, 7]))
        place = self.draw(st.sampled_from(list(Source)))
        home = Source.STATE if place is Source.NODE else place
        self.held[home].append(self.draw(tensors(dtype, length)))
        made: Tensor = (home, len(self.held[home]) - 1, dtype, length)
        self.known.append(made)
        return self.copy(made) if place is Source.NODE else made

    def copy(self, tensor: Tensor) -> Tensor:
        """A map that repeats a tensor."""
        source, index, dtype, length = tensor
        item = Input(source, index, dtype, length, View.contiguous((length,)))
        return self.add(Node(Kind.MAP, dtype, (length,), (item,), program=(Instr(Op.INPUT, 0),)))

    def input(self, dtype: DType, shape: tuple[int, ...], still: Sequence[int] = ()) -> Input:
        """A drawn view of some tensor, in its canonical form; axes in `still` have stride 0."""
        axes = View(0, self._axes(shape, still)).settled().axes
        ends = [(axis.stride * axis.lo, axis.stride * (axis.hi - 1)) for axis in axes if axis.lo < axis.hi]
        low, high = sum(map(min, ends)), sum(map(max, ends))
        source = self.source(dtype, high - low + 1)
        return Input(*source, View(self.draw(st.integers(-low, source[3] - 1 - high)), axes).settled())

    def _axes(self, shape: tuple[int, ...], still: Sequence[int]) -> tuple[Axis, ...]:
        order = self.draw(st.permutations(range(len(shape))))
        packed = dict(zip(order, row_major(tuple(shape[i] for i in order)), strict=True))
        axes = []
        for i, size in enumerate(shape):
            stride = self.draw(st.sampled_from([packed[i]] * 4 + [-packed[i]] * 2 + _STRIDES))
            axes.append(Axis(0 if i in still else stride, *self._range(size)))
        while sum(abs(a.stride) * (size - 1) for a, size in zip(axes, shape, strict=True)) > MAX_SPAN:
            widest = max(range(len(axes)), key=lambda i: abs(axes[i].stride) * (shape[i] - 1))
            axes[widest] = Axis(0, axes[widest].lo, axes[widest].hi)
        return tuple(axes)

    def _range(self, size: int) -> tuple[int, int]:
        """Valid coordinates: mostly all of them, or some, or a single one, seldom none."""
        how = self.draw(st.sampled_from(["all"] * 12 + ["some", "some", "one", "none"]))
        if how == "all":
            return 0, size
        lo = self.draw(st.integers(0, size - 1))
        return lo, {"some": self.draw(st.integers(lo, size)), "one": lo + 1, "none": lo}[how]

    def node(self, kind: Kind) -> Tensor:
        """Draw one node of that kind."""
        return self._map() if kind is Kind.MAP else self._reduction(kind)

    def _map(self) -> Tensor:
        shape = self.draw(plain_shapes if self.strange else shapes)
        count = self.draw(
            st.integers(0, 3) if self.strange else st.one_of(st.integers(0, 3), st.integers(0, MAX_INPUTS))
        )
        inputs = tuple(self.input(self.draw(st.sampled_from(DType)), shape) for _ in range(count))
        longest = [3] if self.strange else [4, 12, 40]
        program, dtype = self.draw(programs([item.dtype for item in inputs], len(shape), longest))
        return self.add(Node(Kind.MAP, dtype, shape, inputs, program=program))

    def _reduction(self, kind: Kind) -> Tensor:
        shape = self.draw(plain_shapes if self.strange else shapes if kind is Kind.GATHER else small_shapes)
        if kind is Kind.SCATTER_ADD:
            shape = (self.draw(st.integers(1, 7)), *shape[:2])
        extent = self.draw(sides if self.strange else extents)
        wide = (*shape, extent)
        if traits(kind).scaled:
            return self._sum(kind, shape, extent)
        dtype = self.draw(st.sampled_from(DType))
        inputs = [self.input(dtype, wide)]
        if kind is Kind.GATHER:
            inputs.append(self.input(I32, shape))
        elif kind is not Kind.MAX:
            raise unknown(kind)
        return self.add(Node(kind, dtype, shape, tuple(inputs), extent))

    def _sum(self, kind: Kind, shape: tuple[int, ...], extent: int) -> Tensor:
        wide = (*shape, extent)
        if kind is Kind.SCATTER_ADD:
            inputs = (self.input(F32, wide, [0]), self.input(I32, wide, range(len(shape))))
        elif kind in (Kind.DOT, Kind.SUM):
            inputs = tuple(self.input(F32, wide, self._some(shape)) for _ in traits(kind).scaled)
        else:
            raise unknown(kind)
        most = most_bits(kind, extent)
        bits = self.draw(st.one_of(st.just(most), st.integers(2, most)))
        return self.add(Node(kind, F32, shape, inputs, extent, bits))

    def _some(self, shape: tuple[int, ...]) -> list[int]:
        return [d for d in range(len(shape)) if self.draw(st.integers(0, 2)) == 0]

    def finish(self) -> Case:
        """The graph, with a slot for every state tensor, and the log."""
        state = [*self.held[Source.STATE], np.zeros(3, np.float32)]
        slots = [self._slot(number, array) for number, array in enumerate(state[:-1])]
        slots.append(Slot(TensorSpec("log", F32, (3, 1)), Source.STATE, len(state) - 1))
        constants, datasets = self.held[Source.CONST], self.held[Source.DATA]
        graph = Graph(
            nodes=tuple(self.nodes),
            slots=tuple(slots),
            constants=tuple(_spec(f"constant{i}", array) for i, array in enumerate(constants)),
            constant_roots=tuple(map(tensor_root, constants)),
            datasets=tuple(_spec(f"data{i}", array) for i, array in enumerate(datasets)),
            dataset_roots=tuple(map(tensor_root, datasets)),
            metrics=("loss",),
        )
        check(graph)
        t = self.draw(st.one_of(st.integers(0, 9), st.integers(0, 2**31 - 1)))
        return Case(graph, state, constants, datasets, t)

    def _slot(self, number: int, array: Array) -> Slot:
        spec = _spec(f"state{number}", array)
        equal = [n for n, node in enumerate(self.nodes) if (node.dtype, node.length) == (spec.dtype, spec.length)]
        if equal and self.draw(st.booleans()):
            return Slot(spec, Source.NODE, self.draw(st.sampled_from(equal)))
        return Slot(spec, Source.STATE, number)


def _spec(name: str, array: Array) -> TensorSpec:
    return TensorSpec(name, F32 if array.dtype.kind == "f" else I32, (prod(array.shape),))


@st.composite
def nodes(draw: Draw, kind: Kind) -> Case:
    """A graph whose last node is of that kind, with little before it."""
    builder = Drawing(draw)
    builder.node(kind)
    return builder.finish()


@st.composite
def strange(draw: Draw) -> Case:
    """A graph of one node over views that are hard to compile: long axes, negative and overlapping strides, padding,
    single coordinates, nothing at all.
    """
    builder = Drawing(draw, strange=True)
    seldom = [Kind.DOT]  # its kernels take as long to compile as those of all other kinds together
    builder.node(draw(st.sampled_from([kind for kind in Kind if kind not in seldom] * 3 + seldom)))
    return builder.finish()


@st.composite
def graphs(draw: Draw, most: int = 5) -> Case:
    """A graph of a few nodes of any kinds that read each other's outputs."""
    builder = Drawing(draw)
    for kind in draw(st.lists(st.sampled_from(list(Kind)), min_size=1, max_size=most)):
        builder.node(kind)
    return builder.finish()


def over_state(nodes_: Sequence[Node], arrays: Sequence[Array], t: int = 0) -> Case:
    """A graph of given nodes over given state tensors, which every step carries on. Legality is not checked."""
    state = [*arrays, np.zeros(1, np.float32)]
    specs = [*(_spec(f"state{i}", array) for i, array in enumerate(arrays)), TensorSpec("log", F32, (1, 1))]
    slots = tuple(Slot(spec, Source.STATE, i) for i, spec in enumerate(specs))
    return Case(Graph(tuple(nodes_), slots, (), (), (), (), ("loss",)), state, [], [], t)
