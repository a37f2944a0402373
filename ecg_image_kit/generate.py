"""Many pages: what ``ecg-image-gen`` does.

    >>> for name, page in pages(Config(src="samples", layout="random", dpi="100-300")):
    ...     page.save(f"{name}.png")

Everything drawn for copy c of record i comes from ``SeedSequence([seed, i, c, crc32(what is drawn)])``: the same bytes
for any number of workers, and one more thing to draw leaves the others as they were.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import re
import sys
import warnings
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np

from .config import MASKS, Config, Names, Numbers, flag_of, spans_of
from .errors import EcgError, ImplausibleAmplitude, UsageError
from .layout import SHEETS, Layout, auto_name
from .page import FORMATS, Page
from .recipes import RECIPES
from .record import STANDARD_LEADS, Record, atomic_write
from .render import Style, render
from .sources import Source, open_source

SETTINGS, MANIFEST = "config.json", "manifest.csv"


@dataclass(frozen=True)
class Item:
    """One record to print: its place in the source's order, its name, and the stem of its files."""

    index: int
    name: str
    stem: str


@dataclass(frozen=True)
class Sheet:
    """One page to make: everything is drawn, nothing is rendered."""

    name: str
    copy: int
    number: int
    layout: Layout
    style: Style
    dpi: float
    recipe: str


@dataclass(frozen=True)
class Row:
    """A line of manifest.csv: a page, or (``status`` failed) a record or page that could not be made, and why."""

    image: str
    record: str
    index: int
    copy: int
    sheet: int
    layout: str
    speed: float
    gain: float
    dpi: float
    recipe: str
    seed: int
    status: str = "ok"
    warning: str = ""
    error: str = ""


@dataclass(frozen=True)
class Result:
    """The rows of one record, and how many of its pages were made now (the others were there)."""

    rows: tuple[Row, ...]
    made: int = 0


@dataclass(frozen=True)
class Summary:
    """What ``generate`` did: pages made now, pages that were there already, and (record, message) of failures."""

    out: Path
    made: int
    kept: int
    failures: tuple[tuple[str, str], ...]


Submit: TypeAlias = Callable[[Item], Callable[[], Result]]


def pages(config: Config, source: Source | None = None) -> Iterator[tuple[str, Page]]:
    """Names and pages, one at a time, in memory; ``source`` instead of ``config.src`` if given.

    The first record that cannot be read or printed raises; ``generate`` reports it and goes on instead.
    """
    check(config)
    source = source or source_of(config)
    return _pages(config, source)


def _pages(config: Config, source: Source) -> Iterator[tuple[str, Page]]:
    for item in items(config, source):
        record = prepare(config, source.load(item.name))
        for sheet in plan(config, item, record):
            yield sheet.name, draw(config, source, item, record, sheet)


def generate(
    config: Config, progress: Callable[[Sequence[Row]], None] | None = None, source: Source | None = None
) -> Summary:
    """Write every page with its truth into ``config.out``, and ``manifest.csv`` with one row per page.

    Finished pages are kept (``config.resume``); a record that fails is reported in its row and the others are made.

    Args:
        progress: called in this process with the rows of each record, in order.
        source: instead of ``config.src``. With workers it must be picklable, and so must the calling script be guarded
            by ``if __name__ == "__main__"``, as for every use of processes.

    Raises:
        UsageError: the request is wrong, or the folder holds pages of another configuration.
        OSError: the folder cannot be written to.
    """
    check(config)
    source = source or source_of(config)
    out = _open_folder(config)
    known = _known(out)
    workers = min(config.workers or _cpus(), 61)  # Windows cannot wait for more
    rows: list[Row] = []
    made = kept = 0
    try:
        with _submitter(Job(config, source, out), workers) as submit:
            for result in _in_order(items(config, source), submit, known, window=1 if workers == 1 else 4 * workers):
                rows += result.rows
                made += result.made
                kept += sum(row.status == "ok" for row in result.rows) - result.made
                if progress:
                    progress(result.rows)
    finally:
        _write_manifest(out / MANIFEST, rows)
    if not rows:
        raise UsageError(f"source {config.src!r} has no records{' that match' if config.filter or config.ids else ''}. Check the selection.")
    return Summary(out, made, kept, tuple((row.record, row.error) for row in rows if row.status != "ok"))


# What is drawn


def items(config: Config, source: Source) -> Iterator[Item]:
    """The records to print, lazily. Stems hold letters, digits, - and _ only, and no two of them can lead to one file."""
    stems, bases = {Path(SETTINGS).stem, Path(MANIFEST).stem}, set()
    for index, name in enumerate(itertools.islice(source.names(), config.n)):
        short = re.sub(r"\.[A-Za-z]{2,4}$", "", name)
        wanted = re.sub(r"[^A-Za-z0-9_-]+", "_", short)[:120].strip("_-") or "record"
        for stem in itertools.chain([wanted], (f"{wanted}-{k}" for k in itertools.count(2))):
            # Sheets are called stem_00, stem_01, ...: a record of that name would meet them. File systems may fold case.
            low = stem.lower()
            base = re.sub(r"_\d{2,}$", "", low)
            if low not in stems and low not in bases and (base == low or base not in stems):
                break
        stems.add(low)
        if base != low:
            bases.add(base)
        yield Item(index, name, stem)


def prepare(config: Config, record: Record) -> Record:
    """The record with the leads that are to be printed."""
    return record.derive_limb_leads() if config.derive else record


def plan(config: Config, item: Item, record: Record) -> list[Sheet]:
    """Every sheet of a record, in order. Raises UsageError if what was drawn does not suit the record."""
    sheets: list[Sheet] = []
    for copy in range(config.pages_per_record):
        rng = partial(_rng, config.seed, item.index, copy)
        layout = _layout(config, record, rng)
        style, dpi = _style(config, rng), _number(config.dpi, rng("dpi"))
        recipe = _name(config.recipe, rng("recipe"))
        for number, part in enumerate(layout.pages(record.duration) if config.long == "page" else [layout]):
            sheets.append(Sheet("", copy, number, part, style, dpi, recipe))
    if len(sheets) == 1:
        return [replace(sheets[0], name=item.stem)]
    return [replace(sheet, name=f"{item.stem}_{k:02d}") for k, sheet in enumerate(sheets)]


def draw(config: Config, source: Source, item: Item, record: Record, sheet: Sheet) -> Page:
    """The page of a sheet. Its ``meta`` says where it came from and what would make it again."""
    page = render(record, sheet.layout, sheet.style, sheet.dpi)
    rng = _rng(config.seed, item.index, sheet.copy, f"{sheet.recipe} {sheet.number}")
    page = RECIPES[sheet.recipe](page, rng)
    origin = {
        "source": type(source).__name__.lower(), "seed": config.seed, "index": item.index, "copy": sheet.copy,
        "sheet": sheet.number, "recipe": sheet.recipe, "versions": _versions(),
    }  # fmt: skip
    return replace(page, meta={**page.meta, **origin})


def check(config: Config) -> None:
    """Raise UsageError for what no record could be printed with, before the first is read."""
    if config.src == "ecgsyn" and config.n is None:
        raise UsageError("-n is not given; source ecgsyn makes as many records as asked for. Give -n, for example -n 100.")
    named = [name for name in _split(config.layout) if name not in ("auto", "random")] or ["1x1"]
    ends = [{value for span in spans_of(str(numbers)) for value in span} if numbers is not None else {None} for numbers in (config.speed, config.seconds)]  # fmt: skip
    for name, sheet, speed, seconds, pulse in itertools.product(named, _split(config.sheet), *ends, _split(config.pulse)):
        cells = int(np.prod([int(part) for part in name.split("+")[0].split("x")]))
        rhythm = _split(config.rhythm) if config.rhythm else STANDARD_LEADS
        Layout.named(name, STANDARD_LEADS[:cells], sheet=_sheet(sheet), speed=speed, seconds=seconds, pulse=pulse, rhythm=rhythm)


def source_of(config: Config) -> Source:
    """The source that the configuration names, with those options that were given."""
    given = {"root": config.root, "fs": config.fs, "filter": config.filter, "ids": config.ids}
    options = {key: value for key, value in given.items() if value is not None}
    if config.src == "ecgsyn":  # it makes its records, so it has a use for these
        options.update(n=config.n, seed=config.seed)
    if config.download:
        options.update(download=True, limit=config.n)
    return open_source(config.src, **options)


def _rng(seed: int, index: int, copy: int, what: str) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([seed, index, copy, zlib.crc32(what.encode())]))


def _layout(config: Config, record: Record, rng: Callable[[str], np.random.Generator]) -> Layout:
    name = _name(config.layout, rng("layout"))
    leads: Sequence[str] = record.leads
    if config.leads:
        leads = _split(config.leads)
    elif set(STANDARD_LEADS) == set(leads) or (set(STANDARD_LEADS) < set(leads) and name not in ("auto", "random")):
        leads = STANDARD_LEADS
    if name == "auto":
        name = auto_name(len(leads))
    elif name == "random":
        name = str(rng("random layout").choice(_fitting(len(leads))))
    columns = _name(config.columns, rng("columns"))
    options: dict[str, Any] = {
        "sheet": _sheet(_name(config.sheet, rng("sheet"))),
        "speed": _number(config.speed, rng("speed")),
        "gain": _number(config.gain, rng("gain")),
        "precordial_gain": None if config.precordial_gain is None else _number(config.precordial_gain, rng("precordial_gain")),
        "order": _name(config.order, rng("order")),
        "rhythm": _split(config.rhythm) if config.rhythm else (),
        "seconds": None if config.seconds is None else _number(config.seconds, rng("seconds")),
        "pulse": _name(config.pulse, rng("pulse")),
    }
    layout = Layout.named(name, leads, columns="sequential" if columns == "auto" else columns, **options)
    if columns == "auto" and any(strip.start >= record.duration for strip in layout.strips):
        # A short record would leave the last columns empty; machines then print the same seconds in every column.
        layout = Layout.named(name, leads, columns="simultaneous", **options)
    return layout


def _fitting(n: int) -> list[str]:
    """Layouts for n leads without an empty column; from two columns on, also with a rhythm strip."""
    grids = [(-(-n // columns), columns) for columns in range(1, 5)]
    names = [f"{rows}x{columns}" for rows, columns in grids if rows * (columns - 1) < n]
    return names + [f"{name}+1R" for name in names if not name.endswith("x1")] + (["3x4+3R"] if n == 12 else [])


def _style(config: Config, rng: Callable[[str], np.random.Generator]) -> Style:
    if config.style == "random":
        return Style.random(rng("style"))
    values: Mapping[str, Any] = config.style if isinstance(config.style, Mapping) else {}
    # The seed stands for the made-up patient: another one on every page unless a style names one.
    return Style.of({"seed": int(rng("style seed").integers(2**31)), **values})


def _sheet(name: str) -> str | tuple[float, float]:
    if name in (*SHEETS, "strip"):
        return name
    width, height = name.split("x")
    return float(width), float(height)


def _split(names: Names) -> tuple[str, ...]:
    return tuple(names.split(",")) if isinstance(names, str) else tuple(names)


def _name(names: Names, rng: np.random.Generator) -> str:
    return str(rng.choice(_split(names)))


def _number(numbers: Numbers, rng: np.random.Generator) -> float:
    """One of the numbers; between the ends of a range, to a tenth."""
    spans = spans_of(str(numbers))
    low, high = spans[int(rng.integers(len(spans)))]
    return low if low == high else round(float(rng.uniform(low, high)), 1)


def _versions() -> dict[str, str]:
    from . import __version__

    return {"ecg_image_kit": __version__, "numpy": np.__version__, "opencv": cv2.__version__}


# How it is written


@dataclass(frozen=True)
class Job:
    """What a worker needs to make any item."""

    config: Config
    source: Source
    out: Path

    def make(self, item: Item) -> Result:
        """Write the pages of one record that are not there yet. Only OSError, of writing, is raised: it would come again."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ImplausibleAmplitude)
            try:
                record = prepare(self.config, self.source.load(item.name))
                sheets = plan(self.config, item, record)
            except Exception as error:  # whatever is wrong with one record, the others shall be made
                return Result((self._failure(item, error),))
        warning = "; ".join(dict.fromkeys(_line(w.message) for w in caught))
        rows, made = [], 0
        for sheet in sheets:
            row = self._row(item, sheet, warning)
            path = self.out / row.image
            try:
                if not path.exists():
                    self._save(draw(self.config, self.source, item, record, sheet), path)
                    made += 1
            except OSError:
                raise
            except Exception as error:
                row = replace(self._failure(item, error), copy=sheet.copy, sheet=sheet.number)
            rows.append(row)
        return Result(tuple(rows), made)

    def _save(self, page: Page, path: Path) -> None:
        kinds = _split(self.config.write)
        masks = tuple(kind for kind in kinds if kind in MASKS)
        page.save(path, masks=masks, record=",".join(k for k in kinds if k in ("wfdb", "csv")), quality=self.config.quality)

    def _row(self, item: Item, sheet: Sheet, warning: str) -> Row:
        image = f"{sheet.name}.{self.config.format}"
        at = sheet.layout
        return Row(image, item.name, item.index, sheet.copy, sheet.number, at.name, at.speed, at.gain, sheet.dpi, sheet.recipe, self.config.seed, warning=warning)  # fmt: skip

    def _failure(self, item: Item, error: Exception) -> Row:
        kind = "" if isinstance(error, EcgError) else f"{type(error).__name__}: "
        return Row("", item.name, item.index, 0, 0, "", 0.0, 0.0, 0.0, "", self.config.seed, "failed", error=kind + _line(error))


def _cpus() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _line(message: object) -> str:
    return " ".join(str(message).split())


def _in_order(
    todo: Iterable[Item], submit: Submit, known: Mapping[tuple[int, str], tuple[Row, ...]], window: int
) -> Iterator[Result]:
    """Results in the order of the items, with at most ``window`` of them under way: memory stays small."""
    waiting: deque[Callable[[], Result]] = deque()
    for item in todo:
        rows = known.get((item.index, item.name))
        waiting.append(partial(Result, rows) if rows else submit(item))
        while len(waiting) >= window:
            yield waiting.popleft()()
    while waiting:
        yield waiting.popleft()()


@contextmanager
def _submitter(job: Job, workers: int) -> Iterator[Submit]:
    if workers == 1:
        yield lambda item: partial(job.make, item)
        return
    import multiprocessing
    import pickle
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    try:
        pickle.dumps(job)
    except Exception as error:
        raise UsageError(f"source {job.source!r} cannot be sent to other processes ({_line(error)}). Use workers=1.") from None
    # Spawned everywhere: forking a process that has threads (OpenCV's) may hang, and Windows knows nothing else.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start, (job,))
    try:
        yield lambda item: pool.submit(_make, item).result
    except BrokenProcessPool:
        raise EcgError("a worker process died, probably for want of memory. Run again to go on, with fewer --workers.") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_job: Job | None = None  # of this worker process


def _start(job: Job) -> None:
    """In each worker, once: Ctrl-C is the parent's business, and so is using several cores."""
    import multiprocessing
    import multiprocessing.connection
    import signal
    import threading

    global _job
    _job = job
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:  # a worker whose parent was killed would wait for work for ever

        def leave() -> None:
            multiprocessing.connection.wait([parent.sentinel])
            os._exit(1)

        threading.Thread(target=leave, daemon=True).start()


def _make(item: Item) -> Result:
    assert _job is not None
    return _job.make(item)


# The folder


def _open_folder(config: Config) -> Path:
    """The output folder, fit for this configuration: of the same one so far, or emptied of an earlier one's pages."""
    if config.out is None:
        raise UsageError("no folder to write to. Give --out.")
    out = Path(config.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {config.out!r} cannot be made ({error.strerror}); expected a folder. Give another --out.") from None
    settings = out / SETTINGS
    there = _images(out)
    if not config.resume:
        for image in there:
            _remove(image)
    elif settings.exists():
        _compare(config, settings)
    elif there:
        raise UsageError(f"{out} holds pages ({there[0].name}, ...) but no {SETTINGS}. Give another --out, or --no-resume to remove them.")
    for stray in out.glob(".*.part"):  # half-written by a run that was killed
        stray.unlink(missing_ok=True)
    atomic_write(settings, (json.dumps(config.outcome(), indent=1) + "\n").encode())
    return out


def _compare(config: Config, settings: Path) -> None:
    """Raise UsageError, naming each difference, unless the folder's configuration is this one (or this one's first -n)."""
    try:
        before = dict(json.loads(settings.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UsageError(f"{settings} cannot be read ({_line(error)}). Give another --out, or --no-resume.") from None
    now = config.outcome()
    flags = {f.name: flag_of(f) for f in fields(config)}
    missing = "(not set)"
    changes = {key: (before.get(key, missing), now.get(key, missing)) for key in (*now, *before)}
    old, new = changes["n"]
    if new is None or (isinstance(old, int) and new >= old):
        del changes["n"]  # more of the same
    lines = [f"{flags.get(key, key)} was {old!r}, is {new!r}" for key, (old, new) in changes.items() if old != new]
    if lines:
        raise UsageError(f"{settings.parent} holds pages of another configuration: {'; '.join(lines)}. Give another --out, or --no-resume to remove them.")  # fmt: skip


def _images(out: Path) -> list[Path]:
    """Images with truth beside them, sorted."""
    names = {entry.name for entry in os.scandir(out)}
    stems = sorted(name[:-5] for name in names if name.endswith(".json") and f"{name[:-5]}.npz" in names)
    return [out / f"{stem}.{kind}" for stem in stems for kind in FORMATS if f"{stem}.{kind}" in names]


def _remove(image: Path) -> None:
    for suffix in (image.suffix, ".json", ".npz", ".csv", ".hea", ".dat", *(f".{kind}.png" for kind in MASKS)):
        image.with_suffix(suffix).unlink(missing_ok=True)


def _known(out: Path) -> dict[tuple[int, str], tuple[Row, ...]]:
    """Rows of an earlier manifest, by (index, record), of those records whose pages are all there."""
    types = {f.name: {"int": int, "float": float}.get(str(f.type), str) for f in fields(Row)}
    try:
        with (out / MANIFEST).open(newline="", encoding="utf-8") as stream:
            rows = [Row(**{key: types[key](line[key]) for key in types}) for line in csv.DictReader(stream)]
    except (OSError, KeyError, ValueError, TypeError):
        return {}  # it only saves time: without it, records are read to see what is missing
    there = {image.name for image in _images(out)}
    groups = {key: tuple(group) for key, group in itertools.groupby(rows, lambda row: (row.index, row.record))}
    return {key: group for key, group in groups.items() if all(row.status == "ok" and row.image in there for row in group)}


def _write_manifest(path: Path, rows: Iterable[Row]) -> None:
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, ["page", *(f.name for f in fields(Row))], lineterminator="\n")
    table.writeheader()
    table.writerows({"page": k, **asdict(row)} for k, row in enumerate(rows))
    atomic_write(path, text.getvalue().encode())
