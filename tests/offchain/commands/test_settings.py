"""One file of settings: where it is found, what wins over it, and that an error in it is one line with its place."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from offchain.commands.common import TOKENS, Connection, connection_options
from offchain.commands.run import run
from offchain.commands.settings import find
from offchain.errors import BadInput


@dataclass
class Said:
    """What reached the command."""

    connection: Connection
    options: dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that commands run in, below one of which nobody has settings."""
    for name in [name for name in os.environ if name.startswith("OFFCHAIN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    inner = tmp_path / "project" / "inner"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    return inner


def said(*words: str) -> Said:
    """What `offchain worker`, `worker drain`, `account history` or `task post` would be told; each has own options."""
    found: list[Said] = []
    root = commands(found)
    done = CliRunner().invoke(root, words, catch_exceptions=False, standalone_mode=False, auto_envvar_prefix="OFFCHAIN")
    assert done.exit_code == 0, done.output
    return found[-1]


def commands(found: list[Said]) -> click.Group:
    @click.group()
    def root() -> None: ...

    @root.group(invoke_without_command=True)
    @connection_options
    @click.option("--hourly", type=TOKENS, default="1")
    @click.option("--home", type=click.Path(path_type=Path))
    @click.option("--threads", type=click.IntRange(1))
    @click.option("--role", "roles", multiple=True)
    @click.option("--json-lines", is_flag=True)
    def worker(connection: Connection, **options: Any) -> None:
        found.append(Said(connection, options))

    @worker.command()
    @connection_options
    @click.option("--home", type=click.Path(path_type=Path))
    @click.option("--linger", type=click.FloatRange(0))
    def drain(connection: Connection, **options: Any) -> None:
        found.append(Said(connection, options))

    root.add_command(account := click.Group("account"))

    @account.command()
    @connection_options
    @click.option("--task", type=int)
    def history(connection: Connection, **options: Any) -> None:
        found.append(Said(connection, options))

    @root.group()
    def task() -> None: ...

    @task.command()
    @connection_options
    @click.option("--max-price", type=TOKENS)
    def post(connection: Connection, **options: Any) -> None:
        found.append(Said(connection, options))

    @root.command()
    def demo() -> None: ...

    return root


FILE = """
rpc = "http://10.0.0.1:8545"
deployment = "public.json"
key = "keys/me.key"

[worker]
hourly = 0.1
home = "~/worker"
threads = 3
role = ["solver", "verifier"]
json-lines = true

[task.post]
max-price = "2.5"

[profile.test]
rpc = "http://10.0.0.2:8545"
dev-account = 4
worker.hourly = 7
"""


def test_settings_are_the_defaults_of_the_commands_that_they_name(folder: Path) -> None:
    (folder / "offchain.toml").write_text(FILE)
    worker, post = said("worker"), said("task", "post")
    assert worker.connection.url == "http://10.0.0.1:8545"
    assert worker.connection.deployment_file == folder / "public.json"
    assert worker.connection.key_file == folder / "keys/me.key"
    home = Path.home() / "worker"
    assert worker.options == {
        "hourly": 10**17,
        "home": home,
        "threads": 3,
        "roles": ("solver", "verifier"),
        "json_lines": True,
    }
    assert post.options == {"max_price": 25 * 10**17}
    assert post.connection == worker.connection


def test_a_command_below_another_takes_what_that_one_has_too(folder: Path) -> None:
    (folder / "offchain.toml").write_text(FILE + "\n[worker.drain]\nlinger = 5\n")
    drain = said("worker", "drain")
    assert drain.options == {"home": Path.home() / "worker", "linger": 5.0}
    assert drain.connection == said("worker").connection
    (folder / "offchain.toml").write_text("[worker]\nhome = 'a'\n[worker.drain]\nhome = 'b'\n")
    assert said("worker", "drain").options["home"] == folder / "b"
    (folder / "offchain.toml").write_text("[worker.dry]\nlinger = 5\n")
    with pytest.raises(BadInput, match="dry: no such setting; there are: "):
        said("worker")


def test_the_file_is_looked_for_upward_and_then_in_the_users_configuration(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(place: Path, rpc: str) -> Path:
        place.mkdir(parents=True, exist_ok=True)
        (place / "offchain.toml").write_text(f'rpc = "{rpc}"\ndeployment = "d.json"')
        return place

    assert find() is None
    assert said("worker").connection.url == "http://127.0.0.1:8545"
    write(folder.parents[1] / "config" / "offchain", "http://of-the-user")
    assert said("worker").connection.url == "http://of-the-user"
    above = write(folder.parent, "http://above")
    connection = said("worker").connection
    assert (connection.url, connection.deployment_file) == ("http://above", above / "d.json")
    write(folder, "http://here")
    assert said("worker").connection.url == "http://here"
    monkeypatch.setenv("OFFCHAIN_SETTINGS", str(above / "offchain.toml"))
    assert said("worker").connection.url == "http://above"
    monkeypatch.setenv("OFFCHAIN_SETTINGS", "")
    assert said("worker").connection.url == "http://127.0.0.1:8545"


def test_variables_win_over_settings_and_flags_over_both(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "offchain.toml").write_text(FILE)
    monkeypatch.setenv("OFFCHAIN_RPC", "http://variable")
    monkeypatch.setenv("OFFCHAIN_WORKER_HOURLY", "5")
    monkeypatch.setenv("OFFCHAIN_DEV_ACCOUNT", "2")
    heard = said("worker")
    assert (heard.connection.url, heard.options["hourly"]) == ("http://variable", 5 * 10**18)
    assert (heard.connection.key_file, heard.connection.dev_account) == (None, 2)
    heard = said("worker", "--rpc", "http://flag", "--hourly", "6", "--key", "other.key")
    assert (heard.connection.url, heard.options["hourly"]) == ("http://flag", 6 * 10**18)
    assert (heard.connection.key_file, heard.connection.dev_account) == (Path("other.key"), None)


def test_a_profile_wins_over_the_rest_of_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "offchain.toml").write_text(FILE)
    heard = said("worker", "--profile", "test")
    assert (heard.connection.url, heard.options["hourly"]) == ("http://10.0.0.2:8545", 7 * 10**18)
    assert (heard.connection.key_file, heard.connection.dev_account) == (None, 4)
    assert (heard.connection.deployment_file, heard.options["threads"]) == (folder / "public.json", 3)
    monkeypatch.setenv("OFFCHAIN_PROFILE", "test")
    assert said("task", "post").connection.dev_account == 4
    with pytest.raises(BadInput, match=r"no profile 'tset'; there are: test"):
        said("worker", "--profile", "tset")
    monkeypatch.setenv("OFFCHAIN_SETTINGS", "")
    with pytest.raises(BadInput, match=r"there is no offchain.toml"):
        said("worker")


def test_the_account_that_signs_has_the_name_of_a_command(folder: Path, tmp_path: Path) -> None:
    """Found by `offchain account show`, which took the setting for the command's table."""
    named = tmp_path / "config" / "offchain" / "accounts" / "me.json"
    named.parent.mkdir(parents=True)
    named.write_text("{}")
    (folder / "offchain.toml").write_text('account = "me"\n[profile.b]\naccount.history.task = 5\n')
    assert said("account", "history").connection.key_file == named
    assert said("worker").connection.key_file == named
    assert said("account", "history", "--profile", "b").options == {"task": 5}
    (folder / "offchain.toml").write_text('key = "me.key"\n[account.history]\ntask = 6\n')
    assert said("account", "history").options == {"task": 6}
    assert said("worker").connection.key_file == folder / "me.key"
    (folder / "offchain.toml").write_text("[account.history]\ntsak = 6\n")
    with pytest.raises(BadInput, match="tsak: no such setting; did you mean task"):
        said("account", "history")


def test_a_file_that_is_nested_too_deeply_or_no_text(folder: Path) -> None:
    (folder / "offchain.toml").write_text("x = " + "[" * 100_000)
    with pytest.raises(BadInput, match=r"offchain\.toml: its brackets are nested too deeply"):
        said("worker")
    (folder / "offchain.toml").write_bytes(b'rpc = "\xff"')
    with pytest.raises(BadInput, match=r"offchain\.toml: no text in UTF-8 \(byte 7\)"):
        said("worker")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('rcp = "x"', "rcp: neither a setting nor a command's table; did you mean rpc?"),
        ("rpc = 5", "rpc: must be a string in quotes"),
        ("rpc = [1]", "rpc: must be one value, not a list"),
        ("worker = 3", "worker: must be a table, as [worker]"),
        ("dev-account = true", "dev-account: must be a whole number"),
        ('key = "me.key"\naccount = "me"', "key and account name two accounts; keep one"),
        ("[wroker]", "wroker: neither a setting nor a command's table; did you mean worker?"),
        ("[demo]", "demo: `offchain demo` takes no settings"),
        ("[worker]\nhuorly = 1", "huorly: no such setting; did you mean hourly?"),
        ("[worker]\nhourly = -1", "hourly: '-1' is not an amount of tokens, such as 12.5"),
        ("[worker]\nhourly = true", "hourly: must be an amount"),
        ("[worker]\nthreads = 0", "threads: 0 is not in the range x>=1."),
        ("[worker]\nthreads = 1.5", "threads: must be a whole number"),
        ('[worker]\nrole = "solver"', "role: must be a list"),
        ("[worker]\njson-lines = 1", "json-lines: must be true or false"),
        ("[worker]\nprofile = 'x'", "profile: no such setting"),
    ],
)
def test_what_is_wrong_with_a_setting_is_one_line_with_its_place(folder: Path, line: str, why: str) -> None:
    file = folder / "offchain.toml"
    file.write_text(f'deployment = "d.json"\n{line}\n')
    with pytest.raises(BadInput) as caught:
        said("worker")
    number = 1 + len(line.splitlines())
    assert str(caught.value).startswith(f"{file}:{number}: {why}")
    assert "\n" not in str(caught.value)


def test_a_run_takes_its_device_and_threads_from_the_file(folder: Path) -> None:
    (folder / "offchain.toml").write_text('[run]\nthreads = 2\ndevice = "cuda:1"\n[profile.one]\nrun.threads = 1\n')

    def asked(*words: str) -> dict[str, Any]:
        with run.make_context("run", ["x.task", *words], click.Context(root, info_name="offchain")) as context:
            return context.params

    root = click.Group(commands={"run": run})
    assert (asked()["threads"], asked()["device"], asked("--threads", "3")["threads"]) == (2, "cuda:1", 3)
    assert (asked("--profile", "one")["threads"], asked()["steps"]) == (1, None)
    (folder / "offchain.toml").write_text("[run]\nthreads = 0\n")
    with pytest.raises(BadInput, match=r"offchain\.toml:2: threads: 0 is not in the range"):
        asked()


def test_what_is_not_toml_or_not_there_or_anybodys_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder / "offchain.toml"
    file.write_text('rpc = "x"\nkey = \n')
    with pytest.raises(BadInput, match=r"offchain.toml: Invalid value \(at line 2, column 7\)"):
        said("worker")
    file.write_text("")
    file.chmod(0o666)
    with pytest.raises(BadInput, match="another user may have written it"):
        said("worker")
    monkeypatch.setenv("OFFCHAIN_SETTINGS", str(folder / "none.toml"))
    with pytest.raises(BadInput, match=r"none.toml: No such file"):
        said("worker")


def test_two_identities_are_an_error_and_a_stronger_one_is_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="--key and --dev-account name two accounts; give one"):
        said("worker", "--key", "a", "--dev-account", "1")
    with pytest.raises(BadInput, match="--account and --dev-account name two"):
        said("worker", "--account", "a", "--dev-account", "1")
    monkeypatch.setenv("OFFCHAIN_KEY", "1" * 64)
    monkeypatch.setenv("OFFCHAIN_ACCOUNT", "me")
    with pytest.raises(BadInput, match="OFFCHAIN_ACCOUNT and OFFCHAIN_KEY name two accounts; give one"):
        said("worker")
    connection = said("worker", "--dev-account", "1").connection
    assert (connection.key_file, connection.dev_account) == (None, 1)
    monkeypatch.delenv("OFFCHAIN_ACCOUNT")
    (folder / "offchain.toml").write_text('key = "me.key"')
    assert said("worker").connection.key_file is None, "OFFCHAIN_KEY wins over settings"
