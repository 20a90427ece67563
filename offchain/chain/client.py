"""A deployment as one account reads and changes it: every call that workers and requesters make, typed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from eth_account.signers.local import LocalAccount
from eth_typing import ChecksumAddress
from web3 import Web3
from web3.exceptions import BlockNotFound

from offchain.chain.abi import Event, interface
from offchain.chain.decoding import BlockHead, head_from, task_from, terms_from, terms_tuple
from offchain.chain.deployment import CONTRACTS, Deployment
from offchain.chain.rpc import Answer, Wire, asking, connect
from offchain.chain.seals import seal_of
from offchain.chain.transactions import Sender, SendOptions, Signer, Watch
from offchain.commit.roots import graph_counts, graph_tree
from offchain.errors import BadInput, ChainError, ChainUnavailable
from offchain.ir.graph import Graph
from offchain.market.actions import Move
from offchain.market.notes import OwnBid
from offchain.market.view import TaskView, Terms

MAX_TEXT: Final = 512  # bytes of a URI on chain
FRESH: Final = 10.0  # seconds for which `written` is remembered

BlockNumber = int | None  # None: the latest
Call = tuple[str, str, *tuple[Any, ...]]  # of a view function: contract, function, arguments


@dataclass(frozen=True, slots=True)
class Receipt:
    """A mined transaction, and the events of the deployment's contracts in it."""

    hash: bytes
    block: int
    gas_used: int
    events: tuple[Event, ...]

    def event(self, name: str) -> Event:
        """The first event of that name. Raises ChainError if there is none."""
        if found := [event for event in self.events if event.name == name]:
            return found[0]
        raise ChainError(f"transaction 0x{self.hash.hex()} has no event {name}")


@dataclass(frozen=True, slots=True)
class GraphHeader:
    """IDispute.GraphHeader: the preimage of a graph root."""

    nodes: int
    constants: int
    slots: int
    datasets: int
    tree: bytes

    @classmethod
    def of(cls, graph: Graph) -> GraphHeader:
        return cls(*graph_counts(graph), graph_tree(graph).root)


class Chain:
    """A deployment as seen by one account. Every method may raise ChainUnavailable; those that send, Reverted.

    Args:
        url: of the node's JSON-RPC over HTTP.
        account: who signs. None: only reading, unless there is a `sender`.
        options: how the account's transactions are sent.
        sender: sends the transactions in place of `account`.
    """

    def __init__(
        self,
        url: str,
        deployment: Deployment,
        account: LocalAccount | None = None,
        options: SendOptions | None = None,
        sender: Sender | None = None,
    ) -> None:
        self.w3: Web3 = connect(url)
        self.wire = cast(Wire, self.w3.provider)
        self.deployment = deployment
        self._sender = sender
        if sender is None and account is not None:
            self._sender = Signer(self.w3, account, deployment.chain_id, options or SendOptions())
        self._written, self._written_at = 0, 0.0
        self.part_at: dict[str, str] = {address: part for part, address in deployment.addresses.items()}

    def check(self) -> None:
        """Raises ChainError unless the node is on the deployment's chain and has its contracts."""
        with asking("looking at the chain"):
            self.deployment.require_on(self.w3)

    @property
    def address(self) -> ChecksumAddress:
        return self._signer.address

    @property
    def _signer(self) -> Sender:
        if self._sender is None:
            raise BadInput("this needs an account: name a key file")
        return self._sender

    @property
    def written(self) -> int:
        """Block of this account's last transaction; 0 after FRESH seconds, as the chain may have been reorganised.

        Whoever decides from a view of an earlier block would act twice.
        """
        return self._written if time.monotonic() < self._written_at + FRESH else 0

    def settle(self) -> None:
        """Wait until no transaction of this account is in flight, so that the next reading includes them all."""
        self._signer.settle()

    def stake_on(self, clock: float | None, watch: Watch | None = None) -> None:
        """Say what is at stake: the shortest clock of a task, in seconds. `watch`: see `Signer`."""
        if isinstance(self._sender, Signer):
            self._sender.clock = clock
            self._sender.watch = watch or self._sender.watch

    def share_account(self, outbox: Path, lane: str) -> None:
        """Send beside other processes of this account, each with a lane of its own; `outbox` is the file they share."""
        if isinstance(self._sender, Signer):
            self._sender.share(outbox, lane)

    # reading

    def head(self) -> BlockHead:
        """The latest block."""
        try:
            return self.block("latest")
        except BlockNotFound:
            raise ChainUnavailable("the node knows no block") from None

    def block(self, number: int | str) -> BlockHead:
        """Raises web3's BlockNotFound if the node does not have that block."""
        with asking("reading a block"):
            block = self.w3.eth.get_block(number)  # type: ignore[arg-type]
            head = BlockHead(block["number"], block["timestamp"], bytes(block["hash"]))
            if not (isinstance(head.number, int) and isinstance(head.timestamp, int) and len(head.hash) == 32):
                raise ValueError("not a block")
        return head

    def gas_price(self) -> int:
        """What a unit of gas costs now, in wei."""
        with asking("reading the gas price"):
            return int(self.w3.eth.gas_price)

    def call(self, part: str, function: str, *args: Any, block: BlockNumber = None) -> Any:
        """Call a view function of a contract of the deployment; structs are dicts. Raises Reverted."""
        data = _call_data(part, function, args)
        with asking(f"{part}.{function}"):
            to = self.deployment.addresses[part]
            raw = self.w3.eth.call({"to": to, "data": data}, "latest" if block is None else block)
            return interface(part).result(function, bytes(raw))

    def calls(self, wanted: Sequence[Call], block: BlockNumber = None) -> list[Any]:
        """What `call` returns for each, in their order, with few requests. Raises the first one's error."""
        at = "latest" if block is None else hex(block)
        to = self.deployment.addresses
        questions = [
            ("eth_call", ({"to": to[part], "data": "0x" + _call_data(part, function, args).hex()}, at))
            for part, function, *args in wanted
        ]
        answers = self.wire.ask(questions)
        return [self._called(call, answer, block) for call, answer in zip(wanted, answers, strict=True)]

    def _called(self, call: Call, answer: Answer, block: BlockNumber) -> Any:
        part, function, *args = call
        if "result" not in answer:
            return self.call(part, function, *args, block=block)  # raises the error, as it is for one call
        with asking(f"{part}.{function}"):
            return interface(part).result(function, bytes.fromhex(answer["result"].removeprefix("0x")))

    def blocks(self, *numbers: int | str) -> list[BlockHead | None]:
        """Several blocks in one request; None for one that the node does not have."""
        named = [number if isinstance(number, str) else hex(number) for number in numbers]
        answers = self.wire.ask([("eth_getBlockByNumber", (name, False)) for name in named])
        with asking("reading blocks"):
            return [head_from(answer.get("result")) for answer in answers]

    def logs(self, parts: Sequence[str], first: int, last: int, topics: Sequence[Any] = ()) -> list[Event]:
        """Events of those contracts in blocks [first, last], in order. `topics`: as eth_getLogs takes them."""
        wanted = {self.deployment.addresses[part] for part in parts}
        span: Any = {"address": sorted(wanted), "fromBlock": first, "toBlock": last, "topics": list(topics)}
        with asking("reading events"):
            found = self.w3.eth.get_logs(span)
            events = [event for event in self._decoded(found) if event.address in wanted]
        if any(not first <= event.block <= last for event in events):
            raise ChainUnavailable("reading events: the node answers with other blocks than asked for")
        return sorted(events, key=lambda event: (event.block, event.index))

    def _decoded(self, logs: Iterable[Any]) -> list[Event]:
        """Entries of the deployment's own contracts. Raises ValueError and the like."""
        events = []
        for entry in logs:
            part = self.part_at.get(entry["address"])
            if part is None or entry.get("removed"):
                continue
            decoded = interface(part).event([bytes(topic) for topic in entry["topics"]], bytes(entry["data"]))
            if decoded is not None:
                number, index = int(entry["blockNumber"]), int(entry["logIndex"])
                events.append(Event(entry["address"], *decoded, number, index, bytes(entry["transactionHash"])))
        return events

    # sending

    def send(self, part: str, function: str, *args: Any, urgent: bool = False) -> Receipt:
        """Call a function of a contract of the deployment in a transaction, and wait until it is mined.

        `urgent`: see `Signer.send`.
        """
        what = f"{part}.{function}"
        data = _call_data(part, function, args)
        mined = self._signer.send(self.deployment.addresses[part], data, what, urgent)
        with asking(what):
            events = tuple(self._decoded(mined.logs))
        self._written, self._written_at = mined.block, time.monotonic()
        return Receipt(mined.hash, mined.block, mined.gas_used, events)

    # token and vault

    def mint(self, account: str, amount: int) -> Receipt:
        """Local chains only: make tokens (the token's owner may)."""
        return self.send("token", "mint", account, amount)

    def balance(self, account: str | None = None) -> int:
        """Tokens outside the vault."""
        return int(self.call("token", "balanceOf", account or self.address))

    def deposit(self, amount: int) -> Receipt:
        """Move tokens into the vault, approving exactly as many first if necessary."""
        vault = self.deployment.vault
        if self.call("token", "allowance", self.address, vault) < amount:
            self.send("token", "approve", vault, amount)
        return self.send("vault", "deposit", amount)

    def request_withdrawal(self, amount: int) -> Receipt:
        return self.send("vault", "requestWithdrawal", amount)

    def withdraw(self) -> Receipt:
        return self.send("vault", "withdraw")

    def free(self, account: str | None = None, block: BlockNumber = None) -> int:
        """Free balance in the vault."""
        return int(self.call("vault", "freeOf", account or self.address, block=block))

    def pending_withdrawal(self, account: str | None = None) -> tuple[int, int]:
        """Amount, and the timestamp from which it may be withdrawn."""
        return cast(tuple[int, int], self.call("vault", "pendingOf", account or self.address))

    def sweep(self) -> Receipt:
        """Send what was burned to the burn address."""
        return self.send("vault", "sweep")

    # registry

    def register(self, roles: int, endpoint: str) -> Receipt:
        """Enter the register, or replace one's entry. `roles`: SOLVER | VERIFIER."""
        _require_text("endpoint", endpoint)
        return self.send("registry", "update" if self.roles_of() else "register", roles, endpoint)

    def deregister(self) -> Receipt:
        return self.send("registry", "deregister")

    def roles_of(self, account: str | None = None, block: BlockNumber = None) -> int:
        """Mask of the roles that an account is registered for; 0: none."""
        return int(self.call("registry", "worker", account or self.address, block=block)["roles"])

    # market

    def post(self, terms: Terms) -> int:
        """Offer a task; returns its id."""
        _require_text("uri", terms.uri)
        return int(self.send("market", "post", terms_tuple(terms)).event("Posted").args["taskId"])

    def cancel(self, task_id: int) -> Receipt:
        """End an own task in which nobody has revealed a bid, or that lost its solver."""
        return self.send("market", "cancel", task_id)

    def reopen(self, task_id: int) -> Receipt:
        """Let solvers bid for the rest of a task whose solver failed and whose standby did not come."""
        return self.send("market", "reopen", task_id)

    def take_over(self, task_id: int) -> Receipt:
        """Train the rest of a task, as its standby."""
        return self.send("market", "takeOver", task_id, urgent=True)

    def award(self, task_id: int) -> Receipt:
        return self.send("market", "award", task_id)

    def collect(self, task_id: int) -> Receipt:
        return self.send("market", "collect", task_id)

    def stall(self, task_id: int) -> Receipt:
        return self.send("market", "stall", task_id)

    def required_stake(self, terms: Terms) -> int:
        """The least stake that terms with this price, work and rate of audits may name."""
        return int(self.call("limits", "requiredStake", *terms.deterred))

    def allowed_stake(self, terms: Terms) -> int:
        """The largest stake that such terms may name."""
        return int(self.call("limits", "allowedStake", *terms.deterred))

    def required_bond(self, terms: Terms) -> int:
        """The least bond that terms with this stake, price and work may name."""
        return int(self.call("limits", "requiredBond", *terms.bonded))

    def allowed_bond(self, terms: Terms) -> int:
        """The largest bond that such terms may name."""
        return int(self.call("limits", "allowedBond", *terms.bonded))

    def bill(self, terms: Terms) -> tuple[int, int, int]:
        """What posting a task locks for solvers, standbys and keepers, and for audits, and what it burns."""
        escrow = "limits", "bill", terms.max_price, terms.keeper_bps
        (locked, fee), budget = self.calls([escrow, ("auditor", "bill", *terms.audits)])
        return locked, budget, fee

    def task_count(self, block: BlockNumber = None) -> int:
        return int(self.call("market", "taskCount", block=block))

    def terms(self, task_id: int, block: BlockNumber = None) -> Terms:
        """Raises ChainError where there is no such task."""
        return terms_from(task_id, self.call("market", "terms", task_id, block=block))

    def task(self, task_id: int, terms: Terms, block: BlockNumber = None) -> TaskView:
        """A task without its checkpoints."""
        return task_from(task_id, terms, self.call("market", "task", task_id, block=block))

    # auction

    def bid(self, task_id: int, bid: OwnBid) -> Receipt:
        """Commit to a bid without showing it. Locks the bid bond. Whoever loses the salt loses the bond."""
        seal = seal_of(self.deployment.chain_id, self.deployment.auction, task_id, self.address, bid)
        return self.send("auction", "commit", task_id, seal)

    def reveal(self, task_id: int, bid: OwnBid) -> Receipt:
        """Show an own bid, once bidding is over. If it leads, the stake is locked."""
        return self.send("auction", "reveal", task_id, bid.price, bid.promised, bid.salt, urgent=True)

    def settle_bid(self, task_id: int, attempt: int, bidder: str) -> Receipt:
        """Burn the bond of a bid that was not revealed, or give it back if the task was cancelled."""
        return self.send("auction", "settle", task_id, attempt, bidder)

    def sealed(self, task_id: int, attempt: int, account: str | None = None) -> bytes:
        """The seal of a bid that is not revealed. Zeros if there is none."""
        return bytes(self.call("auction", "committed", task_id, attempt, account or self.address))

    def bids(self, task_id: int, attempt: int) -> dict[str, Any]:
        """The two lowest scores that were revealed: "leader" and "standby", as in IAuction.Bid."""
        return dict(zip(("leader", "standby"), self.call("auction", "bids", task_id, attempt), strict=True))

    # checkpoints

    def commit(self, task_id: int, checkpoint: int, root: bytes, uri: str) -> Receipt:
        _require_text("uri", uri)
        return self.send("log", "commit", task_id, checkpoint, root, uri)

    # disputes

    def open(self, task_id: int, checkpoint: int, header: GraphHeader, root: bytes | None = None) -> int:
        """Challenge a checkpoint that has this root; returns the dispute's id. None: whatever is committed now."""
        fields = (header.nodes, header.constants, header.slots, header.datasets, header.tree)
        wrong = self.call("log", "checkpoint", task_id, checkpoint)["root"] if root is None else root
        receipt = self.send("game", "open", task_id, checkpoint, wrong, fields, urgent=True)
        return int(receipt.event("Opened").args["id"])

    def move(self, dispute_id: int, move: Move) -> Receipt:
        """A move of either player."""
        return self.send("game", move.function, dispute_id, *move.args, urgent=True)

    def timeout(self, dispute_id: int) -> Receipt:
        return self.send("game", "timeout", dispute_id, urgent=True)

    def concede(self, dispute_id: int) -> Receipt:
        return self.send("game", "concede", dispute_id, urgent=True)

    def dismiss(self, dispute_id: int) -> Receipt:
        return self.send("game", "dismiss", dispute_id)


def _call_data(part: str, function: str, args: Sequence[Any]) -> Any:
    try:
        return interface(part).call_data(function, args)
    except KeyError:
        raise BadInput(f"{CONTRACTS[part]} has no function {function}") from None
    except ValueError as error:
        raise BadInput(f"{part}.{error}") from error


def _require_text(what: str, text: str) -> None:
    if len(text.encode()) > MAX_TEXT:
        raise BadInput(f"{what} has {len(text.encode())} bytes; the contracts take {MAX_TEXT}")
