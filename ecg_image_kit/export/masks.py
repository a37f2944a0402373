"""Label images."""

from __future__ import annotations

from ..page import MASKS
from .base import Exporter, Item, png_of


class Masks(Exporter):
    """masks/*.leads.png, .grid.png, .text.png: label images, drawn from the outlines and traces."""

    def add(self, item: Item) -> None:
        for kind in MASKS:
            self.write(self.folder / "masks" / f"{item.image.stem}.{kind}.png", png_of(item.page.mask(kind)))
