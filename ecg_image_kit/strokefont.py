"""A single-stroke font of our own, as plotters and thermal printers write: every glyph is a few pen paths.

Glyphs are drawn on a grid of 12 units per cap height (x-height 8.2, descenders to -3.8) in a small path language:

    x,y          a straight line to (x, y); the first point of a path puts the pen down
    hx,y         a quarter ellipse to (x, y) that leaves horizontally (and arrives vertically)
    vx,y         a quarter ellipse to (x, y) that leaves vertically (and arrives horizontally)
    qa,b,x,y     a parabola to (x, y) with control point (a, b)
    +c           all paths of the glyph c

A row of the table is: character, width, paths separated by ``|``. Widths run between the centres of the pen's outermost
strokes; a face adds the gap. The same paths serve three printed faces and, deformed, handwriting.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Path = NDArray[np.float64]

UNITS = 12.0  # per cap height
LINES = (0.0, 8.2, 12.0, -3.8)  # baseline, x-height, cap height, descender: where serifs stand
_ARC_POINTS = 8  # per quarter turn: the sagitta is then under 0.5 % of the radius

_TABLE = """
A 8.4 0,0 4.2,12 8.4,0 | 1.4,4 7,4
B 7.6 0,0 0,12 4,12 h7,9.1 v4,6.2 0,6.2 | 4,6.2 h7.6,3.1 v4,0 0,0
C 8 8,9.2 v4.2,12 h0,7.6 0,4.4 v4.2,0 h8,2.8
D 8.2 0,0 0,12 3.7,12 h8.2,7.6 8.2,4.4 v3.7,0 0,0
E 6.6 6.6,12 0,12 0,0 6.6,0 | 0,6.2 5.6,6.2
F 6.4 6.4,12 0,12 0,0 | 0,6.2 5.4,6.2
G 8.2 8,9.2 v4.2,12 h0,7.6 0,4.4 v4.2,0 h8.2,3.2 8.2,5.6 5,5.6
H 8 0,0 0,12 | 8,0 8,12 | 0,6.2 8,6.2
I 1 .5,0 .5,12
J 6 6,12 6,3.4 v3,0 h0,3
K 7.8 0,0 0,12 | 7.5,12 0,4.5 | 2.6,7.1 7.8,0
L 6.4 0,12 0,0 6.4,0
M 10 0,0 0,12 5,3 10,12 10,0
N 8 0,0 0,12 8,0 8,12
O 8.8 4.4,12 h0,7.6 0,4.4 v4.4,0 h8.8,4.4 8.8,7.6 v4.4,12
P 7.5 0,0 0,12 4.1,12 h7.5,8.8 v4.1,5.6 0,5.6
Q 8.8 +O | 5.4,3 8.8,-.9
R 7.9 0,0 0,12 4.1,12 h7.5,8.8 v4.1,5.6 0,5.6 | 4.2,5.6 7.9,0
S 7.5 7.2,9.5 v3.8,12 h.3,9.1 v3.8,6.2 h7.5,3.1 v3.7,0 h0,2.6
T 8 0,12 8,12 | 4,12 4,0
U 8 0,12 0,4 v4,0 h8,4 8,12
V 8.2 0,12 4.1,0 8.2,12
W 12 0,12 3,0 6,10.4 9,0 12,12
X 8 0,0 8,12 | 0,12 8,0
Y 8 0,12 4,5.8 8,12 | 4,5.8 4,0
Z 7.6 0,12 7.6,12 0,0 7.6,0
a 6 .5,6.6 v3,8.2 h6,5.4 6,0 | 6,4.8 2.5,4.8 h0,2.4 v2.5,0 h6,2.4
b 6.5 0,12 0,0 | 0,4.9 v3.3,8.2 h6.5,4.9 6.5,3.3 v3.3,0 h0,3.3
c 6 6,6.1 v3.2,8.2 h0,4.9 0,3.3 v3.2,0 h6,2.1
d 6.5 6.5,12 6.5,0 | 6.5,4.9 v3.2,8.2 h0,4.9 0,3.3 v3.2,0 h6.5,3.3
e 6.4 0,4.3 6.4,4.3 6.4,4.9 v3.2,8.2 h0,4.9 0,3.3 v3.3,0 h6.1,1.9
f 4.4 4.4,12 h1.7,9.6 1.7,0 | 0,8.2 4.1,8.2
g 6.5 6.5,8.2 6.5,-1 v3.2,-3.8 h.3,-2.6 | 6.5,4.9 v3.2,8.2 h0,4.9 0,3.3 v3.2,0 h6.5,3.3
h 6.2 0,12 0,0 | 0,5 v3.2,8.2 h6.2,5 6.2,0
i 1 .5,8.2 .5,0 | .5,11.2 .5,11.9
j 3 2.5,8.2 2.5,-1.8 v.6,-3.8 0,-3.8 | 2.5,11.2 2.5,11.9
k 6 0,12 0,0 | 5.6,8.2 0,3 | 2.1,4.95 6,0
l 2.3 .2,12 .2,1.9 v2,0 2.3,0
m 10.4 0,8.2 0,0 | 0,5.4 v2.7,8.2 h5.2,5.4 5.2,0 | 5.2,5.4 v7.9,8.2 h10.4,5.4 10.4,0
n 6.2 0,8.2 0,0 | 0,5 v3.2,8.2 h6.2,5 6.2,0
o 6.8 3.4,8.2 h0,4.9 0,3.3 v3.4,0 h6.8,3.3 6.8,4.9 v3.4,8.2
p 6.5 0,8.2 0,-3.8 | 0,4.9 v3.3,8.2 h6.5,4.9 6.5,3.3 v3.3,0 h0,3.3
q 6.5 6.5,8.2 6.5,-3.8 | 6.5,4.9 v3.2,8.2 h0,4.9 0,3.3 v3.2,0 h6.5,3.3
r 4 0,8.2 0,0 | 0,4.8 v3.3,8.2 4,8.2
s 5.4 5.1,6.5 v2.7,8.2 h.2,6.2 v2.7,4.2 h5.4,2.1 v2.6,0 h0,1.7
t 4.4 1.7,11.2 1.7,2.3 v3.9,0 4.4,0 | 0,8.2 4.3,8.2
u 6.2 0,8.2 0,3.2 v3,0 h6.2,3.2 | 6.2,8.2 6.2,0
v 6.4 0,8.2 3.2,0 6.4,8.2
w 9.6 0,8.2 2.4,0 4.8,7.2 7.2,0 9.6,8.2
x 6.4 0,0 6.4,8.2 | 0,8.2 6.4,0
y 6.4 0,8.2 3.3,0 | 6.4,8.2 2.9,-1.06 q1.86,-3.8,0,-3.8
z 6 0,8.2 6,8.2 0,0 6,0
0 7 3.5,12 h0,7.8 0,4.2 v3.5,0 h7,4.2 7,7.8 v3.5,12
1 7 1.2,9.5 4,12 4,0
2 7 .2,8.9 v3.5,12 h6.8,8.9 q6.8,6.6,3.6,3.5 0,0 7,0
3 7 .3,9.6 v3.4,12 h6.6,9.1 v3.4,6.3 2.3,6.3 | 3.4,6.3 h7,3.1 v3.4,0 h0,2.5
4 7 5.3,0 5.3,12 0,3.6 7,3.6
5 7 6.3,12 1,12 .5,6.3 q1.6,7.6,3.5,7.6 h7,3.8 v3.4,0 h0,2.3
6 7 6.5,10.2 v3.8,12 h0,7.6 0,3.7 v3.5,0 h7,3.7 v3.5,7.4 h0,3.7
7 7 0,12 7,12 2.5,0
8 7 3.5,6.4 h.3,9.2 v3.5,12 h6.7,9.2 v3.5,6.4 h0,3.2 v3.5,0 h7,3.2 v3.5,6.4
9 7 .5,1.8 v3.2,0 h7,4.4 7,8.3 v3.5,12 h0,8.3 v3.5,4.6 h7,8.3
! 1 .5,12 .5,3.8 | .5,0 .5,.7
" 3 .3,12 .3,8.8 | 2.7,12 2.7,8.8
# 8 1.7,0 3.1,12 | 4.9,0 6.3,12 | .3,8 8,8 | 0,4 7.7,4
$ 7.5 +S | 3.75,13.3 3.75,-1.3
% 9.2 0,0 9.2,12 | 2,12 h0,9.6 v2,7.2 h4,9.6 v2,12 | 7.2,4.8 h5.2,2.4 v7.2,0 h9.2,2.4 v7.2,4.8
& 8.4 8.4,0 1.7,8 q1,8.9,1,9.8 v3.2,12 h5.4,9.8 q5.4,8.3,2.6,6.7 q0,5.3,0,3.1 v3.2,0 q6.6,0,7.9,5
' 1 .5,12 .5,8.8
( 2.8 2.8,13.2 q0,10,0,5.2 q0,.4,2.8,-2.8
) 2.8 0,13.2 q2.8,10,2.8,5.2 q2.8,.4,0,-2.8
* 6 3,12 3,5.6 | .2,10.4 5.8,7.2 | 5.8,10.4 .2,7.2
+ 7 3.5,9 3.5,2 | 0,5.5 7,5.5
, 1.4 1,.7 1,-.4 0,-2.6
- 4.4 0,5.2 4.4,5.2
. 1 .5,0 .5,.7
/ 5.4 0,-1.6 5.4,13
: 1 .5,0 .5,.7 | .5,6.8 .5,7.5
; 1.4 1,.7 1,-.4 0,-2.6 | 1,6.8 1,7.5
< 7 7,9.6 0,5.5 7,1.4
= 7 0,7.2 7,7.2 | 0,3.8 7,3.8
> 7 0,9.6 7,5.5 0,1.4
? 6 0,9.2 v3,12 h6,9.2 q6,7.6,4.4,6.4 q3,5.3,3,3.7 | 3,0 3,.7
@ 11 7.9,5.2 v5.6,8 h3.2,5.2 v5.5,2.4 h7.9,5.2 | 7.9,8 7.9,4.2 v9.4,2.5 h11,6 v5.6,12 h0,5 v5.6,-1.5 8,-1.5
[ 2.6 2.6,13 0,13 0,-2.6 2.6,-2.6
\\ 5.4 0,13 5.4,-1.6
] 2.6 0,13 2.6,13 2.6,-2.6 0,-2.6
^ 6 0,8 3,12 6,8
_ 7 0,-2.4 7,-2.4
` 2 0,12 2,9.6
{ 3.4 3.4,13 q1.6,13,1.6,11 1.6,7.4 q1.6,5.2,0,5.2 q1.6,5.2,1.6,3 1.6,-.6 q1.6,-2.6,3.4,-2.6
| 1 .5,13 .5,-3
} 3.4 0,13 q1.8,13,1.8,11 1.8,7.4 q1.8,5.2,3.4,5.2 q1.8,5.2,1.8,3 1.8,-.6 q1.8,-2.6,0,-2.6
~ 7 0,4.5 q.3,6.6,2,6.6 q3,6.6,3.5,5.55 q4,4.5,5,4.5 q6.7,4.5,7,6.6
µ 6.2 0,8.2 0,-3.8 | 0,3.2 v3,0 h6.2,3.2 | 6.2,8.2 6.2,0
° 4 2,12 h0,10 v2,8 h4,10 v2,12
² 4 .1,10.5 v2,12.2 h3.9,10.5 q3.9,9.5,2.2,7.9 .2,6 4,6
± 7 3.5,10 3.5,3.4 | 0,6.7 7,6.7 | 0,.6 7,.6
\u2013 7 0,5.2 7,5.2
ä 6 +a | 1.5,10.6 1.5,11.3 | 4.5,10.6 4.5,11.3
ö 6.8 +o | 1.9,10.6 1.9,11.3 | 4.9,10.6 4.9,11.3
ü 6.2 +u | 1.6,10.6 1.6,11.3 | 4.6,10.6 4.6,11.3
é 6.4 +e | 2.6,10.2 4.4,12.6
"""

_ROWS = {row[0]: row[2:].split(maxsplit=1) for row in _TABLE.strip().splitlines()}
_SPELLED = {
    **dict.fromkeys("µμ", "u"),
    **dict.fromkeys("\u2010\u2011\u2013\u2014\u2212", "-"),
    **dict.fromkeys("\u2018\u2019\u00b4", "'"),
    **dict.fromkeys("\u201c\u201d\u201e", '"'),
    **{
        "°": " deg",
        "±": "+/-",
        "\u00d7": "x",
        "·": ".",
        "…": "...",
        "≥": ">=",
        "≤": "<=",
        "Δ": "d",
        "ß": "ss",
        "ø": "o",
        "Ø": "O",
    },
}


@dataclass(frozen=True)
class Face:
    """How the paths become a typeface. Lengths in cap heights.

    Attributes:
        pen: the round pen's diameter. nib: how much wider than high the pen is (0: round).
        gap: between neighbouring glyphs (pen centres). pitch: fixed distance of glyphs, or 0 for proportional.
        serif: half the length of the serifs, or 0.
    """

    pen: float = 0.12
    nib: float = 0.0
    gap: float = 0.30
    pitch: float = 0.0
    serif: float = 0.0


FACES = {
    "stroke": Face(),
    "plain": Face(pen=0.105, pitch=0.88, serif=0.2),
    "serif": Face(pen=0.06, nib=0.08, gap=0.27, serif=0.13),
}
STROKE = FACES["stroke"]


def bold(face: Face) -> Face:
    """The face with a pen 1.5 times as wide, and its glyphs as much further apart."""
    more = 0.5 * (face.pen + face.nib)
    pitch = face.pitch and face.pitch + more
    return replace(face, pen=1.5 * face.pen, nib=1.5 * face.nib, gap=face.gap + more, pitch=pitch)


def known(char: str) -> bool:
    """Whether the font has a glyph for ``char`` (the space counts)."""
    return char == " " or char in _ROWS


def spell(text: str, has: Callable[[str], bool] = known) -> str:
    """``text`` in characters that a font ``has``: accents dropped, µ as u, ° as deg, blanks as spaces, else ``?``."""
    return "".join(_spell(c, has) for c in text)


def _spell(char: str, has: Callable[[str], bool]) -> str:
    if char.isspace():
        return " "
    if has(char):
        return char
    # A base letter and its accents (ç), a compatibility form (², ﬁ), or a character of the other code point (μ for µ).
    for candidate in (unicodedata.normalize("NFKC", char), _SPELLED.get(char), unicodedata.normalize("NFKD", char)):
        kept = "".join(c for c in candidate or "" if not unicodedata.combining(c))
        if kept and kept != char and all(c == " " or has(c) for c in kept):
            return kept
    return "?" if char.isprintable() else ""


def strokes(text: str, face: Face = STROKE) -> list[Path]:
    """Pen paths (N, 2) of ``text`` in cap heights, x right, y down: a capital spans y = -1 to 0, the baseline."""
    paths, x = [], 0.0
    for char in spell(text):
        width, glyph = _set(char, face)
        paths += [path + np.array([x, 0.0]) for path in glyph]
        x += width
    return paths


def advance(text: str, face: Face = STROKE) -> float:
    """How far ``text`` moves the pen, cap heights."""
    return sum(_set(char, face)[0] for char in spell(text))


@lru_cache(maxsize=1024)
def _set(char: str, face: Face) -> tuple[float, tuple[Path, ...]]:
    """Advance and paths of one character in a face, cap heights, y down."""
    width, paths = _glyph(char)
    # At a fixed pitch only the narrowest have serifs, to fill their cells, as on a typewriter.
    bars = _serifs(char, paths, face.serif) if face.serif and (not face.pitch or char in "Ii") else []
    if bars:
        left = min(0.0, *(bar[0, 0] for bar in bars))
        width = max(width, *(bar[1, 0] for bar in bars)) - left
        paths = tuple(path - np.array([left, 0.0]) for path in (*paths, *bars))
    if not face.pitch:
        return width + face.gap, tuple(path + np.array([face.gap / 2, 0.0]) for path in paths)
    # Fixed pitch: wide letters are narrowed to their cell, narrow ones stand in its middle.
    scale = min(1.0, (face.pitch - 0.24) / width)
    move = (face.pitch - width * scale) / 2
    return face.pitch, tuple(path * np.array([scale, 1.0]) + np.array([move, 0.0]) for path in paths)


@lru_cache(maxsize=256)
def _glyph(char: str) -> tuple[float, tuple[Path, ...]]:
    """Width and paths of one character, cap heights, y down."""
    if char == " ":
        return 2.2 / UNITS, ()
    width, table = _ROWS[char]
    paths: list[Path] = []
    for spec in table.split(" | "):
        if spec[0] == "+" and spec[1:] in _ROWS:
            paths += _glyph(spec[1:])[1]
        else:
            paths.append(_path(spec) * np.array([1, -1]) / UNITS)
    return float(width) / UNITS, tuple(paths)


def _path(spec: str) -> Path:
    """(N, 2) grid units, y up, of one path in the language above."""
    points: list[Path] = []
    for token in spec.split():
        kind = token[0] if token[0] in "hvq" else ""
        numbers = np.array([float(v) for v in token[len(kind) :].split(",")])
        end = numbers[-2:]
        if not kind:
            points.append(end[None])
            continue
        start = points[-1][-1]
        t = np.linspace(0, 1, _ARC_POINTS + 1)[1:, None]
        if kind == "q":
            points.append((1 - t) ** 2 * start + 2 * t * (1 - t) * numbers[:2] + t**2 * end)
        else:
            fast, slow = np.sin(t * np.pi / 2), 1 - np.cos(t * np.pi / 2)
            share = np.hstack([fast, slow] if kind == "h" else [slow, fast])
            points.append(start + (end - start) * share)
    return np.concatenate(points)


def _serifs(char: str, paths: tuple[Path, ...], half: float) -> list[Path]:
    """Short bars where a letter's or digit's upright or slanted strokes end on one of the font's lines."""
    if not char.isalnum():
        return []
    bars = []
    for path in paths:
        for end, before in ((path[0], path[1]), (path[-1], path[-2])):
            lean, rise = np.abs(before - end)
            if rise > 0.15 and lean < 0.8 * rise and any(abs(end[1] * UNITS + line) < 0.05 for line in LINES):
                bars.append(end + np.array([[-half, 0.0], [half, 0.0]]))
    return bars
