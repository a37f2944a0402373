"""WaveGAN* of Thambawita et al., Sci Rep 11:21896 (2021), as networks; and what Pulse2Pulse shares with it. Torch.

After WaveGAN (Donahue, McAuley and Puckette, ICLR 2019), with 8 leads x 5000 samples (10 s at 500 Hz) for one channel
of audio. The loss is the Wasserstein distance with a gradient penalty (Gulrajani et al., NeurIPS 2017).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecg_image_kit.errors import UsageError

KERNEL = 25
FACTORS = (5, 5, 5, 2, 5, 2)  # of upsampling, from the bottom up
CHANNELS = (250, 150, 50, 25, 10)  # after each of them; the last one gives the leads
BOTTOM = 250
STRIDE = math.prod(FACTORS)  # lengths are multiples of it
STRIDES = (2, 2, 2, 2, 4, 4, 4)  # of the critic
WIDTHS = (1, 2, 5, 10, 20, 25, 100)  # channels of its layers, in its width


class UpConv(nn.Module):
    """Nearest-neighbour upsampling and a convolution of 25 that keeps the length, as one convolution before it.

    Neighbouring taps meet the same repeated sample, so their weights are added up first: exactly the same function of
    the same weights, with a half (factor 2) to a quarter (factor 5) of the multiplications.
    """

    def __init__(self, inputs: int, outputs: int, factor: int) -> None:
        super().__init__()
        plain = nn.Conv1d(inputs, outputs, KERNEL)
        assert plain.bias is not None
        self.weight, self.bias, self.factor = plain.weight, plain.bias, factor
        half = KERNEL // 2
        self.reach = -(-half // factor)
        # merge[k, p, d]: tap k, seen from phase p of the output, lies on input sample d - reach.
        merge = torch.zeros(KERNEL, factor, 2 * self.reach + 1)
        for k in range(KERNEL):
            for p in range(factor):
                merge[k, p, (p + k - half) // factor + self.reach] = 1
        self.merge: Tensor
        self.register_buffer("merge", merge, persistent=False)
        self.joined = False

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, L) -> (N, outputs, L * factor)."""
        outputs, inputs, _ = self.weight.shape
        taps = (self.weight.reshape(-1, KERNEL) @ self.merge.flatten(1)).reshape(outputs, inputs, self.factor, -1)
        weight = taps.transpose(1, 2).reshape(outputs * self.factor, inputs, -1)
        y = conv(x, weight, self.bias.repeat_interleave(self.factor), 1, self.reach, self.joined)
        return (
            y.reshape(-1, outputs, self.factor, x.shape[-1])
            .transpose(2, 3)
            .reshape(-1, outputs, y.shape[-1] * self.factor)
        )


def conv(x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int, joined: bool = False) -> Tensor:
    """``F.conv1d``; if ``joined``, as one product of matrices for all ECGs of the batch.

    That is the same again, and faster where ECGs are a few samples long and weights many (the bottom of a generator):
    the weights are then fetched once for all ECGs.
    """
    if torch.onnx.is_in_onnx_export() and not joined:  # ONNX Runtime has its fast ones in two dimensions alone
        return F.conv2d(x[:, :, None], weight[:, :, None], bias, (1, stride), (0, padding))[:, :, 0]
    if not joined:
        return F.conv1d(x, weight, bias, stride, padding)
    outputs, channels, kernel = weight.shape
    x = F.pad(x, (padding, padding))
    last = (x.shape[-1] - kernel) // stride * stride + 1
    taps = torch.stack([x[..., k : k + last : stride] for k in range(kernel)], dim=-1)
    rows = taps.transpose(1, 2).reshape(-1, channels * kernel) @ weight.reshape(outputs, -1).T + bias
    return rows.reshape(x.shape[0], -1, outputs).transpose(1, 2)


def initialise(net: nn.Module) -> None:
    """Normal weights after He et al. (ICCV 2015) and no biases: signals neither die nor grow on their way."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv1d | nn.Linear | UpConv):
            nn.init.kaiming_normal_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)


def check_length(samples: int) -> int:
    """``samples``, if the strides allow it. Raises UsageError."""
    if samples < STRIDE or samples % STRIDE:
        near = max(1, round(samples / STRIDE)) * STRIDE
        raise UsageError(f"{samples} samples; expected a multiple of {STRIDE}, the product of the strides: {near}.")
    return samples


class WaveGenerator(nn.Module):
    """z of U(-1, 1) -> dense layer -> 250 x L / 2500 -> six times upsampling and convolution, ReLU between them.

    What it returns is before the published tanh: the trainer applies that, and the export its inverse (see ``train``).
    """

    def __init__(self, leads: int = 8, samples: int = 5000, latent: int = 100) -> None:
        super().__init__()
        self.shape, self.bottom = (latent,), check_length(samples) // STRIDE
        self.dense = nn.Linear(latent, BOTTOM * self.bottom)
        widths = (BOTTOM, *CHANNELS, leads)
        self.up = nn.ModuleList(UpConv(*sizes) for sizes in zip(widths, widths[1:], FACTORS, strict=False))
        initialise(self)

    def forward(self, z: Tensor) -> Tensor:
        """(N, latent) -> (N, leads, samples)."""
        x = F.relu(self.dense(z)).reshape(z.shape[0], BOTTOM, self.bottom)
        for k, layer in enumerate(self.up):
            x = layer(F.relu(x) if k else x)
        return x


class Critic(nn.Module):
    """Seven strided convolutions of 25, leaky ReLU, phase shuffle after all but the last, then one number per ECG.

    The authors' code pads by 11 samples where this pads by 12, so that its layers are up to one sample shorter.

    Args:
        width: channels of the first layer; the published 50 make 204 M parameters, most of them in the last layer.
        shuffle: largest shift of phase shuffle, in samples of each layer.

    Raises UsageError for a shift that the shortest layer has no room for.
    """

    def __init__(self, leads: int = 8, samples: int = 5000, width: int = 50, shuffle: int = 2) -> None:
        super().__init__()
        self.shuffle = shuffle
        sizes = (leads, *(width * w for w in WIDTHS))
        self.layers = nn.ModuleList(
            nn.Conv1d(a, b, KERNEL, stride, padding=KERNEL // 2)
            for a, b, stride in zip(sizes, sizes[1:], STRIDES, strict=False)
        )
        lengths = [samples]
        for stride in STRIDES:
            lengths.append(-(-lengths[-1] // stride))
        if shuffle >= lengths[-2]:  # its ends are mirrored, once
            raise UsageError(
                f"--shuffle {shuffle} of {samples} samples; expected at most {lengths[-2] - 1} (published: 2)."
            )
        self.score = nn.Linear(sizes[-1] * lengths[-1], 1)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, leads, samples) -> (N,)."""
        for k, layer in enumerate(self.layers):
            x = F.leaky_relu(layer(x), 0.2)
            if self.shuffle and k + 1 < len(self.layers):
                x = phase_shuffle(x, self.shuffle)
        score: Tensor = self.score(x.flatten(1))[:, 0]
        return score


def phase_shuffle(x: Tensor, most: int, shifts: Tensor | None = None) -> Tensor:
    """Each (N, C, L) shifted by its own -most to +most samples, the ends mirrored: upsampling has a phase, ECGs none.

    Args:
        shifts: (N,) whole numbers; drawn if None.
    """
    if shifts is None:
        shifts = torch.randint(-most, most + 1, (len(x),), device=x.device)
    length = x.shape[-1]
    at = (torch.arange(length, device=x.device) + shifts[:, None]).abs()
    at = length - 1 - (length - 1 - at).abs()
    return x.gather(2, at[:, None].expand(-1, x.shape[1], -1))


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """Mean of (|gradient| - 1)^2 of the critic between real and fake ECGs; both (N, ...)."""
    share = torch.rand((len(real),) + (1,) * (real.dim() - 1), device=real.device)
    between = (real + share * (fake - real)).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    penalty: Tensor = ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
    return penalty


def parameters(net: nn.Module) -> int:
    """How many weights a network has."""
    return sum(p.numel() for p in net.parameters())
