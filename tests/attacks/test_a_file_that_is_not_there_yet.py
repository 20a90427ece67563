"""Attack 16, its part about the network: a file that cannot be fetched for some seconds.

A worker that gives a task up for good after a few failures can be kept from it by whoever makes its server fail for
that long; and a requester whose machine restarts gets no bids. A verifier that gave up would never audit the task's
cheat.
"""

from __future__ import annotations

import pytest

from offchain.chain.deployment import COIN
from offchain.dispute.falsified import Falsehood, FalsifiedReplay
from offchain.market.view import Status
from offchain.store.blobs import BlobStore
from offchain.store.serve import BlobServer
from offchain.store.taskfile import save_task
from offchain.worker.events import TaskFit, TaskUnfit
from offchain.worker.materials import task_name
from tests.support import tasks
from tests.support.town import Town, lying
from tests.support.works import DOT, every_kind

TASK = every_kind(6, 3)


@pytest.mark.slow
def test_a_cheat_is_convicted_although_the_file_was_away_for_a_while(town: Town) -> None:
    """The file is away while the verifier first asks for it, and wrong while it asks again."""
    before = town.fortunes()
    name = task_name(tasks.terms(town, TASK))
    store = BlobStore(town.folder)
    with BlobServer(town.folder) as server:
        store.base, port = server.url, int(server.url.rpartition(":")[2])
        task = town.post(TASK, uri=store.publish(name, lambda path: save_task(TASK, path)))
        cheat = lying(Falsehood(2, DOT, 0, 1 << 12))
        town.worker("cheat", "solver", "solver", executors=cheat, replays=FalsifiedReplay)
        town.until(lambda: town.status(task) is Status.TRAINING)

    town.worker("verifier", "challenger", "verifier")
    # It asks again by its own clock: the chain's goes on as that one does, so that no window is over before.
    town.meanwhile(lambda: len(town.told(TaskUnfit, "verifier")) == 1)
    file = store.path(name)
    right = file.read_bytes()
    file.write_bytes(right[:-1] + b"!")
    with BlobServer(town.folder, port=port):
        town.meanwhile(lambda: len(town.told(TaskUnfit, "verifier")) == 2)
        file.write_bytes(right)
        town.meanwhile(lambda: town.told(TaskFit, "verifier"))
        town.until(lambda: town.status(task) is Status.SLASHED)
    net = town.net(before)
    assert net["solver"] < 0
    assert net["challenger"] > 0 and net["requester"] >= -COIN // 10
