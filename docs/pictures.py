"""Makes README's pictures again: ``python docs/pictures.py`` writes page.png and overlay.png beside this file."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import digitizer
from ecg_image_kit import open_source, render

HERE = Path(__file__).parent


def save(image: NDArray[np.uint8], name: str) -> None:
    """As a PNG of 64 colours, which is plenty for a sheet of paper and a quarter of the size."""
    Image.fromarray(image).quantize(64, dither=Image.Dither.NONE).save(HERE / name, optimize=True)


page = render(open_source("samples").load("00001"), dpi=120)
save(page.image, "page.png")
save(digitizer.read(page.image).overlay(), "overlay.png")
