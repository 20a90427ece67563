"""Watches what an account has, and warns while there is still time to fill it up."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Final

from offchain.chain.client import Chain
from offchain.chain.rpc import asking
from offchain.chain.verifiers import Standing, standing
from offchain.economics.stakes import STAKE_BOUNTIES
from offchain.market.view import ChainView, Status
from offchain.roles.ledger import Ledger
from offchain.roles.policy import MOVE_GAS
from offchain.worker.alarms import LowEther, LowVault, NotDrawn
from offchain.worker.events import Tell, WorkerEvent

PAUSE: Final = 30.0  # seconds between two questions for the account's ether


def not_drawn(there: Standing, has_key: bool) -> tuple[str, str] | None:
    """Why a verifier is drawn for no audit and no committee, and what would change that; None for one that is."""
    missing = [verb for verb, lacks in (("enroll", there.point is None), ("stake N", not there.stake)) if lacks]
    if not missing and has_key:
        return None
    what = {"enroll": "no signing key", "stake N": "no stake"}
    why = " and ".join(what[verb] for verb in missing) or "no file with its signing key, which is registered"
    remedy = ", ".join(f"`offchain verifier {verb}`" for verb in missing or ("enroll",))
    return f"it has {why}: it is drawn for no audit, and for no committee", remedy + _again(has_key)


def _again(has_key: bool) -> str:
    return "" if has_key else "; then start it again"


class Purse:
    """Tells of ether and of free balance that are low: when the worker starts, and whenever they become so.

    Args:
        least_moves: moves in disputes that the ether must pay for.
        has_key: whether the worker has a verifier's signing key.
    """

    def __init__(
        self, chain: Chain, roles: Collection[str], least_moves: int, tell: Tell, has_key: bool = True
    ) -> None:
        self._has_key = has_key
        self._chain, self._roles, self._least, self._tell = chain, roles, least_moves, tell
        self._low: set[str] = set()
        self._next = 0.0
        self._stake, self._bond = 0, 0  # the least that any task asks for, with a bid's bond
        self._known = False
        self.ether = 0  # when it was last asked for

    def look(self, view: ChainView) -> None:
        """Raises ChainUnavailable."""
        if not self._known:
            limits = self._chain.call("limits", "values")
            least = STAKE_BOUNTIES * int(limits["bounty"])
            self._stake, self._bond, self._known = least, int(limits["bond"]), True
        if time.monotonic() >= self._next:
            self._look_at_ether(view)
            if "verifier" in self._roles:
                self._look_at_draws()
            self._next = time.monotonic() + PAUSE
        if "solver" in self._roles:
            self._look_at("the stakes of own bids", view.free, Ledger.of(view, {}, 0).stakes)
            if not any(view.engaged(task) for task in view.tasks):
                self._look_at("the least stake and a bid's bond", view.free, self._stake + view.fees.bid_bond)
        if "verifier" in self._roles:
            others = [task.terms.bond for task in view.tasks if task.status is Status.TRAINING]
            self._look_at("the bond of a dispute", view.free, max([self._bond, *others]))

    def _look_at_ether(self, view: ChainView) -> None:
        with asking("reading the ether of an account"):
            ether = self.ether = int(self._chain.w3.eth.get_balance(self._chain.address))
        moves = ether // max(1, MOVE_GAS * view.gas_price)
        self._cross("ether", moves < self._least, LowEther(ether, moves, self._least))

    def _look_at_draws(self) -> None:
        doubt = not_drawn(standing(self._chain), self._has_key)
        self._cross("draws", doubt is not None, NotDrawn(*(doubt or ("", ""))))

    def _look_at(self, what: str, free: int, needed: int) -> None:
        self._cross(what, free < needed, LowVault(free, needed, what))

    def _cross(self, what: str, low: bool, event: WorkerEvent) -> None:
        """Tell what is low once, and again after it was not."""
        if low and what not in self._low:
            self._tell(event)
        (self._low.add if low else self._low.discard)(what)
