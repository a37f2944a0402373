"""The dynamical model, its conditions, and the bundled samples made with it."""

from __future__ import annotations

import ast
import csv
import filecmp
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ecg_image_kit.errors import RecordError, UsageError
from ecg_image_kit.record import STANDARD_LEADS, Record
from ecg_image_kit.sources import Source
from ecg_image_kit.sources.ecgsyn import CONDITIONS, QUIET, Ecgsyn, Noise, rr_intervals, synthesize
from ecg_image_kit.sources.samples import Samples, make_samples, samples_root

SAMPLES = Path(__file__).parents[1] / "data" / "samples"


def records(condition: str, n: int = 8, **arguments: object) -> list[Record]:
    source = Ecgsyn(n=n, condition=condition, noise=QUIET, **arguments)  # type: ignore[arg-type]
    return [source.load(name) for name in source.names()]


def beats(record: Record, start: float, stop: float, kind: str = "N") -> NDArray[np.float64]:
    """(beats, 12, samples) mV from ``start`` to ``stop`` s after each QRS onset of that kind that lies fully inside."""
    found = []
    for onset, letter in zip(record.meta["qrs_onsets"], record.meta["beats"], strict=True):
        if letter == kind and onset + start >= 0 and onset + stop <= record.duration - 0.01:
            a, length = round((onset + start) * record.fs), round((stop - start) * record.fs)
            found.append(record.mv[:, a : a + length])
    return np.array(found, dtype=np.float64)


def lead(name: str) -> int:
    return STANDARD_LEADS.index(name)


def test_it_is_a_source() -> None:
    source = Ecgsyn(n=3)
    assert isinstance(source, Source)
    assert list(source.names()) == ["ecgsyn-000000", "ecgsyn-000001", "ecgsyn-000002"]
    record = source.load("ecgsyn-000002")
    assert (record.leads, record.mv.shape, record.fs, record.name) == (
        STANDARD_LEADS,
        (12, 5000),
        500.0,
        "ecgsyn-000002",
    )
    assert record.meta["synthetic"] is True


def test_same_seed_same_bytes_in_any_order() -> None:
    one, two = Ecgsyn(n=6, seed=4), Ecgsyn(n=60, seed=4)
    forwards = [one.load(name).mv.tobytes() for name in one.names()]
    backwards = [two.load(name).mv.tobytes() for name in reversed(list(one.names()))]
    assert forwards == backwards[::-1]
    assert len(set(forwards)) == 6
    assert Ecgsyn(n=6, seed=5).load("ecgsyn-000000").mv.tobytes() != forwards[0]


def test_noise_leaves_the_heart_alone() -> None:
    quiet = Ecgsyn(condition="NORM", noise=QUIET).load("ecgsyn-000003")
    loud = Ecgsyn(condition="NORM", noise=Noise(mains=0.1, wander=0, emg=0, white=0)).load("ecgsyn-000003")
    difference = loud.mv.astype(np.float64) - quiet.mv
    assert loud.meta == quiet.meta
    spectrum = np.abs(np.fft.rfft(difference, axis=1)) ** 2  # 10 s: bin 500 is 50 Hz
    assert difference.std() > 0.02
    assert spectrum[:, 498:503].sum() > 0.99 * spectrum.sum()


@pytest.mark.parametrize("condition", CONDITIONS)
def test_einthoven(condition: str) -> None:
    record = Ecgsyn(condition=condition).load("ecgsyn-000007")
    mv = record.mv.astype(np.float64)
    one, two, three, avr, avl, avf = mv[:6]
    assert np.isfinite(mv).all()
    assert 0.2 < np.ptp(mv[lead("V4")]) < 8
    for residual in (two - one - three, avr + avl + avf, avr + (one + two) / 2, avl - (one - three) / 2):
        assert np.abs(residual).max() < 1e-6  # float32's rounding


@pytest.mark.parametrize("condition", ["NORM", "AFIB", "PACE", "LVH"])
@pytest.mark.parametrize("rate", [40, 75, 130])
def test_rate_is_the_rate_asked_for(condition: str, rate: float) -> None:
    for record in records(condition, n=5, rate=rate, duration=30):
        onsets = np.array(record.meta["qrs_onsets"])
        assert record.meta["rate"] == rate
        assert 60 / np.diff(onsets).mean() == pytest.approx(rate, rel=0.02)
        # and the QRS complexes really lie there, and nowhere else
        speed = np.abs(np.diff(record.mv, axis=1)).sum(axis=0)
        near = np.zeros(speed.size, bool)
        for onset in onsets:
            near[max(0, int((onset - 0.02) * record.fs)) : int((onset + 0.2) * record.fs)] = True
        edge = int(0.25 * record.fs)  # complexes that began before the record, or end after it
        speed, near = speed[edge:-edge], near[edge:-edge]
        assert speed[near].max() > 2 * speed[~near].max()


def test_rr_series_has_the_two_bands() -> None:
    rr = rr_intervals(np.random.default_rng(0), 4096, 1.0, 0.05)
    power = np.abs(np.fft.rfft(rr - rr.mean())) ** 2
    f = np.fft.rfftfreq(rr.size, 1.0)
    low, high = (power[(f > a) & (f < b)].sum() for a, b in ((0.04, 0.15), (0.18, 0.4)))
    assert rr.mean() == pytest.approx(1.0, abs=1e-3)
    assert rr.std() == pytest.approx(0.05, rel=0.05)
    assert low / high == pytest.approx(0.5, rel=0.1)
    assert low + high > 0.99 * power.sum()


def spread(record: Record) -> float:
    """Coefficient of variation of RR."""
    rr = np.diff(record.meta["qrs_onsets"])
    return float(rr.std() / rr.mean())


def test_fibrillation_is_irregular_and_has_no_p() -> None:
    sinus, fibrillation = (records(condition, n=12, rate=75, duration=30) for condition in ("NORM", "AFIB"))
    assert np.median([spread(r) for r in fibrillation]) > 3 * np.median([spread(r) for r in sinus])
    # The mean over beats keeps what is locked to QRS: a P wave, but not fibrillatory waves.
    ii = lead("II")
    for group, locked in ((sinus, True), (fibrillation, False)):
        p = [np.ptp(beats(r, -0.17, -0.05).mean(axis=0)[ii]) for r in group]
        assert (np.median(p) > 0.06) == locked
    # Between T and QRS a sinus baseline rests; a fibrillating one never does.
    v1 = lead("V1")
    rest = {r.meta["condition"]: np.std(beats(r, -0.30, -0.22)[:, v1]) for r in (sinus[0], fibrillation[0])}
    assert rest["AFIB"] > 2 * rest["NORM"]


@pytest.mark.parametrize(("condition", "wide"), [("NORM", False), ("LAFB", False), ("CLBBB", True), ("CRBBB", True)])
def test_width_of_qrs(condition: str, wide: bool) -> None:
    for record in records(condition, fs=1000):
        beat = beats(record, -0.05, 0.30).mean(axis=0)
        speed = np.sqrt((np.diff(beat, axis=1) ** 2).sum(axis=0))
        inside = np.cumsum(speed[:250]) / speed[:250].sum()
        width = float(np.searchsorted(inside, 0.95) - np.searchsorted(inside, 0.02))  # ms
        assert (record.meta["qrs_ms"] >= 120) == wide
        assert (width > 95) == wide


def test_intervals_are_those_in_meta() -> None:
    for record in records("NORM", fs=1000, rate=60):
        beat = beats(record, -0.30, 0.55).mean(axis=0)
        qrs, pr, qt = (record.meta[key] for key in ("qrs_ms", "pr_ms", "qt_ms"))
        speed = np.sqrt((np.diff(beat[:, :480], axis=1) ** 2).sum(axis=0))
        fast = np.flatnonzero(speed > 0.06 * speed.max())
        assert fast[0] - 300 == pytest.approx(0, abs=12)
        assert fast[-1] - 300 == pytest.approx(qrs, abs=15)
        p = beat[lead("II"), :280]
        top = int(np.argmax(p[:250]))
        assert 300 - top == pytest.approx(pr - 52, abs=20)  # P lasts 105 ms
        t = beat[lead("V4"), 400:]
        peak = int(np.argmax(t))
        slope = np.diff(t)
        steepest = peak + int(np.argmin(slope[peak:]))
        end = steepest - t[steepest] / slope[steepest]  # where the tangent meets the baseline
        assert 100 + end == pytest.approx(qt, abs=25)
        assert 110 < pr < 200
        assert 80 < qrs < 110
        assert 380 < qt < 430


def test_qt_shortens_with_the_rate() -> None:
    qt = [Ecgsyn(condition="NORM", rate=rate).load("ecgsyn-000000").meta["qt_ms"] for rate in (40, 60, 90, 150)]
    assert qt == sorted(qt, reverse=True)
    assert qt[0] / qt[3] == pytest.approx((150 / 40) ** (1 / 3))


def test_normal_precordial_leads() -> None:
    qrs = np.mean([beats(r, 0, 0.12).mean(axis=0) for r in records("NORM", n=30)], axis=0)
    r, s = qrs.max(axis=1), qrs.min(axis=1)
    chest = [lead(f"V{k}") for k in range(1, 7)]
    ratio = r[chest] / (r[chest] - s[chest])
    assert (np.diff(ratio[:5]) > 0).all()  # R grows from V1 to V5 against S
    assert ratio[0] < 0.4 < 0.8 < ratio[5]
    assert r[lead("II")] > 0.5
    assert s[lead("aVR")] < -0.4


def elevation(record: Record) -> NDArray[np.float64]:
    """(12,) mV, 40 to 60 ms after the J point against PR."""
    after = record.meta["qrs_ms"] / 1000
    before, later = (beats(record, a, b).mean(axis=(0, 2)) for a, b in ((-0.02, -0.01), (after + 0.04, after + 0.06)))
    rise: NDArray[np.float64] = later - before
    return rise


@pytest.mark.parametrize(
    ("condition", "up", "down"),
    [("AMI", ("V2", "V3", "V4"), ("III",)), ("IMI", ("II", "III", "aVF"), ("aVL",)), ("ISCAL", ("aVR",), ("V5", "V6"))],
)
def test_st_segment(condition: str, up: tuple[str, ...], down: tuple[str, ...]) -> None:
    st = np.median([elevation(r) for r in records(condition)], axis=0)
    assert all(st[lead(name)] > 0.06 for name in up)
    assert all(st[lead(name)] < -0.04 for name in down)
    normal = np.median([elevation(r) for r in records("NORM")], axis=0)
    assert np.abs(normal[: lead("V1")]).max() < 0.05


def test_bundle_branch_blocks_point_apart() -> None:
    late = {
        condition: np.median([beats(r, 0.075, 0.12).mean(axis=(0, 2)) for r in records(condition)], axis=0)
        for condition in ("CLBBB", "CRBBB")
    }
    assert late["CLBBB"][lead("V1")] < -0.3 < 0.2 < late["CLBBB"][lead("V6")]
    assert late["CRBBB"][lead("V6")] < -0.1 < 0.2 < late["CRBBB"][lead("V1")]


def test_other_conditions_are_what_they_say() -> None:
    assert all(r.meta["pr_ms"] > 200 for r in records("1AVB"))
    assert all(np.ptp(r.mv[:6], axis=1).max() < 0.6 for r in records("LVOLT"))
    large, usual = (  # Sokolow and Lyon: S in V1 + R in V5; above 3.5 mV is too much
        np.array([r.mv[lead("V5")].max() - r.mv[lead("V1")].min() for r in records(condition, n=40)])
        for condition in ("LVH", "NORM")
    )
    assert np.mean(large > 3.5) > 0.5
    assert np.mean(usual > 3.5) < 0.1
    assert all(-90 < r.meta["axis_deg"] < -30 for r in records("LAFB"))
    assert all(r.meta["scp_codes"].keys() == {"NORM", "SBRAD"} for r in records("SBRAD"))
    assert all(r.meta["scp_codes"].keys() == {"NORM", "STACH"} for r in records("NORM", rate=120))
    # Atrial flutter: the baseline's strongest line is the flutter's, four to a beat.
    flutter = records("AFLT", n=1, duration=30, rate=75)[0]
    power = np.abs(np.fft.rfft(flutter.mv[lead("aVF")] - flutter.mv[lead("aVF")].mean())) ** 2
    assert power[150] > 3 * max(power[147:150].max(), power[151:154].max())  # 5 Hz at 1/30 Hz a bin


def test_ectopic_beats_come_early_and_pause() -> None:
    for record in records("BIGU") + records("PVC"):
        letters, onsets = record.meta["beats"], np.array(record.meta["qrs_onsets"])
        assert "V" in letters
        mean = 60 / record.meta["rate"]
        for k in range(1, len(letters) - 1):
            if letters[k] == "V":
                assert onsets[k] - onsets[k - 1] < 0.8 * mean
                assert onsets[k + 1] - onsets[k] > 1.2 * mean
        early, usual = beats(record, 0, 0.5, "V").mean(axis=0), beats(record, 0, 0.5, "N").mean(axis=0)
        assert np.abs(early[:, 60:75]).mean() > 2 * np.abs(usual[:, 60:75]).mean()  # wide: still going at 120 ms
    assert all(r.meta["beats"].strip("NV") == "" and "NN" not in r.meta["beats"] for r in records("BIGU"))


def test_pacing_spikes_precede_every_complex() -> None:
    for record in records("PACE"):
        jump = np.abs(np.diff(record.mv[lead("II")]))
        for onset in record.meta["qrs_onsets"]:
            at = round((onset - 0.004) * record.fs)
            if 5 < at < jump.size - 5:
                assert jump[at - 3 : at + 3].max() == pytest.approx(jump.max(), rel=0.6)
        assert jump.max() > 0.1  # mV in 2 ms: no heart does that


@pytest.mark.parametrize("fs", [100, 250, 360.0, 1000])
@pytest.mark.parametrize("duration", [1, 2.5, 30])
def test_any_rate_and_length(fs: float, duration: float) -> None:
    record = Ecgsyn(fs=fs, duration=duration, seed=2).load("ecgsyn-000001")
    assert record.mv.shape == (12, round(fs * duration))
    assert record.fs == fs
    assert np.isfinite(record.mv).all()


def test_one_heart_at_every_sampling_rate() -> None:
    coarse, fine = (records("NORM", n=1, fs=fs)[0].mv for fs in (250, 1000))
    assert np.abs(coarse - fine[:, ::4]).max() < 1e-5


def test_mixture_holds_every_condition() -> None:
    source = Ecgsyn(n=400, duration=1)
    drawn = [source.load(name).meta["condition"] for name in source.names()]
    assert set(drawn) == set(CONDITIONS)
    assert 160 < drawn.count("NORM") < 240


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n=0; expected an integer of at least 1"),
        ({"seed": -1}, "seed=-1"),
        ({"fs": 0}, "fs=0; expected 100 to"),
        ({"duration": float("nan")}, "duration=nan; expected 1 to"),
        ({"condition": "flu"}, "condition='flu'; expected one of NORM"),
        ({"rate": 400}, "rate=400; expected 30 to 180"),
        ({"rate": 120, "condition": "SBRAD"}, "rate=120; expected 30 to 59.9 beats per minute for SBRAD"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        Ecgsyn(**arguments)  # type: ignore[arg-type]


def test_bad_noise_and_names() -> None:
    with pytest.raises(UsageError, match="noise emg=-1"):
        Noise(emg=-1)
    with pytest.raises(UsageError, match="duration"):
        synthesize(np.random.default_rng(0), duration=0)
    for name in ("ecgsyn-000003", "ecgsyn-1", "ecgsyn-0000001", "00001", "ecgsyn-000001\n"):
        with pytest.raises(RecordError, match="expected ecgsyn-000000"):
            Ecgsyn(n=3).load(name)


# The bundled samples.


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_samples_are_made_again_byte_for_byte(tmp_path: Path) -> None:
    make_samples(tmp_path)
    assert files(tmp_path) == files(SAMPLES)
    assert filecmp.cmpfiles(tmp_path, SAMPLES, files(tmp_path), shallow=False)[1:] == ([], [])
    assert sum(path.stat().st_size for path in SAMPLES.rglob("*") if path.is_file()) < 3_000_000


def test_samples_source() -> None:
    source = Samples()
    names = list(source.names())
    assert len(names) == 16
    assert samples_root().joinpath("ptbxl_database.csv").is_file()
    for name in names:
        record = source.load(name)
        assert (record.leads, record.mv.shape, record.fs) == (STANDARD_LEADS, (12, 5000), 500.0)
        assert record.meta["synthetic"] is True
        assert record.meta["patient_id"].startswith("synthetic-")
        assert "not a person's record" in record.meta["comments"][0]
        mv = record.mv.astype(np.float64)
        assert np.abs(mv[1] - mv[0] - mv[2]).max() < 0.0011  # one unit of the file
    assert list(Samples(scp=("MI",)).names()) == ["00014", "00015"]
    with pytest.raises(TypeError):
        Samples(root=".")  # type: ignore[call-arg]


def test_samples_at_100_hz_are_the_same_signals() -> None:
    fast, slow = Samples(), Samples(fs=100)
    for name in fast.names():
        low, high = slow.load(name), fast.load(name)
        assert low.mv.shape == (12, 1000)
        assert np.abs(low.mv - high.resample(100).mv).max() < 0.0025  # both were rounded to 1 uV


def test_other_programs_read_the_samples() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # wfdb uses what newer versions of pandas deprecate
        import wfdb
    with (SAMPLES / "ptbxl_database.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    with (SAMPLES / "scp_statements.csv").open(newline="") as stream:
        statements = {row[""] for row in csv.DictReader(stream)}
    assert {row["patient_id"] for row in rows} == {f"synthetic-{k:02d}" for k in range(1, 17)}
    for row in rows:
        codes = set(ast.literal_eval(row["scp_codes"]))
        assert codes <= statements
        words = {"SR": "sinus rhythm", "SBRAD": "bradycardia", "STACH": "tachycardia"}
        assert all((code in codes) == (word in row["report"]) for code, word in words.items() if "BIGU" not in codes)
        record = wfdb.rdrecord(str(SAMPLES / row["filename_hr"]))
        assert record.sig_name == list(STANDARD_LEADS)
        own = Samples().load(f"{int(row['ecg_id']):05d}")
        np.testing.assert_allclose(record.p_signal.T, own.mv, atol=1e-6)
