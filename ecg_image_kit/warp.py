"""Smooth invertible maps of the plane. Points are (N, 2) float64, x right, y down; pixel centres lie at integers."""

from __future__ import annotations

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
        q: Points = p @ m[:2, :2].T + m[:2, 2]
        if m[2, 0] or m[2, 1] or m[2, 2] != 1:
            q = q / (p @ m[2, :2] + m[2, 2])[..., None]
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

    @property
    def inverse(self) -> Chain:
        return Chain(tuple(warp.inverse for warp in reversed(self.warps)))

    def to_json(self) -> dict[str, Any]:
        return {"chain": [warp.to_json() for warp in self.warps]}


def from_json(data: Mapping[str, Any]) -> Warp:
    """The warp that ``to_json`` described."""
    if "homography" in data:
        return Homography(np.array(data["homography"]))
    if "chain" in data:
        return Chain(tuple(from_json(part) for part in data["chain"]))
    raise PageError(
        f"unknown kind of warp {sorted(data)}; expected homography or chain. Was it written by a newer version?"
    )
