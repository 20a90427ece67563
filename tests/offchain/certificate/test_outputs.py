"""Certificates of programs: what steps output hangs on the root of each checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offchain.certificate import statement
from offchain.certificate.checking import check
from offchain.certificate.making import certify
from offchain.certificate.record import Certificate
from offchain.commit.roots import state_tree
from offchain.errors import BadBlob
from offchain.store.checkpoint import save_model
from offchain.store.tensorfile import opened, write
from tests.offchain.certificate.test_certificate import founded
from tests.offchain.commands.conftest import Counter
from tests.offchain.commands.test_result import completed
from tests.offchain.worker.test_gathered import Solved
from tests.support.deployment import Funded

__all__ = ["founded"]
GONE = "http://127.0.0.1:1"  # nobody listens there


class Case:
    """A program that was run by a solver, its certificate, and its result's file."""

    def __init__(self, founded: Funded, folder: Path) -> None:
        solved = Solved(folder / "solved")
        counter = founded.seen_as(Counter, folder=folder)
        number, task = completed(counter, solved, GONE), solved.task  # type: ignore[arg-type]
        trees = [state_tree(state) for state in solved.states]
        outputs = [task.output_arrays(state) for state in solved.states]
        parts = list(zip(outputs, trees, strict=True))
        self.made = certify(counter.quick("stranger"), number, task, trees[-1].leaves, parts)
        self.result = folder / "a.safetensors"
        save_model(self.result, task, solved.states[-1], {}, outputs=task.joined(outputs))
        self.tensors = self.read()

    def read(self) -> dict[str, Any]:
        with opened(self.result, None) as file:
            return {name: np.array(file.handle.get_tensor(name)) for name in file.names()}

    def refused(self, made: Certificate, why: str, file: Path | None = None) -> None:
        with pytest.raises(BadBlob, match=why):
            check(made, file or self.result, None, None)


@pytest.fixture(scope="module")
def case(founded: Funded, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with founded.clock.undone():
        yield Case(founded, tmp_path_factory.mktemp("outputs"))


def test_what_steps_output_is_shown_to_be_that(case: Case, tmp_path: Path) -> None:
    statement.write(tmp_path / "a.json", case.made)
    assert statement.read(tmp_path / "a.json") == case.made
    assert [rows.name for rows in case.made.binding.outputs] == ["prediction", "row"]
    assert len(case.made.binding.outputs[0].tail) == 10 * 4  # rows that are not kept
    found = check(case.made, case.result, None, None)
    assert f"{case.result} holds the final state and what the steps output, bit for bit" in found.shown


def test_what_a_result_leaves_out_is_said(case: Case, tmp_path: Path) -> None:
    """As a generation's does; a requester's file could leave out anything."""
    binding, file = replace(case.made.binding, entries=()), tmp_path / "c.safetensors"
    write(file, {rows.name: case.tensors[rows.name] for rows in binding.outputs}, {})
    found = check(replace(case.made, binding=binding), file, None, None)
    slots = binding.counts[2]
    assert f"{file} holds what the steps output, bit for bit" in found.shown
    rest = f"the rest of the final state: {slots - 3} of its {slots} tensors, which the result does not have"
    assert rest in found.not_shown
    assert not any("the rest of" in line for line in check(case.made, case.result, None, None).not_shown)


@pytest.mark.parametrize(("name", "at", "interval"), [("prediction", 0, 0), ("prediction", 29, 1), ("row", 0, 0)])
def test_another_row_is_refused(case: Case, tmp_path: Path, name: str, at: int, interval: int) -> None:
    false, changed = tmp_path / "b.safetensors", case.tensors[name].copy()
    changed[at] += 1
    write(false, {**case.tensors, name: changed}, {})
    case.refused(case.made, f"{name}: is not what checkpoint {interval} holds", false)
    write(false, {**case.tensors, name: changed[1:]}, {})
    case.refused(case.made, f"{name}: is .* of shape", false)


Change = Callable[[Any], Any]


def first(**changes: Change) -> Change:
    return lambda kept: (replace(kept[0], **{n: f(getattr(kept[0], n)) for n, f in changes.items()}), *kept[1:])


LIES: dict[str, tuple[str, Change, str]] = {
    "rows that are not kept": ("outputs", first(tail=lambda tail: b"\1" + tail[1:]), "is not what checkpoint 1 holds"),
    "fewer of them": ("outputs", first(tail=lambda tail: tail[:-4]), "as many rows as its intervals"),
    "a part of a number": ("outputs", first(tail=lambda tail: tail[:-1]), "a part of a number"),
    "another slot": ("outputs", first(slot=lambda slot: slot + 1), "does not have those of each interval"),
    "an interval less": ("parts", lambda parts: parts[1:], "does not have those of each interval"),
    "intervals swapped": ("parts", lambda parts: parts[::-1], "does not lead to the root of checkpoint 0"),
    "an output less": ("parts", lambda parts: tuple(part[1:] for part in parts), "those of each interval"),
    "another root": ("parts", lambda parts: (first(root=lambda _: bytes(32))(parts[0]), parts[1]), "checkpoint 0"),
    "no path": ("parts", lambda parts: (first(proof=lambda _: ())(parts[0]), parts[1]), "the root of checkpoint 0"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_false_certificate_is_refused(case: Case, lie: str) -> None:
    field, change, why = LIES[lie]
    binding = case.made.binding
    case.refused(replace(case.made, binding=replace(binding, **{field: change(getattr(binding, field))})), why)


def test_roots_that_are_not_proven_are_missed(case: Case) -> None:
    slots = dict(case.made.log.slots)
    for slot in list(slots):
        less = replace(case.made.log, slots={key: path for key, path in slots.items() if key != slot})
        case.refused(replace(case.made, log=less), "is missing")
