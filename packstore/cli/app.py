"""The commands' arguments, and what becomes of their results and errors."""

from __future__ import annotations

import functools
import os
import sys
from contextlib import nullcontext
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from packstore import config
from packstore.cli import options as given
from packstore.cli.files import each, expanded, is_folder, is_pattern, same_stem, stems
from packstore.cli.outcomes import BAD_INPUT, DIFFERENT, failure, fault, interrupted, unread
from packstore.cli.show import emit
from packstore.errors import PackstoreError

__all__ = ["app", "run"]


class _Failed(Exception):
    """Carries an error past typer, which has its own ideas of EOFError (a truncated file is one) and broken pipes."""


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (PackstoreError, OSError, MemoryError, KeyboardInterrupt) as error:
            raise _Failed from error


app = typer.Typer(
    cls=_Commands,
    pretty_exceptions_enable=False,
    help="Saved arrays as zarr stores and dask arrays. Exit codes: 0 done, 1 different, 2 bad input, 3 a fault of "
    "packstore's own, 130 interrupted.",
    epilog="Names of commands and options complete in the shell after: packstore --install-completion",
)


def _version(value: bool) -> None:
    if value:
        from packstore import __version__

        print(f"packstore {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
@given.with_reader_options
def info(
    files: given.Files,
    component: given.Component = None,
    html: Annotated[str | None, typer.Option("--html", help="Write a page with pictures of the chunks there.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the page.")] = False,
    *,
    options: given.ReaderOptions,
    as_json: given.Json = False,
) -> None:
    """What is in each FILE: the tree, shapes, dtypes, chunks, filters, attributes, and what is not supported and why.

    With --json one file is one object; several files, or a pattern, are a list of such under "files". HDF5 is first
    tried out in a process of its own, which may die of it: PACKSTORE_ISOLATE=0 saves the time.
    """
    from packstore.cli import info as command
    from packstore.cli import info_report

    if html is not None:
        from packstore.cli import page

        named = expanded(files)
        page.write_page(html, page.page_of(named, component, options), overwrite=overwrite)
        told = {"path": html, "files": named}
        emit(told, as_json, lambda console, result: console.print(f"{result['path']}: a page", soft_wrap=True))
        return

    def describe(file: str) -> dict[str, Any]:
        # A look at a file of unknown origin: libhdf5 tries it out in a process of its own, unless that is switched off.
        with nullcontext() if "PACKSTORE_ISOLATE" in os.environ else config.set({"isolate": True}):
            return command.describe(file, component, options)

    if len(files) == 1 and not is_pattern(files[0]):
        emit(describe(files[0]), as_json, info_report.render)
        return
    results = each(expanded(files), describe, as_json, info_report.render)
    if any("error" in result for result in results):
        raise typer.Exit(BAD_INPUT)


@app.command()
@given.with_reader_options
def convert(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="SRC... DST",
            help="Readable files or quoted patterns; then a new .zarr, .npy, .npz, .h5, .raw or .bits, or a folder for "
            "a copy of each.",
            show_default=False,
        ),
    ],
    component: Annotated[
        list[str] | None, typer.Option("--component", "-c", help="An array or group in SRC; may be given again.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="zarr, zarr_zip, npy, npz, hdf5, raw; else by suffix.")] = None,
    pack: Annotated[
        bool | None,
        typer.Option(
            "--pack/--no-pack", help="One bit an element for bool arrays. Default: for zarr and .bits, not for HDF5."
        ),
    ] = None,
    chunks: Annotated[
        str | None, typer.Option("--chunks", help="Chunk shape of DST, as 1,512,512; -1: the whole axis.")
    ] = None,
    shards: Annotated[str | None, typer.Option("--shards", help="zarr: shard shape, as --chunks.")] = None,
    compressor: Annotated[
        str | None, typer.Option("--compressor", help="zarr and HDF5: zstd, gzip, blosc …, or none.")
    ] = None,
    level: Annotated[int | None, typer.Option("--level", help="How hard the compressor tries.")] = None,
    zarr_format: Annotated[int | None, typer.Option("--zarr-format", help="3, or 2.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace DST, once all is written; with --append arrays in it.")
    ] = False,
    append: Annotated[bool, typer.Option("--append", help="Add to an existing .zarr, .zarr.zip, .npz or .h5.")] = False,
    skip: Annotated[bool, typer.Option("--skip-unsupported", help="Leave out what cannot be converted.")] = False,
    quiet: given.Quiet = False,
    *,
    options: given.ReaderOptions,
    as_json: given.Json = False,
) -> None:
    """Copy SRC to DST in another format, block by block. An interrupted run leaves nothing: start it again.

    What DST cannot hold is listed. Several SRC go into one DST, each under its
    name without suffix; into a folder (an existing one, or DST/) as one file
    each, in the format that --to names.
    """
    from packstore.cli import convert as command

    writer = {"compressor": compressor, "level": level, "zarr_format": zarr_format}
    how = command.How(
        to=to,
        pack=pack,
        chunks=None if chunks is None else given.lengths(chunks),
        shards=None if shards is None else given.lengths(shards),
        writer={k: None if v == "none" else v for k, v in writer.items() if v is not None},
        overwrite=overwrite,
        append=append,
        skip=skip,
        progress=_progress(quiet),
    )
    *patterns, target = _at_least_two(files, "DST")
    sources, several = expanded(patterns), len(patterns) > 1 or is_pattern(patterns[0])
    if target.endswith(".zarr/"):
        target = target.rstrip("/")
    if not (target.endswith(("/", os.sep)) or is_folder(target)):
        result = command.convert(sources, target, component or [], options, how, by_stem=several)
        emit(result, as_json, command.render)
        return
    copies = {source: command.copy_name(source, target, to) for source in stems(sources).values()}
    os.makedirs(target, exist_ok=True)

    def copy(source: str) -> dict[str, Any]:
        return command.convert([source], copies[source], component or [], options, how)

    results = each(copies, copy, as_json, command.render)
    if any("error" in result for result in results):
        raise typer.Exit(BAD_INPUT)


@app.command()
@given.with_reader_options
def verify(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="A... B",
            help="Two readable files; or several, or quoted patterns, and the folder with a file of the same name "
            "(whatever its suffix) for each.",
            show_default=False,
        ),
    ],
    component: given.Component = None,
    component_b: Annotated[
        str | None, typer.Option("--component-b", help="The array in B, where it has another name.")
    ] = None,
    values_only: Annotated[bool, typer.Option("--values-only", help="Compare the elements of arrays only.")] = False,
    quiet: given.Quiet = False,
    *,
    options: given.ReaderOptions,
    options_b: given.ReaderOptions,
    as_json: given.Json = False,
) -> None:
    """Whether A and B are equal; the first differences are named (exit code 1).

    Compared are the values of arrays, chunk by chunk, and groups, attributes,
    dimension names, fill values and links as far as both formats have a place
    for them; notes say what only one can hold. NaN equals NaN. Dtypes may
    differ where values can be equal, which a note says. --format, --dtype and
    the like are for A; where B is raw bytes too and has none of its own, they
    count for both.
    """
    from packstore.cli import verify as command

    def compare(a: str, b: str) -> dict[str, Any]:
        return command.compare(
            a,
            b,
            options,
            options_b,
            components=(component, component_b),
            values_only=values_only,
            progress=_progress(quiet),
        )

    *sources, other = _at_least_two(files, "B")
    if len(sources) == 1 and not is_pattern(sources[0]) and (is_folder(sources[0]) or not is_folder(other)):
        results = [compare(sources[0], other)]
        emit(results[0], as_json, command.render)
    else:
        by_stem = stems(expanded(sources))
        render = functools.partial(command.render, named=True)
        results = each(by_stem.values(), lambda a: compare(a, same_stem(a, other)), as_json, render)
    if any("error" in result for result in results):
        raise typer.Exit(BAD_INPUT)
    if not all(result["equal"] for result in results):
        raise typer.Exit(DIFFERENT)


@app.command()
@given.with_reader_options
def bench(
    file: given.File,
    component: given.Component = None,
    formats: Annotated[
        str | None,
        typer.Option("--formats", help="Only these, as the table names them: npy,npz,zarr …"),
    ] = None,
    crops: Annotated[int, typer.Option("--crops", min=1, help="Random crops a format and round.")] = 100,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Interleaved rounds; the best counts.")] = 3,
    seconds: Annotated[float, typer.Option("--seconds", help="Start no further round after so long.")] = 60,
    max_size: Annotated[
        float, typer.Option("--max-size", help="MB of the array that are measured; the first ones of a larger one.")
    ] = 256,
    folder: Annotated[
        str | None, typer.Option("--folder", help="Where the copies go until they are removed; default: beside FILE.")
    ] = None,
    quiet: given.Quiet = False,
    *,
    options: given.ReaderOptions,
    as_json: given.Json = False,
) -> None:
    """One array in each format: bytes, write, full read, random crops; and which is best for what, and why."""
    from packstore.cli import bench as command
    from packstore.cli import bench_report

    result = command.measure(
        file,
        component,
        options,
        command.Effort(crops, rounds, seconds, int(max_size * 1e6)),
        formats=None if formats is None else formats.split(","),
        folder=folder,
        progress=_progress(quiet),
    )
    emit(result, as_json, bench_report.render)


@app.command()
@given.with_reader_options
def refs(
    file: given.File,
    out: Annotated[
        str, typer.Argument(metavar="OUT", help="The .json, folder or repository to write.", show_default=False)
    ],
    component: given.Component = None,
    to: Annotated[str, typer.Option("--to", help="kerchunk, parquet or icechunk.")] = "kerchunk",
    skip: Annotated[
        bool, typer.Option("--skip-unsupported", help="Leave out, and list, arrays that cannot be referred to.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT.")] = False,
    *,
    options: given.ReaderOptions,
    as_json: given.Json = False,
) -> None:
    """References to the chunks of FILE, for kerchunk or Icechunk: they read it where it lies, without packstore."""
    from packstore.cli import refs as command

    result = command.refer(file, out, component, options, to=to, skip=skip, overwrite=overwrite)
    emit(result, as_json, command.render)


@app.command()
@given.with_reader_options
def plot(
    file: given.File,
    component: Annotated[str | None, typer.Argument(metavar="COMPONENT", help="The array.", show_default=False)] = None,
    index: Annotated[
        str | None,
        typer.Option("--index", help="Positions on the axes before the last two: 3,-1; else the middle."),
    ] = None,
    out: Annotated[str | None, typer.Option("--out", help="An image: .png, .svg, .pdf. Default: the terminal.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the image.")] = False,
    *,
    options: given.ReaderOptions,
    as_json: given.Json = False,
) -> None:
    """A slice of an array as a picture: as many elements are read as it shows, however large the array is."""
    from packstore.cli import plot as command

    where = None if index is None else given.lengths(index)
    result = command.plot(file, component, options, index=where, out=out, overwrite=overwrite)
    if as_json:
        result.pop("grey", None)
    emit(result, as_json, command.render)


@app.command()
@given.with_reader_options
def serve(
    file: given.File,
    host: Annotated[str, typer.Option("--host", help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Of the address; 0: any free one.", min=0, max=65535)] = 8000,
    origins: Annotated[
        str | None,
        typer.Option("--cors", help="Web pages that may read: an origin, * (any), or none."),
    ] = "*",
    browse: Annotated[bool, typer.Option("--browse", help="Open what is in it in a browser.")] = False,
    *,
    options: given.ReaderOptions,
) -> None:
    """FILE as a zarr store over HTTP, until interrupted: zarrita.js, viewers and zarr read it, with plain codecs."""
    from packstore.cli import serve as command

    allowed = None if origins == "none" else origins
    server = command.server_of(file, options, host=host, port=port, origins=allowed)
    command.serve(server, lambda text: print(text, flush=True), browse=browse)


def _at_least_two(files: list[str], last: str) -> list[str]:
    """The files; the usage error of a missing argument where there is one alone."""
    if len(files) < 2:
        raise typer.BadParameter(f"Missing argument '{last}'.")
    return files


def _progress(quiet: bool) -> bool:
    return not quiet and sys.stderr.isatty()


def run(arguments: list[str]) -> int:
    """Run the script; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        # Names in files are not always text that the terminal's encoding has.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(args=arguments or ["--help"], prog_name="packstore", standalone_mode=False)
        sys.stdout.flush()
        return int(code or 0) if arguments else BAD_INPUT
    except BrokenPipeError:
        return unread()
    except SystemExit as stop:
        # How typer takes a broken pipe while it prints help; 1 would mean "different".
        if stop.code == DIFFERENT:
            return unread()
        raise
    except (KeyboardInterrupt, typer.Abort):
        return interrupted()
    except typer.Exit as stop:
        return stop.exit_code
    except _Failed as failed:
        return failure(arguments, failed.__cause__)
    except Exception as error:  # one line and an exit code for whatever happens
        return fault(arguments, error)
