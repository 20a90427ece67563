"""WorkerRegistry: entering, changing and leaving."""

from __future__ import annotations

import pytest

from tests.support.reverts import reverts
from tests.support.world import World

URI = "https://worker.example"


def test_register(market_world: World) -> None:
    world = market_world
    receipt = world.send(world.registry.functions.register(3, URI), world.stranger)
    (event,) = world.events(world.registry.events.Registered(), receipt)
    assert event == {"worker": world.stranger, "roles": 3, "endpoint": URI}
    assert world.registry.functions.worker(world.stranger).call() == (3, URI)
    assert all(world.registry.functions.hasRoles(world.stranger, mask).call() for mask in (1, 2, 3))


def test_register_twice_reverts(market_world: World) -> None:
    world = market_world
    with reverts(world.registry, "AlreadyRegistered", world.solver.lower()):
        world.ask(world.registry.functions.register(1, URI), world.solver)


@pytest.mark.parametrize("roles", [0, 4, 7, 255])
def test_register_with_unknown_roles_reverts(market_world: World, roles: int) -> None:
    world = market_world
    with reverts(world.registry, "InvalidRoles", roles):
        world.ask(world.registry.functions.register(roles, URI), world.stranger)


def test_register_with_a_long_uri_reverts(market_world: World) -> None:
    world = market_world
    with reverts(world.registry, "UriTooLong", 512, 513):
        world.ask(world.registry.functions.register(1, "u" * 513), world.stranger)
    world.ask(world.registry.functions.register(1, "u" * 512), world.stranger)


def test_update(market_world: World) -> None:
    world = market_world
    world.send(world.registry.functions.update(2, URI), world.solver)
    assert world.registry.functions.worker(world.solver).call() == (2, URI)
    assert not world.registry.functions.hasRoles(world.solver, 1).call()
    assert not world.registry.functions.hasRoles(world.solver, 3).call()


def test_update_of_a_stranger_reverts(market_world: World) -> None:
    world = market_world
    with reverts(world.registry, "NotRegistered", world.stranger.lower()):
        world.ask(world.registry.functions.update(1, URI), world.stranger)


def test_deregister(market_world: World) -> None:
    world = market_world
    world.send(world.registry.functions.deregister(), world.solver)
    assert world.registry.functions.worker(world.solver).call() == (0, "")
    assert not world.registry.functions.hasRoles(world.solver, 0).call()


def test_deregister_of_a_stranger_reverts(market_world: World) -> None:
    world = market_world
    with reverts(world.registry, "NotRegistered", world.stranger.lower()):
        world.ask(world.registry.functions.deregister(), world.stranger)
