"""ecg-digitize: scans, renders and photographs of paper ECGs to calibrated time series."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from ecg_image_kit import __version__
from ecg_image_kit.command import command
from ecg_image_kit.errors import UsageError
from ecg_image_kit.images import MEGAPIXELS

from .batch import Digitize, Result, Row, Task, plan, results, summary_path, write_summary
from .inputs import find

_EPILOG = """\
examples:
  ecg-digitize scan.png
      scan.csv (mV at 500 Hz), scan.json (where everything came from), scan.overlay.png (to look at)
  ecg-digitize archive/ -o signals --write csv,wfdb --workers 2
      a folder and all folders below it; signals/summary.csv has a line for each page
  ecg-digitize letters.pdf -o signals --write csv,json,html,dicom
      every page: letters-1.csv, letters-2.csv, ...
  ecg-digitize 'pages/*.png' -o read --gain 5 --px-per-mm 7.87
      what is known about the pages need not be read from them

Images are png, jpg, tif (of several pages, too), bmp, webp, gif; and heic and pdf, with
pip install 'ecg-image-kit[formats]'.
What could not be read is an empty cell in csv, NaN in npz, an invalid sample in wfdb, padding in dicom.

exit status: 0 all read, 1 some page could not be read or found, 2 wrong request, 130 interrupted
"""

_LIMITS = {"timeout": (1.0, 86_400.0), "max_megapixels": (0.01, 2000.0)}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise UsageError(f"{message}. See {self.prog} --help.")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = _Parser(
        "ecg-digitize",
        description="Read scans, renders and photographs of paper ECGs as mV at a fixed rate.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = p.add_argument
    add(
        "images", nargs="+", metavar="IMAGE",
        help="image files and documents, folders (searched recursively) or globs; - is standard input",
    )  # fmt: skip
    add(
        "-o", "--out", metavar="DIR",
        help="folder for the results, with the folders below IMAGE, and for summary.csv [beside each image; the "
        "summary, of several pages, beside the first]",
    )  # fmt: skip
    add(
        "--write", default="csv,json,overlay", metavar="KINDS",
        help="csv (mV), json (report), overlay (picture), html (report and picture), wfdb, npz, dicom; joined by "
        "commas [%(default)s]",
    )  # fmt: skip
    add("--fs", type=float, default=500.0, metavar="HZ", help="samples per second of the result, Hz [500]")
    add("--speed", type=float, metavar="MM/S", help="paper speed, mm/s [from the calibration pulse, else 25]")
    add("--gain", type=float, metavar="MM/MV", help="mm/mV [from the calibration pulse, else 10]")
    add("--px-per-mm", type=float, metavar="PX", help="pitch of the grid to 3 %% (200 dpi: 7.87) [searched for]")
    add(
        "--reader", default="auto", choices=("auto", "learned", "analytic"), metavar="KIND",
        help="learned (a network finds the traces), analytic, or auto [auto]",
    )  # fmt: skip
    add("--weights", metavar="DIR", help="folder of networks for the learned reader [those that come along]")
    add(
        "--fill", action="store_true",
        help="straight lines across gaps in a lead, which the report lists, instead of unknown samples",
    )  # fmt: skip
    add("--workers", type=int, default=1, metavar="N", help="pages read at the same time; 0: one per processor [1]")
    add(
        "--timeout", type=float, default=120.0, metavar="S",
        help="seconds that a page may take; one that needs more has failed. 0: no limit [120]",
    )  # fmt: skip
    add(
        "--max-megapixels", type=float, default=MEGAPIXELS, metavar="MP",
        help="larger images are refused before they are decoded [100]",
    )  # fmt: skip
    add("--quiet", action="store_true", help="print only errors")
    add("--version", action="version", version=f"ecg-digitize {__version__}")
    return p


@command("stopped; what has been written so far is complete")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status: 0 all read, 1 failures, 2 wrong request, 130 interrupted."""
    options = parser().parse_args(argv)
    job = _job(options)
    out = Path(options.out) if options.out else None
    with tempfile.TemporaryDirectory(prefix="ecg-digitize-", ignore_cleanup_errors=True) as spool:
        inputs, wrong = find(options.images, Path(spool))
        tasks = plan(inputs, out, job.write)
        summary = summary_path(inputs, tasks, out, Path(options.images[0]))
        for error in wrong:
            print(f"error: {error}", file=sys.stderr)
        workers = min(options.workers or os.cpu_count() or 1, 61)
        return max(_read_all(job, tasks, summary, workers, options.quiet), 1 if wrong else 0)


def _job(options: argparse.Namespace) -> Digitize:
    from .pipeline import LIMITS
    from .report import WRITE

    write = tuple(dict.fromkeys(kind.strip() for kind in options.write.split(",") if kind.strip()))
    unknown = sorted(set(write) - set(WRITE))
    if unknown or not write:
        raise UsageError(f"--write {options.write!r}; expected some of {', '.join(WRITE)}, joined by commas.")
    for name, (low, high) in {**LIMITS, **_LIMITS}.items():
        value = getattr(options, name)
        if value is not None and not low <= value <= high and not (name == "timeout" and value == 0):
            none = ", or 0 for no limit" if name == "timeout" else ""
            raise UsageError(f"--{name.replace('_', '-')} {value:g}; expected {low:g} to {high:g}{none}.")
    if options.workers < 0:
        raise UsageError(f"--workers {options.workers}; expected 1 or more, or 0 for one per processor.")
    if options.out and Path(options.out).exists() and not Path(options.out).is_dir():
        raise UsageError(f"--out {options.out}: is a file; expected a folder.")
    if options.weights and options.reader == "analytic":
        raise UsageError("--weights with --reader analytic, which needs none; expected learned or auto.")
    if options.weights and not (Path(options.weights) / "reader.onnx").is_file():
        raise UsageError(
            f"--weights {options.weights}: no reader.onnx there; expected the folder of a trained network."
        )
    if options.weights:
        from .network import check as check_weights

        check_weights(options.weights)  # what is wrong with it is said once, not of every page
    if options.fill and not {"json", "html"} & set(write):
        raise UsageError("--fill without json or html in --write; expected one of them, to say what was filled.")
    if "dicom" in write:
        from .dicom import check

        check(options.fs)
    known = {name: getattr(options, name) for name in LIMITS}
    if options.reader != "auto":
        known["reader"] = options.reader
    if options.weights:
        known["weights"] = options.weights
    return Digitize(write, known, options.fill, options.max_megapixels, options.timeout)


def _read_all(job: Digitize, tasks: Sequence[Task], summary: Path | None, workers: int, quiet: bool) -> int:
    """Read every page and say so; the summary is written whatever happens."""
    rows: list[Row] = []
    try:
        with _telling(len(tasks), quiet) as tell, closing(results(job, tasks, min(workers, len(tasks)))) as done:
            for result in done:
                rows.append(result.row)
                tell(result)
    finally:
        if summary is not None:
            write_summary(summary, tasks, rows)
    failed = sum(row.status != "read" for row in rows)
    if failed and len(tasks) > 1:
        print(f"{len(tasks) - failed} of {len(tasks)} pages read, {failed} not", file=sys.stderr)
    return 1 if failed else 0


@contextmanager
def _telling(pages: int, quiet: bool) -> Iterator[Callable[[Result], None]]:
    """Tells of results, of failures on stderr; with a bar if that is a terminal."""
    bar: Any = None
    if sys.stderr.isatty() and not quiet and pages > 1:
        from tqdm import tqdm

        bar = tqdm(total=pages, unit="page", file=sys.stderr)

    def tell(result: Result) -> None:
        good = result.row.status == "read"
        file = sys.stdout if good else sys.stderr
        if bar is not None:
            bar.write(result.line, file=file)
            bar.update()
        elif not (good and quiet):
            print(result.line, file=file, flush=True)

    try:
        yield tell
    finally:
        if bar is not None:
            bar.close()


if __name__ == "__main__":
    sys.exit(main())
