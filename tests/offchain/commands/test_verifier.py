"""`offchain verifier`: a key and a stake, from nothing to the last token."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from offchain.bls.signing import public_key
from offchain.chain.claims import budget
from offchain.chain.ganache import Ganache
from offchain.chain.signingkeys import load_signing_key
from offchain.market.view import VERIFIER
from tests.support import tasks
from tests.support.deployment import FREE, PARAMETERS, Funded
from tests.support.lots import grant
from tests.support.terminal import run
from tests.support.vouching import Ended, enter, vouch

Said = tuple[int, str, str]
Say = Callable[..., Said]


@pytest.fixture(scope="module")
def built(ganache: Ganache) -> Funded:
    return Funded.kept(ganache)


@pytest.fixture
def key(built: Funded, tmp_path: Path) -> Path:
    """The challenger's key file."""
    path = tmp_path / "worker.key"
    path.write_text(bytes(built.accounts["challenger"].key).hex())
    path.chmod(0o600)
    return path


@pytest.fixture
def say(
    built: Funded, key: Path, tmp_path: Path, snapshot: None, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Say:  # fmt: skip
    """`offchain verifier …` as the challenger."""
    file = tmp_path / "deployment.json"
    built.deployment.write(file)
    where = ["--rpc", built.url, "--deployment", str(file), "--key", str(key)]
    return lambda *words: run(capsys, monkeypatch, "verifier", *words, *where)


def test_a_verifier_from_nothing_to_the_last_token(built: Funded, say: Say, key: Path) -> None:
    built.quick("challenger").register(VERIFIER, "")
    code, out, _ = say("show", "--json")
    assert (code, json.loads(out)["key"], json.loads(out)["stake"]) == (0, "none", "0")
    code, out, _ = say("enroll")
    assert code == 0 and "enrolled" in out
    point = public_key(load_signing_key(key, {})).point
    code, out, _ = say("stake", "100")
    assert code == 0 and "stake: 100 of 100" in out
    code, out, _ = say("show", "--json")
    shown = json.loads(out)
    assert shown["key"] == f"0x{point.x:064x}{point.y:064x}" and int(shown["stake"]) == 100 * 10**18
    code, out, _ = say("unstake", "100")
    assert code == 0 and "100 can be freed" in out
    code, _, err = say("unstake")
    assert code == 3 and "NotReleased" in err and err.count("\n") == 1
    built.clock.travel(PARAMETERS.key_delay)
    code, out, _ = say("unstake")
    assert code == 0 and "freed 100" in out
    assert built.free("challenger") == FREE


def test_the_same_key_is_enrolled_again(built: Funded, say: Say, key: Path) -> None:
    built.quick("challenger").register(VERIFIER, "")
    assert say("enroll")[0] == 0
    secret = load_signing_key(key, {})
    assert say("enroll")[0] == 0
    assert load_signing_key(key, {}) == secret


def test_who_is_not_registered_is_told_so(say: Say) -> None:
    code, _, err = say("enroll")
    assert code == 3 and "NotAVerifier" in err and err.count("\n") == 1
    assert err.endswith("; `offchain worker --role verifier` enters it in the register; start it once before\n")


def test_claims_about_a_task_that_is_not_there(say: Say) -> None:
    assert say("claims", "99") == (3, "", "error: there is no task 99 here; `offchain task status` lists them\n")


def test_who_vouched_for_what(built: Funded, say: Say) -> None:
    """A claim that is not revealed: whoever settles it gives the requester its fees back."""
    enter(built, {"challenger": 5})
    state = Ended.of(0)
    task = tasks.train(built, roots=[state.root], audit_rate_bps=10_000, audit_fee=7)
    grant(built, task, 0, {"challenger": 2})
    vouch(built, "challenger", task, 0, state.shown)
    row = {"checkpoint": 0, "attempt": 0, "verifier": built.address("challenger"), "fees": 2}
    for words, fate in (((), "claimed"), (("--settle",), "claimed")):
        code, out, _ = say("claims", str(task), "--json", *words)
        assert (code, json.loads(out)) == (0, [row | {"fate": fate}])
    built.close_windows(task)
    left = budget(built.quick("requester"), task).left
    code, out, _ = say("claims", str(task), "--settle")
    assert code == 0 and "forfeited" in out
    assert budget(built.quick("requester"), task).left == left + 2
