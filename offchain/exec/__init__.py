"""Executors compute the steps of a graph, bit for bit. They know nothing of commitments or of the chain."""

from offchain.exec.base import Executor, Setting
from offchain.exec.make import make_executor

__all__ = ["Executor", "Setting", "make_executor"]
