"""Encoders: what turns an ECG into numbers in which sets of ECGs are compared.

The random one needs no training data, and so belongs to nobody's side: fixed random convolutions at seven time scales,
their outputs pooled over time, after ROCKET (Dempster et al., Data Min Knowl Disc 34:1454, 2020), which classifies
time series with a linear model on such features about as well as the best networks do. The trained one is a small
network that was taught to read ECGs (``synth.fit_encoder``): it sees what matters to a reader and little else.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ecg_image_kit.errors import UsageError

from .scores import Array, Floats

F32: TypeAlias = NDArray[np.float32]
Encoder: TypeAlias = Callable[[Array], NDArray[Any]]

FS = 500.0  # Hz, of what encoders get
TRAINED = Path(__file__).parent / "weights" / "encoder.onnx"
TAPS = 9
_LOW_PASS = np.array([-1, 0, 9, 16, 9, 0, -1], np.float32) / 32  # half-band, before every second sample


@dataclass(frozen=True)
class RandomEncoder:
    """Random convolution features of (records, 8, samples) mV at 500 Hz; the same for the same seed, on any machine.

    Kernels of 9 taps over all leads, zero mean and unit norm; at each scale half of them see one lead each, so that a
    fault of a single lead is not lost among the others. Of an output y (mV) and its random bias b three numbers are
    kept: the share of time above b, and the logarithms of the mean excess over b and of the maximum. They do not
    change with the moment at which the record begins.

    Args:
        seed: of the kernels.
        kernels: at each of the scales.
        scales: rates of 500 Hz, 250 Hz, ... ; at the seventh, 9 taps span more than a second.
    """

    seed: int = 0
    kernels: int = 64
    scales: int = 7

    @cached_property
    def _bank(self) -> list[tuple[F32, F32]]:
        """Per scale the kernels (kernels, taps x 8) and biases (kernels, 1)."""
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, 0xEC6]))
        bank = []
        for _ in range(self.scales):
            w = rng.standard_normal((self.kernels, TAPS, 8))
            single = rng.integers(8, size=self.kernels)
            w[1::2] *= np.eye(8)[single[1::2], None, :]
            w -= w.mean(axis=1, keepdims=True)  # blind to the baseline's level
            w /= np.sqrt((w**2).sum(axis=(1, 2), keepdims=True))
            bias = rng.choice([-1, 1], self.kernels) * np.exp(rng.uniform(np.log(0.005), np.log(0.3), self.kernels))
            bank.append((w.reshape(self.kernels, -1).astype(np.float32), bias[:, None].astype(np.float32)))
        return bank

    def __call__(self, mv: Array) -> F32:
        """(records, 3 x kernels x scales). Raises UsageError for another shape, or for fewer than 2 s."""
        if mv.ndim != 3 or mv.shape[1] != 8 or mv.shape[2] < 2 * FS:
            raise UsageError(f"signals of shape {mv.shape}; expected (records, 8, samples), 2 s or more at 500 Hz.")
        return np.stack([self._one(np.asarray(record, np.float32)) for record in mv])

    def columns_below(self, hz: float) -> int:
        """The first column from which on features come from scales that hold nothing above about ``hz``."""
        return 3 * self.kernels * int(np.ceil(np.log2(FS / 2 / hz) - 0.1))

    def _one(self, x: F32) -> F32:
        found = []
        for w, bias in self._bank:
            columns = np.concatenate([x[:, k : x.shape[1] - TAPS + 1 + k] for k in range(TAPS)])
            y = w @ columns - bias
            above = np.maximum(y, 0.0)
            found += [
                (y > 0).mean(axis=1, dtype=np.float32),
                np.log(above.mean(axis=1) + 1e-3),
                np.log(np.maximum(y.max(axis=1) + bias[:, 0], 0.0) + 1e-2),
            ]
            x = _halve(x)
        return np.concatenate(found)


def _halve(x: F32) -> F32:
    """(leads, samples) at half the rate."""
    padded = np.pad(x, ((0, 0), (3, 3)), mode="edge")
    n = x.shape[1]
    low = sum(tap * padded[:, k : k + n] for k, tap in enumerate(_LOW_PASS) if tap)
    result: F32 = np.asarray(low, np.float32)[:, ::2]
    return result


@dataclass(frozen=True)
class Space:
    """Features turned into the coordinates in which distances are taken."""

    mean: Floats
    scale: Floats
    axes: Floats  # (features, dimensions)

    def __call__(self, features: Array) -> Floats:
        z = np.clip((np.asarray(features, np.float64) - self.mean) / self.scale, -8.0, 8.0)
        result: Floats = z @ self.axes
        return result


def principal(features: Array, dimensions: int = 32) -> Space:
    """The space of the ``dimensions`` largest principal components of standardised features.

    Fitted to real records only, so that no fake has a say in how it is measured. Fewer dimensions come out for fewer
    than ten times as many records.
    """
    x = np.asarray(features, np.float64)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale > 1e-6, scale, 1.0)
    z = (x - mean) / scale
    _, _, axes = np.linalg.svd(z, full_matrices=False)
    keep = max(2, min(dimensions, len(x) // 10))
    return Space(mean, scale, axes[:keep].T / np.sqrt(x.shape[1]))


@dataclass(frozen=True, eq=False)
class OnnxEncoder:
    """A trained network: (records, 8, samples) float32 mV at 500 Hz -> (records, features)."""

    path: str | os.PathLike[str]
    batch: int = 32
    _session: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        import onnxruntime

        if not os.path.isfile(self.path):
            raise UsageError(f"encoder {os.fspath(self.path)}: no such file; expected an ONNX network.")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # one record is too small to share
        try:
            session = onnxruntime.InferenceSession(
                os.fspath(self.path), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises classes of its own for what it cannot load
            raise UsageError(f"encoder {os.fspath(self.path)}: not an ONNX network ({error}).") from error
        object.__setattr__(self, "_session", session)

    def __call__(self, mv: Array) -> F32:
        """Raises UsageError if the network takes other shapes, or does not return one row per record."""
        name = self._session.get_inputs()[0].name
        try:
            parts = [
                self._session.run(None, {name: np.asarray(mv[k : k + self.batch], np.float32)})[0]
                for k in range(0, len(mv), self.batch)
            ]
        except Exception as error:  # as above
            raise UsageError(
                f"encoder {os.fspath(self.path)} does not take {mv.shape}; expected a network for "
                f"(records, 8, samples) float32 at 500 Hz ({error})."
            ) from error
        out = np.concatenate(parts).astype(np.float32)
        if out.ndim != 2 or len(out) != len(mv):
            raise UsageError(f"encoder {os.fspath(self.path)} returns {out.shape}; expected ({len(mv)}, features).")
        return out
