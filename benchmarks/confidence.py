"""Fit what a confidence means: how likely a lead is read with a plain SNR of over 15 dB, given what can be seen of it.

python benchmarks/confidence.py --root PTBXL [--skip 300 -n 14]

Reads pages of every recipe, of records that no other benchmark uses, and fits a logistic regression to the evidence of
digitizer.trust. Prints the numbers that stand there, and how well they tell good leads from bad ones on records that
were left out of the fit (each in turn).
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402
import numpy as np  # noqa: E402
from digitize import TARGETS, Job, page_of  # noqa: E402

import digitizer  # noqa: E402
from digitizer.metrics import score  # noqa: E402
from digitizer.trust import EVIDENCE, GOOD, einthoven, evidence, likely  # noqa: E402
from ecg_image_kit import EcgError, open_source  # noqa: E402

_RIDGE, _STEPS = 1.0, 30


def work(job: Job) -> list[tuple[float, ...]]:
    """For every lead of a page that was read: the evidence, whether the law is known, and the plain SNR, dB."""
    cv2.setNumThreads(1)
    page = page_of(job)
    try:
        reading = digitizer.read(page.image)
    except EcgError:
        return []
    found = evidence(reading.page.traces, reading.notes["residuals"], reading.page.layout.speed)
    known = bool(einthoven(reading.page.traces))
    db = {lead.lead: lead.plain.db for lead in score(page.record(), reading.record, ("plain",)).leads}
    return [(*seen.tolist(), known, db[lead]) for lead, seen in found.items() if lead in db]


def fit(seen: np.ndarray, good: np.ndarray) -> np.ndarray:
    """(1 + evidence,) the constant and the weights: logistic regression with a ridge, by Newton's method."""
    middle, spread = seen.mean(axis=0), seen.std(axis=0) + 1e-9
    x = np.column_stack([np.ones(len(seen)), (seen - middle) / spread])
    ridge = np.diag([0.0] + [_RIDGE] * seen.shape[1])
    w = np.zeros(x.shape[1])
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-x @ w))
        w -= np.linalg.solve((x.T * (p * (1 - p))) @ x + ridge, x.T @ (p - good) + ridge @ w)
    return np.concatenate([[w[0] - float(w[1:] @ (middle / spread))], w[1:] / spread])


def auroc(sure: np.ndarray, good: np.ndarray) -> float:
    """How often a good lead has the higher confidence of two."""
    rank = np.argsort(np.argsort(sure)) + 1
    n = int(good.sum())
    return float((rank[good].sum() - n * (n + 1) / 2) / max(n * (len(good) - n), 1))


def jobs_of(root: str | None, skip: int, n: int) -> Iterator[tuple[str, Job]]:
    src = "ptbxl" if root else "samples"
    names = list(itertools.islice(open_source(src, **({"root": root} if root else {})).names(), skip, skip + n))
    for spec in TARGETS:
        recipe, _, dpi = spec.partition("@")
        for name in names:
            yield name, Job(src, root, name, float(dpi or 200), "random", "random", 0, recipe, 0.5, spec)


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--root", help="PTB-XL folder (default: the bundled samples, which are too few)")
    p.add_argument("--skip", type=int, default=300, help="records to leave out before them (default: 300)")
    p.add_argument("-n", type=int, default=14, help="records (default: 14)")
    p.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    options = p.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # of the workers
    pairs = list(jobs_of(options.root, options.skip if options.root else 0, options.n))
    names, jobs = [name for name, _ in pairs], [job for _, job in pairs]
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(work, jobs))
    table = np.array([lead for page in found for lead in page]).reshape(-1, len(EVIDENCE) + 2)
    record = np.array([name for name, page in zip(names, found, strict=True) for _ in page])
    seen, known, good = table[:, :-2], table[:, -2] > 0, table[:, -1] > GOOD
    if len(np.unique(record)) < 2 or good.all() or not good.any():
        print(f"{len(table)} leads of {len(np.unique(record))} records are too few to fit.", file=sys.stderr)
        return 1
    held_out = np.zeros(len(good))
    for name in np.unique(record):
        out = record == name
        w = fit(seen[~out], good[~out])
        held_out[out] = [likely(each, w.tolist()) for each in seen[out]]
    law = seen[known, EVIDENCE.index("law")].mean()
    print(f"_WEIGHTS, _NO_LAW = ({', '.join(f'{v:.4g}' for v in fit(seen, good))}), {law:.1f}")
    print(f"of {', '.join(EVIDENCE)}; {len(good)} leads of {len(jobs)} pages, {good.mean():.1%} over {GOOD:g} dB")
    print(f"held out: AUROC {auroc(held_out, good):.3f}, Brier score {np.mean((held_out - good) ** 2):.3f}\n")
    print("confidence  leads  over 15 dB")
    for k in range(10):
        own = np.minimum((10 * held_out).astype(int), 9) == k
        if own.any():
            print(f"from {k / 10:.1f}    {own.sum():5d}    {good[own].mean():6.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
