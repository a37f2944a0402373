"""Surfaces that sheets lie on: (h, w, 3) uint8 at k px/mm."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from . import fields as fl
from .beneath import BEYOND, Texture
from .fields import RGB, U8, F
from .shapes import fill, fixed


def coloured(t: NDArray[np.floating], colours: tuple[RGB, ...]) -> U8:
    """(h, w, 3) of a field, 0 to 1, by colours evenly spaced along it."""
    stops = np.linspace(0, 255, len(colours))
    table = np.stack([np.interp(np.arange(256), stops, [c[k] for c in colours]) for k in range(3)], axis=-1)
    index = np.clip(t * 255.0, 0, 255).astype(np.uint8)
    return fl.u8(cv2.applyColorMap(index, np.round(table).astype(np.uint8)[:, None, :]))


def _streaks(rng: np.random.Generator, shape: tuple[int, int], k: float, long: float, wide: float) -> F:
    """(h, w) noise stretched along the rows: ``long`` mm by ``wide`` mm; SD about 1."""
    cells = [int(np.clip(n / k / mm, 2, n)) + 3 for n, mm in zip(shape, (wide, long), strict=True)]
    return fl.resize(rng.standard_normal(cells, dtype=np.float32) * 1.3, shape, cv2.INTER_CUBIC)


def axes(shape: tuple[int, int], k: float) -> tuple[F, F]:
    """(1, w) and (h, 1) mm."""
    return (np.arange(shape[1], dtype=np.float32) / k)[None, :], (np.arange(shape[0], dtype=np.float32) / k)[:, None]


_WOODS: tuple[tuple[RGB, ...], ...] = (
    ((92, 58, 32), (150, 102, 62), (186, 140, 94)),
    ((120, 84, 52), (186, 144, 98), (214, 178, 132)),
    ((58, 36, 26), (96, 62, 44), (124, 86, 62)),
    ((150, 126, 98), (196, 172, 140), (220, 202, 174)),
    ((98, 88, 78), (140, 130, 118), (170, 160, 148)),
)


def _wood(rng: np.random.Generator, shape: tuple[int, int], k: float) -> U8:
    _, y = axes(shape, k)
    bow = y + 7.0 * _streaks(rng, shape, k, 160, 45) + 1.2 * _streaks(rng, shape, k, 60, 9)
    ring = bow / rng.uniform(5, 11)
    ring = ring - np.floor(ring)  # early wood is broad and pale, late wood a narrow dark line
    t = 0.62 - 0.22 * ring**3 + 0.07 * _streaks(rng, shape, k, 50, 1.0) + 0.05 * _streaks(rng, shape, k, 14, 0.35)
    pores = np.maximum(_streaks(rng, shape, k, 5, 0.3) - 1.3, 0.0)
    t = t - 0.16 * pores
    if rng.random() < 0.6:
        board = rng.uniform(70, 150)
        row = (y + rng.uniform(0, board)) / board
        tone = rng.normal(0, 0.07, 64)[np.floor(row).astype(int) % 64]
        t = t + tone - 0.4 * (np.abs(row - np.round(row)) * board < 0.4)
    return coloured(t, _WOODS[int(rng.integers(len(_WOODS)))])


_CLOTHS: tuple[RGB, ...] = (
    (222, 225, 228), (58, 92, 132), (70, 128, 116), (128, 132, 138), (196, 206, 214), (38, 52, 84), (178, 160, 138),
)  # fmt: skip


def _cloth(rng: np.random.Generator, shape: tuple[int, int], k: float) -> U8:
    x, y = axes(shape, k)
    pitch = max(rng.uniform(0.5, 1.1), 2.2 / k)
    wobble = 0.15 * fl.smooth(rng, shape, 12)
    warp, weft = np.sin(2 * np.pi / pitch * (x + wobble)), np.sin(2 * np.pi / pitch * (y + wobble))
    weave = warp * weft if rng.random() < 0.6 else np.sin(2 * np.pi / pitch * (x + y + wobble))
    uneven = _streaks(rng, shape, k, 30, 0.8) + _streaks(rng, shape[::-1], k, 30, 0.8).T
    folds = fl.fractal(rng, shape, rng.uniform(2, 5), 3, 0.45)
    t = 0.68 + 0.05 * weave + 0.025 * uneven + 0.035 * fl.white(rng, shape) + rng.uniform(0.02, 0.11) * folds
    base = np.array(_CLOTHS[int(rng.integers(len(_CLOTHS)))])
    dark, bright = base * 0.35, np.minimum(base * 1.25 + 8, 255)
    return coloured(t, (_rgb(dark), _rgb(base * 0.72), _rgb(bright)))


_PLAINS: tuple[RGB, ...] = (
    (48, 88, 122), (204, 198, 186), (168, 170, 172), (226, 226, 222), (120, 104, 88), (84, 112, 112), (182, 158, 130),
    (66, 70, 78), (214, 206, 170),
)  # fmt: skip


def _plain(rng: np.random.Generator, shape: tuple[int, int], k: float) -> U8:
    t = 0.7 + 0.007 * fl.fractal(rng, shape, 4, 5, 0.7) + 0.012 * fl.white(rng, shape)
    base = np.array(_PLAINS[int(rng.integers(len(_PLAINS)))])
    return coloured(t, (_rgb(base * 0.1), _rgb(np.minimum(base * 1.4, 255))))


def _laminate(rng: np.random.Generator, shape: tuple[int, int], k: float) -> U8:
    base = np.array(((214, 212, 206), (186, 188, 190), (224, 220, 208), (150, 152, 150))[int(rng.integers(4))])
    noise = np.asarray(cv2.GaussianBlur(fl.white(rng, shape), (0, 0), max(0.5, 0.3 * k)), np.float32)
    flecks = noise / max(float(noise.std()), 1e-6)
    t = 0.7 + 0.015 * fl.smooth(rng, shape, 4)
    t = t + 0.012 * np.clip(flecks, -1, 1) - 0.13 * (flecks < -2.2) + 0.08 * (flecks > 2.3)
    return coloured(t, (_rgb(base * 0.15), _rgb(np.minimum(base * 1.42, 255))))


def _steel(rng: np.random.Generator, shape: tuple[int, int], k: float) -> U8:
    _, y = axes(shape, k)
    sheen = np.sin(2 * np.pi * (y / rng.uniform(150, 400) + rng.random())) + 0.4 * fl.smooth(rng, shape, 2)
    t = 0.58 + 0.1 * sheen + 0.035 * _streaks(rng, shape, k, 70, 0.3) + 0.02 * _streaks(rng, shape, k, 200, 1.2)
    t = t + 0.05 * (_streaks(rng, shape, k, 25, 0.25) > 3.0)
    return coloured(t, ((30, 32, 36), (118, 122, 128), (226, 230, 234)))


def _dark(rng: np.random.Generator, shape: tuple[int, int], k: float) -> U8:
    t = 0.3 + 0.05 * fl.fractal(rng, shape, 5, 3) + 0.06 * cv2.GaussianBlur(fl.white(rng, shape), (0, 0), 0.8)
    return coloured(t, ((6, 6, 7), (34, 33, 34), (92, 90, 88)))


def _keyboard(rng: np.random.Generator, shape: tuple[int, int], k: float) -> U8:
    """A keyboard at the upper edge of a table, half under the sheet."""
    table = (_plain, _wood, _laminate)[int(rng.integers(3))](rng, shape, k)
    longer = max(shape) / k / (1 + 2 * BEYOND)  # about that of the sheet
    bottom = round(min(0.45 * shape[0], (BEYOND * longer + rng.uniform(-5, 25)) * k))
    keys = _keys(rng, (max(8, bottom), shape[1]), k)
    alpha = np.zeros(shape, np.uint8)
    alpha[: keys.shape[0]] = 255
    cast = np.asarray(cv2.GaussianBlur(alpha, (0, 0), 3.0 * k), np.float32) / 255.0
    out = fl.multiply(table, 1.0 - 0.5 * cast)
    out[: keys.shape[0]] = keys
    return out


def _keys(rng: np.random.Generator, shape: tuple[int, int], k: float) -> U8:
    body, key = ((24, 24, 26), (44, 44, 48)) if rng.random() < 0.6 else ((150, 152, 156), (226, 227, 228))
    out = np.empty((*shape, 3), np.uint8)
    out[:] = body
    pitch, corner = 19.0 * k, 1.6 * k
    ink = [255 - 0.85 * c for c in key]
    bottom = shape[0] - 6.0 * k
    row = 0
    while bottom > -pitch:
        x = -pitch + (row * 0.37 % 1.0) * pitch
        while x < shape[1]:
            wide = pitch * float(rng.choice([1.0, 1.0, 1.0, 1.0, 1.0, 1.5, 2.0]))
            low, high = np.array([x, bottom - pitch]) + 1.2 * k, np.array([x + wide, bottom]) - 1.2 * k
            shade = 1.0 + float(rng.normal(0, 0.02))
            for inset, tone in ((0.0, 0.72), (1.5 * k, 1.0)):
                a, b = low + inset + corner, high - inset - corner - 0.5 * inset
                px = [fixed(np.array([[a[0], a[1]], [b[0], a[1]], b, [a[0], b[1]]]))]
                colour = [min(255.0, c * tone * shade) for c in key]
                cv2.fillPoly(out, px, colour, cv2.LINE_AA, 4)
                cv2.polylines(out, px, True, colour, max(1, round(2 * corner)), cv2.LINE_AA, 4)
            letter = chr(int(rng.integers(ord("A"), ord("Z") + 1)))
            at = (round(float(low[0] + 4.0 * k)), round(float(low[1] + 8.0 * k)))
            cv2.putText(out, letter, at, cv2.FONT_HERSHEY_SIMPLEX, 0.16 * k, ink, max(1, round(0.4 * k)), cv2.LINE_AA)
            x += wide
        bottom -= pitch
        row += 1
    soft = cv2.GaussianBlur(out, (0, 0), max(0.5, 0.2 * k))
    return fl.multiply(soft, 1.0 + 0.05 * fl.smooth(rng, (24, 32), 3))


def _papers(rng: np.random.Generator, shape: tuple[int, int], k: float) -> U8:
    out = (_wood, _plain, _laminate)[int(rng.integers(3))](rng, shape, k)
    for _ in range(int(rng.integers(5, 10))):
        size = (np.array([297.0, 210.0]) if rng.random() < 0.6 else np.array([150.0, 105.0])) * k
        sheet = paper(
            rng, (round(size[1] / 2), round(size[0] / 2)), k / 2, str(rng.choice(["ecg", "text", "text", "blank"]))
        )
        turn = float(rng.normal(0, 25) + rng.choice([0, 90]))
        centre = rng.uniform(0, 1, 2) * shape[::-1]
        move = cv2.getRotationMatrix2D((sheet.shape[1] / 2, sheet.shape[0] / 2), turn, 2.0)
        move = move + np.pad((centre - np.array(sheet.shape[1::-1]) / 2)[:, None], ((0, 0), (2, 0)))
        edge = np.array([[0, 0], [sheet.shape[1], 0], sheet.shape[1::-1], [0, sheet.shape[0]]]) @ move[:, :2].T
        cast = np.zeros((shape[0] // 4 + 1, shape[1] // 4 + 1), np.uint8)
        fill(cast, (edge + move[:, 2]) / 4)
        fl.dye(out, (0, 0, 0), fl.scaled(cv2.GaussianBlur(cast, (0, 0), max(0.5, 0.5 * k)), 0.45))
        cv2.warpAffine(sheet, move, shape[::-1], dst=out, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT)
    return out


def paper(rng: np.random.Generator, shape: tuple[int, int], k: float, kind: str) -> U8:
    """A sheet of paper at k px/mm with a grid, with lines of text that cannot be read, or with nothing."""
    white: tuple[RGB, ...] = ((242, 241, 236), (250, 249, 246), (232, 236, 240), (248, 244, 228))
    out = np.empty((*shape, 3), np.uint8)
    out[:] = white[int(rng.integers(len(white)))]
    if kind == "ecg":
        grid = ((240, 190, 188), (232, 176, 150), (196, 208, 220))[int(rng.integers(3))]
        for step, pen in ((1.0, 0.45), (5.0, 1.0)):
            if step * k < 3:
                continue
            for axis in (0, 1):
                at = np.round(np.arange(0, shape[axis] / k, step) * k).astype(int)
                line = np.round(np.take(out, at[at < shape[axis]], axis) * (1 - pen) + np.array(grid) * pen)
                out[(slice(None),) * axis + (at[at < shape[axis]],)] = line.astype(np.uint8)
    if kind == "text":
        for y in np.arange(18.0, shape[0] / k - 12, 4.6):
            if rng.random() > 0.12:
                _scribble(rng, out, k, y, rng.uniform(0.5, 0.95) * shape[1] / k - 16)
    soft = cv2.GaussianBlur(out, (0, 0), max(0.4, 0.25 * k))
    return fl.multiply(soft, 0.97 + 0.025 * fl.smooth(rng, (16, 24), 4))


def _scribble(rng: np.random.Generator, out: U8, k: float, y: float, length: float) -> None:
    """A line of what looks like print from afar, ``y`` mm from the top, 16 mm from the left."""
    ink = rng.random((3, max(2, round(length / 0.6))), dtype=np.float32)
    ink[:, rng.random(ink.shape[1]) < 0.16] = 0.0  # between words
    (x0, x1), (y0, y1) = ((round(a * k), round((a + b) * k) + 1) for a, b in ((16.0, length), (y, 1.6)))
    part = np.ascontiguousarray(out[y0:y1, x0:x1])
    if part.size:
        out[y0:y1, x0:x1] = fl.multiply(part, 1.0 - 0.65 * fl.resize(ink, part.shape[:2]))


def _rgb(colour: NDArray[np.floating]) -> RGB:
    return float(colour[0]), float(colour[1]), float(colour[2])


SURFACES: dict[str, Texture] = {
    "wood": _wood, "cloth": _cloth, "plain": _plain, "laminate": _laminate, "steel": _steel, "keyboard": _keyboard,
    "papers": _papers, "dark": _dark,
}  # fmt: skip
