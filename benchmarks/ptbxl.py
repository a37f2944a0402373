"""Does every record of a PTB-XL tree render? Counts failures, and checks that the printed record is the input.

python benchmarks/ptbxl.py --root DIR -n 500
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np

from ecg_image_kit import EcgError, Layout, Style, open_source, render
from ecg_image_kit.layout import NAMES


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="the tree; else $PTBXL_ROOT")
    parser.add_argument("-n", type=int, default=500, help="records (default: 500)")
    parser.add_argument("--fs", type=float, default=500.0, help="500 or 100 Hz (default: 500)")
    parser.add_argument("--dpi", type=float, default=100.0, help="resolution (default: 100)")
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    source = open_source("ptbxl", **({"root": args.root} if args.root else {}), fs=args.fs)
    layouts = itertools.cycle([name for name in NAMES if not name.endswith("x1") or name == "12x1"])
    seen, failures, warned, taken = 0, [], Counter[str](), []
    for seed, name in enumerate(itertools.islice(source.names(), args.n)):
        seen += 1
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                record = source.load(name)
                begin = time.perf_counter()
                layout = Layout.for_record(record, next(layouts))
                page = render(record, layout, Style.random(np.random.default_rng(seed)), args.dpi)
                taken.append(time.perf_counter() - begin)
            warned.update(w.category.__name__ for w in caught)
            printed = page.record()
            for lead in printed.leads:
                shown, asked = printed.lead(lead), record.lead(lead)[: printed.mv.shape[1]]
                if not (np.isnan(shown) | (shown == asked)).all() or np.isnan(shown).all() > np.isnan(asked).all():
                    failures.append((name, f"{lead} is not printed as it is"))
        except (EcgError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            failures.append((name, f"{type(error).__name__}: {error}"))
    for name, why in failures:
        print(f"{name}: {why}")
    print(f"{seen} records, {len(failures)} failures, {1000 * np.median(taken or [np.nan]):.1f} ms per page (median)")
    print("warnings:", ", ".join(f"{kind} {count}" for kind, count in warned.items()) or "none")
    return 1 if failures or seen < args.n else 0


if __name__ == "__main__":
    sys.exit(main())
