"""What shows around a sheet: where the sheet is in the picture, and what lies beneath it."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from ..page import Page
from ..warp import Homography, fit_homography
from . import fields as fl
from .fields import U8, D, F, Some
from .shapes import fill

Texture = Callable[[np.random.Generator, tuple[int, int], float], U8]  # (h, w, 3) at so many px per mm
Lie = tuple[float, float, float]  # how a texture lies: degrees, and mm of its middle

BEYOND = 0.3  # of the sheet's longer side, that the texture goes on beyond the sheet before it is mirrored
_MISSING = ("tear", "hole")  # boxes where there is no paper
_TEXTURE_PX = 7.5e5  # of the desk's texture: it is out of focus anyway
_TILE = (64, 256)  # px


def sheet_outline(page: Page, steps: int = 160) -> D:
    """(4 * steps, 2) px along the sheet's edge, as it lies in the image."""
    t = np.linspace(0, 1, steps + 1)[:-1, None]
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * [page.layout.width, page.layout.height]
    return page.mm_to_px(
        np.concatenate([a + (b - a) * t for a, b in zip(corners, np.roll(corners, -1, 0), strict=True)])
    )


def sheet_of(page: Page) -> U8 | None:
    """(H, W) uint8: 255 where there is paper, with soft edges; None if that is everywhere."""
    height, width = page.image.shape[:2]
    mask = np.zeros((height + 4, width + 4), np.uint8)
    fill(mask, sheet_outline(page) + 2, soft=False)
    for box in page.boxes:
        if box.kind in _MISSING:
            fill(mask, page.outline(box, 1.0) + 2, 0, soft=False)
    if mask[2:-2, 2:-2].all():
        return None
    # A pixel less: there the paper's colour was mixed with the white that is beyond it.
    mask = fl.u8(cv2.erode(mask, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE))
    return np.ascontiguousarray(cv2.GaussianBlur(mask, (3, 3), 0)[2:-2, 2:-2], np.uint8)


def plane(page: Page) -> Homography:
    """sheet mm -> px of a flat desk, as near as can be to the sheet's own map."""
    w, h = page.layout.width, page.layout.height
    mm = np.stack(np.meshgrid(np.linspace(0, w, 9), np.linspace(0, h, 9)), axis=-1).reshape(-1, 2)
    px = page.mm_to_px(mm)
    fitted = fit_homography(mm, px)
    height, width = page.image.shape[:2]
    away = fitted.inverse.matrix[2] @ np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1.0]]).T
    if away.min() * away.max() > 0 and np.abs(away).max() < 4 * np.abs(away).min():
        return fitted
    # A horizon within the picture would be a desk without end.
    a = np.linalg.lstsq(np.column_stack([mm, np.ones(len(mm))]), px, rcond=None)[0].T
    return Homography(np.vstack([a, [0, 0, 1]]))


def sheet_shadow(sheet: U8, k: float, depth: float, reach: float, direction: float) -> F:
    """(h, w) small factors: how dark the desk is beside the sheet, at ``k`` px/mm."""
    height, width = sheet.shape
    step = max(1.0, min(k / 2.0, max(height, width) / 16))
    shape = (max(2, round(height / step)), max(2, round(width / step)))
    small = cv2.resize(sheet, shape[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32) / 255.0
    per_mm = k * shape[1] / width
    dx, dy = (0.7 * reach * per_mm * f for f in (np.cos(direction), np.sin(direction)))
    moved = cv2.warpAffine(small, np.array([[1, 0, dx], [0, 1, dy]]), shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    cast = cv2.GaussianBlur(moved, (0, 0), max(0.5, 0.5 * reach * per_mm))
    contact = cv2.GaussianBlur(small, (0, 0), max(0.5, 0.5 * per_mm))
    return np.asarray((1.0 - depth * cast) * (1.0 - 0.7 * depth * contact), np.float32)


def under(
    page: Page,
    sheet: U8,
    texture: Texture,
    rng: np.random.Generator,
    shade: F,
    cover: U8 | None = None,
    lie: Lie | None = None,
) -> U8:
    """The page's image with a texture, darkened by ``shade``, wherever ``sheet`` is not 255, as far as ``cover`` goes.

    lie: how the texture lies; None: anyhow.
    """
    size = np.array([page.layout.width, page.layout.height])
    size = size + 2 * BEYOND * size.max()
    k = min(max(page.px_per_mm, 0.05), float(np.sqrt(_TEXTURE_PX / size.prod())), 5.0)
    upright = lie is None and rng.random() < 0.4
    spread = size[::-1] if upright else size
    pattern = texture(rng, (max(8, round(spread[1] * k)), max(8, round(spread[0] * k))), k)
    if lie is None:
        lie = ((90.0 if upright else 0.0) + float(rng.normal(0, 7)), page.layout.width / 2, page.layout.height / 2)
    # px of the texture -> mm of the desk -> px of the picture
    middle = Homography.affine(1 / k, 0, -pattern.shape[1] / 2 / k, 0, 1 / k, -pattern.shape[0] / 2 / k)
    put = Homography.affine(1, 0, lie[1], 0, 1, lie[2])
    whole = plane(page).matrix @ put.matrix @ Homography.rotation(lie[0]).matrix @ middle.matrix
    back = np.linalg.inv(whole)
    brightest = max(1.0, float(shade.max()))
    shadow = fl.over(shade / np.float32(brightest), sheet)
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP

    def desk(rows: slice, columns: slice) -> Some:
        here = back @ np.array([[1, 0, columns.start], [0, 1, rows.start], [0, 0, 1.0]])
        dark = shadow[rows, columns]
        seen = cv2.warpPerspective(pattern, here, dark.shape[::-1], flags=how, borderMode=cv2.BORDER_REFLECT_101)
        return cv2.multiply(seen, cv2.merge([dark] * 3), scale=brightest / 255.0)

    return composed(page.image, sheet, desk, cover)


def composed(image: U8, sheet: U8, desk: Callable[[slice, slice], Some], cover: U8 | None = None) -> U8:
    """The image, and what ``desk`` gives for rows and columns of it, wherever ``sheet`` is not 255.

    Tile by tile, for most of them show nothing of the desk, or nothing else.
    """
    out = image.copy()
    height, width = sheet.shape
    for top in range(0, height, _TILE[0]):
        for left in range(0, width, _TILE[1]):
            part = slice(top, min(top + _TILE[0], height)), slice(left, min(left + _TILE[1], width))
            show = cv2.bitwise_not(sheet[part])
            if cover is not None:
                show = cv2.min(show, cover[part])
            if not cv2.countNonZero(show):
                continue
            seen = desk(*part)
            if cv2.countNonZero(cv2.bitwise_not(show)):
                view = np.ascontiguousarray(out[part])
                # The cut edge of the paper catches less light than its face.
                fl.dye(view, (0, 0, 0), fl.times(sheet[part], cv2.bitwise_not(sheet[part]), 0.5))
                fl.cover(view, seen, show)
                seen = view
            out[part] = seen
    return out
