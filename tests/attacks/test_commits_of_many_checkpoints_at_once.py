"""Attack 14: a cheat commits all its checkpoints at once, so that all challenge windows become one.

A verifier has one window for work that was promised to take many intervals; what it cannot replay in that time is paid,
right or wrong. The window of a checkpoint opens no earlier than one interval after the window before it now, and the
checkpoint can be disputed from its commit until its window ends.
"""

from __future__ import annotations

import pytest

from offchain.dispute.falsified import Falsehood, FalsifiedReplay
from offchain.market.view import Status
from offchain.worker.events import Challenged, CommitSent
from tests.support.town import TERMS, Town, lying
from tests.support.works import DOT, every_kind

TASK = every_kind(9, 3)
LAST = 2  # checkpoint
WINDOW = 1_000


@pytest.mark.slow
def test_a_cheat_is_convicted_after_the_window_of_its_first_checkpoint(town: Town) -> None:
    before = town.fortunes()
    task = town.post(TASK, challenge_window=WINDOW)
    lie = Falsehood(3 * LAST + 1, DOT, 0, 1 << 12)
    town.worker("cheat", "solver", "solver", executors=lying(lie), replays=FalsifiedReplay)
    town.until(lambda: len(town.told(CommitSent)) == LAST + 1)
    town.clock.travel(WINDOW + 1)  # nobody looked for as long as a window lasts
    town.worker("verifier", "challenger", "verifier")
    town.until(lambda: town.status(task) is Status.SLASHED, idle=30)
    assert town.told(Challenged, "verifier")[0].checkpoint == LAST
    town.dismiss("cheat")
    town.dismiss("verifier")
    net = town.net(before)
    assert net["solver"] < 0 < net["challenger"]
    assert net["rival"] == net["stranger"] == 0


def test_an_honest_solver_that_is_fast_is_paid_as_soon_as_one_that_is_just_in_time(town: Town) -> None:
    before = town.fortunes()
    task = town.post(TASK, challenge_window=WINDOW)
    town.worker("solver", "solver", "solver")
    town.until(lambda: len(town.told(CommitSent)) == LAST + 1)
    awarded = town.quick("stranger").task(task, town.quick("stranger").terms(task)).awarded_at
    town.close_windows(task)
    assert town.clock.now <= awarded + (LAST + 1) * TERMS["interval_time"] + WINDOW + 1
    town.until(lambda: town.status(task) is Status.COMPLETED)
    town.dismiss("solver")
    assert town.net(before)["solver"] > 0
