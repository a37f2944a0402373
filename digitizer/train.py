"""train: the digitizer's network, on pages made on the fly. Read it from top to bottom.

python -m digitizer.train --src ptbxl:PTBXL_ROOT --out run
python -m digitizer.train --src ptbxl:PTBXL_ROOT --out run --minutes 10   # goes on where it stopped
python -m digitizer.train --src my-ecgs --start digitizer/weights --out run --rate 5e-4   # from exported weights
torchrun --nproc-per-node 4 -m digitizer.train --src ptbxl:PTBXL_ROOT --out run

Writes to --out: ``log.csv``, ``checkpoint.pt`` (all that is needed to go on), ``seen.png`` (what the network sees of
validation pieces: the image, the truth, the network). Then: python -m digitizer.export run/checkpoint.pt --out weights
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

try:
    import torch
    from torch import Tensor, nn
    from torch.nn import functional as F
    from torch.utils.data import DataLoader, IterableDataset, get_worker_info
except ModuleNotFoundError as error:
    from ecg_image_kit.errors import missing

    raise missing(error, "train", __name__) from error

from ecg_image_kit import EcgError
from ecg_image_kit.command import command
from ecg_image_kit.errors import UsageError
from ecg_image_kit.record import Record
from ecg_image_kit.sources.parts import open_part

from .arrays import U8
from .model import Seen, build, load_checkpoint, start_from
from .patches import LABELS, Lesson, Mixture, Patch, cut, flatten_page, jitter

Batch = tuple[Tensor, Tensor, Tensor, Tensor]  # image (N, 3, S, S), ink (N, 2, S, S), labels (N, S/4, S/4), turn (N,)
Load = Callable[[], Record]


@dataclass(frozen=True)
class Config:
    """What is trained, on what, and how; each value's reason beside it."""

    out: str = "run"
    src: tuple[str, ...] = ("samples",)  # sources of records of 12 leads, each KIND or KIND:ROOT
    skip: int = 200  # first records of the first source (at most a quarter of them), kept for validation
    arch: str = "small"  # see model.build
    start: str = ""  # folder of exported weights to go on from, of the same arch
    size: int = 256  # px of a piece: 32 mm, a column of a beat or two and its neighbours above and below
    batch: int = 16
    steps: int = 12_000
    pages: Mixture = field(default_factory=Mixture)
    pieces: int = 24  # of each page: making it costs as much as learning from so many
    shuffle: int = 384  # pieces that wait to be drawn at random, so that a batch mixes pages
    rate: float = 2e-3  # AdamW; higher is unstable in bf16
    decay: float = 0.01
    warmup: int = 200
    clip: float = 1.0  # of the gradient's norm
    ema: float = 0.998  # of the weights that are kept
    threads: int = 2  # of torch
    workers: int = 1  # processes that make pages
    seed: int = 0
    bf16: bool = True  # half the memory traffic; sums stay in float32
    minutes: float = math.inf  # to stop after, with a checkpoint
    check: int = 500  # steps between checkpoints and looks at validation pieces
    limit: int = 0  # validation pieces; 0: 192


class Pieces(IterableDataset[Batch]):
    """Endless random pieces of random pages; ``start`` (steps done) and the worker choose which."""

    def __init__(self, config: Config, start: int, rank: int, augment: Callable[[U8, np.random.Generator], U8]) -> None:
        self.config, self.start, self.rank, self.augment = config, start, rank, augment

    def __iter__(self) -> Iterator[Batch]:
        config, info = self.config, get_worker_info()
        cv2.setNumThreads(1)
        rng = np.random.default_rng([config.seed, self.start, self.rank, info.id if info else 0])
        loads, _ = records(config)
        waiting: list[Patch] = []
        while True:
            waiting += cut(lesson(config, loads, rng), rng, config.pieces, config.size)
            while len(waiting) > config.shuffle:
                at = int(rng.integers(len(waiting)))
                waiting[at], waiting[-1] = waiting[-1], waiting[at]
                yield tensors(waiting.pop(), self.augment, rng)


def records(config: Config) -> tuple[list[Load], list[Load]]:
    """What loads each record for training, and each for validation. Raises UsageError if there are none."""
    parts = map(open_part, config.src)
    loads: list[list[Load]] = [[partial(source.load, name) for name in names] for source, names in parts]
    first, *others = loads
    kept = min(config.skip, len(first) // 4)
    return [*first[kept:], *chain.from_iterable(others)], first[:kept] or first


def lesson(config: Config, loads: list[Load], rng: np.random.Generator) -> Lesson:
    """A page of one of the records. Raises the last one's error if twenty in a row cannot be loaded or printed."""
    for tries in range(20):
        try:
            return flatten_page(config.pages.page(loads[rng.integers(len(loads))](), rng), rng)
        except EcgError:
            if tries == 19:
                raise
    raise AssertionError


def tensors(piece: Patch, augment: Callable[[U8, np.random.Generator], U8] | None, rng: np.random.Generator) -> Batch:
    """What the network gets and should give, bytes still. Raises UsageError if ``augment`` changes shape or type."""
    image = augment(piece.image, rng) if augment else piece.image
    if image.shape != piece.image.shape or image.dtype != np.uint8:
        raise UsageError(f"augment gave {image.dtype} {image.shape}; expected uint8 {piece.image.shape}.")
    return (
        torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
        torch.from_numpy(np.ascontiguousarray(piece.ink.transpose(2, 0, 1))),
        torch.from_numpy(piece.labels.astype(np.int64)),
        torch.tensor(piece.turn),
    )


def validation(config: Config) -> list[Batch]:
    """Pieces of the records kept back, always the same."""
    rng = np.random.default_rng([config.seed, 999])
    _, loads = records(config)
    count = max(1, (config.limit or 192) // config.batch) * config.batch
    pieces: list[Patch] = []
    while len(pieces) < count:
        pieces += cut(lesson(config, loads, rng), rng, 6, config.size)
    made = [tensors(piece, None, rng) for piece in pieces[:count]]
    return [
        tuple(torch.stack(parts) for parts in zip(*made[k : k + config.batch], strict=True))  # type: ignore[misc]
        for k in range(0, count, config.batch)
    ]


def loss_of(seen: Seen, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy of each output; Dice of the ink, so that thin lines weigh as much as bare paper.

    Coverage is a share, not a class: cross-entropy against shares is least at their mean, so that the ink's edge,
    from which the trace is later read to a tenth of a pixel, is not pushed either way.
    """
    _, ink, labels, turn = batch
    target = ink.float() / 255
    logits = seen.ink.float()
    soft = torch.sigmoid(logits)
    overlap = 1 - (2 * (soft * target).sum((0, 2, 3)) + 1) / ((soft**2).sum((0, 2, 3)) + (target**2).sum((0, 2, 3)) + 1)
    upright = turn == 0  # names are read on upright pages only
    weight = torch.ones(len(LABELS), device=labels.device)
    weight[0] = 0.3
    names = seen.labels.float()
    named = F.cross_entropy(names[upright], labels[upright], weight) if upright.any() else 0 * names.sum()
    parts = {
        "ink": F.binary_cross_entropy_with_logits(logits, target),
        "dice": overlap.mean(),
        "labels": named,
        "turn": F.cross_entropy(seen.turn.float(), turn[:, None, None].expand(-1, *seen.turn.shape[2:])),
    }
    total = 10 * parts["ink"] + 0.5 * parts["dice"] + parts["labels"] + 0.3 * parts["turn"]
    return total, parts


def check(model: nn.Module, batches: list[Batch], device: torch.device) -> tuple[dict[str, float], U8]:
    """Losses on validation pieces, and figures that mean something; a picture of the first ones."""
    model.eval()
    sums: dict[str, float] = {}
    picture = np.zeros((1, 1, 3), np.uint8)
    with torch.no_grad():
        for batch in batches:
            image, ink, labels, turn = batch = tuple(part.to(device) for part in batch)  # type: ignore[assignment]
            seen = model(image.float() / 255)
            _, parts = loss_of(seen, batch)
            upright = turn == 0
            named = (labels > 0) & upright[:, None, None]
            guess = seen.labels.argmax(1)
            soft, truth = torch.sigmoid(seen.ink), ink.float() / 255
            figures = {
                **parts,
                "missed": ((soft[:, 0] < 0.4) & (truth[:, 0] > 0.8)).sum() / (truth[:, 0] > 0.8).sum().clamp(min=1),
                "invented": ((soft[:, 0] > 0.4) & (truth[:, 0] < 0.02)).sum() / (truth[:, 0] > 0.8).sum().clamp(min=1),
                "named": (guess == labels)[named].float().mean() if named.any() else torch.tensor(0.0),
                "upright": (seen.turn.mean((2, 3)).argmax(1) == turn).float().mean(),
            }
            for key, value in figures.items():
                sums[key] = sums.get(key, 0.0) + float(value) / len(batches)
            if picture.size == 3:
                picture = _picture(image, ink, labels, soft, guess)
    model.train()
    return sums, picture


def _picture(image: Tensor, ink: Tensor, labels: Tensor, soft: Tensor, guess: Tensor, count: int = 8) -> U8:
    rows = []
    for drawn, names in ((ink.float(), labels), (soft * 255, guess)):
        large = F.interpolate(names[:, None].float(), scale_factor=4, mode="nearest") * (255 / (len(LABELS) - 1))
        rows.append(torch.cat([drawn, large], dim=1))
    rows.insert(0, image.float())
    parts = [torch.cat(list(row[:count]), dim=2) for row in rows]
    return np.asarray(torch.cat(parts, dim=1).permute(1, 2, 0).byte().cpu().numpy(), np.uint8)


def rate_at(step: int, config: Config) -> float:
    """Warm-up, then half a cosine."""
    if step < config.warmup:
        return config.rate * (step + 1) / config.warmup
    return config.rate * max(0.01, 0.5 * (1 + math.cos(math.pi * min(1.0, step / config.steps))))


def train(config: Config, augment: Callable[[U8, np.random.Generator], U8] = jitter) -> Path:
    """Train, going on from the checkpoint in ``config.out`` if there is one; returns the checkpoint's path.

    Args:
        augment: what is done to each piece's image once more: (S, S, 3) uint8 RGB, rng -> the same. With workers it
            must be importable (a function of a module, not of a notebook).

    Raises:
        UsageError: no records, pieces of a size that no network takes, or another network's checkpoint in the way.
    """
    if config.size % 32 or config.size <= 0:
        raise UsageError(f"size {config.size}; expected a multiple of 32, such as 256.")
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    if world > 1:
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    torch.manual_seed(config.seed)
    torch.set_num_threads(config.threads)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "checkpoint.pt"

    layout = torch.channels_last
    model = build(config.arch).to(device).to(memory_format=layout)
    held_out = validation(config)
    if config.start and not path.exists():
        start_from(model, Path(config.start) / "reader.onnx", held_out[0][0].to(device).float() / 255)
    ema = torch.optim.swa_utils.get_ema_multi_avg_fn(config.ema)  # type: ignore[no-untyped-call]
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=ema, use_buffers=True)
    optimizer = torch.optim.AdamW(model.parameters(), config.rate, weight_decay=config.decay)
    step, seconds = 0, 0.0
    if path.exists():
        saved = load_checkpoint(path, device)
        arch = saved["config"]["arch"]
        if arch != config.arch:
            raise UsageError(f"{path} holds a network {arch}; expected {config.arch}. Give another --out.")
        model.load_state_dict(saved["model"])
        average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        step, seconds = saved["step"], saved["seconds"]
    wrapped = nn.parallel.DistributedDataParallel(model) if world > 1 else model
    loader = DataLoader(
        Pieces(config, step, rank, augment), config.batch, num_workers=config.workers,
        worker_init_fn=_quiet, prefetch_factor=4 if config.workers else None,
        multiprocessing_context="spawn" if config.workers else None,  # a fork of a process with threads may hang
    )  # fmt: skip
    begin, shown = time.time(), time.time()
    first, kept = step, step if path.exists() else -1
    mean = dict.fromkeys(("loss", "ink", "dice", "labels", "turn"), 0.0)  # of the last 100 steps or so
    for batch in loader:
        late = torch.tensor(float(time.time() - begin > 60 * config.minutes), device=device)
        if world > 1:  # all stop at the same step, or some would wait for the others for ever
            torch.distributed.broadcast(late, 0)
        if step >= config.steps or late:
            break
        image, *rest = (part.to(device, non_blocking=True) for part in batch)
        rate = rate_at(step, config)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(device.type, torch.bfloat16, enabled=config.bf16):
            seen = wrapped((image.float() / 255).contiguous(memory_format=layout))
        loss, parts = loss_of(seen, (image, *rest))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        average.update_parameters(model)
        step += 1
        for key, value in {"loss": loss, **parts}.items():
            mean[key] += (float(value.detach()) - mean[key]) / min(step - first, 100)
        if rank == 0 and (time.time() - shown > 30 or step % config.check == 0):
            shown = time.time()
            spent = seconds + shown - begin
            losses = "  ".join(f"{k} {v:.4f}" for k, v in mean.items())
            print(f"step {step}/{config.steps}  {spent / 60:.1f} min  {losses}", file=sys.stderr, flush=True)
        if rank == 0 and step % config.check == 0:
            _keep(path, config, model, average, optimizer, step, seconds + time.time() - begin)
            _look(out, step, average.module, held_out, device, mean)
            kept = step
    if rank == 0 and step != kept:
        _keep(path, config, model, average, optimizer, step, seconds + time.time() - begin)
        _look(out, step, average.module, held_out, device, mean)
    if world > 1:
        torch.distributed.barrier()  # or one would hang up on another that is still at work
        torch.distributed.destroy_process_group()
    return path


def _quiet(_: int) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def _keep(
    path: Path, config: Config, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, step: int,
    seconds: float,
) -> None:  # fmt: skip
    part = path.with_suffix(".part")
    torch.save(
        {
            "config": {k: v for k, v in asdict(config).items() if k != "pages"}, "step": step, "seconds": seconds,
            "model": model.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict(),
        },
        part,
    )  # fmt: skip
    part.replace(path)


def _look(
    out: Path, step: int, model: nn.Module, batches: list[Batch], device: torch.device, mean: dict[str, float]
) -> None:
    figures, picture = check(model, batches, device)
    cv2.imwrite(str(out / "seen.png"), picture[..., ::-1])
    row = {"step": step, **{f"train {k}": v for k, v in mean.items()}, **figures}
    log = out / "log.csv"
    fresh = not log.exists()
    with log.open("a", newline="") as stream:
        table = csv.DictWriter(stream, list(row))
        if fresh:
            table.writeheader()
        table.writerow({k: f"{v:.5g}" for k, v in row.items()})
    print("held out: " + "  ".join(f"{k} {v:.4f}" for k, v in figures.items()), file=sys.stderr, flush=True)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m digitizer.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add, default = p.add_argument, Config()
    add(
        "--src", nargs="+", default=list(default.src), metavar="KIND[:ROOT]",
        help="where records come from, such as ptbxl:DIR wfdb:DIR (default: samples); @START:STOP takes a part",
    )  # fmt: skip
    add(
        "--recipes", nargs="+", metavar="NAME[=WEIGHT]",
        help="what happens to the pages (default: clean=1 random=9)",
    )  # fmt: skip
    helps = {
        "out": "folder for the checkpoint, the log and pictures",
        "skip": "records of the first source kept for validation, at most a quarter",
        "arch": "small, small:WIDTHS or smp:ENCODER", "start": "folder of exported weights to go on from",
        "size": "px of a piece", "batch": "pieces in a step",
        "steps": "in all", "pieces": "of each page", "shuffle": "pieces that wait to be drawn", "rate": "of learning",
        "decay": "of weights", "warmup": "steps", "clip": "of the gradient's norm", "ema": "of the kept weights",
        "threads": "of torch", "workers": "processes that make pages", "seed": "of everything",
        "minutes": "to stop after", "check": "steps between checkpoints", "limit": "validation pieces",
    }  # fmt: skip
    for f in fields(Config):
        if f.name in helps:
            value = getattr(default, f.name)
            add(f"--{f.name}", type=type(value), default=value, help=f"{helps[f.name]} (default: {value})")
    add("--no-bf16", dest="bf16", action="store_false", help="compute in float32 throughout")
    return p


@command()
def main(argv: list[str] | None = None) -> int:
    options = vars(parser().parse_args(argv))
    recipes = options.pop("recipes")
    options["src"] = tuple(options["src"])
    pages = Mixture()
    try:
        if recipes:
            pairs = [r.partition("=") for r in recipes]
            pages = Mixture(recipes=tuple((name, float(weight or 1)) for name, _, weight in pairs))
        print(train(Config(**options, pages=pages)))
    except ValueError as error:  # of a recipe's weight, a setting, or an architecture
        raise UsageError(str(error)) from error
    return 0


if __name__ == "__main__":
    sys.exit(main())
