"""Plans: which pages a configuration makes of a source's records, and everything that is drawn by chance for each.

What is drawn for copy c of record i comes from ``SeedSequence([seed, i, c, crc32(what)])``, ``what`` being the option's
name: the same for any number of workers, and one more thing to draw leaves the others as they were.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import cv2
import numpy as np

from . import effects
from .config import RECORDS, Config, Names, Numbers, spans_of
from .effects import Effect
from .errors import UsageError
from .layout import SHEETS, Layout, auto_name
from .page import MASKS, Page
from .record import STANDARD_LEADS, Record
from .render import Style, render
from .sources import Source, open_source

MAKERS = ("ecgsyn", "gan")  # sources without an end of their own
RESERVED = ("config", "manifest")  # stems of the files that lie beside the pages


@dataclass(frozen=True)
class Item:
    """One record to print: its place in the source's order, its name, and the stem of its files."""

    index: int
    name: str
    stem: str


@dataclass(frozen=True)
class Sheet:
    """One page to make: everything is drawn, nothing is rendered. ``number``: from 0, ``of`` so many of a record."""

    name: str
    copy: int
    number: int
    of: int
    layout: Layout
    style: Style
    dpi: float
    recipe: str
    severity: float
    effects: tuple[Effect, ...]


def items(config: Config, source: Source) -> Iterator[Item]:
    """The records to print, lazily. Stems hold letters, digits, - and _ only, and no two of them lead to one file."""
    stems, bases = {*RESERVED, "coco"}, set()  # coco.json: an export
    for index, name in enumerate(itertools.islice(source.names(), config.n)):
        short = re.sub(r"\.[A-Za-z]{2,4}$", "", name)
        wanted = re.sub(r"[^A-Za-z0-9_-]+", "_", short)[:120].strip("_-") or "record"
        for stem in itertools.chain([wanted], (f"{wanted}-{k}" for k in itertools.count(2))):
            # Sheets are called stem_00, stem_01: a record of that name would meet them. File systems may fold case.
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
    recipes = config.recipes()
    for copy in range(config.pages_per_record):
        rng = partial(_rng, config.seed, item.index, copy)
        layout = _layout(config, record, rng)
        style, dpi = _style(config, rng), _number(config.dpi, rng("dpi"))
        recipe = recipes[int(rng("recipe").choice(len(recipes)))]
        severity = _number(config.severity, rng("severity"), digits=2)
        parts = layout.pages(record.duration) if config.long == "page" else [layout]
        for number, part in enumerate(parts):
            drawn = recipe.draw(rng(f"{recipe.name} {number}"), severity)
            drawn += [
                effects.draw(effect, rng(f"effect {k} {number}"), severity) for k, effect in enumerate(config.effects())
            ]
            sheets.append(Sheet("", copy, number, len(parts), part, style, dpi, recipe.name, severity, tuple(drawn)))
    if len(sheets) == 1:
        return [replace(sheets[0], name=item.stem)]
    return [replace(sheet, name=f"{item.stem}_{k:02d}") for k, sheet in enumerate(sheets)]


def draw(config: Config, source: Source, item: Item, record: Record, sheet: Sheet) -> Page:
    """The page of a sheet. Its ``meta`` says where it came from and what would make it again."""
    which = {"sheet": sheet.number, "sheets": sheet.of}
    record = replace(record, meta={**record.meta, **which})
    page = effects.apply(render(record, sheet.layout, sheet.style, sheet.dpi), sheet.effects)
    origin = {
        "source": type(source).__name__.lower(), "seed": config.seed, "index": item.index, "copy": sheet.copy,
        **which, "recipe": sheet.recipe, "severity": sheet.severity, "versions": _versions(),
    }  # fmt: skip
    return replace(page, meta={**page.meta, **origin})


def suffix(config: Config, sheet: Sheet) -> str:
    """The image format of a sheet."""
    if config.format != "auto":
        return config.format
    return "jpg" if any(effect.stage in ("optics", "sensor", "codec") for effect in sheet.effects) else "png"


def check(config: Config) -> None:
    """Raise UsageError for what no record could be printed with, before the first is read."""
    kind = config.src.partition(":")[0]
    if kind in MAKERS and config.n is None:
        raise UsageError(
            f"-n is not given; source {kind} makes as many records as asked for. Give -n, for example -n 100."
        )
    if config.records_only:
        if drawn := [name for name in split(config.write) if name in MASKS]:
            raise UsageError(f"--write {','.join(drawn)} with --records-only; expected some of {', '.join(RECORDS)}.")
        if config.export:
            raise UsageError(f"--export {config.export} needs pages, and --records-only makes none. Leave one out.")
        if config.seconds is not None:
            raise UsageError(f"--seconds {config.seconds} is what rows print; how long records are says --duration.")
        return
    if "npz" in split(config.write):
        raise UsageError(
            "--write npz is for --records-only; beside a page, .npz holds the samples of its traces. Leave it out."
        )
    named = [name for name in split(config.layout) if name not in ("auto", "random")] or ["1x1"]
    rhythm = split(config.rhythm) if config.rhythm else STANDARD_LEADS
    lengths = [None] if config.seconds is None else _ends(config.seconds)
    for name, sheet, pulse in itertools.product(named, split(config.sheet), split(config.pulse)):
        rows, columns = (int(part) for part in name.split("+")[0].split("x"))
        leads = STANDARD_LEADS[: rows * columns]
        for speed, seconds in itertools.product(_ends(config.speed), lengths):
            Layout.named(name, leads, sheet=_sheet(sheet), speed=speed, seconds=seconds, pulse=pulse, rhythm=rhythm)


def source_of(config: Config) -> Source:
    """The source that the configuration names, with those options that were given."""
    given = {"root": config.root, "fs": config.fs, "duration": config.duration}
    options: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if config.filter or config.ids:
        from .sources.ptbxl import parse_filter

        options.update(parse_filter(f"{config.filter or ''} {f'id={config.ids}' if config.ids else ''}"))
    asked = {"label": config.label, "sex": config.sex}
    spans = {"hr": config.hr, "age": config.age}
    options.update({key: value for key, value in asked.items() if value is not None})
    options.update({key: spans_of(str(value))[0] for key, value in spans.items() if value is not None})
    kind = config.src.partition(":")[0]
    wishes = [name for name in ("label", "hr", "sex", "age") if getattr(config, name) is not None]
    if kind != "gan" and wishes:
        flags = ", ".join("--class" if name == "label" else f"--{name}" for name in wishes)
        raise UsageError(
            f"{flags} can be asked of --src gan, not of {kind}; for sources with labels there is --filter."
        )
    if kind in MAKERS:  # they make their records, so they have a use for these
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
        leads = split(config.leads)
    elif set(STANDARD_LEADS) == set(leads) or (set(STANDARD_LEADS) < set(leads) and name not in ("auto", "random")):
        leads = STANDARD_LEADS
    if name == "auto":
        name = auto_name(len(leads))
    elif name == "random":
        name = str(rng("random layout").choice(_fitting(len(leads))))
    columns = _name(config.columns, rng("columns"))
    numbers = {key: getattr(config, key) for key in ("speed", "gain", "precordial_gain", "seconds")}
    options: dict[str, Any] = {
        **{key: None if value is None else _number(value, rng(key)) for key, value in numbers.items()},
        "sheet": _sheet(_name(config.sheet, rng("sheet"))),
        "order": _name(config.order, rng("order")),
        "pulse": _name(config.pulse, rng("pulse")),
        "rhythm": split(config.rhythm) if config.rhythm else (),
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


def split(names: Names) -> tuple[str, ...]:
    return tuple(names.split(",")) if isinstance(names, str) else tuple(names)


def _name(names: Names, rng: np.random.Generator) -> str:
    return str(rng.choice(split(names)))


def _number(numbers: Numbers, rng: np.random.Generator, digits: int = 1) -> float:
    """One of the numbers; between the ends of a range, to so many digits after the point."""
    spans = spans_of(str(numbers))
    low, high = spans[int(rng.integers(len(spans)))]
    return low if low == high else round(float(rng.uniform(low, high)), digits)


def _ends(numbers: Numbers) -> list[float]:
    """The least and greatest values of every range, and all single ones."""
    return sorted({value for span in spans_of(str(numbers)) for value in span})


def _versions() -> dict[str, str]:
    from . import __version__

    return {"ecg_image_kit": __version__, "numpy": np.__version__, "opencv": cv2.__version__}
