"""Records the launches of a step as CUDA graphs, which saves the host some twenty microseconds a launch.

A graph holds the addresses of its tensors. Those of a plan never change, and states have few addresses: a run that
discards every state after its step has two sets of them, which take turns.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import Final

import torch

Work = Callable[[], object]
MOST: Final = 1 << 14  # launches in all graphs together; work beyond that is launched kernel by kernel


class Graphs:
    """Graphs by key. Work that cannot be recorded is launched kernel by kernel: slower, with the same bits."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.on = device, True
        self.recorded: dict[Hashable, Work] = {}
        self._launches = 0

    def do(self, key: Hashable, work: Work, launches: int) -> None:
        """Does the work by its graph, recorded first where it is new. Equal keys mean equal work over the same tensors,
        whose kernels have run before.
        """
        if self.on and key not in self.recorded and self._launches + launches <= MOST:
            try:
                self.recorded[key] = recorded(work, self.device)
                self._launches += launches
            except RuntimeError as error:  # torch raises it for CUDA's errors and for failed allocations, too
                self.stop(str(error).splitlines()[0])
        self.recorded.get(key, work)()

    def stop(self, why: str) -> None:
        self.on = False
        self.recorded.clear()
        logging.getLogger(__name__).warning("%s: kernels are launched one by one, as %s", self.device, why)


def recorded(work: Work, device: torch.device) -> Work:
    """A function that repeats the work: on a GPU by a graph of its launches, none of which is executed now.

    Other threads may use the GPU meanwhile. Raises RuntimeError.
    """
    if device.type != "cuda":
        return work
    graph, here = torch.cuda.CUDAGraph(), torch.cuda.current_stream(device)
    with torch.cuda.stream(here):  # comes back to this stream, which torch's own context does not
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            work()
    return graph.replay
