"""The report on two sets of ECGs: what it says of equal sets, of planted faults, of copies, and of wrong requests."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from ecg_image_kit import Record, UsageError, open_source
from synth import encoder as en
from synth import evaluate as ev
from synth.condition import LEADS8
from synth.delineate import delineate
from synth.labels import classes_of

N_REAL, N_FAKE, N_TRAIN = 45, 60, 80
SECONDS = 5.0  # short ones, to be quick


def ecgs(n: int, seed: int, **options: object) -> list[Record]:
    source = open_source("ecgsyn", n=n, seed=seed, **{"duration": SECONDS, **options})
    return [source.load(name) for name in source.names()]


def described(records: list[Record], **options: object) -> ev.Described:
    return ev.describe(records, SECONDS, **options)


@pytest.fixture
def unmeasured(monkeypatch):
    """Nothing is delineated, which takes most of the time."""
    monkeypatch.setattr(ev, "try_delineate", lambda record: None)


@pytest.fixture(scope="module")
def records():
    """Real ones, and those of training: all from one model here, so that only chance tells sets apart."""
    return ecgs(N_REAL, 1), ecgs(N_TRAIN, 2)


@pytest.fixture(scope="module")
def real(records):
    return described(records[0], what="real")


@pytest.fixture(scope="module")
def train(records):
    return described(records[1], what="train")


@pytest.fixture(scope="module")
def fair(real, train):
    return ev.compare(real, described(ecgs(N_FAKE, 3)), train, title="fair <one>", times=40)


def changed(records: list[Record], how) -> list[Record]:
    return [replace(r, mv=how(np.array(r.mv, np.float64))) for r in records]


def test_describe_measures_what_delineate_does(records, real):
    d = delineate(records[0][3].select(LEADS8))
    row = dict(zip(ev.MEASURES, real.measures[3], strict=True))
    for key, value in {"hr": d.hr, "qrs": d.qrs, "qt": d.qt, "r_v5": d.r[d.leads.index("V5")]}.items():
        assert row[key] == pytest.approx(value)
    assert real.names[3] == "ecgsyn-000003" and len(real) == N_REAL and not real.left_out
    assert real.psd.shape == (N_REAL, 8, 1001) and real.correlation.shape == (N_REAL, 8, 8)
    assert real.signal(3) == pytest.approx(records[0][3].select(LEADS8).mv)


def test_new_records_of_the_same_kind_pass(fair):
    assert fair["hr.ks"].value < 0.25 and fair["qrs.difference"].low < 0 < fair["qrs.difference"].high
    assert (
        fair["qrs.sd_ratio"].low < 1 < fair["qrs.sd_ratio"].high
        and fair["normal.ratio"].low < 1 < fair["normal.ratio"].high
    )
    assert fair.spurs == () and fair["psd.spur"].value < 3
    assert fair["random.coverage"].value > 0.85 and fair["random.density"].value > 0.7
    assert fair["c2st.signal"].value < 0.7 and fair["c2st.measures"].value < 0.7
    assert 0.35 < fair["privacy.nearer"].value < 0.65 and 0.35 < fair["privacy.membership"].value < 0.65
    assert fair["privacy.copies"].value < 0.25
    for score in fair.scores:
        if np.isfinite(score.low):
            assert score.low <= score.value <= score.high, score
            assert np.isfinite(score.floor), score


def test_the_floor_is_real_against_real(fair, real, train, unmeasured):
    """What the fakes are has no say in it."""
    other = ev.compare(real, described(changed(ecgs(N_FAKE, 3), lambda x: 2 * x)), train, times=0)
    n = min(N_FAKE, N_TRAIN // 2)
    assert f"{n} training records" in fair.floor
    for score in fair.scores:
        if not score.key.startswith(("labels.", "c2st.measures")):
            assert other[score.key].floor == pytest.approx(score.floor, nan_ok=True), score.key


@pytest.mark.parametrize(
    ("how", "found"),
    [
        (lambda x: 1.3 * x, {"psd.1-5": (1.5, 3.5), "c2st.signal": (0.6, 1.0)}),
        (lambda x: x[:, ::-1], {"c2st.coarse": (0.9, 1.0)}),
        (
            lambda x: x + 0.01 * np.sin(2 * np.pi * 100 * np.arange(x.shape[1]) / 500),
            {"psd.spur": (10.0, 60.0), "c2st.signal": (0.95, 1.0)},
        ),
        (lambda x: np.roll(x, 6, axis=0), {"correlation.max": (0.3, 2.0), "psd.worst": (2.0, 60.0)}),
    ],
    ids=["too tall", "backwards", "a line at 100 Hz", "leads mixed up"],
)
def test_planted_faults_are_seen(real, train, unmeasured, how, found):
    report = ev.compare(real, described(changed(ecgs(N_FAKE, 3), how)), train, times=0)
    for key, (low, high) in found.items():
        assert low <= report[key].value <= high, (key, report[key].value)
    if "psd.spur" in found:
        assert {hz for _, hz, _ in report.spurs} == {100.0} and {lead for lead, _, _ in report.spurs} == set(LEADS8)


def test_collapse_is_seen(real, train):
    """One ECG over and over: each looks real, together they do not."""
    of = np.random.default_rng(5)
    one = ecgs(1, 9, condition="NORM")
    report = ev.compare(
        real, described(changed(one * N_FAKE, lambda x: x + of.normal(0, 0.002, x.shape))), train, times=0
    )
    assert report["random.recall"].value < 0.1 and report["random.coverage"].value < 0.3
    assert report["hr.sd_ratio"].value < 0.2


def test_jittered_copies_fail_privacy(records, real, train, fair):
    of = np.random.default_rng(6)

    def jitter(x):
        return np.roll(x, of.integers(-100, 100), axis=1) * of.uniform(0.97, 1.03) + of.normal(0, 0.002, x.shape)

    picked = of.integers(N_TRAIN, size=N_FAKE)
    report = ev.compare(real, described(changed([records[1][k] for k in picked], jitter)), train, times=40)
    assert report["privacy.copies"].value > 0.8 > fair["privacy.copies"].value
    assert report["privacy.membership"].low > 0.55 and report["privacy.nearer"].value > 0.58
    originals = {report.fake.names[k]: records[1][picked[k]].name for k in range(N_FAKE)}
    assert len(report.pairs) == 3
    assert [pair.train for pair in report.pairs] == [originals[pair.fake] for pair in report.pairs]
    assert all(pair.distance < 0.5 for pair in report.pairs)


def test_nothing_but_flat_lines(real, train):
    """A generator that has failed altogether gets a report, too."""
    of = np.random.default_rng(8)
    flat = changed(ecgs(45, 3), lambda x: of.normal(0, 0.01, x.shape) * (np.arange(12) != 7)[:, None])
    report = ev.compare(real, described(flat), train, times=10)
    assert np.isnan(report["hr.ks"].value) or report["hr.ks"].value > 0.3
    assert report["random.coverage"].value < 0.2 and report["c2st.signal"].value > 0.95
    assert report["psd.worst"].value > 10 and report["normal.share"].value < 0.05
    json.dumps(report.json(), allow_nan=False)
    assert report.html() and report.text()


def test_the_same_seed_gives_the_same_report(real, train, fair):
    again = ev.compare(real, fair.fake, train, title="fair <one>", times=40)
    assert again.json() == fair.json()


def test_without_training_records(real, unmeasured):
    report = ev.compare(real, described(ecgs(N_FAKE, 3)), times=10)
    assert "one half of the real records (22)" in report.floor
    assert "privacy.nearer" not in report and report.pairs == ()
    assert report["random.coverage"].value > 0.7 and np.isfinite(report["random.coverage"].floor)
    assert report.html() and report.text()


def test_classes_across_sets(unmeasured):
    """Records of the model are labelled, and its classes are told apart across sets as well as within."""
    kinds = ("NORM", "CLBBB", "IMI")
    sets = [
        described([r for kind in kinds for r in ecgs(n, seed, condition=kind)])
        for seed, n in ((11, 15), (12, 15), (13, 27))
    ]
    report = ev.compare(*sets, times=10)
    assert report["labels.tstr"].value > 0.9 and report["labels.trts"].value > 0.9
    assert report["labels.tstr"].floor == report["labels.trts"].floor > 0.9
    mislabelled = replace(sets[1], classes=tuple(reversed(sets[1].classes)))
    assert ev.compare(sets[0], mislabelled, sets[2], times=0)["labels.tstr"].value < 0.8


def test_labels():
    assert classes_of({"scp_codes": {"IMI": 100.0, "LVH": 0.0, "SR": 0.0}}) == {"MI", "HYP"}
    assert classes_of({"label": "AF"}) == {"AF"} and classes_of({"scp_codes": {"AFIB": 0.0}}) == {"AF"}
    assert classes_of({"superclasses": ["NORM"], "scp_codes": {}}) == {"NORM"}
    assert classes_of({}) == classes_of({"scp_codes": {"SR": 0.0}}) == frozenset()


# Encoders


def test_the_random_encoder():
    x = np.stack([r.select(LEADS8).mv for r in ecgs(2, 4)])
    embed = en.RandomEncoder()
    first = embed(x)
    assert first.shape == (2, 3 * 64 * 7) and np.isfinite(first).all()
    assert (en.RandomEncoder()(x) == first).all() and (embed(x[1:]) == first[1:]).all()
    assert not np.allclose(en.RandomEncoder(seed=1)(x), first)
    # Neither the baseline's level nor the moment at which the record begins matters much; another lead order does.
    scale = np.abs(first[0] - first[1]).mean()
    assert np.abs(embed(x + 0.5) - first).max() < 1e-3
    assert np.abs(embed(np.roll(x, 777, axis=2)) - first).mean() < 0.2 * scale  # where it wraps, there is a step
    assert np.abs(embed(x[:, ::-1]) - first).mean() > 0.3 * scale
    for shape in ((2, 12, 5000), (8, 5000), (2, 8, 900)):
        with pytest.raises(UsageError, match=r"expected \(records, 8, samples\)"):
            embed(np.zeros(shape, np.float32))


def test_coarse_columns_are_blind_to_fast_noise():
    x = np.stack([r.select(LEADS8).mv for r in ecgs(2, 4)])
    hiss = 0.02 * np.sin(2 * np.pi * 180 * np.arange(x.shape[2]) / 500)
    embed = en.RandomEncoder()
    change = np.abs(embed(x + hiss.astype(np.float32)) - embed(x))
    coarse = embed.columns_below(60.0)
    assert coarse == 2 * 3 * 64
    assert change[:, coarse:].mean() < 0.05 * change[:, :192].mean()


def test_an_encoder_of_ones_own(tmp_path, records, unmeasured):
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("ReduceMax", ["x", "axes"], ["y"], keepdims=0)
    axes = onnx.helper.make_tensor("axes", onnx.TensorProto.INT64, [1], [2])
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", ["n", 8, "t"]), ("y", ["n", 8]))
    ]
    graph = onnx.helper.make_graph([node], "top", ends[:1], ends[1:], [axes])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    path = tmp_path / "top.onnx"
    onnx.save(model, path)
    encoder = en.OnnxEncoder(path)
    x = np.stack([r.select(LEADS8).mv for r in records[0][:3]])
    assert (encoder(x) == x.max(axis=2)).all()
    with pytest.raises(UsageError, match="does not take"):
        encoder(x[:, :3])
    sets = [described(r[:45], encoder=encoder) for r in records]
    report = ev.compare(*sets, times=0)
    assert report["own.coverage"].value > 0.6 and report["own.fid"].value >= 0


@pytest.mark.parametrize(("content", "message"), [(None, "no such file"), (b"nonsense", "not an ONNX network")])
def test_no_encoder(tmp_path, content, message):
    path = tmp_path / "e.onnx"
    if content:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        en.OnnxEncoder(path)


# Files


class Tags(HTMLParser):
    """Checks that tags are closed, and collects their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag, attrs):
        self.attributes += attrs
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_files(tmp_path, fair):
    paths = fair.save(tmp_path / "report.html")
    assert [path.name for path in paths] == ["report.json", "report.html"]
    data = json.loads(paths[0].read_text("utf-8"))
    assert data["records"] == {"real": N_REAL, "fake": N_FAKE, "train": N_TRAIN}
    assert data["scores"]["hr.ks"]["value"] == pytest.approx(fair["hr.ks"].value, abs=1e-6)
    assert data["measures"][0]["published"] == [69.8, 7.6] and len(data["closest_pairs"]) == 3
    page = paths[1].read_text("utf-8")
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert "fair &lt;one&gt;" in page and "fair <one>" not in page
    assert not [v for k, v in tags.attributes if k in ("src", "href")] and "url(" not in page
    assert "nan" not in re.findall(r'points="([^"]*)"', page)
    assert page.count("<polyline") >= 2 * len(ev.MEASURES) + 2 + 3 * 8
    assert len(page) < 1_000_000


def test_text(fair):
    text = fair.text()
    assert "69.8 ± 7.60" in text and "two-sample test on signals, AUROC" in text and "spurs: none" in text
    assert max(map(len, text.splitlines())) < 130


@pytest.mark.parametrize(
    ("value", "text"), [(0.08421, "0.0842"), (12.345, "12.3"), (398.2, "398"), (0.0, "0"), (float("nan"), "-")]
)
def test_numbers(value, text):
    assert ev.number(value) == text


# Requests


def npz_folder(folder: Path, records: list[Record]) -> str:
    for record in records:
        record.write_npz(folder / f"{record.name}.npz")
    return str(folder)


def test_command(tmp_path, records, capsys, unmeasured):
    folder = npz_folder(tmp_path / "real", records[0])
    out = tmp_path / "out" / "report"
    assert ev.main([f"npz:{folder}@:42", "ecgsyn", "--limit", "45", "--seconds", "5", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "45 generated (ecgsyn), 42 held-out real records" in said and str(out) in said
    assert json.loads(out.with_suffix(".json").read_text("utf-8"))["records"] == {"real": 42, "fake": 45}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ecgsyn"], "the following arguments are required: FAKE"),
        (["nowhere/at/all", "ecgsyn"], "no file or folder"),
        (["ecgsyn", "ecgsyn@2000:3000"], "none of 1000 records is in that part"),
        (["ecgsyn", "ecgsyn", "--limit", "5"], "--limit 5; expected 40 or more"),
        (["ecgsyn", "ecgsyn", "--seed", "-1"], "--seed -1; expected 0 or more"),
        (["ecgsyn@:50", "ecgsyn", "--seconds", "1000"], "seconds=1000; expected 2 to 120"),
        (["ecgsyn@:50", "ecgsyn", "--encoder", "none.onnx"], "no such file"),
        (["ecgsyn@:10", "ecgsyn@:50"], "10 of 10 records can be used; expected 40 at least"),
    ],
)
def test_wrong_requests(arguments, message, capsys):
    assert ev.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_records_that_cannot_be_used_are_listed(records, unmeasured):
    some = list(records[0][:45])
    holes = np.array(some[0].mv)
    holes[3, 100:200] = holes[1, 7] = np.nan
    some[0] = replace(some[0], mv=holes)
    some[1] = some[1].cut(0, 4)
    some[2] = some[2].select(["I", "II", "V1"])
    some[3] = some[3].select(["II", "III", *LEADS8[2:]])  # which has I, in a way
    d = described(some)
    assert [name for name, _ in d.left_out] == [r.name for r in some[:3]] and len(d) == 42
    assert [re.search(words, why) is not None for words, (_, why) in
            zip((r"1 unknown samples \(NaN\)", "has 4 s; expected 5 s", "no lead 'V2'"), d.left_out, strict=True)
            ] == [True] * 3  # fmt: skip
    with pytest.raises(UsageError, match=r"39 of 42 .* expected 40 at least\. The first that cannot: ecgsyn-000000"):
        described(some[:42])


def test_microvolts_are_refused(records, unmeasured):
    with pytest.raises(UsageError, match=r"fake: the median lead spans [0-9.]+ mV; expected 0.005 to 100"):
        described(changed(records[0], lambda x: 1000 * x), what="fake")


def test_sets_must_be_described_alike(real, records, unmeasured):
    with pytest.raises(UsageError, match=r"sets of 5 s \(random.*\) and 4 s"):
        ev.compare(real, ev.describe(records[1], 4.0))


def test_evaluate_takes_what_generators_return(records, unmeasured):
    report = ev.evaluate(iter(records[0]), (r for r in records[1]), seconds=SECONDS, title="stream")
    assert (report.title, len(report.real), len(report.fake)) == ("stream", N_REAL, N_TRAIN)


def test_other_rates_and_lengths(records, real):
    """Records of 250 Hz that go on for longer are described as those of 500 Hz are."""
    longer = [Record(r.leads, np.concatenate([r.mv, r.mv[:, ::-1]], axis=1), r.fs) for r in ecgs(45, 1)]
    d = described([r.resample(250.0) for r in longer])
    assert np.nanmedian(np.abs(d.measures - real.measures[:45]), axis=0).max() < 6


# What stands beside the command


def script(path: str):
    """A program of the checkout, as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem + "_script", Path(__file__).parents[1] / path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_targets_of_the_benchmark(fair, capsys):
    bench = script("benchmarks/synth.py")
    target = bench.Target("privacy.nearer", "share", 0.45, 0.55)
    assert [target.met(v) for v in (0.44, 0.45, 0.5, 0.56, float("nan"))] == [False, True, True, False, False]
    assert bench.Target("x", "shown only").met(3.0) is None
    table = list(bench._rows({"fair": fair}, {}))
    assert {row["key"] for row in table if row["target"]} >= {"hr.ks", "qt.sd_ratio", "psd.worst", "privacy.membership"}
    bench._show(table, ["fair"])
    said = capsys.readouterr().out
    missed = sum(row["met"].get("fair") is False for row in table)
    assert said.count(" x") >= missed and f"missed: fair {missed} of {sum(1 for row in table if row['target'])}" in said
    assert bench.main(["--n", "5", "--models", ""]) == 2 and bench.main(["--models", "nothing"]) == 2


def test_jittered_copies_of_the_benchmark(records):
    copies = script("benchmarks/synth.py").Jittered(records[1], 30, seed=1)
    first = copies[4]
    assert (copies[4].mv == first.mv).all() and len(copies) == 30
    original = next(r for r in records[1] if first.name.endswith(r.name))
    a, b = delineate(original), delineate(first)
    assert a.hr == pytest.approx(b.hr, rel=0.03) and not np.allclose(first.mv, original.mv, atol=0.05)


def test_no_real_ecgs_in_the_documentation(capsys):
    pictures = script("docs/synth_pictures.py")
    inside = str(Path(pictures.__file__).parent / "quiz.jpg")
    for arguments in (["--root", "somewhere"], ["--root", "somewhere", "--out", inside]):
        assert pictures.main(arguments) == 2
        assert "it shows real ECGs" in capsys.readouterr().err


def test_it_is_quick(real, train, fair):
    begin = time.perf_counter()
    ev.compare(real, fair.fake, train, times=0)
    assert time.perf_counter() - begin < 20
