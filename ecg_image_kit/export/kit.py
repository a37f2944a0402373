"""ECG-Image-Kit (Shivashankara et al., Physiol. Meas. 2024): the JSON file that it writes beside each image."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from ..page import Box
from ..render import GRIDS
from ..warp import Points
from .base import Exporter, Item, Thing, rounded


class Kit(Exporter):
    """ecg-image-kit/*.json: what ECG-Image-Kit (Shivashankara et al., 2024) writes with --store_config 2."""

    def add(self, item: Item) -> None:
        page, layout, style = item.page, item.page.layout, item.page.style
        width, height = item.size
        centre = np.array([[layout.width / 2, layout.height / 2]])
        here, right, down = page.mm_to_px(centre + np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
        grid = str(style.get("grid", "none"))
        kinds = [thing.name for thing in item.things]
        effects = {name for entry in page.history for name in entry}
        cells = [strip.row for strip in layout.strips if not strip.rhythm]
        rhythm = [strip.lead for strip in layout.strips if strip.rhythm]
        data: dict[str, Any] = {
            "sampling_frequency": page.meta.get("fs", page.traces[0].fs if page.traces else 0),
            "width": width, "height": height,
        }  # fmt: skip
        if grid in GRIDS:
            paper = np.array(style.get("paper", (255, 255, 255))) / 255.0
            minor, major = (rounded(np.array(colour) * paper) for colour in GRIDS[grid])
            data |= {"grid_line_color_major": major, "grid_line_color_minor": minor}
        data |= {
            "ecg_plot_color": rounded(np.array(style.get("ink", (0, 0, 0)), np.float64)),
            "leads": self._leads(item),
            "x_grid": round(5 * float(np.linalg.norm(right - here)), 3),  # px per 5 mm
            "y_grid": round(5 * float(np.linalg.norm(down - here)), 3),
            "resolution": page.meta.get("dpi", round(page.px_per_mm * 25.4)), "pad_inches": 0,
            "dc_pulse": bool(layout.pulses), "bw": grid in ("grey", "black"), "gridlines": grid in GRIDS,
            "printed_text": any(kind in kinds for kind in ("header", "footer", "measurement", "text")),
            "number_of_columns_in_image": max((cells.count(row) for row in cells), default=1),
            "full_mode_lead": rhythm[0] if rhythm else "None",
            "handwritten_text": "handwriting" in kinds, "num_words": kinds.count("handwriting"),
            "x_offset_for_handwritten_text": 0, "y_offset_for_handwritten_text": 0,
            "wrinkles": bool(effects & {"Wrinkles", "Crumple", "Folds"}), "crease_angle": 0,
            "number_of_creases_horizontally": 0, "number_of_creases_vertically": 0,
            "augment": bool(effects), "crop": 0, "temperature": 0,
            "rotate": round(math.degrees(math.atan2(*(right - here)[::-1])), 2), "noise": 0,  # clockwise
        }  # fmt: skip
        stem = self.folder / "ecg-image-kit" / item.image.stem
        self.write(stem.with_name(stem.name + ".json"), json.dumps(data, indent=1) + "\n")
        self.copy(item, stem, png=True)

    @staticmethod
    def _leads(item: Item) -> list[dict[str, Any]]:
        labels = [thing for thing in item.things if thing.name == "label" and thing.box is not None]
        leads = []
        for thing in item.things:
            if thing.trace is None:
                continue
            trace, strip = thing.trace, thing.trace.strip
            entry: dict[str, Any] = {}
            named = [label for label in labels if label.text == strip.lead]
            if named:  # a rhythm strip's lead is there twice: the label that stands nearest
                corner = np.array([strip.x, strip.y])
                label = min(named, key=lambda t: float(np.linalg.norm(_centre(t.box) - corner)))
                entry["text_bounding_box"] = _corners(label)
            seen = np.flatnonzero(item.page.visible(trace))
            first = round(trace.start * trace.fs)
            entry |= {
                "lead_name": strip.lead, "lead_bounding_box": _corners(thing),
                "start_sample": first + int(seen[0]), "end_sample": first + int(seen[-1]) + 1,
                "plotted_pixels": np.round(item.page.px(trace)[seen, ::-1] + 0.5, 2).tolist(),
            }  # fmt: skip
            leads.append(entry)
        return leads


def _centre(box: Box | None) -> Points:
    assert box is not None
    return np.asarray(box.outline.mean(axis=0), np.float64)


def _corners(thing: Thing) -> dict[str, list[int]]:
    """ECG-Image-Kit's box: four corners from the upper left clockwise, (y, x)."""
    x0, y0, x1, y1 = (round(v) for v in thing.bounds)
    return {"0": [y0, x0], "1": [y0, x1], "2": [y1, x1], "3": [y1, x0]}
