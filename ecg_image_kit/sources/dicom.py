"""DICOM waveforms (12-lead, general and ambulatory ECG storage): DICOM PS3.3 C.10.9, lead codes PS3.16 CID 3001."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import RecordError
from ..record import Record, normalize_lead, to_millivolts
from .files import FileSource, optional, sex_letter, years

# The last number of a lead's code: "2:61" in MDC (ISO 11073-10102) and "5.6.3-9-61" in SCP-ECG (EN 1064) mean the same.
_LEAD_CODES = {1: "I", 2: "II", **{n: f"V{n - 2}" for n in range(3, 10)}, **{n: f"V{n - 8}R" for n in range(10, 16)},
               16: "X", 17: "Y", 18: "Z", 61: "III", 62: "aVR", 63: "aVL", 64: "aVF", 65: "-aVR", 66: "V8", 67: "V9",
               68: "V8R", 69: "V9R"}  # fmt: skip


@dataclass(frozen=True)
class DICOM(FileSource):
    """DICOM ECG files: the first waveform group that is a rhythm of at least 1 s (``meta["other_groups"]``: the rest).

    Channels that are no voltage are left out (``meta["left_out"]``). ``meta`` carries no names, identifiers or dates.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".dcm",)

    def __post_init__(self) -> None:
        super().__post_init__()
        optional("pydicom", "reading DICOM")  # now, not after a minute of other work

    def read(self, file: Path, name: str) -> Record:
        pydicom = optional("pydicom", "reading DICOM")
        try:
            dataset = pydicom.dcmread(file)
        except pydicom.errors.InvalidDicomError as error:
            raise RecordError(
                f"{file}: not a DICOM file; expected the 128-byte preamble and 'DICM'. Export it again."
            ) from error
        groups = list(dataset.get("WaveformSequence", ()))
        if (index := next((k for k, group in enumerate(groups) if _is_rhythm(group)), None)) is None:
            found = "; ".join(_describe(group) for group in groups) or "none"
            raise RecordError(f"{file}: waveform groups: {found}. Expected an ECG rhythm of at least 1 s.")
        group = groups[index]
        try:
            raw = optional("pydicom.waveforms", "reading DICOM").multiplex_array(dataset, index, as_raw=True)
        except (AttributeError, KeyError, ValueError) as error:
            raise RecordError(f"{file}: its samples cannot be read ({error}). Export the file again.") from error

        signals: dict[str, NDArray[np.float64]] = {}
        left_out: dict[str, str] = {}
        for channel, samples in zip(group.ChannelDefinitionSequence, raw.T, strict=True):
            lead = _lead(channel)
            unit = _code(channel, "ChannelSensitivityUnitsSequence", "CodeValue")
            try:
                factor = to_millivolts(unit)
            except RecordError:
                left_out[lead] = unit or "no unit"
                continue
            if lead in signals:
                raise RecordError(
                    f"{file}: two channels are called {lead}; expected one per lead. Export the file again."
                )
            scale = float(channel.ChannelSensitivity) * float(channel.get("ChannelSensitivityCorrectionFactor") or 1.0)
            mv = (samples * scale + float(channel.get("ChannelBaseline") or 0.0)) * factor
            if (padding := _padding(group, raw.dtype)) is not None:
                mv[samples == padding] = np.nan
            signals[lead] = mv
        if not signals:
            raise RecordError(
                f"{file}: no channel in volts ({', '.join(left_out.values())}); expected a sensitivity in uV or mV."
            )
        meta: dict[str, Any] = {
            "age": years(dataset.get("PatientAge")) if str(dataset.get("PatientAge") or "").endswith("Y") else None,
            "sex": sex_letter(dataset.get("PatientSex")),
            "device": str(dataset.get("ManufacturerModelName") or ""),
            "other_groups": [_describe(other) for other in groups if other is not group],
            "left_out": left_out,
        }
        meta = {key: value for key, value in meta.items() if value}
        rows = np.stack(list(signals.values())).astype(np.float32)
        return Record(leads=tuple(signals), mv=rows, fs=float(group.SamplingFrequency), name=name, meta=meta)


def _seconds(group: Any) -> float:
    fs = float(group.get("SamplingFrequency") or 0.0)
    return int(group.get("NumberOfWaveformSamples") or 0) / fs if fs > 0 else 0.0


def _is_rhythm(group: Any) -> bool:
    """At least 1 s of signal that is not an averaged beat."""
    label = str(group.get("MultiplexGroupLabel") or "").upper()
    averaged = re.search("MEDIAN|AVERAGE|TEMPLATE|REPRESENTATIVE|BEAT", label)
    derived = group.get("WaveformOriginality") == "DERIVED" and "RHYTHM" not in label
    return _seconds(group) >= 1.0 and not averaged and not derived


def _describe(group: Any) -> str:
    return f"{group.get('MultiplexGroupLabel') or 'unlabelled'}, {_seconds(group):.4g} s"


def _code(channel: Any, sequence: str, field: str) -> str:
    items = channel.get(sequence) or ()
    return str(items[0].get(field) or "").strip() if items else ""


def _lead(channel: Any) -> str:
    """A channel's lead: by its source's code, else by the code's meaning, else by the channel's label."""
    code = _code(channel, "ChannelSourceSequence", "CodeValue")
    if (match := re.fullmatch(r"(?:2:|5\.6\.3-9-)(\d+)", code)) and (number := int(match[1])) in _LEAD_CODES:
        return _LEAD_CODES[number]
    if code.startswith("MDC_ECG_LEAD_"):
        return normalize_lead(code.removeprefix("MDC_ECG_LEAD_"))
    meaning = _code(channel, "ChannelSourceSequence", "CodeMeaning") or str(channel.get("ChannelLabel") or "")
    return (
        normalize_lead(re.sub(r"\(.*?\)", "", meaning).removeprefix("Lead "))
        or f"channel {channel.get('WaveformChannelNumber', '?')}"
    )


def _padding(group: Any, dtype: Any) -> int | None:
    """The stored value that stands for 'no sample', if the group declares one."""
    value = group.get("WaveformPaddingValue")
    if isinstance(value, bytes):
        return int(np.frombuffer(value[: dtype.itemsize], dtype)[0]) if len(value) >= dtype.itemsize else None
    return None if value is None else int(value)
