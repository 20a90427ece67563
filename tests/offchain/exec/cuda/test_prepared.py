"""What no step changes is prepared once on CUDA too: the same bits, in a step's launches and in its graphs."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import nn

from offchain.exec.base import UNLIMITED, Limits, Setting
from offchain.exec.cuda import graphs as cuda_graphs
from offchain.exec.cuda import reductions
from offchain.exec.cuda.executor import CudaExecutor
from offchain.exec.cuda.planner import CudaPlanner
from offchain.exec.plan.executor import State
from offchain.exec.plan.planning import ALWAYS, Buffer, Within
from offchain.exec.plan.shards import share, whole
from offchain.exec.reference import ReferenceExecutor
from offchain.ir.arrays import Array
from offchain.ir.graph import Axis, Graph, Input, Node, Slot, Source, TensorSpec, View
from offchain.ir.kinds import Kind
from offchain.job import Job
from offchain.lower import compile as lower
from offchain.task import Task
from tests.offchain.exec.cuda.compared import DEVICE, ENGINES, F32, GPU, MARKS
from tests.offchain.exec.fused.test_prepared import (
    CONSTANT,
    HALVED,
    NEVER,
    ROWS,
    SQUARE,
    STEADY,
    WIDTH,
    bits,
    graph_of,
    mapped,
    numbers,
    product,
    run,
    wanted,
)
from tests.offchain.test_generation import a_generation
from tests.support.ptx import Always
from tests.support.strategies import Case, graphs

pytestmark = MARKS
STEPS = 4  # launches, the step that compares them with graphs, and replays


class Counting(CudaExecutor):
    """Counts how often what lasts is made, and overwrites whatever else there is before each step."""

    made = 0

    def _launch_once(self, state: State) -> None:
        super()._launch_once(state)
        self.made += 1

    def _begin(self, state: State, t: int) -> Any:
        begun = super()._begin(state, t)
        keep = torch.zeros(len(self._arena), dtype=torch.bool, device=self.device)
        for buffer in lasting(self):
            self._view_of(buffer, keep).fill_(True)
        self._arena[~keep] = 255
        return begun

    def _view_of(self, buffer: Buffer, memory: torch.Tensor) -> torch.Tensor:
        start = self._view(buffer, torch.uint8).data_ptr() - self._arena.data_ptr()
        return memory[start : start + buffer.bytes]


def buffers(executor: CudaExecutor) -> list[Buffer]:
    """Those of what is made once."""
    held = [tensor for call in executor._plan.once for tensor in call.tensors]
    assert not any(isinstance(tensor, Within) for tensor in held)
    return list({id(buffer): buffer for buffer in held if isinstance(buffer, Buffer)}.values())


def lasting(executor: CudaExecutor) -> list[Buffer]:
    """Those that are there in each step."""
    return [buffer for buffer in buffers(executor) if buffer.last == ALWAYS]


def cuda(graph: Graph = STEADY, limits: Limits = UNLIMITED, engine: str = "float64") -> Counting:
    constants = [CONSTANT] if graph.constants else []
    return Counting(graph, constants, [], Setting(str(DEVICE), limits=limits), Always(engine, DEVICE))


def after(executor: CudaExecutor, initial: Sequence[Array], steps: int = STEPS) -> list[bytes]:
    return bits(executor.dump(run(executor, executor.load(initial), 0, steps)))


@pytest.mark.parametrize("engine", ENGINES)
def test_operands_are_prepared_once_and_give_the_same_bits(engine: str) -> None:
    executor, never, initial = cuda(engine=engine), cuda(limits=NEVER, engine=engine), numbers(STEADY, 0)
    assert len(executor._plan.once) == 4  # three matrices packed, and the half of one made
    assert len(executor._plan.calls) == len(never._plan.calls) - 4
    assert after(executor, initial) == after(never, initial) == wanted(STEADY, initial, 0, STEPS)
    assert executor.made == 1
    assert not never._plan.once


def test_outputs_of_all_nodes_are_the_same() -> None:
    executor, reference = cuda(), ReferenceExecutor(STEADY, [CONSTANT], [])
    for seed in (0, 1):
        state = numbers(STEADY, seed)
        expected = bits(list(reference.outputs(reference.load(state), 0)))
        assert bits(list(executor.outputs(executor.load(state), 0))) == expected
    assert executor.made == 2


def test_another_state_is_prepared_anew_also_where_steps_are_replayed() -> None:
    """In turn, so that the same graphs go on with what was made anew in the same places."""
    executor, (one, other) = cuda(), (numbers(STEADY, seed) for seed in (0, 1))
    states = [executor.load(one), executor.load(other)]
    for n in (0, 1, 1, 0, 0, 1):
        assert bits(executor.dump(executor.step(states[n], 0))) == wanted(STEADY, (one, other)[n], 0, 1)
    assert executor.made == 4
    assert executor._graphs.recorded


def test_a_state_in_the_place_of_one_that_is_gone_is_prepared_anew() -> None:
    executor, places = cuda(), []
    for seed in range(4):
        initial = numbers(STEADY, seed)
        state = executor.load(initial)
        places.append(state[1].address)
        assert bits(executor.dump(run(executor, state, 0, 2))) == wanted(STEADY, initial, 0, 2)
        del state
    assert len(set(places)) < len(places)
    assert executor.made == 4


def test_a_step_whose_graphs_are_wrong_goes_on_with_what_it_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step that compares them overwrites the arena, and makes what lasts again."""
    monkeypatch.setattr(cuda_graphs, "recorded", lambda work, device: lambda: None)
    executor, initial = cuda(), numbers(STEADY, 0)
    assert after(executor, initial) == wanted(STEADY, initial, 0, STEPS)
    assert not executor._graphs.on


# --- which operands --------------------------------------------------------------------------------------------------


def read(view: View, index: int = 1) -> Input:
    """A square matrix of the state."""
    return Input(Source.STATE, index, F32, SQUARE, view)


def times(right: Input, bits_: int, of: int = 0, source: Source = Source.STATE, extent: int = WIDTH) -> Node:
    left = Input(source, of, F32, ROWS * WIDTH, View.strided((ROWS, WIDTH, extent), (WIDTH, 0, 1)))
    return Node(Kind.DOT, F32, (ROWS, WIDTH), (left, right), extent, bits_)


SHAPE = (ROWS, WIDTH, WIDTH)
DOWN = View.strided(SHAPE, (0, 1, WIDTH))
ALONG = View.strided(SHAPE, (0, WIDTH, 1))  # transposed
FLIPPED = View(SQUARE - 1, (Axis(0, 0, ROWS), Axis(-WIDTH, 0, WIDTH), Axis(-1, 0, WIDTH)))
PART = View(2, (Axis(0, 0, ROWS), Axis(WIDTH, 1, WIDTH - 1), Axis(1, 0, 4)))  # rows 1 to 6, columns 2 to 5, zeros


@pytest.mark.parametrize("engine", ENGINES)
def test_one_matrix_read_in_many_ways_and_at_two_precisions(engine: str) -> None:
    """Read twice in the same way and at the same precision it is prepared once."""
    ways = [(DOWN, 21), (ALONG, 21), (FLIPPED, 13), (PART, 8), (DOWN, 8), (ALONG, 21)]
    nodes = [times(read(ways[0][0]), ways[0][1])]
    for n, (view, precision) in enumerate(ways[1:]):
        nodes.append(times(read(view), precision, n, Source.NODE))
    graph = graph_of(nodes, len(nodes) - 1, [(Source.STATE, 1)])
    executor, initial = cuda(graph, engine=engine), numbers(graph, 3)
    assert len(executor._plan.once) == len(set(ways)) == 5
    assert after(executor, initial) == wanted(graph, initial, 0, STEPS)


@pytest.mark.parametrize(
    ("nodes", "slots"),
    [
        ([times(read(DOWN), 21)], [(Source.STATE, 2), (Source.STATE, 1)]),  # two that change places
        ([times(read(DOWN), 21), mapped(Source.STATE, 1, HALVED)], [(Source.NODE, 1)]),  # one that is trained
    ],
)
def test_what_a_step_changes_is_prepared_in_each_step(nodes: list[Node], slots: list[tuple[Source, int]]) -> None:
    graph = graph_of(nodes, 0, slots)
    executor, initial = cuda(graph), numbers(graph, 0)
    assert not executor._plan.once
    assert after(executor, initial) == wanted(graph, initial, 0, STEPS)


def test_what_programs_share_is_made_once_and_leaves_nothing_but_its_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums and maxima along a k that programs share have totals and magnitudes on the way, which are not kept."""
    monkeypatch.setattr(reductions, "TILE", 4)
    reduced = Input(Source.STATE, 1, F32, SQUARE, View.strided((WIDTH, WIDTH), (1, WIDTH)))
    row = Input(Source.NODE, 0, F32, WIDTH, View.strided(SHAPE, (0, 0, 1)))
    column = Input(Source.NODE, 1, F32, WIDTH, View.strided(SHAPE, (0, 1, 0)))
    made = [
        Node(Kind.SUM, F32, (WIDTH,), (reduced,), WIDTH, 31),
        Node(Kind.MAX, F32, (WIDTH,), (reduced,), WIDTH),
        times(row, 21),
        times(column, 13, 2, Source.NODE),
        product(Source.STATE, 1, Source.NODE, 3),
    ]
    assert reductions.is_split(reduced, (WIDTH,), WIDTH)
    graph = graph_of(made, 4, [(Source.STATE, 1)])
    executor, initial = cuda(graph), numbers(graph, 1)
    outputs = [executor._plan.outputs[n] for n in (0, 1)]
    assert all(isinstance(out, Buffer) and out.last == ALWAYS for out in outputs)
    assert len(lasting(executor)) == 2 + 3 * 2  # and three operands with their magnitudes
    assert sum(buffer.last < 0 for buffer in buffers(executor)) == 3  # magnitudes and totals, and keys
    assert after(executor, initial, 2) == wanted(graph, initial, 0, 2)


# --- memory ----------------------------------------------------------------------------------------------------------


def test_no_more_is_kept_than_the_limit_says() -> None:
    initial, found = numbers(STEADY, 0), []
    all_ = sum(buffer.bytes for buffer in lasting(cuda()))
    for most in (0, 1, all_ // 3, all_ // 2, all_ - 1, all_):
        executor = cuda(limits=Limits(prepared=most))
        assert sum(buffer.bytes for buffer in lasting(executor)) <= most
        assert after(executor, initial, 1) == wanted(STEADY, initial, 0, 1)
        found.append(len(executor._plan.once))
    assert found == sorted(found) and found[:2] == [0, 0] and found[-2:] == [3, 4]


def arena_of(graph: Graph, prepared: int) -> int:
    """Its bytes."""
    arena: int = CudaPlanner(whole(graph), Always("float64", DEVICE), prepared).make().arena
    return arena


def test_a_step_that_fits_its_memory_only_without_it_is_made_without_it() -> None:
    without, with_ = arena_of(STEADY, 0), arena_of(STEADY, 1 << 20)
    assert without < with_
    executor, initial = cuda(limits=Limits(memory=with_ - 1)), numbers(STEADY, 0)
    assert not executor._plan.once
    assert after(executor, initial) == wanted(STEADY, initial, 0, STEPS)


def test_memory_that_the_device_refuses_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    room, without, initial = CudaExecutor._room, arena_of(STEADY, 0), numbers(STEADY, 0)

    def little(self: CudaExecutor, length: int, dtype: Any) -> Any:
        if length > without + 64:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity")
        return room(self, length, dtype)

    monkeypatch.setattr(CudaExecutor, "_room", little)
    executor = cuda()
    assert not executor._plan.once
    assert after(executor, initial) == wanted(STEADY, initial, 0, STEPS)


# --- tasks -----------------------------------------------------------------------------------------------------------


class Adapted(nn.Module):
    """A layer that is not trained, with an adapter of rank 2 beside it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.frozen = nn.Linear(6, 5)
        self.frozen.requires_grad_(False)
        self.down, self.up = nn.Linear(6, 2, bias=False), nn.Linear(2, 6, bias=False)

    def forward(self, x: Any) -> Any:
        return self.frozen(x + self.up(self.down(x)))


def adapters() -> Task:
    torch.manual_seed(1)
    return lower(
        Job(
            model=Adapted(),
            loss=lambda model, batch: nn.functional.cross_entropy(model(batch["x"]), batch["y"]),
            optimizer=(torch.optim.SGD, {"lr": 0.1}),
            dataset={"x": torch.randn(12, 6), "y": torch.randint(0, 5, (12,))},
            batch_size=4,
            steps=4,
            interval=2,
            bits=21,
        )
    )


def generation() -> Task:
    return lower(a_generation(prompts=[[1, 5, 9], [7]], interval=2, bits=13))


@pytest.mark.parametrize("task", [adapters, generation])
def test_tasks_with_frozen_weights(task: Callable[[], Task]) -> None:
    made = task()
    tensors = made.graph, made.constants, made.datasets
    executor, reference = Counting(*tensors, Setting(str(DEVICE))), ReferenceExecutor(*tensors)
    assert after(executor, made.state, 3) == bits(reference.dump(run(reference, reference.load(made.state), 0, 3)))
    assert len(executor._plan.once) >= 2 and executor.made == 1


@pytest.mark.parametrize("rank", [0, 1])
def test_processes_that_share_a_step_prepare_what_each_holds_whole(rank: int) -> None:
    """The frozen layer, read along its rows by the forward pass and along its columns by the other."""
    plan = CudaPlanner(share(adapters().graph, 2, rank), Always("float64", DEVICE), 1 << 20).make()
    assert len(plan.once) == 2


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=100 if GPU else 12)
@given(graphs())
def test_drawn_graphs_give_the_same_bits_with_and_without(case: Case) -> None:
    given_ = case.graph, case.constants, case.datasets
    reference = ReferenceExecutor(*given_)
    state = reference.load(case.state)
    expected = bits(list(reference.outputs(state, case.t)))
    expected += bits(reference.dump(run(reference, state, case.t % 100, 2)))
    for limits in (UNLIMITED, NEVER):
        executor = Counting(*given_, Setting(str(DEVICE), limits=limits))
        fast = executor.load(case.state)
        found = bits(list(executor.outputs(fast, case.t)))
        assert found + bits(executor.dump(run(executor, fast, case.t % 100, 2))) == expected


# --- what only a card shows ------------------------------------------------------------------------------------------

on_a_card = pytest.mark.skipif(not GPU, reason="needs a GPU")
LARGE = 4096  # rows and columns of a matrix: 67 MB, and 134 MB as integers in float64


def large() -> tuple[Graph, list[Array]]:
    """Two rows times three large matrices, one after the other."""
    made, view = list[Node](), View.strided((2, LARGE, LARGE), (0, 1, LARGE))
    for n in range(3):
        along = View.strided((2, LARGE, LARGE), (LARGE, 0, 1))
        rows = Input(*((Source.NODE, n - 1) if n else (Source.STATE, 0)), F32, 2 * LARGE, along)
        matrix = Input(Source.STATE, n + 1, F32, LARGE * LARGE, view)
        made.append(Node(Kind.DOT, F32, (2, LARGE), (rows, matrix), LARGE, 13))
    x = Slot(TensorSpec("x", F32, (2, LARGE)), Source.NODE, 2)
    held = [Slot(TensorSpec(f"w{n}", F32, (LARGE, LARGE)), Source.STATE, n) for n in (1, 2, 3)]
    graph = Graph(
        tuple(made), (x, *held, Slot(TensorSpec("log", F32, (1, 1)), Source.STATE, 4)), (), (), (), (), ("a",)
    )
    rng = np.random.default_rng(0)
    return graph, [rng.standard_normal(slot.spec.length).astype(np.float32) / LARGE**0.5 for slot in graph.slots]


def on_card(graph: Graph, limits: Limits) -> CudaExecutor:
    return CudaExecutor(graph, [], [], Setting(str(DEVICE), limits=limits), Always("float64", DEVICE))


@pytest.mark.gpu
@on_a_card
def test_a_step_of_a_card_is_faster_with_what_was_prepared() -> None:
    """Without, each step reads and writes five times as many bytes. In turn, the median of pairs."""
    graph, initial = large()
    executors = [on_card(graph, limits) for limits in (UNLIMITED, NEVER)]
    states, took = [executor.load(initial) for executor in executors], list[tuple[float, ...]]()
    for t in range(13):
        pair = []
        for n, executor in enumerate(executors):
            torch.cuda.synchronize(DEVICE)
            start = time.perf_counter()
            states[n] = executor.step(states[n], t)
            torch.cuda.synchronize(DEVICE)
            pair.append(time.perf_counter() - start)
        took.append(tuple(pair))
    found = [bits(executor.dump(state)) for executor, state in zip(executors, states, strict=True)]
    assert found[0] == found[1]
    assert median(with_ / without for with_, without in took[3:]) < 0.8


@pytest.mark.gpu
@on_a_card
def test_a_card_that_is_full_does_without() -> None:
    graph, initial = large()
    expected = after(on_card(graph, NEVER), initial, 3)
    without, with_ = (arena_of(graph, prepared) for prepared in (0, 1 << 30))
    gc.collect()
    torch.cuda.empty_cache()
    total, free_for = torch.cuda.get_device_properties(DEVICE).total_memory, (without + with_) // 2
    assert with_ - without > 1 << 27
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(DEVICE) + free_for) / total)
    try:
        executor = on_card(graph, UNLIMITED)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert not executor._plan.once
    assert after(executor, initial, 3) == expected
