"""A local chain made ready for a first task: contracts deployed, accounts funded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

from web3 import Web3
from web3.middleware import Web3Middleware
from web3.types import RPCEndpoint

from offchain.chain.deploying import deploy, fund
from offchain.chain.deployment import COIN, PRESETS, BadDeploymentFile, Deployment, DeploymentError, Funds
from offchain.chain.ganache import CHAIN_ID
from offchain.chain.rpc import asking, connect
from offchain.errors import BadInput

WEALTH: Final = 10_000 * COIN  # of a funded account, free in the vault


class _Mining(Web3Middleware):
    """Has a block mined for every transaction, so that nobody waits for the chain's next one."""

    def wrap_make_request(self, make_request: Callable[[RPCEndpoint, Any], Any]) -> Callable[[RPCEndpoint, Any], Any]:
        def make(method: RPCEndpoint, params: Any) -> Any:
            answer = make_request(method, params)
            if method == "eth_sendTransaction":
                make_request(RPCEndpoint("evm_mine"), [])
            return answer

        return make


def prepare(url: str, file: Path, preset: str, funded: int) -> tuple[Deployment, bool]:
    """Deploy to a local chain, unless the file's contracts are on it already, and fund its accounts 1 to `funded`.

    Accounts that have something in the vault are left as they are.

    Returns:
        The deployment, which the file holds, and whether it was made now.

    Raises:
        BadInput: the file is of another chain, or is none.
        DeploymentError: a transaction failed.
    """
    w3 = connect(url)
    w3.middleware_onion.add(cast(Any, _Mining))
    with asking("preparing the chain"):
        accounts = w3.eth.accounts
        deployment = _existing(w3, file)
        made = deployment is None
        if deployment is None:
            deployment = deploy(w3, accounts[0], PRESETS[preset])
            deployment.write(file)
        free = deployment.contract(w3, "vault").functions.freeOf
        poor = [account for account in accounts[1 : funded + 1] if free(account).call() == 0]
        fund(deployment, w3, accounts[0], {account: Funds(vault=WEALTH) for account in poor})
    return deployment, made


def _existing(w3: Web3, file: Path) -> Deployment | None:
    """The file's deployment if it is on this chain; None where it was on a local chain that is gone."""
    if not file.exists():
        return None
    try:
        deployment = Deployment.read(file)
    except BadDeploymentFile as error:
        raise BadInput(f"{error}; it would be written over: name another one with --deployment") from None
    if deployment.chain_id != CHAIN_ID:
        raise BadInput(f"{file} is of chain {deployment.chain_id}: name another one with --deployment")
    try:
        deployment.require_on(w3)
    except DeploymentError:
        return None
    return deployment
