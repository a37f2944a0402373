"""What is written in another ink than the traces are is no trace."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import digitizer
from digitizer import inks, pipeline
from digitizer.inks import other_ink
from digitizer.metrics import score
from ecg_image_kit import Style, open_source, render

Image, F = NDArray[np.uint8], NDArray[np.float32]
K = 8.0  # px per mm
BLUE, BLACK, RED = (60, 70, 180), (30, 30, 30), (190, 40, 50)


def page(*lines: tuple[tuple[int, int, int], int, int, int], paper: int = 240) -> tuple[Image, F]:
    """Level lines, each a colour, a row, and from which column to which; and where they are."""
    image, there = np.full((400, 600, 3), paper, np.uint8), np.zeros((400, 600), np.float32)
    for colour, row, first, last in lines:
        image[row : row + 3, first:last] = np.minimum(image[row : row + 3, first:last], colour)
        there[row : row + 3, first:last] = 1.0
    return cv2.GaussianBlur(image, (0, 0), 0.7), there


@pytest.mark.parametrize(
    ("own", "other", "paper"),
    [(BLACK, BLUE, 240), (BLACK, RED, 240), (BLUE, RED, 240), (RED, BLUE, 240), (BLACK, BLUE, 150), (BLACK, RED, 150)],
)
def test_another_ink_is_seen_by_its_colour(own: Any, other: Any, paper: int) -> None:
    image, trace = page((own, 100, 20, 580), (own, 200, 20, 580), (other, 300, 300, 340), paper=paper)
    found = other_ink(image, trace, trace, K)
    assert found[301, 302:338].all() and not found[:290].any()


def test_where_it_crosses_a_trace_the_trace_is_there() -> None:
    image, trace = page((BLACK, 100, 20, 580), (BLACK, 200, 20, 580))
    image[180:222, 300:320] = np.minimum(image[180:222, 300:320], BLUE)
    ink = trace.copy()
    ink[180:222, 300:320] = 1.0
    found = other_ink(image, trace, ink, 2 * K)
    assert found[185:195, 302:318].all() and not found[201, 20:580].any()


def test_what_a_network_has_not_drawn_is_told_apart_too() -> None:
    image, every = page((BLACK, 100, 20, 580), (BLACK, 200, 20, 580), (BLUE, 300, 20, 580))
    drawn = every.copy()
    drawn[290:] = 0
    assert other_ink(image, drawn, every, K)[301, 30:570].all()
    assert not other_ink(image, every, every, K).any()  # so much of a trace in another ink is a lead


def test_one_lead_in_another_ink_is_a_lead() -> None:
    """There are fewer traces above and below it than elsewhere."""
    rows = [(BLACK, y, 20, 580) for y in (100, 150, 200)]
    image, trace = page(*rows, (BLACK, 300, 20, 200), (RED, 300, 203, 290), (BLACK, 300, 293, 580))
    assert not other_ink(image, trace, trace, K).any()
    image, trace = page(*rows, (BLACK, 300, 20, 580), (RED, 340, 203, 290))
    assert other_ink(image, trace, trace, K)[341, 206:287].all()


def test_a_grid_under_the_edge_of_a_faded_trace_is_no_other_ink() -> None:
    image, trace = page(((150, 150, 150), 100, 20, 580), ((150, 150, 150), 200, 20, 580))
    image[20::40][trace[20::40] == 0] = 235, 130, 130
    image[300:303, 300:340] = 0.6 * np.array([235, 130, 130]) + 0.4 * 150
    trace[300:303, 300:340] = 0.4
    assert not other_ink(image, trace, trace, K).any()


@pytest.mark.parametrize(
    ("image", "trace"),
    [
        page((BLACK, 100, 20, 580), ((110, 110, 110), 300, 300, 340)),  # faded
        page((BLACK, 100, 20, 60), (BLUE, 300, 300, 310)),  # too little to tell which is whose
        page(((255, 255, 90), 100, 20, 580), (BLUE, 300, 300, 340)),  # takes none of two colours
        page(),
        (np.full((3, 2, 3), 200, np.uint8), np.ones((3, 2), np.float32)),
    ],
)
def test_nothing_is_taken_away_in_doubt(image: Image, trace: F) -> None:
    assert not other_ink(image, trace, trace, K).any()


def test_handwriting_over_a_lead_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that takes a ball pen's strokes for the trace, as it sometimes does."""
    sheet = render(open_source("samples").load("00003"), style=Style(), dpi=200)
    trace = next(t for t in sheet.traces if t.strip.lead == "V2")
    x, y = (int(v) for v in sheet.px(trace)[400])
    image = sheet.image.copy()
    for k in range(4):
        cv2.line(image, (x + 12 * k, y + 6), (x + 12 * k + 20, y - 70), BLUE, 2, cv2.LINE_AA)
    pen = cv2.absdiff(image, sheet.image).max(axis=2) > 60
    interpret = pipeline.interpret

    def misled(source: Image, grid: Any, upright: Any, look: Any, **rest: Any) -> Any:
        size = look.view.image.shape[1::-1]
        matrix = np.array([[size[0] / upright.image.shape[1], 0, 0], [0, size[1] / upright.image.shape[0], 0]])
        written = cv2.warpAffine(pen.astype(np.float32), matrix, size, flags=cv2.INTER_LINEAR)
        seen = replace(look.seen, trace=np.maximum(look.seen.trace, written))
        return interpret(source, grid, upright, look._replace(seen=seen), **rest)

    monkeypatch.setattr(pipeline, "interpret", misled)

    def snr() -> float:
        reading = digitizer.read(image, reader="learned")
        return score(sheet.record(), reading.record, ("plain",)).value("plain")

    told = snr()
    monkeypatch.setattr(inks, "_HUE", 9.0)
    assert told > snr() + 3
