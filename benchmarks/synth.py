"""How real, how varied and how private the generated ECGs are: the table of targets, for models and baselines.

python benchmarks/synth.py --root PTBXL_ROOT                              # all shipped models, 1,000 ECGs of each
python benchmarks/synth.py --root PTBXL_ROOT --models beats --n 300 --out reports

The last 300 records of PTB-XL are the real ones, which no model was trained on; the others are the training records.
Beside the models stand baselines: "real" are training records in place of the generated ones, the floor; "ecgsyn" is
the toolbox's dynamical model; "jittered" are training records, a little stretched, shifted and scaled, which look right
and must fail privacy. Models that can be asked for a class also make NORM ECGs, whose share of normal ones is compared
with that of held-out records labelled NORM alone; if fewer than 20 are labelled, of all such records.

How fast they are made is in synth_speed.py. Exit status: 0 all targets met by every model that is asked for, 1 some
missed, 2 wrong request.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from ecg_image_kit import EcgError, Record, UsageError, open_source  # noqa: E402
from synth.condition import Condition  # noqa: E402
from synth.evaluate import Described, Report, compare, describe, number, open_records  # noqa: E402
from synth.generate import generate, load_model, shipped  # noqa: E402
from synth.scores import Estimate, bootstrap  # noqa: E402

HELD_OUT = 300
LABELLED = 20  # records of a class, at least, whose share is worth a figure


@dataclass(frozen=True)
class Target:
    """A row of the table: what has to lie between two numbers; without them it is only shown."""

    key: str
    title: str
    low: float = -np.inf
    high: float = np.inf

    def met(self, value: float) -> bool | None:
        """None if there is no target. What could not be measured, as QT where no T wave is found, has missed it."""
        if np.isinf(self.low) and np.isinf(self.high):
            return None
        return bool(self.low <= value <= self.high)

    @property
    def text(self) -> str:
        if np.isinf(self.low):
            return "" if np.isinf(self.high) else f"<= {self.high:g}"
        return f">= {self.low:g}" if np.isinf(self.high) else f"{self.low:g} to {self.high:g}"


_INTERVALS = (("hr", "HR", 2.0, "bpm"), ("pr", "PR", 5.0, "ms"), ("qrs", "QRS", 5.0, "ms"), ("qt", "QT", 8.0, "ms"))
TARGETS = (
    *(Target(f"{key}.ks", f"{title}: KS", high=0.15) for key, title, _, _ in _INTERVALS),
    *(Target(f"{key}.difference", f"{title}: mean difference, {unit}", -most, most)
      for key, title, most, unit in _INTERVALS),
    *(Target(f"{key}.sd_ratio", f"{title}: SD ratio", 0.8, 1.2) for key, title, _, _ in _INTERVALS),
    Target("psd.worst", "log-PSD 0.5-40 Hz, worst spot of any lead, dB", high=3.0),
    Target("psd.spur", "highest spur, dB", high=3.0),
    Target("random.coverage", "coverage", low=0.7),
    Target("random.density", "density", low=0.8),
    Target("random.recall", "recall"),
    Target("c2st.signal", "two-sample AUROC, signals", high=0.9),
    Target("c2st.coarse", "two-sample AUROC, signals below 60 Hz"),
    Target("c2st.measures", "two-sample AUROC, measures"),
    Target("random.fid", "FID, random encoder"),
    Target("trained.fid", "FID, trained encoder"),
    Target("privacy.nearer", "share nearer to training", 0.45, 0.55),
    Target("privacy.membership", "membership AUROC", high=0.55),
    Target("privacy.copies", "as near as 5 % of held-out real"),
    Target("normal.share", "share normal by rules"),
    Target("norm.ratio", "the same, asked for NORM, over real NORM", low=0.8),
    Target("labels.tstr", "classes, trained on fake"),
)  # fmt: skip


class Jittered(Sequence[Record]):
    """``n`` copies of records, each stretched by 2 %, shifted by 0.25 s, scaled by 5 % at most, with 5 uV of noise."""

    def __init__(self, records: Sequence[Record], n: int, seed: int = 0) -> None:
        self._records, self._n, self._seed = records, n, seed

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, k):
        rng = np.random.default_rng(np.random.SeedSequence([self._seed, 0x717, k]))
        record = self._records[int(rng.integers(len(self._records)))]
        n = record.mv.shape[1]
        middle = n / 2
        at = (np.arange(n) - middle) * rng.uniform(0.98, 1.02) + middle + rng.uniform(-0.25, 0.25) * record.fs
        at = np.abs(at)
        at = np.where(at > n - 1, 2 * (n - 1) - at, at)  # mirrored at both ends
        mv = np.stack([np.interp(at, np.arange(n), lead) for lead in record.mv]) * rng.uniform(0.95, 1.05)
        mv += rng.normal(0, 0.005, mv.shape)
        return replace(record, mv=mv, name=f"copy-{k:04d}-of-{record.name}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="a PTB-XL tree; else $PTBXL_ROOT")
    parser.add_argument("--models", help="of beats, pulse2pulse, wavegan, image, or cards (default: all that ship)")
    parser.add_argument("--n", type=int, default=1000, help="ECGs of each model (default: 1000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-baselines", action="store_true", help="models only")
    parser.add_argument("--out", help="folder for a report of each column, and table.json")
    args = parser.parse_args(argv)
    try:
        models = [name for name in args.models.split(",") if name] if args.models is not None else list(shipped())
        for name in models:
            load_model(name)
        if args.n < 40:
            raise UsageError(f"--n {args.n}; expected 40 or more.")
        return quality(models, args.root, args.n, args.seed, not args.no_baselines, args.out)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except EcgError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def quality(models: list[str], root: str | None, n: int, seed: int, baselines: bool, out: str | None) -> int:
    source = open_source("ptbxl", **({"root": root} if root else {}))
    places = list(source.names())
    if len(places) < 2 * HELD_OUT:
        raise UsageError(f"{len(places)} records in {root}; expected {2 * HELD_OUT} or more, {HELD_OUT} to hold out.")
    spec = f"ptbxl:{source.folder}"
    held, trained = open_records(f"{spec}@-{HELD_OUT}:"), open_records(f"{spec}@:-{HELD_OUT}")
    real, train = _timed("real", held), _timed("training", trained)
    makers: dict[str, Callable[[], Sequence[Record]]] = {}
    if baselines:
        makers["ecgsyn"] = lambda: open_records("ecgsyn", n, seed)
        makers["jittered"] = lambda: Jittered(trained, n, seed)
    for name in models:
        makers[name] = lambda name=name: list(generate(n, model=name, seed=seed))
    reports: dict[str, Report] = {}
    norm: dict[str, Estimate] = {}
    for name, make in makers.items():
        fake = _timed(name, make())
        reports[name] = compare(real, fake, train, seed, name)
        if name in models and "label" in load_model(name).conditions:
            asked = list(generate(max(200, n // 4), model=name, seed=seed + 1, condition=Condition(label="NORM")))
            norm[name] = _norm_ratio(real, train, _timed(f"{name}, NORM", asked), seed)
        if out:
            reports[name].save(Path(out) / Path(name).stem)
    table = list(_rows(reports, norm))
    _show(table, list(reports))
    if out:
        Path(out, "table.json").write_text(json.dumps(table, indent=1) + "\n")
    for name, report in reports.items():
        spurs = ", ".join(f"{hz:g} Hz in {lead} (+{db:.1f} dB)" for lead, hz, db in report.spurs[:6]) or "none"
        print(f"spurs of {name}: {spurs}")
    return 1 if any(row["met"].get(name) is False for row in table for name in models) else 0


def _timed(name: str, records: Sequence[Record]) -> Described:
    begin = time.perf_counter()
    described = describe(records, what=name)
    print(f"{name}: {len(described)} records, {len(described.left_out)} left out, {time.perf_counter() - begin:.0f} s",
          file=sys.stderr, flush=True)  # fmt: skip
    return described


def _norm_ratio(held: Described, trained: Described, asked: Described, seed: int) -> Estimate:
    """Share of those asked to be NORM that are normal by rules, over that of real records labelled NORM alone: of those
    held out, if they are enough; else of all."""
    own, others = (r.normal[[classes == {"NORM"} for classes in r.classes]] for r in (held, trained))
    labelled = own if len(own) >= LABELLED else np.concatenate([own, others])
    if len(labelled) < LABELLED:
        return Estimate(float("nan"))
    print(f"real NORM: {len(own)} held out ({own.sum()} normal), {len(own) + len(others)} in all, "
          f"{labelled.mean():.3f} of {len(labelled)} normal", file=sys.stderr, flush=True)  # fmt: skip
    rng = np.random.default_rng(seed)
    return bootstrap(lambda a, b: float(a.mean() / max(b.mean(), 1e-9)), (asked.normal, labelled), rng)


def _rows(reports: dict[str, Report], norm: dict[str, Estimate]) -> Iterator[dict[str, object]]:
    """One per target: the floor, and for each column value, interval and whether it is met."""
    for target in TARGETS:
        values: dict[str, Estimate] = {}
        floor = float("nan")
        for name, report in reports.items():
            if target.key in report:
                score = report[target.key]
                values[name], floor = Estimate(score.value, score.low, score.high), score.floor
            elif target.key == "norm.ratio" and name in norm:
                values[name] = norm[name]
        yield {
            "key": target.key, "title": target.title, "target": target.text, "floor": _plain(floor),
            "value": {name: _plain(e.value) for name, e in values.items()},
            "interval": {name: [_plain(e.low), _plain(e.high)] for name, e in values.items()},
            "met": {name: target.met(e.value) for name, e in values.items()},
        }  # fmt: skip


def _plain(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def _show(table: list[dict], names: list[str]) -> None:
    """The table on the terminal; what misses its target is marked with an x."""
    width = max(13, *(len(Path(name).stem) + 2 for name in names))
    head = "".join(f"{Path(name).stem:>{width}}" for name in names)
    print(f"{'':48}{'target':>13}{'real':>9}{head}")
    for row in table:
        cells = []
        for name in names:
            value, met = row["value"].get(name), row["met"].get(name)
            text = "-" if value is None else number(value)
            cells.append(f"{text + (' x' if met is False else '  '):>{width}}")
        floor = "-" if row["floor"] is None else number(row["floor"])
        print(f"{row['title'][:47]:48}{row['target']:>13}{floor:>9}{''.join(cells)}")
    missed = {name: sum(row["met"].get(name) is False for row in table) for name in names}
    of = sum(1 for row in table if row["target"])
    print("missed: " + ", ".join(f"{Path(name).stem} {count} of {of}" for name, count in missed.items()))


if __name__ == "__main__":
    sys.exit(main())
