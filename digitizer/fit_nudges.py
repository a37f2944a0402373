"""fit_nudges: train the small network that sees how far beside its fit a trace runs (digitizer.nudges). Torch.

python -m digitizer.fit_nudges --src ptbxl:PTBXL_ROOT@348: --out weights

Pages are made on the fly, as for the reader, and their traces are taken wrong, as fits are: rounder than they are, a
little to the left here and to the right there, too high, too low, bridged. The network is to say by how much. Writes
``nudges.onnx`` and its card ``nudges.json``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import cv2
import numpy as np

try:
    import torch
    from torch import Tensor, nn
except ModuleNotFoundError as error:
    from ecg_image_kit.errors import missing

    raise missing(error, "train", __name__) from error

from ecg_image_kit.command import command
from ecg_image_kit.page import Page

from . import fitting
from .arrays import U8, D
from .fitting import Example, Kind, along, cross_entropy, plane
from .network import PX_PER_MM
from .nudges import BINS, CHANNELS, HIGH, Drawing, looked, places_of
from .patches import Mixture, jitter, laid_flat
from .tracks import FS

KIND = Kind(
    "nudges", "looks", "odds", ((0, 0), (3, 2)), (1, CHANNELS, HIGH, 300),
    "sees how far beside its fit a trace runs on pages of ECGs laid flat",
    f"looks (N, {CHANNELS}, {HIGH}, places) float32: RGB across; the trace, and the others, as read; sine; 8 px/mm",
    f"odds (N, {len(BINS)}, places): how likely the trace runs at each of so many places across",
)  # fmt: skip
_SHORTEST = 100  # samples of a strip worth looking at
# What spoils a fit, in _SIZES of: px, SD, by which it is to the side, here and there, or everywhere; and too
# high or too low; samples over which it is rounded; px by which samples zigzag. How often a stretch of up to so many
# samples is bridged, per sample.
_SIDE, _ALL_SIDE, _UP, _ALL_UP, _ROUNDED, _ZIGZAG = (0.1, 0.4, 0.8), 0.3, (0.1, 0.4, 0.9), 0.2, 2.0, (0.03, 0.1, 0.3)
_BRIDGED, _BRIDGE = 1 / 1500, 40
_SIZES = (0.3, 2.0)
# How often peaks on one side of a trace are cut off, or too high; of how much of its range on that side is left; how
# many times too high. As often along the whole trace as along a third of it.
_CUT, _RAISED, _LEFT, _HIGHER = 0.25, 0.15, (0.15, 0.95), (1.1, 2.0)
_WRONG, _OFTEN = 2.0, 5.0  # pieces with places that are so many px wrong are taken so many times as often


@dataclass(frozen=True)
class Config(fitting.Config):
    """How the network is trained; the defaults, with PTB-XL for ``src``, made the one that ships."""

    pages: Mixture = field(
        default_factory=partial(Mixture, (("clean", 1.0), ("random", 7.0), ("scan-bw", 1.0), ("fax", 1.0)))
    )
    widths: tuple[int, ...] = (16, 24, 32, 48, 96)
    shuffle: int = 3000
    batch: int = 32
    minutes: float = 34.0
    passes: int = 2  # each time the traces of a page are taken wrong in another way
    pieces: int = 150  # of a page, in each pass
    length: int = 256  # places along a trace, of a piece


class Nudges(nn.Module):
    """(N, CHANNELS, HIGH, L) -> (N, bins, L) logits. Places along the trace stay, those across become channels."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        a, b, c, d, e = widths

        self.look = nn.Sequential(
            plane(CHANNELS, a), plane(a, b, 2), plane(b, c, 2), plane(c, d, 2),
            nn.Conv2d(d, e, (HIGH // 8, 1)), nn.ReLU(inplace=True),
        )  # fmt: skip
        self.judge = nn.ModuleList([along(e, step) for step in (1, 2, 4, 8, 16)])
        self.say = nn.Conv1d(e, len(BINS), 3, padding=1)

    def forward(self, looks: Tensor) -> Tensor:
        x = self.look(looks)[:, :, 0]
        for layer in self.judge:
            x = x + layer(x)
        said: Tensor = self.say(x)
        return said


def examples(page: Page, samples: int, config: Config, rng: np.random.Generator) -> Iterator[Example]:
    """Looks (CHANNELS, HIGH, length) along a page's traces that are taken wrong, and (length,) px by which they are."""
    image, to_px = laid_flat(page, rng)
    traces = []
    for trace in page.traces:
        dense = trace.upsampled()
        known = np.isfinite(dense.mv)
        if known.sum() >= _SHORTEST:
            x, y = to_px(page.mm(dense)[known]).T
            traces.append((np.maximum.accumulate(x), y))
    for _ in range(config.passes):
        yield from _pass(image, traces, page.layout.speed / FS * PX_PER_MM, config, rng)


def _pass(
    image: U8, traces: list[tuple[D, D]], step: float, config: Config, rng: np.random.Generator
) -> Iterator[Example]:
    """``traces``: px (N,) x and y of each; ``step``: px from sample to sample."""
    taken = []
    for true_x, true_y in traces:
        x = np.linspace(true_x[0], true_x[-1], int((true_x[-1] - true_x[0]) / step) + 1)
        if x.size >= _SHORTEST:
            taken.append((x, wrong(x, np.interp(x, true_x, true_y), rng), true_x, true_y))
    drawn = Drawing(image.shape[:2], [x for x, *_ in taken], [y for _, y, *_ in taken])
    image = jitter(image, rng)
    pieces = []
    for which, (x, y, true_x, true_y) in enumerate(taken):
        at = places_of(x, y)
        beside = (np.interp(at.x, true_x, true_y) - at.y) * at.cosine
        starts = range(int(rng.integers(config.length)), at.x.size - config.length, config.length)
        pieces += [(which, at, beside, slice(start, start + config.length)) for start in starts]
    if not pieces:
        return
    often = np.array([_OFTEN if np.abs(beside[part]).max() > _WRONG else 1.0 for _, _, beside, part in pieces])
    for k in rng.choice(len(pieces), min(config.pieces, len(pieces)), replace=False, p=often / often.sum()):
        which, at, beside, part = pieces[k]
        look = looked(image, drawn, which, at.part(part))
        yield torch.from_numpy(look.astype(np.float16)), torch.from_numpy(beside[part].astype(np.float32))


def wrong(x: D, y: D, rng: np.random.Generator) -> D:
    """Samples (N,) px ``y`` at ``x`` of a trace, as a fit has them that is not good."""

    def now_and_then(sd: tuple[float, ...], shortest: float, longest: float) -> D:
        long = float(np.exp(rng.uniform(np.log(shortest), np.log(longest))))
        return float(rng.choice(sd)) * _smooth(y.size, long, rng)

    size = float(np.exp(rng.uniform(*np.log(_SIZES))))
    out: D = np.interp(x + size * (now_and_then(_SIDE, 3, 200) + rng.normal(0, _ALL_SIDE)), x, _peaks(y, rng))
    rounded = min(size * abs(rng.normal(0, _ROUNDED)), 4.0)
    if rounded > 0.3:
        out[:] = cv2.GaussianBlur(out[:, None], (0, 0), 0.1, sigmaY=rounded, borderType=cv2.BORDER_REPLICATE)[:, 0]
    out = out + size * (now_and_then(_UP, 2, 100) + rng.normal(0, _ALL_UP))
    out = out + size * rng.normal(0, rng.choice(_ZIGZAG), y.size)
    for _ in range(rng.poisson(y.size * _BRIDGED)):
        first = int(rng.integers(0, y.size - 4))
        last = min(y.size - 1, first + int(rng.integers(3, _BRIDGE)))
        out[first : last + 1] = np.linspace(out[first], out[last], last + 1 - first)
    return np.asarray(out, np.float64)


def _peaks(y: D, rng: np.random.Generator) -> D:
    """``y`` with peaks cut off at some height, as where they run through another trace; or higher than they are."""
    out, middle, what = y.copy(), float(np.median(y)), rng.random()
    if what < _CUT + _RAISED:
        side = rng.choice([-1.0, 1.0])
        height = side * (y - middle)
        level = float(height.max() * rng.uniform(*_LEFT))
        times = 0.0 if what < _CUT else rng.uniform(*_HIGHER)
        part = slice(None)
        if rng.random() < 0.5:
            first = int(rng.integers(0, y.size))
            part = slice(first, first + y.size // 3)
        out[part] = np.where(height > level, middle + side * (level + times * (height - level)), y)[part]
    return out


def _smooth(n: int, long: float, rng: np.random.Generator) -> D:
    """(n,) noise of SD 1 that changes over ``long`` samples: a cubic spline with random control points."""
    nodes = rng.normal(0, 1 / 0.7, int(n / long) + 6)
    at = 1.0 + np.arange(n) / long + rng.uniform(0, 1)
    cell = at.astype(np.int64)
    t = at - cell
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 3 * (1 - t) ** 3 - 6 * (1 - t) ** 2 + 4, t**3]) / 6
    return np.asarray(sum(w * nodes[cell - 1 + k] for k, w in enumerate(weights)), np.float64)


def loss_of(logits: Tensor, beside: Tensor, sharp: float) -> Tensor:
    """Cross-entropy against the places about ``beside`` (N, L) px, or the nearest that are within reach."""
    each = cross_entropy(logits, beside.clamp(float(BINS[0]), float(BINS[-1])), BINS, sharp)
    return each.mean()


@command()
def main(argv: list[str] | None = None) -> int:
    config, to = fitting.asked(argv, "digitizer.fit_nudges", __doc__, Config())
    print(fitting.fit(Nudges, KIND, config, examples, loss_of, to.out, to.data, to.compute))
    return 0


if __name__ == "__main__":
    sys.exit(main())
