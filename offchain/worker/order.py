"""In which order a worker does what its roles ask for: what has a deadline first, and the rest not for long.

Each transaction takes a block, and each lot seconds on a slow node. Strangers decide how many of those there are: of
their tasks they can let a hundred committees be paid, or a thousand checkpoints be drawn, in the minute in which a bond
is lost unless a log is shown.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Final

from offchain.market.actions import (
    Action,
    Attest,
    Challenge,
    Claim,
    Commit,
    Defend,
    DrawLot,
    ObjectTo,
    OpenDispute,
    Reveal,
    ShowKept,
    TakeOver,
    Timeout,
    Vouch,
)
from offchain.market.view import ChainView, CheckpointView

LINGER: Final = 5.0  # seconds for what has no deadline, and as many for lots, until the chain is looked at again


def _at_once(view: ChainView, action: Any) -> int:
    """A clock runs, or the view does not say until when there is time."""
    return 0


def _point(view: ChainView, action: Any) -> CheckpointView:
    point: CheckpointView = view.task(action.task_id).checkpoints[action.checkpoint]
    return point


# By when each must be mined, as a timestamp; else money is lost, or somebody else's lie stands.
DEADLINES: Final[dict[type[Action], Callable[[ChainView, Any], int]]] = {
    **dict.fromkeys((Defend, Challenge, Timeout, ShowKept), _at_once),
    Reveal: lambda view, a: view.task(a.task_id).reveal_ends,
    TakeOver: lambda view, a: view.task(a.task_id).handover_ends,
    Commit: lambda view, a: view.task(a.task_id).deadline(a.checkpoint),
    Vouch: lambda view, a: _point(view, a).challengeable_until,
    OpenDispute: lambda view, a: _point(view, a).challengeable_until,
    Attest: lambda view, a: _point(view, a).challengeable_until,
    Claim: lambda view, a: _point(view, a).claimable_until,
    ObjectTo: lambda view, a: _point(view, a).claimable_until,
}


def in_order(view: ChainView, actions: Iterable[Action]) -> list[list[Action]]:
    """What has a deadline, the earliest first; the rest; lots, of which each requester's first come first."""
    groups = defaultdict[int, list[tuple[int, Action]]](list)
    lots = Counter[str]()
    for action in actions:
        if (by_when := DEADLINES.get(type(action))) is not None:
            groups[0].append((by_when(view, action), action))
        elif isinstance(action, DrawLot):
            requester = view.task(action.task_id).requester
            groups[2].append((lots[requester], action))
            lots[requester] += 1
        else:
            groups[1].append((0, action))
    return [[action for _, action in sorted(groups[n], key=lambda each: each[0])] for n in range(3)]
