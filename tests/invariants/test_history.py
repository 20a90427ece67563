"""Any sequence of moves on the real contracts: everybody's history adds up to what token and vault say, to the unit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from web3 import Web3

from offchain.chain.books import Kind
from offchain.chain.ganache import Ganache
from offchain.chain.statement import Statement
from offchain.market.view import VERIFIER
from tests.conftest import Deploy
from tests.invariants.books import FEES, VERIFIERS
from tests.invariants.test_money import Money
from tests.support.bookkeeping import require_balance
from tests.support.deployment import OWNER, PARAMETERS, PEOPLE
from tests.support.vouching import enter
from tests.support.world import World


class Told(Money):
    """The moves of the money test; at their end everybody's history is read."""

    moves = 0

    def books_balance(self) -> None:
        """At the end only: what the contracts do is held to its model elsewhere."""

    def finish(self) -> None:
        super().finish()
        type(self).moves += 1
        place = self.world
        found = {name: Statement(place.quick(name), place.address(name)) for name in PEOPLE}
        for statement in found.values():
            statement.update()
            require_balance(place, statement)
        free = sum(statement.books.sums()["free"] for statement in found.values())
        pending = sum(statement.books.sums()["pending"] for statement in found.values())
        pots = sum(pot.amount for pot in found[PEOPLE[0]].books.pots.values())
        chain = place.quick(OWNER)
        burnable = int(chain.call("vault", "burnable"))
        assert chain.balance(place.deployment.vault) == free + pending + pots + burnable
        gained = {name: self.model.free[name] for name in PEOPLE}
        assert gained == {name: statement.books.sums()["free"] for name, statement in found.items()}
        for name, statement in found.items():
            earned = statement.books.total(Kind.EARNED)
            assert earned >= self.model.earned.get(name, 0), name


@pytest.mark.slow
def test_history_balances(ganache: Ganache, w3: Web3, deploy: Deploy, snapshot: None) -> None:
    referee = w3.eth.accounts[9]
    world = World.raw(ganache, {"game": referee, "verifier": referee}, replace(PARAMETERS, **FEES))
    enter(world, VERIFIERS, roles=VERIFIER)
    machine: Any = type("History", (Told,), {"world": world, "ledger": None})
    limits = settings(
        max_examples=4,
        stateful_step_count=25,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # to shrink on a chain takes minutes
        suppress_health_check=list(HealthCheck),
    )
    with world.clock.stopped():
        run_state_machine_as_test(machine, settings=limits)
    assert machine.moves >= 4
