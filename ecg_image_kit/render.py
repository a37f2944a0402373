"""render(record, layout, style, dpi) -> Page: grid, strips, pulses and text, with exact truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import headers, raster, text
from .errors import UsageError
from .layout import Layout, Strip, missing_leads
from .page import Box, Page, Trace
from .record import Record
from .warp import Chain, Homography

RGB = tuple[int, int, int]
F = NDArray[np.float32]
D = NDArray[np.float64]

# (minor, major) grid colours on white paper.
GRIDS: dict[str, tuple[RGB, RGB]] = {
    "red": ((250, 190, 190), (240, 120, 120)),
    "pink": ((255, 214, 224), (250, 160, 185)),
    "orange": ((253, 215, 175), (240, 165, 100)),
    "brown": ((228, 208, 190), (196, 158, 130)),
    "blue": ((195, 214, 245), (130, 165, 225)),
    "green": ((190, 228, 200), (120, 190, 140)),
    "grey": ((215, 215, 215), (165, 165, 165)),
    "black": ((150, 150, 150), (70, 70, 70)),
}
CAPS = ("butt", "round")
SEPARATORS = ("none", "tick", "line")
MINOR = ("line", "dots", "none")
LABELS = ("above", "left", "none")
CHOICES: dict[str, tuple[str, ...]] = {  # of fields of a Style
    "grid": (*GRIDS, "none"), "minor": MINOR, "cap": CAPS, "label": LABELS, "separator": SEPARATORS,
    "header": tuple(headers.ARRANGEMENTS), "code": ("none", "qr", "bar"),
}  # fmt: skip


@dataclass(frozen=True)
class Style:
    """How a sheet looks; sizes in mm, colours (R, G, B) 0 to 255. The same style means the same at every dpi.

    Attributes:
        grid: a name from GRIDS, or ``none``. minor: ``line``, ``dots`` or ``none`` (major lines only).
        minor_width, major_width: grid lines. grid_margin: white border around the grid.
        pen_width: of traces and pulses. cap: how traces end.
        ink: colour of traces; text_ink: of text.
        label: lead names ``above`` the start of their strip, ``left`` of the row (if there is room), or ``none``.
        label_x: mm from where a strip begins to its name above it. label_size: cap height. label_font, font: see
            text.Text. label_box: frame around lead names.
        separator: ``none``, ``tick`` or ``line`` between the columns of a row.
        header: arrangement of page text, from headers.ARRANGEMENTS. code: ``none``, ``qr`` or ``bar``.
        seed: of the made-up patient and measurements.
    """

    paper: RGB = (255, 255, 255)
    grid: str = "red"
    minor: str = "line"
    minor_width: float = 0.1
    major_width: float = 0.2
    grid_margin: float = 0.0
    pen_width: float = 0.3
    cap: str = "butt"
    ink: RGB = (20, 20, 28)
    text_ink: RGB = (20, 20, 28)
    label: str = "above"
    label_x: float = 1.0
    label_size: float = 2.6
    label_font: str = "sans"
    label_bold: bool = False
    label_box: bool = False
    separator: str = "none"
    header: str = "classic"
    font: str = "sans"
    text_size: float = 2.4
    code: str = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise UsageError(f"style {name} {getattr(self, name)!r}; expected one of {', '.join(allowed)}.")
        ranges = {
            "minor_width": (0.02, 1), "major_width": (0.02, 2), "grid_margin": (0, 100), "pen_width": (0.05, 2),
            "label_x": (-50, 200), "label_size": (0.5, 20), "text_size": (0.5, 20),
        }  # fmt: skip
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"style {name} {getattr(self, name)!r} mm; expected {low} to {high}.")
        for name in ("paper", "ink", "text_ink"):
            colour = tuple(getattr(self, name))
            if len(colour) != 3 or not all(0 <= c <= 255 for c in colour):
                raise UsageError(f"style {name} {colour!r}; expected (R, G, B), 0 to 255 each.")
            object.__setattr__(self, name, colour)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Style:
        """The style with these fields changed from the default; an unknown field is a UsageError."""
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise UsageError(f"style has no {', '.join(unknown)}; expected some of {', '.join(sorted(known))}.")
        return cls(**values)

    @classmethod
    def random(cls, rng: np.random.Generator) -> Style:
        """A believable combination, as machines, papers and printers differ."""

        def one(options: dict[str, float]) -> str:
            weights = np.array(list(options.values()))
            return str(rng.choice(list(options), p=weights / weights.sum()))

        grid = one({"red": 6, "pink": 5, "orange": 2, "brown": 1, "blue": 1, "green": 1, "grey": 2, "black": 0.5})
        warm = int(rng.integers(0, 14))
        black = (int(rng.integers(0, 60)),) * 3
        ink = (
            black
            if rng.random() < 0.85
            else (int(rng.integers(0, 40)), int(rng.integers(0, 60)), int(rng.integers(80, 150)))
        )
        thin = 0.7 if grid == "black" else 1.0  # a copy in black: the trace must stand out by its weight alone
        font = one({"sans": 4, "stroke": 3, "serif": 1, "plain": 2})
        return cls(
            paper=(255 - warm // 3, 255 - warm // 2, 255 - warm),
            grid=grid,
            minor=one({"line": 7, "dots": 2, "none": 1}),
            minor_width=float(rng.uniform(0.06, 0.16)) * thin,
            major_width=float(rng.uniform(0.16, 0.32)) * thin,
            grid_margin=float(rng.choice([0.0, 3.0], p=[0.7, 0.3])),
            pen_width=float(rng.uniform(0.2, 0.7) if rng.random() < 0.3 else rng.uniform(0.22, 0.42)),
            cap=one({"butt": 2, "round": 1}),
            ink=ink,
            text_ink=ink if rng.random() < 0.7 else black,
            label=one({"above": 8, "left": 1}),
            label_size=float(rng.uniform(1.8, 3.6)),
            label_font=font,
            label_bold=bool(rng.random() < 0.3),
            label_box=bool(rng.random() < 0.07),
            separator=one({"none": 5, "tick": 3, "line": 1}),
            header=one({name: 0.3 if name == "none" else 1 for name in headers.ARRANGEMENTS}),
            font=font if rng.random() < 0.8 else one({"sans": 1, "stroke": 1, "plain": 1}),
            text_size=float(rng.uniform(1.8, 3.0)),
            code=one({"none": 8, "qr": 1, "bar": 1}),
            seed=int(rng.integers(2**31)),
        )


def render(record: Record, layout: Layout | None = None, style: Style | None = None, dpi: float = 200.0) -> Page:
    """Draw a record as a paper ECG.

    Args:
        record: any leads, rate and length. Windows beyond its end, and NaN, leave paper empty.
        layout: the sheet; ``Layout.for_record(record)`` if None.
        style: the looks; the default ``Style()`` if None.
        dpi: pixels per 25.4 mm, 30 to 2400 (exact over the whole sheet, need not be whole).

    Returns:
        The Page. Its traces hold the record's own samples; ``mm_to_px`` is the scale of ``dpi`` alone.

    Raises:
        UsageError: the layout prints a lead that the record does not have; dpi out of range.
    """
    layout = layout or Layout.for_record(record)
    style = style or Style()
    if not 30 <= dpi <= 2400:
        raise UsageError(f"{dpi} dpi; expected 30 to 2400 (usual: 72 to 600).")
    if not layout.strips:
        raise UsageError("a layout without strips; expected at least one lead.")
    missing = missing_leads(layout, record.leads)
    if missing:
        raise UsageError(
            f"layout {layout.name} prints {', '.join(missing)}, which record {record.name!r} does not have (it has "
            f"{', '.join(record.leads)}). Derive limb leads (--derive), select leads (--leads), or use layout auto."
        )
    k = dpi / 25.4
    shape = round(layout.height * k), round(layout.width * k)
    image = draw_grid(layout, style, dpi)

    ink = np.zeros(shape, np.uint8)
    drawn = _upsampled(record)
    sub = int(np.clip(np.ceil(2000 / dpi), 8, 32))  # sub-columns per px; 79 per mm are finer than any record
    mm_to_px = Homography.dpi(dpi)
    traces = []
    for strip in layout.strips:
        trace = _trace(record, strip)
        traces.append(trace)
        xy = mm_to_px(layout.to_mm(strip, *_curve(drawn, strip)))
        raster.draw_graph(ink, xy[:, 0], xy[:, 1], style.pen_width * k, style.cap, sub)
    boxes = []
    for pulse in layout.pulses:
        outline = pulse.outline(layout.speed)
        xy = mm_to_px(outline)
        # Upright flanks are as exact across as there are sub-columns, and from them time is read.
        raster.draw_graph(ink, xy[:, 0], xy[:, 1], style.pen_width * k, "butt", 128)
        (x0, y0), (x1, y1) = outline.min(axis=0), outline.max(axis=0)
        boxes.append(Box("pulse", np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])))
    _separators(ink, layout, style, k)

    writing = ink if style.text_ink == style.ink else np.zeros(shape, np.uint8)
    labels = _labels(layout, style, record.duration)
    taken = [_extent(item) for item in labels] + [_rectangle(box.outline) for box in boxes] + _tall(layout, traces)
    code = _code(layout, style, taken)
    texts = labels + _page_texts(record, layout, style, taken + ([code.quiet] if code else []))
    boxes += [Box(item.kind, outline, item.text) for item, outline in text.draw(writing, texts, k)]
    if code:
        boxes.append(
            Box("code", headers.paint_code(writing, code.matrix, code.x, code.y, code.module, k), code.content)
        )

    if writing is not ink:
        _blend(image, writing, style.text_ink)
    _blend(image, ink, style.ink)
    return Page(
        image, layout, tuple(traces), tuple(boxes), Chain((mm_to_px,)), asdict(style), (),
        {"record": record.name, "fs": record.fs, "dpi": dpi, **record.meta},
    )  # fmt: skip


def _signal(record: Record, lead: str) -> F:
    """(samples,) mV of a lead; ``-aVR`` is aVR turned over."""
    return -record.lead(lead[1:]) if lead.startswith("-") else record.lead(lead)


def _trace(record: Record, strip: Strip) -> Trace:
    first = max(0, int(np.ceil(strip.start * record.fs - 1e-6)))
    last = max(first, int(np.ceil(strip.stop * record.fs - 1e-6)))
    return Trace(strip, first / record.fs, record.fs, _signal(record, strip.lead)[first:last])


def _upsampled(record: Record) -> Record:
    """Slow records at 1000 Hz or more, band-limited: a polyline through 100 Hz samples would cut the QRS."""
    return record if record.fs >= 400 else record.resample(record.fs * np.ceil(1000 / record.fs))


def _curve(record: Record, strip: Strip) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Seconds and mV of the polyline in a strip's window, up to its very end where the record goes on."""
    first = max(0, int(np.ceil(strip.start * record.fs - 1e-6)))
    last = min(record.mv.shape[1], int(np.floor(strip.stop * record.fs + 1e-6)) + 1)
    s = np.arange(first, max(first, last)) / record.fs
    return s, _signal(record, strip.lead)[first:last].astype(np.float64)


def draw_grid(layout: Layout, style: Style, dpi: float) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: paper and grid. Line positions and widths are exact at any dpi (coverage, not rounding)."""
    table, index = _grid(
        layout.width, layout.height, style.paper, style.grid, style.minor, style.minor_width, style.major_width,
        style.grid_margin, dpi,
    )  # fmt: skip
    return np.take(table, index, axis=0)


@lru_cache(maxsize=4)
def _grid(
    width: float,
    height: float,
    paper: RGB,
    grid: str,
    minor: str,
    minor_width: float,
    major_width: float,
    margin: float,
    dpi: float,
) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    """The different rows (n, W, 3) of paper and grid, and which of them each row of the image is (H,)."""
    k = dpi / 25.4
    columns, rows = round(width * k), round(height * k)
    if grid == "none":
        return np.full((1, columns, 3), paper, np.uint8), np.zeros(rows, np.intp)
    (minor_x, major_x, dot_x, in_x), of_column = _profile(width, columns, k, margin, minor_width, major_width)
    (minor_y, major_y, dot_y, in_y), of_row = _profile(height, rows, k, margin, minor_width, major_width)
    if minor == "line":
        fine = np.maximum(np.outer(in_y, minor_x), np.outer(minor_y, in_x))
    elif minor == "dots":
        fine = np.outer(dot_y, dot_x)
    else:
        fine = np.zeros((in_y.size, in_x.size))
    coarse = np.maximum(np.outer(in_y, major_x), np.outer(major_y, in_x))[..., None]
    ground = np.array(paper, np.float64)
    light, dark = (np.array(colour) * ground / 255.0 for colour in GRIDS[grid])
    table = ground + (light - ground) * fine[..., None]
    table += (dark - table) * coarse
    return np.take(np.round(table).astype(np.uint8), of_column, axis=1), of_row


def _profile(
    length: float, n: int, k: float, margin: float, minor_width: float, major_width: float
) -> tuple[D, NDArray[np.intp]]:
    """Along one axis of the sheet, covered shares of a pixel by minor lines, major lines, dots and the grid's area.

    The sheet's picture is made of few different rows and columns, so each is computed once: (4, different pixels), and
    which of them each of the n pixels is.
    """
    low, high = margin, length - margin
    lines = np.arange(np.ceil(low), np.floor(high) + 1)
    major = lines % 5 == 0
    shares = np.stack(
        [
            _coverage(lines[~major] - minor_width / 2, lines[~major] + minor_width / 2, k, n),
            _coverage(lines[major] - major_width / 2, lines[major] + major_width / 2, k, n),
            _coverage(lines - minor_width, lines + minor_width, k, n),
            _coverage([low], [high], k, n),
        ]
    )
    keys = np.round(shares * 4096).astype(np.int64).T @ (1 << np.array([0, 13, 26, 39]))
    _, first, index = np.unique(keys, return_index=True, return_inverse=True)
    return shares[:, first], index


def _coverage(starts: ArrayLike, stops: ArrayLike, k: float, n: int) -> D:
    """(n,) covered share of each pixel by the intervals [start, stop) mm at k px/mm."""
    out = np.zeros(n + 2)
    for edges, sign in ((starts, 1.0), (stops, -1.0)):
        e = np.clip(np.asarray(edges, dtype=np.float64) * k, 0, n)
        cell = e.astype(int)
        np.add.at(out, cell, sign * (cell + 1 - e))
        np.add.at(out, cell + 1, sign * (e - cell))
    return np.clip(np.cumsum(out)[:n], 0, 1)


def _labels(layout: Layout, style: Style, duration: float) -> list[text.Text]:
    """The leads' names, but for windows after the end of a record of ``duration`` s: nothing is printed there."""
    if style.label == "none":
        return []
    first = min(strip.x for strip in layout.strips)
    # Names left of the rows stand left of the pulses too, in one column.
    right = min([first, *(pulse.x for pulse in layout.pulses)]) - 1.2
    up = min(layout.row_height * 0.36, 12.0)
    items = []
    for strip in layout.strips:
        if strip.start >= duration:
            continue
        above = text.Text(
            strip.lead, strip.x + style.label_x, strip.y - up, style.label_size, style.label_font, "ls",
            style.label_bold, style.label_box, "label",
        )  # fmt: skip
        left = replace(above, x=right, y=strip.y, anchor="rm")
        beside = style.label == "left" and strip.x < first + 1 and _extent(left)[0] >= 0
        items.append(left if beside else above)
    return items


def _extent(item: text.Text) -> headers.Rectangle:
    """Where the ink of a text can lie."""
    pad = item.size * (0.5 if item.boxed else 0.1)
    wide = text.width(item.text, item.size, item.font, item.bold)
    left = item.x - {"l": 0.0, "m": 0.5, "r": 1.0}[item.anchor[0]] * wide
    base = item.y + {"s": 0.0, "m": 0.5, "t": 1.0}[item.anchor[1]] * item.size
    return left - pad, base - 1.1 * item.size - pad, left + wide + pad, base + 0.3 * item.size + pad


def _rectangle(outline: D) -> headers.Rectangle:
    (x0, y0), (x1, y1) = outline.min(axis=0), outline.max(axis=0)
    return float(x0), float(y0), float(x1), float(y1)


def _foot(layout: Layout) -> float:
    """mm from the top to where the footer begins."""
    return max(strip.y for strip in layout.strips) + layout.row_height / 2


def _tall(layout: Layout, traces: list[Trace], step: float = 5.0) -> list[headers.Rectangle]:
    """Where traces reach into the header or the footer: one rectangle for every ``step`` mm of such a trace."""
    found = []
    for trace in traces:
        xy = layout.to_mm(trace.strip, trace.s, trace.mv)
        xy = xy[(xy[:, 1] < layout.top) | (xy[:, 1] > _foot(layout))]
        if len(xy):
            parts = np.split(xy, np.flatnonzero(np.diff(xy[:, 0] // step)) + 1)
            found += [_rectangle(np.concatenate([part - 1.0, part + 1.0])) for part in parts]
    return found


def _page_texts(record: Record, layout: Layout, style: Style, taken: list[headers.Rectangle]) -> list[text.Text]:
    rng = np.random.default_rng(np.random.SeedSequence([style.seed, 1]))
    gains = dict.fromkeys(strip.gain for strip in layout.strips)
    return headers.page_texts(
        style.header, layout.width, layout.height, speed=layout.speed, gain="/".join(f"{gain:g}" for gain in gains),
        rng=rng, meta=record.meta, top=layout.top, bottom=max(0.0, layout.height - _foot(layout)), font=style.font,
        size=style.text_size, taken=taken,
    )  # fmt: skip


def _separators(ink: NDArray[np.uint8], layout: Layout, style: Style, k: float) -> None:
    if style.separator == "none":
        return
    reach = 2.5 if style.separator == "tick" else layout.row_height * 0.42
    first = min(strip.x for strip in layout.strips)
    for strip in layout.strips:
        if strip.x > first + 1:
            x = _coverage([strip.x - style.pen_width / 2], [strip.x + style.pen_width / 2], k, ink.shape[1])
            y = _coverage([strip.y - reach], [strip.y + reach], k, ink.shape[0])
            at_x, at_y = np.flatnonzero(x), np.flatnonzero(y)
            if at_x.size and at_y.size:
                view = ink[at_y[0] : at_y[-1] + 1, at_x[0] : at_x[-1] + 1]
                np.maximum(view, np.round(np.outer(y[at_y], x[at_x]) * 255).astype(np.uint8), out=view)


@dataclass(frozen=True, eq=False)
class _Code:
    """A machine-readable code: its modules (1 ink), the size of one and where the first stands, mm."""

    matrix: NDArray[np.uint8]
    module: float
    x: float
    y: float
    content: str

    @property
    def quiet(self) -> headers.Rectangle:
        """The code with the four modules of free paper around it that scanners need."""
        (rows, columns), air = self.matrix.shape, 4 * self.module
        return (
            self.x - air, self.y - air, self.x + columns * self.module + air, self.y + rows * self.module + air
        )  # fmt: skip


def _code(layout: Layout, style: Style, taken: list[headers.Rectangle]) -> _Code | None:
    """The code in the header's right corner, if it is wanted and there is room for it."""
    if style.code == "none" or layout.top < 16:
        return None
    content = f"SYN-{style.seed:010d}"
    matrix = headers.code_matrix(style.code, content)
    if style.code == "qr":
        module = min(0.5, (layout.top - 8) / matrix.shape[0])
    else:
        module = 0.25
        matrix = np.repeat(matrix, round(6 / module), axis=0)
    x = layout.width - max(8.0, style.grid_margin + 2) - matrix.shape[1] * module
    code = _Code(matrix, module, x, 4.0, content)
    x0, y0, x1, y1 = code.quiet
    free = all(x1 <= left or right <= x0 or y1 <= top or bottom <= y0 for left, top, right, bottom in taken)
    return code if x0 > 0 and free else None


def _blend(image: NDArray[np.uint8], coverage: NDArray[np.uint8], ink: RGB) -> None:
    """Lay ink over the image where it covers: most pixels have none, so only the others are touched."""
    for top in range(0, len(image), 256):
        share = coverage[top : top + 256].reshape(-1)
        at = np.flatnonzero(share != 0)  # of bool, which numpy does 7 times faster than of uint8
        flat = image[top : top + 256].reshape(-1, 3)
        under = flat[at].astype(np.float32)
        over = (np.array(ink, np.float32) - under) * (share[at].astype(np.float32) / 255.0)[:, None]
        flat[at] = np.round(under + over).astype(np.uint8)
