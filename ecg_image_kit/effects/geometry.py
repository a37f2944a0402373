"""Geometry: everything that moves points, composed into one map, through which the image is resampled once.

A sheet lies in the plane z = 0, x right and y down in mm, the camera above. Stretching moves points within the sheet;
curls, folds and crumples add to one height field z(x, y), which both displaces (paper bends, it does not stretch: where
it rises it covers less ground) and shades; a camera projects it, a lens distorts, and frames turn and cut the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import PageError
from ..page import Page
from ..warp import Homography, Mesh, Points, fit_homography, splined
from . import fields as fl
from .base import Effect, Grows, OneOf, Range, number, word

D = NDArray[np.float64]
F = NDArray[np.float32]

_FINE = 0.5  # mm between points of the height field
_NODE = 4  # of them between nodes of the sheet's mesh
_MARGIN = 0.2  # of the sheet's longer side that the height field goes on beyond its edges
_MESH_MM = 2.4  # between nodes of the picture's mesh
_STEEPEST = 0.8  # slope (rise over paper length) at which paper still lies one-to-one under the camera


@dataclass(frozen=True, eq=False)
class Scene:
    """What geometry effects act on: a sheet, how it lies, how it is seen.

    Attributes:
        width, height: of the sheet, mm. k: px per mm of its flat image.
        shift: (rows, columns, 2) mm that points move within the sheet, on the fine lattice; z: (rows, columns) mm.
        lamp: (azimuth, elevation) of the light, degrees; shading: how much of it is seen, 0 to 1.
        pose: (tilt, pan) of the sheet, degrees, and the camera's distance in sheet diagonals; None: seen from above.
        lens: radial distortion at the corners, share of the half diagonal.
        frame: px seen by the camera -> px of the image; size: (width, height) of the image.
    """

    width: float
    height: float
    k: float
    size: tuple[int, int]
    shift: D | None = None
    z: D | None = None
    lamp: tuple[float, float] = (225.0, 45.0)
    shading: float = 1.0
    pose: tuple[float, float, float] | None = None
    lens: float = 0.0
    frame: Homography = field(default_factory=lambda: Homography(np.eye(3)))
    fill: tuple[int, int, int] = (255, 255, 255)

    @cached_property
    def x(self) -> D:
        """(columns,) mm of the fine lattice."""
        return self._axis(self.width)

    @cached_property
    def y(self) -> D:
        """(rows,) mm of the fine lattice."""
        return self._axis(self.height)

    def _axis(self, length: float) -> D:
        beyond = np.ceil(_MARGIN * max(self.width, self.height) / _FINE) * _FINE
        n = max(4, int(np.ceil((length + 2 * beyond) / _FINE / _NODE))) * _NODE + 1
        return np.asarray(np.arange(n) * _FINE - beyond, np.float64)

    def raised(self, z: D) -> Scene:
        """With the heights (rows, columns) mm added."""
        return replace(self, z=z if self.z is None else self.z + z)

    def coarse(self, every: int) -> tuple[D, D]:
        """(1, n) x and (m, 1) y mm of each ``every``-th point of the lattice, for heights that are smooth enough."""
        return self.x[None, ::every], self.y[::every, None]

    def raised_coarsely(self, z: NDArray[np.floating[Any]], every: int) -> Scene:
        """``raised`` by heights on the ``coarse`` lattice, as a spline (resized, they would ripple in the light)."""
        down = splined(z, np.arange(self.y.size), 0.0, every)
        return self.raised(np.asarray(splined(down.T, np.arange(self.x.size), 0.0, every).T, np.float64))

    def shifted(self, shift: D) -> Scene:
        """With the displacement (rows, columns, 2) mm added."""
        return replace(self, shift=shift if self.shift is None else self.shift + shift)

    def framed(self, h: Homography, size: tuple[int, int]) -> Scene:
        """Seen through one more homography of the picture."""
        return replace(self, frame=Homography(h.matrix @ self.frame.matrix), size=size)

    @property
    def planar(self) -> bool:
        return self.shift is None and self.z is None and not self.lens

    @cached_property
    def slopes(self) -> tuple[D, D]:
        """dz/dx and dz/dy of the paper, on the fine lattice, no steeper than paper lies under a camera."""
        assert self.z is not None
        z = cv2.copyMakeBorder(self.z, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
        along, down = z[1:-1, 2:] - z[1:-1, :-2], z[2:, 1:-1] - z[:-2, 1:-1]
        square = (along**2 + down**2) / (2 * _FINE) ** 2
        steep = 2 * _FINE * np.sqrt(np.maximum(square / _STEEPEST**2, 1.0))
        return np.asarray(along / steep, np.float64), np.asarray(down / steep, np.float64)

    def light(self) -> F:
        """(rows, columns) float32 brightness (Lambert), about 1 where it is brightest, on the fine lattice."""
        along, down = self.slopes
        azimuth, elevation = np.deg2rad(self.lamp)
        lamp = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
        lit = (lamp[2] - along * lamp[0] - down * lamp[1]) / np.sqrt(1.0 + along**2 + down**2) / lamp[2]
        lit = 1.0 + self.shading * (lit - 1.0)
        # Cameras expose for the brightest parts: these stay as white as the paper is, the others are darker.
        bright = max(1.0, float(np.percentile(lit[::8, ::8], 96)))
        return np.asarray(np.clip(lit / bright, 0.35, 1.08), np.float32)

    def project(self, mm: Points, z: D | float = 0.0) -> Points:
        """(N, 2) px in the picture of points of the (stretched, bent) sheet at height ``z`` mm."""
        centre = np.array([self.width / 2, self.height / 2])
        p = mm - centre
        if self.pose is not None:
            p = self._seen(p, z)
        px = (p + centre) * self.k - 0.5
        if self.lens:
            middle = centre * self.k - 0.5
            q = (px - middle) / np.linalg.norm(centre * self.k)
            r = np.maximum(np.sqrt((q**2).sum(axis=1, keepdims=True)), 1e-9)
            # Beyond the sheet's corners it goes on in straight lines, or it would turn back there.
            bent = np.where(r < 1.0, r + self.lens * r**3, 1.0 + self.lens + (1.0 + 3.0 * self.lens) * (r - 1.0))
            px = middle + (px - middle) * bent / r
        out: Points = self.frame(px)
        return out

    def _seen(self, p: Points, z: D | float) -> Points:
        """Points about the sheet's centre, as a camera sees them: mm in its picture, as large as they were there."""
        assert self.pose is not None
        tilt, pan = np.deg2rad(self.pose[:2])
        far = self.pose[2] * np.hypot(self.width, self.height)
        x, y = p[:, 0] * np.cos(pan) + z * np.sin(pan), p[:, 1]
        up = z * np.cos(pan) - p[:, 0] * np.sin(pan)
        y, up = y * np.cos(tilt) + up * np.sin(tilt), up * np.cos(tilt) - y * np.sin(tilt)
        depth = np.maximum(far - up, 0.2 * far)
        seen: Points = np.stack([x, y], axis=-1) * (far / depth)[:, None]
        return seen

    def homography(self) -> Homography:
        """The map of a planar scene, sheet mm -> px of the picture."""
        corners = np.array([[0, 0], [self.width, 0], [self.width, self.height], [0, self.height]])
        return fit_homography(corners, self.project(corners))

    def mesh(self) -> Mesh:
        """The map, px of the picture -> sheet mm, as a mesh over the picture."""
        rows, columns = self.y[::_NODE], self.x[::_NODE]
        mm = np.stack(np.meshgrid(columns, rows), axis=-1)
        z = np.zeros(mm.shape[:2])
        if self.shift is not None:
            mm = mm + self.shift[::_NODE, ::_NODE]
        if self.z is not None:
            mm = mm + self._contraction()
            z = self.z[::_NODE, ::_NODE]
        seen = self.project(mm.reshape(-1, 2), z.ravel()).reshape(mm.shape)
        forward = Mesh(seen, (columns[0], rows[0]), _FINE * _NODE)
        step = max(4, round(_MESH_MM * self.k))
        x, y = (np.arange(-2, n // step + 4) * step for n in self.size)
        nodes = np.stack(np.meshgrid(x, y), axis=-1).astype(np.float64)
        return Mesh(forward.inverse(nodes), (float(x[0]), float(y[0])), float(step))

    def _contraction(self) -> D:
        """(rows, columns, 2) mm that bending moves the nodes: lengths along the paper stay, so the ground covered is
        the integral of sqrt(1 - slope^2), counted from the sheet's middle."""
        out = []
        for slope, axis in zip(self.slopes, (1, 0), strict=True):
            lost = (np.sqrt(1.0 - slope**2) - 1.0) * _FINE
            moved = np.cumsum(lost, axis=axis) - 0.5 * lost
            middle = np.take(moved, [moved.shape[axis] // 2], axis=axis)
            out.append((moved - middle)[::_NODE, ::_NODE])
        return np.stack(out, axis=-1)


class GeometryEffect(Effect):
    """Base of those effects that move points."""

    def bend(self, scene: Scene) -> Scene:
        """The scene with this effect in it."""
        raise NotImplementedError

    def paint(self, page: Page) -> Page:
        return bend(page, [self])


def bend(page: Page, effects: Sequence[GeometryEffect]) -> Page:
    """The page through all of these drawn effects in their order, resampled once.

    Where the camera would see parts of the sheet hidden behind others, the sheet is flattened until it sees all of it.

    Raises:
        PageError: effects other than heights fold the sheet over itself, so that there is no truth.
    """
    height, width = page.image.shape[:2]
    k = page.px_per_mm
    scene = Scene(width / k, height / k, k, (width, height))
    for effect in effects:
        scene = effect.bend(scene)
    # The scene's mm are the image's own; where the sheet lies in it is the page's business.
    to_px = Homography.dpi(25.4 * k)
    if scene.planar:
        warp: Any = Homography(scene.homography().matrix @ to_px.inverse.matrix)
        return page.warp(warp, scene.size, scene.fill, history=())
    for height_left in (1.0, 0.75, 0.55, 0.4, 0.25, 0.1):
        lying = scene if scene.z is None else replace(scene, z=height_left * scene.z)
        mesh = lying.mesh()
        inner = Mesh(to_px(mesh.nodes.astype(np.float64)), mesh.origin, mesh.step)
        if inner.foldless():
            scene = lying
            break
    else:
        raise PageError("these effects together fold the sheet over itself. Use lower severities.")
    if scene.z is not None:
        page = replace(page, image=fl.multiply(page.image, _over_sheet(scene, scene.light(), (height, width))))
    return page.warp(inner.inverse, scene.size, scene.fill, history=())


def _over_sheet(scene: Scene, field: F, shape: tuple[int, int]) -> F:
    """A field on the fine lattice, at every pixel of the flat image (H, W)."""
    grid = np.array([[1 / (_FINE * scene.k), 0, (0.5 / scene.k - scene.x[0]) / _FINE],
                     [0, 1 / (_FINE * scene.k), (0.5 / scene.k - scene.y[0]) / _FINE]])  # fmt: skip
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(field, grid, shape[::-1], flags=how, borderMode=cv2.BORDER_REPLICATE), np.float32)


# Within the sheet


@dataclass(frozen=True, kw_only=True)
class Transport(GeometryEffect):
    """Uneven paper transport: time runs a little faster here and slower there."""

    stage: ClassVar[str] = "stretch"
    drift: float = number(Grows(0.0, 0.6), 0, 5, "largest displacement along the time axis", "mm")
    period: float = number(Range(30, 150), 5, 1000, "typical length of a change", "mm")

    def bend(self, scene: Scene) -> Scene:
        shift = np.zeros((scene.y.size, scene.x.size, 2))
        shift[..., 0] = self.drift * _line(self.rng(), scene.x.size, self.period)[None, :]
        return scene.shifted(shift)


@dataclass(frozen=True, kw_only=True)
class ScannerSpeed(GeometryEffect):
    """Uneven scanner speed: rows of the scan are stretched and squeezed."""

    stage: ClassVar[str] = "stretch"
    drift: float = number(Grows(0.0, 0.5), 0, 5, "largest displacement", "mm")
    period: float = number(Range(20, 120), 5, 1000, "typical length of a change", "mm")
    along: str = word(OneOf(("x", "y")), ("x", "y"), "which way the carriage goes")

    def bend(self, scene: Scene) -> Scene:
        axis = 0 if self.along == "x" else 1
        n = (scene.x, scene.y)[axis].size
        line = self.drift * _line(self.rng(), n, self.period)
        shift = np.zeros((scene.y.size, scene.x.size, 2))
        shift[..., axis] = line[None, :] if axis == 0 else line[:, None]
        return scene.shifted(shift)


@dataclass(frozen=True, kw_only=True)
class Stretch(GeometryEffect):
    """Paper swollen by damp, or a copy's distortion: a smooth displacement in both directions."""

    stage: ClassVar[str] = "stretch"
    drift: float = number(Grows(0.0, 1.0), 0, 10, "typical displacement", "mm")
    period: float = number(Range(60, 200), 10, 1000, "typical length of a change", "mm")

    def bend(self, scene: Scene) -> Scene:
        rng = self.rng()
        shape = scene.y.size, scene.x.size
        cells = max(shape) * _FINE / self.period
        return scene.shifted(
            self.drift * 0.5 * np.stack([_gentle(rng, shape, cells) for _ in range(2)], axis=-1).astype(np.float64)
        )


def _gentle(rng: np.random.Generator, shape: tuple[int, int], cells: float) -> F:
    """Smooth noise without the overshoot that cubic interpolation has where it begins and ends."""
    small = fl.smooth(rng, (max(4, shape[0] // 8), max(4, shape[1] // 8)), cells)
    return fl.resize(cv2.GaussianBlur(small, (0, 0), max(small.shape) / cells / 4), shape, cv2.INTER_CUBIC)


def _line(rng: np.random.Generator, n: int, period: float) -> D:
    """(n,) smooth noise along the fine lattice, at most about 1."""
    t = np.arange(n) * _FINE
    out = np.zeros(n)
    for part in (1.0, 1.7, 2.9):
        out += np.sin(2 * np.pi * (t * part / period + rng.random())) / part
    return np.asarray(out / 1.7, np.float64)


# How the sheet lies


@dataclass(frozen=True, kw_only=True)
class Curl(GeometryEffect):
    """A sheet that does not lie flat: bent like a roll, or in an S, along any direction."""

    stage: ClassVar[str] = "surface"
    rise: float = number(Grows(0.5, 22.0), 0, 80, "height of the highest part", "mm")
    direction: float = number(Range(-25, 25), -180, 180, "of the bend, from the time axis", "degrees")
    shape: str = word(OneOf(("arch", "dip", "edge", "s", "wave")), ("arch", "dip", "edge", "s", "wave"), "how it bends")

    def bend(self, scene: Scene) -> Scene:
        angle = np.deg2rad(self.direction)
        x, y = scene.coarse(8)
        along = np.cos(angle) * (x - scene.width / 2) + np.sin(angle) * (y - scene.height / 2)
        half = 0.5 * (abs(np.cos(angle)) * scene.width + abs(np.sin(angle)) * scene.height)
        t = np.clip(along / half, -1.6, 1.6)
        offset = self.rng().uniform(-0.4, 0.4)
        profile: dict[str, Callable[[], D]] = {
            "arch": lambda: 1.0 - 0.9 * (t - offset * 0.5) ** 2,
            "dip": lambda: 0.9 * (t - offset * 0.5) ** 2,
            "edge": lambda: np.logaddexp(0.0, 7.0 * (t - 0.5 + 0.3 * offset)) / 3.5,
            "s": lambda: 0.5 * np.sin(1.9 * (t + offset)),
            "wave": lambda: 0.25 * np.sin(5.0 * (t + offset)) + 0.15 * np.sin(9.0 * t + 1.0),
        }
        return scene.raised_coarsely(self.rise * profile[self.shape](), 8)


@dataclass(frozen=True, kw_only=True)
class Folds(GeometryEffect):
    """Folded and opened again, in half, in quarters, as a letter or anywhere: creases kink."""

    stage: ClassVar[str] = "surface"
    pattern: str = word(
        OneOf(("half", "quarters", "letter", "free")), ("half", "quarters", "letter", "free"), "where the creases are"
    )
    count: int = number(Range(1, 4), 1, 8, "creases of the free pattern", whole=True)
    angle: float = number(Grows(1.0, 13.0), 0, 45, "by which the parts beside a crease stand up", "degrees")
    sharpness: float = number(Range(0.8, 2.5), 0.3, 20, "width over which the paper bends", "mm")

    def bend(self, scene: Scene) -> Scene:
        rng = self.rng()
        w, h = scene.width, scene.height
        lines: list[tuple[float, float, float]] = []  # a point on the crease, and its direction
        tilt = rng.normal(0, 0.6, 8)
        if self.pattern in ("half", "quarters"):
            lines.append((w / 2 + rng.normal(0, 2), h / 2, 90 + tilt[0]))
        if self.pattern == "quarters":
            lines.append((w / 2, h / 2 + rng.normal(0, 2), tilt[1]))
        if self.pattern == "letter":
            lines += [(w * (k + 1) / 3 + rng.normal(0, 3), h / 2, 90 + tilt[k]) for k in range(2)]
        if self.pattern == "free":
            lines += [(rng.uniform(0.15, 0.85) * w, rng.uniform(0.15, 0.85) * h, rng.uniform(0, 180))
                      for _ in range(self.count)]  # fmt: skip
        u, v = scene.coarse(2)
        z = np.zeros((v.size, u.size))
        for k, (x, y, degrees) in enumerate(lines):
            a = np.deg2rad(degrees)
            across = -np.sin(a) * (u - x) + np.cos(a) * (v - y)
            sign = -1.0 if k % 2 or rng.random() < 0.5 else 1.0
            slope = np.tan(np.deg2rad(self.angle)) * rng.uniform(0.6, 1.0)
            # Near the crease a soft corner; further away the paper's own weight bends it back to the table.
            reach = rng.uniform(8, 32)
            corner = np.sqrt(across**2 + self.sharpness**2)
            z += sign * slope * reach * (1.0 - np.exp(-corner / reach))
            # The fibres broken by the fold stand up as a thin ridge, which is what is seen of it from afar.
            z += 1.2 * slope * self.sharpness * np.exp(-((across / (0.6 * self.sharpness)) ** 2))
        return scene.raised_coarsely(z, 2)


@dataclass(frozen=True, kw_only=True)
class Crumple(GeometryEffect):
    """Crumpled into a ball and smoothed out: a net of creases with facets between them."""

    stage: ClassVar[str] = "surface"
    angle: float = number(Grows(1.0, 17.0), 0, 40, "of the sharpest creases", "degrees")
    size: float = number(Range(20, 45), 5, 300, "of the larger facets", "mm")

    def bend(self, scene: Scene) -> Scene:
        rng = self.rng()
        x, y = (axis.ravel() for axis in scene.coarse(2))
        z = np.zeros((y.size, x.size), np.float32)
        # Paper takes a ball's shape by straight creases, ever shorter and closer, flat between (Witten, Rev. Mod. Phys.
        # 79, 2007).
        for octave, gain in enumerate((1.0, 0.8, 0.55)):
            facet = self.size / 1.8**octave
            count = round(1.1 * np.ptp(x) * np.ptp(y) / facet**2 / (1 + octave))
            for _ in range(min(count, 400)):
                centre = rng.uniform(x[0], x[-1]), rng.uniform(y[0], y[-1])
                slope = np.tan(np.deg2rad(self.angle)) * gain * rng.uniform(0.15, 1.0) * rng.choice([-1.0, 1.0])
                length, reach = facet * rng.uniform(0.6, 2.2), facet * rng.uniform(0.25, 0.7)
                _crease(z, x, y, centre, rng.uniform(0, np.pi), slope, length, reach)
        rise = 0.05 * self.angle * fl.fractal(rng, z.shape, np.ptp(x) / self.size / 2, 2)
        return scene.raised_coarsely(z + rise, 2)


def _crease(
    z: F, x: D, y: D, centre: tuple[float, float], angle: float, slope: float, length: float, reach: float
) -> None:
    """Add to ``z`` a straight crease that stands up by ``slope`` on both sides and is gone after ``reach`` mm."""
    far = 1.6 * length + 0.5 * reach
    columns = slice(*np.searchsorted(x, (centre[0] - far, centre[0] + far)))
    rows = slice(*np.searchsorted(y, (centre[1] - far, centre[1] + far)))
    u = (x[columns] - centre[0]).astype(np.float32)[None, :]
    v = (y[rows] - centre[1]).astype(np.float32)[:, None]
    if not u.size or not v.size:
        return
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    along, across = c * u + s * v, c * v - s * u
    corner = np.sqrt(across**2 + 0.5)
    fade = np.maximum(1.0 - (along / np.float32(1.5 * length)) ** 2, 0) ** 2
    z[rows, columns] += np.float32(-slope * reach) * np.exp(-corner / np.float32(reach)) * fade


@dataclass(frozen=True, kw_only=True)
class Wrinkles(GeometryEffect):
    """Small ridges from handling: a few creased streaks and ripples over an otherwise flat sheet."""

    stage: ClassVar[str] = "surface"
    depth: float = number(Grows(0.05, 0.9), 0, 5, "height of the ridges", "mm")
    count: int = number(Range(4, 16), 1, 60, "ridges", whole=True)

    def bend(self, scene: Scene) -> Scene:
        rng = self.rng()
        x, y = scene.coarse(2)
        shape = y.size, x.size
        z = np.zeros(shape, np.float32)
        ripple = fl.smooth(rng, shape, 14) * 3.0
        for _ in range(self.count):
            a, length, width = rng.uniform(0, np.pi), rng.uniform(15, 70), rng.uniform(1.5, 4.0)
            u, v = x - rng.uniform(0, scene.width), y - rng.uniform(0, scene.height)
            near = np.ix_(np.abs(v[:, 0]) < 2.5 * length, np.abs(u[0]) < 2.5 * length)
            p, q = (w.astype(np.float32) for w in (u[:, near[1][0]], v[near[0][:, 0]]))
            along, across = np.cos(a) * p + np.sin(a) * q, np.cos(a) * q - np.sin(a) * p + ripple[near]
            height = self.depth * rng.uniform(0.3, 1.0) * rng.choice([-1, 1])
            z[near] += np.float32(height) * np.exp(-((along / length) ** 2) - np.abs(across) / np.float32(width))
        z = np.asarray(cv2.GaussianBlur(z, (0, 0), 0.6), np.float32)
        return scene.raised_coarsely(z + 0.25 * self.depth * fl.fractal(rng, shape, 9, 3), 2)


@dataclass(frozen=True, kw_only=True)
class Lamp(GeometryEffect):
    """Where the light comes from that curls, folds and crumples are shaded by."""

    stage: ClassVar[str] = "surface"
    azimuth: float = number(Range(0, 360), 0, 360, "direction it comes from; 0 is right, 90 below", "degrees")
    elevation: float = number(Range(30, 70), 10, 90, "above the table", "degrees")
    strength: float = number(Range(0.5, 1.0), 0, 1.5, "of the shading; 0 is light from all sides")

    def bend(self, scene: Scene) -> Scene:
        return replace(scene, lamp=(self.azimuth, self.elevation), shading=self.strength)


# How it is seen


@dataclass(frozen=True, kw_only=True)
class Perspective(GeometryEffect):
    """Seen by a camera that is not straight above: converging lines, near parts larger."""

    stage: ClassVar[str] = "camera"
    tilt: float = number(Grows(0.0, 32.0, signed=True), -60, 60, "top (positive) or bottom further away", "degrees")
    pan: float = number(Grows(0.0, 22.0, signed=True), -60, 60, "right (positive) or left further away", "degrees")
    distance: float = number(Range(1.2, 2.5), 0.8, 20, "of the camera, in diagonals of the sheet")
    margin: float = number(
        Range(-0.12, 0.12), -0.4, 1, "around the sheet; below 0 the picture cuts its edges", "of its size"
    )
    zoom: float = number(Range(0.85, 1.0), 0.1, 4, "px in the picture for each px of the print")

    def bend(self, scene: Scene) -> Scene:
        # In the camera's frame the sheet turns the other way round.
        scene = replace(scene, pose=(-self.tilt, self.pan, self.distance))
        edge = np.linspace(0, 1, 9)
        outline = np.concatenate([np.stack([edge, 0 * edge], 1), np.stack([edge, 0 * edge + 1], 1),
                                  np.stack([0 * edge, edge], 1), np.stack([0 * edge + 1, edge], 1)])  # fmt: skip
        seen = scene.project(outline * [scene.width, scene.height])
        low, high = seen.min(axis=0), seen.max(axis=0)
        size = high - low
        # The margin is shared out unevenly between opposite sides, as a hand does.
        share = self.rng().uniform(0.3, 0.7, 2)
        low, size = low - size * self.margin * share, size * (1.0 + self.margin)
        wide, tall = (max(16, round(float(s) * self.zoom)) for s in size)
        return scene.framed(_zoom(self.zoom, low + 0.5), (wide, tall))


def _zoom(factor: float, corner: D | tuple[float, float]) -> Homography:
    """px -> px of a picture enlarged by ``factor`` whose outer corner is the point ``corner`` + (-0.5, -0.5)."""
    x, y = (float(c) for c in corner)
    return Homography.affine(factor, 0, factor * (0.5 - x) - 0.5, 0, factor, factor * (0.5 - y) - 0.5)


@dataclass(frozen=True, kw_only=True)
class Lens(GeometryEffect):
    """Distortion of a simple lens: straight lines bow outwards (barrel) or inwards (pincushion)."""

    stage: ClassVar[str] = "lens"
    strength: float = number(
        Grows(0.0, 0.06, signed=True), -0.2, 0.2, "at the corners; above 0 pincushion", "of the half diagonal"
    )

    def bend(self, scene: Scene) -> Scene:
        return replace(scene, lens=self.strength)


@dataclass(frozen=True, kw_only=True)
class Rotation(GeometryEffect):
    """Turned by an angle; the picture grows so that nothing is cut off."""

    stage: ClassVar[str] = "frame"
    degrees: float = number(Grows(0.0, 6.0, signed=True), -180, 180, "clockwise", "degrees")
    grow: int = number(1, 0, 1, "1: the picture grows with it; 0: corners are cut off", whole=True)

    def bend(self, scene: Scene) -> Scene:
        width, height = scene.size
        turn = Homography.rotation(self.degrees, ((width - 1) / 2, (height - 1) / 2))
        if not self.grow:
            return scene.framed(turn, scene.size)
        corners = np.array([[-0.5, -0.5], [width - 0.5, -0.5], [width - 0.5, height - 0.5], [-0.5, height - 0.5]])
        low, high = turn(corners).min(axis=0), turn(corners).max(axis=0)
        wide, tall = (int(np.ceil(s - 1e-6)) for s in high - low)
        move = Homography.affine(1, 0, -0.5 - low[0] + (wide - (high - low)[0]) / 2,
                                 0, 1, -0.5 - low[1] + (tall - (high - low)[1]) / 2)  # fmt: skip
        return scene.framed(Homography(move.matrix @ turn.matrix), (wide, tall))


@dataclass(frozen=True, kw_only=True)
class QuarterTurns(GeometryEffect):
    """Turned by 90, 180 or 270 degrees, as scanned the wrong way round."""

    stage: ClassVar[str] = "frame"
    turns: int = number(Range(1, 3), 0, 3, "quarter turns, clockwise", whole=True)

    def bend(self, scene: Scene) -> Scene:
        width, height = scene.size
        for _ in range(self.turns):
            scene = scene.framed(Homography.affine(0, -1, height - 1, 1, 0, 0), (height, width))
            width, height = height, width
        return scene


@dataclass(frozen=True, kw_only=True)
class Shift(GeometryEffect):
    """Moved within the picture; what leaves it is cut off."""

    stage: ClassVar[str] = "frame"
    x: float = number(Grows(0.0, 0.05, signed=True), -1, 1, "to the right", "of the width")
    y: float = number(Grows(0.0, 0.05, signed=True), -1, 1, "down", "of the height")

    def bend(self, scene: Scene) -> Scene:
        width, height = scene.size
        return scene.framed(Homography.affine(1, 0, self.x * width, 0, 1, self.y * height), scene.size)


@dataclass(frozen=True, kw_only=True)
class Scale(GeometryEffect):
    """Enlarged or reduced, also a little more one way than the other."""

    stage: ClassVar[str] = "frame"
    factor: float = number(Range(0.7, 1.1), 0.05, 8, "px for each px there were")
    aspect: float = number(Grows(0.0, 0.02, signed=True), -0.5, 0.5, "more across than down", "of the factor")

    def bend(self, scene: Scene) -> Scene:
        fx, fy = self.factor * (1 + self.aspect / 2), self.factor * (1 - self.aspect / 2)
        wide, tall = (max(8, round(n * f)) for n, f in zip(scene.size, (fx, fy), strict=True))
        return scene.framed(Homography.affine(fx, 0, 0.5 * fx - 0.5, 0, fy, 0.5 * fy - 0.5), (wide, tall))


@dataclass(frozen=True, kw_only=True)
class Crop(GeometryEffect):
    """Cut off at the sides: leads may lose their ends, and headers go."""

    stage: ClassVar[str] = "frame"
    left: float = number(Grows(0.0, 0.08), 0, 0.45, "cut off", "of the width")
    right: float = number(Grows(0.0, 0.08), 0, 0.45, "cut off", "of the width")
    top: float = number(Grows(0.0, 0.14), 0, 0.45, "cut off", "of the height")
    bottom: float = number(Grows(0.0, 0.08), 0, 0.45, "cut off", "of the height")

    def bend(self, scene: Scene) -> Scene:
        width, height = scene.size
        x, y = round(width * self.left), round(height * self.top)
        size = (max(8, round(width * (1 - self.right)) - x), max(8, round(height * (1 - self.bottom)) - y))
        return scene.framed(Homography.affine(1, 0, -x, 0, 1, -y), size)


@dataclass(frozen=True, kw_only=True)
class Pad(GeometryEffect):
    """A border around the page, as of a scanner's glass larger than the sheet."""

    stage: ClassVar[str] = "frame"
    left: float = number(Grows(0.0, 0.1), 0, 2, "added", "of the width")
    right: float = number(Grows(0.0, 0.1), 0, 2, "added", "of the width")
    top: float = number(Grows(0.0, 0.1), 0, 2, "added", "of the height")
    bottom: float = number(Grows(0.0, 0.1), 0, 2, "added", "of the height")
    grey: int = number(Range(225, 255), 0, 255, "of the border, if no background is drawn", whole=True)

    def bend(self, scene: Scene) -> Scene:
        width, height = scene.size
        x, y = round(width * self.left), round(height * self.top)
        size = (x + width + round(width * self.right), y + height + round(height * self.bottom))
        return replace(scene.framed(Homography.affine(1, 0, x, 0, 1, y), size), fill=(self.grey,) * 3)
