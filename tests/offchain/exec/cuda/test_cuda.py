"""The fused executor on CUDA: equal to the reference, in Triton's interpreter where there is no GPU."""

from __future__ import annotations

import gc
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from offchain.errors import BadInput, OffchainError, OutOfMemory
from offchain.exec import make_executor, selfcheck
from offchain.exec.base import Limits, Setting
from offchain.exec.cuda import engines, tuning
from offchain.exec.cuda.engines import INT8_TERMS, Engine, Float64, Int8, digits_of
from offchain.exec.cuda.tuning import Tuner, trial_operands
from offchain.exec.plan.products import product_of
from offchain.exec.reference import ReferenceExecutor
from offchain.ir.arrays import Array
from offchain.ir.graph import Axis, Graph, Input, Node, Slot, Source, TensorSpec, View
from offchain.ir.kinds import Kind
from offchain.ir.legality import check as check_legal
from offchain.ir.primitives import DType, Instr, Op
from tests.offchain.exec.plan.test_memory import spreading
from tests.support.strategies import Case, Draw, float_words, graphs, nodes, over_state

GPU = torch.cuda.is_available()
INTERPRETED = {} if GPU else {"TRITON_INTERPRET": "1"}
with patch.dict(os.environ, INTERPRETED):  # Triton's own functions are what it says when they are first imported
    pytest.importorskip("triton")
    from offchain.exec.cuda import device, reductions  # noqa: F401
    from offchain.exec.cuda import graphs as cuda_graphs
    from offchain.exec.cuda.executor import CudaExecutor
    from tests.support.ptx import Always

DEVICE = torch.device("cuda" if GPU else "cpu")
ENGINES = ["float64", "float32", "int8"]
ROOT = Path(__file__).parents[4]
F32, I32 = DType.F32, DType.I32
FAR = [1 << 31, -(1 << 31), (1 << 31) - 1, 1 << 40, -(1 << 50)]  # elements from one coordinate to the next
pytestmark = [
    *([pytest.mark.gpu] if GPU else []),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:triton"),  # NumPy's, in the interpreter
]
drawn = settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=100 if GPU else 12)


@pytest.fixture(autouse=True, scope="module")
def interpreter() -> object:
    with patch.dict(os.environ, INTERPRETED):
        yield


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    with patch.dict(os.environ, OFFCHAIN_KERNELS=str(tmp_path_factory.mktemp("kernels"))):
        yield


def words(arrays: Sequence[Array]) -> list[list[int]]:
    return [array.reshape(-1).view(np.uint32).tolist() for array in arrays]


def executor(case: Case, engine: str | None = None) -> CudaExecutor:
    tuner = None if engine is None else Always(engine, DEVICE)
    return CudaExecutor(case.graph, case.constants, case.datasets, Setting(str(DEVICE)), tuner)


def assert_same(case: Case, engine: str | None = None) -> None:
    truth, fast = ReferenceExecutor(case.graph, case.constants, case.datasets), executor(case, engine)
    slow_state, fast_state = truth.load(case.state), fast.load(case.state)
    assert words(list(fast.outputs(fast_state, case.t))) == words(list(truth.outputs(slow_state, case.t)))
    slow_next, fast_next = truth.step(slow_state, case.t), fast.step(fast_state, case.t)
    assert words(fast.dump(fast_next)) == words(truth.dump(slow_next))
    assert words(fast.dump(fast_state)) == words(case.state)


# --- the reference -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(Kind))
@drawn
@given(data=st.data(), engine=st.sampled_from(ENGINES))
def test_nodes_equal_the_reference(kind: Kind, data: st.DataObject, engine: str) -> None:
    assert_same(data.draw(nodes(kind)), engine)


@drawn
@given(case=graphs())
def test_graphs_equal_the_reference_with_engines_of_its_own_choice(case: Case) -> None:
    assert_same(case)


def distant(draw: Draw, node: Node) -> Node:
    """The node with views that are valid at one coordinate of some axis, along which the stride is beyond 32 bits."""
    inputs = []
    for position, item in enumerate(node.inputs):
        axes, offset = list(item.view.axes), item.view.offset
        still = (1, len(node.shape))[position] if node.kind is Kind.SCATTER_ADD else 0
        if still < len(axes):
            d, by = draw(st.integers(still, len(axes) - 1)), draw(st.sampled_from(FAR))
            at = draw(st.integers(axes[d].lo, max(axes[d].hi - 1, axes[d].lo)))
            axes[d] = Axis(axes[d].stride + by, at, min(at + 1, axes[d].hi))
            offset -= by * at
        inputs.append(replace(item, view=View(offset, tuple(axes))))
    return replace(node, inputs=tuple(inputs))


@pytest.mark.parametrize("kind", list(Kind))
@drawn
@given(data=st.data(), engine=st.sampled_from(ENGINES))
def test_strides_beyond_32_bits_where_one_coordinate_is_valid(kind: Kind, data: st.DataObject, engine: str) -> None:
    case = data.draw(nodes(kind))
    *before, node = case.graph.nodes
    case = replace(case, graph=replace(case.graph, nodes=(*before, distant(data.draw, node))))
    check_legal(case.graph)
    assert_same(case, engine)


def test_an_offset_that_cutting_moves_beyond_64_bits() -> None:
    nothing = Input(Source.STATE, 0, F32, 8, View(0, (Axis(0, 0, 0), Axis(1 << 62, 0, 8))))
    late = (Instr(Op.INDEX, 1), Instr.const(I32, 6), Instr(Op.ILT, 1, 2), Instr(Op.TO_FLOAT, 3), Instr(Op.ADD, 0, 4))
    node = Node(Kind.MAP, F32, (2, 8), (nothing,), program=(Instr(Op.INPUT, 0), *late))
    assert_same(over_state([node], [np.ones(8, np.float32)]))


def test_terms_of_an_address_beyond_32_bits_in_a_small_table() -> None:
    """Of coordinates that are far from 0, all valid ones: what k adds, the offset takes away."""
    extent, stride = 1 << 21, 2000
    lo = extent - 4
    table = Input(Source.STATE, 0, F32, 2 * stride + 5, View(-stride * lo, (Axis(1, 0, 5), Axis(stride, lo, lo + 3))))
    index = Input(Source.STATE, 1, I32, 5, View.contiguous((5,)))
    rows = np.array([lo + 2, lo - 1, lo, lo + 1, lo + 3], np.int32)
    values = float_words(np.random.default_rng(0), table.length, "normal")
    case = over_state([Node(Kind.GATHER, F32, (5,), (table, index), extent)], [values, rows])
    check_legal(case.graph)
    assert_same(case)


def test_outputs_of_a_step_that_another_overtook() -> None:
    item = Input(Source.STATE, 0, F32, 1, View.contiguous((1,)))
    copy = Node(Kind.MAP, F32, (1,), (item,), program=(Instr(Op.INPUT),))
    log = Slot(TensorSpec("log", F32, (1, 1)), Source.NODE, 1)
    fast = CudaExecutor(Graph((copy, copy), (log,), (), (), (), (), ("loss",)), [], [], Setting(str(DEVICE)))
    state = fast.load([np.zeros(1, np.float32)])
    outputs = fast.outputs(state, 0)
    next(outputs)
    fast.step(state, 0)
    with pytest.raises(OffchainError, match="another step began"):
        next(outputs)


@pytest.mark.parametrize("check", [selfcheck.combined, selfcheck.separate])
def test_every_primitive_on_special_words(check: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfcheck, "_passed", set())
    monkeypatch.setattr(selfcheck, "combined", check)
    selfcheck.require_bits("fused", str(DEVICE), lambda *given: CudaExecutor(*given, Setting(str(DEVICE))))


def dot(rows: int, columns: int, extent: int, bits: int, down: bool = False) -> Node:
    """A product of matrices; `down` has k as the farther axis of both in memory."""
    left = View.strided((rows, columns, extent), (1, 0, rows) if down else (extent, 0, 1))
    right = View.strided((rows, columns, extent), (0, 1, columns) if down else (0, extent, 1))
    reads = (Input(Source.STATE, 0, F32, rows * extent, left), Input(Source.STATE, 1, F32, columns * extent, right))
    return Node(Kind.DOT, F32, (rows, columns), reads, extent, bits)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("down", "bits"), [(False, 21), (True, 8)])
def test_a_product_whose_k_is_shared_by_programs(
    engine: str, down: bool, bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reductions, "TILE", 32)
    node = dot(3, 5, 40, bits, down)
    sides = product_of(node).first, product_of(node).second
    assert all(reductions.is_split(side.item, side.shape, node.extent) for side in sides)
    rng = np.random.default_rng(bits)
    state = [float_words(rng, item.length, "normal") for item in node.inputs]
    state[0][7] *= np.float32(2.0**100)
    assert_same(over_state([node], state), engine)


@pytest.mark.parametrize("dtype", list(DType))
def test_few_results_of_many_terms(dtype: DType) -> None:
    """What programs join by atomic operations: sum, max, and rows scattered by an index or by a mask."""
    rng, k = np.random.default_rng(0), 9000
    real, whole = float_words(rng, 2 * k, "normal"), rng.integers(-(2**31), 2**31, 2 * k, dtype=np.int32)
    index = rng.integers(-1, 4, k, dtype=np.int32)
    view = View.strided((2, k), (k, 1))
    x = Input(Source.STATE, int(dtype is I32), dtype, 2 * k, view)
    made = [Node(Kind.MAX, dtype, (2,), (x,), k)]
    if dtype is F32:
        rows = Input(Source.STATE, 0, F32, 2 * k, View.strided((3, 2, k), (0, k, 1)))
        named = Input(Source.STATE, 2, I32, k, View.strided((3, 2, k), (0, 0, 1)))
        made += [Node(Kind.SUM, F32, (2,), (x,), k, 31), Node(Kind.SCATTER_ADD, F32, (3, 2), (rows, named), k, 31)]
    assert_same(over_state(made, [real, whole, index]))


# --- engines -----------------------------------------------------------------------------------------------------


def totals(engine: Engine, operands: Sequence[torch.Tensor]) -> torch.Tensor:
    packed = [packing.pack(q) for packing, q in zip(engine.packings, operands, strict=True)]
    found = torch.empty(len(engine.weights) * engine.part, dtype=engine.total, device=DEVICE)
    engine(found, *packed)
    return engine.whole(found)


@pytest.mark.parametrize("bits", [2, 7, 8, 9, 15, 16, 21, 23, 24, 27])
@pytest.mark.parametrize("down", [False, True])
def test_engines_agree_on_integers_of_all_bits(bits: int, down: bool) -> None:
    made = engines.engines(product_of(dot(5, 33, 2 if bits == 27 else 40, bits, down)), bits)
    assert len(made) == 2 + (bits <= 8)
    for operands in (
        trial_operands(made[0], DEVICE),
        [torch.full_like(q, 1 - 2 ** (bits - 1)) for q in _ones(made[0])],
    ):
        exact = operands[0] @ operands[1].transpose(1, 2) if not GPU else None
        first = totals(made[0], operands)
        assert exact is None or torch.equal(first, exact)
        assert all(torch.equal(totals(engine, operands), first) for engine in made[1:])


def _ones(engine: Engine) -> list[torch.Tensor]:
    return [torch.ones_like(q) for q in trial_operands(engine, DEVICE)]


@pytest.mark.parametrize("bits", [8, 15])
def test_int8_sums_that_are_as_long_as_an_int32_holds(bits: int) -> None:
    """Digits of -128 wherever the bits allow them, which only numbers of more than eight bits have."""
    for extent in (INT8_TERMS // digits_of(bits) // 16 * 16, INT8_TERMS + 1):
        product = product_of(dot(2, 3, extent, bits))
        value = max(-sum(128 * 256**n for n in range(digits_of(bits) - 1)), 1 - (1 << (bits - 1))) if bits > 8 else -127
        operands = [torch.full_like(q, value) for q in _ones(Int8(product, bits))]
        found = totals(Int8(product, bits), operands)
        assert found.unique().tolist() == [value * value * extent]
        assert torch.equal(found, totals(Float64(product, bits), operands))


def test_digits_hold_their_integers() -> None:
    assert [digits_of(bits) for bits in (2, 8, 9, 15, 16, 23, 24, 27)] == [1, 1, 2, 2, 3, 3, 4, 4]


def test_a_float32_engine_gives_way_to_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    product = product_of(dot(4, 4, 64, 8))
    single = engines.engines(product, 8)[1]
    operands = trial_operands(single, DEVICE)
    expected = totals(single, operands)
    torch.set_float32_matmul_precision("high")
    try:
        assert [engine.name for engine in engines.engines(product, 8)] == ["float64", "int8"]
        assert torch.equal(totals(single, operands), expected)
    finally:
        torch.set_float32_matmul_precision("highest")
    with monkeypatch.context() as patched:  # torch's newer way, after which it refuses to answer the older
        patched.setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32")
        assert [engine.name for engine in engines.engines(product, 8)] == ["float64", "int8"]
    assert torch.get_float32_matmul_precision() == "highest"
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    assert [engine.name for engine in engines.engines(product, 8)] == ["float64", "int8"]


# --- which engine ------------------------------------------------------------------------------------------------


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OFFCHAIN_KERNELS", str(tmp_path))
    return tmp_path


def test_a_product_is_tried_once_and_remembered(empty_cache: Path) -> None:
    tuner = Tuner(DEVICE)
    made = [engines.engines(product_of(dot(8, 8, k, bits)), bits) for k, bits in ((32, 8), (32, 21), (64, 21))]
    chosen = [tuner.choose(choices).name for choices in made]
    assert [tuner.choose(choices).name for choices in made] == chosen
    assert tuner.measured == 3
    again = Tuner(DEVICE)
    assert [again.choose(choices).name for choices in made] == chosen
    assert again.measured == 0
    (entry,) = empty_cache.iterdir()
    entry.write_bytes(entry.read_bytes()[:-1])
    assert Tuner(DEVICE)._chosen == {}


def test_the_fastest_that_is_right_is_taken(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = engines.engines(product_of(dot(8, 8, 32, 8)), 8)
    took = {"float64": 3.0, "float32": 2.0, "int8": 1.0}
    right = tuning.Tuner._try
    wrong: list[str] = []

    def tried(self: Tuner, engine: Engine, operands: Sequence[torch.Tensor]) -> tuple[torch.Tensor, float]:
        if engine.name in wrong[:1]:
            return right(self, engine, operands)[0] + 1, took[engine.name]
        if engine.name in wrong:
            raise RuntimeError("the device has no such product")
        return right(self, engine, operands)[0], took[engine.name]

    monkeypatch.setattr(tuning.Tuner, "_try", tried)
    for wrong[:], expected in (([], "int8"), (["int8"], "float32"), (["int8", "float32"], "float64")):
        assert Tuner(DEVICE)._fastest(made).name == expected


# --- graphs of launches ------------------------------------------------------------------------------------------


def counter() -> Case:
    """State 1 is twice state 0 and state 0 follows it; state 2 stays."""
    item = Input(Source.STATE, 0, F32, 4, View.contiguous((4,)))
    double = Node(Kind.MAP, F32, (4,), (item,), program=(Instr(Op.INPUT), Instr(Op.ADD, 0, 0)))
    slots = [(Source.NODE, 0), (Source.NODE, 0), (Source.STATE, 2)]
    made = [Slot(TensorSpec(f"s{n}", F32, (4,)), source, index) for n, (source, index) in enumerate(slots)]
    log = Slot(TensorSpec("log", F32, (1, 4)), Source.NODE, 0)
    graph = Graph((double,), (*made, log), (), (), (), (), ("a", "b", "c", "d"))
    return Case(graph, [np.arange(4, dtype=np.float32) + n for n in range(4)], [], [], 0)


def after_steps(fast: CudaExecutor, case: Case, steps: int) -> list[list[int]]:
    state = fast.load(case.state)
    for t in range(steps):
        state = fast.step(state, t)
    return words(fast.dump(state))


def expected_after(case: Case, steps: int) -> list[list[int]]:
    truth = ReferenceExecutor(case.graph, case.constants, case.datasets)
    state = truth.load(case.state)
    for t in range(steps):
        state = truth.step(state, t)
    return words(truth.dump(state))


def test_steps_are_recorded_once_for_two_states_that_take_turns() -> None:
    case, steps = counter(), 9
    fast = executor(case)
    assert after_steps(fast, case, steps) == expected_after(case, steps)
    assert len(fast._graphs.recorded) == 2


def test_a_state_that_is_held_keeps_its_bits_while_steps_are_replayed() -> None:
    case = counter()
    fast = executor(case)
    states = [fast.load(case.state)]
    for t in range(7):
        states.append(fast.step(states[-1], t))
    assert [words(fast.dump(state)) for state in states] == [expected_after(case, n) for n in range(8)]


@pytest.mark.parametrize("fails", [1, 2])
def test_steps_go_on_where_no_graph_can_be_recorded(
    fails: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At once, or later: memory for a graph is gone, or CUDA refuses what another thread does meanwhile."""
    right, asked = cuda_graphs.recorded, []

    def recorded(work: cuda_graphs.Work, device: torch.device) -> cuda_graphs.Work:
        asked.append(work)
        if len(asked) == fails:
            raise RuntimeError("operation not permitted when stream is capturing\nand more")
        return right(work, device)

    monkeypatch.setattr(cuda_graphs, "recorded", recorded)
    case = counter()
    fast = executor(case)
    assert after_steps(fast, case, 6) == expected_after(case, 6)
    assert len(asked) == fails and not fast._graphs.recorded
    assert "launched one by one, as operation not permitted when stream is capturing" in caplog.text


def test_a_graph_that_gives_other_bits_is_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cuda_graphs, "recorded", lambda work, device: lambda: None)
    case = counter()
    fast = executor(case)
    assert after_steps(fast, case, 5) == expected_after(case, 5)
    assert "launched one by one, as CUDA graphs give other bits" in caplog.text


def test_no_more_is_recorded_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "MOST", 1)
    case = counter()
    fast = executor(case)
    assert after_steps(fast, case, 6) == expected_after(case, 6)
    assert not fast._graphs.recorded


# --- what is refused ---------------------------------------------------------------------------------------------


def one_node() -> Case:
    return over_state([dot(2, 2, 3, 8)], [np.ones(6, np.float32), np.ones(6, np.float32)])


def test_without_triton_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(BadInput, match="fused needs Triton on cuda: pip install triton, or take --executor torch"):
        make_executor("fused", one_node().graph, [], [], Setting("cuda"))


def test_kernels_on_a_cpu_need_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(BadInput, match="TRITON_INTERPRET=1"):
        CudaExecutor(one_node().graph, [], [])


@pytest.mark.skipif(GPU, reason="a GPU may have as much")
def test_a_step_that_does_not_fit_names_its_node() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 35, hard))
    try:
        with pytest.raises(OutOfMemory, match=r"node 1 \(map\) needs 68.7 GB to make an output of shape"):
            CudaExecutor(spreading(1 << 34, kept=False), [], [], Setting(str(DEVICE)))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_limits_are_kept_before_anything_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = "offchain.exec.cuda.executor.prepare"
    monkeypatch.setattr(compiled, lambda *given: pytest.fail("it was compiled before it was refused"))
    graph = one_node().graph
    with pytest.raises(OutOfMemory, match=r"^node 0 \(dot\) needs .* a step may take 100 B$"):
        CudaExecutor(graph, [], [], Setting(str(DEVICE), limits=Limits(memory=100)))
    with pytest.raises(BadInput, match=r"^the graph needs [2-9] kernels, of which 1 may be compiled$"):
        CudaExecutor(graph, [], [], Setting(str(DEVICE), limits=Limits(kernels=1)))


def test_source_lies_in_the_cache_folder_and_is_put_right(empty_cache: Path) -> None:
    from offchain.exec.cuda import kernel

    kernel._functions.cache_clear()
    assert_same(one_node(), "int8")
    sources = sorted(empty_cache.glob("*.py"))
    texts = [source.read_text() for source in sources]
    assert texts and all("@triton.jit" in text for text in texts)
    sources[0].write_text("raise SystemExit")
    kernel._functions.cache_clear()
    assert_same(one_node(), "int8")
    assert [source.read_text() for source in sources] == texts


def test_no_garbage_is_collected_while_threads_parse_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    from offchain.exec.cuda.kernel import TritonKernel

    right, collects = TritonKernel.prepare, []

    def prepared(self: TritonKernel) -> object:
        collects.append(gc.isenabled())
        return right(self)

    monkeypatch.setattr(TritonKernel, "prepare", prepared)
    assert gc.isenabled()
    executor(one_node())
    assert collects and not any(collects)
    assert gc.isenabled()


# --- the compiler ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def instructions(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every PTX instruction of the self-check's kernels, by a process in which nothing is interpreted."""
    settings_ = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    settings_["TRITON_CACHE_DIR"] = str(tmp_path_factory.mktemp("triton"))
    command = [sys.executable, "-W", "error", "-m", "tests.support.ptx"]
    done = subprocess.run(command, cwd=ROOT, env=settings_, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_compiled_kernels_round_correctly_and_keep_subnormals(instructions: set[str]) -> None:
    from tests.support.ptx import FORBIDDEN

    assert {"div.rn.f32", "sqrt.rn.f32", "mul.rn.f32", "add.rn.f32", "mul.rn.f64"} <= instructions
    assert [text for text in sorted(instructions) if FORBIDDEN.search(text)] == []
