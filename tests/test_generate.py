"""Many pages: the same bytes however they are made, nothing made twice, nothing lost without a word."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ecg_image_kit import STANDARD_LEADS, EcgError, Page, Record, RecordError, UsageError
from ecg_image_kit.config import Config
from ecg_image_kit.generate import generate, pages
from ecg_image_kit.page import FORMATS
from ecg_image_kit.plan import items

ROOT = Path(__file__).resolve().parents[1]

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about its use of pandas
    import wfdb


def ecg(leads: tuple[str, ...] = STANDARD_LEADS, seconds: float = 10.0, fs: float = 250.0, name: str = "r") -> Record:
    """Leads that differ, with one sharp wave a second."""
    t = np.arange(round(seconds * fs)) / fs
    beat = np.exp(-0.5 * (((t % 1.0) - 0.4) / 0.02) ** 2)
    mv = np.stack([(0.3 + 0.1 * k) * beat + 0.05 * np.sin(2 * np.pi * (1 + k) * t / 10) for k in range(len(leads))])
    return Record(leads, mv.astype(np.float32), fs, name)


@dataclass(frozen=True)
class Memory:
    """Records in memory; None stands for one that cannot be read. ``loads`` counts, within this process."""

    records: Mapping[str, Record | None]
    loads: list[str] = field(default_factory=list)

    def names(self) -> Iterator[str]:
        return iter(self.records)

    def load(self, name: str) -> Record:
        self.loads.append(name)
        record = self.records[name]
        if record is None:
            raise RecordError(f"{name}.dat: 12 bytes; expected 60000.\nFetch it again.")
        return replace(record, name=name)


def memory(*names: str) -> Memory:
    return Memory({name: ecg() for name in names})


def small(**values: Any) -> Config:
    """Pages that are made quickly."""
    return Config.of({"dpi": 50, **values})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def manifest(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


VARIED = {
    "layout": "random", "style": "random", "dpi": "50-80", "speed": "25,50", "gain": "5,10,20", "sheet": "A4,A5,strip",
    "pulse": "left,right,none", "order": "standard,cabrera", "pages_per_record": 2, "write": "wfdb,csv,masks", "n": 4,
}  # fmt: skip


def test_same_bytes_for_any_number_of_workers_in_one_run_or_resumed(tmp_path: Path) -> None:
    one, two, again = tmp_path / "one", tmp_path / "two", tmp_path / "again"
    summary = generate(Config.of({**VARIED, "out": one}))
    assert summary.made >= 8
    assert not summary.failures
    assert generate(Config.of({**VARIED, "out": two, "workers": 2})).made == summary.made
    generate(Config.of({**VARIED, "out": again, "n": 2}))
    for name in ("00001_00.png", "00002_01.png", "manifest.csv"):
        (again / name).unlink()
    (again / ".00001_00.png.77.part").write_bytes(b"half")
    resumed = generate(Config.of({**VARIED, "out": again}))
    assert resumed.made == summary.made - resumed.kept
    assert resumed.kept >= 2
    assert contents(one) == contents(two) == contents(again)


def test_pages_in_memory_are_the_pages_on_disk(tmp_path: Path) -> None:
    config = small(n=2, style="random", layout="random", out=tmp_path)
    generate(config)
    made = dict(pages(config))
    assert sorted(made) == ["00001", "00002"]
    for name, page in made.items():
        same_page(Page.load(tmp_path / f"{name}.png"), page)


def same_page(a: Page, b: Page) -> None:
    np.testing.assert_array_equal(a.image, b.image)
    assert a.layout == b.layout
    assert len(a.traces) == len(b.traces) > 0
    for one, two in zip(a.traces, b.traces, strict=True):
        assert (one.strip, one.start, one.fs) == (two.strip, two.start, two.fs)
        np.testing.assert_array_equal(one.mv, two.mv)
        np.testing.assert_array_equal(a.px(one), b.px(two))
    assert [(box.kind, box.text) for box in a.boxes] == [(box.kind, box.text) for box in b.boxes]
    for left, right in zip(a.boxes, b.boxes, strict=True):
        np.testing.assert_allclose(left.outline, right.outline, atol=1e-4)
    assert a.meta == json.loads(json.dumps(dict(b.meta)))
    assert {**a.style} == json.loads(json.dumps(dict(b.style)))


def test_meta_says_what_would_make_the_page_again_and_nothing_of_this_machine(tmp_path: Path) -> None:
    generate(small(n=1, seed=5, out=tmp_path / "here"))
    text = (tmp_path / "here" / "00001.json").read_text()
    meta = json.loads(text)["meta"]
    expected = {"source": "samples", "record": "00001", "seed": 5, "index": 0, "copy": 0, "sheet": 0, "recipe": "clean"}
    assert {key: meta[key] for key in expected} == expected
    assert set(meta["versions"]) == {"ecg_image_kit", "numpy", "opencv"}
    assert "scp_codes" in meta
    assert str(tmp_path) not in text
    assert os.getcwd() not in text


def test_each_thing_drawn_has_its_own_stream() -> None:
    base = {"n": 3, "dpi": "50-90", "gain": "5-20", "style": "random", "long": "cut"}
    plain = [page for _, page in pages(Config.of(base))]
    more = [page for _, page in pages(Config.of({**base, "speed": "20-30"}))]
    assert [(p.meta["dpi"], p.layout.gain, p.style) for p in plain] == [
        (p.meta["dpi"], p.layout.gain, p.style) for p in more
    ]
    assert len({p.layout.speed for p in more}) == 3
    assert len({p.layout.gain for p in plain}) == 3
    other = [page for _, page in pages(Config.of({**base, "seed": 1}))]
    assert all(a.meta["dpi"] != b.meta["dpi"] for a, b in zip(plain, other, strict=True))
    assert all(5 <= p.layout.gain <= 20 and 50 <= p.meta["dpi"] <= 90 for p in plain + other)


def test_default_pages_differ_in_their_made_up_patients() -> None:
    patients = {page.style["seed"] for _, page in pages(small(n=3))}
    assert len(patients) == 3
    assert {page.style["seed"] for _, page in pages(small(n=3, style={"seed": 7}))} == {7}


def test_resume_makes_only_what_is_missing(tmp_path: Path) -> None:
    config, source = small(out=tmp_path), memory("a", "b", "c")
    assert generate(config, source=source).made == 3
    before = contents(tmp_path)
    (tmp_path / "b.png").unlink()
    source.loads.clear()
    stamps = {name: (tmp_path / name).stat().st_mtime_ns for name in ("a.png", "c.json")}
    summary = generate(config, source=source)
    assert (summary.made, summary.kept) == (1, 2)
    assert source.loads == ["b"]
    assert contents(tmp_path) == before
    assert stamps == {name: (tmp_path / name).stat().st_mtime_ns for name in stamps}


def test_changed_configuration_is_refused_with_each_difference(tmp_path: Path) -> None:
    source = memory("a", "b")
    generate(small(out=tmp_path, gain=10, n=2), source=source)
    before = contents(tmp_path)
    with pytest.raises(
        UsageError, match=r"--gain was 10\.0, is '5,10'; --seed was 0, is 3.*--out.*--no-resume"
    ) as caught:
        generate(small(out=tmp_path, gain="5,10", seed=3, n=2, workers=2), source=source)
    assert "workers" not in str(caught.value)
    with pytest.raises(UsageError, match="-n was 2, is 1"):
        generate(small(out=tmp_path, n=1), source=source)
    assert contents(tmp_path) == before
    more = memory("a", "b", "c")
    assert generate(small(out=tmp_path, n=3), source=more).made == 1
    assert generate(small(out=tmp_path), source=more).made == 0


def test_no_resume_removes_the_pages_of_the_earlier_run_and_nothing_else(tmp_path: Path) -> None:
    generate(small(out=tmp_path, format="jpg", write="wfdb,masks"), source=memory("a", "b"))
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "photo.png").write_bytes(b"mine too")
    generate(small(out=tmp_path, resume=False), source=memory("b", "c"))
    names = {f"{stem}.{kind}" for stem in "bc" for kind in ("png", "json", "npz")}
    assert set(contents(tmp_path)) == names | {"config.json", "manifest.csv", "notes.txt", "photo.png"}


def test_foreign_pages_are_not_taken_for_finished_ones(tmp_path: Path) -> None:
    _, page = next(pages(small(), source=memory("a")))
    page.save(tmp_path / "a.png")
    with pytest.raises(UsageError, match=r"a\.png.*config\.json.*--out"):
        generate(small(out=tmp_path), source=memory("a"))


@pytest.mark.parametrize("workers", [1, 2])
def test_failing_record_is_reported_and_the_others_are_made(tmp_path: Path, workers: int) -> None:
    source = Memory({"a": ecg(), "broken": None, "limb": ecg(("I", "II")), "z": ecg()})
    seen: list[str] = []
    config = small(out=tmp_path, workers=workers, rhythm="V1", layout="6x2+1R")
    summary = generate(config, lambda rows: seen.extend(row.record for row in rows), source)
    assert seen == ["a", "broken", "limb", "z"]
    assert (summary.made, [record for record, _ in summary.failures]) == (2, ["broken", "limb"])
    rows = manifest(tmp_path)
    assert [row["status"] for row in rows] == ["ok", "failed", "failed", "ok"]
    assert rows[1]["error"] == "broken.dat: 12 bytes; expected 60000. Fetch it again."
    assert "V1" in rows[2]["error"]
    assert [row["image"] for row in rows] == ["a.png", "", "", "z.png"]
    assert [row["page"] for row in rows] == ["0", "1", "2", "3"]
    # Once it can be read, the next run makes it.
    mended = Memory({**source.records, "broken": ecg()})
    assert generate(config, source=mended).made == 1


def test_a_bug_in_a_source_names_its_kind(tmp_path: Path) -> None:
    source = memory("a")
    del source.records["a"]  # type: ignore[attr-defined]

    class Forgetful(Memory):
        def names(self) -> Iterator[str]:
            return iter(["a"])

    summary = generate(small(out=tmp_path), source=Forgetful(source.records))
    assert summary.failures == (("a", "KeyError: 'a'"),)


def test_a_folder_that_cannot_be_written_to_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Page, "save", full)
    with pytest.raises(OSError, match="No space"):
        generate(small(out=tmp_path), source=memory("a", "b"))
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be made"):
        generate(small(out=tmp_path / "file"), source=memory("a"))


def test_interrupt_keeps_what_is_finished(tmp_path: Path) -> None:
    def stop(rows: object) -> None:
        if len(list(tmp_path.glob("*.png"))) == 2:
            raise KeyboardInterrupt

    source, config = memory("a", "b", "c"), small(out=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        generate(config, stop, source)
    assert [row["image"] for row in manifest(tmp_path)] == ["a.png", "b.png"]
    assert generate(config, source=source).kept == 2


def test_nothing_to_print_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no records"):
        generate(small(out=tmp_path), source=memory())


def test_nothing_to_print_leaves_the_folder_to_what_was_meant(tmp_path: Path) -> None:
    wrong = Config(src="samples", ids="99", dpi=60.0, out=str(tmp_path))
    with pytest.raises(UsageError, match="ids 99 removed 16"):
        generate(wrong)
    assert not list(tmp_path.iterdir())
    right = replace(wrong, ids="1")
    assert generate(right).made == 1
    with pytest.raises(UsageError, match="ids 99 removed 16"):
        generate(replace(wrong, resume=False))
    assert not list(tmp_path.iterdir())  # no list of pages that are gone


def test_stems_are_unique_and_safe() -> None:
    names = ["x", "x_01", "a/b.hea", "a_b", "A_B.csv", "../../etc", "r.1", "r_02", "r", "", "manifest", "Müller 7"]
    found = list(items(Config(), Memory(dict.fromkeys(names))))
    assert [item.name for item in found] == names
    stems = [item.stem for item in found]
    # Whatever the number of sheets of each, no two files have one name, even where case does not count.
    files = [f"{stem}{end}".lower() for stem in stems for end in ("", "_00", "_01", "_02")]
    assert len(set(files)) == len(files)
    assert all(set(stem) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") for stem in stems)
    assert stems[0] == "x"
    assert stems[2] == "a_b"
    assert "manifest" not in stems


def test_long_records_fill_pages_or_are_cut() -> None:
    source = Memory({"long": ecg(seconds=25, fs=100)})
    whole = dict(pages(small(), source=source))
    assert list(whole) == ["long_00", "long_01", "long_02"]
    assert [page.layout.strips[0].start for page in whole.values()] == [0, 10, 20]
    assert [page.meta["sheet"] for page in whole.values()] == [0, 1, 2]
    rhythm = [trace for page in whole.values() for trace in page.traces if trace.strip.rhythm]
    np.testing.assert_array_equal(np.concatenate([t.mv for t in rhythm]), ecg(seconds=25, fs=100).lead("II"))
    assert list(dict(pages(small(long="cut"), source=source))) == ["long"]


@pytest.mark.parametrize("fs", [100, 250, 360, 500, 1000])
@pytest.mark.parametrize("seconds", [2.5, 10, 60])
@pytest.mark.parametrize("count", [1, 2, 3, 6, 8, 12, 15])
def test_every_lead_of_every_record_is_printed(count: int, seconds: float, fs: float) -> None:
    leads = (*STANDARD_LEADS[:2], *STANDARD_LEADS[6:]) if count == 8 else (*STANDARD_LEADS, "V7", "V8", "V9")[:count]
    record = ecg(leads, seconds, fs)
    made = [page for _, page in pages(small(), source=Memory({"r": record}))]
    assert {trace.strip.lead for page in made for trace in page.traces if np.isfinite(trace.mv).any()} == set(leads)
    for page in made:
        red = cv2.erode(
            np.ascontiguousarray(page.image[:, :, 0]), np.ones((3, 3), np.uint8)
        )  # the grid is all but white
        for trace in page.traces:
            x, y = np.round(page.px(trace)).astype(int).T
            assert (red[y, x] < 200).mean() > 0.97
    if count == 1:
        printed = np.concatenate([page.traces[0].mv for page in made])
        np.testing.assert_array_equal(printed, record.mv[0])


def test_short_records_are_printed_side_by_side_unless_told_otherwise() -> None:
    source = Memory({"r": ecg(seconds=2.5)})
    (_, page), *_ = pages(small(), source=source)
    assert {strip.start for strip in page.layout.strips} == {0}
    (_, page), *_ = pages(small(columns="sequential"), source=source)
    assert {strip.start for strip in page.layout.strips} == {0, 2.5, 5, 7.5}


def test_gaps_and_flat_leads(tmp_path: Path) -> None:
    mv = ecg(("I", "II", "V1")).mv.copy()
    mv[0, 500:700] = np.nan
    mv[1] = 0
    mv[2] = np.nan
    generate(small(out=tmp_path, write="wfdb,csv,masks"), source=Memory({"r": Record(("I", "II", "V1"), mv, 250)}))
    page = Page.load(tmp_path / "r.png")
    np.testing.assert_array_equal(np.isnan(page.record().mv), np.isnan(mv[:, : page.traces[0].mv.size]))
    labels = page.mask("leads")
    gap = [page.mm_to_px(page.layout.to_mm(page.traces[0].strip, [s], [0.0]))[0].astype(int) for s in (2.1, 2.7)]
    assert not (labels[:, gap[0][0] : gap[1][0]] == 1).any()
    assert (labels == 1).any()
    assert (labels == 2).any()
    assert not (labels == 3).any()
    assert json.loads((tmp_path / "r.json").read_text())["traces"][2]["box"] is None


def test_microvolts_in_a_table_with_its_unit_are_millivolts_on_paper(tmp_path: Path) -> None:
    record = ecg(("I", "II"), 4.0)
    t = np.arange(record.mv.shape[1]) / record.fs
    rows = [f"{s:.4f},{a * 1000:.3f},{b * 1000:.3f}" for s, a, b in zip(t, *record.mv, strict=True)]
    (tmp_path / "r.csv").write_text("\n".join(["time_s,I (uV),II (uV)", *rows]) + "\n")
    ((_, page),) = pages(small(src=tmp_path / "r.csv"))
    np.testing.assert_allclose(page.traces[0].mv, record.mv[0][: page.traces[0].mv.size], atol=1e-5)


def test_mistaken_units_are_said_in_the_manifest(tmp_path: Path) -> None:
    class Careless(Memory):
        def load(self, name: str) -> Record:
            return super().load(name).check_amplitude()

    source = Careless({"r": replace(ecg(("I",)), mv=ecg(("I",)).mv * 1000)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        generate(small(out=tmp_path), source=source)
    assert "microvolts" in manifest(tmp_path)[0]["warning"]


def test_chosen_and_derived_leads() -> None:
    source = Memory({"r": ecg(("I", "II", "V1"))})
    ((_, page),) = pages(small(leads="avf,V1,-AVR", derive=True, layout="3x1"), source=source)
    assert [strip.lead for strip in page.layout.strips] == ["aVF", "V1", "-aVR"]
    assert set(page.meta["derived"]) == {"III", "aVR", "aVL", "aVF"}
    np.testing.assert_allclose(page.traces[2].mv, (page.record().lead("aVR") * -1))
    with pytest.raises(UsageError, match="aVF"):
        next(pages(small(leads="aVF"), source=source))


def test_random_layouts_hold_all_leads() -> None:
    for count in (1, 2, 3, 5, 8, 12, 15):
        leads = (*STANDARD_LEADS, "V7", "V8", "V9")[:count]
        source = Memory({str(k): ecg(leads, 10, 100) for k in range(12)})
        for _, page in pages(small(layout="random", dpi=30, long="cut"), source=source):
            assert {strip.lead for strip in page.layout.strips} == set(leads)


@pytest.mark.parametrize("kind", FORMATS)
def test_formats(tmp_path: Path, kind: str) -> None:
    generate(small(n=1, format=kind, out=tmp_path))
    ((_, page),) = pages(small(n=1))
    difference = np.abs(Page.load(tmp_path / f"00001.{kind}").image.astype(float) - page.image)
    assert difference.mean() == 0 if kind == "png" else 0 < difference.mean() < 6


def test_the_printed_record_and_the_masks_are_written(tmp_path: Path) -> None:
    generate(small(n=1, write="wfdb,csv,masks", out=tmp_path))
    page = Page.load(tmp_path / "00001.png")
    printed = page.record()
    read = wfdb.rdrecord(str(tmp_path / "00001"))
    assert tuple(read.sig_name) == printed.leads
    np.testing.assert_allclose(read.p_signal.T, printed.mv, atol=6e-4)
    table = np.genfromtxt(tmp_path / "00001.csv", delimiter=",", skip_header=1)
    np.testing.assert_allclose(table[:, 1:].T, printed.mv, atol=6e-5)
    for kind in ("leads", "grid", "text"):
        written = cv2.imread(str(tmp_path / f"00001.{kind}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(written, page.mask(kind))
        assert page.mask(kind).any()


def test_a_source_that_cannot_travel_is_refused_with_workers(tmp_path: Path) -> None:
    class Local(Memory):
        pass

    with pytest.raises(UsageError, match="workers=1"):
        generate(small(out=tmp_path, workers=2), source=Local({"r": ecg()}))


@dataclass(frozen=True)
class Deadly(Memory):
    """Ends the process that loads a record called deadly, or (once) unlucky, or that makes the first page of lethal."""

    log: Path = Path()

    def load(self, name: str) -> Record:
        deaths = self.log / name
        if name == "deadly" or (name == "unlucky" and not deaths.exists()):
            with deaths.open("a") as stream:
                stream.write("x")
            os.kill(os.getpid(), signal.SIGKILL)
        if name == "lethal":
            save = Page.save

            def deadly(page: Page, path: Path, **options: Any) -> None:
                if path.stem == "lethal_00":
                    os._exit(3)
                save(page, path, **options)

            Page.save = deadly  # type: ignore[method-assign,assignment] # in the worker only
        return super().load(name)


def test_a_worker_that_dies_loses_only_its_page(tmp_path: Path) -> None:
    names = ("a", "unlucky", "b", "deadly", "c", "lethal", "d")
    source = Deadly({name: ecg() for name in names}, log=tmp_path)
    out, seen = tmp_path / "out", []
    config = small(out=out, workers=2, pages_per_record=2, gain="5-20")
    summary = generate(config, lambda rows: seen.append(rows[0].record), source)
    assert seen == list(names)
    assert (summary.made, summary.kept) == (6 * 2 - 1, 0)
    assert [record for record, _ in summary.failures] == ["deadly", "lethal"]
    rows = [row for row in manifest(out) if row["status"] != "ok"]
    assert [(row["record"], row["copy"]) for row in rows] == [("deadly", "0"), ("lethal", "0")]
    assert rows[0]["error"].startswith("the worker process died twice (signal 9: probably for want of memory")
    assert rows[1]["error"].startswith("the worker process died twice (exit code 3: ")
    assert (tmp_path / "deadly").read_text() == "xx"  # it was tried once more
    generate(replace(config, out=str(tmp_path / "one"), workers=1), source=Memory(source.records))
    whole, made = pictures(tmp_path / "one"), pictures(out)
    assert made == {name: data for name, data in whole.items() if name in made}
    assert set(whole) - set(made) == {"deadly_00.png", "deadly_01.png", "lethal_00.png"}
    # The next run has another try at what failed.
    assert generate(replace(config, workers=1), source=Memory(source.records)).made == 3
    assert pictures(out) == whole


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in images(folder)}


@dataclass(frozen=True)
class Stillborn(Memory):
    """Ends every process that it is sent to."""

    def __setstate__(self, state: object) -> None:
        os._exit(4)


def test_workers_that_cannot_start_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(EcgError, match=r"exit code 4.*__main__.*workers=1"):
        generate(small(out=tmp_path, workers=2), source=Stillborn({"a": ecg(), "b": ecg()}))


@dataclass(frozen=True)
class FullDisk(Memory):
    """Makes it look as if nothing more could be written."""

    def load(self, name: str) -> Record:
        def full(*args: object, **options: object) -> None:
            raise OSError(28, "No space left on device")

        Page.save = full  # type: ignore[method-assign] # in the worker only
        return super().load(name)


def test_a_full_disk_stops_the_workers(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space"):
        generate(small(out=tmp_path, workers=2), source=FullDisk({"a": ecg(), "b": ecg()}))
    assert not list(tmp_path.iterdir())


BENT = {
    "recipe": {"mine": ["0.5 Curl | Lens", "0.5 Rotation", "Yellowing", "Vignette | Gradient", "0.5 SensorNoise"]},
    "severity": "0.2-0.8", "effect": ["Perspective(tilt=[5, 20])"], "dpi": 40, "gain": "5-20", "format": "auto",
}  # fmt: skip


def start(out: Path, **more: Any) -> subprocess.Popen[str]:
    """The command with two workers, in a process group of its own; it has made a page or two."""
    (out.parent / "set.yaml").write_text(json.dumps({**BENT, **more, "workers": 2, "out": str(out)}))
    command = [sys.executable, "-m", "ecg_image_kit", "--config", str(out.parent / "set.yaml")]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    running = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": paths}, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which jobs in the background ignore
    )  # fmt: skip
    until(lambda: len(images(out)) >= 2 or running.poll() is not None)
    return running


def images(folder: Path) -> list[Path]:
    return [path for kind in FORMATS for path in folder.glob(f"*.{kind}")]


def until(done: Any, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


def left_of(group: int) -> list[str]:
    """Processes of a group that are not over."""
    found = subprocess.run(["ps", "-eo", "pgid,stat,args"], capture_output=True, text=True, check=True).stdout
    lines = [line.split(None, 2) for line in found.splitlines()[1:]]
    return [line[2] for line in lines if int(line[0]) == group and not line[1].startswith("Z")]


@pytest.mark.skipif(sys.platform != "linux", reason="signals of process groups")
def test_interrupted_workers_leave_a_folder_that_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    running = start(out)
    os.killpg(running.pid, signal.SIGINT)  # as Ctrl-C in a terminal does: the workers get it too
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130
    assert said == "interrupted; finished pages are kept. Run the same command again to go on.\n"
    finished = images(out)
    assert 2 <= len(finished) < 16
    assert not list(out.glob(".*"))
    for image in finished:
        Page.load(image)
    if (out / "manifest.csv").exists():  # not if the second worker was ahead: rows are in the order of the records
        assert {row["image"] for row in manifest(out)} <= {image.name for image in finished}
    config = Config.load(tmp_path / "set.yaml")
    assert generate(config).kept == len(finished)
    generate(replace(config, out=str(tmp_path / "one"), workers=1))
    assert contents(out) == contents(tmp_path / "one")
    assert len({row["severity"] for row in manifest(out)}) > 5


@pytest.mark.skipif(sys.platform != "linux", reason="process groups")
def test_workers_do_not_outlive_a_parent_that_was_killed(tmp_path: Path) -> None:
    running = start(tmp_path / "out", pages_per_record=100)
    assert len(left_of(running.pid)) >= 3
    running.kill()
    running.communicate(timeout=30)
    until(lambda: not left_of(running.pid))
