"""How the tensors of a graph stand in a file: names, and content that matches the graph's roots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from offchain.commit.roots import tensor_root
from offchain.ir.arrays import Array
from offchain.ir.graph import TensorSpec
from offchain.store.tensorfile import TensorFile

MAX_GRAPH_BYTES: Final = 1 << 22  # some ten thousand nodes; a worker decodes and checks them in about 20 s
CONSTANT: Final = "const."


def fields_of(prefix: str, specs: Sequence[TensorSpec]) -> list[str]:
    """Names in the file: constants by number, all others by name."""
    return [f"{prefix}{i if prefix.endswith(CONSTANT) else spec.name}" for i, spec in enumerate(specs)]


def rooted(
    file: TensorFile, fields: Sequence[str], specs: Sequence[TensorSpec], roots: Sequence[bytes]
) -> tuple[Array, ...]:
    """The content of these fields. Raises BadBlob for the first that is not what its root says."""
    arrays = []
    for field, spec, root in zip(fields, specs, roots, strict=True):
        array = file.tensor(field, spec)
        if tensor_root(array) != root:
            raise file.fault(field, "content does not match its root in the graph")
        arrays.append(array)
    return tuple(arrays)
