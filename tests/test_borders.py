"""Where time begins, as a network sees it: many places together, whatever a pen or a separator makes of some."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import digitizer
from digitizer import borders, network
from digitizer.borders import BINS, HIGH, INNER, WIDE, borders_of, later, patch, within
from digitizer.locate import Grid
from digitizer.metrics import score
from digitizer.network import PX_PER_MM, WEIGHTS, Small, small
from digitizer.patches import MARGIN, Mixture, laid_flat
from digitizer.pipeline import Look, interpret
from digitizer.rectify import Upright, stretched
from digitizer.tracks import FS
from ecg_image_kit import STANDARD_LEADS, Layout, Page, Record, Style, UsageError, open_source, render
from ecg_image_kit.warp import Chain, Homography

F32 = NDArray[np.float32]
Ways = list[Callable[[NDArray[np.float64]], NDArray[np.float64]]]
PAPER = np.full((200, 400, 3), 255, np.uint8)


@pytest.fixture(scope="module")
def record() -> Record:
    return open_source("samples").load("00001")


class Says(Small):
    """A network that says what it was told: for one place after the other, the px of each peak of its odds."""

    def __init__(self, *peaks: list[float], wide: float = 0.2) -> None:
        self.peaks, self.wide = peaks, wide

    def odds(self, patches: F32) -> F32:
        assert patches.shape == (len(self.peaks), 4, HIGH, WIDE)
        bells = [sum(np.exp(-0.5 * ((BINS - at) / self.wide) ** 2) for at in peaks) for peaks in self.peaks]
        return np.array([bell / np.sum(bell) for bell in bells], np.float32)


def two_rows() -> tuple[Layout, Ways]:
    """Two strips that begin and end between px."""
    layout = Layout.for_record(Record(("I", "II"), np.zeros((2, 1000), np.float32), FS), "2x1")
    flat: Ways = [lambda x: np.full(x.shape, 100.0)] * 2
    return layout, flat


def shift_of(image: NDArray[np.uint8], layout: Layout, ways: Ways, network: Small) -> borders.Shift:
    return later(image, [border for border, _ in borders_of(layout, ways, PX_PER_MM)], network)


def seen_at(layout: Layout, by: float, longer: float = 0.0) -> list[list[float]]:
    """Where borders are seen if all lies ``by`` px further right, and rows are ``longer`` px longer on both sides."""
    every = [border for border, _ in borders_of(layout, two_rows()[1], PX_PER_MM)]
    return [[within(b.x + by - b.inwards * longer, b.x, b.inwards)] for b in every]


class Knows(Small):
    """A network that sees every border ``at`` its px, on an image whose colours number its columns."""

    def __init__(self, at: list[float], inwards: list[int]) -> None:
        self.at, self.inwards = at, inwards
        self.image = np.zeros((200, 2400, 3), np.uint8)
        self.image[..., 0], self.image[..., 1] = np.divmod(np.arange(2400), 256)

    def odds(self, patches: F32) -> F32:
        middle = np.round(patches[:, :2, 0, WIDE // 2] * 255).astype(int) @ np.array([256, 1])
        peaks = WIDE // 2 + np.array(self.inwards) * (np.array(self.at) - middle)
        bells = np.exp(-0.5 * ((BINS - peaks[:, None]) / 0.3) ** 2) + 1e-3
        return np.asarray(bells / bells.sum(axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize("share", [-0.02, 0.012, 0.0, 0.001, 0.05])
def test_a_scale_that_is_off_is_seen_by_borders_that_lie_further_and_further_away(share: float) -> None:
    layout = Layout.for_record(Record(STANDARD_LEADS, np.zeros((12, 5000), np.float32), FS), "3x4")
    flat: Ways = [lambda x: np.full(x.shape, 100.0)] * 12
    every = [border for border, _ in borders_of(layout, flat, PX_PER_MM)]
    first = min(b.x for b in every)
    network = Knows([b.x + 3.0 + (b.x - first) * share for b in every], [b.inwards for b in every])
    found = borders.further_apart(network.image, every, network)
    assert found == pytest.approx(share if 0.003 < abs(share) < 0.025 else 0.0, abs=0.0005)


def test_a_scale_is_left_alone_if_few_borders_speak_for_another() -> None:
    layout = Layout.for_record(Record(("I", "II", "III"), np.zeros((3, 5000), np.float32), FS), "3x1")
    flat: Ways = [lambda x: np.full(x.shape, 100.0)] * 3
    every = [border for border, _ in borders_of(layout, flat, PX_PER_MM)]
    at = [b.x for b in every]
    at[1] += 24.0  # one row is worn
    network = Knows(at, [b.inwards for b in every])
    assert borders.further_apart(network.image, every, network) == 0.0


@pytest.mark.parametrize("by", [-2.0, -0.4, 0.0, 2.25])
def test_all_are_moved_by_what_they_agree_on(by: float) -> None:
    layout, ways = two_rows()
    shift = shift_of(PAPER, layout, ways, Says(*seen_at(layout, by)))
    assert shift.by == pytest.approx(by, abs=0.12) and shift.error < 1.0


def test_a_pen_that_lengthens_rows_cancels() -> None:
    layout, ways = two_rows()
    told = Says(*seen_at(layout, 1.5, longer=0.8))
    assert shift_of(PAPER, layout, ways, told).by == pytest.approx(1.5, abs=0.2)


def test_one_that_errs_is_outvoted_and_one_in_doubt_is_led_by_the_others() -> None:
    layout, ways = two_rows()
    places = seen_at(layout, 0.7)
    places[0] = [places[0][0] + 8.0]  # a separator taken for the beginning
    places[3] = [places[3][0], places[3][0] - 5.0]
    assert shift_of(PAPER, layout, ways, Says(*places)).by == pytest.approx(0.7, abs=0.1)


class Blind(Small):
    """A network for which all places are alike."""

    def __init__(self) -> None:
        pass

    def odds(self, patches: F32) -> F32:
        return np.full((len(patches), len(BINS)), 1 / len(BINS), np.float32)


def test_nothing_seen_moves_nothing(record: Record) -> None:
    layout, ways = two_rows()
    shift = shift_of(PAPER, layout, ways, Blind())
    assert shift.error == np.inf
    page = render(record, Layout.for_record(record, "3x4"), Style(), dpi=150)
    image, to_px = laid_flat(page)
    said = replace(page.layout, strips=tuple(replace(s, x=s.x + MARGIN) for s in page.layout.strips))
    assert shift_of(image, said, ways_of(page, page.layout, to_px), Blind()).error == np.inf


def test_a_patch_of_an_end_is_that_of_a_beginning_mirrored() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (90, 300, 3), dtype=np.uint8)

    def way(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return 45 + 10 * np.sin(x / 9)

    width = image.shape[1]
    seen, line = patch(image, 120.2, 1, way)
    mirrored = patch(image[:, ::-1], width - 1 - 120.2, -1, lambda x: way(width - 1 - x))
    assert (mirrored[0] == seen).all() and mirrored[1] == pytest.approx(line, abs=1e-6)
    assert (seen[:, WIDE // 2] == image[:, 120][round(way(np.array([130.0]))[0]) - HIGH // 2 :][:HIGH]).all()
    assert not line[:, : WIDE // 2 + INNER].any() and (line[:, WIDE // 2 + INNER :].sum(axis=0) > 1.9).all()
    assert within(121.2, 120.2, 1) == pytest.approx(WIDE // 2 + 1.2)
    assert within(119.2, 120.2, -1) == pytest.approx(WIDE // 2 + 0.8)


def test_a_patch_beyond_the_image_repeats_its_edge() -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    image[:, 0] = 200
    seen, _ = patch(image, 3.0, 1, lambda x: np.full(x.shape, 5.0))
    assert seen.shape == (HIGH, WIDE, 3)
    assert (seen[:, : WIDE // 2 - 2] == 200).all() and not seen[:, WIDE // 2 - 2 :].any()


def ways_of(page: Page, layout: Layout, to_px: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Ways:
    """The true way of every strip, px."""
    paths = [to_px(page.mm(trace)) for trace in page.traces]
    assert [trace.strip.lead for trace in page.traces] == [strip.lead for strip in layout.strips]
    return [lambda x, path=path: np.interp(x, path[:, 0], path[:, 1]) for path in paths]  # type: ignore[misc]


@pytest.mark.parametrize("name", ["3x4+1R", "6x2", "12x1"])
@pytest.mark.parametrize("wrong", [-0.8, 0.0, 0.8])
@pytest.mark.parametrize("separator", ["none", "tick"])
def test_the_network_that_comes_along_finds_where_time_begins(
    record: Record, name: str, separator: str, wrong: float
) -> None:
    whole = Layout.for_record(record, name)
    layout = replace(whole, strips=tuple(replace(s, x=s.x + 0.37) for s in whole.strips))  # off the grid's lines
    page = render(record, layout, Style(separator=separator), dpi=200)
    image, to_px = laid_flat(page)
    said = replace(layout, strips=tuple(replace(s, x=s.x + MARGIN - wrong) for s in layout.strips))
    shift = shift_of(image, said, ways_of(page, layout, to_px), small("borders"))
    assert shift.by / PX_PER_MM == pytest.approx(wrong, abs=0.05)  # mm; 2 ms
    assert shift.error / PX_PER_MM < 0.1


def test_a_reading_says_so(record: Record) -> None:
    page = render(record, Layout.for_record(record, "3x4"), Style(), dpi=150)
    reading = digitizer.read(page.image, reader="learned")
    assert "leads are seen to begin" in reading.notes["time"]


def test_the_weights_are_what_their_card_says() -> None:
    card, model = (WEIGHTS / f"borders.{kind}" for kind in ("json", "onnx"))
    told = json.loads(card.read_text("utf-8"))
    assert hashlib.sha256(model.read_bytes()).hexdigest() == told["sha256"]
    assert model.stat().st_size < 1_000_000


def test_weights_of_ones_own_are_taken_if_there_and_those_that_cannot_be_read_refused(tmp_path: Path) -> None:
    assert small("borders", tmp_path).odds(np.zeros((1, 4, HIGH, WIDE), np.float32)).shape == (1, len(BINS))
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "borders.onnx").write_text("no network")
    with pytest.raises(UsageError, match=r"borders\.onnx cannot be loaded .*\. Expected what python -m digitizer"):
        small("borders", tmp_path / "own")


# Training.


def test_examples_have_the_lead_begin_where_they_say(record: Record) -> None:
    fb = pytest.importorskip("digitizer.fit_borders", exc_type=ImportError)
    style = Style(grid="none", header="none", cap="butt", label="none")
    page = render(record, Layout.for_record(record, "12x1", pulse="none"), style, dpi=203.2)
    config = fb.Config(looks=2, level=0.0)
    told = list(fb.examples(page, record.mv.shape[1], config, np.random.default_rng(0)))
    assert len(told) == 12 * 2 * 2
    off = []
    for given, at in told:
        ink = (1 - given[:3].mean(0).numpy())[:, : WIDE // 2 + INNER].max(axis=0)
        begins = int(np.argmax(ink > 0.3))
        if begins:
            off.append(begins - float(at))
    assert len(off) > 20 and abs(np.median(off)) < 0.7


def test_pages_to_learn_from_tell_nothing_by_where_else_things_stand(record: Record) -> None:
    """Not by the grid's lines, nor by pulses and names."""
    fb = pytest.importorskip("digitizer.fit_borders", exc_type=ImportError)

    def places(mixture: Mixture) -> NDArray[np.float64]:
        rng, out = np.random.default_rng(0), []
        while len(out) < 6:
            page = mixture.page(record, rng)
            left = min(page.layout.strips, key=lambda s: s.x)
            name = next((b for b in page.boxes if b.kind == "label" and b.text == left.lead), None)
            if page.layout.pulses and page.layout.pulses[0].x < left.x and name is not None:
                x = float(np.min(np.asarray(name.outline)[:, 0]))
                out.append([left.x % 1.0, (left.x - page.layout.pulses[0].x) % 1.0, x - left.x])
        return np.ptp(out, axis=0)

    assert (places(replace(fb.Config().pages, recipes=(("clean", 1.0),))) > [0.2, 0.2, 1.0]).all()
    assert (places(Mixture(recipes=(("clean", 1.0),)))[:2] < 1e-6).all()


def test_training_learns_and_writes_what_is_read_again(tmp_path: Path, record: Record) -> None:
    fb = pytest.importorskip("digitizer.fit_borders", exc_type=ImportError)
    fitting = pytest.importorskip("digitizer.fitting", exc_type=ImportError)
    import torch

    pages = Mixture(recipes=(("clean", 1.0),), dpi=(150.0, 150.0), loose=0.5)
    config = fb.Config(
        pages=pages, shuffle=200, batch=32, minutes=0.15, workers=0, widths=(8, 8, 8, 16, 24), warmup=5, ema=0.9
    )
    page = pages.page(record, np.random.default_rng(5))
    looks = fb.examples(page, record.mv.shape[1], config, np.random.default_rng(1))
    patches, at = (torch.stack(part) for part in zip(*looks, strict=True))
    threads = torch.get_num_threads()
    try:
        net, steps = fitting.train(fb.Borders(config.widths), config, fb.examples, fb.loss_of)
    finally:
        torch.set_num_threads(threads)
    untrained = fb.Borders(config.widths).eval()
    with torch.no_grad():
        before, after = (float(fb.loss_of(each(patches), at, 0.35)) for each in (untrained, net))
    assert steps > 10 and after < before - 0.3
    told = json.loads(fitting.write(net, fb.KIND, tmp_path, {"data": "made up"}).read_text("utf-8"))
    assert (
        told["data"] == "made up"
        and told["sha256"] == hashlib.sha256((tmp_path / "borders.onnx").read_bytes()).hexdigest()
    )
    odds = small("borders", tmp_path).odds(patches[:3].numpy())
    assert odds.shape == (3, len(BINS)) and odds.sum(axis=1) == pytest.approx(1.0, abs=1e-4)


def test_a_source_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fb = pytest.importorskip("digitizer.fit_borders", exc_type=ImportError)
    assert fb.main(["--src", f"ptbxl:{tmp_path}", "--out", str(tmp_path / "out")]) in (1, 2)
    said = capsys.readouterr().err
    assert "Traceback" not in said and said.count("\n") == 1


def test_loss_is_least_at_the_truth() -> None:
    fb = pytest.importorskip("digitizer.fit_borders", exc_type=ImportError)
    import torch

    places = torch.from_numpy(BINS.astype(np.float32))
    at = torch.tensor([20.3])
    loss = [float(fb.loss_of(-0.5 * ((places - at - by) / 0.35)[None] ** 2, at, 0.35)) for by in (-1.0, 0.0, 1.0)]
    assert loss[1] < min(loss[0], loss[2])


@pytest.mark.parametrize("wrong", [["--minutes", "0"], ["--threads", "0"], ["--workers", "-1"], ["--minutes", "nan"]])
def test_wrong_numbers_are_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    fb = pytest.importorskip("digitizer.fit_borders", exc_type=ImportError)
    assert fb.main(wrong) == 2
    assert "expected more than 0, 1 or more" in capsys.readouterr().err


def test_a_page_whose_scale_no_grid_tells_is_read_at_the_one_that_its_borders_have(record: Record) -> None:
    page = render(record, Layout.for_record(record, "3x4"), Style(), 200)
    flat, _ = laid_flat(page)
    to_sheet = Homography.affine(1 / PX_PER_MM, 0, -MARGIN, 0, 1 / PX_PER_MM, -MARGIN)
    view = Upright(flat, PX_PER_MM, PX_PER_MM, Chain((to_sheet, *page.mm_to_px.warps)), to_sheet)
    shrunk = stretched(view, 0.986, 0.986)  # taken for smaller than it is
    grid = Grid(shrunk.px_to_mm, (0.986 * page.px_per_mm,) * 2, 0.0, 0.0, "no grid is seen", 0.0)
    reading = interpret(page.image, grid, shrunk, Look(shrunk, network.load().see(flat), small("borders")))
    found = reading.notes["grid"]
    assert "+1.4%" in found["evidence"]
    assert found["px_per_mm"] == pytest.approx([page.px_per_mm] * 2, rel=0.001)
    assert score(page.record(), reading.record, ("plain",)).value("plain") > 18.0
