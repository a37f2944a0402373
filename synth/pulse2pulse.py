"""Pulse2Pulse of Thambawita et al., Sci Rep 11:21896 (2021): a U-Net from noise of an ECG's own shape. Torch.

Its critic and loss are those of WaveGAN*.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .wavegan import CHANNELS, FACTORS, KERNEL, UpConv, check_length, conv, initialise

DOWN = (10, 25, 50, 150, 250, 250)
STRIDES = (2, 5, 2, 5, 5, 5)


class PulseGenerator(nn.Module):
    """Noise U(-1, 1) of (leads, samples) -> six strided convolutions -> six upsampling ones, with skips between.

    The outputs of encoder layers 5, 4, 3 and 2 join the decoder before its second to fifth upsampling. Any multiple of
    2500 samples goes, whatever it was trained on. What it returns is before the published tanh, as in WaveGenerator.

    Args:
        slope: of the encoder's leaky ReLU; 0.01 in the authors' code. The weights shipped here were trained with 0.2,
            as were those whose card does not say.
    """

    def __init__(self, leads: int = 8, samples: int = 5000, slope: float = 0.01) -> None:
        super().__init__()
        self.shape, self.slope = (leads, check_length(samples)), slope
        sizes = (leads, *DOWN)
        self.down = nn.ModuleList(
            nn.Conv1d(a, b, KERNEL, stride, padding=KERNEL // 2)
            for a, b, stride in zip(sizes, sizes[1:], STRIDES, strict=False)
        )
        inputs = (DOWN[5], CHANNELS[0] + DOWN[4], CHANNELS[1] + DOWN[3], CHANNELS[2] + DOWN[2], CHANNELS[3] + DOWN[1])
        self.up = nn.ModuleList(
            UpConv(a, b, factor)
            for a, b, factor in zip((*inputs, CHANNELS[4]), (*CHANNELS, leads), FACTORS, strict=True)
        )
        initialise(self)

    def forward(self, noise: Tensor) -> Tensor:
        """(N, leads, samples) -> (N, leads, samples)."""
        x, skips = noise, []
        for k, layer in enumerate(self.down):
            assert isinstance(layer, nn.Conv1d) and layer.bias is not None
            joined = bool(self.up[0].joined) and k >= 4
            x = F.leaky_relu(conv(x, layer.weight, layer.bias, STRIDES[k], KERNEL // 2, joined), self.slope)
            skips.append(x)
        for k, layer in enumerate(self.up):
            if 1 <= k <= 4:
                x = torch.cat([x, skips[5 - k]], dim=1)
            x = layer(x)
            if k < 5:
                x = F.relu(x)
        return x
