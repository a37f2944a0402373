"""Generators that were trained here or elsewhere with ``synth.train``: ONNX files with their cards, without torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecg_image_kit.errors import RecordError, UsageError

from .arrange import arrangement
from .condition import LEADS8, Condition

WEIGHTS = Path(__file__).parent / "weights"
GANS = ("pulse2pulse", "wavegan", "image")
_STEP = 2500  # samples: what a fully convolutional generator's length is a multiple of
_LONGEST = 60.0  # s
_BATCH = 8  # ECGs of one run; more are no faster


class OnnxModel:
    """A GAN of ``synth.export``. It draws from noise alone: nothing can be asked of it (``conditions`` is empty).

    Args:
        card: the JSON file beside the network.
        name: as ``--src gan:NAME`` spells it; that of the card if empty.

    Raises UsageError if either file is missing or damaged, saying what to do.
    """

    conditions: tuple[str, ...] = ()
    shortest = 1.0  # s
    at_once = 2 * _BATCH

    def __init__(self, card: Path, name: str = "") -> None:
        try:
            self.card: dict[str, Any] = json.loads(card.read_text("utf-8"))
            self.name = name or str(self.card["model"])
            self.fs, self.samples = float(self.card["fs"]), int(self.card["samples"])
            self.sha256 = str(self.card["sha256"])
            self._shape = tuple(int(n) for n in self.card["noise"])
            layout = self.card["arrangement"]
            self._layout = (
                arrangement(layout["name"], len(LEADS8), self.samples, self.fs, layout["limit_mv"]) if layout else None
            )
            data = card.with_suffix(".onnx").read_bytes()
        except OSError as error:
            raise UsageError(_missing(card, name, f"{error.filename} {error.strerror}")) from None
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"{card} is not a generator's card ({type(error).__name__}: {error}); expected what "
                "python -m synth.export writes."
            ) from None
        found = hashlib.sha256(data).hexdigest()
        if found != self.sha256:
            raise UsageError(
                f"{card.with_suffix('.onnx')} has sha256 {found[:12]}; its card says {self.sha256[:12]}. It is damaged "
                "or of another training: install or export it again."
            )
        self.longest = _LONGEST if len(self._shape) == 2 else self.samples / self.fs
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # One thread: the work is not split by how many cores there are, and workers do not stand in each other's way.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def sample(
        self, rngs: Sequence[np.random.Generator], seconds: float, condition: Condition
    ) -> tuple[NDArray[np.float32], list[dict[str, Any]]]:
        """(len(rngs), 8, seconds fs) mV; see ``condition.Generator``. Raises RecordError if they are no numbers."""
        if condition.asked:
            raise UsageError(
                f"model {self.name} cannot be asked for {words(condition.asked)}: it draws from noise alone. "
                "Leave it out, or take model beats."
            )
        wanted = round(seconds * self.fs)
        made = self._length(wanted, seconds)
        shape = (*self._shape[:-1], made) if len(self._shape) == 2 else self._shape
        parts: list[NDArray[np.float32]] = []
        for k in range(0, len(rngs), _BATCH):
            # Always as many, the rest being zeros: of fewer, sums could be taken in another order.
            noise = np.zeros((_BATCH, *shape), np.float32)
            for row, rng in zip(noise, rngs[k : k + _BATCH], strict=False):
                row[...] = rng.random(shape, dtype=np.float32) * 2 - 1
            ecgs = self._session.run(None, {"noise": noise})[0][: len(rngs) - k]
            if not np.isfinite(ecgs).all():
                raise RecordError(
                    f"model {self.name} makes ECGs that are not finite; expected mV. Its training has gone astray: "
                    "train and export it again, with a lower --rate."
                )
            parts += list(ecgs)
        if self._layout:
            parts = [self._layout.decode(part) for part in parts]
        mv = np.stack([part[:, :wanted] for part in parts]) if parts else np.zeros((0, len(LEADS8), wanted), np.float32)
        return np.asarray(mv, np.float32), [{} for _ in rngs]

    def _length(self, wanted: int, seconds: float) -> int:
        """Samples to make so that ``wanted`` can be cut from them."""
        if wanted <= self.samples:
            return self.samples
        if seconds > self.longest:
            raise UsageError(f"{seconds:g} s of model {self.name}; it makes at most {self.longest:g} s. Ask for less.")
        return -(-wanted // _STEP) * _STEP


def words(names: Sequence[str]) -> str:
    """Fields of Condition as the command line spells them."""
    return ", ".join("class" if name == "label" else name for name in names)


def _missing(card: Path, name: str, why: str) -> str:
    if card.parent != WEIGHTS:
        return f"no generator at {card} ({why}); expected the card of python -m synth.export, with its network beside."
    shipped = ", ".join(["beats", *(other for other in GANS if (WEIGHTS / f"{other}.onnx").is_file())])
    return (
        f"no weights of model {name or card.stem} come with this installation (shipped: {shipped}). Train it with "
        f"python -m synth.train --model {name or card.stem} and python -m synth.export, and give the card's path: "
        f"--src gan:weights/{card.name}."
    )
