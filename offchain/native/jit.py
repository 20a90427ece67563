"""Kernels as machine code: compiled for this processor, kept on disk, run by all threads.

A compiled kernel is kept (`cache`) under its text, the passes, LLVM's version and the processor. An entry of another
version or machine, or one that the disk damaged, is not used: the kernel is compiled again.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from threading import Lock, local
from types import MappingProxyType
from typing import Any, Final

import llvmlite.binding as llvm

from offchain.native.cache import keep, kept
from offchain.native.kernel import Care, NativeKernel

_DECLARATIONS: Final = "\n".join(
    f"declare {kind} @llvm.{name}({', '.join(arguments)})"
    for kind, name, arguments in [
        ("void", "prefetch.p0", ["ptr", "i32", "i32", "i32"]),
        ("float", "sqrt.f32", ["float"]),
        ("float", "fabs.f32", ["float"]),
        ("float", "roundeven.f32", ["float"]),
        ("double", "roundeven.f64", ["double"]),
        ("i32", "fptosi.sat.i32.f32", ["float"]),
        ("i32", "smax.i32", ["i32", "i32"]),
        ("i64", "smax.i64", ["i64", "i64"]),
        ("i64", "smin.i64", ["i64", "i64"]),
        ("i32", "smin.i32", ["i32", "i32"]),
        ("i32", "ctlz.i32", ["i32", "i1"]),
    ]
)
_BLAS: Final = "\n".join(
    f"declare void @{name}_{kind}gemm({', '.join(['ptr'] * 13)})" for name in ("torch", "numpy") for kind in "sd"
)
_PREAMBLE: Final = f"{_DECLARATIONS}\n{_BLAS}\n"  # of every kernel
# Switches of LLVM. Strides of 2 to 8 are not read as interleaved groups: that code keeps strides in 32 bits, and an
# assertion about its costs ends the process, for AVX-512 with x.flip(0, 1).sum(0) of shape (22, 4).
_SWITCHES: Final = ("-enable-interleaved-mem-accesses=false",)
_PIPELINE: Final[dict[str, Any]] = {"speed_level": 2, "loop_vectorization": True, "slp_vectorization": True}
_CHANGES: Final[dict[Care, dict[str, Any]]] = {  # to that pipeline, by how fast a kernel must be
    Care.LEAST: {"speed_level": 0, "loop_vectorization": False, "slp_vectorization": False, "loop_unrolling": False},
    Care.LESS: {"slp_vectorization": False, "loop_unrolling": False},
    Care.MOST: {},
}
ENTRY: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)  # a kernel's function
CALL_WORDS: Final = 5  # of a call: kernel, arguments, tasks, threads, tasks taken
SHARES: Final = 16  # of the tasks, for each thread: a thread that is delayed leaves its other shares to the rest
# Calls in order; the threads that torch's own OpenMP keeps take share by share of a call's tasks.
_THREADS: Final = """
declare i32 @omp_get_num_threads()
declare void @GOMP_parallel(ptr, ptr, i32, i32)
"""
_ALONE: Final = """
define i32 @omp_get_num_threads() { ret i32 1 }
define void @GOMP_parallel(ptr %member, ptr %call, i32 %threads, i32 %flags) {
  call void %member(ptr %call)
  ret void
}
"""
_TEAM: Final = f"""{_THREADS}
define internal void @member(ptr %call) {{
start:
  %n = call i32 @omp_get_num_threads()
  %threads = zext i32 %n to i64
  %f = load ptr, ptr %call
  %pa = getelementptr i64, ptr %call, i64 1
  %args = load ptr, ptr %pa
  %pt = getelementptr i64, ptr %call, i64 2
  %tasks = load i64, ptr %pt
  %taken = getelementptr i64, ptr %call, i64 4
  %shares = mul i64 %threads, {SHARES}
  %whole = add i64 %tasks, %shares
  %up = sub i64 %whole, 1
  %share = udiv i64 %up, %shares
  br label %head
head:
  %lo = atomicrmw add ptr %taken, i64 %share monotonic
  %more = icmp slt i64 %lo, %tasks
  br i1 %more, label %body, label %done
body:
  %end = add i64 %lo, %share
  %hi = call i64 @llvm.smin.i64(i64 %end, i64 %tasks)
  call void %f(ptr %args, i64 %lo, i64 %hi)
  br label %head
done:
  ret void
}}

define void @run(ptr %calls, i64 %count) {{
start:
  br label %head
head:
  %n = phi i64 [ 0, %start ], [ %after, %next ]
  %more = icmp slt i64 %n, %count
  br i1 %more, label %body, label %done
body:
  %at = mul i64 %n, {CALL_WORDS}
  %call = getelementptr i64, ptr %calls, i64 %at
  %pw = getelementptr i64, ptr %call, i64 3
  %wanted = load i64, ptr %pw
  %many = icmp sgt i64 %wanted, 1
  br i1 %many, label %team, label %alone
team:
  %threads = trunc i64 %wanted to i32
  %taken = getelementptr i64, ptr %call, i64 4
  store i64 0, ptr %taken
  call void @GOMP_parallel(ptr @member, ptr %call, i32 %threads, i32 0)
  br label %next
alone:
  %f = load ptr, ptr %call
  %pa = getelementptr i64, ptr %call, i64 1
  %args = load ptr, ptr %pa
  %pt = getelementptr i64, ptr %call, i64 2
  %tasks = load i64, ptr %pt
  call void %f(ptr %args, i64 0, i64 %tasks)
  br label %next
next:
  %after = add i64 %n, 1
  br label %head
done:
  ret void
}}
"""


def call(address: int, arguments: int, tasks: int, threads: int) -> list[int]:
    """The words of a call, for `Compiler.run`: addresses of kernel and arguments, its tasks, the threads for them."""
    return [address, arguments, tasks, threads, 0]


class Compiler:
    """Compiles and loads kernels; one for the whole process (`compiler`)."""

    def __init__(self) -> None:
        _prepare_llvm()
        self._cpu = llvm.get_host_cpu_name()
        self._features = llvm.get_host_cpu_features().flatten()
        self._machines = {care: target_machine(self._cpu, self._features, care) for care in Care}
        self._machine = self._machines[Care.MOST]
        self._version = ".".join(map(str, llvm.llvm_version_info))
        self._engines = {
            care: llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
            for care, machine in self._machines.items()
        }
        self._addresses: dict[tuple[str, Care], int] = {}
        self._lock = Lock()  # of engine and addresses: tasks are opened in threads
        self._openmp = _openmp()
        self._teams = local()
        self._run = self._runner()

    def load(
        self,
        kernels: Iterable[NativeKernel],
        done: Callable[[], None] = lambda: None,
        cares: Mapping[str, Care] = MappingProxyType({}),
    ) -> dict[str, int]:
        """Addresses by name, for kernels that are loaded, else kept on disk, else compiled. `done` after each.

        `cares` says by name how fast a kernel must be at least; the others as fast as can be.
        """
        addresses = {}
        for kernel in kernels:
            with self._lock:
                addresses[kernel.name] = self._address(kernel, cares.get(kernel.name, Care.MOST))
            done()
        return addresses

    def _address(self, kernel: NativeKernel, least: Care) -> int:
        """Of the fastest that is loaded, or kept, and fast enough."""
        enough = [care for care in reversed(Care) if care >= least]
        for care in enough:
            if (kernel.name, care) in self._addresses:
                return self._addresses[kernel.name, care]
        for care in enough:
            if (code := kept(self._key(kernel, care))) is not None:
                return self._add(kernel, care, code)
        code = self._compile(kernel.text, least)
        keep(self._key(kernel, least), code)
        return self._add(kernel, least, code)

    def run(self, calls: Any, count: int) -> None:
        """Runs calls in order; where torch's OpenMP was not found, in the calling thread alone."""
        self._teams.here = True
        self._run(calls, count)

    @property
    def cpu(self) -> str:
        """LLVM's name of this processor."""
        return str(self._cpu)

    @property
    def processor(self) -> str:
        """The same, and all that it can do."""
        return f"{self._cpu} {self._features}"

    def has_team(self) -> bool:
        """Whether this thread ran calls, and so has threads of OpenMP's."""
        return getattr(self._teams, "here", False)

    def threads(self) -> int:
        """The most threads that a call by this thread may have: as many as torch's operations have."""
        return int(self._openmp.omp_get_max_threads()) if self._openmp else processors()

    def _add(self, kernel: NativeKernel, care: Care, code: bytes) -> int:
        """A kernel's code has its name alone; two of one name would be one to the linker, so each has an engine."""
        found = self._link(kernel.name, code, care)
        self._addresses[kernel.name, care] = found
        return found

    def _link(self, name: str, code: bytes, care: Care = Care.MOST) -> int:
        engine = self._engines[care]
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()
        return int(engine.get_function_address(name))

    def _compile(self, text: str, care: Care = Care.MOST) -> bytes:
        return machine_code(text, self._machines[care], care)

    def _key(self, kernel: NativeKernel, care: Care = Care.MOST) -> str:
        """Everything that its machine code depends on."""
        target = (self._version, self._cpu, self._features, self._machine.triple)
        return "\n".join([*target, str(_PIPELINE | _CHANGES[care]), *_SWITCHES, _PREAMBLE, kernel.text])

    def _runner(self) -> Any:
        text = _TEAM if self._openmp else _ALONE.join(_TEAM.split(_THREADS))
        return ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(self._link("run", self._compile(text)))


@cache
def compiler() -> Compiler:
    return Compiler()


@cache
def _prepare_llvm() -> None:
    """Once for the whole process: LLVM refuses a switch that is given twice."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    for switch in _SWITCHES:
        llvm.set_option("offchain", switch)


def target_machine(cpu: str, features: str = "", care: Care = Care.MOST) -> Any:
    """LLVM's view of a processor of this machine's family, which need not be this one."""
    _prepare_llvm()
    level = 0 if care is Care.LEAST else 3
    return llvm.Target.from_default_triple().create_target_machine(cpu=cpu, features=features, opt=level, jit=True)


def machine_code(text: str, machine: Any, care: Care = Care.MOST) -> bytes:
    """The object file that a kernel's text becomes for a processor."""
    module = llvm.parse_assembly(_PREAMBLE + text)
    options = llvm.create_pipeline_tuning_options()
    for name, value in (_PIPELINE | _CHANGES[care]).items():
        setattr(options, name, value)
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    code: bytes = machine.emit_object(module)
    return code


def processors() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _openmp() -> ctypes.CDLL | None:
    """torch's OpenMP, made known to the kernels' linker; does not import torch, which takes a second."""
    spec = importlib.util.find_spec("torch")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted((Path(folder) / "lib").glob("libgomp*")):
            library = ctypes.CDLL(str(path))
            for name in ("GOMP_parallel", "omp_get_num_threads"):
                llvm.add_symbol(name, ctypes.cast(getattr(library, name), ctypes.c_void_p).value)
            return library
    return None
