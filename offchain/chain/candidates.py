"""Who could be drawn to keep checkpoints, and be reached."""

from __future__ import annotations

from offchain.chain.client import Call, Chain
from offchain.chain.register import EVENTS
from offchain.chain.statement import scan
from offchain.market.view import VERIFIER


def candidates(chain: Chain) -> dict[str, int]:
    """Verifiers that are in the register with an address, and have a stake -> that stake."""
    there: dict[str, bool] = {}
    for event in scan(chain, ("registry",), chain.deployment.block, chain.head().number):
        if event.name in EVENTS:
            verifies = bool(event.args.get("roles", 0) & VERIFIER)
            there[event.args["worker"]] = verifies and bool(event.args.get("endpoint"))
    known = [account for account, reached in there.items() if reached]
    calls: list[Call] = [("verifiers", "stakeOf", account) for account in known]
    return {account: int(stake) for account, stake in zip(known, chain.calls(calls), strict=True) if stake}
