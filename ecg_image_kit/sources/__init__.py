"""Where records come from. Every source lists names lazily and loads one record by name.

``open_source`` makes one from a name (``ptbxl``, ``wfdb``, ...) or from a path. The modules behind it are imported only
when asked for, so that ``import ecg_image_kit`` stays fast and optional readers stay optional.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ..errors import UsageError
from ..record import Record


@runtime_checkable
class Source(Protocol):
    """What ``ecg-image-gen --src`` needs of a data set."""

    def names(self) -> Iterator[str]:
        """The records' names, lazily, in a fixed order."""
        ...

    def load(self, name: str) -> Record:
        """One record in mV. Raises RecordError, naming the file, if it cannot be read."""
        ...


# name -> (module in this package, class). Those in _READERS read a file or a folder, given as ``path``.
_READERS = {
    "wfdb": ("wfdb_files", "WFDB"),
    "csv": ("tables", "CSV"),
    "npz": ("tables", "NPZ"),
    "dicom": ("dicom", "DICOM"),
    "muse": ("muse", "MUSE"),
    "philips": ("philips", "Philips"),
    "aecg": ("aecg", "AECG"),
}
_SOURCES = {
    "ptbxl": ("ptbxl", "PTBXL"),
    "samples": ("samples", "Samples"),
    "ecgsyn": ("ecgsyn", "Ecgsyn"),
    **_READERS,
}
# Sources of other packages of this project, which know this one, not the other way round: name -> where they are found
# if asked for. What follows a colon (gan:pulse2pulse) is their ``model``.
_PLUGINS = {"gan": "synth.source:Gan"}
# In a mixed folder the first kind present wins: an index.csv beside .hea files is not a record.
_BY_SUFFIX = {
    **dict.fromkeys((".hea", ".dat", ".mat"), "wfdb"),
    **{".dcm": "dicom", ".xml": "", ".npz": "npz", ".csv": "csv", ".txt": "csv"},
}
_XML_ROOTS = {"RestingECG": "muse", "restingecgdata": "philips", "AnnotatedECG": "aecg"}


def source_names() -> tuple[str, ...]:
    """The names ``open_source`` knows."""
    return (*_SOURCES, *_PLUGINS)


def open_source(src: str, **options: Any) -> Source:
    """The source called ``src``, or the reader for the file or folder ``src``.

    ``options`` are the fields of the source's dataclass; for readers ``root`` is another word for ``path``, and
    ``ptbxl`` also takes ``download=True`` with ``limit`` (how many records to fetch) and ``url``.
    Raises UsageError for an unknown name, a missing path, or an option which the source does not have.
    """
    kind, _, model = src.partition(":")
    if kind in _PLUGINS:
        if model:
            options["model"] = model
        return _make(kind, _plugin(kind), options)
    if src in _SOURCES:
        kind = src
        if kind in _READERS and "root" in options:
            options["path"] = options.pop("root")
        if kind in _READERS and "path" not in options:
            raise UsageError(f"source {src!r} reads a file or a folder, and none was given. Use --src PATH, or --root.")
    else:
        kind, options["path"] = _kind_of(src), src
        if kind == "ptbxl":
            options["root"] = options.pop("path")

    module_name, class_name = _SOURCES[kind]
    make: Any
    if kind == "ptbxl" and options.pop("download", False):
        make = importlib.import_module(".download", __package__).fetch_ptbxl
        known = {*inspect.signature(make).parameters, *_options("ptbxl")} - {"filters"}
    else:
        make = getattr(importlib.import_module(f".{module_name}", __package__), class_name)
        known = set(inspect.signature(make).parameters)
    return _make(kind, make, options, known)


def _make(kind: str, make: Any, options: dict[str, Any], known: set[str] | None = None) -> Source:
    known = set(inspect.signature(make).parameters) if known is None else known
    if unknown := sorted(set(options) - known):
        raise UsageError(
            f"source {kind!r} has no option {', '.join(unknown)}; it has {', '.join(sorted(known)) or 'none'}."
        )
    source: Source = make(**options)
    return source


def _plugin(kind: str) -> Any:
    """The class behind a name of _PLUGINS. Raises UsageError if its package is not there."""
    module_name, class_name = _PLUGINS[kind].split(":")
    package = module_name.partition(".")[0]
    try:
        return getattr(importlib.import_module(module_name), class_name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != package:
            raise
        raise UsageError(f"source {kind!r} comes with package {package}, which is not installed. Install it.") from None


def _options(kind: str) -> set[str]:
    module_name, class_name = _SOURCES[kind]
    return set(
        inspect.signature(getattr(importlib.import_module(f".{module_name}", __package__), class_name)).parameters
    )


def _kind_of(src: str) -> str:
    """Which source reads the file or folder ``src``. Raises UsageError if there is no telling."""
    path = Path(src)
    if path.is_dir():
        return _kind_of_folder(path)
    if path.is_file():
        if kind := _kind_of_file(path):
            return kind
        expected = ", ".join(_BY_SUFFIX)
        raise UsageError(
            f"{src}: not a kind of ECG file that is known; expected {expected}. Name the reader with --src."
        )
    if path.with_name(path.name + ".hea").is_file():  # a WFDB record is named without its suffix
        return "wfdb"
    if path.suffix or len(path.parts) > 1:
        raise UsageError(f"no file or folder {src!r}. Check the path, or choose one of {', '.join(source_names())}.")
    names = ", ".join(source_names())
    raise UsageError(f"unknown source {src!r}; expected one of {names}, or the path of a file or folder.")


def _kind_of_folder(folder: Path) -> str:
    from .files import find_files

    if (folder / "ptbxl_database.csv").is_file():
        return "ptbxl"
    order = list(_BY_SUFFIX)
    first: dict[str, str] = {}
    for name in find_files(folder, tuple(_BY_SUFFIX)):
        suffix = Path(name).suffix.lower()
        first.setdefault(suffix, name)
        if suffix == order[0]:
            break
    for suffix in sorted(first, key=order.index):
        if kind := _kind_of_file(folder / first[suffix]):
            return kind
    raise UsageError(
        f"no ECG files in folder {str(folder)!r}; expected {', '.join(_BY_SUFFIX)}, or ptbxl_database.csv."
    )


def _kind_of_file(path: Path) -> str:
    """The reader for one file, or '' if none is known."""
    suffix = path.suffix.lower()
    if suffix == ".xml":
        from .xml_files import root_tag

        return _XML_ROOTS.get(root_tag(path), "")
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    with path.open("rb") as stream:  # DICOM files often come without a suffix
        return "dicom" if stream.read(132)[128:] == b"DICM" else ""
