"""The report of an evaluation as one web page: tables, and plots as SVG. It loads nothing from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ecg_image_kit import __version__

from . import scores as sc
from .condition import LEADS8
from .encoder import FS
from .evaluate import JUDGED, MEASURES, Pair, Score, interval_table, mean_sd, number, span, summary

if TYPE_CHECKING:
    from .evaluate import Report

# Okabe and Ito's palette: real is blue, fake vermilion, on every plot.
_REAL, _FAKE, _OTHER = "#0072b2", "#d55e00", "#009e73"

_STYLE = """\
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 80rem; margin: 1.5rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
svg { max-width: 100%; height: auto; } text { fill: currentColor; font: 11px system-ui, sans-serif; }
.axis { stroke: currentColor; stroke-opacity: .35; } .tick { opacity: .75; }
.plots { display: flex; flex-wrap: wrap; gap: .8rem; }
table { border-collapse: collapse; font-size: .85rem; }
td { white-space: nowrap; }
th, td { padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #8884; text-align: left; vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
tr.group th { padding-top: 1rem; }
.real { color: #0072b2; } .fake { color: #d55e00; }
footer { margin: 2rem 0; opacity: .7; }
"""

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="synth.evaluate {version}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<h1>Generated and real ECGs: {title}</h1>
<p>{summary} In the plots <b class="real">real is blue</b>, <b class="fake">generated is orange</b>. The floor is what
real records score in place of the generated ones: nothing can be expected to be better, but by chance.</p>
<h2>Measures</h2>
{measures}
<p>Published: mean ± SD of the 121,977 Pulse2Pulse ECGs that MUSE 12SL judged normal (Thambawita et al., Sci Rep 2021);
they were trained on normal ECGs only. Cumulative distributions:</p>
<div class="plots">
{distributions}
</div>
<h2>Everything else</h2>
{scores}
<p>Spurs (lines in the mean spectrum that real records do not have): {spurs}.</p>
<h2>Spectra, leads, features</h2>
<div class="plots">
{plots}
</div>
{pairs}{left_out}<footer>synth.evaluate {version}, seed {seed}. Intervals are 95 %, by bootstrap; of neighbour counts
and privacy by random halves. Rules of normality serve shares of many ECGs; they are no diagnosis.</footer>
</body>
</html>
"""


def webpage(report: Report) -> str:
    """HTML of a report."""
    title = escape(report.title)
    return _PAGE.format(
        version=__version__,
        title=title,
        style=_STYLE,
        summary=escape(summary(report)),
        measures=_measures(report),
        distributions="\n".join(_distribution(report, k) for k in range(len(MEASURES))),
        scores=_scores(report.scores),
        spurs=escape("; ".join(f"{hz:g} Hz in {lead}, +{db:.1f} dB" for lead, hz, db in report.spurs[:24]) or "none"),
        plots="\n".join([_spectrum(report), _spectrum_difference(report), _correlation(report), _plane(report)]),
        pairs=_pairs(report.pairs),
        left_out=_left_out(report),
        seed=report.seed,
    )


# Tables


def _measures(report: Report) -> str:
    head = ["", "unit", "real", "generated", "published", "KS", "95 %", "floor", "Wasserstein", "floor", "mean diff.",
            "95 %", "SD ratio", "95 %", "not found"]  # fmt: skip
    rows = []
    for row in interval_table(report):
        ks, earth, gap, ratio = (row[key] for key in ("ks", "wasserstein", "difference", "sd_ratio"))
        rows.append([
            row["title"], row["unit"], *(mean_sd(row[key]) for key in ("real", "fake", "published")),
            number(ks.value), span(ks), number(ks.floor), number(earth.value), number(earth.floor), number(gap.value),
            span(gap), number(ratio.value), span(ratio), number(row["missing"].value),
        ])  # fmt: skip
    return _table(head, rows)


def _scores(scores: Iterable[Score]) -> str:
    lines, group = ["<table>"], ""
    for score in scores:
        if score.group == "measures":
            continue
        if score.group != group:
            group = score.group
            cells = "".join(f'<th class="n">{text}</th>' for text in ("value", "95 %", "floor"))
            lines.append(f'<tr class="group"><th>{escape(group)}</th>{cells}</tr>')
        name = score.title + (f", {score.unit}" if score.unit else "")
        values = (number(score.value), span(score), number(score.floor))
        cells = "".join(f'<td class="n">{value}</td>' for value in values)
        lines.append(f"<tr><td>{escape(name)}</td>{cells}</tr>")
    return "\n".join([*lines, "</table>"])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    kinds = ["", "", *['class="n"'] * (len(head) - 2)]
    titles = "".join(f"<th {kind}>{escape(text)}</th>" for kind, text in zip(kinds, head, strict=True))
    lines = ["".join(f"<td {kind}>{escape(text)}</td>" for kind, text in zip(kinds, row, strict=True)) for row in rows]
    return "\n".join(["<table>", *(f"<tr>{line}</tr>" for line in (titles, *lines)), "</table>"])


def _left_out(report: Report) -> str:
    out = [(what, *item) for what, d in (("real", report.real), ("generated", report.fake), ("training", report.train))
           if d is not None for item in d.left_out]  # fmt: skip
    if not out:
        return ""
    items = "".join(f"<li>{escape(what)}, {escape(name)}: {escape(why)}</li>" for what, name, why in out[:20])
    return f"<h2>Left out: {len(out)} records</h2>\n<ul>{items}</ul>\n"


# Plots


class _Axes:
    """A frame of width x height px with linear axes; points outside are clipped to it."""

    left, right, top, bottom = 42, 14, 22, 22

    def __init__(
        self, title: str, x: tuple[float, float], y: tuple[float, float], width: int = 270, height: int = 170
    ) -> None:
        self.x, self.y, self.width, self.height = x, y, width, height
        self.parts = [f'<text x="{self.left}" y="14">{escape(title)}</text>']
        frame = (self.left, self.top, width - self.left - self.right, height - self.top - self.bottom)
        self.parts.append('<rect class="axis" fill="none" x="{}" y="{}" width="{}" height="{}"/>'.format(*frame))
        for value in _ticks(*x):
            px = self.px(np.array([value]), np.array([y[0]]))[0]
            self.parts.append(
                f'<text class="tick" x="{px[0]:.1f}" y="{height - 7}" text-anchor="middle">{value:g}</text>'
            )
        for value in _ticks(*y):
            px = self.px(np.array([x[0]]), np.array([value]))[0]
            self.parts.append(
                f'<text class="tick" x="{self.left - 4}" y="{px[1] + 4:.1f}" text-anchor="end">{value:g}</text>'
            )

    def px(self, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.float64]:
        u = np.clip((x - self.x[0]) / (self.x[1] - self.x[0]), 0, 1)
        v = np.clip((y - self.y[0]) / (self.y[1] - self.y[0]), 0, 1)
        across, down = self.width - self.left - self.right, self.height - self.top - self.bottom
        return np.stack([self.left + u * across, self.top + (1 - v) * down], axis=1)

    def line(self, x: NDArray[Any], y: NDArray[Any], colour: str, width: float = 1.5) -> None:
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in self.px(x, y))
        self.parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"/>')

    def dots(self, x: NDArray[Any], y: NDArray[Any], colour: str) -> None:
        marks = "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="1.7"/>' for a, b in self.px(x, y))
        self.parts.append(f'<g fill="{colour}" fill-opacity=".55">{marks}</g>')

    def svg(self) -> str:
        return _svg(self.width, self.height, self.parts)


def _svg(width: int, height: int, parts: Iterable[str]) -> str:
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}">{"".join(parts)}</svg>'


def _ticks(low: float, high: float, count: int = 4) -> list[float]:
    step = 10 ** math.floor(math.log10((high - low) / count))
    step *= next(m for m in (1, 2, 5, 10) if (high - low) / (step * m) <= count + 1)
    return [round(k * step, 10) for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _limits(*of: NDArray[Any], tail: float = 0.5) -> tuple[float, float]:
    """Where all but ``tail`` percent at each end lie; never an empty span."""
    values = np.concatenate([sc.known(np.asarray(x).ravel()) for x in of])
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, [tail, 100 - tail])
    room = 0.04 * (high - low) or 1.0
    return float(low - room), float(high + room)


def _distribution(report: Report, k: int) -> str:
    key = list(MEASURES)[k]
    title, unit, _ = MEASURES[key]
    real, fake = (sc.known(d.measures[:, k]) for d in (report.real, report.fake))
    axes = _Axes(f"{title}, {unit}; KS {number(report[f'{key}.ks'].value)}", _limits(real, fake), (0.0, 1.0))
    for values, colour in ((real, _REAL), (fake, _FAKE)):
        if values.size:
            share = np.linspace(0, 1, 101)
            axes.line(np.quantile(values, share), share, colour)
    return axes.svg()


def _spectrum(report: Report) -> str:
    hz = report.real.hz
    curves = [d.psd.mean(axis=(0, 1)) for d in (report.real, report.fake)]
    axes = _Axes(
        "mean log-PSD of all leads, dB re 1 mV²/Hz, over Hz", (0.0, float(hz[-1])), _limits(*curves, tail=0), 550
    )
    for curve, colour in zip(curves, (_REAL, _FAKE), strict=True):
        axes.line(hz, curve, colour, 1.2)
    return axes.svg()


def _spectrum_difference(report: Report) -> str:
    hz = report.real.hz
    inside = (hz >= JUDGED[0]) & (hz <= JUDGED[1])
    gap = sc.smooth(report.fake.psd.mean(axis=0) - report.real.psd.mean(axis=0), hz, 0.5)[:, inside]
    reach = max(4.0, float(np.abs(gap).max()) * 1.05)
    axes = _Axes(
        "generated less real in each lead, dB, over Hz (lines at ±3 dB)", (0.0, JUDGED[1]), (-reach, reach), 550
    )
    for level in (-3.0, 3.0):
        axes.line(np.array([0.0, JUDGED[1]]), np.array([level, level]), "#888", 0.8)
    for lead in gap:
        axes.line(hz[inside], lead, _OTHER, 1.0)
    return axes.svg()


def _correlation(report: Report) -> str:
    gap = sc.mean_of_known(report.fake.correlation) - sc.mean_of_known(report.real.correlation)
    size, left, top = 25, 30, 40
    parts = [f'<text x="{left}" y="14">correlation, generated less real</text>']
    for i, name in enumerate(LEADS8):
        parts.append(f'<text x="{left - 5}" y="{top + size * i + 17}" text-anchor="end">{name}</text>')
        parts.append(f'<text x="{left + size * i + 12}" y="{top - 5}" text-anchor="middle">{name}</text>')
        for j in range(len(LEADS8)):
            value = float(gap[i, j])
            strength = min(1.0, abs(value) / 0.4) if math.isfinite(value) else 0.0
            colour = _FAKE if value > 0 else _REAL
            x, y = left + size * j, top + size * i
            parts.append(
                f'<rect x="{x}" y="{y}" width="{size}" height="{size}" fill="{colour}" fill-opacity="{strength:.2f}"/>'
            )
            if j < i:
                parts.append(f'<text x="{x + 12}" y="{y + 16}" text-anchor="middle" font-size="8">{value:.2f}</text>')
    return _svg(left + 8 * size + 45, top + 8 * size + 10, parts)


def _plane(report: Report) -> str:
    real, fake = report.plane
    both = np.concatenate([real, fake])
    axes = _Axes("random encoder, two main components", _limits(both[:, 0]), _limits(both[:, 1]), 300, 250)
    for points, colour in ((fake, _FAKE), (real, _REAL)):
        shown = points[:: max(1, len(points) // 600)]
        axes.dots(shown[:, 0], shown[:, 1], colour)
    return axes.svg()


def _pairs(pairs: Sequence[Pair]) -> str:
    if not pairs:
        return ""
    parts = [
        "<h2>Closest pairs</h2>",
        "<p>The generated records (orange) that are nearest to a training record (blue), closest first. Distances are "
        "in units of the median distance of a held-out real record to its nearest training record. What belongs to "
        "nobody resembles its neighbour as one patient resembles another, not as a copy.</p>",
    ]
    for pair in pairs:
        names = f"{escape(pair.fake)} and {escape(pair.train)}, distance {number(pair.distance)}"
        parts += [f"<p>{names}</p>", _two(pair)]
    return "\n".join(parts) + "\n"


def _two(pair: Pair, leads: Sequence[str] = ("I", "II", "V2", "V5"), seconds: float = 5.0) -> str:
    """A few leads of both, in rows: the generated record over the training record."""
    width, row = 1100, 62
    step = 4  # 125 Hz is enough for the eye
    scale = 28.0  # px per mV
    parts = []
    for k, lead in enumerate(leads):
        for j, (mv, colour) in enumerate(((pair.fake_mv, _FAKE), (pair.train_mv, _REAL))):
            y = mv[LEADS8.index(lead), : round(seconds * FS) : step].astype(np.float64)
            y = np.clip(y - np.median(y), -2.0, 2.0)
            x = 30 + np.arange(y.size) * step / FS * (width - 40) / seconds
            base = (2 * k + j) * row + row * 0.65
            points = " ".join(f"{a:.1f},{base - scale * b:.1f}" for a, b in zip(x, y, strict=True))
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1"/>')
        parts.append(f'<text x="2" y="{2 * k * row + row:.0f}">{lead}</text>')
    return _svg(width, 2 * row * len(leads) + 30, parts)
