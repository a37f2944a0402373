"""ecg-image-gen: records in, pages of paper ECG with exact truth out. Its options are the fields of ``Config``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from . import __version__
from .config import GROUPS, Config, default_of, flag_of, load_yaml
from .errors import EcgError, UsageError
from .generate import MANIFEST, Row, Summary, generate
from .layout import NAMES, SHEETS
from .recipes import RECIPES
from .render import Style
from .sources import source_names

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

exit status: 0 all pages made, 1 some failed (they are in manifest.csv), 2 wrong request, 130 interrupted
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise UsageError(f"{message}. See {self.prog} --help.")


def parser() -> argparse.ArgumentParser:
    """The command line: one option for each field of Config, and those that only the command has."""
    p = _Parser(
        "ecg-image-gen",
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
        else:
            group.add_argument(flag_of(f), metavar=f.metadata["metavar"], **common)
    run = groups["run"]
    for flag, text in (
        ("--dump-config", "print the resulting configuration as YAML for --config, and stop"),
        ("--list", "print the known sources, layouts, styles and recipes, and stop"),
        ("--quiet", "print errors only"),
    ):
        run.add_argument(flag, action="store_true", help=text)
    text = "YAML file with any of these options (underscores for dashes); options on the command line overrule it"
    run.add_argument("--config", metavar="FILE", help=text)
    run.add_argument(
        "--version", action="version", version=f"ecg-image-gen {__version__}", help="print the version, and stop"
    )
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0, 1 (some pages failed), 2 (wrong request) or 130 (interrupted)."""
    try:
        given = vars(parser().parse_args(argv))
        file, dump, listing, quiet = (given.pop(key) for key in ("config", "dump_config", "list", "quiet"))
        if listing:
            print(catalogue(), end="")
            return 0
        config = Config.of({**(load_yaml(file) if file else {}), **given})
        if dump:
            print(config.to_yaml(), end="")
            return 0
        start = time.perf_counter()
        with _report(config, quiet) as progress:
            summary = generate(config, progress)
        if not quiet:
            print(_sentence(summary, time.perf_counter() - start))
        return 1 if summary.failures else 0
    except UsageError as error:
        return _fail(error, 2)
    except (EcgError, OSError) as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        print("interrupted; finished pages are kept. Run the same command again to go on.", file=sys.stderr)
        return 130


def catalogue() -> str:
    """What ``--list`` prints."""
    sheets = (f"{name} ({width:g} x {height:g} mm)" for name, (width, height) in SHEETS.items())
    lines = [
        f"sources: {', '.join(source_names())}, or a path",
        f"layouts: auto, random, {', '.join(NAMES)}, or ROWSxCOLUMNS[+kR]",
        f"sheets: {', '.join(sheets)}, strip, or WIDTHxHEIGHT in mm",
        f"recipes: {', '.join(RECIPES)}",
        "styles: default, random, or a YAML file with any of these fields (here with their defaults; sizes in mm):",
        *(f"  {f.name}: {list(f.default) if isinstance(f.default, tuple) else f.default}" for f in fields(Style)),
    ]
    return "\n".join(lines) + "\n"


def _fail(error: Exception, status: int) -> int:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return status


@contextmanager
def _report(config: Config, quiet: bool) -> Iterator[Callable[[Sequence[Row]], None]]:
    """Shows progress on a terminal, and says on stderr what went wrong."""
    bar: Any = None
    if sys.stderr.isatty() and not quiet:
        from tqdm import tqdm

        bar = tqdm(total=config.n, unit=" records", dynamic_ncols=True)
    said = {"failed": 0, "warning": 0}

    def say(kind: str, row: Row, message: str) -> None:
        said[kind] += 1
        if said[kind] <= _SHOWN + 1:
            more = f"{kind}: ... and more; all are in {MANIFEST}"
            line = f"{kind}: {row.record}: {message}" if said[kind] <= _SHOWN else more
            bar.write(line, file=sys.stderr) if bar is not None else print(line, file=sys.stderr)

    def progress(rows: Sequence[Row]) -> None:
        for row in rows:
            if row.status != "ok":
                say("failed", row, row.error)
        if rows and rows[0].warning and not quiet:
            say("warning", rows[0], rows[0].warning)
        if bar is not None:
            bar.update()

    try:
        yield progress
    finally:
        if bar is not None:
            bar.close()


def _sentence(summary: Summary, seconds: float) -> str:
    parts = [f"{summary.made} page{'' if summary.made == 1 else 's'} made in {summary.out}"]
    if summary.made:
        parts.append(f"{summary.made / seconds:.1f} pages/s")
    if summary.kept:
        parts.append(f"{summary.kept} were there already")
    if summary.failures:
        parts.append(f"{len(summary.failures)} failed (see {MANIFEST})")
    return ", ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
