"""Paper ECGs with exact truth: records, layouts, pages.

>>> from ecg_image_kit import Layout, Style, open_source, render
>>> source = open_source("samples")
>>> page = render(source.load(next(source.names())), dpi=200)
"""

from .errors import EcgError, PageError, RecordError, UsageError
from .layout import Layout, Pulse, Strip
from .page import Box, Page, Trace
from .record import STANDARD_LEADS, Record
from .render import Style, render
from .sources import open_source
from .warp import Chain, Homography, Warp

__version__ = "0.1.0"

__all__ = [
    "STANDARD_LEADS",
    "Box",
    "Chain",
    "EcgError",
    "Homography",
    "Layout",
    "Page",
    "PageError",
    "Pulse",
    "Record",
    "RecordError",
    "Strip",
    "Style",
    "Trace",
    "UsageError",
    "Warp",
    "open_source",
    "render",
]
