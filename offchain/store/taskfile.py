"""The task file: everything that a worker needs to replay a task, in one safetensors file.

Tensors `graph` (bytes of `encode_graph`), `const.I`, `data.NAME`, `state.NAME`; metadata `format`, `name`, `steps`,
`parameters`, `parts`, `seal`. Reading it runs no code of the requester and trusts nothing: the graph must be canonical
and legal, every tensor must have the dtype and shape that the graph says, constants and datasets their roots.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np

from offchain.commit.roots import graph_root, state_root, tensor_root
from offchain.errors import BadBlob
from offchain.ir.arrays import Array
from offchain.ir.encoding import decode_graph, encode_graph
from offchain.ir.graph import LOG_SLOT, Graph, TensorSpec
from offchain.ir.legality import check
from offchain.store.parts import Part, dumps, loads, tensors
from offchain.store.tensorfile import TensorFile, opened, write

FORMAT: Final = "offchain-task-1"
MAX_GRAPH_BYTES: Final = 1 << 28
MAX_STEPS: Final = (1 << 31) - 1
MAX_NAME: Final = 256


@dataclass(frozen=True)
class Task:
    """A task as data: step graph, flat arrays that it reads, initial state in slot order, number of steps.

    `parameters` names the tensors that are the trained model, `parts` says which tensors share a slot; `name` is for
    people. None of these is committed to.
    """

    graph: Graph
    constants: tuple[Array, ...]
    datasets: tuple[Array, ...]
    state: tuple[Array, ...]
    steps: int
    name: str = "task"
    parameters: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()

    @cached_property
    def graph_root(self) -> bytes:
        """Root of the graph with its constants and datasets: what the terms of a task name."""
        return graph_root(self.graph)

    @cached_property
    def state_root(self) -> bytes:
        """Root of the initial state."""
        return state_root(self.state)

    @property
    def interval(self) -> int:
        return self.graph.interval

    @property
    def intervals(self) -> int:
        """Number of checkpoints."""
        return self.steps // self.interval

    def tensors(self, state: Sequence[Array]) -> dict[str, Array]:
        """Every tensor of a state by name, in its own shape."""
        return tensors([slot.spec for slot in self.graph.slots], self.parts, state)

    def parameter_arrays(self, state: Sequence[Array]) -> dict[str, Array]:
        """The trained model within a state: shaped arrays by parameter name, as for `load_state_dict`."""
        named = self.tensors(state)
        return {name: named[name] for name in self.parameters}

    def verify(self, graph_root: bytes, state_root: bytes) -> None:
        """Raise BadBlob unless this is the task that those roots name."""
        for what, have, want in (
            ("graph root", self.graph_root, graph_root),
            ("state root", self.state_root, state_root),
        ):
            if have != want:
                raise BadBlob(f"task {self.name!r}: {what} is {have.hex()}, must be {want.hex()}")

    def save(self, path: str | Path) -> None:
        """Write the task file."""
        graph = self.graph
        fields = {"graph": np.frombuffer(encode_graph(graph), np.uint8)}
        slots = [slot.spec for slot in graph.slots]
        for prefix, specs, arrays in (
            ("const.", graph.constants, self.constants),
            ("data.", graph.datasets, self.datasets),
            ("state.", slots, self.state),
        ):
            names = _fields(prefix, specs)
            fields |= {n: a.reshape(s.shape) for n, s, a in zip(names, specs, arrays, strict=True)}
        write(path, fields, {"format": FORMAT, "seal": self.seal, **self._texts()})

    def _texts(self) -> dict[str, str]:
        parameters = json.dumps(self.parameters)
        return {"name": self.name, "steps": str(self.steps), "parameters": parameters, "parts": dumps(self.parts)}

    @property
    def seal(self) -> str:
        """Digest of all that the file says. It shows a damaged file; only the roots on chain show a forged one."""
        graph = sha256(encode_graph(self.graph)).hexdigest()  # its root does not bind names
        return sha256(json.dumps([graph, self.state_root.hex(), self._texts()]).encode()).hexdigest()

    @classmethod
    def load(cls, path: str | Path) -> Task:
        """Read a task file from a stranger.

        Raises BadBlob, MalformedGraph or IllegalGraph in one line that names the field.
        """
        with opened(path, FORMAT) as file:
            graph = decode_graph(file.raw("graph", MAX_GRAPH_BYTES))
            check(graph)
            _check_names(file, graph)
            slots = [slot.spec for slot in graph.slots]
            fields = [
                _fields(prefix, specs)
                for prefix, specs in (("const.", graph.constants), ("data.", graph.datasets), ("state.", slots))
            ]
            file.expect(["graph", *(name for names in fields for name in names)])
            constants = _rooted(file, fields[0], graph.constants, graph.constant_roots)
            datasets = _rooted(file, fields[1], graph.datasets, graph.dataset_roots)
            state = tuple(file.tensor(name, spec) for name, spec in zip(fields[2], slots, strict=True))
            _check_state(file, slots, state)
            steps, name = _steps(file, graph), file.text("name")
            if not _is_plain(name):
                raise file.fault("name", f"must be up to {MAX_NAME} printable characters")
            parts = _parts(file, slots)
            task = cls(graph, constants, datasets, state, steps, name, _parameters(file, slots, parts), parts)
            if file.text("seal") != task.seal:
                raise file.fault("seal", "does not match: the file was damaged or altered")
            return task


def _fields(prefix: str, specs: Sequence[TensorSpec]) -> list[str]:
    """Names in the file: constants by number, all others by name."""
    return [f"{prefix}{i if prefix == 'const.' else spec.name}" for i, spec in enumerate(specs)]


def _check_names(file: TensorFile, graph: Graph) -> None:
    """Names end up in terminals and logs of people who did not choose them."""
    specs = (*(slot.spec for slot in graph.slots), *graph.datasets, *graph.constants)
    for name in (*(spec.name for spec in specs), *graph.metrics):
        if not _is_plain(name):
            raise file.fault("graph", f"a name is not printable, or longer than {MAX_NAME}: {name[:32]!r}")


def _is_plain(name: str) -> bool:
    return len(name) <= MAX_NAME and name.isprintable()


def _rooted(
    file: TensorFile, fields: Sequence[str], specs: Sequence[TensorSpec], roots: Sequence[bytes]
) -> tuple[Array, ...]:
    arrays = []
    for field, spec, root in zip(fields, specs, roots, strict=True):
        array = file.tensor(field, spec)
        if tensor_root(array) != root:
            raise file.fault(field, "content does not match its root in the graph")
        arrays.append(array)
    return tuple(arrays)


def _check_state(file: TensorFile, slots: Sequence[TensorSpec], state: Sequence[Array]) -> None:
    for spec, array in zip(slots, state, strict=True):
        if not np.isfinite(array).all():
            raise file.fault(f"state.{spec.name}", "initial values are not finite")
        if spec.name == LOG_SLOT and array.any():
            raise file.fault(f"state.{spec.name}", "the log must start as zeros")


def _steps(file: TensorFile, graph: Graph) -> int:
    text = file.text("steps")
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and 1 <= int(text) <= MAX_STEPS):
        raise file.fault("steps", f"{text[:32]!r} is not a number from 1 to {MAX_STEPS}")
    if int(text) % graph.interval:
        raise file.fault("steps", f"{text} is not a multiple of the interval {graph.interval}")
    return int(text)


def _parts(file: TensorFile, slots: Sequence[TensorSpec]) -> tuple[Part, ...]:
    try:
        parts = loads(file.text("parts"), slots)
    except ValueError as error:
        raise file.fault("parts", str(error)) from error
    if not all(_is_plain(part.name) for part in parts):
        raise file.fault("parts", f"names must be up to {MAX_NAME} printable characters")
    return parts


def _parameters(file: TensorFile, slots: Sequence[TensorSpec], parts: Sequence[Part]) -> tuple[str, ...]:
    try:
        names = json.loads(file.text("parameters"))
    except (ValueError, RecursionError) as error:
        raise file.fault("parameters", "not a JSON list of names") from error
    known = {part.name for part in parts} | {spec.name for spec in slots} - {part.slot for part in parts}
    if not isinstance(names, list) or any(not isinstance(name, str) or name not in known for name in names):
        raise file.fault("parameters", "not a JSON list of names of tensors of the state")
    return tuple(names)
