"""`offchain task follow -o`: what steps output is in the file as it comes, whoever stops the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from offchain.store.serve import BlobServer
from offchain.store.taskfile import save_task
from offchain.worker.names import task_name
from tests.offchain.commands.conftest import Counter
from tests.offchain.commands.test_generate import committed
from tests.support.generated import Spoken
from tests.support.terminal import run


@pytest.mark.parametrize("at_hand", [True, False])
def test_ctrl_c_keeps_what_came(
    counter: Counter,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    at_hand: bool,
) -> None:
    spoken, kept, looks = Spoken(tmp_path / "solver"), counter.file("text.safetensors"), iter([None, None])

    def stop(seconds: float) -> None:
        if next(looks, 0) == 0:
            raise KeyboardInterrupt

    with BlobServer(spoken.blobs.folder, "127.0.0.1", 0) as server:
        uri = f"{server.url}/{'0' * 64}.task"
        number = committed(counter, spoken, server.url, 1, uri=uri)
        terms = counter.quick("requester").terms(number)
        spoken.blobs.publish(task_name(terms), lambda path: save_task(spoken.task, path))
        monkeypatch.setattr("offchain.worker.posting.time.sleep", stop)
        more = ["--serve", str(counter.file("a.task")), "--listen", "127.0.0.1:0"] if at_hand else []
        words = ["task", "follow", str(number), "-o", str(kept), "--json", *more, *counter.options]
        code, out, err = run(capsys, monkeypatch, *words)
    events = [json.loads(line) for line in out.splitlines()]
    assert code == 130 and any(event["event"] == "Outputs" for event in events)
    assert f"what its first 5 steps have output is in {kept}\n" in err and err.endswith("stopped\n")
    np.testing.assert_array_equal(load_file(kept)["token"], spoken.tokens[:5])
