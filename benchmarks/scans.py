"""What becomes of real scans, whose true signals nobody knows: refused, or read, and then believable or not.

python benchmarks/scans.py DIR

Two things are known of any 12-lead ECG. Einthoven's and Goldberger's laws leave only two free signals among the limb
leads of one column; and a rhythm strip repeats a lead that is also printed above it. Both fail if rows are taken for
each other, if the layout is wrong, or if time or voltage are misread.

law      share of the limb leads' power in a column that no pair of signals I, II explains: 0 right, 1 unrelated leads
rhythm   correlation of a rhythm strip with the same lead's cell over the seconds that both show

A reading is plausible if at least one of the two is known, law <= 0.15 in the median column, rhythm >= 0.9 in the
median strip, at least 80 % of the printed samples were read, and the median lead spans 0.2 to 8 mV. With neither known
(fewer than three limb leads in every column, no rhythm strip whose lead has a cell) it is unjudged.

Exit status: 0 every image was read or refused with a reason, 1 some crashed, 2 no images.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

import digitizer  # noqa: E402
from digitizer.trust import einthoven, upright  # noqa: E402
from ecg_image_kit import EcgError  # noqa: E402
from ecg_image_kit.images import SUFFIXES  # noqa: E402
from ecg_image_kit.page import Page  # noqa: E402

LAW, RHYTHM, SHARE, RANGE_MV = 0.15, 0.9, 0.8, (0.2, 8.0)


@dataclass(frozen=True)
class Judged:
    """Figures of one image. ``verdict``: refused, plausible, implausible, unjudged or crashed."""

    name: str
    verdict: str
    why: str = ""
    layout: str = ""
    law: tuple[float, ...] = ()
    rhythm: tuple[float, ...] = ()
    share: float = 0.0
    seconds: float = 0.0


def rhythm(page: Page) -> list[float]:
    """For every rhythm strip whose lead has a cell: their correlation over the seconds that both show."""
    found = []
    for strip in (t for t in page.traces if t.strip.rhythm):
        for cell in page.traces:
            if cell.strip.rhythm or cell.strip.lead.lstrip("-") != strip.strip.lead.lstrip("-"):
                continue
            at = round((cell.start - strip.start) * cell.fs)
            a, b = upright(cell), upright(strip)[max(at, 0) :]
            a, b = a[: b.size], b[: a.size]
            known = np.isfinite(a) & np.isfinite(b)
            if known.sum() >= 100:
                found.append(float(np.corrcoef(a[known], b[known])[0, 1]))
    return found


def judge(path: Path) -> Judged:
    """Read one image and look whether it can be true."""
    begin = time.perf_counter()
    try:
        reading = digitizer.read(path)
    except EcgError as error:
        return Judged(path.name, "refused", f"{type(error).__name__}: {error}", seconds=time.perf_counter() - begin)
    except Exception as error:  # noqa: BLE001 - this is what is looked for
        return Judged(path.name, "crashed", f"{type(error).__name__}: {error}", seconds=time.perf_counter() - begin)
    seconds = time.perf_counter() - begin
    page = reading.page
    law, alike = [column.law for column in einthoven(page.traces)], rhythm(page)
    printed, read = sum(t.mv.size for t in page.traces), sum(int(np.isfinite(t.mv).sum()) for t in page.traces)
    spans = [float(np.nanmax(t.mv) - np.nanmin(t.mv)) for t in page.traces if np.isfinite(t.mv).any()]
    span = float(np.median(spans)) if spans else 0.0
    doubts = []
    if law and np.median(law) > LAW:
        doubts.append(f"law {np.median(law):.2f}")
    if alike and np.median(alike) < RHYTHM:
        doubts.append(f"rhythm {np.median(alike):.2f}")
    if read < SHARE * printed:
        doubts.append(f"{read / printed:.0%} read")
    if not RANGE_MV[0] <= span <= RANGE_MV[1]:
        doubts.append(f"leads span {span:.2g} mV")
    verdict = "implausible" if doubts else "plausible" if law or alike else "unjudged"
    name = f"{page.layout.name}, {page.layout.speed:g} mm/s, {page.layout.gain:g} mm/mV"
    return Judged(path.name, verdict, ", ".join(doubts), name, tuple(law), tuple(alike), read / printed, seconds)


def line(one: Judged) -> str:
    if not one.layout:
        return f"{one.name:28s} {one.verdict:11s} {one.why}"
    figures = [f"{one.layout:34s}", f"{one.share:4.0%} read"]
    figures += [
        f"{name} {' '.join(f'{v:.2f}' for v in values)}"
        for name, values in (("law", one.law), ("rhythm", one.rhythm))
        if values
    ]
    return f"{one.name:28s} {one.verdict:11s} {'  '.join(figures)}" + (f"  <- {one.why}" if one.why else "")


def main(argv: Sequence[str] | None = None) -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", type=Path, help="folder of images")
    p.add_argument("--overlays", type=Path, metavar="DIR", help="write the overlays of what was read there")
    options = p.parse_args(argv)
    paths = sorted(f for f in options.folder.glob("*") if f.suffix.lower() in SUFFIXES)
    if not paths:
        print(f"error: no images in {options.folder}; expected {', '.join(SUFFIXES)}.", file=sys.stderr)
        return 2
    counts: Counter[str] = Counter()
    for path in paths:
        one = judge(path)
        counts[one.verdict] += 1
        print(line(one), flush=True)
        if options.overlays and one.layout:
            digitizer.read(path).save(options.overlays / path.stem, ("overlay",))
    print(f"\n{len(paths)} images: " + ", ".join(f"{n} {verdict}" for verdict, n in counts.most_common()))
    return 1 if counts["crashed"] else 0


if __name__ == "__main__":
    sys.exit(main())
