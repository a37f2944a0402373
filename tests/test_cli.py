"""The command ecg-image-gen: one vocabulary, clear refusals, honest exit status."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from ecg_image_kit import Page, Style
from ecg_image_kit.cli import main, parser
from ecg_image_kit.config import Config
from ecg_image_kit.render import CHOICES
from ecg_image_kit.text import FONTS

ROOT = Path(__file__).resolve().parents[1]
Capture = pytest.CaptureFixture[str]


def run(*args: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths}
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, env=environment, check=False)


def refused(capture: Capture, *args: str) -> str:
    """The one line on stderr of a request that is refused with status 2."""
    assert main(args) == 2
    out, err = capture.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_pages_from_a_cold_process(tmp_path: Path) -> None:
    done = run("-m", "ecg_image_kit", "-n", "2", "--dpi", "50", "--out", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"2 pages made in {tmp_path}, ")
    assert "pages/s" in done.stdout
    assert Page.load(tmp_path / "00002.png").meta["record"] == "00002"
    done = run("-m", "ecg_image_kit.cli", "-n", "2", "--dpi", "50", "--out", str(tmp_path))
    assert "0 pages made" in done.stdout
    assert "2 were there already" in done.stdout
    assert run("-m", "ecg_image_kit", "-n", "3", "--dpi", "50", "--quiet", "--out", str(tmp_path)).stdout == ""


def test_a_cold_start_waits_for_nothing_it_does_not_need(tmp_path: Path) -> None:
    slow = ["yaml", "tqdm", "concurrent.futures.process", "wfdb", "scipy.signal", "pandas", "matplotlib", "torch"]
    code = (
        "import sys; from ecg_image_kit.cli import main; "
        f"status = main(['-n', '1', '--dpi', '50', '--out', {str(tmp_path)!r}]); "
        f"print(status, [name for name in {slow} if name in sys.modules])"
    )
    assert run("-c", code).stdout.splitlines()[-1] == "0 []"


def test_every_flag_says_what_it_is_and_fills_its_field() -> None:
    actions = [action for action in parser()._actions if action.dest != "help"]
    for action in actions:
        assert action.help
        assert action.help is not argparse.SUPPRESS
        assert len(action.help) > 8, action.option_strings
    flags = {action.dest for action in actions}
    assert flags - {"config", "dump_config", "list", "list_effects", "quiet", "version"} == {
        f.name for f in fields(Config)
    }
    text = parser().format_help()
    for unit in ("mm/s", "mm/mV", "Hz", "25.4 mm", " s "):
        assert unit in text
    assert "examples:" in text


def test_dumped_configuration_reads_back_the_same(tmp_path: Path, capsys: Capture) -> None:
    style = tmp_path / "style.yaml"
    style.write_text("grid: blue\nink: [0, 0, 80]\npen_width: 0.4\n")
    recipe = tmp_path / "Mine.yaml"
    recipe.write_text("about: bent\nsteps: [0.5 Curl | Crumple, Perspective: {tilt: [5, 20]}]\n")
    args = [
        "--src", "ptbxl", "--root", "some where", "--fs", "100", "--filter", "scp=MI age=40-60", "--ids", "1,5-7",
        "-n", "9", "--layout", "3x4+1R,random", "--leads", "ii,avr", "--derive", "--order", "cabrera",
        "--columns", "simultaneous", "--rhythm", "V1", "--sheet", "A4,300x200", "--speed", "25,50", "--gain", "5-20",
        "--precordial-gain", "5", "--seconds", "4", "--pulse", "none", "--long", "cut",
        "--pages-per-record", "3", "--style", str(style),
        "--dpi", "72,100-300", "--recipe", f"{recipe},clean", "--severity", "0,0.2-.8", "--effect", "Curl",
        "--effect", "Perspective(tilt=[5, 20], pan=3)", "--export", "yolo,coco", "--out", "pages",
        "--format", "webp", "--quality", "80",
        "--write", "masks,csv", "--seed", "11", "--workers", "0", "--no-resume", "--download",
        "--class", "MI", "--hr", "60-90", "--sex", "F", "--age", "40", "--duration", "20", "--records-only",
    ]  # fmt: skip
    assert main([*args, "--dump-config"]) == 0
    file = tmp_path / "set.yaml"
    file.write_text(capsys.readouterr().out)
    config = Config.load(file)
    default = Config()
    assert all(getattr(config, f.name) != getattr(default, f.name) for f in fields(Config))
    assert config.leads == "II,aVR"
    assert config.speed == "25,50"
    assert config.write == "json,csv,leads,grid,text"
    assert config.style == {"grid": "blue", "ink": [0, 0, 80], "pen_width": 0.4}
    assert config.recipe == (
        {"Mine": {"about": "bent", "steps": ["0.5 Curl | Crumple", {"Perspective": {"tilt": [5, 20]}}]}}, "clean",
    )  # fmt: skip
    assert config.severity == "0,0.2-0.8"
    assert config.effect == ("Curl", "Perspective(tilt=[5, 20], pan=3)")
    for path in (style, recipe):
        path.unlink()  # its content has been taken over
    assert main(["--config", str(file), "--dump-config"]) == 0
    assert capsys.readouterr().out == file.read_text()
    assert Config.of(config.values()) == config


def test_python_yaml_and_command_line_mean_the_same(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "set.yaml"
    file.write_text("speed: [25, 50]\ngain: 10\nlayout: [3x4, 6x2]\nids: [1, 3]\nstyle: {grid: none}\nseed: 4\n")
    loaded = Config.load(file)
    assert loaded == Config(speed=(25, 50), gain="10", layout="3x4,6x2", ids="1,3", style={"grid": "none"}, seed=4)
    assert loaded == Config(speed="25, 50.0", layout=("3X4", "6x2"), ids=[1, 3], style={"grid": "none"}, seed=4)
    assert Config(style=Style(grid="blue")).style == json.loads(json.dumps(Config(style=Style(grid="blue")).style))
    assert main(["--config", str(file), "--seed", "9", "--dump-config"]) == 0
    (tmp_path / "both.yaml").write_text(capsys.readouterr().out)
    both = Config.load(tmp_path / "both.yaml")
    assert (both.seed, both.speed) == (9, "25,50")  # what is on the command line counts, the rest stays


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--layout", "3by4"], ["--layout '3by4'", "3x4+1R", "ROWSxCOLUMNS"]),
        (["--layout", "0x4"], ["'0x4'", "expected"]),
        (["--src", "ptbxxl"], ["'ptbxxl'", "ptbxl", "samples"]),
        (["--src", "no/such/folder"], ["no/such/folder"]),
        (["--src", "ptbxl", "--root", "no/such/folder"], ["no/such/folder", "--root"]),
        (["--src", "ecgsyn"], ["-n", "ecgsyn"]),
        (["--root", "somewhere"], ["root", "samples"]),
        (["--filter", "colour=red"], ["colour", "scp"]),
        (["--format", "gif"], ["--format 'gif'", "png, jpg, webp"]),
        (["--style", "fancy"], ["--style 'fancy'", "default, random"]),
        (["--write", "mask"], ["--write 'mask'", "did you mean masks"]),
        (["--recipe", "burnt"], ["--recipe 'burnt'", "clean"]),
        (["--recipe", "photos"], ["--recipe 'photos'", "did you mean photo?"]),
        (["--recipe", "no/such.yaml"], ["no/such.yaml", "cannot be read"]),
        (["--severity", "1.5"], ["--severity '1.5'", "0 to 1", "0.2-0.8"]),
        (["--effect", "Perspectiv"], ["'Perspectiv'", "did you mean Perspective?"]),
        (["--effect", "Perspective(tild=3)"], ["Perspective has no 'tild'", "tilt"]),
        (["--effect", "Perspective(tilt=300)"], ["Perspective(tilt=300)", "-60 to 60 degrees"]),
        (["--effect", "Perspective(tilt=3"], ["'Perspective(tilt=3'", "Name(field=value, ...)"]),
        (["--export", "yoloo"], ["--export 'yoloo'", "did you mean yolo?"]),
        (["-n", "-3"], ["-n '-3'", "1 or more"]),
        (["-n", "many"], ["-n 'many'", "whole number"]),
        (["--dpi", "0"], ["--dpi '0'", "30 to 2400"]),
        (["--dpi", "300-100"], ["--dpi '300-100'", "5-10"]),
        (["--dpi", "nan"], ["--dpi 'nan'", "30 to 2400"]),
        (["--speed", "25;50"], ["--speed '25;50'", "mm/s"]),
        (["--gain", "-10"], ["--gain", "mm/mV"]),
        (["--sheet", "A9"], ["--sheet 'A9'", "A4", "mm"]),
        (["--pulse", "up"], ["--pulse 'up'", "left"]),
        (["--order", "random"], ["--order 'random'", "cabrera"]),
        (["--leads", "I,,II"], ["--leads 'I,,II'", "I,II,V1"]),
        (["--seed", "-1"], ["--seed '-1'", "0 or more"]),
        (["--quality", "101"], ["--quality '101'", "1 to 100"]),
        (["--format", "png,jpg"], ["--format 'png,jpg'", "not several"]),
        (["--seconds", "30"], ["30 s", "297 mm", "strip"]),
        (["--workers", "x"], ["--workers 'x'", "whole number"]),
        (["--colour", "red"], ["--colour", "--help"]),
        (["--config", "no.yaml"], ["no.yaml", "cannot be read"]),
    ],
)
def test_wrong_requests_are_refused_in_one_line(
    args: list[str], words: list[str], tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    message = refused(capsys, *args, "--out", str(out))
    for word in words:
        assert word in message
    assert not out.exists()  # nothing is begun


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("layuot: 3x4", ["'layuot'", "did you mean 'layout'"]),
        ("pages-per-record: 2", ["'pages_per_record'"]),
        ("zzz: 1", ["'zzz'", "layout"]),
        ("style: {gird: red}", ["gird", "grid"]),
        ("style: {pen_width: thick}", ["--style", "types"]),
        ("derive: 3", ["--derive 3", "true or false"]),
        ("effect: [3]", ["effect 3", "Name(field=value)"]),
        ("recipe: {mine: [Perspectiv]}", ["recipe mine", "did you mean Perspective?"]),
        ("recipe: []", ["--recipe []", "clean"]),
        ("seed: null", ["--seed None", "whole number"]),
        ("n: 2.5", ["-n 2.5", "whole number"]),
        ("- 1", ["list", "mapping"]),
        ("a: [", ["not YAML"]),
    ],
)
def test_wrong_files_are_refused_in_one_line(text: str, words: list[str], tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "set.yaml"
    file.write_text(text)
    message = refused(capsys, "--config", str(file), "--out", str(tmp_path / "out"))
    for word in words:
        assert word in message


def test_out_is_needed(capsys: Capture) -> None:
    assert "--out" in refused(capsys, "-n", "1")


def test_a_long_record_makes_several_pages_and_that_is_said(tmp_path: Path, capsys: Capture) -> None:
    lines = [f"{s:.3f},{np.sin(6 * s):.4f}" for s in np.arange(2500) / 100]
    (tmp_path / "long.csv").write_text("\n".join(["time_s,II", *lines]) + "\n")
    args = ["--src", str(tmp_path / "long.csv"), "--dpi", "50", "--workers", "1"]
    assert main([*args, "--out", str(tmp_path / "out")]) == 0
    pages = sorted((tmp_path / "out").glob("*.png"))
    texts = [[box.text for box in Page.load(page).boxes] for page in pages]
    assert all(f"Page {k} of {len(pages)}" in said for k, said in enumerate(texts, start=1))
    assert len(pages) > 2 and capsys.readouterr().out.startswith(f"{len(pages)} pages of 1 record made in ")
    pages[0].unlink()
    assert main([*args, "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.startswith("1 page made in ")


def test_failures_are_told_and_exit_with_1(tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    t = np.arange(1000) / 250
    for name in "ac":
        lines = [f"{s:.4f},{np.sin(6 * s):.4f}" for s in t]
        (folder / f"{name}.csv").write_text("\n".join(["time_s,II", *lines]) + "\n")
    (folder / "b.csv").write_text("time_s,II\n0.0,what\n0.004,is\n0.008,this\n")
    args = ["--src", str(folder), "--dpi", "50", "--out", str(tmp_path / "out")]
    assert main(args) == 1
    out, err = capsys.readouterr()
    assert out.startswith("2 pages made")
    assert "1 failed (see manifest.csv)" in out
    assert err.startswith("failed: b.csv: ")
    assert err.count("\n") == 1
    assert (tmp_path / "out" / "c.png").is_file()
    assert main([*args, "--quiet"]) == 1  # it has not become right


def test_interrupted(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Page, "save", stop)
    assert main(["-n", "1", "--out", str(tmp_path)]) == 130
    assert "same command again" in capsys.readouterr().err


def test_a_full_disk_is_one_line(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device", "page.png")

    monkeypatch.setattr(Page, "save", full)
    assert main(["-n", "1", "--out", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert "No space left" in err
    assert err.count("\n") == 1


def test_list_and_version(capsys: Capture) -> None:
    assert main(["--list"]) == 0
    out = capsys.readouterr().out
    choices = (", ".join(each) for each in (*CHOICES.values(), FONTS))
    words = ("samples", "ecgsyn", "3x4+1R", "random", "clean", "Letter", *(f.name for f in fields(Style)), *choices)
    for word in words:
        assert word in out
    with pytest.raises(SystemExit) as done:
        main(["--version"])
    assert done.value.code == 0


def test_ecgsyn_makes_as_many_as_asked_for(tmp_path: Path) -> None:
    assert main(["--src", "ecgsyn", "-n", "3", "--dpi", "50", "--seed", "1", "--quiet", "--out", str(tmp_path)]) == 0
    assert len(list(tmp_path.glob("*.png"))) == 3
    assert (
        main(["--src", "ecgsyn", "-n", "3", "--dpi", "50", "--seed", "2", "--quiet", "--out", str(tmp_path / "b")]) == 0
    )
    one, two = (Page.load(folder / "ecgsyn-000000.png").traces[0].mv for folder in (tmp_path, tmp_path / "b"))
    assert not np.array_equal(one, two)


def test_filters_reach_the_source(tmp_path: Path) -> None:
    assert main(["--filter", "scp=NORM", "--ids", "1-3", "--fs", "100", "--dpi", "50", "--out", str(tmp_path)]) == 0
    made = [Page.load(path) for path in sorted(tmp_path.glob("*.png"))]
    assert made
    assert all(
        page.meta["ecg_id"] <= 3 and "NORM" in page.meta["scp_codes"] and page.meta["fs"] == 100 for page in made
    )
