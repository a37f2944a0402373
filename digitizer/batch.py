"""Many pages: what ``ecg-digitize`` does. One that fails, takes too long or kills its process costs only itself."""

from __future__ import annotations

import csv
import io
import json
import warnings
import zipfile
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecg_image_kit.errors import EcgError, UsageError
from ecg_image_kit.images import count_pages, read_image
from ecg_image_kit.record import atomic_write
from ecg_image_kit.workers import LATE, Crew, Tell

from .inputs import Input
from .report import ENDINGS, save, wfdb_stem

if TYPE_CHECKING:
    from .pipeline import Reading

SUMMARY = "summary.csv"


@dataclass(frozen=True)
class Task:
    """One page of one image file.

    Attributes:
        shown: what messages call the file. page: 1 for the first, of ``pages``.
        stem: path of the results, without their endings.
    """

    image: Path
    shown: str
    page: int
    pages: int
    stem: Path

    @property
    def label(self) -> str:
        return f"{self.shown} page {self.page}" if self.pages > 1 else self.shown


@dataclass(frozen=True)
class Row:
    """A line of summary.csv. ``status``: read, failed (``error`` says why), or not finished before an interrupt."""

    image: str
    page: int
    status: str
    error: str = ""
    layout: str = ""
    speed_mm_s: float | None = None
    gain_mm_mv: float | None = None
    leads: int | None = None
    lowest_confidence: float | None = None
    unread_share: float | None = None
    warnings: str = ""


@dataclass(frozen=True)
class Result:
    """What became of a task; ``line`` tells of it."""

    row: Row
    line: str


@dataclass(frozen=True)
class Digitize:
    """The job: read each page as ``options`` of ``digitizer.read`` say, and write it.

    Attributes:
        write: kinds of files. fill: straight lines across gaps. megapixels: of an image, at most. seconds: of a page.
    """

    write: tuple[str, ...]
    options: Mapping[str, Any]
    fill: bool
    megapixels: float
    seconds: float

    def make(self, task: Task, tell: Tell, begun: Mapping[str, Sequence[str]]) -> Result:
        """The task's result; nothing that a page does is raised."""
        deaths = [how for ways in begun.values() for how in ways]
        if LATE in deaths:
            return _failed(task, f"{LATE}: more than {self.seconds:g} s. Give --timeout more, or a smaller image.")
        if len(deaths) > 1:  # the first may have been unlucky
            ways = " and ".join(dict.fromkeys(deaths))
            return _failed(
                task, f"the process that read it died twice ({ways}); is there enough memory for an image this large?"
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                reading = self._read(task)
                if self.fill:
                    from .fill import filled

                    reading = filled(reading)
                paths = save(reading, task.stem, self.write)
        except EcgError as error:
            message = str(error).removeprefix(f"{task.image}: ")
            return _failed(task, f"{type(error).__name__}: {message}")
        except MemoryError:
            return _failed(task, "not enough memory for an image this large. Make it smaller, or give fewer --workers.")
        except OSError as error:  # a full disk, a folder that is read-only
            return _failed(task, f"cannot be written: {error}")
        except Exception as error:  # noqa: BLE001 - a bug must not lose the rest of the batch; it is reported as one
            return _failed(task, f"unexpected {type(error).__name__}: {error} (please report it)")
        return _succeeded(task, reading, paths[0])

    def _read(self, task: Task) -> Reading:
        from .pipeline import read

        reading = read(read_image(task.image, task.page, self.megapixels), **self.options)
        name = task.stem.name
        meta = {**reading.page.meta, "record": name, "file": Path(task.shown).name}
        if task.pages > 1:
            meta["page"] = task.page
        return replace(reading, page=replace(reading.page, meta=meta), record=replace(reading.record, name=name))


def results(job: Digitize, tasks: Sequence[Task], workers: int) -> Generator[Result, None, None]:
    """A result for each task, in order. Without a limit of time, one worker is this process."""
    if workers == 1 and not job.seconds:
        for task in tasks:
            yield job.make(task, lambda part: None, {})
        return
    with Crew(job, workers, job.seconds or None) as crew:
        yield from crew.results(tasks)


def _failed(task: Task, error: str) -> Result:
    error = " ".join(error.split())
    return Result(Row(task.shown, task.page, "failed", error), f"{task.label}: {error}")


def _succeeded(task: Task, reading: Reading, path: Path) -> Result:
    layout, traces = reading.page.layout, reading.page.traces
    sure = min(reading.confidence.values(), default=0.0)
    leads = len(reading.record.leads)
    line = (
        f"{task.label}: {layout.name}, {layout.speed:g} mm/s, {layout.gain:g} mm/mV, {leads} leads, "
        f"lowest confidence {sure:.2f} -> {path}"
    )
    unread = float(np.mean(np.isnan(np.concatenate([trace.mv for trace in traces]))))
    row = Row(
        task.shown, task.page, "read", "", layout.name, layout.speed, layout.gain, leads, round(sure, 3),
        round(unread, 4), "; ".join(reading.warnings),
    )  # fmt: skip
    return Result(row, "\n  note: ".join([line, *reading.warnings]))


# The request


def plan(inputs: Sequence[Input], out: Path | None, write: Sequence[str]) -> list[Task]:
    """A task for each page of each input, whose results go below ``out``, or lie beside it.

    Results of scan.png are called scan; of a scan.pdf of three pages scan-1, scan-2 and scan-3. Raises UsageError if
    two would have the same name, or would overwrite what is no result.
    """
    tasks: list[Task] = []
    taken: dict[str, Input] = {}

    def key(stem: Path) -> str:
        """What may not be the same for two pages; file systems may fold case."""
        return str(wfdb_stem(stem) if "wfdb" in write else stem).casefold()

    for item in inputs:
        pages = count_pages(item.path)
        for page in range(1, pages + 1):
            stem = (out / item.relative if out else item.beside).with_suffix("")
            if pages > 1:
                stem = stem.with_name(f"{stem.name}-{page:0{len(str(pages))}d}")
            other = taken.get(key(stem))
            if other is not None and other.path.parent == item.path.parent:  # scan.jpg beside scan.png
                stem = stem.with_name(f"{stem.name}_{item.path.suffix.lstrip('.').lower()}")
                other = taken.get(key(stem))
            if other is not None:
                raise UsageError(
                    f"{item.shown} and {other.shown} would both be written as {stem}. Give a folder above both, or one "
                    "at a time."
                )
            taken[key(stem)] = item
            if foreign := _foreign(stem, write):
                raise UsageError(
                    f"{foreign} is not a result of ecg-digitize and would be overwritten. Give another --out."
                )
            tasks.append(Task(item.path, item.shown, page, pages, stem))
    return tasks


def _foreign(stem: Path, write: Sequence[str]) -> Path | None:
    """A file that would be overwritten and is not an earlier result: the truth of a page, say, or its record."""
    report = stem.with_name(stem.name + ENDINGS["json"])
    if report.exists() and not _is_report(report):
        return report  # even if no report is written: what lies beside it belongs to it
    own = {"csv": _is_table, "wfdb": _says_so, "npz": _is_archive, "dicom": _says_so, "html": _says_so}
    for kind in write:
        base = wfdb_stem(stem) if kind == "wfdb" else stem
        path = base.with_name(base.name + ENDINGS[kind])
        if kind in own and path.exists() and not own[kind](path):
            return path
    return None


def _is_report(path: Path) -> bool:
    try:
        return str(json.loads(path.read_text("utf-8")).get("reader", "")).startswith("ecg-digitize")
    except (OSError, ValueError, AttributeError):
        return False


def _is_table(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.readline().startswith(b"time_s,")


def _is_archive(path: Path) -> bool:
    return zipfile.is_zipfile(path) and "leads.npy" in zipfile.ZipFile(path).namelist()


def _says_so(path: Path) -> bool:
    return b"ecg-digitize" in path.read_bytes()


# The summary


def summary_path(inputs: Sequence[Input], tasks: Sequence[Task], out: Path | None, first: Path) -> Path | None:
    """Where summary.csv goes: into ``out``; else, if there are several pages, into the folder ``first`` or beside it.

    Raises UsageError if there is something else of that name, or one of the results would have it.
    """
    if out is None and len(tasks) < 2:
        return None
    path = (out or (first if first.is_dir() else inputs[0].beside.parent)) / SUMMARY
    clash = any(str(task.stem).casefold() == str(path.with_suffix("")).casefold() for task in tasks)
    head = ",".join(field.name for field in fields(Row)).encode()
    if clash:
        raise UsageError(
            f"an image called {path.stem} would be written as {path}, which is for the summary. Rename it."
        )
    if path.exists():
        with path.open("rb") as stream:
            if not stream.readline().startswith(head):
                raise UsageError(
                    f"{path} is not a result of ecg-digitize and would be overwritten. Give another --out."
                )
    return path


def write_summary(path: Path, tasks: Sequence[Task], rows: Sequence[Row]) -> None:
    """Write a line for each task; those beyond ``rows`` were not finished before an interrupt."""
    rest = [Row(task.shown, task.page, "not finished") for task in tasks[len(rows) :]]
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
    table.writeheader()
    table.writerows(asdict(row) for row in (*rows, *rest))
    atomic_write(path, text.getvalue().encode())
