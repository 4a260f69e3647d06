"""Options that several commands share, and what their values mean."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from packstore.errors import OptionError, message

__all__ = ["lengths", "reader_options"]

_RAW = "Raw files"

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Component = Annotated[str | None, typer.Option("--component", "-c", help="The array (or group) in the file.")]
Format = Annotated[
    str | None,
    typer.Option("--format", help="npy, npz, raw, hdf5, zarr, text, pickle …; recognised by content if left out."),
]
Dtype = Annotated[str | None, typer.Option("--dtype", help="Raw and text: the element type, as numpy names it.")]
Shape = Annotated[str | None, typer.Option("--shape", help=f"{_RAW}: lengths joined by commas: 100,512,512.")]
Offset = Annotated[int | None, typer.Option("--offset", help=f"{_RAW}: bytes before the first element.")]
Order = Annotated[str | None, typer.Option("--order", help=f"{_RAW}: C or F.")]
PackedAxis = Annotated[
    str | None, typer.Option("--packed-axis", help=f'{_RAW} of packed bits: the packed axis, or "flat".')
]
BitOrder = Annotated[str | None, typer.Option("--bitorder", help=f"{_RAW} of packed bits: big or little.")]
Extra = Annotated[
    list[str] | None,
    typer.Option("--option", "-o", help="Any other option of the reader: allow_external=DIR, skiprows=1, delimiter=;"),
]

FormatB = Annotated[str | None, typer.Option("--format-b", help="As --format, for B.")]
DtypeB = Annotated[str | None, typer.Option("--dtype-b", help="As --dtype, for B.")]
ShapeB = Annotated[str | None, typer.Option("--shape-b", help="As --shape, for B.")]
OffsetB = Annotated[int | None, typer.Option("--offset-b", help="As --offset, for B.")]
OrderB = Annotated[str | None, typer.Option("--order-b", help="As --order, for B.")]
PackedAxisB = Annotated[str | None, typer.Option("--packed-axis-b", help="As --packed-axis, for B.")]
BitOrderB = Annotated[str | None, typer.Option("--bitorder-b", help="As --bitorder, for B.")]
ExtraB = Annotated[list[str] | None, typer.Option("--option-b", help="As --option, for B.")]


def lengths(text: str) -> tuple[int, ...]:
    """A tuple of ints from ``"1,2,3"`` or ``"1x2x3"``; of none from ``""``.

    Raises
    ------
    OptionError
        Not ints joined by commas.

    Examples
    --------
    >>> lengths("100,512,-1"), lengths("4x4"), lengths("7,"), lengths("")
    ((100, 512, -1), (4, 4), (7,), ())
    """
    parts = text.strip().strip("()[]").replace("x", ",").split(",")
    if not parts[-1].strip():
        parts.pop()
    try:
        return tuple(int(p) for p in parts)
    except ValueError:
        raise OptionError(
            message("reading lengths", expected="ints joined by commas, as 100,512,512", got=repr(text))
        ) from None


def reader_options(
    format: str | None,
    dtype: str | None,
    shape: str | None,
    offset: int | None,
    order: str | None,
    packed_axis: str | None,
    bitorder: str | None,
    extra: Iterable[str] | None,
) -> dict[str, Any]:
    """The options that were given, as `open_store` takes them.

    Raises
    ------
    OptionError
        A value that cannot be meant.
    """
    given: dict[str, Any] = {
        "format": format,
        "dtype": dtype,
        "shape": None if shape is None else lengths(shape),
        "offset": offset,
        "order": order,
        "packed_axis": None if packed_axis is None else _axis(packed_axis),
        "bitorder": bitorder,
    }
    found = {k: v for k, v in given.items() if v is not None}
    for text in extra or ():
        name, sign, value = text.partition("=")
        if not sign or not name.isidentifier():
            raise OptionError(message("reading --option", expected="name=value", got=repr(text)))
        found[name] = _value(value)
    return found


def _axis(text: str) -> int | str:
    try:
        return text if text == "flat" else int(text)
    except ValueError:
        raise OptionError(message("reading --packed-axis", expected="an int or flat", got=repr(text))) from None


def _value(text: str) -> Any:
    """A number, true, false, null or list as JSON has them; anything else is the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text
