"""Pascal VOC (Everingham et al., IJCV 2010): an XML file per image."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from .base import Exporter, Item


class Voc(Exporter):
    """voc/Annotations: Pascal VOC, an XML file with the boxes of each image."""

    def add(self, item: Item) -> None:
        width, height = item.size
        size = {"width": width, "height": height, "depth": 3}
        source = {"database": "ecg-image-kit"}
        root = ElementTree.Element("annotation")
        _fill(root, {"folder": "JPEGImages", "filename": item.image.name, "source": source, "size": size,
                     "segmented": 0})  # fmt: skip
        for thing in item.things:
            x0, y0, x1, y1 = thing.bounds  # VOC counts pixels from 1, and a box holds its last ones
            box = {
                "xmin": math.floor(x0) + 1, "ymin": math.floor(y0) + 1, "xmax": math.ceil(x1), "ymax": math.ceil(y1)
            }  # fmt: skip
            parts: dict[str, Any] = {
                "name": thing.name, "pose": "Unspecified", "truncated": int(thing.cut), "difficult": 0, "bndbox": box
            }  # fmt: skip
            if thing.text:
                parts["attributes"] = {"attribute": {"name": "text", "value": thing.text}}
            _fill(ElementTree.SubElement(root, "object"), parts)
        ElementTree.indent(root)
        self.write(
            self.folder / "voc" / "Annotations" / f"{item.image.stem}.xml",
            ElementTree.tostring(root, encoding="unicode") + "\n",
        )
        self.copy(item, self.folder / "voc" / "JPEGImages" / item.image.stem)


def _fill(parent: ElementTree.Element, parts: Mapping[str, Any]) -> None:
    for tag, value in parts.items():
        child = ElementTree.SubElement(parent, tag)
        if isinstance(value, Mapping):
            _fill(child, value)
        else:  # without what XML cannot hold
            child.text = re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", str(value))
