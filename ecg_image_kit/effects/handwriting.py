"""Handwriting: text as pen paths with pressure, in a hand of one's own.

    >>> hand = hand_of("cursive", rng)                     # its habits: slant, spacing, letter forms, ...
    >>> strokes, width = write("old inf MI", hand, rng)    # (N, 3) x, y in cap heights, pressure 0 to 1

Capitals and signs are the paths of ``strokefont``, small letters and digits curves through a few points, which can be
joined. What makes them a hand is how they are bent, the same way wherever a letter stands, and a little anew each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .. import strokefont
from .fields import D

Strokes = list[D]  # (N, 3) each: x right, y down, pressure
FAMILIES = ("print", "cursive", "capitals", "doctor")
_STEP = 0.045  # cap heights between points of a pen path
_CAP = 1.9  # x-heights of a capital in the table below


# Character, width, pen paths: curves through these points, x right, y up, in x-heights. The first path may be joined to
# the letter before, and its end to the one after; the others (dots, bars) are added when the word is written.
_TABLE = """
a 1 .74,.84 .42,1 .1,.62 .12,.16 .36,0 .66,.42 .76,.94 .74,.4 .84,.03 1,.14
b .85 .02,.5 .3,1.5 .34,1.9 .2,1.95 .13,1.4 .1,.3 .34,0 .66,.3 .6,.72 .4,.74 .85,.72
c .75 .66,.8 .42,1 .12,.62 .13,.2 .4,0 .75,.18
d 1 .7,.84 .42,1 .1,.58 .12,.12 .38,.02 .66,.46 .8,1.85 .76,.8 .8,.08 1,.12
e .75 .06,.36 .36,.5 .6,.78 .42,1 .14,.66 .16,.2 .42,0 .75,.2
f .6 .68,1.72 .48,1.95 .3,1.6 .26,.6 .2,-.1 | 0,.96 .58,1
g .95 .72,.84 .42,1 .1,.6 .14,.16 .4,.06 .66,.48 .76,.94 .74,.1 .64,-.7 .36,-.9 .22,-.66 .58,-.22 .95,.1
h 1 .04,.5 .3,1.5 .34,1.9 .2,1.95 .13,1.4 .09,.02 .2,.62 .48,.98 .66,.78 .66,.24 .78,0 1,.14
i .5 .06,.5 .22,.98 .2,.3 .3,0 .5,.14 | .3,1.44 .34,1.36
j .5 .26,.98 .24,0 .12,-.72 -.14,-.9 -.22,-.64 .2,-.16 .5,.1 | .32,1.44 .36,1.36
k .9 .04,.5 .3,1.5 .34,1.9 .2,1.95 .13,1.4 .09,.02 .16,.46 .48,.94 .58,.74 .28,.5 .52,.14 .7,0 .9,.14
l .5 .04,.4 .32,1.5 .34,1.9 .2,1.95 .13,1.4 .12,.4 .24,0 .5,.14
m 1.3 .04,.84 .13,.94 .1,.02 .2,.68 .38,.98 .52,.78 .5,.02 .6,.68 .8,.98 .94,.76 .93,.2 1.05,0 1.3,.14
n .95 .04,.84 .13,.94 .1,.02 .2,.64 .46,.98 .64,.76 .63,.2 .74,0 .95,.14
o .88 .46,1 .14,.74 .12,.22 .4,0 .7,.4 .62,.88 .42,.98 .54,.8 .88,.84
p .85 .04,.84 .14,.96 .12,0 .08,-.88 .13,.2 .36,.94 .66,.8 .66,.26 .4,0 .2,.08 .85,.14
q .95 .7,.84 .42,1 .1,.6 .14,.16 .4,.04 .66,.48 .76,.94 .72,0 .7,-.88 .84,-.5 .95,.1
r .68 .04,.84 .13,.94 .1,.02 .18,.56 .38,.96 .68,.86
s .72 .6,.86 .4,1 .16,.8 .36,.52 .58,.24 .36,0 .12,.1 .72,.12
t .55 .24,1.6 .2,.4 .3,0 .55,.14 | .02,1.04 .5,1.1
u .98 .06,.96 .1,.3 .3,.02 .56,.3 .68,.96 .66,.24 .78,0 .98,.14
v .8 .04,.94 .3,.02 .54,.88 .8,.86
w 1.1 .04,.94 .15,.14 .3,.02 .48,.8 .55,.14 .7,.02 .88,.9 1.1,.86
x .78 .04,.88 .22,.84 .5,.12 .78,.1 | .66,.95 .04,.02
y .9 .06,.96 .12,.4 .3,.16 .54,.4 .68,.96 .62,-.1 .46,-.72 .22,-.9 .16,-.66 .56,-.14 .9,.1
z .75 .05,.88 .6,.92 .12,.06 .42,.04 .75,.08
0 .9 .52,1.85 .16,1.34 .14,.5 .42,0 .78,.5 .76,1.4 .5,1.83 .36,1.74
1 .5 .3,1.86 .27,1 .22,0
2 .88 .12,1.48 .42,1.88 .72,1.5 .5,.84 .1,.06 .3,.1 .84,.04
3 .84 .14,1.62 .45,1.86 .68,1.5 .36,1.02 .72,.6 .45,.02 .06,.24
4 .88 .44,1.84 .26,1.24 .08,.7 .44,.66 .84,.72 | .62,1.3 .6,.6 .54,-.06
5 .84 .24,1.8 .18,1.06 .46,1.14 .72,.62 .44,.03 .06,.18 | .24,1.8 .5,1.78 .78,1.84
6 .82 .6,1.86 .24,1.2 .12,.44 .4,0 .7,.4 .46,.86 .16,.5
7 .8 .08,1.74 .4,1.72 .76,1.8 .44,.9 .26,0
8 .84 .66,1.56 .38,1.86 .16,1.5 .44,1 .7,.44 .4,0 .12,.42 .44,.96 .68,1.5 .6,1.68
9 .82 .68,1.52 .4,1.86 .14,1.42 .36,1.04 .68,1.5 .64,.7 .54,-.06
"""


def _table() -> dict[str, tuple[float, tuple[D, ...]]]:
    out = {}
    for row in _TABLE.strip().splitlines():
        char, width, paths = row.split(maxsplit=2)
        points = tuple(np.array([[float(v) for v in p.split(",")] for p in path.split()]) for path in paths.split("|"))
        out[char] = (float(width), points)
    return out


_CURVES = _table()


@dataclass(frozen=True)
class Hand:
    """One writer's habits. Lengths in cap heights.

    Attributes:
        family: of FAMILIES. seed: of the letter forms.
        curved: share of small letters and digits in their cursive form; joined: share of neighbours that are joined.
        slant: how far right per height; narrow: letters' width; gap, space: between letters, between words.
        small: x-height; big: height of capitals. corner: over which corners are rounded.
        habit: how far letter forms are bent, always the same way; jitter: the same, anew each time.
        drift: wander of the baseline; climb: its slope. flat: how far a word's letters flatten towards its end.
        taper: over which strokes begin and end thinner; press: how much pressure varies.
    """

    family: str
    seed: int
    curved: float
    joined: float
    slant: float
    narrow: float
    gap: float
    space: float
    small: float
    big: float
    corner: float
    habit: float
    jitter: float
    drift: float
    climb: float
    flat: float
    taper: float
    press: float


# low and high of each habit after the seed, by family
_HABITS: dict[str, tuple[tuple[float, float], ...]] = {
    #            curved      joined    slant        narrow      gap           space
    "print": ((0.3, 0.9), (0, 0.15), (-0.12, 0.25), (0.7, 1.0), (0.14, 0.26), (0.4, 0.6),
              # small    big        corner        habit         jitter        drift
              (0.5, 0.68), (0.9, 1.1), (0.05, 0.09), (0.03, 0.06), (0.02, 0.04), (0.02, 0.07),
              # climb       flat        taper        press
              (-0.03, 0.05), (0, 0.1), (0.0, 0.15), (0.2, 0.4)),
    "cursive": ((1, 1), (0.75, 1), (0.05, 0.65), (0.7, 1.15), (-0.06, 0.06), (0.4, 0.8),
                (0.34, 0.55), (0.95, 1.35), (0.06, 0.11), (0.04, 0.08), (0.03, 0.06), (0.03, 0.1),
                (-0.05, 0.1), (0.05, 0.4), (0.1, 0.4), (0.3, 0.6)),
    "capitals": ((0.4, 1), (0, 0), (-0.1, 0.22), (0.65, 1.05), (0.1, 0.24), (0.4, 0.6),
                 (0.8, 0.95), (0.9, 1.1), (0.04, 0.08), (0.03, 0.06), (0.02, 0.045), (0.02, 0.06),
                 (-0.03, 0.05), (0, 0.05), (0.0, 0.15), (0.2, 0.4)),
    "doctor": ((1, 1), (0.9, 1), (0.1, 0.8), (0.9, 1.5), (-0.08, 0.05), (0.35, 0.7),
               (0.3, 0.45), (1.0, 1.6), (0.11, 0.17), (0.06, 0.1), (0.05, 0.09), (0.05, 0.15),
               (-0.06, 0.16), (0.4, 0.85), (0.2, 0.8), (0.4, 0.7)),
}  # fmt: skip


def hand_of(family: str, rng: np.random.Generator) -> Hand:
    """A writer of that family."""
    seed = int(rng.integers(2**31))
    return Hand(family, seed, *(float(rng.uniform(low, high)) for low, high in _HABITS[family]))


def write(text: str, hand: Hand, rng: np.random.Generator) -> tuple[Strokes, float]:
    """The pen's paths for a line of text, from x = 0, the baseline at y = 0, and how far it came, cap heights."""
    if hand.family == "capitals":
        text = text.upper()
    paths: list[D] = []
    x = 0.0
    for word in strokefont.spell(text).split(" "):
        if word:
            written, x = _word(word, x, hand, rng)
            paths += written
        x += hand.space * rng.uniform(0.8, 1.3)
    width = max(0.0, x - hand.space)
    bends = rng.uniform(0, 2 * np.pi, 3)
    return [_stroke(path, hand, bends, rng) for path in paths], width


def _word(word: str, x: float, hand: Hand, rng: np.random.Generator) -> tuple[list[D], float]:
    """Curves (N, 2) of one word that begins at ``x``, and where it ends."""
    out: list[D] = []
    later: list[D] = []
    running: D | None = None  # the curve that has not been lifted yet
    for i, char in enumerate(word):
        width, paths, curve = _form(char, hand)
        size = 1 + hand.jitter * rng.normal(0, 1, 2)
        if char.islower() and i:
            size[1] *= 1 - hand.flat * rng.uniform(0.4, 1) * min(1.0, i / max(3, len(word) - 1))
        lift = hand.jitter * rng.normal()
        placed = [
            path * size + [x, lift] + hand.jitter * 0.5 * rng.normal(0, 1, path.shape) * bool(curve) for path in paths
        ]
        joins = curve and char.islower() and running is not None and rng.random() < hand.joined
        if running is not None and not joins:
            out.append(curve_through(running))
            running = None
        first, *others = placed or [np.zeros((0, 2))]
        if curve:
            running = first if running is None else np.vstack([running, first])
            if not char.islower():
                out.append(curve_through(running))
                running = None
            later += [curve_through(path) for path in others]
        elif paths:
            out += _linked(placed, hand, rng)
        x += width * size[0] + (hand.gap if curve and char.islower() else max(hand.gap, 0.12)) * rng.uniform(0.7, 1.3)
    if running is not None:
        out.append(curve_through(running))
    return out + later, x


def _linked(paths: Sequence[D], hand: Hand, rng: np.random.Generator) -> list[D]:
    """A letter's paths; a quick writer does not lift the pen between those that end and begin close to each other."""
    out = [paths[0]]
    for path in paths[1:]:
        near = float(np.linalg.norm(path[0] - out[-1][-1]))
        if near < 0.9 * hand.joined and rng.random() < 0.8 * hand.joined:
            out[-1] = np.vstack([out[-1], path])
        else:
            out.append(path)
    return out


@lru_cache(maxsize=4096)
def _form(char: str, hand: Hand) -> tuple[float, tuple[D, ...], bool]:
    """This hand's form of a character: width, paths (cap heights, y down), and whether they are points of curves."""
    rng = np.random.default_rng([hand.seed, ord(char)])
    curve = char in _CURVES and bool(rng.random() < hand.curved)
    if curve:
        width, paths = _CURVES[char]
        scale = hand.small if char.islower() else hand.big / _CAP
        # Loops rise to the cap height whatever the x-height is.
        tall = min(1.0, hand.big / (_CAP * hand.small)) if char.islower() else 1.0
        done = [_tall(path, tall if scale * _CAP > hand.big else hand.big / (_CAP * scale)) for path in paths]
        if char == "7" and hand.seed % 3 == 0:
            done.append(np.array([[0.2, 0.92], [0.66, 1.0]]))
        if char == "1" and hand.seed % 2 == 0:
            done[0] = np.vstack([[[0.06, 1.45]], done[0]])
        if char == "z" and hand.seed % 3 == 0:
            done.append(np.array([[0.16, 0.52], [0.6, 0.54]]))
        width, pens = width * scale, [path * scale * [1, -1] for path in done]
    else:
        width = strokefont.advance(char) - strokefont.STROKE.gap
        pens = [resampled(path - [strokefont.STROKE.gap / 2, 0]) for path in strokefont.strokes(char)]
        rise = hand.big
        if char.islower():
            rise = 0.5 * (hand.big + hand.small / 0.683)
        pens = [path * [1, rise] for path in pens]
    bent = [_bent(path, hand, rng) * [hand.narrow, 1] for path in pens]
    return width * hand.narrow, tuple(bent), curve


def _tall(path: D, factor: float) -> D:
    """Points (N, 2) in x-heights with what rises above the x-height made ``factor`` as high."""
    out = path.copy()
    above = out[:, 1] > 1.1
    out[above, 1] = 1 + (out[above, 1] - 1) * max(0.3, (factor * _CAP - 1) / (_CAP - 1))
    return out


def _bent(path: D, hand: Hand, rng: np.random.Generator) -> D:
    """A path bent as this hand always bends it: sheared, tilted and bowed a little, some strokes shorter or longer."""
    x, y = path.T
    a = hand.habit * rng.normal(0, 1, 8)
    bowed = np.stack([
        x * (1 + a[0]) + a[1] * y + a[2] * np.sin(3 * y + 9 * a[3]),
        y * (1 + a[4]) + 0.6 * a[5] * x + 0.6 * a[6] * np.sin(3 * x + 9 * a[7]),
    ], axis=-1)  # fmt: skip
    if len(bowed) > 3 and hand.family != "print":
        bowed[-1] += (bowed[-1] - bowed[-2]) * rng.uniform(-0.3, 0.6)
    return np.asarray(bowed, np.float64)


def curve_through(points: D) -> D:
    """(N, 2) a smooth curve through points (centripetal Catmull-Rom)."""
    step = np.linalg.norm(np.diff(points, axis=0), axis=1)
    keep = np.append(True, step > 1e-6)
    p = points[keep]
    if len(p) < 3:
        return resampled(p) if len(p) == 2 else np.vstack([p, p + np.array([0.01, 0.02])])
    t = np.append(0.0, np.cumsum(np.sqrt(np.linalg.norm(np.diff(p, axis=0), axis=1))))
    h = np.diff(t)[:, None]
    slope = np.diff(p, axis=0) / h
    inner = (slope[:-1] * h[1:] + slope[1:] * h[:-1]) / (h[:-1] + h[1:])
    m = np.vstack([slope[:1], inner, slope[-1:]])
    u = np.linspace(0, 1, 9)[:-1, None, None]
    a, b = p[:-1], p[1:]
    body = (
        (2 * u**3 - 3 * u**2 + 1) * a + (u**3 - 2 * u**2 + u) * h * m[:-1]
        + (-2 * u**3 + 3 * u**2) * b + (u**3 - u**2) * h * m[1:]
    )  # fmt: skip
    return np.vstack([body.transpose(1, 0, 2).reshape(-1, 2), p[-1:]])


def resampled(path: D, step: float = _STEP) -> D:
    """(N, 2) points along a path, at equal distances of about ``step``."""
    along = np.append(0.0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1)))
    n = max(3, int(np.ceil(along[-1] / step)) + 1)
    at = np.linspace(0, along[-1], n)
    return np.stack([np.interp(at, along, path[:, 0]), np.interp(at, along, path[:, 1])], axis=-1)


def soften(path: D, reach: float) -> D:
    """(N, 2) points at equal distances with corners rounded over ``reach`` points; both ends stay."""
    n = int(min(np.ceil(2.5 * reach), len(path) - 1))
    if n < 1:
        return path
    kernel = np.exp(-0.5 * (np.arange(-n, n + 1) / max(reach, 0.1)) ** 2)
    kernel /= kernel.sum()
    # Mirrored through its ends, so that they stay where they are.
    longer = np.vstack([2 * path[0] - path[n:0:-1], path, 2 * path[-1] - path[-2 : -n - 2 : -1]])
    return np.stack([np.convolve(longer[:, k], kernel, "valid") for k in (0, 1)], axis=-1)


def _stroke(path: D, hand: Hand, bends: D, rng: np.random.Generator) -> D:
    """(N, 3): a path with its corners rounded, on the drifting baseline, slanted, with pressure."""
    p = soften(resampled(path), hand.corner / _STEP)
    x, y = p.T
    base = hand.drift * (np.sin(0.5 * x + bends[0]) + 0.5 * np.sin(1.3 * x + bends[1])) - hand.climb * x
    size = 1 + hand.drift * np.sin(0.7 * x + bends[2])
    at = np.stack([x - hand.slant * y, y * size + base], axis=-1)
    return np.column_stack([at, pressure(at, hand.press, hand.taper, rng)])


def pressure(path: D, press: float, taper: float, rng: np.random.Generator) -> D:
    """(N,) 0 to 1: more where the pen is pulled down, less where it lands and leaves, and a little at random."""
    n = len(path)
    down = np.gradient(path[:, 1])
    down = down / max(1e-9, float(np.abs(np.gradient(path, axis=0)).max()))
    knots = max(3, n // 14 + 2)
    noise = np.interp(np.linspace(0, knots - 1, n), np.arange(knots), rng.normal(0, 0.5, knots))
    p = 0.82 + press * (0.22 * down + 0.28 * noise - 0.1)
    if taper > 0:
        steps = np.arange(n) * _STEP / taper
        p *= np.clip(0.45 + 0.55 * steps, 0, 1) * np.clip(0.3 + 0.7 * steps[::-1], 0, 1)
    return np.clip(p, 0.12, 1.0)
