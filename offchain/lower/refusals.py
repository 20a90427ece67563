"""What torch raises while a step is traced, in one line: the operation, the part of the job, the line, what to use."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from linecache import getline
from traceback import FrameSummary, extract_tb
from typing import Final

from torch import nn

from offchain.errors import BadInput, OffchainError, Unsupported
from offchain.lines import raised_at
from offchain.lower.origin import Origins, Place, operation_of, place_of

_VALUE: Final = "the step depends on a tensor's value"


@dataclass(frozen=True)
class Cause:
    """A known cause of an error, and what to use instead.

    words    a pattern in the operation's name and the error's type and words
    file     the end of a file of torch's that was running, if that matters
    meaning  said in place of torch's words, where the step itself is Unsupported
    """

    words: str
    remedy: str
    meaning: str = ""
    file: str = ""

    def fits(self, words: str, files: Sequence[str]) -> bool:
        return bool(re.search(self.words, words)) and any(file.endswith(self.file) for file in files)


_CAUSES: Final = (  # the first that fits
    Cause(
        "would mutate a captured Tensor",
        "in-place tricks on inputs (the batch, or tensors from outside the model) cannot be replayed; "
        "work on a copy (.clone())",
        meaning="a tensor is written in place",
    ),
    Cause(
        "value out of a tracing tensor",
        "momentum=None divides by a counter in Python; give the layer a number, as momentum=0.1",
        meaning=_VALUE,
        file="/batchnorm.py",
    ),
    Cause(
        "__bool__ .*value out of a tracing tensor",
        "`if`, `while` and bool() on tensors cannot be traced; use torch.where",
        meaning=_VALUE,
    ),
    Cause(
        "value out of a tracing tensor|data-dependent",
        ".item(), bool(), int() and `if` on tensors cannot be traced; use torch.where, or keep the value a tensor",
        meaning=_VALUE,
    ),
    Cause(
        r"doesn't have storage|tolist\(\) shouldn't|numpy\(\)",
        "NumPy and Python's numbers cannot be traced; keep the value a tensor, and use torch's own functions",
        meaning=_VALUE,
    ),
    Cause(
        "setup_context|saved tensor hooks",
        "leave torch.utils.checkpoint out: it saves memory in plain torch only",
        file="/checkpoint.py",
    ),
    Cause("saved tensor hooks", "leave them out: they save memory in plain torch only"),
    Cause(
        "setup_context|custom_function_call",
        "write it with torch's operations; where the gradient must be another's, as that of g for f: "
        "g(x) + (f(x) - g(x)).detach()",
        meaning="a torch.autograd.Function has a backward of its own, which cannot be traced",
    ),
    Cause(
        r"backward\(\) called inside|backward through the graph a second time",
        "leave backward() and torch.autograd.grad out: a job's step takes the gradient of the loss by itself; "
        "for a gradient inside the loss use torch.func.grad",
    ),
    Cause(r"requires_grad_\(\)", "leave it out: the parameters that require a gradient are known from the model"),
    Cause(
        "modified by an inplace operation|leaf Variable .* in-place|view .* is being modified inplace",
        "write it out of place (x = x * 2, not x.mul_(2)), or work on a copy (.clone())",
    ),
    Cause("view size is not compatible", "use .reshape(...)"),
    Cause("has changed the type of value", "return a gradient of the type that the hook was given"),
    Cause("same dtype|expected scalar type|dtype", "convert one of them, as with .float() or .to(other.dtype)"),
    Cause("CUDA|device", "leave .cuda() and .to(device) out: workers choose their device"),
    Cause("derivative for .* not implemented|not differentiable", "use an operation that has one, or .detach()"),
    Cause("out of bounds|out of range|IndexError", "index within the tensor's shape"),
    Cause(
        r"shapes cannot be multiplied|size of tensor|[Ss]izes of tensors|size mismatch|shape '.*' is invalid"
        r"|[Ee]xpected .*(size|shape|dim|channel|elements)|must match|broadcast|Given (groups|normalized_shape)",
        "make the shapes fit: the layer's sizes, or those of the dataset's rows",
    ),
    Cause("TypeError: .*argument", "give the function the arguments that torch documents"),
    Cause(
        "",
        "see that this runs in plain torch, outside of a job; if it does, write it with operations of "
        "docs/operations.md",
    ),
)


def refusal(error: Exception, origins: Origins, model: nn.Module) -> OffchainError:
    """The one line for an error that was raised while a step was traced."""
    operation = operation_of(error)
    if isinstance(error, OffchainError) and not operation:
        return type(error)(*error.args)
    frame, place = raised_at(error), place_of(error, model)
    made_by = origins.made_by()
    if made_by is not None:
        operation = operation or f"backward of {made_by.operation}"
        place = made_by.place
    line = f"{frame.filename}:{frame.lineno}" if frame else place.line
    what = f"{operation or _expression(frame) or 'the step'}{Place(place.name, line)}"
    if isinstance(error, OffchainError):
        return type(error)(f"{what}: {error}")
    words = f"{type(error).__name__}: {error}".split("\n")[0].removesuffix(".")
    files = [frame.filename for frame in extract_tb(error.__traceback__)]
    cause = next(cause for cause in _CAUSES if cause.fits(f"{operation} {words}", files))
    if cause.meaning:
        return Unsupported(f"{what}: {cause.meaning}: {cause.remedy}")
    return BadInput(f"{what}: {words}; {cause.remedy}")


def _expression(frame: FrameSummary | None) -> str:
    """The source of what a frame was computing."""
    if frame is None or frame.colno is None or frame.end_lineno != frame.lineno:
        return ""
    line = getline(frame.filename, frame.lineno or 0).encode()
    return line[frame.colno : frame.end_colno].decode()
