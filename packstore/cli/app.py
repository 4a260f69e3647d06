"""Arguments of the commands, and how their results and errors are shown."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console

from packstore.errors import OptionError, PackstoreError, message

__all__ = ["app", "run"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Saved arrays as zarr stores and dask arrays. Exit codes: 0 done, 1 different, 2 bad input, 130 interrupted.",
)

EXIT_DIFFERENT, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 1, 2, 130

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Component = Annotated[str | None, typer.Option("--component", "-c", help="The array in the file.")]
Format = Annotated[str | None, typer.Option("--format", help="npy, npz, hdf5, zarr, raw …; recognised where left out.")]
Dtype = Annotated[str | None, typer.Option(help="Raw files: the element type, as numpy names it.")]
Shape = Annotated[str | None, typer.Option(help="Raw files: lengths joined by commas, for instance 100,512,512.")]
Offset = Annotated[int | None, typer.Option(help="Raw files: bytes before the first element.")]
Order = Annotated[str | None, typer.Option(help="Raw files: C or F.")]
PackedAxis = Annotated[int | None, typer.Option(help="Raw files of packed bits: the packed axis.")]
BitOrder = Annotated[str | None, typer.Option(help="Raw files of packed bits: big or little.")]


def reader_options(
    format: str | None,
    dtype: str | None,
    shape: str | None,
    offset: int | None,
    order: str | None,
    packed_axis: int | None,
    bitorder: str | None,
) -> dict[str, Any]:
    """The options that were given, as `open_store` takes them."""
    given = {
        "format": format,
        "dtype": dtype,
        "shape": None if shape is None else lengths(shape),
        "offset": offset,
        "order": order,
        "packed_axis": packed_axis,
        "bitorder": bitorder,
    }
    return {k: v for k, v in given.items() if v is not None}


def lengths(text: str) -> tuple[int, ...]:
    """A tuple of ints from ``"1,2,3"``.

    Raises
    ------
    OptionError
        Not ints joined by commas.

    Examples
    --------
    >>> lengths("100,512,-1")
    (100, 512, -1)
    """
    try:
        return tuple(int(t) for t in text.replace("x", ",").split(",") if t.strip())
    except ValueError:
        raise OptionError(message("reading lengths", expected="ints joined by commas", got=repr(text))) from None


def show(result: dict[str, Any], as_json: bool, render: Any) -> None:
    """Print a result: as JSON, or by `render` on a console."""
    if as_json:
        print(json.dumps(result, default=str, allow_nan=True))
    else:
        render(Console(), result)


@app.command()
def info(
    file: Annotated[str, typer.Argument(help="Any readable file, directory or URL.")],
    component: Component = None,
    format: Format = None,
    dtype: Dtype = None,
    shape: Shape = None,
    offset: Offset = None,
    order: Order = None,
    packed_axis: PackedAxis = None,
    bitorder: BitOrder = None,
    as_json: Json = False,
) -> None:
    """What is in FILE: the tree, shapes, dtypes, chunks, filters, ratio, and what is not supported and why."""
    from packstore.cli import info as command

    options = reader_options(format, dtype, shape, offset, order, packed_axis, bitorder)
    show(command.describe(file, component, options), as_json, command.render)


@app.command()
def convert(
    source: Annotated[str, typer.Argument(help="Any readable file.")],
    target: Annotated[str, typer.Argument(help="A new .zarr, .npy, .npz, .h5 or raw file.")],
    component: Component = None,
    to: Annotated[str | None, typer.Option("--to", help="Target format where the suffix does not tell.")] = None,
    pack: Annotated[bool, typer.Option("--pack/--no-pack", help="One bit an element for bool arrays.")] = True,
    chunks: Annotated[str | None, typer.Option(help="Chunk shape of the target, joined by commas.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing target, once all is written.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
    format: Format = None,
    dtype: Dtype = None,
    shape: Shape = None,
    offset: Offset = None,
    order: Order = None,
    packed_axis: PackedAxis = None,
    bitorder: BitOrder = None,
    as_json: Json = False,
) -> None:
    """Copy SOURCE to TARGET in another format, block by block. An interrupted run leaves nothing: start it again."""
    from packstore.cli import convert as command

    options = reader_options(format, dtype, shape, offset, order, packed_axis, bitorder)
    result = command.convert(
        source,
        target,
        component,
        options,
        to=to,
        pack=pack,
        chunks=None if chunks is None else lengths(chunks),
        overwrite=overwrite,
        progress=not (quiet or as_json) and sys.stderr.isatty(),
    )
    show(result, as_json, command.render)


@app.command()
def verify(
    a: Annotated[str, typer.Argument(help="Any readable file.")],
    b: Annotated[str, typer.Argument(help="Another one.")],
    component: Component = None,
    component_b: Annotated[str | None, typer.Option(help="The array in B, where it has another name.")] = None,
    format: Format = None,
    dtype: Dtype = None,
    shape: Shape = None,
    offset: Offset = None,
    order: Order = None,
    packed_axis: PackedAxis = None,
    bitorder: BitOrder = None,
    as_json: Json = False,
) -> None:
    """Whether A and B hold equal values, chunk by chunk; the first difference is located. Raw options are for A, and for B where it is raw too."""
    from packstore.cli import verify as command

    options = reader_options(format, dtype, shape, offset, order, packed_axis, bitorder)
    result = command.compare(a, b, component, component_b, options)
    show(result, as_json, command.render)
    if not result["equal"]:
        raise typer.Exit(EXIT_DIFFERENT)


@app.command()
def bench(
    file: Annotated[str, typer.Argument(help="Any readable file.")],
    component: Component = None,
    crops: Annotated[int, typer.Option(help="Random crops a format.")] = 100,
    rounds: Annotated[int, typer.Option(help="Rounds; the median counts.")] = 3,
    folder: Annotated[str | None, typer.Option(help="Where the copies go; default: beside FILE, then removed.")] = None,
    format: Format = None,
    dtype: Dtype = None,
    shape: Shape = None,
    offset: Offset = None,
    order: Order = None,
    packed_axis: PackedAxis = None,
    bitorder: BitOrder = None,
    as_json: Json = False,
) -> None:
    """This array in each format: bytes, write, full read, random crops; and which is best for what."""
    from packstore.cli import bench as command

    options = reader_options(format, dtype, shape, offset, order, packed_axis, bitorder)
    result = command.measure(file, component, options, crops=crops, rounds=rounds, folder=folder)
    show(result, as_json, command.render)


def run(arguments: list[str]) -> int:
    """Run the script; returns the exit code."""
    try:
        code = app(args=arguments, standalone_mode=False)
        return int(code or 0)
    except PackstoreError as error:
        kind, text = type(error).__name__, str(error)
    except (KeyboardInterrupt, typer.Abort):
        print("packstore: interrupted; nothing was left half-written", file=sys.stderr)
        return EXIT_INTERRUPTED
    except typer.Exit as stop:
        return stop.exit_code
    except OSError as error:
        kind, text = type(error).__name__, str(error)
    except Exception as error:
        # click's own usage errors know how to show themselves; anything else is a fault of ours and keeps its trace.
        if not hasattr(error, "format_message"):
            raise
        kind, text = "UsageError", error.format_message()
    print("packstore: " + " ".join(text.split()), file=sys.stderr)
    if "--json" in arguments:
        print(json.dumps({"error": kind, "message": text}))
    return EXIT_BAD_INPUT
