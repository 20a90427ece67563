"""Where captured operations come from: the module or part of the job, the requester's line and, for an operation of the
backward pass, the operation whose gradient it takes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from types import CodeType
from typing import Any, Final

import torch
import torch.fx.traceback as notes
from torch import Tensor, nn
from torch._C._autograd import _get_sequence_nr
from torch.fx import Node
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._python_dispatch import TorchDispatchMode

from offchain.lines import at, line_of_caller

_PLACE: Final = "offchain.place"  # keys of torch's notes on captured nodes
_ORIGIN: Final = "offchain.origin"
Step = Callable[..., tuple[Tensor, ...]]


@dataclass(frozen=True)
class Place:
    """A module, or another part of the job, and the line where it was given ("" if unknown)."""

    name: str = ""
    line: str = ""

    def __str__(self) -> str:
        return (f" in {self.name}" if self.name else "") + at(self.line)


@dataclass(frozen=True)
class Origin:
    """An operation as torch called it before decomposition, and the part of the job that called it.

    `forward` is the operation whose gradient it takes, if it does.
    """

    operation: str
    place: Place
    forward: str = ""


@contextmanager
def within(name: str, line: str = "") -> Iterator[None]:
    """While open, captured nodes and errors belong to this part of the job, unless an inner part claims them."""
    place = Place(name, line)
    with notes.annotate({_PLACE: place}):
        try:
            yield
        except Exception as error:
            vars(error).setdefault(_PLACE, place)
            raise


def modules_of(model: nn.Module | None) -> Iterator[tuple[str, nn.Module]]:
    """A model's modules by path; none where there is no model."""
    return iter(()) if model is None else model.named_modules()


@contextmanager
def within_modules(model: nn.Module | None) -> Iterator[None]:
    """While open, every captured node is marked with the module that made it."""
    with ExitStack() as hooks:
        open_notes: list[ExitStack] = []

        def enter(path: str) -> Callable[..., None]:
            def hook(*_: Any) -> None:
                note = ExitStack()
                note.enter_context(notes.annotate({_PLACE: Place(f"module {path}")}))
                open_notes.append(note)

            return hook

        def leave(*_: Any) -> None:
            open_notes.pop().close()

        for path, module in modules_of(model):
            for handle in (
                module.register_forward_pre_hook(enter(path or type(model).__name__)),
                module.register_forward_hook(leave, always_call=True),
            ):
                hooks.callback(handle.remove)
        try:
            yield
        finally:  # close what a module that raised left open: torch does not call its hook then while compiling
            while open_notes:
                leave()


@dataclass
class Origins:
    """The origins of a step's operations, collected while the step is captured.

    Autograd numbers its nodes in the order in which they are made. So the number of a node that runs in the backward
    pass leads to the call of a torch function during which it was made.
    """

    numbers: list[int] = field(default_factory=list)  # of the first node that each call made
    calls: list[Origin] = field(default_factory=list)
    running: list[int] = field(default_factory=list)  # the node that runs in the backward pass, if any
    raised: list[Exception] = field(default_factory=list)  # by calls of torch functions

    def noted(self, step: Step) -> Step:
        """`step` as a function that marks every captured node and every error with its origin."""

        def noted_step(*flat: Tensor) -> tuple[Tensor, ...]:
            with _Calls(self, noted_step.__code__), _Operations(self, noted_step.__code__):
                return step(*flat)

        return noted_step

    def follow(self, loss: Tensor) -> None:
        """From now on, record which of the autograd nodes behind the loss is running."""
        seen: set[Any] = {None}
        waiting: list[Any] = [loss.grad_fn]
        while waiting:
            node = waiting.pop()
            if node in seen:
                continue
            seen.add(node)
            waiting += [before for before, _ in node.next_functions]
            node.register_prehook(partial(self._runs, node._sequence_nr()))
            node.register_hook(lambda *_: self.running.clear())

    def _runs(self, number: int, _: Any) -> None:
        self.running.append(number)

    def made_by(self) -> Origin | None:
        """The call whose gradient is being taken now."""
        found = bisect_right(self.numbers, self.running[-1]) if self.running else 0
        return self.calls[found - 1] if found else None

    def here(self, operation: str, line: str) -> Origin:
        """The origin of an operation that is called now, by the requester's line, if any."""
        made_by = self.made_by()
        if made_by is not None:
            return Origin(operation, replace(made_by.place, line=line or made_by.place.line), made_by.operation)
        place = (notes.get_current_meta().get("custom") or {}).get(_PLACE, Place())
        return Origin(operation, replace(place, line=line or place.line))


class _Calls(TorchFunctionMode):
    """Records which torch function the requester's code, or a module, is calling."""

    def __init__(self, origins: Origins, end: CodeType) -> None:
        super().__init__()
        self.origins, self.end = origins, end

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        first, origin = _get_sequence_nr(), self.origins.here(_name(func), line_of_caller(self.end))
        whole = func is torch.autograd.grad  # a backward pass, whose operations have origins of their own
        try:
            return func(*args, **(kwargs or {}))
        except Exception as error:
            if not whole:
                vars(error).setdefault(_ORIGIN, origin)
            self.origins.raised.append(error)
            raise
        finally:
            if _get_sequence_nr() > first and not self.origins.running and not whole:
                self.origins.numbers.append(first)
                self.origins.calls.append(origin)


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Marks the nodes captured for every operation with its origin."""

    def __init__(self, origins: Origins, end: CodeType) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.origins, self.end = origins, end

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with notes.annotate({_ORIGIN: self.origins.here(str(func), line_of_caller(self.end))}):
            return func(*args, **(kwargs or {}))


def _name(function: Any) -> str:
    """A torch function by the name under which it is called."""
    name = resolve_name(function)
    if name is None:  # torch lets nobody override it
        name = f"{getattr(function, '__module__', 'torch')}.{getattr(function, '__qualname__', function)}"
    return "" if name.startswith("torch.ops.higher_order.") else name


def described(node: Node) -> str:
    """A captured operation: its name, what it is part of, the module or part of the job, and the requester's line."""
    name, origin = str(node.target), _origin(node)
    if origin is not None and origin.forward:
        name += f" (backward of {origin.forward})"
    elif origin is not None and origin.operation != name and node.op == "call_function":
        name += f" (of {origin.operation})"
    return name + where(node)


def where(node: Node) -> str:
    """` in PLACE at FILE:LINE` of a captured operation, as far as known."""
    origin = _origin(node)
    return str(origin.place) if origin else ""


def _origin(node: Node) -> Origin | None:
    found: Origin | None = (node.meta.get("custom") or {}).get(_ORIGIN)
    return found


def operation_of(error: BaseException) -> str:
    """The torch function that raised an error; "" if no torch function did."""
    origin: Origin | None = vars(error).get(_ORIGIN)
    return origin.operation if origin else ""


def call_of(error: BaseException) -> tuple[str, str]:
    """The torch function that raised an error, and the requester's line that called it."""
    origin: Origin | None = vars(error).get(_ORIGIN)
    return (origin.operation, origin.place.line) if origin else ("", "")


def place_of(error: BaseException, model: nn.Module | None) -> Place:
    """The innermost module that was being called when an error was raised, else the part of the job."""
    paths = {module: path or type(model).__name__ for path, module in modules_of(model)}
    innermost = Place()
    step = error.__traceback__
    while step is not None:
        frame, step = step.tb_frame, step.tb_next
        called = frame.f_locals.get("self") if frame.f_code.co_name == "_call_impl" else None
        if isinstance(called, nn.Module) and called in paths:
            innermost = Place(f"module {paths[called]}")
    return innermost if innermost.name else vars(error).get(_PLACE, innermost)
