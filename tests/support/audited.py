"""A task with audits on the market whose game is an account: claims as tests make, show and settle them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from offchain.chain import claims, verifiers
from offchain.chain.verifiers import Draw
from offchain.commit.logs import COMMITMENT_BYTES, LogChunk
from tests.support.deployment import PARAMETERS
from tests.support.lots import grant
from tests.support.vouching import EVERYBODY, FEE, SECRET, Ended
from tests.support.world import World

BOND: Final = PARAMETERS.audit_bond
RIGHT: Final = tuple(Ended.of(seed, written=rows) for seed, rows in enumerate((10, 10, 5)))  # after each interval
BUDGET: Final = 34  # fees: λ = 19.66
STAKE: Final = 5_000
INTERVAL_TIME: Final = 1_000
ONE_EACH: Final = dict.fromkeys(SECRET, 1)


def begun(world: World, checkpoints: int = 1, fees: Mapping[str, int] = ONE_EACH, **changes: Any) -> int:
    """A task in training, with its first checkpoints committed, for each of which verifiers win so many fees."""
    usual = {"audit_fee": FEE, "audit_rate_bps": EVERYBODY, "stake": STAKE, "interval_time": INTERVAL_TIME}
    task = world.award(**(usual | changes))
    for index in range(checkpoints):
        commit(world, task, index, fees=fees)
    return task


def commit(
    world: World, task: int, index: int, solver: str = "solver", fees: Mapping[str, int] = ONE_EACH, root: bytes = b""
) -> None:
    """A right root, if no other is named."""
    world.send(world.log.functions.commit(task, index, root or RIGHT[index].root, ""), world.address(solver))
    grant(world, task, index, fees)


def convict(world: World, task: int, index: int, proved: bool = True) -> None:
    """The game, which the test plays, convicts the solver of a checkpoint."""
    world.send(world.log.functions.hold(task, index), world.referee)
    if proved:
        world.send(world.log.functions.condemn(task, index), world.referee)
    world.send(world.market.functions.slash(task, world.owner, 0, 0), world.referee)


def finish(world: World, task: int) -> None:
    """Everything is delivered and collected."""
    for index in range(world.quick("solver").call("log", "count", task), 3):
        commit(world, task, index)
    world.close_windows(task)
    world.quick("solver").collect(task)


def settle(world: World, name: str, task: int, checkpoint: int = 0, attempt: int = 0) -> None:
    """By a stranger to the claim."""
    claims.settle(world.quick("requester"), task, attempt, checkpoint, world.address(name))


def reveal(world: World, name: str, task: int, checkpoint: int = 0, shown: LogChunk | None = None) -> None:
    claims.reveal(world.quick(name), task, checkpoint, shown or RIGHT[checkpoint].shown)


def try_reveal(world: World, name: str, task: int, checkpoint: int, shown: LogChunk) -> None:
    """Raises what the contract refuses it with."""
    world.ask(world.auditor.functions.reveal(task, checkpoint, shown.encoded()), world.address(name))


def try_claim(
    world: World, name: str, task: int, checkpoint: int, draw: Draw, commitment: bytes = b"c" * COMMITMENT_BYTES
) -> None:
    call = world.auditor.functions.claim(task, checkpoint, commitment, draw.encoded())
    world.ask(call, world.address(name))


def drawn(world: World, name: str, task: int, checkpoint: int = 0) -> Draw:
    found = verifiers.draw(world.quick(name), SECRET[name], task, checkpoint)
    assert found is not None
    return found


def leave(world: World, task: int, fees: int) -> None:
    """Writes into the auditor's storage that a task's budget pays so many more fees."""
    slot = "0x" + keccak(encode(("uint256", "uint256"), (task, 0))).hex()
    found = claims.budget(world.quick("requester"), task)
    world.clock.store(world.auditor.address, slot, fees << 144 | found.rate_bps << 128 | found.fee)
    assert claims.budget(world.quick("requester"), task) == replace(found, left=fees)


def pot(world: World, task: int) -> int:
    """What the auditor holds for a task."""
    key = world.market.functions.escrowPot(task).call()
    return int(world.vault.functions.potOf(world.auditor.address, key).call())


def gained(world: World, before: dict[str, int]) -> dict[str, int]:
    """What each verifier and the burn pot gained since then."""
    return {name: gain for name, gain in world.gains(before).items() if name in (*SECRET, "burned")}
