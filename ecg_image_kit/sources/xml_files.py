"""XML files of ECG machines: hardened parsing (no entity is ever expanded), and small helpers for their trees."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from ..errors import RecordError
from ..record import Record
from .files import FileSource, optional


@dataclass(frozen=True)
class XMLSource(FileSource):
    """XML files with one root element; others under the folder are passed over.

    ``meta`` carries no names, identifiers, dates or free text, so that nothing personal reaches a page.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".xml",)
    root: ClassVar[str] = ""

    def accepts(self, file: Path) -> bool:
        try:
            return root_tag(file) == self.root
        except RecordError:
            return True  # a broken file is reported when it is loaded, not passed over in silence

    def read(self, file: Path, name: str) -> Record:
        tree = parse(file)
        if local(tree) != self.root:
            raise RecordError(
                f"{file}: root element <{local(tree)}>; expected <{self.root}>. Another source may read it."
            )
        return self.decode(tree, file, name)

    def decode(self, tree: Element, file: Path, name: str) -> Record:
        """The record in a parsed tree."""
        raise NotImplementedError


def parse(file: Path) -> Element:
    """The root element. Raises RecordError for broken XML, and for declared entities, which could grow without end."""
    defused = optional("defusedxml.ElementTree", "reading XML files")
    try:
        root: Element = defused.parse(file).getroot()
        return root
    except (defused.ParseError, ValueError, LookupError) as error:  # defusedxml's exceptions are ValueErrors
        raise RecordError(f"{file}: not acceptable XML ({error}). Export the file again.") from error


def root_tag(file: Path) -> str:
    """The root element's name, without namespace, from the file's beginning. Raises RecordError as ``parse`` does."""
    defused = optional("defusedxml.ElementTree", "reading XML files")
    try:
        with file.open("rb") as stream:
            _, root = next(iter(defused.iterparse(stream, events=("start",))))
        return local(root)
    except (defused.ParseError, ValueError, LookupError, StopIteration) as error:
        raise RecordError(f"{file}: not acceptable XML ({error}). Export the file again.") from error
    except OSError as error:
        raise RecordError(f"{file}: cannot be read ({error.strerror or error}). Check its permissions.") from error


def local(element: Element) -> str:
    """The element's name without its namespace."""
    return str(element.tag).rpartition("}")[2]


def text(element: Element, path: str) -> str:
    """The stripped text at ``path`` ('a/b', any namespace), or ''."""
    return (element.findtext("/".join(f"{{*}}{step}" for step in path.split("/"))) or "").strip()


def number(value: str | None, what: str, file: Path) -> float:
    """``value`` as a float. Raises RecordError naming ``what`` is wrong."""
    try:
        return float(value or "")
    except ValueError:
        raise RecordError(f"{file}: {what} is {value!r}; expected a number. Export the file again.") from None


def stated(**meta: Any) -> dict[str, Any]:
    """Only those entries of ``meta`` which the file states."""
    return {key: value for key, value in meta.items() if value not in (None, "", [], {})}


def calibration_tail(mv: NDArray[np.floating[Any]], fs: float, tolerance: float) -> int:
    """How many samples at the end of (leads, samples) mV are a calibration pulse and its surroundings, 0 if none.

    tolerance: mV by which leads may differ from each other and from 0 and 1 mV.

    Philips machines append one: every lead the same, 0 mV, then 1 mV for 0.2 s, then 0 mV. Printed as signal it would
    be taken for a beat.
    """
    if mv.shape[0] < 2:
        return 0
    common = np.median(mv, axis=0)
    level = (np.abs(common) <= tolerance) | (np.abs(common - 1.0) <= tolerance)
    same = level & (np.abs(mv - common).max(axis=0) <= tolerance)
    other = np.flatnonzero(~same)
    start = int(other[-1]) + 1 if other.size else 0
    pulse = np.abs(common[start:] - 1.0) <= tolerance
    return mv.shape[1] - start if pulse.sum() >= 0.1 * fs else 0
