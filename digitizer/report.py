"""What a Reading leaves on disk: the samples, a report of where everything came from, and a picture to look at."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ecg_image_kit import __version__
from ecg_image_kit.errors import PageError, UsageError
from ecg_image_kit.record import atomic_write

from .arrays import stretches
from .fill import FILLED

if TYPE_CHECKING:
    from .pipeline import Reading

ENDINGS = {"csv": ".csv", "json": ".json", "overlay": ".overlay.png", "wfdb": ".hea", "npz": ".npz", "dicom": ".dcm",
           "html": ".html"}  # fmt: skip
WRITE = tuple(ENDINGS)
POOR = 0.5  # confidence under which a lead is more likely to be misread than not

# Okabe and Ito's colour-blind safe palette, without yellow and black.
_COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (230, 159, 0))


def overlay(reading: Reading) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB: the page, paled, with the recovered traces and their names in colour."""
    page = reading.page
    image = (255 - (255 - page.image.astype(np.uint16)) * 45 // 100).astype(np.uint8)
    px_per_mm = float(np.linalg.norm(np.diff(page.mm_to_px(np.array([[0.0, 0.0], [10.0, 0.0]])), axis=0)) / 10)
    thick = max(1, round(0.16 * px_per_mm))
    for k, trace in enumerate(page.traces):
        colour = _COLOURS[k % len(_COLOURS)]
        px = page.px(trace)
        known = np.asarray(np.isfinite(px).all(axis=1), bool)
        pieces = [np.round(px[a:b] * 16).astype(np.int32) for a, b in stretches(known)]
        cv2.polylines(image, pieces, False, colour, thick, cv2.LINE_AA, 4)
        # Below the trace: above it the page has its own label.
        x, y = page.mm_to_px(np.array([[trace.strip.x + 1.0, trace.strip.y + 0.3 * page.layout.row_height]]))[0]
        text = trace.strip.lead if known.any() else f"{trace.strip.lead} not read"
        lead = trace.strip.lead.lstrip("-")
        text += f"  {reading.confidence.get(lead, 0.0):.2f}"
        scale = 0.085 * px_per_mm
        for paint, width in (((255, 255, 255), max(2, round(scale * 4))), (colour, max(1, round(scale)))):
            cv2.putText(image, text, (int(x), int(y)), cv2.FONT_HERSHEY_SIMPLEX, scale, paint, width, cv2.LINE_AA)
    return image


def summary(reading: Reading) -> dict[str, Any]:
    """The report as plain data: geometry, calibration, layout, per-lead status and confidence, warnings."""
    page, record = reading.page, reading.record
    source = {key: page.meta[key] for key in ("file", "page") if key in page.meta}
    height, width = page.image.shape[:2]
    return {
        "reader": f"ecg-digitize {__version__}", "method": page.meta.get("reader"),
        "image": {"name": page.meta.get("record", ""), **source, "width": int(width), "height": int(height)},
        "layout": page.layout.name, "speed_mm_s": page.layout.speed, "gain_mm_mv": page.layout.gain, "fs": record.fs,
        "notes": {key: note for key, note in reading.notes.items() if key not in ("filled", "residuals")},
        "leads": {lead: _status(reading, lead) for lead in record.leads},
        "warnings": list(reading.warnings),
        "units": "mm on the paper, x right, y down, 5 mm lines at multiples of 5; px with pixel centres at integers",
        "mm_to_px": page.mm_to_px.to_json(),
        "strips": [
            {
                "lead": s.lead, "rhythm": s.rhythm, "row": s.row, "start_s": s.start, "stop_s": s.stop,
                "x_mm": s.x, "y_mm": s.y, "gain_mm_mv": s.gain, "residual": residual,
            }
            for s, residual in zip_longest(page.layout.strips, reading.notes.get("residuals", ()))
        ],
    }  # fmt: skip


def _status(reading: Reading, lead: str) -> dict[str, Any]:
    """How much of a lead was read, in which window and range, and how far to trust it."""
    traces = [t for t in reading.page.traces if t.strip.lead.lstrip("-") == lead]
    printed, read = sum(t.mv.size for t in traces), sum(int(np.isfinite(t.mv).sum()) for t in traces)
    share = read / printed if printed else 0.0
    mv = reading.record.lead(lead)
    return {
        "status": "read" if share > 0.98 else "partly read" if share > 0 else "unread",
        "confidence": reading.confidence.get(lead, 0.0),
        "read_share": share,
        "window_s": [min(t.strip.start for t in traces), max(t.strip.stop for t in traces)],
        "range_mv": [float(np.nanmin(mv)), float(np.nanmax(mv))] if np.isfinite(mv).any() else None,
        **reading.notes.get("filled", {}).get(lead, {}),
    }


def save(reading: Reading, stem: Path, write: tuple[str, ...] = ("csv", "json", "overlay")) -> list[Path]:
    """Write the chosen files beside each other as ``stem``.csv and so on; returns their paths.

    WFDB allows letters, digits, - and _ in a record's name only, so others become _ in the names of its two files.
    """
    unknown = sorted(set(write) - set(WRITE))
    if unknown or not write:
        raise UsageError(f"output {', '.join(unknown) or 'nothing'}; expected some of {', '.join(WRITE)}.")
    wfdb = wfdb_stem(stem)
    paths = {kind: (wfdb if kind == "wfdb" else stem) for kind in WRITE}
    paths = {kind: base.with_name(base.name + ENDINGS[kind]) for kind, base in paths.items()}
    by = f"digitized from {stem.name} by ecg-digitize {__version__}"
    comments = [by, *(text for text in reading.warnings if text.startswith(FILLED))]
    if "csv" in write:
        reading.record.write_csv(paths["csv"])
    if "npz" in write:
        reading.record.write_npz(paths["npz"])
    if "wfdb" in write:
        reading.record.write_wfdb(wfdb, comments=comments)
    if "dicom" in write:
        from .dicom import write_dicom

        write_dicom(reading.record, paths["dicom"], comments)
    report = _plain(summary(reading))
    if {"overlay", "html"} & set(write):
        picture = overlay(reading)
        if "overlay" in write:
            atomic_write(paths["overlay"], _png(picture))
        if "html" in write:
            from .webpage import webpage

            atomic_write(paths["html"], webpage(report, picture, POOR).encode())
    if "json" in write:
        atomic_write(paths["json"], (json.dumps(report, indent=1, allow_nan=False) + "\n").encode())
    return [paths[kind] for kind in WRITE if kind in write]


def _png(picture: NDArray[np.uint8]) -> bytes:
    ok, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not ok:
        raise PageError(f"the overlay, {picture.shape[1]} x {picture.shape[0]} px, cannot be written as png.")
    return data.tobytes()


def wfdb_stem(stem: Path) -> Path:
    """``stem`` with a name that WFDB accepts."""
    return stem.with_name(re.sub(r"[^A-Za-z0-9_-]", "_", stem.name))


def _plain(value: Any) -> Any:
    """As JSON knows it: numpy's numbers as Python's, at most 6 decimals; what is not finite as null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
