"""Finds the fastest engine for a product on a device by trying each once, and remembers it.

Choices are kept in the cache folder as JSON, an entry for each device name and set of library versions. A choice
changes speed, never a bit: every engine is exact, and one that differs from float64 in the trial is dropped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Final

import torch

from offchain.exec.cuda.engines import Engine, named
from offchain.native.cache import keep, kept

_RUNS: Final = 3
_SEED: Final = 0


class Tuner:
    """Chooses for one device. `measured` counts the products that it had to try."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.measured = device, 0
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        self.environment = f"engines of products: {name}, torch {torch.__version__}, CUDA {torch.version.cuda}"
        self._chosen = _chosen(self.environment)

    def choose(self, engines: Sequence[Engine]) -> Engine:
        """The fastest of the engines for one product; the first where the others cannot run."""
        key = _key(engines[0])
        known = named(engines, self._chosen.get(key, ""))
        if known is not None:
            return known
        best = self._fastest(engines) if len(engines) > 1 else engines[0]
        self._chosen[key] = best.name
        keep(self.environment, json.dumps(self._chosen, sort_keys=True).encode())
        return best

    def _fastest(self, engines: Sequence[Engine]) -> Engine:
        self.measured += 1
        first, *others = engines
        try:
            operands = trial_operands(first, self.device)
            truth, least = self._try(first, operands)
        except torch.OutOfMemoryError:
            return first
        best = first
        for engine in others:
            try:
                totals, seconds = self._try(engine, operands)
            except RuntimeError:  # the device has no such product, or no room for its parts
                continue
            if seconds < least and torch.equal(totals, truth):
                best, least = engine, seconds
        return best

    def _try(self, engine: Engine, operands: Sequence[torch.Tensor]) -> tuple[torch.Tensor, float]:
        """The totals, and the least time of a few runs, each with one pass over its parts as they will be read once."""
        packed = [packing.pack(q) for packing, q in zip(engine.packings, operands, strict=True)]
        totals = torch.empty(len(engine.weights) * engine.part, dtype=engine.total, device=self.device)
        times = []
        for _ in range(1 + _RUNS):
            self._wait()
            start = time.perf_counter()
            engine(totals, *packed)
            totals.amax()
            self._wait()
            times.append(time.perf_counter() - start)
        return engine.whole(totals), min(times[1:])

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def trial_operands(engine: Engine, device: torch.device) -> list[torch.Tensor]:
    """Integers (batch, rows, k) of the engine's bits, over their whole range."""
    product, limit = engine.product, (1 << (engine.bits - 1)) - 1
    generator = torch.Generator(device).manual_seed(_SEED)
    sizes = [(product.batch, side.rows, product.extent) for side in (product.first, product.second)]
    return [torch.randint(-limit, limit + 1, size, generator=generator, device=device) for size in sizes]


def _key(engine: Engine) -> str:
    product = engine.product
    layout = "".join("NT"[side.down] for side in (product.first, product.second))
    sizes = (product.batch, product.first.rows, product.second.rows, product.extent)
    return f"{'x'.join(map(str, sizes))} {layout} {engine.bits} bits"


def _chosen(environment: str) -> dict[str, str]:
    """The choices that were kept, or none."""
    entry = kept(environment)
    return {} if entry is None else dict(json.loads(entry))
