"""Runs a step in eager torch, and notes every operation: its numbers, and where its tensors come from.

What does not depend on the step's tensors is a constant, however it was made, and counts by its content.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from types import CodeType
from typing import Any, Final, cast

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torch.utils.weak import WeakTensorKeyDictionary

from offchain.lines import line_of_caller
from offchain.lower.origin import Origin, Origins

INPUT: Final = "input"  # what a reference starts with: a tensor of the step
CONSTANT: Final = "constant"
RESULT: Final = "result"  # of an operation, by its number and its place among the results
LEFT: Final = "left"  # a result of an earlier run, which something outside of the step has kept
Reference = tuple[Any, ...]
aten = torch.ops.aten
UNFILLED: Final = (
    aten.empty,
    aten.empty_like,
    aten.empty_permuted,
    aten.empty_strided,
    aten.new_empty,
    aten.new_empty_strided,
)
_SHAPED: Final = (
    *UNFILLED,
    aten.zeros_like,
    aten.ones_like,
    aten.full_like,
    aten.new_zeros,
    aten.new_ones,
    aten.new_full,
)


@dataclass(frozen=True)
class Call:
    """An operation that was called.

    numbers   all its arguments that are no tensors, as text
    inputs    where its tensors come from
    needed    whether it has an effect besides its results
    roots     the tensors that were there before, of which its constants were made
    """

    name: str
    numbers: str
    inputs: tuple[Reference, ...]
    needed: bool
    origin: Origin
    roots: tuple[Tensor, ...] = ()


@dataclass
class Recording:
    """The operations of one run. `results` refers to what the step gave; `asked` are calls that told Python a number,
    all of constants."""

    calls: list[Call] = field(default_factory=list)
    asked: list[Call] = field(default_factory=list)
    results: tuple[Reference, ...] = ()
    made: WeakTensorKeyDictionary = field(default_factory=WeakTensorKeyDictionary)  # tensor -> Reference

    def live(self) -> list[Call]:
        """The calls that the results depend on, or that have effects, their references renumbered among these."""
        wanted = {i for i, call in enumerate(self.calls) if call.needed}
        wanted |= {ref[1] for ref in self.results if ref[0] == RESULT}
        for i in range(len(self.calls) - 1, -1, -1):
            if i in wanted:
                wanted |= {ref[1] for ref in self.calls[i].inputs if ref[0] == RESULT}
        new = {old: i for i, old in enumerate(sorted(wanted))}
        return [_renumbered(self.calls[i], new) for i in sorted(wanted)]


def _renumbered(call: Call, new: dict[int, int]) -> Call:
    inputs = tuple((RESULT, new[ref[1]], ref[2]) if ref[0] == RESULT else ref for ref in call.inputs)
    return replace(call, inputs=inputs)


def record(
    step: Callable[[], Sequence[Tensor]], inputs: Sequence[Tensor], before: Recording | None = None
) -> Recording:
    """Run a step of these inputs. `before`: an earlier run, some of whose results may have been kept."""
    recorder = _Recorder(inputs, before, record.__code__)
    with recorder:
        results = step()
    recorder.recording.results = tuple(recorder.reference(bare(result)) for result in results)
    return recorder.recording


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, inputs: Sequence[Tensor], before: Recording | None, end: CodeType) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.recording, self.before, self.end = Recording(), before, end
        self.origins = Origins()
        self.contents = WeakTensorKeyDictionary()  # constant -> its version, and a hash of it
        self.roots = WeakTensorKeyDictionary()  # constant that the step made -> what was there before, of which it did
        for i, tensor in enumerate(inputs):
            self.recording.made[tensor] = (INPUT, i)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given, _ = tree_flatten((args, kwargs))
        tensors = [item for item in given if isinstance(item, Tensor)]
        references = tuple(self.reference(tensor) for tensor in tensors)
        result = func(*args, **kwargs)
        results = [item for item in tree_flatten(result)[0] if isinstance(item, Tensor)]
        if func.overloadpacket in UNFILLED:
            for made in results:
                made.zero_()  # what was in memory there must tell no two runs apart
        shaped = func.overloadpacket in _SHAPED
        roots = () if shaped else self._roots(tensors, references)
        constant = shaped or all(reference[0] == CONSTANT for reference in references)
        if constant:
            for made in results:
                self.recording.made[made], self.roots[made] = (CONSTANT,), roots
        if constant and (results or not roots):
            return result
        number = len(self.recording.calls)
        numbers = repr([item for item in given if not isinstance(item, Tensor)])
        needed = func._schema.is_mutable or not results
        origin = self.origins.here(str(func), line_of_caller(self.end))
        call = Call(str(func), numbers, references, needed, origin, roots)
        if constant:
            self.recording.asked.append(call)
            return result
        self.recording.calls.append(call)
        for place, made in enumerate(results):
            self.recording.made[made] = (RESULT, number, place)
        return result

    def _roots(self, tensors: Sequence[Tensor], references: Sequence[Reference]) -> tuple[Tensor, ...]:
        found: dict[int, Tensor] = {}
        for tensor, reference in zip(tensors, references, strict=True):
            if reference[0] == CONSTANT:
                known = _known(self.roots, tensor)
                found |= {id(root): root for root in ((tensor,) if known is None else known)}
        return tuple(found.values())

    def reference(self, tensor: Tensor) -> Reference:
        """Where a tensor comes from."""
        known = _known(self.recording.made, tensor)
        if known is None and self.before is not None:
            known = _known(self.before.made, tensor)
            if known is not None and known[0] == RESULT:
                return LEFT, tensor
        return known if known is not None and known[0] != CONSTANT else (CONSTANT, self._content(tensor))

    def _content(self, tensor: Tensor) -> tuple[Any, ...]:
        found = _known(self.contents, tensor)
        if found is None or found[0] != tensor._version:
            found = tensor._version, _content(tensor)
            self.contents[tensor] = found
        content: tuple[Any, ...] = found[1]
        return content


def _known(of: WeakTensorKeyDictionary, tensor: Tensor) -> Any:
    return cast("Any", of).get(tensor)


def _content(tensor: Tensor) -> tuple[Any, ...]:
    """Type, shape and hash of a tensor's content; its value where it is one number."""
    if tensor.layout is not torch.strided or tensor.is_meta:
        return tensor.layout, tensor.shape, tensor.dtype if tensor.is_meta else id(tensor)
    if tensor._is_zerotensor():  # of torch.func.jvp: it has no memory
        tensor = torch.zeros(tensor.shape, dtype=tensor.dtype)
    if tensor.numel() == 1 and not tensor.is_complex():
        return tensor.dtype, tensor.shape, repr(tensor.reshape(()).tolist())
    data = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8).numpy()
    return tensor.dtype, tensor.shape, sha256(data.tobytes()).hexdigest()


def bare(tensor: Tensor) -> Tensor:
    """The tensor itself, without the wrapping in which torch.func holds it."""
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor
