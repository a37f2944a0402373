"""Rhythm: when the beats come. A record's RR intervals as a few numbers, and intervals drawn from such numbers."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
SHORTEST = 0.24  # s


@dataclass(frozen=True)
class Rhythm:
    """Attributes:
    rr: s, mean of all intervals. spread: SD of the intervals between dominant beats, as a fraction of their mean.
    chain: correlation of an interval with the one before it, -1 to 1.
    ectopic: share of beats of another shape; early: of premature ones of the dominant shape.
    """

    rr: float
    spread: float
    chain: float
    ectopic: float
    early: float


def measure(r: Floats, kinds: str) -> Rhythm:
    """Of R peaks (beats,) s and their kinds, see ``Delineation``."""
    rr = np.diff(r)
    usual = np.array([a == "N" and b == "N" for a, b in itertools.pairwise(kinds)])
    quiet = rr[usual] if usual.sum() >= 2 else rr
    mean = float(quiet.mean())
    spread = float(quiet.std()) / mean
    chain = 0.0
    if quiet.size >= 4 and spread > 0:
        # From successive differences: robust against a slow drift, and defined for few intervals.
        found = float(1 - 0.5 * np.mean(np.diff(quiet) ** 2) / quiet.var())
        # Few intervals make it look smaller than it is (Kendall's bias of an autocorrelation).
        chain = float(np.clip((found + 1 / quiet.size) / max(1 - 4 / quiet.size, 0.4), -0.95, 0.97))
    n = len(kinds)
    return Rhythm(float(rr.mean()), spread, chain, kinds.count("V") / n, kinds.count("S") / n)


def draw(
    rng: np.random.Generator, rhythm: Rhythm, irregular: bool, coupling: tuple[float, float], seconds: float
) -> tuple[Floats, str]:
    """R peaks in s from before 0 to after ``seconds``, and the beats' kinds; a beat or two more at either end.

    irregular: intervals are independent and skewed, as in fibrillation. coupling: mean and SD of an ectopic beat's
    interval as a fraction of the usual one; a pause makes up for what it is early.
    The mean of the intervals within the record is ``rhythm.rr``.
    """
    mean = rhythm.rr
    count = int(np.ceil(seconds / mean * 1.5)) + 8
    if irregular:
        shape = max(rhythm.spread, 0.02) ** -2
        rr = mean * rng.gamma(shape, 1 / shape, count)
    else:
        noise = rng.standard_normal(count).tolist()
        chain = min(max(rhythm.chain, -0.95), 0.97)
        fresh = math.sqrt(1 - chain**2)
        walk = list(itertools.accumulate(noise, lambda before, now: chain * before + fresh * now))
        seen = walk[1 : max(int(seconds / mean), 3)]  # the intervals within the record have the spread asked for
        middle = sum(seen) / len(seen)
        sd = math.sqrt(sum((one - middle) ** 2 for one in seen) / len(seen))
        rr = mean * np.maximum(1 + rhythm.spread * (np.array(walk) - middle) / max(sd, 0.1), 0.4)
    kinds = np.full(count, "N")
    for share, kind in ((rhythm.ectopic, "V"), (rhythm.early, "S")):
        if share <= 0:
            continue
        if share > 0.35:
            kinds[int(rng.integers(2)) :: 2] = kind
        else:
            # Beats apart by about 1 / share, never two in a row: the beat after one is its pause's.
            gaps = np.maximum(rng.geometric(min(share, 0.9), count), 2)
            places = np.cumsum(gaps) + int(rng.integers(0, 3)) - 2
            kinds[places[(places >= 0) & (places < count)]] = kind
    early = float(np.clip(rng.normal(*coupling), 0.42, 0.92))
    for k in (np.flatnonzero(kinds[1:-1] != "N") + 1).tolist() if not irregular else ():
        saved = (1 - early) * rr[k]
        rr[k] -= saved
        rr[k + 1] += saved if kinds[k] == "V" else 0.3 * saved
    rr = np.maximum(rr, SHORTEST)
    r = np.cumsum(rr)
    r -= r[1] + float(rng.uniform(0.0, rr[2]))  # the record begins anywhere between two beats
    inside = np.flatnonzero((r >= 0) & (r < seconds))
    if inside.size > 2:
        # Scaled about the first beat inside, twice: scaling moves beats over the record's end.
        for _ in range(2):
            first, last = inside[0], inside[-1]
            r = r[first] + (r - r[first]) * mean / ((r[last] - r[first]) / (last - first))
            inside = np.flatnonzero((r >= 0) & (r < seconds))
            if inside.size < 3:
                break
    keep = slice(max(int(np.searchsorted(r, 0.0)) - 2, 0), int(np.searchsorted(r, seconds)) + 2)
    return r[keep], "".join(kinds[keep].tolist())
