"""What everybody has, to the last unit: tokens wherever they lie, and the native coin that pays for gas."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from offchain.chain.client import Chain

Pot = tuple[str, bytes]  # module and key


@dataclass(frozen=True, slots=True)
class Fortune:
    """What one account has. A native coin counts as much as a token: both have 18 decimals.

    Attributes:
        tokens: wallet, free balance and pending withdrawal.
        locked: tokens in pots that this account filled, and that are not empty yet.
        coins: native coin, in wei.
    """

    tokens: int
    locked: int
    coins: int

    @property
    def total(self) -> int:
        return self.tokens + self.locked + self.coins


def fortune(chain: Chain, address: str, locked: int) -> Fortune:
    """What an account has, of which `locked` lies in pots."""
    tokens = chain.balance(address) + chain.free(address) + chain.pending_withdrawal(address)[0]
    return Fortune(tokens, locked, int(chain.w3.eth.get_balance(chain.w3.to_checksum_address(address))))


def pots(chain: Chain) -> dict[Pot, tuple[str, int]]:
    """Every pot of the vault that is not empty: who filled it last, and what is in it."""
    filled: dict[Pot, str] = {}
    held: dict[Pot, int] = defaultdict(int)
    for event in chain.logs(("vault",), chain.deployment.block, chain.head().number):
        if event.name not in ("Locked", "Moved", "Paid", "Burned"):
            continue
        amount = event.args["amount"]
        pot = event.args["module"], event.args["pot"]
        if event.name == "Locked":
            filled[pot] = event.args["account"]
        elif event.name == "Moved":
            other = event.args["to"], event.args["pot"]
            filled[other] = filled[pot]
            held[other] += amount
        held[pot] += amount if event.name == "Locked" else -amount
    return {pot: (filled[pot], amount) for pot, amount in held.items() if amount}


def locked_by(chain: Chain) -> dict[str, int]:
    """Account -> what it has in pots."""
    sums: dict[str, int] = defaultdict(int)
    for account, amount in pots(chain).values():
        sums[account] += amount
    return dict(sums)


def tokens_in(fortunes: Mapping[str, Fortune]) -> int:
    """All tokens of some people, locked ones included."""
    return sum(fortune.tokens + fortune.locked for fortune in fortunes.values())
