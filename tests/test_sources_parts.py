"""KIND:PATH@START:STOP."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecg_image_kit import open_source
from ecg_image_kit.errors import UsageError
from ecg_image_kit.sources.parts import open_part, split_part

ROOT = Path(__file__).resolve().parents[1] / "data" / "samples"


@pytest.mark.parametrize(
    ("spec", "place", "part"),
    [
        ("ptbxl:DIR@:-300", "ptbxl:DIR", slice(None, -300)),
        ("a@b@10:20", "a@b", slice(10, 20)),
        ("samples@-5:", "samples", slice(-5, None)),
        ("wfdb:me@home", "wfdb:me@home", slice(None)),
        ("folder@12", "folder@12", slice(None)),
        ("@1:2", "@1:2", slice(None)),
    ],
)
def test_what_is_a_part(spec: str, place: str, part: slice) -> None:
    assert split_part(spec) == (place, part)


def test_parts_of_a_source() -> None:
    every = list(open_source("samples").names())
    assert open_part("samples")[1] == every
    source, names = open_part(f"ptbxl:{ROOT}@2:-3", fs=100)
    assert names == every[2:-3]
    assert source.load(names[0]).fs == 100
    assert open_part(f"{ROOT}@:1")[1] == every[:1]
    assert len(open_part("gan:beats@:2", n=5)[1]) == 2


@pytest.mark.parametrize(
    ("spec", "says"),
    [("samples@16:", "none of 16 records"), ("nowhere:DIR", "nowhere"), ("no such folder", "no such folder")],
)
def test_what_names_nothing(spec: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        open_part(spec)


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        open_part(f"wfdb:{tmp_path}")
