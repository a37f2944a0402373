"""rectify: turn the page so that its grid lines run along rows and columns. Resamples once, and only if it must."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ecg_image_kit.warp import Homography, Warp

from .arrays import U8
from .locate import Grid


@dataclass(frozen=True, eq=False)
class Upright:
    """An image whose columns are times and whose rows are voltages.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        kx, ky: px per mm.
        to_source: its px -> the photographed image's px.
        px_to_mm: its px -> paper mm (the grid's lattice); diagonal up to the grid fit's error.
    """

    image: U8
    kx: float
    ky: float
    to_source: Warp
    px_to_mm: Homography


def rectify(image: U8, grid: Grid) -> Upright:
    """Undo tilt and skew. A page that is straight to 0.1 px over its whole width is passed on untouched."""
    height, width = image.shape[:2]
    kx, ky = grid.px_per_mm
    m = grid.px_to_mm.matrix
    drift = max(abs(m[0, 1]) * height * kx, abs(m[1, 0]) * width * ky)
    if drift < 0.1:
        return Upright(image, 1 / m[0, 0], 1 / m[1, 1], Homography(np.eye(3)), grid.px_to_mm)
    # New px = mm * pitch, moved so that all of the old image is inside.
    scale = Homography.affine(kx, 0, 0, 0, ky, 0)
    forward = scale.matrix @ m
    corners = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]], dtype=np.float64)
    moved = Homography(forward)(corners)
    low, high = np.floor(moved.min(axis=0)), np.ceil(moved.max(axis=0))
    forward = Homography.affine(1, 0, -low[0], 0, 1, -low[1]).matrix @ forward
    size = (int(high[0] - low[0]) + 1, int(high[1] - low[1]) + 1)
    upright = cv2.warpPerspective(image, forward, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    to_source = Homography(forward).inverse
    return Upright(np.asarray(upright, np.uint8), kx, ky, to_source, Homography(m @ to_source.matrix))
