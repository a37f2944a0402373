"""ecg-image-gen: records in, pages of paper ECG with exact truth out. Its options are the fields of ``Config``."""

from __future__ import annotations

import argparse
import difflib
import inspect
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import Field, fields
from typing import Any

from . import __version__
from .command import command
from .config import GROUPS, Config, default_of, flag_of, load_yaml
from .effects import EFFECTS, STAGES, Effect, Grows, OneOf, Range
from .errors import UsageError
from .generate import MANIFEST, Row, Summary, generate
from .layout import NAMES, SHEETS
from .recipes import RECIPES
from .render import CHOICES, Style
from .sources import source_names
from .text import FONTS

_SHOWN = 10  # failures and warnings printed in full; all are in the manifest

_EXAMPLES = """\
examples:
  ecg-image-gen --out pages
      the bundled synthetic records, one page each
  ecg-image-gen --src ptbxl --root ptb-xl -n 1000 --layout random --style random --dpi 100-300 --workers 4 --out pages
      a varied training set
  ecg-image-gen --src ptbxl --root ptb-xl --filter "scp=MI fold=10" --speed 25,50 --gain 5,10,20 --out pages
      speed and gain drawn for each page
  ecg-image-gen --src recordings --derive --layout 12x1 --write wfdb,masks --out pages
      a folder of ECG files; the printed signals as WFDB and the label images beside each page
  ecg-image-gen --layout 6x2+1R --style random --dump-config > set.yaml;  ecg-image-gen --config set.yaml --out pages
      settings kept in a file
  ecg-image-gen --src gan -n 1000 --class MI --hr 60-90 --sex F --age 40-60 --out pages
      ECGs of nobody, with what is asked for; gan:pulse2pulse for another model
  ecg-image-gen --src gan -n 1000 --records-only --write wfdb,csv,npz --out records
      signals without pages
  ecg-image-gen --recipe photo,scan-grey --severity 0.2-0.8 --style random --format auto --out pages
      as phones and scanners see them, some well, some badly
  ecg-image-gen --recipe my.yaml --effect Crumple --effect "Perspective(tilt=[5, 20])" --out pages
      a recipe of one's own, and two more effects on top

exit status: 0 all pages made, 1 some failed (they are in manifest.csv), 2 wrong request, 130 interrupted
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise UsageError(f"{message}. See {self.prog} --help.")


def parser() -> argparse.ArgumentParser:
    """The command line: one option for each field of Config, and those that only the command has."""
    p = _Parser(
        "ecg-image-gen",
        usage="%(prog)s [options] --out DIR",
        description="Print ECG records as images of paper ECGs, each with its exact truth.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    groups = {name: p.add_argument_group(name, text) for name, text in GROUPS.items()}
    for f in fields(Config):
        default = default_of(f)
        text = (f.metadata["help"] + (f" [{default}]" if default and not isinstance(f.default, bool) else "")).replace(
            "%", "%%"
        )
        # What is not given is not set, so that it does not hide what --config says.
        common: dict[str, Any] = {"dest": f.name, "help": text, "default": argparse.SUPPRESS}
        group = groups[f.metadata["group"]]
        if isinstance(f.default, bool):
            group.add_argument(flag_of(f), action=argparse.BooleanOptionalAction, **common)
        elif isinstance(f.default, tuple):  # whose values may contain commas
            group.add_argument(flag_of(f), metavar=f.metadata["metavar"], action="append", **common)
        else:
            group.add_argument(flag_of(f), metavar=f.metadata["metavar"], **common)
    run = groups["run"]
    for flag, text in (
        ("--dump-config", "print the resulting configuration as YAML for --config, and stop"),
        ("--list", "print the known sources, layouts, recipes and styles, and stop"),
        ("--quiet", "print errors only"),
    ):
        run.add_argument(flag, action="store_true", help=text)
    text = "print every effect in a line each, or all about one of them (or those of one stage), and stop"
    run.add_argument("--list-effects", metavar="NAME", nargs="?", const="", help=text)
    text = "YAML file with any of these options (underscores for dashes); options on the command line overrule it"
    run.add_argument("--config", metavar="FILE", help=text)
    run.add_argument(
        "--version", action="version", version=f"ecg-image-gen {__version__}", help="print the version, and stop"
    )
    return p


@command("interrupted; finished pages are kept. Run the same command again to go on.")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0, 1 (some pages failed), 2 (wrong request) or 130 (interrupted)."""
    given = vars(parser().parse_args(argv))
    file, dump, quiet = (given.pop(key) for key in ("config", "dump_config", "quiet"))
    listing, effects = given.pop("list"), given.pop("list_effects")
    if listing or effects is not None:
        print(catalogue() if listing else effect_catalogue(effects), end="")
        return 0
    config = Config.of({**(load_yaml(file) if file else {}), **given})
    if dump:
        print(config.to_yaml(), end="")
        return 0
    start = time.perf_counter()
    with _report(config, quiet) as (progress, exporting):
        summary = generate(config, progress, exporting=exporting)
    if not quiet:
        print(_sentence(summary, time.perf_counter() - start, "record" if config.records_only else "page"))
    return 1 if summary.failures else 0


def catalogue() -> str:
    """What ``--list`` prints."""
    sheets = (f"{name} ({width:g} x {height:g} mm)" for name, (width, height) in SHEETS.items())
    lines = [
        f"sources: {', '.join(source_names())}, or a path",
        f"layouts: auto, random, {', '.join(NAMES)}, or ROWSxCOLUMNS[+kR]",
        f"sheets: {', '.join(sheets)}, strip, or WIDTHxHEIGHT in mm",
        "recipes (several joined by commas, or a YAML file):",
        *(f"  {name:{max(map(len, RECIPES))}}  {recipe.about}" for name, recipe in RECIPES.items()),
        "styles: default, random, or a YAML file with any of these fields (here with their defaults; sizes in mm):",
        *(f"  {f.name}: {list(f.default) if isinstance(f.default, tuple) else f.default}{_choices(f.name)}"
          for f in fields(Style)),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _choices(name: str) -> str:
    """Of a field of a style that has some, as a YAML comment."""
    if name in ("font", "label_font"):
        return f"  # {', '.join(FONTS)}, or a .ttf or .otf file"
    return f"  # {', '.join(CHOICES[name])}" if name in CHOICES else ""


_STAGES = {
    "ink": "how the printer printed",
    "marks": "what people added to the sheet",
    "paper": "what happened to the paper",
    "stretch": "points moved within the sheet",
    "surface": "how the sheet bends",
    "camera": "from where it is seen",
    "lens": "through which lens",
    "frame": "turned, cut, padded",
    "scene": "what lies around the sheet",
    "light": "how it is lit",
    "optics": "what the lens blurs",
    "sensor": "what the camera or scanner makes of it",
    "codec": "how the image is stored and passed on",
}


def effect_catalogue(name: str = "") -> str:
    """What ``--list-effects`` prints: a line for each effect (of one stage), or the fields of one.

    Raises UsageError if ``name`` is neither an effect nor a stage.
    """
    exact = next((known for known in EFFECTS if known.lower() == name.lower()), "")
    if exact:
        return _about_effect(EFFECTS[exact])
    if name and name not in STAGES:
        close = difflib.get_close_matches(name, [*EFFECTS, *STAGES], 1)
        nearest = f"; did you mean {close[0]}?" if close else f", or a stage: {', '.join(STAGES)}."
        raise UsageError(f"--list-effects {name!r}; expected an effect{nearest}")
    wide = max(map(len, EFFECTS))
    lines = []
    for stage in [name] if name else STAGES:
        kinds = [kind for kind in EFFECTS.values() if kind.stage == stage]
        if kinds:
            lines += ["", f"{stage}: {_STAGES[stage]}"]
            lines += [f"  {kind.__name__:{wide}}  {_first_line(kind)}" for kind in kinds]
    lines += ["", "Their fields: --list-effects NAME. They happen in this order, however they are given."]
    return "\n".join(lines[1:]) + "\n"


def _first_line(kind: type[Effect]) -> str:
    return (kind.__doc__ or "").strip().split("\n")[0]


def _about_effect(kind: type[Effect]) -> str:
    """An effect's fields with their defaults, limits and units."""
    table = [("field", "unless given", "limits", "")]
    for f in fields(kind):
        about = f.metadata
        if "options" in about:
            table.append((f.name, _default(f.default), "", f"{about['help']}: {', '.join(about['options'])}"))
        elif about:
            limits = f"{about['low']:g} to {about['high']:g}"
            table.append((f.name, _default(f.default, about["unit"]), limits, about["help"]))
    table += [
        ("severity", "the recipe's", "0 to 1", "of this effect, for fields that grow by severity"),
        ("seed", "drawn", "", "of places and textures"),
    ]
    widths = [max(len(row[k]) for row in table) for k in range(3)]
    lines = [f"{kind.__name__} ({kind.stage}): {inspect.cleandoc(kind.__doc__ or '')}", ""]
    for *cells, text in table:
        columns = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        lines.append("  ".join(["", *columns, text]).rstrip())
    example = next((f"({f.name}={_typical(f)})" for f in fields(kind) if f.metadata), "")
    return "\n".join([*lines, "", f'e.g. --effect "{kind.__name__}{example}"']) + "\n"


def _default(value: object, unit: str = "") -> str:
    if isinstance(value, OneOf):
        return "any"
    by_severity = ", by severity" if isinstance(value, Grows) else ""
    low, high = _ends(value)
    sign = "+-" if isinstance(value, Grows) and value.signed else ""
    span = str(low) if low == high else f"{sign}{low:g} to {high:g}"
    return f"{span}{' ' if unit else ''}{unit}{by_severity}"


def _ends(value: Any) -> tuple[Any, Any]:
    """A field's first and last value: of severity, of a range, or of words."""
    if isinstance(value, Grows):
        return value.mild, value.severe
    if isinstance(value, Range):
        return value.low, value.high
    return (value.options[0], value.options[-1]) if isinstance(value, OneOf) else (value, value)


def _typical(f: Field[Any]) -> object:
    """A value for an example: of numbers the middle, in two digits."""
    low, high = _ends(f.default)
    if isinstance(high, str):
        return high
    middle = float(f"{(low + high) / 2:.2g}")
    return round(middle) if f.metadata["whole"] or middle == round(middle) else middle


@contextmanager
def _report(
    config: Config, quiet: bool
) -> Iterator[tuple[Callable[[Sequence[Row]], None], Callable[[int, int], None] | None]]:
    """Shows progress on a terminal (of pages, then of exports), and says on stderr what went wrong."""
    bars: list[Any] = []
    shown = sys.stderr.isatty() and not quiet
    said = {"failed": 0, "warning": 0}

    def bar(total: int | None, unit: str) -> Any:
        from tqdm import tqdm

        bars.append(tqdm(total=total, unit=unit, dynamic_ncols=True))
        return bars[-1]

    def say(kind: str, row: Row, message: str) -> None:
        said[kind] += 1
        if said[kind] <= _SHOWN + 1:
            more = f"{kind}: ... and more; all are in {MANIFEST}"
            line = f"{kind}: {row.record}: {message}" if said[kind] <= _SHOWN else more
            bars[-1].write(line, file=sys.stderr) if bars else print(line, file=sys.stderr)

    def progress(rows: Sequence[Row]) -> None:
        for row in rows:
            if row.status != "ok":
                say("failed", row, row.error)
        if rows and rows[0].warning and not quiet:
            say("warning", rows[0], rows[0].warning)
        if bars:
            bars[-1].update()

    def exporting(done: int, total: int) -> None:
        if len(bars) == 1:
            bars[0].close()
            bar(total, " pages exported")
        bars[-1].update()

    try:
        if shown:
            bar(config.n, " records")
        yield progress, exporting if shown else None
    finally:
        for each in bars:
            each.close()


def _sentence(summary: Summary, seconds: float, what: str) -> str:
    # Long records make several pages, and all do if several of each are asked for.
    of = f" of {_many(summary.records, 'record')}" if summary.records < summary.made else ""
    parts = [f"{_many(summary.made, what)}{of} made in {summary.out}"]
    if summary.made:
        parts.append(f"{summary.made / seconds:.1f} {what}s/s")
    if summary.kept:
        parts.append(f"{summary.kept} were there already")
    if summary.failures:
        parts.append(f"{len(summary.failures)} failed (see {MANIFEST})")
    return ", ".join(parts)


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


if __name__ == "__main__":
    sys.exit(main())
