"""The roles that a worker can hold, one row each. The command line, the registration and the runner read this table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from offchain.market.actions import Action
from offchain.market.notes import Notes
from offchain.market.view import SOLVER, VERIFIER, ChainView
from offchain.roles import keeper, requester, solver, verifier
from offchain.roles.policy import Policy


@dataclass(frozen=True, slots=True)
class Role:
    """A role.

    Attributes:
        name: on the command line and in logs.
        mask: its bit in the register of workers; 0 for a role that needs no entry there.
        decide: pure. Takes the chain, this worker's notes, its operator's policy, and 32 bytes that nobody else knows.
    """

    name: str
    mask: int
    decide: Callable[[ChainView, Notes, Policy, bytes], list[Action]]


ROLES: Final = {
    role.name: role
    for role in (
        Role("solver", SOLVER, lambda view, notes, policy, secret: solver.decide(view, notes, policy)),
        Role("verifier", VERIFIER, lambda *about: [*verifier.decide(*about), *keeper.decide(*about[:3])]),
        Role("requester", 0, lambda view, notes, policy, secret: requester.decide(view)),
    )
}
