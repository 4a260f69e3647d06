"""A browser without a window, for the pages that tests look at."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ["browse"]


def browse(url: str, profile: Path, *more: str) -> str:
    """What a page holds once it is done; skips the test where there is no Chromium."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs Chromium")
    options = (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", f"--user-data-dir={profile}",
        "--virtual-time-budget=20000", "--dump-dom",
    )  # fmt: skip
    return subprocess.run([browser, *options, *more, url], capture_output=True, text=True, timeout=120).stdout
