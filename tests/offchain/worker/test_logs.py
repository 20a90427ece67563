"""The log: in bounds, as JSON without wei, and never the end of a worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from offchain.errors import BadInput
from offchain.worker.alarms import Lost
from offchain.worker.display import LogFile, configure_logging, write_line
from offchain.worker.events import InFlight


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def test_a_log_file_is_renamed_when_it_is_full(tmp_path: Path) -> None:
    file = tmp_path / "logs" / "worker.log"
    configure_logging(json_lines=True, file=LogFile(file, 1_000, 2))
    for task in range(40):
        write_line(structlog.get_logger(), Lost(task, "bid", "the bond of a bid burned", 10**18))
    names = sorted(path.name for path in file.parent.iterdir())
    assert names == ["worker.log", "worker.log.1", "worker.log.2"]
    assert all(path.stat().st_size <= 1_000 for path in file.parent.iterdir())
    last = json.loads(file.read_text().splitlines()[-1])
    assert (last["event"], last["task"], last["amount"], last["level"]) == ("lost", 39, "1", "error")


def test_json_has_amounts_as_numbers_in_strings_and_no_wei(tmp_path: Path) -> None:
    file = tmp_path / "worker.log"
    configure_logging(json_lines=True, file=LogFile(file, 10**6, 1))
    write_line(structlog.get_logger(), Lost(1, "conviction", "so", 1_234_500 * 10**18 + 1))
    write_line(structlog.get_logger(), InFlight("log.commit", 5, 3_000_000_000, 30.0, "replaced"))
    lost, flight = (json.loads(line) for line in file.read_text().splitlines())
    assert lost["amount"] == "1234500.000000000000000001"
    assert flight["fee"] == "3 gwei"


def test_a_full_disk_is_told_once_and_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(file=LogFile(Path("/dev/full"), 0, 0))
    for task in range(3):
        write_line(structlog.get_logger(), Lost(task, "bid", "so", 10**18))
    said = capsys.readouterr().err
    assert said.count("the log cannot be written") == 1 and "No space left" in said


def test_a_log_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"worker\.log: .*; name another --log-file"):
        configure_logging(file=LogFile(tmp_path / "file" / "worker.log", 100, 1))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadInput, match="a pipe; name another --log-file"):  # it would wait for a reader
        configure_logging(file=LogFile(tmp_path / "pipe", 100, 1))


SHOUT = """
import structlog
from threading import Thread
from offchain.worker.alarms import Lost
from offchain.worker.display import configure_logging, write_line

configure_logging(json_lines=True)
log = structlog.get_logger()
each = [Thread(target=lambda: [write_line(log, Lost(1, "bid", "so", 1)) for _ in range(300)]) for _ in range(4)]
for thread in each:
    thread.start()
"""


def test_lines_of_several_threads_and_processes_stay_lines(tmp_path: Path) -> None:
    file = tmp_path / "log"
    with file.open("w", encoding="utf-8") as log:
        both = [subprocess.Popen([sys.executable, "-c", SHOUT], stderr=log) for _ in range(2)]
        assert [process.wait() for process in both] == [0, 0]
    lines = file.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["lost"] * 2_400
