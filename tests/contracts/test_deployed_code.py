"""The code that a deployment puts on the chain: how large it is, and what the game and its endings share."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Final

import pytest
from web3 import Web3
from web3.contract import Contract

from offchain.chain.abi import Interface
from offchain.chain.deploying import deploy
from offchain.chain.deployment import CONTRACTS, PRESETS, Deployment, load_artifact
from tests.support.reverts import reverts

LIMIT: Final = 24_576  # bytes of code, EIP-170
ROOM: Final = 4_096  # for what is to come
DISPUTE: Final = "contracts/dispute"


@pytest.fixture
def deployment(w3: Web3, artifacts: object, snapshot: None) -> Deployment:
    return deploy(w3, w3.eth.accounts[0], PRESETS["local"])


@pytest.fixture
def endings(w3: Web3, deployment: Deployment) -> Contract:
    address = deployment.contract(w3, "game").functions.endings().call()
    return w3.eth.contract(address=address, abi=load_artifact("Endings")["abi"])


def test_every_contract_leaves_room(w3: Web3, deployment: Deployment, endings: Contract) -> None:
    addresses = {CONTRACTS[part]: address for part, address in deployment.addresses.items()}
    sizes = {name: len(w3.eth.get_code(address)) for name, address in addresses.items()}
    sizes["Endings"] = len(w3.eth.get_code(endings.address))
    assert not {name: size for name, size in sizes.items() if not 0 < size <= LIMIT - ROOM}


def test_endings_share_the_storage_of_the_game(compiler: ModuleType) -> None:
    """Every field in the same slot, or the code that is called would write over the game's."""
    names = ("DisputeGame", "Endings")
    sources = compiler.read_sources([compiler.ROOT / DISPUTE / f"{name}.sol" for name in names])
    output = compiler.run_solc(sources, {"*": {"*": ["storageLayout"]}})
    game, endings = (
        [
            (item["label"], item["slot"], item["offset"], item["type"])
            for item in output["contracts"][f"{DISPUTE}/{name}.sol"][name]["storageLayout"]["storage"]
        ]
        for name in names
    )
    assert endings and game[: len(endings)] == endings


def test_the_game_knows_the_events_and_errors_of_its_endings() -> None:
    """They come from the game's address: who reads them has the game's ABI."""
    game, endings = (Interface(load_artifact(name)["abi"]) for name in ("DisputeGame", "Endings"))
    assert endings.errors and endings.errors.keys() <= game.errors.keys()
    assert endings.events and endings.events.keys() <= game.events.keys()


def test_endings_serve_only_the_game(w3: Web3, endings: Contract) -> None:
    """Called directly they have a storage of their own, in which there are no disputes."""
    calls: list[tuple[Any, int]] = [
        (endings.functions.nameSlot(1, 0, bytes(32), [], b"", [], bytes(32), []), 6),
        (endings.functions.nameElement(1, 0, b"", b"", 0, []), 9),
        (endings.functions.revealWitness(1, 0, b"", []), 10),
        (endings.functions.revealSums(1, [], [0, 0], b""), 11),
        (endings.functions.nameSum(1, 0, []), 12),
        (endings.functions.proveTerm(1, 0, [], b"", []), 12),
        (endings.functions.nameExponent(1, 0, 0, b"", []), 12),
        (endings.functions.revealExponent(1, 0, b"", []), 13),
    ]
    for call, phase in calls:
        with reverts(endings, "WrongPhase", phase, 0):
            call.call()
