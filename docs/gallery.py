"""Makes the pictures of effects and recipes again: ``python docs/gallery.py`` writes effects, recipes and photos.jpg.

Every picture shows a synthetic record. Effects are shown alone, at severity 0.8, as a part of the page in which their
work is seen; recipes as whole pages, four of each, at severities 0.2, 0.4, 0.6 and 0.9; photos are a few of those.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ecg_image_kit import Page, Style, open_source, render
from ecg_image_kit.effects import EFFECTS, STAGES, apply
from ecg_image_kit.recipes import RECIPES

HERE = Path(__file__).parent
WHOLE = ("stretch", "surface", "camera", "lens", "frame", "scene", "light")  # stages that are seen from further away
U8 = NDArray[np.uint8]

source = open_source("samples")
records = [source.load(name) for name in source.names()]


def tile(image: U8, width: int, height: int, caption: str = "") -> U8:
    """The image fitted into ``width`` x ``height``, with a caption below."""
    scale = min(width / image.shape[1], height / image.shape[0])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    out = np.full((height + (22 if caption else 0), width, 3), 255, np.uint8)
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    out[top : top + size[1], left : left + size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    if caption:
        picture = Image.fromarray(out)
        ImageDraw.Draw(picture).text((4, height + 3), caption, fill=(20, 20, 20), font=ImageFont.load_default(14))
        out = np.asarray(picture)
    return out


def sheet(tiles: list[U8], columns: int) -> U8:
    """Tiles of one size, side by side, with a white seam."""
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    out = np.full((rows * (height + 8), columns * (width + 8), 3), 255, np.uint8)
    for k, part in enumerate(tiles):
        y, x = (k // columns) * (height + 8) + 4, (k % columns) * (width + 8) + 4
        out[y : y + height, x : x + width] = part
    return out


def changed(before: Page, after: Page, width: int, height: int) -> U8:
    """The part of ``after`` in which most has changed."""
    if before.image.shape != after.image.shape:
        return after.image
    difference = cv2.absdiff(before.image, after.image).max(axis=2).astype(np.float32)
    score = cv2.blur(np.minimum(difference, 60), (width, height), borderType=cv2.BORDER_CONSTANT)
    y, x = np.unravel_index(int(score.argmax()), score.shape)
    x0 = int(np.clip(x - width // 2, 0, max(0, score.shape[1] - width)))
    y0 = int(np.clip(y - height // 2, 0, max(0, score.shape[0] - height)))
    return after.image[y0 : y0 + height, x0 : x0 + width]


def effects() -> U8:
    tiles = []
    for k, (name, kind) in enumerate(sorted(EFFECTS.items(), key=lambda item: STAGES.index(item[1].stage))):
        page = render(records[k % len(records)], dpi=150)
        if kind.stage == "scene":  # needs a view in which there is something beside the sheet
            after = apply(page, ["Perspective(margin=0.15)", name], seed=k, severity=0.8)
            seen = after.image
        else:
            after = apply(page, [name], seed=k, severity=0.8)
            seen = after.image if kind.stage in WHOLE else changed(page, after, 520, 360)
        tiles.append(tile(seen, 300, 208, name))
    return sheet(tiles, 5)


def recipes() -> U8:
    tiles = []
    for name, recipe in RECIPES.items():
        for k, severity in enumerate((0.2, 0.4, 0.6, 0.9)):
            rng = np.random.default_rng([len(tiles), k])
            page = render(records[len(tiles) % len(records)], style=Style.random(rng), dpi=130)
            after = apply(page, recipe.draw(rng, severity))
            tiles.append(tile(after.image, 340, 243, f"{name}, severity {severity:g}"))
    return sheet(tiles, 4)


def photos() -> U8:
    tiles = []
    for k, name in enumerate(("photo", "crumpled", "scan-color", "photo-hard", "annotated", "damaged")):
        rng = np.random.default_rng([7, k])
        page = render(records[(5 * k + 3) % len(records)], style=Style.random(rng), dpi=130)
        tiles.append(tile(apply(page, RECIPES[name].draw(rng, 0.6)).image, 420, 300, name))
    return sheet(tiles, 3)


if __name__ == "__main__":
    for make in (effects, recipes, photos):
        Image.fromarray(make()).save(HERE / f"{make.__name__}.jpg", quality=76, optimize=True)
