"""How a task ends that somebody cheated in, as docs/market.md has it, read from the contracts' events."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from offchain.chain.abi import Event
from offchain.chain.disputes import VERDICTS
from offchain.market.view import Status


class Ending(Enum):
    """What becomes of the cheat, worst first: the first that the events show is the ending."""

    CONVICTED = "a contract computes what is right: the stake is lost, the challenger gets two fifths of it"
    OUT_OF_TIME = "it cannot show what it claimed: the stake is lost, the challenger gets a bounty"
    STALLED = "a deadline is missed: a tenth of the stake burns"
    ACQUITTED = "the solver is right: the challenger's bond is lost"
    CLAIM_BURNED = "the claim is not shown: its bond burns"
    BID_BURNED = "the bid is not shown: its bond burns"
    UNSOLD = "nobody bids: the requester has paid for posting"
    PAID = "nothing false was committed: the solver is paid, and verifiers replay from an earlier state"


def ending_of(events: Sequence[Event]) -> Ending | None:
    """How a task ended; None while it has not. `events`: of all contracts, since it was posted."""
    by_name = {event.name: event for event in events}  # the last of each name
    if "Slashed" in by_name:
        return Ending.CONVICTED if by_name.keys() & set(VERDICTS) else Ending.OUT_OF_TIME
    ended = by_name.get("Ended")
    if ended is None:
        return None
    if "Stalled" in by_name:
        return Ending.STALLED
    if "Resolved" in by_name:
        return Ending.ACQUITTED
    if any(event.name == "Settled" and event.args["forfeited"] for event in events):
        return Ending.CLAIM_BURNED
    if "Forfeited" in by_name:
        return Ending.BID_BURNED
    return Ending.UNSOLD if ended.args["how"] == Status.CANCELLED else Ending.PAID
