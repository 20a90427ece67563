"""Books beside the contracts: what an account's history adds up to, and what token and vault say."""

from __future__ import annotations

from collections import Counter

from offchain.chain.statement import Statement
from tests.support.deployment import OWNER, Funded


def require_balance(place: Funded, statement: Statement) -> None:
    """Wallet, free, pending and every pot of the account: to the unit."""
    chain, account, sums = place.quick(OWNER), statement.account, statement.books.sums()
    assert sums["wallet"] == chain.balance(account)
    assert sums["free"] == chain.free(account)
    assert sums["pending"] == chain.pending_withdrawal(account)[0]
    pots = Counter[tuple[str, bytes]]()
    for (module, key, _), pot in statement.books.pots.items():
        pots[module, key] += pot.amount
    for (module, key), amount in pots.items():
        assert amount == chain.call("vault", "potOf", module, key), key
    assert sums["locked"] == sum(pot.amount for pot in statement.books.held())
    gains = sum(entry.gain for entry in statement.books.entries)
    assert gains == sum(sums.values())
