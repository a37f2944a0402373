"""fit_borders: train the small network that sees where leads begin and end (digitizer.borders). Torch.

python -m digitizer.fit_borders --src ptbxl:PTBXL_ROOT@348: --out weights

Pages are made on the fly, as for the reader, but their rows stand anywhere on the grid: printers place them on its
lines, and a network that had learned so would say where the nearest line is. Of every strip both borders are looked at
from places up to 1.4 mm away. Writes ``borders.onnx`` and its card ``borders.json``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

try:
    import torch
    from torch import Tensor, nn
    from torch.utils.data import DataLoader, IterableDataset, get_worker_info
except ModuleNotFoundError as error:
    from ecg_image_kit.errors import missing

    raise missing(error, "train", __name__) from error

from ecg_image_kit import EcgError, __version__
from ecg_image_kit.command import command
from ecg_image_kit.errors import UsageError
from ecg_image_kit.page import Page
from ecg_image_kit.record import Record, atomic_write
from ecg_image_kit.sources.parts import open_part

from .arrays import D
from .borders import BINS, HIGH, WIDE, patch, stacked, within
from .export import commit
from .patches import Mixture, jitter, laid_flat

Load = Callable[[], Record]
Example = tuple[Tensor, Tensor]  # (4, HIGH, WIDE), px within it at which the lead begins


@dataclass(frozen=True)
class Config:
    """How the network is trained; the defaults, with PTB-XL for ``src``, made the one that ships. Time, not ``seed``,
    says where training stops: with the same seed pages are the same, weights are not."""

    src: tuple[str, ...] = ("samples",)  # sources of records of 12 leads, each KIND or KIND:ROOT
    pages: Mixture = field(default_factory=lambda: Mixture(loose=0.5))
    looks: int = 8  # at each end: making the page costs as much as learning from so many
    shuffle: int = 4096  # examples that wait to be drawn at random, so that a batch mixes pages
    near: float = 1.5  # px, SD, by which half of the looks are off; the others are off by anything up to ``far``
    far: float = 11.0
    level: float = 0.3  # px, SD, by which the lead's way is thought to be higher or lower than it is
    sharp: float = 0.35  # px, SD, of the places that count as right
    widths: tuple[int, ...] = (16, 24, 32, 48, 64)  # channels
    batch: int = 96
    minutes: float = 16.0
    rate: float = 2e-3  # AdamW; half a cosine over the time
    decay: float = 0.02
    warmup: int = 100  # steps
    clip: float = 1.0  # of the gradient's norm
    ema: float = 0.995  # of the weights that are kept
    threads: int = 1
    workers: int = 1  # processes that make pages; 0: none of its own
    seed: int = 1


class Borders(nn.Module):
    """(N, 4, HIGH, WIDE) -> (N, bins) logits. Columns stay, at full resolution; rows are folded into channels."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        a, b, c, d, e = widths

        def plane(given: int, made: int, stride: int = 1) -> nn.Sequential:
            conv = nn.Conv2d(given, made, 3, (stride, 1), 1, bias=False)
            return nn.Sequential(conv, nn.BatchNorm2d(made), nn.ReLU(inplace=True))

        def along(step: int) -> nn.Sequential:
            conv = nn.Conv1d(e, e, 5, padding=2 * step, dilation=step, bias=False)
            return nn.Sequential(conv, nn.BatchNorm1d(e), nn.ReLU(inplace=True))

        self.look = nn.Sequential(
            plane(4, a), plane(a, a), plane(a, b, 2), plane(b, c, 2), plane(c, d, 2),
            nn.Conv2d(d, e, (HIGH // 8, 1)), nn.ReLU(inplace=True),
        )  # fmt: skip
        self.judge = nn.Sequential(along(1), along(2), along(4), along(1), nn.Conv1d(e, 2, 5, padding=2))

    def forward(self, patches: Tensor) -> Tensor:
        halves: Tensor = self.judge(self.look(patches)[:, :, 0])  # each column's left and right half
        return halves.transpose(1, 2).flatten(1)


def examples(page: Page, samples: int, config: Config, rng: np.random.Generator) -> Iterator[Example]:
    """Looks at the beginning and the end of every strip of a page laid flat. ``samples``: of the record on it."""
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


class Looks(IterableDataset[Example]):
    """Endless looks at the ends of random pages; the worker chooses which."""

    def __init__(self, config: Config, loads: list[Load]) -> None:
        self.config, self.loads = config, loads

    def __iter__(self) -> Iterator[Example]:
        config, info = self.config, get_worker_info()
        cv2.setNumThreads(1)
        rng = np.random.default_rng([config.seed, info.id if info else 0])
        waiting: list[Example] = []
        while True:
            waiting += examples(*_page(self.loads, config, rng), config, rng)
            while len(waiting) > config.shuffle:
                at = int(rng.integers(len(waiting)))
                waiting[at], waiting[-1] = waiting[-1], waiting[at]
                yield waiting.pop()


def _page(loads: list[Load], config: Config, rng: np.random.Generator) -> tuple[Page, int]:
    """Of one of the records, and its samples. Raises the last one's error if twenty in a row cannot be printed."""
    for tries in range(20):
        try:
            record = loads[rng.integers(len(loads))]()
            return config.pages.page(record, rng), record.mv.shape[1]
        except EcgError:
            if tries == 19:
                raise
    raise AssertionError


def loss_of(logits: Tensor, at: Tensor, sharp: float) -> Tensor:
    """Cross-entropy against the places about ``at`` (N,) px."""
    places = torch.from_numpy(BINS.astype(np.float32))
    right = torch.softmax(-0.5 * ((places - at[:, None]) / sharp) ** 2, dim=1)
    return -(right * torch.log_softmax(logits, dim=1)).sum(dim=1).mean()


def train(config: Config) -> tuple[Borders, int]:
    """The network, and how many steps it took. Raises UsageError if there are no records."""
    torch.manual_seed(config.seed)
    torch.set_num_threads(config.threads)
    parts = map(open_part, config.src)
    loads: list[Load] = list(chain.from_iterable([partial(source.load, n) for n in names] for source, names in parts))
    net = Borders(config.widths)
    ema = torch.optim.swa_utils.get_ema_multi_avg_fn(config.ema)  # type: ignore[no-untyped-call]
    average = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=ema, use_buffers=True)
    optimizer = torch.optim.AdamW(net.parameters(), config.rate, weight_decay=config.decay)
    loader = DataLoader(
        Looks(config, loads), config.batch, num_workers=config.workers, prefetch_factor=4 if config.workers else None,
        multiprocessing_context="spawn" if config.workers else None,  # a fork of a process with threads may hang
    )  # fmt: skip
    step, mean, begin, shown = 0, 0.0, 0.0, time.time()
    for patches, at in loader:
        begin = begin or time.time()  # the first pages take a while
        done = (time.time() - begin) / (60 * config.minutes)
        if done >= 1:
            break
        rate = config.rate * min(1.0, (step + 1) / config.warmup) * max(0.01, 0.5 * (1 + math.cos(math.pi * done)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(patches.contiguous(memory_format=torch.channels_last))
        loss = loss_of(logits.float(), at, config.sharp)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), config.clip)
        optimizer.step()
        average.update_parameters(net)
        step += 1
        mean += (loss.item() - mean) / min(step, 100)
        if time.time() - shown > 30:
            shown = time.time()
            print(f"step {step}, {done:.0%} of the time, loss {mean:.3f}", file=sys.stderr, flush=True)
    kept = average.module.eval()
    assert isinstance(kept, Borders)
    return kept, step


def export(net: Borders, out: Path, card: dict[str, object]) -> Path:
    """Write borders.onnx and borders.json; returns the latter. Raises RuntimeError if ONNX Runtime disagrees."""
    import onnxruntime

    out.mkdir(parents=True, exist_ok=True)
    path, part = out / "borders.onnx", out / "borders.part"
    x = torch.rand(3, 4, HIGH, WIDE, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(net, nn.Softmax(dim=1)).eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # about the exporter itself
        torch.onnx.export(
            model, (x,), str(part), dynamo=False, opset_version=17, input_names=["patches"], output_names=["odds"],
            dynamic_axes={"patches": {0: "borders"}, "odds": {0: "borders"}},
        )  # fmt: skip
        expected = model(x).numpy()
    session = onnxruntime.InferenceSession(str(part), providers=["CPUExecutionProvider"])
    worst = float(np.abs(session.run(None, {"patches": x.numpy()})[0] - expected).max())
    if worst > 1e-3:
        raise RuntimeError(f"the exported network differs from torch by {worst:.2g}; expected at most 0.001.")
    part.replace(path)
    card = {**card, "difference_from_torch": float(f"{worst:.2g}"), "licence": "that of this project",
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}  # fmt: skip
    atomic_write(out / "borders.json", (json.dumps(card, indent=1) + "\n").encode())
    return out / "borders.json"


def fit(config: Config, out: Path, what: str = "", compute: str = "") -> Path:
    """Train and export; returns the card's path. ``what``, ``compute``: in words, for the card."""
    begin = time.perf_counter()
    net, steps = train(config)
    settings = {k: v for k, v in asdict(config).items() if k != "src"}
    card: dict[str, object] = {
        "what": "sees where leads begin and end on pages of ECGs laid flat",
        "made_by": f"digitizer.fit_borders {__version__}",
        "input": f"patches (N, 4, {HIGH}, {WIDE}) float32: RGB, and the lead's way where it is known; 8 px per mm",
        "output": f"odds (N, {len(BINS)}): how likely the lead begins at each half px",
        "parameters": sum(p.numel() for p in net.parameters()),
        "data": what, "src": [spec.partition(":")[0] for spec in config.src], "training": settings, "steps": steps,
        "minutes": round((time.perf_counter() - begin) / 60, 1), "compute": compute, "commit": commit(),
    }  # fmt: skip
    return export(net, out, card)


@command()
def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(
        prog="python -m digitizer.fit_borders", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = p.add_argument
    add(
        "--src", nargs="+", default=list(Config.src), metavar="KIND[:ROOT]",
        help="where records come from, such as ptbxl:DIR wfdb:DIR (default: samples); @START:STOP takes a part",
    )  # fmt: skip
    add("--out", default="weights", help="folder for the network and its card (default: weights)")
    add("--minutes", type=float, default=Config.minutes, help="to train for (default: %(default)g)")
    add("--threads", type=int, default=Config.threads, help="of torch (default: %(default)s)")
    add("--workers", type=int, default=Config.workers, help="processes that make pages (default: %(default)s)")
    add("--seed", type=int, default=Config.seed, help="of pages and first weights (default: %(default)s)")
    add("--what", default="", help="which records, and their licence, for the card")
    add("--compute", default="", help="what it was trained on, for the card")
    o = p.parse_args(argv)
    if not o.minutes > 0 or o.threads < 1 or o.workers < 0:
        raise UsageError(
            f"--minutes {o.minutes:g}, --threads {o.threads}, --workers {o.workers}; expected more than 0, 1 or more, "
            "0 or more."
        )
    config = Config(tuple(o.src), minutes=o.minutes, threads=o.threads, workers=o.workers, seed=o.seed)
    print(fit(config, Path(o.out), o.what, o.compute))
    return 0


if __name__ == "__main__":
    sys.exit(main())
