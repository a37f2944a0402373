"""Warps: inverses, composition, the pixel convention, JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from ecg_image_kit import Chain, Homography, PageError, Warp
from ecg_image_kit.warp import Points, from_json

small = st.floats(-0.4, 0.4)
number = st.floats(-500, 500)


@st.composite
def homographies(draw: st.DrawFn) -> Homography:
    """Invertible maps of mild perspective, as photographs are."""
    a, b, c, d = (draw(small) for _ in range(4))
    p, q = draw(st.floats(-2e-4, 2e-4)), draw(st.floats(-2e-4, 2e-4))
    turn = np.array([[1 + a, b, 0], [c, 1 + d, 0], [0, 0, 1]])
    place = np.array([[1, 0, draw(number)], [0, 1, draw(number)], [0, 0, 1]])
    scale = np.diag([k := draw(st.floats(0.2, 20)), k, 1])
    return Homography(place @ scale @ turn @ np.array([[1, 0, 0], [0, 1, 0], [p, q, 1]]))


points = st.lists(st.tuples(number, number), min_size=1, max_size=8).map(np.array)


@dataclass(frozen=True)
class Wave:
    """A warp that is no homography: x moves with y."""

    height: float

    def __call__(self, xy: ArrayLike) -> Points:
        p = np.array(xy, dtype=np.float64)
        p[..., 0] += self.height * np.sin(p[..., 1] / 40)
        return p

    @property
    def inverse(self) -> Wave:
        return Wave(-self.height)

    def to_json(self) -> dict[str, Any]:
        return {"wave": self.height}


@given(homographies(), points)
def test_the_inverse_undoes(w: Homography, p: np.ndarray) -> None:
    np.testing.assert_allclose(w.inverse(w(p)), p, atol=1e-5)
    np.testing.assert_allclose(w(w.inverse(w(p))), w(p), atol=1e-5)


@given(homographies(), points)
def test_a_homography_is_the_textbook_one(w: Homography, p: np.ndarray) -> None:
    (a, b, c), (d, e, f), (g, h, i) = w.matrix
    for (x, y), got in zip(p, w(p), strict=True):
        k = g * x + h * y + i
        np.testing.assert_allclose(got, [(a * x + b * y + c) / k, (d * x + e * y + f) / k], rtol=1e-9, atol=1e-9)


@given(homographies(), homographies(), st.floats(-9, 9), points)
def test_chains_apply_from_first_to_last(one: Homography, two: Homography, height: float, p: np.ndarray) -> None:
    wave = Wave(height)
    warps: list[Warp] = [one, two, wave, one]
    chain, expected = Chain(), p
    for w in warps:
        chain, expected = chain.then(w), w(expected)
    np.testing.assert_allclose(chain(p), expected, rtol=1e-7, atol=1e-5)
    np.testing.assert_allclose(Chain(tuple(warps))(p), expected)
    assert len(chain.warps) == 3  # the neighbouring homographies became one
    np.testing.assert_allclose(chain.inverse(chain(p)), p, atol=1e-2)
    np.testing.assert_array_equal(Chain()(p), p)


@given(st.floats(-360, 360), st.tuples(number, number), points)
def test_rotation_turns_clockwise_about_its_centre(angle: float, centre: tuple[float, float], p: np.ndarray) -> None:
    w = Homography.rotation(angle, centre)
    np.testing.assert_allclose(w([centre])[0], centre, atol=1e-9)
    # Complex numbers as an independent reference: y points down, so clockwise is a positive angle.
    z = (p - centre) @ [1, 1j] * np.exp(1j * np.deg2rad(angle))
    np.testing.assert_allclose(w(p) - centre, np.stack([z.real, z.imag], 1), atol=1e-8)
    np.testing.assert_allclose(Homography.rotation(90)([[1.0, 0.0]]), [[0, 1]], atol=1e-12)


@pytest.mark.parametrize("dpi", [72, 100, 200, 254, 300, 600])
def test_the_sheet_begins_at_the_corner_of_the_first_pixel(dpi: float) -> None:
    w = Homography.dpi(dpi)
    np.testing.assert_allclose(w([[0, 0], [25.4, 50.8]]), [[-0.5, -0.5], [dpi - 0.5, 2 * dpi - 0.5]])
    # The centre of the first pixel is half a pixel inside.
    np.testing.assert_allclose(w.inverse([[0, 0]]), [[12.7 / dpi, 12.7 / dpi]])


@given(homographies(), homographies(), points)
def test_json(one: Homography, two: Homography, p: np.ndarray) -> None:
    for w in (one, Chain((one, two)), Chain((Chain((one,)), two)), Chain()):
        np.testing.assert_array_equal(from_json(json.loads(json.dumps(w.to_json())))(p), w(p))
    with pytest.raises(PageError, match=r"unknown kind of warp \['spline'\]"):
        from_json({"spline": []})


@pytest.mark.parametrize("matrix", [np.zeros((3, 3)), np.ones((3, 3)), np.eye(2), np.full((3, 3), np.nan)])
def test_what_has_no_inverse_is_refused(matrix: np.ndarray) -> None:
    with pytest.raises(PageError, match="expected an invertible 3 x 3 matrix"):
        Homography(matrix)


def test_a_homography_owns_its_matrix() -> None:
    mine = np.eye(3)
    w = Homography(mine)
    mine[0, 2] = 5
    np.testing.assert_array_equal(w([[1.0, 2.0]]), [[1, 2]])
