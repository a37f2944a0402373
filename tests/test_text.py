"""Printed text, our stroke font, page texts and codes: sizes, outlines, nothing overlapping, nobody real."""

from __future__ import annotations

import re
import string
import time
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ImageFont

from ecg_image_kit import headers, strokefont
from ecg_image_kit.errors import UsageError
from ecg_image_kit.headers import ARRANGEMENTS, code_matrix, page_texts, paint_code
from ecg_image_kit.text import FONTS, Text, draw, width

K200 = 200 / 25.4
PRINTABLE = "".join(map(chr, range(32, 127)))
SHEETS = {"A4": (297.0, 210.0, 30.0, 10.0), "Letter": (279.4, 215.9, 30.0, 10.0), "small": (120.0, 80.0, 18.0, 8.0)}


def sheet(w: float = 60.0, h: float = 20.0, k: float = K200) -> NDArray[np.uint8]:
    return np.zeros((round(h * k), round(w * k)), np.uint8)


def texts_of(arrangement: str, seed: int = 0, size: str = "A4", **options: object) -> list[Text]:
    w, h, top, bottom = SHEETS[size]
    common = {"speed": 25.0, "gain": 10.0, "rng": np.random.default_rng(seed), "top": top, "bottom": bottom}
    return page_texts(arrangement, w, h, **(common | options))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def own_font(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A font file such as a user would give: the one inside Pillow, written out."""
    path = tmp_path_factory.mktemp("font") / "own.ttf"
    default = ImageFont.load_default(20)
    assert isinstance(default, ImageFont.FreeTypeFont)
    path.write_bytes(default.font_bytes)
    return str(path)


# Text


def cap_height(font: str, size: float, k: float, bold: bool = False) -> float:
    """mm: rows that an H's stems fill, those at its ends by their share."""
    coverage = sheet(k=k)
    draw(coverage, [Text("H", 10, 15, size, font, bold=bold)], k)
    rows = coverage.max(axis=1).astype(float)
    return float((rows / np.median(rows[rows > 0])).clip(0, 1).sum() / k)


@pytest.mark.parametrize("bold", [False, True])
@pytest.mark.parametrize("size", [2.0, 2.6, 3.0, 5.0])
@pytest.mark.parametrize("font", [*FONTS, "own"])
def test_size_is_the_cap_height(font: str, size: float, bold: bool, own_font: str) -> None:
    font = own_font if font == "own" else font
    assert cap_height(font, size, K200, bold) == pytest.approx(size, rel=0.05)
    for dpi in (72, 600):
        # Half a pixel at 72 dpi is 9 % of the smallest size.
        assert cap_height(font, size, dpi / 25.4, bold) == pytest.approx(size, rel=0.03, abs=0.5 * 25.4 / dpi)


@pytest.mark.parametrize("font", FONTS)
@pytest.mark.parametrize("dpi", [72, 200, 600])
def test_outlines_are_the_painted_pixels(font: str, dpi: int) -> None:
    k = dpi / 25.4
    items = [
        Text("25 mm/s", 5, 8, 2.6, font),
        Text("aVL", 40, 8, 3, font, bold=True),
        Text("pgj|", 20, 15, 3, font, boxed=True),
    ]
    together = sheet(k=k)
    found = draw(together, items, k)
    assert [text for text, _ in found] == items
    union = np.zeros_like(together)
    for item, outline in found:
        alone = sheet(k=k)
        draw(alone, [item], k)
        rows, columns = np.flatnonzero(alone.any(axis=1)), np.flatnonzero(alone.any(axis=0))
        # mm -> px of the corners: pixel i reaches from i - 0.5 to i + 0.5.
        (x0, y0), (x1, y1) = outline[0] * k - 0.5, outline[2] * k - 0.5
        assert np.allclose([x0, x1], [columns[0] - 0.5, columns[-1] + 0.5])
        assert np.allclose([y0, y1], [rows[0] - 0.5, rows[-1] + 0.5])
        assert np.allclose(
            outline,
            [
                [outline[0, 0], outline[0, 1]],
                [outline[2, 0], outline[0, 1]],
                outline[2],
                [outline[0, 0], outline[2, 1]],
            ],
        )
        union = np.maximum(union, alone)
    assert np.array_equal(union, together)


@pytest.mark.parametrize("font", FONTS)
def test_anchors(font: str) -> None:
    wide = width("HIH", 4, font)
    for h, left in (("l", 0.0), ("m", -wide / 2), ("r", -wide)):
        for v, bottom in (("s", 0.0), ("m", 2.0), ("t", 4.0)):
            ((_, outline),) = draw(sheet(), [Text("HIH", 30, 10, 4, font, h + v)], K200)
            assert outline[2, 1] == pytest.approx(10 + bottom, abs=0.2)
            assert outline[0, 0] == pytest.approx(30 + left, abs=0.9)  # the first letter's side bearing
            assert outline[2, 0] == pytest.approx(30 + left + wide, abs=0.9)


@pytest.mark.parametrize("font", [*FONTS, "own"])
def test_every_character_is_printed(font: str, own_font: str) -> None:
    font = own_font if font == "own" else font
    inks = set()
    for char in PRINTABLE[1:] + "µ°²±\u2013äöüé":
        coverage = sheet(20, 20)
        assert len(draw(coverage, [Text(char, 8, 12, 4, font)], K200)) == 1, char
        if char in PRINTABLE:
            inks.add(coverage.tobytes())
    assert len(inks) == len(PRINTABLE) - 1  # no two of them look alike


def test_unknown_characters_are_spelled_out() -> None:
    assert strokefont.spell("Café\t5 µV ≥ ½ \u2026 日\n") == "Café 5 µV >= ? ... ? "
    ascii_only = strokefont.spell("Übergröße µV 37°, m², \u2013", str.isascii)
    assert ascii_only == "Ubergrosse uV 37 deg, m2, -"
    for font in FONTS:
        assert len(draw(sheet(), [Text("日本 ½ \u200b x", 5, 10, 3, font)], K200)) == 1


def test_off_the_sheet_and_empty() -> None:
    coverage = sheet()
    items = [Text("far", 500, 10), Text("far", -90, 10), Text("high", 5, -5), Text("", 5, 5), Text("   ", 5, 5)]
    assert draw(coverage, items, K200) == []
    assert not coverage.any()
    ((_, outline),) = draw(coverage, [Text("HHHHHHHH", -4, 1, 4)], K200)
    assert coverage.any()
    assert outline.min() == 0.0  # cut to the sheet


def test_painting_never_lightens_and_repeats_exactly() -> None:
    coverage = np.full((200, 400), 100, np.uint8)
    draw(coverage, [Text("ECG", 5, 10, 4, font) for font in FONTS], K200)
    assert coverage.min() == 100
    assert coverage.max() == 255
    again = np.full((200, 400), 100, np.uint8)
    draw(again, [Text("ECG", 5, 10, 4, font) for font in FONTS], K200)
    assert np.array_equal(coverage, again)


@pytest.mark.parametrize("font", FONTS)
def test_bold_and_boxed_add_ink(font: str) -> None:
    amounts = []
    for options in ({}, {"bold": True}, {"boxed": True}):
        coverage = sheet()
        draw(coverage, [Text("V4", 10, 10, 3, font, **options)], K200)  # type: ignore[arg-type]
        amounts.append(int(coverage.sum(dtype=np.int64)))
    assert amounts[1] > 1.15 * amounts[0]
    assert amounts[2] > 1.5 * amounts[0]


@pytest.mark.parametrize("font", FONTS)
@pytest.mark.parametrize("bold", [False, True])
def test_width_foretells_the_outline(font: str, bold: bool) -> None:
    for dpi in (72, 200, 600):
        ((_, outline),) = draw(
            sheet(100, k=dpi / 25.4), [Text("Hxxxxxxxxxxxxxxx 25 mm/s H", 5, 10, 2.6, font, bold=bold)], dpi / 25.4
        )
        assert outline[1, 0] - outline[0, 0] == pytest.approx(
            width("Hxxxxxxxxxxxxxxx 25 mm/s H", 2.6, font, bold), abs=1.0
        )


def test_misuse_is_explained(tmp_path: Path) -> None:
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"not a font")
    for font in (str(tmp_path / "none.ttf"), str(broken), "comic"):
        with pytest.raises(UsageError, match=r"cannot be read.*sans, serif, plain, stroke.*\.ttf") as error:
            draw(sheet(), [Text("x", 5, 5, font=font)], K200)
        assert font in str(error.value).replace("\\\\", "\\")
    with pytest.raises(UsageError, match="anchor 'zz'"):
        Text("x", 0, 0, anchor="zz")
    for size in (0.0, -1.0, float("nan")):
        with pytest.raises(UsageError, match="mm at"):
            Text("x", 0, 0, size=size)


def test_a_page_of_text_is_fast() -> None:
    coverage = sheet(297, 210)
    items = [Text(f"QRS {i} ms", 5 + 60 * (i % 4), 10 + 6 * (i // 4), 2.6, FONTS[i % 4]) for i in range(30)]
    draw(coverage, items, K200)
    best = min(_seconds(coverage, items) for _ in range(5))
    assert best < 0.02  # under 2 ms on an idle core; without the cache over 30


def _seconds(coverage: NDArray[np.uint8], items: list[Text]) -> float:
    start = time.perf_counter()
    draw(coverage, items, K200)
    return time.perf_counter() - start


# Stroke font


@pytest.mark.parametrize("face", strokefont.FACES.values(), ids=strokefont.FACES.keys())
def test_strokes_stand_on_the_lines(face: strokefont.Face) -> None:
    assert strokefont.strokes("", face) == [] and strokefont.strokes(" ", face) == []
    for char in PRINTABLE[1:] + "µ°²±\u2013äöüé":
        points = np.concatenate(strokefont.strokes(char, face))
        assert np.isfinite(points).all()
        assert points[:, 0].min() >= -0.01 and points[:, 0].max() <= strokefont.advance(char, face) + 0.01
        assert points[:, 1].min() >= -1.12 and points[:, 1].max() <= 0.34
        if char in string.ascii_uppercase + string.digits:
            assert points[:, 1].min() == pytest.approx(-1.0)
            assert points[:, 1].max() == pytest.approx(0.0, abs=0.08 if char == "Q" else 1e-9)
        if char in "acemnorsuvwxz":
            assert points[:, 1].min() == pytest.approx(-8.2 / 12)


def test_strokes_follow_one_another() -> None:
    first, both = strokefont.strokes("a"), strokefont.strokes("ab")
    moved = [path + np.array([strokefont.advance("a"), 0]) for path in strokefont.strokes("b")]
    assert all(np.allclose(x, y) for x, y in zip(both, first + moved, strict=True))
    assert strokefont.advance("ab") == pytest.approx(strokefont.advance("a") + strokefont.advance("b"))
    plain = strokefont.FACES["plain"]
    assert strokefont.advance("iiii", plain) == pytest.approx(strokefont.advance("MW.1", plain))
    assert len({strokefont.advance(d) for d in string.digits}) == 1  # figures stand in columns


def test_curves_are_smooth() -> None:
    (path,) = strokefont.strokes("O")
    steps = np.diff(path, axis=0)
    turns = np.diff(np.unwrap(np.arctan2(steps[:, 1], steps[:, 0])))
    assert np.abs(turns).max() < np.deg2rad(25)
    assert abs(turns.sum()) > np.deg2rad(330)


@pytest.mark.parametrize("face", strokefont.FACES)
def test_pen_is_as_wide_as_the_face_says(face: str) -> None:
    for size in (2.4, 3.0, 5.0):
        coverage = sheet()
        ((_, outline),) = draw(coverage, [Text("H", 10, 15, size, face)], K200)
        # Two stems, seen well below the bar.
        row = coverage[round((outline[2, 1] - 0.25 * size) * K200)]
        pen = strokefont.FACES[face].pen + strokefont.FACES[face].nib
        assert row.sum(dtype=float) / 255 / K200 / 2 == pytest.approx(pen * size, rel=0.12)


# Page texts


@pytest.mark.parametrize("size", SHEETS)
@pytest.mark.parametrize("font", FONTS)
@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_page_texts_keep_their_places(arrangement: str, font: str, size: str) -> None:
    w, h, top, bottom = SHEETS[size]
    for seed in range(3):
        found = draw(sheet(w, h), texts := texts_of(arrangement, seed, size, font=font), K200)
        assert len(found) == len(texts)
        hair = 1.01 / K200  # the sheet's edges fall within a pixel
        for item, outline in found:
            (x0, y0), (x1, y1) = outline[0], outline[2]
            assert x0 > 0 and x1 < w and y0 > 0 and y1 < h, item.text
            assert y1 <= top + hair or y0 >= h - bottom - hair, item.text
        for (a, p), (b, q) in combinations(found, 2):
            apart = p[2, 0] <= q[0, 0] or q[2, 0] <= p[0, 0] or p[2, 1] <= q[0, 1] or q[2, 1] <= p[0, 1]
            assert apart, (a.text, b.text)


@pytest.mark.parametrize("arrangement", [a for a in ARRANGEMENTS if a != "none"])
def test_page_texts_are_marked_synthetic(arrangement: str) -> None:
    real = {
        "name": "Erika Mustermann",
        "patient_id": 15709.0,
        "recording_date": "1984-11-09 09:17:34",
        "age": 56.0,
        "sex": 1,
    }
    for seed in range(30):
        texts = texts_of(arrangement, seed, meta=real)
        said = "\n".join(item.text for item in texts)
        assert re.search(r"\bSYN\d{6,}|SYNTHETIC|SPECIMEN|TEST", said)
        assert not re.search(r"Mustermann|15709|1984-11-09|09:17", said, re.IGNORECASE)
        # Every name on the page carries a marker.
        for name in re.findall(rf"[^\n]*(?:{'|'.join(headers._GIVEN)})[^\n]*", said, re.IGNORECASE):
            assert re.search("SYNTHETIC|SPECIMEN|TEST", name), name


def test_page_texts_on_a_full_sheet() -> None:
    assert texts_of("none") == []
    seen = {a: frozenset((t.text, t.x, t.y) for t in texts_of(a)) for a in ARRANGEMENTS}
    assert len(set(seen.values())) == len(ARRANGEMENTS)
    for arrangement in ARRANGEMENTS[1:]:
        for seed in range(20):
            said = " ".join(t.text for t in texts_of(arrangement, seed) if t.kind == "calibration")
            assert re.search(r"\b25 mm/s", said) and "10 mm/mV" in said, arrangement
    for arrangement in ("classic", "columns", "cart", "thermal", "report"):
        assert len(texts_of(arrangement)) >= 12, arrangement
        kinds = {t.kind for t in texts_of(arrangement)}
        assert {"header", "measurement", "calibration"} <= kinds
        assert not any(t.kind == "measurement" for t in texts_of(arrangement, measurements=False))
        assert "Hz" not in " ".join(t.text for t in texts_of(arrangement, filter_text=False))


def test_page_texts_repeat_with_their_seed() -> None:
    assert texts_of("classic", 5) == texts_of("classic", 5)
    assert texts_of("classic", 5) != texts_of("classic", 6)


def test_page_texts_take_age_sex_rate_and_scale() -> None:
    said = [
        t.text for t in texts_of("classic", meta={"age": 300.0, "sex": 0, "heart_rate": 123.4}, gain="10/5", speed=12.5)
    ]
    assert "90+ yr   Male" in said
    assert "123 bpm" in said
    assert "Sinus tachycardia" in said
    assert "10/5 mm/mV" in said
    assert "12.5 mm/s" in said
    assert "47 yr   Female" in [t.text for t in texts_of("classic", meta={"age": "47.0", "sex": "F"})]
    missing = {"age": float("nan"), "sex": None, "heart_rate": "unknown"}
    assert texts_of("classic", meta=missing) == texts_of("classic")


@pytest.mark.parametrize("rate", [None, 20, 35, 60, 90, 150, 250, 340])
def test_measurements_agree_with_one_another(rate: float | None) -> None:
    for seed in range(50):
        facts = headers.Facts.draw(np.random.default_rng(seed), {} if rate is None else {"heart_rate": rate})
        beat = 60_000 / facts.rate
        assert rate is None or facts.rate == rate
        assert 60 <= facts.qrs < facts.qt < beat
        assert facts.pr < beat / 2
        assert facts.qtc == pytest.approx(facts.qt / np.sqrt(beat / 1000), abs=0.51 + 0.51 / np.sqrt(beat / 1000))
        if facts.qtc != 460:  # the statement looks at the unrounded value
            assert ("Prolonged QT interval" in facts.findings) == (facts.qtc > 460)
        assert facts.verdict != "Normal ECG" or len(facts.findings) == 1


def test_taken_places_stay_free() -> None:
    block = (230.0, 0.0, 297.0, 30.0)
    free = texts_of("classic")
    kept = texts_of("classic", taken=[block])
    assert 5 < len(kept) < len(free)
    for _, outline in draw(sheet(297, 210), kept, K200):
        assert outline[2, 0] < block[0] or outline[0, 1] > block[3]


def test_unknown_arrangement_lists_them() -> None:
    with pytest.raises(UsageError) as error:
        texts_of("fancy")
    assert "fancy" in str(error.value)
    assert all(name in str(error.value) for name in ARRANGEMENTS)


# Codes


@pytest.mark.parametrize("dpi", [150, 200, 300])
def test_qr_code_is_read_back(dpi: int) -> None:
    k = dpi / 25.4
    matrix = code_matrix("qr", "SYN-0000001234")
    assert matrix.dtype == np.uint8 and set(np.unique(matrix)) == {0, 1} and matrix.shape[0] == matrix.shape[1]
    assert matrix[0].any() and matrix[:, 0].any()  # no quiet zone
    coverage = sheet(40, 40, k)
    outline = paint_code(coverage, matrix, 8.3, 7.1, 0.8, k)
    assert np.allclose(outline[0], (8.3, 7.1), atol=1 / k) and np.allclose(
        outline[2] - outline[0], 0.8 * len(matrix), atol=2 / k
    )
    text, _, _ = cv2.QRCodeDetector().detectAndDecode(255 - coverage)
    assert text == "SYN-0000001234"


# The standard's patterns, 1 ink and 0 paper, of some characters (written down apart from the module's own table).
PATTERNS = {
    "S": "11011101000", "Y": "11101101000", "N": "10111000110", "-": "10011011100",
    "0": "10011101100", "1": "10011100110", "2": "11001110010", "3": "11001011100",
    "4": "11001001110", "5": "11011100100", "6": "11001110100", "7": "11101101110",
}  # fmt: skip
START_B, STOP = "11010010000", "1100011101011"


def decode_128(modules: str) -> str:
    """Content and check character of a Code 128-B symbol."""
    assert modules.startswith(START_B) and modules.endswith(STOP)
    body = modules[len(START_B) : -len(STOP)]
    chars = {pattern: char for char, pattern in PATTERNS.items()}
    return "".join(chars[body[i : i + 11]] for i in range(0, len(body), 11))


# "0": 104 + 1 * 16 = 120, modulo 103 is 17, which is the character 1; the others alike.
@pytest.mark.parametrize(
    ("content", "check"), [("0", "1"), ("SYN-1234", "2"), ("SYN-6570", "Y"), ("SYN-2643", "N"), ("SYN-7500", "-")]
)
def test_bar_code_is_code_128(content: str, check: str) -> None:
    matrix = code_matrix("bar", content)
    assert matrix.shape == (1, 11 * (len(content) + 2) + 13) and matrix.dtype == np.uint8
    assert decode_128("".join(map(str, matrix[0]))) == content + check


def test_bar_patterns_are_those_of_the_standard() -> None:
    cells = ["".join(map(str, code_matrix("bar", char)[0, 11:22])) for char in PRINTABLE]
    assert len(set(cells)) == len(PRINTABLE)
    assert all(cells[ord(char) - 32] == pattern for char, pattern in PATTERNS.items())
    assert all(cell[0] == "1" and cell[-1] == "0" and cell.count("1") % 2 == 0 for cell in cells)


def test_codes_are_painted_with_exact_coverage() -> None:
    coverage = sheet(40, 10)
    matrix = np.repeat(code_matrix("bar", "SYN-1"), 20, axis=0)
    outline = paint_code(coverage, matrix, 3.21, 2.57, 0.21, K200)
    ink = coverage.sum(dtype=float) / 255 / K200**2  # mm2
    assert ink == pytest.approx(matrix.sum() * 0.21**2, rel=0.005)
    rows, columns = np.nonzero(coverage)
    assert np.allclose(outline[[0, 2]] * K200, [[columns.min(), rows.min()], [columns.max() + 1, rows.max() + 1]])
    with pytest.raises(UsageError, match="no ink on the sheet"):
        paint_code(coverage, matrix, 100, 2, 0.2, K200)


def test_code_misuse_is_explained() -> None:
    for kind, content in (("aztec", "x"), ("bar", "µ"), ("bar", ""), ("bar", "x" * 81), ("qr", ""), ("qr", "x" * 5000)):
        with pytest.raises(UsageError, match="expected"):
            code_matrix(kind, content)


def test_statements_follow_the_records_labels() -> None:
    sick = headers.Facts.draw(np.random.default_rng(3), {"scp_codes": {"AMI": 100.0, "SR": 0.0}})
    assert sick.verdict == "Abnormal ECG" and sick.findings == ("Anterior infarction", "Sinus rhythm")
    well = headers.Facts.draw(np.random.default_rng(3), {"scp_codes": {"NORM": 100.0, "SR": 0.0}})
    assert well.verdict == "Normal ECG" and well.findings == ("Sinus rhythm",)
    unknown = headers.Facts.draw(np.random.default_rng(3), {"scp_codes": {"QWERTY": 100.0}})
    assert unknown.findings == () and unknown.verdict == "Abnormal ECG"
