"""The published networks: that they are what their papers say, and that what is faster is the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ecg_image_kit import UsageError, open_source
from synth.arrange import ADAPTED, ARRANGEMENTS, FULL, Beats, arrangement, r_peaks
from synth.condition import LEADS8

SOURCE = open_source("samples")
REAL = [SOURCE.load(name).select(LEADS8).mv for name in SOURCE.names()]


# Arrangements


@pytest.mark.parametrize("name", ARRANGEMENTS)
def test_arrangements_lose_nothing(name: str) -> None:
    for mv in REAL:
        layout = arrangement(name, limit=FULL)
        image = layout.encode(mv)
        assert image.shape == layout.shape and image.dtype == np.float32 and np.abs(image).max() <= 1
        np.testing.assert_allclose(layout.decode(image), mv, atol=1e-6)
    noise = np.random.default_rng(0).normal(0, 0.5, (8, 5000)).astype(np.float32)  # nothing that looks like beats
    np.testing.assert_allclose(layout.decode(layout.encode(noise)), noise, atol=1e-5)


@pytest.mark.parametrize("name", ARRANGEMENTS)
@pytest.mark.parametrize(
    ("leads", "samples", "fs"), [(8, 2500, 500.0), (12, 1000, 100.0), (1, 777, 250.0), (3, 1009, 99)]
)
def test_any_length_and_number_of_leads(name: str, leads: int, samples: int, fs: float) -> None:
    mv = np.random.default_rng(1).normal(0, 0.3, (leads, samples)).astype(np.float32)
    layout = arrangement(name, leads, samples, fs)
    np.testing.assert_allclose(layout.decode(layout.encode(mv)), np.clip(mv, -ADAPTED, ADAPTED), atol=1e-6)


def test_eight_leads_of_ten_seconds_are_a_square() -> None:
    assert arrangement("fold").shape == (1, 200, 200)
    image = arrangement("fold", limit=FULL).encode(REAL[0])
    np.testing.assert_allclose(image[0, 25:50].ravel() * FULL, REAL[0][1], atol=1e-6)  # lead II is rows 25 to 49
    planes = arrangement("planes", limit=FULL)
    assert planes.shape == (3, 120, 125)
    np.testing.assert_allclose(planes.encode(REAL[0])[1].ravel()[:5000] * FULL, REAL[0][3], atol=1e-6)  # V2 is green
    pixels = arrangement("concatenated", limit=FULL).encode(REAL[0])[:, 0, 0] * FULL
    np.testing.assert_allclose(pixels, REAL[0][0][:3], atol=1e-6)  # a pixel's three colours follow each other


def test_beats_are_below_each_other() -> None:
    mv = REAL[0]
    peaks = r_peaks(mv, 500.0)
    layout = Beats(limit=FULL)
    image = layout.encode(mv)
    rows = [row for row in range(layout.shape[1]) if (image[-1, row] > 0).any()]
    assert len(rows) == len(peaks) >= 8
    column = round(0.4 * layout.shape[2])
    for row, peak in list(zip(rows, peaks, strict=True))[1:-1]:
        np.testing.assert_allclose(image[:-1, row, column] * FULL, mv[:, peak], atol=1e-6)
    # What a network makes is read whatever it says of where samples are.
    image[-1] = -1
    assert layout.decode(image).shape == mv.shape
    with pytest.raises(UsageError, match="expected at most"):
        layout.encode(mv, peaks=list(range(0, 5000, 60)))


def test_ranges() -> None:
    """Through 8 bits, as image files have, the adapted range loses a tenth of what the full one does."""

    def prd(limit: float) -> float:
        layout = arrangement("fold", limit=limit)
        read = [layout.decode(np.round(layout.encode(mv) * 127).astype(np.float32) / 127) for mv in REAL]
        error = sum(float(((a - np.clip(b, -limit, limit)) ** 2).sum()) for a, b in zip(read, REAL, strict=True))
        return 100 * (error / sum(float((b**2).sum()) for b in REAL)) ** 0.5

    assert prd(ADAPTED) < 5 < 20 < prd(FULL)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: arrangement("spiral"), "arrangement 'spiral'; expected one of fold, beats"),
        (lambda: arrangement("fold").encode(REAL[0][:, :100]), r"shape \(8, 100\); expected \(8, 5000\)"),
        (lambda: arrangement("fold").encode(np.full((8, 5000), np.nan, np.float32)), "unknown samples"),
        (lambda: arrangement("fold", limit=0.0), "expected more than 0"),
        (lambda: arrangement("fold", leads=0), "expected at least 1"),
    ],
)
def test_what_has_no_image(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


# Networks

torch = pytest.importorskip("torch")
from torch.nn import functional as F  # noqa: E402

from synth import wavegan  # noqa: E402
from synth.image_gan import Discriminator, ImageGenerator  # noqa: E402
from synth.pulse2pulse import PulseGenerator  # noqa: E402
from synth.wavegan import (  # noqa: E402
    Critic,
    UpConv,
    WaveGenerator,
    conv,
    gradient_penalty,
    parameters,
    phase_shuffle,
)


@pytest.fixture(autouse=True)
def calm() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


def published(net: Any, noise: Any, slope: float = 0.01) -> Any:
    """Pulse2Pulse's forward pass as the paper draws it: whole samples repeated, then convolved."""
    x, skips = noise, []
    for layer in net.down:
        x = F.leaky_relu(F.conv1d(x, layer.weight, layer.bias, layer.stride, 12), slope)
        skips.append(x)
    assert [tuple(skip.shape[1:]) for skip in skips] == [
        (10, 2500),
        (25, 500),
        (50, 250),
        (150, 50),
        (250, 10),
        (250, 2),
    ]
    for k, (layer, factor) in enumerate(zip(net.up, (5, 5, 5, 2, 5, 2), strict=True)):
        if k in (1, 2, 3, 4):
            x = torch.cat([x, skips[5 - k]], dim=1)
        x = F.conv1d(F.interpolate(x, scale_factor=factor, mode="nearest"), layer.weight, layer.bias, padding=12)
        x = F.relu(x) if k < 5 else x
    return x


def test_pulse2pulse_is_the_published_one() -> None:
    net = PulseGenerator()
    noise = torch.rand(2, 8, 5000) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(net(noise), published(net, noise), rtol=0, atol=1e-5)
    assert [tuple(layer.weight.shape[:2]) for layer in net.up] == [
        (250, 250), (150, 500), (50, 300), (25, 100), (10, 50), (8, 10),
    ]  # fmt: skip
    assert net(torch.rand(1, 8, 7500)).shape == (1, 8, 7500)  # any length that the strides allow
    net.slope = 0.2  # that of the shipped weights
    with torch.no_grad():
        torch.testing.assert_close(net(noise), published(net, noise, 0.2), rtol=0, atol=1e-5)
        assert (net(noise) - published(net, noise)).abs().max() > 0.01


def test_wavegan_and_its_critic() -> None:
    net = WaveGenerator()
    assert net(torch.rand(2, 100) * 2 - 1).shape == (2, 8, 5000)
    assert WaveGenerator(samples=2500)(torch.rand(1, 100)).shape == (1, 8, 2500)
    widths = [layer.weight.shape[0] for layer in Critic(width=50).layers]
    assert widths == [50, 100, 250, 500, 1000, 1250, 5000]
    with torch.device("meta"):
        assert 200e6 < parameters(Critic(width=50)) < 208e6  # as published
    critic = Critic(width=2)
    assert critic(torch.rand(3, 8, 5000)).shape == (3,)
    with pytest.raises(UsageError, match="4000 samples; expected a multiple of 2500"):
        PulseGenerator(samples=4000)
    assert Critic(width=1, shuffle=19)(torch.rand(2, 8, 5000)).shape == (2,)
    with pytest.raises(UsageError, match=r"--shuffle 20 of 5000 samples; expected at most 19 \(published: 2\)"):
        Critic(width=1, shuffle=20)


def test_the_critic_is_the_published_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its layers, one by one, with phase shuffle between them."""
    asked: list[tuple[Any, int]] = []

    def rolled(x: Any, most: int) -> Any:
        asked.append((tuple(x.shape[1:]), most))
        return x.flip(2)

    monkeypatch.setattr(wavegan, "phase_shuffle", rolled)
    shapes = [(2, 2500), (4, 1250), (10, 625), (20, 313), (40, 79), (50, 20), (200, 5)]
    strides = (2, 2, 2, 2, 4, 4, 4)
    for shuffle in (0, 2):
        critic = Critic(width=2, shuffle=shuffle)
        x = ecgs = torch.randn(3, 8, 5000)
        for k, (layer, stride, shape) in enumerate(zip(critic.layers, strides, shapes, strict=True)):
            x = F.leaky_relu(F.conv1d(x, layer.weight, layer.bias, stride, 12), 0.2)
            assert tuple(x.shape[1:]) == shape
            x = x.flip(2) if shuffle and k < 6 else x
        with torch.no_grad():
            expected = F.linear(x.flatten(1), critic.score.weight, critic.score.bias)[:, 0]
            torch.testing.assert_close(critic(ecgs), expected, rtol=1e-4, atol=1e-4)
    assert asked == [(shape, 2) for shape in shapes[:6]]


@pytest.mark.parametrize("factor", [2, 5])
@pytest.mark.parametrize("joined", [False, True])
def test_merged_upsampling_is_the_same(factor: int, joined: bool) -> None:
    layer = UpConv(6, 4, factor)
    layer.joined = joined
    x = torch.randn(3, 6, 7)
    plain = F.conv1d(F.interpolate(x, scale_factor=factor, mode="nearest"), layer.weight, layer.bias, padding=12)
    torch.testing.assert_close(layer(x), plain, rtol=0, atol=1e-5)
    grads = [torch.autograd.grad((y**2).sum(), layer.weight)[0] for y in (layer(x), plain)]
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2, 5])
def test_joined_convolution_is_the_same(stride: int) -> None:
    x, weight, bias = torch.randn(3, 4, 30), torch.randn(5, 4, 25), torch.randn(5)
    torch.testing.assert_close(
        conv(x, weight, bias, stride, 12, joined=True), F.conv1d(x, weight, bias, stride, 12), rtol=0, atol=1e-4
    )


def test_phase_shuffle() -> None:
    x = torch.arange(6.0).repeat(5, 2, 1)
    made = phase_shuffle(x, 2, torch.tensor([-2, -1, 0, 1, 2]))[:, 1]
    assert made.tolist() == [
        [2, 1, 0, 1, 2, 3], [1, 0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 4], [2, 3, 4, 5, 4, 3],
    ]  # fmt: skip
    shifted = phase_shuffle(torch.arange(50.0).repeat(400, 1, 1), 2)[:, 0, 10]
    assert set(shifted.tolist()) == {8.0, 9.0, 10.0, 11.0, 12.0}  # each ECG has its own


def test_gradient_penalty() -> None:
    """Of a linear critic the gradient is its weights, wherever it is taken."""

    class Linear(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return 3 * x[:, 0, 0] + 4 * x[:, 1, 2]

    real, fake = torch.randn(4, 2, 5), torch.randn(4, 2, 5)
    assert float(gradient_penalty(Linear(), real, fake)) == pytest.approx((5 - 1) ** 2)


@pytest.mark.parametrize("shape", [(1, 200, 200), (3, 115, 116), (9, 48, 600)])
def test_image_networks(shape: tuple[int, int, int]) -> None:
    generator, critic = ImageGenerator(*shape, features=4), Discriminator(*shape, features=4)
    image = generator(torch.rand(2, 100))
    assert image.shape == (2, *shape) and critic(image).shape == (2,)
