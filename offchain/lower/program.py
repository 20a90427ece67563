"""Moved to `offchain.ir.program`."""

from offchain.ir.program import *  # noqa: F403
from offchain.ir.program import F32, FULL, I32, Bounds, ProgramBuilder, Value, as_float, literal, signed  # noqa: F401
