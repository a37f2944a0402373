"""PTB-XL: 21,799 twelve-lead ECGs of 10 s (Wagner et al., Sci Data 7:154, 2020), as PhysioNet lays them out."""

from __future__ import annotations

import ast
import csv
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import RecordError, UsageError
from ..record import Record
from .files import is_inside, sex_letter, years
from .wfdb_files import read_record

DATABASE = "ptbxl_database.csv"
STATEMENTS = "scp_statements.csv"
SUPERCLASSES = ("NORM", "MI", "STTC", "CD", "HYP")

Row = Mapping[str, str]


@dataclass(frozen=True)
class PTBXL:
    """Records of a PTB-XL folder that pass all filters, in the database's order.

    ``meta``: ecg_id, patient_id, age (years), sex ("M" or "F"), strat_fold, scp_codes {code: likelihood in %},
    heart_axis where given, and superclasses where ``scp_statements.csv`` is there. PTB-XL writes ages above 89 as
    300; here they are 90, with ``age_over_89`` set.

    Attributes:
        root: folder with ``ptbxl_database.csv``; else $PTBXL_ROOT, else the user's cache (see ``default_root``).
        fs: 500 or 100 Hz, the two versions that PTB-XL holds.
        folds: of strat_fold, 1 to 10; empty for all.
        scp: SCP codes or diagnostic superclasses (NORM, MI, STTC, CD, HYP); a record needs one of them.
        age: (lowest, highest) in years, both included. Someone above 89 passes if the highest is above 89.
        sex: "M" or "F".
        ids: ecg_id.

    Raises:
        UsageError: no PTB-XL at any place looked at, a filter out of range, or filters that leave no record.
    """

    root: str | os.PathLike[str] | None = None
    fs: int = 500
    folds: tuple[int, ...] = ()
    scp: tuple[str, ...] = ()
    age: tuple[float, float] | None = None
    sex: str | None = None
    ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.fs not in (100, 500):
            raise UsageError(f"PTB-XL holds 500 and 100 Hz; fs is {self.fs!r}. Take 500 and resample.")
        folds, ids = tuple(map(int, self.folds)), tuple(map(int, self.ids))
        if wrong := [fold for fold in folds if not 1 <= fold <= 10]:
            raise UsageError(f"fold {wrong[0]} is not in PTB-XL; expected 1 to 10.")
        sex = sex_letter(self.sex)
        if self.sex is not None and sex is None:
            raise UsageError(f"sex is {self.sex!r}; expected M or F.")
        if self.age is not None and not 0 <= self.age[0] <= self.age[1]:
            raise UsageError(f"age is {self.age}; expected (lowest, highest) in years, lowest first.")
        for name, value in {
            "folds": folds,
            "ids": ids,
            "scp": tuple(code.upper() for code in self.scp),
            "sex": sex,
        }.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "root", find_root(self.root))

    @property
    def folder(self) -> Path:
        """The root, found."""
        return Path(os.fspath(self.root or ""))

    def names(self) -> Iterator[str]:
        """Five-digit ecg_id of the records asked for. Raises UsageError if the filters leave none."""
        return iter(self._rows)

    def load(self, name: str) -> Record:
        """One record in mV, with its labels in ``meta``. Raises RecordError, naming the file, if it cannot be read."""
        if name not in self._rows:
            raise RecordError(f"no record {name!r} among the {len(self._rows)} asked for in {self.folder}.")
        row = self._rows[name]
        header = self.folder / f"{self._stem(row)}.hea"
        if not header.is_file():
            raise RecordError(
                f"{header} is not there, though {DATABASE} lists it. Fetch it with --download, or complete the folder."
            )
        record = read_record(header, name)
        return replace(record, meta={**record.meta, **self._labels(row)}).check_amplitude()

    def files(self, limit: int | None = None) -> list[str]:
        """Paths (relative to the root, forward slashes) of the first ``limit`` records' header and signal files."""
        rows = list(self._rows.values())[:limit]
        return [f"{self._stem(row)}.{suffix}" for row in rows for suffix in ("hea", "dat")]

    @cached_property
    def _rows(self) -> dict[str, Row]:
        columns = ("ecg_id", "patient_id", "age", "sex", "scp_codes", "strat_fold", self._column)
        rows = list(_read_csv(self.folder / DATABASE, columns, optional=("heart_axis",)))
        total, removed = len(rows), []
        for name, keep in self._filters():
            kept = [row for row in rows if keep(row)]
            if len(kept) < len(rows):
                removed.append(f"{name} removed {len(rows) - len(kept)}")
            rows = kept
        if not rows:
            raise UsageError(
                f"none of the {total} records in {self.folder} is left: {', '.join(removed) or 'the table is empty'}."
            )
        return {f"{int(row['ecg_id']):05d}": row for row in rows}

    def _filters(self) -> Iterator[tuple[str, Callable[[Row], bool]]]:
        if self.ids:
            ids = {str(ecg_id) for ecg_id in self.ids}
            yield f"ids {_brief(self.ids)}", lambda row: row["ecg_id"] in ids
        if self.folds:
            folds = {str(fold) for fold in self.folds}
            yield f"folds {_brief(self.folds)}", lambda row: row["strat_fold"] in folds
        if self.sex:
            yield f"sex {self.sex}", lambda row: _sex(row) == self.sex
        if self.age:
            low, high = self.age
            yield f"age {low:g}-{high:g}", lambda row: _in_age(_age(row), low, high)
        if self.scp:
            codes = self._codes()
            yield f"scp {_brief(self.scp)}", lambda row: not codes.isdisjoint(_scp_codes(row))

    def _codes(self) -> set[str]:
        """The SCP codes asked for, superclasses spelled out."""
        if self._superclass:
            return {
                code for asked in self.scp for code in (asked, *(c for c, s in self._superclass.items() if s == asked))
            }
        if wanted := [code for code in self.scp if code in SUPERCLASSES and code != "NORM"]:  # NORM is a code as well
            raise UsageError(
                f"{wanted[0]} is a diagnostic superclass, but {STATEMENTS}, which defines it, is not in {self.folder}."
            )
        return set(self.scp)

    @cached_property
    def _superclass(self) -> dict[str, str]:
        """SCP code -> diagnostic superclass; empty without ``scp_statements.csv``."""
        path = self.folder / STATEMENTS
        rows = _read_csv(path, ("", "diagnostic_class")) if path.is_file() else ()
        return {row[""]: row["diagnostic_class"] for row in rows if row["diagnostic_class"]}

    @property
    def _column(self) -> str:
        return "filename_hr" if self.fs == 500 else "filename_lr"

    def _stem(self, row: Row) -> str:
        stem = row[self._column]
        if not is_inside(stem):
            raise RecordError(f"{DATABASE} of {self.folder}: file name {stem!r}; expected a path below the folder.")
        return stem

    def _labels(self, row: Row) -> dict[str, Any]:
        age, codes = _age(row), _scp_codes(row)
        labels: dict[str, Any] = {
            "ecg_id": int(row["ecg_id"]),
            "patient_id": _whole(row["patient_id"]),
            "age": 90 if age is not None and age > 89 else age,
            "sex": _sex(row),
            "strat_fold": _whole(row["strat_fold"]),
            "scp_codes": codes,
        }
        if age is not None and age > 89:
            labels["age_over_89"] = True
        if axis := row.get("heart_axis"):
            labels["heart_axis"] = axis
        if self._superclass:
            labels["superclasses"] = sorted({self._superclass[code] for code in codes if code in self._superclass})
        return labels


def default_root() -> Path:
    """Where PTB-XL is looked for and downloaded to without ``root``: $PTBXL_ROOT, else the user's cache folder."""
    return _places(None)[0]


def find_root(root: str | os.PathLike[str] | None) -> Path:
    """The folder with ``ptbxl_database.csv``. Raises UsageError listing the places looked at, and what can be done."""
    places = _places(root)
    for place in places:
        if (place / DATABASE).is_file():
            return place
    looked = "; ".join(str(place) for place in places)
    raise UsageError(
        f"PTB-XL not found: no {DATABASE} in {looked}. Say where it is with --root DIR, fetch the records needed "
        "with --download (from PhysioNet, CC BY 4.0), or take the built-in records with --src samples."
    )


def _places(root: str | os.PathLike[str] | None) -> list[Path]:
    """The folders to look in, in order. A root that was asked for is the only one: nothing may stand in for it."""
    if root is not None:
        return [Path(root).expanduser()]
    stated = os.environ.get("PTBXL_ROOT")
    return [*([Path(stated).expanduser()] if stated else []), _cache() / "ptb-xl"]


def _cache() -> Path:
    """The system's folder for what can be fetched again."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "ecg-image-kit"


def parse_filter(text: str) -> dict[str, Any]:
    """The fields of ``PTBXL`` in a text such as "fold=9,10 scp=MI age=40-60 sex=F".

    Keys fold, scp, age, sex, id, separated by blanks or semicolons; lists by commas; fold and id also take ranges
    (1-8), age is a range (40-60, 40-, -60) or one age. Raises UsageError for anything else.
    """
    fields: dict[str, Any] = {}
    for token in re.split(r"[;\s]+", text.strip()):
        if not token:
            continue
        key, equals, value = token.partition("=")
        parse = _FILTERS.get(key.lower().rstrip("s") if key.lower() in ("folds", "ids") else key.lower())
        if not equals or not value or parse is None:
            raise UsageError(
                f"filter {token!r}; expected KEY=VALUE with KEY one of {', '.join(_FILTERS)}, as in 'fold=9,10 scp=MI'."
            )
        field, convert = parse
        if field in fields:
            raise UsageError(f"filter {key!r} is given twice; join its values by commas.")
        try:
            fields[field] = convert(value)
        except ValueError:
            raise UsageError(f"filter {token!r}; expected numbers such as fold=1-8,10, age=40-60 or id=17.") from None
    return fields


def _whole_numbers(value: str) -> tuple[int, ...]:
    numbers: list[int] = []
    for part in value.split(","):
        low, dash, high = part.partition("-")
        numbers += range(int(low), int(high) + 1) if dash else [int(part)]
    return tuple(numbers)


def _age_range(value: str) -> tuple[float, float]:
    low, dash, high = value.partition("-")
    if not dash:
        return float(value), float(value)
    return float(low or 0), float(high or math.inf)


_FILTERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "fold": ("folds", _whole_numbers),
    "scp": ("scp", lambda value: tuple(code for code in value.upper().split(",") if code)),
    "age": ("age", _age_range),
    "sex": ("sex", str),
    "id": ("ids", _whole_numbers),
}


def _read_csv(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> Iterator[Row]:
    """The rows of a table, reduced to ``columns``. Raises RecordError if one is missing, or the file is unreadable."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            header = next(reader, [])
            if missing := [column for column in columns if column not in header]:
                raise RecordError(
                    f"{path}: no column {', '.join(missing)}; expected PTB-XL 1.0.1 or later. Fetch it anew."
                )
            at = {column: header.index(column) for column in (*columns, *optional) if column in header}
            for row in reader:
                yield {column: row[k] for column, k in at.items()}
    except (OSError, csv.Error, UnicodeDecodeError, IndexError) as error:
        raise RecordError(f"{path}: cannot be read ({error}). Fetch it anew.") from error


def _age(row: Row) -> float | None:
    return years(row["age"])


def _in_age(age: float | None, low: float, high: float) -> bool:
    if age is None:
        return False
    return high > 89 if age > 89 else low <= age <= high


def _sex(row: Row) -> str | None:
    return {"0": "M", "1": "F", "0.0": "M", "1.0": "F"}.get(row["sex"])


def _scp_codes(row: Row) -> dict[str, float]:
    if not row["scp_codes"]:  # unlabelled, as in trees that were put together from other sources
        return {}
    try:
        codes = ast.literal_eval(row["scp_codes"])
        return {str(code): float(likelihood) for code, likelihood in codes.items()}
    except (ValueError, SyntaxError, AttributeError, TypeError) as error:
        raise RecordError(
            f"{DATABASE}: scp_codes of record {row['ecg_id']} are {row['scp_codes']!r}; expected {{'NORM': 100.0}}."
        ) from error


def _whole(text: str) -> int | None:
    """Identifiers which pandas wrote as '15709.0'."""
    number = years(text)
    return None if number is None else int(number)


def _brief(values: Iterable[Any]) -> str:
    """The first few of many values."""
    texts = [str(value) for value in values]
    return ",".join(texts[:5]) + (f",... ({len(texts)})" if len(texts) > 5 else "")
