"""What an npy header says of a dtype, or why it cannot say it."""

from __future__ import annotations

from typing import Any

import numpy as np

from packstore.errors import DtypeError, message

__all__ = ["npy_descr"]


def npy_descr(dtype: np.dtype[Any], name: str | None = None) -> Any:
    """The ``descr`` of an npy header.

    Raises
    ------
    DtypeError
        A struct whose fields overlap or do not lie in the order of their names; `name` is that of the array.

    Examples
    --------
    >>> npy_descr(np.dtype([("a", "<i4")]))
    [('a', '<i4')]
    """
    try:
        return np.lib.format.dtype_to_descr(dtype)
    except ValueError:
        raise DtypeError(
            message(
                "saving",
                None,
                name or None,
                expected="a struct whose fields lie one after the other, as an npy header can say",
                got=f"{dtype}, whose fields overlap or are in another order",
                hint="Save numpy.lib.recfunctions.repack_fields(data), which has the same values",
            )
        ) from None
