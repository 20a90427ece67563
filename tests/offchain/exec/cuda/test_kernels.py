"""Sources of generated kernels, and what the compiler makes of them."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.offchain.exec.cuda.compared import (
    MARKS,
    assert_same,
    executor,
    one_node,
)

pytestmark = MARKS
ROOT = Path(__file__).parents[4]


def test_source_lies_in_the_cache_folder_and_is_put_right(empty_cache: Path) -> None:
    from offchain.exec.cuda import kernel

    kernel._functions.cache_clear()
    assert_same(one_node(), "int8")
    sources = sorted(empty_cache.glob("*.py"))
    texts = [source.read_text() for source in sources]
    assert texts and all("@triton.jit" in text for text in texts)
    sources[0].write_text("raise SystemExit")
    kernel._functions.cache_clear()
    assert_same(one_node(), "int8")
    assert [source.read_text() for source in sources] == texts


def test_no_garbage_is_collected_while_threads_parse_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    from offchain.exec.cuda.kernel import TritonKernel

    right, collects = TritonKernel.prepare, []

    def prepared(self: TritonKernel) -> object:
        collects.append(gc.isenabled())
        return right(self)

    monkeypatch.setattr(TritonKernel, "prepare", prepared)
    assert gc.isenabled()
    executor(one_node())
    assert collects and not any(collects)
    assert gc.isenabled()


@pytest.fixture(scope="module")
def instructions(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every PTX instruction of the self-check's kernels, by a process in which nothing is interpreted."""
    settings_ = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    settings_["TRITON_CACHE_DIR"] = str(tmp_path_factory.mktemp("triton"))
    command = [sys.executable, "-W", "error", "-m", "tests.support.ptx"]
    done = subprocess.run(command, cwd=ROOT, env=settings_, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.slow
def test_compiled_kernels_round_correctly_and_keep_subnormals(instructions: set[str]) -> None:
    from tests.support.ptx import FORBIDDEN

    assert {"div.rn.f32", "sqrt.rn.f32", "mul.rn.f32", "add.rn.f32", "mul.rn.f64"} <= instructions
    assert [text for text in sorted(instructions) if FORBIDDEN.search(text)] == []
