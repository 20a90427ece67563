"""The entries of a model's `state_dict()`, and where a task holds the values of each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from offchain.commit.roots import tensor_root
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
    """
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
