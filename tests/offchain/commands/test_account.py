"""Accounts as a person meets them: made, named, opened, funded; and that reading a chain needs none."""

from __future__ import annotations

import io
import json
import os
import pickle
import pty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from web3 import Web3

from offchain.chain.deploying import funded
from offchain.chain.deployment import COIN, PRESETS, Deployment, Funds
from offchain.chain.ganache import Ganache
from offchain.chain.keystores import address_in, create, named
from offchain.commands.common import Connection
from offchain.commands.identity import accounts_folder
from offchain.errors import BadInput
from tests.support.clock import Clock
from tests.support.terminal import run

Offchain = Callable[..., tuple[int, str, str]]
SOMEBODY = "0x00000000000000000000000000000000000000AA"


@pytest.fixture
def offchain(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Offchain:
    """Runs a command of somebody who has no accounts and no settings yet, and no terminal."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("ETH_ACCOUNT_KDF", "scrypt")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    return lambda *words: run(capsys, monkeypatch, *map(str, words))


@pytest.fixture(scope="module")
def deployment(ganache: Ganache, w3: Web3) -> Iterator[Deployment]:
    """With 50 tokens in the wallet of account 1, and 5 in its vault."""
    with Clock(w3).undone():
        funds = {w3.eth.accounts[1]: Funds(wallet=50 * COIN, vault=5 * COIN)}
        yield funded(w3, w3.eth.accounts[0], PRESETS["local"], funds)


@pytest.fixture
def where(deployment: Deployment, ganache: Ganache, tmp_path: Path) -> list[str]:
    """Options that say where the chain is."""
    deployment.write(tmp_path / "deployment.json")
    return ["--rpc", ganache.url, "--deployment", str(tmp_path / "deployment.json")]


def test_an_account_with_a_name_is_made_listed_and_looked_at_without_its_password(
    offchain: Offchain, where: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = tmp_path / "password"
    password.write_text("sesame\n")
    password.chmod(0o600)
    code, out, _ = offchain("account", "new", "worker", "--password-file", password)
    address = address_in(named(accounts_folder(), "worker"))
    assert code == 0 and out.splitlines()[:2] == [str(address), "sign with --account worker; key in"]
    code, out, _ = offchain("account", "list", "--json")
    assert json.loads(out) == {"worker": address}
    code, out, _ = offchain("account", "show", "--account", "worker", "--json", *where)
    assert (code, json.loads(out)["account"]) == (0, address)
    code, _, err = offchain("account", "new", "worker", "--password-file", password)
    assert (code, err.count("\n")) == (2, 1) and "there is an account 'worker' already" in err

    code, _, err = offchain("vault", "deposit", 1, "--account", "worker", *where)
    assert (code, err.count("\n")) == (2, 1) and "no terminal to ask for it; name a file with --password-file" in err
    monkeypatch.setenv("OFFCHAIN_KEY_PASSWORD", "simsim")
    code, _, err = offchain("vault", "deposit", 1, "--account", "worker", *where)
    assert (code, err) == (2, f"error: {named(accounts_folder(), 'worker')}: wrong password\n")
    code, _, err = offchain("vault", "deposit", 1, "--account", "wroker", *where)
    assert (code, err.count("\n")) == (2, 1) and "there are: worker" in err


def test_who_signs_can_be_funded_and_spends(offchain: Offchain, where: list[str], w3: Web3) -> None:
    made = create(accounts_folder(), "worker", "sesame", iterations=1 << 10)
    code, out, err = offchain("account", "fund", "--to", "worker", "--to", SOMEBODY, "--ether", "1.5", "--tokens", 3,
                              "--dev-account", 1, *where)  # fmt: skip
    assert (code, err) == (0, "")
    assert out.splitlines()[:2] == [f"sent 1.5 ether to {made.address}", f"sent 3 tokens to {made.address}"]
    assert [w3.eth.get_balance(Web3.to_checksum_address(who)) for who in (made.address, SOMEBODY)] == [
        3 * COIN // 2
    ] * 2
    (accounts_folder() / "password").write_text("sesame")
    (accounts_folder() / "password").chmod(0o600)
    opened = ["--account", "worker", "--password-file", accounts_folder() / "password"]
    code, out, err = offchain("vault", "deposit", 2, *opened, *where)
    assert (code, out, err) == (0, "deposited 2; free now: 2\n", "")


def test_a_list_of_accounts_is_whole_whatever_its_names_and_files(offchain: Offchain, tmp_path: Path) -> None:
    """A key file without an address, as other programs write it, hid all accounts; a long name was cut off."""
    long, folder = "w" * 64, accounts_folder()
    (tmp_path / "password").touch(0o600)
    (tmp_path / "password").write_text("sesame")
    code, address, _ = offchain("account", "new", long, "--password-file", tmp_path / "password")
    (folder / "other.json").write_text("{}")
    code, out, err = offchain("account", "list")
    assert (code, out.splitlines()) == (0, [f"{'no address is shown':42}  other", f"{address.split()[0]}  {long}"])
    assert err.count("\n") == 1 and "other.json: shows no address" in err
    assert json.loads(offchain("account", "list", "--json")[1]) == {"other": None, long: address.split()[0]}


def test_reading_needs_no_account(offchain: Offchain, where: list[str], w3: Web3) -> None:
    one = w3.eth.accounts[1]
    for who in (one, "1"):
        code, out, _ = offchain("account", "show", who, "--json", *where)
        assert (code, json.loads(out)["account"], json.loads(out)["free_in_the_vault"]) == (0, one, str(5 * COIN))
    assert offchain("task", "status", "--json", *where)[:2] == (0, "[]\n")
    code, _, err = offchain("account", "show", *where)
    assert (code, err.count("\n")) == (2, 1) and "no account: --account NAME" in err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["account", "fund", "--to", "0xdeadbeef", "--ether", "1"], "0xdeadbeef: not an address: it needs 40 hex"),
        (["account", "fund", "--to", SOMEBODY.replace("AA", "Aa"), "--ether", "1"], "a letter is mistyped"),
        (["account", "fund", "--to", "20", "--ether", "1"], "must be 0 to 19, and is 20"),
        (["account", "fund", "--to", "nobody", "--ether", "1"], "no account 'nobody'"),
        (["account", "fund", "--to", "1"], "nothing to send"),
        (["account", "fund", "--to", "1", "--ether", "-1"], "'-1' is not an amount"),
        (["account", "fund", "--to", "1", "--ether", "99999999"], "the node says:"),
        (["account", "mint", "5", "--to", "0xdeadbeef"], "0xdeadbeef: not an address"),
        (["vault", "deposit", "-5"], "amounts and numbers are not negative"),
        (["account", "new"], "give the account a name"),
        (["account", "new", "a", "-o", "b"], "not both"),
        (["account", "new", "a", "--from", "none.key"], "none.key: No such file or directory"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(offchain: Offchain, where: list[str], words: list[str], why: str) -> None:
    signer = [] if words[1] == "new" else ["--dev-account", "1", *where]
    code, _, err = offchain(*words, *signer)
    assert code in (2, 3) and why in err and err.startswith("error: ") and err.count("\n") == 1


def test_off_local_chains_plain_keys_are_warned_of_and_public_ones_refused(
    offchain: Offchain, where: list[str], deployment: Deployment, tmp_path: Path, w3: Web3
) -> None:
    Deployment.of(5, 0, deployment.addresses).write(tmp_path / "deployment.json")
    code, _, err = offchain("account", "new", "-o", tmp_path / "a.key")
    assert code == 0 and "the key is not encrypted" in err
    code, _, err = offchain("vault", "deposit", 1, "--key", tmp_path / "a.key", *where)
    warning, error = err.splitlines()
    assert warning.startswith(
        f"warning: {tmp_path / 'a.key'}: the key is not encrypted; `offchain account new NAME --from"
    )
    assert code == 3 and error.startswith("error: the deployment is on chain 5, not 1337; name its node with --rpc")
    code, _, err = offchain("vault", "deposit", 1, "--dev-account", 1, *where)
    assert (code, err.count("\n")) == (2, 1) and "everybody knows its key, and this is chain 5" in err
    code, _, err = offchain("account", "show", "1", *where)
    assert code == 3, "the chain is looked at first"


def test_a_password_is_asked_for_once_and_goes_with_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    made = create(accounts_folder(), "me", "sesame", iterations=1 << 10)
    parent, child = pty.openpty()
    asked: list[str] = []
    with os.fdopen(child) as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        monkeypatch.setattr("click.prompt", lambda text, **_: asked.append(text) or "sesame")
        connection = Connection("http://127.0.0.1:1", Path("x"), named(accounts_folder(), "me"), None)
        assert connection.account().address == made.address
        sent = pickle.loads(pickle.dumps(connection))  # as to the process of the defence
        assert sent.account().key == made.key
    os.close(parent)
    assert asked == ["Password of me"]


def test_a_missing_account_is_bad_input_only_where_one_signs(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no account"):
        Connection("http://127.0.0.1:1", tmp_path / "none.json", None, None).account()
