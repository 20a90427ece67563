"""What such work cost lately: from the events of tasks that were completed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from offchain.chain.abi import Event
from offchain.chain.client import Chain
from offchain.chain.history import Completed, Lately, completed, lately
from offchain.errors import ChainUnavailable
from tests.support import tasks
from tests.support.deployment import Funded
from tests.support.tasks import BARE, ROOT

GRAPH, OTHER = bytes(32), bytes([1]) * 32


@pytest.fixture(scope="module")
def built(ganache: object) -> Funded:
    return Funded.kept(ganache)  # type: ignore[arg-type]


@pytest.fixture
def place(built: Funded, snapshot: None) -> Funded:
    return built


def finished(place: Funded, price: int, promised: int = 100) -> int:
    task = tasks.post(place)
    tasks.auction(place, task, {"solver": 0, "rival": price}, promised)
    for checkpoint in range(3):
        place.quick("solver").commit(task, checkpoint, ROOT, "")
    place.close_windows(task)
    place.quick("solver").collect(task)
    return task


def test_tasks_that_were_completed_are_found_newest_first(place: Funded) -> None:
    chain = place.chain("stranger")
    assert completed(chain) == []
    first = finished(place, 500)
    tasks.award(place)  # still trains
    place.quick("requester").cancel(tasks.post(place))
    second = finished(place, 800)
    wanted = {"graph_root": BARE["graph_root"], "steps": 25, "seconds": 250}
    assert completed(chain) == [
        Completed(task_id=second, price=800, **wanted),  # type: ignore[arg-type]
        Completed(task_id=first, price=500, **wanted),  # type: ignore[arg-type]
    ]
    assert [task.task_id for task in completed(chain, most=1)] == [second]
    assert completed(chain, blocks=1) in ([], completed(chain, most=1))


def test_what_was_left_stands_for_the_whole_where_another_finished_it(place: Funded) -> None:
    """The runner-up's price was for 15 of 25 steps."""
    task = tasks.post(place, attempts=2)
    tasks.auction(place, task, {"solver": 0, "rival": 500}, 100)
    place.quick("solver").commit(task, 0, ROOT, "")
    place.close_windows(task)
    place.clock.travel(300_000)
    place.quick("requester").stall(task)
    rival = place.quick("rival")
    rival.take_over(task)
    for checkpoint in (1, 2):
        rival.commit(task, checkpoint, ROOT, "")
    place.close_windows(task)
    rival.collect(task)
    (found,) = completed(place.chain("stranger"))
    assert found.price == 500


def test_a_node_that_answers_few_blocks_at_once(place: Funded, monkeypatch: pytest.MonkeyPatch) -> None:
    task, chain, logs = finished(place, 500), place.chain("stranger"), Chain.logs

    def few(self: Chain, parts: Sequence[str], first: int, last: int) -> list[Event]:
        if last - first > 3:
            raise ChainUnavailable("too many blocks")
        return logs(self, parts, first, last)

    monkeypatch.setattr(Chain, "logs", few)
    assert [found.task_id for found in completed(chain)] == [task]
    monkeypatch.setattr(Chain, "logs", lambda *asked: few(chain, (), 0, 9))
    with pytest.raises(ChainUnavailable, match="too many blocks"):
        completed(chain)


def test_the_very_graph_says_more_than_the_size() -> None:
    found = [Completed(n, OTHER, 10, price, 100) for n, price in enumerate((100, 300, 200))]
    assert lately(found, GRAPH, 50, 200) == Lately(3, 200, 400, 600, same=False)
    assert lately([*found, Completed(3, GRAPH, 25, 70, 9)], GRAPH, 50, 200) == Lately(1, 140, 140, 140, same=True)


@pytest.mark.parametrize("seconds", [9, 1_001])
def test_a_task_of_another_size_says_nothing(seconds: int) -> None:
    assert lately([Completed(0, OTHER, 10, 100, 100)], GRAPH, 50, seconds) is None
    assert lately([Completed(0, OTHER, 10, 100, 100)], GRAPH, 50, 100) is not None
