"""Every example in a docstring of the package does what it shows."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import packstore


def modules() -> list[str]:
    found = [m.name for m in pkgutil.walk_packages(packstore.__path__, "packstore.")]
    # Running it is running the script.
    return ["packstore", *sorted(n for n in found if n != "packstore.__main__")]


@pytest.mark.parametrize("name", modules())
def test_examples_of(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # An example that forgets a temporary folder must not write here.
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(verbose=False)
    report: list[str] = []
    for example in doctest.DocTestFinder(exclude_empty=True).find(module, name):
        runner.run(example, out=report.append)
    assert runner.failures == 0, "".join(report)


def test_public_functions_have_one() -> None:
    """What `packstore.__all__` names shows how it is used."""
    for name in packstore.__all__:
        value = getattr(packstore, name)
        if callable(value):
            assert ">>> " in (value.__doc__ or ""), name
