"""Config: what to make. Python, a YAML file and the command line fill the same dataclass; its fields carry the help."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeAlias

from .effects import Effect, effect_of
from .errors import UsageError
from .export import EXPORTS
from .layout import NAMES, PULSES, SHEETS
from .page import FORMATS, MASKS
from .recipes import RECIPES, Recipe
from .record import normalize_lead
from .render import Style

Numbers: TypeAlias = float | str | Sequence[float]  # 25, "25,50" or (25, 50): one is drawn per page; "100-300": between
Names: TypeAlias = str | Sequence[str]  # "I,II" or ("I", "II")
AnyRecipe: TypeAlias = str | os.PathLike[str] | Mapping[str, Any]  # names, a file, or {name: its data}
AnyEffect: TypeAlias = str | Mapping[str, Any] | Effect
Reader: TypeAlias = Callable[[Any], Any]

RECORDS = ("wfdb", "csv", "npz")
WRITES = ("json", *RECORDS, *MASKS)
GROUPS = {
    "records": "where the ECGs come from",
    "sheet": "what is printed, and where; several values joined by commas: one is drawn for each page",
    "looks": "how it is printed, and what happens to it then",
    "files": "what is written",
    "run": "how the work is done",
}


# Readers turn a value, in whichever way it is given, into the one way in which it is kept: str, int, float or bool.
# They raise ValueError or TypeError with what they expected. To read a value again changes nothing.


def _text(value: Any) -> str:
    if isinstance(value, os.PathLike):
        return str(os.fspath(value))
    if isinstance(value, bool | Mapping) or value is None:
        raise ValueError("a text")
    text = (
        ",".join(str(part) for part in value)
        if isinstance(value, Sequence) and not isinstance(value, str)
        else str(value)
    )
    if not text.strip():
        raise ValueError("a text that is not empty")
    return text.strip()


def _yes_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("true or false")
    return value


def _whole(low: int, high: int | None = None) -> Reader:
    def read(value: Any) -> int:
        try:
            number = int(str(value))
        except ValueError:
            number = low - 1
        if isinstance(value, bool) or number < low or (high is not None and number > high):
            raise ValueError(
                f"a whole number, {low} or more" if high is None else f"a whole number from {low} to {high}"
            )
        return number

    return read


def _numbers(low: float, high: float, unit: str) -> Reader:
    """Reads 25, "25,50", [25, 50] and "100-300" (a range)."""
    limits = f"{low:g} to {high:g} {unit}".strip()
    several, span = ("5,10", "5-10") if high > 1 else ("0.2,0.5", "0.2-0.8")

    def read(value: Any) -> float | str:
        spans = spans_of(_text(value)) if not isinstance(value, bool) else []
        if not spans or not all(low <= a <= b <= high for a, b in spans):
            raise ValueError(f"{limits}: a number, several as {several} (one is drawn per page), or a range as {span}")
        parts = [f"{a:.10g}" if a == b else f"{a:.10g}-{b:.10g}" for a, b in spans]
        return spans[0][0] if len(spans) == 1 and spans[0][0] == spans[0][1] else ",".join(parts)

    return read


def spans_of(text: str) -> list[tuple[float, float]]:
    """The numbers (a, a) and ranges (a, b) in a text such as ``5,10-20``; an empty list if it is not such a text."""
    spans = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(?:-\s*(\d+\.?\d*|\.\d+)\s*)?", part)
        if not match:
            return []
        spans.append((float(match[1]), float(match[2] or match[1])))
    return spans


def _names(allowed: Sequence[str], pattern: str = "", hint: str = "") -> Reader:
    """Reads one or several of ``allowed`` (case does not matter), or of what ``pattern`` matches."""

    def read(value: Any) -> str:
        found = []
        for part in _text(value).split(","):
            exact = next((name for name in allowed if name.lower() == part.strip().lower()), "")
            if not exact and not (pattern and re.fullmatch(pattern, part.strip())):
                close = difflib.get_close_matches(part.strip(), allowed, 1)
                nearest = f"; did you mean {close[0]}?" if close else ""
                raise ValueError(f"one of {', '.join(allowed)}{hint}{nearest}")
            found.append(exact or part.strip())
        return ",".join(found)

    return read


def _one(reader: Reader) -> Reader:
    """The same, but a single value."""

    def read(value: Any) -> Any:
        found = reader(value)
        if isinstance(found, str) and ("," in found or spans_of(found)):
            raise ValueError("one value, not several")
        return found

    return read


def _span(low: float, high: float, unit: str) -> Reader:
    """One number or range."""
    read = _numbers(low, high, unit)

    def one(value: Any) -> float | str:
        expected = f"a number, or a range from the lower to the higher, within {low:g}-{high:g} {unit}"
        try:
            found: float | str = read(value)
        except ValueError:
            raise ValueError(expected) from None
        if isinstance(found, str) and "," in found:
            raise ValueError(expected)
        return found

    return one


def _leads(value: Any) -> str:
    leads = [normalize_lead(lead) for lead in _text(value).split(",")]
    if not all(leads):
        raise ValueError("lead names joined by commas, e.g. I,II,V1")
    return ",".join(leads)


def _style(value: Any) -> str | dict[str, Any]:
    """``default`` and ``random`` stay; a mapping, or a YAML file with one, is checked and becomes plain data."""
    if isinstance(value, str) and value in ("default", "random"):
        return value
    if isinstance(value, str | os.PathLike):
        if not Path(value).is_file():
            raise ValueError("default, random, or a YAML file with Style fields (there is no such file)")
        value = load_yaml(value)
    if isinstance(value, Style):
        value = {f.name: getattr(value, f.name) for f in fields(value)}
    if not isinstance(value, Mapping):
        raise TypeError("default, random, or a mapping of Style fields")
    try:
        Style.of(value)
        plain: dict[str, Any] = json.loads(json.dumps(dict(value)))
    except (TypeError, ValueError) as error:
        raise ValueError(f"Style fields with values of their types ({error})") from None
    return plain


def _recipes(value: Any) -> str | tuple[str | dict[str, Any], ...]:
    """Names joined by commas; if there are files or mappings {name: data}, a tuple in which their data is plain."""
    given = [value] if isinstance(value, str | os.PathLike | Mapping) else value
    if not isinstance(given, Sequence) or not given:
        raise ValueError(f"some of {', '.join(RECIPES)}, or the path of a YAML file")
    found: list[str | dict[str, Any]] = []
    for part in given:
        if isinstance(part, Mapping):
            found += [_recipe(str(name), data) for name, data in part.items()]
            continue
        text = os.fspath(part) if isinstance(part, os.PathLike) else _text(part)
        found += [_named(name.strip()) for name in ([text] if Path(text).is_file() else text.split(","))]
    return tuple(found) if any(isinstance(part, dict) for part in found) else ",".join(map(str, found))


def _named(name: str) -> str | dict[str, Any]:
    exact = next((known for known in RECIPES if known.lower() == name.lower()), "")
    if exact:
        return exact
    if Path(name).suffix.lower() in (".yaml", ".yml", ".json") or Path(name).is_file():
        return _recipe(Path(name).stem, _read_yaml(name))
    close = difflib.get_close_matches(name, RECIPES, 1)
    nearest = f"; did you mean {close[0]}?" if close else ""
    raise ValueError(f"some of {', '.join(RECIPES)}, or the path of a YAML file{nearest}")


def _recipe(name: str, data: Any) -> dict[str, Any]:
    """{name: data}, checked: the data, unlike a path, still says the same when the file has been changed."""
    Recipe.of(data, name)
    plain: dict[str, Any] = json.loads(json.dumps({name: data}))
    return plain


def _effects(value: Any) -> tuple[str, ...]:
    """Effects in one spelling, Name or Name(field=value, ...)."""
    given = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    texts = []
    for part in given:
        ((name, values),) = effect_of(part).to_json().items()
        told = ", ".join(f"{key}={_literal(v)}" for key, v in values.items())
        texts.append(f"{name}({told})" if values else name)
    return tuple(texts)


def _literal(value: Any) -> str:
    return value if isinstance(value, str) and value.isidentifier() else repr(value)


def _write(value: Any) -> str:
    chosen = _names((*WRITES, "masks"))(value).split(",")
    return ",".join(
        kind for kind in WRITES if kind in chosen or kind == "json" or (kind in MASKS and "masks" in chosen)
    )


def _about(
    group: str, read: Reader, metavar: str, text: str, *, flag: str = "", outcome: bool = True
) -> dict[str, Any]:
    """Metadata of a field. ``outcome`` is False if the field does not alter a single byte of what is made."""
    return {"group": group, "read": read, "metavar": metavar, "help": text, "flag": flag, "outcome": outcome}


@dataclass(frozen=True)
class Config:
    """What to make, checked and in one spelling: ``Config(speed=(25, 50)) == Config(speed="25,50")``.

    Raises UsageError, naming the option, its value and what was expected.
    """

    # fmt: off
    src: str = field(default="samples", metadata=_about(
        "records", _text, "NAME|PATH",
        "source of the records: a name (see --list), or the path of an ECG file or of a folder of them"))
    root: str | None = field(default=None, metadata=_about(
        "records", _text, "DIR", "folder of the data set, for sources that are read from one"))
    fs: float | None = field(default=None, metadata=_about(
        "records", _one(_numbers(1, 100_000, "Hz")), "HZ", "sampling rate asked of the source, Hz (ptbxl: 100 or 500)"))
    filter: str | None = field(default=None, metadata=_about(
        "records", _text, "EXPR",
        "only records that match, for sources with labels (ptbxl, samples): any of "
        "scp=MI,STTC age=40-60 sex=F fold=9,10"))
    ids: str | Sequence[int] | None = field(default=None, metadata=_about(
        "records", _text, "LIST",
        "only these record numbers, for sources that have them (ptbxl, samples), e.g. 1,5,10-20"))
    download: bool = field(default=False, metadata=_about(
        "records", _yes_no, "", "fetch missing records into --root first (ptbxl; at most -n of them)", outcome=False))
    n: int | None = field(default=None, metadata=_about(
        "records", _whole(1), "N", "at most this many records (ecgsyn, gan: exactly; they have no end of their own)",
        flag="-n"))
    label: str | None = field(default=None, metadata=_about(
        "records", _text, "CLASS", "of gan: diagnostic class, NORM, MI, STTC, CD, HYP or AF", flag="--class"))
    hr: str | float | None = field(default=None, metadata=_about(
        "records", _span(30, 220, "beats per minute"), "BPM", "of gan: heart rate, e.g. 60-90"))
    sex: str | None = field(default=None, metadata=_about(
        "records", _one(_names(("F", "M"))), "F|M", "of gan: sex"))
    age: str | float | None = field(default=None, metadata=_about(
        "records", _span(0, 120, "years"), "YEARS", "of gan: age, e.g. 40-60"))
    duration: float | None = field(default=None, metadata=_about(
        "records", _one(_numbers(1, 3600, "s")), "S", "of gan and ecgsyn: length of each record, s [10]"))

    layout: Names = field(default="auto", metadata=_about(
        "sheet", _names(("auto", "random", *NAMES), r"\d{1,2}x\d{1,2}(\+\dR)?", " or ROWSxCOLUMNS[+kR]"), "NAME",
        "auto (3x4+1R for 12 leads, else by their number), random (any that fits them), or ROWSxCOLUMNS with "
        "+1R to +3R for rhythm strips, e.g. 6x2+1R"))
    leads: Names | None = field(default=None, metadata=_about(
        "sheet", _leads, "LEADS", "leads to print, in order, e.g. I,II,V1 (all of the record's)"))
    derive: bool = field(default=False, metadata=_about(
        "sheet", _yes_no, "", "compute missing limb leads from any two of I, II, III"))
    order: Names = field(default="standard", metadata=_about(
        "sheet", _names(("standard", "cabrera")), "NAME", "standard, or cabrera (aVL I -aVR II aVF III)"))
    columns: Names = field(default="auto", metadata=_about(
        "sheet", _names(("auto", "sequential", "simultaneous")), "NAME",
        "sequential (each column goes on where the one before stopped), simultaneous, or auto (sequential, unless "
        "the record ends before the last column begins)"))
    rhythm: Names | None = field(default=None, metadata=_about(
        "sheet", _leads, "LEADS", "leads of the rhythm strips, as many as the layout has (II, V1, V5)"))
    sheet: Names = field(default="A4", metadata=_about(
        "sheet", _names((*SHEETS, "strip"), r"\d+(\.\d+)?x\d+(\.\d+)?", " or WIDTHxHEIGHT in mm"), "NAME",
        f"{', '.join(SHEETS)} (landscape), strip (cut to the rows), or WIDTHxHEIGHT in mm"))
    speed: Numbers = field(default=25.0, metadata=_about(
        "sheet", _numbers(1, 500, "mm/s"), "MM/S", "paper speed, mm/s; usual: 12.5, 25, 50"))
    gain: Numbers = field(default=10.0, metadata=_about(
        "sheet", _numbers(0.5, 200, "mm/mV"), "MM/MV", "mm/mV; usual: 5, 10, 20"))
    precordial_gain: Numbers | None = field(default=None, metadata=_about(
        "sheet", _numbers(0.5, 200, "mm/mV"), "MM/MV", "mm/mV of the V leads, if it differs"))
    seconds: Numbers | None = field(default=None, metadata=_about(
        "sheet", _numbers(0.1, 3600, "s"), "S", "s printed per row (as many as fit, up to 250 mm)"))
    pulse: Names = field(default="left", metadata=_about(
        "sheet", _names(PULSES), "PLACE", f"calibration pulse: {', '.join(PULSES)}"))
    long: str = field(default="page", metadata=_about(
        "sheet", _one(_names(("page", "cut"))), "WAY",
        "records longer than a sheet: page (as many sheets as they need) or cut (the first sheet only)"))
    pages_per_record: int = field(default=1, metadata=_about(
        "sheet", _whole(1, 10_000), "K", "print every record this many times, each time drawn anew"))

    style: str | Mapping[str, Any] | Style = field(default="default", metadata=_about(
        "looks", _style, "NAME|FILE",
        "default, random (grid, pen, fonts, header... drawn per page), or a YAML file with fields of Style"))
    dpi: Numbers = field(default=200.0, metadata=_about(
        "looks", _numbers(30, 2400, "dpi"), "DPI",
        "pixels per 25.4 mm, 30 to 2400; a range such as 100-300 is drawn from per page"))
    recipe: AnyRecipe | Sequence[AnyRecipe] = field(default="clean", metadata=_about(
        "looks", _recipes, "NAME|FILE",
        "what happens to the printed page: clean, photo, ... (all in --list), or a YAML file with a recipe of one's "
        "own; several joined by commas: one is drawn for each page"))
    severity: Numbers = field(default=0.5, metadata=_about(
        "looks", _numbers(0, 1, ""), "S",
        "how strong the effects are, 0 (hardly seen) to 1 (as bad as it gets); a range such as 0.2-0.8 is drawn from "
        "per page"))
    effect: AnyEffect | Sequence[AnyEffect] = field(default=(), metadata=_about(
        "looks", _effects, "EFFECT",
        'one more effect, on every page, e.g. Crumple or "Perspective(tilt=20)" or "Perspective(tilt=[5, 20])"; may be '
        "given several times (see --list-effects)"))

    out: str | None = field(default=None, metadata=_about(
        "files", _text, "DIR", "folder to write to (made if it is not there)", outcome=False))
    format: str = field(default="png", metadata=_about(
        "files", _one(_names((*FORMATS, "auto"))), "KIND",
        f"image format: {', '.join(FORMATS)}, or auto (jpg for what a camera or scanner made, png for other pages)"))
    quality: int = field(default=92, metadata=_about("files", _whole(1, 100), "Q", "of jpg and webp, 1 to 100"))
    write: Names = field(default="json", metadata=_about(
        "files", _write, "KINDS",
        f"truth beside each image: json (with the samples in .npz) always; also wfdb, csv, {', '.join(MASKS)}, or "
        f"masks (all of {', '.join(MASKS)}). With --records-only: some of {', '.join(RECORDS)}"))
    records_only: bool = field(default=False, metadata=_about(
        "files", _yes_no, "", "write the records themselves (in --write's form, else wfdb) and no pages"))
    export: Names | None = field(default=None, metadata=_about(
        "files", _names(tuple(EXPORTS)), "KINDS",
        f"also write the truth of all pages for other tools, at the end: {', '.join(EXPORTS)}", outcome=False))

    seed: int = field(default=0, metadata=_about(
        "run", _whole(0), "SEED", "root of everything that is drawn; the same seed gives the same bytes"))
    workers: int = field(default=1, metadata=_about(
        "run", _whole(0, 1024), "W", "processes; 0: one per CPU. Has no influence on what is made", outcome=False))
    resume: bool = field(default=True, metadata=_about(
        "run", _yes_no, "",
        "go on where an earlier run into the same folder stopped; --no-resume removes its pages and starts again",
        outcome=False))
    # fmt: on

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if value is None and f.default is None:
                continue
            try:
                object.__setattr__(self, f.name, f.metadata["read"](value))
            except (TypeError, ValueError) as error:
                raise UsageError(f"{flag_of(f)} {value!r}; expected {error}.") from None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Config:
        """The default configuration with these fields changed. Raises UsageError for a key that is no field."""
        known = [f.name for f in fields(cls)]
        for key in values:
            if key not in known:
                close = difflib.get_close_matches(str(key).replace("-", "_"), known, 1)
                raise UsageError(
                    f"configuration has no {key!r}"
                    + (f"; did you mean {close[0]!r}?" if close else f"; expected some of {', '.join(known)}.")
                )
        return cls(**values)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Config:
        """The configuration in a YAML (or JSON) file."""
        return cls.of(load_yaml(path))

    def recipes(self) -> list[Recipe]:
        """Of which one is drawn for each page."""
        kept: Any = self.recipe.split(",") if isinstance(self.recipe, str) else self.recipe
        named = [(part, None) if isinstance(part, str) else next(iter(part.items())) for part in kept]
        return [RECIPES[name] if data is None else Recipe.of(data, name) for name, data in named]

    def effects(self) -> list[Effect]:
        """Those of every page, as described."""
        kept: Any = self.effect
        return [effect_of(text) for text in kept]

    def values(self) -> dict[str, Any]:
        """Plain data from which ``of`` makes the same configuration."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def outcome(self) -> dict[str, Any]:
        """The values that determine what is made: neither where to, nor how fast."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.metadata["outcome"]}

    def to_yaml(self) -> str:
        """YAML that ``load`` reads back as the same configuration, with each field's help as a comment."""
        import yaml

        lines = []
        for f in fields(self):
            lines += [
                f"# {f.metadata['help']}",
                yaml.safe_dump({f.name: getattr(self, f.name)}, sort_keys=False, allow_unicode=True),
            ]
        return "\n".join(lines)


def flag_of(f: Field[Any]) -> str:
    """How the command line spells a field of Config."""
    return f.metadata["flag"] or "--" + f.name.replace("_", "-")


def default_of(f: Field[Any]) -> str:
    """A field's default as help texts show it; '' for nothing."""
    if f.default is None or f.default is MISSING or f.default == ():
        return ""
    return f"{f.default:g}" if isinstance(f.default, float) else str(f.default)


def load_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The mapping in a YAML (or JSON) file. Raises UsageError if it cannot be read or holds something else."""
    data = _read_yaml(path)
    if not isinstance(data, dict):
        raise UsageError(f"{os.fspath(path)}: holds {type(data).__name__}; expected a mapping such as 'seed: 1'.")
    return data


def _read_yaml(path: str | os.PathLike[str]) -> Any:
    import yaml  # a cold start without files should not wait for it

    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{os.fspath(path)}: cannot be read ({error.strerror or error}). Check the path.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{os.fspath(path)}: not YAML ({' '.join(str(error).split())}).") from None
