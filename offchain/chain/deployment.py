"""Which contracts there are, what a deployment fixes, and where its addresses are kept.

The plan is data: the order in which contracts are created and the ones that are connected afterwards;
`offchain.chain.deploying` carries it out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from eth_typing import ChecksumAddress
from web3 import Web3
from web3.contract import Contract

from offchain.errors import BadInput, ChainError
from offchain.plainfile import read_plain
from offchain.text import printable

FORMAT = 1
MAX_FILE = 1 << 20  # bytes

# part of a deployment -> contract, in the order of creation
CONTRACTS: dict[str, str] = {
    "token": "OffchainToken",
    "vault": "StakeVault",
    "registry": "WorkerRegistry",
    "auction": "Auction",
    "limits": "TermLimits",
    "market": "TaskMarket",
    "log": "CheckpointLog",
    "verifier": "StepVerifier",
    "game": "DisputeGame",
    "verifiers": "Verifiers",
    "auditor": "Auditor",
    "keepers": "Keepers",
}
# the parts that may move money between accounts
MODULES = ("auction", "market", "game", "verifiers", "auditor", "keepers")
# the parts that learn, once and for ever, of parts created after them
CONNECTED = ("vault", "registry", "auction", "market", "log", "verifiers")


class DeploymentError(ChainError):
    """A contract could not be created, or a deployment is not on this chain."""


class BadDeploymentFile(BadInput):
    """A deployment file that is missing or malformed."""


@dataclass(frozen=True)
class Parameters:
    """What a deployment fixes for ever. Durations in seconds, money in the token's smallest unit.

    Attributes:
        withdrawal_delay: between asking for free balance and getting it.
        key_delay: until a verifier's key or stake counts, or leaves: longer than any block's randomness is known.
        honest_bps: part of all verifiers' stakes that is honest, in 1/10,000; the stake rule reckons with it.
        margin_bps: how much more than it gains a cheat must expect to lose, in 1/10,000.
        bid_bond: locked by each bid, and lost by who does not reveal it.
        audit_bond: locked by a verifier's claim or a keeper's objection. Lost by who vouched for what was proved false
            or did not show that it had looked, and by a keeper that cannot show what it had signed for.
        fee_bps: part of a solver's pay that is burned, in 1/10,000, so that a record costs something to make.
        standby_bps: what a standby earns, in 1/10,000 of the pay and beside it.
        bidding_time, interval_time, challenge_window, clock, bond: the least that a task's terms may name. The times
            for revealing and for a takeover have the limits of the bidding time.
        bounty: of a challenger who was right, but did not prove it first: the gas of a dispute and one audit. A bond is
            at least two bounties, because half of a lost one goes to the winner, a stake at least ten.
        max_bidding_time, max_interval_time, max_challenge_window, max_clock: the most. Money is locked and checkpoints
            are served for as long as the terms say.
        max_duration: of a task, from its award to its last deadline.
        post_fee: burned for every task that is posted, so that everybody's list of tasks costs its author.
    """

    withdrawal_delay: int
    key_delay: int
    honest_bps: int
    margin_bps: int
    bid_bond: int
    audit_bond: int
    fee_bps: int
    standby_bps: int
    bidding_time: int
    interval_time: int
    challenge_window: int
    clock: int
    bond: int
    bounty: int
    max_bidding_time: int
    max_interval_time: int
    max_challenge_window: int
    max_clock: int
    max_duration: int
    post_fee: int

    def by_name(self) -> dict[str, Any]:
        """The values under the names that constructors use."""
        values = {_camel(name): value for name, value in asdict(self).items()}
        apart = {name: values.pop(name) for name in ("withdrawalDelay", "keyDelay", "bidBond", "auditBond")}
        return apart | {"values": values}


HOUR, DAY, COIN = 3_600, 86_400, 10**18

PRESETS: dict[str, Parameters] = {
    # Short enough to watch, on a chain of one's own. A task may take as long as anybody likes: there is nobody whom it
    # would hold up.
    "local": Parameters(
        withdrawal_delay=10,
        key_delay=2,
        honest_bps=5_000,
        margin_bps=12_000,
        bid_bond=COIN // 10,
        audit_bond=COIN // 5,
        fee_bps=100,
        standby_bps=200,
        bidding_time=2,
        interval_time=1,
        challenge_window=5,
        clock=10,
        bond=COIN,
        bounty=COIN // 20,
        max_bidding_time=30 * DAY,
        max_interval_time=30 * DAY,
        max_challenge_window=30 * DAY,
        max_clock=30 * DAY,
        max_duration=2**32 - 1,
        post_fee=COIN // 100,
    ),
    # Long enough for people to notice, fetch and replay. A dispute takes 1.8M gas: a tenth of a coin at 50 gwei. With a
    # token worth about as much as the coin, a bounty pays for five of them, and a lost bond pays the winner two
    # bounties. A clock lets an interval of a day be replayed twice.
    "public": Parameters(
        withdrawal_delay=7 * DAY,
        key_delay=DAY,
        honest_bps=5_000,
        margin_bps=12_000,
        bid_bond=COIN // 2,
        audit_bond=COIN,
        fee_bps=100,
        standby_bps=200,
        bidding_time=HOUR,
        interval_time=60,
        challenge_window=6 * HOUR,
        clock=HOUR,
        bond=2 * COIN,
        bounty=COIN // 2,
        max_bidding_time=7 * DAY,
        max_interval_time=DAY,
        max_challenge_window=7 * DAY,
        max_clock=2 * DAY,
        max_duration=365 * DAY,
        post_fee=COIN // 20,
    ),
}


@dataclass(frozen=True)
class Funds:
    """What an account of a local chain begins with.

    Attributes:
        wallet: tokens outside the vault.
        vault: free balance in the vault.
        roles: mask of the roles that it is registered for; 0 leaves it out of the register.
        endpoint: of its entry in the register.
    """

    wallet: int = 0
    vault: int = 0
    roles: int = 0
    endpoint: str = ""


@dataclass(frozen=True)
class Deployment:
    """Addresses of one wired set of contracts on one chain.

    Attributes:
        chain_id: of the chain.
        block: number of a block before the first contract's; events need not be looked for earlier.
    """

    chain_id: int
    block: int
    token: ChecksumAddress
    vault: ChecksumAddress
    registry: ChecksumAddress
    auction: ChecksumAddress
    limits: ChecksumAddress
    market: ChecksumAddress
    log: ChecksumAddress
    verifier: ChecksumAddress
    game: ChecksumAddress
    verifiers: ChecksumAddress
    auditor: ChecksumAddress
    keepers: ChecksumAddress

    @classmethod
    def of(cls, chain_id: int, block: int, addresses: Mapping[str, str]) -> Deployment:
        """Raises ValueError if a part is missing or an address is none."""
        if set(addresses) != set(CONTRACTS):
            raise ValueError(f"parts {sorted(addresses)} should be {sorted(CONTRACTS)}")
        checked = {part: Web3.to_checksum_address(address) for part, address in addresses.items()}
        return cls(chain_id=chain_id, block=block, **checked)

    @property
    def addresses(self) -> dict[str, ChecksumAddress]:
        return {part: getattr(self, part) for part in CONTRACTS}

    def contract(self, w3: Web3, part: str) -> Contract:
        """The contract that plays `part` ("vault", "market", ...)."""
        factory: type[Contract] = w3.eth.contract(abi=load_artifact(CONTRACTS[part])["abi"])
        return factory(address=getattr(self, part))

    def require_on(self, w3: Web3) -> None:
        """Raises DeploymentError unless `w3` is the chain that the contracts are on."""
        if (found := w3.eth.chain_id) != self.chain_id:
            why = f"the deployment is on chain {self.chain_id}, not {printable(str(found), 80)}"
            raise DeploymentError(f"{why}; name its node with --rpc, or another file with --deployment")
        if (head := w3.eth.block_number) < self.block:
            raise DeploymentError(f"the contracts are of block {self.block:,}; the chain is at {head:,}: started anew?")
        for part, address in self.addresses.items():
            if not w3.eth.get_code(address):
                raise DeploymentError(f"no contract at {address} ({part}); was the chain started anew? Deploy again")

    def write(self, path: Path) -> None:
        """Replaces the file in one go, so that a reader never sees half of it."""
        body = {"format": FORMAT, "chainId": self.chain_id, "block": self.block, "addresses": self.addresses}
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        try:
            partial.write_text(json.dumps(body, indent=2) + "\n")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def read(cls, path: Path) -> Deployment:
        """Raises BadDeploymentFile."""
        try:
            body = json.loads(read_plain(path, MAX_FILE))
            if body["format"] != FORMAT:
                raise ValueError(f"format {body['format']} is not {FORMAT}")
            return cls.of(int(body["chainId"]), max(0, int(body["block"])), body["addresses"])
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            what = "run `offchain deploy` first" if missing else "name another one with --deployment"
            raise BadDeploymentFile(f"{path}: {error.strerror}; {what}") from error
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise BadDeploymentFile(f"{path}: not a file as `offchain deploy` writes it ({error})") from error


@cache
def load_artifact(contract: str) -> dict[str, Any]:
    """`{"abi", "bytecode", "contractName"}` of a production contract, from the package's own data.

    Raises:
        DeploymentError: there is none.
    """
    resource = files("offchain.chain").joinpath("artifacts", f"{contract}.json")
    if not resource.is_file():
        raise DeploymentError(f"no compiled {contract}: run `make compile` in the project")
    artifact: dict[str, Any] = json.loads(resource.read_text())
    return artifact


def _camel(name: str) -> str:
    return name[0] + name.title().replace("_", "")[1:]
