"""Attack 5: the same graph and first state are posted again with another number of steps, and audited first.

The file that a verifier fetched for the one must not stand for the other: a friend of the cheat who solves the real
task posted the sham, every verifier called the real task unfit, and nobody looked at what the cheat committed.
"""

from __future__ import annotations

import pytest

from offchain.chain.deployment import COIN
from offchain.dispute.falsified import Falsehood, FalsifiedReplay
from offchain.market.view import Status
from offchain.store.taskfile import save_task
from offchain.worker.events import Audited, TaskUnfit
from tests.support import tasks
from tests.support.players import Mind
from tests.support.town import TERMS, Town, lying
from tests.support.works import DOT, every_kind

TASK, SHAM = every_kind(6, 3), every_kind(60, 3)


@pytest.mark.slow
def test_the_real_task_is_audited_all_the_same(town: Town) -> None:
    assert (SHAM.graph_root, SHAM.state_root) == (TASK.graph_root, TASK.state_root)
    path = town.folder / "sham.file"
    save_task(SHAM, path)
    before = town.fortunes()
    sham = town.quick("stranger").post(tasks.terms(town, SHAM, **(TERMS | {"uri": f"file://{path}"})))
    tasks.auction(town, sham, {"rival": 0})
    town.quick("rival").commit(sham, 0, Mind(SHAM).root(0), tasks.URI)
    town.worker("verifier", "challenger", "verifier")
    town.until(lambda: town.told(Audited))

    honest = town.post(TASK)
    cheat = lying(Falsehood(2, DOT, 0, 1 << 12))
    town.worker("cheat", "solver", "solver", executors=cheat, replays=FalsifiedReplay)
    town.until(lambda: town.status(honest) is Status.SLASHED)
    assert not town.told(TaskUnfit)
    net = town.net(before, ended=False)
    assert net["stranger"] + net["rival"] + net["solver"] < 0
    assert net["challenger"] > 0
    assert net["requester"] >= -COIN // 10  # the gas of posting
