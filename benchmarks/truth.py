"""How exactly the truth follows the image through every effect and recipe.

python benchmarks/truth.py                            bundled samples
python benchmarks/truth.py --src ptbxl --root DIR     records of PTB-XL

For each effect, and each recipe at severities 0.3, 0.6 and 1, those drawn effects that move points are applied to two
pages that hold nothing else: the record's traces, measured where they run level, and 5 mm grid lines over the whole
sheet, measured both ways between their crossings. The error is the distance, at right angles, from the claimed line to
the centroid of the ink. All pages have 200 dpi. B(F(p)) - p is the error of going to the picture and back.

Effects that do not move points are measured too, each on level traces after itself alone: they may weaken or cover the
ink, but not shift it. Exit status: 0 all targets met, 1 some missed.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from ecg_image_kit import Layout, Page, Record, Style, open_source, render  # noqa: E402
from ecg_image_kit.effects import EFFECTS, Effect, apply, draw  # noqa: E402
from ecg_image_kit.effects.geometry import GeometryEffect, Lamp  # noqa: E402
from ecg_image_kit.recipes import RECIPES  # noqa: E402

# px at 200 dpi
SPREAD, BIAS, RETURN = 0.05, 0.03, 1e-3
DPI = 200.0

D = NDArray[np.float64]
_GHOSTS = ("DoublePrint",)  # what it prints beside the trace is ink too, and counts in the centroid
_BARE = {"header": "none", "label": "none", "ink": (0, 0, 0), "pen_width": 0.35}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--src", default="samples", help="source of records (default: samples)")
    parser.add_argument("--root", help="its folder, for sources that need one")
    parser.add_argument("-n", type=int, default=20, help="records behind each row (default: 20)")
    parser.add_argument("--only", help="effects and recipes to measure, joined by commas (default: all)")
    args = parser.parse_args(argv)
    source = open_source(args.src, **({"root": args.root} if args.root else {}))
    records = [source.load(name) for name in itertools.islice(source.names(), args.n)]
    records = [records[k % len(records)] for k in range(args.n)]
    wanted = args.only.split(",") if args.only else [*EFFECTS, *RECIPES]
    missed: list[str] = []

    print("| moved by | level traces: bias, px | SD | grid lines: bias, px | SD | most | B(F(p)) - p, px |")
    print("|---|---|---|---|---|---|---|")
    moving = [name for name, kind in EFFECTS.items() if issubclass(kind, GeometryEffect)]
    rows = [(name, name, 1.0) for name in moving] + [(f"{n}, {s:g}", n, s) for n in RECIPES for s in (0.3, 0.6, 1.0)]
    for title, name, severity in rows:
        if name not in wanted:
            continue
        parts = [measure(record, geometry_of(name, k, severity)) for k, record in enumerate(records)]
        level, lines, back = (np.concatenate([part[i] for part in parts]) for i in range(3))
        figures = level.mean(), level.std(), lines.mean(), lines.std()
        print(f"| {title} | {figures[0]:+.4f} | {figures[1]:.4f} | {figures[2]:+.4f} | {figures[3]:.4f} "
              f"| {np.abs(lines).max():.3f} | {back.max():.1e} |", flush=True)  # fmt: skip
        if max(abs(figures[0]), abs(figures[2])) > BIAS or max(figures[1], figures[3]) > SPREAD or back.max() > RETURN:
            missed.append(title)

    print("\n| painted, at severity 0.6 | level traces: bias, px | SD |\n|---|---|---|")
    for name, kind in EFFECTS.items():
        if issubclass(kind, GeometryEffect) or name not in wanted:
            continue
        errors = np.concatenate([painted(record, kind(severity=0.6), k) for k, record in enumerate(records)])
        print(f"| {name} | {errors.mean():+.4f} | {errors.std():.4f} |", flush=True)
        if abs(errors.mean()) > BIAS and name not in _GHOSTS:
            missed.append(name)
    print("\n" + ("all targets met" if not missed else f"missed: {'; '.join(missed)}"))
    return 1 if missed else 0


def geometry_of(name: str, seed: int, severity: float) -> list[Effect]:
    """Those drawn effects of an effect or recipe that move points."""
    rng = np.random.default_rng(seed)
    drawn = RECIPES[name].draw(rng, severity) if name in RECIPES else [draw(EFFECTS[name](), rng, severity)]
    still = draw(Lamp(strength=0.0), rng)  # no shading: it would move the centroid of what is darker than white
    return [*(effect for effect in drawn if isinstance(effect, GeometryEffect)), still]


def measure(record: Record, effects: Sequence[Effect]) -> tuple[D, D, D]:
    """px: errors on level traces, errors on grid lines, and how far points are from themselves after a return."""
    traces, lines = apply(traces_only(record), effects), apply(lines_only(record), effects)
    mm = np.concatenate([lines.mm(t)[:: t.mv.size // 40 or 1] for t in traces.traces])
    mm = mm[np.isfinite(mm).all(axis=1)]
    px = traces.mm_to_px(mm)
    back = np.abs(traces.mm_to_px(traces.mm_to_px.inverse(px)) - px)
    also = np.abs(traces.mm_to_px.inverse(px) - mm) * DPI / 25.4
    return level_errors(traces), line_errors(lines), np.concatenate([back.ravel(), also.ravel()])


def painted(record: Record, effect: Effect, seed: int) -> D:
    """px: errors on level traces that are still well seen after an effect that moves nothing."""
    page = traces_only(record)
    return level_errors(apply(page, [effect], seed=seed), least=0.35)


def traces_only(record: Record) -> Page:
    """Black traces on white."""
    layout = replace(Layout.for_record(record), pulses=())
    return render(record, layout, Style(grid="none", **_BARE), DPI)  # type: ignore[arg-type]


def lines_only(record: Record) -> Page:
    """Black 5 mm lines on white, as wide as the pen."""
    blank = Record(record.leads, np.full_like(record.mv, np.nan), record.fs, record.name)
    style = Style(grid="black", minor="none", major_width=0.35, **_BARE)  # type: ignore[arg-type]
    page = render(blank, replace(Layout.for_record(record), pulses=()), style, DPI)
    # The grid's black is a dark grey: stretched, so that all of the ink counts.
    dark = cv2.subtract(np.full_like(page.image, 255), page.image)
    return replace(page, image=np.asarray(255 - cv2.convertScaleAbs(dark, alpha=255 / 185), np.uint8))


def level_errors(page: Page, least: float = 0.0) -> D:
    """Errors where a trace runs level for 1.6 mm on both sides, and can be seen."""
    out = []
    for trace in page.traces:
        n = max(2, round(1.6 / page.layout.speed * trace.fs))
        mm = page.mm(trace)
        # Across a level stretch a round pen's ink is centred on the trace's mean over the pen's width.
        wide = 2 * round(_BARE["pen_width"] / page.layout.speed * trace.fs / 2) + 1  # type: ignore[operator]
        mm[:, 1] = np.convolve(np.pad(mm[:, 1], wide // 2, mode="edge"), np.full(wide, 1 / wide), "valid")
        if len(mm) < 4 * n:
            continue
        windows = np.lib.stride_tricks.sliding_window_view(mm[:, 1], 2 * n + 1)
        spread = np.full(len(mm), np.inf)
        spread[n : len(mm) - n] = np.nan_to_num(np.ptp(windows, axis=1), nan=np.inf)
        use = (spread < 0.08) & page.visible(trace)
        use[: 4 * n] = use[-4 * n :] = False
        at = np.flatnonzero(use)[::7]
        out.append(_offsets(page, mm[at], mm[at - 1], mm[at + 1], least))
    return np.concatenate(out) if out else np.empty(0)


def line_errors(page: Page) -> D:
    """Errors of 5 mm lines in the middle between their crossings."""
    width, height = page.layout.width, page.layout.height
    out = []
    for axis in (0, 1):
        across = np.arange(5, (width, height)[axis] - 5, 5.0)
        along = np.arange(7.5, (height, width)[axis] - 5, 5.0)
        mm = np.stack(np.meshgrid(across, along), axis=-1).reshape(-1, 2)[:, :: 1 if axis == 0 else -1]
        step = np.array([0.0, 0.3] if axis == 0 else [0.3, 0.0])
        out.append(_offsets(page, mm, mm - step, mm + step, 0.0))
    return np.concatenate(out)


def _offsets(page: Page, mm: D, before: D, after: D, least: float) -> D:
    """px from the claimed points (N, 2) mm to the ink's centroid, at right angles to the line through them.

    Ink is what is darker than the paper on both sides; where it is less than ``least`` of a full line it is not judged.
    """
    if not len(mm):
        return np.empty(0)
    px, ahead = page.mm_to_px(mm), page.mm_to_px(after) - page.mm_to_px(before)
    height, width = page.image.shape[:2]
    pitch = page.px_per_mm
    reach = max(4.0, 0.9 * pitch)
    inside = (px > reach + 2).all(axis=1) & (px < [width - reach - 3, height - reach - 3]).all(axis=1)
    px, ahead = px[inside], ahead[inside]
    if not len(px):
        return np.empty(0)
    normal = np.stack([-ahead[:, 1], ahead[:, 0]], axis=-1) / np.linalg.norm(ahead, axis=1, keepdims=True)
    t = np.arange(-reach, reach + 0.125, 0.25)
    at = px[:, None] + normal[:, None] * t[:, None]
    profile = 255.0 - _sampled(page.image[..., 1], at)
    edge = max(2, round(1.0 / 0.25))
    paper = (profile[:, :edge].mean(axis=1) + profile[:, -edge:].mean(axis=1)) / 2
    ink = np.clip(profile - paper[:, None], 0, None) if least else profile
    total = ink.sum(axis=1)
    full = 255.0 * 0.35 * pitch / 0.25
    good = total > max(least, 0.2) * full
    return np.asarray((ink[good] * t).sum(axis=1) / total[good], np.float64)


def _sampled(grey: NDArray[np.uint8], at: D) -> D:
    """Values at (..., 2) px by bilinear interpolation, exact (OpenCV's rounds places to 1/32 px)."""
    low = np.floor(at).astype(np.intp)
    fx, fy = np.moveaxis(at - low, -1, 0)
    x, y = np.moveaxis(low, -1, 0)
    g = grey.astype(np.float64)
    top = g[y, x] * (1 - fx) + g[y, x + 1] * fx
    return np.asarray(top * (1 - fy) + (g[y + 1, x] * (1 - fx) + g[y + 1, x + 1] * fx) * fy, np.float64)


if __name__ == "__main__":
    sys.exit(main())
