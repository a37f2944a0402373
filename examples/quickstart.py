"""Record -> page -> reading -> SNR, offline, on the bundled synthetic records. Writes its pictures into ./quickstart.

python examples/quickstart.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import digitizer
from digitizer.metrics import score
from ecg_image_kit import Layout, Style, open_source, render


def main(folder: Path) -> None:
    """Print three records in three ways, read the first page back, and compare."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = open_source("samples")
    looks = (
        ("00001", "3x4+1R", Style()),
        ("00005", "6x2", Style(grid="blue", header="none", label_box=True)),
        ("00014", "12x1", Style(grid="orange", pen_width=0.25, code="qr")),
    )
    print("Pages from bundled synthetic records (the truth is beside them, in .json and .npz):")
    pages = []
    for name, layout, style in looks:
        record = samples.load(name)
        page = render(record, Layout.for_record(record, layout), style, dpi=200)
        page.save(folder / f"{name}.png")
        pages.append(page)
        height, width = page.image.shape[:2]
        print(f"  {folder / name}.png  {layout}, {len(page.traces)} traces, {width} x {height} px")

    page = pages[0]
    reading = digitizer.read(page.image)  # the image alone: the reader sees no truth
    reading.save(folder / "00001.reading")
    print(f"\nRead back from the first page's pixels: layout {reading.page.layout.name}")
    for what in ("speed", "gain", "time"):
        print(f"  {what}: {reading.notes[what]}")
    for warning in reading.warnings:
        print(f"  warning: {warning}")

    result = score(page.record(), reading.record)
    print("\nAgainst the truth, SNR in dB (plain: no alignment, pooled over the leads):")
    print("  " + "  ".join(f"{lead.lead} {lead.value('plain'):.1f}" for lead in result.leads))
    print(f"  page {result.value('plain'):.1f} dB, time lag {result.lag_ms:+.2f} ms, gain {result.gain:.4f}")
    print(f"\nLook at {folder / '00001.reading.overlay.png'}: the recovered traces over the page.")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "quickstart"))
