"""What the files of a posted task are called, by its terms."""

from __future__ import annotations

from offchain.market.view import Terms
from offchain.store import names


def task_name(terms: Terms) -> str:
    seal = names.seal_in(terms.uri)
    return names.task_name(terms.graph_root, terms.state_root, terms.steps, terms.interval, seal)


def state_name(terms: Terms, root: bytes) -> str:
    return names.state_name(task_name(terms), root)


def log_name(terms: Terms, root: bytes) -> str:
    return names.log_name(task_name(terms), root)


def outputs_name(terms: Terms, root: bytes) -> str:
    return names.outputs_name(task_name(terms), root)
