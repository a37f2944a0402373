"""Generation: whose laws the records keep, what they say of themselves, and that nothing but the seed decides them."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import synth
from ecg_image_kit import RecordError, UsageError, open_source
from ecg_image_kit import sources as kit_sources
from ecg_image_kit.cli import main
from ecg_image_kit.page import header_comments
from ecg_image_kit.record import STANDARD_LEADS, Record
from synth import onnx_model
from synth.condition import CLASSES, LEADS8, Condition
from synth.generate import generate, load_model, make, shipped, twelve_leads
from synth.source import Gan

ROOT = Path(__file__).resolve().parents[1]
generating = importlib.import_module("synth.generate")  # which the package's function hides
MODELS = shipped()
GANS = [name for name in MODELS if name != "beats"]


def test_something_is_shipped() -> None:
    assert {"beats", "pulse2pulse", "wavegan"} <= set(MODELS)
    size = sum(path.stat().st_size for path in onnx_model.WEIGHTS.iterdir())
    assert size < 30e6 and all(path.stat().st_size < 16e6 for path in onnx_model.WEIGHTS.iterdir())


def test_einthoven_to_the_last_bit() -> None:
    """In float32, for any signal, not only nearly."""
    mv = np.random.default_rng(0).normal(0, 1, (3, 8, 5000)).astype(np.float32)
    leads = dict(zip(STANDARD_LEADS, twelve_leads(mv).transpose(1, 0, 2), strict=True))
    one, two, three = (leads[name] for name in ("I", "II", "III"))
    assert all(lead.dtype == np.float32 for lead in leads.values())
    assert not np.any(one + three - two)
    for name, law in {
        "aVR": -(one + two) / np.float32(2),
        "aVL": one - two / np.float32(2),
        "aVF": two - one / np.float32(2),
    }.items():
        assert np.array_equal(leads[name], law)
    assert not np.any(leads["aVR"] + leads["aVL"] + leads["aVF"])
    for k, name in enumerate(LEADS8):  # rounded to less than a microvolt
        assert np.abs(leads[name] - mv[:, k]).max() <= 2**-13


@pytest.mark.parametrize("model", MODELS)
def test_records(model: str) -> None:
    records = list(generate(3, model, seed=4))
    assert [record.name for record in records] == [f"{model}-{i:06d}" for i in range(3)]
    sha = load_model(model).sha256
    for i, record in enumerate(records):
        assert record.leads == STANDARD_LEADS and record.mv.shape == (12, 5000) and record.fs == 500
        assert np.isfinite(record.mv).all()
        assert not np.any(record.lead("I") + record.lead("III") - record.lead("II"))
        meta = record.meta
        assert meta["synthetic"] is True and (meta["model"], meta["seed"], meta["index"]) == (model, 4, i)
        assert meta["weights_sha256"] == sha and len(sha) == 64
        text = "\n".join(header_comments(record.meta))
        assert "synthetic: True" in text and sha in text and f"seed 4, index {i}" in text
    assert not np.array_equal(records[0].mv, records[1].mv)


@pytest.mark.parametrize("model", MODELS)
def test_only_seed_and_index_decide(model: str) -> None:
    """Record i is the same bytes whatever n, the batch, and its place in the batch."""
    many = list(generate(19, model, seed=1, seconds=5.0))
    alone = [next(make([i], model, 1, seconds=5.0)) for i in (0, 7, 15, 16, 18)]
    for record in alone:
        assert record.mv.tobytes() == many[record.meta["index"]].mv.tobytes()
    few = list(generate(3, model, seed=1, seconds=5.0))
    backwards = list(make([18, 2, 7], model, 1, seconds=5.0))
    assert [r.mv.tobytes() for r in few] == [r.mv.tobytes() for r in many[:3]]
    assert [r.mv.tobytes() for r in backwards] == [many[i].mv.tobytes() for i in (18, 2, 7)]
    other = next(generate(1, model, seed=2, seconds=5.0))
    assert not np.array_equal(other.mv, many[0].mv)


@pytest.mark.parametrize("model", MODELS)
def test_length_and_rate(model: str) -> None:
    plain = next(generate(1, model, seed=3))
    short = next(generate(1, model, seed=3, seconds=7.3, fs=250))
    assert short.mv.shape == (12, 1825) and short.fs == 250
    assert not np.any(short.lead("I") + short.lead("III") - short.lead("II"))
    if model in GANS:  # the same ECG, cut and resampled
        again = plain.cut(0, 7.3).resample(250)
        inside = slice(100, -100)
        assert np.abs(again.mv[:, inside] - short.mv[:, inside]).max() < 0.02


@pytest.mark.parametrize(("seconds", "fs"), [(2.001, 1999.0), (2.001, 1000.0), (3.3337, 360.0)])
def test_lengths_between_samples(seconds: float, fs: float) -> None:
    for model in MODELS:
        assert next(generate(1, model, seconds=seconds, fs=fs)).mv.shape == (12, round(seconds * fs))


def test_longer_than_trained() -> None:
    assert next(generate(1, "pulse2pulse", seconds=12.0)).mv.shape == (12, 6000)
    with pytest.raises(UsageError, match="makes at most 60 s"):
        generate(1, "pulse2pulse", seconds=61.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n=0; expected a whole number of at least 1"),
        ({"seed": -1}, "seed=-1; expected a whole number of at least 0"),
        ({"seconds": 0.2}, "seconds=0.2; expected 1 to 3600 s"),
        ({"seconds": float("nan")}, "seconds=nan"),
        ({"fs": 10}, "fs=10; expected 50 to 2000 Hz"),
        ({"fs": -500}, "fs=-500"),
        ({"model": "pulse3pulse"}, "model 'pulse3pulse'; expected one of .* did you mean pulse2pulse"),
        ({"model": "weights/mine.json"}, "no generator at .*mine.json"),
        ({"model": "pulse2pulse", "condition": Condition("MI", hr=(60, 90))}, "cannot be asked for class, hr"),
    ],
)
def test_wrong_requests_are_said_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        generate(**{"n": 1, **options})  # not even begun


def test_conditions() -> None:
    with pytest.raises(UsageError, match=f"class 'FLU' is not known; expected one of {', '.join(CLASSES)}"):
        Condition("FLU")
    record = next(generate(1, seed=5, condition=Condition("AF", (80, 90), "F", (60, 70))))
    assert record.meta["asked"] == {"label": "AF", "hr": (80, 90), "sex": "F", "age": (60, 70)}
    assert record.meta["sex"] == "F" and 60 <= record.meta["age"] <= 70
    assert record.meta["label"] == "AF" and "AFIB" in record.meta["scp_codes"]


def test_weights_of_ones_own(tmp_path: Path) -> None:
    """What synth.fit_beats writes is a model, by the name of either of its files."""
    for end in (".json", ".npz"):
        shutil.copy(onnx_model.WEIGHTS / f"beats{end}", tmp_path / f"mine{end}")
    expected = next(generate(1, seed=3))
    for end in (".json", ".npz"):
        assert open_source(f"gan:{tmp_path / 'mine'}{end}", n=1, seed=3).load("beats-000000").mv.tobytes() == (
            expected.mv.tobytes()
        )
    for damaged in (b"", (tmp_path / "mine.npz").read_bytes()[:-9]):
        (tmp_path / "half.npz").write_bytes(damaged)
        with pytest.raises(UsageError, match="cannot be read as weights"):
            generate(1, tmp_path / "half.npz")


def test_as_long_as_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("--src", "gan", "-n", "1", "--duration", "23", "--records-only", "--out", str(tmp_path)) == 0
    assert open_source("wfdb", path=tmp_path).load("beats-000000").duration == pytest.approx(23)
    # Of a model that makes less than the usual 10 s, records are as long as it can.
    monkeypatch.setattr(load_model("pulse2pulse"), "longest", 5.0)
    assert Gan("pulse2pulse").load("pulse2pulse-000000").duration == 5.0
    with pytest.raises(UsageError, match="duration 6 s; expected 1 to 5 s"):
        Gan("pulse2pulse", duration=6.0)


def test_workers_make_no_more_than_their_own() -> None:
    """Every second record, as one of two workers gets them."""
    source, made = Gan("beats", n=12), 0
    sample = type(load_model("beats")).sample

    def counted(self: Any, rngs: Any, *rest: Any) -> Any:
        nonlocal made
        made += len(rngs)
        return sample(self, rngs, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(load_model("beats")), "sample", counted)
        for i in range(0, 12, 2):
            source.load(f"beats-{i:06d}")
    assert made == 5  # the first was made to see whether the request is possible


def test_missing_and_damaged_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for end in (".json", ".onnx"):
        shutil.copy(onnx_model.WEIGHTS / f"pulse2pulse{end}", tmp_path / f"mine{end}")
    assert next(generate(1, tmp_path / "mine.json")).name == "pulse2pulse-000000"
    (tmp_path / "mine.onnx").write_bytes((tmp_path / "mine.onnx").read_bytes()[:-1])
    with pytest.raises(UsageError, match=r"sha256 .* its card says .* damaged"):
        onnx_model.OnnxModel(tmp_path / "mine.json")
    (tmp_path / "mine.onnx").unlink()
    with pytest.raises(UsageError, match=r"no generator at .*No such file"):
        onnx_model.OnnxModel(tmp_path / "mine.json")
    (tmp_path / "mine.json").write_text("[1]")
    with pytest.raises(UsageError, match="is not a generator's card"):
        onnx_model.OnnxModel(tmp_path / "mine.json")
    for module in (generating, onnx_model):
        monkeypatch.setattr(module, "WEIGHTS", tmp_path)
    generating._load.cache_clear()
    with pytest.raises(UsageError, match=r"no weights of model wavegan .*python -m synth.train --model wavegan"):
        load_model("wavegan")
    generating._load.cache_clear()


# The source


def test_source() -> None:
    source = open_source("gan:pulse2pulse", n=40, seed=2)
    assert isinstance(source, Gan) and source == Gan("pulse2pulse", n=40, seed=2)
    names = list(source.names())
    assert len(names) == 40
    expected = list(generate(40, "pulse2pulse", seed=2))
    for i in (5, 6, 7, 39, 0, 1):
        assert source.load(names[i]).mv.tobytes() == expected[i].mv.tobytes()
    again = pickle.loads(pickle.dumps(source))
    assert again == source and again.load(names[3]).mv.tobytes() == expected[3].mv.tobytes()
    for name in ("pulse2pulse-000040", "pulse2pulse-0", "beats-000000"):
        with pytest.raises(RecordError, match="expected pulse2pulse-000000 to pulse2pulse-000039"):
            source.load(name)


def test_source_is_found_by_name_alone() -> None:
    """ecg_image_kit knows the name of synth's source and nothing else of it; without synth, it says so."""
    assert kit_sources._PLUGINS == {"gan": "synth.source:Gan"}
    assert "gan" in kit_sources.source_names()
    for path in (ROOT / "ecg_image_kit").rglob("*.py"):
        lines = [line for line in path.read_text("utf-8").splitlines() if "synth." in line]
        assert not lines or path == Path(kit_sources.__file__), path
    code = "import sys; sys.modules['synth'] = None\nfrom ecg_image_kit.cli import main\nsys.exit(main(sys.argv[1:]))"
    arguments = [sys.executable, "-c", code, "--src", "gan", "-n", "1", "--out", "out"]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and "comes with package synth, which is not installed" in done.stderr


def run(*words: str) -> int:
    return main([*words, "--quiet"])


def test_pages(tmp_path: Path) -> None:
    out = tmp_path / "pages"
    arguments = ("--src", "gan:pulse2pulse", "-n", "2", "--seed", "3", "--dpi", "60", "--write", "wfdb")
    assert run(*arguments, "--out", str(out)) == 0
    truth = json.loads((out / "pulse2pulse-000001.json").read_text("utf-8"))
    assert truth["meta"]["synthetic"] is True and truth["meta"]["weights_sha256"] == load_model("pulse2pulse").sha256
    header = (out / "pulse2pulse-000001.hea").read_text("ascii")
    assert "# synthetic: True" in header and "seed 3, index 1" in header


@pytest.mark.parametrize("kinds", ["", "csv,npz", "wfdb,csv,npz"])
def test_records_only(tmp_path: Path, kinds: str) -> None:
    out = tmp_path / "records"
    arguments = ["--src", "gan:pulse2pulse", "--seed", "3", "--records-only", *(["--write", kinds] if kinds else [])]
    assert run(*arguments, "-n", "2", "--out", str(out)) == 0
    first = {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.name.startswith("pulse")}
    (out / "pulse2pulse-000001.json").unlink()  # as if it had been stopped there
    assert run(*arguments, "-n", "3", "--out", str(out)) == 0
    ends = {".json"}.union(
        *({"wfdb": {".hea", ".dat"}}.get(kind, {f".{kind}"}) for kind in (kinds or "wfdb").split(","))
    )
    files = {path.name for path in out.iterdir()} - {"config.json", "manifest.csv"}
    assert files == {f"pulse2pulse-{i:06d}{end}" for i in range(3) for end in ends}
    name = f"pulse2pulse-000000{min(ends)}"
    assert (out / name).stat().st_mtime_ns == first[name]  # what was finished is kept
    expected = list(generate(3, "pulse2pulse", seed=3))
    reader: dict[str, Any] = {"wfdb": ("wfdb", ".hea", 5e-4), "csv": ("csv", ".csv", 6e-5), "npz": ("npz", ".npz", 0)}
    for kind in (kinds or "wfdb").split(","):
        source, end, close = reader[kind]
        for record in expected:
            read = open_source(source, path=out / f"{record.name}{end}")
            back: Record = read.load(next(iter(read.names())))
            assert back.leads == record.leads
            assert np.abs(back.mv - record.mv).max() <= close + 1e-6 * bool(close)
    about = json.loads((out / "pulse2pulse-000002.json").read_text("utf-8"))
    assert about["synthetic"] is True and about["fs"] == 500 and about["leads"][3] == "aVR"
    assert run(*arguments, "-n", "3", "--out", str(out), "--seed", "4") == 2  # another set lies there


def test_workers_make_the_same(tmp_path: Path) -> None:
    for workers in "12":
        out = str(tmp_path / workers)
        assert run("--src", "gan:pulse2pulse", "-n", "3", "--records-only", "--workers", workers, "--out", out) == 0
    for file in (tmp_path / "1").iterdir():
        assert file.read_bytes() == (tmp_path / "2" / file.name).read_bytes(), file.name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--src", "gan"], "-n is not given; source gan makes as many"),
        (["--src", "gan:pulse2puls", "-n", "1"], "did you mean pulse2pulse"),
        (["--src", "gan", "-n", "1", "--class", "FLU"], "class 'FLU' is not known; expected one of NORM"),
        (["--src", "gan", "-n", "1", "--hr", "5-9"], "--hr '5-9'; expected a number, or a range from the lower"),
        (["--src", "gan", "-n", "1", "--hr", "60,80"], "expected a number, or a range from the lower"),
        (["--src", "gan", "-n", "1", "--hr", "90-60"], "expected a number, or a range from the lower"),
        (["--src", "gan", "-n", "1", "--age", "3-9"], "age 3-9; expected some of 18 to 95 years"),
        (
            ["--src", "gan:pulse2pulse", "-n", "1", "--duration", "61"],
            "duration 61 s; expected 1 to 60 s, as model pulse2pulse",
        ),
        (["--src", "gan", "-n", "1", "--duration", "1"], "duration 1 s; expected 2 to 86400 s, as model beats"),
        (["--src", "gan:weights/pulse2pulse", "-n", "1"], "is not a model; expected one of"),
        (["--records-only", "--seconds", "100"], "how long records are says --duration"),
        (["--src", "gan", "-n", "1", "--sex", "X"], "--sex 'X'; expected one of F, M"),
        (["--src", "gan:pulse2pulse", "-n", "1", "--class", "MI"], "cannot be asked for class"),
        (["--src", "gan", "-n", "1", "--fs", "7"], "fs=7.0; expected 50 to 2000 Hz"),
        (
            ["--class", "MI"],
            "--class can be asked of --src gan, not of samples; for sources with labels there is --filter",
        ),
        (["--records-only", "--write", "grid"], "--write grid with --records-only; expected some of wfdb, csv, npz"),
        (["--records-only", "--export", "coco"], "--export coco needs pages"),
        (["--write", "npz"], "--write npz is for --records-only"),
    ],
)
def test_wrong_words(words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


def test_records_that_are_asked_for_in_turn_are_made_together(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    plain = Gan._make
    monkeypatch.setattr(Gan, "_make", lambda self, numbers: made.append(len(numbers)) or plain(self, numbers))  # type: ignore[func-returns-value]
    names = list(Gan(n=40).names())
    in_turn = Gan(n=40)
    made.clear()
    records = [in_turn.load(name) for name in names]
    assert made == [2, 4, 8, 16, 9]
    made.clear()
    long = Gan(n=40, duration=200.0)
    assert [long.load(name).name for name in names[:4]] == names[:4] and set(made) == {1}
    shared = Gan(n=40)
    made.clear()
    for k in range(2, 40, 2):  # as one of two workers
        assert np.array_equal(shared.load(names[k]).mv, records[k].mv)
    assert set(made) == {1}


def test_it_needs_no_torch() -> None:
    code = f"""
import sys, tempfile
from ecg_image_kit.cli import main
for model in {MODELS}:
    with tempfile.TemporaryDirectory() as out:
        assert main(["--src", f"gan:{{model}}", "-n", "1", "--dpi", "50", "--quiet", "--out", out]) == 0
print([name for name in ("torch", "matplotlib", "pandas", "scipy.signal") if name in sys.modules])
"""
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_public_names() -> None:
    assert synth.__all__ == ["CLASSES", "NAMES", "Condition", "generate"]
