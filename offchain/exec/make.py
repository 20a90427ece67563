"""Executors by name: which class runs on which type of device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Final

from offchain.errors import BadInput
from offchain.exec.base import DEFAULT, Executor, Setting
from offchain.ir.arrays import Array
from offchain.ir.graph import Graph

ANY: Final = "any"  # type of a device that has no entry of its own; the class refuses a device that it cannot use
# name -> type of device -> module:class, which is imported when it is asked for: torch takes a second
EXECUTORS: Final[dict[str, Mapping[str, str]]] = {
    "reference": {ANY: "offchain.exec.reference:ReferenceExecutor"},
    "torch": {ANY: "offchain.exec.eager.executor:TorchExecutor"},
    "fused": {ANY: "offchain.exec.fused.executor:FusedExecutor", "cuda": "offchain.exec.cuda.executor:CudaExecutor"},
}


def make_executor(
    name: str,
    graph: Graph,
    constants: Sequence[Array],
    datasets: Sequence[Array],
    setting: Setting = DEFAULT,
) -> Executor[Any]:
    """An executor by name (`EXECUTORS`).

    The first use of an executor on a device is checked against the reference: raises OffchainError where it computes
    other bits. Raises IllegalGraph, BadBlob, or BadInput for an unknown name or a setting that the executor cannot
    honour; OutOfMemory or BadInput, before anything is compiled or allocated, where the graph exceeds the limits.
    """
    from offchain.exec.selfcheck import require_bits  # imports torch

    make = _class_of(name, setting.device_type)
    require_bits(name, setting.device, lambda *tensors: make(*tensors, Setting(setting.device)))
    made: Executor[Any] = make(graph, constants, datasets, setting)
    return made


def _class_of(name: str, device_type: str) -> Any:
    if name not in EXECUTORS:
        raise BadInput(f"no executor {name!r}; there are {', '.join(EXECUTORS)}")
    row = EXECUTORS[name]
    module, _, attribute = row.get(device_type, row[ANY]).partition(":")
    return getattr(import_module(module), attribute)
