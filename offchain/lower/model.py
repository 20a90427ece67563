"""The entries of a model's `state_dict()`, and where a task holds the values of each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import permutations

import torch
from torch import Tensor, nn

from offchain.commit.roots import tensor_root
from offchain.errors import BadInput
from offchain.ir.arrays import Array
from offchain.lower.capture import as_int32
from offchain.task import ModelTensor


def model_tensors(
    model: nn.Module, moving: Collection[str], kept: Mapping[str, Tensor], roots: Sequence[bytes]
) -> tuple[tuple[ModelTensor, ...], tuple[Array, ...]]:
    """The entries, and the arrays of those that neither the state nor the graph holds.

    moving  names of the tensors that steps change
    kept    the other tensors of the model by name
    roots   of the graph's constants

    Raises BadInput where a step would change what other tensors hold, too.
    """
    _refuse_shared(model, moving)
    names = {id(tensor): name for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    constants = {root: number for number, root in enumerate(roots)}
    entries, own = [], dict[str, Array]()
    for key, tensor in model.state_dict(keep_vars=True).items():
        if not isinstance(tensor, Tensor) or id(tensor) not in names:
            continue  # extra state, which is not of tensors
        name = names[id(tensor)]
        dtype, shape = str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)
        if name in moving:
            entries.append(ModelTensor(key, dtype, shape, "state", name))
            continue
        values = _flat(kept[name])
        number = constants.get(tensor_root(values))
        if number is not None:
            entries.append(ModelTensor(key, dtype, shape, "const", number))
            continue
        own.setdefault(name, values)
        entries.append(ModelTensor(key, dtype, shape, "own", list(own).index(name)))
    return tuple(entries), tuple(own.values())


def _refuse_shared(model: nn.Module, moving: Collection[str]) -> None:
    """Raise BadInput if a tensor that steps change lies where another one does, which a graph holds by itself."""
    at_storage: dict[int, list[tuple[str, Tensor]]] = {}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        at_storage.setdefault(tensor.untyped_storage().data_ptr(), []).append((name, tensor))
        if name in moving and isinstance(tensor, nn.Parameter) and torch._debug_has_internal_overlap(tensor) == 1:
            raise BadInput(f"model: elements of {name!r} share memory, as after .expand(); give it a copy (.clone())")
    for sharing in at_storage.values():
        for (one, first), (other, second) in permutations(sharing, 2):
            if one in moving and _overlap(first, second):
                raise BadInput(
                    f"model: {one!r} and {other!r} share memory, so that in plain torch what a step writes to one is "
                    "in both; give both the same parameter (decoder.weight = encoder.weight), or one a copy (.clone())"
                )


def _overlap(first: Tensor, second: Tensor) -> bool:
    """Whether an element of one tensor lies where one of the other does. Both are in the same storage."""
    if first.element_size() != second.element_size() or not first.numel() or not second.numel():
        return bool(first.numel() and second.numel())
    places = torch.zeros(first.untyped_storage().nbytes() // first.element_size(), dtype=torch.bool)
    places.as_strided(first.shape, first.stride(), first.storage_offset()).fill_(True)
    return bool(places.as_strided(second.shape, second.stride(), second.storage_offset()).any())


def changed_tensors(changed: Mapping[str, Tensor]) -> tuple[ModelTensor, ...]:
    """The entries of what a program's steps change, by name."""
    return tuple(
        ModelTensor(name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), "state", name)
        for name, tensor in changed.items()
    )


def _flat(tensor: Tensor) -> Array:
    """As the graph and the file hold it: complex numbers as pairs."""
    real = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    array: Array = as_int32(real).reshape(-1).numpy().copy()
    return array
