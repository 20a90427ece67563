"""The table of endings in docs/market.md, computed again from the contracts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest

from offchain.chain import keepers, verifiers
from offchain.market.view import Status
from tests.support import tasks
from tests.support.deployment import FREE, PARAMETERS
from tests.support.keeping import KEPT, Sitting
from tests.support.tasks import ROOT, URI
from tests.support.vouching import enter
from tests.support.world import SHORT, World

PAGE: Final = Path(__file__).parents[2] / "docs" / "market.md"
SYMBOLS: Final = {"F": PARAMETERS.post_fee, "B": PARAMETERS.bid_bond}
REWARD: Final = 1_728  # 40 % of the stake
TERMS: Final = SHORT | {"attempts": 2, "interval_time": 1_000}


def rows() -> dict[str, list[str]]:
    """Ending -> the other cells of its row."""
    table = PAGE.read_text().split("| ending |")[1].split("\n\n")[0].splitlines()[2:]
    cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in table)
    return {name: more for name, *more in cells}


def value(cell: str) -> int:
    """Of a sum like "−F −320" or "F +2B"."""
    total = 0
    for sign, number, symbol in re.findall(r"([−+]?)(\d*)([FB]?)", cell.replace(" ", "")):
        if number or symbol:
            amount = int(number or 1) * (SYMBOLS[symbol] if symbol else 1)
            total += -amount if sign == "−" else amount
    return total


def begun(world: World, promised: int = 1_000, **changes: int) -> int:
    task = tasks.post(world, **(TERMS | changes))
    tasks.auction(world, task, {"solver": 0, "rival": 800}, promised)
    return task


def deliver(world: World, task: int, indices: range, who: str, at: int | None = None) -> None:
    for index in indices:
        world.send(world.log.functions.commit(task, index, ROOT, URI), world.address(who), at and at + index)


def finish(world: World, task: int) -> None:
    world.close_windows(task)
    world.send(world.market.functions.collect(task), world.stranger)


def stall(world: World, task: int, paid: int) -> None:
    deliver(world, task, range(paid), "solver")
    due = world.market.functions.deadline(task, paid).call()
    world.send(world.market.functions.stall(task), world.stranger, due + 1)


def completed(world: World) -> int:
    task = begun(world)
    deliver(world, task, range(3), "solver")
    finish(world, task)
    return task


def completed_late(world: World) -> int:
    """All three a hundred seconds late: paid by the first interval."""
    task = begun(world, promised=10, urgency=1)
    start = world.task(task)["awardedAt"]
    for index, promise in enumerate((10, 20, 25)):
        world.commit(task, index, at=start + promise + 100)
    finish(world, task)
    return task


def stalled(world: World) -> int:
    task = begun(world, attempts=1)
    stall(world, task, 1)
    return task


def convicted(world: World) -> int:
    task = begun(world, attempts=1)
    deliver(world, task, range(2), "solver")
    world.send(world.log.functions.hold(task, 1), world.referee)
    world.close_windows(task)
    world.send(world.market.functions.slash(task, world.challenger, REWARD, 0), world.referee)
    return task


def taken_over(world: World) -> int:
    task = begun(world)
    stall(world, task, 1)
    world.send(world.market.functions.takeOver(task), world.rival)
    deliver(world, task, range(1, 3), "rival")
    finish(world, task)
    return task


def abandoned(world: World) -> int:
    task = begun(world)
    stall(world, task, 1)
    world.send(world.market.functions.cancel(task), world.requester, world.task(task)["handoverEnds"] + 1)
    return task


def cancelled(world: World) -> int:
    task = tasks.post(world, **TERMS)
    for name in ("solver", "rival"):
        tasks.bid(world, task, name, 1)
    world.quick("requester").cancel(task)
    return task


def unrevealed(world: World) -> int:
    task = tasks.post(world, **TERMS)
    for name in ("solver", "rival"):
        tasks.bid(world, task, name, 1)
    world.clock.travel(2 * PARAMETERS.bidding_time)
    world.quick("stranger").award(task)
    return task


def kept(world: World) -> int:
    """The challenger is the only verifier, and sits on all seats."""
    stakes = {"challenger": 5}
    enter(world, stakes)
    task = begun(world, **KEPT)
    sitting = Sitting.of(world, task)
    deliver(world, task, range(3), "solver")
    sitting.attest(stakes, 2)
    finish(world, task)
    keepers.reward(world.quick("stranger"), task, 0, 0, sitting.members, 0)
    leave(world, stakes)
    return task


def lost(world: World) -> int:
    """Both committees, which are the challenger, are silent, and so is the requester."""
    stakes = {"challenger": 5}
    enter(world, stakes)
    task = begun(world, attempts=1, **KEPT)
    deliver(world, task, range(3), "solver")
    world.close_windows(task)
    keepers.recall(world.quick("stranger"), task)
    Sitting.of(world, task)
    leave(world, stakes)
    world.clock.travel(PARAMETERS.challenge_window)
    world.send(world.market.functions.stall(task), world.stranger)
    return task


def unkept(world: World) -> int:
    """Nobody has a stake."""
    task = begun(world, **KEPT)
    keepers.seat(world.quick("solver"), task)
    deliver(world, task, range(3), "solver")
    finish(world, task)
    return task


def leave(world: World, stakes: Mapping[str, int]) -> None:
    for name, stake in stakes.items():
        verifiers.unstake(world.quick(name), stake)
        world.clock.travel(PARAMETERS.key_delay)
        verifiers.release(world.quick(name))


PLAYS: Final[dict[str, tuple[Callable[[World], int], Status]]] = {
    "completed": (completed, Status.COMPLETED),
    "completed, 100 s late at urgency 1": (completed_late, Status.COMPLETED),
    "stalled after one interval, last attempt": (stalled, Status.STALLED),
    "convicted after one interval, last attempt": (convicted, Status.SLASHED),
    "stalled after one interval, taken over, completed": (taken_over, Status.COMPLETED),
    "stalled, the standby does not come, cancelled": (abandoned, Status.CANCELLED),
    "cancelled before a reveal": (cancelled, Status.CANCELLED),
    "nobody reveals": (unrevealed, Status.CANCELLED),
    "completed, the challenger keeps it for 10 %": (kept, Status.COMPLETED),
    "nobody keeps it, lost, last attempt": (lost, Status.STALLED),
    "completed, keepers were asked for and nobody had a stake": (unkept, Status.COMPLETED),
}


def test_every_ending_has_a_row() -> None:
    assert list(rows()) == list(PLAYS)


@pytest.mark.parametrize("ending", PLAYS)
def test_who_gets_what(fee_world: World, ending: str) -> None:
    world, (play, status) = fee_world, PLAYS[ending]
    task = play(world)
    assert world.status(task) is status
    for name in ("solver", "rival"):
        if world.quick(name).sealed(task, 0) != bytes(28):
            world.quick("stranger").settle_bid(task, 0, world.address(name))
    gains = [world.free(name) - FREE for name in ("requester", "solver", "rival", "challenger")]
    assert [*gains, world.burned()] == [value(cell) for cell in rows()[ending]]
    assert sum(gains) + world.burned() == 0
