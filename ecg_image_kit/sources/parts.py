"""parts: KIND:PATH@START:STOP, with which training and evaluation name their records."""

from __future__ import annotations

from typing import Any

from ..errors import UsageError
from . import Source, open_source


def split_part(spec: str) -> tuple[str, slice]:
    """What a spec names, and which part of it: ``ptbxl:DIR@:-300`` is all of ptbxl:DIR but its last 300 records."""
    place, _, part = spec.rpartition("@")
    start, colon, stop = part.partition(":")
    if not place or not colon or not all(not x or x.lstrip("-").isdigit() for x in (start, stop)):
        return spec, slice(None)
    return place, slice(int(start) if start else None, int(stop) if stop else None)


def open_part(spec: str, **options: Any) -> tuple[Source, list[str]]:
    """The source that ``KIND``, ``KIND:PATH`` or a path names, and the names of its records, or of a part of them.

    ``@START:STOP`` at the end takes a part, counted as Python counts. ``options`` as in ``open_source``.
    Raises UsageError for an unknown kind, a missing path, or a part that is empty.
    """
    place, part = split_part(spec)
    kind, colon, path = place.partition(":")
    if kind == "gan" or not colon or len(kind) == 1:  # a name, a path, or one with a drive's letter
        source = open_source(place, **options)
    else:
        source = open_source(kind, root=path, **options)
    names = list(source.names())
    if not names:
        raise UsageError(f"{spec}: no records there.")
    if not names[part]:
        raise UsageError(f"{spec}: none of {len(names)} records is in that part; expected START:STOP within them.")
    return source, names[part]
