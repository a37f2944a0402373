"""What is asked of a generated ECG, and the form in which every generator of this package is called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ecg_image_kit.errors import UsageError

Span: TypeAlias = tuple[float, float]

LEADS8 = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")  # the independent ones; the other four follow from I and II
# PTB-XL's diagnostic superclasses (Wagner et al., Sci Data 7:154, 2020), and atrial fibrillation.
CLASSES = ("NORM", "MI", "STTC", "CD", "HYP", "AF")
RATES: Span = (30.0, 220.0)  # beats per minute
AGES: Span = (0.0, 120.0)  # years


@dataclass(frozen=True)
class Condition:
    """What an ECG should be like; None leaves it to the model, which draws it as its training data had it.

    Attributes:
        label: one of CLASSES.
        hr: lowest and highest mean heart rate, beats per minute.
        sex: "F" or "M".
        age: lowest and highest age, years.

    Raises UsageError for a value that is not one of these.
    """

    label: str | None = None
    hr: Span | None = None
    sex: str | None = None
    age: Span | None = None

    def __post_init__(self) -> None:
        for name, known in (("label", CLASSES), ("sex", ("F", "M"))):
            value = getattr(self, name)
            object.__setattr__(self, name, next((k for k in known if k == str(value).upper()), value))
        if self.label is not None and self.label not in CLASSES:
            raise UsageError(f"class {self.label!r} is not known; expected one of {', '.join(CLASSES)}.")
        if self.sex not in (None, "F", "M"):
            raise UsageError(f"sex {self.sex!r} is not known; expected F or M.")
        for name, limits, unit in (("hr", RATES, "beats per minute"), ("age", AGES, "years")):
            span = getattr(self, name)
            if span is not None:
                object.__setattr__(self, name, _span(name, span, limits, unit))

    @property
    def asked(self) -> tuple[str, ...]:
        """The names of what is asked for, in a fixed order."""
        return tuple(name for name in ("label", "hr", "sex", "age") if getattr(self, name) is not None)

    @property
    def words(self) -> str:
        """What is asked for, as one would say it."""
        given = [getattr(self, name) for name in self.asked]
        values = [f"{value[0]:g}-{value[1]:g}" if isinstance(value, tuple) else str(value) for value in given]
        return ", ".join(f"{name} {value}" for name, value in zip(self.asked, values, strict=True))


class Generator(Protocol):
    """A model that makes ECGs. Its weights are loaded; it is called as often as one likes."""

    name: str  # as `--src gan:NAME` spells it
    fs: float  # Hz, of what `sample` returns
    sha256: str  # of the weights
    conditions: tuple[str, ...]  # which of Condition's fields it can fulfil
    shortest: float  # s, that it can make
    longest: float
    at_once: int  # ECGs that are made faster together than one by one

    def sample(
        self, rngs: Sequence[np.random.Generator], seconds: float, condition: Condition
    ) -> tuple[NDArray[np.float32], list[dict[str, Any]]]:
        """(len(rngs), 8, samples) mV, leads as LEADS8, and per ECG what is known of it (label, hr, sex, age).

        ECG i depends on ``rngs[i]`` alone, whatever else is in the batch. Raises UsageError for a length that the
        model cannot make.
        """
        ...


def _span(name: str, given: Any, limits: Span, unit: str) -> Span:
    try:
        low, high = (float(v) for v in given)
    except (TypeError, ValueError):
        raise UsageError(f"{name}={given!r}; expected two numbers, lowest and highest, in {unit}.") from None
    if not limits[0] <= low <= high <= limits[1]:
        raise UsageError(
            f"{name}={low:g}-{high:g}; expected {limits[0]:g} <= lowest <= highest <= {limits[1]:g} {unit}."
        )
    return low, high
