"""The fused executor on CUDA: a planned graph, run by Triton's kernels and torch's matrix products."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch

from offchain.errors import OffchainError
from offchain.exec.base import Tensors, Watch, unwatched
from offchain.exec.cuda.elementwise import TYPES
from offchain.exec.cuda.kernel import Kernel, Launch, require_triton
from offchain.exec.cuda.planner import CudaPlanner
from offchain.exec.cuda.tuning import Tuner
from offchain.exec.planning import ALIGN, STEP, Buffer, Call, Given, Within
from offchain.exec.shards import whole
from offchain.ir.arrays import Array
from offchain.ir.graph import Graph, Source

State = list[torch.Tensor]


class CudaExecutor:
    """A state is a list of flat tensors on `device`, in slot order, which nobody writes to.

    On device cpu the kernels run in Triton's interpreter, for tests. `tuner` chooses the engines of products. Raises
    BadInput without Triton.
    """

    def __init__(
        self,
        graph: Graph,
        constants: Sequence[Array],
        datasets: Sequence[Array],
        device: str = "cuda",
        watch: Watch = unwatched,
        tuner: Tuner | None = None,
    ) -> None:
        self.graph, self.device = graph, torch.device(device)
        require_triton(self.device)
        self._tensors = Tensors(graph, constants, datasets)
        self._given = {STEP: torch.zeros(1, dtype=torch.int32, device=self.device)}
        for source, arrays in ((Source.CONST, self._tensors.constants), (Source.DATA, self._tensors.datasets)):
            self._given |= {Given(source, n): self._upload(array) for n, array in enumerate(arrays)}
        with self._current():
            self._plan = CudaPlanner(whole(graph), tuner or Tuner(self.device)).make()
        self._arena = torch.empty(self._plan.arena + ALIGN, dtype=torch.uint8, device=self.device)
        self._calls = [call for call in self._plan.calls if isinstance(call, Call)]
        self._arguments = [self._bound(call) for call in self._calls]
        with self._current():
            self._prepare(watch)
        self._turn = 0  # of whose step the arena holds

    # --- the promises of Executor -------------------------------------------------------------------------------------

    def load(self, state: Sequence[Array]) -> State:
        return [self._upload(array) for array in self._tensors.state(state)]

    def dump(self, state: State) -> list[Array]:
        return [_download(tensor) for tensor in state]

    def step(self, state: State, t: int) -> State:
        given = self._begin(state, t)
        self._do(0, len(self._plan.calls), given)
        return [given[Given(slot.source, slot.index)] for slot in self.graph.slots]

    def outputs(self, state: State, t: int) -> Iterator[Array]:
        given, at = self._begin(state, t), 0
        turn = self._turn
        for n, end in enumerate(self._plan.ends):
            if turn != self._turn:
                raise OffchainError("another step began before all outputs of this one were taken")
            self._do(at, end, given)
            at = end
            where, node = self._plan.outputs[n], self.graph.nodes[n]
            held = given[where] if isinstance(where, Given) else self._view(where, TYPES[node.dtype])
            yield _download(held[: node.length])

    def trace(self, state: State, t: int) -> list[Array]:
        return list(self.outputs(state, t))

    # --- one step -----------------------------------------------------------------------------------------------------

    def _begin(self, state: State, t: int) -> dict[Given, torch.Tensor]:
        """Where everything is that lies outside the arena, with room for what the state after keeps."""
        self._given[STEP].fill_(t)
        self._turn += 1
        given = self._given | {Given(Source.STATE, n): tensor for n, tensor in enumerate(state)}
        for where, node in zip(self._plan.outputs, self.graph.nodes, strict=True):
            if isinstance(where, Given):
                given[where] = torch.empty(node.length, dtype=TYPES[node.dtype], device=self.device)
        return given

    @torch.no_grad()
    def _do(self, begin: int, end: int, given: dict[Given, torch.Tensor]) -> None:
        with self._current():
            for call, arguments in zip(self._calls[begin:end], self._arguments[begin:end], strict=True):
                call.kernel(*(given[item] if isinstance(item, Given) else item for item in arguments))

    def _current(self) -> Any:
        """Triton launches on the current device."""
        return torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()

    # --- memory -------------------------------------------------------------------------------------------------------

    def _prepare(self, watch: Callable[[int, int], None]) -> None:
        kernels = {call.kernel.name: call.kernel for call in self._calls if isinstance(call.kernel, Kernel)}
        for done, kernel in enumerate(kernels.values(), 1):
            kernel.prepare()
            watch(done, len(kernels))

    def _bound(self, call: Call[Launch]) -> list[torch.Tensor | Given]:
        return [
            tensor if isinstance(tensor, Given) else self._view(tensor, dtype)
            for tensor, dtype in zip(call.tensors, call.kernel.types, strict=True)
        ]

    def _view(self, tensor: Buffer | Within, dtype: torch.dtype) -> torch.Tensor:
        """From where it lies to the end of its buffer."""
        buffer, offset = (tensor.buffer, tensor.offset) if isinstance(tensor, Within) else (tensor, 0)
        start = -self._arena.data_ptr() % ALIGN + buffer.place
        return self._arena[start + offset : start + buffer.bytes].view(dtype)

    def _upload(self, array: Array) -> torch.Tensor:
        return torch.tensor(array, device=self.device)


def _download(tensor: torch.Tensor) -> Array:
    array: Array = tensor.cpu().clone().numpy()
    return array
