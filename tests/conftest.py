"""Shared fixtures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real ECG files, next to the checkout or at $ECG_SHARED_DATA; tests that need them are skipped without."""
    folder = Path(os.environ.get("ECG_SHARED_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("no shared data on this machine (set ECG_SHARED_DATA)")
    return folder
