"""What README tells a newcomer to run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ecg_image_kit import Page

ROOT = Path(__file__).resolve().parents[1]


def test_quickstart(tmp_path: Path) -> None:
    script = ROOT / "examples" / "quickstart.py"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "layout 3x4+1R" in done.stdout
    page_snr = re.search(r"page ([\d.]+) dB", done.stdout)
    assert page_snr is not None
    assert float(page_snr[1]) > 25
    folder = tmp_path / "quickstart"
    for name in ("00001", "00005", "00014"):
        assert Page.load(folder / f"{name}.png").meta["synthetic"] is True
    for suffix in ("csv", "json", "overlay.png"):
        assert (folder / f"00001.reading.{suffix}").stat().st_size > 1000


def test_session_in_readme() -> None:
    """The Python lines run, and the SNR that they show is still about right."""
    readme = (ROOT / "README.md").read_text("utf-8")
    session = readme.split("```python\n")[1].split("```")[0]
    *statements, last = re.findall(r"^>>> (.*)$", session, re.M)
    scope: dict[str, object] = {}
    for statement in statements:
        exec(statement, scope)
    shown = float(session.strip().splitlines()[-1])
    assert eval(last, scope) == pytest.approx(shown, abs=2)
