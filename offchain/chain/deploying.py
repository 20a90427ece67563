"""Carries out the plan of `offchain.chain.deployment`: creates contracts, connects them, fills local accounts.

An argument is found by its name in the contract's own ABI, so no order of arguments is written twice. `deploy` sends
through web3, `scripts/deploy.py` through Brownie.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, cast

from eth_typing import ChecksumAddress
from web3 import Web3

from offchain.chain.deployment import (
    CONNECTED,
    CONTRACTS,
    MODULES,
    Deployment,
    DeploymentError,
    Funds,
    Parameters,
    load_artifact,
)

Abi = Sequence[Mapping[str, Any]]


class Deployer(Protocol):
    """Creates and calls contracts; the seam between the plan and a tool that sends transactions."""

    def abi(self, contract: str) -> Abi: ...
    def create(self, contract: str, arguments: Sequence[Any]) -> str: ...
    def connect(self, contract: str, address: str, arguments: Sequence[Any]) -> None: ...


def build(deployer: Deployer, parameters: Parameters, existing: Mapping[str, str] | None = None) -> dict[str, str]:
    """Create all parts and wire them; returns the address of each.

    Args:
        existing: parts that are there already (a token with a value, say) and are not created.

    Raises:
        DeploymentError: `existing` names an unknown part, or one that would have to be connected again.
    """
    addresses = dict(existing or {})
    if wrong := (set(addresses) - set(CONTRACTS)) | (set(addresses) & set(CONNECTED)):
        raise DeploymentError(f"{', '.join(sorted(wrong))}: not a part that can be there already")
    values = parameters.by_name()
    for part, contract in CONTRACTS.items():
        if part not in addresses:
            inputs = _inputs(deployer.abi(contract), "constructor")
            addresses[part] = deployer.create(contract, _arguments(inputs, values | addresses))
    values |= addresses | {"modules": [addresses[part] for part in MODULES]}
    for part in CONNECTED:
        inputs = _inputs(deployer.abi(CONTRACTS[part]), "function", "connect")
        deployer.connect(CONTRACTS[part], addresses[part], _arguments(inputs, values))
    return addresses


def deploy(
    w3: Web3, sender: ChecksumAddress, parameters: Parameters, existing: Mapping[str, str] | None = None
) -> Deployment:
    """Deploy and wire everything from `sender`, whose transactions `w3` must be able to sign.

    Raises:
        DeploymentError: see build; or a transaction failed.
    """
    block = w3.eth.block_number
    addresses = build(_Web3Deployer(w3, sender), parameters, existing)
    return Deployment.of(w3.eth.chain_id, block, addresses)


def funded(
    w3: Web3,
    owner: ChecksumAddress,
    parameters: Parameters,
    accounts: Mapping[ChecksumAddress, Funds],
    existing: Mapping[str, str] | None = None,
) -> Deployment:
    """Deploy from `owner`, and fund accounts. For a local chain, whose node signs for all of them.

    Raises:
        DeploymentError: see `deploy` and `fund`.
    """
    deployment = deploy(w3, owner, parameters, existing)
    fund(deployment, w3, owner, accounts)
    return deployment


def fund(deployment: Deployment, w3: Web3, owner: ChecksumAddress, accounts: Mapping[ChecksumAddress, Funds]) -> None:
    """Mint, deposit and register (or update) for each account. The node of `w3` signs; `owner` may mint.

    Raises:
        DeploymentError: a transaction failed.
    """
    token, vault, registry = (deployment.contract(w3, part).functions for part in ("token", "vault", "registry"))
    for account, funds in accounts.items():
        _send(w3, owner, "mint", token.mint(account, funds.wallet + funds.vault))
        if funds.vault:
            _send(w3, account, "approve", token.approve(deployment.vault, funds.vault))
            _send(w3, account, "deposit", vault.deposit(funds.vault))
        if funds.roles:
            known = registry.worker(account).call()[0]
            enter = registry.update if known else registry.register
            _send(w3, account, "register", enter(funds.roles, funds.endpoint))


class _Web3Deployer:
    def __init__(self, w3: Web3, sender: ChecksumAddress) -> None:
        self._w3 = w3
        self._sender = sender

    def abi(self, contract: str) -> Abi:
        return cast(Abi, load_artifact(contract)["abi"])

    def create(self, contract: str, arguments: Sequence[Any]) -> str:
        artifact = load_artifact(contract)
        factory = self._w3.eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"])
        receipt = _send(self._w3, self._sender, contract, factory.constructor(*arguments))
        return str(receipt["contractAddress"])

    def connect(self, contract: str, address: str, arguments: Sequence[Any]) -> None:
        target = self._w3.eth.contract(address=Web3.to_checksum_address(address), abi=load_artifact(contract)["abi"])
        _send(self._w3, self._sender, contract, target.functions.connect(*arguments))


def _send(w3: Web3, sender: ChecksumAddress, what: str, call: Any) -> Any:
    """The receipt of a call that the node of `w3` signs."""
    receipt = w3.eth.wait_for_transaction_receipt(call.transact({"from": sender}), poll_latency=0.02)
    if receipt["status"] != 1:
        raise DeploymentError(f"{what}: transaction {receipt['transactionHash'].hex()} failed")
    return receipt


def _inputs(abi: Abi, kind: str, name: str | None = None) -> Iterable[Mapping[str, Any]]:
    """The inputs of the constructor or of a function; a contract without a constructor has none."""
    # only functions are chosen by name: Brownie gives the constructor one, too
    found = [entry for entry in abi if entry["type"] == kind and (name is None or entry["name"] == name)]
    return cast(Iterable[Mapping[str, Any]], found[0]["inputs"] if found else ())


def _arguments(inputs: Iterable[Mapping[str, Any]], values: Mapping[str, Any]) -> list[Any]:
    """The values for `inputs`, in order, by name without the trailing underscore; structs become tuples."""
    arguments = []
    for entry in inputs:
        value = values[entry["name"].rstrip("_")]
        arguments.append(tuple(_arguments(entry["components"], value)) if "components" in entry else value)
    return arguments
