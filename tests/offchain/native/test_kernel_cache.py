"""Machine code from disk: only from a folder that nobody else can write to, only what was kept under that very key."""

from __future__ import annotations

import ctypes
import errno
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offchain.exec.fused.elementwise import map_kernel
from offchain.exec.fused.executor import FusedExecutor
from offchain.exec.reference import ReferenceExecutor
from offchain.ir.graph import Input, Node, Source, View
from offchain.ir.kinds import Kind
from offchain.ir.primitives import DType, Instr, Op
from offchain.native import cache, jit
from offchain.native.cache import cache_folder, entry_path, keep, kept, make_room, trusted, write_whole
from offchain.native.jit import ENTRY, Compiler, compiler
from offchain.native.kernel import Care, NativeKernel, cares
from tests.support.strategies import over_state

F32 = DType.F32
ROWS = 5
WHOLE = View.contiguous((ROWS,))


def node(op: Op) -> Node:
    program = (Instr(Op.INPUT, 0), Instr(op, 0, 0))
    return Node(Kind.MAP, F32, (ROWS,), (Input(Source.STATE, 0, F32, ROWS, WHOLE),), program=program)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OFFCHAIN_KERNELS", str(tmp_path / "kernels"))
    cache._warn.cache_clear()
    return tmp_path / "kernels"


class Counting(Compiler):
    """Counts what it compiles."""

    def __init__(self) -> None:
        self.compiled: list[str] = []
        super().__init__()
        self.compiled.clear()  # of its own

    def _compile(self, text: str, care: Care = Care.MOST) -> bytes:
        self.compiled.append(text)
        return super()._compile(text, care)


def kernel(op: Op) -> NativeKernel:
    return map_kernel(node(op), WHOLE)


def entry(of: NativeKernel) -> Path:
    return entry_path(Compiler()._key(of))


def loaded(of: NativeKernel) -> int:
    """How often a fresh compiler has to compile it."""
    fresh = Counting()
    assert fresh.load([of])[of.name]
    return len(fresh.compiled)


def test_a_kernel_is_compiled_once(folder: Path) -> None:
    assert loaded(kernel(Op.ADD)) == 1
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in folder.iterdir()] == [entry(kernel(Op.ADD)).name]
    assert loaded(kernel(Op.ADD)) == 0
    assert loaded(kernel(Op.MUL)) == 1


def test_a_kernel_with_little_of_the_work_is_compiled_with_little_care() -> None:
    """Its bits are the same; and what was compiled with more care, for another task, is taken where it is kept."""
    least, most = kernel(Op.ADD), replace(kernel(Op.MUL), work=10**6)
    assert cares([least, most, most]) == {least.name: Care.LEAST, most.name: Care.MOST}
    assert cares([least, replace(most, work=10**4)])[least.name] is Care.LESS
    assert cares([least])[least.name] is Care.MOST
    x, found = np.float32([1.5, np.nan, np.inf, -0.0, 1e-45]), []
    for care in Care:
        made, step = np.zeros(ROWS, np.float32), np.zeros(1, np.int32)
        pointers = (ctypes.c_void_p * 3)(made.ctypes.data, x.ctypes.data, step.ctypes.data)
        fresh = Counting()
        ENTRY(fresh.load([least], cares={least.name: care})[least.name])(ctypes.addressof(pointers), 0, least.tasks)
        assert len(fresh.compiled) == 1
        found.append(made.tobytes())
    assert len(set(found)) == 1
    again = Counting()
    again.load([least], cares={least.name: Care.LEAST})
    assert not again.compiled


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[:-1], lambda raw: raw[:20], lambda raw: b"", lambda raw: b"x" + raw]
)
def test_a_cut_entry_is_built_again(damage: Callable[[bytes], bytes]) -> None:
    loaded(kernel(Op.ADD))
    path = entry(kernel(Op.ADD))
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert loaded(kernel(Op.ADD)) == 1
    assert path.read_bytes() == whole
    assert loaded(kernel(Op.ADD)) == 0


def test_a_changed_byte_is_noticed_wherever_it_is() -> None:
    loaded(kernel(Op.ADD))
    path = entry(kernel(Op.ADD))
    whole = path.read_bytes()
    for at in range(0, len(whole), len(whole) // 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert kept(Compiler()._key(kernel(Op.ADD))) is None


def test_a_sound_entry_under_another_name_is_not_taken() -> None:
    """As where a file system mixed up two files: other arithmetic under the name that was asked for."""
    for op in (Op.ADD, Op.MUL):
        loaded(kernel(op))
    entry(kernel(Op.ADD)).write_bytes(entry(kernel(Op.MUL)).read_bytes())
    assert loaded(kernel(Op.ADD)) == 1


@pytest.mark.parametrize("attribute", ["_version", "_cpu", "_features"])
def test_another_version_or_processor_compiles_its_own(attribute: str) -> None:
    loaded(kernel(Op.ADD))
    other = Counting()
    setattr(other, attribute, "another")
    other.load([kernel(Op.ADD)])
    assert len(other.compiled) == 1
    assert loaded(kernel(Op.ADD)) == 0


@pytest.mark.parametrize(("name", "other"), [("_PREAMBLE", "\ndeclare void @more()"), ("_PIPELINE", {"size_level": 1})])
def test_other_declarations_or_passes_compile_their_own(name: str, other: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded(kernel(Op.ADD))
    now = getattr(jit, name)
    monkeypatch.setattr(jit, name, now + other if isinstance(now, str) else now | other)
    assert loaded(kernel(Op.ADD)) == 1


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_a_folder_that_others_write_to_is_not_used(folder: Path, mode: int, caplog: pytest.LogCaptureFixture) -> None:
    loaded(kernel(Op.ADD))
    before = sorted(folder.iterdir())
    folder.chmod(mode)
    with caplog.at_level(logging.WARNING):
        assert loaded(kernel(Op.ADD)) == 1
        assert loaded(kernel(Op.MUL)) == 1
    assert sorted(folder.iterdir()) == before
    (warning,) = caplog.messages
    assert f"{folder} can be written to by others" in warning
    assert "\n" not in warning
    folder.chmod(0o755)
    assert loaded(kernel(Op.ADD)) == 0


def test_a_folder_of_another_user_is_not_used(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded(kernel(Op.ADD))
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    assert loaded(kernel(Op.ADD)) == 1
    assert [message for message in caplog.messages if "belongs to another user" in message] == caplog.messages != []


def test_a_link_is_judged_by_where_it_leads(folder: Path, tmp_path: Path) -> None:
    open_to_all = tmp_path / "shared"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    folder.symlink_to(open_to_all)
    assert not trusted(cache_folder())
    keep("key", b"code")
    assert not list(open_to_all.iterdir())


def test_a_folder_that_cannot_be_made_costs_only_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OFFCHAIN_KERNELS", str(tmp_path / "file" / "kernels"))
    assert loaded(kernel(Op.ADD)) == 1
    assert loaded(kernel(Op.ADD)) == 1


def test_an_executor_gives_the_same_bits_from_a_damaged_cache(folder: Path) -> None:
    case = over_state([node(Op.MUL)], [np.array([1.5, -2, np.inf, 0, 1e-30], np.float32)])
    truth = ReferenceExecutor(case.graph, (), ())
    want = next(iter(truth.outputs(truth.load(case.state), 0))).tobytes()
    for _ in range(2):
        compiler.cache_clear()  # as a new process
        fused = FusedExecutor(case.graph, (), ())
        assert next(iter(fused.outputs(fused.load(case.state), 0))).tobytes() == want
        for path in folder.iterdir():
            path.write_bytes(path.read_bytes()[:-9])
    compiler.cache_clear()


def test_threads_that_want_the_same_kernels_compile_them_once() -> None:
    fresh, kernels = Counting(), [kernel(op) for op in (Op.ADD, Op.SUB, Op.MUL, Op.DIV)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: dict(fresh.load(kernels)), range(4)))
    assert len(fresh.compiled) == len(kernels)
    assert all(addresses[of.name] == found[0][of.name] for addresses in found for of in kernels)


def test_the_entries_that_were_not_used_for_longest_make_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_BYTES", 64_000)
    entries = {n: bytes([n]) * 4_000 for n in range(1, 16)}
    for n, code in entries.items():
        keep(str(n), code)
        os.utime(entry_path(str(n)), (n, n))
    (folder / "notes.txt").write_text("x" * 99_000)  # not the cache's: neither counted nor removed
    assert kept("2") == entries[2]  # used just now
    make_room(folder)
    assert all(entry_path(str(n)).exists() for n in entries)  # 60 kB fit
    keep("more", b"x" * 9_000)
    make_room(folder)
    assert [n for n in entries if not entry_path(str(n)).exists()] == [1, 3, 4, 5, 6, 7]
    assert kept("more")
    assert 44_000 < sum(path.stat().st_size for path in folder.glob("*.o")) <= 64_000 * cache.ROOM == 48_000
    assert (folder / "notes.txt").exists()


def test_a_process_makes_room_as_it_keeps(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_FILES", 40)
    for n in range(3 * cache.EVERY):
        keep(str(n), b"code")
    assert len(list(folder.iterdir())) <= 40 + cache.EVERY


@pytest.mark.parametrize("failing", ["write_bytes", "replace"])
def test_what_cannot_be_written_leaves_nothing_behind(
    folder: Path, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the disk is full: a part is there, and the rest does not fit."""

    def full(path: Path, *given: Any) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, failing, full)
    keep("key", b"code")
    monkeypatch.undo()
    assert list(folder.iterdir()) == []


def test_threads_write_beside_each_other(folder: Path) -> None:
    folder.mkdir()
    contents = [bytes([n]) * 200_000 for n in range(8)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda content: write_whole(folder / "entry", content), contents * 20))
    assert (folder / "entry").read_bytes() in contents
    assert [path.name for path in folder.iterdir()] == ["entry"]
