"""The register of workers: who offers to work, and where each says that it can be reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from offchain.chain.abi import Event
from offchain.chain.client import Chain

EVENTS: Final = frozenset({"Registered", "Updated", "Deregistered"})
MOST: Final = 20_000  # entries that are remembered, the latest ones: each has 512 bytes at most


@dataclass(frozen=True, slots=True)
class Entry:
    """IWorkerRegistry.Worker."""

    roles: int
    endpoint: str


@dataclass
class Register:
    """What the register's events say, in their order.

    Attributes:
        endpoints: account -> base address of what it serves; of those that are in it and named one.
    """

    endpoints: dict[str, str] = field(default_factory=dict)

    def take(self, event: Event) -> None:
        account = event.args["worker"]
        self.endpoints.pop(account, None)
        if endpoint := event.args.get("endpoint", ""):
            self.endpoints[account] = endpoint
            if len(self.endpoints) > MOST:
                del self.endpoints[next(iter(self.endpoints))]

    def seen(self) -> Mapping[str, str]:
        """`endpoints` as they are now: may be asked for from any thread."""
        return dict(self.endpoints)


def entry_of(chain: Chain, account: str | None = None) -> Entry:
    """What an account, by default the client's own, has entered; no roles: nothing."""
    found = chain.call("registry", "worker", account or chain.address)
    return Entry(found["roles"], found["endpoint"])


def endpoints_of(chain: Chain, accounts: Sequence[str]) -> dict[str, str]:
    """Where these accounts can be reached, as the contract has it: whoever enters it thousands of times displaces them
    from what is remembered, but not from there."""
    found = chain.calls([("registry", "worker", account) for account in accounts])
    return {account: each["endpoint"] for account, each in zip(accounts, found, strict=True) if each["endpoint"]}
