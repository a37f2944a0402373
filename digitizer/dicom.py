"""A record as a DICOM waveform (PS3.3 A.34.3 and A.34.4): a 12-lead ECG if it has the twelve leads, else general."""

from __future__ import annotations

import datetime
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecg_image_kit import __version__
from ecg_image_kit.errors import RecordError, UsageError
from ecg_image_kit.record import STANDARD_LEADS, Record, atomic_write
from ecg_image_kit.sources.files import optional

FS = (200.0, 1000.0)  # Hz, of both kinds of object
_MOST = 16384  # samples per channel of a 12-lead ECG
_PADDING = -32768

# PS3.16 CID 3001.
_CODES = {"I": 1, "II": 2, **{f"V{n}": n + 2 for n in range(1, 7)}, "V7": 9, **{f"V{n}R": n + 8 for n in range(2, 8)},
          "X": 16, "Y": 17, "Z": 18, "III": 61, "aVR": 62, "aVL": 63, "aVF": 64, "-aVR": 65, "V8": 66, "V9": 67,
          "V8R": 68, "V9R": 69}  # fmt: skip


def check(fs: float) -> None:
    """Raise UsageError if waveforms at ``fs`` Hz cannot be written, or not here."""
    optional("pydicom", "writing DICOM")
    low, high = FS
    if not low <= fs <= high:
        raise UsageError(f"{fs:g} Hz; expected {low:g} to {high:g} for DICOM. Give another --fs.")


def write_dicom(record: Record, path: str | os.PathLike[str], comments: Sequence[str] = ()) -> None:
    """Write one multiplex group in 16 bits of 1 uV; NaN becomes the padding value that the group declares.

    There is no patient in it: names on the paper are not read. The dates are those of digitization, for those of the
    recording are unknown, and ``comments`` become annotations.

    Raises UsageError if pydicom is missing or fs is not 200 to 1000 Hz, RecordError if a sample is beyond ±32.7 mV.
    """
    check(record.fs)
    if np.nanmax(np.abs(record.mv), initial=0.0) > 32.7:
        raise RecordError(f"record {record.name!r} exceeds ±32.7 mV, the range of 16 bits at 1 uV. Check its units.")
    pydicom = optional("pydicom", "writing DICOM")
    uid = pydicom.uid
    whole = set(record.leads) == set(STANDARD_LEADS) and record.mv.shape[1] <= _MOST
    now = datetime.datetime.now()
    date, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S")

    ds = pydicom.Dataset()
    ds.SOPClassUID = uid.TwelveLeadECGWaveformStorage if whole else uid.GeneralECGWaveformStorage
    ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = (uid.generate_uid() for _ in range(3))
    for unknown in (
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
        "AccessionNumber", "ReferringPhysicianName",
    ):  # fmt: skip
        setattr(ds, unknown, "")
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "ECG", 1, 1
    ds.SeriesDescription = "ECG digitized from paper"
    ds.Manufacturer, ds.ManufacturerModelName, ds.SoftwareVersions = "", "ecg-digitize", __version__
    ds.ContentDate, ds.ContentTime, ds.AcquisitionDateTime = date, time, date + time
    ds.AcquisitionContextSequence = []
    ds.WaveformAnnotationSequence = [_annotation(pydicom, text) for text in ("digitized from paper", *comments)]
    ds.WaveformSequence = [_group(pydicom, record)]

    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
    atomic_write(Path(path), buffer.getvalue())


def _group(pydicom: Any, record: Record) -> Any:
    group = pydicom.Dataset()
    group.MultiplexGroupTimeOffset, group.WaveformOriginality, group.MultiplexGroupLabel = 0, "DERIVED", "RHYTHM"
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = record.mv.shape
    group.SamplingFrequency = f"{record.fs:.12g}"
    group.ChannelDefinitionSequence = [_channel(pydicom, lead) for lead in record.leads]
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    unknown = np.isnan(record.mv)
    if unknown.any():
        group.WaveformPaddingValue = np.array([_PADDING], "<i2").tobytes()
    units = np.where(unknown, _PADDING, np.round(np.nan_to_num(record.mv) * 1000.0))
    group.WaveformData = units.T.astype("<i2").tobytes()
    return group


def _channel(pydicom: Any, lead: str) -> Any:
    channel = pydicom.Dataset()
    channel.ChannelLabel = lead[:16]
    known = lead in _CODES
    source = (f"2:{_CODES[lead]}", "MDC", f"Lead {lead}") if known else (lead[:16], "99ECGIK", lead)
    channel.ChannelSourceSequence = [_code(pydicom, *source)]
    channel.ChannelSensitivity, channel.ChannelSensitivityCorrectionFactor, channel.ChannelBaseline = 1, 1, 0
    channel.ChannelSensitivityUnitsSequence = [_code(pydicom, "uV", "UCUM", "microvolt")]
    channel.ChannelSampleSkew, channel.WaveformBitsStored = 0, 16
    return channel


def _code(pydicom: Any, value: str, scheme: str, meaning: str) -> Any:
    item = pydicom.Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _annotation(pydicom: Any, text: str) -> Any:
    item = pydicom.Dataset()
    item.UnformattedTextValue = text
    item.ReferencedWaveformChannels = [1, 0]  # all channels of the first group
    item.AnnotationGroupNumber = 1
    return item
