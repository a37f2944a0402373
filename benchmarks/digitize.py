"""How well and how fast pages are read: records are printed, read back from the pixels alone, and compared.

python benchmarks/digitize.py --root PTBXL_ROOT                  # every row of the table of targets, 200 records each
python benchmarks/digitize.py --root PTBXL_ROOT -n 20 --rows photo,clean@100
python benchmarks/digitize.py --root PTBXL_ROOT -n 20 --rows photo --oracle geometry   # which step costs most
python benchmarks/digitize.py --root PTBXL_ROOT --rows clean@300 --layout 3x4+1R --style default --reader analytic

A row is a recipe, at 200 dpi or at RECIPE@DPI. --oracle gives the reader the page's true map (geometry), or that and
the true ink (ink): what is left to be gained by a better one. The first 200 records were kept out of training.

Time is that of ``digitizer.read`` inside a worker that keeps to one thread, by the clock and by the processor. The
clock is right on an idle machine with a core for each worker; the processor's time is what is compared with the target,
because other work does not inflate it. Without --root the bundled synthetic records are used, which are
easier than real ones. Exit status: 0 all targets met, 1 some missed, 2 wrong request.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402
import numpy as np  # noqa: E402
from PIL import Image, ImageDraw  # noqa: E402

import digitizer  # noqa: E402
from digitizer.locate import Grid  # noqa: E402
from digitizer.metrics import PageScore, kaggle_ratio, kaggle_score, pool, score, score_missing  # noqa: E402
from digitizer.network import PX_PER_MM, SMALL, WEIGHTS, Seen, load, small  # noqa: E402
from digitizer.patches import LABELS, MARGIN, flatten_page  # noqa: E402
from digitizer.pipeline import Look, interpret  # noqa: E402
from digitizer.rectify import Upright  # noqa: E402
from ecg_image_kit import EcgError, Layout, Record, Style, open_source, render  # noqa: E402
from ecg_image_kit.effects import apply  # noqa: E402
from ecg_image_kit.page import Page  # noqa: E402
from ecg_image_kit.recipes import recipe_of  # noqa: E402
from ecg_image_kit.warp import Chain, Homography  # noqa: E402

LAYOUTS = ("3x4", "3x4+1R", "3x4+3R", "6x2", "6x2+1R", "12x1", "4x3")
START_SECONDS = 0.6
GOOD = 15.0  # dB, plain, of a lead that can be relied on


class Target(NamedTuple):
    """Of a row: mean plain SNR and Kaggle score, dB, at least; shares of pages read and of right layouts and names, at
    least; processor seconds a page (median), at most."""

    plain: float
    kaggle: float
    read: float = 0.995
    named: float = 0.99
    seconds: float = 2.5


_HARD = (0.97, 0.97, 2.5)
TARGETS = {
    "clean": Target(31.0, 25.3, seconds=1.2),
    "clean@100": Target(25.0, 23.5, seconds=1.2),
    "scan-color": Target(28.0, 24.8),
    "scan-grey": Target(27.0, 24.5),
    "scan-bw": Target(26.0, 24.0),
    "photocopy": Target(20.0, 20.0),
    "fax": Target(20.0, 20.0),
    "photo": Target(22.0, 21.5),
    "photo-hard": Target(17.0, 17.0, *_HARD),
    "photo-screen": Target(18.0, 18.0, *_HARD),
    "stained": Target(18.0, 18.0, *_HARD),
    "damaged": Target(18.0, 18.0, *_HARD),
    "mould": Target(18.0, 18.0, *_HARD),
    "crumpled": Target(18.0, 18.0, *_HARD),
}


@dataclass(frozen=True)
class Job:
    """One page: which record, how it is printed."""

    src: str
    root: str | None
    name: str
    dpi: float
    layout: str
    style: str
    seed: int
    recipe: str = "clean"
    severity: float = 0.5
    row: str = "clean"
    reader: str = "auto"
    weights: str | None = None
    oracle: str = "none"


@dataclass(frozen=True)
class Result:
    """One page read. ``why``: the error, or what is likely to have gone wrong, in words. ``leads``: the confidence and
    the plain SNR of each that was read."""

    row: str
    name: str
    dpi: float
    layout: str
    plain_db: float
    kaggle_db: float
    ratio: float
    seconds: float
    cpu_seconds: float
    lag_ms: float
    gain: float
    unread: float
    failed: bool
    named: bool
    confidence: float
    why: str
    leads: tuple[tuple[float, float], ...] = ()


def page_of(job: Job) -> Page:
    """The page of a job, the same every time."""
    record = open_source(job.src, **({"root": job.root} if job.root else {})).load(job.name)
    rng = np.random.default_rng([job.seed, int("".join(c for c in job.name if c.isdigit()) or 0), round(job.dpi)])
    name = str(rng.choice(LAYOUTS)) if job.layout == "random" else job.layout
    style = Style.random(rng) if job.style == "random" else Style()
    page = render(record, Layout.for_record(record, name), style, job.dpi)
    return apply(page, recipe_of(job.recipe).draw(rng, job.severity))


def work(job: Job) -> Result:
    """Render, read, score."""
    cv2.setNumThreads(1)
    page = page_of(job)
    truth = page.record()
    begin, cpu = time.perf_counter(), time.process_time()

    def taken() -> tuple[float, float]:
        return time.perf_counter() - begin, time.process_time() - cpu

    named, confidence, leads = False, 0.0, []
    try:
        reading = _read(job, page)
    except EcgError as error:
        seconds = taken()
        scored, failed, why = score_missing(truth, ("plain", "kaggle")), True, f"{type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001 - a bug is counted as a failure, with its name, and the run goes on
        seconds = taken()
        scored, failed, why = score_missing(truth, ("plain", "kaggle")), True, f"BUG {type(error).__name__}: {error}"
    else:
        seconds = taken()
        scored, failed = score(truth, reading.record, ("plain", "kaggle")), False
        why = cause(page, reading.page, truth, scored)
        named, confidence = _cells(reading.page) == _cells(page), min(reading.confidence.values())
        leads = [
            (reading.confidence[each.lead], each.plain.db) for each in scored.leads if each.lead in reading.confidence
        ]
    ratio = kaggle_ratio(pool(lead.kaggle for lead in scored.leads))
    return Result(
        job.row, job.name, job.dpi, page.layout.name, scored.value("plain"), scored.value("kaggle"), ratio, *seconds,
        scored.lag_ms, scored.gain, scored.unread, failed, named, confidence, why, tuple(leads),
    )  # fmt: skip


def _read(job: Job, page: Page) -> digitizer.Reading:
    """The page read, with what the job's oracle knows."""
    if job.oracle == "none":
        return digitizer.read(page.image, reader=job.reader, weights=job.weights)
    lesson = flatten_page(page)
    to_sheet = Homography.affine(1 / PX_PER_MM, 0, -MARGIN, 0, 1 / PX_PER_MM, -MARGIN)
    upright = Upright(lesson.image, PX_PER_MM, PX_PER_MM, Chain((to_sheet, *page.mm_to_px.warps)), to_sheet)
    if job.oracle == "ink":
        trace, pulse = (np.ascontiguousarray(lesson.ink[..., k], np.float32) / np.float32(255) for k in (0, 1))
        seen = Seen(trace, pulse, np.eye(len(LABELS), dtype=np.float32)[lesson.labels], LABELS, (0, 1, 2, 3), 1.0)
    else:
        seen = load(job.weights or WEIGHTS).see(lesson.image)
    grid = Grid(to_sheet, (page.px_per_mm, page.px_per_mm), 0.0, 0.0, "given", 0.0)
    look = Look(upright, seen, *(small(name, job.weights or WEIGHTS) for name in SMALL))
    return interpret(page.image, grid, upright, look, scaled=True)


def _cells(page: Page) -> list[tuple[str, float]]:
    """Leads and the tenths of seconds at which their strips start, sorted."""
    return sorted((strip.lead, round(strip.start, 1)) for strip in page.layout.strips)


def cause(page: Page, found: Page, truth: Record, scored: PageScore) -> str:
    """What is likely to have cost most, judged by the truth."""
    reasons = []
    if found.layout.name != page.layout.name:
        reasons.append(f"layout taken for {found.layout.name}")
    for what in ("speed", "gain"):
        if abs(getattr(found.layout, what) / getattr(page.layout, what) - 1) > 0.02:
            reasons.append(f"{what} {getattr(found.layout, what):g} instead of {getattr(page.layout, what):g}")
    if abs(scored.lag_ms) > 0.4:
        reasons.append(f"{scored.lag_ms:+.2f} ms late")
    if scored.unread > 0.005:
        reasons.append(f"{scored.unread:.1%} unread")
    whole = pool(lead.plain for lead in scored.leads).db
    worst = max(scored.leads, key=lambda lead: lead.plain.error)
    rest = pool(lead.plain for lead in scored.leads if lead is not worst)
    if rest.signal and rest.db > whole + 2:
        reasons.append(f"{worst.lead} alone ({worst.plain.db:.1f} dB; the others {rest.db:.1f})")
    return "; ".join(reasons) or "all leads alike: " + ", ".join(
        f"{lead.lead} {lead.plain.db:.0f}" for lead in sorted(scored.leads, key=lambda lead: -lead.plain.error)[:3]
    )


def start_seconds(image: Path, runs: int = 7) -> list[float]:
    """Seconds from starting ``ecg-digitize`` to entering ``read`` with its first image."""
    code = (
        "import os, time\n"
        "import digitizer.cli as cli, digitizer.pipeline as pipeline\n"
        "def enter(*args, **kwargs):\n"
        "    print(time.time(), flush=True)\n"
        "    os._exit(0)\n"
        "pipeline.read = enter\n"
        f"cli.main([{str(image)!r}, '--timeout', '0'])\n"
    )
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "TMPDIR": str(image.parent),  # what is cut off leaves its temporary folder behind
    }  # fmt: skip
    taken = []
    for _ in range(runs):
        begin = time.time()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        taken.append(float(done.stdout) - begin)
    return taken[1:]  # the first one fills the disk cache


def results(jobs: list[Job], workers: int) -> Iterator[Result]:
    """Every job's result, in order; progress on a terminal."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool_:
        for k, result in enumerate(pool_.map(work, jobs, chunksize=4), start=1):
            if sys.stderr.isatty():
                print(f"\r{k}/{len(jobs)}", end="\n" if k == len(jobs) else "", file=sys.stderr, flush=True)
            yield result


def header() -> str:
    columns = (
        "row         ",
        "pages",
        "plain SNR, dB",
        "median",
        "Kaggle",
        "<12 dB",
        " read",
        "named",
        "s/page",
        "cpu s",
    )
    return "  ".join((*columns, "|lag| ms"))


def line(own: Sequence[Result], target: Target | None) -> tuple[str, bool]:
    """One row of the table, and whether it meets its targets."""
    db = np.array([r.plain_db for r in own])
    kaggle = kaggle_score(r.ratio for r in own)
    seconds, cpu = (float(np.median([getattr(r, key) for r in own])) for key in ("seconds", "cpu_seconds"))
    lag = float(np.median([abs(r.lag_ms) for r in own if np.isfinite(r.lag_ms)] or [np.nan]))
    read, named = 1 - float(np.mean([r.failed for r in own])), float(np.mean([r.named for r in own]))
    missed = [] if target is None else [
        *([f"plain {target.plain:g}"] if db.mean() < target.plain else []),
        *([f"Kaggle {target.kaggle:g}"] if kaggle < target.kaggle else []),
        *([f"read {target.read:.1%}"] if read < target.read else []),
        *([f"named {target.named:.0%}"] if named < target.named else []),
        *([f"time {target.seconds:g}"] if cpu > target.seconds else []),
    ]  # fmt: skip
    sd = db.std(ddof=1) if db.size > 1 else 0.0
    text = (
        f"{own[0].row:12s}  {len(own):5d}  {db.mean():6.2f} ± {sd:4.1f}  {np.median(db):6.2f}  {kaggle:6.2f}  "
        f"{np.mean(db < 12):6.1%}  {read:5.1%}  {named:5.1%}  {seconds:6.2f}  {cpu:5.2f}  {lag:8.2f}  "
    )
    return text + (f"MISSED {', '.join(missed)}" if missed else "" if target is None else "ok"), not missed


def failures(found: Sequence[Result], worst: int) -> str:
    """The pages that were not read, and the worst of those that were, with what is likely to be the cause."""
    failed, read = [r for r in found if r.failed], [r for r in found if not r.failed]
    lines = [f"not read: {len(failed)} of {len(found)}"]
    lines += [f"  {r.row} {r.name}: {r.why}" for r in failed]
    lines.append(f"worst {min(worst, len(read))} of those read:")
    for r in sorted(read, key=lambda r: r.plain_db)[:worst]:
        lines.append(f"  {r.row} {r.name}, {r.layout}: {r.plain_db:.1f} dB; {r.why}")
    return "\n".join(lines)


def confidences(found: Sequence[Result]) -> list[tuple[float, int, float, float]]:
    """By tenths of confidence: where it begins, how many leads, the share of them over GOOD dB, their median, dB."""
    sure, db = np.array([lead for r in found for lead in r.leads]).reshape(-1, 2).T
    tenth = np.minimum((10 * sure).astype(int), 9)
    own = [(k, db[tenth == k]) for k in range(10) if (tenth == k).any()]
    return [(k / 10, v.size, float(np.mean(v > GOOD)), float(np.median(v))) for k, v in own]


def plot(rows: Sequence[tuple[float, int, float, float]], file: str) -> None:
    """Draw the shares of ``confidences`` as bars into a picture."""
    width, height, left, top = 560, 310, 50, 28
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    wide, tall = (width - left - 12) / 10, height - top - 62

    def label(x: float, y: float, text: str) -> None:
        draw.text((x, y), text, fill="black", anchor="mm")

    for share in (0.0, 0.5, 0.95, 1.0):
        y = top + tall * (1 - share)
        draw.line([(left, y), (width - 12, y)], fill="#c0392b" if share == 0.95 else "#d8d8d8")
        label(left - 22, y, f"{share:.0%}")
    for sure, count, share, _ in rows:
        x = left + 10 * sure * wide
        draw.rectangle([x + 4, top + tall * (1 - share), x + wide - 4, top + tall], fill="#2c6fad")
        label(x + wide / 2, top + tall + 12, f"{sure:.1f}")
        label(x + wide / 2, top + tall + 28, f"n={count}")
    label((width + left) / 2, 10, f"share of the leads with a plain SNR over {GOOD:g} dB")
    label((width + left) / 2, height - 14, "confidence, from")
    picture.save(file)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--root", help="PTB-XL folder (default: the bundled samples)")
    p.add_argument("-n", type=int, default=200, help="records (default: 200)")
    p.add_argument("--skip", type=int, default=0, help="records to leave out before them")
    p.add_argument("--rows", default=",".join(TARGETS), help="recipes or RECIPE@DPI, joined by commas (default: all)")
    p.add_argument("--layout", default="random", help=f"a layout's name, or random ({', '.join(LAYOUTS)})")
    p.add_argument("--style", choices=("default", "random"), default="random", help="looks of the pages")
    p.add_argument("--severity", type=float, default=0.5, help="of the recipes (default: 0.5)")
    p.add_argument("--seed", type=int, default=0, help="of random looks, layouts and recipes")
    p.add_argument("--reader", default="auto", choices=digitizer.READERS, help="as in digitizer.read")
    p.add_argument("--weights", metavar="DIR", help="of the network (default: those shipped)")
    p.add_argument("--oracle", choices=("none", "geometry", "ink"), default="none", help="what the reader is told")
    p.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    p.add_argument("--worst", type=int, default=5, help="pages to name (default: 5)")
    p.add_argument("--csv", metavar="FILE", help="write every page's figures")
    p.add_argument("--plot", metavar="FILE", help="draw what confidences mean into a picture")
    return p


def main() -> int:
    p = parser()
    options = p.parse_args()
    if options.plot and Path(options.plot).suffix.lower() not in Image.registered_extensions():
        p.error(f"--plot {options.plot}; expected a picture's name, such as confidence.png.")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # of the workers
    src = "ptbxl" if options.root else "samples"
    try:
        source = open_source(src, **({"root": options.root} if options.root else {}))
        names = list(itertools.islice(source.names(), options.skip, options.skip + options.n))
        jobs = []
        for spec in options.rows.split(","):
            recipe, _, dpi = spec.partition("@")
            recipe_of(recipe)
            jobs += [
                Job(
                    src, options.root, name, float(dpi or 200), options.layout, options.style, options.seed, recipe,
                    options.severity, spec, options.reader, options.weights, options.oracle,
                )
                for name in names
            ]  # fmt: skip
        if not jobs:
            raise EcgError("no records; check -n and --skip.")
        with tempfile.TemporaryDirectory() as folder:
            image = Path(folder) / "page.png"
            page_of(jobs[0]).save(image, truth=False)
            start = float(np.median(start_seconds(image)))
    except (EcgError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    slow = start > START_SECONDS
    told = "" if options.oracle == "none" else f", told the true {options.oracle}"
    print(
        f"{len(names)} records of {src}, layout {options.layout}, style {options.style}, severity "
        f"{options.severity:g}, reader {options.reader}{told}"
    )
    print(
        f"from process start to the first image: {start:.2f} s {'MISSED ' if slow else ''}(target {START_SECONDS:g})\n"
    )
    begin = time.perf_counter()
    found: list[Result] = []
    met = not slow
    usual = options.layout == options.style == "random" and options.severity == 0.5 and options.oracle == "none"
    print(header())
    for key, group in itertools.groupby(results(jobs, options.workers), key=lambda r: r.row):
        own = list(group)
        found += own
        text, ok = line(own, TARGETS.get(key) if usual else None)
        met &= ok
        print(text, flush=True)
    print(f"{len(found)} pages in {time.perf_counter() - begin:.0f} s with {options.workers} processes\n")
    print(failures(found, options.worst))
    if options.csv:
        with open(options.csv, "w", newline="") as stream:
            columns = [field.name for field in fields(Result) if field.name != "leads"]
            table = csv.DictWriter(stream, columns, extrasaction="ignore")
            table.writeheader()
            table.writerows(asdict(r) for r in found)
    if any(r.leads for r in found):
        rows = confidences(found)
        print(f"\nconfidence  leads  over {GOOD:g} dB  median")
        for sure, count, share, median in rows:
            print(f"from {sure:.1f}    {count:5d}    {share:6.1%}  {median:6.1f}")
        if options.plot:
            plot(rows, options.plot)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
