"""fitting: how the small networks that look at details are trained (fit_borders, fit_nudges). Torch.

Pages are made on the fly, as for the reader. Of each, ``make`` shows places and says what is to be seen there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TypeVar

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
from ecg_image_kit.errors import UsageError
from ecg_image_kit.page import Page
from ecg_image_kit.record import Record, atomic_write
from ecg_image_kit.sources.parts import open_part

from .arrays import D
from .export import commit
from .patches import Mixture

_EMPTY = 100  # pages
Load = Callable[[], Record]
Example = tuple[Tensor, Tensor]  # what is shown, and where what is looked for is, px


@dataclass(frozen=True)
class Config:
    """How a network is trained. Time, not ``seed``, says where training stops: with the same seed pages are the same,
    weights are not."""

    src: tuple[str, ...] = ("samples",)  # sources of records of 12 leads, each KIND or KIND:ROOT
    pages: Mixture = field(default_factory=Mixture)
    shuffle: int = 4096  # examples that wait to be drawn at random, so that a batch mixes pages
    sharp: float = 0.3  # px, SD, of the places that count as right
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


C = TypeVar("C", bound=Config)
# Examples of a page, and the number of samples of the record on it.
Make = Callable[[Page, int, C, np.random.Generator], Iterable[Example]]
Loss = Callable[[Tensor, Tensor, float], Tensor]  # of logits, where it is, and Config.sharp


class Kind(NamedTuple):
    """What a network is: the name of its files, its only input and output, which of its axes any number may have, and
    what its card says of it, of what it is given and of what it says."""

    name: str
    input: str
    output: str
    any_number: Sequence[tuple[int, int]]  # axis of the input, of the output
    shape: tuple[int, ...]  # of an input
    what: str
    given: str
    said: str


def plane(given: int, made: int, stride: int = 1) -> nn.Sequential:
    """A layer whose columns stay, at full resolution; ``stride``: of rows."""
    conv = nn.Conv2d(given, made, 3, (stride, 1), 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(made), nn.ReLU(inplace=True))


def along(channels: int, step: int) -> nn.Sequential:
    """A layer on columns, of which it sees five that lie ``step`` apart."""
    conv = nn.Conv1d(channels, channels, 5, padding=2 * step, dilation=step, bias=False)
    return nn.Sequential(conv, nn.BatchNorm1d(channels), nn.ReLU(inplace=True))


def cross_entropy(logits: Tensor, at: Tensor, bins: D, sharp: float) -> Tensor:
    """(N, ...) of logits (N, bins, ...) against the places about ``at`` (N, ...) px, SD ``sharp``."""
    places = torch.from_numpy(bins.astype(np.float32)).view(-1, *(1 for _ in at.shape[1:]))
    right = torch.softmax(-0.5 * ((places - at[:, None]) / sharp) ** 2, dim=1)
    return -(right * torch.log_softmax(logits, dim=1)).sum(dim=1)


class Examples(IterableDataset[Example]):
    """Endless examples of random pages; the worker chooses which."""

    def __init__(self, config: C, loads: list[Load], make: Make[C]) -> None:
        self.config, self.loads, self.make = config, loads, make

    def __iter__(self) -> Iterator[Example]:
        config, info = self.config, get_worker_info()
        cv2.setNumThreads(1)
        rng = np.random.default_rng([config.seed, info.id if info else 0])
        waiting: list[Example] = []
        empty = 0
        while True:
            more = list(self.make(*_page(self.loads, config, rng), config, rng))
            empty = 0 if more else empty + 1
            if empty == _EMPTY:
                raise UsageError(
                    f"{_EMPTY} pages in a row show nothing to learn from; expected records of 5 s or more."
                )
            waiting += more
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


def train(net: nn.Module, config: C, make: Make[C], loss_of: Loss) -> tuple[nn.Module, int]:
    """The network trained, and how many steps that took. Raises UsageError if there are no records."""
    torch.set_num_threads(config.threads)
    parts = map(open_part, config.src)
    loads: list[Load] = list(chain.from_iterable([partial(source.load, n) for n in names] for source, names in parts))
    ema = torch.optim.swa_utils.get_ema_multi_avg_fn(config.ema)  # type: ignore[no-untyped-call]
    average = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=ema, use_buffers=True)
    optimizer = torch.optim.AdamW(net.parameters(), config.rate, weight_decay=config.decay)
    loader = DataLoader(
        Examples(config, loads, make), config.batch, num_workers=config.workers,
        prefetch_factor=4 if config.workers else None,
        multiprocessing_context="spawn" if config.workers else None,  # a fork of a process with threads may hang
    )  # fmt: skip
    step, mean, begin, shown = 0, 0.0, 0.0, time.time()
    for looks, at in loader:
        begin = begin or time.time()  # the first pages take a while
        done = (time.time() - begin) / (60 * config.minutes)
        if done >= 1:
            break
        rate = config.rate * min(1.0, (step + 1) / config.warmup) * max(0.01, 0.5 * (1 + math.cos(math.pi * done)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(looks.float().contiguous(memory_format=torch.channels_last))
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
    kept: nn.Module = average.module.eval()
    return kept, step


def write(net: nn.Module, kind: Kind, out: Path, card: dict[str, object]) -> Path:
    """Write the network, with a softmax over its logits' first axis, as ONNX, and its card; returns the card's path.

    Raises RuntimeError if ONNX Runtime disagrees with torch.
    """
    import onnxruntime

    out.mkdir(parents=True, exist_ok=True)
    path, part = out / f"{kind.name}.onnx", out / f"{kind.name}.part"
    x = torch.rand(kind.shape, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(net, nn.Softmax(dim=1)).eval()
    axes = {kind.input: {a: f"n{a}" for a, _ in kind.any_number}, kind.output: {b: f"n{a}" for a, b in kind.any_number}}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # about the exporter itself
        torch.onnx.export(
            model, (x,), str(part), dynamo=False, opset_version=17, input_names=[kind.input],
            output_names=[kind.output], dynamic_axes=axes,
        )  # fmt: skip
        expected = model(x).numpy()
    session = onnxruntime.InferenceSession(str(part), providers=["CPUExecutionProvider"])
    worst = float(np.abs(session.run(None, {kind.input: x.numpy()})[0] - expected).max())
    if worst > 1e-3:
        raise RuntimeError(f"the exported network differs from torch by {worst:.2g}; expected at most 0.001.")
    part.replace(path)
    card = {**card, "difference_from_torch": float(f"{worst:.2g}"), "licence": "that of this project",
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}  # fmt: skip
    atomic_write(out / f"{kind.name}.json", (json.dumps(card, indent=1) + "\n").encode())
    return out / f"{kind.name}.json"


def fit(
    network: Callable[[tuple[int, ...]], nn.Module], kind: Kind, config: C, make: Make[C], loss_of: Loss, out: Path,
    data: str = "", compute: str = "",
) -> Path:  # fmt: skip
    """Train and write; returns the card's path. ``data``, ``compute``: in words, for the card."""
    begin = time.perf_counter()
    torch.manual_seed(config.seed)
    net, steps = train(network(config.widths), config, make, loss_of)
    settings = {k: v for k, v in asdict(config).items() if k != "src"}
    card: dict[str, object] = {
        "what": kind.what, "made_by": f"digitizer.fit_{kind.name} {__version__}", "input": kind.given,
        "output": kind.said, "parameters": sum(p.numel() for p in net.parameters()), "data": data,
        "src": [spec.partition(":")[0] for spec in config.src], "training": settings, "steps": steps,
        "minutes": round((time.perf_counter() - begin) / 60, 1), "compute": compute, "commit": commit(),
    }  # fmt: skip
    return write(net, kind, out, card)


class Asked(NamedTuple):
    """What a command line asks for."""

    out: Path
    data: str
    compute: str


def asked(argv: Sequence[str] | None, prog: str, about: str | None, config: C) -> tuple[C, Asked]:
    """The configuration, with what the command line says, and the rest of that. Raises UsageError."""
    p = argparse.ArgumentParser(
        prog=f"python -m {prog}", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = p.add_argument
    add(
        "--src", nargs="+", default=list(config.src), metavar="KIND[:ROOT]",
        help="where records come from, such as ptbxl:DIR wfdb:DIR (default: samples); @START:STOP takes a part",
    )  # fmt: skip
    add("--out", default="weights", help="folder for the network and its card (default: weights)")
    add("--minutes", type=float, default=config.minutes, help="to train for (default: %(default)g)")
    add("--threads", type=int, default=config.threads, help="of torch (default: %(default)s)")
    add("--workers", type=int, default=config.workers, help="processes that make pages (default: %(default)s)")
    add("--seed", type=int, default=config.seed, help="of pages and first weights (default: %(default)s)")
    add("--what", default="", help="which records, and their licence, for the card")
    add("--compute", default="", help="what it was trained on, for the card")
    o = p.parse_args(argv)
    if not o.minutes > 0 or o.threads < 1 or o.workers < 0:
        raise UsageError(
            f"--minutes {o.minutes:g}, --threads {o.threads}, --workers {o.workers}; expected more than 0, 1 or more, "
            "0 or more."
        )
    numbers = {name: getattr(o, name) for name in ("minutes", "threads", "workers", "seed")}
    return replace(config, src=tuple(o.src), **numbers), Asked(Path(o.out), o.what, o.compute)
