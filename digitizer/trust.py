"""trust: how likely it is that a lead is read well, judged without knowing what it ought to be.

A logistic regression on five things that can be seen of any reading, fitted to pages whose truth is known
(``python benchmarks/confidence.py``), so that of the leads with a confidence of 0.8, say, eight in ten are read with a
plain SNR of over 15 dB. Leads of which a good part was not read are trusted less: those pages have hardly any.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from ecg_image_kit.page import Trace

from .arrays import D

GOOD = 15.0  # dB of plain SNR that a lead read well has
# Einthoven's and Goldberger's laws: how much of I and of II each limb lead is.
FROM_I_II = {"I": (1.0, 0.0), "II": (0.0, 1.0), "III": (-1.0, 1.0),
             "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0), "-aVR": (0.5, 0.5)}  # fmt: skip
EVIDENCE = ("residual", "unread", "height", "shared", "law")  # of each lead, in the order of the coefficients
# What benchmarks/confidence.py prints: the constant and one for each EVIDENCE; what stands for a law that is not known.
_WEIGHTS, _NO_LAW = (-16.83, -2.609, -0.3792, 1.025, -1.436, -1.001), -5.5
_SOME = 0.01  # added to shares, whose logarithms count
# Unread share of a lead over which confidence falls to 0: with luck there was nothing, and the fit has few such.
_MUCH = (0.05, 0.4)
_MOST = 0.99  # more cannot be told
_LEAST = 100  # samples that tell something of the law
_LAW, _LEAST_RESIDUAL = (1e-4, 3.0), 1e-3
_BIN = 0.4  # mm, of columns in which rows share their height, and
_PEN = 0.3  # mm


class Column(NamedTuple):
    """Limb leads of which there are three or more at the same time: per lead, mV^2 in all, and what is no pair's I, II.

    ``unrelated``: the share of all that would be no pair's if the leads had nothing to do with each other.
    """

    leads: tuple[str, ...]
    power: D
    rest: D
    unrelated: float

    @property
    def law(self) -> float:
        """0: Einthoven's and Goldberger's laws are obeyed; 1: the leads are unrelated."""
        return float(self.rest.sum() / max(float(self.power.sum()), 1e-9) / self.unrelated)


def einthoven(traces: Sequence[Trace]) -> list[Column]:
    """Every column of a page with three limb leads or more, and how well they obey Einthoven's law."""
    cells = [t for t in traces if not t.strip.rhythm and t.strip.lead.lstrip("-") in FROM_I_II]

    def column_of(trace: Trace) -> tuple[int, float]:
        before = sum(t.strip.row == trace.strip.row and t.strip.x < trace.strip.x for t in cells)
        return before, round(trace.strip.start, 2)

    found = []
    for _, column in groupby(sorted(cells, key=column_of), key=column_of):
        own = {t.strip.lead.lstrip("-"): upright(t) for t in column}
        if len(own) < 3:
            continue
        count = min(mv.size for mv in own.values())
        mv = np.stack([mv[:count] for mv in own.values()])
        mv = mv[:, np.isfinite(mv).all(axis=0)]
        if mv.shape[1] < _LEAST:
            continue
        mv -= mv.mean(axis=1, keepdims=True)  # levels are not on the paper
        basis = np.array([FROM_I_II[lead] for lead in own])
        rest = mv - basis @ np.linalg.lstsq(basis, mv, rcond=None)[0]
        # Of k unrelated leads the fit explains 2 / k.
        found.append(Column(tuple(own), (mv**2).sum(axis=1), (rest**2).sum(axis=1), 1 - 2 / len(own)))
    return found


def upright(trace: Trace) -> D:
    """(N,) mV, -aVR turned back into aVR."""
    return np.asarray(trace.mv, np.float64) * (-1 if trace.strip.lead.startswith("-") else 1)


def evidence(traces: Sequence[Trace], residuals: Sequence[float], speed: float) -> dict[str, D]:
    """What can be seen of each lead that was read, as (5,) of ``EVIDENCE``; of several strips, of that most was read.

    Args:
        traces: of all strips, at the rate they were read at (500 Hz).
        residuals: RMS error of coverage with which each one's drawing reproduces its ink; 0: none was looked at.
        speed: mm/s.
    """
    laws = {
        lead: float(np.log(np.clip(rest / max(power * column.unrelated, 1e-9), *_LAW)))
        for column in einthoven(traces)
        for lead, power, rest in zip(column.leads, column.power, column.rest, strict=True)
    }
    usual = float(np.median(list(laws.values()))) if laws else _NO_LAW
    read = [int(np.isfinite(t.mv).sum()) for t in traces]
    shares = _shared(traces, speed)
    found: dict[str, D] = {}
    for k in sorted(range(len(traces)), key=lambda k: read[k]):
        lead, mv = traces[k].strip.lead.lstrip("-"), traces[k].mv
        if read[k]:
            height = float(np.nanstd(mv)) * traces[k].strip.gain
            found[lead] = np.array([
                np.log(max(residuals[k] or 1.0, _LEAST_RESIDUAL)), np.log(1 - read[k] / mv.size + _SOME),
                np.log(max(height, 1e-2)), np.log(shares[k] + _SOME), laws.get(lead, usual),
            ])  # fmt: skip
    return found


def confidence(traces: Sequence[Trace], residuals: Sequence[float], speed: float) -> dict[str, float]:
    """How likely it is that each lead is read with a plain SNR of over ``GOOD`` dB, 0 to 1; 0 if it is not read.

    Args: as of ``evidence``.
    """
    seen = evidence(traces, residuals, speed)
    leads = dict.fromkeys(t.strip.lead.lstrip("-") for t in traces)
    return {lead: round(likely(seen[lead]), 3) if lead in seen else 0.0 for lead in leads}


def likely(seen: D, weights: Sequence[float] = _WEIGHTS) -> float:
    """The confidence that goes with this evidence. ``weights``: the constant, and one for each of it."""
    unread = np.exp(seen[EVIDENCE.index("unread")]) - _SOME
    much = np.interp(unread, _MUCH, (1.0, 0.0))
    return float(min(much / (1 + np.exp(-weights[0] - seen @ np.array(weights[1:]))), _MOST))


def _shared(traces: Sequence[Trace], speed: float) -> list[float]:
    """Share of the way of each trace on which there is another row's."""
    if not traces or not all(t.mv.size for t in traces):
        return [0.0] * len(traces)
    column = [
        np.floor((t.strip.x + (t.start - t.strip.start + np.arange(t.mv.size) / t.fs) * speed) / _BIN).astype(int)
        for t in traces
    ]
    first, last = min(c[0] for c in column), max(c[-1] for c in column)
    top = np.full((len(traces), last - first + 1), np.inf)
    bottom = -top
    for k, (trace, at) in enumerate(zip(traces, column, strict=True)):
        y = trace.strip.y - trace.strip.gain * np.asarray(trace.mv, np.float64)
        known = np.isfinite(y)
        np.minimum.at(top[k], at[known] - first, y[known])
        np.maximum.at(bottom[k], at[known] - first, y[known])
    row = np.array([t.strip.row for t in traces])
    found = []
    for k in range(len(traces)):
        way = np.where(bottom[k] >= top[k], bottom[k] - top[k] + _PEN, 0.0)
        others = row != row[k]
        both = np.minimum(bottom[others], bottom[k]) - np.maximum(top[others], top[k]) + _PEN
        common = np.minimum(np.maximum(both, 0.0).sum(axis=0), way)
        found.append(float(common.sum() / max(way.sum(), 1e-9)))
    return found
