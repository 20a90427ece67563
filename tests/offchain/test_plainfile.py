"""Whatever file a command is told to read: what has no end, or waits, is refused at once in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from offchain.chain.deployment import CONTRACTS, Deployment
from offchain.plainfile import open_plain, read_plain

KINDS = ("zero", "pipe", "large")


@pytest.fixture(params=KINDS)
def endless(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A device without an end, a pipe that nobody writes to, a file of 10 GB that takes no room."""
    if request.param == "zero":
        return Path("/dev/zero")
    path = tmp_path / request.param
    if request.param == "pipe":
        os.mkfifo(path, 0o600)
    else:
        path.touch(0o600)
        os.truncate(path, 10_000_000_000)
    return path


def test_a_file_is_read_up_to_its_bound(tmp_path: Path, endless: Path) -> None:
    path = tmp_path / "small"
    path.write_bytes(b"12345")
    assert read_plain(path, 5) == b"12345" == open_plain(path).read()
    with pytest.raises(OSError, match="larger than 4 bytes"):
        read_plain(path, 4)
    with pytest.raises(OSError, match=r"not a plain file|larger than 5 bytes"):
        read_plain(endless, 5)
    with pytest.raises(IsADirectoryError):
        open_plain(tmp_path)


HERE = ["--rpc", "http://127.0.0.1:9"]
READERS: dict[str, Callable[[str], list[str]]] = {
    "deployment": lambda file: ["status", *HERE, "--dev-account", "1", "--deployment", file],
    "key": lambda file: ["account", "deregister", *HERE, "--key", file],
    "key of a reader": lambda file: ["status", *HERE, "--key", file],
    "password": lambda file: ["account", "new", "me", "--password-file", file],
    "key that is copied": lambda file: ["account", "new", "me", "--from", file],
    "task": lambda file: ["task", "inspect", file],
    "job": lambda file: ["task", "build", file, "-o", "a.task"],
    "certificate": lambda file: ["certificate", "verify", file],
    "settings": lambda file: ["status", *HERE],
}
RUN = """
import contextlib, io, json, os, resource, sys
from offchain import cli

resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
commands, file = json.loads(sys.argv[1]), sys.argv[2]
for what, words in commands.items():
    os.environ["OFFCHAIN_SETTINGS"] = file if what == "settings" else ""
    sys.argv[1:] = words
    with contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            cli.main()
        except SystemExit as leave:
            print(json.dumps([what, leave.code, said.getvalue()]))
"""


def test_no_command_reads_for_ever(endless: Path, tmp_path: Path) -> None:
    """In a process with 8 GB of addresses, which is ended where it waits."""
    Deployment.of(1337, 0, dict.fromkeys(CONTRACTS, "0x" + "aa" * 20)).write(tmp_path / "deployment.json")
    words = json.dumps({what: words(str(endless)) for what, words in READERS.items()})
    environment = os.environ | {"HOME": str(tmp_path), "OFFCHAIN_KEY_PASSWORD": "of no key"}
    command = [sys.executable, "-c", RUN, words, str(endless)]
    done = subprocess.run(command, stdout=-1, text=True, timeout=60, env=environment, cwd=tmp_path, check=True)
    found = {what: (code, said) for what, code, said in map(json.loads, done.stdout.splitlines())}
    assert list(found) == list(READERS)
    for what, (code, said) in found.items():
        assert code in (1, 2) and said.startswith(f"error: {endless}") and said.count("\n") == 1, (what, code, said)
        kind = ("larger than", "not a key file", "needs 10 GB to be read: not enough memory")
        plain = ("not a plain file", "not a key file")
        assert any(words in said for words in (kind if endless.name == "large" else plain)), (what, said)
