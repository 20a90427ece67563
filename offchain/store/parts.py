"""Tensors that lie end to end in one slot of a state, by name.

The protocol knows slots only. People, and `load_state_dict`, want the parameters by their own names; a task file
says where they are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from math import prod
from typing import Any

from offchain.ir.arrays import Array
from offchain.ir.encoding import MAX_RANK
from offchain.ir.graph import TensorSpec


@dataclass(frozen=True)
class Part:
    """A tensor of `shape` that begins at an element of a slot."""

    name: str
    slot: str
    offset: int
    shape: tuple[int, ...]


def tensors(slots: Sequence[TensorSpec], parts: Sequence[Part], state: Sequence[Array]) -> dict[str, Array]:
    """Every tensor of a state in its own shape: parts by their names, whole slots by theirs."""
    flat = {spec.name: array.reshape(-1) for spec, array in zip(slots, state, strict=True)}
    split = {part.slot for part in parts}
    whole = {spec.name: flat[spec.name].reshape(spec.shape) for spec in slots if spec.name not in split}
    found = {p.name: flat[p.slot][p.offset : p.offset + prod(p.shape)].reshape(p.shape) for p in parts}
    return {**found, **whole}


def dumps(parts: Sequence[Part]) -> str:
    """The parts as text."""
    return json.dumps([astuple(part) for part in parts])


def loads(text: str, slots: Sequence[TensorSpec]) -> tuple[Part, ...]:
    """Read a stranger's parts. Raises ValueError unless each lies in a slot and names are unique."""
    try:
        rows = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    lengths = {spec.name: spec.length for spec in slots}
    if not isinstance(rows, list) or not all(_is_part(row, lengths) for row in rows):
        raise ValueError("not a list of parts of slots")
    parts = tuple(Part(name, slot, offset, tuple(shape)) for name, slot, offset, shape in rows)
    names = {part.name for part in parts}
    if len(names) < len(parts) or names & (lengths.keys() - {part.slot for part in parts}):
        raise ValueError("two tensors have the same name")
    return parts


def _is_part(row: Any, lengths: dict[str, int]) -> bool:
    if not isinstance(row, list) or len(row) != 4:
        return False
    name, slot, offset, shape = row
    if not isinstance(name, str) or not isinstance(slot, str) or not isinstance(shape, list):
        return False
    numbers = [offset, *shape]
    if any(type(number) is not int or number < 0 for number in numbers) or len(shape) > MAX_RANK:
        return False
    return slot in lengths and offset + prod(shape) <= lengths[slot]
