"""`offchain chain up` in one command, behind a proxy, ended by SIGTERM and by a kill, and started again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from web3 import Web3

from offchain.chain.deployment import COIN, CONTRACTS, Deployment
from offchain.chain.ganache import Ganache
from offchain.chain.local import WEALTH, prepare
from offchain.chain.rpc import connect
from offchain.errors import BadInput
from tests.support.clock import Clock
from tests.support.terminal import run

PATIENCE = 60.0  # seconds for a process, on a busy machine
DEAD_PROXY = dict.fromkeys(("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")


@contextmanager
def up(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], list[str], int]]:
    """A chain that runs, the lines that it printed until it was ready, and its port."""
    words = [sys.executable, "-m", "offchain", "chain", "up", "--port", "0", *options]
    environment = {**os.environ, **DEAD_PROXY}
    process = subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        while "tokens in the vault" not in lines[-1]:
            assert process.poll() is None and lines[-1], lines
            lines.append(process.stdout.readline())
        port = urlsplit(lines[0].split()[3].rstrip(";")).port
        assert port is not None
        yield process, lines, port
    finally:
        process.kill()
        process.wait()


def gone(port: int) -> bool:
    """Whether nobody listens there any more, within PATIENCE."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
def test_one_command_makes_a_chain_ready_and_every_end_of_it_ends_ganache(tmp_path: Path) -> None:
    options = ["--deploy", "--fund", "2", "--database", "chain"]
    with up(tmp_path, *options) as (process, lines, port):
        assert lines[1:] == [
            "contracts deployed: deployment.json\n",
            "accounts 1 to 2 have 10,000 tokens in the vault\n",
        ]
        w3 = connect(f"http://127.0.0.1:{port}")
        free = Deployment.read(tmp_path / "deployment.json").contract(w3, "vault").functions.freeOf
        assert [free(account).call() for account in w3.eth.accounts[:4]] == [0, WEALTH, WEALTH, 0]
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert gone(port)
    with up(tmp_path, *options) as (process, lines, port):
        assert lines[1] == "contracts were there already: deployment.json\n"
        process.kill()
        process.wait()
        assert gone(port), "nobody is left who could end it, but it sees that"


def test_what_is_there_is_kept_and_what_is_gone_is_replaced(ganache: Ganache, w3: Web3, tmp_path: Path) -> None:
    file = tmp_path / "deployment.json"
    with Clock(w3).undone():
        first, made = prepare(ganache.url, file, "local", 1)
        assert made and Deployment.read(file) == first
        assert prepare(ganache.url, file, "local", 2) == (first, False)
        free = first.contract(w3, "vault").functions.freeOf
        assert [free(account).call() for account in w3.eth.accounts[1:4]] == [WEALTH, WEALTH, 0]
        assert w3.eth.get_balance(w3.eth.accounts[1]) > 1_000 * COIN
    with Clock(w3).undone():
        second, made = prepare(ganache.url, file, "local", 0)
        assert made and Deployment.read(file) == second


def test_a_file_of_another_chain_is_not_written_over(ganache: Ganache, tmp_path: Path) -> None:
    file = tmp_path / "deployment.json"
    addresses = dict.fromkeys(CONTRACTS, "0x" + "11" * 20)
    Deployment.of(5, 0, addresses).write(file)
    with pytest.raises(BadInput, match="is of chain 5: name another one with --deployment"):
        prepare(ganache.url, file, "local", 0)
    file.write_text(json.dumps({"my": "file"}))
    with pytest.raises(BadInput, match="would be written over"):
        prepare(ganache.url, file, "local", 0)
    assert json.loads(file.read_text()) == {"my": "file"}


def test_deploying_again_loses_no_addresses(
    ganache: Ganache, w3: Web3, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind them may be money; those of a local chain that is gone are worth nothing."""
    file, addresses = tmp_path / "deployment.json", dict.fromkeys(CONTRACTS, "0x" + "11" * 20)
    words = ["deploy", "--rpc", ganache.url, "--dev-account", "0", "--deployment", str(file)]

    def refused() -> str:
        before = file.read_text(), w3.eth.block_number
        code, out, err = run(capsys, monkeypatch, *words)
        assert (code, out, err.count("\n")) == (2, "", 1) and (file.read_text(), w3.eth.block_number) == before
        return err.removeprefix(f"error: {file}: ").strip()

    with Clock(w3).undone():
        Deployment.of(1337, 0, addresses).write(file)
        assert run(capsys, monkeypatch, *words)[0] == 0
        lost, rest = "money may be locked", "name another file with -o, or add --replace"
        assert refused() == f"has the addresses of contracts on this chain, where {lost}; {rest}"
        Deployment.of(5, 0, addresses).write(file)
        assert refused() == f"has the addresses of contracts on chain 5, where {lost}; {rest}"
        file.write_text(json.dumps({"my": "file"}))
        assert refused() == f"is no deployment file; {rest}"
        assert run(capsys, monkeypatch, *words, "--replace")[0] == 0
        assert Deployment.read(file).chain_id == 1337


def test_a_proxy_is_not_asked_for_a_node_of_this_machine(ganache: Ganache, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in DEAD_PROXY.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert connect(ganache.url).eth.chain_id == 1337
    assert ganache._answers()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--fund", "5"], "--fund needs the contracts: add --deploy"),
        (["--block-time", "-1"], "--block-time"),
        (["--port", "70000"], "--port"),
        (["--deploy", "--fund", "20"], "--fund"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], why: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = run(capsys, monkeypatch, "chain", "up", *words)
    assert code == 2 and why in err and err.count("\n") == 1


def test_block_time_0_says_that_time_stands_still(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(time, "sleep", _interrupt)
    monkeypatch.setattr(Ganache, "start", lambda self: self)
    monkeypatch.setattr(Ganache, "running", True)
    code, out, _ = run(capsys, monkeypatch, "chain", "up", "--block-time", "0")
    assert code == 130 and "windows and clocks stand still" in out
    assert signal.getsignal(signal.SIGTERM) is before  # which the command used while it ran


def _interrupt(seconds: float) -> None:
    raise KeyboardInterrupt
