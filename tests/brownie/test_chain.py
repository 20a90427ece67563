"""The tool chain as Brownie sees it: our network, and contracts from our compiler."""

from typing import Any

from offchain.chain.deploying import build
from offchain.chain.deployment import PRESETS
from scripts.deploy import BrownieDeployer


def test_network_is_the_local_one(chain: Any, accounts: Any, web3: Any) -> None:
    assert chain.id == 1337
    assert len(accounts) == 20
    assert web3.client_version.startswith("Ganache/v7")


def test_a_contract_deploys_and_works(accounts: Any, OffchainToken: Any) -> None:
    owner, receiver = accounts[0], accounts[1]
    token = owner.deploy(OffchainToken)
    token.mint(receiver, 7, {"from": owner})
    assert token.balanceOf(receiver) == 7


def test_the_whole_plan_deploys(web3: Any, DisputeGame: Any) -> None:
    """The game makes its endings itself: Brownie has nothing to link."""
    addresses = build(BrownieDeployer(), PRESETS["local"])
    game = DisputeGame.at(addresses["game"])
    assert game.verifier() == addresses["verifier"]
    assert web3.eth.get_code(game.endings())
