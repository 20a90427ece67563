"""What the solver has revealed, learned from a node's events: it serves all disputes of a task."""

from __future__ import annotations

from typing import Any

import pytest

from offchain.chain.abi import Event
from offchain.chain.disputes import RevealLog, Reveals
from offchain.commit.merkle import Position
from offchain.market.view import TreeName

TOPS = {TreeName.NODES: 300, TreeName.SLOTS: 2}


def event(name: str, **args: Any) -> Event:
    return Event("game", name, args, 1, 0)


def children(tree: int, count: int) -> Event:
    hashes = [bytes([i]) * 32 for i in range(count)]
    return event("ChildrenRevealed", id=1, step=4, tree=tree, node=9, level=2, index=0, children=hashes)


def test_what_one_dispute_reveals_serves_all_of_its_attempt() -> None:
    log = RevealLog()
    for said in (event("Opened", id=1, taskId=7, attempt=0), event("Opened", id=2, taskId=7, attempt=1)):
        log.take(said)
    log.take(event("StepsRevealed", id=1, lo=0, hi=3, roots=[bytes(32)]))
    assert log.of(7, 0).shown("StepsRevealed", 0, 3) == [bytes(32)]
    with pytest.raises(KeyError):
        log.of(7, 1).shown("StepsRevealed", 0, 3)


def test_children_are_shown_where_they_were_revealed() -> None:
    reveals = Reveals()
    reveals.take(children(TreeName.NODES, 256))
    (shown,) = reveals.below(4, TOPS, 0)
    assert (shown.tree, shown.position) == (TreeName.NODES, Position(300, 2, 0))
    assert list(reveals.below(5, TOPS, 0)) == []


def test_a_tree_that_does_not_exist_spoils_no_look() -> None:
    """No contract names one, but a node may say that it did."""
    reveals = Reveals()
    reveals.take(children(7, 256))
    assert list(reveals.below(4, TOPS, 0)) == []


def test_children_of_another_number_are_refused_where_they_are_used() -> None:
    reveals = Reveals()
    reveals.take(children(TreeName.NODES, 255))
    with pytest.raises(ValueError, match="255 children"):
        list(reveals.below(4, TOPS, 0))
