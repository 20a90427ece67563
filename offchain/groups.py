"""A job's optimizer in one form: its class, and groups of named parameters with all their options."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from torch import Tensor, nn
from torch.optim import Optimizer

from offchain.errors import BadInput

Chosen = Optimizer | tuple[type[Optimizer], Mapping[str, Any]]
_ONCE: Final = {"initial_accumulator_value"}  # torch reads it from the constructor only, not from groups
# what torch's schedulers add to groups
_OF_SCHEDULERS: Final = {"initial_lr", "min_lr", "max_lr", "base_momentum", "max_momentum", "swa_lr"}
NOT_OPTIONS: Final = {"params", "param_names", *_OF_SCHEDULERS}
_HOOKS: Final = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")


@dataclass(frozen=True)
class ParameterGroup:
    """Names of parameters that are trained with the same options."""

    names: tuple[str, ...]
    options: Mapping[str, Any]

    def without(self, names: Collection[str]) -> ParameterGroup:
        """The group without these parameters."""
        return replace(self, names=tuple(name for name in self.names if name not in names))


def groups_of(
    model: nn.Module, optimizer: Chosen, scheduled: bool = False
) -> tuple[type[Optimizer], tuple[ParameterGroup, ...]]:
    """The optimizer's class and its groups. Torch's constructor checks the options. Raises BadInput.

    Parameters that need no gradient belong to no group. Tied weights appear once. `scheduled`: the job names the
    scheduler that is attached to the optimizer.
    """
    built = optimizer if isinstance(optimizer, Optimizer) else _built(model, optimizer)
    _check_fresh(built, scheduled)
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = []
    for group in built.param_groups:
        for parameter in group["params"]:
            if parameter not in names:
                shape = tuple(parameter.shape)
                raise BadInput(
                    f"the optimizer holds a parameter of shape {shape} that is not the model's; give model.parameters()"
                )
        options = {name: plain_option(name, value) for name, value in group.items() if name not in NOT_OPTIONS}
        for name in _ONCE & options.keys():
            options[name] = plain_option(name, built.defaults[name])
        groups.append(ParameterGroup(tuple(names[p] for p in group["params"] if p.requires_grad), options))
    if not any(group.names for group in groups):
        raise BadInput(
            "the optimizer holds no parameter that requires a gradient: nothing to train; see .requires_grad"
        )
    return type(built), tuple(groups)


def optimizer_over(kind: type[Optimizer], groups: Sequence[ParameterGroup], tensors: Mapping[str, Tensor]) -> Optimizer:
    """A fresh optimizer of class `kind` with these groups, over tensors of the same names."""
    make: Callable[..., Optimizer] = kind
    once = {name: groups[0].options[name] for name in _ONCE & groups[0].options.keys()}
    return make([{"params": [tensors[name] for name in group.names], **group.options} for group in groups], **once)


def optimizer_on(model: nn.Module, chosen: Chosen, tensors: Mapping[str, Tensor]) -> Optimizer:
    """A copy of a model's optimizer on other tensors, given by the parameters' names. What it keeps is copied too."""
    built = chosen if isinstance(chosen, Optimizer) else _built(model, chosen)
    memo: dict[int, Any] = {id(parameter): tensors[name] for name, parameter in model.named_parameters()}
    made = object.__new__(type(built))
    own = {name: value for name, value in vars(built).items() if name != "step"}  # a scheduler wraps it
    vars(made).update(copy.deepcopy(own, memo))
    return made


def _built(model: nn.Module, optimizer: Any) -> Optimizer:
    try:
        kind, options = optimizer
        options = dict(options)
    except (TypeError, ValueError):
        kind, options = None, {}
    if not (isinstance(kind, type) and issubclass(kind, Optimizer)):
        raise BadInput("optimizer must be (torch.optim.X, {options}), or an optimizer over the model's parameters")
    if callable(options.get("lr")):
        raise BadInput("lr is a function; give a number, and the function as Job(schedule=...), a factor on it")
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise BadInput("the model has no parameter that requires a gradient, so there is nothing to train")
    try:
        return kind(trained, **options)
    except (ValueError, TypeError, RuntimeError) as error:
        raise BadInput(f"{kind.__name__}: {str(error).splitlines()[0]}") from error


def _check_fresh(optimizer: Optimizer, scheduled: bool) -> None:
    """Raise BadInput unless the optimizer is as its constructor left it: a task starts from that state."""
    if any(not hasattr(optimizer, hooks) for hooks in _HOOKS):
        raise BadInput(
            f"{type(optimizer).__name__} did not call Optimizer.__init__, as an optimizer around another; derive it "
            "from the inner one's class, as class Lookahead(torch.optim.SGD), and let its step call super().step()"
        )
    ours = type(optimizer).__module__.startswith(("torch.optim", "offchain"))  # others may start from any state
    if any(float(state.get("step", ours and 1)) != 0 for state in optimizer.state.values()):
        raise BadInput("the optimizer was used already; give a fresh one")
    if not _steps_by_class(optimizer):
        raise BadInput(
            "the optimizer's step was replaced, which workers could not run; derive a class from the optimizer's own, "
            "whose step does that and then calls super().step()"
        )
    if any(getattr(optimizer, hooks) for hooks in _HOOKS):
        raise BadInput("the optimizer has hooks, which workers could not run; remove them")
    if not scheduled and any("initial_lr" in group for group in optimizer.param_groups):
        raise BadInput("a scheduler is attached to the optimizer; give it as Job(schedule=...)")


def _steps_by_class(optimizer: Optimizer) -> bool:
    """Whether its step is that of its class, perhaps counted by a scheduler of torch."""
    step = optimizer.step
    if hasattr(step, "_wrapped_by_lr_sched"):
        step = getattr(step, "__wrapped__", step)
    return getattr(step, "__func__", step) is type(optimizer).step


def plain_option(name: str, value: Any) -> Any:
    """An option as numbers."""
    if isinstance(value, Tensor):
        value = value.item() if value.numel() == 1 else value.tolist()
    if isinstance(value, tuple | list):
        return tuple(plain_option(name, item) for item in value)
    if isinstance(value, float) and not math.isfinite(value):
        raise BadInput(f"option {name!r} of the optimizer is {value}; give a finite number")
    return value
