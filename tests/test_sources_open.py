"""open_source: names, paths, options."""

from __future__ import annotations

import numpy as np
import pytest

from ecg_image_kit.errors import UsageError
from ecg_image_kit.record import STANDARD_LEADS, Record
from ecg_image_kit.sources import Source, open_source, source_names
from ecg_image_kit.sources.tables import CSV, NPZ
from ecg_image_kit.sources.wfdb_files import WFDB

RECORD = Record(STANDARD_LEADS, np.random.default_rng(1).uniform(-1, 1, (12, 100)).astype(np.float32), 100)


def test_paths_find_their_reader(tmp_path):
    RECORD.write_wfdb(tmp_path / "w" / "r")
    RECORD.write_csv(tmp_path / "c" / "r.csv")
    RECORD.write_npz(tmp_path / "n" / "r.npz")
    RECORD.write_csv(tmp_path / "w" / "a_list.csv")  # must not make the folder one of tables
    expected = {
        "w/r.hea": WFDB,
        "w/r.dat": WFDB,
        "w/r": WFDB,
        "w": WFDB,
        "c/r.csv": CSV,
        "c": CSV,
        "n/r.npz": NPZ,
        "n": NPZ,
    }
    for path, kind in expected.items():
        source = open_source(str(tmp_path / path))
        assert type(source) is kind and isinstance(source, Source), path
        (name,) = source.names()
        np.testing.assert_allclose(source.load(name).mv, RECORD.mv, atol=6e-4)


def test_xml_and_dicom_are_told_apart_by_content(tmp_path):
    for root, kind in {"RestingECG": "MUSE", "restingecgdata": "Philips", "AnnotatedECG": "AECG"}.items():
        (tmp_path / f"{root}.xml").write_text(f"<?xml version='1.0'?><!-- --><{root} xmlns='urn:x'/>")
        assert type(open_source(str(tmp_path / f"{root}.xml"))).__name__ == kind
    (tmp_path / "IM0001").write_bytes(bytes(128) + b"DICM")
    assert type(open_source(str(tmp_path / "IM0001"))).__name__ == "DICOM"
    (tmp_path / "page.xml").write_text("<html/>")
    with pytest.raises(UsageError, match=r"page\.xml: not a kind of ECG file that is known"):
        open_source(str(tmp_path / "page.xml"))


def test_names_and_options(tmp_path):
    RECORD.select(["I", "II"]).write_csv(tmp_path / "r.csv")
    assert open_source("csv", root=tmp_path) == CSV(tmp_path) == open_source("csv", path=tmp_path)
    assert open_source(str(tmp_path / "r.csv"), unit="uV") == CSV(tmp_path / "r.csv", unit="uV")
    for src, options, message in (
        ("csv", {}, "reads a file or a folder, and none was given"),
        ("csv", {"path": tmp_path, "speed": 25}, "source 'csv' has no option speed; it has fs, leads, path, unit"),
        ("ptbxl", {"root": tmp_path, "colour": 1}, "source 'ptbxl' has no option colour"),
        ("ptbxl", {"root": tmp_path, "download": True, "colour": 1}, "no option colour; it has .*folds.*limit"),
        ("wfdb", {"path": tmp_path / "none"}, "no such record or folder"),
        ("ptbxxl", {}, f"unknown source 'ptbxxl'; expected one of {', '.join(source_names())}"),
        ("gan", {"colour": 1}, "source 'gan' has no option colour"),
        ("some/where", {}, "no file or folder 'some/where'"),
        ("record.hea", {}, "no file or folder 'record.hea'"),
    ):
        with pytest.raises(UsageError, match=message):
            open_source(src, **options)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no ECG files in folder"):
        open_source(str(tmp_path / "empty"))
    (tmp_path / "file.bin").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"file\.bin: not a kind of ECG file"):
        open_source(str(tmp_path / "file.bin"))


def test_every_name_has_its_class(tmp_path, monkeypatch):
    """The names that need no path or data open, the others say what they need."""
    for variable in ("PTBXL_ROOT", "XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    for name in source_names():
        try:
            source = open_source(name)
        except UsageError as error:
            assert "none was given" in str(error) or "PTB-XL not found" in str(error)
        else:
            assert isinstance(source, Source) and next(iter(source.names()))
