"""train: a GAN of ECGs on one's own records. Read it from top to bottom.

python -m synth.train --model pulse2pulse --data wfdb:DIR --out run
python -m synth.train --model pulse2pulse --data wfdb:DIR --out run --minutes 60     # goes on where it stopped
torchrun --nproc-per-node 4 -m synth.train --model wavegan --data ptbxl:DIR wfdb:DIR2 --out run

Writes to --out: ``checkpoint.pt`` (all that is needed to go on), ``log.csv``, ``losses.png``, and ``preview.png``, ECGs
of the averaged generator on paper (``previews/`` keeps each). Then: python -m synth.export run --out weights
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import pickle
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

try:
    import torch
    from torch import Tensor, nn
    from torch.nn import functional as F
except ModuleNotFoundError as error:
    from ecg_image_kit.errors import missing

    raise missing(error, "train", __name__) from error

from ecg_image_kit import EcgError, Layout, Record, Style, render
from ecg_image_kit.command import command
from ecg_image_kit.errors import ImplausibleAmplitude, RecordError, UsageError
from ecg_image_kit.sources.parts import open_part, split_part

from .arrange import ADAPTED, ARRANGEMENTS, Arrangement, arrangement
from .condition import LEADS8
from .image_gan import SMALLEST, Discriminator, ImageGenerator
from .pulse2pulse import PulseGenerator
from .wavegan import Critic, WaveGenerator, check_length, gradient_penalty

I16 = NDArray[np.int16]
MODELS = ("pulse2pulse", "wavegan", "image")


@dataclass(frozen=True)
class Config:
    """What is trained, on what, and how; each value's reason beside it. Published: Thambawita et al., 2021."""

    model: str = "pulse2pulse"  # one of MODELS
    data: tuple[str, ...] = ("samples",)  # sources of records with leads I, II, V1 to V6, each KIND or KIND:ROOT
    out: str = "run"
    scp: str = ""  # of sources with labels only records with these codes or classes: NORM, published, are normal ECGs
    skip_last: int = 0  # last records of each source, which are never seen: for evaluation
    drop_bad: bool = False  # leave out records that cannot be used, rather than stop at the first
    samples: int = 5000  # of an ECG; published: 5000
    fs: float = 500.0  # Hz
    scale: float = 1.5  # mV. Signals are tanh(mV / scale), so that small waves are not tiny and nothing is cut off;
    soft: bool = True  # published: mV / 6, hard. Of the image GAN, see arrange.
    steps: int = 100_000  # of the generator; published: 2500 epochs of 7233 ECGs
    batch: int = 32  # published
    critic_steps: int = 5  # to one of the generator; published. Fewer learn faster at first. Image GAN: always 1
    width: int = 50  # channels of the critic's first layer; published: 50 (204 M parameters); 8 to 16 are affordable
    slope: float = 0.01  # of the leaky ReLU in Pulse2Pulse's encoder; as the authors' code has it
    shuffle: int = 2  # samples, phase shuffle; published
    penalty: float = 10.0  # on the critic's gradient; published
    penalty_share: float = 1.0  # of the batch on which it is computed: a mean over fewer ECGs, and as much cheaper
    rate: float = 1e-4  # Adam; published. Image GAN: 2e-4 is usual
    beta1: float = 0.5  # published
    beta2: float = 0.9  # published. Image GAN: 0.999 is usual
    ema: float = 0.999  # of the generator's weights that are kept
    arrangement: str = "fold"  # of the image GAN, one of arrange.ARRANGEMENTS
    limit: float = ADAPTED  # mV that become white: the adapted range; the full one is arrange.FULL
    features: int = 32  # channels of the image GAN's largest layers
    r1: float = 0.0  # weight of the image GAN's discriminator's slope at real images; steadier, and dearer by a tenth
    patience: int = 0  # stop once the judge of the image GAN has found it no better for so many checks; 0: never
    bf16: bool = True  # where the device knows it, up to twice as fast; weights and losses stay in float32
    threads: int = 2  # of torch
    seed: int = 0
    minutes: float = math.inf  # to stop after, with a checkpoint
    check: int = 250  # steps between checkpoints, and pictures


_R1_EVERY = 4  # steps


class Diverged(EcgError):
    """Losses, weights or ECGs that are not finite: nothing can be learnt from there."""


# What numbers may be; NaN is none of it.
_LIMITS: tuple[tuple[str, Callable[[float], bool], str], ...] = (
    ("samples batch steps critic_steps width features check", lambda x: x >= 1, "1 or more"),
    ("skip_last shuffle patience minutes", lambda x: x >= 0, "0 or more"),
    ("penalty r1", lambda x: 0 <= x < math.inf, "0 or more"),
    ("scale limit rate", lambda x: 0 < x < math.inf, "more than 0"),
    ("penalty_share", lambda x: 0 < x <= 1, "more than 0, at most 1"),
    ("slope beta1 beta2 ema", lambda x: 0 <= x < 1, "0 or more, less than 1"),
    ("fs", lambda x: 1 <= x <= 1e5, "1 to 100000 Hz"),
    ("threads", lambda x: 1 <= x <= 1024, "1 to 1024"),
    ("seed", lambda x: 0 <= x < 2**63, "0 or more, less than 2^63"),
)


def _check(config: Config) -> None:
    """Raises UsageError for what no training can be made of; ``build`` for what its networks cannot."""
    for names, allowed, words in _LIMITS:
        for name in names.split():
            if not allowed(value := getattr(config, name)):
                raise UsageError(f"--{name.replace('_', '-')} {value}; expected {words}.")
    if config.arrangement not in ARRANGEMENTS:
        raise UsageError(f"--arrangement {config.arrangement!r}; expected one of {', '.join(ARRANGEMENTS)}.")


# Data


def load_data(config: Config) -> I16:
    """(N, 8, samples) microvolts, held in memory: windows that do not overlap, of every record of every source.

    Raises:
        UsageError: no records. RecordError: one without a lead, too short, with unknown samples, or in wrong units
        (unless ``drop_bad``; then it is left out, and how many is said).
    """
    windows: list[I16] = []
    bad: list[str] = []
    for spec in config.data:
        for source, name in _names(spec, config):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error", ImplausibleAmplitude)
                    windows += windows_of(source.load(name), config)
            except (RecordError, ImplausibleAmplitude) as error:
                if not config.drop_bad:
                    raise RecordError(f"{spec}, record {name}: {error} --drop-bad leaves such records out.") from None
                bad.append(f"{name}: {error}")
    if bad:
        print(f"{len(bad)} records left out, the first: {bad[0]}", file=sys.stderr)
    if not windows:
        raise UsageError(f"no records to train on in {', '.join(config.data)}. Check --data, --scp and --skip-last.")
    return np.stack(windows)


def _names(spec: str, config: Config) -> Iterator[tuple[Any, str]]:
    options: dict[str, Any] = {"fs": 500} if spec.partition(":")[0] == "ptbxl" else {}
    source, names = open_part(spec, **options)
    if config.skip_last >= len(names):
        raise UsageError(
            f"--skip-last {config.skip_last} of {len(names)} records of {spec}; expected fewer than each source has."
        )
    chosen = set(names[: len(names) - config.skip_last])
    if config.scp:
        if not hasattr(source, "scp"):
            raise UsageError(
                f"--scp {config.scp} of {spec}, whose records cannot be chosen by labels; expected ptbxl:DIR or "
                "samples. Leave --scp out, or give a folder of the chosen records alone."
            )
        source, _ = open_part(split_part(spec)[0], **options, scp=tuple(config.scp.split(",")))
    yield from ((source, name) for name in source.names() if name in chosen)


def windows_of(record: Record, config: Config) -> list[I16]:
    """A record's windows of (8, samples) microvolts. Raises RecordError."""
    if missing := [lead for lead in LEADS8 if lead not in record.leads]:
        raise RecordError(f"no lead {', '.join(missing)}; expected {', '.join(LEADS8)}.")
    record = record.select(LEADS8).resample(config.fs)
    count = record.mv.shape[1] // config.samples
    if not count:
        need = config.samples / config.fs
        raise RecordError(f"{record.duration:g} s; expected {need:g} s or more ({config.samples} samples).")
    mv = record.mv[:, : count * config.samples]
    if unknown := int(np.isnan(mv).sum()):
        raise RecordError(f"{unknown} unknown samples (NaN); expected none, for a network would learn nothing else.")
    record.check_amplitude()  # a warning, which the caller makes an error
    units = np.clip(np.round(mv * 1000), -32767, 32767).astype(np.int16)
    return list(units.reshape(len(LEADS8), count, config.samples).transpose(1, 0, 2))


# Networks


def build(config: Config) -> tuple[nn.Module, nn.Module]:
    """Generator and critic. Raises UsageError for a model, length, shuffle or arrangement that is not possible."""
    shape = {"leads": len(LEADS8), "samples": config.samples}
    if config.model not in MODELS:
        raise UsageError(f"--model {config.model!r}; expected one of {', '.join(MODELS)}.")
    if config.model == "image":
        planes, rows, columns = layout_of(config).shape
        if min(rows, columns) < SMALLEST:
            raise UsageError(
                f"--samples {config.samples} are an image of {rows} x {columns}; expected {SMALLEST} x {SMALLEST} or "
                "more. Give more samples."
            )
        return ImageGenerator(planes, rows, columns, config.features), Discriminator(
            planes, rows, columns, config.features
        )
    check_length(config.samples)
    critic = Critic(**shape, width=config.width, shuffle=config.shuffle)
    if config.model == "wavegan":
        return WaveGenerator(**shape), critic
    return PulseGenerator(**shape, slope=config.slope), critic


def layout_of(config: Config) -> Arrangement:
    return arrangement(config.arrangement, len(LEADS8), config.samples, config.fs, config.limit)


def to_network(units: I16, config: Config) -> Tensor:
    """(N, 8, samples) microvolts -> what the critic sees, in [-1, 1]."""
    mv = units.astype(np.float32) / 1000
    if config.model == "image":
        layout = layout_of(config)
        return torch.from_numpy(np.stack([layout.encode(one) for one in mv]))
    x = torch.from_numpy(mv) / config.scale
    return torch.tanh(x) if config.soft else x.clamp(-1, 1)


def to_mv(raw: Tensor, config: Config) -> NDArray[np.float32]:
    """What the generator gives (before tanh) -> (N, 8, samples) mV."""
    if config.model == "image":
        layout = layout_of(config)
        return np.stack([layout.decode(one) for one in torch.tanh(raw.float()).numpy()])
    mv = raw.float() * config.scale if config.soft else torch.tanh(raw.float()) * config.scale
    return np.asarray(mv.clamp(-10, 10).numpy(), np.float32)


def noise(generator: nn.Module, count: int, device: torch.device | str = "cpu") -> Tensor:
    """(count, ...) U(-1, 1), as the generator takes it."""
    shape: tuple[int, ...] = generator.shape  # type: ignore[assignment]
    return torch.rand(count, *shape, device=device) * 2 - 1


# Training


def knows_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is faster there than float32: where it is emulated, it is 2 to 16 times slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    known = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # not public, so perhaps not for ever
    return any(getattr(torch.cpu, name, bool)() for name in known)


class Trainer:
    """Two networks, their optimizers, and the average that is kept; ``step`` is one update of the generator.

    ``spread``: (8,) mV, how far the data's leads spread. ``bf16``: whether it computes in that.
    """

    def __init__(self, config: Config, data: I16, device: torch.device, rank: int = 0, world: int = 1) -> None:
        self.config, self.data, self.device, self.rank, self.world = config, data, device, rank, world
        torch.manual_seed(config.seed)  # the same weights in all processes
        generator, critic = build(config)
        self.generator, self.critic = generator.to(device), critic.to(device)
        self.average = torch.optim.swa_utils.AveragedModel(
            self.generator,
            multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(config.ema),  # type: ignore[no-untyped-call]
            use_buffers=True,
        ).eval()  # for good: looking at what it makes must not move the BatchNorm statistics that are exported
        self.bf16 = config.bf16 and knows_bf16(device)
        # Lead by lead: a copy of all data in float64 would take four times their room.
        self.spread = np.array([data[:, lead].std() for lead in range(data.shape[1])]) / 1000
        betas = (config.beta1, config.beta2)
        self.optimizers = [
            torch.optim.Adam(net.parameters(), config.rate, betas) for net in (self.generator, self.critic)
        ]
        self.steps, self.seconds = 0, 0.0

    def step(self) -> dict[str, float]:
        """One of the generator after several of the critic; each process has its own ECGs and noise."""
        config = self.config
        rng = np.random.default_rng([config.seed, self.steps, self.rank])
        torch.manual_seed(int(rng.integers(2**31)))  # so that a run that was stopped goes on as if it had not been
        # An average of few weights is of those of the start: it begins short.
        decay = min(config.ema, (1 + self.steps) / (10 + self.steps))
        self.average.multi_avg_fn = torch.optim.swa_utils.get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        figures = self._images(rng) if config.model == "image" else self._wasserstein(rng)
        self.average.update_parameters(self.generator)
        self.steps += 1
        return figures

    def _wasserstein(self, rng: np.random.Generator) -> dict[str, float]:
        config, part = self.config, max(1, round(self.config.batch * self.config.penalty_share))
        distance = penalty = torch.zeros(())
        self.critic.requires_grad_(True)
        for _ in range(config.critic_steps):
            real = self._real(rng)
            with torch.no_grad():
                fake = self._fake()
            with self._fast():
                distance = (self.critic(real) - self.critic(fake)).float().mean()
                penalty = gradient_penalty(self.critic, real[:part], fake[:part])
            self._update(1, config.penalty * penalty - distance)
        self.critic.requires_grad_(False)  # its weights' gradients are not wanted now
        with self._fast():
            score = self.critic(self._fake()).float().mean()
        self._update(0, -score)
        return {
            "distance": float(distance.detach()),
            "penalty": float(penalty.detach()),
            "score": float(score.detach()),
        }

    def _images(self, rng: np.random.Generator) -> dict[str, float]:
        """Cross-entropy, in the form that does not saturate (Goodfellow et al., 2014; Radford et al., ICLR 2016)."""
        real = self._real(rng)
        steady = self.config.r1 > 0 and self.steps % _R1_EVERY == 0
        real.requires_grad_(steady)
        self.critic.requires_grad_(True)
        with self._fast():
            fake = self._fake()
            said_real, said_fake = self.critic(real).float(), self.critic(fake.detach()).float()
        # One-sided smoothing (Salimans et al., NeurIPS 2016) keeps the discriminator from certainty.
        told = F.binary_cross_entropy_with_logits(said_real, torch.full_like(said_real, 0.9))
        told = told + F.binary_cross_entropy_with_logits(said_fake, torch.zeros_like(said_fake))
        loss = told
        if steady:  # Mescheder, Geiger and Nowozin, ICML 2018; now and then is enough (Karras et al., CVPR 2020)
            # BatchNorm ties the images of a batch, so that these are the slopes of single ones only nearly.
            (grad,) = torch.autograd.grad(said_real.sum(), real, create_graph=True)
            loss = told + 0.5 * _R1_EVERY * self.config.r1 * grad.flatten(1).square().sum(dim=1).mean()
        self._update(1, loss)
        self.critic.requires_grad_(False)
        with self._fast():
            said = self.critic(fake).float()
        fooled = F.binary_cross_entropy_with_logits(said, torch.ones_like(said))
        self._update(0, fooled)
        right = ((said_real > 0).float().mean() + (said_fake < 0).float().mean()) / 2
        return {"discriminator": float(told.detach()), "generator": float(fooled.detach()), "told apart": float(right)}

    def _fast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def _real(self, rng: np.random.Generator) -> Tensor:
        picked = rng.integers(len(self.data), size=self.config.batch)
        return to_network(self.data[picked], self.config).to(self.device)

    def _fake(self) -> Tensor:
        with self._fast():
            raw = self.generator(noise(self.generator, self.config.batch, self.device))
        return torch.tanh(raw.float())

    def _update(self, which: int, loss: Tensor) -> None:
        optimizer = self.optimizers[which]
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self.world > 1:  # by hand: DistributedDataParallel does not know a gradient's gradient
            grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            flat = torch.cat([grad.flatten() for grad in grads])
            torch.distributed.all_reduce(flat)
            for grad, mean in zip(grads, torch.split(flat / self.world, [g.numel() for g in grads]), strict=True):
                grad.copy_(mean.view_as(grad))
        optimizer.step()

    def finite(self) -> bool:
        """Whether all that is kept of the networks is."""
        nets = (self.generator, self.critic, self.average)
        return all(bool(torch.isfinite(value).all()) for net in nets for value in net.state_dict().values())

    def state(self) -> dict[str, Any]:
        return {
            "config": {**asdict(self.config), "bf16": self.bf16},
            "step": self.steps, "seconds": self.seconds, "records": len(self.data),
            "generator": self.generator.state_dict(), "critic": self.critic.state_dict(),
            "average": self.average.state_dict(), "optimizers": [each.state_dict() for each in self.optimizers],
        }  # fmt: skip

    def restore(self, saved: dict[str, Any], path: Path) -> None:
        """Raises UsageError if ``saved`` is of another network."""
        same = ("model", "samples", "width", "slope", "arrangement", "features", "limit", "scale", "soft", "fs")
        before = saved["config"]
        if other := [
            f"{key} was {before[key]}, is {getattr(self.config, key)}"
            for key in same
            if before[key] != getattr(self.config, key)
        ]:
            raise UsageError(
                f"{path} holds another network: {'; '.join(other)}. Give another --out, or the same again."
            )
        for name in ("generator", "critic", "average"):
            getattr(self, name).load_state_dict(saved[name])
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
            for group in optimizer.param_groups:
                group.update(lr=self.config.rate, betas=(self.config.beta1, self.config.beta2))
        self.steps, self.seconds = saved["step"], saved["seconds"]

    def sample(self, count: int, seed: int = 0) -> NDArray[np.float32]:
        """(count, 8, samples) mV of the averaged generator."""
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(seed)
            raw = self.average(noise(self.generator, count).to(self.device)).cpu()
        return to_mv(raw, self.config)


def train(config: Config) -> Path:
    """Train, going on from the checkpoint in ``config.out`` if there is one; returns the checkpoint's path.

    Raises:
        UsageError: a configuration that cannot be, no records, or another network's checkpoint in the way.
        RecordError: a record that nothing can be learnt from. Diverged: losses that are no numbers any more; what was
        kept before stays. KeyboardInterrupt: on Ctrl-C, with all steps until then kept.
    """
    _check(config)
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    if world > 1:
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    torch.set_num_threads(config.threads)
    build(config)  # complains before the data are read
    trainer = Trainer(config, load_data(config), device, rank, world)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "checkpoint.pt"
    if path.exists():
        trainer.restore(load_checkpoint(path, device), path)
    before, begin, first = trainer.seconds, time.time(), trainer.steps
    mean: dict[str, float] = {}
    best, waited, kept = math.inf, 0, trainer.steps if path.exists() else -1
    with _bar(config.steps, trainer.steps, rank) as bar, _interrupt(world) as interrupt:
        while trainer.steps < config.steps:
            late = time.time() - begin > 60 * config.minutes or 0 < config.patience <= waited
            stop = torch.tensor(float(late or interrupt.asked), device=device)
            if world > 1:  # all stop at the same step, or some would wait for the others for ever
                torch.distributed.broadcast(stop, 0)
            if stop:
                break
            figures = trainer.step()
            if not all(map(math.isfinite, figures.values())):
                raise _diverged(", ".join(f"{key} {value:g}" for key, value in figures.items()), trainer, path)
            for key, value in figures.items():
                mean[key] = mean.get(key, value) + (value - mean.get(key, value)) / min(trainer.steps - first, 50)
            bar(mean)
            if rank == 0 and trainer.steps % config.check == 0:
                trainer.seconds = before + time.time() - begin
                kept = trainer.steps
                judged = _keep(path, trainer, mean)
                waited = 0 if judged < best else waited + 1
                best = min(best, judged)
        if rank == 0 and trainer.steps != kept:
            trainer.seconds = before + time.time() - begin
            _keep(path, trainer, mean)
    if world > 1:
        torch.distributed.barrier()  # or one would hang up on another that is still at work
        torch.distributed.destroy_process_group()
    if interrupt.asked and trainer.steps < config.steps:
        raise KeyboardInterrupt(f"{path} keeps all {trainer.steps} steps; the same command goes on from there.")
    return path


def _diverged(what: str, trainer: Trainer, path: Path) -> Diverged:
    kept = f"{path} is still the last good one: go on from it" if path.exists() else "Nothing was kept: begin again"
    return Diverged(
        f"step {trainer.steps}: {what}; expected finite numbers. {kept} with a --rate below {trainer.config.rate:g}."
    )


class _interrupt:
    """Ctrl-C ends a training after the step at hand, so that what is kept is whole; a second one ends it at once.

    In several processes the second one does not count: torchrun hands on its own to those that had the terminal's.
    """

    def __init__(self, world: int) -> None:
        self.world, self.asked = world, False

    def __enter__(self) -> _interrupt:
        # Where Ctrl-C is ignored or somebody else's, or this is not the main thread, it is left alone.
        main = threading.current_thread() is threading.main_thread()
        self.mine = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self.mine:
            signal.signal(signal.SIGINT, self._ask)
        return self

    def _ask(self, *_: object) -> None:
        if self.asked and self.world == 1:
            raise KeyboardInterrupt
        self.asked = True

    def __exit__(self, *_: object) -> None:
        if self.mine:
            signal.signal(signal.SIGINT, signal.default_int_handler)


class _bar:
    """Progress: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, total: int, done: int, rank: int) -> None:
        self.total, self.done, self.rank, self.shown = total, done, rank, time.time()
        self.tqdm: Any = None

    def __enter__(self) -> _bar:
        if self.rank == 0 and sys.stderr.isatty():
            from tqdm import tqdm

            self.tqdm = tqdm(total=self.total, initial=self.done, unit=" steps", dynamic_ncols=True)
        return self

    def __call__(self, mean: dict[str, float]) -> None:
        self.done += 1
        if self.tqdm:
            self.tqdm.set_postfix({k: f"{v:.3g}" for k, v in mean.items()}, refresh=False)
            self.tqdm.update()
        elif self.rank == 0 and time.time() - self.shown > 30:
            self.shown = time.time()
            losses = "  ".join(f"{k} {v:.4f}" for k, v in mean.items())
            print(f"step {self.done}/{self.total}  {losses}", file=sys.stderr, flush=True)

    def __exit__(self, *_: object) -> None:
        if self.tqdm:
            self.tqdm.close()


# What is kept, and looked at

_KEPT = {"config", "step", "seconds", "records", "generator", "critic", "average", "optimizers"}


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """What a training run keeps, with all fields of ``Config``. Runs no code of the file. Raises UsageError."""
    try:
        saved: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        config = saved["config"]  # the first ones kept neither the slope, which was 0.2, nor r1, which there was not
        config.setdefault("slope", 0.2 if config["model"] == "pulse2pulse" else Config.slope)
        config.setdefault("r1", 0.0)
        for wanted, found in ((_KEPT, saved), ({f.name for f in fields(Config)}, config)):
            if other := sorted(wanted ^ set(found)):
                raise ValueError(f"{other[0]!r} is {'missing' if other[0] in wanted else 'not known'}")
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        why = str(error).partition("\n")[0]
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        why = f"{type(error).__name__}: {error}"
    else:
        return saved
    raise UsageError(f"{path} cannot be read ({why}); expected the checkpoint.pt of python -m synth.train.")


def _keep(path: Path, trainer: Trainer, mean: dict[str, float]) -> float:
    """Checkpoint, a line of the log, pictures. Returns what ``judge`` says of an image GAN, else 0."""
    fakes = trainer.sample(16)
    if not (np.isfinite(fakes).all() and trainer.finite()):  # the loss is of before the step's last update
        raise _diverged("its update made weights that are not finite", trainer, path)
    part = path.with_suffix(".part")
    torch.save(trainer.state(), part)
    part.replace(path)
    if not trainer.steps:
        return 0.0  # nothing to look at; and a log that began without losses would have no columns for them
    config = trainer.config
    spread = fakes.std(axis=(0, 2)) / (trainer.spread + 1e-9)
    row = {"step": trainer.steps, "minutes": trainer.seconds / 60, **mean, "spread": float(spread.mean())}
    judged = 0.0
    if config.model == "image":
        judged = row["judge"] = judge(trainer)
    log = path.with_name("log.csv")
    fresh = not log.exists()
    with log.open("a", newline="") as stream:
        table = csv.DictWriter(stream, list(row))
        if fresh:
            table.writeheader()
        table.writerow({k: f"{v:.5g}" for k, v in row.items()})
    picture = on_paper(fakes[:4], config)
    previews = path.with_name("previews")
    previews.mkdir(exist_ok=True)
    for file in (path.with_name("preview.png"), previews / f"{trainer.steps:06d}.png"):
        cv2.imwrite(str(file), picture[..., ::-1])
    cv2.imwrite(str(path.with_name("losses.png")), curves(log))
    print("  ".join(f"{k} {v:.4g}" for k, v in row.items()), file=sys.stderr, flush=True)
    return judged


def on_paper(mv: NDArray[np.float32], config: Config) -> NDArray[np.uint8]:
    """ECGs (N, 8, samples) mV as pages below each other, (H, W, 3) uint8 RGB."""
    pages = []
    for one in mv:
        record = Record(LEADS8, one, config.fs)
        layout = Layout.named("4x2", LEADS8, sheet="strip", columns="simultaneous")
        pages.append(render(record, layout, Style.of({"header": "none"}), dpi=60).image)
    return np.concatenate(pages)


def curves(log: Path, size: tuple[int, int] = (900, 240)) -> NDArray[np.uint8]:
    """The log's columns over its steps, a box each, (H, W, 3) uint8."""
    with log.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    width, height = size
    boxes = []
    for name in [key for key in rows[0] if key not in ("step", "minutes")]:
        y = np.array([float(row[name]) for row in rows])
        x = np.array([float(row["step"]) for row in rows])
        box = np.full((height, width, 3), 255, np.uint8)
        low, high = float(y.min()), float(y.max())
        points = np.stack(
            [60 + x / max(x[-1], 1) * (width - 80), height - 30 - (y - low) / (high - low + 1e-9) * (height - 70)],
            axis=1,
        )
        cv2.polylines(box, [np.round(points).astype(np.int32)[:, None]], False, (160, 60, 20), 2, cv2.LINE_AA)
        title = f"{name}: {low:.3g} to {high:.3g}, now {y[-1]:.3g}; step {x[-1]:.0f}"
        cv2.putText(box, title, (60, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        boxes.append(box)
    return np.concatenate(boxes)


def judge(trainer: Trainer, count: int = 128, passes: int = 4) -> float:
    """How well a fresh small classifier tells generated images from real ones it has not seen, 0.5 (not) to 1.

    An indirect measure of quality, and with ``patience`` the criterion to stop by (Piacentino et al., 2021, judge their
    GAN by a classifier and by no distance between images). The discriminator's own loss says little: it learns along.
    """
    rng = np.random.default_rng([trainer.config.seed, 7, trainer.steps])
    picked = rng.permutation(len(trainer.data))[: 2 * count]
    half = len(picked) // 2
    if half < 4:
        return 1.0
    real = to_network(trainer.data[picked], trainer.config).to(trainer.device)
    planes, rows, columns = real.shape[1:]
    with torch.random.fork_rng():
        torch.manual_seed(trainer.config.seed)
        with torch.no_grad():
            parts = [noise(trainer.generator, len(part), trainer.device) for part in np.array_split(picked, 8)]
            fake = torch.cat([torch.tanh(trainer.average(part).float()) for part in parts if len(part)])
        net = Discriminator(planes, rows, columns, 8).to(trainer.device)
        optimizer = torch.optim.Adam(net.parameters(), 1e-3)
        for _ in range(passes * max(1, half // 16)):
            at = torch.from_numpy(rng.integers(half, size=16))
            said = net(torch.cat([real[at], fake[at]]))
            truth = torch.cat([torch.ones(16), torch.zeros(16)]).to(trainer.device)
            loss = F.binary_cross_entropy_with_logits(said, truth)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        net.eval()
        with torch.no_grad():
            right = (net(real[half:]) > 0).float().mean() + (net(fake[half:]) < 0).float().mean()
    return float(right) / 2


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m synth.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = Config()
    p.add_argument("--model", choices=MODELS, default=default.model, help=f"(default: {default.model})")
    p.add_argument(
        "--data", nargs="+", default=list(default.data), metavar="KIND[:ROOT]",
        help="where records come from, such as ptbxl:DIR wfdb:DIR (default: samples); @START:STOP takes a part",
    )  # fmt: skip
    p.add_argument("--arrangement", choices=ARRANGEMENTS, default=default.arrangement, help="of ECGs into images")
    helps = {
        "out": "folder for checkpoint, log and pictures",
        "scp": "only records with these codes or classes, such as NORM; of ptbxl and samples, which have labels",
        "skip_last": "last records of each source, kept for evaluation", "samples": "of an ECG", "fs": "Hz",
        "scale": "mV", "limit": "mV of white, of the image GAN", "steps": "of the generator", "batch": "ECGs in a step",
        "critic_steps": "to one of the generator",
        "width": "of the critic: channels of its first layer", "slope": "of Pulse2Pulse's encoder, below 0",
        "shuffle": "samples, of phase shuffle",
        "penalty": "weight of the gradient penalty", "penalty_share": "of the batch on which it is computed",
        "rate": "of learning", "beta1": "of Adam", "beta2": "of Adam", "ema": "of the weights that are kept",
        "features": "of the image GAN",
        "r1": "weight of the image GAN's discriminator's slope (0: none; 1 keeps it from certainty)",
        "patience": "checks without progress to stop after (image GAN)",
        "threads": "of torch", "seed": "of everything", "minutes": "to stop after",
        "check": "steps between checkpoints",
    }  # fmt: skip
    for f in fields(Config):
        if f.name in helps:
            value = getattr(default, f.name)
            flag = f"--{f.name.replace('_', '-')}"
            p.add_argument(flag, type=type(value), default=value, help=f"{helps[f.name]} (default: {value})")
    p.add_argument("--drop-bad", action="store_true", help="leave out records that cannot be used")
    p.add_argument("--hard", dest="soft", action="store_false", help="scale and clip, as published, in place of tanh")
    p.add_argument(
        "--no-bf16", dest="bf16", action="store_false", help="in float32, even where the device knows bfloat16"
    )
    return p


@command()
def main(argv: list[str] | None = None) -> int:
    options = vars(parser().parse_args(argv))
    path = train(Config(**{**options, "data": tuple(options["data"])}))
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
