"""Intervals are computed in slices; a state is hashed and stored while the next steps run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Event, get_ident
from typing import Any

import pytest

from offchain.commit.closing import Reached
from offchain.commit.roots import state_root, state_tree
from offchain.exec.make import make_executor
from offchain.market.view import CheckpointView, Status, TaskView
from offchain.worker.course import Course
from offchain.worker.materials import Start
from tests.support.everything import Work, everything
from tests.support.tasks import unposted

LONG, SHORT = 30.0, 0.05  # seconds
INTERVAL, INTERVALS = 3, 4


@pytest.fixture(scope="module")
def work() -> Work:
    return everything()


@pytest.fixture(scope="module")
def right(work: Work) -> list[bytes]:
    """Roots of all checkpoints, by the definition."""
    executor = make_executor("reference", work.graph, work.constants, work.datasets)
    state, roots = executor.load(work.state), []
    for t in range(INTERVAL * INTERVALS):
        state = executor.step(state, t)
        if (t + 1) % INTERVAL == 0:
            roots.append(state_root(executor.dump(state)))
    return roots


def course(work: Work, target: int, *, ahead: bool) -> Course:
    roots = {"graph_root": work.graph_root, "state_root": work.state_root}
    terms = unposted(**roots, steps=INTERVAL * INTERVALS, interval=INTERVAL)
    start = Start(0, list(work.state), state_tree(work.state))
    executor = make_executor("torch", work.graph, work.constants, work.datasets)
    return Course(work, executor, start, target, terms, ahead=ahead)


def every(of: Course, keep: Any) -> Iterator[Reached]:
    """All checkpoints up to the target."""
    while of.due <= of.target:
        reached = of.work(LONG, keep)
        assert reached is not None
        yield reached


@dataclass
class Slow:
    """A disk that stores nothing until it is told to."""

    go: Event = field(default_factory=Event)
    kept: list[int] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)

    def __call__(self, end: Reached) -> None:
        assert self.go.wait(LONG)
        self.kept.append(end.checkpoint)
        self.threads.add(get_ident())


@pytest.mark.parametrize("ahead", [False, True])
def test_checkpoints_come_in_order_with_the_right_roots(work: Work, right: list[bytes], ahead: bool) -> None:
    kept = list[Reached]()
    found = list(every(course(work, INTERVALS - 1, ahead=ahead), kept.append))
    assert [(end.checkpoint, end.root) for end in found] == list(enumerate(right))
    assert kept == found
    for end in found:
        assert state_root(end.state) == end.root
        assert end.tree.leaves == state_tree(end.state).leaves


def test_slices_of_any_length_reach_the_same(work: Work, right: list[bytes]) -> None:
    of, found, calls = course(work, INTERVALS - 1, ahead=True), list[bytes](), 0
    while of.due <= of.target:
        reached, calls = of.work(0, lambda end: None), calls + 1
        found += [reached.root] if reached else []
    assert found == right
    assert calls >= INTERVAL * INTERVALS  # each does one step at most


def test_the_next_interval_runs_while_a_state_is_kept(work: Work, right: list[bytes]) -> None:
    of, slow = course(work, 0, ahead=True), Slow()
    while of.done < 2 * INTERVAL:
        assert of.work(0, slow) is None
    assert (of.due, of.checkpoint, slow.kept) == (0, 1, [])
    before = time.monotonic()
    assert of.work(SHORT, slow) is None  # the interval after waits for its turn
    assert SHORT <= time.monotonic() - before < LONG / 2
    assert of.done == 2 * INTERVAL
    slow.go.set()
    first, second = of.work(LONG, slow), of.work(LONG, slow)
    assert first
    assert second
    assert [(first.checkpoint, first.root), (second.checkpoint, second.root)] == [(0, right[0]), (1, right[1])]
    assert slow.kept[:2] == [0, 1]
    assert get_ident() not in slow.threads


def test_an_audit_computes_nothing_that_nobody_asked_for(work: Work, right: list[bytes]) -> None:
    of, slow = course(work, 0, ahead=False), Slow()
    while of.done < INTERVAL:
        of.work(0, slow)
    assert of.work(SHORT, slow) is None
    slow.go.set()
    reached = of.work(LONG, slow)
    assert reached
    assert (reached.root, of.done, slow.kept) == (right[0], INTERVAL, [0])
    of.target = 1
    assert [end.root for end in every(of, slow)] == [right[1]]


def test_a_state_that_cannot_be_kept_is_not_handed_out(work: Work) -> None:
    of = course(work, 1, ahead=True)

    def full(end: Reached) -> None:
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        of.work(LONG, full)
    assert of.due == 1  # whoever still wants checkpoint 0 has to begin again


def test_it_does_not_go_on_from_another_state_than_the_chain_s(work: Work, right: list[bytes]) -> None:
    running = course(work, 2, ahead=False)
    for _ in every(running, lambda end: None):
        pass

    def view(*roots: bytes) -> TaskView:
        points = tuple(CheckpointView(root, 0, 0, 0, uri="") for root in roots)
        return TaskView(0, unposted(), "0xRequester", "0xSolver", Status.TRAINING, 0, 0, 1, 0, points)

    assert running.follows(view(*right)) and running.follows(view(right[0]))
    assert running.follows(view(bytes(32), bytes(32), right[2]))
    assert not running.follows(view(right[0], right[1], bytes(32)))
