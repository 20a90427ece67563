"""One funded deployment for every test: the same contracts, people and money."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_typing import ChecksumAddress
from web3 import Web3
from web3.contract import Contract

from offchain.chain.client import Chain
from offchain.chain.deploying import funded
from offchain.chain.deployment import COIN, Deployment, Funds, Parameters
from offchain.chain.ganache import Ganache
from offchain.chain.rpc import asking
from offchain.chain.transactions import MAX_GAS, Mined, SendOptions
from offchain.market.view import SOLVER, Status
from tests.support.clock import Clock
from tests.support.fortunes import Fortune, fortune, locked_by, pots, tokens_in

OWNER: Final = "owner"  # deployed the contracts, and may mint
PEOPLE: Final = ("requester", "solver", "rival", "challenger", "stranger")
SOLVERS: Final = ("solver", "rival")  # those in the register
WEALTH: Final = 1_000_000 * COIN  # of each person: half in the wallet, half free in the vault
FREE: Final = WEALTH // 2
BURN_ADDRESS: Final = "0x000000000000000000000000000000000000dEaD"
GAS_PRICE: Final = 10 * 10**9  # wei
QUICK: Final = SendOptions(poll=0.02, receipt_timeout=2, estimate=True)
PARAMETERS: Final = Parameters(
    withdrawal_delay=1_000,
    key_delay=30,
    honest_bps=5_000,
    margin_bps=12_000,
    bid_bond=COIN // 10 - 3,
    audit_bond=COIN // 20 - 9,
    fee_bps=0,
    standby_bps=0,
    bidding_time=50,
    interval_time=10,
    challenge_window=100,
    clock=20,
    bond=COIN - 7,  # shares of it must be rounded
    bounty=41,
    max_bidding_time=10**6,
    max_interval_time=10**6,
    max_challenge_window=10**6,
    max_clock=10**6,
    max_duration=10**8,
    post_fee=COIN // 100,
)
_Kind = TypeVar("_Kind", bound="Funded")


def connected(ganache: Ganache) -> Web3:
    """A web3 whose node signs for all accounts of the chain."""
    cache: Any = {"cache_allowed_requests": True, "cacheable_requests": {"eth_chainId"}}  # asked with every call
    return Web3(Web3.HTTPProvider(ganache.url, request_kwargs={"timeout": 120}, **cache))


class NodeSender:
    """Sends from an account that the node signs for. Asks two questions per transaction, a worker ten."""

    def __init__(self, clock: Clock, address: ChecksumAddress) -> None:
        self._clock, self.address = clock, address

    def settle(self) -> None:
        """Does nothing: every transaction is mined when it is sent."""

    def send(self, to: ChecksumAddress, data: bytes, what: str, urgent: bool = False) -> Mined:
        """Gives all the gas that a move may use. Raises Reverted: the transaction was mined, and failed."""
        eth = self._clock.w3.eth
        call: Any = {"from": self.address, "to": to, "data": "0x" + data.hex(), "gas": MAX_GAS}
        digest = eth.send_transaction(call | {"gasPrice": GAS_PRICE})
        self._clock.tick()
        receipt = eth.get_transaction_receipt(digest)
        if receipt["status"] != 1:
            with asking(what):
                eth.call(call, receipt["blockNumber"] - 1)
            raise AssertionError(f"{what} failed when it was mined, and not when it was asked about again")
        return Mined(bytes(digest), receipt["blockNumber"], receipt["gasUsed"], list(receipt["logs"]))


@dataclass
class Funded:
    """Contracts on a local chain and accounts with names: the owner, and PEOPLE, who have WEALTH each."""

    url: str
    clock: Clock
    deployment: Deployment
    accounts: Mapping[str, LocalAccount]
    _quick: dict[str, Chain] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def build(
        cls, ganache: Ganache, parameters: Parameters = PARAMETERS, existing: Mapping[str, str] | None = None
    ) -> Funded:
        """Deploys everything, or all but the parts in `existing`; funds PEOPLE and registers SOLVERS."""
        w3 = connected(ganache)
        accounts = dict(zip((OWNER, *PEOPLE), map(Account.from_key, ganache.accounts), strict=False))
        funds = {
            accounts[name].address: Funds(WEALTH - FREE, FREE, SOLVER if name in SOLVERS else 0, f"http://{name}")
            for name in PEOPLE
        }
        deployment = funded(w3, accounts[OWNER].address, parameters, funds, existing)
        return cls(ganache.url, Clock(w3), deployment, accounts)

    @classmethod
    def kept(cls, ganache: Ganache, parameters: Parameters = PARAMETERS) -> Funded:
        """As `build`, made once for all tests of a run that undo what they do to the chain: it takes seconds."""
        made = _KEPT.get((ganache.url, parameters))
        if made is None or not made.stands():
            made = _KEPT[ganache.url, parameters] = _Kept.of(cls.build(ganache, parameters))
        return made.place

    def seen_as(self, kind: type[_Kind], **more: Any) -> _Kind:
        """The same deployment as another class, which adds something to it."""
        return kind(self.url, self.clock, self.deployment, self.accounts, **more)

    @property
    def w3(self) -> Web3:
        return self.clock.w3

    def address(self, name: str) -> ChecksumAddress:
        """The address of a person, or of the owner."""
        address: ChecksumAddress = self.accounts[name].address
        return address

    def chain(self, name: str, options: SendOptions = QUICK) -> Chain:
        """A new client for a person's account, which signs and sends as a worker's does."""
        return Chain(self.url, self.deployment, self.accounts[name], options)

    def quick(self, name: str) -> Chain:
        """The client for a person's account that lets the node sign, which is much faster."""
        if name not in self._quick:
            sender = NodeSender(self.clock, self.address(name))
            self._quick[name] = Chain(self.url, self.deployment, sender=sender)
        return self._quick[name]

    def contract(self, part: str) -> Contract:
        """The contract that plays a part ("vault", "market", ...)."""
        return self.deployment.contract(self.w3, part)

    # --- what everybody has -------------------------------------------------------------------------------------

    def free(self, name: str) -> int:
        """Free balance in the vault."""
        return self.quick(name).free()

    def burned(self) -> int:
        """Tokens at the burn address, and those that wait to be sent there."""
        chain = self.quick(OWNER)
        return chain.balance(BURN_ADDRESS) + int(chain.call("vault", "burnable"))

    def wealth(self) -> dict[str, int]:
        """Free balances of all people, and what was burned."""
        return {name: self.free(name) for name in PEOPLE} | {"burned": self.burned()}

    def gains(self, before: Mapping[str, int]) -> dict[str, int]:
        """How everybody's wealth differs from `before`, an answer of `wealth`. Leaves out who has as much as then."""
        return {name: now - before[name] for name, now in self.wealth().items() if now != before[name]}

    def fortunes(self) -> dict[str, Fortune]:
        """What everybody has, in tokens and in the coin that pays for gas, and what was burned."""
        chain = self.quick(OWNER)
        locked = locked_by(chain)
        had = {name: fortune(chain, self.address(name), locked.get(self.address(name), 0)) for name in PEOPLE}
        return had | {"burned": Fortune(self.burned(), 0, 0)}

    def net(self, before: Mapping[str, Fortune], ended: bool = True) -> dict[str, int]:
        """What a story gave to each person or took, gas included; `before` is an answer of `fortunes`.

        For the end of a story, when nothing is locked any more. With `ended` false pots may hold money, which counts as
        its owner's. No token may have appeared or disappeared.
        """
        if ended:
            assert pots(self.quick(OWNER)) == {}, "the story is not over: this lies in pots"
        now = self.fortunes()
        assert tokens_in(now) == tokens_in(before), "tokens appeared or disappeared"
        return {name: now[name].total - before[name].total for name in PEOPLE}

    # --- tasks --------------------------------------------------------------------------------------------------

    def status(self, task: int) -> Status:
        chain = self.quick(OWNER)
        return chain.task(task, chain.terms(task)).status

    def close_windows(self, task: int | None = None) -> None:
        """Puts the clock forward until no committed checkpoint of a task, by default the latest, can be challenged."""
        chain = self.quick(OWNER)
        number = chain.task_count() - 1 if task is None else task
        count = chain.call("log", "count", number)
        last = max(chain.call("log", "challengeableUntil", number, index) for index in range(count))
        self.clock.travel(last + 1 - self.clock.now)

    def holds(self, task: int, checkpoint: int) -> int:
        """Number of disputes that hold up the payment of a checkpoint."""
        chain = self.quick(OWNER)
        if checkpoint >= chain.call("log", "count", task):
            return 0  # it is void
        return int(chain.call("log", "checkpoint", task, checkpoint)["holds"])


@dataclass(frozen=True)
class _Kept:
    """A deployment, and the last block of its making, which is gone when somebody undid more than his own doings."""

    place: Funded
    number: int
    digest: bytes

    @classmethod
    def of(cls, place: Funded) -> _Kept:
        block = place.w3.eth.get_block("latest")
        return cls(place, block["number"], bytes(block["hash"]))

    def stands(self) -> bool:
        eth = self.place.w3.eth
        return eth.block_number >= self.number and bytes(eth.get_block(self.number)["hash"]) == self.digest


_KEPT: dict[tuple[str, Parameters], _Kept] = {}
