"""Exports: what other people's readers make of them, and that it lies where the ink is."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from ecg_image_kit import STANDARD_LEADS, Box, Homography, Layout, Page, PageError, Record, Style, UsageError, render
from ecg_image_kit.effects import EFFECTS, apply
from ecg_image_kit.export import CLASSES, EXPORTS, export, finished

DPI = 4 * 25.4  # 4 px per mm
SHEET = (280.0, 200.0)


def ecg() -> Record:
    t = np.arange(2500) / 250
    beat = np.exp(-0.5 * (((t % 1.0) - 0.4) / 0.02) ** 2) + 0.1 * np.sin(2 * np.pi * t / 3)
    return Record(STANDARD_LEADS, np.stack([(0.4 + 0.1 * k) * beat for k in range(12)]), 250, "made")


def rectangle(x0: float, y0: float, x1: float, y1: float) -> NDArray[np.float64]:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def pages() -> Iterator[tuple[str, Page]]:
    flat = render(ecg(), Layout.named("3x4+1R", sheet=SHEET), Style(ink=(0, 0, 0)), DPI)
    yield "a_flat.png", flat
    label = next(box for box in flat.boxes if box.text == "V1")
    (x0, y0), (x1, y1) = label.outline.min(axis=0) - 1, label.outline.max(axis=0) + 1
    hidden = replace(flat, boxes=(*flat.boxes, Box("sticker", rectangle(x0, y0, x1, y1), "", True)))
    image = flat.image.copy()
    left, top, right, bottom = (round(4 * v) for v in (x0, y0, x1, y1))
    image[top:bottom, left:right] = 200
    # The left 100 mm are cut off, and it is turned about a corner of what remains.
    turn = Homography(Homography.rotation(8).matrix @ Homography.affine(1, 0, -400, 0, 1, 0).matrix)
    turned = replace(hidden, image=image).warp(turn, (720, 800))
    yield "b_turned.jpg", replace(turned, meta={**turned.meta, "recipe": "photo"})
    yield "c_bent.png", apply(flat, ["Curl(shape=wave)", "Perspective"], seed=4, severity=0.7)
    yield "d_photo.png", Page.of_image(np.full((300, 400), 255, np.uint8), 100)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pages")
    for name, page in pages():
        page.save(out / name)
    export(out, list(EXPORTS), copy_images=True)
    return out


@pytest.fixture(scope="module")
def loaded(folder: Path) -> dict[int, Page]:
    return {k + 1: Page.load(image) for k, image in enumerate(finished(folder))}


def annotations(folder: Path, page: int, kind: str) -> list[dict[str, Any]]:
    data = json.loads((folder / "coco.json").read_text())
    number = {category["name"]: category["id"] for category in data["categories"]}[kind]
    return [a for a in data["annotations"] if (a["image_id"], a["category_id"]) == (page, number)]


# COCO


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
def test_coco_is_read_by_pycocotools(folder: Path, loaded: dict[int, Page]) -> None:
    coco = pytest.importorskip("pycocotools.coco").COCO(folder / "coco.json")
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == [*CLASSES, "crossing"]
    assert [image["file_name"] for image in coco.loadImgs(sorted(coco.getImgIds()))] == [
        "a_flat.png", "b_turned.jpg", "c_bent.png", "d_photo.png",
    ]  # fmt: skip
    assert len(coco.getAnnIds()) == len(coco.dataset["annotations"]) > 300
    for a in coco.loadAnns(coco.getAnnIds()):
        width, height = (coco.loadImgs(a["image_id"])[0][key] for key in ("width", "height"))
        x, y, w, h = a["bbox"]
        assert a["iscrowd"] == 0 and x >= 0 and y >= 0 and x + w <= width + 0.02 and y + h <= height + 0.02
        mask = coco.annToMask(a)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        drawn = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        inwards = (drawn - [x, y, x + w, y + h]) * [1, 1, -1, -1]
        assert inwards.min() > -1.6 and inwards.max() < 5  # corners sharper than a pixel are not drawn
        assert mask.sum() == pytest.approx(a["area"], rel=0.03, abs=2.0 * (w + h))
    for number, page in loaded.items():
        of_leads = coco.loadAnns(coco.getAnnIds(imgIds=[number], catIds=[1]))
        seen = [trace for trace in page.traces if page.visible(trace).any()]
        assert [a["attributes"]["lead"] for a in of_leads] == [trace.strip.lead for trace in seen]
        for a, trace in zip(of_leads, seen, strict=True):  # the ink lies in the outline, and fills it
            visible = page.visible(trace)
            px = page.px(trace)[visible]
            at = np.round(px).astype(int)
            mask = np.pad(coco.annToMask(a), ((0, 1), (0, 1)))
            assert mask[at[:, 1], at[:, 0]].mean() > 0.99
            (x, y, w, h), pen = a["bbox"], 0.15 * page.px_per_mm + 1
            if number == 1:
                np.testing.assert_allclose([x, x + w], [px[:, 0].min() + 0.5, px[:, 0].max() + 0.5], atol=pen)
                np.testing.assert_allclose([y, y + h], [px[:, 1].min() + 0.5, px[:, 1].max() + 0.5], atol=pen)
            ends = np.reshape(a["keypoints"], (2, 3))
            for end, sample in zip(ends, (0, -1), strict=True):
                assert end[2] == (2 if visible[sample] else 0)
                if visible[sample]:
                    np.testing.assert_allclose(end[:2], page.px(trace)[sample], atol=0.02)
            assert a["num_keypoints"] == (ends[:, 2] > 0).sum()


def test_outlines_count_from_the_corner_and_key_points_are_pixels(folder: Path, loaded: dict[int, Page]) -> None:
    for box, a in zip(
        [box for box in loaded[1].boxes if box.kind == "label"], annotations(folder, 1, "label"), strict=True
    ):
        low, high = box.outline.min(axis=0) * 4, box.outline.max(axis=0) * 4
        np.testing.assert_allclose(a["bbox"], [*low, *(high - low)], atol=0.02)
        assert a["attributes"] == {"text": box.text, "kind": "label"}
    points = np.array([a["keypoints"] for a in annotations(folder, 1, "crossing")])
    assert len(points) == 11 * 7  # every 25 mm of 280 x 200, without those on the very edges
    np.testing.assert_allclose((points[:, :2] + 0.5) % 100, 0, atol=0.01)


def test_what_cannot_be_seen_is_left_out(folder: Path, loaded: dict[int, Page]) -> None:
    texts = {number: {a["attributes"]["text"] for a in annotations(folder, number, "label")} for number in loaded}
    assert texts[1] == set(STANDARD_LEADS) == texts[3]
    assert texts[2] & {"I", "II", "III", "V1"} == set()  # cut off, and under the sticker
    assert {"V2", "V3", "V4"} <= texts[2]
    assert len(annotations(folder, 2, "sticker")) == 1
    (sheet,) = annotations(folder, 3, "page")
    assert 0.3 < sheet["area"] / loaded[3].image[..., 0].size < 0.98
    (whole,) = annotations(folder, 4, "page")
    assert whole["bbox"] == [0, 0, 400, 300]


def test_every_kind_of_box_has_a_class(folder: Path, loaded: dict[int, Page]) -> None:
    """Add a new kind to the end of CLASSES."""
    page = render(ecg(), Layout.named("1x1", ["II"], sheet=(120.0, 60.0)), Style(code="qr"), 40)
    made = [apply(page, [name], severity=1.0) for name in EFFECTS]
    assert {box.kind for page in made for box in page.boxes} <= set(CLASSES)
    assert CLASSES[:4] == ("lead", "page", "other", "label")  # numbers in models that were trained already


# YOLO, VOC


@pytest.mark.parametrize("number", [1, 2, 3])
def test_yolo_and_voc_say_what_coco_says(folder: Path, loaded: dict[int, Page], number: int) -> None:
    stem = finished(folder)[number - 1].stem
    height, width = loaded[number].image.shape[:2]
    data = json.loads((folder / "coco.json").read_text())
    wanted = [a for a in data["annotations"] if a["image_id"] == number and a["category_id"] <= len(CLASSES)]
    boxes = [line.split() for line in (folder / "yolo" / "labels" / f"{stem}.txt").read_text().splitlines()]
    polygons = [line.split() for line in (folder / "yolo-seg" / "labels" / f"{stem}.txt").read_text().splitlines()]
    objects = ElementTree.parse(folder / "voc" / "Annotations" / f"{stem}.xml").getroot().findall("object")
    assert len(wanted) == len(boxes) == len(polygons) == len(objects) > 25
    for a, box, polygon, thing in zip(wanted, boxes, polygons, objects, strict=True):
        name = CLASSES[a["category_id"] - 1]
        assert CLASSES[int(box[0])] == CLASSES[int(polygon[0])] == thing.findtext("name") == name
        x, y, w, h = np.array(box[1:], float) * [width, height, width, height]
        np.testing.assert_allclose([x - w / 2, y - h / 2, w, h], a["bbox"], atol=0.02)
        outline = np.array(polygon[1:], float).reshape(-1, 2) * [width, height]
        np.testing.assert_allclose(outline.ravel(), a["segmentation"][0], atol=0.02)
        left, top, right, bottom = (
            int(thing.findtext(f"bndbox/{key}") or "") for key in ("xmin", "ymin", "xmax", "ymax")
        )
        assert 1 <= left <= right <= width and 1 <= top <= bottom <= height
        np.testing.assert_allclose([left - 1, top - 1, right - left + 1, bottom - top + 1], a["bbox"], atol=2.02)
        assert (thing.findtext("attributes/attribute/value") or "") == a["attributes"].get("text", thing.findtext(
            "attributes/attribute/value"))  # fmt: skip
        touching = min(left, top) == 1 or right == width or bottom == height
        assert thing.findtext("truncated") == "0" or touching


def test_yolo_has_what_training_needs(folder: Path) -> None:
    for name in ("yolo", "yolo-seg"):
        data = yaml.safe_load((folder / name / "data.yaml").read_text())
        assert data["names"] == dict(enumerate(CLASSES))
        assert (folder / name / data["train"]).is_dir()
        assert (folder / name / "classes.txt").read_text().split("\n") == [*CLASSES, ""]
        images = {path.stem for path in (folder / name / "images").iterdir()}
        assert images == {path.stem for path in (folder / name / "labels").iterdir()}
    size = ElementTree.parse(folder / "voc" / "Annotations" / "b_turned.xml").getroot().find("size")
    assert size is not None and [part.text for part in size] == ["720", "800", "3"]


# Samples


def test_kaggle(folder: Path) -> None:
    root = folder / "kaggle"
    with (root / "train.csv").open(newline="") as stream:
        train = list(csv.DictReader(stream))
    assert train == [{"id": str(k), "fs": "250", "sig_len": "2500"} for k in (1, 2, 3)]  # 4 has no samples
    with (root / "pages.csv").open(newline="") as stream:
        assert [row["image"] for row in csv.DictReader(stream)] == ["a_flat.png", "b_turned.jpg", "c_bent.png"]
    with (root / "train" / "2" / "2.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert tuple(rows[0]) == STANDARD_LEADS and len(rows) == 2501
    mv = np.array([[float(cell) if cell else np.nan for cell in row] for row in rows[1:]]).T
    truth = ecg()
    for k, lead in enumerate(STANDARD_LEADS):
        known = np.flatnonzero(np.isfinite(mv[k]))
        column = k // 3
        assert [known[0], known[-1] + 1] == ([0, 2500] if lead == "II" else [column * 625, (column + 1) * 625])
        np.testing.assert_allclose(mv[k, known], truth.lead(lead)[known], atol=6e-5)
    assert sorted(os.listdir(root / "train" / "2")) == ["2-0005.png", "2.csv"]  # a photo, in that competition's numbers
    copied = cv2.imread(str(root / "train" / "2" / "2-0005.png"))
    np.testing.assert_array_equal(copied, cv2.imread(str(folder / "b_turned.jpg")))


KIT_KEYS = {
    "sampling_frequency", "width", "height", "grid_line_color_major", "grid_line_color_minor", "ecg_plot_color",
    "leads", "x_grid", "y_grid", "dc_pulse", "bw", "gridlines", "printed_text", "number_of_columns_in_image",
    "resolution", "pad_inches", "full_mode_lead", "handwritten_text", "num_words", "x_offset_for_handwritten_text",
    "y_offset_for_handwritten_text", "wrinkles", "crease_angle", "number_of_creases_horizontally",
    "number_of_creases_vertically", "augment", "crop", "temperature", "rotate", "noise",
}  # fmt: skip
LEAD_KEYS = {"text_bounding_box", "lead_bounding_box", "lead_name", "start_sample", "end_sample", "plotted_pixels"}


def test_ecg_image_kit(folder: Path, loaded: dict[int, Page]) -> None:
    data = json.loads((folder / "ecg-image-kit" / "a_flat.json").read_text())
    assert set(data) == KIT_KEYS
    assert (data["sampling_frequency"], data["width"], data["height"]) == (250, 1120, 800)
    assert (data["x_grid"], data["y_grid"], data["rotate"]) == (20, 20, 0)
    assert (data["full_mode_lead"], data["number_of_columns_in_image"]) == ("II", 4)
    assert [lead["lead_name"] for lead in data["leads"]] == [strip.lead for strip in loaded[1].layout.strips]
    for name, number in (("a_flat", 1), ("b_turned", 2), ("c_bent", 3)):
        data = json.loads((folder / "ecg-image-kit" / f"{name}.json").read_text())
        image = cv2.imread(str(folder / "ecg-image-kit" / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
        assert image is not None and image.shape == (data["height"], data["width"])
        for lead in data["leads"]:
            assert set(lead) | {"text_bounding_box"} == LEAD_KEYS
            y, x = np.array(lead["plotted_pixels"]).astype(int).T  # as its readers do: rows and columns, rounded down
            assert (cv2.erode(image, np.ones((3, 3), np.uint8))[y, x] < 120).mean() > 0.97
            if number == 1:
                assert np.median(image[y, x]) < 100
            assert lead["end_sample"] - lead["start_sample"] == len(y)
            (top, left), (_, right), (bottom, _), _ = (lead["lead_bounding_box"][str(k)] for k in range(4))
            assert left - 1 <= x.min() <= x.max() <= right and top - 1 <= y.min() <= y.max() <= bottom
    turned = json.loads((folder / "ecg-image-kit" / "b_turned.json").read_text())
    assert turned["rotate"] == 8
    by_lead = {(lead["lead_name"], lead["end_sample"] == 2500): lead for lead in turned["leads"]}
    assert "text_bounding_box" in by_lead["V2", False] and "text_bounding_box" not in by_lead["V1", False]
    assert ("I", False) not in by_lead
    inside = loaded[2].px(loaded[2].traces[-1])[:, 0] > -0.5  # the rhythm strip's beginning is cut off
    assert by_lead["II", True]["start_sample"] == np.flatnonzero(inside)[0] > 500


def test_masks(folder: Path, loaded: dict[int, Page]) -> None:
    for image, page in zip(finished(folder), loaded.values(), strict=True):
        for kind in ("leads", "grid", "text"):
            mask = cv2.imread(str(folder / "masks" / f"{image.stem}.{kind}.png"), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(mask, page.mask(kind))


# Files


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_bytes_again(folder: Path) -> None:
    before = contents(folder)
    seen: list[tuple[int, int]] = []
    written = export(folder, ",".join(EXPORTS), lambda done, of: seen.append((done, of)), copy_images=True)
    assert contents(folder) == before
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert written == sorted(written) and len(set(written)) == len(written)
    assert {path.relative_to(folder).as_posix() for path in written} == {
        name for name in before if "/" in name or name == "coco.json"
    }
    original, link = folder / "a_flat.png", folder / "yolo" / "images" / "a_flat.png"
    assert original.stat().st_ino == link.stat().st_ino


def test_images_are_not_copied_unless_asked_for(tmp_path: Path) -> None:
    render(ecg(), Layout.named("1x1", ["I"]), Style(), 40).save(tmp_path / "one.png")
    export(tmp_path, EXPORTS)
    assert [path.name for path in tmp_path.rglob("*.png") if path.parent.name != "masks"] == ["one.png"]


def test_a_broken_page_leaves_nothing_half_written(tmp_path: Path) -> None:
    page = render(ecg(), Layout.named("1x1", ["I"]), Style(), 40)
    for name in ("one", "two"):
        page.save(tmp_path / f"{name}.png")
    (tmp_path / "two.json").write_text("{")
    with pytest.raises(PageError, match="two"):
        export(tmp_path, "coco")
    assert sorted(os.listdir(tmp_path)) == ["one.json", "one.npz", "one.png", "two.json", "two.npz", "two.png"]


def test_wrong_requests(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"export 'cocoa'; expected some of coco, yolo, voc, kaggle, ecg-image-kit, masks"
    ):
        export(tmp_path, "coco,cocoa")
    with pytest.raises(UsageError, match="expected some of"):
        export(tmp_path, [])
    (tmp_path / "stray.json").write_text("{}")
    with pytest.raises(UsageError, match="holds no finished pages"):
        export(tmp_path, "coco")
    with pytest.raises(UsageError, match="is no folder"):
        export(tmp_path / "none", "coco")
    render(ecg(), Layout.named("1x1", ["I"]), Style(), 40).save(tmp_path / "coco.png")
    with pytest.raises(UsageError, match="a page called coco"):
        export(tmp_path, "coco")


def test_names_for_help() -> None:
    for kind in EXPORTS.values():
        assert kind.__doc__ and "\n" not in kind.__doc__ and len(kind.__doc__) < 110
