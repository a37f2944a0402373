"""locate: where the grid is. Its lines' spatial frequency and phase give the map from pixels to paper millimetres."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ecg_image_kit.errors import EcgError
from ecg_image_kit.warp import Homography, Mesh

from .arrays import U8, D, F
from .lines import Departures, measure, unevenness

PX_PER_MM = (1.7, 26.0)  # 43 to 660 dpi
_GIVEN_WITHIN = 0.03  # of a pitch that the caller knows
_SMALLEST = 100  # px a side
_ENOUGH = 3000  # px; larger images are reduced for the search
_MAX_TILT, _MAX_SKEW = 8.0, 2.0  # degrees; the second is the departure of the two families of lines from square
_LONGEST_PAGE = 700  # mm; if lines 1 mm apart made the page longer, they are 5 mm apart
_LONGEST_SCAN = 430  # mm; of a page with a grid so faint that the pattern of its dots might be taken for one
_WIDEST_PEN, _SURELY = 0.9, 5.0  # mm; px of the image as it was drawn
_COMMON = 0.1  # of the edges' energy, that their common direction explains
_BLOCK = 24  # px; the paper's brightness is measured in such squares
_BANDS = 96  # horizontal bands whose profiles are looked at
_HARMONICS = 10  # of 5 mm: the fifth is 1 mm, the tenth its overtone
_FLAT_SHARE = 0.8  # of the grid that a flat map explains, at least, if the sheet is flat
_FLAT_BEND = {1.0: 0.012, 5.0: 0.03}  # mm, at most, for lines so many mm apart
_LESS_BENT = 0.7  # of another map's bend, at most, of a map that is preferred to it
_EVEN = 0.025  # mm, RMS, by which lines may be off before they are followed
_MIN_SCORE, _MIN_CONTRAST = 1.2, 2.5  # below them there is no grid
_MIN_IN_PHASE = 2.1  # score, where bands are added up in phase: noise alone reaches 1.7
_UNSEEN = 0.45  # share of one family of lines below which its fit says nothing


class GridNotFound(EcgError):
    """No periodic grid: not an ECG on grid paper, too small, or too blurred."""


@dataclass(frozen=True)
class Grid:
    """A flat grid.

    Attributes:
        px_to_mm: image px -> paper mm; 5 mm lines lie at multiples of 5 (which one is 0 is arbitrary).
        px_per_mm: (horizontal, vertical) pitch.
        tilt: degrees, clockwise positive.
        residual_mm: RMS departure of the local grid phase from the flat map.
        evidence: how the pitch was told from its multiples, in words.
        contrast: peak of the grid's spectrum over its surroundings.
        bend_mm: the part of the residual in which neighbouring places agree: the sheet's, not noise.
        share: of the grid that the map explains, 0 to 1; of lines 5 mm apart, after ``uneven`` was followed.
        period_mm: of the lines that were fitted: 1 or 5.
        uneven: true mm -> mm of the flat map, if they differ: the paper or the scanner ran unevenly.
        straightened: it is that of a sheet that was bent, or seen at an angle, and was laid flat before.
        by_pen: its lines are alike, and the width of the pen told how far apart they are.
    """

    px_to_mm: Homography
    px_per_mm: tuple[float, float]
    tilt: float
    residual_mm: float
    evidence: str
    contrast: float
    bend_mm: float = 0.0
    share: float = 1.0
    period_mm: float = 1.0
    uneven: Mesh | None = None
    straightened: bool = False
    by_pen: bool = False

    @property
    def flat(self) -> bool:
        """Whether the sheet is: a flat map and unevenly spaced lines explain its grid, but for noise."""
        return self.share > _FLAT_SHARE and self.bend_mm < _FLAT_BEND[self.period_mm]

    def explains_more_than(self, other: Grid) -> bool:
        """Whether this map of the same sheet is the better one: where both explain the grid, it must be less bent."""
        if other.share > _FLAT_SHARE:
            return self.share > _FLAT_SHARE and self.bend_mm < _LESS_BENT * other.bend_mm
        return self.share > other.share


class _Bands(NamedTuple):
    """Mean profiles (bands, W) along x of horizontal bands, high-passed, and the bands' centres ``y`` (bands,) px."""

    profiles: D
    y: D


class _Spectrum(NamedTuple):
    """Frequencies (cycles/px) and the amplitude at each, relative to its surroundings (1 = nothing there)."""

    frequency: D
    ratio: D


class _Off(NamedTuple):
    """How far one family of lines is off its fit; as in Grid."""

    residual: float
    bend: float
    share: float


class _Family(NamedTuple):
    """Lines across one axis: mm per px along it and along the other, offset mm, how far they are off that; each line.

    ``period_mm``: of the lines that were fitted: 1 or 5.

    The 5 mm lines are where ``vector`` @ px + ``offset`` is a multiple of 5.
    """

    vector: D
    offset: float
    off: _Off
    lines: Departures | None
    period_mm: float


class _Pitch(NamedTuple):
    """px per mm, whether lines 1 mm apart are among those seen, and those 5 mm apart; and as in Grid."""

    px_per_mm: float
    minor: bool
    major: bool
    evidence: str
    contrast: float
    by_pen: bool = False


def locate(image: U8, px_per_mm: float | None = None, shrunk: int = 1) -> Grid:
    """Find the grid of a flat page tilted by at most 8 degrees.

    Args:
        image: (H, W, 3) uint8 RGB.
        px_per_mm: the pitch, if known, to within 3 %.
        shrunk: how many px of the image as it was drawn make one of this.

    Raises:
        GridNotFound: no period that explains both directions.
    """
    height, width = image.shape[:2]
    if min(height, width) < _SMALLEST:
        raise GridNotFound(
            f"image of {width} x {height} px; expected at least {_SMALLEST} px a side. Scan at 100 dpi or more."
        )
    shrink = min(-(-max(height, width) // _ENOUGH), min(height, width) // _SMALLEST)
    if shrink > 1:
        return _locate_small(image, px_per_mm, shrink)
    dark = darkness(image)
    edges = 0.0 if px_per_mm else _edges_tilt(dark)
    if abs(edges) > _MAX_TILT + 1.0:  # a lattice has other lines, which are tilted less
        raise GridNotFound(
            f"most of what is drawn is tilted by {edges:.0f} degrees; this reader takes flat pages tilted by at most "
            f"{_MAX_TILT:g}. Rotate or flatten the image."
        )
    # Lines across x, then, with x and y exchanged, lines across y.
    sides = (dark, np.ascontiguousarray(dark.T))
    bands = [_bands(side) for side in sides]
    pitch = _searched(bands, px_per_mm, max(height, width))
    if not pitch.minor and not px_per_mm:
        pitch = _not_wider(pitch, _pen_width(image), _SURELY / shrunk)
    fits, evidence = _families(sides, bands, pitch, shrunk)
    x, y = fits
    (ux, uy), (vy, vx) = x.vector, y.vector
    tilt = float(np.rad2deg(np.arctan2(-vx, vy)))
    skew = float(np.rad2deg(np.arctan2(uy, ux))) - tilt
    if abs(tilt) > _MAX_TILT or abs(skew) > _MAX_SKEW:
        raise GridNotFound(
            f"grid lines tilted by {tilt:.1f} degrees and {skew:.1f} degrees from square; this reader takes flat pages "
            f"tilted by at most {_MAX_TILT:g}. Rotate or flatten the image."
        )
    warp = Homography.affine(ux, uy, x.offset, vx, vy, y.offset)
    px = (1 / float(np.hypot(ux, uy)), 1 / float(np.hypot(vx, vy)))
    residual, bend = float(np.hypot(x.off.residual, y.off.residual)), float(np.hypot(x.off.bend, y.off.bend))
    share = min(family.lines.agreed if family.lines else family.off.share for family in fits)
    period = max(family.period_mm for family in fits)
    grid = Grid(warp, px, tilt, residual, evidence, pitch.contrast, bend, share, period, by_pen=pitch.by_pen)
    if max((family.lines.rms for family in fits if family.lines), default=0.0) < _EVEN:
        return grid
    return replace(grid, uneven=unevenness(x.lines, y.lines, warp, (width, height)))


def _locate_small(image: U8, px_per_mm: float | None, shrink: int) -> Grid:
    """``locate`` on the image reduced by a whole factor, told in the image's own px.

    Phases need no more than a few pixels per millimetre; whole factors keep every pixel's weight equal.
    """
    height, width = (size // shrink * shrink for size in image.shape[:2])
    size = (width // shrink, height // shrink)
    # Blurred before, because a line one pixel wide would be in one of the large pixels, wherever in that it is.
    soft = cv2.GaussianBlur(image[:height, :width], (0, 0), 0.5 * shrink)
    reduced = np.asarray(cv2.resize(soft, size, interpolation=cv2.INTER_AREA), np.uint8)
    try:
        small = locate(reduced, px_per_mm / shrink if px_per_mm else None, shrink)
    except GridNotFound as error:
        raise GridNotFound(f"{error} (Searched at 1/{shrink} of the image's size.)") from None
    to_small = Homography.affine(1 / shrink, 0, 0.5 / shrink - 0.5, 0, 1 / shrink, 0.5 / shrink - 0.5)
    warp = Homography(small.px_to_mm.matrix @ to_small.matrix)
    a, b = small.px_per_mm
    return replace(small, px_to_mm=warp, px_per_mm=(a * shrink, b * shrink))


def darkness(image: U8) -> F:
    """(H, W) 0 to 255: how much darker than the paper around it, in the channel that absorbs most.

    The darkest part (ink) is cut to the grid's own level, so that a heavy trace does not hide a faint grid.
    """
    low = image.min(axis=2)
    dark = np.clip(local_paper(low) - low, 0, None).astype(np.float32)
    return np.asarray(np.minimum(dark, max(4.0, float(np.percentile(dark[::3, ::3], 93)))), np.float32)


def _edges_tilt(dark: F) -> float:
    """Degrees, -45 to 45, by which most edges depart from upright and level; 0 if they have no common direction."""
    dx, dy = (cv2.Sobel(dark, cv2.CV_32F, *order)[::2, ::2] for order in ((1, 0), (0, 1)))
    # The fourth power of the gradient, taken for a complex number, is the same for all four sides of a square.
    real, imaginary, power = dx * dx - dy * dy, 2 * dx * dy, dx * dx + dy * dy + 1e-9
    x = float(((real * real - imaginary * imaginary) / power).sum())
    y = float((2 * real * imaginary / power).sum())
    return float(np.rad2deg(np.arctan2(y, x))) / 4 if np.hypot(x, y) > _COMMON * power.sum() else 0.0


def local_paper(channel: U8) -> F:
    """(H, W) brightness of the bare paper: a high percentile of each block, smoothed."""
    height, width = channel.shape
    rows, columns = height // _BLOCK, width // _BLOCK
    if not rows or not columns:
        return np.full((height, width), float(np.percentile(channel, 80)), np.float32)
    cells = channel[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK)[:, ::2, :, ::2]
    cells = cells.transpose(0, 2, 1, 3).reshape(rows, columns, -1)
    k = int(cells.shape[2] * 0.8)
    level = np.partition(cells, k, axis=2)[:, :, k].astype(np.float32)
    if min(rows, columns) >= 5:
        level = np.asarray(cv2.GaussianBlur(cv2.medianBlur(level, 5), (0, 0), 2.0), np.float32)
    return np.asarray(cv2.resize(level, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _bands(dark: F) -> _Bands:
    """Narrow bands: tilted lines stay sharp in them, and step by less than half a period from one to the next."""
    height = dark.shape[0]
    size = int(np.clip(height // _BANDS, 4, 16))
    count = height // size
    profiles = dark[: count * size].reshape(count, size, -1).mean(axis=1).astype(np.float64)
    wide = 61  # px, of the high-pass
    profiles -= cv2.blur(profiles, (wide, 1)) if profiles.shape[1] > wide else profiles.mean(axis=1, keepdims=True)
    return _Bands(profiles, np.asarray((np.arange(count) + 0.5) * size - 0.5, np.float64))


def _searched(bands: list[_Bands], given: float | None, size: int) -> _Pitch:
    """The pitch that the bands show, each for itself; or else, as dots are left by a scan in black and white that say
    something only all together, added up in phase."""
    each = [_transforms(b.profiles) for b in bands]
    try:
        alone = [np.abs(z).mean(axis=0) for z in each]
        return _pitch([_standing_out(a, b) for a, b in zip(alone, bands, strict=True)], given, size)
    except GridNotFound as error:
        try:
            together = [_in_phase(z, b.y) for z, b in zip(each, bands, strict=True)]
            return _pitch([_standing_out(a, b) for a, b in zip(together, bands, strict=True)], given, size, True)
        except GridNotFound:
            raise error from None


def _transforms(profiles: D) -> NDArray[np.complex128]:
    """(bands, frequencies) of each band, all equally loud: full of text or handwriting, some would drown the others."""
    size = profiles.shape[1]
    length = 1 << int(np.ceil(np.log2(size * 4)))
    loud = np.sqrt((profiles**2).mean(axis=1, keepdims=True)) + 1e-6
    return np.asarray(np.fft.rfft(profiles * np.hanning(size), length, axis=1) / loud, np.complex128)


def _in_phase(each: NDArray[np.complex128], y: D) -> D:
    """(frequencies,) amplitude of all bands, at ``y`` px, added up in phase, at whichever tilt it is highest."""
    turns = 1 << int(np.ceil(np.log2(y.size * 2)))
    amplitude = np.abs(np.fft.fft(each * np.hanning(y.size + 2)[1:-1, None], turns, axis=0))
    across = np.abs(np.fft.fftfreq(turns)) / (y[1] - y[0])
    most = np.maximum(_frequencies(each.shape[1]) * np.tan(np.deg2rad(_MAX_TILT)), across[1])
    return np.asarray(np.where(across[:, None] <= most, amplitude, 0.0).max(axis=0), np.float64)


def _standing_out(amplitude: D, bands: _Bands) -> _Spectrum:
    """The amplitudes (frequencies,) against their surroundings, 24 of the bands' own steps of frequency wide."""
    length = 2 * (amplitude.size - 1)
    around = cv2.blur(amplitude[None], (2 * (length // bands.profiles.shape[1]) * 24 + 1, 1))[0]
    return _Spectrum(_frequencies(amplitude.size), np.asarray(amplitude / (around + 1e-9), np.float64))


def _frequencies(count: int) -> D:
    """Cycles per px of a transform of real numbers that has so many."""
    return np.asarray(np.fft.rfftfreq(2 * (count - 1)), np.float64)


def _pitch(spectra: list[_Spectrum], given: float | None, size: int, in_phase: bool = False) -> _Pitch:
    """The pitch from the harmonics of 5 mm common to both directions of a page ``size`` px long."""
    low, high = (given * (1 - _GIVEN_WITHIN), given * (1 + _GIVEN_WITHIN)) if given else PX_PER_MM
    least = _MIN_IN_PHASE if in_phase else _MIN_SCORE
    if in_phase and not given:
        low = min(max(low, size / _LONGEST_SCAN), high / 1.1)  # a raster of dots is no grid
    candidates = np.exp(np.arange(np.log(low), np.log(high), 0.0008))
    heights = _heights(spectra, candidates)
    fine, coarse, overtone = heights[5], heights[[1, 2, 3, 4]].mean(axis=0), heights[10]
    # A full grid has a strong 1 mm line and 5 mm harmonics; a 5 mm grid has harmonics 1 to 4 alike; a 1 mm grid has
    # only 5 and 10.
    full = fine + 1.3 * coarse + 0.3 * overtone
    best = _longest_fit(heights, candidates, full)
    k, h = float(candidates[best]), heights[:, best]
    contrast = float(np.exp(max(h[1:6].max(), 0)))
    if full[best] < least or contrast < _MIN_CONTRAST:
        raise GridNotFound(
            f"no 5 mm period between {low * 5:.0f} and {high * 5:.0f} px (best {contrast:.1f} times its surroundings, "
            f"at {k * 5:.1f} px). Give --px-per-mm, or check that the image is a flat ECG on grid paper."
        )
    major = h[1:5].mean()
    if h[5] > 0.7 and 0.25 < major < h[5] - 0.2:  # lines of 5 mm alone have all harmonics alike
        evidence = (
            f"minor and major lines: 1 mm is {np.exp(h[5]):.1f}, 5 mm harmonics {np.exp(major):.1f} times their "
            "surroundings"
        )
        return _Pitch(k, True, True, evidence, contrast)
    if h[5] > 0.7 and major <= 0.25:
        # Only one family of lines. As 1 mm it would make the page size / k mm long; as 5 mm, five times that.
        if size / k < _LONGEST_PAGE:
            evidence = f"minor lines only, taken for 1 mm because the page is then {size / k:.0f} mm long"
            return _Pitch(k, True, False, evidence, contrast)
        return _Pitch(k / 5, False, True, "one family of lines", contrast)
    return _Pitch(
        k, False, True, f"major lines only: 5 mm harmonics {np.exp(major):.1f} times their surroundings", contrast
    )


def _not_wider(pitch: _Pitch, pen: float, surely: float) -> _Pitch:
    """Lines taken for 5 mm apart are 1 mm apart if the ``pen``, px, would be wider than any is: on an enlarged part of
    a page, of which nothing else tells the scale. From ``surely`` px on it is no thin one blurred."""
    k = 5 * pitch.px_per_mm
    if pen < max(_WIDEST_PEN * pitch.px_per_mm, surely) or k > PX_PER_MM[1]:
        return pitch
    evidence = (
        f"one family of lines, taken for 1 mm because the pen is then {pen / k:.1f} mm wide, and not {5 * pen / k:.1f}"
    )
    return _Pitch(k, True, False, evidence, pitch.contrast, by_pen=True)


def _pen_width(image: U8) -> float:
    """px from above to below, of most of what is dark (if the grid is, too, of its lines)."""
    low = image.min(axis=2)
    black, paper = np.percentile(low[::2, ::2], (0.2, 80))
    ink = np.pad(low < (black + paper) / 2, ((1, 1), (0, 0)))
    edges = np.flatnonzero(np.diff(ink.T.astype(np.int8), axis=1).ravel())
    return float(np.median(edges[1::2] - edges[::2])) if edges.size else 0.0


def _heights(spectra: list[_Spectrum], candidates: D) -> D:
    """(harmonic, candidate) log amplitude at each harmonic of 5 mm if 1 mm were ``candidates`` px; row 0 is empty.

    The geometric mean over both directions.
    """
    # The highest value within +-0.3 % counts.
    peaks = [(s.frequency, cv2.dilate(s.ratio[None], np.ones((1, 3), np.uint8))[0]) for s in spectra]
    heights = np.zeros((_HARMONICS + 1, candidates.size))
    for k in range(1, _HARMONICS + 1):
        f = k / (5 * candidates)
        logs = [np.log(np.maximum(np.interp(f, frequency, peak), 0.3)) for frequency, peak in peaks]
        heights[k] = np.where(f < 0.47, np.mean(logs, axis=0), 0.0)
    return heights


def _longest_fit(heights: D, candidates: D, full: D) -> int:
    """Index of the candidate with the best ``full`` score, or of a multiple of it that fits nearly as well.

    Sharp lines have overtones, so a half or a third of the true period fits as well: prefer the longest that fits.
    """
    best = int(np.argmax(full))
    for factor in (5, 4, 3, 2):
        near = np.abs(candidates - factor * candidates[best]) < 0.006 * factor * candidates[best]
        if near.any():
            longer = int(np.flatnonzero(near)[np.argmax(full[near])])
            # Harmonics that the shorter period does not share must stand out nearly as well.
            own = np.array([heights[m, longer] for m in range(1, _HARMONICS + 1) if m % factor])
            if np.median(own) > max(0.6, 0.4 * heights[1:6, best].mean()):
                return longer
    return best


def _families(sides: tuple[F, F], bands: list[_Bands], pitch: _Pitch, shrunk: int) -> tuple[list[_Family], str]:
    """Both families of lines, and the evidence for them."""

    def fitted(pitch: _Pitch) -> list[_Family]:
        return [_phase_fit(side, b, pitch, shrunk) for side, b in zip(sides, bands, strict=True)]

    fits = fitted(pitch)
    # Where paper ran unevenly, lines 1 mm apart cannot be told from each other.
    if pitch.minor and pitch.major and _share(fits) < _FLAT_SHARE:
        fits = max(fits, fitted(pitch._replace(minor=False)), key=_share)
    if max(family.off.share for family in fits) < _UNSEEN:
        raise GridNotFound(
            f"something repeats every {5 * pitch.px_per_mm:.1f} px here and there, but no lines run through the page. "
            "Give --px-per-mm, or check that the image is a flat ECG on grid paper."
        )
    evidence = pitch.evidence
    for k in (0, 1):
        if fits[k].off.share < _UNSEEN < fits[1 - k].off.share:
            fits[k] = _square_to(fits[1 - k])
            evidence += "; lines of one direction only, those of the other are taken to be as wide and square to them"
    return fits, evidence


def _square_to(other: _Family) -> _Family:
    """Lines that cannot be seen, as wide as the other ones and square to them."""
    along, across = other.vector
    return _Family(np.array([along, -across]), 0.0, other.off, None, other.period_mm)


def _share(fits: list[_Family]) -> float:
    """Of the family that its plane explains less of."""
    return min(family.off.share for family in fits)


def _phase_fit(dark: F, bands: _Bands, pitch: _Pitch, shrunk: int) -> _Family:
    """Fit the lines across x.

    Local phases at the lines' frequency, in windows along each band, are unwrapped and fitted by a plane, robustly.
    Sharp to a few 1e-5 because the windows span the page.
    """
    profiles, y = bands
    harmonic = 5 if pitch.minor else 1  # of 5 mm; lines 5 mm apart, rounded to pixels, have poor higher harmonics
    f, g = _peak(bands, harmonic / (5 * pitch.px_per_mm))
    x, z = _local_phases(profiles, f)
    plane = np.array([0.0, 2 * np.pi * g, 0.0])
    xs, ys = np.meshgrid(x, y)
    flat = z / (np.abs(z) + 1e-9)
    weight = _weights(np.abs(z))
    x_mean, y_mean = xs.mean(), ys.mean()
    a = np.stack([xs - x_mean, ys - y_mean, np.ones_like(xs)], axis=-1)
    model = plane[0] * a[..., 0] + plane[1] * a[..., 1]
    plane[2] = np.angle(np.sum(weight * flat * np.exp(-1j * model)))
    for spread in (1.5, 1.0, 0.6, 0.4, 0.4, 0.4):  # radians
        model = plane[0] * a[..., 0] + plane[1] * a[..., 1]
        rest = np.angle(flat * np.exp(-1j * (model + plane[2])))
        w = weight * np.exp(-0.5 * (rest / spread) ** 2)
        normal = np.einsum("ijk,ijl,ij->kl", a, a, w) + np.diag([1e-9, 1e-9, 1e-12])
        plane += np.linalg.solve(normal, np.einsum("ijk,ij,ij->k", a, rest, w))
    # phase(x, y) = 2 pi (f x) + plane; lines (dark) lie where it is 0. In mm, one cycle is 5 / harmonic mm.
    mm = 5 / harmonic
    vector = np.array([f + plane[0] / (2 * np.pi), plane[1] / (2 * np.pi)]) * mm
    offset = float((plane[2] - plane[0] * x_mean - plane[1] * y_mean) / (2 * np.pi) * mm)
    in_mm = mm / (2 * np.pi)
    rms, share = np.sqrt(np.sum(w * rest**2) / np.sum(w)), np.sum(weight * np.cos(rest)) / np.sum(weight)
    off = _Off(float(rms) * in_mm, _agreed(rest, w) * in_mm, float(share))
    if pitch.minor:
        return _Family(vector, offset + _major_phase(dark, vector, offset), off, None, 1.0)
    # A local phase sees these few lines badly among text and separators; each by itself is sharper.
    lines = None
    if share > _UNSEEN:
        vector, offset, lines = measure(profiles, y, vector, offset, shrunk)
    if lines is not None:
        off = off._replace(residual=lines.noise, bend=lines.left)
    return _Family(vector, offset, off, lines, 5.0)


def _agreed(rest: D, weight: D) -> float:
    """RMS of what windows of a band, side by side but with no pixel in common, share: noise they do not share."""
    a, b = rest[:, :-2], rest[:, 2:]
    w = weight[:, :-2] * weight[:, 2:]
    if not w.any():
        return float(np.sqrt(np.mean(rest**2)))
    return float(np.sqrt(max(0.0, np.sum(w * a * b) / np.sum(w))))


def _peak(bands: _Bands, f: float) -> tuple[float, float]:
    """Cycles per px along the bands and across them, at the peak of the spectrum within 1 % of f and ``_MAX_TILT``.

    All bands are added up in phase, so that lines of which here and there a few dots are left stand out.
    """
    profiles, y = bands
    size = profiles.shape[1]
    along = f * (1 + np.linspace(-0.01, 0.01, 81))
    most = f * np.tan(np.deg2rad(_MAX_TILT))
    across = np.linspace(-most, most, 2 * max(2, int(np.ceil(2 * most * (y[-1] - y[0] + 1)))) + 1)
    basis = np.exp(-2j * np.pi * np.outer(np.arange(size), along)) * np.hanning(size)[:, None]
    turns = np.exp(-2j * np.pi * np.outer(across, y)) * np.hanning(y.size + 2)[1:-1]
    power = np.abs(turns @ (profiles @ basis)) ** 2  # (across, along)
    i, j = (int(v) for v in np.unravel_index(np.argmax(power), power.shape))
    return _summit(along, power[i], j), _summit(across, power[:, j], i)


def _summit(at: D, height: D, k: int) -> float:
    """Where the parabola through the ``k``-th height and its neighbours is highest."""
    k = int(np.clip(k, 1, at.size - 2))
    a, b, c = height[k - 1 : k + 2]
    shift = 0.5 * (a - c) / (a - 2 * b + c) if a - 2 * b + c else 0.0
    return float(at[k] + np.clip(shift, -1, 1) * (at[1] - at[0]))


def _local_phases(profiles: D, f: float) -> tuple[D, NDArray[np.complex128]]:
    """Centres (windows,) px of windows along the bands, and the complex amplitude (bands, windows) at ``f`` in each."""
    size = profiles.shape[1]
    window = int(np.clip(round(12 / f), 48, max(48, size // 3)))
    starts = np.arange(0, max(1, size - window + 1), window // 2)
    taper = np.hanning(window + 2)[1:-1]
    demodulated = profiles * np.exp(-2j * np.pi * f * np.arange(size))
    z = np.stack([(demodulated[:, s : s + window] * taper).sum(axis=1) for s in starts], axis=1)
    return np.asarray(starts + (window - 1) / 2, np.float64), z


def _weights(amplitude: D) -> D:
    """How much each window counts: its amplitude, cut so that a few loud ones do not decide."""
    cap = np.percentile(amplitude, 80)
    if cap == 0:  # nearly all of the image is blank: a small page in a large white one
        seen = amplitude[amplitude > 0]
        if not seen.size:
            raise GridNotFound("grid lines in one direction only. Check that the image is a flat ECG on grid paper.")
        cap = np.percentile(seen, 80)
    return np.minimum(amplitude, cap)


def _major_phase(dark: F, vector: D, offset: float) -> float:
    """Which of the five 1 mm lines is the 5 mm line: mm (-4 to 0) to add so that those fall on multiples of 5."""
    height, width = dark.shape
    rows = np.arange(0, height, max(1, height // 200))
    mm = vector[0] * np.arange(width)[None] + vector[1] * rows[:, None] + offset
    nearest = np.round(mm)
    on = np.abs(mm - nearest) < 0.3
    which = (nearest.astype(int) % 5)[on]
    level = np.bincount(which, dark[rows][on], minlength=5) / np.maximum(np.bincount(which, minlength=5), 1)
    return float(-int(np.argmax(level)))
