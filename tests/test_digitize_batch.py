"""Documents of several pages, standard input, the summary, and pages that take too long or end their process."""

from __future__ import annotations

import csv
import io
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from digitizer.batch import Digitize, Row, Task, plan, results
from digitizer.cli import main
from digitizer.inputs import Input
from digitizer.network import WEIGHTS
from digitizer.pipeline import Reading
from ecg_image_kit import Layout, Page, Style, open_source, render
from ecg_image_kit.errors import UsageError

Capture = pytest.CaptureFixture[str]


def a_page(dpi: float = 120) -> Page:
    record = open_source("samples").load("00005")
    return render(record, Layout.for_record(record, "3x4", sheet="strip", top=10, bottom=5), Style(header="none"), dpi)


@dataclass(frozen=True)
class Trap(Digitize):
    """Reading takes no time, but for pages that never end, and those that end the process."""

    def _read(self, task: Task) -> Reading:
        if task.stem.name == "slow":
            time.sleep(60)
        if task.stem.name == "deadly":
            os._exit(3)
        page = a_page(40)
        record = page.record()
        return Reading(page, record, dict.fromkeys(record.leads, 0.5), {})


def tasks(out: Path, *names: str) -> list[Task]:
    return [Task(out / f"{name}.png", f"{name}.png", 1, 1, out / name) for name in names]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_page_that_takes_too_long_or_kills_its_process_costs_only_itself(workers: int, tmp_path: Path) -> None:
    job = Trap(("csv",), {}, False, 100.0, 2.5)
    start = time.monotonic()
    done = list(results(job, tasks(tmp_path, "a", "slow", "b", "deadly", "c"), workers))
    assert time.monotonic() - start < 40
    assert [result.row.image for result in done] == ["a.png", "slow.png", "b.png", "deadly.png", "c.png"]
    assert [result.row.status for result in done] == ["read", "failed", "read", "failed", "read"]
    assert done[1].row.error == "took too long: more than 2.5 s. Give --timeout more, or a smaller image."
    assert done[3].row.error.startswith("the process that read it died twice (exit code 3)")
    assert {path.name for path in tmp_path.iterdir()} == {"a.csv", "b.csv", "c.csv"}


def document(path: Path, pages: list[Image.Image]) -> Path:
    pages[0].save(
        path, save_all=True, append_images=pages[1:], **({"resolution": 120} if path.suffix == ".pdf" else {})
    )
    return path


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("kind", ["tif", "pdf"])
def test_every_page_of_a_document(kind: str, tmp_path: Path, capsys: Capture) -> None:
    page, blank = Image.fromarray(a_page().image), Image.new("RGB", (600, 400), "white")
    file = document(tmp_path / f"scan.{kind}", [page, blank, page])
    assert main([str(file), "--timeout", "0", "--write", "csv,json", "--reader", "analytic"]) == 1
    assert {f.name for f in tmp_path.iterdir()} == {
        file.name, "scan-1.csv", "scan-1.json", "scan-3.csv", "scan-3.json", "summary.csv",
    }  # fmt: skip
    out, err = capsys.readouterr()
    assert out.startswith(f"{file} page 1: 3x4, ")
    assert f"{file} page 2: GridNotFound: " in err
    assert err.endswith("2 of 3 pages read, 1 not\n")
    good, bad, again = table(tmp_path / "summary.csv")
    assert list(good) == [field for field in Row.__dataclass_fields__]
    assert (good["image"], good["page"], good["status"], good["error"]) == (str(file), "1", "read", "")
    assert (good["layout"], float(good["speed_mm_s"]), float(good["gain_mm_mv"]), good["leads"]) == (
        "3x4",
        25,
        10,
        "12",
    )
    assert 0.5 < float(good["lowest_confidence"]) <= 1
    assert 0 <= float(good["unread_share"]) < 0.01
    assert (bad["page"], bad["status"], bad["leads"]) == ("2", "failed", "")
    assert bad["error"].startswith("GridNotFound: ")
    assert {**again, "page": "1"} == good
    assert (tmp_path / "scan-1.csv").read_bytes() == (tmp_path / "scan-3.csv").read_bytes()
    report = (tmp_path / "scan-3.json").read_text()
    assert f'"file": "{file.name}"' in report
    assert '"page": 3' in report


def planned(folder: Path, *names: str, write: tuple[str, ...] = ("csv",)) -> list[str]:
    inputs = [Input(folder / name, name, Path(name), folder / name) for name in names]
    return [task.stem.name for task in plan(inputs, None, write)]


def test_names_of_results(tmp_path: Path) -> None:
    blank = [Image.new("1", (20, 20))]
    document(tmp_path / "a.tif", blank)
    document(tmp_path / "b.tif", blank * 12)
    document(tmp_path / "b-2.tif", blank)
    document(tmp_path / "b-02.tiff", blank)
    assert planned(tmp_path, "a.tif") == ["a"]
    numbered = [f"b-{page:02d}" for page in range(1, 13)]
    assert planned(tmp_path, "b.tif", "b-2.tif") == [*numbered, "b-2"]
    assert planned(tmp_path, "b.tif", "b-02.tiff") == [*numbered, "b-02_tiff"]
    for kind, text in (("dicom", "b.dcm"), ("html", "b.html")):
        (tmp_path / text).write_text("somebody else's")
        (tmp_path / "b.png").touch()
        with pytest.raises(UsageError, match=f"{text} is not a result of ecg-digitize"):
            planned(tmp_path, "b.png", write=(kind,))


def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    buffer = io.BytesIO()
    Image.fromarray(a_page().image).save(buffer, "PNG")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(buffer.getvalue()), isatty=lambda: False))
    assert main(["-", "--write", "csv,json", "--reader", "analytic"]) == 0
    assert {f.name for f in tmp_path.iterdir()} == {"stdin.csv", "stdin.json"}
    assert capsys.readouterr().out.startswith("-: 3x4, ")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"nothing"), isatty=lambda: False))
    assert main(["-", "-o", "out", "--timeout", "0"]) == 1
    assert capsys.readouterr().err.startswith("-: PageError: not an image that can be decoded (7 bytes)")
    assert table(tmp_path / "out" / "summary.csv")[0]["image"] == "-"
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    assert main(["-"]) == 2
    assert "terminal" in capsys.readouterr().err


def test_where_the_summary_goes(tmp_path: Path, capsys: Capture) -> None:
    text = b"no image"
    for name in ("in/a.png", "in/deep/b.png", "other/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(text)
    assert main([str(tmp_path / "in" / "a.png"), "--timeout", "0"]) == 1
    assert not (tmp_path / "in" / "summary.csv").exists()  # of one page, beside it, there is the report
    for arguments, where in (
        (["in/a.png", "-o", "out"], "out"),
        (["in"], "in"),
        (["in/deep/b.png", "other/c.png"], "in/deep"),
    ):
        words = [word if word == "-o" else str(tmp_path / word) for word in arguments]
        for _ in range(2):  # the second time over the first
            assert main([*words, "--timeout", "0"]) == 1
        assert {row["status"] for row in table(tmp_path / where / "summary.csv")} == {"failed"}
    capsys.readouterr()
    (tmp_path / "in" / "summary.csv").write_text("somebody else's")
    assert main([str(tmp_path / "in")]) == 2
    assert "summary.csv is not a result of ecg-digitize" in capsys.readouterr().err
    (tmp_path / "in" / "summary.csv").unlink()
    (tmp_path / "in" / "Summary.png").write_bytes(text)
    assert main([str(tmp_path / "in")]) == 2
    assert "Rename it" in capsys.readouterr().err


def test_limits_are_passed_on(tmp_path: Path, capsys: Capture) -> None:
    Image.fromarray(np.zeros((400, 600), np.uint8)).save(tmp_path / "a.png")
    assert main([str(tmp_path), "--timeout", "0", "--max-megapixels", "0.2"]) == 1
    assert "0.24 megapixels; expected 0.2 at most" in capsys.readouterr().err


def test_readers_and_weights_are_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = a_page(40)
    seen = []

    def fake(image: object, **options: object) -> Reading:
        seen.append({key: options[key] for key in ("reader", "weights") if key in options})
        return Reading(page, page.record(), dict.fromkeys(page.record().leads, 1.0), {})

    monkeypatch.setattr("digitizer.pipeline.read", fake)
    Image.fromarray(page.image).save(tmp_path / "a.png")
    common = [str(tmp_path / "a.png"), "--timeout", "0", "--quiet", "--write", "csv"]
    for words in ([], ["--reader", "analytic"], ["--reader", "learned", "--weights", str(WEIGHTS)]):
        assert main([*common, *words]) == 0
    assert seen == [{}, {"reader": "analytic"}, {"reader": "learned", "weights": str(WEIGHTS)}]
