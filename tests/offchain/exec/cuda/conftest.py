"""Triton's interpreter where there is no GPU, and folders of kernels for each module of tests."""

from __future__ import annotations

import os
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.offchain.exec.cuda.interpreter import INTERPRETED


@pytest.fixture(autouse=True, scope="module")
def interpreter() -> object:
    with patch.dict(os.environ, INTERPRETED):
        yield


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    with patch.dict(os.environ, OFFCHAIN_KERNELS=str(tmp_path_factory.mktemp("kernels"))):
        yield


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OFFCHAIN_KERNELS", str(tmp_path))
    return tmp_path
