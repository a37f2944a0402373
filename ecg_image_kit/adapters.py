"""Adapters: the effects inside other people's training pipelines, on any images.

    >>> A.Compose([EcgEffects(["Crumple", "Perspective(tilt=20)", "Shadow"], severity=0.6), A.ToGray(p=0.2)], seed=1)
    >>> v2.Compose([TorchvisionEcgEffects(["Rotation", "Jpeg"], dpi=150), v2.ToDtype(torch.float32, scale=True)])

``EcgEffects`` is a transform of albumentations (1.4.24 or 2), ``TorchvisionEcgEffects`` one of torchvision's v2. Both
move image, masks, boxes and key points by one map: points exactly, masks by their nearest pixel (0 where the old image
had nothing), boxes to the bounds of their outline. The picture may change its size. Neither library is imported before
its class is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .effects import Effect, apply, effect_of
from .errors import UsageError
from .page import Page
from .warp import Chain, Homography, Mesh, Points

EffectLike = Effect | str | Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Moved:
    """A picture after effects, and where everything went.

    Attributes:
        source: the picture before. image: after, with the same number of channels and type.
        warp: px of the one -> px of the other.
    """

    source: NDArray[Any]
    image: NDArray[Any]
    warp: Chain

    def points(self, xy: ArrayLike) -> Points:
        """(N, 2) px in the new picture of (N, 2) px in the old one, pixel centres at integers."""
        return self.warp(np.asarray(xy, np.float64).reshape(-1, 2))

    def boxes(self, corners: ArrayLike) -> Points:
        """(N, 4) left, top, right, bottom of boxes, counted from the picture's corner: bounds of what they became."""
        old = np.asarray(corners, np.float64).reshape(-1, 4)
        t, one = np.linspace(0, 1, 33), np.ones(33)
        u, v = np.concatenate([t, one, t, 0 * t]), np.concatenate([0 * t, t, one, t])
        x, y = (old[:, [a]] + (old[:, [a + 2]] - old[:, [a]]) * w - 0.5 for a, w in ((0, u), (1, v)))
        new = self.points(np.stack([x, y], axis=-1)).reshape(len(old), u.size, 2) + 0.5
        return np.concatenate([new.min(axis=1), new.max(axis=1)], axis=1)

    def mask(self, mask: NDArray[Any]) -> NDArray[Any]:
        """(H, W, ...) labels of the old picture, seen in the new one."""
        if mask.shape[:2] != self.source.shape[:2]:
            raise UsageError(
                f"mask of {mask.shape[:2]} for an image of {self.source.shape[:2]}; expected the same size."
            )
        at, inside = self._nearest
        out = mask.reshape(-1, *mask.shape[2:])[at]
        out[~inside] = 0
        return out

    @cached_property
    def _nearest(self) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """(H', W') of each new pixel: which old one it shows, and whether there is one."""
        (high, wide), (height, width) = self.source.shape[:2], self.image.shape[:2]
        at = np.empty((height, width), np.int32)
        inside = np.empty((height, width), np.bool_)
        for top in range(0, height, 256):
            rows = range(top, min(top + 256, height))
            i, j = (np.floor(v + 0.5) for v in self._sources(width, rows))
            part = (i >= 0) & (i < wide) & (j >= 0) & (j < high)
            at[top : rows.stop] = np.where(part, j * wide + i, 0)
            inside[top : rows.stop] = part
        return at, inside

    def _sources(self, width: int, rows: range) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Twice (len(rows), width): x and y in the old picture of some rows of the new one, px."""
        first, *others = self.warp.inverse.warps
        x, y = np.arange(width), np.asarray(rows)[:, None]
        if isinstance(first, Homography) and not others:  # five times as fast as point by point
            u, v, w = (a * x + b * y + c for a, b, c in first.matrix)
            return u / w, v / w
        if isinstance(first, Mesh) and all(float(v).is_integer() for v in (*first.origin, first.step)):
            px = np.asarray(first.dense(width, rows).reshape(-1, 2), np.float64)
        else:
            px = first(np.stack(np.broadcast_arrays(x, y), axis=-1).reshape(-1, 2))
        px = Chain(tuple(others))(px).reshape(len(rows), width, 2)
        return px[..., 0], px[..., 1]


def move(
    image: NDArray[Any], effects: Iterable[EffectLike], seed: int = 0, severity: float = 0.5, dpi: float = 200.0
) -> Moved:
    """The effects on a picture of which nothing else is known.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), uint8, or float from 0 to 1.
        dpi: at which it shows a sheet of paper; sizes of effects are in mm.
    """
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3)):
        raise UsageError(f"image of shape {image.shape}; expected (H, W), or (H, W, 1 or 3).")
    exact = image.dtype == np.uint8
    if not exact and not np.issubdtype(image.dtype, np.floating):
        raise UsageError(f"image of {image.dtype}; expected uint8, or float from 0 to 1.")
    flat = image if exact else np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    page = apply(Page.of_image(flat, dpi), effects, seed=seed, severity=severity)
    warp = Chain((Homography.dpi(dpi).inverse,))
    for part in page.mm_to_px.warps:
        warp = warp.then(part)
    new: NDArray[Any] = page.image
    if image.ndim == 2 or image.shape[2] == 1:
        new = np.asarray(cv2.cvtColor(page.image, cv2.COLOR_RGB2GRAY)).reshape(*new.shape[:2], *image.shape[2:])
    return Moved(image, new if exact else (new / 255.0).astype(image.dtype), warp)


def optional(module: str) -> Any:
    """Import what only some need. Raises UsageError that names the extra which brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise UsageError(f"this adapter needs {package}: pip install 'ecg-image-kit[train]'") from error


class _Settings:
    """What both transforms hold: plain data, so that they can be printed, saved and sent to other processes."""

    effects: list[dict[str, Any]]
    severity: float
    dpi: float

    def _set(self, effects: Iterable[EffectLike], severity: float, dpi: float) -> None:
        if not 0 <= severity <= 1 or not dpi > 0:
            raise UsageError(f"severity {severity!r}, dpi {dpi!r}; expected 0 to 1, and above 0.")
        self.effects = [effect_of(effect).to_json() for effect in effects]
        self.severity, self.dpi = severity, dpi

    def _move(self, image: NDArray[Any], seed: int) -> Moved:
        return move(image, self.effects, seed, self.severity, self.dpi)


@cache
def _for_albumentations() -> Any:
    library = optional("albumentations")

    class EcgEffects(_Settings, library.DualTransform):  # type: ignore[misc, name-defined]
        """Effects of paper, pens, cameras and scanners, for ``albumentations.Compose``.

        Args:
            effects: names, ``Name(field=value)``, mappings or Effect objects. severity: 0 (barely) to 1 (at its worst).
            dpi: px per 25.4 mm of paper in the images. p: chance that it is applied.

        Targets: image, images, mask, masks, bboxes, keypoints. Reproducible by ``Compose(seed=...)``.
        """

        __qualname__ = "EcgEffects"  # by which other processes find it

        def __init__(
            self, effects: Iterable[EffectLike] = (), severity: float = 0.5, dpi: float = 200.0, p: float = 1.0
        ) -> None:
            super().__init__(p=p)
            self._set(effects, severity, dpi)

        def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
            image = data["image"] if "image" in data else data["images"][0]
            seed = int(self.random_generator.integers(2**63))
            return {"seed": seed, "moved": self._move(np.asarray(image), seed)}

        def get_transform_init_args_names(self) -> tuple[str, ...]:
            return ("effects", "severity", "dpi")

        def apply(self, img: NDArray[Any], *args: Any, seed: int, moved: Moved, **params: Any) -> NDArray[Any]:
            known = img is moved.source or np.array_equal(img, moved.source)
            return moved.image if known else self._move(img, seed).image

        def apply_to_mask(self, mask: NDArray[Any], *args: Any, moved: Moved, **params: Any) -> NDArray[Any]:
            return moved.mask(mask)

        def apply_to_masks(self, masks: Any, *args: Any, moved: Moved, **params: Any) -> Any:
            new = [moved.mask(mask) for mask in masks]
            return np.stack(new) if isinstance(masks, np.ndarray) else new

        def apply_to_bboxes(self, bboxes: NDArray[Any], *args: Any, moved: Moved, **params: Any) -> NDArray[Any]:
            if not len(bboxes):
                return bboxes
            out = np.array(bboxes, np.float32)  # shares of the image's size
            (high, wide), (height, width) = moved.source.shape[:2], moved.image.shape[:2]
            old = np.asarray(bboxes[:, :4], np.float64) * [wide, high, wide, high]
            out[:, :4] = moved.boxes(old) / [width, height, width, height]
            return out

        def apply_to_keypoints(self, keypoints: NDArray[Any], *args: Any, moved: Moved, **params: Any) -> NDArray[Any]:
            if not len(keypoints):
                return keypoints
            out = np.array(keypoints, np.float32)  # x, y, z, angle, scale, ...
            xy = np.asarray(keypoints[:, :2], np.float64)
            out[:, :2] = moved.points(xy)
            across, down = (moved.points(xy + step) - moved.points(xy - step) for step in ([0.5, 0.0], [0.0, 0.5]))
            angle = keypoints[:, 3].astype(np.float64)[:, None]
            x, y = (np.cos(angle) * across + np.sin(angle) * down).T
            out[:, 3] = np.arctan2(y, x) % (2 * np.pi)
            out[:, 4] *= np.sqrt(np.abs(across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0]))
            return out

    return EcgEffects


@cache
def _for_torchvision() -> Any:
    torch, v2 = optional("torch"), optional("torchvision.transforms.v2")
    tensors, pictures = optional("torchvision.tv_tensors"), optional("PIL.Image")
    key_points = getattr(tensors, "KeyPoints", ())  # there from torchvision 0.23 on

    class TorchvisionEcgEffects(_Settings, v2.Transform):  # type: ignore[misc, name-defined]
        """Effects of paper, pens, cameras and scanners, as a transform of ``torchvision.transforms.v2``.

        Args:
            effects: names, ``Name(field=value)``, mappings or Effect objects. severity: 0 (barely) to 1 (at its worst).
            dpi: px per 25.4 mm of paper in the images. p: chance that it is applied.

        Takes images (PIL, tensors, ``tv_tensors.Image``), Mask, BoundingBoxes and KeyPoints (pixel centres at
        integers). Boxes end where the image does. Reproducible by ``torch.manual_seed``.
        """

        __qualname__ = "TorchvisionEcgEffects"

        def __init__(
            self, effects: Iterable[EffectLike] = (), severity: float = 0.5, dpi: float = 200.0, p: float = 1.0
        ) -> None:
            super().__init__()
            self._set(effects, severity, dpi)
            self.p = p

        def forward(self, *inputs: Any) -> Any:
            if self.p < 1 and torch.rand(()).item() >= self.p:
                return inputs if len(inputs) > 1 else inputs[0]
            return super().forward(*inputs)

        def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
            image = next((part for part in flat_inputs if _is_image(part)), None)
            if image is None:
                raise UsageError("no image among the inputs; expected a tensor, tv_tensors.Image or PIL image.")
            seed = int(torch.randint(2**62, ()).item())
            return {"seed": seed, "image": image, "moved": self._move(_array(image), seed)}

        def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
            moved: Moved = params["moved"]
            canvas = moved.image.shape[:2]
            if _is_image(inpt):
                return _like(inpt, moved if inpt is params["image"] else self._move(_array(inpt), params["seed"]))
            if isinstance(inpt, tensors.Mask):
                mask = moved.mask(np.moveaxis(inpt.numpy(force=True), (-2, -1), (0, 1)))
                return tensors.wrap(_tensor(np.moveaxis(mask, (0, 1), (-2, -1)), inpt), like=inpt)
            if isinstance(inpt, tensors.BoundingBoxes):
                return _boxes(inpt, moved, canvas)
            if key_points and isinstance(inpt, key_points):
                points = moved.points(inpt.numpy(force=True)).reshape(inpt.shape)
                return tensors.wrap(_tensor(points, inpt), like=inpt, canvas_size=canvas)
            raise UsageError(
                f"{type(inpt).__name__} cannot be moved; expected Image, Mask, BoundingBoxes or KeyPoints."
            )

    def _is_image(part: Any) -> bool:
        return isinstance(part, tensors.Image | pictures.Image) or type(part) is torch.Tensor

    def _array(image: Any) -> NDArray[Any]:
        """(H, W, channels) of an image."""
        if isinstance(image, pictures.Image):
            return np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
        if image.ndim != 3:
            raise UsageError(f"image of shape {tuple(image.shape)}; expected (channels, H, W), one at a time.")
        return np.asarray(np.moveaxis(image.numpy(force=True), 0, -1))

    def _like(image: Any, moved: Moved) -> Any:
        if isinstance(image, pictures.Image):
            return pictures.fromarray(moved.image)
        new = _tensor(np.moveaxis(moved.image, -1, 0), image)
        return tensors.wrap(new, like=image) if isinstance(image, tensors.Image) else new

    def _tensor(values: NDArray[Any], like: Any) -> Any:
        """A plain tensor of the same type and on the same device; whole numbers are rounded."""
        whole = not like.is_floating_point() and np.issubdtype(values.dtype, np.floating)
        values = np.ascontiguousarray(np.round(values) if whole else values)
        return torch.from_numpy(values).to(dtype=like.dtype, device=like.device)

    def _boxes(boxes: Any, moved: Moved, canvas: tuple[int, int]) -> Any:
        formats, kind = tensors.BoundingBoxFormat, boxes.format
        if kind not in (formats.XYXY, formats.XYWH, formats.CXCYWH):
            raise UsageError(f"boxes of format {kind.name}; expected XYXY, XYWH or CXCYWH.")
        corners = v2.functional.convert_bounding_box_format(boxes, new_format=formats.XYXY)
        height, width = canvas
        new = np.clip(moved.boxes(corners.numpy(force=True)), 0, [width, height, width, height])
        made = tensors.BoundingBoxes(_tensor(new, boxes).reshape(boxes.shape), format=formats.XYXY, canvas_size=canvas)
        return v2.functional.convert_bounding_box_format(made, new_format=kind)

    return TorchvisionEcgEffects


_MADE = {"EcgEffects": _for_albumentations, "TorchvisionEcgEffects": _for_torchvision}


def __getattr__(name: str) -> Any:
    """The transforms' classes are made when they are asked for: their bases are in libraries that not all have."""
    if name not in _MADE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _MADE[name]()


__all__ = ["EcgEffects", "Moved", "TorchvisionEcgEffects", "move"]  # noqa: F822 - see __getattr__
