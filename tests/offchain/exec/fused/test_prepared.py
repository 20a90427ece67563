"""What no step changes is prepared once: the same bits, for the tensors that a state holds and no others."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from offchain.exec.base import UNLIMITED, Limits, Setting
from offchain.exec.fused.calls import MANY
from offchain.exec.fused.engines import known_good
from offchain.exec.fused.executor import FusedExecutor
from offchain.exec.fused.planner import FusedPlanner
from offchain.exec.plan.executor import State
from offchain.exec.plan.shards import share, whole
from offchain.exec.reference import ReferenceExecutor
from offchain.ir.arrays import Array
from offchain.ir.graph import Graph, Input, Node, Slot, Source, TensorSpec, View
from offchain.ir.kinds import Kind
from offchain.ir.legality import check
from offchain.ir.primitives import DType, Instr, Op
from offchain.job import Job
from offchain.lower import compile as lower
from tests.support.strategies import Case, graphs

F32 = DType.F32
ROWS, WIDTH = 3, 8
SQUARE = WIDTH * WIDTH
HALVED = (Instr(Op.INPUT), Instr.const(F32, 0x3F000000), Instr(Op.MUL, 0, 1))
BY_STEP = (Instr(Op.INPUT), Instr(Op.STEP), Instr(Op.TO_FLOAT, 1), Instr(Op.MUL, 0, 2))
NEVER = Limits(prepared=0)


def product(source: Source, index: int, rows: Source = Source.STATE, of: int = 0, count: int = ROWS) -> Node:
    """(count, WIDTH): rows times the columns of a square matrix."""
    left = Input(rows, of, F32, count * WIDTH, View.strided((count, WIDTH, WIDTH), (WIDTH, 0, 1)))
    right = Input(source, index, F32, SQUARE, View.strided((count, WIDTH, WIDTH), (0, 1, WIDTH)))
    return Node(Kind.DOT, F32, (count, WIDTH), (left, right), WIDTH, 21)


def mapped(source: Source, index: int, program: tuple[Instr, ...]) -> Node:
    return Node(Kind.MAP, F32, (SQUARE,), (whole_of(source, index),), program=program)


def whole_of(source: Source, index: int) -> Input:
    return Input(source, index, F32, SQUARE, View.contiguous((SQUARE,)))


def graph_of(nodes: Sequence[Node], last: int, slots: Sequence[tuple[Source, int]], count: int = ROWS) -> Graph:
    """Slot x becomes the output of a node. The others are squares, each of which becomes what is said; one constant."""
    x = Slot(TensorSpec("x", F32, (count, WIDTH)), Source.NODE, last)
    held = [Slot(TensorSpec(f"w{n}", F32, (SQUARE,)), *to) for n, to in enumerate(slots)]
    log = Slot(TensorSpec("log", F32, (1, 1)), Source.STATE, 1 + len(slots))
    constant = TensorSpec("c", F32, (SQUARE,))
    graph = Graph(tuple(nodes), (x, *held, log), (constant,), (bytes(32),), (), (), ("loss",))
    check(graph)
    return graph


def numbers(graph: Graph, seed: int) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(slot.spec.length).astype(np.float32) for slot in graph.slots]


# x·W0, times a constant matrix, times half of W0
STEADY = graph_of(
    [
        product(Source.STATE, 1),
        product(Source.CONST, 0, Source.NODE, 0),
        mapped(Source.STATE, 1, HALVED),
        product(Source.NODE, 2, Source.NODE, 1),
    ],
    3,
    [(Source.STATE, 1)],
)
CONSTANT = np.random.default_rng(9).standard_normal(SQUARE).astype(np.float32)


class Counting(FusedExecutor):
    """Counts how often what lasts is made."""

    made = 0

    def _launch_once(self, state: State) -> None:
        super()._launch_once(state)
        self.made += 1


def fused(graph: Graph = STEADY, limits: Limits = UNLIMITED) -> Counting:
    return Counting(graph, [CONSTANT], [], Setting(limits=limits))


def bits(arrays: Sequence[Array]) -> list[bytes]:
    return [array.tobytes() for array in arrays]


def run(executor: Any, state: Any, first: int, steps: int) -> Any:
    for t in range(first, first + steps):
        state = executor.step(state, t)
    return state


def wanted(graph: Graph, state: Sequence[Array], first: int, steps: int) -> list[bytes]:
    reference = ReferenceExecutor(graph, [CONSTANT], [])
    return bits(reference.dump(run(reference, reference.load(state), first, steps)))


def test_operands_are_prepared_once_and_give_the_same_bits() -> None:
    executor, initial = fused(), numbers(STEADY, 0)
    assert len(executor._plan.once) == 4  # three matrices packed, and the half of one made
    assert bits(executor.dump(run(executor, executor.load(initial), 0, 5))) == wanted(STEADY, initial, 0, 5)
    assert executor.made == 1
    never = fused(limits=NEVER)
    assert not never._plan.once
    assert bits(never.dump(run(never, never.load(initial), 0, 5))) == wanted(STEADY, initial, 0, 5)


def test_outputs_of_all_nodes_are_the_same() -> None:
    executor, reference = fused(), ReferenceExecutor(STEADY, [CONSTANT], [])
    for seed in (0, 1):
        state = numbers(STEADY, seed)
        assert bits(list(executor.outputs(executor.load(state), 0))) == bits(
            list(reference.outputs(reference.load(state), 0))
        )
    assert executor.made == 2


def test_another_state_is_prepared_anew_and_so_is_the_first_one_again() -> None:
    executor, (one, other) = fused(), (numbers(STEADY, seed) for seed in (0, 1))
    states = {0: executor.load(one), 1: executor.load(other)}
    for n in (0, 1, 1, 0, 0, 1):
        state = (one, other)[n]
        assert bits(executor.dump(executor.step(states[n], 0))) == wanted(STEADY, state, 0, 1)
    assert executor.made == 4


def test_a_state_in_the_place_of_one_that_is_gone_is_prepared_anew() -> None:
    """The memory of a state that nobody holds goes to the next one: the same addresses, other numbers."""
    executor, places = fused(), []
    for seed in range(4):
        initial = numbers(STEADY, seed)
        state = executor.load(initial)
        places.append(state[1].address)
        assert bits(executor.dump(run(executor, state, 0, 2))) == wanted(STEADY, initial, 0, 2)
        del state
    assert len(set(places)) < len(places)
    assert executor.made == 4


def test_what_was_given_may_be_written_to_once_it_is_loaded() -> None:
    executor, initial = fused(), numbers(STEADY, 0)
    expected = wanted(STEADY, initial, 0, 3)
    state = executor.step(executor.load(initial), 0)
    for array in initial:
        array[...] = 7
    assert bits(executor.dump(run(executor, state, 1, 2))) == expected


def test_a_run_that_goes_on_from_a_dumped_state() -> None:
    """As one does that starts again from a checkpoint, or replays an interval."""
    executor, initial = fused(), numbers(STEADY, 0)
    middle = executor.dump(run(executor, executor.load(initial), 0, 3))
    again = executor.load(middle)
    fresh = fused()
    expected = wanted(STEADY, initial, 0, 6)
    assert bits(executor.dump(run(executor, again, 3, 3))) == expected
    assert bits(fresh.dump(run(fresh, fresh.load(middle), 3, 3))) == expected
    assert (executor.made, fresh.made) == (2, 1)


@pytest.mark.parametrize(
    ("nodes", "slots"),
    [
        ([product(Source.STATE, 1)], [(Source.STATE, 2), (Source.STATE, 1)]),  # two that change places
        ([product(Source.STATE, 1)], [(Source.STATE, 2), (Source.STATE, 2)]),  # one that becomes another
        ([product(Source.STATE, 1), mapped(Source.STATE, 1, HALVED)], [(Source.NODE, 1)]),  # one that is trained
        ([mapped(Source.CONST, 0, BY_STEP), product(Source.NODE, 0)], [(Source.STATE, 1)]),  # one that t changes
        ([product(Source.STATE, 1, count=MANY + 1)], [(Source.STATE, 1)]),  # not worth it beside so many rows
    ],
)
def test_what_a_step_changes_is_prepared_in_each_step(nodes: list[Node], slots: list[tuple[Source, int]]) -> None:
    last = next(n for n, node in enumerate(nodes) if node.kind is Kind.DOT)
    graph = graph_of(nodes, last, slots, nodes[last].shape[0])
    executor, initial = fused(graph), numbers(graph, 0)
    assert not executor._plan.once
    assert bits(executor.dump(run(executor, executor.load(initial), 0, 3))) == wanted(graph, initial, 0, 3)


def test_a_matrix_beside_one_vector_is_read_where_it_lies_unless_it_is_prepared() -> None:
    """Packed in each step it would take longer than the product."""
    graph = graph_of([product(Source.STATE, 1, count=1)], 0, [(Source.STATE, 1)], 1)
    initial, found = numbers(graph, 0), []
    for limits in (UNLIMITED, NEVER):
        executor = fused(graph, limits)
        found.append((len(executor._plan.once), len(executor._plan.calls)))
        assert bits(executor.dump(run(executor, executor.load(initial), 0, 3))) == wanted(graph, initial, 0, 3)
    assert found == [(1, 2), (0, 2)]


def test_a_node_that_a_slot_holds_is_made_in_each_step() -> None:
    graph = graph_of(
        [mapped(Source.CONST, 0, HALVED), product(Source.STATE, 1)], 1, [(Source.STATE, 1), (Source.NODE, 0)]
    )
    executor, initial = fused(graph), numbers(graph, 0)
    assert len(executor._plan.once) == 1
    assert bits(executor.dump(run(executor, executor.load(initial), 0, 3))) == wanted(graph, initial, 0, 3)


def test_no_more_is_kept_than_the_limit_says() -> None:
    initial = numbers(STEADY, 0)
    whole_ = sum(buffer_bytes(fused()))
    for most in (0, 1, whole_ // 3, whole_ // 2, whole_ - 1, whole_):
        executor = fused(limits=Limits(prepared=most))
        assert sum(buffer_bytes(executor)) <= most
        assert bits(executor.dump(run(executor, executor.load(initial), 0, 3))) == wanted(STEADY, initial, 0, 3)
        assert (len(executor._plan.once) == 4) == (most == whole_)


def test_a_step_that_fits_its_memory_only_without_it_is_made_without_it() -> None:
    arenas = {prepared: FusedPlanner(whole(STEADY), known_good(), prepared).make().arena for prepared in (0, 1 << 20)}
    assert arenas[0] < arenas[1 << 20]
    executor, initial = fused(limits=Limits(memory=arenas[1 << 20] - 1)), numbers(STEADY, 0)
    assert not executor._plan.once
    assert bits(executor.dump(run(executor, executor.load(initial), 0, 3))) == wanted(STEADY, initial, 0, 3)


def test_memory_that_the_machine_refuses_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    room, without = FusedExecutor._room, FusedPlanner(whole(STEADY), known_good()).make().arena

    def little(self: FusedExecutor, length: int, dtype: Any) -> Any:
        if length > without + 64:
            raise RuntimeError(f"DefaultCPUAllocator: can't allocate memory: you tried to allocate {length} bytes.")
        return room(self, length, dtype)

    monkeypatch.setattr(FusedExecutor, "_room", little)
    assert not fused()._plan.once


def test_a_preparation_that_failed_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    executor, (one, other) = fused(), (numbers(STEADY, seed) for seed in (0, 1))
    executor.step(executor.load(one), 0)
    state, launch = executor.load(other), Counting._launch_once

    def stopped(self: Counting, state: State) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Counting, "_launch_once", stopped)
    for again in (state, executor.load(one)):
        with pytest.raises(KeyboardInterrupt):
            executor.step(again, 0)
    monkeypatch.setattr(Counting, "_launch_once", launch)
    assert bits(executor.dump(executor.step(state, 0))) == wanted(STEADY, other, 0, 1)


def test_threads_with_states_of_their_own() -> None:
    executor = fused()
    initial = [numbers(STEADY, seed) for seed in range(3)]
    states = [executor.load(arrays) for arrays in initial]
    expected = [wanted(STEADY, arrays, 0, 1) for arrays in initial]

    def step(n: int) -> list[bytes]:
        return bits(executor.dump(executor.step(states[n], 0)))

    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(step, [0, 1, 2] * 100))
    assert found == expected * 100


def test_nothing_of_a_state_is_held_for_longer() -> None:
    executor = fused()
    state = run(executor, executor.load(numbers(STEADY, 0)), 0, 2)
    free = len(executor._pools[1])
    del state
    assert len(executor._pools[1]) == free + 1


def test_processes_that_share_a_step_prepare_what_each_holds_whole() -> None:
    """They give the same roots: tests/offchain/exec/test_distributed.py, whose MLP has a layer that is not trained."""
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    model[2].requires_grad_(False)
    task = lower(
        Job(
            model=model,
            loss=lambda model, batch: nn.functional.cross_entropy(model(batch["x"]), batch["y"]),
            optimizer=(torch.optim.SGD, {"lr": 1e-2}),
            dataset={"x": torch.randn(20, 4), "y": torch.randint(0, 3, (20,))},
            batch_size=4,
            steps=10,
            interval=5,
        )
    )
    for rank in (0, 1):
        plan = FusedPlanner(share(task.graph, 2, rank), known_good(), 1 << 20).make()
        assert len(plan.once) == 2  # read along its rows by the forward pass, along its columns by the other


@settings(max_examples=30)
@given(graphs())
def test_drawn_graphs_give_the_same_bits_with_and_without(case: Case) -> None:
    given_ = case.graph, case.constants, case.datasets
    found = []
    for limits in (Limits(), NEVER):
        executor = FusedExecutor(*given_, Setting(limits=limits))
        state = executor.load(case.state)
        out = bits(list(executor.outputs(state, case.t)))
        found.append(out + bits(executor.dump(run(executor, state, case.t % 100, 2))))
    assert found[0] == found[1]


def buffer_bytes(executor: FusedExecutor) -> list[int]:
    """Of what lasts."""
    seen = {id(tensor): tensor for call in executor._plan.once for tensor in call.tensors if hasattr(tensor, "bytes")}
    return [buffer.bytes for buffer in seen.values()]
