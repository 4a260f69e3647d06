"""One file read by packstore: every array by the direct path, and now and then through zarr."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from packstore.errors import PackstoreError
from packstore.readers.find import locate
from packstore.readers.location import Location
from packstore.storage import ManifestGroup
from packstore.views.lazy import LazyArray
from packstore.views.zarr.open import open_store
from tests.fuzz.summary import Summary, box_of, of_error, summary_of

__all__ = ["read"]


def read(path: Path, options: dict[str, Any], through_zarr: bool) -> tuple[Summary, list[str]]:
    """What packstore says of each array, and exceptions that are not packstore's.

    Parameters
    ----------
    path
        The file.
    options
        Arguments that the format needs.
    through_zarr
        Whether to read by zarr's own code from `open_store` instead.
    """
    foreign: list[str] = []
    out: Summary = {}
    try:
        location = locate(str(path), **options)
        manifest = location.manifest()
    except PackstoreError as error:
        return {"*": of_error(error)}, foreign
    except Exception as error:
        return {"*": of_error(error)}, [_told(error)]
    try:
        _read_arrays(location, manifest, out, foreign)
    finally:
        location.close()
    if through_zarr:
        foreign += _by_zarr(path, options, out)
    return out, foreign


def _read_arrays(location: Location, manifest: ManifestGroup, out: Summary, foreign: list[str]) -> None:
    for name, reason in manifest.unsupported.items():
        out[name] = ["error", str(reason)[:400]]
    for name, array in manifest.arrays.items():
        try:
            dict(array.attributes)
            array.storage.facts(array)
            box = box_of(array.shape, array.dtype.itemsize)
            lazy = LazyArray(location, name)
            out[name] = summary_of(lambda lazy=lazy, box=box: lazy[box], array.shape)  # type: ignore[misc]
            # A crop must say what the whole does, or raise.
            lazy[tuple(slice(s.stop // 2, s.stop // 2 + 1) for s in box)]
        except PackstoreError as error:
            out[name] = of_error(error)
        except Exception as error:
            out[name] = of_error(error)
            foreign.append(_told(error))
        foreign += _foreign(out[name])


def _by_zarr(path: Path, options: dict[str, Any], direct: Summary) -> list[str]:
    """Read the same by zarr: what it gives must be what the direct path gives."""
    import zarr

    foreign = []
    try:
        store = open_store(str(path), **options)
    except PackstoreError:
        return []
    except Exception as error:
        return [_told(error)]
    for name, known in direct.items():
        if known[0] != "ok" or known[2].startswith(("(", "V", "text", "g", "G", "m", "M")):
            continue
        try:
            array = zarr.open_array(store, path=name, mode="r")
            found = summary_of(lambda array=array: array[box_of(array.shape, array.dtype.itemsize)], array.shape)  # type: ignore[misc]
        except Exception:  # zarr's own refusals, of names and types
            continue
        if found[0] == "ok" and found[1:] != known[1:]:
            foreign.append(f"zarr reads {name!r} as {found[1:]}, the direct path as {known[1:]}")
    return foreign


def _foreign(summary: list[Any]) -> list[str]:
    """The text of an exception that `summary_of` caught, if it is not packstore's."""
    import packstore.errors

    if summary[0] == "ok":
        return []
    kind = str(summary[1]).split(":", 1)[0]
    return [] if hasattr(packstore.errors, kind) else [str(summary[1])]


def _told(error: Exception) -> str:
    import traceback

    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error}"[:300] + f" ({Path(where.filename).name}:{where.lineno})"
