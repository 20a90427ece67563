"""Fixtures that every kind of test shares: a chain, compiled contracts, and a way to deploy them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol
from unittest.mock import patch

import hypothesis
import pytest
import torch
from eth_account import Account
from eth_account.signers.local import LocalAccount
from web3 import Web3
from web3.contract import Contract

from offchain.chain.ganache import Ganache
from tests.offchain.exec.cuda.interpreter import INTERPRETED
from tests.support.clock import Clock
from tests.support.deployment import connected
from tests.support.scripts import load_script

ROOT = Path(__file__).resolve().parent.parent
os.environ["OFFCHAIN_SETTINGS"] = ""  # no settings of whoever runs the tests

# Triton's own functions are for its interpreter or not, as is said when somebody first imports it: transformers does.
with suppress(ImportError), patch.dict(os.environ, INTERPRETED):
    import triton  # noqa: F401

# No test names a target: without one that phase shrinks what passed, which takes longer than the examples do.
PHASES = [phase for phase in hypothesis.Phase if phase is not hypothesis.Phase.target]
# A machine that is busy draws slowly, and what is drawn here is large: neither says anything of a test.
HEALTHY = [hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large]
for name, examples in (("quick", 15), ("ci", 50), ("thorough", 2_000)):
    hypothesis.settings.register_profile(
        name, deadline=None, max_examples=examples, phases=PHASES, suppress_health_check=HEALTHY
    )
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


class Deploy(Protocol):
    def __call__(self, name: str, *args: Any) -> Contract: ...


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--only",
        action="append",
        type=Path,
        metavar="SOURCE",
        help="compile just this contract source and its imports, not all of contracts/ (repeatable)",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what tests/slow.txt names: scripts/slow_tests.py writes it from what was measured."""
    named = frozenset((ROOT / "tests" / "slow.txt").read_text().splitlines())
    for item in items:
        if item.nodeid in named:
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """What a test draws of torch's generator does not depend on the tests before it, and is the same again."""
    torch = sys.modules.get("torch")  # some tests do without
    if torch is not None:
        torch.manual_seed(0)


@pytest.fixture(scope="session")
def compiler() -> ModuleType:
    """scripts/compile.py as a module."""
    return load_script("compile")


@pytest.fixture(scope="session")
def artifacts(compiler: ModuleType, request: pytest.FixtureRequest) -> dict[str, dict[str, Any]]:
    """Every compiled contract by name, harnesses included: {"abi", "bytecode", "contractName"}."""
    try:
        compiler.build(only=request.config.getoption("--only"))
    except compiler.CompileError as error:
        pytest.fail(f"the contracts do not compile:\n{error}", pytrace=False)
    files = [*compiler.ARTIFACTS.glob("*.json"), *compiler.TEST_ARTIFACTS.glob("*.json")]
    return {file.stem: json.loads(file.read_text()) for file in files}


@pytest.fixture(scope="session")
def ganache() -> Iterator[Ganache]:
    """A fresh chain on a free port, for the whole test session."""
    with Ganache() as chain:
        yield chain


@pytest.fixture(scope="session")
def w3(ganache: Ganache) -> Web3:
    """Connected; transactions are sent by the first account unless they name another."""
    web3 = connected(ganache)
    web3.eth.default_account = web3.eth.accounts[0]
    return web3


@pytest.fixture(scope="session")
def keys(ganache: Ganache) -> list[LocalAccount]:
    """The funded accounts with their private keys, in the order of `w3.eth.accounts`."""
    return [Account.from_key(key) for key in ganache.accounts]


@pytest.fixture(scope="session")
def deployer(w3: Web3) -> str:
    """Address of the account that deploys."""
    return w3.eth.accounts[0]


@pytest.fixture(scope="session")
def one_thread() -> Iterator[None]:
    """Tensors are small here: waking threads takes twenty times as long as the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def deploy(w3: Web3, deployer: str, artifacts: dict[str, dict[str, Any]]) -> Deploy:
    """`deploy("Name", *constructor_arguments)` gives the deployed contract."""

    def run(name: str, *args: Any) -> Contract:
        factory = w3.eth.contract(abi=artifacts[name]["abi"], bytecode=artifacts[name]["bytecode"])
        receipt = w3.eth.wait_for_transaction_receipt(factory.constructor(*args).transact({"from": deployer}))
        assert receipt["status"] == 1, f"{name} did not deploy"
        return w3.eth.contract(address=receipt["contractAddress"], abi=artifacts[name]["abi"])

    return run


@pytest.fixture(scope="module")
def module_snapshot(w3: Web3) -> Iterator[None]:
    """Undoes whatever the tests of a module do to the chain, its clock included."""
    with Clock(w3).undone():
        yield


@pytest.fixture
def snapshot(w3: Web3) -> Iterator[None]:
    """Undoes whatever the test does to the chain, its clock included."""
    with Clock(w3).undone():
        yield
