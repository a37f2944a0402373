"""WFDB records: the fast path against wfdb itself, and everything that makes a record not plain."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from ecg_image_kit.errors import ImplausibleAmplitude, RecordError, UsageError
from ecg_image_kit.record import Record
from ecg_image_kit.sources import wfdb_files
from ecg_image_kit.sources.wfdb_files import WFDB, parse_comments, read_record

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about its use of pandas
    import wfdb
pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:wfdb")


def digital(seed: int = 0, samples: int = 200, leads: int = 3) -> np.ndarray:
    """(samples, leads) int, a range of 2000 units."""
    return np.random.default_rng(seed).integers(-1000, 1000, (samples, leads))


def write(
    folder: Path,
    name: str = "r",
    d: np.ndarray | None = None,
    names: Sequence[str] = ("I", "II", "V1"),
    units: str | Sequence[str] = "mV",
    fmt: str = "16",
    gain: float = 1000.0,
    baseline: int = 0,
) -> np.ndarray:
    """Write a record at 500 Hz with wfdb; returns its (samples, leads) units."""
    d, n = digital() if d is None else d, len(names)
    wfdb.wrsamp(
        name,
        fs=500,
        units=[units] * n if isinstance(units, str) else list(units),
        sig_name=list(names),
        d_signal=d,
        fmt=[fmt] * n,
        adc_gain=[gain] * n,
        baseline=[baseline] * n,
        write_dir=str(folder),
    )
    return d


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 14),
    st.floats(1, 5000),
    st.integers(-3000, 3000),
    st.sampled_from(["mV", "uV", "V"]),
)
def test_fast_path_equals_wfdb_bit_for_bit(tmp_path_factory, seed, leads, gain, baseline, unit):  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("r")
    d = np.random.default_rng(seed).integers(-32768, 32768, (50, leads))
    d[3, 0] = -32768  # WFDB's invalid sample
    names = [f"E{k}" for k in range(leads)]
    write(folder, "r", d, names, unit, gain=gain, baseline=baseline)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wfdb_files, "_read_with_wfdb", None)  # calling it would fail
        ours = read_record(folder / "r.hea", "r")
    factor = {"mV": 1.0, "uV": 1e-3, "V": 1e3}[unit]
    theirs = (wfdb.rdrecord(str(folder / "r")).p_signal.T * factor).astype(np.float32)
    np.testing.assert_array_equal(ours.mv, theirs)
    assert np.isnan(ours.mv[0, 3]) and ours.fs == 500 and ours.leads == tuple(names)


def test_plain_records_do_not_import_wfdb(tmp_path):
    write(tmp_path)
    code = (
        "import sys; from ecg_image_kit.sources import open_source; source = open_source(sys.argv[1]);"
        "print(source.load(next(source.names())).mv.shape);"
        "print(*sorted({'wfdb', 'pydicom', 'pandas', 'torch'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True).stdout
    assert out == "(3, 200)\n\n"


@pytest.mark.parametrize("fmt", ["16", "212", "24", "32", "80"])
def test_formats(tmp_path, fmt):
    d = digital()
    write(tmp_path, d=d // 10 if fmt == "80" else d, fmt=fmt)
    record = WFDB(tmp_path / "r.hea").load("r")
    np.testing.assert_allclose(record.mv, (d // 10 if fmt == "80" else d).T / 1000.0, rtol=1e-6)


def test_missing_samples_of_format_212_are_nan(tmp_path):
    d = digital()
    d[7, 1] = -2048
    write(tmp_path, d=d, fmt="212")
    record = WFDB(tmp_path / "r").load("r")
    assert np.argwhere(np.isnan(record.mv)).tolist() == [[1, 7]]


@pytest.mark.parametrize("fmt", ["16", "212"])
def test_micro_sign_is_not_lost(tmp_path, fmt):
    """wfdb reads headers as ASCII and drops what is not: µV would become V, and 1 mV a million."""
    d = write(tmp_path, units="uV", fmt=fmt, gain=1.0)
    header = tmp_path / "r.hea"
    for encoding in ("utf-8", "latin-1"):
        header.write_bytes(
            header.read_text("ascii", "ignore").replace("/uV", "/V").replace("/V", "/µV").encode(encoding)
        )
        np.testing.assert_allclose(WFDB(tmp_path).load("r").mv, d.T / 1000.0, rtol=1e-6)


def test_other_units_and_signals_are_left_out_with_a_note(tmp_path):
    d = write(tmp_path, d=digital(leads=4), names=("II", "ABP", "RESP", "V5"), units=("mV", "mmHg", "mV", "V"))
    with pytest.warns(ImplausibleAmplitude, match="median lead"):  # the V5 in volts is 1000 mV high
        record = WFDB(tmp_path).load("r")
    assert record.leads == ("II", "V5") and record.meta["left_out"] == {"ABP": "mmHg", "RESP": "mV"}
    np.testing.assert_allclose(record.lead("V5"), d[:, 3], rtol=1e-6)


def test_a_record_without_ecg_is_refused(tmp_path):
    write(tmp_path, d=digital(leads=1), names=["ABP"], units="mmHg")
    with pytest.raises(RecordError, match=r"r\.hea: no ECG among its signals \(ABP\)"):
        WFDB(tmp_path).load("r")


def test_uncalibrated_and_twin_signals_are_marked(tmp_path):
    d = write(tmp_path)
    header = tmp_path / "r.hea"
    header.write_text(header.read_text().replace("1000.0(0)/mV", "0").replace(" V1", " II").replace(" I\n", " ECG1\n"))
    record = WFDB(tmp_path).load("r")
    assert record.leads == ("ECG1", "II", "II-2") and record.meta["renamed"] == {"II-2": "II"}
    assert record.meta["uncalibrated"] == ["ECG1", "II", "II-2"]
    np.testing.assert_allclose(record.mv, d.T / 200.0, rtol=1e-6)  # the gain that header(5) prescribes


def test_signals_of_several_rates_come_to_the_highest(tmp_path):
    t = np.arange(1000) / 500
    fast, slow = 1000 * np.sin(2 * np.pi * 3 * t), 1000 * np.sin(2 * np.pi * 3 * t[::2])
    wfdb.wrsamp(
        "r",
        fs=250,
        units=["mV"] * 2,
        sig_name=["I", "II"],
        e_p_signal=[fast / 1000, slow / 1000],
        samps_per_frame=[2, 1],
        fmt=["16"] * 2,
        adc_gain=[1000.0] * 2,
        baseline=[0] * 2,
        write_dir=str(tmp_path),
    )
    record = WFDB(tmp_path).load("r")
    assert record.fs == 500 and record.mv.shape == (2, 1000) and record.meta["resampled"] == {"II": 250.0}
    np.testing.assert_allclose(record.mv[0], fast / 1000, atol=6e-4)
    np.testing.assert_allclose(record.mv[1][50:-50], fast[50:-50] / 1000, atol=2e-3)


def test_several_segments(tmp_path):
    first, second = write(tmp_path, "a"), write(tmp_path, "b")
    (tmp_path / "whole.hea").write_text("whole/2 3 500 400\na 200\nb 200\n# Age: 40\n")
    record = WFDB(tmp_path / "whole").load("whole")
    np.testing.assert_allclose(record.mv, np.concatenate([first, second]).T / 1000.0, rtol=1e-6)
    assert record.meta["age"] == 40


def test_challenge_mat_and_its_comments(tmp_path):
    d = digital().astype(np.int16)
    savemat(tmp_path / "A1.mat", {"val": d.T}, format="4")
    lines = [f"A1.mat 16+24 1000/mV 16 0 {d[0, k]} 0 0 {lead}" for k, lead in enumerate(("I", "II", "aVR"))]
    comments = ["#Age: 74", "#Sex: Female", "#Dx: 59118001,426783006", "#Rx: Unknown", "# seen twice"]
    (tmp_path / "A1.hea").write_text("\n".join(["A1 3 500 200 12-May-2020 12:33:59", *lines, *comments]) + "\n")
    source = WFDB(tmp_path / "A1.mat")
    assert list(source.names()) == ["A1"]
    record = source.load("A1")
    np.testing.assert_array_equal(record.mv, (d.T / 1000.0).astype(np.float32))
    expected = {"age": 74, "sex": "F", "dx": ["59118001", "426783006"], "rx": "Unknown", "comments": ["seen twice"]}
    assert record.meta == expected and record.name == "A1"


def test_comments_of_other_databases():
    assert parse_comments(["69 M 1085 1629 x1", "Aldomet, Inderal"]) == {
        "age": 69, "sex": "M", "comments": ["69 M 1085 1629 x1", "Aldomet, Inderal"],
    }  # fmt: skip
    assert parse_comments(["<age>: 51", "<sex>: F", "age: NaN"]) == {"age": None, "sex": "F"}
    assert parse_comments(["Reason for admission: Infarction"]) == {"reason_for_admission": "Infarction"}


def test_folders_are_searched_in_order_and_hidden_files_skipped(tmp_path):
    for name in ("b/2", "a/1", "b/10", "c"):
        folder = tmp_path / Path(name).parent
        folder.mkdir(exist_ok=True)
        write(folder, Path(name).name)
    (tmp_path / "a" / "._1.hea").write_text("a twin left by macOS")
    source = WFDB(tmp_path)
    assert list(source.names()) == ["a/1", "b/10", "b/2", "c"]
    assert source.load("b/10").name == "b/10"
    with pytest.raises(RecordError, match=r"no record '\.\./c'"):
        source.load("../c")
    lazily = source.names()
    assert next(lazily) == "a/1"
    (tmp_path / "b" / "2.hea").unlink()
    assert list(lazily) == ["b/10", "c"]


def test_round_trip_through_record(tmp_path):
    mv = digital().T / 1000.0
    mv[1, 5] = np.nan
    record = Record(("I", "II", "V1"), mv.astype(np.float32), 360)
    record.write_wfdb(tmp_path / "x", comments=["Sex: M"])
    again = WFDB(tmp_path / "x.dat").load("x")
    np.testing.assert_allclose(again.mv, record.mv, atol=1e-6)
    assert again.fs == 360 and again.meta == {"sex": "M"}


def test_errors_name_the_file_and_the_remedy(tmp_path):
    with pytest.raises(UsageError, match="no such record or folder"):
        WFDB(tmp_path / "none")
    (tmp_path / "alone.mat").write_bytes(b"")
    with pytest.raises(UsageError, match=r"alone\.mat: expected the header alone\.hea"):
        WFDB(tmp_path / "alone.mat")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match=r"no \.hea file"):
        list(WFDB(empty).names())
    write(tmp_path)
    (tmp_path / "r.dat").write_bytes((tmp_path / "r.dat").read_bytes()[:100])
    with pytest.raises(RecordError, match=r"r\.dat: 16 samples of 3 signals; the header says 200"):
        WFDB(tmp_path / "r").load("r")
    (tmp_path / "r.dat").unlink()
    with pytest.raises(RecordError, match=r"r\.dat: signal file cannot be read"):
        WFDB(tmp_path / "r").load("r")
    for text in ("", "# only a comment\n", "nonsense\n"):
        (tmp_path / "r.hea").write_text(text)
        with pytest.raises(RecordError, match="not a WFDB header"):
            WFDB(tmp_path / "r").load("r")
    for text in ("r 1 500 200\n", "r 0 500 200\n", "r 1 500 200\n../r.dat 16 1000/mV 16 0 0 0 0 I\n"):
        (tmp_path / "r.hea").write_text(text)
        with pytest.raises(RecordError, match="wfdb cannot read this record"):
            WFDB(tmp_path / "r").load("r")


def test_wrong_gain_is_warned_of(tmp_path):
    write(tmp_path, gain=1.0)
    with pytest.warns(ImplausibleAmplitude, match="microvolts read as millivolts"):
        WFDB(tmp_path).load("r")


def test_shared_challenge_records(shared_data):
    source = WFDB(shared_data / "challenge" / "native")
    for name in source.names():
        record = source.load(name)
        theirs = wfdb.rdrecord(str(shared_data / "challenge" / "native" / name)).p_signal.T
        np.testing.assert_array_equal(record.mv, theirs.astype(np.float32))
        assert record.meta["sex"] in ("M", "F") and record.meta["dx"]
