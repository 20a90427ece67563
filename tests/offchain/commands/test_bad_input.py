"""What people get wrong, in every command alike: one line that says what, where, and what to do."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from errno import ENOSPC
from pathlib import Path

import pytest

from offchain.chain.deployment import Deployment
from offchain.chain.ganache import Ganache
from offchain.chain.rpc import connect
from offchain.chain.transactions import Signer
from tests.offchain.commands.conftest import Counter
from tests.support.terminal import run

Terminal = Callable[..., tuple[int, str, str]]


@pytest.fixture
def offchain(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return lambda *words: run(capsys, monkeypatch, *map(str, words))


READING = (["status"], ["account", "history"], ["account", "show"], ["task", "status"], ["task", "why", "0"])
SENDING = (["task", "cancel", "0"], ["account", "deregister"], ["vault", "deposit", "1"])
EVERY = pytest.mark.parametrize("words", [*READING, *SENDING], ids=" ".join)


def one_line(told: tuple[int, str, str], code: int) -> str:
    assert (told[0], told[1], told[2].count("\n")) == (code, "", 1) and told[2].startswith("error: ")
    return told[2].removeprefix("error: ").strip()


@EVERY
def test_wrong_chain(counter: Counter, offchain: Terminal, words: list[str]) -> None:
    Deployment.of(31337, 0, counter.deployment.addresses).write(counter.file("deployment.json"))
    said = one_line(offchain(*words, *counter.options), 3)
    assert said.startswith("the deployment is on chain 31337, not 1337; name its node with --rpc, or another file")


@EVERY
def test_wrong_address(counter: Counter, offchain: Terminal, words: list[str]) -> None:
    addresses = {**counter.deployment.addresses, "market": "0x00000000000000000000000000000000000000AA"}
    Deployment.of(1337, 0, addresses).write(counter.file("deployment.json"))
    said = one_line(offchain(*words, *counter.options), 3)
    assert said.startswith("no contract at 0x00000000000000000000000000000000000000AA (market); was the chain started")


@EVERY
def test_node_gone(counter: Counter, offchain: Terminal, words: list[str]) -> None:
    said = one_line(offchain(*words, "--rpc", "http://127.0.0.1:9", *counter.options[2:]), 4)
    assert said.startswith("no answer from the chain at http://127.0.0.1:9")


@EVERY
def test_file_missing(counter: Counter, offchain: Terminal, words: list[str]) -> None:
    counter.file("deployment.json").unlink()
    said = one_line(offchain(*words, *counter.options), 2)
    assert said == f"{counter.file('deployment.json')}: No such file or directory; run `offchain deploy` first"


def test_a_port_that_is_taken(counter: Counter, offchain: Terminal, tmp_path: Path) -> None:
    from offchain.store.taskfile import save_task
    from offchain.worker.windows import TIMES
    from tests.support.works import every_kind

    save_task(every_kind(6, 3), tmp_path / "a.task")
    taken = counter.url.removeprefix("http://")
    windows = [word for name in TIMES for word in (f"--{name.replace('_', '-')}", "200")]
    words = ["task", "post", tmp_path / "a.task", "--max-price", 3, "--listen", taken, *windows, *counter.options]
    said = one_line(offchain(*words), 2)
    assert said == f"cannot serve files at {taken}: Address already in use; name another --listen HOST:PORT"


def test_a_disk_that_is_full(counter: Counter) -> None:
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-m", "offchain", "task", "status", "--json", *counter.options]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: No space left on device; free some room on the disk\n"


def test_a_deployment_that_cannot_be_written(
    ganache: Ganache, offchain: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused before anything is deployed; where the disk is full only afterwards, the addresses are shown."""
    words, w3 = ["deploy", "--rpc", ganache.url, "--dev-account", 0, "-o"], connect(ganache.url)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    head = w3.eth.block_number
    one_line(offchain(*words, tmp_path / "file" / "deployment.json"), 1)
    one_line(offchain(*words, tmp_path / "folder"), 2)
    assert w3.eth.block_number == head

    def full(*_: object) -> None:
        raise OSError(ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    code, out, err = offchain(*words, tmp_path / "deployment.json", "--json")
    found = json.loads(out)
    assert code == 2 and w3.eth.get_code(found["market"]) and found["block"] == str(head)
    assert err.endswith("No space left on device; the contracts are deployed, and their addresses are above\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_who_stops_while_a_transaction_is_in_flight_hears_so(
    counter: Counter, offchain: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    free = counter.free("requester")
    with monkeypatch.context() as patched:
        patched.setattr(Signer, "_mined", stop)
        code, out, err = offchain("vault", "withdraw", "1", *counter.options)
    said = "vault.requestWithdrawal was sent, and may be mined yet: look before you send it again"
    assert (code, out, err.split("\n")) == (130, "", ["", said, "stopped", ""])
    assert counter.free("requester") == free - 10**18


def test_negative_numbers_are_no_amounts(counter: Counter, offchain: Terminal) -> None:
    for words in (["vault", "withdraw", "-1"], ["account", "fund", "--to", "1", "--ether", "-1"]):
        assert "amount" in one_line(offchain(*words, *counter.options), 2)


def test_more_than_there_is(counter: Counter, offchain: Terminal) -> None:
    who = counter.address("requester")
    said = one_line(offchain("vault", "withdraw", "999999999", *counter.options), 3)
    assert f"(account={who}, required=999,999,999, free=500,000); `offchain vault deposit N` moves" in said
    said = one_line(offchain("vault", "deposit", "999999999", *counter.options), 3)
    assert ", needed=999,999,999); `offchain account fund --to ADDRESS --tokens N` sends its wallet more" in said


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["vault", "deposit", "0"], "name an amount above 0"),
        (["vault", "withdraw"], "`offchain vault withdraw N` asks for a withdrawal first"),
        (["verifier", "stake", "5"], "`offchain verifier enroll` registers its signing key first"),
        (["verifier", "unstake"], "`offchain verifier unstake N` takes it out of the stake first"),
        (["account", "deregister"], "it is in the register no more, or never was"),
    ],
)
def test_a_refusal_of_the_contracts_says_what_to_do(
    counter: Counter, offchain: Terminal, words: list[str], remedy: str
) -> None:
    said = one_line(offchain(*words, *counter.options), 3)
    assert " was refused: " in said and said.endswith(f"; {remedy}")


@pytest.mark.parametrize(
    ("amount", "why"),
    [
        ("nan", "is not an amount of tokens, such as 12.5"),
        ("1e30", "is more than there can be of any token"),
        ("0." + "0" * 18 + "1", "has more than 18 decimals, and tokens have 18"),
    ],
)
def test_amounts_that_are_none(counter: Counter, offchain: Terminal, amount: str, why: str) -> None:
    assert why in one_line(offchain("vault", "deposit", amount, *counter.options), 2)
