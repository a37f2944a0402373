"""The layout of the competition "PhysioNet - Digitization of ECG Images" (Kaggle, 2025)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..record import STANDARD_LEADS
from .base import Exporter, Item, csv_of


class Kaggle(Exporter):
    """kaggle/train.csv and train/ID/ID.csv: samples, as in "PhysioNet - Digitization of ECG Images" (2025)."""

    # Which variant of a record an image was, in that competition; all others are the digital original.
    VARIANTS: Mapping[str, str] = {
        "scan-color": "0003", "scan-bw": "0004", "photo": "0005", "photo-screen": "0006", "stained": "0009",
        "damaged": "0010", "mould": "0011",
    }  # fmt: skip

    def __init__(self, folder: Path, copy_images: bool) -> None:
        super().__init__(folder, copy_images)
        self.rows: list[tuple[Any, ...]] = []
        self.pages: list[tuple[Any, ...]] = []

    def add(self, item: Item) -> None:
        if not any(trace.mv.size for trace in item.page.traces):
            return  # a sheet past the record's end holds no samples
        record = item.page.record()
        # Its tools take ids for numbers, and cut them at underscores.
        at = self.folder / "kaggle" / "train" / str(item.number)
        leads = [*STANDARD_LEADS, *(lead for lead in record.leads if lead not in STANDARD_LEADS)]
        empty = np.full(record.mv.shape[1], np.nan, np.float32)
        columns = [record.lead(lead) if lead in record.leads else empty for lead in leads]
        rows = [["" if math.isnan(v) else f"{v:.4f}" for v in row] for row in np.stack(columns, axis=1).tolist()]
        self.write(at / f"{item.number}.csv", csv_of([leads, *rows]))
        self.copy(item, at / f"{item.number}-{self.VARIANTS.get(str(item.page.meta.get('recipe')), '0001')}", png=True)
        self.rows.append((item.number, f"{record.fs:.12g}", len(rows)))
        self.pages.append((item.number, item.image.name, item.page.meta.get("record", "")))

    def close(self) -> None:
        self.write(self.folder / "kaggle" / "train.csv", csv_of([("id", "fs", "sig_len"), *self.rows]))
        self.write(self.folder / "kaggle" / "pages.csv", csv_of([("id", "image", "record"), *self.pages]))
