"""Exports: the truth of a folder of pages in the formats that other people's tools read.

    >>> export("pages", ["coco", "yolo"])
    [PosixPath('pages/coco.json'), PosixPath('pages/yolo/classes.txt'), ...]

Pages are read one at a time. What cannot be seen (outside the image, under a sticker) is left out, and outlines end
where the image does. In these formats (0, 0) is the image's corner, not the centre of its first pixel: outlines and
boxes here are our px + 0.5. Only COCO's key points are indices of pixels, as our px are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from ..errors import UsageError
from ..page import FORMATS, Page
from .base import CLASSES, Exporter, Item
from .coco import Coco
from .kaggle import Kaggle
from .kit import Kit
from .masks import Masks
from .voc import Voc
from .yolo import Yolo

EXPORTS: dict[str, type[Exporter]] = {
    "coco": Coco, "yolo": Yolo, "voc": Voc, "kaggle": Kaggle, "ecg-image-kit": Kit, "masks": Masks,
}  # fmt: skip


def export(
    folder: str | os.PathLike[str],
    kinds: str | Iterable[str],
    progress: Callable[[int, int], None] | None = None,
    copy_images: bool = False,
) -> list[Path]:
    """Write the truth of every finished page of a folder in other formats, into the same folder.

    Args:
        folder: made by ``ecg-image-gen`` or ``generate``.
        kinds: some of ``EXPORTS``, also joined by commas.
        progress: called with the numbers of pages done and of all pages.
        copy_images: also put the images where the format's tools look for them (hard links where possible).

    Returns:
        The files written, sorted. The same folder gives the same bytes.

    Raises:
        UsageError: no such format, or a folder without finished pages.
        PageError: a page that cannot be read.
    """
    folder = Path(folder)
    names = [name.strip() for name in (kinds.split(",") if isinstance(kinds, str) else kinds)]
    for name in names or [""]:
        if name not in EXPORTS:
            raise UsageError(f"export {name!r}; expected some of {', '.join(EXPORTS)}.")
    images = finished(folder)
    if not images:
        raise UsageError(
            f"{folder} holds no finished pages (an image, its .json and its .npz). Make some with ecg-image-gen first."
        )
    if "coco" in names and (folder / "coco.npz").exists():
        raise UsageError(f"{folder} holds a page called coco, whose truth coco.json would replace. Rename its record.")
    exporters = [EXPORTS[name](folder, copy_images) for name in dict.fromkeys(names)]
    try:
        for number, image in enumerate(images, start=1):
            item = Item(number, image, Page.load(image))
            for exporter in exporters:
                exporter.add(item)
            if progress:
                progress(number, len(images))
        for exporter in exporters:
            exporter.close()
    finally:
        for exporter in exporters:
            exporter.discard()
    return sorted(path for exporter in exporters for path in exporter.paths)


def finished(folder: Path) -> list[Path]:
    """The images of a folder that have their truth beside them, sorted, one for each page."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder. Give one that ecg-image-gen made.")
    names = {entry.name for entry in os.scandir(folder)}
    stems = sorted(name[:-5] for name in names if name.endswith(".json") and f"{name[:-5]}.npz" in names)
    found = ([folder / f"{stem}.{kind}" for kind in FORMATS if f"{stem}.{kind}" in names] for stem in stems)
    return [images[0] for images in found if images]


__all__ = ["CLASSES", "EXPORTS", "Exporter", "Item", "export", "finished"]
