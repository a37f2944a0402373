"""How far beside its fit a trace runs, as a network sees it: where that looks, what it moves, how it is trained."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import digitizer
from digitizer.borders import UNSEEN, Shift
from digitizer.calibrate import Calibration
from digitizer.found import Found
from digitizer.network import PX_PER_MM, WEIGHTS, Small, small
from digitizer.nudges import BINS, CHANNELS, HIGH, Drawing, _beside, looked, nudged, places_of
from digitizer.patches import Mixture, laid_flat
from digitizer.pipeline import _nudged
from digitizer.plain import timed_as
from digitizer.rectify import Upright, at_pitch, offset, turned
from digitizer.refine import Fit
from digitizer.tracks import FS
from ecg_image_kit import Homography, Layout, Record, Strip, Style, UsageError, open_source, render
from ecg_image_kit.effects import apply
from ecg_image_kit.raster import draw_graph
from ecg_image_kit.recipes import recipe_of

D = NDArray[np.float64]
F32 = NDArray[np.float32]
STEP = 25 * PX_PER_MM / FS  # px from sample to sample


@pytest.fixture(scope="module")
def record() -> Record:
    return open_source("samples").load("00001")


def beats(n: int = 1000) -> tuple[D, D]:
    """A trace with sharp waves up and down, px."""
    t = np.arange(n) / FS % 0.6
    y = 100 - 70 * np.exp(-0.5 * ((t - 0.2) / 0.04) ** 2) + 30 * np.exp(-0.5 * ((t - 0.4) / 0.05) ** 2)
    return 20.0 + STEP * np.arange(n), y


def on_paper(x: D, y: D, pen: float = 2.5) -> NDArray[np.uint8]:
    ink = np.zeros((200, 460), np.uint8)
    draw_graph(ink, x, y, pen, "round")
    return np.repeat(255 - ink[..., None], 3, axis=2)


def rms(a: D) -> float:
    return float(np.sqrt(np.mean(a**2)))


class Darkest(Small):
    """A network that takes the middle of the ink across a trace, near its own place, for where it runs."""

    def __init__(self) -> None:
        pass

    def odds(self, looks: F32) -> F32:
        across = (np.arange(HIGH) - (HIGH - 1) / 2) * 0.6
        ink = (1 - looks[0, :3].mean(axis=0)) * (np.abs(across) < 3.5)[:, None]
        at = (across @ ink) / np.maximum(ink.sum(axis=0), 1e-6)
        odds = np.exp(-0.5 * ((BINS[:, None] - at) / 0.2) ** 2)
        return np.asarray(odds / odds.sum(axis=0), np.float32)[None]


def test_places_lie_on_the_trace_at_its_samples_and_close_together() -> None:
    x, y = beats()
    at = places_of(x, y)
    np.testing.assert_allclose(at.x[at.samples], x)
    np.testing.assert_allclose(at.y[at.samples], y)
    assert np.hypot(np.diff(at.x), np.diff(at.y)).max() <= 0.8 + 1e-9
    np.testing.assert_allclose(at.y, np.interp(at.x, x, y))
    flat = places_of(np.arange(5.0), np.zeros(5))
    assert (flat.sine == 0).all() and (flat.cosine == 1).all() and flat.samples.tolist() == [0, 2, 4, 6, 8]
    up = places_of(np.array([0.0, 0.0, 1.0]), np.array([9.0, 0.0, 0.0]))
    assert up.sine[2] == pytest.approx(-1) and 0 < up.cosine[2] < 0.1


@pytest.mark.parametrize(("right", "down"), [(0.0, 1.0), (0.0, -1.5), (0.7, 0.0), (-0.5, 0.5)])
def test_a_trace_is_moved_to_where_it_is_seen_across_steep_strokes_too(right: float, down: float) -> None:
    x, y = beats()
    image = on_paper(x, y)
    taken = np.interp(x, x + right, y) + down
    (found,) = nudged(image, [x], [taken], Darkest())
    inner = slice(10, -10)
    assert rms((found - y)[inner]) < 0.4 * rms((taken - y)[inner])


def test_a_trace_that_is_right_is_hardly_moved() -> None:
    x, y = beats()
    (found,) = nudged(on_paper(x, y), [x], [y.copy()], Darkest())
    assert rms(found - y) < 0.05 * np.std(y)


def test_looks_are_level_with_the_trace_whatever_its_direction() -> None:
    x = np.linspace(20, 300, 701)
    for slope in (0.0, 0.5, -3.0):
        y = 100 + slope * (x - 160) * (np.abs(x - 160) < 25)
        at = places_of(x, y)
        look = looked(on_paper(x, y), Drawing((200, 460), [x], [y]), 0, at)
        assert look.shape == (CHANNELS, HIGH, at.x.size) and look.dtype == np.float32
        middle = np.flatnonzero(np.abs(at.x - 160) < 5)
        ink, drawn = 1 - look[0][:, middle].mean(axis=1), look[3][:, middle].mean(axis=1)
        np.testing.assert_allclose(ink, ink[::-1], atol=0.02)  # as much on either side
        assert ink[HIGH // 2] > 0.9 and ink[[0, -1]].max() < 0.01 and drawn[HIGH // 2] > 0.8
        assert look[5, 0, middle] == pytest.approx(slope / np.hypot(1, slope), abs=1e-6)
        assert not look[4].any()


def test_a_trace_is_told_from_the_others_where_they_cross() -> None:
    x = np.linspace(20, 300, 701)
    level, rising = np.full(701, 100.0), 100 + (x - 160) / 2
    beyond = np.full(701, -50.0)  # not on the page at all
    drawn = Drawing((200, 460), [x, x, beyond], [level, rising, beyond])
    look = looked(on_paper(x, level), drawn, 0, places_of(x, level))
    middle = slice(HIGH // 2 - 1, HIGH // 2 + 1)
    at = places_of(x, level).x
    assert look[3, middle][:, np.abs(at - 160) < 130].min() > 0.7
    assert look[4, middle][:, np.abs(at - 160) < 1].min() > 0.7
    assert not look[4, middle][:, np.abs(at - 160) > 8].any()
    above = int(HIGH / 2 - 0.5 - 6 / 0.6)  # 6 px higher, where the other one is 12 px further left
    assert look[4, above][np.abs(at - 148) < 0.5].min() > 0.7 and not look[3, above].any()


def test_the_network_that_comes_along_mends_what_is_taken_wrong(record: Record) -> None:
    """On a photograph of a page, laid flat by its truth."""
    network = small("nudges")
    assert network is not None
    rng = np.random.default_rng(3)
    page = render(record, Layout.for_record(record, "3x4"), Style(), 200)
    page = apply(page, recipe_of("photo").draw(rng, 0.3))
    image, to_px = laid_flat(page)
    x, true, taken = [], [], []
    for trace in page.traces:
        px, py = to_px(page.mm(trace)).T
        wave = np.sin(np.arange(px.size) / 6.0 + rng.uniform(0, 6))
        x.append(px)
        true.append(py)
        taken.append(np.interp(px + 0.3 * wave, px, py) + 0.3 * np.roll(wave, 9))
    found = nudged(image, x, taken, network)
    before, after = (rms(np.concatenate([a - b for a, b in zip(each, true, strict=True)])) for each in (taken, found))
    assert after < 0.6 * before


def test_peaks_that_were_cut_off_are_given_back(record: Record) -> None:
    """In black and white, by the network that comes along: tips run through other rows, and are lost there."""
    network = small("nudges")
    assert network is not None
    page = render(record, Layout.for_record(record, "3x4"), Style(), 200)
    page = apply(page, recipe_of("scan-bw").draw(np.random.default_rng(3), 0.3))
    image, to_px = laid_flat(page)
    x, true = zip(*(to_px(page.mm(trace)).T for trace in page.traces), strict=True)
    taken = [np.maximum(y, y.min() + 16) if np.median(y) - y.min() > 48 else y for y in true]  # 2 mm of over 6
    assert sum(a is not b for a, b in zip(true, taken, strict=True)) > 2
    found = nudged(image, x, taken, network)
    before, after = (rms(np.concatenate([a - b for a, b in zip(each, true, strict=True)])) for each in (taken, found))
    assert after < 0.5 * before


def test_a_trace_is_looked_at_again_while_it_is_moved_far() -> None:
    x, y = beats()
    far, near = Says(2.0), Says(0.5)
    for network in (far, near):
        nudged(on_paper(x, y), [x], [y], network)
    assert far.asked == 6 and near.asked == 2


def test_long_traces_are_looked_at_in_pieces_that_cannot_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    network = small("nudges")
    assert network is not None
    x, y = beats()
    image, taken = on_paper(x, y), y + 0.7
    whole = nudged(image, [x], [taken], network)[0]
    monkeypatch.setattr("digitizer.nudges._LONG", 100)
    np.testing.assert_allclose(nudged(image, [x], [taken], network)[0], whole, atol=1e-4)


def test_parts_that_are_near_each_other_are_looked_at_once_and_read_as_if_alone() -> None:
    x, y = beats()
    image, network = on_paper(x, y), small("nudges")
    assert network is not None
    drawn, at, spans = (
        Drawing(image.shape[:2], [x], [y + 0.7]),
        places_of(x, y + 0.7),
        (slice(100, 140), slice(180, 230)),
    )
    alone = []
    for span in spans:
        part = np.zeros(x.size, bool)
        part[span] = True
        alone.append(_beside(image, drawn, 0, at, part, network))

    class Counted(Small):
        def __init__(self) -> None:
            self.asked = 0

        def odds(self, looks: F32) -> F32:
            self.asked += 1
            return network.odds(looks)

    both, counted = np.zeros(x.size, bool), Counted()
    for span in spans:
        both[span] = True
    np.testing.assert_allclose(_beside(image, drawn, 0, at, both, counted), alone[0] + alone[1], atol=1e-4)
    assert counted.asked == 1 and np.abs(alone[0]).max() > 0.3


def test_the_weights_are_what_their_card_says() -> None:
    card, model = (WEIGHTS / f"nudges.{kind}" for kind in ("json", "onnx"))
    assert json.loads(card.read_text("utf-8"))["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()


class Says(Small):
    """A network that says all traces run ``by`` px lower across; it counts how often it was asked."""

    def __init__(self, by: float) -> None:
        self.by, self.asked = by, 0

    def odds(self, looks: F32) -> F32:
        self.asked += 1
        odds = (self.by == BINS).astype(np.float32)
        return np.broadcast_to(odds[None, :, None], (1, len(BINS), looks.shape[3]))


@pytest.mark.parametrize("turn", range(4))
def test_fits_at_another_pitch_are_moved_by_the_same_on_paper(turn: int) -> None:
    """Whatever the page's own pitch, which need not be the same along and down, and whichever way it lay."""
    image = np.full((1003, 1407, 3), 255, np.uint8)
    flat = Homography.affine(1 / 11.8, 0, 0, 0, 1 / 9.1, 0)
    own = Upright(image, 11.8, 9.1, Homography(np.eye(3)), flat)
    fitted, view = turned(own, turn), turned(at_pitch(image, own, PX_PER_MM), turn)
    paper = np.array([[30.0, 40.0], [90.0, 60.0]])  # the same places of the sheet are the same places of the photograph
    np.testing.assert_allclose(
        fitted.to_source(fitted.px_to_mm.inverse(paper)), view.to_source(view.px_to_mm.inverse(paper)), atol=1e-6
    )
    right, down = offset(view, fitted)
    mm = [each.px_to_mm.inverse(paper)[0] / (each.kx, each.ky) for each in (fitted, view)]
    assert (mm[0] - mm[1]).tolist() == pytest.approx([right, down], abs=1e-6)

    n = 1250
    strip = Strip("I", 0.0, 2.5, 20.0, 40.0, 10.0, 0)
    layout = Layout(120.0, 100.0, (strip, replace(strip, row=1, y=60.0)))
    fits = [Fit(np.full(n, 40.0 * fitted.ky), np.ones(n, bool), 0.1), Fit(np.full(n, np.nan), np.zeros(n, bool), 1.0)]
    found = Found(Calibration(layout, 0.0, True, 0.0, frozenset()), fits, 3.0)
    after = _nudged(found, fitted, view, Says(1.0)).fits
    np.testing.assert_allclose(after[0].y, (40.0 + 2 / PX_PER_MM) * fitted.ky, rtol=1e-9)  # twice a px of the view
    assert np.isnan(after[1].y).all()
    np.testing.assert_allclose(_nudged(found, fitted, view, Says(0.0)).fits[0].y, fits[0].y, rtol=1e-9)


def test_what_is_read_without_networks_takes_over_the_time_that_they_see() -> None:
    """The same line on paper, with other samples; but not of a page as it was drawn, which tells it better."""
    _, y = beats(1250)
    strip = Strip("I", 0.0, 2.5, 20.0, 40.0, 10.0, 0)
    layout = Layout(120.0, 100.0, (strip, replace(strip, row=1, y=60.0)))

    def reading(later: float, timed: Shift, residual: float = 0.1) -> Found:
        strips = tuple(replace(strip, x=strip.x + later) for strip in layout.strips)
        notes = {"time": f"{later:g} mm later", "gain": f"{timed.by:g}"}
        calibration = Calibration(replace(layout, strips=strips), 0.0, True, 0.0, frozenset(), notes)
        unread = Fit(np.full(1250, np.nan), np.zeros(1250, bool), residual)
        return Found(calibration, [Fit(y, np.ones(1250, bool), residual), unread], 3.0, timed)

    plain, seen = reading(0.0, UNSEEN), Shift(0.07, 0.02)
    plain.fits[0].seen[100:200] = False
    after = timed_as(reading(0.07, seen), plain)  # 1.4 samples
    assert [strip.x for strip in after.calibration.layout.strips] == pytest.approx([20.07, 20.07])
    mm = np.arange(1250) * 25 / FS
    fit = after.fits[0]
    np.testing.assert_allclose(fit.y[:-2], np.interp(mm + 0.07, mm, y)[:-2], atol=1e-9)
    assert np.flatnonzero(~fit.seen).tolist() == [*range(99, 199), 1249]  # nothing is made up beyond the end
    assert np.isnan(after.fits[1].y).all()
    assert after.calibration.notes == {"time": "0.07 mm later", "gain": "0"}
    assert timed_as(reading(0.07, UNSEEN), plain) is plain
    sharp = reading(0.0, UNSEEN, residual=0.04)
    assert timed_as(reading(0.07, seen), sharp) is sharp


@pytest.mark.parametrize(("recipe", "asked"), [("clean", False), ("photo", True)])
def test_only_pages_that_are_not_as_they_were_drawn_are_looked_at(
    record: Record, recipe: str, asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    says = Says(0.0)
    monkeypatch.setattr("digitizer.network._small", lambda name, *_: says if name == "nudges" else None)
    page = render(record, Layout.for_record(record, "3x4"), Style(), 200)
    digitizer.read(apply(page, recipe_of(recipe).draw(np.random.default_rng(3), 0.3)).image)
    assert (says.asked > 0) is asked


def test_weights_of_ones_own_are_taken_if_there_and_those_that_cannot_be_read_refused(tmp_path: Path) -> None:
    shipped = small("nudges", tmp_path)
    assert shipped is not None and shipped.odds(np.zeros((1, CHANNELS, HIGH, 20), np.float32)).shape == (
        1,
        len(BINS),
        20,
    )
    (tmp_path / "nudges.onnx").write_bytes((WEIGHTS / "borders.onnx").read_bytes())
    with pytest.raises(
        UsageError, match=r"looks at \[4, 48, 64\]; expected \(6, 32\): .*python -m digitizer.fit_nudges"
    ):
        small("nudges", tmp_path)
    (tmp_path / "nudges.onnx").write_text("no network")
    with pytest.raises(UsageError, match=r"nudges\.onnx cannot be loaded .*\. Expected what python -m digitizer"):
        small("nudges", tmp_path)


# Training.


def test_what_is_taken_wrong_is_said_by_how_much() -> None:
    fit_nudges = pytest.importorskip("digitizer.fit_nudges", exc_type=ImportError)
    x, y = beats(2000)
    for seed in range(10):
        taken = fit_nudges.wrong(x, y, np.random.default_rng(seed))
        np.testing.assert_array_equal(taken, fit_nudges.wrong(x, y, np.random.default_rng(seed)))
        at = places_of(x, taken)
        beside = (np.interp(at.x, x, y) - at.y) * at.cosine
        np.testing.assert_allclose(taken + (beside / at.cosine)[at.samples], y, atol=1e-9)
        assert 0.02 < np.median(np.abs(beside)) < 2.0


def test_examples_show_the_trace_where_they_say(record: Record) -> None:
    fit_nudges = pytest.importorskip("digitizer.fit_nudges", exc_type=ImportError)
    style = Style(grid="none", header="none", label="none")
    page = render(record, Layout.for_record(record, "6x2", pulse="none"), style, dpi=203.2)
    config = fit_nudges.Config(passes=1, pieces=20)
    told = list(fit_nudges.examples(page, record.mv.shape[1], config, np.random.default_rng(0)))
    assert len(told) == 20
    off = []
    for look, beside in told:
        assert look.shape == (CHANNELS, HIGH, config.length) and beside.shape == (config.length,)
        seen = BINS @ Darkest().odds(look[None].float().numpy())[0]
        near = np.abs(beside.numpy()) < 2
        off.append(np.median((seen - beside.numpy())[near]))
    assert np.median(np.abs(off)) < 0.25


def test_a_page_without_traces_that_are_long_enough_is_passed_over(record: Record) -> None:
    fit_nudges = pytest.importorskip("digitizer.fit_nudges", exc_type=ImportError)
    short = replace(record, mv=record.mv[:, :40])
    page = render(short, Layout.for_record(short, "3x4"), Style(), 100)
    assert not list(fit_nudges.examples(page, 40, fit_nudges.Config(), np.random.default_rng(0)))


def test_the_defaults_are_what_made_the_weights() -> None:
    fit_nudges = pytest.importorskip("digitizer.fit_nudges", exc_type=ImportError)
    told = json.loads((WEIGHTS / "nudges.json").read_text("utf-8"))["training"]
    config = asdict(fit_nudges.Config())
    assert told == json.loads(json.dumps({key: config[key] for key in told}))


def test_training_learns_and_writes_what_is_read_again(tmp_path: Path, record: Record) -> None:
    fit_nudges = pytest.importorskip("digitizer.fit_nudges", exc_type=ImportError)
    fitting = pytest.importorskip("digitizer.fitting", exc_type=ImportError)
    import torch

    pages = Mixture(recipes=(("clean", 1.0),), dpi=(150.0, 150.0))
    config = fit_nudges.Config(
        pages=pages, shuffle=100, batch=8, minutes=0.15, workers=0, widths=(8, 8, 8, 16, 24), warmup=5, ema=0.9,
        length=128,
    )  # fmt: skip
    page = pages.page(record, np.random.default_rng(5))
    told = list(fit_nudges.examples(page, record.mv.shape[1], config, np.random.default_rng(1)))[:16]
    looks, beside = (torch.stack(part) for part in zip(*told, strict=True))
    threads = torch.get_num_threads()
    try:
        net, steps = fitting.train(fit_nudges.Nudges(config.widths), config, fit_nudges.examples, fit_nudges.loss_of)
    finally:
        torch.set_num_threads(threads)
    untrained = fit_nudges.Nudges(config.widths).eval()
    with torch.no_grad():
        before, after = (float(fit_nudges.loss_of(each(looks.float()), beside, 0.3)) for each in (untrained, net))
    assert steps > 10 and after < before - 0.3
    card = fitting.write(net, fit_nudges.KIND, tmp_path, {"data": "made up"})
    told_by = json.loads(card.read_text("utf-8"))
    assert told_by["data"] == "made up"
    assert told_by["sha256"] == hashlib.sha256((tmp_path / "nudges.onnx").read_bytes()).hexdigest()
    network = small("nudges", tmp_path)
    assert network is not None
    odds = network.odds(looks[:2].float().numpy())
    assert odds.shape == (2, len(BINS), 128) and odds.sum(axis=1) == pytest.approx(1.0, abs=1e-4)


def test_loss_is_least_at_the_truth_or_at_the_end_of_what_is_within_reach() -> None:
    fit_nudges = pytest.importorskip("digitizer.fit_nudges", exc_type=ImportError)
    import torch

    places = torch.from_numpy(BINS.astype(np.float32))
    for truth, told in ((0.4, 0.4), (-5.3, -5.3), (40.0, 8.0)):
        beside = torch.tensor([[truth]])
        loss = [
            float(fit_nudges.loss_of(-0.5 * ((places[None, :, None] - told - by) / 0.3) ** 2, beside, 0.3))
            for by in (-1.0, 0.0, 1.0)
        ]
        assert loss[1] < min(loss[0], loss[2])


def test_peaks_are_cut_off_or_made_higher_than_they_are() -> None:
    fit_nudges = pytest.importorskip("digitizer.fit_nudges", exc_type=ImportError)
    _, y = beats(2000)
    lower = higher = 0
    for seed in range(60):
        taken = fit_nudges._peaks(y, np.random.default_rng(seed))
        changed = taken != y
        assert not changed[np.abs(y - np.median(y)) < 0.04 * np.ptp(y)].any()  # what is flat stays
        before, after = (np.abs(each[changed] - np.median(y)) for each in (y, taken))
        lower, higher = lower + int((after < before).any()), higher + int((after > before).any())
        assert (after < before).all() or (after > before).all()
    assert lower > 5 and higher > 3


def test_a_source_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit_nudges = pytest.importorskip("digitizer.fit_nudges", exc_type=ImportError)
    assert fit_nudges.main(["--src", f"ptbxl:{tmp_path}", "--out", str(tmp_path / "out")]) in (1, 2)
    said = capsys.readouterr().err
    assert "Traceback" not in said and said.count("\n") == 1


def test_records_that_show_nothing_are_said_to(tmp_path: Path) -> None:
    fit_nudges = pytest.importorskip("digitizer.fit_nudges", exc_type=ImportError)
    fitting = pytest.importorskip("digitizer.fitting", exc_type=ImportError)
    config = fit_nudges.Config(pages=Mixture(recipes=(("clean", 1.0),), dpi=(60.0, 60.0)), workers=0)
    net = fit_nudges.Nudges(config.widths)
    with pytest.raises(UsageError, match="nothing to learn from"):
        fitting.train(net, config, lambda *_: [], fit_nudges.loss_of)
