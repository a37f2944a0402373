"""ecg-digitize: scans and renders of paper ECGs to calibrated time series."""

from __future__ import annotations

import argparse
import glob
import json
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecg_image_kit import __version__
from ecg_image_kit.errors import EcgError, UsageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_OWN = (".overlay.png", ".leads.png", ".grid.png", ".text.png")  # pictures that this toolbox writes beside pages

_EPILOG = """\
examples:
  ecg-digitize scan.png
      scan.csv (mV at 500 Hz), scan.json (where everything came from), scan.overlay.png (to look at)
  ecg-digitize archive/ -o signals --write csv,wfdb --workers 2
      a folder and all folders below it
  ecg-digitize 'pages/*.png' -o read --gain 5 --px-per-mm 7.87
      what is known about the pages need not be read from them

What could not be read is an empty cell in csv, NaN in npz, an invalid sample in wfdb.

exit status: 0 all read, 1 some image could not be read, 2 wrong request, 130 interrupted
"""


@dataclass(frozen=True)
class Job:
    """One image and what to do with it."""

    image: Path
    stem: Path
    write: tuple[str, ...]
    fs: float
    px_per_mm: float | None
    speed: float | None
    gain: float | None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise UsageError(f"{message}. See {self.prog} --help.")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = _Parser(
        "ecg-digitize",
        description="Read scans, renders and photographs of paper ECGs (with a visible grid, right way up) as "
        "mV at a fixed rate.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = p.add_argument
    add("images", nargs="+", metavar="IMAGE", help="image files, folders (searched recursively) or globs")
    add("-o", "--out", metavar="DIR", help="folder for the results, with the folders below IMAGE [beside each image]")
    add(
        "--write", default="csv,json,overlay", metavar="KINDS",
        help="csv (mV), json (report), overlay (picture), wfdb, npz; joined by commas [%(default)s]",
    )  # fmt: skip
    add("--fs", type=float, default=500.0, metavar="HZ", help="samples per second of the result, Hz [500]")
    add("--speed", type=float, metavar="MM/S", help="paper speed, mm/s [from the calibration pulse, else 25]")
    add("--gain", type=float, metavar="MM/MV", help="mm/mV [from the calibration pulse, else 10]")
    add("--px-per-mm", type=float, metavar="PX", help="pitch of the grid to 3 %% (200 dpi: 7.87) [searched for]")
    add("--workers", type=int, default=1, metavar="N", help="images read at the same time; 0: one per processor [1]")
    add("--quiet", action="store_true", help="print only errors")
    add("--version", action="version", version=f"ecg-digitize {__version__}")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status: 0 all read, 1 failures, 2 wrong request, 130 interrupted."""
    try:
        options = parser().parse_args(argv)
        jobs = _jobs(options)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    failed = 0
    workers = options.workers or os.cpu_count() or 1
    bar: Any = None
    if sys.stderr.isatty() and not options.quiet and len(jobs) > 1:
        from tqdm import tqdm

        bar = tqdm(total=len(jobs), unit="page", file=sys.stderr)

    def say(text: str, file: Any) -> None:
        if bar is None:
            print(text, file=file, flush=True)
        else:
            bar.write(text, file=file)

    try:
        for job, line, error_text in _run(jobs, min(workers, len(jobs))):
            if error_text:
                failed += 1
                say(f"{job.image}: {error_text}", sys.stderr)
            elif not options.quiet:
                say(line, sys.stdout)
            if bar is not None:
                bar.update()
    except KeyboardInterrupt:
        print("stopped; what has been written so far is complete", file=sys.stderr)
        return 130
    finally:
        if bar is not None:
            bar.close()
    if failed and len(jobs) > 1:
        print(f"{len(jobs) - failed} of {len(jobs)} images read, {failed} not", file=sys.stderr)
    return 1 if failed else 0


def _jobs(options: argparse.Namespace) -> list[Job]:
    from .pipeline import LIMITS
    from .report import WRITE, wfdb_stem

    write = tuple(kind.strip() for kind in options.write.split(",") if kind.strip())
    unknown = sorted(set(write) - set(WRITE))
    if unknown or not write:
        raise UsageError(f"--write {options.write!r}; expected some of {', '.join(WRITE)}, joined by commas.")
    for name, (low, high) in LIMITS.items():
        value = getattr(options, name)
        if value is not None and not low <= value <= high:
            raise UsageError(f"--{name.replace('_', '-')} {value:g}; expected {low:g} to {high:g}.")
    if options.workers < 0:
        raise UsageError(f"--workers {options.workers}; expected 1 or more, or 0 for one per processor.")
    if options.out and Path(options.out).exists() and not Path(options.out).is_dir():
        raise UsageError(f"--out {options.out}: is a file; expected a folder.")
    jobs: list[Job] = []
    taken: dict[str, Path] = {}

    def key(stem: Path) -> str:
        """What may not be the same for two images; file systems may fold case."""
        return str(wfdb_stem(stem) if "wfdb" in write else stem).casefold()

    for image, relative in _images(options.images):
        stem = (Path(options.out) / relative if options.out else image).with_suffix("")
        other = taken.get(key(stem))
        if other is not None and other.parent == image.parent:  # scan.jpg beside scan.png
            stem = stem.with_name(f"{stem.name}_{image.suffix.lstrip('.').lower()}")
            other = taken.get(key(stem))
        if other is not None:
            raise UsageError(
                f"{image} and {other} would both be written as {stem}. Give a folder above both, or one at a time."
            )
        taken[key(stem)] = image
        if foreign := _foreign(stem, write):
            raise UsageError(f"{foreign} is not a result of ecg-digitize and would be overwritten. Give another --out.")
        jobs.append(Job(image, stem, write, options.fs, options.px_per_mm, options.speed, options.gain))
    return jobs


def _images(arguments: Sequence[str]) -> Iterator[tuple[Path, Path]]:
    """(image, its path below the folder that was given), once each, in a fixed order."""
    seen, found = set(), []
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            below = [f for f in sorted(path.rglob("*")) if f.suffix.lower() in SUFFIXES and not f.name.endswith(_OWN)]
            if not below:
                raise UsageError(f"folder {path} has no images; expected {', '.join(SUFFIXES)}.")
            found += [(f, f.relative_to(path)) for f in below]
        elif path.exists():
            # A pattern that the shell has expanded also names the pictures made the last time.
            if len(arguments) == 1 or not path.name.endswith(_OWN):
                found.append((path, Path(path.name)))
        else:
            matches = [Path(f) for f in sorted(glob.glob(argument, recursive=True))]
            files = [f for f in matches if f.is_file() and not f.name.endswith(_OWN)]
            if not files:
                raise UsageError(f"{argument}: no such file or folder, and no image matches it as a pattern.")
            fixed = [part for part in path.parts if not glob.has_magic(part)]
            base = Path(*fixed) if path.parts[: len(fixed)] == tuple(fixed) else Path()
            found += [(f, f.relative_to(base)) for f in files]
    if not found:
        raise UsageError("only pictures that this toolbox writes itself were given; expected images of ECGs.")
    for image, relative in found:
        if (key := image.resolve()) not in seen:
            seen.add(key)
            yield image, relative


def _foreign(stem: Path, write: Sequence[str]) -> Path | None:
    """A file that would be overwritten and is not an earlier result: the truth of a page, say, or its record."""
    from .report import wfdb_stem

    report, table, archive = (stem.with_name(stem.name + end) for end in (".json", ".csv", ".npz"))
    header = wfdb_stem(stem).with_name(wfdb_stem(stem).name + ".hea")
    if report.exists():
        try:
            own = str(json.loads(report.read_text("utf-8")).get("reader", "")).startswith("ecg-digitize")
        except (OSError, ValueError, AttributeError):
            own = False
        if not own:
            return report  # even if no report is written: what lies beside it belongs to it
    if "wfdb" in write and header.exists() and "ecg-digitize" not in header.read_text("utf-8", errors="replace"):
        return header
    if "csv" in write and table.exists():
        with table.open(encoding="utf-8", errors="replace") as stream:
            if not stream.readline().startswith("time_s,"):
                return table
    if "npz" in write and archive.exists():
        import zipfile

        if not zipfile.is_zipfile(archive) or "leads.npy" not in zipfile.ZipFile(archive).namelist():
            return archive
    return None


def _run(jobs: Sequence[Job], workers: int) -> Iterator[tuple[Job, str, str]]:
    """(job, line to print, error) in the order given; a failed image never stops the others."""
    if workers <= 1:
        for job in jobs:
            yield job, *_read_one(job)
        return
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    rest, alone = list(jobs), False
    while rest:
        batch = rest[:1] if alone else rest
        done = 0
        pool = ProcessPoolExecutor(min(workers, len(batch)), mp_context=get_context("spawn"), initializer=_worker)
        try:
            for job, result in zip(batch, pool.map(_read_one, batch), strict=True):
                done += 1
                yield job, *result
            alone = False
        except BrokenProcessPool:
            # A worker was killed, by lack of memory most likely. Whose fault it was is not known, so the next image is
            # tried alone.
            if alone:
                done = 1
                yield (
                    batch[0],
                    "",
                    "the process that read it was killed; is there enough memory for an image this large?",
                )
            alone = not alone
        finally:
            pool.shutdown(cancel_futures=True)
        rest = rest[done:]


def _worker() -> None:
    """In a worker: one thread, and Ctrl-C is the parent's business."""
    import signal

    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)


def _read_one(job: Job) -> tuple[str, str]:
    """Read and write one image: (line, "") or ("", error)."""
    from .pipeline import read

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reading = read(job.image, fs=job.fs, px_per_mm=job.px_per_mm, speed=job.speed, gain=job.gain)
            paths = reading.save(job.stem, job.write)
    except EcgError as error:
        return "", f"{type(error).__name__}: {error}"
    except OSError as error:  # a full disk, a folder that is read-only
        return "", f"cannot be written: {error}"
    except Exception as error:  # noqa: BLE001 - a bug must not lose the rest of the batch; it is reported as one
        return "", f"unexpected {type(error).__name__}: {error} (please report it)"
    layout = reading.page.layout
    sure = min(reading.confidence.values(), default=0.0)
    line = (
        f"{job.image}: {layout.name}, {layout.speed:g} mm/s, {layout.gain:g} mm/mV, {len(reading.record.leads)} leads, "
        f"lowest confidence {sure:.2f} -> {paths[0]}"
    )
    return "\n  note: ".join([line, *reading.warnings]), ""


if __name__ == "__main__":
    sys.exit(main())
