"""Shapes of shadows: (h, w) uint8, 255 in the dark, drawn in px of a small field."""

from __future__ import annotations

import cv2
import numpy as np

from .fields import U8, D
from .shapes import fixed


def _place(rng: np.random.Generator, shape: tuple[int, ...], size: float) -> tuple[D, D, D, float]:
    """A point within the field, the direction to it from a border, one across, and the unit in px."""
    height, width = shape
    angle = rng.uniform(0, 2 * np.pi)
    along = np.array([np.cos(angle), np.sin(angle)])
    middle = np.array([width, height]) / 2
    tip = middle + rng.uniform(-0.28, 0.28, 2) * [width, height]
    return tip, along, np.array([-along[1], along[0]]), size * max(shape)


def _stroke(out: U8, points: list[D], width: float) -> None:
    """A thick line with round ends."""
    px = fixed(np.array(points))
    cv2.polylines(out, [px], False, 255, max(1, round(width)), cv2.LINE_AA, 4)


def _fill(out: U8, points: D) -> None:
    cv2.fillPoly(out, [fixed(points)], 255, cv2.LINE_AA, 4)


def _arm(out: U8, wrist: D, along: D, across: D, unit: float, bow: float) -> None:
    """A forearm from the wrist out of the picture, widening."""
    back = [wrist - along * unit * t + across * unit * bow * t**2 for t in (0.0, 0.3, 0.7, 1.6)]
    widths = np.array([0.042, 0.055, 0.07, 0.085]) * unit
    left = [p + across * w for p, w in zip(back, widths, strict=True)]
    right = [p - across * w for p, w in zip(back, widths, strict=True)]
    _fill(out, np.array(left + right[::-1]))


def _hand(rng: np.random.Generator, shape: tuple[int, ...], size: float) -> U8:
    """A hand that points at something, or is spread, with its forearm."""
    out = np.zeros(shape, np.uint8)
    tip, along, across, unit = _place(rng, shape, 1.25 * size)
    palm = tip - along * 0.18 * unit
    cv2.ellipse(out, (np.round(palm).astype(int).tolist()), (round(0.1 * unit), round(0.075 * unit)),
                float(np.rad2deg(np.arctan2(along[1], along[0]))), 0, 360, 255, -1, cv2.LINE_AA)  # fmt: skip
    side, spread = rng.choice([-1.0, 1.0]), rng.uniform(0.0, 0.35)
    bent = rng.uniform(0.3, 1.0, 4) if rng.random() < 0.5 else np.full(4, 0.9)
    for k, length in enumerate((0.17, 0.19, 0.18, 0.14)):
        off = (k - 1.5) / 1.5
        root = palm + along * 0.06 * unit + across * side * off * 0.055 * unit
        lean = along + across * side * off * spread
        _stroke(out, [root, root + lean * length * max(bent[k], 0.9 if k == 0 else 0.0) * unit], 0.034 * unit)
    root = palm - along * 0.02 * unit - across * side * 0.06 * unit
    _stroke(out, [root, root + (along * 0.09 - across * side * 0.07) * unit], 0.04 * unit)
    _arm(out, palm - along * 0.06 * unit, along, across, unit, rng.uniform(-0.1, 0.1))
    return out


def _phone(rng: np.random.Generator, shape: tuple[int, ...], size: float) -> U8:
    """A phone held over the sheet by one hand, or by two."""
    out = np.zeros(shape, np.uint8)
    tip, along, _, unit = _place(rng, shape, size)
    half = np.array([0.29, 0.145]) * unit
    turn = np.deg2rad(rng.choice([0.0, 90.0]) + rng.normal(0, 8))
    u, v = (np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)]))
    corners = [tip + a * u * half[0] * 0.92 + b * v * half[1] * 0.86 for a, b in ((1, 1), (1, -1), (-1, -1), (-1, 1))]
    _fill(out, np.array(corners))
    _stroke(out, [*corners, corners[0]], 0.05 * unit)
    for sign in (1.0, -1.0)[: int(rng.integers(1, 3))]:
        grip = tip + sign * u * half[0] * 0.95
        out_of = sign * u + 0.5 * along
        out_of /= np.linalg.norm(out_of)
        cv2.circle(out, (round(float(grip[0])), round(float(grip[1]))), round(0.085 * unit), 255, -1, cv2.LINE_AA)
        _arm(out, grip + 0.05 * unit * out_of, -out_of, np.array([out_of[1], -out_of[0]]), unit, 0.0)
    return out


def _head(rng: np.random.Generator, shape: tuple[int, ...], size: float) -> U8:
    """The head and shoulders of whoever takes the picture, from below or from a side."""
    out = np.zeros(shape, np.uint8)
    height, width = shape
    unit = 1.4 * size * max(shape)
    up = np.array([0.0, -1.0]) if rng.random() < 0.7 else np.array([rng.choice([-1.0, 1.0]), -0.3])
    up /= np.linalg.norm(up)
    across = np.array([-up[1], up[0]])
    middle = np.array([width, height]) / 2
    foot = (
        middle
        - up * np.abs(up @ [width, height]) / 2
        + across * rng.uniform(-0.3, 0.3) * np.abs(across @ [width, height])
    )
    head = foot + up * rng.uniform(0.1, 0.4) * unit
    tilt = float(np.rad2deg(np.arctan2(up[1], up[0])))
    cv2.ellipse(out, np.round(head).astype(int).tolist(), (round(0.16 * unit), round(0.125 * unit)),
                tilt, 0, 360, 255, -1, cv2.LINE_AA)  # fmt: skip
    chest = head - up * 0.33 * unit
    cv2.ellipse(out, np.round(chest).astype(int).tolist(), (round(0.21 * unit), round(0.36 * unit)),
                tilt, 0, 360, 255, -1, cv2.LINE_AA)  # fmt: skip
    _stroke(out, [head, chest], 0.17 * unit)
    return out


def _edge(rng: np.random.Generator, shape: tuple[int, ...], size: float) -> U8:
    """All that lies beyond a nearly straight edge: of a wall, a screen, a bed rail."""
    out = np.zeros(shape, np.uint8)
    tip, along, across, _ = _place(rng, shape, size)
    tip = tip - along * (size - 1.0) * 0.2 * max(shape)
    t = np.linspace(-3, 3, 25)[:, None] * max(shape)
    bow = rng.normal(0, 0.03) * (t / max(shape)) ** 2 * max(shape)
    line = tip + across * t + along * bow
    _fill(out, np.concatenate([line, line[::-1] + along * 6 * max(shape)]))
    return out


SHADOWS = {"hand": _hand, "phone": _phone, "head": _head, "edge": _edge}
FAR = {"hand": 1.0, "phone": 1.3, "head": 2.2, "edge": 1.0}  # what is further from the paper has softer edges
