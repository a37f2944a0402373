"""The command ecg-digitize: what it takes, writes, refuses and says."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from digitizer.batch import Digitize, Result, Task
from digitizer.cli import main, parser
from digitizer.metrics import score
from digitizer.network import WEIGHTS
from digitizer.pipeline import READERS, Reading
from ecg_image_kit import Layout, Page, Style, open_source, render
from ecg_image_kit.page import read_image

ROOT = Path(__file__).resolve().parents[1]
Capture = pytest.CaptureFixture[str]
KINDS = "csv,json,overlay,wfdb,npz,html"
ANALYTIC = ["--reader", "analytic"]  # what is tested here is the same for all readers


@pytest.fixture(scope="module")
def page() -> Page:
    record = open_source("samples").load("00005")
    layout = Layout.for_record(record, "3x4", sheet="strip", top=10, bottom=5)
    return render(record, layout, Style(header="none"), 120)


@pytest.fixture(scope="module")
def image(page: Page, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page's picture, without its truth."""
    file = tmp_path_factory.mktemp("image") / "scan.png"
    page.save(file, truth=False)
    return file


@pytest.fixture(scope="module")
def result(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which that picture was read, with everything."""
    out = tmp_path_factory.mktemp("result") / "not" / "there yet"
    assert main([str(image), "-o", str(out), "--write", KINDS, *ANALYTIC, "--quiet"]) == 0
    return out


def run(*args: str) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own."""
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths}
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, env=environment, check=False)


def refused(capture: Capture, *args: object) -> str:
    """The one line on stderr of a request that is refused with status 2."""
    assert main([str(a) for a in args]) == 2
    out, err = capture.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def table(path: Path) -> list[dict[str, str]]:
    """The lines of a summary."""
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def names(folder: Path) -> set[str]:
    return {f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file()}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, page: Page) -> list[Path]:
    """Reading takes no time here: any existing image is 'read' as the same page. Returns the paths read."""
    seen: list[Path] = []

    def open_image(path: Path, *args: Any) -> Any:
        seen.append(path)
        return read_image(path, *args)

    def fake(image: object, **options: object) -> Reading:
        return Reading(page, page.record(), dict.fromkeys(page.record().leads, 1.0), {})

    monkeypatch.setattr("digitizer.batch.read_image", open_image)
    monkeypatch.setattr("digitizer.pipeline.read", fake)
    monkeypatch.setattr("digitizer.cli.results", in_this_process)
    return seen


def in_this_process(job: Digitize, tasks: list[Task], workers: int) -> Iterator[Result]:
    """Where what a test has replaced is replaced."""
    yield from (job.make(task, lambda part: None, {}) for task in tasks)


# What is written.


def test_files(result: Path) -> None:
    kinds = (".csv", ".json", ".overlay.png", ".hea", ".dat", ".npz", ".html")
    assert names(result) == {f"scan{kind}" for kind in kinds} | {"summary.csv"}


def test_csv(result: Path, page: Page) -> None:
    with (result / "scan.csv").open(newline="") as stream:
        head, *rows = list(csv.reader(stream))
    assert head == ["time_s", *page.record().leads]
    assert len(rows) == 5000
    assert [row[0] for row in (rows[0], rows[1], rows[-1])] == ["0", "0.002", "9.998"]
    columns = dict(zip(head, zip(*rows, strict=True), strict=True))
    for lead, start in (("I", 0), ("aVL", 1250), ("V6", 3750)):
        filled = [k for k, cell in enumerate(columns[lead]) if cell]
        assert filled == list(range(start, start + 1250))
        cells = [float(cell) for cell in columns[lead][start : start + 1250]]
        truth = page.record().lead(lead)[start : start + 1250]
        assert np.corrcoef(cells, truth)[0, 1] > 0.99


def test_all_formats_hold_the_same_samples(result: Path, page: Page) -> None:
    records = {
        kind: open_source(kind, path=result / f"scan{end}").load(f"scan{end}")
        for kind, end in (("csv", ".csv"), ("npz", ".npz"))
    }
    records["wfdb"] = open_source("wfdb", path=result / "scan.hea").load("scan")
    for record in records.values():
        assert record.leads == page.record().leads
        assert record.fs == pytest.approx(500)
        assert np.array_equal(np.isnan(record.mv), np.isnan(records["npz"].mv))
        assert np.nanmax(np.abs(record.mv - records["npz"].mv)) < 0.0006
        assert score(page.record(), record, ("plain",)).value("plain") > 20


def test_report(result: Path, page: Page) -> None:
    report = json.loads((result / "scan.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert report["reader"].startswith("ecg-digitize ")
    assert report["image"] == {
        "name": "scan",
        "file": "scan.png",
        "width": page.image.shape[1],
        "height": page.image.shape[0],
    }
    assert (report["layout"], report["speed_mm_s"], report["gain_mm_mv"], report["fs"]) == ("3x4", 25, 10, 500)
    notes = report["notes"]
    assert notes["grid"]["px_per_mm"] == pytest.approx([120 / 25.4] * 2, rel=2e-4)
    assert abs(notes["grid"]["tilt_degrees"]) < 0.02
    assert {"evidence", "contrast", "residual_mm"} <= set(notes["grid"])
    assert {"speed", "gain", "time", "layout", "columns"} <= set(notes)
    assert set(report["leads"]) == set(page.record().leads)
    assert report["leads"]["V1"]["status"] == "read"
    assert report["leads"]["V1"]["window_s"] == [5.0, 7.5]
    assert report["leads"]["V1"]["read_share"] == 1.0
    assert 0.5 < report["leads"]["V1"]["confidence"] <= 1
    low, high = report["leads"]["V1"]["range_mv"]
    assert low < 0 < high
    assert report["warnings"] == []
    strip, true = report["strips"][0], page.layout.strips[0]
    assert (strip["lead"], strip["start_s"], strip["stop_s"], strip["rhythm"]) == ("I", 0, 2.5, False)
    # With its map, the strip's beginning lies where the page has it.
    x, y, _ = np.array(report["mm_to_px"]["chain"][0]["homography"]) @ [strip["x_mm"], strip["y_mm"], 1]
    there = page.mm_to_px(np.array([[true.x, true.y]]))[0]
    assert abs(x - there[0]) < 0.3
    assert abs(y - there[1]) < 3


def test_overlay_shows_the_traces_over_the_paled_page(result: Path, page: Page) -> None:
    drawn = read_image(result / "scan.overlay.png").astype(int)
    assert drawn.shape == page.image.shape
    pale = 255 - (255 - page.image.astype(int)) * 45 // 100
    changed = np.abs(drawn - pale).max(axis=2) > 25
    assert 0.002 < changed.mean() < 0.2
    for trace in page.traces:
        x, y = np.round(page.px(trace)[100::200]).astype(int).T
        near = np.stack([changed[y + dy, x] for dy in (-1, 0, 1)])
        assert near.any(axis=0).mean() > 0.8


def test_same_bytes_again_and_with_two_workers(image: Path, result: Path, tmp_path: Path) -> None:
    for name in ("scan.png", "other.png"):
        shutil.copy(image, tmp_path / name)
    done = run(
        "-m", "digitizer", str(tmp_path), "-o", str(tmp_path / "out"), "--write", KINDS, "--workers", "2", *ANALYTIC
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == [
        str(tmp_path / name) for name in ("other.png", "scan.png")
    ]
    for file in result.glob("scan*"):
        assert (tmp_path / "out" / file.name).read_bytes() == file.read_bytes(), file.name


def test_a_cold_start_waits_for_nothing_it_does_not_need(image: Path, tmp_path: Path) -> None:
    slow = ["torch", "scipy.signal", "scipy.optimize", "wfdb", "pandas", "matplotlib", "tqdm", "yaml", "onnxruntime"]
    code = (
        "import sys; from digitizer.cli import main; "
        f"status = main([{str(image)!r}, '-o', {str(tmp_path)!r}, '--timeout', '0', *{ANALYTIC}]); "
        f"print(status, [name for name in {slow} if name in sys.modules])"
    )
    done = run("-c", code)
    assert done.stdout.splitlines()[-1] == "0 []"
    assert done.stdout.startswith(f"{image}: 3x4, 25 mm/s, 10 mm/mV, 12 leads, lowest confidence 0.")


# Which images are taken.


def test_files_folders_and_patterns(tmp_path: Path, image: Path, quick: list[Path], capsys: Capture) -> None:
    for name in ("a.png", "deep/er/b.png", "deep/c.JPG", "deep/scan.overlay.png", "deep/x.leads.png", "deep/note.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, tmp_path / name)
    out = tmp_path / "out"
    arguments = [tmp_path / "a.png", tmp_path / "deep", tmp_path / "*.png", tmp_path / "deep" / "**" / "*.png"]
    assert main([*map(str, arguments), "-o", str(out), "--write", "csv"]) == 0
    assert quick == [tmp_path / name for name in ("a.png", "deep/c.JPG", "deep/er/b.png")]  # each once
    assert names(out) == {"a.csv", "c.csv", "er/b.csv", "summary.csv"}
    assert capsys.readouterr().out.count("\n") == 3
    quick.clear()
    assert main([str(tmp_path / "d*" / "**" / "*.png"), "-o", str(tmp_path / "two"), "--write", "csv", "--quiet"]) == 0
    assert names(tmp_path / "two") == {"deep/er/b.csv", "summary.csv"}
    assert capsys.readouterr().out == ""


def test_results_lie_beside_each_image_by_default(tmp_path: Path, image: Path, quick: list[Path]) -> None:
    (tmp_path / "in").mkdir()
    file = shutil.copy(image, tmp_path / "in" / "Mr. X 2.5.png")
    assert main([str(file), "--quiet"]) == 0
    assert names(tmp_path / "in") == {f"Mr. X 2.5{end}" for end in (".png", ".csv", ".json", ".overlay.png")}
    assert main([str(tmp_path / "in"), "--quiet", "--write", KINDS]) == 0  # again: its own results may be replaced
    assert len(quick) == 2  # and its pictures are not read
    assert {"Mr__X_2_5.hea", "Mr__X_2_5.dat"} <= names(tmp_path / "in")  # WFDB has no spaces or dots
    assert main([str(f) for f in (tmp_path / "in").glob("*.png")] + ["--quiet"]) == 0  # as a shell expands it
    assert len(quick) == 3
    record = open_source("wfdb", path=tmp_path / "in" / "Mr__X_2_5.hea").load("Mr__X_2_5")
    assert record.mv.shape == (12, 5000)


def test_same_stem_in_one_folder(tmp_path: Path, image: Path, quick: list[Path]) -> None:
    for name in ("scan.png", "scan.jpg", "Scan.bmp"):
        shutil.copy(image, tmp_path / name)
    assert main([str(tmp_path), "--write", "csv", "--quiet", "-o", str(tmp_path / "out")]) == 0
    assert len(names(tmp_path / "out") - {"summary.csv"}) == 3
    assert "Scan.csv" in names(tmp_path / "out")


def test_same_name_in_two_folders(tmp_path: Path, image: Path, quick: list[Path], capsys: Capture) -> None:
    for name in ("a/scan.png", "b/scan.png"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(image, tmp_path / name)
    out = tmp_path / "out"
    message = refused(capsys, tmp_path / "a" / "scan.png", tmp_path / "b", "-o", out)
    assert "would both be written as" in message
    assert "folder above both" in message
    assert not quick
    assert main([str(tmp_path), "-o", str(out), "--write", "csv", "--quiet"]) == 0
    assert names(out) == {"a/scan.csv", "b/scan.csv", "summary.csv"}
    assert main([str(tmp_path / "a"), str(tmp_path / "b"), "--write", "csv", "--quiet"]) == 0  # beside each: no clash


# What is refused, and what fails alone.


def test_truth_is_never_overwritten(tmp_path: Path, page: Page, quick: list[Path], capsys: Capture) -> None:
    page.save(tmp_path / "page.png", record="wfdb,csv")
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    for kinds in ("json", "csv", "npz", "wfdb", "overlay"):
        assert "page.json is not a result of ecg-digitize" in refused(capsys, tmp_path, "--write", kinds)
    (tmp_path / "page.json").unlink()
    assert "page.hea is not a result" in refused(capsys, tmp_path, "--write", "wfdb")
    assert "page.npz is not a result" in refused(capsys, tmp_path, "--write", "npz")
    (tmp_path / "page.csv").write_text("image,label\n1,2\n")
    assert "page.csv is not a result" in refused(capsys, tmp_path, "--write", "csv")
    assert (tmp_path / "page.npz").read_bytes() == before["page.npz"]
    assert (tmp_path / "page.hea").read_bytes() == before["page.hea"]
    assert not quick
    assert main([str(tmp_path), "--write", KINDS, "-o", str(tmp_path / "out"), "--quiet"]) == 0


def test_a_broken_network_is_refused_once(image: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "reader.onnx").write_text("no network")
    assert "reader.json cannot be read" in refused(capsys, image, image, "--weights", tmp_path)
    shutil.copy(WEIGHTS / "reader.json", tmp_path)
    assert "reader.onnx cannot be loaded" in refused(capsys, image, image, "--weights", tmp_path)
    shutil.copy(WEIGHTS / "reader.onnx", tmp_path)
    (tmp_path / "nudges.onnx").write_text("no network")
    assert "nudges.onnx cannot be loaded" in refused(capsys, image, image, "--weights", tmp_path)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--write", "csv,pdf"], ["--write 'csv,pdf'", "overlay"]),
        (["--write", "dicom", "--fs", "2000"], ["2000 Hz", "200 to 1000"]),
        (["--write", "csv", "--fill"], ["--fill", "json"]),
        (["--timeout", "-1"], ["--timeout -1", "1 to 86400", "0 for no limit"]),
        (["--max-megapixels", "0"], ["--max-megapixels 0", "0.01 to 2000"]),
        (["--reader", "magic"], ["--reader", "'magic'", "learned"]),
        (["--weights", "nowhere"], ["--weights nowhere", "no reader.onnx"]),
        (["--weights", ".", "--reader", "analytic"], ["--weights", "needs none"]),
        (["--write", ","], ["--write ','", "csv"]),
        (["--fs", "10"], ["--fs 10", "50 to 10000"]),
        (["--fs", "nan"], ["--fs nan", "50 to 10000"]),
        (["--fs", "fast"], ["--fs", "'fast'", "--help"]),
        (["--speed", "0"], ["--speed 0", "1 to 500"]),
        (["--gain", "-10"], ["--gain -10", "0.5 to 200"]),
        (["--px-per-mm", "300"], ["--px-per-mm 300", "1 to 60"]),
        (["--workers", "-1"], ["--workers -1", "0 for one per processor"]),
        (["--colour"], ["--colour", "--help"]),
    ],
)
def test_wrong_requests_are_refused_in_one_line(
    image: Path, args: list[str], words: list[str], capsys: Capture
) -> None:
    message = refused(capsys, image, *args)
    for word in words:
        assert word in message


def test_more_wrong_requests(tmp_path: Path, image: Path, capsys: Capture) -> None:
    assert "expected .png" in refused(capsys, tmp_path)  # an empty folder
    assert "expected a folder" in refused(capsys, image, "-o", image)
    assert "IMAGE" in refused(capsys)
    assert "no such file.png: no such file or folder, and no image" in refused(capsys, "no such file.png")
    assert "*.nothing: no such" in refused(capsys, "*.nothing", "gone.png")
    for nothing in ("", " "):  # not the current folder and all that is below it
        assert "an empty name" in refused(capsys, nothing)


def test_failures_are_told_and_the_others_go_on(tmp_path: Path, image: Path, capsys: Capture) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "broken.png").write_bytes(image.read_bytes()[:3000])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.tif").write_text("not an image")
    cv2.imwrite(str(folder / "photo.png"), np.random.default_rng(1).integers(0, 255, (400, 600, 3)).astype(np.uint8))
    cv2.imwrite(str(folder / "tiny.png"), np.full((20, 20, 3), 200, np.uint8))
    shutil.copy(image, folder / "zz.png")
    out = tmp_path / "out"
    assert main([str(folder), "-o", str(out), *ANALYTIC]) == 1
    printed, err = capsys.readouterr()
    assert printed.startswith(f"{folder / 'zz.png'}: 3x4, ")
    lines = err.splitlines()
    assert lines[-1] == "1 of 6 pages read, 5 not"
    said = {Path(line.split(": ")[0]).name: line for line in lines[:-1]}
    assert set(said) == {"broken.png", "empty.jpg", "text.tif", "photo.png", "tiny.png"}
    for name in ("empty.jpg", "text.tif"):
        assert "PageError" in said[name]
        assert "not an image that can be decoded" in said[name]
    for name in ("photo.png", "tiny.png"):
        assert "GridNotFound: " in said[name]
    assert "unexpected" not in err
    assert names(out) == {"zz.csv", "zz.json", "zz.overlay.png", "summary.csv"}
    assert main([str(folder / "tiny.png"), "--quiet", *ANALYTIC]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_what_is_not_there_does_not_keep_the_rest_from_being_read(
    tmp_path: Path, image: Path, capsys: Capture, quick: list[Path]
) -> None:
    words = ["*.nothing", str(image), "gone.png"]
    assert main([*words, "-o", str(tmp_path), "--write", "csv"]) == 1
    printed, err = capsys.readouterr()
    assert "scan.csv" in printed
    assert [line.split(":")[1].strip() for line in err.splitlines()] == ["*.nothing", "gone.png"]


def test_a_bug_and_a_full_disk_cost_one_image(
    tmp_path: Path, image: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, quick: list[Path]
) -> None:
    for name in "abc":
        shutil.copy(image, tmp_path / f"{name}.png")

    def fail(reading: Reading, stem: Path, write: tuple[str, ...]) -> list[Path]:
        if stem.name == "a":
            raise OSError(28, "No space left on device")
        if stem.name == "b":
            raise ZeroDivisionError("a bug")
        return reading.save(stem, write)

    monkeypatch.setattr("digitizer.batch.save", fail)
    assert main([str(tmp_path), "--write", "csv"]) == 1
    printed, err = capsys.readouterr()
    assert "No space left on device" in err
    assert "unexpected ZeroDivisionError: a bug (please report it)" in err
    assert "c.csv" in printed


def test_interrupted(
    page: Page, image: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, quick: list[Path]
) -> None:
    """The summary says what was read, and what was not finished."""
    files = [shutil.copy(image, tmp_path / f"{name}.png") for name in "abc"]

    def stop(reading: Reading, stem: Path, write: tuple[str, ...]) -> list[Path]:
        if stem.name == "b":
            raise KeyboardInterrupt
        return reading.save(stem, write)

    monkeypatch.setattr("digitizer.batch.save", stop)
    assert main([*map(str, files), "-o", str(tmp_path / "out"), "--write", "csv"]) == 130
    assert "stopped" in capsys.readouterr().err
    assert [row["status"] for row in table(tmp_path / "out" / "summary.csv")] == [
        "read",
        "not finished",
        "not finished",
    ]


def test_what_is_known_is_passed_on(image: Path, tmp_path: Path, capsys: Capture) -> None:
    args = ["--speed", "50", "--gain", "5", "--px-per-mm", "4.7", "--fs", "250", "--write", "json,csv", *ANALYTIC]
    assert main([str(image), "-o", str(tmp_path), *args]) == 0
    report = json.loads((tmp_path / "scan.json").read_text())
    assert (report["speed_mm_s"], report["gain_mm_mv"], report["fs"]) == (50, 5, 250)
    said = report["notes"]["speed"]
    assert said.startswith("50 mm/s, given, but calibration pulses were read as 24.")
    assert f"speed {said}" in report["warnings"]
    assert (tmp_path / "scan.csv").read_text().splitlines()[2].startswith("0.004,")
    assert main([str(image), "-o", str(tmp_path), "--px-per-mm", "9", *ANALYTIC]) == 1
    assert "between 44 and 46 px" in capsys.readouterr().err


def test_every_flag_says_what_it_is() -> None:
    for action in parser()._actions:
        assert action.help
        assert len(action.help) > 8, action.option_strings
        if "--reader" in action.option_strings:
            assert action.choices == READERS
    text = parser().format_help()
    for word in ("mm/s", "mm/mV", "Hz", "examples:", "exit status: 0"):
        assert word in text


def test_version(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as done:
        main(["--version"])
    assert done.value.code == 0
    assert capsys.readouterr().out.startswith("ecg-digitize ")
