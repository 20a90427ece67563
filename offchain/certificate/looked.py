"""Who looked at a task's work, and who disputed it: what the chain's events say, which no proof here covers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from offchain.certificate.record import Audit, Contest
from offchain.chain.abi import Event
from offchain.chain.claims import told
from offchain.chain.client import Chain
from offchain.chain.statement import scan

OPEN: Final = "open"
UPHELD: Final = "upheld"  # the challenger lost
CONVICTED: Final = "convicted"
DISMISSED: Final = "dismissed"  # the attempt ended first
OUTCOMES: Final = (OPEN, UPHELD, CONVICTED, DISMISSED)


def looked_at(chain: Chain, task_id: int, last: int) -> tuple[tuple[Audit, ...], tuple[Contest, ...]]:
    """Claims of verifiers and disputes about a task, up to a block, in the order in which they began."""
    about = "0x" + task_id.to_bytes(32).hex()
    first = chain.deployment.block
    claims = told(event for event in scan(chain, ("auditor",), first, last, [None, about]))
    audits = [Audit(claim.checkpoint, claim.attempt, claim.verifier, claim.fate.value) for claim in claims]
    return tuple(audits), contests(scan(chain, ("game",), first, last), task_id)


def contests(events: Iterable[Event], task_id: int) -> tuple[Contest, ...]:
    """The disputes about a task that the game's events tell of."""
    opened: dict[int, Mapping[str, Any]] = {}
    outcomes: dict[int, str] = {}
    for event in events:
        args = event.args
        if event.name == "Opened" and args["taskId"] == task_id:
            opened[args["id"]] = args
        elif event.name == "Resolved" and args["id"] in opened:
            outcomes[args["id"]] = CONVICTED if args["winner"] == opened[args["id"]]["challenger"] else UPHELD
        elif event.name == "Dismissed" and args["id"] in opened:
            outcomes[args["id"]] = DISMISSED
    return tuple(
        Contest(args["checkpoint"], args["attempt"], args["challenger"], outcomes.get(number, OPEN))
        for number, args in opened.items()
    )
