"""The source behind ``ecg-image-gen --src gan``: synthetic records, made when they are asked for."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ecg_image_kit.errors import RecordError, UsageError
from ecg_image_kit.record import Record

from .condition import Condition
from .generate import check, load_model, make
from .onnx_model import words

_USUAL = 10.0  # s
_MOST, _MOST_SECONDS = 32, 320.0  # ECGs that are made along, and their seconds


@dataclass(frozen=True)
class Gan:
    """A source of ``n`` records of a generative model, "MODEL-000000" onwards.

    Record i depends on ``(seed, i)`` and on what is asked for, never on what was loaded before.

    Attributes:
        model: a name (beats, pulse2pulse, wavegan, image), or the path of a card of python -m synth.export.
        label: NORM, MI, STTC, CD, HYP or AF. hr: beats per minute, (lowest, highest). sex: "F" or "M".
        age: years, (lowest, highest). What is None is drawn as the training data had it.
        seed: not negative. fs: Hz. duration: s, 1 to 3600; None: 10, or as many as the model can, if these are fewer.

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
    duration: float | None = None
    _made: OrderedDict[int, Record] = field(default_factory=OrderedDict, init=False, repr=False, compare=False)
    # The number after those that were made last, and how many these were.
    _last: list[int] = field(default_factory=lambda: [1, 1], init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        generator = load_model(self.model)
        if impossible := [name for name in self.condition.asked if name not in generator.conditions]:
            able = (
                f"it can be asked for {', '.join(generator.conditions)}" if generator.conditions else "it draws freely"
            )
            raise UsageError(
                f"model {generator.name} cannot be asked for {words(impossible)}: {able}. Leave it out, or take "
                "--src gan:beats."
            )
        seconds = min(_USUAL, generator.longest) if self.duration is None else self.duration
        if not generator.shortest <= seconds <= generator.longest:
            raise UsageError(
                f"duration {seconds:g} s; expected {generator.shortest:g} to {generator.longest:g} s, as model "
                f"{generator.name} makes them."
            )
        check(self.n, self.seed, seconds, self.fs)
        object.__setattr__(self, "duration", float(seconds))
        # The first is made now: what is wrong with the request is said before anything is written.
        self._made[0] = next(self._make([0]))

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
            # Several are made faster together. Who asks for them in turn gets twice as many each time; workers, who
            # share them, do not, for they would make them all.
            after, size = self._last
            most = max(min(_MOST, int(_MOST_SECONDS / (self.duration or _USUAL))), 1)
            size = max(load_model(self.model).at_once, min(2 * size, most) if i == after else 1)
            numbers = range(i, min(i + size, self.n))
            self._made.update(zip(numbers, self._make(numbers), strict=True))
            self._last[:] = numbers.stop, size
            while len(self._made) > 4 * size:
                self._made.popitem(last=False)
        return self._made[i]

    def _make(self, numbers: Sequence[int]) -> Iterator[Record]:
        return make(numbers, self.model, self.seed, self.condition, self.duration or _USUAL, self.fs)

    @property
    def _name(self) -> str:
        return load_model(self.model).name

    def __getstate__(self) -> dict[str, Any]:
        """For other processes, which make their own."""
        return {**self.__dict__, "_made": OrderedDict(), "_last": [1, 1]}
