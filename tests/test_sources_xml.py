"""XML files of ECG machines, written here by hand: MUSE, Philips (with an XLI encoder), HL7 aECG."""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ecg_image_kit.errors import RecordError
from ecg_image_kit.record import STANDARD_LEADS, Record
from ecg_image_kit.sources.aecg import AECG
from ecg_image_kit.sources.muse import MUSE
from ecg_image_kit.sources.philips import Philips, _chunks, _integrate
from ecg_image_kit.sources.xml_files import XMLSource, calibration_tail

FS = 250
SECRETS = ("Doe", "Jane", "4711", "1950", "Dr Who")
BOMB = '<!DOCTYPE x [<!ENTITY a "{}"><!ENTITY b "&a;&a;&a;&a;">]>'


def beats(samples: int = 2 * FS, seed: int = 0) -> np.ndarray:
    """(8, samples) int16 units: I, II, V1..V6; smooth, with steep QRS-like peaks."""
    t = np.arange(samples) / FS
    shape = 60 * np.exp(-(((t % 0.8) - 0.3) ** 2) / 1e-4) + 12 * np.exp(-(((t % 0.8) - 0.55) ** 2) / 2e-3)
    gains = np.random.default_rng(seed).uniform(-2, 3, (8, 1))
    return np.round(gains * shape).astype(np.int16)


# MUSE


MUSE_LEAD = """<LeadData>
<LeadSampleCountTotal>{count}</LeadSampleCountTotal><LeadAmplitudeUnitsPerBit>4.88</LeadAmplitudeUnitsPerBit>
<LeadAmplitudeUnits>MICROVOLTS</LeadAmplitudeUnits><LeadID>{name}</LeadID><LeadSampleSize>2</LeadSampleSize>
<LeadOff>{off}</LeadOff><LeadDataCRC32>{crc}</LeadDataCRC32>
<WaveFormData>
{data}</WaveFormData></LeadData>"""
MUSE_FILE = """<?xml version="1.0" encoding="ISO-8859-1"?>
<!DOCTYPE RestingECG SYSTEM "restecg.dtd">
<RestingECG><PatientDemographics><PatientID>4711</PatientID><PatientAge>66</PatientAge><AgeUnits>YEARS</AgeUnits>
<DateofBirth>03-21-1950</DateofBirth><Gender>MALE</Gender><PatientLastName>Doe</PatientLastName></PatientDemographics>
<TestDemographics><AcquisitionDevice>MAC</AcquisitionDevice><OverreaderLastName>Dr Who</OverreaderLastName>
</TestDemographics><Diagnosis><DiagnosisStatement><StmtText>Seen by Dr Who</StmtText></DiagnosisStatement></Diagnosis>
{waveforms}</RestingECG>"""


def muse(signals: np.ndarray) -> str:
    """A MUSE file of (8, samples) int16 units of 4.88 uV: a median beat, then the rhythm."""

    def lead(name: str, x: np.ndarray) -> str:
        raw = x.astype("<i2").tobytes()
        off = "TRUE" if name == "V6" else "FALSE"
        data = base64.encodebytes(raw).decode()
        return MUSE_LEAD.format(name=name, count=x.size, off=off, crc=zlib.crc32(raw), data=data)

    def waveform(kind: str, x: np.ndarray) -> str:
        names = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
        leads = "".join(lead(name, row) for name, row in zip(names, x, strict=True))
        rate = f"<SampleBase>{FS}</SampleBase><SampleExponent>0</SampleExponent>"
        return f"<Waveform><WaveformType>{kind}</WaveformType>{rate}{leads}</Waveform>"

    return MUSE_FILE.format(waveforms=waveform("Median", signals[:, :100]) + waveform("Rhythm", signals))


def read(kind: type[XMLSource], tmp_path: Path, text: str, encoding: str = "utf-8") -> Record:
    (tmp_path / "a.xml").write_bytes(text.encode(encoding))
    return kind(tmp_path / "a.xml").load("a.xml")


def test_muse(tmp_path):
    x = beats()
    record = read(MUSE, tmp_path, muse(x))
    assert record.leads == STANDARD_LEADS and record.fs == FS and record.mv.shape == (12, x.shape[1])
    i, ii = x[0] * 0.00488, x[1] * 0.00488
    for lead, expected in {
        "I": i,
        "II": ii,
        "III": ii - i,
        "aVR": -(i + ii) / 2,
        "aVL": i - ii / 2,
        "aVF": ii - i / 2,
    }.items():
        np.testing.assert_allclose(record.lead(lead), expected, atol=1e-6)
    np.testing.assert_allclose(record.mv[6:], x[2:] * 0.00488, atol=1e-6)
    assert record.meta == {
        "age": 66, "sex": "M", "device": "MAC", "leads_off": ["V6"], "derived": ["III", "aVR", "aVL", "aVF"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (">Rhythm<", ">Other<", "waveforms median, other; expected type Rhythm"),
        ("<LeadDataCRC32>", "<LeadDataCRC32>1", "does not match its CRC32"),
        ("<LeadSampleCountTotal>", "<LeadSampleCountTotal>1", "has 500 samples; it says 1500"),
        ("<SampleBase>250", "<SampleBase>many", "SampleBase is 'many'; expected a number"),
        ("<WaveFormData>\n", "<WaveFormData>!", "not base64"),
        ("<LeadSampleSize>2", "<LeadSampleSize>4", "4 bytes per sample"),
        ("MICROVOLTS", "FURLONGS", "not a voltage"),
        ("RestingECG>", "Other>", "root element <Other>; expected <RestingECG>"),
        ("</RestingECG>", "", "not acceptable XML"),
    ],
)
def test_muse_errors(tmp_path, old, new, message):
    with pytest.raises(RecordError, match=message):
        read(MUSE, tmp_path, muse(beats()).replace(old, new))


# Philips


def lzw(data: bytes) -> bytes:
    """Welch 1984, codes of 10 bits, 1023 at the end: the inverse of what is tested, written from the textbook."""
    table = {bytes([k]): k for k in range(256)}
    codes, w = [], b""
    for byte in data:
        longer = w + bytes([byte])
        if longer in table:
            w = longer
            continue
        codes.append(table[w])
        if len(table) < 1023:
            table[longer] = len(table)
        w = bytes([byte])
    bits = "".join(f"{code:010b}" for code in [*codes, table[w], 1023])
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def xli(x: np.ndarray) -> bytes:
    """One lead: (samples,) int."""
    y = x.astype(np.int64)
    bend = y[2:] - 2 * y[1:-1] + y[:-2]
    codes = np.concatenate((y[:2], 64 - bend[1:], [64])).astype(np.int16).view(np.uint16)
    packed = lzw(bytes((codes >> 8).astype(np.uint8)) + bytes((codes & 255).astype(np.uint8)))
    return struct.pack("<ihh", len(packed), 1, -int(bend[0])) + packed


def unexplained(x: np.ndarray) -> np.ndarray:
    """The standard 12 leads as Philips stores them: limb leads as what the equations leave over."""
    out = x.astype(np.int64).copy()
    i, ii, iii, r, left, f = x[:6].astype(np.int64)
    out[2:6] = ii - i - iii, -((i + ii) // 2) - r, (i - iii) // 2 - left, (ii + iii) // 2 - f
    return out


def twelve(seed: int = 0) -> np.ndarray:
    """(12, samples) int: standard leads, which fit Einthoven's law but for a unit or two."""
    x = beats(seed=seed).astype(np.int64)
    i, ii = x[:2]
    limbs = np.stack([i, ii, ii - i, -(i + ii) // 2, i - ii // 2, ii - i // 2])
    limbs[2:] += np.random.default_rng(seed).integers(-2, 3, limbs[2:].shape)
    return np.concatenate([limbs, x[2:]])


def calibrated(x: np.ndarray) -> np.ndarray:
    """With 0.1 s of zeros, 0.2 s of 1 mV and 0.1 s of zeros at the end (5 uV units)."""
    tail = np.concatenate([np.zeros(FS // 10), np.full(FS // 5, 200), np.zeros(FS // 10)]).astype(x.dtype)
    return np.concatenate([x, np.tile(tail, (len(x), 1))], axis=1)


SIERRA = """<?xml version="1.0" encoding="utf-16"?><restingecgdata xmlns="http://www3.medical.philips.com">
<documentinfo><documentversion>{version}</documentversion></documentinfo>
<dataacquisition date="2012-03-01"><machine>PageWriter</machine><signalcharacteristics>
<samplingrate>250</samplingrate><{resolution}>5</{resolution}><acquisitiontype>STD-12</acquisitiontype>
</signalcharacteristics></dataacquisition>
<patient><generalpatientdata><patientid>4711</patientid><name><lastname>Doe</lastname><firstname>Jane</firstname></name>
<age><dateofbirth>1950-03-02</dateofbirth></age><sex>Female</sex></generalpatientdata></patient>
<interpretations><statement>Seen by Dr Who</statement></interpretations>
<waveforms><parsedwaveforms {attributes}>{body}</parsedwaveforms></waveforms></restingecgdata>"""


def sierra(body: str, samples: int, version: str = "1.04", encoding: str = "Base64", method: str = "XLI") -> str:
    attributes = {"dataencoding": encoding, "durationperchannel": samples * 1000 // FS}
    if version == "1.03":
        attributes |= {"compressflag": True, "compressmethod": method}
    else:
        attributes |= {"compression": method, "numberofleads": 12, "leadlabels": " ".join(STANDARD_LEADS)}
        attributes |= {"samplespersecond": FS, "resolution": 5}
    listed = " ".join(f'{name}="{value}"' for name, value in attributes.items())
    resolution = "signalresolution" if version == "1.03" else "resolution"
    return SIERRA.format(version=version, resolution=resolution, attributes=listed, body=body)


def compressed(x: np.ndarray) -> str:
    empty = xli(np.zeros(x.shape[1], int))  # machines append channels without a signal
    return base64.b64encode(b"".join([*(xli(row) for row in unexplained(x)), empty, empty])).decode()


@settings(max_examples=60, deadline=None)
@given(arrays(np.int16, st.integers(4, 800), elements=st.integers(-4000, 4000)))
def test_xli_returns_what_was_packed(x):
    ((codes, first),) = _chunks(xli(x), 1, x.size)
    np.testing.assert_array_equal(_integrate(codes, first), x)


@pytest.mark.parametrize("version", ["1.03", "1.04", "1.04.01"])
def test_philips_xli(tmp_path, version):
    x = twelve()
    x[:, -1] = 7  # where the signal ends; silence would be no different from the zeros that follow it
    full = calibrated(x)
    record = read(Philips, tmp_path, sierra(compressed(full), full.shape[1], version), "utf-16")
    assert record.leads == STANDARD_LEADS and record.fs == FS
    np.testing.assert_allclose(record.mv, x * 0.005, atol=1e-6)
    assert record.meta == {"age": 61, "sex": "F", "device": "PageWriter", "version": version, "cut_s": 0.4}


def test_philips_without_compression(tmp_path):
    x = twelve(3)
    plain = sierra(" ".join(map(str, x.ravel())), x.shape[1], encoding="Plain", method="")
    raw = sierra(base64.b64encode(x.astype("<i2").tobytes()).decode(), x.shape[1], method="Uncompressed")
    for text in (plain, raw):
        np.testing.assert_allclose(read(Philips, tmp_path, text, "utf-16").mv, x * 0.005, atol=1e-6)


def test_philips_errors(tmp_path):
    x = twelve()
    n = x.shape[1]
    packed = b"".join(xli(row) for row in unexplained(x))
    flipped = bytearray(packed)
    flipped[9] ^= 255
    for text, message in (
        (sierra(base64.b64encode(packed[:3000]).decode(), n), "cannot be decoded"),
        (sierra(base64.b64encode(flipped).decode(), n), "cannot be decoded"),
        (sierra(base64.b64encode(packed).decode(), n + FS), "unpacks to 500 samples, not 750"),
        (sierra("!!!", n), "cannot be decoded"),
        (sierra("1 2 x", n, encoding="Plain"), "cannot be decoded"),
        (sierra("1 2 3", n, encoding="Plain", method=""), "3 samples; expected 12 leads of 500"),
        (sierra("", n, encoding="Morse"), "encoding 'morse'; expected Base64 or Plain"),
        (sierra("AAAA", n, method="ZIP"), "compressed by 'ZIP'; expected XLI or none"),
        (sierra("", n, "1.03").replace("STD-12", "EASI"), "channels without labels, of acquisition 'EASI'"),
        (sierra("", n).replace("parsedwaveforms", "other"), "no parsedwaveforms"),
    ):
        with pytest.raises(RecordError, match=message) as caught:
            read(Philips, tmp_path, text, "utf-16")
        assert "a.xml" in str(caught.value)


def test_calibration_tail_needs_a_pulse_in_all_leads():
    x = twelve()
    x[:, -1] = 7
    assert calibration_tail(x * 0.005, FS, 0.002) == 0
    assert calibration_tail(np.concatenate([x * 0.005, np.zeros((12, 100))], axis=1), FS, 0.002) == 0
    full = calibrated(x) * 0.005
    assert calibration_tail(full, FS, 0.002) == 0.4 * FS
    full[4, -FS // 5] += 0.004
    assert calibration_tail(full, FS, 0.002) == 0 and calibration_tail(full, FS, 0.012) == 0.4 * FS


# HL7 aECG


AECG_FILE = """<AnnotatedECG xmlns="urn:hl7-org:v3"><componentOf><subject><name>Doe</name><id extension="4711"/>
<birthTime value="1950"/><administrativeGenderCode code="F"/></subject></componentOf>
<component><series><code code="{code}"/><component><sequenceSet>
<component><sequence><code code="TIME_ABSOLUTE"/><value><head value="2020"/><increment value="4" unit="ms"/></value>
</sequence></component>{sequences}</sequenceSet></component></series></component></AnnotatedECG>"""
AECG_LEAD = """<component><sequence><code code="MDC_ECG_LEAD_{lead}"/><value><origin value="10" unit="{unit}"/>
<scale value="5" unit="{unit}"/><digits>{digits}</digits></value></sequence></component>"""


def aecg(x: np.ndarray, code: str = "RHYTHM", unit: str = "uV") -> str:
    rows = zip(STANDARD_LEADS, x, strict=True)
    leads = [AECG_LEAD.format(lead=lead.upper(), unit=unit, digits=" ".join(map(str, row))) for lead, row in rows]
    return AECG_FILE.format(code=code, sequences="".join(leads))


def test_aecg(tmp_path):
    x = twelve()
    record = read(AECG, tmp_path, aecg(x))
    np.testing.assert_allclose(record.mv, x * 0.005 + 0.01, atol=1e-6)
    assert record.leads == STANDARD_LEADS and record.fs == FS and record.meta == {"sex": "F"}
    for text, message in (
        (aecg(x, code="REPRESENTATIVE_BEAT"), "no series of code RHYTHM"),
        (aecg(x, unit="bpm"), "not a voltage"),
        (aecg(x).replace("<digits>", "<digits>x "), "digits are not numbers"),
        (aecg(x).replace("LEAD_V1", "LEAD_V2"), "lead V2 in several sequences"),
        (aecg(x).replace('unit="ms"', 'unit="Hz"'), "expected a positive time"),
        (aecg(x).replace("<digits>", "<digits>1 ", 1), "expected as many for every lead"),
    ):
        with pytest.raises(RecordError, match=message):
            read(AECG, tmp_path, text)


# All


@pytest.mark.parametrize("kind", [MUSE, Philips, AECG])
def test_entity_bombs_are_refused(tmp_path, kind):
    text = f"{BOMB.format('lol' * 10)}<{kind.root}>&b;</{kind.root}>"
    with pytest.raises(RecordError, match=r"a\.xml: not acceptable XML \(EntitiesForbidden"):
        read(kind, tmp_path, text)
    outside = f'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]><{kind.root}>&a;</{kind.root}>'
    with pytest.raises(RecordError, match="not acceptable XML"):
        read(kind, tmp_path, outside)


def test_meta_has_nothing_personal(tmp_path):
    x = twelve()
    records = [
        read(MUSE, tmp_path, muse(beats())),
        read(Philips, tmp_path, sierra(compressed(x), x.shape[1]), "utf-16"),
        read(AECG, tmp_path, aecg(x)),
    ]
    for record in records:
        assert record.meta and not any(secret in repr(record.meta) for secret in SECRETS)


def test_folders_list_only_files_with_the_right_root(tmp_path):
    x = twelve()
    (tmp_path / "m.xml").write_text(muse(beats()))
    (tmp_path / "p.XML").write_bytes(sierra(compressed(x), x.shape[1]).encode("utf-16"))
    (tmp_path / "other.xml").write_text("<html/>")
    assert list(MUSE(tmp_path).names()) == ["m.xml"]
    assert list(Philips(tmp_path).names()) == ["p.XML"]
    (tmp_path / "broken.xml").write_text("<RestingECG")
    assert list(MUSE(tmp_path).names()) == ["broken.xml", "m.xml"]  # reported when loaded, not passed over
    with pytest.raises(RecordError, match=r"broken\.xml: not acceptable XML"):
        MUSE(tmp_path).load("broken.xml")


def einthoven(record: Record) -> float:
    """The largest |II - I - III| in mV."""
    return float(np.abs(record.lead("II") - record.lead("I") - record.lead("III")).max())


@pytest.mark.parametrize(
    ("name", "samples", "limit"),
    [
        ("sierra_129DYPRG.XML", 5264, 0.0101),
        ("sierra_2020-5-18_15-48-11.xml", 5300, 1e-6),
        ("sierra_3191723_ZZDEMOPTONLY_1-04_orig.xml", 5300, 1e-6),
        ("sierra_ad4d3d80-d165_1-04_orig.xml", 5300, 0.0051),
    ],
)
def test_shared_philips_files(shared_data, name, samples, limit):
    record = Philips(shared_data / "formats" / name).load(name)
    assert record.mv.shape == (12, samples) and record.fs == 500
    assert einthoven(record) <= limit and record.meta["cut_s"] == (5500 - samples) / 500


def test_shared_muse_file(shared_data):
    name = "ml4h_muse_ecg_deidentified_1.xml"
    record = MUSE(shared_data / "formats" / name).load(name)
    assert record.mv.shape == (12, 2500) and record.fs == 240
    assert "WEST" not in repr(record.meta)


def test_shared_conversion_agrees_with_its_original(shared_data):
    """The same ECG as XLI and as aECG text, to which the converter added noise of a unit (5 uV)."""
    names = ("sierra_ad4d3d80-d165_1-04_orig.xml", "sierra_ad4d3d80-d165_1-04_converted.xml")
    ours, text = (
        kind(shared_data / "formats" / name).load(name) for kind, name in zip((Philips, AECG), names, strict=True)
    )
    assert ours.leads == text.leads and ours.mv.shape == text.mv.shape
    assert np.sqrt(np.mean((ours.mv - text.mv) ** 2, axis=1)).max() < 0.0051
