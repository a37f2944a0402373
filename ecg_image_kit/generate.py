"""Many pages: what ``ecg-image-gen`` does.

    >>> for name, page in pages(Config(src="samples", layout="random", dpi="100-300")):
    ...     page.save(f"{name}.png")

The same configuration gives the same bytes, with any number of workers, in one run or resumed.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import reprlib
import sys
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from .config import RECORDS, Config, flag_of
from .errors import EcgError, ImplausibleAmplitude, UsageError
from .export import export
from .page import FORMATS, MASKS, Page, write_record
from .plan import RESERVED, Item, Sheet, check, draw, items, plan, prepare, source_of, split, suffix
from .record import atomic_write
from .sources import Source

SETTINGS, MANIFEST = (name + suffix for name, suffix in zip(RESERVED, (".json", ".csv"), strict=True))


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
    severity: float
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
    """What ``generate`` did: pages made now, pages that were there already, of how many records those made now are, and
    (record, message) of failures."""

    out: Path
    made: int
    kept: int
    records: int
    failures: tuple[tuple[str, str], ...]


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
    config: Config,
    progress: Callable[[Sequence[Row]], None] | None = None,
    source: Source | None = None,
    exporting: Callable[[int, int], None] | None = None,
) -> Summary:
    """Write every page with its truth into ``config.out``, and ``manifest.csv`` with one row per page.

    Finished pages are kept (``config.resume``). What fails, or costs two workers their lives, is reported in its row,
    and the others are made.

    Args:
        progress: called in this process with the rows of each record, in order.
        source: instead of ``config.src``. With workers it must be picklable, and so must the calling script be guarded
            by ``if __name__ == "__main__"``, as for every use of processes.
        exporting: called with the numbers of pages exported and of all pages in the folder, for ``config.export``.

    Raises:
        UsageError: the request is wrong, or the folder holds pages of another configuration.
        OSError: the folder cannot be written to.
    """
    check(config)
    source = source or source_of(config)
    out = _open_folder(config)
    workers = min(config.workers or _cpus(), 61)  # Windows cannot wait for more
    rows: list[Row] = []
    made = kept = records = 0
    try:
        job = (RecordJob if config.records_only else Job)(config, source, out)
        with closing(_results(job, items(config, source), _known(config, out), workers)) as results:
            for result in results:
                rows += result.rows
                made += result.made
                records += result.made > 0
                kept += sum(row.status == "ok" for row in result.rows) - result.made
                if progress:
                    progress(result.rows)
    finally:
        if rows:
            _write_manifest(out / MANIFEST, rows)
        elif not _finished(config, out):
            for file in (SETTINGS, MANIFEST):  # or they would stand in the way of what was meant
                (out / file).unlink(missing_ok=True)
    if not rows:
        raise UsageError(f"source {config.src!r} has no records. Check --src, --root, --filter and --ids.")
    if config.export and made + kept:
        export(out, split(config.export), exporting)
    return Summary(out, made, kept, records, tuple((row.record, row.error) for row in rows if row.status != "ok"))


# How it is written


@dataclass(frozen=True)
class Job:
    """What a worker needs to make any item."""

    config: Config
    source: Source
    out: Path

    def make(self, item: Item, tell: Callable[[str], None], begun: Mapping[str, Sequence[str]]) -> Result:
        """Write those pages of one record that are not there yet. Raises OSError only: the next would fail too.

        Args:
            tell: called with the name of each page before it is made.
            begun: what earlier workers began before they died ("" is reading the record), and how they died of it.
        """
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ImplausibleAmplitude)
            try:
                _check_deaths(begun.get("", ()))
                record = prepare(self.config, self.source.load(item.name))
                sheets = plan(self.config, item, record)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one record, the others are made
                return Result((self._failure(item, error),))
        warning = "; ".join(dict.fromkeys(_line(w.message) for w in caught))
        rows, made = [], 0
        for sheet in sheets:
            row = self._row(item, sheet, warning)
            path = self.out / row.image
            try:
                if path.exists():
                    made += sheet.name in begun
                else:
                    _check_deaths(begun.get(sheet.name, ()))
                    tell(sheet.name)
                    self._save(draw(self.config, self.source, item, record, sheet), path)
                    made += 1
            except OSError:
                raise
            except Exception as error:  # noqa: BLE001
                row = replace(self._failure(item, error), copy=sheet.copy, sheet=sheet.number)
            rows.append(row)
        return Result(tuple(rows), made)

    def _save(self, page: Page, path: Path) -> None:
        kinds = split(self.config.write)
        masks = tuple(kind for kind in kinds if kind in MASKS)
        page.save(
            path, masks=masks, record=",".join(k for k in kinds if k in ("wfdb", "csv")), quality=self.config.quality
        )

    def _row(self, item: Item, sheet: Sheet, warning: str) -> Row:
        image = f"{sheet.name}.{suffix(self.config, sheet)}"
        at = sheet.layout
        return Row(
            image, item.name, item.index, sheet.copy, sheet.number, at.name, at.speed, at.gain, sheet.dpi, sheet.recipe,
            sheet.severity, self.config.seed, warning=warning,
        )  # fmt: skip

    def _failure(self, item: Item, error: Exception) -> Row:
        kind = "" if isinstance(error, EcgError) else f"{type(error).__name__}: "
        return Row(
            "", item.name, item.index, 0, 0, "", 0.0, 0.0, 0.0, "", 0.0, self.config.seed, "failed",
            error=kind + _line(error),
        )  # fmt: skip


@dataclass(frozen=True)
class RecordJob(Job):
    """The same for ``--records-only``: the record's files, and last the .json with what is known of it."""

    def make(self, item: Item, tell: Callable[[str], None], begun: Mapping[str, Sequence[str]]) -> Result:
        path = self.out / f"{item.stem}.json"
        row = replace(self._failure(item, EcgError()), image=path.name, status="ok", error="")
        if path.exists():
            return Result((row,), int(item.stem in begun))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ImplausibleAmplitude)
            try:
                _check_deaths(begun.get(item.stem, ()))
                tell(item.stem)
                record = prepare(self.config, self.source.load(item.name))
                if self.config.leads:
                    record = record.select(split(self.config.leads))
                write_record(record, path, [kind for kind in split(self.config.write) if kind in RECORDS] or ["wfdb"])
            except OSError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one record, the others are made
                return Result((self._failure(item, error),))
        return Result((replace(row, warning="; ".join(dict.fromkeys(_line(w.message) for w in caught))),), 1)


def _check_deaths(deaths: Sequence[str]) -> None:
    """Raise EcgError if two workers died: the first may have been unlucky."""
    if len(deaths) < 2:
        return
    ways = " and ".join(dict.fromkeys(deaths))
    cause = "probably for want of memory; try fewer --workers" if "signal 9" in ways else "a crash, not an exception"
    raise EcgError(f"the worker process died twice ({ways}: {cause})")


def _cpus() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _line(message: object) -> str:
    return " ".join(str(message).split())


def _results(
    job: Job, todo: Iterable[Item], known: Mapping[tuple[int, str], tuple[Row, ...]], workers: int
) -> Generator[Result, None, None]:
    """Results in the order of the items; ``known`` are those of an earlier run, by (index, record)."""

    def before(item: Item) -> Result | None:
        rows = known.get((item.index, item.name))
        return Result(rows) if rows else None

    if workers == 1:
        for item in todo:
            yield before(item) or job.make(item, lambda part: None, {})
        return
    import pickle

    from .workers import Crew

    try:
        pickle.dumps(job)
    except Exception as error:  # noqa: BLE001 - pickle raises whatever an object's own methods do
        raise UsageError(
            f"source {job.source!r} cannot be sent to other processes ({_line(error)}). Use workers=1."
        ) from None
    with Crew(job, workers) as crew:
        yield from crew.results(todo, before)


# The folder


def _open_folder(config: Config) -> Path:
    """The output folder, fit for this configuration: of the same one so far, or emptied of an earlier one's pages."""
    if config.out is None:
        raise UsageError("no folder to write to. Give --out.")
    out = Path(config.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"--out {config.out!r} cannot be made ({error.strerror}); expected a folder. Give another --out."
        ) from None
    settings = out / SETTINGS
    there = _finished(config, out)
    if not config.resume:
        for image in there:
            _remove(image)
    elif settings.exists():
        _compare(config, settings)
    elif there:
        raise UsageError(
            f"{out} holds pages ({there[0].name}, ...) but no {SETTINGS}. "
            "Give another --out, or --no-resume to remove them."
        )
    for stray in out.glob(".*.part"):  # half-written by a run that was killed
        stray.unlink(missing_ok=True)
    atomic_write(settings, (json.dumps(config.outcome(), indent=1) + "\n").encode())
    return out


def _compare(config: Config, settings: Path) -> None:
    """Raise UsageError, naming each difference, unless the folder holds (the first so many records of) this set."""
    try:
        before = dict(json.loads(settings.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UsageError(f"{settings} cannot be read ({_line(error)}). Give another --out, or --no-resume.") from None
    now = json.loads(json.dumps(config.outcome()))  # tuples as lists, like those of the file
    flags = {f.name: flag_of(f) for f in fields(config)}
    missing = "(not set)"
    changes = {key: (before.get(key, missing), now.get(key, missing)) for key in (*now, *before)}
    old, new = changes["n"]
    if new is None or (isinstance(old, int) and new >= old):
        del changes["n"]  # more of the same
    lines = [_change(flags.get(key, key), old, new) for key, (old, new) in changes.items() if old != new]
    if lines:
        raise UsageError(
            f"{settings.parent} holds pages of another configuration: {'; '.join(lines)}. "
            "Give another --out, or --no-resume to remove them."
        )


def _change(flag: str, old: Any, new: Any) -> str:
    """What differs, without the whole contents of files."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 100
    before, after = (short.repr(value) for value in (old, new))
    return f"{flag} was {before}, is {after}" if before != after else f"{flag} {before} has changed"


def _images(out: Path) -> list[Path]:
    """Images with truth beside them, sorted."""
    names = {entry.name for entry in os.scandir(out)}
    stems = sorted(name[:-5] for name in names if name.endswith(".json") and f"{name[:-5]}.npz" in names)
    return [out / f"{stem}.{kind}" for stem in stems for kind in FORMATS if f"{stem}.{kind}" in names]


def _finished(config: Config, out: Path) -> list[Path]:
    """The files that stand for what has been made."""
    if config.records_only:
        return sorted(path for path in out.glob("*.json") if path.name != SETTINGS)
    return _images(out)


def _remove(image: Path) -> None:
    for end in (image.suffix, ".json", ".npz", ".csv", ".hea", ".dat", *(f".{kind}.png" for kind in MASKS)):
        image.with_suffix(end).unlink(missing_ok=True)


def _known(config: Config, out: Path) -> dict[tuple[int, str], tuple[Row, ...]]:
    """Rows of an earlier manifest, by (index, record), of those records whose pages are all there."""
    types = {f.name: {"int": int, "float": float}.get(str(f.type), str) for f in fields(Row)}
    try:
        with (out / MANIFEST).open(newline="", encoding="utf-8") as stream:
            rows = [Row(**{key: types[key](line[key]) for key in types}) for line in csv.DictReader(stream)]
    except (OSError, KeyError, ValueError, TypeError):
        return {}  # it only saves time: without it, records are read to see what is missing
    there = {file.name for file in _finished(config, out)}
    groups = {key: tuple(group) for key, group in itertools.groupby(rows, lambda row: (row.index, row.record))}
    return {
        key: group for key, group in groups.items() if all(row.status == "ok" and row.image in there for row in group)
    }


def _write_manifest(path: Path, rows: Iterable[Row]) -> None:
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, ["page", *(f.name for f in fields(Row))], lineterminator="\n")
    table.writeheader()
    table.writerows({"page": k, **asdict(row)} for k, row in enumerate(rows))
    atomic_write(path, text.getvalue().encode())
