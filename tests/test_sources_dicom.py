"""DICOM waveforms, written here with pydicom."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, TwelveLeadECGWaveformStorage, generate_uid

from ecg_image_kit.errors import RecordError, UsageError
from ecg_image_kit.sources.dicom import DICOM

RAW = np.random.default_rng(2).integers(-800, 800, (1000, 3)).astype(np.int16)  # (samples, channels)
MDC = (("2:1", "MDC", ""), ("2:62", "MDC", ""), ("2:5", "MDC", ""))


def code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def group(raw: np.ndarray = RAW, label: str = "RHYTHM", sources: Any = MDC, unit: str = "uV", **extra: Any) -> Dataset:
    item = Dataset()
    item.MultiplexGroupLabel, item.WaveformOriginality = label, "ORIGINAL"
    item.NumberOfWaveformChannels, item.NumberOfWaveformSamples = raw.shape[1], raw.shape[0]
    item.SamplingFrequency, item.WaveformBitsAllocated, item.WaveformSampleInterpretation = 500, 16, "SS"
    item.ChannelDefinitionSequence = []
    for source in sources:
        channel = Dataset()
        channel.ChannelSourceSequence = [code(*source)]
        channel.ChannelSensitivity, channel.ChannelSensitivityCorrectionFactor, channel.ChannelBaseline = 2.5, 1.1, 40
        channel.ChannelSensitivityUnitsSequence = [code(unit, "UCUM", "")]
        channel.WaveformBitsStored = 16
        item.ChannelDefinitionSequence.append(channel)
    item.WaveformData = raw.astype("<i2").tobytes()
    for name, value in extra.items():
        setattr(item, name, value)
    return item


def write(path: Path, *groups: Dataset) -> Path:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, TwelveLeadECGWaveformStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "Doe^Jane", "12345", "19700101"
    dataset.PatientSex, dataset.PatientAge = "F", "053Y"
    if groups:
        dataset.WaveformSequence = list(groups)
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_sensitivity_correction_baseline_and_codes(tmp_path):
    median = group(RAW[:600], "MEDIAN BEAT", WaveformOriginality="DERIVED")
    record = DICOM(write(tmp_path / "a.dcm", group(RAW[:400]), median, group(), group())).load("a.dcm")
    assert record.leads == ("I", "aVR", "V3") and record.fs == 500 and record.name == "a"
    np.testing.assert_allclose(record.mv, (RAW.T * 2.5 * 1.1 + 40) / 1000, rtol=1e-5)
    others = ["RHYTHM, 0.8 s", "MEDIAN BEAT, 1.2 s", "RHYTHM, 2 s"]
    assert record.meta == {"age": 53, "sex": "F", "other_groups": others}


@pytest.mark.parametrize(
    "sources",
    [
        (("5.6.3-9-1", "SCPECG", "Lead I (Einthoven)"), ("5.6.3-9-62", "SCPECG", ""), ("5.6.3-9-5", "SCPECG", "")),
        (("X1", "99OWN", "Lead I (Einthoven)"), ("X2", "99OWN", "aVR, augmented"), ("X3", "99OWN", "Lead V3")),
        (("MDC_ECG_LEAD_I", "MDC", ""), ("MDC_ECG_LEAD_AVR", "MDC", ""), ("MDC_ECG_LEAD_V3", "MDC", "")),
    ],
)
def test_lead_names(tmp_path, sources):
    leads = DICOM(write(tmp_path / "a.dcm", group(sources=sources))).load("a.dcm").leads
    assert leads[0] == "I" and leads[1].startswith("aVR") and leads[2] == "V3"


def test_padding_is_unknown_and_other_units_are_left_out(tmp_path):
    raw = RAW.copy()
    raw[10:20, 0] = -32768
    item = group(raw, WaveformPaddingValue=np.array([-32768], "<i2").tobytes())
    item.ChannelDefinitionSequence[2].ChannelSensitivityUnitsSequence = [code("mm[Hg]", "UCUM", "")]
    record = DICOM(write(tmp_path / "a.dcm", item)).load("a.dcm")
    assert np.flatnonzero(np.isnan(record.mv[0])).tolist() == list(range(10, 20)) and not np.isnan(record.mv[1]).any()
    assert record.leads == ("I", "aVR") and record.meta["left_out"] == {"V3": "mm[Hg]"}


def test_meta_has_nothing_personal(tmp_path):
    record = DICOM(write(tmp_path / "a.dcm", group())).load("a.dcm")
    assert not any(secret in repr(record.meta) for secret in ("Doe", "Jane", "12345", "1970"))


def test_errors(tmp_path, monkeypatch):
    (tmp_path / "text.dcm").write_text("not DICOM")
    for name, groups, message in (
        ("none.dcm", [], "waveform groups: none"),
        ("short.dcm", [group(RAW[:100], "RHYTHM")], "waveform groups: RHYTHM, 0.2 s. Expected an ECG rhythm"),
        ("pressure.dcm", [group(unit="mm[Hg]")], "no channel in volts"),
        ("twice.dcm", [group(sources=(MDC[0], MDC[0], MDC[1]))], "two channels are called I"),
        ("cut.dcm", [group(WaveformData=b"\0\0" * 10)], "its samples cannot be read"),
        ("bits.dcm", [group(WaveformSampleInterpretation="ZZ")], "its samples cannot be read"),
    ):
        write(tmp_path / name, *groups)
        with pytest.raises(RecordError, match=message) as caught:
            DICOM(tmp_path).load(name)
        assert name in str(caught.value)
    with pytest.raises(RecordError, match=r"text\.dcm: not a DICOM file"):
        DICOM(tmp_path).load("text.dcm")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(UsageError, match=r"needs pydicom: pip install 'ecg-image-kit\[formats\]'"):
        DICOM(tmp_path)


def test_shared_file(shared_data):
    path = shared_data / "formats" / "dicom_anonymous_ecg.dcm"
    record = DICOM(path).load(path.name)
    assert (
        record.mv.shape == (12, 10000) and record.fs == 1000 and record.meta["other_groups"] == ["MEDIAN BEAT, 1.2 s"]
    )
    assert np.abs(record.lead("II") - record.lead("I") - record.lead("III")).max() < 1e-5
    assert np.abs(record.lead("aVF") - record.lead("II") + record.lead("I") / 2).max() < 0.001
