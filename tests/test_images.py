"""Image files of every kind become the same RGB array; what is broken, or too large, is refused in one line."""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ecg_image_kit.errors import PageError
from ecg_image_kit.images import count_pages, read_image

RGB = np.zeros((40, 64, 3), np.uint8)
RGB[:20], RGB[:, :16], RGB[32:, 48:] = (200, 100, 50), (10, 20, 240), 255
GREY = np.repeat(RGB[..., :1], 3, axis=2)
BLACK_WHITE = np.where(GREY > 100, 255, 0).astype(np.uint8)
CLEAR = RGB.copy()  # when its first rows are transparent
CLEAR[:8] = 255
PICTURE = Image.fromarray(RGB)


def wide(image: np.ndarray) -> np.ndarray:
    """In 16 bits, as OpenCV writes it."""
    return image[..., ::-1].astype(np.uint16) * 257


def with_alpha(image: np.ndarray, most: int = 255) -> np.ndarray:
    alpha = np.full(image.shape[:2], most, image.dtype)
    alpha[:8] = 0
    return np.dstack([image, alpha])


def grey_alpha() -> Image.Image:
    return Image.fromarray(with_alpha(GREY)).convert("LA")


WRITERS: dict[str, tuple[np.ndarray, int, Callable[[Path], object]]] = {
    "rgb.png": (RGB, 0, PICTURE.save),
    "rgb.tif": (RGB, 0, PICTURE.save),
    "rgb.bmp": (RGB, 0, PICTURE.save),
    "rgb.webp": (RGB, 0, lambda path: PICTURE.save(path, lossless=True)),
    "rgb.jpg": (RGB, 12, lambda path: PICTURE.save(path, quality=98, subsampling=0)),
    "rgb.heic": (RGB, 12, lambda path: heif(PICTURE, path)),
    "palette.gif": (RGB, 0, PICTURE.quantize(8).save),
    "palette.png": (RGB, 0, PICTURE.quantize(8).save),
    "grey.png": (GREY, 0, Image.fromarray(GREY).convert("L").save),
    "cmyk.jpg": (RGB, 12, lambda path: PICTURE.convert("CMYK").save(path, quality=98, subsampling=0)),
    "cmyk.tif": (RGB, 0, PICTURE.convert("CMYK").save),
    "one bit.png": (BLACK_WHITE, 0, Image.fromarray(BLACK_WHITE).convert("1").save),
    "fax.tif": (
        BLACK_WHITE,
        0,
        lambda path: Image.fromarray(BLACK_WHITE).convert("1").save(path, compression="group4"),
    ),
    "16 bits.png": (RGB, 0, lambda path: cv2.imwrite(str(path), wide(RGB))),
    "16 bits.tif": (RGB, 0, lambda path: cv2.imwrite(str(path), wide(RGB))),
    "16 bits grey.png": (GREY, 0, lambda path: cv2.imwrite(str(path), wide(GREY)[..., 0])),
    "16 bits grey.tif": (GREY, 0, lambda path: cv2.imwrite(str(path), wide(GREY)[..., 0])),
    "16 bits clear.png": (CLEAR, 0, lambda path: cv2.imwrite(str(path), with_alpha(wide(RGB), 65535))),
    "clear.png": (CLEAR, 0, Image.fromarray(with_alpha(RGB)).save),
    "clear.tif": (CLEAR, 0, Image.fromarray(with_alpha(RGB)).save),
    "clear palette.png": (CLEAR, 0, Image.fromarray(with_alpha(RGB)).quantize(8).save),
    "clear grey.png": (np.where(CLEAR == RGB, GREY, 255).astype(np.uint8), 0, lambda path: grey_alpha().save(path)),
}


def heif(picture: Image.Image, path: Path) -> None:
    pytest.importorskip("pillow_heif").from_pillow(picture).save(path, quality=98, chroma=444)


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_becomes_rgb(name: str, tmp_path: Path) -> None:
    expected, tolerance, write = WRITERS[name]
    write(tmp_path / name)
    image = read_image(tmp_path / name)
    assert image.dtype == np.uint8
    assert image.shape == expected.shape
    assert image.flags.writeable
    if "grey" in name and "clear" in name:  # its weights of red, green and blue are Pillow's
        assert (image[:8] == 255).all()
        assert np.ptp(image, axis=2).max() == 0
    else:
        assert np.abs(image.astype(int) - expected).max() <= tolerance
    assert count_pages(tmp_path / name) == 1


@pytest.mark.parametrize("kind", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_the_image(orientation: int, kind: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    PICTURE.save(tmp_path / f"a.{kind}", exif=exif, **({"quality": 98, "subsampling": 0} if kind == "jpg" else {}))
    image = read_image(tmp_path / f"a.{kind}")
    stored = {  # how the file was stored, had the picture been upright
        1: image, 2: image[:, ::-1], 3: image[::-1, ::-1], 4: image[::-1], 5: image.swapaxes(0, 1),
        6: np.rot90(image, 1), 7: np.rot90(image, 2).swapaxes(0, 1), 8: np.rot90(image, -1),
    }[orientation]  # fmt: skip
    assert np.abs(stored.astype(int) - RGB).max() <= 12


@pytest.mark.parametrize("white_is_zero", [False, True])
def test_white_may_be_zero(white_is_zero: bool, tmp_path: Path) -> None:
    levels = wide(GREY)[..., 0]  # of 8 bits, Pillow turns them when it writes, too
    stored = 65535 - levels if white_is_zero else levels
    Image.fromarray(stored).save(tmp_path / "a.tif", tiffinfo={262: 0 if white_is_zero else 1})
    assert (read_image(tmp_path / "a.tif") == GREY).all()


def test_pages_of_a_tif_without_its_thumbnails(tmp_path: Path) -> None:
    from PIL.TiffImagePlugin import AppendingTiffWriter

    with AppendingTiffWriter(str(tmp_path / "a.tif"), True) as out:
        for k, kind in ((0, 0), (1, 1), (2, 0)):
            picture = Image.fromarray(np.full((10 + k, 20, 3), 50 * k, np.uint8))
            picture.save(out, format="TIFF", tiffinfo={254: kind})
            out.newFrame()
    assert count_pages(tmp_path / "a.tif") == 2
    assert [read_image(tmp_path / "a.tif", page)[0, 0, 0] for page in (1, 2)] == [0, 100]
    for page in (0, 3):
        with pytest.raises(PageError, match=f"no page {page}; expected 1 to 2"):
            read_image(tmp_path / "a.tif", page)


def bomb(width: int, height: int) -> bytes:
    """A png that says it is large, and holds little."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(1000))))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in (*chunks, (b"IEND", b""))
    )


def test_size_is_checked_before_anything_is_decoded(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(bomb(60_000, 60_000))
    with pytest.raises(
        PageError, match=r"60000 x 60000 px are 3600 megapixels; expected 100 at most.*--max-megapixels"
    ):
        read_image(tmp_path / "a.png")
    PICTURE.save(tmp_path / "b.png")
    with pytest.raises(PageError, match=r"megapixels; expected 0\.002 at most"):
        read_image(tmp_path / "b.png", megapixels=0.002)
    assert read_image(tmp_path / "b.png", megapixels=0.0026).shape == RGB.shape
    (tmp_path / "c.png").write_bytes(bomb(14_000, 14_000))  # more than Pillow itself would allow, of what is asked for
    with pytest.raises(PageError, match="truncated"):
        read_image(tmp_path / "c.png", megapixels=200)


def test_what_is_no_image(tmp_path: Path) -> None:
    PICTURE.save(tmp_path / "whole.png")
    PICTURE.resize((640, 400)).save(tmp_path / "whole.jpg", quality=95)
    for kind in ("png", "jpg"):
        data = (tmp_path / f"whole.{kind}").read_bytes()
        (tmp_path / f"half.{kind}").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.png").write_text("no picture at all")
    (tmp_path / "empty.tif").write_bytes(b"")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.4 and no more")
    (tmp_path / "broken.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    (tmp_path / "script.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")
    for name in ("half.png", "half.jpg", "text.png", "empty.tif", "broken.pdf", "broken.heic", "script.png"):
        with pytest.raises(PageError, match="not an image that can be decoded") as caught:
            read_image(tmp_path / name)
        assert str(caught.value).startswith(str(tmp_path / name))
        assert "\n" not in str(caught.value)
        assert count_pages(tmp_path / name) == 1
    with pytest.raises(PageError, match="cannot be read"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(PageError, match="cannot be read"):
        read_image(tmp_path)


def test_floating_point_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((10, 10), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(PageError, match="floating-point pixels; expected 8 or 16 bits"):
        read_image(tmp_path / "a.tif")


def test_a_scan_in_a_pdf_keeps_its_pixels(tmp_path: Path) -> None:
    pytest.importorskip("pypdfium2")
    noise = np.random.default_rng(1).integers(0, 255, (230, 331)).astype(np.uint8)
    scan = Image.fromarray(np.kron(noise, np.ones((4, 4), np.uint8))).convert("1")  # which is stored without loss
    other = scan.resize((600, 400))
    scan.save(tmp_path / "a.pdf", resolution=200, save_all=True, append_images=[other])
    assert count_pages(tmp_path / "a.pdf") == 2
    image = read_image(tmp_path / "a.pdf")
    assert image.shape == (920, 1324, 3)
    assert np.abs(image[..., 0].astype(int) - np.array(scan, np.uint8) * 255).max() <= 1
    assert read_image(tmp_path / "a.pdf", 2).shape == (400, 600, 3)
    with pytest.raises(PageError, match="1324 x 920 px are"):
        read_image(tmp_path / "a.pdf", megapixels=1)
    with pytest.raises(PageError, match="no page 3; expected 1 to 2"):
        read_image(tmp_path / "a.pdf", 3)


def drawing(path: Path, width: float, height: float) -> None:
    """A pdf of a black rectangle in the lower left quarter."""
    pdfium = pytest.importorskip("pypdfium2")
    document = pdfium.PdfDocument.new()
    page = document.new_page(width, height)
    raw = pytest.importorskip("pypdfium2.raw")
    shape = raw.FPDFPageObj_CreateNewRect(0, 0, width / 2, height / 2)
    raw.FPDFPath_SetDrawMode(shape, raw.FPDF_FILLMODE_ALTERNATE, False)
    raw.FPDFPage_InsertObject(page.raw, shape)
    page.gen_content()
    document.save(path)
    document.close()


def test_a_drawing_in_a_pdf_has_300_dpi_or_what_the_limit_allows(tmp_path: Path) -> None:
    drawing(tmp_path / "a.pdf", 72 * 4, 72 * 3)
    image = read_image(tmp_path / "a.pdf")
    assert abs(image.shape[0] - 900) <= 1
    assert abs(image.shape[1] - 1200) <= 1
    assert (image[-10, 10] == 0).all()
    assert (image[10, 10] == 255).all()
    assert (image[-10, -10] == 255).all()
    small = read_image(tmp_path / "a.pdf", megapixels=0.1)
    assert 0.095e6 < small.shape[0] * small.shape[1] <= 0.1e6
    drawing(tmp_path / "b.pdf", 72 * 190, 72 * 190)
    huge = read_image(tmp_path / "b.pdf", megapixels=4)
    assert 3.9e6 < huge.shape[0] * huge.shape[1] <= 4e6


@pytest.mark.parametrize(
    ("name", "start", "package"),
    [("a.pdf", b"%PDF-1.4", "pypdfium2"), ("a.heic", b"\0\0\0\x18ftypheic", "pillow-heif")],
)
def test_a_missing_package_is_named(
    name: str, start: bytes, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_bytes(start)
    monkeypatch.setitem(sys.modules, package.replace("-", "_"), None)
    with pytest.raises(PageError, match=rf"{name}: reading it needs {package}: pip install 'ecg-image-kit\[formats\]'"):
        read_image(tmp_path / name)
    assert count_pages(tmp_path / name) == 1
