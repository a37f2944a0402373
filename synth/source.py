"""The source behind ``ecg-image-gen --src gan``: synthetic records, made when they are asked for."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ecg_image_kit.errors import RecordError, UsageError
from ecg_image_kit.record import Record

from .condition import Condition
from .generate import BATCH, check, load_model, make
from .onnx_model import words


@dataclass(frozen=True)
class Gan:
    """A source of ``n`` records of a generative model, "MODEL-000000" onwards.

    Record i depends on ``(seed, i)`` and on what is asked for, never on what was loaded before.

    Attributes:
        model: a name (beats, pulse2pulse, wavegan, image), or the path of a card of python -m synth.export.
        label: NORM, MI, STTC, CD, HYP or AF. hr: beats per minute, (lowest, highest). sex: "F" or "M".
        age: years, (lowest, highest). What is None is drawn as the training data had it.
        seed: not negative. fs: Hz. seconds: 1 to 3600.

    Raises UsageError for arguments out of range, weights that are not there, and what the model cannot be asked for.
    """

    model: str = "beats"
    label: str | None = None
    hr: tuple[float, float] | None = None
    sex: str | None = None
    age: tuple[float, float] | None = None
    n: int = 1000
    seed: int = 0
    fs: float = 500.0
    seconds: float = 10.0
    _made: OrderedDict[int, Record] = field(default_factory=OrderedDict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check(self.n, self.seed, self.seconds, self.fs)
        asked = self.condition.asked
        generator = load_model(self.model)
        if impossible := [name for name in asked if name not in generator.conditions]:
            able = (
                f"it can be asked for {', '.join(generator.conditions)}" if generator.conditions else "it draws freely"
            )
            raise UsageError(
                f"model {generator.name} cannot be asked for {words(impossible)}: {able}. Leave it out, or take "
                "--src gan:beats."
            )

    @property
    def condition(self) -> Condition:
        """What is asked for."""
        return Condition(self.label, self.hr, self.sex, self.age)

    def names(self) -> Iterator[str]:
        """ "MODEL-000000" to n - 1."""
        return (f"{self._name}-{i:06d}" for i in range(self.n))

    def load(self, name: str) -> Record:
        """The record of that name. Raises RecordError if it is not one of ``names()``."""
        number = re.fullmatch(rf"{re.escape(self._name)}-(\d{{6,}})", name, re.ASCII)
        if number is None or int(number[1]) >= self.n or f"{self._name}-{int(number[1]):06d}" != name:
            raise RecordError(
                f"no record {name!r}; expected {self._name}-000000 to {self._name}-{self.n - 1:06d}. Raise n for more."
            )
        i = int(number[1])
        if i not in self._made:
            # Records are mostly asked for in turn: the next few are made along. One alone, if it comes first, is there
            # at once.
            count = BATCH if self._made else 1
            numbers = [k for k in range(i, min(i + count, self.n))]
            records = make(numbers, self.model, self.seed, self.condition, self.seconds, self.fs)
            self._made.update(zip(numbers, records, strict=True))
            while len(self._made) > 4 * BATCH:
                self._made.popitem(last=False)
        return self._made[i]

    @property
    def _name(self) -> str:
        return load_model(self.model).name

    def __getstate__(self) -> dict[str, Any]:
        """For other processes, which make their own."""
        return {**self.__dict__, "_made": OrderedDict()}
