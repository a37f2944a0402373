"""Adapters: in other people's pipelines, everything goes where the picture's content goes."""

from __future__ import annotations

import os
import pickle
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ecg_image_kit import UsageError, adapters
from ecg_image_kit.adapters import move

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # or importing it asks the network for its newest version

# Each of: nothing moves, one homography, one mesh, both.
MOVES: dict[str, list[str]] = {
    "none": [],
    "plane": ["Perspective(tilt=15, pan=8)", "Rotation(degrees=12)"],
    "turn": ["QuarterTurns(turns=1)", "Crop"],
    "bent": ["Curl(shape=wave)", "Lamp(strength=0)", "Perspective", "Lens"],  # without shading, which moves centroids
}
SPOTS = np.array([[120.0, 90.0], [300.0, 110.0], [200.0, 170.0], [130.0, 240.0], [290.0, 250.0]])
BOXES = np.array([[100.0, 70.0, 160.0, 110.0], [250.0, 180.0, 330.0, 260.0]])


def picture() -> NDArray[np.uint8]:
    """Round black spots with their centres at SPOTS on white paper."""
    y, x = np.mgrid[0:320, 0:400]
    far = np.min([np.hypot(x - a, y - b) for a, b in SPOTS], axis=0)
    return np.repeat((255 * np.clip(far - 5.5, 0, 1)).astype(np.uint8)[..., None], 3, axis=2)


def labels() -> NDArray[np.uint8]:
    """The boxes, as 1 and 2."""
    out = np.zeros((320, 400), np.uint8)
    for k, (x0, y0, x1, y1) in enumerate(BOXES.astype(int)):
        out[y0:y1, x0:x1] = k + 1
    return out


def spots_of(image: NDArray[Any], near: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the spots nearest to these points really are."""
    ink = 255.0 - np.asarray(image, np.float64).reshape(*image.shape[:2], -1).mean(axis=2)
    ink[ink < 40] = 0
    y, x = np.mgrid[0 : ink.shape[0], 0 : ink.shape[1]]
    close = [ink * (np.hypot(x - a, y - b) < 14) for a, b in near]
    return np.array([[(c * x).sum() / c.sum(), (c * y).sum() / c.sum()] for c in close])


def bounds(mask: NDArray[Any], value: int) -> list[float]:
    rows, columns = np.nonzero(mask == value)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("kind", MOVES)
def test_points_boxes_and_masks_go_where_the_content_goes(kind: str) -> None:
    source = picture()
    moved = move(source, MOVES[kind], seed=2, dpi=100)
    points = moved.points(SPOTS)
    np.testing.assert_allclose(spots_of(moved.image, points), points, atol=0.15)
    assert (np.abs(points - SPOTS).max() > 10) == (kind != "none")
    mask = moved.mask(labels())
    assert mask.shape == moved.image.shape[:2] and set(np.unique(mask)) == {0, 1, 2}
    np.testing.assert_allclose([bounds(mask, 1), bounds(mask, 2)], moved.boxes(BOXES), atol=1.01)
    ink = moved.mask(255 - source[..., 0]).astype(float)  # spots in a mask lie on spots in the image
    np.testing.assert_allclose(spots_of(255 - ink, points), points, atol=0.45)  # to the nearest pixel only
    np.testing.assert_array_equal(source, picture())
    if kind == "none":
        np.testing.assert_array_equal(moved.image, source)
        np.testing.assert_array_equal(mask, labels())


def test_a_wrong_map_would_be_seen() -> None:
    moved = move(picture(), MOVES["bent"], seed=2, dpi=100)
    points = moved.points(SPOTS) + 0.5
    assert np.abs(spots_of(moved.image, points) - points).max() > 0.3


def test_masks_of_any_type_and_shape() -> None:
    moved = move(picture(), MOVES["bent"], seed=2, dpi=100)
    plain = moved.mask(labels())
    for kind in (np.bool_, np.int64, np.float32):
        assert moved.mask(labels().astype(kind)).dtype == kind
    np.testing.assert_array_equal(moved.mask(labels() * np.int64(70_000)), plain * np.int64(70_000))
    both = moved.mask(np.stack([labels(), labels() > 1], axis=-1))
    np.testing.assert_array_equal(both[..., 0], plain)
    np.testing.assert_array_equal(both[..., 1], plain > 1)
    with pytest.raises(UsageError, match="expected the same size"):
        moved.mask(labels()[1:])


def test_images_keep_their_kind() -> None:
    effects = ["Perspective", "Vignette"]
    colour = move(picture(), effects, seed=1).image
    for shape in ((320, 400), (320, 400, 1)):
        grey = move(picture()[..., 0].reshape(shape), effects, seed=1).image
        assert grey.dtype == np.uint8 and grey.ndim == len(shape) and grey.shape[:2] == colour.shape[:2]
    real = move(picture().astype(np.float32) / 255, effects, seed=1).image
    assert real.dtype == np.float32
    np.testing.assert_allclose(real, colour / 255, atol=1e-6)
    with pytest.raises(UsageError, match="expected uint8, or float"):
        move(picture().astype(np.int32), effects)
    with pytest.raises(UsageError, match="1 or 3"):
        move(np.zeros((30, 40, 4), np.uint8), effects)


def test_no_boxes_no_points() -> None:
    moved = move(picture(), ["Rotation"], seed=1)
    assert moved.boxes(np.empty((0, 4))).shape == (0, 4)
    assert moved.points([]).shape == (0, 2)


def test_a_library_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(adapters.importlib, "import_module", missing)
    for name, make in adapters._MADE.items():
        make.cache_clear()
        with pytest.raises(UsageError, match=r"needs (albumentations|torch): pip install 'ecg-image-kit\[train\]'"):
            getattr(adapters, name)
    with pytest.raises(AttributeError):
        _ = adapters.Nothing


# albumentations


def compose(effects: list[str], seed: int | None = 5, **options: Any) -> Any:
    a = pytest.importorskip("albumentations")
    return a.Compose(
        [adapters.EcgEffects(effects, severity=0.5, dpi=100, **options), a.HorizontalFlip(p=1)],
        bbox_params=a.BboxParams(format="pascal_voc", label_fields=["names"]),
        keypoint_params=a.KeypointParams(format="xyas", remove_invisible=False),
        seed=seed,
    )


def sample() -> dict[str, Any]:
    return {
        "mask": labels(), "masks": np.stack([labels(), 2 * labels()]), "image": picture(), "bboxes": BOXES.copy(),
        "names": ["a", "b"], "keypoints": np.column_stack([SPOTS, np.zeros(5), np.ones(5)]),
    }  # fmt: skip


@pytest.mark.parametrize("kind", MOVES)
def test_albumentations(kind: str) -> None:
    out = compose(MOVES[kind])(**sample())
    keypoints = np.asarray(out["keypoints"])
    np.testing.assert_allclose(spots_of(out["image"], keypoints[:, :2]), keypoints[:, :2], atol=0.15)
    np.testing.assert_array_equal(out["masks"][0], out["mask"])
    np.testing.assert_array_equal(out["masks"][1], 2 * out["mask"])
    np.testing.assert_allclose([bounds(out["mask"], 1), bounds(out["mask"], 2)], out["bboxes"], atol=1.01)
    assert list(out["names"]) == ["a", "b"]


def test_albumentations_turns_directions_of_key_points() -> None:
    a = pytest.importorskip("albumentations")
    for effects, angle, scale in ((["QuarterTurns(turns=1)"], 90, 1), (["Scale(factor=0.5, aspect=0)"], 0, 0.5)):
        params = a.KeypointParams(format="xyas", remove_invisible=False)
        chain = a.Compose([adapters.EcgEffects(effects, dpi=100)], keypoint_params=params)
        (_, _, turned, size), *_ = chain(**{key: sample()[key] for key in ("image", "keypoints")})["keypoints"]
        assert (turned, size) == pytest.approx((angle, scale), abs=1e-3)


def test_albumentations_seeds_and_replays() -> None:
    a = pytest.importorskip("albumentations")
    one, two, other = (compose(MOVES["plane"] + ["Crumple"], seed) for seed in (5, 5, 6))
    first = [one(**sample()) for _ in range(2)]
    again = [two(**sample()) for _ in range(2)]
    for x, y in zip(first, again, strict=True):
        np.testing.assert_array_equal(x["image"], y["image"])
        np.testing.assert_array_equal(x["bboxes"], y["bboxes"])
    images = [first[0]["image"], first[1]["image"], other(**sample())["image"]]
    for k in (1, 2):
        assert images[0].shape != images[k].shape or (images[0] != images[k]).any()
    replay = a.ReplayCompose([adapters.EcgEffects(["Rotation", "Crumple"], dpi=100)])
    done = replay(image=picture(), mask=labels())
    redone = a.ReplayCompose.replay(done["replay"], image=picture() // 2, mask=labels())
    np.testing.assert_array_equal(done["mask"], redone["mask"])
    assert redone["image"].mean() < 0.9 * done["image"].mean()


def test_albumentations_keeps_its_settings() -> None:
    a = pytest.importorskip("albumentations")
    given = adapters.EcgEffects(["Crumple", {"Rotation": {"degrees": [3, 4]}}], severity=0.3, dpi=150, p=0.5)
    for copy in (a.from_dict(a.to_dict(given)), pickle.loads(pickle.dumps(given))):
        assert type(copy) is adapters.EcgEffects
        assert (copy.effects, copy.severity, copy.dpi, copy.p) == (given.effects, 0.3, 150, 0.5)
    with pytest.raises(UsageError, match="no effect 'Crumpel'; did you mean Crumple"):
        adapters.EcgEffects(["Crumpel"])
    with pytest.raises(UsageError, match="severity 2"):
        adapters.EcgEffects(severity=2)


# torchvision


def tensors(torch: Any, tv: Any) -> dict[str, Any]:
    corners = torch.tensor(BOXES)
    made = {
        "image": tv.Image(torch.from_numpy(picture()).permute(2, 0, 1)),
        "mask": tv.Mask(torch.from_numpy(labels().astype(np.int64)) * 70_000),
        "boxes": tv.BoundingBoxes(
            torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], dim=1), format="XYWH", canvas_size=(320, 400)
        ),
        "name": "a",
    }
    if hasattr(tv, "KeyPoints"):
        made["points"] = tv.KeyPoints(torch.tensor(SPOTS), canvas_size=(320, 400))
    return made


@pytest.mark.parametrize("kind", MOVES)
def test_torchvision(kind: str) -> None:
    torch, tv = pytest.importorskip("torch"), pytest.importorskip("torchvision.tv_tensors")
    v2 = pytest.importorskip("torchvision.transforms.v2")
    chain = v2.Compose([adapters.TorchvisionEcgEffects(MOVES[kind], dpi=100), v2.ToDtype(torch.float32, scale=True)])
    torch.manual_seed(3)
    out = chain(tensors(torch, tv))
    height, width = out["image"].shape[-2:]
    assert type(out["image"]) is tv.Image and out["image"].dtype == torch.float32 and out["name"] == "a"
    assert out["boxes"].canvas_size == out["mask"].shape == (height, width) and out["boxes"].format.name == "XYWH"
    mask = out["mask"].numpy()
    assert mask.dtype == np.int64
    x0, y0, w, h = out["boxes"].numpy().T
    np.testing.assert_allclose(
        [bounds(mask, 70_000), bounds(mask, 140_000)], np.stack([x0, y0, x0 + w, y0 + h], axis=1), atol=1.01
    )
    if "points" in out:
        points = out["points"].numpy()
        image = 255 * out["image"].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(spots_of(image, points), points, atol=0.15)
    torch.manual_seed(3)
    again = chain(tensors(torch, tv))
    torch.testing.assert_close(again["image"], out["image"], rtol=0, atol=0)
    if kind == "bent":
        other = chain(tensors(torch, tv))["image"]
        assert other.shape != out["image"].shape or (other != out["image"]).any()


def test_torchvision_takes_what_v2_takes() -> None:
    torch, v2 = pytest.importorskip("torch"), pytest.importorskip("torchvision.transforms.v2")
    pictures = pytest.importorskip("PIL.Image")
    tv = pytest.importorskip("torchvision.tv_tensors")
    turn = adapters.TorchvisionEcgEffects(["QuarterTurns(turns=1)"], dpi=100)
    turned = cv2.rotate(picture(), cv2.ROTATE_90_CLOCKWISE)
    np.testing.assert_array_equal(np.asarray(turn(pictures.fromarray(picture()))), turned)
    np.testing.assert_array_equal(np.asarray(turn(pictures.fromarray(picture()[..., 0]))), turned[..., 0])
    plain = torch.from_numpy(picture()).permute(2, 0, 1)
    np.testing.assert_array_equal(turn(plain).permute(1, 2, 0).numpy(), turned)
    assert turn(plain.float() / 255).dtype == torch.float32
    image, other = turn(plain, 7)
    assert image.shape == (3, 400, 320) and other == 7
    assert adapters.TorchvisionEcgEffects(["QuarterTurns"], p=0.0)(plain) is plain
    inside = tv.BoundingBoxes([[0, 0, 400, 320]], format="XYXY", canvas_size=(320, 400))
    _, box = adapters.TorchvisionEcgEffects(["Shift(x=0.1, y=0)"], dpi=100)(tv.Image(plain), inside)
    assert box.tolist() == [[40, 0, 400, 320]]  # ends where the image does
    copy = pickle.loads(pickle.dumps(v2.Compose([turn]))).transforms[0]
    assert type(copy) is adapters.TorchvisionEcgEffects and copy.effects == turn.effects
    for wrong, message in ((plain[None], "one at a time"), (inside, "no image among")):
        with pytest.raises(UsageError, match=message):
            turn(wrong)
    with pytest.raises(UsageError, match="expected XYXY, XYWH or CXCYWH"):
        turn(tv.Image(plain), tv.BoundingBoxes([[1.0, 2, 3, 4, 5]], format="CXCYWHR", canvas_size=(320, 400)))
