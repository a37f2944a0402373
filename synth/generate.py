"""generate: ECGs that belong to nobody, as 12-lead records.

    >>> from synth import generate
    >>> records = list(generate(100, seed=1))

Record i of a seed is the same, whatever else is asked for in the same call: it is drawn from SeedSequence([seed, i]).
"""

from __future__ import annotations

import difflib
import functools
import importlib
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecg_image_kit.errors import UsageError
from ecg_image_kit.record import STANDARD_LEADS, Record, resample

from .condition import Condition, Generator
from .onnx_model import GANS, WEIGHTS, OnnxModel

BATCH, BATCH_SECONDS = 64, 3600.0  # ECGs made at once, and their seconds, if they are more than one
SECONDS = (1.0, 3600.0)  # as far as the model can
RATES = (50.0, 2000.0)  # Hz
# Those that are not a network of synth.export. Their modules are imported when they are asked for.
_OWN = {"beats": ("beats", "Beats")}
NAMES = (*_OWN, *GANS)
# Leads are multiples of 2^-12 mV (0.24 uV), so that sums, differences and halves of them are exact in float32.
_STEP = 2.0**-12


def generate(
    n: int,
    model: str | os.PathLike[str] = "beats",
    seed: int = 0,
    condition: Condition | None = None,
    seconds: float = 10.0,
    fs: float = 500.0,
) -> Iterator[Record]:
    """``n`` synthetic records of the 12 standard leads, one at a time; a batch is made whenever one is used up.

    III, aVR, aVL and aVF follow from I and II without rounding: Einthoven's law holds to the last bit. ``meta`` says
    that they are synthetic, and by what: ``synthetic``, ``model``, ``weights_sha256``, ``seed``, ``index``, ``asked``,
    and what is known of each (``label``, ``heart_rate``, ``sex``, ``age``, ``scp_codes``), as the model has it.

    Args:
        model: one of NAMES, or the path of a card that python -m synth.export or python -m synth.fit_beats wrote.
        condition: what they should be like; models other than beats draw freely.
        seconds: 1 to 3600, as far as the model can. fs: 50 to 2000 Hz.

    Raises UsageError for a model, condition, length or rate that is not possible, at once.
    """
    check(n, seed, seconds, fs)
    generator = load_model(model)
    return _generate(range(n), generator, seed, condition or Condition(), seconds, fs)


def make(
    indices: Sequence[int],
    model: str | os.PathLike[str] = "beats",
    seed: int = 0,
    condition: Condition | None = None,
    seconds: float = 10.0,
    fs: float = 500.0,
) -> Iterator[Record]:
    """The records of these indices, as ``generate`` makes them."""
    check(1, seed, seconds, fs)
    return _generate(indices, load_model(model), seed, condition or Condition(), seconds, fs)


def _generate(
    indices: Sequence[int], generator: Generator, seed: int, condition: Condition, seconds: float, fs: float
) -> Iterator[Record]:
    size = max(min(BATCH, int(BATCH_SECONDS / seconds)), 1)
    # The first batch is made now: what is wrong with the request is said before anything is written.
    first = _batch(indices[:size], generator, seed, condition, seconds, fs)

    def rest() -> Iterator[Record]:
        yield from first
        for k in range(size, len(indices), size):
            yield from _batch(indices[k : k + size], generator, seed, condition, seconds, fs)

    return rest()


def _batch(
    indices: Sequence[int], generator: Generator, seed: int, condition: Condition, seconds: float, fs: float
) -> list[Record]:
    rngs = [np.random.default_rng(np.random.SeedSequence([seed, i])) for i in indices]
    # A whole number of the model's own samples, of which no fewer than are wanted can be made.
    mv, known = generator.sample(rngs, math.ceil(seconds * generator.fs - 1e-6) / generator.fs, condition)
    mv = mv if fs == generator.fs else resample(mv, generator.fs, fs)
    asked = {name: getattr(condition, name) for name in condition.asked}
    records = []
    for i, one, facts in zip(indices, mv[..., : round(seconds * fs)], known, strict=True):
        meta: dict[str, Any] = {
            "synthetic": True,
            "generator": f"{generator.name}, weights sha256 {generator.sha256}, seed {seed}, index {i}",
            "model": generator.name,
            "weights_sha256": generator.sha256,
            "seed": seed,
            "index": i,
            "derived": ["III", "aVR", "aVL", "aVF"],
            **({"asked": asked} if asked else {}),
            **_labels(facts),
        }
        records.append(Record(STANDARD_LEADS, twelve_leads(one), fs, f"{generator.name}-{i:06d}", meta))
    return records


def twelve_leads(mv: NDArray[np.float32]) -> NDArray[np.float32]:
    """(..., 8, samples) mV of I, II, V1 to V6 -> (..., 12, samples), standard order.

    Rounded to multiples of 2^-12 mV (below the microvolt of files), of which float32 holds all sums and halves: III is
    II - I, and -(I + II) / 2 is aVR, to the last bit.
    """
    x = np.asarray(mv, np.float32) * np.float32(1 / _STEP)
    np.rint(x, out=x)
    x *= np.float32(_STEP)  # exact, as all that follows: 16 mV are 2^16 steps, and float32 counts to 2^24
    one, two = x[..., 0, :], x[..., 1, :]
    half = np.float32(0.5)
    limb = (one, two, two - one, -half * (one + two), one - half * two, two - half * one)
    out = np.empty((*x.shape[:-2], 12, x.shape[-1]), np.float32)
    for k, lead in enumerate(limb):
        out[..., k, :] = lead
    out[..., 6:, :] = x[..., 2:, :]
    return out


def _labels(facts: dict[str, Any]) -> dict[str, Any]:
    """What a model knows of an ECG, in the words of the other sources."""
    names = {"hr": "heart_rate"}
    found = {names.get(key, key): value for key, value in facts.items() if value is not None}
    if label := found.get("label"):
        found["scp_codes"] = {"AFIB" if label == "AF" else label: 100.0}
    return found


def check(n: int, seed: int, seconds: float, fs: float) -> None:
    """Raise UsageError for numbers that no model can make anything of."""
    for name, value, least in (("n", n, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise UsageError(f"{name}={value!r}; expected a whole number of at least {least}.")
    for name, number, (low, high), unit in (("seconds", seconds, SECONDS, "s"), ("fs", fs, RATES, "Hz")):
        if not (isinstance(number, int | float | np.number) and math.isfinite(number) and low <= number <= high):
            raise UsageError(f"{name}={number!r}; expected {low:g} to {high:g} {unit}.")


def load_model(model: str | os.PathLike[str] = "beats") -> Generator:
    """The generator of this name, or of the card at this path; once loaded, kept. Raises UsageError."""
    text = os.fspath(model)
    path = Path(text)
    known = text in NAMES or (path.parent == Path() and not path.suffix)
    return _load(text if known else os.path.abspath(path), path.stat().st_mtime_ns if path.is_file() else 0)


@functools.lru_cache(maxsize=8)
def _load(name: str, changed: int) -> Generator:
    if name in _OWN:
        module, kind = _OWN[name]
        own: Generator = getattr(importlib.import_module(f".{module}", __package__), kind).load()
        return own
    if name in GANS:
        return OnnxModel(WEIGHTS / f"{name}.json", name)
    path = Path(name)
    if path.suffix.lower() == ".npz" or (path.suffix.lower() == ".json" and path.with_suffix(".npz").is_file()):
        from .beats import Beats

        return Beats.load(path.with_suffix(".npz"))
    if path.suffix.lower() in (".json", ".onnx"):
        return OnnxModel(path.with_suffix(".json"))
    if path.parent != Path():
        raise UsageError(
            f"{path} is not a model; expected one of {', '.join(NAMES)}, or the path of a card, MODEL.json."
        )
    close = difflib.get_close_matches(name, NAMES, 1)
    nearest = f"; did you mean {close[0]}?" if close else "."
    raise UsageError(f"model {name!r}; expected one of {', '.join(NAMES)}, or the path of a card{nearest}")


def shipped() -> tuple[str, ...]:
    """The names of the models whose weights come with this installation."""
    return tuple(name for name in NAMES if any((WEIGHTS / f"{name}{end}").is_file() for end in (".onnx", ".npz")))
