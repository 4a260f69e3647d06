"""Pictures of arrays: an array goes in, some of its elements, or an image file, come out, however large the array is.

Elements are taken by steps, so that about as many are read as a screen shows. Of chunks that are decoded as a whole
only so many are touched; where they are large, fewer elements are shown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from packstore.errors import DtypeError, MissingPackageError, OptionError, ShapeError, message
from packstore.views.lazy import LazyArray

__all__ = ["Sample", "draw", "sample"]

# Chunks that are decoded for a picture have at most so many bytes.
MAX_DECODED_NBYTES = 256 << 20
COLOUR = (3, 4)


class Sample(NamedTuple):
    """Elements of one slice of an array.

    Parameters
    ----------
    values
        One axis, two, or two and colours; real numbers or bool.
    axes
        The axes of the array that are shown.
    steps
        Every so many elements of each one was taken.
    positions
        The position on each of the other axes.
    """

    values: npt.NDArray[Any]
    axes: tuple[int, ...]
    steps: tuple[int, ...]
    positions: dict[int, int]


def sample(array: LazyArray, most: Sequence[int], index: Sequence[int] | None = None) -> Sample:
    """Take elements of the last two axes of an array (of the only one), at positions in the middle of the others.

    Parameters
    ----------
    array
        Of numbers or bool. Complex numbers are shown by their magnitude, times as numbers. Colours are a last axis of 3
        or 4 bytes.
    most
        How many rows and columns are wanted at most; of one axis, how many elements.
    index
        The positions on the axes before those that are shown; negative ones count from the end.

    Raises
    ------
    DtypeError
        Elements that are no numbers.
    ShapeError
        No axis, or an empty one.
    OptionError
        An index with another number of positions, or one outside the array.

    Notes
    -----
    Reads the elements by steps: pages of a mapped file, and of chunks that are decoded as a whole at most 256 MB.

    Examples
    --------
    >>> import numpy as np, pathlib, tempfile
    >>> from packstore.views.lazy import open_lazy
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npy"
    >>> np.save(path, np.arange(80).reshape(2, 4, 10))
    >>> sample(open_lazy(path), (2, 5)).values
    array([[40, 42, 44, 46, 48],
           [60, 62, 64, 66, 68]])
    """
    where, name = array.location.path, array.component or None
    if array.dtype.kind not in "biufcmM":
        expected = "an array of numbers"
        raise DtypeError(message("drawing", where, name, expected=expected, got=f"elements of type {array.dtype}"))
    if not array.shape or 0 in array.shape:
        raise ShapeError(message("drawing", where, name, expected="an array with elements", got=f"shape {array.shape}"))
    colours = array.ndim >= 3 and array.dtype == np.uint8 and array.shape[-1] in COLOUR
    shown = min(array.ndim, 3 if colours else 2)
    before = array.ndim - shown
    positions = _positions(array, before, index)
    axes = tuple(range(before, before + (2 if colours else shown)))
    steps = _steps(array, axes, most)
    key: list[Any] = [*positions, *(slice(None, None, step) for step in steps)]
    values = np.array(array[tuple(key)])
    if values.dtype.kind == "c":
        values = np.abs(values)
    elif values.dtype.kind in "mM":
        values = values.astype("i8")
    return Sample(values, axes, steps, dict(enumerate(positions)))


def _positions(array: LazyArray, count: int, index: Sequence[int] | None) -> list[int]:
    lengths = array.shape[:count]
    if index is None:
        return [n // 2 for n in lengths]
    fits = len(index) == count and all(-n <= i < n for i, n in zip(index, lengths, strict=True))
    if not fits:
        expected = f"a position on each of the first {count} axes, of lengths {lengths}"
        raise OptionError(
            message("drawing", array.location.path, array.component or None, expected=expected, got=index)
        )
    return [i % n for i, n in zip(index, lengths, strict=True)]


def _steps(array: LazyArray, axes: Sequence[int], most: Sequence[int]) -> tuple[int, ...]:
    lengths = [array.shape[axis] for axis in axes]
    chunks = [array.chunks[axis] for axis in axes]
    steps = [-(-n // m) for n, m in zip(lengths, most, strict=False)]
    manifest = array.array
    if not manifest.storage.facts(manifest).filters:
        return tuple(steps)
    chunk_nbytes = math.prod(array.chunks) * array.dtype.itemsize

    def touched(i: int) -> int:
        return min(-(-lengths[i] // chunks[i]), -(-lengths[i] // steps[i]))

    while math.prod(map(touched, range(len(axes)))) * chunk_nbytes > MAX_DECODED_NBYTES:
        widest = max(range(len(axes)), key=touched)
        if touched(widest) == 1:
            break
        steps[widest] = max(2 * steps[widest], chunks[widest])
    return tuple(steps)


def draw(array: LazyArray, found: Sample, out: str, form: str) -> None:
    """Write a sample as an image file `out` in the format `form`: "png", "svg", "pdf" and others.

    Raises
    ------
    MissingPackageError
        matplotlib is not installed.
    OptionError
        It does not know the format.
    """
    try:
        # Function-level: an optional package.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as why:
        hint = "pip install 'packstore[plot]'"
        raise MissingPackageError(message("drawing", out, expected="matplotlib", got=str(why), hint=hint)) from None
    figure = Figure(figsize=(9, 7), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    names = array.array.dimension_names or [None] * array.ndim
    labels = [names[axis] or f"axis {axis}" for axis in found.axes]
    lengths = [array.shape[axis] for axis in found.axes]
    if len(found.axes) == 1:
        axes.plot(np.arange(found.values.size) * found.steps[0], found.values, linewidth=0.8)
        axes.set_xlabel(labels[0])
    else:
        low, high = limits(found.values)
        picture = axes.imshow(
            found.values,
            extent=(-0.5, lengths[1] - 0.5, lengths[0] - 0.5, -0.5),
            cmap="gray" if found.values.dtype == bool else "viridis",
            interpolation="nearest",
            vmin=low,
            vmax=high,
        )
        axes.set_xlabel(labels[1])
        axes.set_ylabel(labels[0])
        if found.values.ndim == 2 and found.values.dtype != bool:
            figure.colorbar(picture)
    where = f"{array.location.path}[{array.component}]" if array.component else array.location.path
    at = ", ".join(f"{names[axis] or f'axis {axis}'} = {i}" for axis, i in found.positions.items())
    # A dollar sign would start a formula.
    axes.set_title(f"{where}\n{array.shape} {array.dtype}{f', {at}' if at else ''}".replace("$", r"\$"), fontsize=9)
    if form not in canvas.get_supported_filetypes():
        known = ", ".join(sorted(canvas.get_supported_filetypes()))
        raise OptionError(message("drawing", out, expected=f"a name that ends in one of {known}", got=form or "none"))
    figure.savefig(out, format=form)


def limits(values: npt.NDArray[Any]) -> tuple[float, float]:
    """From where to where values are shown: all but the outermost percent, so that single ones do not hide the rest.

    Examples
    --------
    >>> limits(np.array([False, True]))
    (0.0, 1.0)
    >>> limits(np.array([3.0, np.nan]))
    (3.0, 4.0)
    """
    if values.dtype == bool:
        return 0.0, 1.0
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(x) for x in np.percentile(finite, (1, 99)))
    if low == high:
        low, high = float(finite.min()), float(finite.max())
    return low, high if high > low else low + 1.0
