"""What an operator does with a worker: check the machine, drain it, leave the register."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
import requests

from offchain.chain.client import Chain
from offchain.chain.code import differing, is_made_by
from offchain.chain.deployment import Deployment, load_artifact
from tests.offchain.commands.conftest import Counter
from tests.support.deployment import FREE
from tests.support.terminal import run

Terminal = Callable[..., tuple[int, str, str]]
PATIENCE = 90.0  # seconds for a process, on a busy machine


@pytest.fixture
def offchain(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return lambda *words: run(capsys, monkeypatch, *map(str, words))


def checked(counter: Counter, offchain: Terminal, *more: object) -> tuple[int, dict[str, dict[str, str]], str]:
    words = ["worker", "check", *counter.options, "--executor", "torch", "--home", counter.file("home"), *more]
    code, out, err = offchain(*words, "--json")
    return code, {finding["what"]: finding for finding in json.loads(out)}, err


def test_a_machine_is_checked(counter: Counter, offchain: Terminal) -> None:
    code, found, _ = checked(counter, offchain)
    assert code == 0
    assert set(found) == {
        "contracts", "ether", "vault, as solver", "vault, as verifier", "audits", "register", "port", "disk", "home",
        "clock", "speed", "GPU",
    }  # fmt: skip
    assert {name: found[name]["state"] for name in ("contracts", "ether", "vault, as solver", "speed")} == {
        "contracts": "ok", "ether": "ok", "vault, as solver": "ok", "speed": "ok",
    }  # fmt: skip
    assert found["port"]["state"] == "low" and "is for this machine only" in found["port"]["found"]
    assert found["register"]["found"] == "not in it; a worker enters it itself"
    assert found["audits"]["state"] == "low" and "`offchain verifier stake N`" in found["audits"]["remedy"]
    code, out, _ = offchain("worker", "check", *counter.options, "--executor", "torch")
    assert code == 0 and max(map(len, out.splitlines())) <= 80


def test_what_is_missing_is_named_with_a_remedy(counter: Counter, offchain: Terminal) -> None:
    counter.quick("requester").request_withdrawal(FREE)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        code, found, err = checked(counter, offchain, "--listen", listen, "--disk-reserve", 10**9)
    assert (code, err) == (1, "error: a worker would fail here for: port, disk; see above what to do\n")
    assert found["vault, as solver"]["remedy"].startswith("`offchain vault deposit ")
    assert found["port"]["found"].startswith(f"cannot serve files at {listen}: Address already in use; name another")


def test_other_contracts_are_told_apart(counter: Counter) -> None:
    chain = counter.quick("stranger")
    assert differing(chain) == []
    swapped = {**chain.deployment.addresses, "auction": chain.deployment.log}
    other = Chain(counter.url, Deployment.of(chain.deployment.chain_id, 0, swapped))
    assert differing(other) == ["auction"]
    creation = bytes.fromhex(load_artifact("Auction")["bytecode"].removeprefix("0x"))
    code = bytes(chain.w3.eth.get_code(chain.deployment.auction))
    assert is_made_by(code, creation)
    assert not is_made_by(code[:40] + bytes(byte ^ 1 for byte in code[40:60]) + code[60:], creation)
    assert not is_made_by(b"", creation)
    fixed = (i for i in range(40, len(code)) if not code[i] and b"\x7f" not in code[i - 32 : i])
    nothing = next(fixed)  # a zero that no constructor fills in
    assert not is_made_by(code[:nothing] + b"\1" + code[nothing + 1 :], creation)


@pytest.mark.slow
def test_a_worker_is_drained(counter: Counter, offchain: Terminal) -> None:
    home = counter.file("home")
    words = [sys.executable, "-m", "offchain", "worker", "--role", "solver", "--home", str(home), *counter.options]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        while "started" not in line:
            line = process.stderr.readline()
            assert line
        code, out, _ = offchain("worker", "drain", "--home", home, "--linger", 0, "--wait")
        assert code == 0
        first = f"worker process {process.pid} takes nothing new, and ends 0 s after it holds nothing more"
        assert out.splitlines() == [first, "it has ended"]
        assert process.wait(PATIENCE) == 0
        log = process.stderr.read()
        assert "draining" in log and "drained" in log
        assert not (home / "drain").exists()
    finally:
        process.kill()
        process.wait()
    code, _, err = offchain("worker", "drain", "--home", home)
    assert (code, err) == (2, f"error: {home}: no worker runs here; name its folder with --home\n")
    code, _, err = offchain("worker", "drain", "--home", counter.file("none"))
    assert (code, err.count("\n")) == (2, 1) and "no worker has run here" in err


def test_a_worker_whose_page_has_no_port_says_so(counter: Counter, offchain: Terminal) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        code, _, err = offchain("worker", "--role", "solver", "--page", place, *counter.options)
    assert (code, err.count("\n")) == (2, 1)
    assert f"cannot serve the page at {place}" in err and "name another port" in err


def test_an_account_leaves_the_register(counter: Counter, offchain: Terminal) -> None:
    key = counter.file("solver.key")
    key.write_text(counter.accounts["solver"].key.hex())
    key.chmod(0o600)
    signer = [*counter.options[:4], "--key", key]
    code, out, _ = offchain("account", "deregister", *signer)
    assert code == 0 and out.startswith(f"{counter.address('solver')} is in the register no more")
    assert counter.quick("solver").roles_of() == 0
    code, _, err = offchain("account", "deregister", *signer)
    assert (code, err.count("\n")) == (3, 1) and "NotRegistered" in err


def test_a_worker_needs_a_role(counter: Counter, offchain: Terminal) -> None:
    code, _, err = offchain("worker", *counter.options)
    assert (code, err.count("\n")) == (2, 1) and "Missing option '--role'" in err


def test_a_worker_serves_metrics_and_the_page_and_logs_to_a_file(counter: Counter) -> None:
    home, log = counter.file("home"), counter.file("worker.log")
    words = [sys.executable, "-m", "offchain", "worker", "--role", "solver", "--home", str(home), *counter.options]
    words += ["--metrics", "0", "--page", "127.0.0.1:0", "--log-file", str(log), "--json-lines"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        page = re.search(r"the page is at (http://127\.0\.0\.1:\d+/)", process.stderr.readline())
        assert page is not None
        found = re.search(r"metrics are at (http://127\.0\.0\.1:\d+)/metrics", process.stderr.readline())
        assert found is not None
        until, text = time.monotonic() + PATIENCE, ""
        while "offchain_look_seconds_count 0.0" in text or not text:
            assert time.monotonic() < until
            text = requests.get(f"{found[1]}/metrics", timeout=10).text
            time.sleep(0.1)
        assert "offchain_moves_due 0.0" in text and 'offchain_lost_tokens_total{how="deadline"} 0.0' in text
        assert requests.get(f"{found[1]}/healthz", timeout=10).json()["ok"]
        while "states" not in (board := requests.get(f"{page[1]}data/board", timeout=30).json())["facts"]:
            assert time.monotonic() < until
        assert board["facts"]["tasks"] == counter.quick("stranger").task_count()
        assert "<title>offchain</title>" in requests.get(page[1], timeout=10).text
    finally:
        process.terminate()
        process.wait(PATIENCE)
    assert process.stderr.read() == ""
    assert json.loads(log.read_text().splitlines()[0])["event"] == "started"
