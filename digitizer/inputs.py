"""Which images a request names: files, folders, patterns and standard input."""

from __future__ import annotations

import glob
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecg_image_kit.errors import UsageError
from ecg_image_kit.images import SUFFIXES

STDIN = "-"
_OWN = (".overlay.png", ".leads.png", ".grid.png", ".text.png")  # pictures that this toolbox writes beside pages


@dataclass(frozen=True)
class Input:
    """A file to read.

    Attributes:
        path: where it is.
        shown: what it is called in messages.
        relative: its path below the folder that was given.
        beside: the file that results lie beside, if they have no folder of their own.
    """

    path: Path
    shown: str
    relative: Path
    beside: Path


def find(arguments: Sequence[str], spool: Path) -> tuple[list[Input], list[UsageError]]:
    """Every image named, once each, in a fixed order; standard input is written into the folder ``spool`` first.

    Returns the images, and what is wrong with arguments that name none. Raises UsageError if no argument names any.
    """
    seen, found, wrong = set(), [], []
    for argument in arguments:
        try:
            named = [_standard_input(spool)] if argument == STDIN else list(_below(argument, len(arguments) == 1))
        except UsageError as error:
            wrong.append(error)
            continue
        for path, relative in named:
            if (key := path.resolve()) not in seen:
                seen.add(key)
                stdin = argument == STDIN
                found.append(Input(path, STDIN if stdin else str(path), relative, relative if stdin else path))
    if not found:
        own = "only pictures that this toolbox writes itself were given; expected images of ECGs."
        raise UsageError(" ".join(map(str, wrong)) or own)
    return found, wrong


def _standard_input(spool: Path) -> tuple[Path, Path]:
    path = spool / "stdin"
    if not path.exists():
        if sys.stdin.isatty():
            raise UsageError("standard input (-) is a terminal; expected an image, as in: ecg-digitize - < scan.png")
        with path.open("wb") as stream:
            shutil.copyfileobj(sys.stdin.buffer, stream)
    return path, Path("stdin")


def _below(argument: str, single: bool) -> Iterator[tuple[Path, Path]]:
    """(image, its path below the folder that was given) of one argument; ``single``: the only one."""
    if not argument.strip():  # Path("") is the current folder, and all below it
        raise UsageError(
            "an empty name, as of a shell variable that is not set; expected an image or a folder (. is this one)."
        )
    path = Path(argument)
    if path.is_dir():
        below = [f for f in sorted(path.rglob("*")) if _is_image(f)]
        if not below:
            raise UsageError(f"folder {path} has no images; expected {', '.join(SUFFIXES)}.")
        yield from ((f, f.relative_to(path)) for f in below)
    elif path.exists():
        # A pattern that the shell has expanded also names the pictures made the last time.
        if single or not path.name.endswith(_OWN):
            yield path, Path(path.name)
    else:
        matches = [Path(f) for f in sorted(glob.glob(argument, recursive=True))]
        files = [f for f in matches if f.is_file() and not f.name.endswith(_OWN)]
        if not files:
            raise UsageError(f"{argument}: no such file or folder, and no image matches it as a pattern.")
        fixed = [part for part in path.parts if not glob.has_magic(part)]
        base = Path(*fixed) if path.parts[: len(fixed)] == tuple(fixed) else Path()
        yield from ((f, f.relative_to(base)) for f in files)


def _is_image(path: Path) -> bool:
    """Not what macOS leaves beside files on foreign disks, either (``._scan.png``)."""
    return path.suffix.lower() in SUFFIXES and not path.name.endswith(_OWN) and not path.name.startswith("._")
