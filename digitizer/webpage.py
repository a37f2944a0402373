"""A reading as one web page to look at: picture, leads, where everything came from. It loads nothing from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

import cv2

from ecg_image_kit.errors import PageError

from .arrays import U8

_LONG_SIDE = 2400  # px of the picture at most; the overlay itself is there for more

_STYLE = """\
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 75rem; margin: 1.5rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
img { max-width: 100%; border: 1px solid #8888; }
table { border-collapse: collapse; }
th, td { padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #8884; text-align: left; vertical-align: top; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
.bad { color: #c33; font-weight: 600; }
footer { margin: 2rem 0; opacity: .7; }
"""

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="{reader}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{name}</title>
<style>
{style}</style>
</head>
<body>
<h1>{name}</h1>
<p>{sentence}</p>
{warnings}<img alt="The page, paled, with the recovered traces drawn over it" src="data:image/jpeg;base64,{picture}">
<h2>Leads</h2>
{leads}
<h2>Where it came from</h2>
{notes}
<footer>{reader}. Not a medical device. The picture has the recovered traces in colour over the page.</footer>
</body>
</html>
"""


def webpage(report: Mapping[str, Any], picture: U8, poor: float) -> str:
    """HTML of a report (``report.summary``, as plain data) and its overlay, (H, W, 3) uint8 RGB.

    ``poor``: the confidence under which a lead is marked.
    """
    read = report["leads"]
    sentence = (
        f"{report['layout']}, {report['speed_mm_s']:g} mm/s, {report['gain_mm_mv']:g} mm/mV; {len(read)} leads at "
        f"{report['fs']:g} Hz."
    )
    warnings = "".join(f'<p class="bad">{escape(text)}</p>\n' for text in report["warnings"])
    image = report["image"]
    name = image.get("file") or image["name"] or "ECG"
    return _PAGE.format(
        reader=escape(report["reader"]),
        name=escape(f"{name}, page {image['page']}" if "page" in image else name),
        style=_STYLE,
        sentence=escape(sentence),
        warnings=warnings,
        picture=base64.b64encode(_jpeg(picture)).decode("ascii"),
        leads=_leads(read, poor),
        notes=_table((), ((key.replace("_", " "), _text(value)) for key, value in report["notes"].items())),
    )


def _leads(leads: Mapping[str, Mapping[str, Any]], poor: float) -> str:
    head = ["lead", "status", "window, s", "range, mV", "read, %", "confidence"]
    with_fill = any("filled_share" in lead for lead in leads.values())
    rows = []
    for name, lead in leads.items():
        bad = lead["confidence"] < poor or lead["status"] == "unread"
        rows.append([
            name, lead["status"], _span(lead["window_s"], "g"), _span(lead["range_mv"], ".2f"),
            100 * lead["read_share"], _Doubt(lead["confidence"]) if bad else lead["confidence"],
            *([f"{100 * lead['filled_share']:.3g} %: {_spans(lead['filled_s'])}"] if with_fill else []),
        ])  # fmt: skip
    return _table([*head, "filled, not read, s"] if with_fill else head, rows)


class _Doubt(float):
    """A number to be marked."""


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    lines = [f"<tr>{titles}</tr>"] if titles else []
    lines += [f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in rows]
    return "\n".join(["<table>", *lines, "</table>"])


def _cell(value: object) -> str:
    if isinstance(value, float):
        kind = "n bad" if isinstance(value, _Doubt) else "n"
        return f'<td class="{kind}">{value:.4g}</td>'
    return f"<td>{escape(str(value))}</td>"


def _span(ends: Any, form: str) -> str:
    return " to ".join(format(end, form) for end in ends) if ends else "none"


def _spans(spans: Iterable[Any]) -> str:
    return ", ".join(_span(ends, ".2f") for ends in spans) or "none"


def _text(value: Any) -> str:
    """A note in words: ``key: value`` of mappings, lists joined."""
    if isinstance(value, Mapping):
        return "; ".join(f"{str(key).replace('_', ' ')}: {_text(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _jpeg(picture: U8) -> bytes:
    height, width = picture.shape[:2]
    if (scale := _LONG_SIDE / max(height, width)) < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype("uint8")
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    if not ok:
        raise PageError(f"picture of {width} x {height} px cannot be written as jpg.")
    return data.tobytes()
