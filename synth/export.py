"""export: a trained generator as ONNX with its card, as ``synth.generate`` and ``--src gan:PATH`` read it.

python -m synth.export run --out weights
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    import torch
    from torch import Tensor, nn
except ModuleNotFoundError as error:
    from ecg_image_kit.errors import missing

    raise missing(error, "train", __name__) from error

from ecg_image_kit.adapters import optional
from ecg_image_kit.command import command
from ecg_image_kit.errors import EcgError, UsageError

from .condition import LEADS8
from .train import Config, build, layout_of, load_checkpoint, noise, to_mv
from .wavegan import UpConv

_CLOSE = 1e-3  # mV, from torch with the same rounded weights
_MOST = 16e6  # bytes
_SOURCES = {
    "ptbxl": "PTB-XL (Wagner et al., Sci Data 7:154, 2020), CC BY 4.0",
    "samples": "this project's own synthetic samples",
    "ecgsyn": "this project's own model of ECGs",
}


class Millivolts(nn.Module):
    """The generator with mV for what it gives before tanh; of an image, the image in [-1, 1] (see ``arrange``)."""

    def __init__(self, net: nn.Module, config: Config) -> None:
        super().__init__()
        self.net, self.config = net, config

    def forward(self, z: Tensor) -> Tensor:
        raw: Tensor = self.net(z)
        if self.config.model == "image":
            return torch.tanh(raw)
        return (raw if self.config.soft else torch.tanh(raw)).mul(self.config.scale).clamp(-10, 10)


def export(
    run: str | os.PathLike[str], out: str | os.PathLike[str], compute: str = "", data: str = "", half: bool = True
) -> Path:
    """Write ``MODEL.onnx`` and its card ``MODEL.json`` into the folder ``out``; returns the card's path.

    Args:
        run: the folder of a training run, or its checkpoint.pt.
        compute, data: in words, for the card: what it was trained on, and which records with which licence.
        half: keep weights in 16 bits, and the file under 16 MB; computing stays in 32.

    Raises:
        UsageError: no such checkpoint, or a network larger than 16 MB. ExportError: a network that makes no numbers,
        or ONNX Runtime gives something other than torch. Then what was in ``out`` is left as it was.
    """
    path, out = Path(run), Path(out)
    path = path / "checkpoint.pt" if path.is_dir() else path
    saved = load_checkpoint(path)
    config = Config(**{**saved["config"], "data": tuple(saved["config"]["data"])})
    net, _ = build(config)
    weights = {k.removeprefix("module."): v for k, v in saved["average"].items() if k.startswith("module.")}
    net.load_state_dict(weights, strict=False)
    net.eval()
    z = noise(net, 3)
    with torch.no_grad():
        before = to_mv(net(z), config)
        if half:
            for weight in net.parameters():
                weight.copy_(weight.half())
        for layer in [m for m in net.modules() if isinstance(m, UpConv)][:2]:  # at the bottom; faster so
            layer.joined = True
        model = Millivolts(net, config).eval()
        expected = model(z).numpy()
        rounding = float(np.abs(to_mv(net(z), config) - before).max())
    if not (np.isfinite(expected).all() and math.isfinite(rounding)):
        raise ExportError(
            f"what the generator of {path} makes is not finite; expected mV. Its training has gone astray: train it "
            "again with a lower --rate."
        )
    out.mkdir(parents=True, exist_ok=True)
    onnx = out / f"{config.model}.onnx"
    part = onnx.with_suffix(".part")
    try:
        worst = _write(model, z, expected, part, half)
        part.replace(onnx)
    finally:
        part.unlink(missing_ok=True)
    kinds = dict.fromkeys(spec.partition(":")[0] for spec in config.data)
    card: dict[str, Any] = {
        "what": "makes ECGs that belong to nobody, from noise",
        "model": config.model,
        "architecture": _ARCHITECTURES[config.model],
        "input": f"noise (ecgs, {', '.join(map(str, z.shape[1:]))}) float32, uniform in [-1, 1]",
        "noise": list(z.shape[1:]),
        "output": _output(config),
        "arrangement": {"name": config.arrangement, "limit_mv": config.limit} if config.model == "image" else None,
        "leads": list(LEADS8),
        "samples": config.samples,
        "fs": config.fs,
        "parameters": sum(p.numel() for p in net.parameters()),
        "data": data or "; ".join(_SOURCES.get(kind, f"the user's own ({kind})") for kind in kinds),
        "records": saved["records"],
        "training": _plain(saved["config"]),
        "steps": saved["step"],
        "minutes": round(saved["seconds"] / 60, 1),
        "seed": config.seed,
        "compute": compute,
        "commit": _commit(),
        "difference_from_torch_mv": float(f"{worst:.2g}"),
        "difference_by_rounding_weights_mv": float(f"{rounding:.2g}"),
        "licence": "that of this project",
        "sha256": hashlib.sha256(onnx.read_bytes()).hexdigest(),
    }
    path = out / f"{config.model}.json"
    path.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return path


class ExportError(EcgError):
    """A network that cannot be used."""


def _write(model: Millivolts, z: Tensor, expected: NDArray[np.float32], path: Path, half: bool) -> float:
    """The network as ONNX; returns by how much it differs from torch. Raises UsageError, ExportError."""
    import onnxruntime

    axes = {0: "ecgs", 2: "samples"} if model.config.model == "pulse2pulse" else {0: "ecgs"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the exporter itself, and shapes that are constants
        torch.onnx.export(
            model, (z,), str(path), dynamo=False, opset_version=17, input_names=["noise"], output_names=["ecg"],
            dynamic_axes={"noise": axes, "ecg": axes}, do_constant_folding=False,
        )  # fmt: skip
    if half:
        _halve(path)
    if half and path.stat().st_size > _MOST:
        raise UsageError(
            f"the network has {path.stat().st_size / 1e6:.1f} MB; expected at most {_MOST / 1e6:.0f} MB. --full writes "
            "it whatever its size."
        )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    worst = float(np.abs(session.run(None, {"noise": z.numpy()})[0] - expected).max())
    if not worst <= _CLOSE:  # nor is NaN
        raise ExportError(
            f"the exported network differs from torch by {worst:.2g}; expected at most {_CLOSE:g}. Try --full, and "
            "please report it."
        )
    return worst


_ARCHITECTURES = {
    "pulse2pulse": "Pulse2Pulse (Thambawita et al., Sci Rep 11:21896, 2021): U-Net from noise of an ECG's shape, "
    "WGAN-GP; upsampling and convolution merged, EMA of the weights",
    "wavegan": "WaveGAN* (Thambawita et al., Sci Rep 11:21896, 2021): from 100 numbers, WGAN-GP; upsampling and "
    "convolution merged, EMA of the weights",
    "image": "convolutional image GAN after Piacentino et al., Electronics 10:389, 2021 (DCGAN networks), EMA of the "
    "weights",
}


def _output(config: Config) -> str:
    if config.model == "image":
        return f"image (ecgs, {', '.join(map(str, layout_of(config).shape))}) float32 in [-1, 1]"
    return f"(ecgs, {len(LEADS8)}, samples) float32 mV"


def _halve(path: Path) -> None:
    """Large weights in 16 bits, cast to 32 when loaded."""
    onnx = optional("onnx")
    model = onnx.load(str(path))
    kept = []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size > 1000 and not np.isin(values, (0, 1)).all():
            name = f"{tensor.name}.half"
            kept.append(onnx.helper.make_node("Cast", [name], [tensor.name], to=onnx.TensorProto.FLOAT))
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), name))
    for node in reversed(kept):
        model.graph.node.insert(0, node)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration as JSON knows it, without the machine's folders: of sources only their kinds."""
    config = {k: None if v == math.inf else v for k, v in config.items() if k != "out"}
    return {**config, "data": [spec.partition(":")[0] for spec in config["data"]]}


def _commit() -> str:
    """Of the repository, if this is run in one."""
    if shutil.which("git") is None:
        return ""
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent)
    return done.stdout.strip()


@command()
def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(
        prog="python -m synth.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("run", help="folder of a training run")
    p.add_argument("--out", default="weights", help="folder for the network and its card (default: weights)")
    p.add_argument("--compute", default="", help="what it was trained on, for the card")
    p.add_argument("--data", default="", help="which records, and their licence, for the card")
    p.add_argument("--full", dest="half", action="store_false", help="weights in 32 bits")
    options = p.parse_args(argv)
    print(export(options.run, options.out, options.compute, options.data, options.half))
    return 0


if __name__ == "__main__":
    sys.exit(main())
