"""HL7 annotated ECG (``AnnotatedECG``, the FDA's XML): the first rhythm series."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from ..errors import RecordError
from ..record import Record, normalize_lead, to_millivolts
from .files import sex_letter
from .xml_files import XMLSource, calibration_tail, number, stated, text

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


@dataclass(frozen=True)
class AECG(XMLSource):
    """HL7 aECG files. A calibration pulse at the end is cut off (``meta["cut_s"]`` seconds)."""

    root: ClassVar[str] = "AnnotatedECG"

    def decode(self, tree: Element, file: Path, name: str) -> Record:
        for series in tree.findall("{*}component/{*}series"):
            code = series.find("{*}code")
            sequences = series.findall("{*}component/{*}sequenceSet/{*}component/{*}sequence")
            if code is not None and code.get("code") == "RHYTHM" and sequences:
                break
        else:
            raise RecordError(f"{file}: no series of code RHYTHM with sequences. Export it with waveforms.")
        fs = 0.0
        signals: dict[str, NDArray[np.float64]] = {}
        for sequence in sequences:
            code, value = sequence.find("{*}code"), sequence.find("{*}value")
            if code is None or value is None:
                continue
            kind = code.get("code", "")
            if kind.startswith("TIME") and not fs:
                fs = 1.0 / _quantity(value, "increment", _SECONDS, file)
            elif kind.startswith("MDC_ECG_LEAD_"):
                lead = normalize_lead(re.sub("^MDC_ECG_LEAD_", "", kind))
                if lead in signals:
                    raise RecordError(f"{file}: lead {lead} in several sequences; expected one rhythm strip per lead.")
                signals[lead] = _samples(value, file)
        if not fs or not signals or len({signal.size for signal in signals.values()}) != 1:
            sizes = ", ".join(f"{lead} {signal.size}" for lead, signal in signals.items())
            raise RecordError(
                f"{file}: samples per lead: {sizes or 'none'}, at {fs:g} Hz; expected as many for every lead."
            )
        mv = np.stack(list(signals.values())).astype(np.float32)
        tail = calibration_tail(mv, fs, tolerance=0.012)  # Philips' converter adds a unit or two of noise
        gender = tree.find(".//{*}administrativeGenderCode")
        meta = stated(
            sex=sex_letter(gender.get("code")) if gender is not None else None,
            device=text(series, "author/seriesAuthor/manufacturedSeriesDevice/manufacturerModelName"),
            cut_s=tail / fs if tail else None,
        )
        return Record(leads=tuple(signals), mv=mv[:, : mv.shape[1] - tail], fs=fs, name=name, meta=meta)


def _samples(value: Element, file: Path) -> NDArray[np.float64]:
    """(samples,) mV: origin + scale * digits."""
    try:
        digits = np.array(text(value, "digits").split(), dtype=np.float64)
    except ValueError as error:
        raise RecordError(f"{file}: digits are not numbers ({error}). Export the file again.") from error
    return _quantity(value, "origin", None, file) + digits * _quantity(value, "scale", None, file)


def _quantity(value: Element, tag: str, units: dict[str, float] | None, file: Path) -> float:
    """The element ``tag`` of ``value`` as a number of seconds (``units`` given) or of mV."""
    element = value.find(f"{{*}}{tag}")
    if element is None:
        raise RecordError(f"{file}: a sequence has no {tag}. Export the file again.")
    unit = element.get("unit", "")
    amount = number(element.get("value"), tag, file)
    if units is None:
        return amount * to_millivolts(unit)
    if unit not in units or amount <= 0:
        raise RecordError(f"{file}: {tag} is {amount} {unit!r}; expected a positive time in {', '.join(units)}.")
    return amount * units[unit]
