"""Attributes of an array or group: JSON values for all, and the stored type of those for which JSON has no word."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["Attributes", "typed_attributes", "without"]


class Attributes(dict[str, Any]):
    """Attributes by name, as JSON values.

    Parameters
    ----------
    values
        Name to JSON-able value.
    typed
        Name to the value as it is stored, for those whose JSON value does not tell the type: numpy scalars and arrays
        (int16, float32, structs; with h5py's metadata for enums and text of variable length), complex numbers, bytes,
        ``h5py.Empty``. A subset of the names of `values`.
    unseen
        Names that zarr's metadata leaves out: facts that NetCDF's libraries, and so xarray, do not count as attributes.

    Examples
    --------
    >>> import numpy as np
    >>> found = Attributes({"gain": 2}, typed={"gain": np.int16(2)})
    >>> found["gain"], typed_attributes(found)["gain"].dtype
    (2, dtype('int16'))
    """

    def __init__(
        self,
        values: Mapping[str, Any] | Iterable[tuple[str, Any]] = (),
        typed: Mapping[str, Any] | None = None,
        unseen: Iterable[str] = (),
    ) -> None:
        super().__init__(values)
        self.typed: dict[str, Any] = dict(typed or {})
        self.unseen: frozenset[str] = frozenset(unseen)


def typed_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes, each in the type in which it is stored where that is known."""
    typed = attributes.typed if isinstance(attributes, Attributes) else {}
    return {name: typed.get(name, value) for name, value in attributes.items()}


def without(attributes: Mapping[str, Any], name: str) -> Attributes:
    """The attributes but for one."""
    typed = attributes.typed if isinstance(attributes, Attributes) else {}
    unseen = attributes.unseen if isinstance(attributes, Attributes) else ()
    return Attributes(
        {n: v for n, v in attributes.items() if n != name},
        {n: v for n, v in typed.items() if n != name},
        [n for n in unseen if n != name],
    )
