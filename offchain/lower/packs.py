"""Packs: parameters of one optimizer group end to end in one slot, like the buckets of data-parallel training.

The optimizer then updates a whole pack with one node for each of its tensors, instead of three for each parameter.
The model reads its parameters through views.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Final

import torch
from torch import Tensor

from offchain.groups import ParameterGroup
from offchain.task import PackedTensor

MEMBERS: Final = 14  # parameters of a pack: the node that joins their gradients may not read more tensors
PREFIX: Final = "pack."

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Pack:
    """Parameters by name and shape, in order; `slot` is the name of the state tensor that holds them."""

    slot: str
    members: tuple[tuple[str, Shape], ...]

    @property
    def offsets(self) -> tuple[int, ...]:
        """The element at which each member begins."""
        sizes = [prod(shape) for _, shape in self.members]
        return tuple(sum(sizes[:i]) for i in range(len(sizes)))

    def joined(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The members' values as the slot holds them: flat; a pack of one keeps its shape."""
        values = [tensors[name] for name, _ in self.members]
        return values[0] if len(values) == 1 else torch.cat([value.reshape(-1) for value in values])

    def split(self, value: Tensor) -> dict[str, Tensor]:
        """Views of the members by name."""
        if len(self.members) == 1:
            return {self.members[0][0]: value}
        return {
            name: value[start : start + prod(shape)].view(shape)
            for (name, shape), start in zip(self.members, self.offsets, strict=True)
        }


def packed(
    groups: Sequence[ParameterGroup], weights: Mapping[str, Tensor], most: int = MEMBERS
) -> tuple[tuple[Pack, ...], tuple[ParameterGroup, ...]]:
    """The packs of some groups, of at most so many parameters, and the groups with their packs' names."""
    packs: list[Pack] = []
    moved: list[ParameterGroup] = []
    for group in groups:
        own = [group.names[i : i + most] for i in range(0, len(group.names), most)]
        first = len(packs)
        for names in own:
            slot = names[0] if len(names) == 1 else f"{PREFIX}{len(packs)}"
            packs.append(Pack(slot, tuple((name, tuple(weights[name].shape)) for name in names)))
        moved.append(replace(group, names=tuple(pack.slot for pack in packs[first:])))
    return tuple(packs), tuple(moved)


def packed_tensors(packs: Sequence[Pack], slots: Mapping[str, Tensor]) -> tuple[PackedTensor, ...]:
    """Where the members of the packs lie, and each member's share of the optimizer's buffers (slots BUFFER.PACK)."""
    tensors: list[PackedTensor] = []
    for pack in packs:
        if len(pack.members) == 1:
            continue
        for slot, value in slots.items():
            if value.numel() != sum(prod(shape) for _, shape in pack.members):
                continue
            if slot == pack.slot or slot.endswith(f".{pack.slot}"):
                prefix = slot.removesuffix(pack.slot)
                places = zip(pack.members, pack.offsets, strict=True)
                tensors += [PackedTensor(f"{prefix}{name}", slot, offset, shape) for (name, shape), offset in places]
    return tuple(tensors)
