"""An account that is only looked at: reading a chain needs no key."""

from __future__ import annotations

from dataclasses import dataclass

from eth_typing import ChecksumAddress

from offchain.chain.transactions import Mined
from offchain.errors import BadInput


@dataclass(frozen=True, slots=True)
class Onlooker:
    """A `Sender` that sends nothing. `address`: whose balances and tasks are read."""

    address: ChecksumAddress

    def settle(self) -> None:
        """Nothing is in flight."""

    def send(self, to: ChecksumAddress, data: bytes, what: str, urgent: bool = False) -> Mined:
        """Raises BadInput."""
        raise BadInput(f"{what} needs an account that signs: name one with --account or --key")
