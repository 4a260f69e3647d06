"""``packstore refs``: references to what lies in a file."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from packstore.cli.show import plain
from packstore.errors import OptionError, message
from packstore.writers.references import to_references

__all__ = ["refer", "render"]


def refer(
    path: str,
    out: str,
    component: str | None,
    options: dict[str, Any],
    *,
    to: str = "kerchunk",
    skip: bool,
    overwrite: bool,
) -> dict[str, Any]:
    """Write the references and say what they hold."""
    options = {"source_format" if name == "format" else name: value for name, value in options.items()}
    if to not in ("kerchunk", "parquet", "icechunk"):
        raise OptionError(message("referring to", path, expected="--to kerchunk, parquet or icechunk", got=to))
    found = to_references(path, component, out=out, format=to, overwrite=overwrite, skip_unsupported=skip, **options)
    result = {"path": path, "out": out, "format": to, "unsupported": found.unsupported}
    if to != "icechunk":
        refs = found["refs"]
        result["arrays"] = sum(key.rpartition("/")[2] == ".zarray" for key in refs)
        result["chunks"] = sum(isinstance(value, list) for value in refs.values())
    return result


def render(console: Console, result: dict[str, Any]) -> None:
    """One line, and what is left out."""
    what = "the arrays"
    if "chunks" in result:
        count, chunks = result["arrays"], result["chunks"]
        what = f"{count} array{'' if count == 1 else 's'}, {chunks:,} chunk{'' if chunks == 1 else 's'}"
    console.print(f"{plain(result['out'])} ({result['format']}): {what} of {plain(result['path'])}", soft_wrap=True)
    for name, why in result["unsupported"].items():
        console.print(f"left out: {plain(name)}: {plain(why)}", soft_wrap=True)
