"""flatten: the map of a sheet that is bent, tilted or seen at an angle, from its grid alone.

Everywhere on a sheet the grid has a local period and two directions. They are found patch by patch in local spectra,
agreed upon by a vote, and integrated: a polynomial whose gradient is the local frequency. What is left, less than half
a period, is the phase of the grid's lines against that polynomial, read off by demodulation (Takeda et al., J. Opt.
Soc. Am. 72, 1982) first at 5 mm, then at 1 mm. The result is a smooth map from pixels to millimetres, and the upright
image that a flat scanner would have made.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from ecg_image_kit.page import seen_through
from ecg_image_kit.warp import Chain, Homography, Mesh, Points

from .arrays import U8, B, D, F
from .locate import GridNotFound, darkness, local_paper

_LONGER = 1500  # px that the longer side is reduced to
_LONGER_FIRST = 1100  # px of the same for a first search
_PX_PER_MM = (1.7, 14.0)  # of that image
_PATCH, _STEP, _PAD = 96, 56, 256  # px
_ANGLES = np.deg2rad(np.arange(-46.0, 46.1, 2.0))
_HARMONICS = {1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0, 5: 1.6, 10: 0.5}  # of 5 mm, and their weights
_LEAST_SHARE = 0.12  # of the patches must agree
_AGREED = 0.5  # of the patches in the first search, which then suffices
# Period and reach, mm, of each pass over the lines' phases; after which the map is made stiff once.
_PASSES = (
    *((5.0, 12.0), (5.0, 12.0), (5.0, 8.0), (5.0, 6.0), (2.5, 8.0)),
    *((1.0, 5.0), (1.0, 5.0), (1.0, 4.0), (1.0, 3.0)),
)
_STIFF = (1, 2)
_BEYOND = 12.0  # mm
# Bends of a sheet, and noise of phases: variances, mm squared, of the Gaussians that would make such of white noise; of
# the noise, mm squared, how large it is, and may be; and how much smaller than it bends are that are none. The reaches,
# mm, of smoothing by which the two are told apart, and that is tried.
_COARSE, _FINE, _NOISE, _LOUD, _FLAT = 64.0, 5.8, (0.012**2, 0.02**2), 0.04**2, 0.1
_TOLD, _REACHES = (0.0, 2.0, 4.0, 8.0), (0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 16.0)
_SEEN, _UNSEEN, _MOST = 0.25, 0.03, 1.5  # of how well the grid is seen where it is seen well
_NODE = 4  # px of the reduced image between nodes of the phase
_MM_BETWEEN = 2.5  # nodes of the upright image's mesh


@dataclass(frozen=True, eq=False)
class Flattened:
    """An upright image of the sheet.

    Attributes:
        image: (H, W, 3) uint8 RGB; px_per_mm the same both ways.
        to_source: its px -> the photograph's px.
        residual_mm: RMS of the grid's phase against the map, where the grid is seen, before that was made smooth.
        share: of the patches that agreed on the grid.
    """

    image: U8
    px_per_mm: float
    to_source: Chain
    residual_mm: float
    share: float


@dataclass(frozen=True, eq=False)
class _Family:
    """One family of lines: in each patch, how well (angles, periods) explain its spectrum."""

    score: F  # (patches, angles, periods)
    angles: D  # of the lines' normals
    k: D  # px per mm


@dataclass(frozen=True, eq=False)
class _Surface:
    """A polynomial in px, mm: the distance across one family of lines, up to a constant."""

    coefficients: D
    degree: int
    size: tuple[int, int]  # of the image

    def __call__(self, x: D, y: D) -> D:
        """(len(y), len(x)) mm on a lattice of px."""
        u, v = _scaled(x, y, self.size)
        square = np.zeros((self.degree + 1, self.degree + 1))
        square[tuple(np.transpose(_powers(self.degree)))] = self.coefficients
        return np.asarray(np.polynomial.polynomial.polygrid2d(u, v, square).T, np.float64)


def flatten(image: U8, ink: Callable[[U8, float], U8] | None = None) -> Flattened:
    """The sheet in a photograph, laid flat: time runs along rows (or against them: which way is up is not known here).

    Args:
        image: (H, W, 3) uint8 RGB; grid lines within 45 degrees of rows and columns.
        ink: (image, its px per mm) -> (h, w) uint8 of the same view at any size, where the traces are. Beats that stand
            above each other would pass for lines of the grid.

    Raises:
        GridNotFound: too few places agree on a grid.
    """
    if min(image.shape[:2]) < 2 * _PATCH * max(1.0, max(image.shape[:2]) / _LONGER):
        raise GridNotFound(
            f"image of {image.shape[1]} x {image.shape[0]} px; expected {2 * _PATCH} px a side or more, and a long "
            f"side of at most {_LONGER / 2 / _PATCH:.0f} times the short one."
        )
    small, shrink = _reduced(image, _LONGER)
    size = small.shape[1], small.shape[0]
    dark = darkness(small)
    grid_alone = _without_ink(small, dark)
    refused: GridNotFound | None = None
    for surfaces, k, share in _searched(image, dark, shrink):
        lines, traces = grid_alone, np.zeros(dark.shape, np.bool_)
        if ink is not None:
            traces = cv2.resize(ink(image, k * shrink), size, interpolation=cv2.INTER_AREA) > 0
            lines = _filled(lines, traces)
        try:
            field, seen, residual = _phases(lines, surfaces, k)
            part = _sheet(seen, traces)
            with contextlib.suppress(GridNotFound):  # it folds over itself: perhaps not, if it stays as it was found
                quiet = np.stack([_quiet(field[..., axis], seen, k / _NODE) for axis in (0, 1)], axis=-1)
                return _upright(image, dark.shape, quiet, part, k * shrink, residual, share)
            return _upright(image, dark.shape, field, part, k * shrink, residual, share)
        except GridNotFound as error:
            refused = refused or error
    assert refused is not None
    raise refused


def _reduced(image: U8, longer: int) -> tuple[U8, float]:
    """The image with a longer side of so many px at most, and by how much it is smaller."""
    shrink = max(1.0, max(image.shape[:2]) / longer)
    if shrink == 1:
        return image, 1.0
    size = (round(image.shape[1] / shrink), round(image.shape[0] / shrink))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), shrink


def _without_ink(image: U8, dark: F) -> F:
    """The darkness of the grid alone: a trace that runs level would pass for a line of it.

    What is more than twice as dark as nearly everything else gives way to the mean of what surrounds it.
    """
    low = image.min(axis=2)
    return _filled(dark, local_paper(low) - low > 2.2 * float(dark.max()))


def _filled(dark: F, ink: B) -> F:
    """``dark``, where there is ink (and next to it) the mean of what surrounds it."""
    ink = cv2.dilate(ink.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    paper = 1 - ink.astype(np.float32)
    mean = cv2.blur(dark * paper, (15, 15)) / (cv2.blur(paper, (15, 15)) + 1e-3)
    return np.where(ink, mean, dark).astype(np.float32)


# From local spectra to a rough map


_Found = tuple[list["_Surface"], float, float]  # rough surfaces, px per mm, the share of patches that agree


def _searched(image: U8, dark: F, shrink: float) -> list[_Found]:
    """What _surfaces finds in ``dark`` or, at first, in a smaller image; if need be in both, the likelier one first.

    The pixels of a screen make patterns that may pass for a grid at the one size, and not at the other.

    Args:
        image: the photograph.
        dark: its darkness at 1 / ``shrink`` of its size, in whose px all is told.

    Raises:
        GridNotFound: nothing is found at either size.
    """
    size = dark.shape[1], dark.shape[0]
    found: list[_Found] = []
    first, first_shrink = _reduced(image, _LONGER_FIRST)
    smaller = first_shrink / shrink
    if smaller > 1 and min(first.shape[:2]) >= 2 * _PATCH:
        with contextlib.suppress(GridNotFound):
            surfaces, k, share = _surfaces(darkness(first), smaller)
            found.append(([replace(s, size=size) for s in surfaces], k * smaller, share))
    if not found or found[0][2] < _AGREED:
        try:
            found.append(_surfaces(dark))
        except GridNotFound:
            if not found:
                raise
    return sorted(found, key=lambda each: -each[2])


def _surfaces(dark: F, smaller: float = 1.0) -> _Found:
    """Rough distances across both families of lines.

    ``smaller``: by how much the image is smaller than that which the least of _PX_PER_MM holds for.
    """
    height, width = dark.shape
    x, y = (np.arange(0, n - _PATCH + 1, _STEP) + (_PATCH - 1) / 2 for n in (width, height))
    windows = np.lib.stride_tricks.sliding_window_view(dark, (_PATCH, _PATCH))[::_STEP, ::_STEP]
    patches = windows.reshape(-1, _PATCH, _PATCH)
    px, py = (v.ravel() for v in np.meshgrid(x, y))
    contrast = patches[:, ::3, ::3].std(axis=(1, 2))
    alive = np.flatnonzero(contrast > 0.15 * np.median(contrast) + 1e-6)
    if alive.size < 12:
        raise GridNotFound("nearly nothing but blank paper. Check that the image is an ECG on grid paper.")
    px, py = px[alive], py[alive]
    spectra = _log_spectra(patches[alive])
    least = _PX_PER_MM[0] / smaller
    families = [_family(spectra, middle, least) for middle in (0.0, np.pi / 2)]
    choice, score = _pairs(families)
    agree = _vote(families, choice, score)
    surfaces, fits = [], []
    k = float(np.exp(np.median(np.log(families[0].k[choice[0][1]][agree]))))
    for family, (angle, period) in zip(families, choice, strict=True):
        a, p = family.angles[angle], family.k[period]
        gradient = np.stack([np.cos(a), np.sin(a)], axis=-1) / p[:, None]
        surface, fit = _integrated(px, py, gradient, score, score * agree, k, (width, height))
        surfaces.append(surface)
        fits.append(fit)
    share = float(np.mean(np.minimum(*fits) > 0.2))
    if share < _LEAST_SHARE:
        raise GridNotFound(f"only {share:.0%} of the picture agrees on a grid; expected {_LEAST_SHARE:.0%} or more.")
    factor = _true_period(dark, surfaces, k)
    return [replace(s, coefficients=s.coefficients / factor) for s in surfaces], k * factor, share


def _log_spectra(patches: NDArray[np.float32]) -> F:
    """(patches, _PAD, _PAD / 2 + 1) log amplitudes at frequencies down, and at those from 0 on along."""
    taper = np.hanning(_PATCH + 2)[1:-1].astype(np.float32)
    tapered = (patches - patches.mean(axis=(1, 2), keepdims=True)) * (taper[:, None] * taper)
    out = np.empty((len(patches), _PAD, _PAD // 2 + 1), np.float32)
    for k, patch in enumerate(tapered):
        out[k] = np.abs(np.fft.fft(np.fft.rfft(patch, _PAD, axis=1), _PAD, axis=0))
    out += 1e-3 * out.mean() + 1e-9
    return np.log(out, out=out)


def _family(spectra: F, middle: float, least: float) -> _Family:
    """Scores of the lines whose normals are within 46 degrees of ``middle``, from so many px per mm on."""
    angles = _ANGLES + middle
    k = np.exp(np.arange(np.log(least), np.log(_PX_PER_MM[1]), 0.025))
    score = np.zeros((len(spectra), angles.size, k.size), np.float32)
    total = np.zeros(k.size, np.float32)
    for harmonic, weight in _HARMONICS.items():
        below = harmonic / (5 * k) < 0.47
        at = _at(spectra, angles, k, float(harmonic))
        # Against the other directions at the same frequency: text and traces are loud in all of them.
        score += weight * np.where(below, at - np.median(at, axis=1, keepdims=True), 0)
        total += weight * below
    return _Family(np.asarray(score / np.maximum(total, 1), np.float32), angles, k)


def _at(spectra: F, angles: D, k: D, harmonic: float) -> F:
    """(patches, angles, periods) log amplitudes at a harmonic of 5 mm."""
    f = harmonic / (5 * k)
    u, v = (np.round(np.outer(w, f) * _PAD).astype(np.intp) for w in (np.cos(angles), np.sin(angles)))
    v = np.where(u < 0, -v, v) % _PAD  # a wave is the same in both directions
    return spectra.reshape(len(spectra), -1)[:, v * spectra.shape[2] + np.minimum(np.abs(u), _PAD // 2)]


def _pairs(families: list[_Family]) -> tuple[list[tuple[NDArray[np.intp], NDArray[np.intp]]], D]:
    """In each patch the best (angle, period) of each family, the two nearly square and alike; and their score."""
    first, second = (family.score for family in families)
    near = np.ones((9, 15), np.uint8)  # 8 degrees, 19 % in period
    best: list[list[tuple[int, int]]] = [[], []]
    score = np.empty(len(first))
    for p in range(len(first)):
        joint = first[p] + cv2.dilate(second[p], near)
        a, k = np.unravel_index(int(joint.argmax()), joint.shape)
        top, left = max(0, int(a) - 4), max(0, int(k) - 7)
        part = second[p][top : a + 5, left : k + 8]
        b, m = np.unravel_index(int(part.argmax()), part.shape)
        best[0].append((int(a), int(k)))
        best[1].append((top + int(b), left + int(m)))
        score[p] = max(0.0, float(joint[a, k]))
    choice = [(np.array([a for a, _ in pairs]), np.array([k for _, k in pairs])) for pairs in best]
    return choice, score / max(score.max(), 1e-9)


def _vote(families: list[_Family], choice: list[tuple[NDArray[np.intp], NDArray[np.intp]]], score: D) -> B:
    """The patches that are near the choice which most of the others share."""
    keys = []
    for family, (angle, period) in zip(families, choice, strict=True):
        keys += [family.angles[angle] / np.deg2rad(9), np.log(family.k[period]) / 0.2]
    points = np.stack(keys, axis=1)
    best, agree = -1.0, np.zeros(len(score), bool)
    for p in np.argsort(-score)[:150]:
        near = (np.abs(points - points[p]) < 1).all(axis=1)
        if (votes := float(score[near].sum())) > best:
            best, agree = votes, near
    return agree


def _true_period(dark: F, surfaces: list[_Surface], k: float) -> float:
    """By how much the period must be multiplied: sharp lines have overtones, so that half or a fifth of it fits too.

    Patches are too small to tell; against the whole map, lines that a shorter period does not share stand out clearly.
    """
    field, lines = _sampled(dark, surfaces), _high_passed(dark)

    def level(order: float) -> float:
        """Strength of this harmonic of what was taken for 5 mm."""
        strengths = []
        for axis in (0, 1):
            z = cv2.GaussianBlur(_demodulated(lines, field[..., axis], 5.0 / order), (0, 0), 14.0 * k / _NODE)
            strengths.append(float(np.percentile(np.hypot(z[..., 0], z[..., 1]), 80)))
        return float(np.sqrt(strengths[0] * strengths[1]))

    own = (level(1.0) + level(2.0)) / 2
    for factor in (2, 3, 5):
        if k * factor >= _PX_PER_MM[1]:
            break
        peaks = np.median([level(m / factor) for m in range(1, 2 * factor) if m % factor])
        if peaks > 0.35 * own and peaks > 1.5 * np.median([level((m + 0.5) / factor) for m in range(2 * factor)]):
            return float(factor)
    return 1.0


def _sampled(dark: F, surfaces: list[_Surface]) -> D:
    """(rows, columns, 2) mm of the surfaces on nodes every ``_NODE`` px."""
    height, width = dark.shape
    x, y = (np.arange(0, n + _NODE, _NODE, dtype=np.float64) for n in (width, height))
    return np.stack([surface(x, y) for surface in surfaces], axis=-1)


def _powers(degree: int) -> list[tuple[int, int]]:
    """Of x and y in each monomial up to this degree; without the constant."""
    return [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i) if i + j]


def _scaled(x: D, y: D, size: tuple[int, int]) -> tuple[D, D]:
    """px from the image's middle, in half its longer side."""
    half = max(size) / 2
    return (x - (size[0] - 1) / 2) / half, (y - (size[1] - 1) / 2) / half


def _monomials(x: D, y: D, size: tuple[int, int], degree: int) -> tuple[D, D, D]:
    """(..., n) monomials of x and y px from the image's middle in half its longer side, and their derivatives by px."""
    (u, v), powers, half = _scaled(x, y, size), _powers(degree), max(size) / 2
    value = np.stack([u**i * v**j for i, j in powers], axis=-1)
    by_x = np.stack([i * u ** max(i - 1, 0) * v**j for i, j in powers], axis=-1) / half
    by_y = np.stack([j * u**i * v ** max(j - 1, 0) for i, j in powers], axis=-1) / half
    return value, by_x, by_y


def _integrated(x: D, y: D, gradient: D, score: D, weight: D, k: float, size: tuple[int, int]) -> tuple[_Surface, D]:
    """The polynomial whose gradient (N, 2) at the patches is given, found robustly; and each patch's weight, 0 to 1."""
    trust = weight
    coefficients, degree = np.zeros(0), 1
    for degree, spread in ((1, 0.25), (1, 0.2), (2, 0.15), (2, 0.12), (3, 0.1), (3, 0.08), (3, 0.06)):
        _, by_x, by_y = _monomials(x, y, size, degree)
        a, b = np.concatenate([by_x, by_y]), np.concatenate([gradient[:, 0], gradient[:, 1]])
        w = np.concatenate([trust, trust])[:, None]
        normal = (a * w).T @ a
        coefficients = np.linalg.solve(normal + 1e-6 * np.trace(normal) * np.eye(len(normal)), (a * w).T @ b)
        off = np.hypot(by_x @ coefficients - gradient[:, 0], by_y @ coefficients - gradient[:, 1]) * k
        fit = np.exp(-0.5 * (off / spread) ** 2)
        trust = score * fit
    return _Surface(coefficients, degree, size), fit


# From the rough map to the lines themselves


def _phases(dark: F, surfaces: list[_Surface], k: float) -> tuple[D, F, float]:
    """(rows, columns, 2) mm on nodes every ``_NODE`` px, (rows, columns) how well the grid is seen, and RMS mm."""
    polynomials, lines = _sampled(dark, surfaces), _high_passed(dark)
    field = polynomials.copy()
    strengths: list[D] = [np.zeros(0), np.zeros(0)]
    rest = [0.0, 0.0]
    for axis in (0, 1):
        coarse = 0.0
        for step, (period, reach) in enumerate(_PASSES):
            waves = _demodulated(lines, field[..., axis], period)
            loud = cv2.GaussianBlur(np.hypot(waves[..., 0], waves[..., 1]), (0, 0), reach * k / _NODE)
            z = np.asarray(cv2.GaussianBlur(waves, (0, 0), reach * k / _NODE), np.float64)
            # Text is loud, but of one phase here and of another there.
            strength = np.hypot(z[..., 0], z[..., 1])
            strength *= (strength / (loud + 1e-9)) ** 2
            if not strength.any():
                raise GridNotFound("what looked like a grid is not one. Is it a scan in black and white?")
            usual = float(np.percentile(strength, 80))
            if period == 5.0:
                coarse = usual
                rough = _unwrapped(z, strength, max(1, round(0.5 * reach * k / _NODE)))
            elif usual < 0.25 * coarse:
                continue  # no such lines, or too faint
            else:
                rough = np.zeros_like(strength)  # less than half a period is missing by now
            left = np.angle((z[..., 0] + 1j * z[..., 1]) * np.exp(-1j * rough))
            trust = strength * (np.abs(left) < 2.0)
            # Beyond the grid the map goes on as it does at its border.
            phase = rough + _continued(left, trust, 0.1 * usual + 1e-9, _BEYOND * k / _NODE)
            move = period / (2 * np.pi) * phase
            field[..., axis] += move
            if step in _STIFF:
                field[..., axis] = _stiff(field[..., axis], strength)
            strengths[axis] = strength
            rest[axis] = float(np.sqrt(np.average(move**2, weights=strength)))
    seen = np.minimum.reduce([s / (np.percentile(s, 90) + 1e-9) for s in strengths]).astype(np.float32)
    return _foldless(field, polynomials, k), seen, float(np.hypot(rest[0], rest[1]))


def _quiet(field: D, seen: F, nodes: float) -> D:
    """(rows, columns) mm of a ``field``, less noise: what bends it more finely than the sheet is likely to be bent.

    A sheet on a screen is flat, one in the hand bends a little, and one that was crumpled has bends of a few mm, while
    the noise of phases (0.01 to 0.03 mm, by which time would be wrong by a millisecond) is the same on all of them. So
    what is left beside a polynomial is made as smooth as Stein's estimate of the risk (Ann. Statist. 9, 1981) says is
    best; or nothing is left.

    Args:
        seen: (rows, columns) how well the grid is seen. nodes: per mm.
    """
    there, trust = seen > _SEEN, np.minimum(seen, _MOST).astype(np.float64)
    if not there.any():
        return field
    even = _stiff(field, trust)
    bent = field - even

    @cache
    def smooth(reach: float) -> D:
        if not reach:
            return bent
        around, total = (cv2.GaussianBlur(v.astype(np.float32), (0, 0), reach * nodes) for v in (bent * trust, trust))
        return np.asarray((around + _UNSEEN * bent) / (total + _UNSEEN), np.float64)  # where none is seen: as it was

    # How much is left after smoothing tells how much of it is noise.
    power = np.array([np.mean(smooth(reach)[there] ** 2) for reach in _TOLD])
    if not power[-1] > 0:
        return field
    tried = np.array(_TOLD) ** 2
    alike = np.stack([noise / (noise + tried) for noise in (_FINE, _COARSE)], axis=-1)
    noise, bends = np.linalg.lstsq(alike / power[:, None], np.ones(power.size), rcond=None)[0]
    if bends < _FLAT * noise and power[0] < _LOUD:
        return even
    noise = float(np.clip(noise, *_NOISE))
    risk = [np.mean((bent - smooth(r))[there] ** 2) + 2 * noise * _FINE / (_FINE + r**2 / 2) for r in _REACHES]
    best = int(np.argmin(risk))
    return even if power[0] < risk[best] else even + smooth(_REACHES[best])


def _continued(phase: D, trust: D, enough: float, reach: float) -> D:
    """``phase`` where there is ``enough`` trust, elsewhere the mean of what is trusted around it (``reach`` nodes)."""
    around, total = (cv2.GaussianBlur(v.astype(np.float32), (0, 0), reach) for v in (phase * trust, trust))
    share = trust / (trust + enough)
    return np.asarray(share * phase + (1 - share) * around / (total + 0.01 * enough), np.float64)


def _stiff(field: D, strength: D, degree: int = 5) -> D:
    """The polynomial that most of the map agrees with: what moire and text have bent locally is put right."""
    rows, columns = field.shape
    x, y = np.meshgrid(np.arange(0.0, columns, 4), np.arange(0.0, rows, 4))
    terms = _monomials(x, y, (columns, rows), degree)[0].reshape(x.size, -1)
    terms = np.concatenate([terms, np.ones((x.size, 1))], axis=1)
    value = field[::4, ::4].ravel()
    weight = np.minimum(strength[::4, ::4].ravel() / (np.percentile(strength, 80) + 1e-9), 1.0)
    trust, coefficients = weight, np.zeros(terms.shape[1])
    for spread in (2.0, 1.0, 0.6, 0.4, 0.4):  # mm
        normal = (terms * trust[:, None]).T @ terms
        ridge = 1e-9 * np.trace(normal) * np.eye(len(normal))
        coefficients = np.linalg.solve(normal + ridge, (terms * trust[:, None]).T @ value)
        trust = weight / (1 + ((value - terms @ coefficients) / spread) ** 2)
    polynomial = _Surface(coefficients[:-1], degree, (columns, rows))
    smooth: D = polynomial(np.arange(float(columns)), np.arange(float(rows))) + coefficients[-1]
    return smooth


def _foldless(field: D, rough: D, k: float) -> D:
    """The map, with what was added to the rough one made as smooth as it takes for no part to lie behind another."""
    moved = field - rough
    for reach in (0.0, 2.0, 4.0, 8.0, 16.0):
        tried = rough + (cv2.GaussianBlur(moved, (0, 0), reach * k / _NODE) if reach else moved)
        across, down = np.diff(tried, axis=1)[:-1], np.diff(tried, axis=0)[:, :-1]
        turn = across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0]
        if (turn * np.median(turn) > 0.0).all():
            return np.asarray(tried, np.float64)
    return rough


def _unwrapped(z: D, strength: D, every: int) -> D:
    """(rows, columns) phase of ``z`` (rows, columns, 2) without jumps, zero in the weighted mean up to whole turns.

    Least squares over the phase differences between neighbours on a lattice of every so many nodes (Ghiglia and Romero,
    J. Opt. Soc. Am. A 11, 1994), weighted by how well the grid is seen: where it is not, the phase goes on smoothly.
    """
    from scipy.sparse import coo_matrix, diags
    from scipy.sparse.linalg import spsolve

    rows, columns = (np.unique(np.append(np.arange(0, n, every), n - 1)) for n in strength.shape)
    small = (z[..., 0] + 1j * z[..., 1])[np.ix_(rows, columns)]
    w = np.minimum(strength[np.ix_(rows, columns)] / (np.percentile(strength, 80) + 1e-9), 1.0) ** 2 + 1e-4
    index = np.arange(small.size).reshape(small.shape)
    a = np.concatenate([index[:, :-1].ravel(), index[:-1].ravel()])
    b = np.concatenate([index[:, 1:].ravel(), index[1:].ravel()])
    flat, weight = small.ravel(), np.minimum(w.ravel()[a], w.ravel()[b])
    # Noise has no slope: where hardly anything is seen, the difference counts as none.
    step = np.angle(flat[b] * np.conj(flat[a])) * np.where(weight > 0.02, 1.0, 0.0)
    edge = np.arange(a.size)
    difference = coo_matrix(
        (np.concatenate([np.ones(a.size), -np.ones(a.size)]), (np.concatenate([edge, edge]), np.concatenate([b, a]))),
        shape=(a.size, flat.size),
    ).tocsr()
    normal = difference.T @ diags(weight) @ difference + diags(np.full(flat.size, 1e-7))
    phase = np.asarray(spsolve(normal.tocsc(), difference.T @ (weight * step)), np.float64)
    turn = np.angle(np.sum(w.ravel() * np.abs(flat) * np.exp(1j * (np.angle(flat) - phase))))
    phase += turn
    phase -= 2 * np.pi * np.round(np.average(phase, weights=w.ravel()) / (2 * np.pi))
    return _stretched(phase.reshape(small.shape), rows, columns)


def _stretched(values: D, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> D:
    """Values on some rows and columns of nodes, on all of them: linear between."""
    across = np.stack([np.interp(np.arange(columns[-1] + 1), columns, line) for line in values])
    return np.stack([np.interp(np.arange(rows[-1] + 1), rows, line) for line in across.T], axis=1)


def _high_passed(dark: F) -> F:
    """The lines without what changes slowly: shadows, and the grey that they make together."""
    return np.asarray(dark - cv2.blur(dark, (31, 31)), np.float32)


def _demodulated(level: F, mm: D, period: float) -> F:
    """(rows, columns, 2) real and imaginary part of the lines at this period against ``mm``, averaged at the nodes."""
    height, width = level.shape
    turns = (mm / period).astype(np.float32)
    # Quarters of a node are among the 32 fractions that this can interpolate at: exact.
    full = cv2.warpAffine(
        turns, np.array([[1 / _NODE, 0, 0], [0, 1 / _NODE, 0]]), (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    phase = np.float32(2 * np.pi) * (full - np.floor(full))
    real, imaginary = cv2.polarToCart(level, phase)
    parts = cv2.merge([real, -imaginary])
    reach = 8 * _NODE + 1  # px; only every _NODE-th row, then column, is needed
    rows = cv2.GaussianBlur(parts, (1, reach), _NODE)[::_NODE]
    sampled = cv2.GaussianBlur(rows, (reach, 1), _NODE)[:, ::_NODE]
    out = np.zeros((*mm.shape, 2), np.float32)
    out[: sampled.shape[0], : sampled.shape[1]] = sampled
    return out


# From the map to the upright image


def _upright(
    image: U8, shape: tuple[int, int], field: D, part: B, k: float, residual: float, share: float
) -> Flattened:
    """The image that a flat scanner would have made of this part of the nodes."""
    height, width = shape
    to_small = Homography.affine(
        width / image.shape[1], 0, 0.5 * width / image.shape[1] - 0.5, 0, height / image.shape[0],
        0.5 * height / image.shape[0] - 0.5,
    )  # fmt: skip
    sign = np.sign([np.median(np.diff(field[..., 0], axis=1)), np.median(np.diff(field[..., 1], axis=0))])
    mesh = Mesh(field * sign, (0.0, 0.0), float(_NODE))
    inside = (field * sign)[part]
    low, high = inside.min(axis=0), inside.max(axis=0)
    low, high = np.floor((low - 2.0) / 5.0) * 5.0, np.ceil((high + 2.0) / 5.0) * 5.0
    if (high - low).max() > 1500:
        raise GridNotFound(
            f"the grid would be {high[0] - low[0]:.0f} x {high[1] - low[1]:.0f} mm; expected 1500 or less."
        )
    wide, tall = np.ceil((high - low) * k)
    size = int(wide), int(tall)
    # Upright px -> mm: the corner of pixel (0, 0) lies at ``low``.
    to_mm = Homography.affine(1 / k, 0, low[0] + 0.5 / k, 0, 1 / k, low[1] + 0.5 / k)
    step = max(4, round(_MM_BETWEEN * k))
    x, y = (np.arange(-2, n // step + 4) * step for n in size)
    nodes: Points = np.stack(np.meshgrid(x, y), axis=-1).astype(np.float64)
    source = to_small.inverse(mesh.inverse(to_mm(nodes.reshape(-1, 2))))
    back = Mesh(source.reshape(nodes.shape), (float(x[0]), float(y[0])), float(step))
    if not back.foldless():
        raise GridNotFound("the grid found folds over itself. Flatten the sheet, or take the picture again.")
    return Flattened(seen_through(image, back.inverse, size, None), k, Chain((back,)), residual, share)


def _sheet(seen: F, traces: B) -> B:
    """The largest connected region in which the grid is seen, and others that traces lead to: glare may hide the grid
    between them, and leave the traces."""
    mask = cv2.morphologyEx((seen > _SEEN).astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    if count < 2:
        raise GridNotFound("no part of the picture in which the grid is seen all over.")
    part = labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    height, width = traces.shape
    inked = cv2.resize(traces.astype(np.float32), (width // _NODE, height // _NODE), interpolation=cv2.INTER_AREA) > 0
    linked = np.asarray(mask > 0, np.bool_)
    linked[: inked.shape[0], : inked.shape[1]] |= inked[: mask.shape[0], : mask.shape[1]]
    _, labels = cv2.connectedComponents(cv2.dilate(linked.astype(np.uint8), np.ones((3, 3), np.uint8)))
    return np.asarray((labels == labels[part][0]) & (mask > 0), np.bool_)
