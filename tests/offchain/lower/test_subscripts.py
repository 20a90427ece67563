"""Rows that are read and written by a traced number, as `x[t]`, are those of plain torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import offchain
from offchain.errors import BadInput, Unsupported
from offchain.lower import compile as lower
from offchain.program import Program

TABLE = torch.arange(60.0).reshape(4, 5, 3)


def write(x: Tensor, index: Any, value: Any) -> Tensor:
    x[index] = value
    return x


@pytest.mark.parametrize(
    "made",
    [
        lambda x, t: x[t],
        lambda x, t: x[-t],
        lambda x, t: x[:, t],
        lambda x, t: x[..., t % 3],
        lambda x, t: x[1, t, 1:],
        lambda x, t: x[t, t % 2, None],
        lambda x, t: x[t][t],
        lambda x, t: x[t, torch.tensor([0, 2])],
        lambda x, t: write(x, t, 7.0),
        lambda x, t: write(x, (slice(None), t), x[:, 0] + 1),
        lambda x, t: write(x, (1, t), torch.tensor([1.0, 2.0, 3.0])),
        lambda x, t: write(x, (Ellipsis, t % 3), t),
        lambda x, t: write(x, (slice(1, 3), -t), 2),
        lambda x, t: write(x[2], t, x[0, 0]),
    ],
)
def test_a_traced_number_in_an_index(made: Any) -> None:
    def step(state: Any, batch: Any, t: Tensor) -> Any:
        value = made(state["x"] + 0, t)
        return {"x": state["x"]}, {"t": t}, {"rows": value.reshape(1, -1)}

    run = offchain.compile(Program(step, {"x": TABLE}, None, 4, 2, outputs=["rows"]), executor="torch", threads=1)
    run.run()
    plain = run.plain()
    plain.run()
    assert run.outputs["rows"].tolist() == plain.outputs["rows"].tolist()


def test_a_number_outside_of_the_tensor_is_refused_with_the_line() -> None:
    def step(state: Any, data: Any, t: Tensor) -> Any:
        return {"x": state["x"] + data["x"][t]}, {"t": t}

    with pytest.raises(BadInput, match=r"test_subscripts.py:[0-9]+: the index is 4 in step 4, outside of 0 to 3"):
        lower(Program(step, {"x": torch.ones(5, 3)}, {"x": TABLE}, 5, 1))


def test_a_write_outside_of_the_tensor_is_refused_with_the_line() -> None:
    def step(state: Any, data: Any, t: Tensor) -> Any:
        state["x"][:, t] = 1.0
        return state, {"t": t}

    with pytest.raises(BadInput, match=r"test_subscripts.py:[0-9]+: the index is 5 in step 5, outside of 0 to 4"):
        lower(Program(step, {"x": TABLE}, None, 6, 1))


def test_several_tensors_in_a_written_index_are_refused() -> None:
    def step(state: Any, data: Any, t: Tensor) -> Any:
        state["x"][t, torch.tensor([0, 1])] = 1.0
        return state, {"t": t}

    with pytest.raises(Unsupported, match=r"test_subscripts.py:[0-9]+: an index of several tensors is written"):
        lower(Program(step, {"x": TABLE}, None, 2, 1))
