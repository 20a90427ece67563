"""Iterators and files that a job reads: refused before they move, wherever they are held."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from offchain.errors import BadInput
from offchain.job import Job
from tests.offchain.lower.refused import ROWS, WIDTH, Batch, fields, line, refused, square
from tests.offchain.lower.test_host import Model, agree


def batches() -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.arange(8.0)), 2)


def _letters() -> Iterator[Tensor]:
    for number in range(8):
        yield torch.tensor(float(number))


ITERATORS = [
    lambda: iter([torch.zeros(())]),
    lambda: iter(batches()),
    lambda: _letters(),
    lambda: zip(range(3), range(3), strict=True),
    lambda: enumerate("ab"),
    lambda: map(float, [0, 1]),
    lambda: itertools.cycle([0.0, 1.0]),
]


@pytest.mark.parametrize("make", ITERATORS)
def test_an_iterator_stays_where_it_was(make: Callable[[], Iterator[Any]]) -> None:
    """In a variable, in a list and on an object; also if the job catches the error."""
    left, listed, holder = make(), [make()], Model(lambda m, y: y)
    holder.turns = make()

    def catches(model: Any, batch: Batch) -> Tensor:
        try:
            next(left)
        except Exception:
            return square(model, batch)
        return square(model, batch) * 2

    def sums(model: Any, batch: Batch) -> Tensor:
        return square(model, batch) * len([0 for _ in listed[0]])

    def asks(model: Any, batch: Batch) -> Tensor:
        return square(model, batch) if next(holder.turns) else square(model, batch) * 2

    for loss, what, below in ((catches, "variable 'left'", 2), (sums, "variable 'listed'", 1), (asks, "turns", 1)):
        text = refused(loss=loss)
        assert what in text and f" at {line(loss, below)}: is drawn from in a step" in text, text
    for one in (left, listed[0], holder.turns):
        assert repr(next(one)) == repr(next(make()))


def test_a_dataset_that_is_an_iterator_is_refused_before_it_moves() -> None:
    """So is a DataLoader, whose remedy is carried out in test_job.py."""
    for left in (iter([torch.ones(3)]), iter(batches()), _letters()):
        with pytest.raises(BadInput, match=r"^job at \S+: dataset is a \w+, "):
            Job(**fields(dataset=left))
        next(left)
    loader = batches()
    with pytest.raises(BadInput, match="whose own code chooses the rows"):
        Job(**fields(dataset=loader))
    loss = lambda m, b: square(m, b) * next(iter(loader))[0].mean()  # noqa: E731
    assert "give its tensors as the job's dataset" in refused(loss=loss)
    assert len(list(loader)) == 4


def test_a_file_that_is_read_and_what_is_written_to_one(tmp_path: Path) -> None:
    """A log may be written; lines that are read are other ones in every step."""
    (tmp_path / "lines").write_text("1.0\n" * 9)
    with (tmp_path / "lines").open() as lines, (tmp_path / "log").open("w") as log:

        def reads(model: Any, batch: Batch) -> Tensor:
            return square(model, batch) * float(lines.readline())

        def writes(model: Any, batch: Batch) -> Tensor:
            log.write("a step\n")
            return square(model, batch)

        text = refused(loss=reads)
        assert text.startswith(f"variable 'lines' at {line(reads, 1)}: changes in every step"), text
        assert lines.tell() == 0
        agree(nn.Linear(WIDTH, WIDTH), loss=writes, dataset={"x": torch.randn(ROWS, WIDTH)})
