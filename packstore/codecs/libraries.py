"""Look up the functions of the optional libraries: by the name of a codec, once a process, None where there is none.

Nothing is imported before the first chunk needs it.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

from packstore.errors import MissingFilterError, message

__all__ = ["imagecodecs_function", "numcodecs_function", "required_imagecodecs_function"]


@functools.cache
def imagecodecs_function(codec: str, function: str = "decode") -> Callable[..., Any] | None:
    """Find ``imagecodecs.<codec>_<function>``.

    Parameters
    ----------
    codec
        Name of the codec in imagecodecs, lower case.
    function
        What follows the underscore.

    Returns
    -------
    callable or None
        None where imagecodecs is not installed, or was built without that codec (it then has only a stub).
    """
    try:
        import imagecodecs
    except ImportError:
        return None
    constants = getattr(imagecodecs, codec.upper(), None)
    if constants is None or not getattr(constants, "available", False):
        return None
    found: Callable[..., Any] | None = getattr(imagecodecs, f"{codec}_{function}", None)
    return found


def required_imagecodecs_function(codec: str, what: object) -> Callable[..., Any]:
    """Find ``imagecodecs.<codec>_decode`` for a format that no other library decodes.

    Parameters
    ----------
    codec
        Name of the codec in imagecodecs, lower case.
    what
        What is decoded, for the error text.

    Raises
    ------
    MissingFilterError
        imagecodecs is not installed, or was built without that codec.
    """
    found = imagecodecs_function(codec)
    if found is None:
        text = message(f"decoding {what}", got="no decoder", hint="Install the pip package imagecodecs")
        raise MissingFilterError(text)
    return found


@functools.cache
def numcodecs_function(codec: str) -> Callable[..., Any]:
    """Find ``numcodecs.<codec>.decompress``; zarr needs numcodecs, so it is always installed."""
    found: Callable[..., Any] = importlib.import_module(f"numcodecs.{codec}").decompress
    return found
