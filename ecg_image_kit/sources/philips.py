"""Philips Sierra XML (``restingecgdata``, versions 1.03, 1.04, 1.04.01), with XLI-compressed, base64 or plain samples.

XLI, as described in the wiki of sixlettervariables/sierra-ecg-tools: per lead a header of 8 bytes (compressed size
int32, a 1 as int16, first code int16), then LZW with 10-bit codes, most significant bit first, 1023 ending the lead.
That unpacks to the high bytes of all codes followed by their low bytes. A code is what is missing from a straight
continuation of the two samples before, delayed by one sample and raised by 64. Of the limb leads only I and II are
stored as they are; the others hold what Einthoven's and Goldberger's equations leave unexplained.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from ..errors import RecordError
from ..record import STANDARD_LEADS, Record, normalize_lead
from .files import sex_letter, years
from .xml_files import XMLSource, calibration_tail, number, stated, text

_END = 1023  # the last of the 10-bit codes ends a lead


@dataclass(frozen=True)
class Philips(XMLSource):
    """Philips Sierra XML exports. The calibration pulse at the end is cut off (``meta["cut_s"]`` seconds)."""

    root: ClassVar[str] = "restingecgdata"

    def decode(self, tree: Element, file: Path, name: str) -> Record:
        waves, signal = tree.find(".//{*}parsedwaveforms"), tree.find(".//{*}signalcharacteristics")
        if waves is None or signal is None:
            raise RecordError(f"{file}: no parsedwaveforms or no signalcharacteristics. Export it with waveforms.")
        fs = number(waves.get("samplespersecond") or text(signal, "samplingrate"), "sampling rate", file)
        resolution = waves.get("resolution") or text(signal, "resolution") or text(signal, "signalresolution")
        microvolts = number(resolution, "resolution", file)
        samples = round(number(waves.get("durationperchannel"), "durationperchannel", file) * fs / 1000.0)
        leads = tuple(normalize_lead(lead) for lead in (waves.get("leadlabels") or "").split()) or _leads_before_104(
            signal, file
        )
        leads = leads[: int(number(waves.get("numberofleads") or str(len(leads)), "numberofleads", file))]

        units = _stored(waves, leads, samples, file)
        mv = units * (microvolts / 1000.0)
        tail = calibration_tail(mv, fs, tolerance=microvolts / 2000.0)  # half a unit: in all leads exactly the same
        age = years(text(tree, "patient/generalpatientdata/age/years")) or _age(tree)
        meta = stated(
            age=age,
            sex=sex_letter(text(tree, "patient/generalpatientdata/sex")),
            device=text(tree, "dataacquisition/machine"),
            version=text(tree, "documentinfo/documentversion"),
            cut_s=tail / fs if tail else None,
        )
        return Record(leads=leads, mv=mv[:, : mv.shape[1] - tail], fs=fs, name=name, meta=meta)


def _leads_before_104(signal: Element, file: Path) -> tuple[str, ...]:
    """Version 1.03 does not label its channels: a standard 12-lead acquisition has them in the standard order."""
    kind = text(signal, "acquisitiontype")
    if kind not in ("STD-12", "10-WIRE"):
        raise RecordError(
            f"{file}: channels without labels, of acquisition {kind!r}; expected STD-12. Export it as version 1.04."
        )
    return STANDARD_LEADS


def _age(tree: Element) -> int | None:
    """Whole years from date of birth to acquisition, both yyyy-mm-dd; None if either is not given."""
    acquisition = tree.find("{*}dataacquisition")
    born = text(tree, "patient/generalpatientdata/age/dateofbirth")
    taken = acquisition.get("date", "") if acquisition is not None else ""
    try:
        (y0, m0, d0), (y1, m1, d1) = ((int(part) for part in date.split("-")) for date in (born, taken))
    except ValueError:
        return None
    return y1 - y0 - ((m1, d1) < (m0, d0))


def _stored(waves: Element, leads: tuple[str, ...], samples: int, file: Path) -> NDArray[np.int64]:
    """(leads, samples) in units of the resolution."""
    encoding = (waves.get("dataencoding") or "").lower()
    method = (waves.get("compression") or waves.get("compressmethod") or "").upper()
    if (waves.get("compressflag") or "").lower() == "false":
        method = ""
    body = waves.text or ""
    try:
        if encoding == "plain":
            flat = np.array(body.replace(",", " ").split(), dtype=np.int64)
        elif encoding != "base64":
            raise RecordError(f"{file}: waveforms in encoding {encoding!r}; expected Base64 or Plain.")
        else:
            raw = base64.b64decode("".join(body.split()), validate=True)
            if method == "XLI":
                return _limb_leads(
                    leads, [_integrate(codes, first) for codes, first in _chunks(raw, len(leads), samples)]
                )
            if method not in ("", "NONE", "UNCOMPRESSED"):
                raise RecordError(f"{file}: waveforms compressed by {method!r}; expected XLI or none.")
            flat = np.frombuffer(raw, "<i2").astype(np.int64)
    except (ValueError, OverflowError, binascii.Error, struct.error) as error:
        raise RecordError(f"{file}: the waveforms cannot be decoded ({error}). Export the file again.") from error
    if flat.size < len(leads) * samples:
        raise RecordError(
            f"{file}: {flat.size} samples; expected {len(leads)} leads of {samples}. Export the file again."
        )
    return flat[: len(leads) * samples].reshape(len(leads), samples)


def _chunks(raw: bytes, leads: int, samples: int) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Per lead: (samples,) codes, and the first code. Channels beyond ``leads`` are empty ones."""
    at = 0
    for lead in range(leads):
        size, _, first = struct.unpack_from("<ihh", raw, at)
        at += 8
        if not 0 < size <= len(raw) - at:
            raise ValueError(f"channel {lead + 1} of {leads} is cut short")
        high_low = np.frombuffer(_lzw(raw[at : at + size]), np.uint8)
        at += size
        if high_low.size != 2 * samples:
            raise ValueError(f"channel {lead + 1} unpacks to {high_low.size / 2:g} samples, not {samples}")
        codes = high_low[:samples].astype(np.uint16) << 8 | high_low[samples:]
        yield codes.view(np.int16).astype(np.int64), first


def _lzw(packed: bytes) -> bytes:
    """LZW (Welch 1984) with 10-bit codes: 0 to 255 are bytes, the next ones sequences in order of appearance."""
    bits = np.unpackbits(np.frombuffer(packed, np.uint8))
    codes = bits[: bits.size // 10 * 10].reshape(-1, 10) @ (1 << np.arange(9, -1, -1))
    table = [bytes([k]) for k in range(256)]
    out: list[bytes] = []
    for code in codes.tolist():
        if code == _END:
            return b"".join(out)
        if code < len(table):
            entry = table[code]
        elif out and code == len(table) < _END:  # the sequence that this very code completes
            entry = out[-1] + out[-1][:1]
        else:
            raise ValueError(f"code {code} is not in the table of {len(table)}")
        if out and len(table) < _END:
            table.append(out[-1] + entry[:1])
        out.append(entry)
    raise ValueError("no end code")


def _integrate(codes: NDArray[np.int64], first: int) -> NDArray[np.int64]:
    """(samples,) from second differences: y[i] = 2 y[i-1] - y[i-2] - e[i-1], e[1] = first, e[i] = codes[i] - 64."""
    bend = np.concatenate(([codes[1] - codes[0]], [-first], 64 - codes[2:-1]))
    y: NDArray[np.int64] = codes[0] + np.concatenate(([0], np.cumsum(np.cumsum(bend))))
    return y


def _limb_leads(leads: tuple[str, ...], channels: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """(leads, samples) where III, aVR, aVL and aVF are put together from I, II and what was left unexplained."""
    x = dict(zip(leads, channels, strict=True))
    if {"I", "II", "III"} <= x.keys():
        x["III"] = x["II"] - x["I"] - x["III"]
        explained = {
            "aVR": -((x["I"] + x["II"]) // 2),
            "aVL": (x["I"] - x["III"]) // 2,
            "aVF": (x["II"] + x["III"]) // 2,
        }
        x |= {lead: value - x[lead] for lead, value in explained.items() if lead in x}
    return np.stack([x[lead] for lead in leads])
