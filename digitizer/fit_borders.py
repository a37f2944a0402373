"""fit_borders: train the small network that sees where leads begin and end (digitizer.borders). Torch.

python -m digitizer.fit_borders --src ptbxl:PTBXL_ROOT@348: --out weights

Pages are made on the fly, as for the reader, but their rows stand anywhere on the grid: printers place them on its
lines, and a network that had learned so would say where the nearest line is. Of every strip both borders are looked at
from places up to 1.4 mm away. Writes ``borders.onnx`` and its card ``borders.json``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

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
from .arrays import D
from .borders import BINS, HIGH, WIDE, patch, stacked, within
from .fitting import Example, Kind, along, cross_entropy, plane
from .patches import Mixture, jitter, laid_flat

KIND = Kind(
    "borders", "patches", "odds", ((0, 0),), (3, 4, HIGH, WIDE),
    "sees where leads begin and end on pages of ECGs laid flat",
    f"patches (N, 4, {HIGH}, {WIDE}) float32: RGB, and the lead's way where it is known; 8 px per mm",
    f"odds (N, {len(BINS)}): how likely the lead begins at each half px",
)  # fmt: skip


@dataclass(frozen=True)
class Config(fitting.Config):
    """How the network is trained; the defaults, with PTB-XL for ``src``, made the one that ships."""

    pages: Mixture = field(default_factory=lambda: Mixture(loose=0.5))
    sharp: float = 0.35
    looks: int = 8  # at each end: making the page costs as much as learning from so many
    near: float = 1.5  # px, SD, by which half of the looks are off; the others are off by anything up to ``far``
    far: float = 11.0
    level: float = 0.3  # px, SD, by which the lead's way is thought to be higher or lower than it is


class Borders(nn.Module):
    """(N, 4, HIGH, WIDE) -> (N, bins) logits. Columns stay, at full resolution; rows are folded into channels."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        a, b, c, d, e = widths

        self.look = nn.Sequential(
            plane(4, a), plane(a, a), plane(a, b, 2), plane(b, c, 2), plane(c, d, 2),
            nn.Conv2d(d, e, (HIGH // 8, 1)), nn.ReLU(inplace=True),
        )  # fmt: skip
        self.judge = nn.Sequential(*(along(e, step) for step in (1, 2, 4, 1)), nn.Conv1d(e, 2, 5, padding=2))

    def forward(self, patches: Tensor) -> Tensor:
        halves: Tensor = self.judge(self.look(patches)[:, :, 0])  # each column's left and right half
        return halves.transpose(1, 2).flatten(1)


def examples(page: Page, samples: int, config: Config, rng: np.random.Generator) -> Iterator[Example]:
    """Looks at both ends of every strip of a page: (4, HIGH, WIDE), and the px within it at which the lead begins.

    ``samples``: of the record on the page.
    """
    image, to_px = laid_flat(page, rng)
    for trace in page.traces:
        dense = trace.upsampled()
        known = np.isfinite(dense.mv)
        if known.sum() < 2:
            continue
        x, y = to_px(page.mm(dense)[known]).T
        x = np.maximum.accumulate(x)
        # A strip is drawn to its window's very end, where the record goes on.
        last = min(samples - 1, int(np.floor(trace.strip.stop * trace.fs + 1e-6))) / trace.fs
        ends = to_px(page.layout.to_mm(trace.strip, [trace.start, last], dense.mv[known][[0, -1]]))
        for end, inwards in ((ends[0, 0], 1), (ends[1, 0], -1)):
            for _ in range(config.looks):
                near = rng.random() < 0.5
                thought = end + (rng.normal(0, config.near) if near else rng.uniform(-config.far, config.far))
                way = partial(_through, x, y + rng.normal(0, config.level))
                seen, drawn = patch(image, thought, inwards, way, int(rng.integers(-3, 4)))
                given = stacked(jitter(seen, rng), drawn)
                yield torch.from_numpy(given), torch.tensor(within(end, thought, inwards), dtype=torch.float32)


def _through(x: D, y: D, at: D) -> D:
    return np.asarray(np.interp(at, x, y), np.float64)


def loss_of(logits: Tensor, at: Tensor, sharp: float) -> Tensor:
    """Cross-entropy against the places about ``at`` (N,) px."""
    return cross_entropy(logits, at, BINS, sharp).mean()


@command()
def main(argv: list[str] | None = None) -> int:
    config, to = fitting.asked(argv, "digitizer.fit_borders", __doc__, Config())
    print(fitting.fit(Borders, KIND, config, examples, loss_of, to.out, to.data, to.compute))
    return 0


if __name__ == "__main__":
    sys.exit(main())
