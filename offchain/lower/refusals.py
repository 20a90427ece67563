"""Turns an error during capture into one line: the operation, the part of the job, the requester's line, the remedy."""

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
    """A known cause of an error, and the remedy.

    words    a regular expression over the operation's name, the error's type and its text
    file     suffix of a file of torch that was running, if that matters
    code     a regular expression over the requester's line, if that matters
    meaning  replaces torch's text; makes the error Unsupported instead of BadInput
    """

    words: str
    remedy: str
    meaning: str = ""
    file: str = ""
    code: str = ""

    def fits(self, words: str, files: Sequence[str], code: str) -> bool:
        return bool(re.search(self.words, words) and re.search(self.code, code)) and any(
            file.endswith(self.file) for file in files
        )


_CAUSES: Final = (  # the first that fits is taken
    Cause(
        "would mutate a captured Tensor",
        "in-place tricks on inputs (the batch, or tensors from outside the model) cannot be replayed; "
        "work on a copy (.clone()); what a model keeps for the next step is a buffer (register_buffer), and what a "
        "Program keeps is in its state, as functional_call(module, {**weights, **buffers}, x) gets it",
        meaning="a tensor is written in place",
    ),
    Cause(
        "value out of a tracing tensor",
        "momentum=None divides by a counter in Python; give the layer a number, as momentum=0.1",
        meaning=_VALUE,
        file="/batchnorm.py",
    ),
    *(
        Cause(
            "",
            "give its tensors as the job's dataset: batch_size= and order= choose the rows",
            meaning="a DataLoader chooses rows while it runs",
            file=file,
        )
        for file in ("/utils/data/dataloader.py", "/utils/data/sampler.py")
    ),
    Cause(
        "value out of a tracing tensor",
        "keep the average in parameters of the model that require no gradient, and write them with .mul_ and .add_ "
        "under torch.no_grad()",
        meaning="torch's AveragedModel looks at its count",
        file="/optim/swa_utils.py",
    ),
    Cause(
        "__bool__ .*value out of a tracing tensor",
        "leave validate_args=True out: a job's step cannot check values",
        meaning=_VALUE,
        file="/distribution.py",
    ),
    Cause(
        "__bool__ .*value out of a tracing tensor",
        "a check cannot stop a step: leave it out, `offchain run` names the first step whose loss is not finite; or "
        'count in a metric of the job, as lambda model, batch: torch.isnan(model(batch["x"])).float().sum(); '
        "torch.where(mask, a, b) puts other numbers in their places",
        meaning=_VALUE,
        code=r"\b(assert|isnan|isinf|isfinite|allclose|equal)\b",
    ),
    Cause(
        "__bool__ .*value out of a tracing tensor",
        "`if`, `while` and bool() on tensors cannot be traced; use torch.where",
        meaning=_VALUE,
    ),
    Cause(
        "__[gs]etitem__ .*value out of a tracing tensor",
        "a slice that begins at a tensor cannot be traced; index with the places, as x[i + torch.arange(n)], or write "
        "there with .index_copy(0, i + torch.arange(n), rows)",
        meaning=_VALUE,
        code=r":",
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
        "retain_grad",
        "leave it out, a step has no .grad; for a gradient inside of the loss use "
        "torch.autograd.grad(..., create_graph=True)",
        meaning="the gradient of a tensor is kept",
    ),
    Cause(
        "does not require grad",
        "let it say so before anything is computed of it: x = x.requires_grad_()",
        meaning="a gradient is taken with regard to a tensor that requires none",
        code=r"\bgrad\(",
    ),
    Cause(
        "does not require grad",
        "freeze what no step trains before the job is built, with .requires_grad_(False); for what only some steps "
        "train, count in a buffer of the model: torch.where(self.n > 100, h, h.detach())",
        meaning="the requires_grad of a parameter is changed",
        file="/autograd/__init__.py",
    ),
    Cause(
        "dynamo-optimized",
        "give the module, or the function, that torch.compile was given (model._orig_mod): a job is compiled as it is "
        "built",
        meaning="a step calls what torch.compile made",
    ),
    Cause(
        r"KeyError: 'model\.",
        "make it before the job is built, as in __init__, where the optimizer finds it",
        meaning="a step gives the model a new parameter",
    ),
    Cause(
        r"KeyError: (\d{9}|\w*Tensor\(|Parameter containing)|'Tensor' object has no attribute",
        "its parameters are other tensors than the model's own; tell them by name, as in "
        "for name, p in model.named_parameters(), and keep numbers for each in a dict by name",
        meaning="a step asks which object a parameter is, or for an attribute that it was given",
    ),
    Cause("saved tensor hooks", "leave them out: they only save memory in plain torch"),
    Cause(
        "[Ii]nference tensor",
        "leave torch.inference_mode() out; torch.no_grad() does where no gradient is needed",
        meaning="a step takes gradients",
    ),
    Cause(
        "__deepcopy__|Cannot access storage of TensorWrapper",
        "copy before the job is built what stays as it is, and clone in a step (.clone()) what it changes; other "
        "weights in the same module go by torch.func.functional_call(model, weights, x)",
        meaning="a tensor of a step is copied as an object of Python",
    ),
    Cause(
        "setup_context|custom_function_call|generate_vmap_rule|vmap staticmethod",
        "take that gradient with torch.autograd.grad(..., create_graph=True), and call the function on whole batches",
        meaning="a torch.autograd.Function has a backward of its own, which torch.func.grad and vmap cannot trace",
    ),
    Cause(
        r"backward\(\) called inside|backward through the graph a second time",
        "leave backward() out: a Job takes the gradient of its loss by itself; for others, and in a Program, use "
        "torch.autograd.grad(..., create_graph=True)",
    ),
    Cause(
        "modified by an inplace operation|leaf Variable .* in-place|view .* is being modified inplace",
        "write it out of place (x = x * 2, not x.mul_(2)), or work on a copy (.clone())",
    ),
    Cause("view size is not compatible", "use .reshape(...)"),
    Cause("has changed the type of value", "return a gradient of the type that the hook was given"),
    Cause("same dtype|expected scalar type|dtype", "convert one of them, as with .float() or .to(other.dtype)"),
    Cause("CUDA|NVIDIA|device", "leave .cuda() and .to(device) out: workers choose their device"),
    Cause("derivative for .* not implemented|not differentiable", "use one that has a derivative, or .detach()"),
    Cause("out of bounds|out of range|IndexError", "index within the tensor's shape"),
    Cause(
        r"shapes cannot be multiplied|size of tensor|[Ss]izes of tensors|size mismatch|shape '.*' is invalid"
        r"|[Ee]xpected .*(size|shape|dim|channel|elements)|must match|broadcast|Given (groups|normalized_shape)",
        "make the shapes fit: change the sizes of the layer or of the dataset's rows",
    ),
    Cause("TypeError: .*argument", "give the function the arguments that torch documents"),
    Cause(
        "",
        "check that this runs in plain torch, outside a job; if it does, write it with operations that "
        "docs/operations.md lists",
    ),
)


def refusal(error: Exception, origins: Origins, model: nn.Module | None, given: str = "") -> OffchainError:
    """The error to raise, in one line, for an error that was raised while a step was captured; with the line `given`
    where none of the requester's is nearer."""
    operation = operation_of(error)
    if isinstance(error, OffchainError) and not operation:
        return type(error)(*error.args)
    frame, place = raised_at(error), place_of(error, model)
    made_by = origins.made_by()
    if made_by is not None:
        operation = operation or f"backward of {made_by.operation}"
        place = made_by.place
    line = f"{frame.filename}:{frame.lineno}" if frame else place.line or given
    what = f"{operation or _expression(frame) or 'the step'}{Place(place.name, line)}"
    files = [frame.filename for frame in extract_tb(error.__traceback__)]
    if isinstance(error, OffchainError) and not any("/utils/data/" in file for file in files):
        return type(error)(f"{what}: {error}")
    words = f"{type(error).__name__}: {error}".split("\n")[0].removesuffix(".")
    code = (frame.line or "") if frame else ""
    cause = next(cause for cause in _CAUSES if cause.fits(f"{operation} {words}", files, code))
    if cause.meaning:
        return Unsupported(f"{what}: {cause.meaning}: {cause.remedy}")
    return BadInput(f"{what}: {words}; {cause.remedy}")


def _expression(frame: FrameSummary | None) -> str:
    """The source text of the expression that a frame was computing."""
    if frame is None or frame.colno is None or frame.end_lineno != frame.lineno:
        return ""
    line = getline(frame.filename, frame.lineno or 0).encode()
    return line[frame.colno : frame.end_colno].decode()
