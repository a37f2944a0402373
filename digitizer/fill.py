"""fill: gaps in a reading as straight lines, for programs that cannot do with NaN. What was filled is said."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .arrays import stretches

FILLED = "filled by straight lines, not read"  # how the warning begins

if TYPE_CHECKING:
    from .pipeline import Reading


def filled(reading: Reading) -> Reading:
    """The reading with straight lines across the gaps of its record; its page, and so the overlay, stay as they were.

    Filled are samples between two that were read, of what is printed. Beyond a lead's first and last sample there is
    nothing to draw a line to, so they stay NaN, and so do leads of which nothing was read. ``notes["filled"]`` has, for
    each lead, ``filled_share`` of what is printed and ``filled_s``, [start, stop] in s of each line.
    """
    record = reading.record
    begin = float(record.meta.get("printed_from_s", 0.0))
    mv, where, said = record.mv.copy(), {}, []
    for row, lead in zip(mv, record.leads, strict=True):
        printed = np.zeros(row.size, bool)
        for trace in reading.page.traces:
            if trace.strip.lead.lstrip("-") == lead:
                first = round((trace.start - begin) * record.fs)
                printed[first : first + trace.mv.size] = True
        known = np.isfinite(row)
        gaps = [(a, b) for a, b in stretches(printed & ~known) if a > 0 and b < row.size and known[a - 1] and known[b]]
        for a, b in gaps:
            row[a:b] = np.linspace(row[a - 1], row[b], b - a + 2)[1:-1]
        count = sum(b - a for a, b in gaps)
        spans = [[begin + a / record.fs, begin + b / record.fs] for a, b in gaps]
        where[lead] = {"filled_share": count / max(int(printed.sum()), 1), "filled_s": spans}
        if gaps:
            said.append(f"{lead} {count / record.fs:.3g} s")
    warnings = (f"{FILLED}: {', '.join(said)}",) if said else ()
    return replace(
        reading,
        record=replace(record, mv=mv),
        notes={**reading.notes, "filled": where},
        warnings=(*reading.warnings, *warnings),
    )
