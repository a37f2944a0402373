"""model: the network that sees what is drawn on a page. Torch; for training only (reading runs its ONNX export)."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecg_image_kit.adapters import optional
from ecg_image_kit.errors import UsageError

from .network import LABEL_STRIDE
from .patches import LABELS


class Seen(NamedTuple):
    """What the network says of (N, 3, H, W) images, as logits.

    ink: (N, 2, H, W), covered by traces and by calibration pulses. labels: (N, len(LABELS), H / 4, W / 4).
    turn: (N, 4, H / 16, W / 16), quarter turns by which the paper there was turned anticlockwise.
    """

    ink: Tensor
    labels: Tensor
    turn: Tensor


class Block(nn.Sequential):
    """Two 3 x 3 convolutions, each normalised and rectified."""

    def __init__(self, inputs: int, outputs: int) -> None:
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(True)]
        super().__init__(*layers)


class SmallUNet(nn.Module):
    """A U-Net (Ronneberger et al., MICCAI 2015) whose body works at half the image's resolution and below.

    Pixels are folded 2 x 2 into channels on the way in and unfolded on the way out (Shi et al., CVPR 2016), where the
    image is looked at once more: four times cheaper than full resolution, and as sharp.

    Args:
        widths: channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the resolution.
    """

    def __init__(self, widths: Sequence[int] = (16, 32, 64, 96, 128)) -> None:
        super().__init__()
        if len(widths) != 5:
            raise ValueError(f"{len(widths)} widths; expected 5, for 1/2 to 1/32 of the resolution.")
        if widths[0] % 2 or min(widths) < 1:
            raise ValueError(f"widths {list(widths)}; expected 1 or more, and the first one even: it is unfolded.")
        inputs = (12, *widths[:-1])
        self.down = nn.ModuleList(Block(a, b) for a, b in zip(inputs, widths, strict=True))
        self.up = nn.ModuleList(Block(a + b, a) for a, b in itertools.pairwise(widths))
        first, last = nn.Conv2d(widths[0] // 2 + 3, 8, 3, padding=1), nn.Conv2d(8, 2, 3, padding=1)
        self.sharp = nn.Sequential(first, nn.ReLU(True), last)
        self.fold = nn.Conv2d(widths[0], 2 * widths[0], 1)
        self.labels = nn.Sequential(
            nn.Conv2d(widths[1], widths[1], 3, padding=1), nn.ReLU(True), nn.Conv2d(widths[1], len(LABELS), 1)
        )
        self.turn = nn.Conv2d(widths[3], 4, 1)
        assert last.bias is not None
        nn.init.constant_(last.bias, -3.0)  # ink covers little of a page

    def forward(self, image: Tensor) -> Seen:
        """image: (N, 3, H, W), 0 to 1, H and W multiples of 32."""
        x = F.pixel_unshuffle(image - 0.5, 2)
        levels = []
        for k, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if k else x)
            levels.append(x)
        decoded: dict[int, Tensor] = {}
        for k in (3, 2, 1, 0):
            x = self.up[k](torch.cat([levels[k], F.interpolate(x, scale_factor=2.0, mode="nearest")], dim=1))
            decoded[k] = x
        fine = torch.cat([F.pixel_shuffle(self.fold(x), 2), image - 0.5], dim=1)
        return Seen(self.sharp(fine), self.labels(decoded[1]), self.turn(decoded[3]))


class SmpUNet(nn.Module):
    """The same outputs from a U-Net of segmentation-models-pytorch with any of its encoders (such as resnet18)."""

    def __init__(self, encoder: str, weights: str | None = None) -> None:
        super().__init__()
        smp = optional("segmentation_models_pytorch")
        try:
            self.net = smp.Unet(encoder, encoder_weights=weights, classes=2)
        except KeyError as error:
            raise ValueError(f"encoder {encoder!r}; expected one of segmentation-models-pytorch.") from error
        channels = self.net.segmentation_head[0].in_channels
        self.labels = nn.Conv2d(channels * LABEL_STRIDE**2, len(LABELS), 1)
        self.turn = nn.Conv2d(self.net.encoder.out_channels[4], 4, 1)

    def forward(self, image: Tensor) -> Seen:
        """image: (N, 3, H, W), 0 to 1, H and W multiples of 32."""
        features = self.net.encoder((image - 0.5) * 4)
        x = self.net.decoder(features)
        folded = F.pixel_unshuffle(x, LABEL_STRIDE)
        return Seen(self.net.segmentation_head(x), self.labels(folded), self.turn(features[4]))


def build(arch: str) -> nn.Module:
    """A network by name: ``small``, ``small:16,32,64,96,128`` (widths) or ``smp:ENCODER``. Raises ValueError."""
    kind, _, rest = arch.partition(":")
    if kind == "small":
        widths = rest.split(",") if rest else []
        if all(w.strip().isdigit() for w in widths):
            return SmallUNet([int(w) for w in widths]) if widths else SmallUNet()
    if kind == "smp" and rest:
        return SmpUNet(rest)
    raise ValueError(
        f"architecture {arch!r}; expected small, small:W1,W2,W3,W4,W5 or smp:ENCODER (such as smp:resnet18)."
    )


def start_from(net: nn.Module, onnx_file: Path, image: Tensor) -> None:
    """Give ``net`` the weights of an exported network of the same architecture, so that its training can go on.

    An export has every normalisation folded into the convolution before it. Here it is unfolded again: by the mean and
    variance that the convolutions have on ``image`` (N, 3, H, W), so that the network says the same as before, and the
    normalisation finds what it expects.

    Raises:
        UsageError: the file cannot be read, or holds another network.
    """
    onnx = optional("onnx")
    try:
        graph = onnx.load(str(onnx_file)).graph
    except Exception as error:  # noqa: BLE001 - its exceptions have no common base
        raise UsageError(
            f"{onnx_file} cannot be read ({str(error).splitlines()[0]}); expected a reader.onnx."
        ) from None
    values = {tensor.name: torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer}
    given = [[values[name] for name in node.input[1:]] for node in graph.node if node.op_type == "Conv"]

    ran: list[nn.Module] = []  # convolutions and normalisations, in the order in which they run: that of the export
    kinds = (nn.Conv2d, nn.BatchNorm2d)
    hooks = [m.register_forward_hook(lambda m, *_: ran.append(m)) for m in net.modules() if isinstance(m, kinds)]
    net.eval()
    with torch.no_grad():
        net(image[:1])
    for hook in hooks:
        hook.remove()
    layers = [(m, after) for m, after in itertools.pairwise([*ran, None]) if isinstance(m, nn.Conv2d)]
    if [tuple(m.weight.shape) for m, _ in layers] != [tuple(weight.shape) for weight, *_ in given]:
        raise UsageError(f"{onnx_file} holds another network; expected the same --arch as in the card beside it.")

    def unfold(norm: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].transpose(0, 1).flatten(1)
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.copy_(x.mean(1))
        norm.running_var.copy_(x.var(1, unbiased=False))
        norm.weight.copy_((norm.running_var + norm.eps).sqrt())
        norm.bias.add_(norm.running_mean)

    with torch.no_grad():
        for (conv, after), (weight, bias) in zip(layers, given, strict=True):
            conv.weight.copy_(weight)
            if conv.bias is not None:
                conv.bias.copy_(bias)
            elif isinstance(after, nn.BatchNorm2d):
                after.bias.copy_(bias)
                hooks.append(after.register_forward_pre_hook(unfold))
        net(image)  # from the first layer to the last: each is unfolded before what follows it is looked at
    for hook in hooks:
        hook.remove()
    net.train()


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """What a training run keeps: config, step, seconds, and weights. Runs no code of the file. Raises UsageError."""
    try:
        saved: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise UsageError(
            f"{path} cannot be read ({str(error).splitlines()[0]}); expected the checkpoint.pt of python -m "
            "digitizer.train."
        ) from None
    return saved
