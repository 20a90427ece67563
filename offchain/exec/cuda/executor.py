"""The fused executor on CUDA: a planned graph, run by Triton's kernels and torch's matrix products."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Final

import torch

from offchain.exec.base import DEFAULT, Setting
from offchain.exec.cuda.graphs import Graphs
from offchain.exec.cuda.kernel import Launch, TritonKernel, prepare, require_triton
from offchain.exec.cuda.planner import CudaPlanner
from offchain.exec.cuda.tuning import Tuner
from offchain.exec.plan.executor import PlannedExecutor, State
from offchain.exec.plan.memory import Held, memory_for
from offchain.exec.plan.planning import DTYPES, STEP, Call, Given, Join, Plan
from offchain.exec.plan.shards import Share
from offchain.ir.arrays import Array
from offchain.ir.graph import Graph, Source, TensorSpec

Bound = dict[Given, torch.Tensor]  # where everything is that lies outside the arena
Arguments = list[torch.Tensor | Given]  # views of the arena, and what each step binds
_CHECKED: Final = 2  # the step whose graphs are compared with its launches: all kernels have run before


class CudaExecutor(PlannedExecutor[Launch, Bound]):
    """Runs on a GPU; on device cpu in Triton's interpreter, for tests. Raises BadInput without Triton.

    `tuner` chooses the engines of products.
    """

    def __init__(
        self,
        graph: Graph,
        constants: Sequence[Array],
        datasets: Sequence[Array],
        setting: Setting = DEFAULT,
        tuner: Tuner | None = None,
    ) -> None:
        require_triton(torch.device(setting.device))
        self._tuner = tuner
        super().__init__(graph, constants, datasets, setting)
        self._arguments = [self._views(call) for call in self._plan.calls]
        self._arguments_once = [self._views(call) for call in self._plan.once]
        calls = [call for call in self._plan.calls if isinstance(call, Call)]
        given = {item for call in calls for item in call.tensors if isinstance(item, Given)}
        self._moving = [item for item in given if item.source in (Source.STATE, Source.NODE)]  # from step to step
        self._graphs = Graphs(self.device)
        self._steps = 0

    def _current(self) -> AbstractContextManager[object]:
        """Triton launches on the current device."""
        return torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()

    def _upload_fixed(self) -> None:
        self._fixed: Bound = {STEP: torch.zeros(1, dtype=torch.int32, device=self.device)}
        self._upload_all(Source.CONST, "constant", self.graph.constants, self._tensors.constants)
        self._upload_all(Source.DATA, "dataset", self.graph.datasets, self._tensors.datasets)

    def _upload_all(self, source: Source, what: str, specs: Sequence[TensorSpec], arrays: Sequence[Array]) -> None:
        for n, (spec, array) in enumerate(zip(specs, arrays, strict=True)):
            with memory_for(f"{what} {spec.name!r}", f"on {self.device}", array.nbytes):
                self._fixed[Given(source, n)] = torch.tensor(array, device=self.device)

    def _planned(self, part: Share, prepared: int) -> Plan[Launch]:
        return CudaPlanner(part, self._tuner or Tuner(self.device), prepared).make()

    def _prepare(self, kernels: Sequence[Launch]) -> None:
        compiled = [kernel for kernel in kernels if isinstance(kernel, TritonKernel)]
        self._setting.limits.require_kernels(len({kernel.name for kernel in compiled}))
        prepare(compiled, self._setting.watch)

    # --- one step -----------------------------------------------------------------------------------------------------

    def _bind(self, state: State, after: dict[int, Held], t: int) -> Bound:
        self._fixed[STEP].fill_(t)
        return self._fixed | _before(state) | {Given(Source.NODE, n): held.tensor for n, held in after.items()}

    def _run(self, bound: Bound, after: dict[int, Held]) -> None:
        self._steps += 1
        if self._steps < _CHECKED:
            super()._run(bound, after)
        elif self._steps == _CHECKED:
            self._check(bound, after)
        else:
            self._replay(bound)

    def _replay(self, bound: Bound) -> None:
        """A step by its graphs."""
        key = tuple(bound[item].data_ptr() for item in self._moving)

        def launch(calls: range) -> None:
            with self._current():
                self._graphs.do((calls.start, *key), partial(self._launch, calls, bound), len(calls))

        self._walk(launch)

    def _check(self, bound: Bound, after: dict[int, Held]) -> None:
        """A step by launches and again by graphs, which are not used any more where they give other bits.

        All processes come here in the same step, and so join the same.
        """
        super()._run(bound, after)
        wanted = [held.tensor.to("cpu", copy=True) for held in after.values()]
        for tensor in (self._arena, *(held.tensor.view(torch.uint8) for held in after.values())):
            tensor.fill_(255)  # what the launches left must not pass for what graphs made
        self._make(bound)  # what lasts is in the arena, too
        self._replay(bound)
        pairs = list(zip(after.values(), wanted, strict=True))
        if not all(torch.equal(_words(held.tensor.cpu()), _words(w)) for held, w in pairs):
            self._graphs.stop("CUDA graphs give other bits")
            for held, tensor in pairs:
                held.tensor.copy_(tensor)

    def _launch(self, calls: range, bound: Bound) -> None:
        self._launch_each(((self._plan.calls[n], self._arguments[n]) for n in calls), bound)

    def _launch_once(self, state: State) -> None:
        self._make(self._fixed | _before(state))

    def _make(self, bound: Bound) -> None:
        """What lasts from step to step."""
        self._launch_each(zip(self._plan.once, self._arguments_once, strict=True), bound)

    @torch.no_grad()
    def _launch_each(self, calls: Iterable[tuple[Call[Launch] | Join, Arguments]], bound: Bound) -> None:
        with self._current():
            for call, arguments in calls:
                assert isinstance(call, Call)
                call.kernel(*(bound[item] if isinstance(item, Given) else item for item in arguments))

    def _views(self, call: Call[Launch] | Join) -> Arguments:
        """The call's tensors."""
        if isinstance(call, Join):
            return []
        return [
            tensor if isinstance(tensor, Given) else self._view(tensor, dtype)
            for tensor, dtype in zip(call.tensors, call.kernel.types, strict=True)
        ]

    # --- arrays in and out --------------------------------------------------------------------------------------------

    def _batched(self) -> Iterable[range]:
        return (range(n, n + 1) for n in range(len(self.graph.nodes)))

    def _outputs_of(self, nodes: range, bound: Bound) -> list[Array]:
        self._launch(self._calls_of(nodes), bound)
        return self._download([self._output(n, bound) for n in nodes])

    def _output(self, n: int, bound: Bound) -> torch.Tensor:
        where, node = self._plan.outputs[n], self.graph.nodes[n]
        tensor = bound[where] if isinstance(where, Given) else self._view(where, DTYPES[node.dtype])
        return tensor[: node.length]

    def _upload(self, array: Array, tensor: torch.Tensor) -> None:
        tensor.copy_(torch.from_numpy(array))

    def _download(self, tensors: Sequence[torch.Tensor]) -> list[Array]:
        return [tensor.to("cpu", copy=True).numpy() for tensor in tensors]


def _before(state: State) -> Bound:
    return {Given(Source.STATE, n): held.tensor for n, held in enumerate(state)}


def _words(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view(torch.int32)
