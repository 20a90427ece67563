"""How the cost grows: step time with model size, batch and threads; disputes with the size of their subject."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from offchain.adjudicate import court
from offchain.bench import dispute
from offchain.bench.dispute import BASE, KINDS, Size
from offchain.bench.jobs import TINY, Shape, gpt
from offchain.bench.plain import ordinary_step
from offchain.bench.timing import Row, Settings, Stepping, Watch, unwatched
from offchain.lower import compile as lower
from offchain.native.jit import processors

PAIRS: Final = 5
DISPUTES: Final = 1
DISPUTE_BITS: Final = 21
SHORT: Final = Shape(length=64, batch=4)  # of the models that grow: 256 tokens a step
MODELS: Final = tuple(  # 0.1M to 30M parameters
    replace(SHORT, width=width, layers=layers)
    for width, layers in ((64, 2), (96, 3), (128, 4), (256, 4), (384, 6), (560, 8))
)
BATCHES: Final = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Point:
    """Measured at `x`; `values` by name, seconds as `ours_s` and `peer_s`."""

    series: str
    x: int
    values: Mapping[str, float]


Measure = Callable[[Settings, Watch], Iterator[Point]]


def points(piece: str, settings: Settings, watch: Watch = unwatched) -> Iterator[Point]:
    """One piece of `PIECES`, each of which takes minutes."""
    return PIECES[piece](settings, watch)


# --- steps -------------------------------------------------------------------------------------------------------


def _models(settings: Settings, watch: Watch) -> Iterator[Point]:
    for shape in (TINY, replace(TINY, width=32)) if settings.quick else MODELS:
        parameters = sum(parameter.numel() for parameter in gpt(shape).model.parameters())
        yield from _steps(shape, parameters, settings, watch)


def _batches(settings: Settings, watch: Watch) -> Iterator[Point]:
    for batch in BATCHES[:2] if settings.quick else BATCHES:
        yield from _steps(replace(TINY if settings.quick else Shape(), batch=batch), batch, settings, watch)


def _threads(settings: Settings, watch: Watch) -> Iterator[Point]:
    counts = [1 << i for i in range(processors().bit_length())]  # up to all of them, or half
    for count in counts:
        shape = TINY if settings.quick else Shape()
        yield from _steps(shape, count, replace(settings, threads=count), watch)


def _steps(shape: Shape, x: int, settings: Settings, watch: Watch) -> Iterator[Point]:
    """A step of that GPT beside plain torch's, at each precision."""
    for bits in settings.bits:
        job = replace(gpt(shape), bits=bits)
        what = f"{shape.layers} layers of {shape.width}, batch {shape.batch}, {bits} bits"
        watch(f"compiling {what}", 0, 1)
        task = lower(job)
        ours, peer = Stepping(task, settings.runs(task, watch)), ordinary_step(job, settings.device, fused=True)
        row = Row.of(what, bits, settings.measure(ours, peer, settings.pairs(PAIRS), watch, what))
        yield Point(f"{bits} bits", x, {"ours_s": row.ours, "peer_s": row.peer, "ratio": row.ratio, "n": row.n})


# --- disputes ----------------------------------------------------------------------------------------------------

SIZES: Final[dict[str, tuple[Size, ...]]] = {
    "steps": tuple(replace(BASE, steps=steps) for steps in (2, 16, 128, 1_024, 2_048)),
    "nodes": tuple(replace(BASE, layers=layers) for layers in (1, 4, 16, 64)),
    "elements": tuple(replace(BASE, width=width) for width in (16, 64, 256, 1_024, 2_048)),
}


def _disputes(what: str) -> Measure:
    def measure(settings: Settings, watch: Watch) -> Iterator[Point]:
        with court() as chain:
            for size in SIZES[what][:2] if settings.quick else SIZES[what]:
                for kind in KINDS:
                    once = replace(settings, n=settings.n or DISPUTES)
                    played = dispute.play(chain, size, DISPUTE_BITS, kind, once, watch)
                    x = {"steps": size.steps, "nodes": played.nodes, "elements": played.elements}[what]
                    yield Point(kind.name.lower(), x, played.figures)

    return measure


PIECES: Final[dict[str, Measure]] = {
    "model": _models,
    "batch": _batches,
    "threads": _threads,
    **{what: _disputes(what) for what in SIZES},
}
