"""Training a GAN: it changes what it should, goes on where it stopped, refuses bad data, and exports what it is."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ecg_image_kit import Record, RecordError, UsageError, open_source
from synth.condition import LEADS8
from synth.generate import generate
from synth.onnx_model import OnnxModel

torch = pytest.importorskip("torch")
from synth import export as exporting  # noqa: E402
from synth import train as training  # noqa: E402
from synth.export import ExportError, export  # noqa: E402
from synth.export import main as export_main  # noqa: E402
from synth.train import (  # noqa: E402
    MODELS,
    Config,
    Diverged,
    Trainer,
    build,
    load_checkpoint,
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
    whole = train(config(tmp_path / "whole", model=model, steps=3, check=1))  # looked at, and judged, after each step
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


WORDS = [
    "--samples", "2500", "--batch", "2", "--critic-steps", "1", "--width", "1", "--features", "2", "--threads", "1",
    "--no-bf16", "--model", "wavegan",
]  # fmt: skip


def copy_of(run: Path, folder: Path) -> Path:
    return Path(shutil.copytree(run, folder))


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kept", [True, False])
def test_losses_that_are_not_finite(
    kept: bool, runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They end the training, and what was kept before is left as it was."""
    out = tmp_path / "run"
    if kept:
        copy_of(runs["wavegan"], out)
    before = files_in(out)
    assert main([*WORDS, "--out", str(out), "--steps", "5", "--check", "1", "--rate", "1e30"]) == 1
    said = capsys.readouterr().err
    assert f"error: step {3 if kept else 1}: distance" in said and "with a --rate below 1e+30" in said
    assert (f"{out / 'checkpoint.pt'} is still the last good one" if kept else "Nothing was kept") in said
    assert files_in(out) == before


@pytest.mark.parametrize("net", ["generator", "critic", "average"])
def test_weights_that_are_not_finite_are_not_kept(
    net: str, runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last update of a step comes after its losses were computed."""
    out = copy_of(runs["wavegan"], tmp_path / "run")
    before = files_in(out)
    step = Trainer.step

    def ruining(trainer: Trainer) -> dict[str, float]:
        figures = step(trainer)
        with torch.no_grad():
            next(getattr(trainer, net).parameters())[0] = math.inf
        return figures

    monkeypatch.setattr(Trainer, "step", ruining)
    with pytest.raises(Diverged, match="step 3: its update made weights that are not finite"):
        train(config(out, model="wavegan", steps=3, check=1))
    assert files_in(out) == before


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C as it is in a program, whatever the tests' own does."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_loses_nothing(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    update, wanted = Trainer._update, 3  # in the midst of the second step

    def pressing(trainer: Trainer, which: int, loss: Any) -> None:
        nonlocal wanted
        wanted -= 1
        if not wanted:
            signal.raise_signal(signal.SIGINT)
        update(trainer, which, loss)

    monkeypatch.setattr(Trainer, "_update", pressing)
    out = tmp_path / "run"
    assert main([*WORDS, "--out", str(out), "--steps", "40"]) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"stopped: {out / 'checkpoint.pt'} keeps all 2 steps; the same command goes on from there."
    a, b = (load_checkpoint(run / "checkpoint.pt") for run in (out, runs["wavegan"]))
    assert a["step"] == 2
    assert all(torch.equal(value, b[net][key]) for net in ("generator", "critic") for key, value in a[net].items())


@pytest.mark.usefixtures("ctrl_c")
def test_a_second_ctrl_c_stops_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pressing(trainer: Trainer) -> dict[str, float]:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("still here")

    monkeypatch.setattr(Trainer, "step", pressing)
    assert main([*WORDS, "--out", str(tmp_path), "--steps", "40"]) == 130
    assert capsys.readouterr().err == "stopped\n"


def test_a_log_that_begins_before_the_first_step(tmp_path: Path) -> None:
    train(config(tmp_path, model="wavegan", minutes=0.0))
    train(config(tmp_path, model="wavegan"))
    with (tmp_path / "log.csv").open(newline="") as stream:
        assert [row["step"] for row in csv.DictReader(stream)] == ["2"]


# The published recipe


def test_the_recipe_is_the_published_one() -> None:
    """Thambawita et al., 2021, and their code."""
    published = {
        "samples": 5000, "batch": 32, "critic_steps": 5, "width": 50, "slope": 0.01, "shuffle": 2, "penalty": 10.0,
        "penalty_share": 1.0, "rate": 1e-4, "beta1": 0.5, "beta2": 0.9,
    }  # fmt: skip
    assert {name: getattr(Config(), name) for name in published} == published


def trainer_of(world: int = 1, **changes: Any) -> Trainer:
    small = config(Path("unused"), **changes)
    return Trainer(small, np.full((4, 8, 2500), 300, np.int16), torch.device("cpu"), world=world)


def test_what_the_configuration_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    changes: dict[str, Any] = {"beta1": 0.3, "beta2": 0.7, "rate": 2e-3, "shuffle": 1, "width": 2, "slope": 0.1}
    trainer = trainer_of(model="pulse2pulse", critic_steps=3, batch=4, penalty_share=0.5, **changes)
    for optimizer in trainer.optimizers:
        assert [(group["betas"], group["lr"]) for group in optimizer.param_groups] == [((0.3, 0.7), 2e-3)]
    assert (trainer.generator.slope, trainer.critic.shuffle) == (0.1, 1)
    assert trainer.critic.layers[0].weight.shape[0] == 2
    updates: list[int] = []
    counts: list[int] = []
    penalty = training.gradient_penalty
    monkeypatch.setattr(trainer, "_update", lambda which, loss: updates.append(which))
    monkeypatch.setattr(training, "gradient_penalty", lambda *args: (counts.append(len(args[1])), penalty(*args))[1])
    trainer.step()
    assert updates == [1, 1, 1, 0] and counts == [2, 2, 2]


def test_going_on_takes_the_new_rate_and_betas(runs: dict[str, Path]) -> None:
    trainer = trainer_of(model="wavegan", rate=3e-5, beta1=0.0, beta2=0.99)
    path = runs["wavegan"] / "checkpoint.pt"
    trainer.restore(load_checkpoint(path), path)
    for optimizer in trainer.optimizers:
        assert [(group["betas"], group["lr"]) for group in optimizer.param_groups] == [((0.0, 0.99), 3e-5)]


def test_the_critic_learns_by_distance_and_penalty() -> None:
    """Of ``Level`` both are known: its gradient is 100 w / n on each of an ECG's n samples."""
    trainer = trainer_of(model="wavegan", penalty=7.0)
    critic = trainer.critic = Level()
    trainer.optimizers[1] = torch.optim.SGD(critic.parameters(), 1e-3)
    w = critic.weight.item()
    figures = trainer.step()
    root = math.sqrt(8 * 2500)
    off = 100 * w / root - 1
    assert figures["penalty"] == pytest.approx(off**2, rel=1e-5)
    slope = 7 * 2 * off * 100 / root - figures["distance"] / w
    assert critic.weight.item() == pytest.approx(w - 1e-3 * slope, rel=1e-4)


def test_several_processes_take_the_mean_of_their_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trainer_of(world=2, model="wavegan")
    critic = trainer.critic = Level()
    trainer.optimizers[1] = torch.optim.SGD(critic.parameters(), 1.0)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda flat: flat.add_(5.0))  # the other's gradient
    before = critic.weight.item()
    trainer._update(1, 3 * critic.weight)
    assert critic.weight.item() == pytest.approx(before - (3 + 5) / 2)


@pytest.mark.parametrize(("native", "asked"), [(True, True), (True, False), (False, True)])
def test_bf16_only_where_the_device_knows_it(native: bool, asked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is emulated, it takes several times as long."""
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: native, raising=False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native)
    assert training.knows_bf16(torch.device("cpu")) is training.knows_bf16(torch.device("cuda")) is native
    trainer = trainer_of(model="wavegan", bf16=asked)
    assert trainer._fast()._enabled is trainer.state()["config"]["bf16"] is (native and asked)


def test_keeping_takes_no_copy_of_the_data(tmp_path: Path) -> None:
    data = np.zeros((800, 8, 2500), np.int16)
    data[:, 3] = [-500, 500] * 1250
    tracemalloc.start()
    try:
        trainer = Trainer(config(tmp_path, model="wavegan"), data, torch.device("cpu"))
        trainer.steps = 1
        training._keep(tmp_path / "checkpoint.pt", trainer, {})
        assert tracemalloc.get_traced_memory()[1] < data.nbytes
    finally:
        tracemalloc.stop()
    np.testing.assert_allclose(trainer.spread, [0, 0, 0, 0.5, 0, 0, 0, 0])


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
    part = load_data(config(tmp_path, data=(f"ptbxl:{root}@2:-3",)))
    assert np.array_equal(part, data[4:-6])
    assert np.array_equal(load_data(config(tmp_path, data=(f"ptbxl:{root}@:2",), scp="NORM")), some[:4])
    # Of each source the last are kept out, or an evaluation on the second one's would be on what was learnt.
    two = load_data(config(tmp_path, data=("samples", f"ptbxl:{root}"), skip_last=3))
    assert np.array_equal(two, np.concatenate([fewer, fewer]))


@pytest.mark.parametrize("others", [(), ("samples",)])
def test_labels_are_not_asked_of_records_without(
    others: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record().write_npz(tmp_path / "r.npz")
    words = ["--data", *others, f"npz:{tmp_path}", "--scp", "NORM", "--out", str(tmp_path / "run")]
    assert main([*WORDS, *words]) == 2
    said = capsys.readouterr().err
    assert f"--scp NORM of npz:{tmp_path}, whose records cannot be chosen by labels" in said
    assert "Leave --scp out" in said
    # A folder of PTB-XL has labels, even if it is not called so.
    folder = str(ROOT / "data" / "samples")
    chosen, named = (load_data(config(tmp_path, data=(at,), scp="NORM")) for at in (folder, f"ptbxl:{folder}"))
    assert np.array_equal(chosen, named)


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
        (["--penalty-share", "2"], "--penalty-share 2.0; expected more than 0, at most 1"),
        (["--seed", "-1"], "--seed -1; expected 0 or more"),
        (["--seed", str(2**64)], "expected 0 or more, less than 2^63"),
        (["--threads", "0"], "--threads 0; expected 1 to 1024"),
        (["--beta1", "1.5"], "--beta1 1.5; expected 0 or more, less than 1"),
        (["--ema", "2"], "--ema 2.0; expected 0 or more, less than 1"),
        (["--shuffle", "-1"], "--shuffle -1; expected 0 or more"),
        (["--shuffle", "20"], "--shuffle 20 of 5000 samples; expected at most 19"),
        (["--model", "image", "--features", "0"], "--features 0; expected 1 or more"),
        (["--model", "image", "--samples", "2"], "expected 32 x 32 or more"),
        (["--penalty", "-5"], "--penalty -5.0; expected 0 or more"),
        (["--minutes", "nan"], "--minutes nan; expected 0 or more"),
        (["--fs", "1e-5"], "--fs 1e-05; expected 1 to 100000 Hz"),
        (["--data", "nowhere:x"], "unknown source 'nowhere'"),
        (["--data", "wfdb:nowhere"], "no such record or folder"),
    ],
)
def test_wrong_requests(words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--out", str(tmp_path / "run"), "--width" if "--width" not in words else "--seed", "1"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_all_numbers_have_limits(tmp_path: Path) -> None:
    numbers = {f.name: type(f.default) for f in fields(Config) if type(f.default) in (int, float)}
    assert sorted(" ".join(names for names, *_ in training._LIMITS).split()) == sorted(numbers)
    for name in [name for name, kind in numbers.items() if kind is float]:
        with pytest.raises(UsageError, match="nan; expected"):
            train(config(tmp_path / "run", **{name: math.nan}))


def test_a_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    assert main([*WORDS, "--out", str(tmp_path / "file" / "run")]) == 1
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_it_stops_by_the_clock_and_by_the_judge(tmp_path: Path) -> None:
    path = train(config(tmp_path / "clock", model="wavegan", minutes=0.0))
    assert torch.load(path, weights_only=True)["step"] == 0
    path = train(config(tmp_path / "judge", model="image", steps=40, check=1, patience=1))
    assert 1 < torch.load(path, weights_only=True)["step"] < 40


def test_r1_keeps_the_discriminator_from_certainty() -> None:
    """Its slope at real images falls; every fourth step is enough."""

    def slope(r1: float) -> float:
        trainer = trainer_of(model="image", r1=r1)
        for _ in range(24):
            trainer.step()
        real = trainer._real(np.random.default_rng(0)).requires_grad_()
        (grad,) = torch.autograd.grad(trainer.critic(real).sum(), real)
        return float(grad.flatten(1).norm(dim=1).mean())

    assert slope(30.0) < 0.7 * slope(0.0)


def test_checkpoints_of_before_there_was_r1(runs: dict[str, Path], tmp_path: Path) -> None:
    def forget(saved: Any) -> None:
        del saved["config"]["r1"]

    run = changed(runs["wavegan"], tmp_path / "run", forget)
    assert load_checkpoint(run / "checkpoint.pt")["config"]["r1"] == 0


# One of several processes: it trains with plain gradient descent, and tells its own gradients and the weights.
PROCESS = """
import os, sys, torch
from synth import train
made = []
reduce = torch.distributed.all_reduce
def told(flat):
    made[0].own.append(flat.clone())
    reduce(flat)
torch.distributed.all_reduce = told
class Plain(train.Trainer):
    def __init__(self, *args):
        super().__init__(*args)
        self.own, self.optimizers = [], [torch.optim.SGD(net.parameters(), 1e-3) for net in self.nets()]
        self.first = self.weights()
        made.append(self)
    def nets(self):
        return self.generator, self.critic
    def weights(self):
        return [torch.cat([p.detach().flatten() for p in net.parameters()]) for net in self.nets()]
train.Trainer = Plain
status = train.main(sys.argv[1:])
torch.save({"own": made[0].own, "first": made[0].first, "last": made[0].weights()}, f"{os.environ['RANK']}.pt")
sys.exit(status)
"""


def test_several_processes(tmp_path: Path) -> None:
    """Each learns from ECGs of its own, and all take the same step: by the mean of their gradients."""
    (tmp_path / "process.py").write_text(PROCESS)
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "process.py"]
    done = subprocess.run(
        [*launch, *WORDS, "--steps", "1", "--out", "run"], capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    saved = load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert saved["step"] == 1
    a, b = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    for net, update in ((0, 1), (1, 0)):  # the critic's comes first
        assert torch.equal(a["last"][net], b["last"][net]) and torch.equal(a["first"][net], b["first"][net])
        one, other = a["own"][update], b["own"][update]
        assert (one - other).abs().max() > 0.1 * one.abs().max()
        torch.testing.assert_close(a["first"][net] - a["last"][net], 1e-3 * (one + other) / 2, rtol=1e-3, atol=1e-6)
    kept = torch.cat([saved["critic"][key].flatten() for key in saved["critic"]])
    assert kept.numel() == a["last"][1].numel() and torch.equal(kept, a["last"][1])


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


def changed(run: Path, out: Path, change: Any) -> Path:
    """A run whose checkpoint was changed."""
    saved = torch.load(run / "checkpoint.pt", weights_only=True)
    out.mkdir()
    other = change(saved)
    torch.save(saved if other is None else other, out / "checkpoint.pt")
    return out


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda saved: {"a": 1}, "KeyError: 'config'"),
        (lambda saved: torch.zeros(3), "Error: "),
        (lambda saved: {**saved, "average": None, "more": 1}, "'more' is not known"),
        (lambda saved: {"config": saved["config"]}, "'average' is missing"),
        (lambda saved: saved["config"].pop("drop_bad") or None, "'drop_bad' is missing"),
        (lambda saved: saved["config"].update(later=1), "'later' is not known"),
    ],
)
def test_checkpoints_of_others(
    change: Any, why: str, runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = changed(runs["wavegan"], tmp_path / "run", change)
    assert export_main([str(run), "--out", str(tmp_path / "out")]) == 2
    assert main([*WORDS, "--out", str(run)]) == 2
    text = capsys.readouterr().err
    assert text.count("expected the checkpoint.pt of python -m synth.train") == text.count(why) == 2


def test_export_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export_main([str(tmp_path)]) == 2
    (tmp_path / "checkpoint.pt").write_bytes(b"not one")
    assert export_main([str(tmp_path)]) == 2
    text = capsys.readouterr().err
    assert text.count("expected the checkpoint.pt of python -m synth.train") == 2


def test_export_keeps_what_was_there(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A network that is not finite, too large, or not what torch has, is refused, and leaves no trace."""
    out = tmp_path / "out"
    export(runs["wavegan"], out)
    before = files_in(out)

    def ruin(saved: Any) -> None:
        saved["average"]["module.up.5.bias"][0] = math.nan

    ruined = changed(runs["wavegan"], tmp_path / "ruined", ruin)
    assert export_main([str(ruined), "--out", str(out)]) == 1
    assert "is not finite; expected mV" in capsys.readouterr().err
    real = exporting._write
    for off in (math.nan, 1.0):
        monkeypatch.setattr(
            exporting, "_write", lambda model, z, expected, *rest, off=off: real(model, z, expected + off, *rest)
        )
        with pytest.raises(ExportError, match=f"differs from torch by {off:.2g}; expected at most 0.001"):
            export(runs["wavegan"], out)
    monkeypatch.setattr(exporting, "_write", real)
    monkeypatch.setattr(exporting, "_MOST", 1e5)
    assert export_main([str(runs["wavegan"]), "--out", str(out)]) == 2
    assert "expected at most 0 MB. --full writes it" in capsys.readouterr().err
    assert files_in(out) == before
    assert export_main([str(runs["wavegan"]), "--out", str(out / "wavegan.onnx")]) == 1  # a file is in the way


def test_a_network_that_makes_no_numbers_is_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = export(runs["wavegan"], tmp_path, half=False)
    model = onnx.load(str(path.with_suffix(".onnx")))
    bias = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("up.5.bias"))
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(8, np.nan, np.float32), bias.name))
    data = model.SerializeToString()
    path.with_suffix(".onnx").write_bytes(data)
    path.write_text(json.dumps({**json.loads(path.read_text()), "sha256": hashlib.sha256(data).hexdigest()}))
    OnnxModel(path)  # its card and hash are in order
    with pytest.raises(RecordError, match=r"model wavegan makes ECGs that are not finite; expected mV\. .* --rate"):
        next(generate(1, path, seconds=5.0))


def test_checkpoints_of_before_the_slope_was_kept(runs: dict[str, Path], tmp_path: Path) -> None:
    """Their encoder had 0.2."""

    def forget(saved: Any) -> None:
        del saved["config"]["slope"]

    run = changed(runs["pulse2pulse"], tmp_path / "run", forget)
    path = run / "checkpoint.pt"
    assert load_checkpoint(path)["config"]["slope"] == 0.2
    with pytest.raises(UsageError, match=r"slope was 0\.2, is 0\.01"):
        train(config(run, model="pulse2pulse"))
    trainer_of(model="pulse2pulse", slope=0.2).restore(load_checkpoint(path), path)
    card = json.loads(export(run, tmp_path / "out", half=False).read_text())
    assert card["training"]["slope"] == 0.2
    run = changed(runs["wavegan"], tmp_path / "other", forget)  # which has none to differ in
    trainer_of(model="wavegan").restore(load_checkpoint(run / "checkpoint.pt"), run)


def test_help() -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
