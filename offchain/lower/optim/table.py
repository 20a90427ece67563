"""Every optimizer that has a rule."""

from __future__ import annotations

from typing import Final

from torch.optim import Optimizer

from offchain.lower.optim.matrices import MATRIX_RULES
from offchain.lower.optim.rules import ELEMENTWISE_RULES, Rule

RULES: Final[dict[type[Optimizer], Rule]] = {**ELEMENTWISE_RULES, **MATRIX_RULES}
