"""What the readers of single files have in common: one file, or every such file under a folder."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from ..errors import RecordError, UsageError
from ..record import Record


@dataclass(frozen=True)
class FileSource:
    """The records in one file, or in all matching files under a folder.

    A record's name is the file's path relative to the folder, with forward slashes.

    Attributes:
        path: the file or the folder.
    """

    path: str | os.PathLike[str]

    suffixes: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))
        if not Path(self.path).exists():
            raise UsageError(f"no file or folder {str(self.path)!r}. Check the path.")

    def names(self) -> Iterator[str]:
        """The files, lazily, in sorted order. Raises UsageError if there is none."""
        path = Path(self.path)
        if not path.is_dir():
            yield path.name
            return
        empty = True
        for name in find_files(path, self.suffixes):
            if self.accepts(path / name):
                empty = False
                yield name
        if empty:
            raise UsageError(f"no {' or '.join(self.suffixes)} file to read in folder {str(path)!r}.")

    def load(self, name: str) -> Record:
        """One record in mV. Raises RecordError, naming the file, if it cannot be read."""
        path = Path(self.path)
        relative = self.file_of(name)
        if not (is_inside(relative) if path.is_dir() else relative == path.name):
            raise RecordError(f"no record {name!r} in {str(path)!r}; expected one of its names().")
        file = path / relative if path.is_dir() else path
        try:
            return self.read(file, PurePosixPath(relative).with_suffix("").as_posix()).check_amplitude()
        except OSError as error:
            raise RecordError(
                f"{file}: cannot be read ({error.strerror or error}). Check the path and its permissions."
            ) from error

    def file_of(self, name: str) -> str:
        """The relative path of the file which holds the record ``name``."""
        return name

    def accepts(self, file: Path) -> bool:
        """Whether a file with the right suffix is one of this source's."""
        return True

    def read(self, file: Path, name: str) -> Record:
        """The record in ``file``, to be called ``name``."""
        raise NotImplementedError


def find_files(folder: Path, suffixes: tuple[str, ...]) -> Iterator[str]:
    """Relative paths (forward slashes) of the files with ``suffixes`` under ``folder``: lazily, in sorted order."""
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        if entry.name.startswith("."):  # also macOS' ._ twins, which carry the suffix but no signal
            continue
        if entry.is_dir(follow_symlinks=False):  # a link to a folder above would never end
            for name in find_files(Path(entry.path), suffixes):
                yield f"{entry.name}/{name}"
        elif entry.name.lower().endswith(suffixes):
            yield entry.name


def is_inside(name: str) -> bool:
    """Whether the relative path ``name`` stays under the folder it is joined to, on any system."""
    parts = name.replace("\\", "/").split("/")
    return bool(name) and parts[0] != "" and ".." not in parts and ":" not in parts[0]


def years(text: str | None) -> int | float | None:
    """The age at the start of ``text`` ("74", "56.0", "042Y"), an int where it is whole; None if there is none."""
    match = re.match(r"\s*(\d+(?:\.\d+)?)", text or "")
    if match is None:
        return None
    age = float(match[1])
    return int(age) if age.is_integer() else age


def sex_letter(text: str | None) -> str | None:
    """'M', 'F' or None from what files write: Male, female, M, f, Unknown."""
    return {"m": "M", "male": "M", "f": "F", "female": "F"}.get((text or "").strip().lower())


def optional(module: str, purpose: str) -> Any:
    """Import an optional dependency. Raises UsageError that names the extra which brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise UsageError(f"{purpose} needs {package}: pip install 'ecg-image-kit[formats]'") from error
