"""torch → step graph: `compile(job)` captures one step of a job, lowers it, fuses it, and packs it into a task."""

from offchain.lower.compiler import compile

__all__ = ["compile"]
