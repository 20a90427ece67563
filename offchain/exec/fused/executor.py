"""The fused executor: a planned graph, run by native kernels and torch's BLAS."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, Final

import numpy as np
import torch

from offchain.errors import BadInput
from offchain.exec.base import DEFAULT, Limits, Setting
from offchain.exec.fused import outputs
from offchain.exec.fused.blas import calls_blas, fastest
from offchain.exec.fused.engines import Engines, engines, known_good
from offchain.exec.fused.outputs import COPY, Copies, copying
from offchain.exec.fused.planner import FusedPlanner
from offchain.exec.plan.executor import PlannedExecutor, State
from offchain.exec.plan.memory import Held
from offchain.exec.plan.planning import ALIGN, ASIDE, STEP, Buffer, Call, Given, Join, Plan, Tensor, Within
from offchain.exec.plan.shards import Share
from offchain.exec.plan.unread import Unread
from offchain.ir.arrays import Array
from offchain.ir.graph import Graph, Source
from offchain.native.jit import CALL_WORDS, call, compiler
from offchain.native.kernel import NativeKernel, cares

ENOUGH: Final = 60_000  # element operations that are worth waking another thread for
After = dict[int, Held]  # what the next state keeps, by node
_Patch = tuple[Any, int, Given, int]  # arguments, which of them changes from step to step, to what; bytes to skip


class FusedExecutor(PlannedExecutor[NativeKernel, After]):
    """Runs on the CPU. Raises BadInput for any other device, OffchainError where no BLAS can be called that is needed.

    Attributes:
        engines: multiply; given None, those that are fastest here for the graph's largest products.
        counted: the step numbers that kernels find in a row.
    """

    counted = 1

    def __init__(
        self,
        graph: Graph,
        constants: Sequence[Array],
        datasets: Sequence[Array],
        setting: Setting = DEFAULT,
        engines: Engines | None = None,
    ) -> None:
        self.engines = engines
        if setting.device_type != "cpu":
            raise BadInput(f"executor fused has no kernels for {setting.device}: take --executor torch")
        super().__init__(graph, constants, datasets, setting)
        self._fixed = self._lying()
        self._base = -(-self._arena.data_ptr() // ALIGN) * ALIGN
        self._steps = (ctypes.c_int32 * self.counted)()
        self._patches: list[_Patch] = []
        self._arguments = [self._pointers(call, self._patches) for call in self._plan.calls]
        self._patches_once: list[_Patch] = []
        self._arguments_once = [self._pointers(call, self._patches_once) for call in self._plan.once]
        self._aside = {
            n: [self._pointers(call, self._patches) for call in calls] for n, calls in self._plan.aside.items()
        }
        self._copies = {nodes: Copies(nodes.start, graph.nodes[nodes.start : nodes.stop]) for nodes in self._batches}
        self._threads = 0
        self._unread = None if setting.limits.whole else Unread(self._share.graph)
        self._skipping: dict[frozenset[int], list[Sequence[int] | Join]] = {}  # by the nodes that are not made
        self._rows: dict[Sequence[int], Any] = {}  # of calls
        self._batch_rows: dict[range, Any] = {}  # of the calls of consecutive nodes, with the copies of their outputs

    def _planned(self, part: Share, prepared: int) -> Plan[NativeKernel]:
        return FusedPlanner(part, self.engines or known_good(), prepared).make()

    def _faster(self, part: Share) -> bool:
        if self.engines:
            return False
        self.engines = engines(part.graph.nodes, _trial)
        return self.engines != known_good()

    def _prepare(self, kernels: Sequence[NativeKernel]) -> None:
        names = {kernel.name: kernel for kernel in kernels}
        self._setting.limits.require_kernels(len(names))
        names[COPY.name] = COPY
        watch = self._setting.watch
        calls = any(calls_blas(kernel.text) for kernel in names.values())
        self._alone = fastest().alone if calls else nullcontext
        done = iter(range(1, len(names) + 1))
        self._compiler = compiler()
        self._addresses = self._compiler.load(names.values(), lambda: watch(next(done), len(names)), cares(kernels))

    # --- one step -----------------------------------------------------------------------------------------------------

    def _bind(self, state: State, after: After, t: int) -> After:
        self._steps[:] = [*range(t, t + self.counted)]
        for pointers, position, given, start in self._patches:
            held = after[given.index] if given.source is Source.NODE else state[given.index]
            pointers[position] = held.address + start
        threads = torch.get_num_threads()
        if threads != self._threads:
            self._threads = threads
            self._rows.clear()
            self._batch_rows.clear()
        return after

    def _run(self, bound: After, after: After) -> None:
        for stretch in self._stretches_without(self._unread.at(self._steps[0]) if self._unread else frozenset()):
            if isinstance(stretch, Join):
                self._join(stretch)
            else:
                self._launch(stretch, bound)

    def _stretches_without(self, nodes: frozenset[int]) -> Sequence[Sequence[int] | Join]:
        """The calls between two joins, without those that only these nodes need. What processes join is made anyway."""
        if not nodes:
            return self._stretches
        if nodes not in self._skipping:
            needed = self._plan.needed(nodes - self._share.together)
            parts = [s if isinstance(s, Join) else tuple(n for n in s if n in needed) for s in self._stretches]
            self._skipping[nodes] = [part for part in parts if isinstance(part, Join) or part]
        return self._skipping[nodes]

    def _launch(self, calls: Sequence[int], bound: After) -> None:
        if calls not in self._rows:
            self._rows[calls] = row_of(self._words_of(calls))
        self._run_row(self._rows[calls])

    def _launch_once(self, state: State) -> None:
        for pointers, position, given, start in self._patches_once:
            pointers[position] = state[given.index].address + start
        places = map(ctypes.addressof, self._arguments_once)
        calls = zip(self._plan.once, places, strict=True)
        self._run_row(row_of(self._words(item.kernel, arguments) for item, arguments in calls))

    def _run_row(self, row: Any) -> None:
        with self._alone():
            self._compiler.run(row, len(row) // CALL_WORDS)

    def _words_of(self, calls: Sequence[int]) -> Iterator[list[int]]:
        for n in calls:
            item = self._plan.calls[n]
            assert isinstance(item, Call)
            yield self._words(item.kernel, ctypes.addressof(self._arguments[n]))

    def _words(self, kernel: NativeKernel, arguments: int) -> list[int]:
        threads = min(self._threads, kernel.tasks, 1 + kernel.work // ENOUGH)
        return call(self._addresses[kernel.name], arguments, kernel.tasks, threads)

    # --- arrays in and out --------------------------------------------------------------------------------------------

    def _batched(self) -> Iterable[range]:
        return outputs.batches(self.graph.nodes, outputs.BATCH)

    def _outputs_of(self, nodes: range, bound: After) -> list[Array]:
        copies = self._copies[nodes]
        found = copies.outputs()
        for n, copy in zip(nodes, copies.arguments, strict=True):
            where = self._plan.outputs[n]
            if where == ASIDE:
                for pointers in self._aside[n]:
                    pointers[0] = int(copy[0])
                continue
            copy[1] = bound[n].address if isinstance(where, Given) else self._address(where)
        if nodes not in self._batch_rows:
            self._batch_rows[nodes] = row_of(self._copied(nodes))
        self._run_row(self._batch_rows[nodes])
        return found

    def _copied(self, nodes: range) -> Iterator[list[int]]:
        """The calls of each node, then the copy of its output, or what writes it there."""
        for n, copy in zip(nodes, self._copies[nodes].arguments, strict=True):
            yield from self._words_of(self._calls_of(range(n, n + 1)))
            if n not in self._aside:
                yield self._words(copying(self.graph.nodes[n]), copy.ctypes.data)
            for item, pointers in zip(self._plan.aside.get(n, ()), self._aside.get(n, ()), strict=True):
                yield self._words(item.kernel, ctypes.addressof(pointers))

    def _upload(self, array: Array, tensor: torch.Tensor) -> None:
        np.copyto(tensor.numpy(), array)

    def _download(self, tensors: Sequence[torch.Tensor]) -> list[Array]:
        return [tensor.numpy().copy() for tensor in tensors]

    def _readable(self, tensors: Sequence[torch.Tensor]) -> list[Array]:
        return [tensor.numpy() for tensor in tensors]

    # --- addresses ----------------------------------------------------------------------------------------------------

    def _lying(self) -> dict[Source, Sequence[Array]]:
        """What lies where it is as long as the executor lives."""
        return {Source.CONST: self._tensors.constants, Source.DATA: self._tensors.datasets}

    def _address(self, tensor: Tensor) -> int:
        """0 where it changes from step to step."""
        if isinstance(tensor, Buffer):
            return self._base + tensor.place
        if isinstance(tensor, Within):
            return self._base + tensor.buffer.place + tensor.offset
        if tensor == STEP:
            return ctypes.addressof(self._steps)
        if tensor.source in self._fixed:
            return int(self._fixed[tensor.source][tensor.index].ctypes.data)
        return 0

    def _pointers(self, call: Call[NativeKernel] | Join, patches: list[_Patch]) -> Any:
        """The call's arguments; those that change from step to step are added to the patches."""
        if isinstance(call, Join):
            return None
        starts = call.starts or (0,) * len(call.tensors)
        places = [self._address(tensor) for tensor in call.tensors]
        pointers = (ctypes.c_void_p * len(places))(*map(int.__add__, places, starts))
        for position, (tensor, start) in enumerate(zip(call.tensors, starts, strict=True)):
            if isinstance(tensor, Given) and tensor != ASIDE and not places[position]:
                patches.append((pointers, position, tensor, start))
        return pointers


def _trial(graph: Graph, engines: Engines) -> Callable[[], object]:
    """A step of a graph without constants, on zeros."""
    executor = FusedExecutor(graph, [], [], Setting(limits=Limits(prepared=0)), engines)
    state = executor.load([np.zeros(slot.spec.shape, np.float32) for slot in graph.slots])
    return lambda: executor.step(state, 0)


def row_of(calls: Iterable[list[int]]) -> Any:
    """Calls as the compiler runs them."""
    words = [word for call in calls for word in call]
    return (ctypes.c_int64 * len(words))(*words)
