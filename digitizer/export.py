"""export: a trained network as ONNX with its card, as ``ecg-digitize --weights`` reads it.

python -m digitizer.export run/checkpoint.pt --out weights
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
from pathlib import Path
from typing import Any

import numpy as np

try:
    import torch
    from torch import Tensor, nn
except ModuleNotFoundError as error:
    from ecg_image_kit.errors import missing

    raise missing(error, "train", __name__) from error

from ecg_image_kit.command import command

from .model import build, load_checkpoint
from .network import PX_PER_MM
from .patches import LABELS, PEN

_CLOSE = 1e-3  # of any probability


class Probabilities(nn.Module):
    """The network with shares and probabilities for logits."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        seen = self.net(image)
        return torch.sigmoid(seen.ink), torch.softmax(seen.labels, 1), torch.softmax(seen.turn, 1)


def export(checkpoint: str | os.PathLike[str], out: str | os.PathLike[str], compute: str = "") -> Path:
    """Write ``reader.onnx`` and its card ``reader.json`` into the folder ``out``; returns the card's path.

    Args:
        compute: in words, what it was trained on, for the card.

    Raises:
        UsageError: no such checkpoint, or not one. RuntimeError: ONNX Runtime gives something other than torch.
    """
    import onnxruntime

    path, out = Path(checkpoint), Path(out)
    saved = load_checkpoint(path)
    net = build(saved["config"]["arch"])
    net.load_state_dict({k.removeprefix("module."): v for k, v in saved["average"].items() if k.startswith("module.")})
    model = Probabilities(net).eval()
    out.mkdir(parents=True, exist_ok=True)
    onnx = out / "reader.onnx"
    part = onnx.with_suffix(".part")
    sides = {2: "height", 3: "width"}
    outputs = ["ink", "labels", "turn"]
    torch.onnx.export(
        model, (torch.rand(1, 3, 256, 256),), str(part), dynamo=False, opset_version=17, input_names=["image"],
        output_names=outputs, dynamic_axes={"image": sides, **{name: sides for name in outputs}},
    )  # fmt: skip
    image = torch.rand(1, 3, 160, 224)
    with torch.no_grad():
        expected = [part_.numpy() for part_ in model(image)]
    session = onnxruntime.InferenceSession(str(part), providers=["CPUExecutionProvider"])
    given = session.run(None, {"image": image.numpy()})
    worst = max(float(np.abs(a - b).max()) for a, b in zip(expected, given, strict=True))
    if worst > _CLOSE:
        raise RuntimeError(f"the exported network differs from torch by {worst:.2g}; expected at most {_CLOSE:g}.")
    part.replace(onnx)
    card: dict[str, Any] = {
        "what": "sees traces, calibration pulses, lead names and which way is up on pages of ECGs laid flat",
        "input": "image (1, 3, H, W) float32 RGB, 0 to 1, H and W multiples of 32",
        "px_per_mm": PX_PER_MM,
        "pen_mm": PEN,
        "labels": list(LABELS),
        "outputs": {
            "ink": "(1, 2, H, W) coverage by traces, by calibration pulses",
            "labels": "(1, labels, H/4, W/4) probabilities",
            "turn": "(1, 4, H/16, W/16) probabilities of quarter turns anticlockwise",
        },
        "parameters": sum(p.numel() for p in net.parameters()),
        "training": _plain(saved["config"]),
        "steps": saved["step"],
        "minutes": round(saved["seconds"] / 60, 1),
        "compute": compute,
        "commit": commit(),
        "difference_from_torch": float(f"{worst:.2g}"),
        "licence": "that of this project",
        "sha256": hashlib.sha256(onnx.read_bytes()).hexdigest(),
    }
    path = out / "reader.json"
    path.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return path


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration as JSON knows it, without the machine's folders: of sources only their kinds."""
    config = {k: None if v == math.inf else v for k, v in config.items() if k != "out"}
    return {**config, "src": [spec.partition(":")[0] for spec in config["src"]]}


def commit() -> str:
    """Of the repository, if this is run in one."""
    if shutil.which("git") is None:
        return ""
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent)
    return done.stdout.strip()


@command()
def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(
        prog="python -m digitizer.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("checkpoint", help="checkpoint.pt of a training run")
    p.add_argument("--out", default="weights", help="folder for reader.onnx and reader.json (default: weights)")
    p.add_argument("--compute", default="", help="what it was trained on, for the card")
    options = p.parse_args(argv)
    print(export(options.checkpoint, options.out, options.compute))
    return 0


if __name__ == "__main__":
    sys.exit(main())
