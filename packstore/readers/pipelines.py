"""URL pipelines: ``s3://bucket/results.npz|npz:mask`` goes in, a path, its format and the component come out.

Source: https://github.com/jbms/url-pipeline. A pipeline is a path or URL and what is to be made of it, step by step,
each ``scheme:path`` behind a bar; paths are percent-encoded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from packstore.errors import OptionError, message
from packstore.source import masked
from packstore.source.remote.urls import is_url

__all__ = ["Pipeline", "parse_pipeline"]

_STEP = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
# Formats of packstore that a step may name, besides those of zarr.
FORMATS = ("hdf5", "netcdf3", "npy", "npy_stack", "npz", "pickle", "raw", "text")
ZARR = ("zarr", "zarr2", "zarr3")


class Pipeline(NamedTuple):
    """What a pipeline names.

    Parameters
    ----------
    path
        A path or URL, also of fsspec's chains.
    format
        A name in `READERS`; None: told by the content.
    component
        The array or group in the file; "" for all of it.
    storage_options
        Those that were given, as `path` takes them.
    """

    path: str
    format: str | None
    component: str
    storage_options: Mapping[str, Any] | None


def parse_pipeline(path: Any, storage_options: Mapping[str, Any] | None = None) -> Pipeline | None:
    """Take a pipeline apart; None for what is none, a file with a bar in its name included.

    Raises
    ------
    OptionError
        A step that packstore does not know, or one that another cannot follow.

    Examples
    --------
    >>> parse_pipeline("scan.h5|hdf5:entry/masks")[:3]
    ('scan.h5', 'hdf5', 'entry/masks')
    >>> parse_pipeline("s3://b/all.zip|zip:run/a.npy")[:2]
    ('zip://run/a.npy::s3://b/all.zip', None)
    """
    if not isinstance(path, str) or "|" not in path:
        return None
    base, *rest = path.split("|")
    steps = [_STEP.fullmatch(step) for step in rest]
    if not all(steps) or (not is_url(path) and os.path.lexists(path)):
        return None
    # Function-level, for import time.
    from urllib.parse import unquote

    found = Pipeline(base, None, "", storage_options)
    done: str | None = None
    for step in steps:
        assert step is not None
        scheme, inner = step[1].lower(), unquote(step[2]).strip("/")
        if done is not None and done != "zip":
            raise _refused(path, "no step behind that of a format", step[0])
        if scheme == "zip":
            found = _inside(path, found, inner)
        elif scheme in ZARR:
            is_archive = done == "zip" and not found.path.startswith("zip://")
            found = found._replace(format="zarr_zip" if is_archive else "zarr", component=inner)
        elif scheme in FORMATS:
            found = found._replace(format=scheme, component=inner)
        else:
            raise _refused(path, f"one of {', '.join((*FORMATS, *ZARR, 'zip'))}", f"{scheme}:")
        done = scheme
    return found


def _inside(path: str, found: Pipeline, inner: str) -> Pipeline:
    """A member of an archive, by a chain of fsspec; the archive itself where no member is named."""
    if not inner:
        return found
    if found.path.startswith("zip://"):
        raise _refused(path, "one archive", "one in another")
    outer, options = found.path, found.storage_options
    if "://" not in outer:
        outer = f"file://{os.path.abspath(outer)}"
    if options:
        # In a chain each file system has options of its own.
        options = {outer.partition("://")[0]: dict(options)}
    return found._replace(path=f"zip://{inner}::{outer}", storage_options=options)


def _refused(path: str, expected: str, got: str) -> OptionError:
    return OptionError(message("reading the URL pipeline", masked(path), expected=expected, got=got))
