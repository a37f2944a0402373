"""Paper ECGs back to time series.

>>> import digitizer
>>> reading = digitizer.read("scan.png")
>>> reading.record, reading.confidence, reading.warnings
"""

from .locate import GridNotFound
from .pipeline import READERS, Reading, read
from .segment import NoInk
from .trace import NoTrace

__all__ = ["READERS", "GridNotFound", "NoInk", "NoTrace", "Reading", "read"]
