"""Options that several commands share, and what their values mean."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable
from typing import Annotated, Any, TypeAlias, TypeVar, get_args

import typer

from packstore.errors import OptionError, message

__all__ = ["lengths", "reader_options", "with_reader_options"]

Result = TypeVar("Result")
ReaderOptions: TypeAlias = dict[str, Any]

_RAW = "Raw files"

File = Annotated[str, typer.Argument(metavar="FILE", help="Any readable file, directory or URL.", show_default=False)]
Files = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE",
        help='Any readable files, directories, URLs, or quoted patterns: "data/*.h5".',
        show_default=False,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]
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
Bits = Annotated[int | None, typer.Option("--bits", help=f"{_RAW} of packed bits: how many an element takes.")]
Extra = Annotated[
    list[str] | None,
    typer.Option("--option", "-o", help="Any other option of the reader: allow_external=DIR, skiprows=1, delimiter=;"),
]


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
    format: Format = None,
    dtype: Dtype = None,
    shape: Shape = None,
    offset: Offset = None,
    order: Order = None,
    packed_axis: PackedAxis = None,
    bitorder: BitOrder = None,
    bits: Bits = None,
    option: Extra = None,
) -> ReaderOptions:
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
        "bits": bits,
    }
    found = {k: v for k, v in given.items() if v is not None}
    for text in option or ():
        name, sign, value = text.partition("=")
        if not sign or not name.isidentifier():
            raise OptionError(message("reading --option", expected="name=value", got=repr(text)))
        found[name] = _value(value)
    return found


def with_reader_options(command: Callable[..., Result]) -> Callable[..., Result]:
    """Give a command the arguments of `reader_options` in the place of its parameter `options`, which takes the result.

    A parameter ``options_b`` becomes the same for a second file B, as ``--format-b``.

    Examples
    --------
    >>> @with_reader_options
    ... def show(path: str, *, options: ReaderOptions) -> None:
    ...     print(path, options)
    >>> show(path="a.dat", dtype="u2", shape="4,5")
    a.dat {'dtype': 'u2', 'shape': (4, 5)}
    """
    own = inspect.signature(command, eval_str=True)
    shared = {name: _parameters(name.removeprefix("options")) for name in own.parameters if name.startswith("options")}
    parameters: list[inspect.Parameter] = []
    for parameter in own.parameters.values():
        parameters += shared[parameter.name].values() if parameter.name in shared else [parameter]

    @functools.wraps(command)
    def expanded(**arguments: Any) -> Result:
        for name, options in shared.items():
            values = {option: arguments.pop(p.name, p.default) for option, p in options.items()}
            arguments[name] = reader_options(**values)
        return command(**arguments)

    # Both are what typer looks at.
    vars(expanded)["__signature__"] = own.replace(parameters=parameters)
    expanded.__annotations__ = {p.name: p.annotation for p in parameters}
    return expanded


def _parameters(suffix: str) -> dict[str, inspect.Parameter]:
    """The arguments of `reader_options` as a command has them, by the name without the suffix."""
    found = {}
    for name, parameter in inspect.signature(reader_options, eval_str=True).parameters.items():
        annotation = parameter.annotation
        if suffix:
            flag = f"--{name}".replace("_", "-")
            option = typer.Option(flag + suffix.replace("_", "-"), help=f"As {flag}, for {suffix[1:].upper()}.")
            annotation = Annotated[get_args(annotation)[0], option]
        found[name] = parameter.replace(name=name + suffix, kind=inspect.Parameter.KEYWORD_ONLY, annotation=annotation)
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
