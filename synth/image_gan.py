"""An image GAN for ECGs arranged as images, after Piacentino, Guarner and Angulo, Electronics 10:389 (2021). Torch.

The networks are the standard convolutional ones (DCGAN: Radford, Metz and Chintala, ICLR 2016); how ECGs become
images and come back is in ``arrange``.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LEVELS = 4  # doublings of the side
SMALLEST = 2 * 2**_LEVELS  # pixels of a side: of a single one at the bottom BatchNorm may know no spread


class ImageGenerator(nn.Module):
    """z of U(-1, 1) -> dense layer -> four transposed convolutions of 4 x 4, batch-normalised -> image before tanh."""

    def __init__(self, planes: int, rows: int, columns: int, features: int = 32, latent: int = 100) -> None:
        super().__init__()
        self.shape, self.size = (latent,), (rows, columns)
        step = 2**_LEVELS
        self.bottom = (features * 4, -(-rows // step), -(-columns // step))
        self.dense = nn.Linear(latent, self.bottom[0] * self.bottom[1] * self.bottom[2])
        widths = (features * 4, features * 4, features * 2, features, features)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, 2, 1) for a, b in itertools.pairwise(widths))
        self.last = nn.Conv2d(features, planes, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """(N, latent) -> (N, planes, rows, columns)."""
        x = F.relu(self.norms[0](self.dense(z).reshape(-1, *self.bottom)))
        for layer, norm in zip(self.up, list(self.norms)[1:], strict=True):
            x = F.relu(norm(layer(x)))
        image: Tensor = self.last(x)[:, :, : self.size[0], : self.size[1]]
        return image


class Discriminator(nn.Module):
    """Four strided convolutions of 4 x 4, leaky ReLU, batch-normalised but for the first, then one logit per image."""

    def __init__(self, planes: int, rows: int, columns: int, features: int = 32) -> None:
        super().__init__()
        widths = (planes, features, features * 2, features * 4, features * 4)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in itertools.pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[2:])
        for _ in range(len(self.layers)):
            rows, columns = rows // 2, columns // 2
        self.score = nn.Linear(widths[-1] * rows * columns, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(N, planes, rows, columns) -> (N,)."""
        x = image
        for k, layer in enumerate(self.layers):
            x = layer(x)
            x = F.leaky_relu(self.norms[k - 1](x) if k else x, 0.2)
        score: Tensor = self.score(torch.flatten(x, 1))[:, 0]
        return score
