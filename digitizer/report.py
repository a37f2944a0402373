"""What a Reading leaves on disk: the samples, a report of where everything came from, and a picture to look at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ecg_image_kit import __version__
from ecg_image_kit.errors import UsageError
from ecg_image_kit.record import atomic_write

if TYPE_CHECKING:
    from .pipeline import Reading

WRITE = ("csv", "json", "overlay", "wfdb", "npz")

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
        known = np.isfinite(px).all(axis=1)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]]).astype(np.int8)))
        pieces = [np.round(px[a:b] * 16).astype(np.int32) for a, b in zip(edges[::2], edges[1::2], strict=True)]
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
    leads = {}
    for lead in record.leads:
        mv = record.lead(lead)
        windows = [t for t in page.traces if t.strip.lead.lstrip("-") == lead]
        printed = sum(t.mv.size for t in windows)
        read = sum(int(np.isfinite(t.mv).sum()) for t in windows)
        share = read / printed if printed else 0.0
        leads[lead] = {
            "status": "read" if share > 0.98 else "partly read" if share > 0 else "unread",
            "confidence": reading.confidence.get(lead, 0.0),
            "read_share": round(share, 4),
            "window_s": [round(min(t.strip.start for t in windows), 4), round(max(t.strip.stop for t in windows), 4)],
            "range_mv": [round(float(np.nanmin(mv)), 3), round(float(np.nanmax(mv)), 3)]
            if np.isfinite(mv).any()
            else None,
        }
    return {
        "reader": f"ecg-digitize {__version__}", "method": page.meta.get("reader"),
        "image": {"name": page.meta.get("record", ""), "width": page.image.shape[1], "height": page.image.shape[0]},
        "layout": page.layout.name, "speed_mm_s": page.layout.speed, "gain_mm_mv": page.layout.gain, "fs": record.fs,
        "notes": dict(reading.notes), "leads": leads, "warnings": list(reading.warnings),
        "mm_to_px": page.mm_to_px.to_json(),
    }  # fmt: skip


def save(reading: Reading, stem: Path, write: tuple[str, ...] = ("csv", "json", "overlay")) -> list[Path]:
    """Write the chosen files beside each other as ``stem``.csv and so on; returns their paths."""
    unknown = sorted(set(write) - set(WRITE))
    if unknown:
        raise UsageError(f"output {', '.join(unknown)}; expected some of {', '.join(WRITE)}.")
    paths = {
        "csv": stem.with_name(f"{stem.name}.csv"), "json": stem.with_name(f"{stem.name}.json"),
        "overlay": stem.with_name(f"{stem.name}.overlay.png"), "wfdb": stem.with_name(f"{stem.name}.hea"), "npz": stem.with_name(f"{stem.name}.npz"),
    }  # fmt: skip
    if "csv" in write:
        reading.record.write_csv(paths["csv"])
    if "npz" in write:
        reading.record.write_npz(paths["npz"])
    if "wfdb" in write:
        reading.record.write_wfdb(stem, comments=[f"digitized from {stem.name} by ecg-digitize {__version__}"])
    if "overlay" in write:
        ok, data = cv2.imencode(".png", overlay(reading)[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 3])
        if ok:
            atomic_write(paths["overlay"], data.tobytes())
    if "json" in write:
        atomic_write(paths["json"], json.dumps(summary(reading), indent=1, default=float).encode())
    return [paths[kind] for kind in WRITE if kind in write]
