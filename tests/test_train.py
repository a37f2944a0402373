"""Training: it learns, goes on where it stopped, takes what users bring, and its export says what torch says."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from digitizer import network
from digitizer.patches import LABELS, Mixture, Patch
from ecg_image_kit import Page, Record, UsageError, open_source

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # or importing it asks the network for its newest version

torch = pytest.importorskip("torch")
from digitizer import train as training  # noqa: E402
from digitizer.export import export  # noqa: E402
from digitizer.export import main as export_main  # noqa: E402
from digitizer.model import Seen, build  # noqa: E402
from digitizer.train import Config, check, loss_of, records, tensors, train, validation  # noqa: E402

U8 = NDArray[np.uint8]
ROOT = Path(__file__).resolve().parents[1]
TINY = "small:4,4,8,8,8"
PAGES = Mixture(recipes=(("clean", 1.0),), dpi=(60.0, 80.0), layouts=("3x4",))


def config(out: Path, **changes: Any) -> Config:
    """A training of seconds."""
    small = Config(
        out=str(out), arch=TINY, size=64, batch=2, steps=3, pages=PAGES, pieces=8, shuffle=8, warmup=2, threads=1,
        workers=0, limit=2, bf16=False,
    )  # fmt: skip
    return replace(small, **changes)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(config(tmp_path_factory.mktemp("run"), minutes=math.inf))


@pytest.fixture(scope="module")
def weights(checkpoint: Path) -> Path:
    folder = checkpoint.parent / "weights"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's, about its own exporter
        export(checkpoint, folder, "one core")
    return folder


def log_of(checkpoint: Path) -> list[dict[str, str]]:
    with (checkpoint.parent / "log.csv").open() as stream:
        return list(csv.DictReader(stream))


# Learning


def test_it_learns(tmp_path: Path) -> None:
    """The loss on pieces that stay the same falls, and by more than a constant answer could make it fall."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    batch = validation(config(tmp_path, size=96, batch=4))[0]
    net = build("small:8,8,8,8,8")
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2)
    parts = []
    for _ in range(40):
        loss, now = loss_of(net(batch[0].float() / 255), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        parts.append({key: float(value.detach()) for key, value in {"loss": loss, **now}.items()})
    assert parts[-1]["loss"] < 0.6 * parts[0]["loss"]
    share = (batch[1].float() / 255).mean((0, 2, 3)).clamp(1e-6, 1 - 1e-6)
    constant = -(share * share.log() + (1 - share) * (1 - share).log())  # the least cross-entropy without looking
    assert parts[-1]["ink"] < 0.9 * float(constant.mean())


def test_a_run(checkpoint: Path) -> None:
    (row,) = log_of(checkpoint)
    assert row["step"] == "3"
    assert all(math.isfinite(float(value)) for value in row.values())
    shares = [float(row[f"train {part}"]) for part in ("ink", "dice", "labels", "turn")]
    assert all(0 < share < float(row["train loss"]) for share in shares)
    assert (checkpoint.parent / "seen.png").stat().st_size > 500
    assert not list(checkpoint.parent.glob("*.part"))


def test_it_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = []
    pieces = training.Pieces

    def noted(config: Config, start: int, *others: Any) -> Any:
        starts.append(start)
        return pieces(config, start, *others)

    monkeypatch.setattr(training, "Pieces", noted)
    path = train(config(tmp_path, steps=2, check=2))
    first = torch.load(path, weights_only=True)
    train(config(tmp_path, steps=5, check=2))
    last = torch.load(path, weights_only=True)
    assert starts == [0, 2] and (first["step"], last["step"]) == (2, 5)
    assert last["seconds"] > first["seconds"] > 0
    counted = [state["step"] for state in last["optimizer"]["state"].values()]
    assert {int(step) for step in counted} == {5}  # the optimizer's own count
    assert int(last["average"]["n_averaged"]) == 5
    assert [row["step"] for row in log_of(path)] == ["2", "4", "5"]
    kept = path.read_bytes()
    train(config(tmp_path, steps=5, check=2))  # nothing is left to do
    assert path.read_bytes() == kept and len(log_of(path)) == 3


def test_the_running_mean_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after going on: it must not start from 0 again."""
    train(config(tmp_path, steps=3))
    losses = []

    def noted(*given: Any) -> Any:
        loss, parts = loss_of(*given)
        if loss.requires_grad:
            losses.append(float(loss.detach()))
        return loss, parts

    monkeypatch.setattr(training, "loss_of", noted)
    path = train(config(tmp_path, steps=5))
    assert float(log_of(path)[-1]["train loss"]) == pytest.approx(np.mean(losses), rel=1e-3) and len(losses) == 2


def test_same_seed_same_weights(checkpoint: Path, tmp_path: Path) -> None:
    one, two, other = (
        torch.load(path, weights_only=True)["model"]
        for path in (checkpoint, train(config(tmp_path / "a")), train(config(tmp_path / "b", seed=1)))
    )
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


def test_training_goes_on_from_exported_weights(weights: Path, checkpoint: Path, tmp_path: Path) -> None:
    """An export has its normalisations folded away; the network that starts from it says the same as before."""
    from digitizer.model import start_from

    torch.manual_seed(3)
    image = torch.rand(2, 3, 64, 96)
    net, before = build(TINY), build(TINY)
    saved = torch.load(checkpoint, weights_only=True)["average"]
    before.load_state_dict({k.removeprefix("module."): v for k, v in saved.items() if k.startswith("module.")})
    start_from(net, weights / "reader.onnx", image)
    assert net.training
    with torch.no_grad():
        for mine, theirs in zip(net.eval()(image), before.eval()(image), strict=True):
            assert torch.allclose(mine, theirs, atol=1e-4)
        normed: list[Any] = []
        norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.register_forward_pre_hook(lambda m, x: normed.append((m, x[0].transpose(0, 1).flatten(1))))
        net(image)
    for norm, x in normed:  # what they expect is what they get
        assert torch.allclose(norm.running_mean, x.mean(1), atol=1e-4)
        assert torch.allclose(norm.running_var, x.var(1, unbiased=False), rtol=1e-3, atol=1e-5)
    path = train(config(tmp_path, start=str(weights), steps=1))
    assert torch.load(path, weights_only=True)["step"] == 1


@pytest.mark.parametrize(("arch", "says"), [("small:4,4,8,8,16", "another network"), (TINY, "cannot be read")])
def test_no_start(arch: str, says: str, weights: Path, tmp_path: Path) -> None:
    folder = weights if says == "another network" else tmp_path
    with pytest.raises(UsageError, match=says):
        train(config(tmp_path / "run", arch=arch, start=str(folder)))


def test_minutes(tmp_path: Path) -> None:
    path = train(config(tmp_path, steps=10**6, minutes=0.02))
    saved = torch.load(path, weights_only=True)
    assert 0 < saved["step"] < 1000 and 1 < saved["seconds"] < 30


def test_the_checkpoint_that_is_in_the_way(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"checkpoint\.pt holds a network small:4,4,8,8,8; expected small\. Give another"
    ):
        train(config(checkpoint.parent, arch="small"))
    (tmp_path / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(UsageError, match=r"checkpoint\.pt cannot be read"):
        train(config(tmp_path))


def test_a_size_that_no_network_takes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="size 100; expected a multiple of 32"):
        train(config(tmp_path, size=100))


# Records


def test_records_are_kept_back(tmp_path: Path) -> None:
    names = list(open_source("samples").names())
    for skip, kept in ((0, 0), (3, 3), (200, len(names) // 4)):
        used, held = ([load.args[0] for load in loads] for loads in records(config(tmp_path, skip=skip)))
        assert used == names[kept:]
        assert held == (names[:kept] or names)
    used, held = records(config(tmp_path, src=("samples", "ecgsyn"), skip=2))
    assert len(used) == len(names) - 2 + 1000 and len(held) == 2


def test_pages_that_cannot_be_made(tmp_path: Path) -> None:
    """Some of them are passed over; if it is all of them, the reason is said, instead of trying for ever."""

    class Moody(Mixture):
        def page(self, record: Record, rng: np.random.Generator) -> Page:
            if rng.random() < 0.5:
                raise UsageError("not this one")
            return super().page(record, rng)

    moody = Moody(PAGES.recipes, PAGES.severity, PAGES.dpi, PAGES.layouts)
    assert train(config(tmp_path, pages=moody, steps=1)).exists()
    with pytest.raises(UsageError, match="layout '3by4'"):
        validation(config(tmp_path, pages=replace(PAGES, layouts=("3by4",))))
    with pytest.raises(UsageError, match="unknown source 'ptb'"):
        train(config(tmp_path / "b", src=("ptb",)))


# Losses


def batch_of(ink: float, turn: int = 0) -> tuple[Any, Any, Any, Any]:
    image = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    labels = torch.zeros(1, 8, 8, dtype=torch.int64)
    return image, torch.full((1, 2, 32, 32), round(255 * ink), dtype=torch.uint8), labels, torch.tensor([turn])


@pytest.mark.parametrize("share", [0.2, 0.6, 1.0])
def test_coverage_costs_least_where_it_is_true(share: float) -> None:
    grid = np.linspace(0.02, 0.98, 49)
    costs = {"ink": [], "dice": []}  # type: dict[str, list[float]]
    for guess in grid:
        logit = torch.full((1, 2, 32, 32), math.log(guess / (1 - guess)))
        _, parts = loss_of(Seen(logit, torch.zeros(1, len(LABELS), 8, 8), torch.zeros(1, 4, 2, 2)), batch_of(share))
        for key, cost in costs.items():
            cost.append(float(parts[key]))
    for cost in costs.values():
        assert grid[int(np.argmin(cost))] == pytest.approx(min(share, 0.98), abs=0.011)


def test_turns_cost_where_they_are_mistaken() -> None:
    ink, names = torch.zeros(1, 2, 32, 32), torch.zeros(1, len(LABELS), 8, 8, requires_grad=True)
    for turn in range(4):
        cost = []
        for said in range(4):
            logits = torch.zeros(1, 4, 2, 2)
            logits[:, said] = 3.0
            cost.append(float(loss_of(Seen(ink, names, logits), batch_of(0.0, turn))[1]["turn"]))
        assert int(np.argmin(cost)) == turn


def test_names_of_turned_pieces_do_not_count() -> None:
    names = torch.randn(1, len(LABELS), 8, 8, requires_grad=True)
    for turn, counts in ((0, True), (1, False)):
        loss, parts = loss_of(Seen(torch.zeros(1, 2, 32, 32), names, torch.zeros(1, 4, 2, 2)), batch_of(0.0, turn))
        loss.backward()
        assert (float(parts["labels"].detach()) > 0) == counts
        assert names.grad is not None  # or several processes would wait for this gradient
        assert bool((names.grad != 0).any()) == counts
        names.grad = None


class Oracle(torch.nn.Module):
    """Says what is true of one batch."""

    def __init__(self, batch: Any) -> None:
        super().__init__()
        _, ink, labels, turn = batch
        share = (ink.float() / 255).clamp(1e-4, 1 - 1e-4)
        self.seen = Seen(
            torch.logit(share), 20 * torch.nn.functional.one_hot(labels, len(LABELS)).permute(0, 3, 1, 2).float(),
            20 * torch.nn.functional.one_hot(turn, 4)[:, :, None, None].expand(-1, -1, 4, 4).float(),
        )  # fmt: skip

    def forward(self, image: Any) -> Seen:
        return self.seen


def test_figures_of_one_who_knows(tmp_path: Path) -> None:
    batch = validation(config(tmp_path, size=64, batch=12))[0]
    figures, picture = check(Oracle(batch), [batch], torch.device("cpu"))
    assert figures["missed"] == figures["invented"] == 0 and figures["upright"] == 1
    assert figures["dice"] < 0.01 and figures["labels"] < 1e-3
    assert figures["named"] == 1 and (batch[2] > 0).any()
    assert picture.shape == (3 * 64, 8 * 64, 3)
    np.testing.assert_allclose(picture[64:128], picture[128:].astype(float), atol=1)  # the truth, and what is seen


# What users bring


def test_own_augmentation_and_own_pages(tmp_path: Path) -> None:
    seen = []

    def own(image: U8, rng: np.random.Generator) -> U8:
        seen.append(image)
        return 255 - image

    class Own(Mixture):
        def page(self, record: Record, rng: np.random.Generator) -> Page:
            page = super().page(record, rng)
            return replace(page, image=np.full_like(page.image, 77))

    pages = Own(PAGES.recipes, PAGES.severity, PAGES.dpi, PAGES.layouts)
    train(config(tmp_path, pages=pages, steps=2), augment=own)
    assert len(seen) >= 4
    assert all(image.shape == (64, 64, 3) and image.dtype == np.uint8 and (image == 77).all() for image in seen)


def test_an_augmentation_that_moves_pixels_about(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"augment gave uint8 \(32, 64, 3\); expected uint8 \(64, 64, 3\)"):
        train(config(tmp_path), augment=lambda image, rng: image[::2])
    with pytest.raises(UsageError, match="augment gave float32"):
        train(config(tmp_path), augment=lambda image, rng: image / np.float32(255))


def test_albumentations() -> None:
    a = pytest.importorskip("albumentations")
    chain = a.Compose([a.RandomBrightnessContrast(p=1.0), a.GaussNoise(p=1.0)])

    def own(image: U8, rng: np.random.Generator) -> U8:
        chain.set_random_seed(int(rng.integers(2**31)))
        return np.asarray(chain(image=image)["image"], np.uint8)

    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    piece = Patch(image, np.zeros((64, 64, 2), np.uint8), np.zeros((16, 16), np.uint8), 0)
    one, same, other = (tensors(piece, own, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert one.shape == (3, 64, 64) and not torch.equal(one, torch.from_numpy(image).permute(2, 0, 1))


# Networks


@pytest.mark.parametrize("arch", ["small", TINY, "smp:resnet18"])
def test_networks(arch: str) -> None:
    if arch.startswith("smp"):
        pytest.importorskip("segmentation_models_pytorch")
    net = build(arch)
    seen = net(torch.rand(2, 3, 64, 96))
    assert seen.ink.shape == (2, 2, 64, 96)
    assert seen.labels.shape == (2, len(LABELS), 16, 24)
    assert seen.turn.shape == (2, 4, 4, 6)
    (seen.ink.sum() + seen.labels.sum() + seen.turn.sum()).backward()
    idle = [name for name, p in net.named_parameters() if p.grad is None]
    assert not idle  # or several processes would wait for their gradients


@pytest.mark.parametrize(
    "arch", ["", "large", "smp", "smp:", "small:16,x,64,96,128", "small:1,2", "small:3,4,8,8,8", "small:0,4,8,8,8"]
)
def test_no_such_network(arch: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        build(arch)


def test_no_such_encoder() -> None:
    pytest.importorskip("segmentation_models_pytorch")
    with pytest.raises(ValueError, match="encoder 'resnet19'; expected one of"):
        build("smp:resnet19")


# Export


def test_export_says_what_torch_says(checkpoint: Path, weights: Path) -> None:
    saved = torch.load(checkpoint, weights_only=True)
    net = build(TINY)
    averaged = {k.removeprefix("module."): v for k, v in saved["average"].items() if k.startswith("module.")}
    net.load_state_dict(averaged)
    image = np.random.default_rng(0).integers(0, 256, (96, 160, 3), np.uint8)
    with torch.no_grad():
        seen = net.eval()(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)
    view = network.Network(weights).see(image)
    np.testing.assert_allclose(view.trace, torch.sigmoid(seen.ink)[0, 0], atol=1e-3)
    np.testing.assert_allclose(view.pulse, torch.sigmoid(seen.ink)[0, 1], atol=1e-3)
    np.testing.assert_allclose(view.labels, torch.softmax(seen.labels, 1)[0].permute(1, 2, 0), atol=1e-3)
    assert view.names == LABELS


def test_card(weights: Path) -> None:
    text = (weights / "reader.json").read_text("utf-8")
    card = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert card["sha256"] == hashlib.sha256((weights / "reader.onnx").read_bytes()).hexdigest()
    assert card["steps"] == 3 and card["training"]["arch"] == TINY and card["training"]["minutes"] is None
    assert card["parameters"] == sum(p.numel() for p in build(TINY).parameters())
    assert card["training"]["src"] == ["samples"] and card["compute"] == "one core"
    assert str(weights.parent) not in text  # nothing of the machine that it was made on
    assert sorted(path.name for path in weights.iterdir()) == ["reader.json", "reader.onnx"]


def test_sources_are_named_without_their_folders(checkpoint: Path, tmp_path: Path) -> None:
    saved = torch.load(checkpoint, weights_only=True)
    saved["config"]["src"] = (f"ptbxl:{tmp_path}", "samples")
    torch.save(saved, tmp_path / "checkpoint.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        card = export(tmp_path / "checkpoint.pt", tmp_path / "out")
    assert json.loads(card.read_text())["training"]["src"] == ["ptbxl", "samples"]
    assert str(tmp_path) not in card.read_text()


def test_reading_runs_no_pickle_and_no_torch(weights: Path) -> None:
    code = f"""
import sys, numpy as np
import pickle
def refuse(*args, **options): raise RuntimeError("pickle was read")
pickle.load = pickle.loads = pickle.Unpickler = refuse
from digitizer.network import Network
print(Network({str(weights)!r}, threads=1).see(np.zeros((64, 64, 3), np.uint8)).trace.shape, "torch" in sys.modules)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("(64, 64) False", 0), done.stderr


def test_nothing_to_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=r"run\.pt cannot be read"):
        export(tmp_path / "run.pt", tmp_path / "out")
    assert export_main([str(tmp_path / "run.pt"), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "out").exists()


# Commands


@pytest.mark.parametrize("module", ["train", "export"])
def test_help(module: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-m", f"digitizer.{module}", "--help"], env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: python -m digitizer.{module} ") and "--out" in done.stdout


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--size", "64", "--batch", "2", "--workers", "0", "--limit", "2", "--pieces", "4", "--shuffle", "4"]
    out = tmp_path / "run"
    assert training.main(["--out", str(out), "--arch", TINY, "--steps", "1", "--recipes", "clean=2", *small]) == 0
    assert Path(capsys.readouterr().out.strip()) == out / "checkpoint.pt"
    for wrong, message in (
        (["--arch", "huge"], "architecture 'huge'"),
        (["--recipes", "fotos", "--arch", TINY], "recipe 'fotos'"),
        (["--src", "wfdb", "--arch", TINY], "none was given"),
    ):
        assert training.main(["--out", str(tmp_path / "other"), *wrong, *small]) == 2
        assert message in capsys.readouterr().err


def test_two_processes_stop_together(tmp_path: Path) -> None:
    """Each has a clock of its own: if one stopped a step before the other, this would hang."""
    code = f"""
from dataclasses import replace
from tests.test_train import config, train
from pathlib import Path
train(config(Path({str(tmp_path)!r}), steps=10**6, minutes=0.03))
"""
    script = tmp_path / "two.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert saved["step"] > 0 and not any(key.startswith("module.") for key in saved["model"])
