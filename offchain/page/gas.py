"""What the transactions of a deployment used, read a part at a time: what is new first, as that is what is watched."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from offchain.chain.abi import interface, selector
from offchain.chain.client import Chain

PART: Final = 100  # transactions that are read in one look
KEPT: Final = 100_000  # transactions whose gas is remembered


@dataclass(frozen=True, slots=True)
class Spent:
    """What one transaction used. `function`: "market.post"; "other" where it is no call of the deployment."""

    function: str
    sender: str
    gas: int
    wei: int


class GasBook:
    """Transaction -> what it used, as far as it was read."""

    def __init__(self) -> None:
        self._known: dict[bytes, Spent] = {}
        self._asked: dict[bytes, int] = defaultdict(int)  # how often, of those that the node did not tell

    @property
    def known(self) -> int:
        """How many transactions were read."""
        return len(self._known)

    def of(self, transaction: bytes) -> Spent | None:
        return self._known.get(transaction)

    def read(self, chain: Chain, sent: Iterable[bytes]) -> bool:
        """Read some of those that are not known yet; `sent` in the order of the chain. Returns whether any was read."""
        missing = [digest for digest in sent if digest not in self._known and self._asked[digest] < 3][-PART:]
        if not missing or len(self._known) >= KEPT:
            return False
        for digest in missing:
            self._asked[digest] += 1
        names = [f"0x{digest.hex()}" for digest in missing]
        answers = chain.wire.ask(
            [(f"eth_getTransaction{what}", (name,)) for name in names for what in ("ByHash", "Receipt")]
        )
        for digest, call, receipt in zip(missing, answers[::2], answers[1::2], strict=True):
            spent = _spent(chain, call.get("result"), receipt.get("result"))
            if spent is not None:
                self._known[digest] = spent
        return True

    def rows(self) -> list[dict[str, Any]]:
        """A row for each function: how often it was called, the median, the most, and all together."""
        used: dict[str, list[int]] = defaultdict(list)
        for spent in self._known.values():
            used[spent.function].append(spent.gas)
        return [
            {"id": name, "calls": len(gas), "median": int(median(gas)), "most": max(gas), "all": sum(gas)}
            for name, gas in sorted(used.items())
        ]

    def total(self, sent: Iterable[bytes]) -> tuple[int, int]:
        """Gas and wei of those transactions, as far as they are known."""
        known = [self._known[digest] for digest in sent if digest in self._known]
        return sum(spent.gas for spent in known), sum(spent.wei for spent in known)


def _spent(chain: Chain, call: Any, receipt: Any) -> Spent | None:
    """None where the node does not know it (any more), or its answer makes no sense."""
    try:
        gas = int(receipt["gasUsed"], 16)
        price = int(receipt.get("effectiveGasPrice") or call.get("gasPrice") or "0x0", 16)
        to, data = str(call["to"] or ""), str(call["input"])
        return Spent(_function(chain, to, data), str(call["from"])[:42], gas, gas * price)
    except (TypeError, KeyError, ValueError, AttributeError):
        return None


def _function(chain: Chain, to: str, data: str) -> str:
    part = next((part for part, address in chain.deployment.addresses.items() if address.lower() == to.lower()), None)
    if part is None:
        return "other"
    asked = bytes.fromhex(data.removeprefix("0x")[:8])
    name = next((name for name, entry in interface(part).functions.items() if selector(entry) == asked), "other")
    return f"{part}.{name}"
