"""locate: where the grid is. Its lines' spatial frequency and phase give the map from pixels to paper millimetres."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ecg_image_kit.errors import EcgError
from ecg_image_kit.warp import Homography

F = NDArray[np.float32]
D = NDArray[np.float64]

PX_PER_MM = (1.7, 26.0)  # 43 to 660 dpi
_MAX_TILT = 8.0  # degrees
_ENOUGH = 2400  # px; larger images are reduced for the search


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
    """

    px_to_mm: Homography
    px_per_mm: tuple[float, float]
    tilt: float
    residual_mm: float
    evidence: str
    contrast: float


def darkness(image: NDArray[np.uint8]) -> F:
    """(H, W) 0 to 255: how much darker than the paper around it, in the channel that absorbs most.

    The darkest part (ink) is cut to the grid's own level, so that a heavy trace does not hide a faint grid.
    """
    low = image.min(axis=2) if image.ndim == 3 else image
    paper = local_paper(low)
    dark = np.clip(paper - low, 0, None).astype(np.float32)
    return np.minimum(dark, max(4.0, float(np.percentile(dark[::3, ::3], 93))))


def local_paper(channel: NDArray[np.uint8], block: int = 24) -> F:
    """(H, W) brightness of the bare paper: a high percentile of each block, smoothed."""
    height, width = channel.shape
    rows, columns = max(1, height // block), max(1, width // block)
    cells = channel[: rows * block, : columns * block] if min(height, width) >= block else None
    if cells is None:
        return np.full((height, width), float(np.percentile(channel, 80)), np.float32)
    cells = cells.reshape(rows, block, columns, block)[:, ::2, :, ::2].transpose(0, 2, 1, 3).reshape(rows, columns, -1)
    level = np.partition(cells, int(cells.shape[2] * 0.8), axis=2)[:, :, int(cells.shape[2] * 0.8)].astype(np.float32)
    level = cv2.GaussianBlur(cv2.medianBlur(level, 5), (0, 0), 2.0) if min(rows, columns) >= 5 else level
    return cv2.resize(level, (width, height), interpolation=cv2.INTER_LINEAR)


def locate(image: NDArray[np.uint8], px_per_mm: float | None = None) -> Grid:
    """Find the grid of a flat page tilted by at most 8 degrees.

    Args:
        image: (H, W, 3) uint8 RGB.
        px_per_mm: the pitch, if known, to within 3 %.

    Raises:
        GridNotFound: no period that explains both directions.
    """
    height, width = image.shape[:2]
    if min(height, width) < 100:
        raise GridNotFound(f"image of {width} x {height} px; expected at least 100 px a side. Scan at 100 dpi or more.")
    shrink = -(-max(height, width) // _ENOUGH)
    if shrink > 1:
        # Phases need no more than a few pixels per millimetre; whole factors keep every pixel's weight equal.
        image = cv2.resize(image[: height // shrink * shrink, : width // shrink * shrink], None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA)  # fmt: skip
        try:
            small = locate(image, px_per_mm / shrink if px_per_mm else None)
        except GridNotFound as error:
            raise GridNotFound(f"{error} (Searched at 1/{shrink} of the image's size.)") from None
        to_small = Homography.affine(1 / shrink, 0, 0.5 / shrink - 0.5, 0, 1 / shrink, 0.5 / shrink - 0.5)
        warp = Homography(small.px_to_mm.matrix @ to_small.matrix)
        a, b = small.px_per_mm
        return replace(small, px_to_mm=warp, px_per_mm=(a * shrink, b * shrink))
    dark = darkness(image)
    bands = [_bands(dark), _bands(np.ascontiguousarray(dark.T))]
    spectra = [_spectrum(profiles) for profiles, _ in bands]
    period, evidence, contrast = _pitch(spectra, px_per_mm, max(height, width))

    vectors, offsets, residuals = [], [], []
    for axis in (0, 1):
        vector, offset, residual = _phase_fit(
            dark if axis == 0 else np.ascontiguousarray(dark.T), bands[axis], period, "minor" in evidence
        )
        vectors.append(vector if axis == 0 else vector[::-1])
        offsets.append(offset)
        residuals.append(residual)
    (ux, uy), (vx, vy) = vectors
    tilt = float(np.rad2deg(np.arctan2(-vx, vy)))
    skew = float(np.rad2deg(np.arctan2(uy, ux))) + tilt * -1
    if abs(tilt) > _MAX_TILT or abs(skew) > 2.0:
        raise GridNotFound(
            f"grid lines tilted by {tilt:.1f} degrees and {skew:.1f} degrees from square; this reader takes flat pages tilted "
            f"by at most {_MAX_TILT:g}. Rotate or flatten the image."
        )
    warp = Homography.affine(ux, uy, offsets[0], vx, vy, offsets[1])
    pitch = (1 / float(np.hypot(ux, uy)), 1 / float(np.hypot(vx, vy)))
    return Grid(warp, pitch, tilt, float(np.hypot(*residuals)), evidence, contrast)


def _bands(dark: F, count: int = 48) -> tuple[D, D]:
    """Mean profiles along x of ``count`` horizontal bands, high-passed: (bands, W), and the bands' centres in y px.

    Narrow bands keep the lines sharp although they are tilted.
    """
    height = dark.shape[0]
    size = int(np.clip(height // count, 6, 32))
    count = height // size
    profiles = dark[: count * size].reshape(count, size, -1).mean(axis=1).astype(np.float64)
    profiles -= cv2.blur(profiles, (61, 1)) if profiles.shape[1] > 61 else profiles.mean(axis=1, keepdims=True)
    return profiles, (np.arange(count) + 0.5) * size - 0.5


def _spectrum(profiles: D) -> tuple[D, D]:
    """Frequencies (cycles/px) and mean amplitude over the bands, relative to its surroundings (1 = nothing there)."""
    size = profiles.shape[1]
    length = 1 << int(np.ceil(np.log2(size * 4)))
    amplitude = np.abs(np.fft.rfft(profiles * np.hanning(size), length, axis=1))
    # Bands full of text or handwriting would dominate a plain mean.
    amplitude /= np.sqrt((profiles**2).mean(axis=1, keepdims=True)) + 1e-6
    mean = amplitude.mean(axis=0)
    around = cv2.blur(mean[None], (2 * (length // size) * 24 + 1, 1))[0]
    return np.fft.rfftfreq(length), mean / (around + 1e-9)


def _pitch(spectra: list[tuple[D, D]], given: float | None, size: int) -> tuple[float, str, float]:
    """(px per mm, evidence, contrast) from the harmonics of 5 mm common to both directions."""
    low, high = (given * 0.97, given * 1.03) if given else PX_PER_MM
    candidates = np.exp(np.arange(np.log(low), np.log(high), 0.0008))
    # heights[k]: geometric mean over both directions of the amplitude at harmonic k of 5 mm
    heights = np.zeros((11, candidates.size))
    for k in range(1, 11):
        f = k / (5 * candidates)
        logs = [np.log(np.maximum(np.interp(f, freq, _peaks(ratio, freq, f)), 0.3)) for freq, ratio in spectra]
        heights[k] = np.where(f < 0.47, np.mean(logs, axis=0), 0.0)
    fine, coarse = heights[5], heights[[1, 2, 3, 4]].mean(axis=0)
    overtone = heights[10]
    # A full grid has a strong 1 mm line and 5 mm harmonics; a 5 mm grid has harmonics 1 to 4 alike; a 1 mm grid has only 5 and 10.
    full = fine + 1.3 * coarse + 0.3 * overtone
    best = int(np.argmax(full))
    # Sharp lines have overtones, so a half or a third of the true period fits as well: prefer the longest that fits.
    for factor in (5, 4, 3, 2):
        near = np.abs(candidates - factor * candidates[best]) < 0.006 * factor * candidates[best]
        if near.any():
            longer = int(np.flatnonzero(near)[np.argmax(full[near])])
            # Harmonics that the shorter period does not share must stand out nearly as well.
            own = [heights[m, longer] for m in range(1, 11) if m % factor]
            if np.median(own) > max(0.6, 0.4 * heights[1:6, best].mean()):
                best = longer
                break
    score, k = float(full[best]), float(candidates[best])
    contrast = float(np.exp(max(heights[1:6, best].max(), 0)))
    if score < 1.2 or contrast < 2.5:
        raise GridNotFound(
            f"no 5 mm period between {low * 5:.0f} and {high * 5:.0f} px (best {contrast:.1f} times its surroundings, at "
            f"{k * 5:.1f} px). Give --px-per-mm, or check that the image is a flat ECG on grid paper."
        )
    h = heights[:, best]
    if h[5] > 0.7 and 0.25 < h[1:5].mean() < h[5] - 0.2:  # lines of 5 mm alone have all harmonics alike
        return (
            k,
            f"minor and major lines: 1 mm is {np.exp(h[5]):.1f}, 5 mm harmonics {np.exp(h[1:5].mean()):.1f} times their surroundings",
            contrast,
        )
    if h[5] > 0.7 and h[1:5].mean() <= 0.25:
        # Only one family of lines. As 1 mm it would make the page size / k mm long; as 5 mm, five times that.
        if size / k < 700:
            return k, f"minor lines only, taken for 1 mm because the page is then {size / k:.0f} mm long", contrast
        return k / 5, "one family of lines", contrast
    return k, f"major lines only: 5 mm harmonics {np.exp(h[1:5].mean()):.1f} times their surroundings", contrast


def _peaks(ratio: D, freq: D, f: D) -> D:
    """Local maximum over +-0.3 % around each frequency, as an array over ``freq`` (for np.interp)."""
    return cv2.dilate(ratio[None], np.ones((1, 3), np.uint8))[0]


def _phase_fit(dark: F, bands: tuple[D, D], period: float, minor: bool) -> tuple[D, float, float]:
    """Frequency vector (2,) cycles (mm) per px and offset mm of the lines across x, and the residual in mm.

    Local phases at the lines' frequency, in windows along each band, are unwrapped and fitted by a plane, robustly.
    Sharp to a few 1e-5 because the windows span the page.
    """
    profiles, y = bands
    size = profiles.shape[1]
    harmonic = 5 if minor else 1  # of 5 mm; lines 5 mm apart that were rounded to pixels have poor higher harmonics
    f = harmonic / (5 * period)
    f = _refine_frequency(profiles, f)
    window = int(np.clip(round(12 / f), 48, max(48, size // 3)))
    hop = window // 2
    starts = np.arange(0, max(1, size - window + 1), hop)
    taper = np.hanning(window + 2)[1:-1]
    n = np.arange(size)
    demodulated = profiles * np.exp(-2j * np.pi * f * n)
    z = np.stack([(demodulated[:, s : s + window] * taper).sum(axis=1) for s in starts], axis=1)  # (bands, windows)
    x = starts + (window - 1) / 2
    # Slope across the bands: the phase step from band to band, averaged as a complex number.
    step = np.angle(np.sum(z[1:] * np.conj(z[:-1])))
    across = np.angle(np.sum(z[:, 1:] * np.conj(z[:, :-1]))) if z.shape[1] > 1 else 0.0
    dy, dx = y[1] - y[0], (x[1] - x[0]) if len(x) > 1 else 1.0
    plane = np.array([across / dx, step / dy, 0.0])
    xs, ys = np.meshgrid(x, y)
    flat = z / (np.abs(z) + 1e-9)
    weight = np.minimum(np.abs(z), np.percentile(np.abs(z), 80))
    xs_, ys_ = xs - xs.mean(), ys - ys.mean()
    for spread in (1.5, 1.0, 0.6, 0.4, 0.4, 0.4):
        model = plane[0] * xs_ + plane[1] * ys_
        if spread == 1.5:
            plane[2] = np.angle(np.sum(weight * flat * np.exp(-1j * model)))
        rest = np.angle(flat * np.exp(-1j * (model + plane[2])))
        w = weight * np.exp(-0.5 * (rest / spread) ** 2)
        a = np.stack([xs_, ys_, np.ones_like(xs_)], axis=-1)
        normal = np.einsum("ijk,ijl,ij->kl", a, a, w) + np.diag([1e-9, 1e-9, 1e-12])
        plane += np.linalg.solve(normal, np.einsum("ijk,ij,ij->k", a, rest, w))
    # phase(x, y) = 2 pi (f x) + plane; lines (dark) lie where it is 0. In mm, one cycle is 5 / harmonic mm.
    mm = 5 / harmonic
    vector = np.array([f + plane[0] / (2 * np.pi), plane[1] / (2 * np.pi)]) * mm
    offset = (plane[2] - plane[0] * xs.mean() - plane[1] * ys.mean()) / (2 * np.pi) * mm
    residual = float(np.sqrt(np.sum(w * rest**2) / np.sum(w)) / (2 * np.pi) * mm)
    if minor:
        offset += _major_phase(dark, vector, offset)
    else:
        vector, offset = _line_fit(profiles, y, vector, offset)
    return vector, float(offset), residual


def _line_fit(profiles: D, y: D, vector: D, offset: float) -> tuple[D, float]:
    """Vector and offset from the lines' own positions: the centroid of every 5 mm line in every band, fitted by a plane.

    Done for grids without 1 mm lines, whose few lines a local phase sees badly among text and separators.
    """
    reach = 0.45 / vector[0]  # px
    size = profiles.shape[1]
    lines = np.arange(np.ceil(offset / 5 + 1e-6), (vector[0] * size + offset) / 5) * 5.0
    span = np.arange(-int(np.ceil(reach)), int(np.ceil(reach)) + 1)
    found = []
    for row, profile in zip(y, profiles, strict=True):
        at = (lines - offset - vector[1] * row) / vector[0]
        at = at[(at > span[-1] + 1) & (at < size - span[-1] - 2)]
        index = np.round(at).astype(int)[:, None] + span
        window = profile[index]
        window = np.clip(window - np.minimum(window[:, :1], window[:, -1:]), 0, None) * (
            np.abs(index - at[:, None]) <= reach
        )
        mass = window.sum(axis=1)
        ok = mass > 0.3 * max(float(np.median(mass)), 1e-6)
        centre = (window * index).sum(axis=1)[ok] / mass[ok]
        mm = vector[0] * centre + vector[1] * row + offset
        found.append(np.stack([centre, np.full(centre.size, row), mm - 5 * np.round(mm / 5)], axis=1))
    x, rows, error = np.concatenate(found).T
    if x.size < 12:
        return vector, offset
    a = np.stack([x - x.mean(), rows - rows.mean(), np.ones_like(x)], axis=1)
    plane = np.zeros(3)
    for spread in (0.3, 0.15, 0.1, 0.1):
        rest = error - a @ plane
        w = np.exp(-0.5 * (rest / spread) ** 2)
        plane += np.linalg.solve((a * w[:, None]).T @ a + np.diag([1e-9, 1e-9, 1e-12]), (a * w[:, None]).T @ rest)
    return vector - plane[:2], float(offset - (plane[2] - plane[0] * x.mean() - plane[1] * rows.mean()))


def _refine_frequency(profiles: D, f: float) -> float:
    """The frequency of the spectrum's peak within 1 % of f, by a parabola over a finely sampled DFT."""
    size = profiles.shape[1]
    taper = np.hanning(size)
    trial = f * (1 + np.linspace(-0.01, 0.01, 81))
    basis = np.exp(-2j * np.pi * np.outer(np.arange(size), trial)) * taper[:, None]
    power = (np.abs(profiles @ basis) ** 2).sum(axis=0)
    k = int(np.clip(np.argmax(power), 1, 79))
    a, b, c = power[k - 1 : k + 2]
    shift = 0.5 * (a - c) / (a - 2 * b + c) if a - 2 * b + c else 0.0
    return float(trial[k] + np.clip(shift, -1, 1) * (trial[1] - trial[0]))


def _major_phase(dark: F, vector: D, offset: float) -> float:
    """Which of the five 1 mm lines is the 5 mm line: mm (0 to 4) to add so that major lines fall on multiples of 5."""
    height, width = dark.shape
    rows = np.arange(0, height, max(1, height // 200))
    x = np.arange(width)
    mm = vector[0] * x[None] + vector[1] * rows[:, None] + offset
    nearest = np.round(mm)
    on = np.abs(mm - nearest) < 0.3
    which = (nearest.astype(int) % 5)[on]
    level = np.bincount(which, dark[rows][on], minlength=5) / np.maximum(np.bincount(which, minlength=5), 1)
    return float(-int(np.argmax(level)))
