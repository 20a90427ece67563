"""Launches of a step as CUDA graphs: what takes the host some twenty microseconds each takes it none.

A graph has the addresses of its tensors in it. Those of a plan never move, and those of states come from few: a run
that lets go of the state before has two, which take turns.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import Final

import torch

Work = Callable[[], object]
MOST: Final = 1 << 14  # launches in all graphs that are kept; other work is launched


class Graphs:
    """Graphs by their keys. Where none can be recorded work is launched as it is, which is slower and no different."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.on = device, True
        self.recorded: dict[Hashable, Work] = {}
        self._launches = 0

    def do(self, key: Hashable, work: Work, launches: int) -> None:
        """Does the work, by its graph. A key stands for the same work over the same tensors, whose kernels have run."""
        if self.on and key not in self.recorded and self._launches + launches <= MOST:
            try:
                self.recorded[key] = recorded(work, self.device)
                self._launches += launches
            except RuntimeError as error:  # torch has it for CUDA's errors too, and for memory that there is not
                self.stop(str(error).splitlines()[0])
        self.recorded.get(key, work)()

    def stop(self, why: str) -> None:
        self.on = False
        self.recorded.clear()
        logging.getLogger(__name__).warning("%s: kernels are launched one by one, as %s", self.device, why)


def recorded(work: Work, device: torch.device) -> Work:
    """What does the work again: on a GPU its launches as a graph, of which none is executed now.

    Other threads may use the GPU meanwhile. Raises RuntimeError.
    """
    if device.type != "cuda":
        return work
    graph, here = torch.cuda.CUDAGraph(), torch.cuda.current_stream(device)
    with torch.cuda.stream(here):  # to come back to, where torch's own context does not
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            work()
    return graph.replay
