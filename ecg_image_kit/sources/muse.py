"""GE MUSE XML (``RestingECG``): the rhythm waveform, base64 of 16-bit little-endian samples.

Format: learnt from sample files; there is no public specification.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from ..errors import RecordError
from ..record import Record, normalize_lead, to_millivolts
from .files import sex_letter, years
from .xml_files import XMLSource, number, stated, text


@dataclass(frozen=True)
class MUSE(XMLSource):
    """GE MUSE XML exports. Eight leads are stored; III, aVR, aVL and aVF are computed (``meta["derived"]``)."""

    root: ClassVar[str] = "RestingECG"

    def decode(self, tree: Element, file: Path, name: str) -> Record:
        waveforms = {text(waveform, "WaveformType").lower(): waveform for waveform in tree.findall("{*}Waveform")}
        if (rhythm := waveforms.get("rhythm")) is None:
            raise RecordError(
                f"{file}: waveforms {', '.join(waveforms) or 'none'}; expected type Rhythm. Export it with waveforms."
            )
        base = number(text(rhythm, "SampleBase"), "SampleBase", file)
        fs = base * 10.0 ** number(text(rhythm, "SampleExponent") or "0", "SampleExponent", file)

        signals = {normalize_lead(text(lead, "LeadID")): _samples(lead, file) for lead in rhythm.findall("{*}LeadData")}
        if not signals or len({signal.size for signal in signals.values()}) != 1:
            sizes = ", ".join(f"{lead} {signal.size}" for lead, signal in signals.items())
            raise RecordError(f"{file}: samples per lead: {sizes or 'none'}; expected as many for every lead.")
        off = [
            normalize_lead(text(lead, "LeadID"))
            for lead in rhythm.findall("{*}LeadData")
            if text(lead, "LeadOff") == "TRUE"
        ]
        unit = text(tree, "PatientDemographics/AgeUnits").upper()
        meta = stated(
            age=years(text(tree, "PatientDemographics/PatientAge")) if unit in ("", "YEARS") else None,
            sex=sex_letter(text(tree, "PatientDemographics/Gender")),
            device=text(tree, "TestDemographics/AcquisitionDevice"),
            leads_off=off,
        )
        record = Record(leads=tuple(signals), mv=np.stack(list(signals.values())), fs=fs, name=name, meta=meta)
        return record.derive_limb_leads() if len({"I", "II", "III"} & set(signals)) > 1 else record


def _samples(lead: Element, file: Path) -> NDArray[np.float64]:
    """(samples,) mV of one LeadData element, checked against its count and CRC."""
    title = text(lead, "LeadID")
    if (size := text(lead, "LeadSampleSize") or "2") != "2":
        raise RecordError(f"{file}: lead {title} has {size} bytes per sample; expected 2.")
    try:
        raw = base64.b64decode("".join(text(lead, "WaveFormData").split()), validate=True)
        samples = np.frombuffer(raw, "<i2")
    except (binascii.Error, ValueError) as error:
        raise RecordError(
            f"{file}: lead {title} is not base64 of 16-bit samples ({error}). Export the file again."
        ) from error
    count, crc = text(lead, "LeadSampleCountTotal"), text(lead, "LeadDataCRC32")
    if count and samples.size != int(number(count, "LeadSampleCountTotal", file)):
        raise RecordError(f"{file}: lead {title} has {samples.size} samples; it says {count}. Export the file again.")
    if crc and zlib.crc32(raw) != int(number(crc, "LeadDataCRC32", file)) & 0xFFFFFFFF:
        raise RecordError(f"{file}: lead {title} does not match its CRC32, so it was damaged. Export the file again.")
    scale = number(text(lead, "LeadAmplitudeUnitsPerBit"), "LeadAmplitudeUnitsPerBit", file)
    unit = text(lead, "LeadAmplitudeUnits").lower()
    factor = to_millivolts(unit[:-1] if unit.endswith("volts") else unit)
    return samples * (scale * factor)
