"""Page text as ECG machines arrange it, and machine-readable codes. All about the patient is made up and says so.

Names carry SYNTHETIC, SPECIMEN or TEST, identifiers begin with SYN, and dates are drawn, never taken from a record.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from . import text as printed
from .errors import UsageError
from .text import Text

Rectangle = tuple[float, float, float, float]  # x0, y0, x1, y1 mm

_MARKERS = ("SYNTHETIC", "SPECIMEN", "TEST")
_GIVEN = (
    "Anna",
    "Ben",
    "Clara",
    "David",
    "Eva",
    "Felix",
    "Greta",
    "Hugo",
    "Ida",
    "Jonas",
    "Lena",
    "Max",
    "Nora",
    "Paul",
)
_SITES = (
    "SPECIMEN HOSPITAL",
    "Test Clinic",
    "Synthetic Medical Centre",
    "SAMPLE WARD 3",
    "Example Cardiology",
    "TEST SITE 12",
)
_DATES = ("%d-%b-%Y %H:%M:%S", "%Y-%m-%d %H:%M", "%d.%m.%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%d %b %Y  %H:%M:%S")
_BANDS = ("0.05-150 Hz", "0.05-100 Hz", "0.15-100 Hz", "0.05-40 Hz", "0.5-40 Hz", "0.5-35 Hz", "0.67-150 Hz")


# SCP-ECG statement codes (EN 1064, as PTB-XL uses them) in the words of a printed report.
_STATEMENTS = {
    "SR": "Sinus rhythm", "SBRAD": "Sinus bradycardia", "STACH": "Sinus tachycardia", "SARRH": "Sinus arrhythmia",
    "AFIB": "Atrial fibrillation", "AFLT": "Atrial flutter", "SVTAC": "Supraventricular tachycardia",
    "PACE": "Paced rhythm", "PVC": "Ventricular premature complexes", "BIGU": "Bigeminy",
    "PAC": "Atrial premature complexes", "1AVB": "First degree AV block", "2AVB": "Second degree AV block",
    "3AVB": "Complete AV block", "CLBBB": "Left bundle branch block", "CRBBB": "Right bundle branch block",
    "ILBBB": "Incomplete left bundle branch block", "IRBBB": "Incomplete right bundle branch block",
    "LAFB": "Left anterior fascicular block", "LPFB": "Left posterior fascicular block", "WPW": "Pre-excitation",
    "LVH": "Left ventricular hypertrophy", "RVH": "Right ventricular hypertrophy", "LVOLT": "Low QRS voltages",
    "AMI": "Anterior infarction", "IMI": "Inferior infarction", "ASMI": "Anteroseptal infarction",
    "LMI": "Lateral infarction", "ALMI": "Anterolateral infarction", "ILMI": "Inferolateral infarction",
    "ISC_": "Ischaemic ST-T changes", "ISCAL": "Anterolateral ischaemia", "ISCIN": "Inferior ischaemia",
    "NDT": "Nondiagnostic T abnormalities", "NST_": "Nonspecific ST changes", "STD_": "ST depression",
    "STE_": "ST elevation", "LNGQT": "Prolonged QT interval", "DIG": "Digitalis effect",
}  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """What a page says: a made-up patient, visit and machine, and intervals that agree with one another."""

    name: str
    id: str
    age: str  # "61" or "90+"
    sex: str  # Male, Female
    when: str
    birth: str
    site: str
    technician: str
    device: str
    serial: int
    band: str
    mains: str
    rate: int  # /min
    pr: int  # ms
    qrs: int
    qt: int
    qtc: int  # Bazett
    axes: tuple[int, int, int]  # P, QRS, T in degrees
    findings: tuple[str, ...]
    verdict: str
    sheet: int  # from 1
    sheets: int

    @classmethod
    def draw(cls, rng: np.random.Generator, meta: Mapping[str, Any]) -> Facts:
        """Drawn facts; only ``age`` (years; PTB-XL's 300: 90 or more), ``sex``, ``heart_rate`` and ``scp_codes`` come
        from ``meta``, so that statements never contradict the record's own labels; and which ``sheet`` (from 0) of how
        many ``sheets`` it is.

        Every draw is made whatever ``meta`` holds, so the same seed makes the same page but for what was given.
        """
        number = int(rng.integers(10_000))
        given = str(rng.choice(_GIVEN))
        marker = str(rng.choice(_MARKERS))
        name = f"{marker} PATIENT {number:04d}" if rng.random() < 0.25 else f"{marker}, {given}"
        identifier = f"SYN{rng.integers(10**6, 10**8)}"
        years, female = float(rng.integers(21, 89)), bool(rng.random() < 0.5)
        years = _number(meta.get("age"), 0, 400) or years
        sex = _sex(meta.get("sex")) or ("Female" if female else "Male")
        style = str(rng.choice(_DATES))
        when = dt.datetime(1998, 1, 1) + dt.timedelta(
            minutes=int(rng.integers(27 * 525_600)), seconds=int(rng.integers(60))
        )
        birth = when - dt.timedelta(days=365.25 * int(years) + int(rng.integers(2, 360)))

        drawn = float(np.clip(rng.normal(74, 15), 44, 135))
        rate = round(_number(meta.get("heart_rate"), 15, 350) or drawn)
        pr, qrs = np.clip(rng.normal(158, 22), 108, 260), np.clip(rng.normal(92, 11), 70, 150)
        qtc, (p, q, t) = np.clip(rng.normal(418, 20), 350, 500), rng.normal((52, 35, 42), (14, 32, 20))
        # One beat holds one QT interval, and PR and QRS shorten as the rate rises.
        qt = min(qtc * math.sqrt(60 / rate), 0.9 * 60_000 / rate)
        pr = min(pr, 0.35 * 60_000 / rate)
        qtc = qt / math.sqrt(60 / rate)
        findings, verdict = _labelled(meta.get("scp_codes")) or _read(rate, pr, qrs, qtc, q)
        return cls(
            name=name,
            id=identifier,
            age="90+" if years >= 90 else f"{int(years)}",
            sex=sex,
            when=_date(when, style),
            birth="" if years >= 90 else _date(birth, style.split(" %H")[0].strip()),
            site=str(rng.choice(_SITES)),
            technician=f"TEST-{rng.integers(1, 40):02d}",
            device=f"{rng.choice(('SYN-ECG', 'CART', 'MODEL', 'UNIT'))} {rng.integers(1, 10) * 100}",
            serial=int(rng.integers(1000, 99999)),
            band=str(rng.choice(_BANDS)),
            mains=str(rng.choice(("50 Hz", "60 Hz"))),
            rate=rate,
            pr=round(pr),
            qrs=round(qrs),
            qt=round(qt),
            qtc=round(qtc),
            axes=(round(p), round(q), round(t)),
            findings=findings,
            verdict=verdict,
            sheet=round(_number(meta.get("sheet"), 0, 10**6) or 0) + 1,
            sheets=round(_number(meta.get("sheets"), 1, 10**6) or 1),
        )


def _date(when: dt.datetime, style: str) -> str:
    """``strftime`` with English months whatever the locale, so that a seed makes the same page everywhere."""
    month = "JanFebMarAprMayJunJulAugSepOctNovDec"[3 * when.month - 3 : 3 * when.month]
    return when.strftime(style.replace("%b", month))


def _number(value: Any, low: float, high: float) -> float | None:
    """``value`` as a number between ``low`` and ``high``, or None if it is missing or no such number."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if low < number < high else None


def _sex(value: Any) -> str | None:
    """Male or Female; PTB-XL writes 0 and 1."""
    key = str(value).strip().lower()
    return "Male" if key in ("0", "0.0", "m", "male") else "Female" if key in ("1", "1.0", "f", "female") else None


def _labelled(codes: Any) -> tuple[tuple[str, ...], str] | None:
    """Statement lines and summary that the record's SCP-ECG statements (code: likelihood) call for, if it has any."""
    if not isinstance(codes, Mapping) or not codes:
        return None
    known = tuple(_STATEMENTS[code] for code in codes if code in _STATEMENTS)
    return known[:4], "Normal ECG" if "NORM" in codes else "Abnormal ECG"


def _read(rate: float, pr: float, qrs: float, qtc: float, axis: float) -> tuple[tuple[str, ...], str]:
    """Statement lines that follow from the numbers, and the summary."""
    rhythm = "Sinus bradycardia" if rate < 60 else "Sinus tachycardia" if rate > 100 else "Normal sinus rhythm"
    minor = {"First degree AV block": pr > 200, "Left axis deviation": axis < -30, "Right axis deviation": axis > 90}
    major = {"Intraventricular conduction delay": qrs > 118, "Prolonged QT interval": qtc > 460}
    borderline = any(minor.values()) or not 50 <= rate <= 100
    verdict = "Abnormal ECG" if any(major.values()) else "Borderline ECG" if borderline else "Normal ECG"
    return (rhythm, *(line for line, holds in (minor | major).items() if holds)), verdict


@dataclass
class _Sheet:
    """Collects texts that stand in the top or bottom band and clear of one another; what does not fit is dropped."""

    width: float
    height: float
    top: float
    bottom: float
    font: str
    size: float
    taken: list[Rectangle] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)

    @property
    def pitch(self) -> float:
        """mm between lines."""
        return 1.6 * self.size

    @property
    def edge(self) -> float:
        """mm left free at the sides."""
        return min(8.0, 0.03 * self.width + 1.0)

    @property
    def first(self) -> float:
        """Baseline of the first header line."""
        return min(5.0, 0.12 * self.top) + 1.2 * self.size

    @property
    def foot(self) -> float:
        """Baseline of the footer line."""
        return self.height - self.bottom / 2 + self.size / 2

    def put(
        self,
        text: str,
        x: float,
        y: float,
        anchor: str = "ls",
        kind: str = "header",
        scale: float = 1.0,
        bold: bool = False,
        boxed: bool = False,
    ) -> bool:
        """Place one text if there is room for it."""
        item = Text(text, x, y, self.size * scale, self.font, anchor, bold, boxed, kind)
        box = self._extent(item)
        if not text or not self._free(box):
            return False
        self.texts.append(item)
        self.taken.append(box)
        return True

    def block(
        self,
        rows: Iterable[tuple[str, ...]],
        x: float,
        y: float,
        gap: float = 0.0,
        anchor: str = "ls",
        kind: str = "measurement",
    ) -> None:
        """Rows of cells ``gap`` mm apart. Rows that reach below the header are cut off; else it is all or nothing."""
        items = []
        for i, row in enumerate(row for row in rows if all(row)):
            cells = [
                Text(cell, x + j * gap, y + i * self.pitch, self.size, self.font, anchor, kind=kind)
                for j, cell in enumerate(row)
            ]
            if self._extent(cells[0])[3] <= self.top:
                items += cells
        if not items:
            return
        x0, y0, x1, y1 = zip(*map(self._extent, items), strict=True)
        box = min(x0), min(y0), max(x1), max(y1)
        if self._free(box):
            self.texts += items
            self.taken.append(box)

    def _extent(self, item: Text) -> Rectangle:
        """Where a text's ink can lie, with a hair of air around it."""
        size = item.size
        wide = printed.width(item.text, size, item.font, item.bold)
        left = item.x - {"l": 0.0, "m": 0.5, "r": 1.0}[item.anchor[0]] * wide
        pad = 0.45 * size if item.boxed else 0.0
        return (
            left - 0.15 * size - pad,
            item.y - 1.15 * size - pad,
            left + wide + 0.15 * size + pad,
            item.y + 0.4 * size + pad,
        )

    def _free(self, box: Rectangle) -> bool:
        x0, y0, x1, y1 = box
        in_band = (y0 >= 0 and y1 <= self.top) or (y0 >= self.height - self.bottom and y1 <= self.height)
        clear = all(x1 <= b[0] or b[2] <= x0 or y1 <= b[1] or b[3] <= y0 for b in self.taken)
        return in_band and x0 >= 0 and x1 <= self.width and clear


@dataclass(frozen=True)
class _Scale:
    """Speed, gain and filter as text."""

    speed: str
    gain: str
    filter: str

    @property
    def line(self) -> str:
        return "  ".join(filter(None, (f"{self.speed} mm/s", f"{self.gain} mm/mV", self.filter)))


def _none(s: _Sheet, f: Facts, c: _Scale, measured: bool) -> None:
    """An empty margin."""


def _minimal(s: _Sheet, f: Facts, c: _Scale, measured: bool) -> None:
    """The scale below, an identifier above."""
    s.put(c.line, s.edge, s.foot, kind="calibration")
    s.put(f.id, s.edge, s.first)
    s.put(f.when, s.width - s.edge, s.first, "rs")


def _classic(s: _Sheet, f: Facts, c: _Scale, measured: bool) -> None:
    """Patient, measurements and interpretation side by side; scale, filter and machine in the footer."""
    w, left, y = s.width, s.edge, s.first
    s.put(f"{c.speed} mm/s", left, s.foot, kind="calibration")
    s.put(f"{c.gain} mm/mV", left + 10 * s.size, s.foot, kind="calibration")
    s.put(c.filter, left + 21 * s.size, s.foot, kind="footer")
    s.put(f"{f.device}  v{f.serial % 9 + 1}.{f.serial % 7}", left + 41 * s.size, s.foot, kind="footer")
    s.put(f"Page {f.sheet} of {f.sheets}", w - s.edge, s.foot, "rs", "footer")
    s.put(f.name, left, y, bold=True)
    s.block(((f"ID: {f.id}",), (f.when,), (f"{f.age} yr   {f.sex}",)), left, y + s.pitch, kind="header")
    if measured:
        rows = [("Vent. rate", f"{f.rate} bpm"), ("PR interval", f"{f.pr} ms"), ("QRS duration", f"{f.qrs} ms")]
        rows += [("QT/QTc", f"{f.qt}/{f.qtc} ms"), ("P-R-T axes", "  ".join(map(str, f.axes)))]
        s.block(rows, 0.29 * w, y, 11 * s.size)
        s.block(((x,) for x in (*f.findings, f.verdict)), 0.56 * w, y)
    s.put(f.site, w - s.edge, y, "rs")
    last = s.top - 0.6 * s.size
    s.put("Unconfirmed", w - s.edge, last, "rs")
    s.put(f"Technician: {f.technician}", left, last)
    s.put("Referred by: TEST", 0.56 * w, last)


def _columns(s: _Sheet, f: Facts, c: _Scale, measured: bool) -> None:
    """One patient line, narrow columns of numbers, wide statements, the verdict in the middle."""
    w, left, y = s.width, s.edge, s.first
    limb, chest = c.gain.split("/")[0], c.gain.split("/")[-1]
    scale = "   ".join((f"Speed: {c.speed} mm/sec", f"Limb: {limb} mm/mV", f"Chest: {chest} mm/mV"))
    if not s.put(scale, 0.5 * w, s.foot, "ms", "calibration"):
        s.put(c.line, left, s.foot, kind="calibration")
    s.put(f"Device: {f.serial}", left, s.foot, kind="footer")
    s.put(f"F {c.filter}" if c.filter else "", w - s.edge, s.foot, "rs", "footer")
    second = max(0.22 * w, left + 20 * s.size)
    s.put(f.id, left, y, bold=True)
    s.put(f.name, second, y, bold=True)
    s.put(f.when, w - s.edge, y, "rs")
    s.put(f"{f.age} Years   {f.sex}", second, y + s.pitch)
    s.put(f.site, w - s.edge, y + s.pitch, "rs")
    if measured:
        rows = [("Rate", f"{f.rate}"), ("PR", f"{f.pr}"), ("QRSD", f"{f.qrs}"), ("QT", f"{f.qt}"), ("QTc", f"{f.qtc}")]
        s.block(rows, left, y + 1.1 * s.pitch, 6 * s.size)
        axes = [("--AXIS--",), *zip(("P", "QRS", "T"), map(str, f.axes), strict=True)]
        s.block(axes, left + 11 * s.size, y + 1.1 * s.pitch, 5 * s.size)
        s.block(((f". {x}",) for x in f.findings), second, y + 2.1 * s.pitch)
        s.put(f"- {f.verdict.upper()} -", 0.65 * w, y + 3.2 * s.pitch, "ms", "measurement", bold=True)
    s.put("Unconfirmed Diagnosis", 0.65 * w, y + 4.4 * s.pitch, "ms")


def _cart(s: _Sheet, f: Facts, c: _Scale, measured: bool) -> None:
    """A form: named fields, two short columns of intervals, the rate in a frame."""
    w, left, y = s.width, s.edge, s.first
    s.put(c.line, w - s.edge, s.foot, "rs", "calibration")
    s.put(f"{f.device} / {f.serial}    {f.site}", left, s.foot, kind="footer")
    fields = (("Name:", f.name), ("Pat. ID:", f.id), ("Born:", f.birth), ("Sex:", f"{f.sex}, {f.age} y"))
    s.block(fields, left, y, 8 * s.size, kind="header")
    if measured:
        intervals = (("P/PQ", f"{f.pr} ms"), ("QRS", f"{f.qrs} ms"), ("QT", f"{f.qt} ms"), ("QTc", f"{f.qtc} ms"))
        s.block(intervals, 0.36 * w, y, 6 * s.size)
        s.block(zip(("P axis", "QRS axis", "T axis"), (f"{a} °" for a in f.axes), strict=True), 0.54 * w, y, 9 * s.size)
        s.put(f"HR {f.rate} /min", 0.74 * w, y + 0.6 * s.size, kind="measurement", scale=1.25, bold=True, boxed=True)
        s.put("; ".join((*f.findings, f.verdict)), 0.36 * w, y + 4.3 * s.pitch, kind="measurement")
    s.put(f.when, w - s.edge, y + 2 * s.pitch, "rs")
    s.put("UNCONFIRMED REPORT", w - s.edge, y + 3 * s.pitch, "rs")


def _bedside(s: _Sheet, f: Facts, c: _Scale, measured: bool) -> None:
    """One line above and one below, as on a monitor's strip."""
    x, y = s.edge, s.first
    items = [(f"BED {f.serial % 30 + 1}", "header"), (f.name.upper(), "header"), (f.when.upper(), "header")]
    if measured:
        items += [(f"HR {f.rate}", "measurement"), (f"PR {f.pr}", "measurement"), (f"QRS {f.qrs}", "measurement")]
    for item, kind in items:
        wide = printed.width(item, s.size, s.font)
        if x > s.edge and x + wide > s.width - s.edge:
            x, y = s.edge, y + s.pitch
        s.put(item, x, y, kind=kind)
        x += wide + 2.5 * s.size
    s.put(c.line, s.edge, s.foot, kind="calibration")
    s.put(f.id, s.width - s.edge, s.foot, "rs", "footer")


def _thermal(s: _Sheet, f: Facts, c: _Scale, measured: bool) -> None:
    """Capitals in rows; the scale stands in the header, for such paper has no footer."""
    w, left, y = s.width, s.edge, s.first
    s.put(f"AUTO   {c.line}", left, y, kind="calibration")
    s.put(f.when.upper(), w - s.edge, y, "rs")
    y += s.pitch
    s.block(
        (("NAME", f.name.upper()), ("ID", f.id), ("AGE", f.age), ("SEX", f.sex[0])),
        left,
        y,
        5.5 * s.size,
        kind="header",
    )
    if measured:
        rows = (
            ("HEART RATE", f"{f.rate} BPM"),
            ("PR INT.", f"{f.pr} MS"),
            ("QRS DUR.", f"{f.qrs} MS"),
            ("QT/QTC", f"{f.qt}/{f.qtc}"),
        )
        s.block(rows, 0.4 * w, y, 11 * s.size)
        s.block(((x.upper(),) for x in (*f.findings, f"*** {f.verdict} ***")), 0.68 * w, y)


def _report(s: _Sheet, f: Facts, c: _Scale, measured: bool) -> None:
    """A titled document: institution, two columns of fields, interpretation, signature, page number."""
    w, left, y = s.width, s.edge, s.first
    s.put(c.line, 0.5 * w, s.foot, "ms", "calibration")
    s.put(f"Page {f.sheet}/{f.sheets}", w - s.edge, s.foot, "rs", "footer")
    s.put("SYNTHETIC RECORD", left, s.foot, kind="footer")
    s.put("Electrocardiogram Report", 0.5 * w, y + 0.3 * s.size, "ms", scale=1.5, bold=True)
    s.put(f.site, left, y)
    s.put(f.when, w - s.edge, y, "rs")
    y += 1.5 * s.pitch
    fields = (("Patient", f.name), ("Patient ID", f.id), ("Age, sex", f"{f.age}, {f.sex.lower()}"))
    s.block(fields, left, y, 8.5 * s.size, kind="header")
    if measured:
        rows = (
            ("Heart rate", f"{f.rate} /min"),
            ("PR / QRS", f"{f.pr} / {f.qrs} ms"),
            ("QT / QTc", f"{f.qt} / {f.qtc} ms"),
        )
        s.block(rows, 0.36 * w, y, 9 * s.size)
        s.block((("Interpretation:",), (", ".join(f.findings),), (f"{f.verdict}, unconfirmed",)), 0.62 * w, y)
    s.put("Signature: ____________", w - s.edge, s.top - 0.7 * s.size, "rs")


_Arrangement = Callable[[_Sheet, Facts, _Scale, bool], None]
_ARRANGEMENTS: dict[str, _Arrangement] = {
    "none": _none,
    "minimal": _minimal,
    "classic": _classic,
    "columns": _columns,
    "cart": _cart,
    "bedside": _bedside,
    "thermal": _thermal,
    "report": _report,
}
ARRANGEMENTS = tuple(_ARRANGEMENTS)


def page_texts(
    arrangement: str,
    width: float,
    height: float,
    *,
    speed: float,
    gain: float | str,
    rng: np.random.Generator,
    meta: Mapping[str, Any] | None = None,
    top: float = 30.0,
    bottom: float = 10.0,
    font: str = "sans",
    size: float = 2.6,
    filter_text: bool = True,
    measurements: bool = True,
    taken: Sequence[Rectangle] = (),
) -> list[Text]:
    """Texts around the traces; what does not fit between the edges, the traces and one another is left out.

    Args:
        arrangement: one of ARRANGEMENTS.
        width, height: the sheet, mm. top, bottom: mm free above and below the traces.
        speed: mm/s. gain: mm/mV, or text such as ``10/5`` (half gain).
        rng: draws the made-up patient, visit and measurements.
        meta: of the record; see Facts.draw.
        size: cap height, mm.
        filter_text, measurements: whether to print filters; intervals and statements.
        taken: (x0, y0, x1, y1) mm that something else occupies, such as a code.

    Raises:
        UsageError: an unknown arrangement, or an unreadable font.
    """
    if arrangement not in _ARRANGEMENTS:
        raise UsageError(f"page text {arrangement!r}; expected one of {', '.join(ARRANGEMENTS)}.")
    facts = Facts.draw(rng, meta or {})
    scale = _Scale(
        f"{speed:g}",
        gain if isinstance(gain, str) else f"{gain:g}",
        f"{facts.band}  {facts.mains}" if filter_text else "",
    )
    sheet = _Sheet(width, height, top, bottom, font, size, list(taken))
    _ARRANGEMENTS[arrangement](sheet, facts, scale, measurements)
    return sheet.texts


# Codes

# Code 128 (ISO/IEC 15417): widths of bar, space, bar, space, bar, space for the values 0 to 105; then the stop pattern.
_CODE128 = """
212222 222122 222221 121223 121322 131222 122213 122312 132212 221213 221312 231212 112232 122132 122231 113222 123122
123221 223211 221132 221231 213212 223112 312131 311222 321122 321221 312212 322112 322211 212123 212321 232121 111323
131123 131321 112313 132113 132311 211313 231113 231311 112133 112331 132131 113123 113321 133121 313121 211331 231131
213113 213311 213131 311123 311321 331121 312113 312311 332111 314111 221411 431111 111224 111422 121124 121421 141122
141221 112214 112412 122114 122411 142112 142211 241211 221114 413111 241112 134111 111242 121142 121241 114212 124112
124211 411212 421112 421211 212141 214121 412121 111143 111341 131141 114113 114311 411113 411311 113141 114131 311141
411131 211412 211214 211232 2331112
"""
_START_B, _STOP = 104, 106

CODES = ("qr", "bar")


def code_matrix(kind: str, content: str) -> NDArray[np.uint8]:
    """Modules of a code without its quiet zone, 1 ink and 0 paper: (n, n) for ``qr``, (1, n) for ``bar`` (Code 128-B).

    Raises:
        UsageError: an unknown kind, or content that does not fit it.
    """
    if kind == "qr":
        if not 0 < len(content.encode()) <= 1000:
            raise UsageError(f"QR content of {len(content.encode())} bytes; expected 1 to 1000.")
        drawn = np.asarray(cv2.QRCodeEncoder.create().encode(content)) < 128
        inked = [np.flatnonzero(drawn.any(axis=axis)) for axis in (1, 0)]
        return drawn[inked[0][0] : inked[0][-1] + 1, inked[1][0] : inked[1][-1] + 1].astype(np.uint8)
    if kind == "bar":
        if not 0 < len(content) <= 80 or not all(" " <= c <= "\x7e" for c in content):
            raise UsageError(f"bar code content {content!r}; expected 1 to 80 printable ASCII characters.")
        values = [_START_B, *(ord(c) - 32 for c in content)]
        values += [(values[0] + sum(i * v for i, v in enumerate(values))) % 103, _STOP]
        patterns = _CODE128.split()
        widths = [int(w) for value in values for w in patterns[value]]
        return np.repeat((np.arange(len(widths)) + 1) % 2, widths).astype(np.uint8)[None]
    raise UsageError(f"code {kind!r}; expected one of {', '.join(CODES)}.")


def paint_code(
    coverage: NDArray[np.uint8], matrix: NDArray[np.uint8], x: float, y: float, module: float, px_per_mm: float
) -> NDArray[np.float64]:
    """Paint modules of ``module`` mm from (x, y) mm, the top left corner, with the exact coverage of every pixel.

    Returns:
        (4, 2) mm: outline of the painted pixels, TL TR BR BL, cut to the sheet.

    Raises:
        UsageError: no ink falls on the sheet.
    """
    left, top = math.floor(x * px_per_mm), math.floor(y * px_per_mm)
    across = _shares(matrix.shape[1], x * px_per_mm - left, module * px_per_mm)
    down = _shares(matrix.shape[0], y * px_per_mm - top, module * px_per_mm)
    ink = np.clip(down @ matrix @ across.T * 255 + 0.5, 0, 255).astype(np.uint8)
    outline = printed.paint(coverage, ink, left, top, px_per_mm)
    if outline is None:
        raise UsageError(
            f"code at ({x:g}, {y:g}) mm, modules of {module:g} mm: no ink on the sheet. Move or enlarge it."
        )
    return outline


def _shares(modules: int, start: float, size: float) -> NDArray[np.float64]:
    """(pixels, modules): how much of each pixel each module covers along one axis; the first begins at ``start`` px."""
    pixel = np.arange(math.ceil(start + modules * size))[:, None]
    edge = start + size * np.arange(modules + 1)
    covered = np.clip(edge - pixel, 0, 1)
    return np.diff(covered, axis=1)
