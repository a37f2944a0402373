"""fit_encoder: train the small network in whose features synth.evaluate compares ECGs (FID, KID, MMD). Torch.

python -m synth.fit_encoder --data ptbxl:PTBXL_ROOT@:-300 --out weights

A convolutional network is taught what ECGs are read for: the measures of synth.delineate, normality by rules, and
class, sex and age where they are known. Its last layer but one is the space. Records that serve for evaluation are left
out of the training, as above by @:-300. Writes ``encoder.onnx`` and its card ``encoder.json``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

try:
    import torch
    from torch import Tensor, nn
    from torch.nn import functional as F
except ModuleNotFoundError as error:
    from ecg_image_kit.errors import missing

    raise missing(error, "train", __name__) from error

from ecg_image_kit import __version__
from ecg_image_kit.command import command
from ecg_image_kit.errors import UsageError
from ecg_image_kit.record import Record, atomic_write

from .condition import CLASSES
from .encoder import FS
from .evaluate import MEASURES, Described, describe, open_records
from .scores import auroc, mean_of_known

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Config:
    """How the encoder is trained; the defaults made the one that ships."""

    epochs: int = 40
    batch: int = 32
    rate: float = 2e-3  # peak of one cycle; AdamW
    decay: float = 1e-2
    width: int = 64  # features that come out
    kept: float = 0.1  # of the records, to see how well it does
    noise: float = 0.02  # mV, of added white noise at most: noise is for the random encoder to see
    threads: int = 1
    seed: int = 0


class Network(nn.Module):
    """(N, 8, samples) mV at 500 Hz -> (N, width). Any length: the end is a mean and a maximum over time."""

    sizes = (24, 32, 48, 64, 96)

    def __init__(self, width: int) -> None:
        super().__init__()
        steps = ((8, 24, 15, 4), *((a, b, 9, 2) for a, b in zip(self.sizes, self.sizes[1:], strict=False)))
        self.layers = nn.Sequential(
            *(part for a, b, k, s in steps
              for part in (nn.Conv1d(a, b, k, s, padding=k // 2), nn.BatchNorm1d(b), nn.ReLU()))
        )  # fmt: skip
        self.out = nn.Linear(2 * self.sizes[-1], width)

    def forward(self, mv: Tensor) -> Tensor:
        x = self.layers(mv)
        pooled: Tensor = self.out(torch.cat([x.mean(dim=2), x.amax(dim=2)], dim=1))
        return pooled


def targets(d: Described) -> tuple[F32, NDArray[np.bool_]]:
    """(records, outputs), NaN where unknown: measures and age standardised, the rest 0 or 1; and which are 0 or 1."""
    labels = [[float(name in c) for name in CLASSES] if c else [np.nan] * len(CLASSES) for c in d.classes]
    measured = np.hstack([d.measures, d.person[:, 1:]])
    middle = np.nan_to_num(mean_of_known(measured))
    sd = np.sqrt(np.nan_to_num(mean_of_known((measured - middle) ** 2)))
    scaled = np.clip((measured - middle) / np.maximum(sd, 1e-6), -4, 4)
    table = np.hstack([scaled, d.normal[:, None], d.person[:, :1], labels]).astype(np.float32)
    return table, np.arange(table.shape[1]) >= scaled.shape[1]


def loss(out: Tensor, y: Tensor, binary: Tensor) -> Tensor:
    """Mean over what is known: Huber loss of numbers, cross-entropy of yes and no."""
    known = ~torch.isnan(y)
    y = torch.nan_to_num(y)
    each = torch.where(
        binary,
        F.binary_cross_entropy_with_logits(out, y.clamp(0, 1), reduction="none"),
        F.huber_loss(out, y, reduction="none"),
    )
    return (each * known).sum() / known.sum().clamp(min=1)


def train(d: Described, config: Config) -> tuple[Network, dict[str, float]]:
    """The network, and how well it tells the records that were kept: R² of numbers, AUROC of yes and no."""
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    mv = np.stack([d.signal(k) for k in range(len(d))])
    y, binary = targets(d)
    order = rng.permutation(len(d))
    kept, used = np.split(order, [max(1, round(config.kept * len(d)))])
    net, head = Network(config.width), nn.Linear(config.width, y.shape[1])
    both = [*net.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(both, config.rate, weight_decay=config.decay)
    steps = config.epochs * max(1, len(used) // config.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.rate, total_steps=steps)
    which = torch.from_numpy(binary)
    step, begin = 0, time.perf_counter()
    while step < steps:
        mixed = rng.permutation(used)
        for start in range(0, max(1, len(used) - config.batch + 1), config.batch):
            if step == steps:
                break
            rows = mixed[start : start + config.batch]
            x = np.stack([np.roll(mv[k], rng.integers(mv.shape[2]), axis=1) for k in rows])
            x += rng.uniform(0, config.noise, (len(rows), 1, 1)) * rng.standard_normal(x.shape)
            value = loss(head(F.relu(net(torch.from_numpy(x)))), torch.from_numpy(y[rows]), which)
            optimizer.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            step += 1
            if step % 200 == 0:
                print(
                    f"step {step} of {steps}, loss {value.item():.3f}, {time.perf_counter() - begin:.0f} s", flush=True
                )
    net.eval()
    with torch.no_grad():
        out = head(F.relu(net(torch.from_numpy(mv[kept])))).numpy()
    return net, _quality(out, y[kept], binary)


def _quality(out: F32, y: F32, binary: NDArray[np.bool_]) -> dict[str, float]:
    names = [*MEASURES, "age", "normal", "female", *CLASSES]
    found = {}
    for k, name in enumerate(names):
        known = np.isfinite(y[:, k])
        a, b = out[known, k], y[known, k]
        if binary[k]:
            value = auroc(a[b > 0.5], a[b <= 0.5])
        else:
            value = 1 - float(((a - b) ** 2).sum() / max(((b - b.mean()) ** 2).sum(), 1e-9)) if known.any() else np.nan
        if np.isfinite(value):
            found[("AUROC " if binary[k] else "R2 ") + name] = round(float(value), 3)
    return found


def export(net: Network, out: Path, card: dict[str, object]) -> Path:
    """Write encoder.onnx and encoder.json; returns the latter. Raises RuntimeError if ONNX Runtime disagrees."""
    import onnxruntime

    out.mkdir(parents=True, exist_ok=True)
    path, part = out / "encoder.onnx", out / "encoder.part"
    x = torch.randn(2, 8, 5000, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # about the exporter itself
        torch.onnx.export(
            net, (x,), str(part), dynamo=False, opset_version=17, input_names=["mv"], output_names=["features"],
            dynamic_axes={"mv": {0: "ecgs", 2: "samples"}, "features": {0: "ecgs"}},
        )  # fmt: skip
        expected = net(x).numpy()
    session = onnxruntime.InferenceSession(str(part), providers=["CPUExecutionProvider"])
    worst = float(np.abs(session.run(None, {"mv": x.numpy()})[0] - expected).max())
    if worst > 1e-3:
        raise RuntimeError(f"the exported network differs from torch by {worst:.2g}; expected at most 0.001.")
    part.replace(path)
    card = {**card, "difference_from_torch": float(f"{worst:.2g}"), "licence": "that of this project",
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}  # fmt: skip
    atomic_write(out / "encoder.json", (json.dumps(card, indent=1) + "\n").encode())
    return out / "encoder.json"


class _Joined(Sequence[Record]):
    """Records of several sources behind each other, read when asked for."""

    def __init__(self, parts: Sequence[Sequence[Record]]) -> None:
        self._at = [(part, k) for part in parts for k in range(len(part))]

    def __len__(self) -> int:
        return len(self._at)

    def __getitem__(self, k):  # type: ignore[no-untyped-def]
        part, place = self._at[k]
        return part[place]


def fit(records: Sequence[Record], out: Path, config: Config, data: str = "", compute: str = "") -> Path:
    """Describe, train, export; returns the card's path. Raises UsageError as ``describe`` does."""
    begin = time.perf_counter()
    d = describe(records, what="training")
    print(f"{len(d)} records, {len(d.left_out)} left out")
    net, quality = train(d, config)
    card: dict[str, object] = {
        "what": "encodes ECGs for the evaluation of synthetic ones",
        "made_by": f"synth.fit_encoder {__version__}",
        "input": "(records, 8, samples) float32 mV at 500 Hz, leads I, II, V1 to V6",
        "output": f"(records, {config.width}) float32",
        "fs": FS,
        "parameters": sum(p.numel() for p in net.parameters()),
        "data": data, "records": len(d), "labelled": sum(1 for c in d.classes if c),
        "training": asdict(config), "minutes": round((time.perf_counter() - begin) / 60, 1), "compute": compute,
        "on_records_kept_aside": quality,
    }  # fmt: skip
    return export(net, out, card)


@command()
def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(
        prog="python -m synth.fit_encoder", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--data", nargs="+", required=True, metavar="SPEC", help="records, as synth.evaluate takes them")
    p.add_argument("--out", default="weights", help="folder for the network and its card (default: weights)")
    p.add_argument("--epochs", type=int, default=Config.epochs)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--what", default="", help="which records, and their licence, for the card")
    p.add_argument("--compute", default="", help="what it was trained on, for the card")
    options = p.parse_args(argv)
    if options.epochs < 1 or options.threads < 1:
        raise UsageError(f"--epochs {options.epochs}, --threads {options.threads}; expected 1 or more.")
    config = Config(epochs=options.epochs, seed=options.seed, threads=options.threads)
    records = _Joined([open_records(spec) for spec in options.data])
    print(fit(records, Path(options.out), config, options.what, options.compute))
    return 0


if __name__ == "__main__":
    sys.exit(main())
