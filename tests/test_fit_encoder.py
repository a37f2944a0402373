"""The trained encoder: its training in a tiny setting, and the network that ships."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from ecg_image_kit import open_source
from synth import encoder as en
from synth.condition import LEADS8
from synth.evaluate import describe


@pytest.fixture(scope="module")
def described():
    source = open_source("ecgsyn", n=64, seed=3, duration=4.0)
    return describe([source.load(name) for name in source.names()], 4.0)


def test_targets_are_standardised_and_unknown_stays_so(described):
    fe = pytest.importorskip("synth.fit_encoder", exc_type=ImportError)
    y, binary = fe.targets(described)
    assert y.shape == (64, 12 + 1 + 1 + 1 + 6) and binary.sum() == 8
    assert np.nanmean(y[:, 0]) == pytest.approx(0, abs=0.1) and np.nanstd(y[:, 0]) == pytest.approx(1, abs=0.1)
    assert np.isnan(y[:, 12]).all() and np.isnan(y[:, 14]).all()  # neither age nor sex in these records
    assert set(np.unique(y[:, 13])) <= {0.0, 1.0}
    labelled = [bool(c) for c in described.classes]
    assert (np.isfinite(y[:, 15:]).all(axis=1) == labelled).all()


def test_loss_looks_at_what_is_known_only():
    fe = pytest.importorskip("synth.fit_encoder", exc_type=ImportError)
    import torch

    out = torch.tensor([[0.3, 2.0, 9.0]], requires_grad=True)
    y, binary = torch.tensor([[0.0, 1.0, float("nan")]]), torch.tensor([False, True, False])
    value = fe.loss(out, y, binary)
    assert value.item() == pytest.approx((0.3**2 / 2 + np.log1p(np.exp(-2))) / 2, rel=1e-5)
    value.backward()
    assert out.grad[0, 2] == 0 and out.grad[0, 0] != 0


def test_training_learns_and_writes_what_onnx_runtime_reads(tmp_path, described, capsys):
    fe = pytest.importorskip("synth.fit_encoder", exc_type=ImportError)
    import torch

    config = fe.Config(epochs=25, batch=16, kept=0.25)
    net, _ = fe.train(described, config)
    y, _ = fe.targets(described)
    mv = np.stack([described.signal(k) for k in range(len(described))])
    # The features hold the heart rate: a linear reading of them finds it again in records it was trained on.
    with torch.no_grad():
        features = net(torch.from_numpy(mv)).numpy()
    table = np.hstack([features, np.ones((64, 1))])
    rest = y[:, 0] - table @ np.linalg.lstsq(np.vstack([table, 0.3 * np.eye(65)]), np.append(y[:, 0], np.zeros(65)))[0]
    assert np.var(rest) < 0.35 * np.var(y[:, 0])
    card = json.loads(fe.export(net, tmp_path, {"data": "made up"}).read_text("utf-8"))
    path = tmp_path / "encoder.onnx"
    assert card["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest() and card["data"] == "made up"
    assert en.OnnxEncoder(path)(mv) == pytest.approx(features, abs=1e-3)
    assert fe.main(["--data", "ecgsyn@:5", "--out", str(tmp_path)]) == 2
    assert "5 of 5 records can be used" in capsys.readouterr().err
    assert fe.main(["--data", "ecgsyn", "--epochs", "0"]) == 2


def test_the_encoder_that_ships():
    card = json.loads(en.TRAINED.with_suffix(".json").read_text("utf-8"))
    assert card["sha256"] == hashlib.sha256(en.TRAINED.read_bytes()).hexdigest()
    assert en.TRAINED.stat().st_size < 1_000_000
    source = open_source("ecgsyn", n=60, seed=4)
    records = [source.load(name) for name in source.names()]
    features = en.OnnxEncoder(en.TRAINED)(np.stack([r.select(LEADS8).mv for r in records]))
    assert features.shape == (60, 64) and np.isfinite(features).all()
    # It reads: the heart rate, which these records know exactly, is a linear function of its features.
    rate = np.array([r.meta["rate"] for r in records])
    z = (features - features.mean(0)) / features.std(0)
    gram = z @ z.T + 5 * np.eye(60)
    inverse = np.linalg.inv(gram)
    left_out = (inverse @ (rate - rate.mean())) / np.diag(inverse)
    assert np.var(left_out) < 0.3 * np.var(rate)
