"""Random side effects of a loss in Python: refused, or the task trains as plain torch does. Never silently frozen."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import offchain
from offchain.errors import Unsupported
from tests.offchain.lower.refused import WIDTH, Batch, fields


@dataclass
class Memory:
    """What a loss keeps between steps."""

    n: int = 0
    items: list[Any] = field(default_factory=list)
    table: dict[str, Any] = field(default_factory=dict)
    kept: Tensor | None = None
    draws: random.Random = field(default_factory=lambda: random.Random(1))


Effect = Callable[[Memory, Tensor], Any]  # gives a number or a scalar tensor


def _counts(m: Memory, y: Tensor) -> int:
    m.n += 1
    return m.n


def _lags(m: Memory, y: Tensor) -> int:
    """Differs in the first step only."""
    before, m.n = m.n, 1
    return before


def _settles(m: Memory, y: Tensor) -> int:
    m.n = max(m.n, 1)
    return m.n


def _appends(m: Memory, y: Tensor) -> int:
    m.items.append(y.detach())
    return len(m.items)


def _replaces(m: Memory, y: Tensor) -> int:
    m.items[:] = [y.detach()]
    return len(m.items)


def _enters(m: Memory, y: Tensor) -> int:
    m.table["calls"] = m.table.get("calls", 0) + 1
    return len(m.table)


def _remembers(m: Memory, y: Tensor) -> Tensor:
    before = torch.zeros(()) if m.kept is None else m.kept
    m.kept = y.detach()
    return before


def _makes_once(m: Memory, y: Tensor) -> Tensor:
    if m.kept is None:
        m.kept = torch.ones(()) * 0.5
    return m.kept


def _starts_with_data(m: Memory, y: Tensor) -> Tensor:
    if m.kept is None:
        m.kept = y.detach()
    return m.kept


def _stores(m: Memory, y: Tensor) -> Tensor:
    m.kept = y.detach()
    return m.kept


EFFECTS: dict[str, Effect] = {
    **{f.__name__: f for f in (_counts, _lags, _settles, _appends, _replaces, _enters)},
    **{f.__name__: f for f in (_remembers, _makes_once, _starts_with_data, _stores)},
    "random": lambda m, y: random.random(),
    "numpy": lambda m, y: float(np.random.rand()),
    "own": lambda m, y: m.draws.random(),
    "seeded": lambda m, y: random.Random(7).random(),
    "clock": lambda m, y: time.time() % 1,
    "address": lambda m, y: id([]) % 97 / 97,
    "torch": lambda m, y: torch.rand(()),
}
USES: dict[str, Callable[[Any], Any]] = {
    "scales": lambda value: 1 + 0.1 * value,
    "branches": lambda value: 2.0 if not isinstance(value, Tensor) and value > 2.5 else 1.0,
    "is dropped": lambda value: 1.0,
}
CERTAIN = {"_settles", "_replaces", "_makes_once", "_stores", "seeded", "torch"}  # alike in every step


@given(st.lists(st.tuples(st.sampled_from(sorted(EFFECTS)), st.sampled_from(sorted(USES))), min_size=1, max_size=3))
@example([("_counts", "branches")])
@example([("_remembers", "scales")])
@example([("_makes_once", "scales"), ("_stores", "is dropped")])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_side_effect_is_silently_frozen(chosen: list[tuple[str, str]]) -> None:
    memories = [Memory() for _ in chosen]

    def loss(model: Any, batch: Batch) -> Tensor:
        y = model(batch["x"]).square().mean()
        for memory, (effect, use) in zip(memories, chosen, strict=True):
            y = y * USES[use](EFFECTS[effect](memory, y))
        return y

    torch.manual_seed(0)
    given_fields = fields(model=nn.Linear(WIDTH, WIDTH), loss=loss, dataset={"x": torch.randn(8, WIDTH)})
    training, refusal = None, ""
    try:
        training = offchain.compile(**given_fields, executor="torch")
    except Unsupported as error:
        refusal = str(error)
    assert training or f" at {__file__}:" in refusal
    assert training or not all(effect in CERTAIN for effect, _ in chosen), refusal
    assert all((memory.n, memory.items, memory.table, memory.kept) == (0, [], {}, None) for memory in memories)
    if training is not None:
        plain = training.plain()
        training.run()
        plain.run()
        np.testing.assert_allclose(training.losses, plain.losses, rtol=1e-4)


def test_a_large_array_is_known_by_its_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offchain.lower.host.kinds.COPIED", 8)
    table = np.zeros(4)

    def loss(model: Any, batch: Batch) -> Tensor:
        table[0] += 1
        return model(batch["x"]).square().mean()

    rows = {"x": torch.ones(8, WIDTH)}
    with pytest.raises(Unsupported, match=r"variable 'table' at \S+: changes in every step"):
        offchain.compile(**fields(model=nn.Linear(WIDTH, WIDTH), loss=loss, dataset=rows), executor="torch")
    assert table[0] > 0  # a copy would be too large to put back, as `kept` says
