"""Generated ECGs on paper, to look at.

python docs/synth_pictures.py                            # docs/synth.jpg: twelve generated ones
python docs/synth_pictures.py --root PTBXL_ROOT --out quiz.jpg   # and twelve real ones, shuffled; the key is quiz.txt

Real records are drawn from the last 300 of a PTB-XL tree, which no model was trained on. A picture with real records in
it is for one's own eyes: nobody's ECG belongs into the repository.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import cv2  # noqa: E402
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from PIL import Image, ImageDraw, ImageFont  # noqa: E402

from ecg_image_kit import EcgError, Layout, Record, Style, UsageError, open_source, render  # noqa: E402
from synth.generate import generate  # noqa: E402

PLAIN = Style(header="none")  # no printed name or measurement may tell which is which


def page(record: Record, number: int, width: int) -> NDArray[np.uint8]:
    """A sheet of 3 x 4 leads with a rhythm strip, ``width`` px wide, with its number in the corner."""
    image = render(record, Layout.for_record(record, "3x4+1R"), PLAIN, dpi=150).image
    height = round(image.shape[0] * width / image.shape[1])
    picture = Image.fromarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
    ImageDraw.Draw(picture).text((8, 4), str(number), fill=(0, 0, 160), font=ImageFont.load_default(20))
    return np.asarray(picture)


def sheet(records: list[Record], columns: int, width: int) -> NDArray[np.uint8]:
    """Pages beside and below each other, numbered from 1."""
    pages = [page(record, k + 1, width) for k, record in enumerate(records)]
    blank = np.full_like(pages[0], 255)
    pages += [blank] * (-len(pages) % columns)
    rows = [np.hstack(pages[k : k + columns]) for k in range(0, len(pages), columns)]
    return np.vstack(rows)


def real_records(root: str, count: int, rng: np.random.Generator) -> list[Record]:
    source = open_source("ptbxl", root=root)
    names = list(source.names())[-300:]
    return [source.load(names[int(k)]) for k in rng.choice(len(names), count, replace=False)]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="beats", help="as in --src gan:MODEL (default: beats)")
    parser.add_argument("--root", help="a PTB-XL tree: mix as many real records in")
    parser.add_argument("--count", type=int, default=12, help="of each (default: 12)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--columns", type=int, default=3)
    parser.add_argument("--width", type=int, default=520, help="px of each page (default: 520)")
    parser.add_argument("--out", help="picture (default: docs/synth.jpg; with --root it has to be said)")
    args = parser.parse_args(argv)
    try:
        if args.root and (args.out is None or HERE in Path(args.out).resolve().parents):
            raise UsageError("--root without an --out elsewhere; expected a file outside docs, for it shows real ECGs.")
        if args.root is None and args.count < 1:
            raise UsageError(f"--count {args.count}; expected 1 or more.")
        rng = np.random.default_rng(args.seed)
        # The seed of the quiz is not that of the picture: who has seen one shall not know the other.
        records = list(generate(args.count, model=args.model, seed=args.seed + bool(args.root)))
        kinds = ["generated"] * args.count
        if args.root:
            records += real_records(args.root, args.count, rng)
            kinds += ["real"] * args.count
            order = rng.permutation(len(records))
            records, kinds = [records[k] for k in order], [kinds[k] for k in order]
        out = Path(args.out) if args.out else HERE / "synth.jpg"
        Image.fromarray(sheet(records, args.columns, args.width)).save(out, quality=60, optimize=True)
        print(out)
        if args.root:
            key = out.with_suffix(".txt")
            key.write_text("".join(f"{k + 1} {kind} {record.name}\n" for k, (kind, record) in
                                   enumerate(zip(kinds, records, strict=True))))  # fmt: skip
            print(key)
        return 0
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except EcgError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
