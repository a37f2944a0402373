"""How fast and how exactly pages are drawn, on one core.

python benchmarks/render.py                          bundled samples
python benchmarks/render.py --src ptbxl --root DIR

Drawing is timed with one style throughout and with a fresh random style for each page (nothing of the grid is known
then). A page written is drawn and saved with its truth. Recipes are timed whole, from record to JPEG with truth, at
severity 0.5; effects alone, on a drawn page, at severity 1. Figures are medians; times are by the clock (``--cpu``: of
the processor, which other work inflates less). The cold process draws and writes one page and nothing else.
Exit status: 0 all targets met, 1 some missed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from ecg_image_kit import Layout, Record, Strip, Style, open_source, render  # noqa: E402
from ecg_image_kit.effects import EFFECTS, apply, draw  # noqa: E402
from ecg_image_kit.recipes import RECIPES  # noqa: E402
from ecg_image_kit.render import draw_grid  # noqa: E402

# At 200 dpi: ms, ms, s, s, MB; px.
DRAW_MS, WRITE_MS, COLD_S, IMPORT_S, MEMORY_MB = 40.0, 120.0, 1.5, 0.5, 300.0
CENTRE_SD, CENTRE_BIAS, PITCH = 0.03, 0.005, 1e-5
RECIPE_MS = {"clean": 120.0, "scan": 250.0, "photo": 400.0, "photo-hard": 600.0, "crumpled": 600.0}
HARD_MEMORY_MB = 600.0  # of a worker that makes photo-hard pages of 300 dpi

Clock = Callable[[], float]
Judge = Callable[[str, float, float], str]

_PEAK = """\
try:  # not resource.getrusage, whose peak begins with the parent's
    with open("/proc/self/status") as status:
        peak = next(float(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
except OSError:
    peak = float("nan")
"""

_HARD = f"""
import itertools, json, os, sys, tempfile
import numpy as np
import ecg_image_kit as kit
from ecg_image_kit.effects import apply
from ecg_image_kit.recipes import RECIPES
source = kit.open_source(sys.argv[1], **json.loads(sys.argv[2]))
with tempfile.TemporaryDirectory() as folder:
    for k, name in enumerate(itertools.islice(source.names(), 3)):
        page = kit.render(source.load(name), dpi=300)
        apply(page, RECIPES["photo-hard"].draw(np.random.default_rng(k), 0.8)).save(os.path.join(folder, "page.jpg"))
{_PEAK}
print(peak)
"""

_COLD = f"""
import json, sys, time
t0 = time.perf_counter()
import ecg_image_kit as kit
t1 = time.perf_counter()
source = kit.open_source(sys.argv[1], **json.loads(sys.argv[2]))
record = source.load(next(iter(source.names())))
kit.render(record, kit.Layout.for_record(record), dpi=200).save(sys.argv[3])
{_PEAK}
print(json.dumps([t1 - t0, peak]))
"""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--src", default="samples", help="source of records (default: samples)")
    parser.add_argument("--root", help="its folder, for sources that need one")
    parser.add_argument("--dpi", default="72,100,150,200,300,600", help="resolutions, separated by commas")
    parser.add_argument("--repeats", type=int, default=15, help="pages behind each median (default: 15)")
    parser.add_argument("--parts", default="pages,recipes,effects", help="tables to print (default: all)")
    parser.add_argument("--cpu", action="store_true", help="processor time instead of the clock's")
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    options = {"root": args.root} if args.root else {}
    source = open_source(args.src, **options)
    records = [source.load(name) for name in itertools.islice(source.names(), 16)]
    clock = time.process_time if args.cpu else time.perf_counter

    missed: list[str] = []

    def judge(what: str, value: float, limit: float) -> str:
        if not value <= limit:
            missed.append(f"{what} {value:.4g}, expected at most {limit:g}")
        return f"{value:.3g}"

    parts = args.parts.split(",")
    if "recipes" in parts:
        recipe_table(records, args.repeats, clock, judge)
        peak = judge("peak memory of photo-hard, MB:", memory(args.src, options), HARD_MEMORY_MB)
        print(f"\npeak memory of photo-hard at 300 dpi: {peak} MB")
    if "effects" in parts:
        effect_table(records[0], args.repeats, clock)
    if "pages" in parts:
        page_tables(args, records, options, clock, judge)
    print("\n" + ("all targets met" if not missed else "missed: " + "; ".join(missed)))
    return 1 if missed else 0


def recipe_table(records: list[Record], repeats: int, clock: Clock, judge: Judge) -> None:
    """Milliseconds from record to files, and the share of drawing, effects and writing."""
    print("| recipe | whole, ms | drawn | effects | written | asked |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.jpg"
        for name, recipe in RECIPES.items():
            rows = []
            for k in range(-1, max(repeats, 15)):
                record, rng = records[k % len(records)], np.random.default_rng(k + 1)
                marks = [clock()]
                page = render(record, Layout.for_record(record), None, 200)
                marks.append(clock())
                page = apply(page, recipe.draw(rng, 0.5))
                marks.append(clock())
                page.save(path)
                rows.append(1000 * np.diff([*marks, clock()]))
            whole = float(np.median(np.sum(rows[1:], axis=1)))
            drawn, effects, written = np.median(rows[1:], axis=0)
            limit = RECIPE_MS.get(name, RECIPE_MS.get(name.split("-")[0] if name.startswith("scan") else "", np.inf))
            asked = f"{limit:.0f}" if limit < np.inf else ""
            print(f"| {name} | {judge(f'{name}, ms:', whole, limit)} | {drawn:.0f} | {effects:.0f} | {written:.0f} "
                  f"| {asked} |", flush=True)  # fmt: skip


def effect_table(record: Record, repeats: int, clock: Clock) -> None:
    """Milliseconds of each effect alone."""
    page = render(record, Layout.for_record(record), None, 200)
    print("\n| stage | effect | ms, median | most |\n|---|---|---|---|")
    for name, kind in EFFECTS.items():
        taken = []
        for k in range(max(5, repeats // 2)):
            effect = draw(kind(), np.random.default_rng(k), 1.0)
            begin = clock()
            apply(page, [effect])
            taken.append(1000 * (clock() - begin))
        print(f"| {kind.stage} | {name} | {np.median(taken):.1f} | {max(taken):.1f} |", flush=True)


def memory(src: str, options: dict[str, str]) -> float:
    """MB at the most, of a new process that makes three photo-hard pages of 300 dpi."""
    out = subprocess.run(
        [sys.executable, "-c", _HARD, src, json.dumps(options)], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout
    return float(out)


def page_tables(
    args: argparse.Namespace, records: list[Record], options: dict[str, str], clock: Clock, judge: Judge
) -> None:
    """Speed of drawing and writing, the cold process, and how exact lines and grid are."""
    print("\n| dpi | drawn, ms | fresh style, ms | with PNG and truth, ms | with JPEG and truth, ms | PNG, MB |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for dpi in (float(part) for part in args.dpi.split(",")):
            row = speeds(records, dpi, args.repeats, Path(folder), clock)
            if dpi == 200:
                judge("drawn, ms:", row[0], DRAW_MS)
                judge("drawn in a fresh style, ms:", row[1], DRAW_MS)
                judge("written, ms:", row[2], WRITE_MS)
            print(f"| {dpi:g} | {row[0]:.1f} | {row[1]:.1f} | {row[2]:.1f} | {row[3]:.1f} | {row[4]:.2f} |", flush=True)

        print("\n| cold process, one page of 200 dpi with truth | median |\n|---|---|")
        whole, imported, peak = cold(args.src, options, Path(folder), min(args.repeats, 7))
    print(f"| from start to end, s | {judge('cold process, s:', whole, COLD_S)} |")
    print(f"| import ecg_image_kit, s | {judge('import, s:', imported, IMPORT_S)} |")
    print(f"| peak memory, MB | {judge('peak memory, MB:', peak, MEMORY_MB) if peak == peak else 'not known'} |")

    print("\n| dpi | line: centroid SD, px | bias, px | middle: most, px | grid: error of pitch | of a line, px |")
    print("|---|---|---|---|---|---|")
    for dpi in (float(part) for part in args.dpi.split(",")):
        spread, bias, worst = line_errors(dpi)
        pitch, line = grid_errors(dpi)
        if dpi == 200:
            judge("centroid SD, px:", spread, CENTRE_SD)
            judge("centroid bias, px:", abs(bias), CENTRE_BIAS)
        judge(f"grid pitch at {dpi:g} dpi, relative:", abs(pitch), PITCH)
        print(f"| {dpi:g} | {spread:.4f} | {bias:+.4f} | {worst:.4f} | {pitch:+.1e} | {line:.4f} |", flush=True)


def speeds(
    records: list[Record], dpi: float, repeats: int, folder: Path, clock: Callable[[], float]
) -> tuple[float, float, float, float, float]:
    """ms to draw, to draw in a fresh style, to draw and write as png and as jpg; MB of a png."""
    turn = itertools.cycle(records)
    styles = (Style.random(np.random.default_rng(k)) for k in itertools.count())
    target = folder / "page.png"

    def median(action: Callable[[], object]) -> float:
        action()
        taken = []
        for _ in range(repeats if dpi <= 300 else max(3, repeats // 3)):
            begin = clock()
            action()
            taken.append(1000 * (clock() - begin))
        return float(np.median(taken))

    def draw(style: Style | None = None) -> object:
        record = next(turn)
        return render(record, Layout.for_record(record), style, dpi)

    def write(path: Path) -> None:
        record = next(turn)
        render(record, Layout.for_record(record), None, dpi).save(path)

    drawn, fresh = median(draw), median(lambda: draw(next(styles)))
    png, jpg = median(lambda: write(target)), median(lambda: write(target.with_suffix(".jpg")))
    return drawn, fresh, png, jpg, target.stat().st_size / 1e6


def cold(src: str, options: dict[str, str], folder: Path, repeats: int) -> tuple[float, float, float]:
    """Median s of a new process that draws and writes a page, s of its import, and its greatest peak memory, MB."""
    rows = []
    for _ in range(repeats):
        begin = time.perf_counter()
        command = [sys.executable, "-c", _COLD, src, json.dumps(options), str(folder / "cold.png")]
        out = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
        rows.append((time.perf_counter() - begin, *json.loads(out)))
    whole, imported, peak = zip(*rows, strict=True)
    return float(np.median(whole)), float(np.median(imported)), max(peak)


def line_errors(dpi: float) -> tuple[float, float, float]:
    """px between the ink and the true line on flat stretches: SD and mean of the centroid, most of the middle.

    The centroid counts a partly inked pixel at its centre, which alone errs by hundredths of a pixel; the middle (as
    much ink above as below, from a full pixel) does not, and shows what the drawing itself errs by.
    """
    corners = np.array([0.0, 0.0, 0.1, -0.2, 0.15, 0.4, 0.2, -0.1, -0.05, -0.35, 0.0])
    t = np.arange(5000) / 500
    record = Record(("II",), np.interp(t, np.arange(11), corners)[None], 500)
    pen = max(0.3, 2.2 * 25.4 / dpi)  # mm; the middle needs a pen over two pixels wide
    errors = []
    for width in (0.3, pen):
        style = Style(grid="none", header="none", label="none", ink=(0, 0, 0), pen_width=width)
        page = render(record, Layout.named("1x1", ["II"], sheet="strip", pulse="none"), style, dpi)
        xy = page.px(page.traces[0])
        coverage = (255.0 - page.image[..., 0]) / 255.0
        columns = np.arange(coverage.shape[1])
        second = 25.0 * dpi / 25.4
        corner = np.abs((columns - xy[0, 0] + second / 2) % second - second / 2)
        use = (corner > 4) & (columns > xy[0, 0] + 4) & (columns < xy[-1, 0] - 4)
        coverage, rows = coverage[:, use], np.arange(len(coverage))[:, None]
        full = coverage.argmax(axis=0)
        centroid = (coverage * rows).sum(axis=0) / coverage.sum(axis=0)
        middle = full + ((coverage * (rows > full)).sum(axis=0) - (coverage * (rows < full)).sum(axis=0)) / 2
        truth = np.interp(columns[use], xy[:, 0], xy[:, 1])
        errors.append((centroid - truth, middle - truth))
    return float(errors[0][0].std()), float(errors[0][0].mean()), float(np.abs(errors[1][1]).max())


def grid_errors(dpi: float) -> tuple[float, float]:
    """Relative error of the grid's pitch over 297 mm, and the greatest of a line's position, px."""
    k = dpi / 25.4
    style = Style(grid="black", minor="none", major_width=max(0.3, 2.2 / k))
    image = draw_grid(Layout(297.0, 12.0, (Strip("II", 0.0, 1.0, 2.0, 6.0),)), style, dpi)
    dark = 255.0 - image[round(7.5 * k) - 1, :, 0]
    lines = np.arange(5, 297, 5)
    at = np.array(list(_middles(dark / dark.max(), lines, k)))
    pitch, origin = np.polyfit(lines, at, 1)
    return float(pitch / k - 1), float(np.abs(pitch * lines + origin - at).max())


def _middles(profile: np.ndarray, lines: np.ndarray, k: float) -> Iterator[float]:
    for line in lines:
        window = np.arange(round((line - 2) * k), round((line + 1.5) * k))
        ink = profile[window]
        full = int(ink.argmax())
        yield window[full] + (ink[full + 1 :].sum() - ink[:full].sum()) / 2


if __name__ == "__main__":
    sys.exit(main())
