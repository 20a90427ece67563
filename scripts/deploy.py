"""`brownie run deploy --network offchain-local [main PRESET FILE]`: the plan of `offchain deploy`, sent by Brownie."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from brownie import accounts, chain, project

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # Brownie may run from an environment of its own

from offchain.chain.deploying import Abi, build  # noqa: E402
from offchain.chain.deployment import PRESETS, Deployment  # noqa: E402


class BrownieDeployer:
    """Sends from Brownie's first account."""

    def __init__(self) -> None:
        self._contracts = project.get_loaded_projects()[0]
        self._sender = {"from": accounts[0]}
        self._made: dict[str, Any] = {}

    def abi(self, contract: str) -> Abi:
        return self._contracts[contract].abi

    def create(self, contract: str, arguments: Sequence[Any]) -> str:
        made = self._contracts[contract].deploy(*arguments, self._sender)
        self._made[made.address] = made
        return str(made.address)

    def connect(self, contract: str, address: str, arguments: Sequence[Any]) -> None:
        self._made[address].connect(*arguments, self._sender)


def main(preset: str = "local", file: str = "build/deployment.json") -> Deployment:
    """Deploy with the parameters of a preset, and write the deployment file."""
    block = chain.height
    deployment = Deployment.of(chain.id, block, build(BrownieDeployer(), PRESETS[preset]))
    deployment.write(ROOT / file)
    for part, address in deployment.addresses.items():
        print(f"{part:9} {address}")
    print(f"written to {file}")
    return deployment
