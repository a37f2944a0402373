"""Smooth invertible maps of the plane. Points are (N, 2) float64, x right, y down; pixel centres lie at integers."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import PageError

Points = NDArray[np.float64]


class Warp(Protocol):
    """A map of the plane that knows its inverse: ``w.inverse(w(p)) == p``."""

    def __call__(self, xy: ArrayLike) -> Points: ...

    @property
    def inverse(self) -> Warp: ...

    def to_json(self) -> dict[str, Any]: ...


@dataclass(frozen=True, eq=False)
class Homography:
    """Projective map: (x, y, 1) times a 3 x 3 matrix. Affine maps and perspective are of this kind."""

    matrix: NDArray[np.float64]

    def __post_init__(self) -> None:
        m = np.array(self.matrix, dtype=np.float64)
        if m.shape != (3, 3) or not np.isfinite(m).all() or abs(np.linalg.det(m)) < 1e-15:
            raise PageError(f"homography {m.tolist()}; expected an invertible 3 x 3 matrix.")
        m.setflags(write=False)
        object.__setattr__(self, "matrix", m)

    @classmethod
    def affine(cls, a: float, b: float, tx: float, c: float, d: float, ty: float) -> Homography:
        """(x, y) -> (a x + b y + tx, c x + d y + ty)."""
        return cls(np.array([[a, b, tx], [c, d, ty], [0, 0, 1]]))

    @classmethod
    def dpi(cls, dpi: float) -> Homography:
        """mm on a sheet -> px of its image: the sheet's corner is the outer corner of pixel (0, 0), at (-0.5, -0.5)."""
        k = dpi / 25.4
        return cls.affine(k, 0, -0.5, 0, k, -0.5)

    @classmethod
    def rotation(cls, degrees: float, centre: tuple[float, float] = (0.0, 0.0)) -> Homography:
        """Turn clockwise as seen on screen (y down) about ``centre``."""
        c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        x, y = centre
        return cls.affine(c, -s, x - c * x + s * y, s, c, y - s * x - c * y)

    def __call__(self, xy: ArrayLike) -> Points:
        p = np.asarray(xy, dtype=np.float64)
        m = self.matrix
        x, y = p[..., 0], p[..., 1]  # not as a product of matrices: see ``splined``
        q: Points = np.stack([m[k, 0] * x + m[k, 1] * y + m[k, 2] for k in (0, 1)], axis=-1)
        if m[2, 0] or m[2, 1] or m[2, 2] != 1:
            q = q / (m[2, 0] * x + m[2, 1] * y + m[2, 2])[..., None]
        return q

    @cached_property
    def inverse(self) -> Homography:
        return Homography(np.linalg.inv(self.matrix).astype(np.float64))

    def to_json(self) -> dict[str, Any]:
        return {"homography": self.matrix.tolist()}


@dataclass(frozen=True)
class Chain:
    """Warps applied from first to last."""

    warps: tuple[Warp, ...] = ()

    def __call__(self, xy: ArrayLike) -> Points:
        p: Points = np.asarray(xy, dtype=np.float64)
        for warp in self.warps:
            p = warp(p)
        return p

    def then(self, warp: Warp) -> Chain:
        """This chain followed by ``warp``; neighbouring homographies are multiplied into one."""
        last = self.warps[-1] if self.warps else None
        if isinstance(last, Homography) and isinstance(warp, Homography):
            return Chain((*self.warps[:-1], Homography(warp.matrix @ last.matrix)))
        return Chain((*self.warps, warp))

    @cached_property
    def inverse(self) -> Chain:
        return Chain(tuple(warp.inverse for warp in reversed(self.warps)))

    def to_json(self) -> dict[str, Any]:
        return {"chain": [warp.to_json() for warp in self.warps]}


@dataclass(frozen=True, eq=False)
class Mesh:
    """A smooth map given on a lattice: node (j, i) at ``origin + step * (i, j)`` has the control point ``nodes[j, i]``.

    A uniform cubic B-spline (de Boor, A Practical Guide to Splines, 1978): twice differentiable, and cheap at every
    pixel. Control points are not interpolated but smoothed; straight maps come out exactly. Outside the lattice it
    goes on in straight lines.

    Attributes:
        nodes: (rows, columns, 2), at least 4 x 4, kept as float32 so that a saved map is the same map.
        origin, step: whole numbers (px) if the map is to be had for every pixel by ``dense``.
    """

    nodes: NDArray[np.floating[Any]]
    origin: tuple[float, float]
    step: float

    def __post_init__(self) -> None:
        nodes = np.array(self.nodes, dtype=np.float32)
        if nodes.ndim != 3 or nodes.shape[2] != 2 or min(nodes.shape[:2]) < 4 or not np.isfinite(nodes).all():
            raise PageError(f"mesh of shape {nodes.shape}; expected finite (rows, columns, 2), at least 4 x 4.")
        nodes.setflags(write=False)
        object.__setattr__(self, "nodes", nodes)

    def __call__(self, xy: ArrayLike) -> Points:
        return self.linearised(xy)[0]

    def linearised(self, xy: ArrayLike) -> tuple[Points, Points]:
        """(N, 2) images of the points and (N, 2, 2) derivatives there: [n, a, b] of image coordinate a along b."""
        t = (np.asarray(xy, dtype=np.float64).reshape(-1, 2) - self.origin) / self.step
        known = np.asarray(np.isfinite(t).all(axis=1), np.bool_)
        t = np.where(known[:, None], t, 1.0)
        size = np.array(self.nodes.shape[1::-1])
        inside = np.clip(t, 1.0, size - 2.0)
        cell = np.minimum(inside.astype(np.intp), size - 3)
        weights, slopes = _spline(inside - cell)
        flat, columns = self._flat, size[0]
        first = (cell[:, 1] - 1) * columns + cell[:, 0] - 1
        value, along = np.zeros((len(t), 2)), np.zeros((len(t), 2, 2))
        for j in range(4):
            row, row_slope = np.zeros_like(value), np.zeros_like(value)
            for i in range(4):
                node = flat[first + (j * columns + i)]
                row += node * weights[i, :, :1]
                row_slope += node * slopes[i, :, :1]
            value += row * weights[j, :, 1:]
            along[:, :, 0] += row_slope * weights[j, :, 1:]
            along[:, :, 1] += row * slopes[j, :, 1:]
        beyond = t - inside
        value += along[:, :, 0] * beyond[:, :1] + along[:, :, 1] * beyond[:, 1:]
        value[~known] = np.nan
        return value, along / self.step

    def dense(self, width: int, rows: range) -> NDArray[np.float32]:
        """(len(rows), width, 2) float32: where the pixels of some rows of an image go; all must lie on the lattice."""
        down = splined(self.nodes, np.arange(rows.start, rows.stop), self.origin[1], self.step)
        both = splined(down.transpose(1, 0, 2), np.arange(width), self.origin[0], self.step)
        return np.ascontiguousarray(both.transpose(1, 0, 2))

    def foldless(self) -> bool:
        """Whether the map is one to one on its lattice: the control net has no turned-over cell."""
        across, down = np.diff(self._net, axis=1)[:-1], np.diff(self._net, axis=0)[:, :-1]
        return bool((across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0] > 0).all())

    @cached_property
    def _net(self) -> Points:
        return self.nodes.astype(np.float64)

    @cached_property
    def _flat(self) -> Points:
        return self._net.reshape(-1, 2)

    @cached_property
    def inverse(self) -> Inverted:
        return Inverted(self)

    def to_json(self) -> dict[str, Any]:
        data = base64.b64encode(zlib.compress(self.nodes.astype("<f4").tobytes(), 6)).decode()
        shape = list(self.nodes.shape)
        return {"mesh": {"origin": list(self.origin), "step": self.step, "shape": shape, "zlib_f4": data}}


@dataclass(frozen=True, eq=False)
class Inverted:
    """The inverse of a mesh, point by point with Newton's method, to 1e-6 px."""

    mesh: Mesh

    def __call__(self, xy: ArrayLike) -> Points:
        wanted = np.asarray(xy, dtype=np.float64)
        goal = wanted.reshape(-1, 2)
        at = self._rough(goal)
        at[~np.isfinite(goal).all(axis=1)] = np.nan
        reach = 16.0 * self.mesh.step  # of one Newton step: further out the map is not what it is here
        going = np.flatnonzero(np.isfinite(at).all(axis=1))
        for _ in range(60):
            value, along = self.mesh.linearised(at[going])
            gap = goal[going] - value
            far = ~(np.abs(gap).max(axis=1, initial=0.0) <= 1e-6)
            if not far.any():
                break
            going, gap, along = going[far], gap[far], along[far]
            det = along[:, 0, 0] * along[:, 1, 1] - along[:, 0, 1] * along[:, 1, 0]
            det = np.where(np.abs(det) < 1e-12, 1e-12, det)
            move = np.stack(
                [along[:, 1, 1] * gap[:, 0] - along[:, 0, 1] * gap[:, 1],
                 along[:, 0, 0] * gap[:, 1] - along[:, 1, 0] * gap[:, 0]], axis=-1) / det[:, None]  # fmt: skip
            length = np.linalg.norm(move, axis=1, keepdims=True)
            at[going] += move * np.minimum(1.0, reach / np.maximum(length, 1e-12))
        return at.reshape(wanted.shape)

    @cached_property
    def _rough(self) -> Homography:
        """The homography nearest to the inverse, by least squares over a few nodes."""
        rows, columns = self.mesh.nodes.shape[:2]
        j, i = np.meshgrid(np.linspace(1, rows - 2, 9).round(), np.linspace(1, columns - 2, 9).round(), indexing="ij")
        to = np.stack([i.ravel(), j.ravel()], axis=-1) * self.mesh.step + self.mesh.origin
        return fit_homography(self.mesh(to), to)

    @property
    def inverse(self) -> Mesh:
        return self.mesh

    def to_json(self) -> dict[str, Any]:
        return {"inverse": self.mesh.to_json()}


def fit_homography(source: ArrayLike, target: ArrayLike) -> Homography:
    """The homography that maps (N, 2) points to (N, 2) points, N at least 4, by linear least squares (exact for 4)."""
    a, b = np.asarray(source, dtype=np.float64), np.asarray(target, dtype=np.float64)
    shift = [Homography.affine(1 / s, 0, -m[0] / s, 0, 1 / s, -m[1] / s).matrix
             for m, s in ((p.mean(axis=0), p.std() + 1e-12) for p in (a, b))]  # fmt: skip
    (x, y), (u, v) = (Homography(m)(p).T for m, p in zip(shift, (a, b), strict=True))
    one, none = np.ones_like(x), np.zeros_like(x)
    rows = np.concatenate([
        np.stack([x, y, one, none, none, none, -u * x, -u * y], axis=1),
        np.stack([none, none, none, x, y, one, -v * x, -v * y], axis=1),
    ])  # fmt: skip
    solution = np.linalg.lstsq(rows, np.concatenate([u, v]), rcond=None)[0]
    matrix = np.linalg.inv(shift[1]) @ np.append(solution, 1.0).reshape(3, 3) @ shift[0]
    return Homography(matrix / matrix[2, 2])


def _spline(t: Points) -> tuple[Points, Points]:
    """(4, ...) weights of the four neighbours and their derivatives, for t (...) in [0, 1]."""
    r = 1.0 - t
    weights = np.stack([r**3, 3 * t**3 - 6 * t**2 + 4, 3 * r**3 - 6 * r**2 + 4, t**3]) / 6.0
    slopes = np.stack([-(r**2), 3 * t**2 - 4 * t, -3 * r**2 + 4 * r, t**2]) / 2.0
    return weights, slopes


def splined(values: NDArray[np.floating[Any]], at: NDArray[np.intp], origin: float, step: float) -> NDArray[np.float32]:
    """(len(at), ...) float32: the cubic B-spline with control points ``values`` (n, ...), at whole coordinates.

    Not as a product of matrices, which would be faster: its last digits depend on how many cores there are.
    """
    t = (at - origin) / step
    cell = np.clip(np.floor(t), 1, len(values) - 3).astype(np.intp)
    weights, _ = _spline(t - cell)
    control = np.ascontiguousarray(values, np.float32)
    shape = (-1, *(1,) * (control.ndim - 1))
    out = np.zeros((at.size, *control.shape[1:]), np.float32)
    for k in range(4):
        part = control[cell - 1 + k]
        part *= weights[k].astype(np.float32).reshape(shape)
        out += part
    return out


def from_json(data: Mapping[str, Any]) -> Warp:
    """The warp that ``to_json`` described."""
    if "homography" in data:
        return Homography(np.array(data["homography"]))
    if "chain" in data:
        return Chain(tuple(from_json(part) for part in data["chain"]))
    if "mesh" in data:
        part = data["mesh"]
        nodes = np.frombuffer(zlib.decompress(base64.b64decode(part["zlib_f4"])), "<f4").reshape(part["shape"])
        return Mesh(nodes, (part["origin"][0], part["origin"][1]), part["step"])
    if "inverse" in data:
        return from_json(data["inverse"]).inverse
    raise PageError(
        f"unknown kind of warp {sorted(data)}; expected homography, mesh, inverse or chain. Was it written by a newer "
        "version?"
    )
