"""What a dataset may be given as: named tensors, or tensors without names, whose batch is a tuple."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from offchain.errors import BadInput
from offchain.fields import check_dataset

_COLLATE: Final = "torch.utils.data.default_collate([d[i] for i in range(len(d))])"


class Unnamed(dict[str, Tensor]):
    """Columns that were given without names: as a tuple, a list or a TensorDataset."""


def columns_of(dataset: Any, what: str = "dataset") -> dict[str, Tensor]:
    """The columns by name. Raises BadInput where rows cannot be taken as they are. `what` the dataset is for."""
    given = dataset.tensors if type(dataset) is TensorDataset else dataset
    columns: Any = given
    if isinstance(given, tuple | list):
        columns = Unnamed({f"x{i}": tensor for i, tensor in enumerate(given)})
    elif isinstance(given, Mapping):
        columns = given if isinstance(given, Unnamed) else dict(given)
    else:
        _refuse_loaders(given, what)
    check_dataset(columns, what)
    found: dict[str, Tensor] = columns
    return found


def _refuse_loaders(dataset: Any, what: str) -> None:
    """Their code chooses and changes rows while it runs, and a step graph runs none of it."""
    kind = type(dataset).__name__
    if isinstance(dataset, IterableDataset):
        raise BadInput(
            f"{what} is a {kind}, whose rows are known only while it runs; give tensors: "
            "torch.utils.data.default_collate(list(d)) of it"
        )
    if isinstance(dataset, DataLoader):
        raise BadInput(
            f"{what} is a {kind}, whose own code chooses the rows; give tensors: {_COLLATE} of d = its .dataset; "
            "batch_size= and order= choose the rows"
        )
    if isinstance(dataset, Dataset):
        raise BadInput(f"{what} is a {kind}, whose own code makes the rows; give tensors: {_COLLATE} of it, as d")


def check_alike(validation: Mapping[str, Tensor], dataset: Mapping[str, Tensor]) -> None:
    """Raise BadInput unless the columns of a validation set have the names and dtypes of the dataset's."""
    if validation.keys() != dataset.keys():
        raise BadInput(
            f"validation has {', '.join(map(repr, validation))}, but the dataset {', '.join(map(repr, dataset))}; "
            "give the same names"
        )
    for name, column in validation.items():
        if column.dtype is not dataset[name].dtype:
            raise BadInput(
                f"validation {name!r} is {column.dtype}, but {dataset[name].dtype} in the dataset; convert it with "
                f".to({dataset[name].dtype})"
            )
