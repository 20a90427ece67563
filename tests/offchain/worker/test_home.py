"""A worker's folder belongs to one process at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from offchain.errors import BadInput
from offchain.worker.home import HomeInUse, locked

HOLD = "import sys, time; from pathlib import Path; from offchain.worker.home import locked\n"
HOLD += "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


def test_second_worker_is_told_who_is_there(tmp_path: Path) -> None:
    home = tmp_path / "worker"
    with subprocess.Popen([sys.executable, "-c", HOLD, home], stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline() == b"held\n"
        with pytest.raises(HomeInUse, match=f"{home} is in use by worker process {other.pid}; stop it"), locked(home):
            pass
        other.send_signal(signal.SIGKILL)
        other.wait()
        with locked(home):  # a process that was killed holds nothing
            assert (home / "lock").read_text() == str(os.getpid())


def test_lock_ends_with_its_block(tmp_path: Path) -> None:
    for _ in range(2):
        with locked(tmp_path), pytest.raises(HomeInUse), locked(tmp_path):
            pass


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="file"), locked(tmp_path / "file"):
        pass
