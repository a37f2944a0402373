"""How well and how fast pages are read: records are printed, read back from the pixels alone, and compared.

python benchmarks/digitize.py --root PTBXL_ROOT -n 100 --dpi 100,150,200,300
python benchmarks/digitize.py --root PTBXL_ROOT --recipe scan-grey --severity 0.3 --dpi 200

The targets for accuracy are those of clean pages.

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
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from digitizer.metrics import PageScore, kaggle_ratio, kaggle_score, pool, score, score_missing  # noqa: E402
from ecg_image_kit import EcgError, Layout, Record, Style, open_source, render  # noqa: E402
from ecg_image_kit.effects import apply  # noqa: E402
from ecg_image_kit.page import Page  # noqa: E402
from ecg_image_kit.recipes import recipe_of  # noqa: E402

MEAN_DB = {100: 20.0, 150: 24.0, 200: 27.0, 300: 28.0}  # of 100 clean pages, plain SNR
WORST_DB, PAGE_SECONDS, START_SECONDS = 12.0, 1.5, 0.6
LAYOUTS = ("3x4", "3x4+1R", "3x4+3R", "6x2", "6x2+1R", "12x1", "4x3")


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


@dataclass(frozen=True)
class Result:
    """One page read. ``why``: the error, or what is likely to have gone wrong, in words."""

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
    why: str


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
    import cv2

    import digitizer

    cv2.setNumThreads(1)
    page = page_of(job)
    truth = page.record()
    begin, cpu = time.perf_counter(), time.process_time()

    def taken() -> tuple[float, float]:
        return time.perf_counter() - begin, time.process_time() - cpu

    try:
        reading = digitizer.read(page.image)
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
    ratio = kaggle_ratio(pool(lead.kaggle for lead in scored.leads))
    return Result(
        job.name, job.dpi, page.layout.name, scored.value("plain"), scored.value("kaggle"), ratio, *seconds,
        scored.lag_ms, scored.gain, scored.unread, failed, why,
    )  # fmt: skip


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
        f"cli.main([{str(image)!r}])\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
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
    columns = (" dpi", "pages", "plain SNR, dB", "  min", "<12 dB", "Kaggle", "s/page", " cpu s", "|lag| ms")
    return "  ".join(columns)


def row(own: Sequence[Result], clean: bool) -> tuple[str, bool]:
    """One resolution's line of the table, and whether it meets its targets."""
    db = np.array([r.plain_db for r in own])
    seconds, cpu = (float(np.median([getattr(r, key) for r in own])) for key in ("seconds", "cpu_seconds"))
    lag = float(np.median([abs(r.lag_ms) for r in own if np.isfinite(r.lag_ms)] or [np.nan]))
    target = MEAN_DB.get(round(own[0].dpi)) if clean else None
    missed = [
        *(["mean SNR"] if target is not None and db.mean() < target else []),
        *(["worst page"] if clean and db.min() < WORST_DB else []),
        *(["time"] if cpu > PAGE_SECONDS else []),
    ]
    sd = db.std(ddof=1) if db.size > 1 else 0.0
    text = (
        f"{own[0].dpi:4g}  {len(own):5d}  {db.mean():6.2f} ± {sd:4.2f}  {db.min():5.1f}  "
        f"{np.mean(db < WORST_DB):6.1%}  "
        f"{kaggle_score(r.ratio for r in own):6.2f}  {seconds:6.2f}  {cpu:6.2f}  {lag:8.2f}  "
    )
    return text + (f"MISSED {', '.join(missed)}" if missed else "ok"), not missed


def failures(found: Sequence[Result], worst: int) -> str:
    """The pages that were not read, and the worst of those that were, with what is likely to be the cause."""
    failed, read = [r for r in found if r.failed], [r for r in found if not r.failed]
    lines = [f"not read: {len(failed)} of {len(found)}"]
    lines += [f"  {r.name} at {r.dpi:g} dpi: {r.why}" for r in failed]
    lines.append(f"worst {min(worst, len(read))} of those read:")
    for r in sorted(read, key=lambda r: r.plain_db)[:worst]:
        lines.append(f"  {r.name} at {r.dpi:g} dpi, {r.layout}: {r.plain_db:.1f} dB; {r.why}")
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--root", help="PTB-XL folder (default: the bundled samples)")
    p.add_argument("-n", type=int, default=100, help="records (default: 100)")
    p.add_argument("--skip", type=int, default=0, help="records to leave out before them")
    p.add_argument("--dpi", default="100,150,200,300", help="resolutions (default: 100,150,200,300)")
    p.add_argument(
        "--layout", default="3x4+1R", help=f"a layout's name, or random ({', '.join(LAYOUTS)}) (default: 3x4+1R)"
    )
    p.add_argument("--style", choices=("default", "random"), default="default", help="looks of the pages")
    p.add_argument("--recipe", default="clean", help="what happens to the pages: a recipe's name or file")
    p.add_argument("--severity", type=float, default=0.5, help="of the recipe (default: 0.5)")
    p.add_argument("--seed", type=int, default=0, help="of random looks, layouts and recipes")
    p.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    p.add_argument("--worst", type=int, default=5, help="pages to name (default: 5)")
    p.add_argument("--csv", metavar="FILE", help="write every page's figures")
    return p


def main() -> int:
    options = parser().parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # of the workers
    src = "ptbxl" if options.root else "samples"
    try:
        source = open_source(src, **({"root": options.root} if options.root else {}))
        names = list(itertools.islice(source.names(), options.skip, options.skip + options.n))
        dpis = [float(d) for d in options.dpi.split(",")]
        jobs = [
            Job(
                src,
                options.root,
                name,
                dpi,
                options.layout,
                options.style,
                options.seed,
                options.recipe,
                options.severity,
            )
            for dpi in dpis
            for name in names
        ]
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
    print(
        f"{len(names)} records of {src}, layout {options.layout}, style {options.style}, recipe {options.recipe}"
        + (f" at severity {options.severity:g}" if options.recipe != "clean" else "")
    )
    print(
        f"from process start to the first image: {start:.2f} s {'MISSED ' if slow else ''}(target {START_SECONDS:g})\n"
    )
    begin = time.perf_counter()
    found: list[Result] = []
    met = not slow
    targets = ", ".join(f"{db:g} at {dpi}" for dpi, db in MEAN_DB.items())
    print(
        f"targets: mean dB at least {targets} dpi; no page under {WORST_DB:g} dB; median cpu s at most {PAGE_SECONDS:g}"
    )
    print(header())
    for _, group in itertools.groupby(results(jobs, options.workers), key=lambda r: r.dpi):
        own = list(group)
        found += own
        text, ok = row(own, options.recipe == "clean")
        met &= ok
        print(text, flush=True)
    print(f"{len(found)} pages in {time.perf_counter() - begin:.0f} s with {options.workers} processes\n")
    print(failures(found, options.worst))
    if options.csv:
        with open(options.csv, "w", newline="") as stream:
            table = csv.DictWriter(stream, list(asdict(found[0])))
            table.writeheader()
            table.writerows(asdict(r) for r in found)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
