"""What every optimizer shares as a pure function: gradients that are accumulated and clipped, packs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Self

import torch
from torch import Tensor

from offchain.groups import ParameterGroup
from offchain.job import Job
from offchain.lower.origin import within
from offchain.lower.packs import MEMBERS, Pack, packed

Tensors = dict[str, Tensor]
_SHOWN: Final = 4  # names of a group in a refusal


@dataclass(frozen=True)
class Functional(ABC):
    """`initial(weights)` gives the slots, `step(weights, gradients, slots, t)` the next weights and slots.

    A slot is named BUFFER.PARAMETER, as torch names the buffer; `grad.PARAMETER` holds a gradient being accumulated.
    """

    job: Job
    groups: tuple[ParameterGroup, ...]

    @property
    @abstractmethod
    def whole(self) -> bool:
        """Whether an update needs each parameter as a tensor of its own: it is more than elementwise."""

    @abstractmethod
    def buffers(self, weights: Mapping[str, Tensor]) -> Tensors:
        """The optimizer's own slots, with initial values."""

    @abstractmethod
    def updated(self, weights: Tensors, gradients: Tensors, slots: Tensors, count: Tensor) -> tuple[Tensors, Tensors]:
        """Weights and slots after an update; `count`, an int32 scalar, is the number of updates before it."""

    def packed(self, weights: Mapping[str, Tensor]) -> tuple[tuple[Pack, ...], Self]:
        """The same for packs in place of single parameters."""
        packs, groups = packed(self.groups, weights, 1 if self.whole else MEMBERS)
        return packs, replace(self, groups=groups)

    def initial(self, weights: Mapping[str, Tensor]) -> Tensors:
        """Initial slots: zeros, unless the optimizer starts from other values."""
        slots = {f"grad.{name}": torch.zeros_like(p) for name, p in weights.items()} if self.job.accumulate > 1 else {}
        return slots | self.buffers(weights)

    def step(self, weights: Tensors, gradients: Tensors, slots: Tensors, t: Tensor) -> tuple[Tensors, Tensors]:
        """Next weights and slots; t is an int32 scalar. With `accumulate`, only every so many steps update them."""
        every = self.job.accumulate
        if every == 1:
            return self.updated(weights, self._clipped(gradients), slots, t)
        summed = {name: slots[f"grad.{name}"] + gradient for name, gradient in gradients.items()}
        due = t % every == every - 1
        new_weights, new_slots = self.updated(weights, self._clipped(summed), slots, t // every)
        new_slots |= {f"grad.{name}": torch.zeros_like(gradient) for name, gradient in summed.items()}
        old_slots = slots | {f"grad.{name}": gradient for name, gradient in summed.items()}
        return either(due, new_weights, weights), either(due, new_slots, old_slots)

    def _clipped(self, gradients: Tensors) -> Tensors:
        """torch.nn.utils.clip_grad_norm_, then clip_grad_value_."""
        norm, value = self.job.clip_norm, self.job.clip_value
        if norm is not None:
            with within("clip_norm", self.job.line_of("clip_norm")):
                total = torch.stack([gradient.square().sum() for gradient in gradients.values()]).sum().sqrt()
                scale = (norm / (total + 1e-6)).clamp(max=1.0)
                gradients = {name: gradient * scale for name, gradient in gradients.items()}
        if value is not None:
            with within("clip_value", self.job.line_of("clip_value")):
                gradients = {name: gradient.clamp(-value, value) for name, gradient in gradients.items()}
        return gradients


def named(job: Job, number: int) -> str:
    """The optimizer's class and one of its groups, by the names of its first parameters."""
    kind, groups = job.groups
    names = groups[number].names
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{kind.__name__}, group {number} ({', '.join(names[:_SHOWN])}{more})"


def either(condition: Tensor, yes: Tensors, no: Tensors) -> Tensors:
    """The tensors of `yes` where the condition, a scalar, holds, else those of `no`."""
    return {name: torch.where(condition, value, no[name]) for name, value in yes.items()}
