"""The notebooks run from top to bottom, in small; and they are kept without outputs."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # or importing it asks the network for its newest version

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def cells_of(path: Path, kind: str = "code") -> list[str]:
    return ["".join(c["source"]) for c in json.loads(path.read_text("utf-8"))["cells"] if c["cell_type"] == kind]


def with_constants(cell: str, values: dict[str, object]) -> str:
    """The cell of constants with other ones; each must be there."""
    for name, value in values.items():
        cell, count = re.subn(rf"^{name} = .*$", f"{name} = {value!r}", cell, flags=re.M)
        assert count == 1, name
    return cell


def execute(notebook: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **constants: object) -> dict[str, Any]:
    """Run its code cells in ``folder``; returns their names, and what was printed (``stdout``) and ``shown``."""
    path = ROOT / "examples" / notebook
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    shown: list[Image.Image] = []
    scope: dict[str, Any] = {"__name__": "__main__", "display": shown.append}
    first, *others = cells_of(path)
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        for k, cell in enumerate([with_constants(first, constants), *others]):
            exec(compile(cell, f"{notebook}, code cell {k}", "exec"), scope)
    assert not list(folder.glob("*.ipynb"))
    return {**scope, "stdout": stdout.getvalue(), "shown": shown}


def test_train_digitizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("albumentations")
    with pytest.warns(DeprecationWarning):  # torch's, about its own exporter
        done = execute(
            "train_digitizer.ipynb", tmp_path, monkeypatch, STEPS=2, PIECE=64, ARCH="small:4,4,8,8,8", OUT="made"
        )
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == [
        "checkpoint.pt", "log.csv", "seen.png", "weights",
    ]  # fmt: skip
    card = json.loads((tmp_path / "made" / "weights" / "reader.json").read_text("utf-8"))
    assert card["steps"] == 2 and card["training"]["arch"] == "small:4,4,8,8,8"
    assert "not read: " in done["stdout"] or " dB" in done["stdout"]
    assert len(done["shown"]) >= 5
    assert done["page"].layout.name == "6x2"


def test_train_gan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    done = execute(
        "train_gan.ipynb", tmp_path, monkeypatch, STEPS=2, BATCH=2, WIDTH=1, SAMPLES=2500, OUT="made", MODEL="wavegan"
    )
    made = tmp_path / "made"
    assert json.loads((made / "weights" / "wavegan.json").read_text("utf-8"))["steps"] == 2
    assert "wavegan-000000: 12 leads of 5 s, Einthoven residual 0 mV" in done["stdout"]
    assert "the same again: True" in done["stdout"] and "# synthetic: True" in (made / "wavegan-000000.hea").read_text()
    assert len(done["shown"]) == 3 and len(done["records"]) == 4


def test_digitize_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = execute("digitize_folder.ipynb", tmp_path, monkeypatch, PAGES=1, RECIPE="clean", OUT="made")
    text = done["stdout"]
    made = tmp_path / "made"
    assert len(list((made / "pages").glob("*.png"))) == 1 and (made / "readings" / "00001.csv").exists()
    found = re.search(r"^00001: plain +([\d.]+) dB", text, re.M)
    assert found is not None and float(found[1]) > 15
    shares = {
        lead: int(share) for lead, share in re.findall(r"^(\w+): printed .* of which (\d+)% were read", text, re.M)
    }
    assert shares["I"] == shares["aVR"] == 100 and 20 < shares["aVL"] < 80  # as the note covers them
    assert "NoInk: " in text or "GridNotFound: " in text
    assert len(done["shown"]) == 3 and all(isinstance(picture, Image.Image) for picture in done["shown"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_kept_clean(path: Path) -> None:
    text = path.read_text("utf-8")
    book = json.loads(text)
    assert (book["nbformat"], set(book["metadata"])) == (4, {"kernelspec", "language_info"})
    assert not re.search(r'"/\w|[A-Z]:\\\\', text)  # no paths of a machine
    for cell in book["cells"]:
        assert cell["metadata"] == {} and cell["id"]
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
    code = cells_of(path)
    assert all(isinstance(node, ast.Assign) for node in ast.parse(code[0]).body)  # the first cell is constants alone
    assert max(len(line) for cell in [*code, *cells_of(path, "markdown")] for line in cell.splitlines()) <= 120
    assert "".join(cells_of(path, "markdown")[:1]).startswith("# ")


def test_all_are_there() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["digitize_folder", "train_digitizer", "train_gan"]
