"""xarray's backend: a path goes in, a dataset of lazily read variables comes out (``engine="packstore"``).

Source: https://docs.xarray.dev/en/stable/internals/how-to-add-new-backend.html. Times, masks, scales and text are
decoded by xarray itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from xarray import Dataset, DataTree
from xarray.backends import BackendEntrypoint

__all__ = ["PackstoreBackend"]

SUFFIXES = (".npy", ".npz", ".h5", ".hdf5", ".nc", ".nc4", ".pkl", ".joblib")
# What xarray decodes, and how.
DECODERS = (
    "mask_and_scale",
    "decode_times",
    "concat_characters",
    "decode_coords",
    "drop_variables",
    "use_cftime",
    "decode_timedelta",
)


class PackstoreBackend(BackendEntrypoint):  # type: ignore[misc]  # mypy does not follow xarray
    """Opens npy, npz, HDF5 and NetCDF-4, NetCDF-3, zarr, raw, packed bits, text and pickles in xarray.

    Notes
    -----
    ``guess_can_open`` goes by the name alone; xarray asks it behind its own engines for NetCDF.

    Examples
    --------
    >>> import numpy as np, packstore, pathlib, tempfile
    >>> import xarray as xr
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npz"
    >>> np.savez(path, mask=np.eye(3, dtype=bool), area=np.arange(3))
    >>> ds = xr.open_dataset(path, engine="packstore", dims={"mask": ["y", "x"], "area": ["y"]})
    >>> int(ds["mask"].sum()), dict(ds.sizes)
    (3, {'y': 3, 'x': 3})
    """

    description = "Open npy, npz, HDF5, NetCDF, zarr, raw and packed arrays through packstore"
    url = "https://pypi.org/project/packstore/"
    supports_groups = True
    open_dataset_parameters: ClassVar[tuple[str, ...]] = (
        "filename_or_obj",
        *DECODERS,
        "group",
        "component",
        "dims",
        "format",
        "storage_options",
    )

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Whether the name ends as packstore's files do."""
        return isinstance(filename_or_obj, (str, os.PathLike)) and os.fspath(filename_or_obj).lower().endswith(SUFFIXES)

    # xarray's guide asks for each decoder by its name.
    def open_dataset(  # noqa: PLR0913
        self,
        filename_or_obj: Any,
        *,
        mask_and_scale: Any = True,
        decode_times: Any = True,
        concat_characters: Any = True,
        decode_coords: Any = True,
        drop_variables: str | Iterable[str] | None = None,
        use_cftime: Any = None,
        decode_timedelta: Any = None,
        group: str | None = None,
        component: str | None = None,
        dims: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
        format: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
        **reader_options: Any,
    ) -> Dataset:
        """Open the arrays of one group as a dataset.

        Parameters
        ----------
        filename_or_obj
            A path, a URL of fsspec, or a list of files that are one array (then with `axis` and `new_axis`).
        mask_and_scale, decode_times, concat_characters, decode_coords, drop_variables, use_cftime, decode_timedelta
            As `xarray.open_dataset`.
        group
            The group; default: the root. Arrays in groups below are not in the dataset.
        component
            The one array that is wanted; it may lie in a group.
        dims
            Names of the axes, for arrays that have none of their own: one sequence for all of that many axes, or one an
            array by its name. Axes without a name are called ``phony_dim_0`` and so on, one name for each length.
        format, storage_options, **reader_options
            As `packstore.open_array`.

        Returns
        -------
        xarray.Dataset
            Nothing but headers and indexes is read. ``chunks={}`` gives dask chunks of 16-128 MB.

        Raises
        ------
        ComponentNotFoundError
            No such group or array.
        OptionError
            `dims` fit no array, or `group` and `component` are both given.
        PackstoreError
            As `packstore.open_group`.

        Warns
        -----
        UserWarning
            An array of the group is left out, and why.
        """
        # Function-level, for import time: xarray imports all backends before it opens anything.
        from packstore.views.xarray.store import OpenedFile

        opened = OpenedFile(filename_or_obj, format, storage_options, component, dims, reader_options)
        return opened.dataset(
            group,
            component,
            mask_and_scale=mask_and_scale,
            decode_times=decode_times,
            concat_characters=concat_characters,
            decode_coords=decode_coords,
            drop_variables=drop_variables,
            use_cftime=use_cftime,
            decode_timedelta=decode_timedelta,
        )

    def open_groups_as_dict(self, filename_or_obj: Any, *, group: str | None = None, **options: Any) -> dict[str, Any]:
        """A dataset for each group, by its path; options as `open_dataset`."""
        # Function-level, for import time: xarray imports all backends before it opens anything.
        from packstore.views.xarray.store import OpenedFile

        decoding = {name: options.pop(name) for name in DECODERS if name in options}
        dims, format = options.pop("dims", None), options.pop("format", None)
        storage_options = options.pop("storage_options", None)
        opened = OpenedFile(filename_or_obj, format, storage_options, None, dims, options)
        top = (group or "").strip("/")
        prefix = f"{top}/" if top else ""
        paths = [path for path in opened.groups if path == top or path.startswith(prefix)]
        if not paths:
            raise opened.missing(top)
        return {f"/{path[len(prefix) :]}": opened.dataset(path, None, **decoding) for path in paths}

    def open_datatree(self, filename_or_obj: Any, **options: Any) -> DataTree:
        """All groups as a tree; options as `open_dataset`."""
        groups = self.open_groups_as_dict(filename_or_obj, **options)
        tree = DataTree.from_dict(groups)
        tree.set_close(groups["/"].close)
        return tree
