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
from ecg_image_kit.warp import Mesh, Points, fit_homography, from_json

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


# Meshes


def bowed(step: float = 16.0, amplitude: float = 40.0) -> Mesh:
    """A projective map with waves, on a lattice over about 600 x 400 px."""
    j, i = np.mgrid[0:32, 0:44]
    at = np.stack([i, j], axis=-1) * step - 2 * step
    h = Homography(np.array([[1, 0.1, 3], [0.05, 1, 7], [1e-4, 5e-5, 1]]))
    nodes = h(at.reshape(-1, 2)).reshape(at.shape) + amplitude * np.sin(at[..., ::-1] / 150)
    return Mesh(nodes, (-2 * step, -2 * step), step)


@given(st.floats(-400, 1000), st.floats(-400, 800))
def test_a_mesh_and_its_inverse_cancel_out(x: float, y: float) -> None:
    mesh = bowed()
    p = np.array([[x, y]])
    assert np.abs(mesh.inverse(mesh(p)) - p).max() < 1e-4
    assert np.abs(mesh(mesh.inverse(p)) - p).max() < 1e-5
    assert mesh.inverse.inverse is mesh


def test_unknown_points_stay_unknown_and_do_not_disturb_the_others() -> None:
    mesh = bowed()
    p = np.random.default_rng(0).uniform(0, 500, (50, 2))
    gaps = p.copy()
    gaps[::7, 0] = gaps[3, 1] = np.nan
    for w in (mesh, mesh.inverse):
        found = w(gaps)
        known = np.isfinite(gaps).all(axis=1)
        assert np.array_equal(np.isfinite(found).all(axis=1), known)
        assert np.abs(found[known] - w(p)[known]).max() < 1e-6


def test_a_mesh_keeps_straight_maps_exactly() -> None:
    affine = Homography.affine(1.2, 0.3, 5, -0.2, 0.9, 7)
    j, i = np.mgrid[0:8, 0:9]
    at = np.stack([i, j], axis=-1) * 8.0
    mesh = Mesh(affine(at.reshape(-1, 2)).reshape(at.shape), (0, 0), 8)
    p = np.random.default_rng(0).uniform(-50, 120, (200, 2))  # also outside the lattice
    assert np.abs(mesh(p) - affine(p)).max() < 1e-4


def test_a_mesh_says_the_same_of_a_point_a_pixel_and_a_slope() -> None:
    mesh = bowed()
    dense = mesh.dense(600, range(100, 140))
    x, y = np.meshgrid(np.arange(600), np.arange(100, 140))
    points = np.stack([x, y], axis=-1).reshape(-1, 2)
    value, along = mesh.linearised(points)
    assert dense.dtype == np.float32 and np.abs(dense.reshape(-1, 2) - value).max() < 2e-3
    for axis, step in enumerate(([1e-3, 0.0], [0.0, 1e-3])):
        difference = (mesh(points + step) - mesh(points - step)) / 2e-3
        assert np.abs(along[:, :, axis] - difference).max() < 1e-6


def test_a_saved_mesh_is_the_same_map() -> None:
    mesh = bowed()
    p = np.random.default_rng(0).uniform(0, 500, (100, 2))
    again = from_json(json.loads(json.dumps(mesh.to_json())))
    assert np.array_equal(again(p), mesh(p))
    back = from_json(json.loads(json.dumps(Chain((mesh.inverse,)).to_json())))
    assert np.array_equal(back(p), mesh.inverse(p))


def test_a_mesh_that_turns_over_is_found_out() -> None:
    assert bowed().foldless()
    nodes = bowed().nodes.copy()
    nodes[10:20, 10:20] = nodes[10:20, 10:20][:, ::-1]
    assert not Mesh(nodes, (0, 0), 16).foldless()
    with pytest.raises(PageError, match="at least 4 x 4"):
        Mesh(np.zeros((3, 9, 2), np.float32), (0, 0), 16)


def test_the_fitted_homography_is_exact_for_four_points_and_close_for_noisy_ones() -> None:
    h = Homography(np.array([[1.1, 0.2, 30], [-0.1, 0.9, 7], [2e-4, -1e-4, 1]]))
    square = np.array([[0, 0], [800, 0], [800, 600], [0, 600]], dtype=np.float64)
    assert np.abs(fit_homography(square, h(square))(square) - h(square)).max() < 1e-9
    rng = np.random.default_rng(0)
    many = rng.uniform(0, 800, (400, 2))
    fit = fit_homography(many, h(many) + rng.normal(0, 0.3, (400, 2)))
    assert np.abs(fit(square) - h(square)).max() < 0.3
