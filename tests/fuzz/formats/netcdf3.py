"""NetCDF-3: damage in the header's numbers and in the data; the C library is the reference."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import netcdf_file

from tests.fuzz.mutate import cut, scramble
from tests.fuzz.summary import Summary, box_of, of_error, summary_of

__all__ = ["explained", "mutate", "reference", "seeds"]


def seeds() -> dict[str, bytes]:
    """Both offsets' widths; fixed and record variables; attributes."""
    return {f"version {version}": _file(version) for version in (1, 2)}


def _file(version: int) -> bytes:
    file = io.BytesIO()
    out = netcdf_file(file, "w", version=version)
    out.createDimension("time", None)
    out.createDimension("x", 3)
    out.title = "fuzz"
    for name, kind, dimensions in (
        ("x", "f8", ("x",)), ("t", "i4", ("time",)), ("v", "f4", ("time", "x")), ("s", "i2", ("time",)),
        ("c", "S1", ("x",)),
    ):  # fmt: skip
        variable = out.createVariable(name, kind, dimensions)
        variable.units = "m"
        shape = tuple(4 if d == "time" else 3 for d in dimensions)
        data = np.arange(np.prod(shape)).reshape(shape)
        variable[:] = np.array([b"a", b"b", b"c"]) if kind == "S1" else data.astype(kind)
    out.flush()
    return file.getvalue()


def mutate(rng: random.Random, files: dict[str, bytes]) -> dict[str, bytes]:
    """Change words of the header, or anything."""
    data = files[""]
    if rng.random() < 0.08:
        return {"": cut(data, rng)}
    head = [i for i in range(len(data) - 200) if rng.random() < 0.9]
    return {"": scramble(data, rng, head, same_length=rng.random() < 0.9)}


def reference(path: Path, names: list[str] | None = None) -> Summary:
    """The variables by the C library."""
    import netCDF4

    out: Summary = {}
    try:
        with netCDF4.Dataset(path) as file:
            file.set_auto_maskandscale(False)
            for name, variable in file.variables.items():
                variable.set_auto_chartostring(False)
                shape = tuple(int(n) for n in variable.shape)
                out[name] = summary_of(
                    lambda variable=variable, shape=shape: variable[box_of(shape, 8)],  # type: ignore[misc]
                    shape,
                )
    except Exception as error:
        return {"*": of_error(error)}
    return out


def explained(name: str, subject: Summary, reference: list[Any]) -> str | None:
    """The C library refuses a whole file for damage in names, padding or sizes that say nothing of where data lie."""
    if reference[0] == "ok" and reference[1][:1] == [2**32 - 1]:
        return "the writer did not say how many records there are: the library takes that for their number"
    return "a stricter header" if reference[0] == "error" else None
