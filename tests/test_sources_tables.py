"""Text tables and npz files."""

from __future__ import annotations

import numpy as np
import pytest

from ecg_image_kit.errors import ImplausibleAmplitude, RecordError, UsageError
from ecg_image_kit.record import STANDARD_LEADS, Record
from ecg_image_kit.sources.tables import CSV, NPZ

MV = np.random.default_rng(5).uniform(-1, 1, (12, 60)).round(4).astype(np.float32)


@pytest.mark.parametrize("fs", [500, 360, 257.5])
def test_round_trips(tmp_path, fs):
    mv = MV.copy()
    mv[3, 10:20] = np.nan
    record = Record(STANDARD_LEADS, mv, fs, name="first")
    record.write_csv(tmp_path / "a.csv")
    record.write_npz(tmp_path / "a.npz")
    for source in (CSV(tmp_path / "a.csv"), NPZ(tmp_path / "a.npz")):
        (name,) = source.names()
        again = source.load(name)
        np.testing.assert_array_equal(again.mv, mv)
        assert again.leads == STANDARD_LEADS and again.fs == pytest.approx(fs, rel=1e-6)
    assert NPZ(tmp_path / "a.npz").load("a.npz").name == "first"


def test_long_records_keep_their_rate(tmp_path):
    mv = np.tile(np.linspace(-1, 1, 100), 1201)[None]  # 1201 s: the times have seven digits
    Record(("II",), mv.astype(np.float32), 100).write_csv(tmp_path / "a.csv")
    assert CSV(tmp_path / "a.csv").load("a.csv").fs == 100


def test_separators_units_and_empty_cells(tmp_path):
    tables = {
        "comma": 'time,"I",II\n0,0.5,\n0.002,-0.25,1\n0.004,1,2\n',
        "semicolon and decimal comma": "t;I;II\n0;0,5;\n0,002;-0,25;1\n0,004;1;2\n",
        "tab, milliseconds": "# a comment\ntime_ms\tI\tII\n0\t0.5\tnan\n2\t-0.25\t1\n4\t1\t2\n",
        "units": "time_s,I (uV),II [mV]\n0,500,\n0.002,-250,1\n0.004,1000,2\n",
        "pandas": ",time_s,I,II\n0,0,0.5,\n1,0.002,-0.25,1\n2,0.004,1,2\n",
        "trailing comma": "time_s,I,II,\n0,0.5,,\n0.002,-0.25,1,\n0.004,1,2,\n",
        "crlf, bom, blank lines": "\ufefftime_s,I,II\r\n\r\n0,0.5,\r\n0.002,-0.25,1\r\n0.004,1,2\r\n\r\n",
    }
    for title, text in tables.items():
        (tmp_path / "a.csv").write_bytes(text.encode())
        record = CSV(tmp_path / "a.csv").load("a.csv")
        assert record.leads == ("I", "II") and record.fs == 500, title
        np.testing.assert_allclose(record.mv, [[0.5, -0.25, 1], [np.nan, 1, 2]], err_msg=title)


def test_without_header(tmp_path):
    rows = (MV.T * 1000).round().astype(int)
    text = "\n\nRhythm signal: 60 X 12\n\n" + "\n".join(" ".join(map(str, row)) + " " for row in rows)
    (tmp_path / "a.txt").write_text(text)
    record = CSV(tmp_path / "a.txt", fs=500, unit="uV").load("a.txt")
    assert record.leads == STANDARD_LEADS
    np.testing.assert_allclose(record.mv, rows.T / 1000, rtol=1e-6)
    assert (
        CSV(tmp_path / "a.txt", fs=500, unit="uV", leads="V1 V2 V3 V4 V5 V6 I II III aVR aVL aVF")
        .load("a.txt")
        .leads[6]
        == "I"
    )
    with pytest.raises(RecordError, match="no time column, so the sampling rate is unknown"):
        CSV(tmp_path / "a.txt", unit="uV").load("a.txt")
    with pytest.raises(RecordError, match="12 columns; expected 2"):
        CSV(tmp_path / "a.txt", fs=500, leads=("I", "II")).load("a.txt")
    with pytest.warns(ImplausibleAmplitude, match="microvolts read as millivolts"):
        CSV(tmp_path / "a.txt", fs=500).load("a.txt")
    (tmp_path / "b.txt").write_text("1 2 3\n4 5 6\n")
    with pytest.raises(RecordError, match="no header, and 3 columns"):
        CSV(tmp_path / "b.txt", fs=500).load("b.txt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows of numbers"),
        ("I,II\n", "no rows of numbers"),
        ("time,I\n0,1\n0.1,2\n0.25,3\n0.9,1\n", "samples off an even spacing"),
        ("time,I\n0,1\n0,2\n", "does not rise"),
        ("time,I\n0,1\n,2\n0.2,3\n", "gaps"),
        ("time\n0\n1\n", "no column but time"),
        ("time,I,II\n0,1,2\n1,2\n", "line 3: 2 cells; expected 3"),
        ("time,I\n0,1\nend,of\n", "line 3: 'end,of' is not a row of numbers"),
        ("time,I,I\n0,1,2\n1,1,2\n", "unnamed or repeated"),
        ("time,,I\n0,5,2\n1,7,2\n", "unnamed or repeated"),
    ],
)
def test_what_is_refused(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(RecordError, match=message) as caught:
        CSV(tmp_path / "a.csv").load("a.csv")
    assert "a.csv" in str(caught.value)


def test_contradictions_and_bad_requests(tmp_path):
    (tmp_path / "a.csv").write_text("time,I\n0,1\n0.002,2\n")
    with pytest.raises(RecordError, match="the time column says 500 Hz, the request 250 Hz"):
        CSV(tmp_path / "a.csv", fs=250).load("a.csv")
    with pytest.raises(UsageError, match="unit 'mmHg' is not a voltage"):
        CSV(tmp_path / "a.csv", unit="mmHg")
    with pytest.raises(UsageError, match="expected a positive number"):
        CSV(tmp_path / "a.csv", fs=-1)
    with pytest.raises(UsageError, match="no file or folder"):
        CSV(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00I")
    with pytest.raises(RecordError, match="not a text file"):
        CSV(tmp_path / "b.csv").load("b.csv")


def test_npz_errors(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    with pytest.raises(RecordError, match=r"a\.npz: no fs, leads, mv among its arrays \(x\)"):
        NPZ(tmp_path / "a.npz").load("a.npz")
    np.savez(tmp_path / "b.npz", mv=np.array([{}], dtype=object), leads=["I"], fs=1.0)
    (tmp_path / "c.npz").write_bytes(b"PK\x03\x04 cut short")
    (tmp_path / "d.npz").write_bytes(b"")
    for name in ("b.npz", "c.npz", "d.npz"):  # pickles are refused, for they may run code
        with pytest.raises(RecordError, match="not a readable npz file"):
            NPZ(tmp_path).load(name)


def test_shared_text_file(shared_data):
    path = shared_data / "formats" / "tereshchenko_testing_ecg.txt"
    record = CSV(path, fs=500, unit="uV").load(path.name)
    assert record.mv.shape == (12, 5000)
    assert np.abs(record.lead("II") - record.lead("I") - record.lead("III")).max() < 0.0021
