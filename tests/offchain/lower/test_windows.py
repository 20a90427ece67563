"""Convolutions and pooling: gradients against float64 over all executors, and networks of them beside plain torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from offchain.errors import Unsupported
from offchain.ir.graph import Node, Source
from offchain.ir.kinds import Kind
from offchain.ir.primitives import Op
from offchain.lower import compile
from tests.support.draws import examples
from tests.support.gradients import assert_gradients, gradient_job, run
from tests.support.layers import LINE, PLANE, SPACE, Case, Fed, Shape, assert_layer, assert_trains_alike

CONVOLUTIONS: Mapping[str, Case] = {
    "plain": (lambda: nn.Conv2d(4, 6, 3), PLANE),
    "padded": (lambda: nn.Conv2d(4, 6, 3, padding=1, bias=False), PLANE),
    "stride": (lambda: nn.Conv2d(4, 3, 3, 2, 1), PLANE),
    "dilation": (lambda: nn.Conv2d(4, 3, 2, padding=1, dilation=2), PLANE),
    "groups": (lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2), PLANE),
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, 2, 1, groups=4), PLANE),
    "multiplier": (lambda: nn.Conv2d(4, 8, (3, 2), (1, 2), groups=4), PLANE),
    "same": (lambda: nn.Conv2d(4, 3, (4, 3), padding="same"), PLANE),
    "1x1": (lambda: nn.Conv2d(4, 6, 1), PLANE),
    "1x1-stride": (lambda: nn.Conv2d(4, 6, 1, 2), PLANE),
    "1x1-padded": (lambda: nn.Conv2d(4, 2, 1, 2, 1), PLANE),
    "patches": (lambda: nn.Conv2d(4, 6, 2, 2), PLANE),
    "gaps": (lambda: nn.Conv2d(4, 3, 2, 3), (2, 4, 6, 6)),
    "whole": (lambda: nn.Conv2d(4, 3, (4, 5)), PLANE),
    "wide-padding": (lambda: nn.Conv2d(4, 2, 2, padding=3), (1, 4, 3, 3)),
    "reflect": (lambda: nn.Conv2d(4, 3, 3, padding=1, padding_mode="reflect"), PLANE),
    "circular": (lambda: nn.Conv2d(4, 3, 3, padding=1, padding_mode="circular"), PLANE),
    "1d": (lambda: nn.Conv1d(3, 4, 3, 2, 2), LINE),
    "1d-depthwise": (lambda: nn.Conv1d(3, 3, 3, groups=3), LINE),
    "1d-same": (lambda: nn.Conv1d(3, 2, 4, padding="same", dilation=2), LINE),
    "3d": (lambda: nn.Conv3d(2, 3, 2, 2, 1), SPACE),
    "3d-depthwise": (lambda: nn.Conv3d(2, 2, 2, groups=2), SPACE),
    "transposed": (lambda: nn.ConvTranspose2d(4, 3, 3, 2, 1, 1), (2, 4, 3, 3)),
    "transposed-groups": (lambda: nn.ConvTranspose2d(4, 6, 3, 2, 1, groups=2, bias=False), (2, 4, 3, 3)),
    "transposed-tiles": (lambda: nn.ConvTranspose2d(4, 3, 2, 2), (2, 4, 3, 3)),
    "transposed-dilation": (lambda: nn.ConvTranspose2d(4, 2, 3, dilation=2), (2, 4, 2, 3)),
    "transposed-1d": (lambda: nn.ConvTranspose1d(3, 2, 4, 3, 1, 2), (2, 3, 5)),
    "transposed-3d": (lambda: nn.ConvTranspose3d(2, 2, 2, 2), (1, 2, 2, 2, 2)),
}

POOLS: Mapping[str, Case] = {
    "max": (lambda: nn.MaxPool2d(2), PLANE),
    "max-overlap": (lambda: nn.MaxPool2d(3, 2, 1), PLANE),
    "max-dilation": (lambda: nn.MaxPool2d((2, 3), 1, (1, 1), (2, 1)), PLANE),
    "max-ceil": (lambda: nn.MaxPool2d(2, ceil_mode=True), PLANE),
    "max-gaps": (lambda: nn.MaxPool2d(2, 3), PLANE),
    "max-1d": (lambda: nn.MaxPool1d(3, 2, 1), LINE),
    "max-3d": (lambda: nn.MaxPool3d(2), SPACE),
    "average": (lambda: nn.AvgPool2d(2), PLANE),
    "average-overlap": (lambda: nn.AvgPool2d(3, 2, 1), PLANE),
    "average-inside": (lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False), PLANE),
    "average-ceil": (lambda: nn.AvgPool2d(2, 2, 1, ceil_mode=True), PLANE),
    "average-divisor": (lambda: nn.AvgPool2d(2, 1, divisor_override=3), PLANE),
    "average-1d": (lambda: nn.AvgPool1d(3, 2, 1), LINE),
    "average-3d": (lambda: nn.AvgPool3d(2), SPACE),
    "adaptive": (lambda: nn.AdaptiveAvgPool2d((3, 4)), PLANE),
    "adaptive-divides": (lambda: nn.AdaptiveAvgPool2d((2, 5)), PLANE),
    "adaptive-global": (lambda: nn.AdaptiveAvgPool2d(1), PLANE),
    "adaptive-1d": (lambda: nn.AdaptiveAvgPool1d(3), LINE),
    "adaptive-3d": (lambda: nn.AdaptiveAvgPool3d(2), SPACE),
    "adaptive-max": (lambda: nn.AdaptiveMaxPool2d((3, 4)), PLANE),
    "adaptive-max-divides": (lambda: nn.AdaptiveMaxPool2d((2, 5)), PLANE),
    "adaptive-max-1d": (lambda: nn.AdaptiveMaxPool1d(3), LINE),
    "adaptive-max-3d": (lambda: nn.AdaptiveMaxPool3d(2), SPACE),
    "power": (lambda: nn.LPPool2d(2, 2), PLANE),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution(name: str) -> None:
    assert_layer(*CONVOLUTIONS[name])


@pytest.mark.parametrize("name", POOLS)
def test_pool(name: str) -> None:
    assert_layer(*POOLS[name])


SMALL = st.integers(1, 3)


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Callable[..., Tensor], dict[str, Any], Shape, Shape]:
    """A function of torch, its options, and the shapes of input and kernel."""
    n, transposed = draw(st.integers(1, 2)), draw(st.booleans())
    kernel, stride, dilation = (tuple(draw(SMALL) for _ in range(n)) for _ in range(3))
    padding = tuple(draw(st.integers(0, 2)) for _ in range(n))
    groups, inputs, outputs = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    spatial = tuple(draw(st.integers(1, 6)) for _ in range(n))
    options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    if transposed:
        most = [max(s, d) - 1 for s, d in zip(stride, dilation, strict=True)]
        options["output_padding"] = tuple(draw(st.integers(0, top)) for top in most)
    function = getattr(F, f"conv_transpose{n}d" if transposed else f"conv{n}d")
    weight = (groups * inputs, outputs, *kernel) if transposed else (groups * outputs, inputs, *kernel)
    return function, options, (draw(st.integers(1, 2)), groups * inputs, *spatial), weight


class Convolved(nn.Module):
    def __init__(self, function: Callable[..., Tensor], options: dict[str, Any], weight: Shape) -> None:
        super().__init__()
        self.function, self.options, self.weight = function, options, nn.Parameter(torch.randn(weight))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.weight, **self.options)


def runs(layer: nn.Module, shape: Shape) -> bool:
    """Whether torch takes this geometry, and no window lies in the padding alone."""
    try:
        made = layer(torch.zeros(shape))
    except RuntimeError:  # the kernel is larger than what it slides over
        return False
    return made.numel() > 0 and bool(made.isfinite().all())


@settings(max_examples=examples(10), deadline=None, suppress_health_check=list(HealthCheck))
@given(convolutions())
def test_any_convolution(drawn: tuple[Callable[..., Tensor], dict[str, Any], Shape, Shape]) -> None:
    function, options, shape, weight = drawn
    layer = Convolved(function, options, weight)
    assume(runs(layer, shape) and layer(torch.ones(shape)).any())  # windows in the padding alone train nothing
    assert_layer(lambda: Convolved(function, options, weight), shape, reference=False, bits=27)


@st.composite
def pools(draw: st.DrawFn) -> Case:
    kernel = draw(SMALL), draw(SMALL)
    stride = draw(SMALL), draw(SMALL)
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    shape = (draw(st.integers(1, 2)), 2, draw(st.integers(1, 6)), draw(st.integers(1, 6)))
    ceil = draw(st.booleans())
    if draw(st.booleans()):
        dilation = draw(st.integers(1, 2)), draw(st.integers(1, 2))
        return lambda: nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil), shape
    include = draw(st.booleans())
    return lambda: nn.AvgPool2d(kernel, stride, padding, ceil, include), shape


@settings(max_examples=examples(10), deadline=None, suppress_health_check=list(HealthCheck))
@given(pools())
def test_any_pool(case: Case) -> None:
    assume(runs(case[0](), case[1]))
    assert_layer(*case, reference=False)


def nodes_of(layer: nn.Module, shape: Shape) -> tuple[Node, ...]:
    """The nodes of a step in which a layer's input is the dataset, so that its gradient is not needed."""
    job = gradient_job(layer, lambda m, b: m(b["x"]).square().sum(), {"x": torch.randn(shape)})
    return compile(job).graph.nodes


def copied(nodes: tuple[Node, ...]) -> list[Node]:
    return [n for n in nodes if n.kind is Kind.MAP and [i.op for i in n.program] == [Op.INPUT]]


def test_a_convolution_takes_few_nodes() -> None:
    """Forward: padding, columns, product. Weight: the output's gradient, product."""
    nodes = nodes_of(nn.Conv2d(4, 6, 3, padding=1, bias=False), (2, 4, 8, 8))
    kinds = [n.kind for n in nodes]
    assert kinds.count(Kind.DOT) == 2 and kinds.count(Kind.SUM) == 1  # the loss
    columns = 2 * 8 * 8 * 4 * 9
    assert max(n.length for n in nodes) == columns
    assert len([n for n in nodes if n.length == columns]) == 1  # both products read the same copy


def test_a_1x1_convolution_is_read_in_place() -> None:
    nodes = nodes_of(nn.Conv2d(4, 6, 1), (2, 4, 8, 8))
    forward = next(n for n in nodes if n.kind is Kind.DOT)
    assert forward.inputs[0].source is not Source.NODE or nodes[forward.inputs[0].index].kind is Kind.GATHER
    assert max(n.length for n in nodes) == 2 * 6 * 8 * 8


def test_gradients_that_are_one_number() -> None:
    """The gradient of a plain sum is all ones, which needs no node."""
    for layer in (nn.Conv2d(2, 2, 2, padding=1), nn.Conv2d(2, 2, 2, 2), nn.MaxPool2d(2, 1), nn.AvgPool2d(3, 2, 1)):
        assert_gradients(Fed(layer, (1, 2, 4, 4)), lambda m, b: m().sum(), {"x": torch.ones(1)}, reference=False)


class Noting(nn.Module):
    """Stores a function's results for its rows in buffers, as floats."""

    def __init__(self, function: Callable[[Tensor], tuple[Tensor, ...]], x: Tensor) -> None:
        super().__init__()
        self.function, self.scale = function, nn.Parameter(torch.ones(()))
        for i, made in enumerate(function(x)):
            self.register_buffer(f"made{i}", torch.zeros(made.shape))

    def forward(self, x: Tensor) -> Tensor:
        made = self.function(x)
        for i, one in enumerate(made):
            getattr(self, f"made{i}").copy_(one.detach())
        return self.scale * 2


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: F.max_pool2d(x, 3, 2, 1, return_indices=True),
        lambda x: F.max_pool2d(x, 2, return_indices=True),
        lambda x: F.max_pool1d(x[0], 2, 1, 1, return_indices=True),
        lambda x: F.adaptive_max_pool2d(x, (2, 3), return_indices=True),
    ],
    ids=["overlap", "tiles", "1d", "adaptive"],
)
def test_maxima_and_their_first_places(pool: Callable[[Tensor], tuple[Tensor, ...]]) -> None:
    """Ties, infinities of either sign in whole windows, and a NaN."""
    x = torch.randint(-1, 2, (1, 2, 4, 5), generator=torch.Generator().manual_seed(0)).float()

    def spoiled(x: Tensor) -> tuple[Tensor, ...]:
        flat = torch.arange(40).reshape(x.shape)
        x = torch.where(flat % 20 < 7, float("-inf"), torch.where(flat == 13, float("inf"), x))
        return pool(torch.where(flat == 38, float("nan"), x))

    job = gradient_job(Noting(spoiled, x), lambda m, b: m(b["x"]), {"x": x})
    state = run(compile(job))
    for i, wanted in enumerate(spoiled(x)):
        np.testing.assert_array_equal(state[f"made{i}"], wanted.float().numpy())


class BasicBlock(nn.Module):
    """As in torchvision's ResNet-18."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.downsample(x)
        return self.relu(out)


class InvertedResidual(nn.Module):
    """As in torchvision's MobileNetV2."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand: int) -> None:
        super().__init__()
        self.skips, hidden = stride == 1 and inputs == outputs, inputs * expand
        self.conv = nn.Sequential(
            *self.layer(inputs, hidden, 1, 1, 1),
            *self.layer(hidden, hidden, 3, stride, hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def layer(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int) -> list[nn.Module]:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        return [conv, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True)]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.skips else self.conv(x)


BLOCKS: Mapping[str, Callable[[], list[nn.Module]]] = {
    "resnet": lambda: [nn.Conv2d(3, 4, 7, 2, 3, bias=False), nn.MaxPool2d(3, 2, 1), BasicBlock(4, 6, 2)],
    "mobilenet": lambda: [InvertedResidual(3, 6, 2, 3), InvertedResidual(6, 6, 1, 2)],
}


@pytest.mark.parametrize("name", BLOCKS)
def test_network_trains_like_torch(name: str) -> None:
    torch.manual_seed(0)
    blocks = BLOCKS[name]()
    model = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5))
    data = {"x": torch.randn(4, 3, 16, 16), "y": torch.arange(4)}
    assert_trains_alike(model, lambda m, b: F.cross_entropy(m(b["x"]), b["y"]), data, 1e-4)


@pytest.mark.parametrize(
    ("layer", "shape", "parts"),
    [
        (lambda: nn.Conv3d(4, 4, 2, groups=2), (1, 4, 3, 3, 3), ["convolution", "three axes", "groups=1"]),
        (lambda: nn.FractionalMaxPool2d(2, output_size=2), PLANE, ["fractional", "use MaxPool2d"]),
    ],
    ids=["3d-groups", "fractional"],
)
def test_refused(layer: Callable[[], nn.Module], shape: Shape, parts: list[str]) -> None:
    with pytest.raises(Unsupported) as refusal:
        compile(gradient_job(Fed(layer(), shape), lambda m, b: m().sum(), {"x": torch.ones(1)}))
    text = str(refusal.value)
    assert "\n" not in text and all(part in text for part in parts), text
