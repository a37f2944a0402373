"""YOLO: a text file per image, in the folders that Ultralytics' programs read."""

from __future__ import annotations

import numpy as np

from .base import CLASSES, Exporter, Item


class Yolo(Exporter):
    """yolo/labels and yolo-seg/labels: boxes, and polygons, as shares of the image; data.yaml for training."""

    def add(self, item: Item) -> None:
        size = np.array(item.size)
        boxes, polygons = [], []
        for thing in item.things:
            number = CLASSES.index(thing.name)
            x0, y0, x1, y1 = thing.bounds
            boxes.append((number, np.array([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]).reshape(2, 2) / size))
            polygons.append((number, thing.outline / size))
        for name, lines in (("yolo", boxes), ("yolo-seg", polygons)):
            text = "".join(f"{k} {' '.join(f'{v:.6f}' for v in shares.ravel())}\n" for k, shares in lines)
            self.write(self.folder / name / "labels" / f"{item.image.stem}.txt", text)
            self.copy(item, self.folder / name / "images" / item.image.stem)

    def close(self) -> None:
        names = "".join(f"  {k}: {name}\n" for k, name in enumerate(CLASSES))
        head = "# The images, or links to them, belong into images/.\ntrain: images\nval: images\nnames:\n"
        for name in ("yolo", "yolo-seg"):
            self.write(self.folder / name / "data.yaml", head + names)
            self.write(self.folder / name / "classes.txt", "\n".join(CLASSES) + "\n")
