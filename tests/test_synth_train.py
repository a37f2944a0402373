"""Training a GAN: it changes what it should, goes on where it stopped, refuses bad data, and exports what it is."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ecg_image_kit import Record, RecordError, UsageError, open_source
from synth.condition import LEADS8
from synth.generate import generate

torch = pytest.importorskip("torch")
from synth.export import export  # noqa: E402
from synth.export import main as export_main  # noqa: E402
from synth.train import (  # noqa: E402
    MODELS,
    Config,
    Trainer,
    build,
    load_data,
    main,
    noise,
    to_mv,
    to_network,
    train,
    windows_of,
)

ROOT = Path(__file__).resolve().parents[1]
SMALL: dict[str, Any] = {
    "samples": 2500, "batch": 2, "critic_steps": 1, "width": 1, "features": 2, "steps": 2, "check": 2, "threads": 1,
    "bf16": False,
}  # fmt: skip


def config(out: Path, **changes: Any) -> Config:
    """A training of a second."""
    return replace(Config(out=str(out), **SMALL), **changes)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each model."""
    folder = tmp_path_factory.mktemp("runs")
    return {model: train(config(folder / model, model=model)).parent for model in MODELS}


@pytest.mark.parametrize("model", MODELS)
def test_what_a_run_leaves(model: str, runs: dict[str, Path]) -> None:
    run = runs[model]
    assert {path.name for path in run.iterdir()} == {
        "checkpoint.pt", "log.csv", "losses.png", "preview.png", "previews",
    }  # fmt: skip
    with (run / "log.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["step"] for row in rows] == ["2"]
    assert all(np.isfinite(float(value)) for value in rows[0].values())
    for picture in ("losses.png", "preview.png", "previews/000002.png"):
        assert cv2.imread(str(run / picture)).std() > 5


@pytest.mark.parametrize("model", ["wavegan", "image"])  # one of each loss
def test_going_on_is_as_if_never_stopped(model: str, runs: dict[str, Path], tmp_path: Path) -> None:
    whole = train(config(tmp_path / "whole", model=model, steps=3, check=3))
    part = runs[model]
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "checkpoint.pt").write_bytes((part / "checkpoint.pt").read_bytes())
    gone = train(config(tmp_path / "part", model=model, steps=3))
    a, b = (torch.load(path, weights_only=True) for path in (whole, gone))
    assert a["step"] == b["step"] == 3
    for net in ("generator", "critic", "average"):
        for key, value in a[net].items():
            assert torch.equal(value, b[net][key]), (net, key)
    with pytest.raises(UsageError, match=r"another network: samples was 2500, is 5000\. Give another --out"):
        train(config(tmp_path / "part", model=model, samples=5000))


class Level(torch.nn.Module):
    """A critic that sees but the level of an ECG, and has one thing to learn: on which side the real ones are."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(0.01))

    def forward(self, x: Any) -> Any:
        return 100 * self.weight * x.flatten(1).mean(1)


@pytest.mark.parametrize(("model", "rate"), [("pulse2pulse", 5e-5), ("wavegan", 5e-5), ("image", 2e-3)])
@pytest.mark.parametrize("side", [1, -1])
def test_who_learns_what(model: str, rate: float, side: int) -> None:
    """The critic to tell real from fake, the generator to go where the critic says that real ones are."""
    small = config(Path("unused"), model=model, batch=4, rate=rate, features=4, limit=1.0, ema=0.5)
    trainer = Trainer(small, np.full((4, 8, 2500), side * 900, np.int16), torch.device("cpu"))
    trainer.critic = Level()
    trainer.optimizers[1] = torch.optim.Adam(trainer.critic.parameters(), 0.02)
    levels = []
    for _ in range(12):
        trainer.step()
        levels.append(side * float(trainer.sample(4).mean()))
    assert side * float(trainer.critic.weight) > 0
    assert levels[-1] > levels[5]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("soft", [True, False])
def test_scales_are_fixed_and_come_back(model: str, soft: bool) -> None:
    """What the critic sees of real ECGs, turned into mV as the generator's output is, is those ECGs."""
    small = config(Path("unused"), model=model, soft=soft, scale=1.5 if soft else 6.0)
    data = load_data(small)
    seen = to_network(data, small)
    assert float(seen.abs().max()) <= 1
    back = to_mv(torch.atanh(seen.double().clamp(-1 + 1e-15, 1 - 1e-15)), small)
    limit = small.limit if model == "image" else 6.0
    assert np.abs(back - np.clip(data / 1000, -limit, limit)).max() < 0.01


# Data


def test_windows_and_what_is_kept_out(tmp_path: Path) -> None:
    data = load_data(config(tmp_path))
    source = open_source("samples")
    names = list(source.names())
    assert data.shape == (2 * len(names), 8, 2500) and data.dtype == np.int16
    mv = source.load(names[0]).select(LEADS8).mv
    assert np.abs(np.concatenate([data[0], data[1]], axis=1) / 1000 - mv).max() <= 5.1e-4
    fewer = load_data(config(tmp_path, skip_last=3))
    assert np.array_equal(fewer, data[:-6])
    # The same are kept out of a selection: the order is that of all records.
    root = str(ROOT / "data" / "samples")
    some = load_data(config(tmp_path, data=(f"ptbxl:{root}",), scp="NORM"))
    last = load_data(config(tmp_path, data=(f"ptbxl:{root}",), scp="NORM", skip_last=14))
    assert len(last) == 4 < len(some) and np.array_equal(last, some[:4])
    with pytest.raises(UsageError, match="--skip-last 16 of 16 records"):
        load_data(config(tmp_path, skip_last=16))


def record(**changes: Any) -> Record:
    good = Record(LEADS8, np.random.default_rng(0).normal(0, 0.3, (8, 2500)), 500.0, "r")
    return replace(good, **changes)


def damaged(kind: str) -> Record:
    mv = record().mv.copy()
    if kind == "nan":
        mv[3, 100:110] = np.nan
        return record(mv=mv)
    if kind == "short":
        return record(mv=mv[:, :2499])
    if kind == "leads":
        return record(leads=LEADS8[:7], mv=mv[:7])
    return record(mv=mv * 1000)  # microvolts said to be mV


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nan", r"record r\.npz: 10 unknown samples \(NaN\); expected none"),
        ("units", r"expected 0.05 to 20 mV; probably microvolts read as millivolts"),
        ("short", r"4.998 s; expected 5 s or more \(2500 samples\)"),
        ("leads", r"no lead V6; expected I, II, V1"),
    ],
)
def test_bad_data(kind: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged(kind).write_npz(tmp_path / "r.npz")
    small = config(tmp_path / "run", data=(f"npz:{tmp_path}",))
    with pytest.raises(RecordError, match=message):
        train(small)
    assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match="no records to train on"):
        load_data(replace(small, drop_bad=True))
    record().write_npz(tmp_path / "s.npz")
    assert load_data(replace(small, drop_bad=True)).shape == (1, 8, 2500)
    assert "1 records left out, the first: r.npz" in capsys.readouterr().err


def test_other_rates_and_more_leads() -> None:
    long = Record(("III", *LEADS8), np.random.default_rng(0).normal(0, 0.3, (9, 1300)), 250.0)
    assert [window.shape for window in windows_of(long, Config(samples=2500))] == [(8, 2500)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--samples", "4000"], "4000 samples; expected a multiple of 2500"),
        (["--width", "0"], "--width 0; expected 1 or more"),
        (["--batch", "0"], "--batch 0; expected 1 or more"),
        (["--critic-steps", "-1"], "--critic-steps -1"),
        (["--scale", "0"], "--scale 0.0; expected more than 0"),
        (["--penalty-share", "2"], "--penalty-share 2.0"),
        (["--data", "nowhere:x"], "unknown source 'nowhere'"),
        (["--data", "wfdb:nowhere"], "no such record or folder"),
    ],
)
def test_wrong_requests(words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--out", str(tmp_path / "run"), "--width" if "--width" not in words else "--seed", "1"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_it_stops_by_the_clock_and_by_the_judge(tmp_path: Path) -> None:
    path = train(config(tmp_path / "clock", model="wavegan", minutes=0.0))
    assert torch.load(path, weights_only=True)["step"] == 0
    path = train(config(tmp_path / "judge", model="image", steps=40, check=1, patience=1))
    assert 1 < torch.load(path, weights_only=True)["step"] < 40


def test_several_processes(tmp_path: Path) -> None:
    """Two of them have the same networks in the end, from ECGs of their own."""
    words = ["--out", str(tmp_path / "run"), "--samples", "2500", "--batch", "2", "--critic-steps", "1", "--width", "1"]
    words += ["--steps", "2", "--threads", "1", "--no-bf16", "--model", "wavegan"]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    arguments = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "synth.train",
    ]
    done = subprocess.run(
        [*arguments, *words], capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    alone = train(config(tmp_path / "alone", model="wavegan"))
    a, b = (torch.load(path, weights_only=True) for path in (tmp_path / "run" / "checkpoint.pt", alone))
    assert a["step"] == 2
    key = "up.5.bias"
    assert not torch.equal(a["generator"][key], b["generator"][key])  # the other process' ECGs count, too


# Export


@pytest.mark.parametrize("model", MODELS)
def test_export(model: str, runs: dict[str, Path], tmp_path: Path) -> None:
    path = export(runs[model], tmp_path, "one core", "made up")
    card = json.loads(path.read_text("utf-8"))
    assert path == tmp_path / f"{model}.json"
    data = path.with_suffix(".onnx").read_bytes()
    assert hashlib.sha256(data).hexdigest() == card["sha256"]
    assert (card["model"], card["steps"], card["seed"], card["compute"]) == (model, 2, 0, "one core")
    assert card["data"] == "made up" and card["records"] == 32 and card["difference_from_torch_mv"] < 1e-3
    assert "out" not in card["training"] and card["training"]["data"] == ["samples"]
    # What it makes is what torch makes of the same noise.
    made = next(generate(1, path, seed=9, seconds=5.0))
    shape = tuple(card["noise"])
    z = np.random.default_rng(np.random.SeedSequence([9, 0])).random(shape, dtype=np.float32) * 2 - 1
    saved = torch.load(runs[model] / "checkpoint.pt", weights_only=True)
    small = Config(**{**saved["config"], "data": tuple(saved["config"]["data"])})
    net, _ = build(small)
    weights = {key.removeprefix("module."): value for key, value in saved["average"].items() if key != "n_averaged"}
    net.load_state_dict(weights)
    net.eval()
    with torch.no_grad():
        expected = to_mv(net(torch.from_numpy(z)[None]), small)[0]
    got = made.select(LEADS8).mv
    assert np.abs(got - expected).max() < 0.02 * expected.std()
    assert noise(net, 2).shape == (2, *shape)
    # Weights in 32 bits take twice the room.
    full = export(runs[model], tmp_path / "full", half=False)
    assert 1.7 < full.with_suffix(".onnx").stat().st_size / len(data) < 2.2


def test_export_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export_main([str(tmp_path)]) == 2
    (tmp_path / "checkpoint.pt").write_bytes(b"not one")
    assert export_main([str(tmp_path)]) == 2
    text = capsys.readouterr().err
    assert text.count("expected the checkpoint.pt of python -m synth.train") == 2


def test_help() -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
