"""Which optional decoders this process has. Nothing is imported before the first chunk needs it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

__all__ = ["imagecodecs_function"]


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
