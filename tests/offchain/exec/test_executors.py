"""Executors: the reference against exact arithmetic and its own single elements, torch against the reference."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from offchain.dispute.falsified import Falsehood, FalsifiedExecutor
from offchain.errors import BadBlob, BadInput, IllegalGraph, OffchainError
from offchain.exec import Setting, make_executor, reference
from offchain.exec.base import last_readers, state_after
from offchain.exec.eager.executor import TorchExecutor
from offchain.exec.make import EXECUTORS
from offchain.exec.plan.precision import single_is_exact
from offchain.exec.reference import ReferenceExecutor
from offchain.ir.arrays import Array
from offchain.ir.graph import Axis, Graph, Input, Node, Slot, Source, TensorSpec, View
from offchain.ir.kinds import Kind
from offchain.ir.primitives import TABLE, DType, Instr, Op
from tests.protocol.everything import everything
from tests.support.strategies import SPECIAL_FLOATS, SPECIAL_INTS, Case, float_words, graphs, nodes

F32, I32 = DType.F32, DType.I32
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")],
    ),
]
LOG = Slot(TensorSpec("log", F32, (1, 0)), Source.STATE, 0)


def words(arrays: Sequence[Array]) -> list[list[int]]:
    return [array.reshape(-1).view(np.uint32).tolist() for array in arrays]


def graph_of(*made: Node, constants: Sequence[Array] = ()) -> Graph:
    """A graph of these nodes that reads constants only; its state is the log."""
    specs = [
        TensorSpec(f"c{i}", F32 if array.dtype.kind == "f" else I32, array.shape) for i, array in enumerate(constants)
    ]
    log = Slot(TensorSpec("log", F32, (1, 1)), Source.STATE, 0)
    return Graph(made, (log,), tuple(specs), (bytes(32),) * len(specs), (), (), ("loss",))


def run_nodes(made: Sequence[Node], constants: Sequence[Array], device: str = "cpu", parts: int = 1) -> list[Array]:
    """Outputs of the nodes by torch, after checking that the reference gives the same."""
    graph = graph_of(*made, constants=constants)
    state = [np.zeros(1, np.float32)]
    truth = ReferenceExecutor(graph, constants, [])
    fast = TorchExecutor(graph, constants, [], Setting(device), parts)
    expected = list(truth.outputs(truth.load(state), 3))
    got = list(fast.outputs(fast.load(state), 3))
    assert words(got) == words(expected)
    return got


def constant(index: int, array: Array, view: View | None = None) -> Input:
    dtype = F32 if array.dtype.kind == "f" else I32
    return Input(Source.CONST, index, dtype, array.size, view or View.contiguous(array.shape))


# --- all executors, random graphs --------------------------------------------------------------------------------


def assert_same(case: Case, device: str, parts: int) -> None:
    truth = ReferenceExecutor(case.graph, case.constants, case.datasets)
    fast = TorchExecutor(case.graph, case.constants, case.datasets, Setting(device), parts)
    slow_state, fast_state = truth.load(case.state), fast.load(case.state)
    assert words(list(fast.outputs(fast_state, case.t))) == words(list(truth.outputs(slow_state, case.t)))
    slow_next, fast_next = truth.step(slow_state, case.t), fast.step(fast_state, case.t)
    assert words(fast.dump(fast_next)) == words(truth.dump(slow_next))
    assert words(fast.dump(fast_state)) == words(truth.dump(slow_state)) == words(case.state)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", list(Kind))
def test_torch_equals_reference_on_every_kind(kind: Kind, device: str) -> None:
    @given(nodes(kind), st.sampled_from([1, 2, 3]))
    def check(case: Case, parts: int) -> None:
        assert_same(case, device, parts)

    check()


@pytest.mark.parametrize("name", [*EXECUTORS, "falsified"])
def test_whoever_writes_to_an_output_changes_nothing_else(name: str) -> None:
    """Of a step of every node kind: neither later outputs, nor the state, nor the step that comes after."""
    work = everything()
    executor = make_executor("fused" if name == "falsified" else name, work.graph, work.constants, work.datasets)
    if name == "falsified":
        executor = FalsifiedExecutor(executor, work.ledger, Falsehood(0, work.names["y"], 3))
    state = executor.load(work.state)
    right = words(list(executor.outputs(state, 0)))
    for output, word in zip(executor.outputs(state, 0), right, strict=True):
        assert words([output]) == [word]
        output[:] = 77
    for array in (*list(executor.outputs(state, 0)), *executor.dump(state)):
        array[:] = 77
    assert words(list(executor.outputs(state, 0))) == right
    after = executor.dump(executor.step(state, 0))
    assert words(after) == words(state_after(work.graph, work.state, [np.array(w, np.uint32) for w in right]))


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("device", DEVICES)
def test_torch_equals_reference_on_graphs_with_any_threads(threads: int, device: str) -> None:
    @given(graphs(), st.sampled_from([1, 2, 3]))
    def check(case: Case, parts: int) -> None:
        assert_same(case, device, parts)

    check()


@pytest.mark.parametrize("device", DEVICES)
def test_a_batch_of_thousands_in_any_parts_and_threads(threads: int, device: str) -> None:
    rng = np.random.default_rng(threads)
    a, b = (float_words(rng, n, "normal").reshape(s) for n, s in ((40 * 5000, (40, 5000)), (5000 * 30, (5000, 30))))
    a[3] *= np.float32(2.0**100)
    b[:, 4] *= np.float32(2.0**-130)
    shape, extent = (40, 30), 5000
    left = View.strided((40, 30, extent), (5000, 0, 1))
    right = View.strided((40, 30, extent), (0, 1, 30))
    inputs = (constant(0, a, left), constant(1, b, right))
    made = [Node(Kind.DOT, F32, shape, inputs, extent, bits) for bits in (8, 20)]
    results = [words(run_nodes(made, [a, b], device, parts)) for parts in (1, 7)]
    assert results[0] == results[1]


@pytest.mark.parametrize("bits", [2, 8, 21, 25])
@pytest.mark.parametrize("device", DEVICES)
def test_dot_over_batch_rows_columns_and_repetitions(bits: int, device: str) -> None:
    """Shape (batch 2, rows 3, repeated 2, batch 4, columns 5), both operands with padding and a reversed axis."""
    rng, shape, extent = np.random.default_rng(bits), (2, 3, 2, 4, 5), 6
    a, b = float_words(rng, 400, "normal"), float_words(rng, 400, "normal")
    a[7], b[11], b[12] = np.inf, np.nan, np.float32(2.0**-149)

    def view(strides: tuple[int, ...], ranges: dict[int, tuple[int, int]], offset: int) -> View:
        axes = [
            Axis(stride, *ranges.get(d, (0, n)))
            for d, (stride, n) in enumerate(zip(strides, (*shape, extent), strict=True))
        ]
        return View(offset, tuple(axes))

    views = [
        view((72, 24, 0, 6, 0, 1), {3: (1, 4), 5: (0, 5)}, 0),
        view((120, 0, 0, 30, -6, 1), {4: (0, 4)}, 120),
    ]
    inputs = (constant(0, a, views[0]), constant(1, b, views[1]))
    run_nodes([Node(Kind.DOT, F32, shape, inputs, extent, bits)], [a, b], device, parts=2)


@pytest.mark.parametrize("newer", [False, True])
def test_float32_products_give_way_where_torch_may_round_operands(newer: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert single_is_exact()
    if newer:  # after which torch refuses to answer in the older way
        monkeypatch.setattr(torch.backends.mkldnn.matmul, "fp32_precision", "bf16")
    else:
        torch.set_float32_matmul_precision("medium")
    try:
        assert not single_is_exact()
        test_dot_over_batch_rows_columns_and_repetitions(8, "cpu")
    finally:
        torch.set_float32_matmul_precision("highest")


# --- hardware traps ----------------------------------------------------------------------------------------------

_SAMPLES = {
    F32: np.array(SPECIAL_FLOATS, np.uint32).view(np.float32),
    I32: np.array([*SPECIAL_INTS, 33, 63, 64, 2**32 - 32, 0x12345678], np.uint32).view(np.int32),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("op", [op for op, row in TABLE.items() if row.operands])
def test_primitive_on_all_pairs_of_special_words(op: Op, device: str) -> None:
    """Wrapping, shifts by 32 and more, division by zero, 0·inf, signed zeros, subnormals: torch as the reference."""
    rng = np.random.default_rng(int(op))
    for branch in (F32, I32) if op is Op.SELECT else (F32,):
        types = [dtype or branch for dtype in TABLE[op].operands]
        samples = [
            np.concatenate([_SAMPLES[t], rng.integers(0, 2**32, 30, dtype=np.uint32).view(_SAMPLES[t].dtype)])
            for t in types
        ]
        samples = [reference.canonical(s) for s in samples]
        shape = tuple(map(len, samples))
        inputs = [
            constant(n, s, View.strided(shape, tuple(int(d == n) for d in range(len(shape)))))
            for n, s in enumerate(samples)
        ]
        program = (*(Instr(Op.INPUT, n) for n in range(len(inputs))), Instr(op, *range(len(inputs))))
        result = TABLE[op].result or branch
        run_nodes([Node(Kind.MAP, result, shape, tuple(inputs), program=program)], samples, device)


@pytest.mark.parametrize("device", DEVICES)
def test_square_root_and_quotient_are_correctly_rounded(device: str) -> None:
    rng = np.random.default_rng(0)
    a, b = (np.abs(float_words(rng, 200_000, "any")) for _ in range(2))
    code = {
        Op.SQRT: (Instr(Op.INPUT, 0), Instr(Op.SQRT, 0)),
        Op.DIV: (Instr(Op.INPUT, 0), Instr(Op.INPUT, 1), Instr(Op.DIV, 0, 1)),
    }
    made = [Node(Kind.MAP, F32, a.shape, (constant(0, a), constant(1, b)), program=p) for p in code.values()]
    run_nodes(made, [a, b], device)


@pytest.mark.parametrize("device", DEVICES)
def test_division_by_a_constant_is_a_division(device: str) -> None:
    x = float_words(np.random.default_rng(0), 10_000, "normal")
    program = (Instr(Op.INPUT, 0), Instr.const(F32, 0x40400000), Instr(Op.DIV, 0, 1))
    (got,) = run_nodes([Node(Kind.MAP, F32, x.shape, (constant(0, x),), program=program)], [x], device)
    assert words([got]) == words([x / np.float32(3)])


def test_torch_that_flushes_subnormals_is_refused() -> None:
    make_executor("torch", copy_graph(), [], [])
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush")
    try:
        with pytest.raises(OffchainError, match="flushes subnormals"):
            make_executor("torch", copy_graph(), [], [])
    finally:
        torch.set_flush_denormal(False)


# --- views -------------------------------------------------------------------------------------------------------


def test_view_pads_reverses_and_repeats() -> None:
    x = np.arange(1, 7, dtype=np.float32)
    view = View(5, (Axis(0, 0, 2), Axis(-2, 1, 3)))  # reads x[5 - 2k] at k = 1, 2 of 0..3
    node = Node(Kind.MAP, F32, (2, 4), (constant(0, x, view),), program=(Instr(Op.INPUT, 0),))
    (got,) = run_nodes([node], [x])
    assert got.tolist() == [0, 4, 2, 0] * 2


def test_gather_outside_the_table_reads_zero() -> None:
    table, index = np.arange(1, 7, dtype=np.float32), np.array([2, -1, 3, 0, -(2**31)], np.int32)
    whole = View.strided((5, 2, 3), (0, 1, 2))
    picked = constant(1, index, View.strided((5, 2), (1, 0)))
    (got,) = run_nodes([Node(Kind.GATHER, F32, (5, 2), (constant(0, table, whole), picked), 3)], [table, index])
    assert got.tolist() == [5, 6, 0, 0, 0, 0, 1, 2, 0, 0]


def test_scatter_add_drops_rows_outside() -> None:
    x, index = np.array([1, 2, 4, 8], np.float32), np.array([1, -1, 1, 9], np.int32)
    values = constant(0, x, View.strided((3, 4), (0, 1)))
    inputs = (values, constant(1, index, View.strided((3, 4), (0, 1))))
    (got,) = run_nodes([Node(Kind.SCATTER_ADD, F32, (3,), inputs, 4, 20)], [x, index])
    assert got.tolist() == [0, 5, 0]
    assert words([got])[0][0] == 0  # an empty sum is +0


# --- single elements ---------------------------------------------------------------------------------------------


@given(graphs(most=3), st.data())
def test_single_elements_are_those_of_the_trace(case: Case, data: st.DataObject) -> None:
    truth = ReferenceExecutor(case.graph, case.constants, case.datasets)
    outputs = list(truth.outputs(case.state, case.t))
    n = data.draw(st.integers(0, len(outputs) - 1))
    node, sources = case.graph.nodes[n], truth.sources(case.graph.nodes[n], case.state, outputs)
    element = data.draw(st.integers(0, node.length - 1))
    claimed = int(outputs[n].view(np.uint32)[element])
    assert reference.element_value(node, sources, element, case.t) == claimed
    if node.bits:
        total = int(reference.terms(node, sources, element).sum())
        scales = reference.exponents(node, sources, element)
        assert reference.rounded_word(node, scales, total) == claimed
        for operand, e in enumerate(scales):
            assert reference.exponent_keys(node, sources, element, operand).max() == e
    if node.kind is Kind.MAX:
        keys = reference.extremum_keys(node, sources, element)
        assert keys.max() == reference.key(outputs[n][element : element + 1])[0]


# --- inputs that do not fit --------------------------------------------------------------------------------------


def copy_graph() -> Graph:
    read = Input(Source.STATE, 0, F32, 3, View.contiguous((3,)))
    node = Node(Kind.MAP, F32, (3,), (read,), program=(Instr(Op.INPUT, 0), Instr(Op.ADD, 0, 0)))
    slots = (
        Slot(TensorSpec("x", F32, (3,)), Source.NODE, 0),
        Slot(TensorSpec("before", F32, (3,)), Source.STATE, 0),
        Slot(TensorSpec("log", F32, (1, 1)), Source.STATE, 2),
    )
    return Graph((node,), slots, (), (), (), (), ("loss",))


EXECUTORS = ["reference", "torch"]


@pytest.mark.parametrize("name", EXECUTORS)
def test_step_leaves_its_argument_and_passes_slots_through(name: str) -> None:
    executor = make_executor(name, copy_graph(), [], [])
    given_state = [np.array([1, 2, 3], np.float32), np.zeros(3, np.float32), np.zeros(1, np.float32)]
    state = executor.load(given_state)
    after = executor.step(state, 0)
    executor.dump(after)[0][:] = 99
    given_state[0][:] = 77
    assert [a.tolist() for a in executor.dump(state)] == [[1, 2, 3], [0, 0, 0], [0]]
    assert [a.tolist() for a in executor.dump(after)] == [[2, 4, 6], [1, 2, 3], [0]]


@pytest.mark.parametrize("name", EXECUTORS)
@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(np.zeros(4, np.float32), id="length"),
        pytest.param(np.zeros(3, np.int32), id="dtype"),
        pytest.param(np.array([0, 0xFFC00000, 0], np.uint32).view(np.float32), id="nan"),
    ],
)
def test_load_refuses(name: str, bad: Array) -> None:
    executor = make_executor(name, copy_graph(), [], [])
    with pytest.raises(BadBlob, match="slot x"):
        executor.load([bad, np.zeros(3, np.float32), np.zeros(1, np.float32)])
    with pytest.raises(BadBlob, match="1 arrays for 3"):
        executor.load([bad])


@pytest.mark.parametrize("name", EXECUTORS)
def test_executor_refuses_an_illegal_graph(name: str) -> None:
    graph = copy_graph()
    reading_beyond = Input(Source.STATE, 0, F32, 3, View(1, (Axis(1, 0, 3),)))
    bad = Node(Kind.MAP, F32, (3,), (reading_beyond,), program=(Instr(Op.INPUT, 0),))
    with pytest.raises(IllegalGraph, match="outside its source"):
        make_executor(name, Graph((bad,), graph.slots, (), (), (), (), ("loss",)), [], [])


def test_make_executor_refuses_an_unknown_name() -> None:
    with pytest.raises(BadInput, match="no executor 'abacus'"):
        make_executor("abacus", copy_graph(), [], [])


def test_outputs_die_after_their_last_reader() -> None:
    def copy(source: Source, index: int) -> Node:
        read = Input(source, index, F32, 3, View.contiguous((3,)))
        return Node(Kind.MAP, F32, (3,), (read,), program=(Instr(Op.INPUT, 0),))

    made = (copy(Source.STATE, 0), copy(Source.NODE, 0), copy(Source.NODE, 1), copy(Source.NODE, 0))
    slots = (Slot(TensorSpec("x", F32, (3,)), Source.NODE, 2), Slot(TensorSpec("log", F32, (1, 1)), Source.STATE, 1))
    assert last_readers(Graph(made, slots, (), (), (), (), ("loss",))) == [(), (), (1,), (0, 3)]


# --- speed -------------------------------------------------------------------------------------------------------


def mlp(batch: int, sizes: tuple[int, int, int], bits: int) -> tuple[Graph, list[Array]]:
    """x·A, relu, ·B: the forward pass of two layers."""
    rng = np.random.default_rng(0)
    shapes = [(batch, sizes[0]), (sizes[0], sizes[1]), (sizes[1], sizes[2])]
    arrays = [rng.standard_normal(s, dtype=np.float32) for s in shapes]
    made: list[Node] = []

    def dot(left: tuple[Source, int], right: int, k: int, columns: int) -> int:
        shape = (batch, columns)
        a, b = (*left, F32, batch * k), (Source.CONST, right, F32, k * columns)
        inputs = (
            Input(*a, View.strided((*shape, k), (k, 0, 1))),
            Input(*b, View.strided((*shape, k), (0, 1, columns))),
        )
        made.append(Node(Kind.DOT, F32, shape, inputs, k, bits))
        return len(made) - 1

    hidden = dot((Source.CONST, 0), 1, sizes[0], sizes[1])
    read = Input(Source.NODE, hidden, F32, batch * sizes[1], View.contiguous((batch, sizes[1])))
    relu = (Instr(Op.INPUT, 0), Instr.const(F32, 0), Instr(Op.LT, 1, 0), Instr(Op.SELECT, 2, 0, 1))
    made.append(Node(Kind.MAP, F32, (batch, sizes[1]), (read,), program=relu))
    dot((Source.NODE, len(made) - 1), 2, sizes[1], sizes[2])
    return graph_of(*made, constants=arrays), arrays


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 21])
def test_two_layers_take_at_most_ten_times_plain_torch(bits: int) -> None:
    graph, arrays = mlp(512, (512, 1024, 512), bits)
    executor = TorchExecutor(graph, arrays, [])
    state = executor.load([np.zeros(1, np.float32)])
    x, a, b = map(torch.from_numpy, arrays)

    def best(run: object) -> float:
        times = []
        for _ in range(7):
            start = time.thread_time()
            run()  # type: ignore[operator]
            times.append(time.thread_time() - start)
        return min(times)

    torch_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    exact, plain = best(lambda: executor.step(state, 0)), best(lambda: torch.relu(x @ a) @ b)
    torch.set_num_threads(torch_threads)
    print(f"{bits} bits: {exact * 1e3:.1f} ms, plain {plain * 1e3:.1f} ms")
    assert exact < 10 * plain
