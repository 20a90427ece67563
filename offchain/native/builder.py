"""LLVM's language as text: functions with nested counting loops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

FAR: Final = 1 << 30  # LLVM's vectoriser keeps strides in 32 bits: it takes 2^32 + 1 for 1, and reads neighbours
Coords = Sequence["str | int"]


@dataclass
class LlvmBuilder:
    """A function under construction. Values are names or literals; methods that emit return the new name."""

    name: str
    parameters: Sequence[tuple[str, str]]  # LLVM type with attributes, name
    inner: bool = False  # called within its text alone, and compiled on its own
    entry: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    _names: int = 0
    _block: str = "start"

    @classmethod
    def kernel(cls, *kinds: str) -> tuple[LlvmBuilder, list[str]]:
        """The function NAME of a kernel, for tasks %first to below %end; its arguments, of these kinds of 64 bits."""
        f = cls("NAME", [("ptr", "%args"), ("i64", "%first"), ("i64", "%end")])
        return f, [f.load(kind, f.at("i64", "%args", n)) for n, kind in enumerate(kinds)]

    def fresh(self, stem: str = "v") -> str:
        self._names += 1
        return f"%{stem}{self._names}"

    def do(self, instruction: str) -> str:
        name = self.fresh()
        self.lines.append(f"  {name} = {instruction}")
        return name

    def call(self, function: str, pointers: Sequence[str], *words: str | int) -> None:
        """Calls a function that takes pointers, then 64-bit words."""
        given = [*(f"ptr {pointer}" for pointer in pointers), *(f"i64 {word}" for word in words)]
        self.lines.append(f"  call void @{function}({', '.join(given)})")

    def local(self, kind: str, count: int = 1) -> str:
        """Memory of the function's own, that the optimiser keeps in registers where it can."""
        name = self.fresh("m")
        self.entry.append(f"  {name} = alloca {kind}, i64 {count}, align 64")
        return name

    def hidden(self, n: int) -> str:
        """A number of 64 bits that the optimiser does not learn."""
        at, name = self.local("i64"), self.fresh()
        self.entry += [f"  store volatile i64 {n}, ptr {at}", f"  {name} = load volatile i64, ptr {at}"]
        return name

    def load(self, kind: str, address: str) -> str:
        return self.do(f"load {kind}, ptr {address}")

    def store(self, kind: str, value: str, address: str) -> None:
        self.lines.append(f"  store {kind} {value}, ptr {address}")

    def prefetch(self, address: str) -> None:
        """Have the first cache fetch what will be read there."""
        self.lines.append(f"  call void @llvm.prefetch.p0(ptr {address}, i32 0, i32 3, i32 1)")

    def at(self, kind: str, base: str, index: str | int) -> str:
        """Address of an element."""
        return self.do(f"getelementptr inbounds {kind}, ptr {base}, i64 {index}")

    @contextmanager
    def loop(self, low: str | int, high: str | int) -> Iterator[str]:
        """Counts an i64 from `low` to below `high`."""
        i, after, inside = self.fresh("i"), self.fresh("i"), self.fresh("c")
        head, body, latch, done = (self.fresh(stem)[1:] for stem in ("head", "body", "latch", "done"))
        came = self._block
        self.lines += [
            f"  br label %{head}",
            f"{head}:",
            f"  {i} = phi i64 [ {low}, %{came} ], [ {after}, %{latch} ]",
            f"  {inside} = icmp slt i64 {i}, {high}",
            f"  br i1 {inside}, label %{body}, label %{done}",
            f"{body}:",
        ]
        self._block = body
        yield i
        self.lines += [
            f"  br label %{latch}",
            f"{latch}:",
            f"  {after} = add nuw nsw i64 {i}, 1",
            f"  br label %{head}",
            f"{done}:",
        ]
        self._block = done

    # --- integers that address ------------------------------------------------------------------------------------

    def times(self, a: str | int, n: int) -> str | int:
        if isinstance(a, int):
            return a * n
        if n in (0, 1):
            return a if n else 0
        return self.do(f"mul nsw i64 {a}, {n if abs(n) < FAR else self.hidden(n)}")

    def plus(self, a: str | int, b: str | int) -> str | int:
        if isinstance(a, int) and isinstance(b, int):
            return a + b
        if 0 in (a, b):
            return b if a == 0 else a
        return self.do(f"add nsw i64 {a}, {b}")

    def flat(self, coords: Coords, strides: Sequence[int]) -> str | int:
        index: str | int = 0
        for x, stride in zip(coords, strides, strict=True):
            index = self.plus(index, self.times(x, stride))
        return index

    def split(self, index: str, shape: Sequence[int]) -> list[str | int]:
        """Row-major coordinates of a flat index below the shape's product."""
        coords: list[str | int] = []
        rest = index
        for d in range(len(shape) - 1, 0, -1):
            if shape[d] == 1:
                coords.append(0)
                continue
            coords.append(self.do(f"urem i64 {rest}, {shape[d]}"))
            rest = self.do(f"udiv i64 {rest}, {shape[d]}")
        if shape:
            coords.append(rest if shape[0] > 1 else 0)
        return coords[::-1]

    def narrow(self, a: str, kind: str) -> str:
        return a if kind == "i64" else self.do(f"trunc i64 {a} to {kind}")

    def least(self, a: str, b: str | int) -> str:
        less = self.do(f"icmp slt i64 {a}, {b}")
        return self.do(f"select i1 {less}, i64 {a}, i64 {b}")

    # --- text -----------------------------------------------------------------------------------------------------

    def __str__(self) -> str:
        parameters = ", ".join(f"{kind} {name}" for kind, name in self.parameters)
        define, attributes = ("define internal", "nounwind noinline") if self.inner else ("define", "nounwind")
        body = [f"{define} void @{self.name}({parameters}) {attributes} {{", "start:", *self.entry, *self.lines]
        return "\n".join([*body, "  ret void", "}", ""])
