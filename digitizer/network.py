"""network: what the trained network sees on a page laid flat. ONNX Runtime; no torch."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ecg_image_kit.errors import UsageError

from .arrays import U8, B, D, F
from .rectify import Upright, turned
from .segment import INK, Ink, NameSeen, PulseSeen, erase_verticals, join_breaks

PX_PER_MM = 8.0  # of the images it was trained on
ROUGH = 5.0  # px per mm at which it still sees where traces are, if not exactly, in 40 % of the time
LABEL_STRIDE = 4
_UNIT = 32  # px that sides are multiples of
# Units of rows that are looked at together, at most: memory; px around them that are, too, and around what is in doubt.
_BAND, _AROUND, _ABOUT = 28, 64, 32
WEIGHTS = Path(__file__).parent / "weights"
# Networks that look at details, and at what: channels, px high, and wide if that is not any number.
SMALL = {"borders": (4, 48, 64), "nudges": (6, 32)}
_SURE = 0.5  # probability that something is a name
_LETTER = 16  # cells of the smallest name
_UPRIGHT = 0.7  # share of the votes
_ENLARGED = 2.0  # at most: a pitch that is smaller by more than that is likely to be wrong
_INKED, _NEAR, _FAINT = 0.4, 0.25, 0.2
_PRINTED_OVER, _STUMP = 12.0, 0.9  # mm, of a stroke, at most; of what is seen of it before and behind, at least
_NEXT, _THERE, _BOX = 3, 0.8, 2.0  # px from it to that; of its height that may be seen; mm from a name to its frame


_Place = tuple[slice, slice]
_Box = tuple[int, int, int, int]  # top, bottom, left, right; the last ones are beyond it


@dataclass(frozen=True, eq=False)
class Seen:
    """What the network says of an image of (H, W) px.

    Attributes:
        trace, pulse: (H, W), share of each pixel that a pen of standard width would cover in drawing the leads' traces
            and the calibration pulses.
        labels: (H / 4, W / 4, classes), probabilities of each class of ``names`` ("" is none).
        turns: quarter turns by which the page may be turned anticlockwise, the likeliest first. sure: of that, 0 to 1.
        paper: (H, W), which px were looked at; the others lie beyond the photograph's edges. None: all.
    """

    trace: F
    pulse: F
    labels: F
    names: tuple[str, ...]
    turns: tuple[int, ...]
    sure: float
    paper: B | None = None

    @property
    def named(self) -> float:
        """How many lead names can be read, roughly: where text is the wrong way up there are none."""
        return float(self.labels[..., 1:].max(axis=2).sum())

    @property
    def upright(self) -> bool:
        """Whether the page clearly is the right way up."""
        return not self.turns[0] and self.sure > _UPRIGHT

    def within(self, paper: B) -> Seen:
        """The same, but nothing where there is no ``paper``."""
        return replace(self, trace=self.trace * paper, pulse=self.pulse * paper, paper=paper)

    def less(self, hidden: B) -> Seen:
        """The same, but nothing where the sheet is ``hidden``: no names either."""
        shown = ~hidden
        names = self.labels.copy()
        on = cv2.resize(hidden.astype(np.uint8), names.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0
        names[on] = np.eye(len(self.names), dtype=names.dtype)[0]
        return replace(self, trace=self.trace * shown, pulse=self.pulse * shown, labels=names)


class Network:
    """The trained network: ``see`` an image."""

    def __init__(self, folder: str | os.PathLike[str] = WEIGHTS, threads: int = 0) -> None:

        folder = Path(folder)
        card, model = folder / "reader.json", folder / "reader.onnx"
        try:
            self.card: dict[str, Any] = json.loads(card.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{card} cannot be read ({error}); expected the card that python -m digitizer.export writes beside "
                "reader.onnx."
            ) from None
        if not isinstance(self.card, dict) or not self.card.get("labels"):
            raise UsageError(f"{card} is not the card of a network; expected what python -m digitizer.export writes.")
        if self.card.get("px_per_mm") != PX_PER_MM:
            raise UsageError(f"{card}: px_per_mm {self.card.get('px_per_mm')}; expected {PX_PER_MM:g}. Train it again.")
        self.session = session_of(model, threads, "Export it again.")
        self._once = _giving_back()
        self.names = tuple(self.card["labels"])

    def see(self, image: U8, where: B | None = None) -> Seen:
        """Look at (H, W, 3) uint8 RGB at PX_PER_MM, or about so many.

        ``where`` (H, W): the px that are in doubt, if others are not: only they and what is around them are looked at,
        and nothing is seen elsewhere.
        """
        height, width = image.shape[:2]
        border = (0, -height % _UNIT, 0, -width % _UNIT)
        padded = np.asarray(cv2.copyMakeBorder(image, *border, cv2.BORDER_REPLICATE), np.uint8)
        units = len(padded) // _UNIT, len(padded[0]) // _UNIT
        places, around = (_bands(*units), _AROUND) if where is None else (_boxes(where, *units), _ABOUT)
        ink, labels, turn = self._outputs(padded, places, around)
        # Which way is up is a matter of text and traces: bare paper has no say.
        inked = cv2.resize(ink[0], turn.shape[:0:-1], interpolation=cv2.INTER_AREA) + 0.002
        votes = np.einsum("khw,hw->k", turn, inked) / max(float((inked * turn.sum(axis=0)).sum()), 1e-6)
        rows, columns = -(-height // LABEL_STRIDE), -(-width // LABEL_STRIDE)
        labels[0] = 1 - labels[1:].sum(axis=0)  # what was not looked at is nothing
        return Seen(
            ink[0, :height, :width],
            ink[1, :height, :width],
            labels.transpose(1, 2, 0)[:rows, :columns],
            self.names,
            tuple(np.argsort(-votes).tolist()),
            float(votes.max()),
        )

    def _outputs(self, image: U8, places: list[_Box], around: int) -> list[F]:
        """The outputs (classes, ...) for an image whose sides are multiples of _UNIT; 0 but at these places, which are
        looked at with so many px around them.

        Each has one row for a number of the image's that _UNIT is a multiple of.
        """
        height, width = image.shape[:2]
        whole: list[F] = []
        for top, bottom, left, right in places:
            above, before = min(top, around), min(left, around)
            part = image[top - above : bottom + around, left - before : right + around]
            x = part.transpose(2, 0, 1)[None].astype(np.float32)
            x /= np.float32(255)
            outputs = self.session.run(None, {"image": x}, self._once)
            strides = [len(part) // out.shape[2] for out in outputs]
            whole = whole or [
                np.zeros((out.shape[1], height // k, width // k), np.float32)
                for out, k in zip(outputs, strides, strict=True)
            ]
            for out, to, k in zip(outputs, whole, strides, strict=True):
                inner = out[0, :, above // k : (above + bottom - top) // k, before // k : (before + right - left) // k]
                to[:, top // k : bottom // k, left // k : right // k] = inner
        return whole


def _bands(high: int, wide: int) -> list[_Box]:
    """All of an image of so many units, in bands of rows."""
    cuts = (_UNIT * np.linspace(0, high, 1 + -(-high // _BAND)).round().astype(int)).tolist()
    return [(a, b, 0, wide * _UNIT) for a, b in pairwise(cuts)]


def _boxes(where: B, high: int, wide: int) -> list[_Box]:
    """Boxes of an image of so many units that ``where`` (H, W) lies in; those are one whose surroundings would be
    looked at twice for more than what lies between them."""
    padded = np.zeros((high * _UNIT, wide * _UNIT), np.bool_)
    padded[: where.shape[0], : where.shape[1]] = where
    units = np.asarray(padded.reshape(high, _UNIT, wide, _UNIT).any(axis=(1, 3)), np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(units, connectivity=8)
    boxes = [(y, y + h, x, x + w) for x, y, w, h, _ in stats[1:].tolist()] or [(0, 1, 0, 1)]

    def cost(box: _Box) -> int:
        around = 2 * _ABOUT // _UNIT
        return (box[1] - box[0] + around) * (box[3] - box[2] + around)

    done: list[_Box] = []
    while boxes:
        one = boxes.pop()
        for k, other in enumerate(boxes + done):
            a, b, c, d = zip(one, other, strict=True)
            both = min(a), max(b), min(c), max(d)
            if cost(both) <= cost(one) + cost(other):
                (boxes if k < len(boxes) else done).remove(other)
                boxes.append(both)
                break
        else:
            done.append(one)
    cut = [(top, min(top + _BAND, b), c, d) for a, b, c, d in done for top in range(a, b, _BAND)]
    return [(a * _UNIT, b * _UNIT, c * _UNIT, d * _UNIT) for a, b, c, d in cut]


def session_of(model: Path, threads: int, remedy: str) -> Any:
    """An ONNX Runtime session. Raises UsageError, with the ``remedy``, if there is no such network in that file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - its exceptions have no common base
        raise UsageError(f"{model} cannot be loaded ({str(error).splitlines()[0]}). {remedy}") from None


def _giving_back() -> Any:
    """Options of a run: memory is taken in large pieces, which is twice as fast at first, and given back after it."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def check(folder: str | os.PathLike[str]) -> None:
    """Raise UsageError if one of the networks of a folder cannot be loaded."""
    Network(folder)
    for name in SMALL:
        if (Path(folder) / f"{name}.onnx").is_file():
            Small(name, folder)


class Small:
    """A small network that looks at details: one input, one output. ``name``: of its file, and of what trains it."""

    def __init__(self, name: str, folder: str | os.PathLike[str] = WEIGHTS, threads: int = 0) -> None:
        remedy = f"Expected what python -m digitizer.fit_{name} writes."
        model = Path(folder) / f"{name}.onnx"
        self.session = session_of(model, threads, remedy)
        given, right = self.session.get_inputs()[0], SMALL[name]
        if tuple(given.shape[1 : 1 + len(right)]) != right:
            raise UsageError(
                f"{model} looks at {given.shape[1:]}; expected {right}: it is of another version. {remedy}"
            )
        self.input, self._once = given.name, _giving_back()

    def odds(self, looks: F) -> F:
        """Probabilities of the places at each of (N, ...) looks."""
        (found,) = self.session.run(None, {self.input: looks}, self._once)
        return np.asarray(found, np.float32)


def small(name: str, folder: str | os.PathLike[str] = WEIGHTS, threads: int = 0) -> Small | None:
    """The network of a folder, else the one that comes along, once per process; None in a copy without weights."""
    for place in (Path(folder), WEIGHTS):
        if (place / f"{name}.onnx").is_file():
            return _small(name, os.fspath(place), threads)
    return None


_small = lru_cache(maxsize=4)(Small)


@lru_cache(maxsize=2)
def load(folder: str | os.PathLike[str] = WEIGHTS, threads: int = 0) -> Network:
    """The network of a folder, once per process."""
    return Network(folder, threads)


def right_way_up(view: Upright, net: Network) -> tuple[int, Upright, Seen]:
    """By how many quarter turns the view was turned, anticlockwise; it set upright; and what is seen there.

    Unless it clearly is upright already, the two likeliest turns are looked at, and names that can be read decide.
    """
    seen = net.see(view.image)
    if seen.upright:
        return 0, view, seen
    looks = [(turn, back := turned(view, turn), net.see(back.image) if turn else seen) for turn in seen.turns[:2]]
    return max(looks, key=lambda look: look[2].named)


def traces(image: U8, px_per_mm: float, net: Network) -> U8:
    """(h, w) 0 or 255, where the network sees traces and pulses on an image of about so many px per mm, any way up."""
    scale = min(ROUGH / px_per_mm, _ENLARGED)
    shrinking = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    seen = net.see(np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=shrinking), np.uint8))
    return np.asarray(255 * (np.maximum(seen.trace, seen.pulse) > _FAINT), np.uint8)


def ink_of(seen: Seen, kx: float, ky: float) -> Ink:
    """The traces' coverage, and pulses and names apart. ``kx, ky``: px per mm."""
    height, width = seen.trace.shape
    # What looks like a pulse, but is none, is part of a lead: an artefact of the recording, or a lead cut off.
    trace, pulses = np.maximum(seen.trace, seen.pulse), []
    for pulse, place in _pulses(seen.pulse, seen.trace, kx, ky):
        before, behind = _beside(seen.trace, place, kx, ky)
        if pulse is not None and not (before and behind):
            pulses.append(pulse)
        elif before:
            continue
        rows, columns = (slice(max(0, side.start - 2), side.stop + 2) for side in place)
        trace[rows, columns] = seen.trace[rows, columns]
    join_breaks(trace, ky)
    return Ink(
        trace,
        np.ones(width, np.float32),
        np.ones(height, np.float32),
        np.zeros((0, 4), np.int32),
        tuple(pulses),
        tuple(_names(seen, kx, ky)),
        None if seen.paper is None else np.where(seen.paper.any(axis=1), _last(seen.paper) / kx, 0.0),
        drawn=True,
    )


def unruled(own: Ink, rulings: D) -> Ink:
    """What is drawn of the traces, without ruled verticals that were taken for strokes of theirs."""
    coverage = own.coverage.copy()
    erase_verticals(coverage, rulings)
    return replace(own, coverage=coverage, rulings=rulings)


def joined(own: Ink, ink: Ink, seen: Seen, ky: float) -> Ink:
    """What is drawn of the traces, with upright strokes that stop at a lead's name and go on behind it joined along the
    page's own ``ink``: where names are printed over beats the network draws neither."""
    coverage = own.coverage
    height, width = coverage.shape
    frame = 1 + 2 * round(_BOX * ky / LABEL_STRIDE)
    names = _grown(seen.labels[..., 1:].sum(axis=2) > _SURE, frame, frame)
    if not names.any():
        return own
    named = cv2.resize(names.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
    page = np.asarray(cv2.resize(ink.coverage, (width, height), interpolation=cv2.INTER_AREA), np.float32)
    inked, drawn, tall = page > INK, coverage > INK, round(_STUMP * ky)
    missing = _grown(_tall(inked, tall), 1, 3) & inked & ~drawn & named
    stumps = _tall(drawn, tall)
    _, label, boxes, _ = cv2.connectedComponentsWithStats(missing.astype(np.uint8), connectivity=8)
    kept, around = np.zeros((height, width), bool), 2 * _NEXT + 1
    for k, (x, y, w, h, _) in enumerate(boxes.tolist()):
        if k == 0 or not _STUMP * ky < h <= _PRINTED_OVER * ky:
            continue
        place = (slice(max(0, y - _NEXT), y + h + _NEXT), slice(max(0, x - _NEXT), x + w + _NEXT))
        stroke = np.asarray(label[place] == k, np.bool_)
        touched = _grown(stroke, around, around) & stumps[place]
        above, below = (
            np.flatnonzero(part.any(axis=0)) for part in (touched[: h // 4 + _NEXT], touched[-(h // 4) - _NEXT :])
        )
        # What is drawn of a stroke along its whole height is only thinner.
        there = (_grown(stroke, 1, around) & drawn[place]).any(axis=1)
        if not above.size or not below.size or there.sum() > _THERE * h:
            continue
        # From the stump above to that below: letters that it touches reach further to the sides.
        down = np.linspace(0, 1, len(stroke))[:, None]
        first, last = ((1 - down) * above[end] + down * below[end] for end in (0, -1))
        column = np.arange(stroke.shape[1])
        kept[place] |= stroke & (column >= first - 1) & (column <= last + 1)
    return replace(own, coverage=np.where(kept, np.maximum(coverage, page), coverage))


def _grown(mask: B, high: int, wide: int) -> B:
    """``mask`` and what lies within a rectangle of so many px about it."""
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((high, wide), np.uint8)) > 0, np.bool_)


def _tall(mask: B, high: int) -> B:
    """``mask`` where so many px of it stand above each other."""
    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((high, 1))) > 0, np.bool_)


def _last(paper: B) -> D:
    """(H,) the last px of paper in each row."""
    return np.asarray(paper.shape[1] - 1 - np.argmax(paper[:, ::-1], axis=1), np.float64)


def narrowed(ink: Ink, own: Ink) -> Ink:
    """A page's own ``ink``, as far as it lies about the traces of ``own``: what the network sees, at whatever pitch."""
    near = cv2.dilate((own.coverage > _NEAR).astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9)))
    height, width = ink.coverage.shape
    near = cv2.resize(near, (width, height), interpolation=cv2.INTER_NEAREST)
    return replace(ink, coverage=ink.coverage * near)


def _beside(trace: F, place: _Place, kx: float, ky: float) -> tuple[bool, bool]:
    """Whether there is a trace right before, and right behind a pulse's place: about its height, or below it."""
    rows, columns = place
    around = slice(max(0, rows.start - round(3 * ky)), rows.stop + round(25 * ky))
    before = slice(max(0, columns.start - round(4 * kx)), max(0, columns.start - round(kx)))
    behind = slice(columns.stop + round(kx), columns.stop + round(4 * kx))
    first, second = (trace[around, side].max(axis=0, initial=0.0) > _INKED for side in (before, behind))
    return bool(first.size > kx and first.mean() > 0.6), bool(second.size > kx and second.mean() > 0.6)


def _pulses(coverage: F, trace: F, kx: float, ky: float) -> list[tuple[PulseSeen | None, _Place]]:
    """Every connected piece that is as large as a pulse: the rectangle in it, if any, and its rows and columns, px."""
    mask = (coverage > _INKED).astype(np.uint8)
    count, label, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    found: list[tuple[PulseSeen | None, _Place]] = []
    for k in range(1, count):
        x, y, w, h, _ = (int(v) for v in stats[k])
        place = (slice(y, y + h), slice(x, x + w))
        pulse = None
        if 1.5 * kx <= w <= 25 * kx and 2 * ky <= h <= 45 * ky:
            part = label[place] == k
            # Where a row runs into its pulse, a part of that stroke is taken for the trace's.
            pulse = _pulse(np.where(part, coverage[place], 0.0), kx, ky) or _pulse(
                np.where(part, coverage[place], trace[place]), kx, ky
            )
        if pulse is not None:
            pulse = pulse._replace(x=pulse.x + x / kx, foot=pulse.foot + y / ky)
        found.append((pulse, place))
    return found


def _pulse(part: F, kx: float, ky: float) -> PulseSeen | None:
    """The rectangle in a piece of an image, mm from its first pixel's centre."""
    height, width = part.shape
    tall = part.sum(axis=0) > max(1.6 * ky, 0.45 * height)
    at = np.flatnonzero(tall)
    if at.size < 2 or at[-1] - at[0] < 1.5 * kx:
        return None
    middle = (at[0] + at[-1]) / 2

    def centre(columns: B) -> float:
        ink = part[:, columns].sum(axis=0)
        return float(np.sum(np.flatnonzero(columns) * ink) / ink.sum())

    x = np.arange(width)
    rise, fall = centre(tall & (x < middle)), centre(tall & (x > middle))
    inner = slice(int(rise + 0.25 * (fall - rise)), int(rise + 0.75 * (fall - rise)) + 1)
    rows = np.arange(height)
    top: D = (part[:, inner] * rows[:, None]).sum(axis=0) / np.maximum(part[:, inner].sum(axis=0), 1e-6)
    level = float(np.median(top))
    feet = np.concatenate([part[:, : max(0, int(rise) - 2)].T, part[:, int(fall) + 3 :].T])
    feet = feet[feet.sum(axis=1) > 0.5]
    if len(feet) >= 3:
        foot = float(np.median((feet * rows).sum(axis=1) / feet.sum(axis=1)))
    else:  # no feet: the strokes' ends, less half a pen
        pen = float(np.median(part[:, inner].sum(axis=0)))
        strokes = part[:, tall].max(axis=1)
        foot = float(np.flatnonzero(strokes > 0.5)[-1]) + 0.5 - pen / 2
    if foot - level < 2 * ky:
        return None
    return PulseSeen(rise / kx, (fall - rise) / kx, (foot - level) / ky, foot / ky)


def _names(seen: Seen, kx: float, ky: float) -> list[NameSeen]:
    """Every connected patch that is more likely a name than none: the name that most of it says."""
    named = seen.labels[..., 1:].sum(axis=2) > _SURE
    count, label, stats, centres = cv2.connectedComponentsWithStats(named.astype(np.uint8), connectivity=8)
    found = []
    for k in range(1, count):
        x, y, w, h, area = (int(v) for v in stats[k])
        if area < 4:
            continue
        inside = label[y : y + h, x : x + w] == k
        votes = seen.labels[y : y + h, x : x + w][inside].mean(axis=0)[1:]
        lead = seen.names[1 + int(np.argmax(votes))]
        odds = dict(zip(seen.names[1:], (votes / votes.max()).tolist(), strict=True))
        sure = float(votes.sum()) * min(1.0, area / _LETTER)
        middle = (LABEL_STRIDE * float(centres[k, 1]) + (LABEL_STRIDE - 1) / 2) / ky
        found.append(NameSeen(lead, LABEL_STRIDE * x / kx, middle, sure, odds))
    return found
