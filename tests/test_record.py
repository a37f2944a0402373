"""Record: what it accepts, Einthoven's law, resampling, units, and files that other programs read."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ecg_image_kit import STANDARD_LEADS, Record, RecordError, open_source
from ecg_image_kit.errors import ImplausibleAmplitude
from ecg_image_kit.record import LIMB_LEADS, atomic_write, normalize_lead, resample, to_millivolts

UNITS = {"mV": 1.0, "uV": 1e-3, "µV": 1e-3, "μV": 1e-3, "nV": 1e-6, "V": 1e3, " MV ": 1.0, "Millivolt": 1.0}


def noise(leads: tuple[str, ...] = ("I", "II"), samples: int = 100, fs: float = 500.0, seed: int = 0) -> Record:
    mv = np.random.default_rng(seed).normal(size=(len(leads), samples)).astype(np.float32)
    return Record(leads, mv, fs, "noise")


@pytest.mark.parametrize(
    ("leads", "shape", "fs", "message"),
    [
        (("I", "II"), (3, 50), 500, r"2 lead names for signals of shape \(3, 50\); expected \(2, samples\)"),
        (("I",), (1, 2, 50), 500, "expected"),
        ((), (0, 50), 500, "0 leads of 50 samples; expected at least 1"),
        (("I",), (1, 1), 500, "1 leads of 1 samples; expected at least 1 of 2"),
        (("II", "V1", "MLII"), (3, 50), 500, "repeated lead names: II, V1, II. Rename or select"),
        (("I",), (1, 50), 0, "sampling rate 0 Hz.*positive"),
        (("I",), (1, 50), -5, "sampling rate -5"),
        (("I",), (1, 50), float("nan"), "sampling rate nan"),
        (("I",), (1, 50), float("inf"), "sampling rate inf"),
    ],
)
def test_what_is_no_record_is_refused(leads: tuple[str, ...], shape: tuple[int, ...], fs: float, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        Record(leads, np.zeros(shape, np.float32), fs)


def test_a_record_owns_its_samples() -> None:
    mine = np.array([[1.0, np.inf, -np.inf, np.nan, 2.0]])
    record = Record(("I",), mine, 500)
    mine[0, 0] = 7
    np.testing.assert_array_equal(record.mv, np.array([[1, np.nan, np.nan, np.nan, 2]], np.float32))
    assert record.mv.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        record.mv[0, 0] = 3
    assert Record(("I",), np.arange(5), 100).duration == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("raw", "printed"),
    [
        ("AVR", "aVR"), ("avl", "aVL"), ("a V F", "aVF"), ("MLII", "II"), ("lead iii", "III"), ("Lead V1", "V1"),
        ("DI", "I"), ("v3", "V3"), ("v4r", "V4R"), ("-AVR", "-aVR"), ("vx", "X"), (" Resp ", "Resp"), ("ABP", "ABP"),
    ],
)  # fmt: skip
def test_lead_names(raw: str, printed: str) -> None:
    assert normalize_lead(raw) == printed
    assert normalize_lead(printed) == printed
    assert Record((raw,), np.zeros((1, 5)), 500).leads == (printed,)


@pytest.mark.parametrize("unit", UNITS)
def test_units(unit: str) -> None:
    assert to_millivolts(unit) == UNITS[unit]


@pytest.mark.parametrize("unit", ["", "mmHg", "kV", "bpm", "adu"])
def test_what_is_no_voltage_is_refused(unit: str) -> None:
    with pytest.raises(RecordError, match="expected one of mV, uV, nV, V"):
        to_millivolts(unit)


def test_selecting_and_cutting() -> None:
    record = noise(("I", "II", "V1"), 1000)
    some = record.select(["v1", "MLII"])
    assert some.leads == ("V1", "II")
    np.testing.assert_array_equal(some.mv, record.mv[[2, 1]])
    np.testing.assert_array_equal(record.cut(0.5, 1.25).mv, record.mv[:, 250:625])
    np.testing.assert_array_equal(record.cut(-3, 99).mv, record.mv)
    for ask in (lambda: record.lead("V2"), lambda: record.select(["I", "V2"])):
        with pytest.raises(RecordError, match="no lead 'V2' in record 'noise'; it has I, II, V1"):
            ask()


@pytest.mark.parametrize("known", [("I", "II"), ("II", "III"), ("III", "I")])
def test_limb_leads_are_those_of_the_three_electrodes(known: tuple[str, str]) -> None:
    right, left, foot = np.random.default_rng(1).normal(size=(3, 200))
    truth = {
        "I": left - right, "II": foot - right, "III": foot - left,
        "aVR": right - (left + foot) / 2, "aVL": left - (right + foot) / 2, "aVF": foot - (right + left) / 2,
    }  # fmt: skip
    chest = np.arange(200) / 100
    record = Record((*known, "V2"), np.stack([*(truth[lead] for lead in known), chest]), 500, meta={"age": 50})
    six = record.derive_limb_leads()
    assert six.leads == (*LIMB_LEADS, "V2")
    for lead in LIMB_LEADS:
        np.testing.assert_allclose(six.lead(lead), truth[lead], atol=1e-6)
    np.testing.assert_array_equal(six.lead("V2"), record.lead("V2"))
    assert set(six.meta["derived"]) == set(LIMB_LEADS) - set(known)
    assert six.meta["age"] == 50
    assert "derived" not in record.meta


def test_deriving_keeps_what_is_there_and_what_is_unknown() -> None:
    record = noise(("I", "III", "aVR"))
    mv = record.mv.copy()
    mv[1, 10:20] = np.nan
    record = Record(record.leads, mv, 500)
    six = record.derive_limb_leads()
    np.testing.assert_array_equal(six.lead("aVR"), record.lead("aVR"))  # contradicts I and III, and stays
    assert list(six.meta["derived"]) == ["II", "aVL", "aVF"]
    for lead in ("II", "aVL", "aVF"):
        np.testing.assert_array_equal(np.isnan(six.lead(lead)), np.isnan(mv[1]))
    assert six.derive_limb_leads() is six


def test_one_limb_lead_is_not_enough() -> None:
    with pytest.raises(RecordError, match="has I, aVF, V1; deriving limb leads needs two of I, II, III"):
        noise(("I", "aVF", "V1")).derive_limb_leads()


# Resampling


def tones(t: np.ndarray, top: float) -> np.ndarray:
    """Sinusoids up to ``top`` Hz, in mV."""
    return sum(np.sin(2 * np.pi * f * t + f) / 4 for f in (0.3, 0.21 * top, 0.6 * top, top))


@pytest.mark.parametrize(
    ("fs", "to"), [(100, 500), (128, 512), (250, 500), (360, 500), (257, 500), (1000, 500), (500, 100), (500, 333)]
)
def test_resampling_is_band_limited(fs: float, to: float) -> None:
    top = 0.44 * min(fs, to)
    record = Record(("I",), tones(np.arange(round(8 * fs)) / fs, top)[None], fs)
    again = record.resample(to)
    assert again.fs == to
    assert again.mv.shape[1] == pytest.approx(8 * to, abs=1)
    t = np.arange(again.mv.shape[1]) / to
    inner = (t > 1) & (t < 7)
    assert np.abs(again.mv[0] - tones(t, top))[inner].max() < 1e-3


@given(st.integers(2, 40), st.sampled_from([2, 3, 5, 7]), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_upsampling_goes_through_the_samples(n: int, times: int, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(2, n))
    y = resample(x, 100, 100 * times)
    assert y.shape == (2, n * times)
    np.testing.assert_allclose(y[:, ::times], x, atol=2e-3)


def test_resampling_to_the_same_rate_changes_nothing() -> None:
    record = noise()
    assert record.resample(500) is record


def test_frequencies_that_the_new_rate_cannot_hold_are_removed() -> None:
    t = np.arange(5000) / 500
    record = Record(("I",), np.sin(2 * np.pi * 80 * t)[None], 500)  # would alias to 20 Hz
    assert np.abs(record.resample(100).mv[0, 100:-100]).max() < 2e-3


def test_unknown_samples_stay_unknown() -> None:
    t = np.arange(1000) / 100
    mv = np.stack([np.sin(2 * np.pi * 3 * t)] * 3)
    mv[0, 300:350] = np.nan
    mv[1, :10] = np.nan
    mv[2] = np.nan
    fine = Record(("I", "II", "III"), mv, 100).resample(500)
    s = np.arange(fine.mv.shape[1]) / 500
    # Half a coarse sample on either side belongs to the nearest one.
    for row, (begin, end) in enumerate([(2.995, 3.495), (-1, 0.095), (-1, 99)]):
        inside, edge = (s > begin) & (s < end), np.minimum(np.abs(s - begin), np.abs(s - end)) < 0.0021
        np.testing.assert_array_equal(np.isnan(fine.mv[row])[~edge], inside[~edge])
    far = ((s > 0.5) & (s < 2.5)) | ((s > 4) & (s < 9.5))
    assert np.abs(fine.mv[0] - np.sin(2 * np.pi * 3 * s))[far].max() < 2e-3


# Units


@pytest.mark.parametrize(
    ("factor", "guess"),
    [(1e3, "microvolts read as millivolts"), (1e6, "ADC counts or nanovolts"), (1e-3, "volts read as millivolts")],
)
def test_implausible_amplitudes_name_the_likely_mistake(factor: float, guess: str) -> None:
    record = noise(STANDARD_LEADS, 1000)
    with pytest.warns(ImplausibleAmplitude, match=f"record 'noise': the median lead spans .* mV; expected .*{guess}"):
        assert (wrong := Record(record.leads, record.mv * factor, 500, "noise")).check_amplitude() is wrong


def test_plausible_flat_and_unknown_records_are_not_warned_about() -> None:
    record = noise(STANDARD_LEADS, 1000)
    one_off = record.mv.copy()
    one_off[3] *= 1000  # one bad electrode
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        record.check_amplitude()
        for mv in (one_off, one_off * 0, one_off * np.nan):
            Record(record.leads, mv, 500).check_amplitude()


# Files


@given(
    arrays(np.int64, st.tuples(st.integers(1, 5), st.integers(2, 60)), elements=st.integers(-32700, 32701)),
    st.sampled_from([100.0, 360.0, 500.0, 257.5, 333.333]),
)
@settings(max_examples=25, deadline=None)
def test_wfdb_reads_what_is_written(tmp_path_factory: pytest.TempPathFactory, units: np.ndarray, fs: float) -> None:
    folder = tmp_path_factory.mktemp("wfdb")
    mv = np.where(units > 32700, np.nan, units / 1000.0)
    record = Record(STANDARD_LEADS[: len(mv)], mv, fs)
    record.write_wfdb(folder / "r1", comments=["synthetic"])
    again = wfdb.rdrecord(str(folder / "r1"))
    assert (tuple(again.sig_name), again.fs, again.units) == (record.leads, fs, ["mV"] * len(mv))
    np.testing.assert_allclose(again.p_signal.T, mv, atol=1e-9)
    assert again.comments == ["synthetic"]
    digital = wfdb.rdrecord(str(folder / "r1"), physical=False)
    assert [c % 65536 for c in digital.calc_checksum()] == [
        c % 65536 for c in wfdb.rdheader(str(folder / "r1")).checksum
    ]
    assert sorted(os.listdir(folder)) == ["r1.dat", "r1.hea"]


def test_wfdb_refuses_what_16_bits_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"exceeds ±32.7 mV.*Check its units"):
        Record(("I",), [[0.0, 40.0]], 500).write_wfdb(tmp_path / "r")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", ["csv", "npz"])
def test_tables_are_read_back(tmp_path: Path, suffix: str) -> None:
    mv = noise(("I", "aVR", "V3"), 300).mv.round(4)
    mv[1, 20:30] = np.nan
    record = Record(("I", "aVR", "V3"), mv, 250)
    getattr(record, f"write_{suffix}")(tmp_path / f"a.{suffix}")
    source = open_source(str(tmp_path / f"a.{suffix}"))
    again = source.load(next(source.names()))
    assert (again.leads, again.fs) == (record.leads, pytest.approx(250))
    np.testing.assert_allclose(again.mv, mv, atol=1e-6)


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"before")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        atomic_write(tmp_path / "a", b"after")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"before"
