"""Makes README's pictures again: ``python docs/pictures.py`` writes page.png and overlay.png beside this file."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import digitizer
from ecg_image_kit import open_source, render

HERE = Path(__file__).parent


def save(image: NDArray[np.uint8], name: str) -> None:
    """As a PNG of 256 colours, which differ from the image's by 12 of 255 at most: a quarter of the size."""
    palette = Image.fromarray(image).quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    palette.save(HERE / name, optimize=True)


page = render(open_source("samples").load("00001"), dpi=120)
save(page.image, "page.png")
save(digitizer.read(page.image).overlay(), "overlay.png")
