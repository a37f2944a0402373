"""Image files as RGB arrays: what scanners, phones and viewers write, and documents of several pages.

The header is looked at first: what would be larger than the limit is refused before it is decoded.
"""

from __future__ import annotations

import math
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from .errors import PageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".heif", ".pdf")
MEGAPIXELS = 100.0  # an A4 sheet at 900 dpi has 78
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF")
_DPI = 300.0  # at which documents are drawn, unless they are scans with a resolution of their own
_SCAN_DPI = (100.0, 600.0)
_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

# What decoders raise on broken files.
_BROKEN = (OSError, SyntaxError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, EOFError,
           NotImplementedError, struct.error, zlib.error)  # fmt: skip


def read_image(path: str | os.PathLike[str], page: int = 1, megapixels: float = MEGAPIXELS) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of an image file, or of one page of a tif or pdf, as it is seen on a screen.

    It is turned as its EXIF tag says, and what is transparent is white. 16 bits, grey, palettes, CMYK and black and
    white become 8-bit RGB; of animations the first picture is read. A pdf is drawn at 300 dpi, or at the resolution of
    the scan that fills its page, and smaller if that would exceed the limit.

    Args:
        page: 1 for the first.
        megapixels: larger images are refused before they are decoded.

    Raises PageError if it is not an image, is larger, has no such page, or needs a package that is not installed.
    """
    path = Path(path)
    head = _head(path)
    try:
        if head.startswith(b"%PDF-"):
            return _drawn(path, page, megapixels)
        if head[4:8] == b"ftyp" and head[8:12] in _BRANDS:
            _package("pillow_heif", path).register_heif_opener()
            return _decoded(path, page, megapixels, ("HEIF",))
        return _decoded(path, page, megapixels, _FORMATS)
    except UnidentifiedImageError:
        raise PageError(
            f"{path}: not an image that can be decoded ({path.stat().st_size} bytes); expected png, jpg, webp, bmp, "
            "gif, tif, heic or pdf."
        ) from None
    except _BROKEN as error:
        what = " ".join(str(error).split()) or type(error).__name__
        raise PageError(
            f"{path}: not an image that can be decoded ({what}). Is it complete? Copy or export it again."
        ) from error


def count_pages(path: str | os.PathLike[str]) -> int:
    """Pages of a tif or pdf; 1 for other files, and for what cannot be opened: reading it will say why."""
    path = Path(path)
    with suppress(PageError, *_BROKEN):
        head = _head(path)
        if head.startswith(b"%PDF-"):
            with _document(path) as document:
                return max(1, len(document))
        if head[:2] in (b"II", b"MM"):
            with _unlimited(), Image.open(path, formats=["TIFF"]) as image:
                return max(1, len(_tiff_pages(image)))
    return 1


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(16)
    except OSError as error:
        raise PageError(f"{path}: cannot be read ({error.strerror or error}). Check the path.") from None


def _check(path: Path, width: float, height: float, megapixels: float) -> None:
    if width * height > megapixels * 1e6:
        raise PageError(
            f"{path}: {width:.0f} x {height:.0f} px are {width * height / 1e6:.4g} megapixels; expected {megapixels:g} "
            "at most. Make it smaller, or raise the limit (--max-megapixels)."
        )


def _package(module: str, path: Path) -> Any:
    """An optional package. Raises PageError that names the extra which brings it."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        name = module.partition(".")[0].replace("_", "-")
        raise PageError(f"{path}: reading it needs {name}: pip install 'ecg-image-kit[formats]'") from None


# Images


@contextmanager
def _unlimited() -> Iterator[None]:
    """Without Pillow's own limit, which knows nothing of ours, and its remarks on odd tags."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _decoded(path: Path, page: int, megapixels: float, formats: tuple[str, ...]) -> NDArray[np.uint8]:
    with _unlimited(), Image.open(path, formats=formats) as image:
        places = _tiff_pages(image) if image.format == "TIFF" else [0]
        _check_page(path, page, len(places))
        image.seek(places[page - 1])
        _check(path, *image.size, megapixels)
        image.load()
        upright: Image.Image = image
        with suppress(*_BROKEN):  # a broken EXIF block, of an image that is none the worse for it
            upright = ImageOps.exif_transpose(image)
        return _rgb(upright, getattr(image, "tag_v2", {}))


def _check_page(path: Path, page: int, pages: int) -> None:
    if not 1 <= page <= pages:
        raise PageError(f"{path}: no page {page}; expected 1 to {pages}.")


def _tiff_pages(image: Image.Image) -> list[int]:
    """Which of a tif's pictures are pages: all but the reduced ones (thumbnails, and the levels of a pyramid)."""
    places = []
    for k in range(getattr(image, "n_frames", 1)):
        image.seek(k)
        if not int(image.tag_v2.get(254, 0)) & 1:  # type: ignore[attr-defined]
            places.append(k)
    return places or [0]


def _rgb(image: Image.Image, tags: Any) -> NDArray[np.uint8]:
    """(H, W, 3) of a decoded image of any mode; ``tags``: those of a tif."""
    if image.mode.startswith("I;16") or image.mode == "I":
        levels = np.asarray(image).astype(np.int64)
        bits = min(int((tags.get(258) or (16,))[0]), 16)
        if levels.size and not 0 <= levels.min() <= levels.max() < 2**bits:
            raise ValueError(f"values from {levels.min()} to {levels.max()}; expected {bits} bits")
        grey = (levels >> (bits - 8)).astype(np.uint8)
        if tags.get(262) == 0:  # white is zero; of 8 bits and less, Pillow has turned it already
            grey = 255 - grey
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("floating-point pixels; expected 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"), np.uint8)


# Documents


@contextmanager
def _document(path: Path) -> Iterator[Any]:
    pdfium = _package("pypdfium2", path)
    try:
        document = pdfium.PdfDocument(path)
    except pdfium.PdfiumError as error:
        if "password" in str(error).lower():
            raise PageError(f"{path}: protected by a password. Save it without one.") from None
        raise OSError(str(error)) from None
    try:
        yield document
    except pdfium.PdfiumError as error:
        raise OSError(str(error)) from None
    finally:
        document.close()


def _drawn(path: Path, page: int, megapixels: float) -> NDArray[np.uint8]:
    with _document(path) as document:
        _check_page(path, page, len(document))
        sheet = document[page - 1]
        width, height = sheet.get_size()  # in points, 72 to the inch
        dpi = _scan_dpi(sheet, path, megapixels) or _DPI
        # Sizes are rounded up: a scan is not to become a pixel wider, and all of it resampled.
        most = math.sqrt(megapixels * 1e6 / (width * height)) - 1 / min(width, height)
        bitmap = sheet.render(scale=min(dpi / 72 * (1 - 1e-5), most), rev_byteorder=True)
        seen = bitmap.to_numpy()
        return np.array(seen[..., :3] if seen.ndim == 3 and seen.shape[2] >= 3 else np.stack([seen.squeeze()] * 3, -1))


def _scan_dpi(sheet: Any, path: Path, megapixels: float) -> float | None:
    """Resolution of the scan that a page consists of (with invisible text, perhaps); None if it is something else."""
    raw = _package("pypdfium2.raw", path)
    area = math.prod(sheet.get_size())
    found = []
    drawing = False
    for thing in sheet.get_objects():
        if thing.type == raw.FPDF_PAGEOBJ_IMAGE:
            wide, tall = thing.get_px_size()
            _check(path, wide, tall, megapixels)
            left, bottom, right, top = thing.get_bounds()
            found.append(((right - left) * (top - bottom), wide * tall))
        else:
            drawing |= thing.type != raw.FPDF_PAGEOBJ_TEXT
    if drawing or len(found) != 1 or found[0][0] < 0.9 * area:
        return None
    covered, pixels = found[0]
    low, high = _SCAN_DPI
    return float(min(max(math.sqrt(pixels / covered) * 72, low), high))
