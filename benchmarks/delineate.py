"""How well synth.delineate agrees with the marks of LUDB's experts, beside NeuroKit2.

python benchmarks/delineate.py --root LUDB

LUDB (Kalyakulina et al., IEEE Access 8:186181, 2020; physionet.org/content/ludb) is 200 twelve-lead ECGs of 10 s whose
P waves, QRS complexes and T waves cardiologists marked in every lead on its own. --root is its folder, with
``data/1.hea``, ``data/1.dat``, ``data/1.i`` and so on. NeuroKit2 is compared if it is installed.

Global bounds of an ECG, of the experts and of every method that marks leads: a lead's mark is the median over its beats
of the time from R; the onset is the second earliest of the leads' marks, the offset the second latest (of six leads
marked at least). The earliest of all would be that of the one lead whose mark is worst. Thresholds of synth.delineate
were set on records with odd numbers up to 99, so the others are shown on their own.

Exit status: 0 errors as asked (PR and QRS 10 ms, QT 20 ms), 1 not, 2 wrong request.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import wfdb  # noqa: E402

from ecg_image_kit import Record  # noqa: E402
from ecg_image_kit.errors import EcgError  # noqa: E402
from synth.delineate import delineate  # noqa: E402

LEADS = ("i", "ii", "iii", "avr", "avl", "avf", "v1", "v2", "v3", "v4", "v5", "v6")
BOUNDS = ("p_onset", "p_offset", "qrs_onset", "qrs_offset", "t_offset")
# mark -> where its peak lies relative to R, s, and the names of its onset and offset
WAVES = {"p": (-0.36, -0.02, "p_onset", "p_offset"), "N": (-0.16, 0.16, "qrs_onset", "qrs_offset"),
         "t": (0.08, 0.56, "", "t_offset")}  # fmt: skip
ASKED = {"pr": 10.0, "qrs": 10.0, "qt": 20.0}  # ms, mean absolute error at most

Marks = list[tuple[str, float, float, float]]  # wave, onset, peak, offset in s; NaN where not marked
Bounds = dict[str, float]  # ms, of BOUNDS (from R) and of the intervals


def read(folder: Path, number: int) -> tuple[Record, list[Marks]]:
    """A record in mV, and the experts' marks of each lead. LUDB's headers scale each lead to 1; its integers are uV."""
    raw = wfdb.rdrecord(str(folder / str(number)), physical=False)
    ecg = Record(tuple(raw.sig_name), raw.d_signal.T / 1000.0, raw.fs, str(number))
    marks = []
    for lead in LEADS:
        notes = wfdb.rdann(str(folder / str(number)), lead)
        kinds, at = notes.symbol, notes.sample / raw.fs
        found: Marks = []
        for k, kind in enumerate(kinds):
            if kind in WAVES:
                onset = at[k - 1] if k > 0 and kinds[k - 1] == "(" else np.nan
                offset = at[k + 1] if k + 1 < len(kinds) and kinds[k + 1] == ")" else np.nan
                found.append((kind, onset, at[k], offset))
        marks.append(found)
    return ecg, marks


def together(leads: list[Marks], r: np.ndarray) -> Bounds:
    """Global bounds relative to R (beats,) s of the marks of each lead."""
    of_leads: dict[str, list[float]] = {name: [] for name in BOUNDS}
    for marks in leads:
        per_beat: dict[str, list[float]] = {name: [] for name in BOUNDS}
        for kind, onset, peak, offset in marks:
            low, high, first, last = WAVES[kind]
            near = np.flatnonzero((peak - r >= low) & (peak - r <= high))
            if near.size == 0:
                continue
            k = near[0] if kind == "p" else near[-1] if kind == "t" else near[np.argmin(np.abs(peak - r[near]))]
            for name, at in ((first, onset), (last, offset)):
                if name and np.isfinite(at):
                    per_beat[name].append(at - r[k])
        for name, times in per_beat.items():
            if times:
                of_leads[name].append(float(np.median(times)))
    found = {}
    for name, times in of_leads.items():
        ranked = sorted(times)
        found[name] = np.nan if len(ranked) < 6 else 1000 * (ranked[1] if "onset" in name else ranked[-2])
    return with_intervals(found)


def with_intervals(bounds: Mapping[str, float]) -> Bounds:
    pairs = {"pr": ("p_onset", "qrs_onset"), "qrs": ("qrs_onset", "qrs_offset"), "qt": ("qrs_onset", "t_offset")}
    return {**bounds, **{name: bounds[b] - bounds[a] for name, (a, b) in pairs.items()}}


def by_neurokit(ecg: Record, r: np.ndarray, method: str) -> Bounds:
    """Global bounds of NeuroKit2's marks, which it sets in each lead on its own, at the same R peaks."""
    import neurokit2 as nk

    names = {kind: [f"ECG_{kind.upper()}_{what}" for what in ("Onsets", "Peaks", "Offsets")] for kind in "pt"}
    names["N"] = ["ECG_R_Onsets", "", "ECG_R_Offsets"]
    leads: list[Marks] = []
    peaks = np.round(r * ecg.fs).astype(int)
    for signal in ecg.mv:
        try:
            clean = nk.ecg_clean(signal.astype(float), sampling_rate=int(ecg.fs))
            _, waves = nk.ecg_delineate(clean, peaks, sampling_rate=int(ecg.fs), method=method)
        except (ValueError, IndexError, ZeroDivisionError, KeyError, TypeError):
            continue  # it gives up on some leads
        marks: Marks = []
        for kind, (onset, peak, offset) in names.items():
            # By their times, not their places in the lists: these need not have an entry for every beat.
            starts, tops, ends = (_times(waves.get(key), ecg.fs) for key in (onset, peak, offset))
            for top in tops if peak else r:
                before, after = starts[(starts < top) & (starts > top - 0.25)], ends[(ends > top) & (ends < top + 0.25)]
                first = float(before[-1]) if before.size else np.nan
                last = float(after[0]) if after.size else np.nan
                marks.append((kind, first, float(top), last))
        leads.append(marks)
    return together(leads, r)


def _times(samples: object, fs: float) -> np.ndarray:
    """Sorted times in s of samples, without those that are not known; none for None."""
    found = np.asarray([] if samples is None else samples, float)
    return np.sort(found[np.isfinite(found)]) / fs


def table(title: str, rows: list[tuple[Bounds, Bounds]]) -> dict[str, float]:
    """Print mean absolute error, bias and SD of each bound and interval; returns the mean absolute errors, ms."""
    print(f"\n{title} ({len(rows)} records), ms")
    print(f"{'':12s}{'n':>5s}{'MAE':>8s}{'bias':>8s}{'SD':>8s}{'missed':>8s}{'extra':>8s}{'asked':>8s}")
    errors = {}
    for name in rows[0][1]:
        found, true = (np.array([row[k][name] for row in rows]) for k in (0, 1))
        both = np.isfinite(found) & np.isfinite(true)
        error = (found - true)[both]
        errors[name] = float(np.abs(error).mean()) if both.any() else np.nan
        print(
            f"{name:12s}{both.sum():5d}{errors[name]:8.1f}{error.mean() if both.any() else np.nan:8.1f}"
            f"{error.std() if both.any() else np.nan:8.1f}{(np.isfinite(true) & ~both).sum():8d}"
            f"{(np.isfinite(found) & ~both).sum():8d}{f'{ASKED[name]:8.0f}' if name in ASKED else ''}"
        )
    return errors


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--root", required=True, help="folder of LUDB")
    p.add_argument("--limit", type=int, default=200, help="of records [200]")
    p.add_argument("--neurokit", default="dwt,prominence", help="NeuroKit2's methods, joined by commas; empty for none")
    options = p.parse_args()
    folder = Path(options.root)
    folder = folder / "data" if (folder / "data").is_dir() else folder
    numbers = sorted(int(path.stem) for path in folder.glob("*.hea") if path.stem.isdigit())[: options.limit]
    if not numbers:
        print(f"error: no records 1.hea, 2.hea ... in {folder}; expected LUDB's folder.", file=sys.stderr)
        return 2
    methods: dict[str, Callable[[Record, np.ndarray], Bounds]] = {}
    for method in filter(None, options.neurokit.split(",")):
        try:
            import neurokit2  # noqa: F401
        except ImportError:
            print("NeuroKit2 is not installed: pip install neurokit2 to compare")
            break
        methods[f"NeuroKit2 {method}"] = lambda ecg, r, method=method: by_neurokit(ecg, r, method)
    rows: dict[str, dict[int, tuple[Bounds, Bounds]]] = {"synth.delineate": {}, **{name: {} for name in methods}}
    for number in numbers:
        ecg, marks = read(folder, number)
        try:
            d = delineate(ecg)
        except EcgError as error:
            print(f"{number}: {error}", file=sys.stderr)
            continue
        r = d.r_peaks[[kind == "N" for kind in d.kinds]]
        truth = together(marks, r)
        rows["synth.delineate"][number] = with_intervals({name: 1000 * getattr(d, name) for name in BOUNDS}), truth
        for name, measure in methods.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                rows[name][number] = measure(ecg, r), truth
    for name, found in rows.items():
        errors = table(f"{name}, all", list(found.values()))
        if name == "synth.delineate":
            own = errors
            tuned = {number: row for number, row in found.items() if number % 2 and number < 100}
            for title, part in (("tuned on", tuned), ("not tuned on", found.keys() - tuned.keys())):
                if part:
                    table(f"{name}, {title}", [found[number] for number in part])
    failed = [name for name, most in ASKED.items() if not own[name] <= most]
    print(f"\n{'FAILED: ' + ', '.join(failed) if failed else 'as asked'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
