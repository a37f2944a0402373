"""PTB-XL: the folder's lookup, the filters, and what the labels become."""

from __future__ import annotations

import csv
import pickle
from pathlib import Path

import numpy as np
import pytest

from ecg_image_kit.errors import RecordError, UsageError
from ecg_image_kit.record import STANDARD_LEADS, Record
from ecg_image_kit.sources import Source
from ecg_image_kit.sources.ptbxl import PTBXL, default_root, parse_filter

COLUMNS = ("ecg_id", "patient_id", "age", "sex", "scp_codes", "heart_axis", "strat_fold", "filename_lr", "filename_hr")
PEOPLE = [  # ecg_id, age, sex (0 = male), codes, fold
    (1, "56.0", 1, "{'NORM': 100.0, 'SR': 0.0}", 9),
    (2, "300.0", 0, "{'AMI': 80.0}", 10),
    (3, "", 1, "{'IMI': 15.0, 'SR': 0.0}", 10),
    (17, "40", 0, "{'LVH': 50.0}", 1),
]
STATEMENTS = """,description,diagnostic_class
NORM,normal,NORM
AMI,anterior,MI
IMI,inferior,MI
LVH,hypertrophy,HYP
SR,sinus,
"""


def signal(ecg_id: int, fs: int) -> np.ndarray:
    """(12, 10 fs) mV."""
    return np.random.default_rng(ecg_id).uniform(-1, 1, (12, 10 * fs)).round(3)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "ptb-xl"
    folder.mkdir()
    with (folder / "ptbxl_database.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(COLUMNS)
        for ecg_id, age, sex, codes, fold in PEOPLE:
            stems = [f"records{fs}/00000/{ecg_id:05d}_{tag}" for fs, tag in ((100, "lr"), (500, "hr"))]
            table.writerow([ecg_id, "15709.0", age, sex, codes, "MID" if ecg_id == 1 else "", fold, *stems])
            for fs, stem in zip((100, 500), stems, strict=True):
                Record(STANDARD_LEADS, signal(ecg_id, fs).astype(np.float32), fs).write_wfdb(folder / stem)
    (folder / "scp_statements.csv").write_text(STATEMENTS)
    return folder


def names(root: Path, text: str = "") -> list[int]:
    return [int(name) for name in PTBXL(root, **parse_filter(text)).names()]


@pytest.mark.parametrize("fs", [100, 500])
def test_records_and_labels(root, fs):
    source = PTBXL(root, fs=fs)
    assert isinstance(source, Source)
    assert list(source.names()) == ["00001", "00002", "00003", "00017"]
    record = source.load("00001")
    np.testing.assert_allclose(record.mv, signal(1, fs), atol=1e-6)
    assert record.fs == fs and record.leads == STANDARD_LEADS and record.name == "00001"
    assert record.meta == {
        "ecg_id": 1, "patient_id": 15709, "age": 56, "sex": "F", "strat_fold": 9, "heart_axis": "MID",
        "scp_codes": {"NORM": 100.0, "SR": 0.0}, "superclasses": ["NORM"],
    }  # fmt: skip
    old = source.load("00002").meta
    assert old["age"] == 90 and old["age_over_89"] and old["sex"] == "M" and old["superclasses"] == ["MI"]
    assert source.load("00003").meta["age"] is None


def test_filters(root):
    assert names(root, "fold=10") == [2, 3]
    assert names(root, "fold=1-9") == [1, 17]
    assert names(root, "scp=MI") == [2, 3]
    assert names(root, "scp=ami,LVH") == [2, 17]
    assert names(root, "scp=HYP,NORM; sex=F") == [1]
    assert names(root, "sex=m") == [2, 17]
    assert names(root, "age=40-60") == [1, 17]
    assert names(root, "age=60-") == [2]  # PTB-XL writes 300 for all above 89
    assert names(root, "age=95-120") == [2]
    assert names(root, "age=56") == [1]
    assert names(root, "id=1-3,17 fold=10,1") == [2, 3, 17]


def test_a_filter_that_leaves_nothing_says_which_removed_how_many(root):
    message = "none of the 4 records .* is left: folds 10 removed 2, sex F removed 1, scp LVH,NORM removed 1"
    with pytest.raises(UsageError, match=message):
        list(PTBXL(root, folds=(10,), sex="F", scp=("LVH", "NORM")).names())
    with pytest.raises(UsageError, match="age 60-89 removed 4"):
        list(PTBXL(root, age=(60, 89)).names())


def test_superclasses_need_their_table(root):
    (root / "scp_statements.csv").unlink()
    assert names(root, "scp=NORM") == [1]  # NORM is a code as well as a class
    with pytest.raises(UsageError, match=r"MI is a diagnostic superclass, but scp_statements\.csv"):
        names(root, "scp=MI")
    assert "superclasses" not in PTBXL(root).load("00001").meta


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("", {}),
        ("fold=9,10 scp=MI age=40-60 sex=F", {"folds": (9, 10), "scp": ("MI",), "age": (40.0, 60.0), "sex": "F"}),
        ("folds=1-3;ids=5,7-8", {"folds": (1, 2, 3), "ids": (5, 7, 8)}),
        (" age=-60 ; ", {"age": (0.0, 60.0)}),
        ("age=60-", {"age": (60.0, float("inf"))}),
        ("age=33", {"age": (33.0, 33.0)}),
    ],
)
def test_filter_texts(text, fields):
    assert parse_filter(text) == fields


@pytest.mark.parametrize("text", ["fold", "fold=", "fold=x", "weight=80", "fold=1 fold=2", "age=a-b", "=3"])
def test_bad_filter_texts(text):
    with pytest.raises(UsageError, match="filter"):
        parse_filter(text)


@pytest.mark.parametrize("wrong", [{"fs": 250}, {"folds": (11,)}, {"sex": "X"}, {"age": (60, 40)}])
def test_bad_requests(root, wrong):
    with pytest.raises(UsageError, match=r"expected|holds 500 and 100"):
        PTBXL(root, **wrong)


def test_lookup_order_and_what_to_do_without(root, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(variable, str(cache))
    monkeypatch.delenv("PTBXL_ROOT", raising=False)
    place = default_root()
    assert place.name == "ptb-xl" and place.is_relative_to(cache)
    monkeypatch.setenv("PTBXL_ROOT", str(tmp_path / "elsewhere"))
    with pytest.raises(UsageError, match=r"--root DIR.*--download.*--src samples") as caught:
        PTBXL()
    assert str(tmp_path / "elsewhere") in str(caught.value) and str(place) in str(caught.value)
    place.parent.mkdir(parents=True)
    root.rename(place)
    assert PTBXL().root == place
    with pytest.raises(UsageError, match="PTB-XL not found"):  # nothing stands in for a root that was asked for
        PTBXL(tmp_path / "asked for")
    monkeypatch.setenv("PTBXL_ROOT", str(place))
    assert PTBXL().root == default_root() == place


def test_broken_folders(root):
    (root / "records500/00000/00001_hr.hea").unlink()
    with pytest.raises(RecordError, match=r"00001_hr\.hea is not there.*--download"):
        PTBXL(root).load("00001")
    with pytest.raises(RecordError, match="no record '00004' among the 4"):
        PTBXL(root).load("00004")
    table = root / "ptbxl_database.csv"
    text = table.read_text()
    table.write_text(text.replace("records500/00000/00002", "../00002"))
    with pytest.raises(RecordError, match="expected a path below the folder"):
        PTBXL(root).load("00002")
    table.write_text(text.replace("{'AMI': 80.0}", "__import__('os')"))
    with pytest.raises(RecordError, match="scp_codes of record 2"):
        PTBXL(root).load("00002")
    table.write_text(text.replace("strat_fold", "fold"))
    with pytest.raises(RecordError, match="no column strat_fold"):
        list(PTBXL(root).names())
    table.write_text("")
    with pytest.raises(RecordError, match="no column ecg_id"):
        list(PTBXL(root).names())


def test_sources_travel_to_worker_processes(root):
    source = PTBXL(root, sex="F")
    first = list(source.names())
    again = pickle.loads(pickle.dumps(source))
    assert again == source and list(again.names()) == first
