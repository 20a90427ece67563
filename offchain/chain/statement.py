"""An account's statement: its books as the chain has them now, and what its transactions cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from eth_typing import ChecksumAddress
from eth_utils.crypto import keccak
from web3.exceptions import BlockNotFound

from offchain.chain.abi import Event
from offchain.chain.books import Books
from offchain.chain.client import Chain
from offchain.chain.decoding import BlockHead
from offchain.chain.reader import RANGE
from offchain.chain.rpc import asking
from offchain.errors import ChainError, ChainUnavailable

PARTS: Final = ("vault", "market", "auction", "game", "log", "registry", "verifiers", "auditor", "keepers")
TOKEN_EVENTS: Final = [
    "0x" + keccak(text=f"{name}(address,address,uint256)").hex() for name in ("Transfer", "Approval")
]


def scan(chain: Chain, parts: Sequence[str], first: int, last: int, topics: Sequence[Any] = ()) -> Iterator[Event]:
    """Events of those contracts in blocks [first, last], in order. Few requests: each for RANGE blocks, or for fewer
    where the node refuses so many. `topics`: see `Chain.logs`.
    """
    width = RANGE
    while first <= last:
        stop = min(first + width - 1, last)
        try:
            found = chain.logs(parts, first, stop, topics)
        except (ChainError, ChainUnavailable):
            chain.head()  # raises where the node does not answer at all
            if stop == first:
                raise
            width = max(1, (stop - first) // 2)  # perhaps too many blocks
            continue
        yield from found
        first = stop + 1


@dataclass(frozen=True, slots=True)
class Gas:
    """What an account's transactions cost. Only those that changed something in the deployment can be found.

    Attributes:
        wei: of the coin that pays for gas.
        found: transactions that were found.
        sent: transactions that the account has sent in all.
    """

    wei: int
    found: int
    sent: int


class Statement:
    """Reads an account's money from the chain; `update` goes on from where the last call came to.

    Attributes:
        books: of the account.
        head: block up to which they go.
        transactions: in which the account, its tasks or its disputes are named; whoever sent them.
    """

    head: BlockHead

    def __init__(self, chain: Chain, account: ChecksumAddress) -> None:
        self.account = account
        self._chain = chain
        self._costs: dict[bytes, int] = {}  # of own transactions, and 0 for those of others
        self._times: dict[int, int] = {}
        self._begin()

    def _begin(self) -> None:
        self.books = Books(self.account, self._chain.part_at)
        self.transactions: dict[bytes, None] = {}
        self._tasks, self._disputes = set[int](), set[int]()
        self._next = self._chain.deployment.block

    def update(self) -> None:
        """Take in what happened since. Raises ChainUnavailable."""
        head = self._chain.head()
        if self._next > self._chain.deployment.block and self._replaced():
            self._begin()
        mine = "0x" + self.account[2:].lower().rjust(64, "0")
        last = head.number
        events = [*scan(self._chain, PARTS, self._next, last)]
        for topics in ([TOKEN_EVENTS, mine], [TOKEN_EVENTS[0], None, mine]):
            events += scan(self._chain, ("token",), self._next, last, topics)
        for event in sorted(events, key=lambda event: (event.block, event.index)):
            self.books.take(event)
            self._note(event)
        self.head, self._next = head, last + 1

    def _replaced(self) -> bool:
        """Whether the chain was reorganised since the last look."""
        try:
            return self._chain.block(self.head.number).hash != self.head.hash
        except BlockNotFound:
            return True

    def _note(self, event: Event) -> None:
        """Remember a transaction that this account may have sent."""
        args, dispute = event.args, event.args.get("id")
        named = self.account in args.values()
        if named and "taskId" in args:
            self._tasks.add(args["taskId"])
        if named and event.name == "Opened":
            self._disputes.add(args["id"])
        if named or args.get("taskId") in self._tasks or dispute in self._disputes:
            self.transactions[event.transaction] = None

    def gas(self) -> Gas:
        """What the account paid for gas up to now."""
        new = [digest for digest in self.transactions if digest not in self._costs]
        answers = self._chain.wire.ask([("eth_getTransactionReceipt", ("0x" + digest.hex(),)) for digest in new])
        with asking("reading receipts"):
            for digest, answer in zip(new, answers, strict=True):
                self._costs[digest] = self._cost(answer["result"])
            sent = int(self._chain.w3.eth.get_transaction_count(self.account))
        paid = [self._costs[digest] for digest in self.transactions if self._costs[digest]]
        return Gas(sum(paid), len(paid), sent)

    def _cost(self, receipt: Any) -> int:
        """In wei; 0 for a transaction of somebody else."""
        if receipt["from"].lower() != self.account.lower():
            return 0
        return int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)

    def ether(self) -> int:
        """The account's coins, in wei."""
        with asking("reading the ether of an account"):
            return int(self._chain.w3.eth.get_balance(self.account))

    def time_of(self, block: int) -> int:
        """A block's timestamp, of one that has an entry."""
        if block not in self._times:
            wanted = sorted({entry.event.block for entry in self.books.entries} - self._times.keys())
            for number, head in zip(wanted, self._chain.blocks(*wanted), strict=True):
                if head is None:
                    raise ChainUnavailable(f"block {number} was replaced while it was read")
                self._times[number] = head.timestamp
        return self._times[block]
