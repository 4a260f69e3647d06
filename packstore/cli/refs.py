"""``packstore refs``: references to what lies in a file."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from packstore.cli.show import plain
from packstore.writers.references import to_references

__all__ = ["refer", "render"]


def refer(
    path: str, out: str, component: str | None, options: dict[str, Any], *, skip: bool, overwrite: bool
) -> dict[str, Any]:
    """Write the references and say what they hold."""
    found = to_references(path, component, out=out, overwrite=overwrite, skip_unsupported=skip, **options)
    refs = found["refs"]
    return {
        "path": path,
        "out": out,
        "arrays": sum(key.rpartition("/")[2] == ".zarray" for key in refs),
        "chunks": sum(isinstance(value, list) for value in refs.values()),
        "unsupported": found.unsupported,
    }


def render(console: Console, result: dict[str, Any]) -> None:
    """One line, and what is left out."""
    count, chunks = result["arrays"], result["chunks"]
    arrays = f"{count} array{'' if count == 1 else 's'}, {chunks:,} chunk{'' if chunks == 1 else 's'}"
    console.print(f"{plain(result['out'])}: {arrays} of {plain(result['path'])}", soft_wrap=True)
    for name, why in result["unsupported"].items():
        console.print(f"left out: {plain(name)}: {plain(why)}", soft_wrap=True)
