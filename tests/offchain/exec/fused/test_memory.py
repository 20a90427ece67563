"""What the fused executor promises of memory: states that last, states that are reused, one step at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from offchain.errors import OffchainError
from offchain.exec.fused import outputs
from offchain.exec.fused.executor import FusedExecutor
from offchain.exec.plan.executor import State
from offchain.job import Job
from offchain.lower import compile as lower


@pytest.fixture(scope="module")
def runs() -> tuple[FusedExecutor, list[np.ndarray]]:
    torch.manual_seed(0)
    task = lower(
        Job(
            model=nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)),
            loss=lambda model, batch: nn.functional.cross_entropy(model(batch["x"]), batch["y"]),
            optimizer=(torch.optim.Adam, {"lr": 1e-2}),
            dataset={"x": torch.randn(20, 4), "y": torch.randint(0, 3, (20,))},
            batch_size=5,
            steps=10,
            interval=5,
        )
    )
    return FusedExecutor(task.graph, task.constants, task.datasets), list(task.state)


def test_a_state_that_is_held_keeps_its_bits(runs: tuple[FusedExecutor, list[np.ndarray]]) -> None:
    fused, initial = runs
    first = fused.load(initial)
    states = [first]
    for t in range(4):
        states.append(fused.step(states[-1], t))
    again = [fused.dump(fused.step(states[t], t)) for t in range(4)]
    for kept, made in zip(states[1:], again, strict=True):
        assert all(a.tobytes() == b.tobytes() for a, b in zip(fused.dump(kept), made, strict=True))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(fused.dump(first), initial, strict=True))


def test_steps_take_turns_in_the_memory_of_two_states(runs: tuple[FusedExecutor, list[np.ndarray]]) -> None:
    fused, initial = runs
    state, places = fused.load(initial), set()
    for t in range(6):
        state = fused.step(state, t)
        places.add(tuple(held.address for held in state))
    assert len(places) == 2


def test_outputs_of_a_step_that_another_overtook(
    monkeypatch: pytest.MonkeyPatch, runs: tuple[FusedExecutor, list[np.ndarray]]
) -> None:
    monkeypatch.setattr(outputs, "BATCH", 1)
    (one, initial), tensors = runs, runs[0]._tensors
    fused = FusedExecutor(one.graph, tensors.constants, tensors.datasets)
    state = fused.load(initial)
    found = fused.outputs(state, 0)
    next(found)
    fused.step(state, 0)
    with pytest.raises(OffchainError, match="another step began"):
        next(found)


def test_outputs_are_their_callers(runs: tuple[FusedExecutor, list[np.ndarray]]) -> None:
    fused, initial = runs
    first = list(fused.outputs(fused.load(initial), 0))
    kept = [array.copy() for array in first]
    second = list(fused.outputs(fused.load(initial), 1))
    for array, other in zip(first, second, strict=True):
        assert not np.shares_memory(array, other)
        other[...] = 7
    assert all(array.tobytes() == copy.tobytes() for array, copy in zip(first, kept, strict=True))


def test_threads_that_step_one_executor_get_their_own_bits(runs: tuple[FusedExecutor, list[np.ndarray]]) -> None:
    """They share one arena, and nobody holds the interpreter's lock while kernels run."""
    fused, initial = runs
    states = [fused.load(initial)]
    for t in range(2):
        states.append(fused.step(states[-1], t))

    def bits(state: State, t: int) -> list[bytes]:
        return [array.tobytes() for array in fused.dump(fused.step(state, t))]

    wanted = [bits(state, t) for t, state in enumerate(states)]
    with ThreadPoolExecutor(len(states)) as threads:
        steps = [threads.submit(bits, state, t) for _ in range(300) for t, state in enumerate(states)]
    assert [run.result() for run in steps] == wanted * 300


@pytest.mark.filterwarnings("error")
def test_a_state_that_may_only_be_read_is_loaded(runs: tuple[FusedExecutor, list[np.ndarray]]) -> None:
    fused, initial = runs
    frozen = [array.copy() for array in initial]
    for array in frozen:
        array.flags.writeable = False
    loaded = fused.dump(fused.load(frozen))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(loaded, initial, strict=True))
