"""Pages straight from a program: read from their own ink, and looked at by a network only where that leaves a doubt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import digitizer
from digitizer import network, pipeline, plain
from digitizer.locate import locate
from digitizer.metrics import score
from digitizer.rectify import Upright, at_pitch, rectify
from ecg_image_kit import Homography, Layout, Page, Style, open_source, render

Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def page() -> Page:
    record = open_source("samples").load("00005")
    return render(record, Layout.for_record(record, "3x4+1R"), dpi=150)


@pytest.fixture(scope="module")
def upright(page: Page) -> Upright:
    return rectify(page.image, locate(page.image))


@pytest.fixture(scope="module")
def found(page: Page, upright: Upright) -> plain.Plain:
    result = plain.plainly(page.image, upright, np.zeros(page.image.shape[:2], bool), None, None)
    assert result is not None
    return result


def judged(found: plain.Plain, page: Page, upright: Upright) -> bool:
    view = at_pitch(page.image, upright, network.PX_PER_MM)
    paper = np.ones(view.image.shape[:2], bool)
    return plain.is_all(found, upright, view, paper, ~paper, network.load(str(network.WEIGHTS), 1), None, None)


def test_a_network_looks_at_little_of_a_page_as_it_was_drawn(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[float] = []
    outputs = network.Network._outputs

    def spy(net: network.Network, image: Image, places: list[tuple[int, int, int, int]], around: int) -> Any:
        looked.append(sum((b - a) * (d - c) for a, b, c, d in places) / (image.shape[0] * image.shape[1]))
        return outputs(net, image, places, around)

    monkeypatch.setattr(network.Network, "_outputs", spy)
    reading = digitizer.read(page.image)
    assert len(looked) == 1 and 0 < looked[0] < 0.35
    assert reading.page.meta["reader"] == "analytic"
    assert score(page.record(), reading.record, ("plain",)).value("plain") > 33
    looked.clear()
    digitizer.read(page.image, reader="learned")
    assert looked == [1.0]


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_a_page_that_lies_on_its_side_or_head_is_not_taken_for_upright(page: Page, turn: int) -> None:
    reading = digitizer.read(np.ascontiguousarray(np.rot90(page.image, turn)))
    assert score(page.record(), reading.record, ("plain",)).value("plain") > 30


def test_nothing_is_missing(page: Page, upright: Upright, found: plain.Plain) -> None:
    assert judged(found, page, upright)


def test_a_peak_that_was_cut_off_is_missed(page: Page, upright: Upright, found: plain.Plain) -> None:
    """Of one beat of one lead alone: hardly a thousandth of the ink."""
    fits = list(found.found.fits)
    k = max(range(len(fits)), key=lambda k: float(np.ptp(fits[k].y)))
    y = fits[k].y.copy()
    middle = np.median(y)
    tip = int(np.argmax(np.abs(y - middle)))
    near = slice(max(0, tip - 30), tip + 30)
    y[near] = np.clip(y[near], middle - 0.3 * abs(y[tip] - middle), middle + 0.3 * abs(y[tip] - middle))
    assert np.abs(y - fits[k].y).max() > 3.5 * upright.ky
    fits[k] = replace(fits[k], y=y)
    assert not judged(found._replace(found=replace(found.found, fits=fits)), page, upright)


@pytest.mark.parametrize("ink", [(220, 40, 40), (190, 190, 190)])
def test_a_strip_in_the_grids_colour_or_much_paler_is_not_lost(page: Page, ink: tuple[int, int, int]) -> None:
    strip = page.layout.strips[-1]
    record = open_source("samples").load("00005")
    other = render(record, Layout.for_record(record, "3x4+1R"), Style(ink=ink), dpi=150).image
    ends = np.array([[0.0, strip.y - 14], [0.0, strip.y + 14]])
    top, bottom = page.mm_to_px(ends)[:, 1].astype(int).tolist()
    image = page.image.copy()
    image[top:bottom] = other[top:bottom]
    reading = digitizer.read(image)
    assert reading.page.layout.name == "3x4+1R"
    assert score(page.record(), reading.record, ("plain",)).value("plain") > 15


def test_a_lead_under_another_name_is_no_agreement(page: Page, upright: Upright, found: plain.Plain) -> None:
    calibration = found.found.calibration
    names = {"V1": "V2", "V2": "V1"}
    strips = tuple(replace(s, lead=names.get(s.lead, s.lead)) for s in calibration.layout.strips)
    other = replace(calibration, layout=replace(calibration.layout, strips=strips))
    assert not judged(found._replace(found=replace(found.found, calibration=other)), page, upright)


def test_fits_that_draw_the_ink_badly_are_not_relied_on(page: Page, upright: Upright, found: plain.Plain) -> None:
    fits = [replace(fit, residual=0.1) for fit in found.found.fits]
    assert not judged(found._replace(found=replace(found.found, fits=fits)), page, upright)


def test_ink_is_asked_again_where_the_network_has_missed_some_of_it(upright: Upright, found: plain.Plain) -> None:
    ink, whole = found
    own = replace(ink, coverage=ink.coverage * ~plain._bare(ink, whole, upright))  # the traces, without text
    assert plain.second_look(ink, whole, own, upright, None, None) is None
    low = [np.median(fit.y) - 2 * upright.ky for fit in whole.fits]
    cut = [replace(fit, y=np.maximum(fit.y, y)) for fit, y in zip(whole.fits, low, strict=True)]  # all R waves
    missed = replace(whole, fits=cut)
    again = plain.second_look(ink, missed, own, upright, None, None)
    assert again is not None and plain.is_better(again, missed, own, upright, drawn=False)
    assert not plain.is_better(found._replace(found=missed), whole, own, upright, drawn=True)


def test_what_is_no_longer_even_is_read_with_a_network(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "plainly", lambda *_: pytest.fail("read without a network"))
    rng = np.random.default_rng(0)
    noisy = np.clip(page.image + rng.normal(0, 3, page.image.shape), 0, 255).astype(np.uint8)
    coded = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    image = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    assert digitizer.read(image).page.meta["reader"] == "learned"


def test_blank_paper_is_no_page_as_it_was_drawn() -> None:
    blank = np.full((400, 600, 3), 255, np.uint8)
    same = Homography(np.eye(3))
    assert plain.plainly(blank, Upright(blank, 6.0, 6.0, same, same), blank[..., 0] == 0, None, None) is None
