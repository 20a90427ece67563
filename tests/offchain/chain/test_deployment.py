"""The deployment plan, carried out through web3, and the file that remembers it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from web3 import Web3

from offchain.chain.deploying import deploy
from offchain.chain.deployment import (
    MODULES,
    PRESETS,
    BadDeploymentFile,
    Deployment,
    DeploymentError,
)

LOCAL = PRESETS["local"]


ELSEWHERE = ("withdrawal_delay", "key_delay", "bid_bond", "audit_bond")  # parameters that are no limits of the market


@pytest.fixture(scope="module")
def deployment(w3: Web3, deployer: Any, artifacts: dict[str, Any]) -> Deployment:
    return deploy(w3, deployer, LOCAL)


def test_everything_is_wired(w3: Web3, deployment: Deployment) -> None:
    parts = ("vault", "registry", "auction", "limits", "market", "log", "game")
    vault, registry, auction, limits, market, log, game = (deployment.contract(w3, part).functions for part in parts)
    assert vault.token().call() == deployment.token
    assert vault.withdrawalDelay().call() == LOCAL.withdrawal_delay
    assert all(vault.isModule(getattr(deployment, part)).call() for part in MODULES)
    assert (market.vault().call(), market.registry().call()) == (deployment.vault, deployment.registry)
    assert (auction.vault().call(), auction.registry().call()) == (deployment.vault, deployment.registry)
    assert {part.market().call() for part in (registry, auction)} == {deployment.market}
    assert (market.auction().call(), auction.bidBond().call()) == (deployment.auction, LOCAL.bid_bond)
    assert (market.log().call(), market.game().call()) == (deployment.log, deployment.game)
    assert (log.market().call(), log.game().call()) == (deployment.market, deployment.game)
    assert (game.market().call(), game.log().call()) == (deployment.market, deployment.log)
    assert (game.vault().call(), game.verifier().call()) == (deployment.vault, deployment.verifier)
    verifiers, auditor = (deployment.contract(w3, part).functions for part in ("verifiers", "auditor"))
    assert (verifiers.vault().call(), verifiers.registry().call()) == (deployment.vault, deployment.registry)
    assert verifiers.delay().call() == LOCAL.key_delay
    assert (auditor.market().call(), auditor.log().call()) == (deployment.market, deployment.log)
    assert auditor.verifiers().call() == deployment.verifiers
    fixed = {name: value for name, value in asdict(LOCAL).items() if name not in ELSEWHERE}
    assert market.limits().call() == deployment.limits
    assert list(limits.values().call()) == list(fixed.values())


def test_a_token_that_exists_is_taken(w3: Web3, deployer: Any, deployment: Deployment) -> None:
    other = deploy(w3, deployer, LOCAL, {"token": deployment.token})
    assert other.token == deployment.token
    assert other.vault != deployment.vault


@pytest.mark.parametrize("part", ["vault", "bank"])
def test_what_must_be_connected_cannot_be_there_already(
    w3: Web3, deployer: Any, deployment: Deployment, part: str
) -> None:
    with pytest.raises(DeploymentError, match=part):
        deploy(w3, deployer, LOCAL, {part: deployment.vault})


def test_file(tmp_path: Path, deployment: Deployment) -> None:
    path = tmp_path / "new" / "deployment.json"
    deployment.write(path)
    assert Deployment.read(path) == deployment
    assert [entry.name for entry in path.parent.iterdir()] == ["deployment.json"]


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadDeploymentFile, match="offchain deploy"):
        Deployment.read(tmp_path / "none.json")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda body: body.clear(),
        lambda body: body.update(format=2),
        lambda body: body.update(chainId="many"),
        lambda body: body.update(addresses=[]),
        lambda body: body["addresses"].pop("vault"),
        lambda body: body["addresses"].update(vault="0x12"),
        lambda body: body["addresses"].update(bank=body["addresses"]["vault"]),
    ],
)
def test_malformed_file(tmp_path: Path, deployment: Deployment, spoil: Any) -> None:
    path = tmp_path / "deployment.json"
    deployment.write(path)
    body = json.loads(path.read_text())
    spoil(body)
    path.write_text(json.dumps(body))
    with pytest.raises(BadDeploymentFile):
        Deployment.read(path)


@pytest.mark.parametrize("text", ["", "[]", "no json", "1", "[" * 100_000])
def test_file_that_is_something_else(tmp_path: Path, text: str) -> None:
    path = tmp_path / "deployment.json"
    path.write_text(text)
    with pytest.raises(BadDeploymentFile):
        Deployment.read(path)


def test_wrong_chain(w3: Web3, deployment: Deployment) -> None:
    deployment.require_on(w3)
    with pytest.raises(DeploymentError, match="chain 1, not 1337"):
        replace(deployment, chain_id=1).require_on(w3)
    with pytest.raises(DeploymentError, match="started anew"):
        replace(deployment, vault=w3.eth.accounts[0]).require_on(w3)


def test_a_block_that_is_still_to_come(w3: Web3, deployment: Deployment) -> None:
    """All events were looked for after it, and none found: no tasks, and an account that never earned anything."""
    with pytest.raises(DeploymentError, match=r"of block 99,999,999; the chain is at [\d,]+: started anew\?$"):
        replace(deployment, block=99_999_999).require_on(w3)
