"""What a node's answers say, as the words of the market. All of it came over the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from offchain.errors import ChainError, ChainUnavailable
from offchain.market.view import Status, TaskView, Terms


@dataclass(frozen=True, slots=True)
class BlockHead:
    number: int
    timestamp: int
    hash: bytes


def head_from(raw: Any) -> BlockHead | None:
    """A block as JSON has it. Raises ValueError and the like."""
    if raw is None:
        return None
    head = BlockHead(int(raw["number"], 16), int(raw["timestamp"], 16), bytes.fromhex(raw["hash"].removeprefix("0x")))
    if len(head.hash) != 32 or head.number < 0 or head.timestamp < 0:
        raise ValueError("not a block")
    return head


def terms_from(task_id: int, raw: Mapping[str, Any]) -> Terms:
    """From ITaskMarket.terms. Raises ChainError where there is no such task."""
    if not raw["steps"] or not raw["interval"]:
        raise ChainError(f"there is no task {task_id} here; `offchain task status` lists them")
    return Terms(*raw.values())


def terms_tuple(terms: Terms) -> tuple[Any, ...]:
    """In the order of ITermLimits.Terms, which is that of `Terms`."""
    return tuple(getattr(terms, name) for name in Terms.__slots__)


def task_from(task_id: int, terms: Terms, raw: Mapping[str, Any]) -> TaskView:
    """From ITaskMarket.task; without checkpoints."""
    return TaskView(
        id=task_id,
        terms=terms,
        requester=raw["requester"],
        solver=raw["solver"],
        status=_status(raw["status"]),
        bidding_ends=raw["biddingEnds"],
        awarded_at=raw["awardedAt"],
        price=raw["price"],
        paid=raw["paid"],
        checkpoints=(),
        attempt=raw["attempt"],
        first=raw["first"],
        promised=raw["promised"],
        defended=raw["defended"],
        late=raw["late"],
        standby=raw["standby"],
        handover_ends=raw["handoverEnds"],
    )


def _status(value: int) -> Status:
    try:
        return Status(value)
    except ValueError:
        raise ChainUnavailable(f"market.task: a status {value} that does not exist") from None
