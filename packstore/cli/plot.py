"""``packstore plot``: one slice of an array, as an image file or in the terminal."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

from packstore.cli.show import plain
from packstore.views.lazy import open_lazy
from packstore.views.picture import draw, limits, sample
from packstore.writers.atomic import atomic_target

__all__ = ["plot", "render"]

# Elements of a picture, and of one in a terminal, where a character shows one above another.
PIXELS, LINE = (900, 1100), 20_000
ROWS, COLUMNS = 48, 78
SHADES = " .:-=+*#%@"


def plot(
    path: str,
    component: str | None,
    options: dict[str, Any],
    *,
    index: Sequence[int] | None,
    out: str | None,
    overwrite: bool,
) -> dict[str, Any]:
    """Draw a slice; the result has what a terminal shows where no `out` is named.

    Raises
    ------
    PackstoreError
        As `packstore.open_array`, `packstore.views.picture.sample` and `packstore.views.picture.draw`.
    """
    array = open_lazy(path, component, **options)
    is_line = array.ndim == 1
    most = (PIXELS if out is not None else (ROWS, COLUMNS)) if not is_line else (LINE if out is not None else COLUMNS,)
    found = sample(array, most, index)
    if out is not None:
        with atomic_target(out, overwrite=overwrite, folder=False) as target:
            draw(array, found, str(target), os.path.splitext(out)[1][1:].lower())
    values = found.values
    numbers = values[np.isfinite(values)] if values.dtype != bool else values
    result = {
        "path": path,
        "component": array.component,
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "index": list(found.positions.values()),
        "steps": list(found.steps),
        "min": numbers.min() if numbers.size else None,
        "max": numbers.max() if numbers.size else None,
        "out": out,
    }
    if out is None:
        grey = values if values.ndim < 3 else values[..., :3].mean(axis=-1)
        low, high = limits(grey)
        scaled = (grey.astype("f8") - low) / (high - low)
        result["grey"] = np.clip(np.nan_to_num(scaled), 0, 1).tolist()
    return result


def render(console: Console, result: dict[str, Any]) -> None:
    """The picture in half blocks, two rows a line, or in characters where there are no colours; then what it shows."""
    if "grey" in result:
        grey = np.atleast_2d(np.asarray(result["grey"]))
        if len(result["steps"]) == 1:
            _line(console, grey[0])
        elif console.color_system is None:
            # A character is twice as high as wide.
            for row in grey[:: 2 if len(grey) > 1 else 1]:
                console.print("".join(SHADES[round(v * (len(SHADES) - 1))] for v in row), soft_wrap=True)
        else:
            for i in range(0, len(grey), 2):
                _blocks(console, grey[i], grey[i + 1] if i + 1 < len(grey) else None)
    where = f"{result['path']}[{result['component']}]" if result["component"] else result["path"]
    at = f", at {tuple(result['index'])} of the first axes" if result["index"] else ""
    steps = "" if max(result["steps"]) == 1 else f", in steps of {' and '.join(map(str, result['steps']))}"
    said = f"{tuple(result['shape'])} {result['dtype']}{at}{steps}, {result['min']} to {result['max']}"
    console.print(f"{plain(result['out'])}: " if result["out"] else "", plain(where), said, soft_wrap=True)


def _blocks(console: Console, upper: Any, lower: Any) -> None:
    line = Text()
    for i, value in enumerate(upper):
        below = None if lower is None else _grey(lower[i])
        line.append("▀", Style(color=_grey(value), bgcolor=below))
    console.print(line, soft_wrap=True)


def _grey(value: float) -> Color:
    level = round(255 * float(value))
    return Color.from_rgb(level, level, level)


def _line(console: Console, values: Any, height: int = 12) -> None:
    """A curve in characters."""
    rows = [math.floor((1 - float(v)) * (height - 1) + 0.5) for v in values]
    for row in range(height):
        console.print("".join("*" if at == row else " " for at in rows).rstrip(), soft_wrap=True)
