"""A step graph made by hand that has every node kind, and tensors long enough for every turn of a dispute."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Final

import numpy as np

from offchain.commit.roots import tensor_root
from offchain.ir.arrays import numpy_dtype
from offchain.ir.graph import Axis, Graph, Input, Node, Slot, Source, TensorSpec, View
from offchain.ir.kinds import Kind
from offchain.ir.legality import check
from offchain.ir.log import carried_rows
from offchain.ir.primitives import DType, Instr, Op
from tests.support.works import Work

F32, I32 = DType.F32, DType.I32
STEPS: Final = 8
INTERVAL: Final = 4
LONG_INTERVAL: Final = 512  # more than 256 steps
ROWS, BATCH, WIDTH, OUT = 8, 5, 70, 4
BIG: Final = 270_000  # more than 256 chunks
LONG: Final = 5_000  # terms of a sum: more than 64 · 64
SHOWN: Final = ("rows", "x", "y", "top", "loss", "one", "sum64", "sum65", "long", "back", "old_log")
SLOTS: Final = ("w", "big", "frozen", *SHOWN, "log")  # a slot for most nodes, so that no lie is rounded away


class Maker:
    """Adds nodes with names. Inputs are (tensor, strides) and valid everywhere."""

    def __init__(self, specs: dict[str, tuple[Source, int, DType, int]]) -> None:
        self.tensors, self.nodes, self.names = dict(specs), list[Node](), dict[str, int]()

    def add(
        self,
        name: str,
        kind: Kind,
        shape: tuple[int, ...],
        inputs: Sequence[tuple[str, tuple[int, ...]]],
        k: int = 0,
        bits: int = 0,
        program: Sequence[Instr] = (),
        dtype: DType = F32,
    ) -> None:
        made = []
        for position, (source, strides) in enumerate(inputs):
            where, index, of, length = self.tensors[source]
            sizes = (*shape, k) if len(strides) > len(shape) else shape
            axes = tuple(Axis(stride, 0, size) for stride, size in zip(strides, sizes, strict=True))
            made.append(Input(where, index, of, length, View(0, axes).settled()))
            assert position < 16
        node = Node(kind, dtype, shape, tuple(made), k, bits, tuple(program))
        self.tensors[name] = (Source.NODE, len(self.nodes), dtype, prod(shape))
        self.names[name] = len(self.nodes)
        self.nodes.append(node)

    def sum_of(self, name: str, source: str, shape: tuple[int, ...], strides: tuple[int, ...], k: int) -> None:
        """Adds a sum with the most bits that are exact."""
        self.add(name, Kind.SUM, shape, [(source, strides)], k, min(31, 54 - (k - 1).bit_length()))


def _float(value: float) -> Instr:
    return Instr.const(F32, int(np.float32(value).view(np.uint32)))


def _int(value: int) -> Instr:
    return Instr.const(I32, value & 0xFFFFFFFF)


def everything(extra_maps: int = 0) -> Work:
    """The task. `extra_maps` appends so many more nodes, for traces of more than 256."""
    rng = np.random.default_rng(7)
    data = rng.standard_normal(ROWS * WIDTH, dtype=np.float32)
    half = np.array([0.5], np.float32)
    maker = Maker({"data": (Source.DATA, 0, F32, data.size), "half": (Source.CONST, 0, F32, 1)})
    sizes = {"w": WIDTH * OUT, "big": BIG, "frozen": 3}
    for slot, size in {**sizes, "log": INTERVAL}.items():
        maker.tensors[slot] = (Source.STATE, SLOTS.index(slot), F32, size)
    _forward(maker)
    _update(maker, extra_maps)
    slots = tuple(_slot(maker, name, index) for index, name in enumerate(SLOTS))
    state = [np.zeros(slot.spec.length, numpy_dtype(slot.spec.dtype)) for slot in slots]
    for slot, size in sizes.items():
        state[SLOTS.index(slot)] = rng.standard_normal(size, dtype=np.float32)
    graph = Graph(
        nodes=tuple(maker.nodes),
        slots=slots,
        constants=(TensorSpec("half", F32, (1,)),),
        constant_roots=(tensor_root(half),),
        datasets=(TensorSpec("data", F32, (ROWS, WIDTH)),),
        dataset_roots=(tensor_root(data),),
        metrics=("loss",),
    )
    check(graph)
    return Work(graph, (half,), (data,), tuple(state), STEPS, names=maker.names)


def _slot(maker: Maker, name: str, index: int) -> Slot:
    if name == "frozen":
        return Slot(TensorSpec(name, F32, (3,)), Source.STATE, index)
    node = maker.names[f"new_{name}" if name in ("w", "big", "log") else name]
    shape = maker.nodes[node].shape
    return Slot(TensorSpec(name, maker.nodes[node].dtype, shape), Source.NODE, node)


def _forward(maker: Maker) -> None:
    step, index = Instr(Op.STEP), Instr(Op.INDEX, 0)
    order = [step, _int(3), Instr(Op.IMUL, 0, 1), index, Instr(Op.IADD, 2, 3), _int(ROWS - 1), Instr(Op.IAND, 4, 5)]
    maker.add("rows", Kind.MAP, (BATCH,), [], program=order, dtype=I32)
    maker.add("x", Kind.GATHER, (BATCH, WIDTH), [("data", (0, 1, WIDTH)), ("rows", (1, 0))], ROWS)
    maker.add("y", Kind.DOT, (BATCH, OUT), [("x", (WIDTH, 0, 1)), ("w", (0, 1, OUT))], WIDTH, 21)
    maker.add("top", Kind.MAX, (BATCH,), [("y", (OUT, 1))], OUT)
    maker.sum_of("loss", "top", (1,), (0, 1), BATCH)
    maker.sum_of("one", "y", (OUT,), (1, 0), 1)
    maker.sum_of("sum64", "big", (2,), (64, 1), 64)
    maker.sum_of("sum65", "big", (2,), (65, 1), 65)
    maker.sum_of("long", "big", (1,), (0, 1), LONG)
    maker.add("back", Kind.SCATTER_ADD, (ROWS, WIDTH), [("x", (0, 1, WIDTH)), ("rows", (0, 0, 1))], BATCH, 31)


def _update(maker: Maker, extra_maps: int) -> None:
    read = [Instr(Op.INPUT, i) for i in range(5)]
    new_w = [*read[:4], _float(0.01), Instr(Op.ADD, 1, 2), Instr(Op.MUL, 5, 4), Instr(Op.MUL, 0, 3)]
    new_w += [Instr(Op.SUB, 7, 6)]
    inputs = [("w", (OUT, 1)), ("one", (0, 1)), ("back", (1, WIDTH)), ("half", (0, 0))]
    maker.add("new_w", Kind.MAP, (WIDTH, OUT), inputs, program=new_w)
    new_big = [*read[:2], Instr(Op.INDEX, 0), _int(1), Instr(Op.IADD, 2, 3), Instr(Op.TO_FLOAT, 4)]
    new_big += [Instr(Op.DIV, 1, 5), Instr(Op.SUB, 0, 6)]
    maker.add("new_big", Kind.MAP, (BIG,), [("big", (1,)), ("long", (0,))], program=new_big)
    for i in range(extra_maps):
        maker.add(f"extra{i}", Kind.MAP, (3,), [("frozen", (1,))], program=[read[0], Instr(Op.ADD, 0, 0)])
    _log(maker)


def _log(maker: Maker, interval: int = INTERVAL) -> None:
    """Adds the log (docs/protocol.md, section 3). `interval` must be a power of two."""
    position = [Instr(Op.INDEX, 0), Instr(Op.STEP), _int(interval - 1), Instr(Op.IAND, 1, 2)]
    maker.add("old_rows", Kind.MAP, (interval,), [], program=carried_rows(interval), dtype=I32)
    maker.add("old_log", Kind.GATHER, (interval, 1), [("log", (0, 1, 1)), ("old_rows", (1, 0))], interval)
    row = [*position, Instr(Op.IEQ, 0, 3), Instr(Op.INPUT, 0), Instr(Op.INPUT, 1), Instr(Op.SELECT, 4, 6, 5)]
    maker.add("new_log", Kind.MAP, (interval, 1), [("old_log", (1, 1)), ("loss", (0, 0))], program=row)


def tiny() -> Work:
    """One number that grows, in intervals of more than 256 steps."""
    maker = Maker({"x": (Source.STATE, 0, F32, 1), "log": (Source.STATE, 1, F32, LONG_INTERVAL)})
    grow = [Instr(Op.INPUT, 0), _float(1.001), Instr(Op.MUL, 0, 1)]
    maker.add("loss", Kind.MAP, (1,), [("x", (1,))], program=grow)
    _log(maker, LONG_INTERVAL)
    slots = (
        Slot(TensorSpec("x", F32, (1,)), Source.NODE, maker.names["loss"]),
        Slot(TensorSpec("log", F32, (LONG_INTERVAL, 1)), Source.NODE, maker.names["new_log"]),
    )
    graph = Graph(tuple(maker.nodes), slots, (), (), (), (), ("loss",))
    check(graph)
    state = (np.ones(1, np.float32), np.zeros(LONG_INTERVAL, np.float32))
    return Work(graph, (), (), state, 2 * LONG_INTERVAL, names=maker.names)
