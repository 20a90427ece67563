"""Executors: what a step computes, bit for bit. Know nothing of commitments or of the chain."""

from offchain.exec.base import Executor, make_executor

__all__ = ["Executor", "make_executor"]
