"""Page: an image of a sheet, what is printed on it in millimetres, and one map from millimetres to pixels.

The renderer makes pages whose map and traces are exact; the digitizer makes pages whose map and traces are estimated.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from . import warp as warps
from .errors import EcgError, PageError, UsageError
from .images import read_image as read_image
from .layout import Layout, Pulse, Strip
from .record import Record, atomic_write, resample
from .warp import Chain, Homography, Inverted, Points, Warp

FORMATS = ("png", "jpg", "webp")
MASKS = ("leads", "grid", "text")
_SCHEMA = 1


@dataclass(frozen=True, eq=False)
class Trace:
    """The samples of one strip: ``mv`` (N,), NaN where nothing is drawn; sample k is at ``start + k / fs`` s."""

    strip: Strip
    start: float
    fs: float
    mv: NDArray[np.float32]

    @property
    def s(self) -> NDArray[np.float64]:
        """(N,) seconds in the record."""
        return self.start + np.arange(self.mv.size) / self.fs

    def upsampled(self) -> Trace:
        """As it is drawn, at 400 Hz or more: band-limited, for a polyline through 100 Hz samples would cut the QRS."""
        if self.fs >= 400 or self.mv.size < 2:
            return self
        fs = self.fs * math.ceil(1000 / self.fs)
        return replace(self, fs=fs, mv=resample(self.mv, self.fs, fs))


@dataclass(frozen=True, eq=False)
class Box:
    """Something on the page: its outline (N, 2) mm on the sheet, its kind (label, header, pulse, ...) and its text.

    ``hides``: what lies within the outline cannot be seen (a sticker, a hole, a stretch where the pen gave no ink).
    """

    kind: str
    outline: NDArray[np.float64]
    text: str = ""
    hides: bool = False


@dataclass(frozen=True, eq=False)
class Page:
    """A paper ECG.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        layout: strips, speed, gain, sheet size.
        traces: one for each strip that has a signal; boxes: labels and texts. Both live in mm and never change.
        mm_to_px: sheet mm -> image px (pixel centres at integers).
        style: how it was drawn (plain data). history: effects applied, in order.
        meta: the record's name, labels and fs, seeds, versions.
    """

    image: NDArray[np.uint8]
    layout: Layout
    traces: tuple[Trace, ...]
    boxes: tuple[Box, ...]
    mm_to_px: Chain
    style: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[Mapping[str, Any], ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    def mm(self, trace: Trace) -> Points:
        """(N, 2) mm on the sheet of every sample of a trace."""
        return self.layout.to_mm(trace.strip, trace.s, trace.mv)

    def px(self, trace: Trace) -> Points:
        """(N, 2) px in the image of every sample of a trace."""
        return self.mm_to_px(self.mm(trace))

    @classmethod
    def of_image(cls, image: NDArray[np.uint8], dpi: float = 200.0) -> Page:
        """A page of which only its picture is known: flat, at ``dpi``; (H, W) or (H, W, 1, 3 or 4) uint8."""
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)):
            raise PageError(f"image of {image.dtype} {image.shape}; expected uint8 (H, W), (H, W, 3) or (H, W, 4).")
        if not 10 <= dpi <= 5000 or min(image.shape[:2]) * 25.4 / dpi < 1:
            raise PageError(
                f"image of {image.shape[1]} x {image.shape[0]} px at {dpi} dpi; expected 10 to 5000 dpi, and 1 mm a "
                "side or more."
            )
        grey = image.reshape(image.shape[:2]) if image.ndim == 2 or image.shape[2] == 1 else None
        colour = np.repeat(grey[..., None], 3, axis=2) if grey is not None else np.array(image[..., :3])
        height, width = image.shape[:2]
        layout = Layout(width * 25.4 / dpi, height * 25.4 / dpi, ())
        return cls(colour, layout, (), (), Chain((Homography.dpi(dpi),)), {"grid": "none"}, (), {"dpi": dpi})

    @property
    def px_per_mm(self) -> float:
        """At the sheet's middle, along its rows."""
        centre = np.array([[self.layout.width / 2, self.layout.height / 2]])
        here, right = self.mm_to_px(centre), self.mm_to_px(centre + np.array([[1.0, 0.0]]))
        return float(np.linalg.norm(right - here))

    def warp(
        self,
        w: Warp,
        size: tuple[int, int] | None = None,
        fill: tuple[int, int, int] | None = (255, 255, 255),
        history: tuple[Mapping[str, Any], ...] | None = None,
    ) -> Page:
        """The page seen through ``w`` (px -> px): the image is resampled (cubic), the truth's map is extended.

        Args:
            size: (width, height) of the new image; the old one's if None.
            fill: colour where the old image has nothing; None goes on with its edges.
            history: what the page's history gets; None: the warp itself.
        """
        height, width = self.image.shape[:2]
        new_size = size or (width, height)
        image = self.image
        if (scale := _scale(w, image)) < 0.8:  # or thin lines come and go
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.45 * math.sqrt(scale**-2 - 1)), np.uint8)
        return replace(
            self,
            image=seen_through(image, w, new_size, fill),
            mm_to_px=self.mm_to_px.then(w),
            history=(*self.history, *([{"warp": w.to_json()}] if history is None else history)),
        )

    def visible(self, trace: Trace) -> NDArray[np.bool_]:
        """(N,) whether each sample can be seen: known, inside the image, and not under anything that hides it."""
        mm = self.mm(trace)
        known = np.asarray(np.isfinite(mm).all(axis=1), np.bool_)
        height, width = self.image.shape[:2]
        px = self.mm_to_px(np.where(known[:, None], mm, 0.0))
        inside = (px > -0.5) & (px < [width - 0.5, height - 0.5])
        seen: NDArray[np.bool_] = np.logical_and(known, inside.all(axis=1))
        for box in self.boxes:
            if box.hides:
                at = np.flatnonzero(seen)
                seen[at[_within(mm[at], box.outline)]] = False
        return seen

    def outline(self, box: Box, step: float = 2.0) -> Points:
        """(N, 2) px: a box's outline as it lies in the image, with a point at least every ``step`` mm."""
        corners = np.vstack([box.outline, box.outline[:1]])
        parts = []
        for a, b in itertools.pairwise(corners):
            n = max(1, math.ceil(float(np.linalg.norm(b - a)) / step)) if self._bent else 1
            parts.append(a + (b - a) * (np.arange(n) / n)[:, None])
        return self.mm_to_px(np.concatenate(parts))

    @property
    def _bent(self) -> bool:
        """Whether straight lines on the sheet may be curved in the image."""
        return not all(isinstance(w, Homography) for w in self.mm_to_px.warps)

    def record(self) -> Record:
        """What is printed, as a record over the printed time: NaN outside each lead's windows."""
        drawn = [trace for trace in self.traces if trace.mv.size]
        if not drawn:
            raise PageError(
                "nothing is printed on this page, so it has no record. Was it laid out past the record's end?"
            )
        begin = min(trace.start for trace in drawn)
        fs = drawn[0].fs
        length = max(round((trace.start - begin) * fs) + trace.mv.size for trace in drawn)
        signals: dict[str, NDArray[np.float32]] = {}
        for trace in self.traces:
            lead, sign = (trace.strip.lead[1:], -1) if trace.strip.lead.startswith("-") else (trace.strip.lead, 1)
            row = signals.setdefault(lead, np.full(length, np.nan, np.float32))
            at = round((trace.start - begin) * fs)
            part = row[at : at + trace.mv.size]
            np.copyto(
                part, sign * trace.mv, where=np.isnan(part)
            )  # the first print of a lead wins over its rhythm strip
        meta = {**self.meta, "printed_from_s": begin}
        return Record(tuple(signals), np.stack(list(signals.values())), fs, str(self.meta.get("record", "")), meta)

    def mask(self, kind: str) -> NDArray[np.uint8]:
        """(H, W) uint8 label image drawn from the warped vectors: 0 is background.

        ``leads``: k + 1 for strip k. ``grid``: 1 minor, 2 major lines. ``text``: k + 1 for box k (255 and above: 255).
        """
        out = np.zeros(self.image.shape[:2], np.uint8)
        if kind == "leads":
            pen = float(self.style.get("pen_width", 0.3)) * self.px_per_mm
            strips = list(self.layout.strips)
            for trace in self.traces:
                dense = trace.upsampled()
                known = np.isfinite(dense.mv)
                px = np.clip(self.mm_to_px(np.where(known[:, None], self.mm(dense), 0.0)), -1e6, 1e6)
                for piece in np.split(np.arange(known.size), np.flatnonzero(np.diff(known)) + 1):
                    if piece.size and known[piece[0]]:
                        _stroke(out, px[piece], pen, strips.index(trace.strip) + 1)
        elif kind == "grid":
            self._mark_grid(out)
        elif kind == "text":
            for k, box in enumerate(self.boxes):
                corners = np.round(np.clip(self.outline(box), -1e6, 1e6) * 16).astype(np.int32)
                cv2.fillPoly(out, [corners], min(k + 1, 255), cv2.LINE_8, 4)
        else:
            raise UsageError(f"mask {kind!r}; expected one of {', '.join(MASKS)}.")
        return out

    def grid_lines(self, major: bool = True, step: float = 5.0) -> list[Points]:
        """Grid lines as (N, 2) mm, a vertex every ``step`` mm: the 5 mm lines if ``major``, else those between them."""
        lines: list[Points] = []
        for axis in (0, 1):
            (low, high), (begin, end) = self._grid_range(axis), self._grid_range(1 - axis)
            along = np.append(np.arange(begin, end, step), end)
            for k in range(math.ceil(low), math.floor(high) + 1):
                if (k % 5 == 0) == major:
                    line = np.empty((along.size, 2))
                    line[:, axis], line[:, 1 - axis] = k, along
                    lines.append(line)
        return lines

    def _grid_range(self, axis: int) -> tuple[float, float]:
        """mm where the grid begins and ends, along x (0) or y (1)."""
        margin = float(self.style.get("grid_margin", 0.0))
        return margin, (self.layout.width, self.layout.height)[axis] - margin

    def dense_map(self, step: int = 1) -> NDArray[np.float32]:
        """(ceil(H / step), ceil(W / step), 2) mm on the sheet of every ``step``-th pixel's centre."""
        height, width = self.image.shape[:2]
        x, y = np.arange(0, width, step), np.arange(0, height, step)
        out = np.empty((y.size, x.size, 2), np.float32)
        for top in range(0, y.size, 256):
            out[top : top + 256] = self._mm_of(x, y[top : top + 256])
        return out

    def _mark_grid(self, out: NDArray[np.uint8]) -> None:
        """Minor lines or dots as 1, then 5 mm lines as 2; each to the nearest pixel, and none under a pixel wide."""
        if self.style.get("grid") == "none":
            return
        minor, pitch = self.style.get("minor", "line"), self.px_per_mm
        thin, thick = (float(self.style.get(f"{k}_width", mm)) * pitch for k, mm in (("minor", 0.1), ("major", 0.2)))
        if minor == "dots":
            x, y = (np.arange(math.ceil(a), math.floor(b) + 1) for a, b in map(self._grid_range, (0, 1)))
            centre = self.mm_to_px(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2))
            size = max(1, round(2 * thin))
            for i, j in np.ndindex(size, size):
                at = np.round(centre + (np.array([i, j]) - (size - 1) / 2)).astype(np.int64)
                at = at[((at >= 0) & (at < out.shape[::-1])).all(axis=1)]
                out[at[:, 1], at[:, 0]] = 1
        for lines, value, pen in (
            (self.grid_lines(False) if minor == "line" else [], 1, thin),
            (self.grid_lines(), 2, thick),
        ):
            wide = 2 * round((pen - 1) / 2) + 1  # OpenCV draws 1, and odd widths when asked for two less
            if not lines:
                continue
            ends = np.cumsum([len(line) for line in lines])[:-1]
            px = np.clip(self.mm_to_px(np.concatenate(lines)), -1e6, 1e6)
            points = np.split(np.round(px * 16).astype(np.int32), ends)
            cv2.polylines(out, points, False, value, 1 if wide <= 1 else 2 if wide == 3 else wide - 2, cv2.LINE_8, 4)

    def _mm_of(self, x: NDArray[np.intp], y: NDArray[np.intp]) -> Points:
        """(len(y), len(x), 2) mm on the sheet of these columns and rows of pixels."""
        xy = np.stack(np.meshgrid(x, y), -1)
        return self.mm_to_px.inverse(xy.reshape(-1, 2)).reshape(xy.shape)

    # Files

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        masks: tuple[str, ...] = (),
        record: str = "",
        quality: int = 92,
        truth: bool = True,
    ) -> None:
        """Write the image ``path`` (png, jpg or webp) and, beside it, its truth: ``.json`` and the samples in ``.npz``.

        Args:
            masks: also write ``.leads.png``, ``.grid.png``, ``.text.png``.
            record: also write the printed record: ``wfdb``, ``csv``, or both joined by a comma.
        """
        path = Path(path)
        suffix = path.suffix.lower().lstrip(".").replace("jpeg", "jpg")
        if suffix not in FORMATS:
            raise UsageError(f"image format {path.suffix!r}; expected one of {', '.join(FORMATS)}.")
        stem = path.with_suffix("")
        for kind in masks:
            atomic_write(_beside(stem, f".{kind}.png"), _encode(self.mask(kind), "png"))
        for form in filter(None, record.split(",")):
            if form == "wfdb":
                self.record().write_wfdb(stem, comments=header_comments(self.meta))
            elif form == "csv":
                self.record().write_csv(_beside(stem, ".csv"))
            else:
                raise UsageError(f"record format {form!r}; expected wfdb or csv.")
        if truth:
            atomic_write(_beside(stem, ".npz"), self._samples())
            atomic_write(_beside(stem, ".json"), json.dumps(self._truth(path.name), indent=1, default=_plain).encode())
        # The image comes last: where it is, everything is.
        atomic_write(path, _encode(self.image, suffix, quality))

    def _samples(self) -> bytes:
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {f"mv{k}": trace.mv for k, trace in enumerate(self.traces)}
        arrays |= {f"visible{k}": self.visible(trace) for k, trace in enumerate(self.traces)}
        np.savez(buffer, **arrays)
        return buffer.getvalue()

    def _truth(self, image: str) -> dict[str, Any]:
        strips = list(self.layout.strips)
        traces = []
        for trace in self.traces:
            known = np.flatnonzero(np.isfinite(trace.mv))
            first = round(trace.start * trace.fs)
            window = [first + int(known[0]), first + int(known[-1]) + 1] if known.size else [first, first]
            traces.append(
                {
                    "strip": strips.index(trace.strip),
                    "lead": trace.strip.lead,
                    "start_s": trace.start,
                    "fs": trace.fs,
                    "samples": window,
                    "box": self._outline(trace),
                }
            )
        height, width = self.image.shape[:2]
        return {
            "schema": _SCHEMA, "image": image, "width": width, "height": height,
            "units": "mm on the sheet, x right, y down; px with pixel centres at integers; s; mV",
            "mm_to_px": self.mm_to_px.to_json(),
            "grid": {"minor_mm": 1.0, "major_mm": 5.0, "px_per_mm": self.px_per_mm},
            "layout": asdict(self.layout), "traces": traces,
            "boxes": [
                {"kind": b.kind, "text": b.text, "outline": np.round(b.outline, 4).tolist(), "hides": b.hides}
                for b in self.boxes
            ],
            "style": dict(self.style), "history": list(self.history), "meta": dict(self.meta),
        }  # fmt: skip

    def _outline(self, trace: Trace) -> list[list[float]] | None:
        mm = self.mm(trace)
        mm = mm[np.isfinite(mm).all(axis=1)]
        if not mm.size:
            return None
        pen = float(self.style.get("pen_width", 0.3)) / 2
        (x0, y0), (x1, y1) = mm.min(axis=0) - pen, mm.max(axis=0) + pen
        return [[round(float(x), 3), round(float(y), 3)] for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Page:
        """The page saved at ``path`` (its image or its .json). Raises PageError if a part is missing or broken."""
        path = Path(path)
        stem = path.with_suffix("")
        try:
            truth = json.loads(_beside(stem, ".json").read_text())
            schema = truth.get("schema") if isinstance(truth, dict) else None
            if schema != _SCHEMA:
                raise PageError(f"{_beside(stem, '.json')}: schema {schema!r}; this version reads {_SCHEMA}.")
            image = read_image(stem.with_name(truth["image"]))
            with np.load(_beside(stem, ".npz")) as samples:
                return cls._of_truth(truth, image, [samples[f"mv{k}"] for k in range(len(truth["traces"]))])
        except FileNotFoundError as error:
            raise PageError(
                f"page {stem.name}: {error.filename} is missing; a page is an image, a .json and a .npz."
            ) from None
        except EcgError:
            raise
        except (OSError, ValueError, LookupError, TypeError, AttributeError, zlib.error) as error:
            what = f"{type(error).__name__}: {error}"
            raise PageError(f"page {stem}: unreadable truth ({what}). Was it written completely?") from error

    @classmethod
    def _of_truth(cls, truth: Mapping[str, Any], image: NDArray[np.uint8], mv: list[NDArray[np.float32]]) -> Page:
        data = truth["layout"]
        strips, pulses = tuple(Strip(**s) for s in data["strips"]), tuple(Pulse(**p) for p in data["pulses"])
        layout = Layout(**{**data, "strips": strips, "pulses": pulses})
        traces = tuple(
            Trace(layout.strips[t["strip"]], t["start_s"], t["fs"], values)
            for t, values in zip(truth["traces"], mv, strict=True)
        )
        boxes = tuple(
            Box(b["kind"], np.array(b["outline"], dtype=np.float64), b["text"], b.get("hides", False))
            for b in truth["boxes"]
        )
        chain = warps.from_json(truth["mm_to_px"])
        mm_to_px = chain if isinstance(chain, Chain) else Chain((chain,))
        return cls(image, layout, traces, boxes, mm_to_px, truth["style"], tuple(truth["history"]), truth["meta"])


def _scale(w: Warp, image: NDArray[np.uint8]) -> float:
    """px in the new image for each px of the old one, about the old one's middle."""
    centre = np.array([[image.shape[1] / 2, image.shape[0] / 2]])
    across, down = w(centre + np.array([[1.0, 0.0], [0.0, 1.0]])) - w(centre)
    return float(math.sqrt(abs(across[0] * down[1] - across[1] * down[0])))


def seen_through(
    image: NDArray[np.uint8], w: Warp, size: tuple[int, int], fill: tuple[int, int, int] | None
) -> NDArray[np.uint8]:
    """The image resampled (cubic) through ``w`` (px -> px) into a new one of ``size`` (width, height).

    ``fill``: colour where the old image has nothing; None goes on with its edges.
    """
    width, height = size
    mode = cv2.BORDER_REPLICATE if fill is None else cv2.BORDER_CONSTANT
    colour = fill or (0, 0, 0)
    if isinstance(w, Homography):
        how = cv2.INTER_CUBIC
        return np.asarray(
            cv2.warpPerspective(image, w.matrix, size, flags=how, borderMode=mode, borderValue=colour), np.uint8
        )
    out = np.empty((height, width, 3), np.uint8)
    none = np.empty(0, np.float32)  # x and y are both in ``source``
    for top in range(0, height, 128):  # a map of the whole image would take ten times its memory
        rows = range(top, min(top + 128, height))
        if isinstance(w, Inverted):
            source = w.mesh.dense(width, rows)
        else:
            grid = np.stack(np.meshgrid(np.arange(width), np.asarray(rows)), axis=-1)
            source = w.inverse(grid.reshape(-1, 2)).astype(np.float32).reshape(grid.shape)
        out[top : rows.stop] = cv2.remap(image, source, none, cv2.INTER_CUBIC, borderMode=mode, borderValue=colour)
    return out


def _within(xy: Points, outline: Points) -> NDArray[np.bool_]:
    """(N,) whether each point lies inside the polygon (M, 2), by the even-odd rule."""
    (x0, y0), (x1, y1) = outline.min(axis=0), outline.max(axis=0)
    inside: NDArray[np.bool_] = (xy[:, 0] >= x0) & (xy[:, 0] <= x1) & (xy[:, 1] >= y0) & (xy[:, 1] <= y1)
    near = np.flatnonzero(inside)
    x, y = xy[near].T
    odd = np.zeros(near.size, bool)
    for (ax, ay), (bx, by) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if ay != by:
            odd ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) * (bx - ax) / (by - ay))
    inside[near] = odd
    return inside


def _stroke(out: NDArray[np.uint8], px: Points, pen: float, value: int) -> None:
    """Mark the pixels that a stroke (N, 2) ``pen`` px wide covers by half or more; it is never under 1.25 px wide.

    OpenCV draws whole and odd widths only (asked for an odd one, two wider): drawn 4 times larger, both matter less.
    """
    fine, pad = 4, math.ceil(pen) + 2
    low = np.maximum(np.floor(px.min(axis=0)).astype(int) - pad, 0)
    high = np.minimum(np.ceil(px.max(axis=0)).astype(int) + pad + 1, out.shape[::-1])
    if (high <= low).any():
        return
    wide, tall = (high - low).tolist()
    large = np.zeros((tall * fine, wide * fine), np.uint8)
    points = np.round(((px - low + 0.5) * fine - 0.5) * 16).astype(np.int32)
    odd = 2 * round((max(pen, 1.25) * fine - 1) / 2) + 1
    cv2.polylines(large, [points], False, 255, max(1, odd - 2), cv2.LINE_8, 4)
    covered = cv2.resize(large, (wide, tall), interpolation=cv2.INTER_AREA)
    out[low[1] : high[1], low[0] : high[0]][covered >= 128] = value


def _beside(stem: Path, suffix: str) -> Path:
    """The file with this suffix (``with_suffix`` would take the end of a name such as ``rec.1`` for one)."""
    return stem.with_name(stem.name + suffix)


def _encode(image: NDArray[np.uint8], suffix: str, quality: int = 92) -> bytes:
    # PNG at level 2 with the Up filter: a page costs 30 ms instead of 400 and is a tenth larger.
    flags = {
        "png": [cv2.IMWRITE_PNG_COMPRESSION, 2, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP],
        "jpg": [cv2.IMWRITE_JPEG_QUALITY, quality],
        "webp": [cv2.IMWRITE_WEBP_QUALITY, quality],
    }
    ok, data = cv2.imencode(
        f".{suffix}", image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR), flags[suffix]
    )
    if not ok:
        raise PageError(f"image of shape {image.shape} cannot be written as {suffix}.")
    return data.tobytes()


def write_record(record: Record, path: Path, kinds: Sequence[str]) -> None:
    """Write ``record`` as wfdb, csv, npz beside ``path`` (.json), and there what is known of it, when all else is."""
    stem = path.with_suffix("")
    if "wfdb" in kinds:
        record.write_wfdb(stem, comments=header_comments(record.meta))
    if "csv" in kinds:
        record.write_csv(_beside(stem, ".csv"))
    if "npz" in kinds:
        record.write_npz(_beside(stem, ".npz"))
    about = {"record": record.name, "leads": record.leads, "fs": record.fs, "samples": record.mv.shape[1], "unit": "mV"}
    atomic_write(path, (json.dumps({**about, **record.meta}, indent=1, default=_plain) + "\n").encode())


def header_comments(meta: Mapping[str, Any]) -> list[str]:
    """Lines for a WFDB header: where a record came from, and that it is nobody's if it is."""
    keys = (
        *("source", "record", "synthetic", "generator", "derived", "printed_from_s"),
        *("label", "heart_rate", "age", "sex"),
    )
    return [f"{key}: {meta[key]}" for key in keys if key in meta]


def _plain(value: Any) -> Any:
    """numpy values and paths as JSON knows them."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} does not go into JSON")
