"""Names of dimensions as dimension scales, as NetCDF-4 has them; in: the arrays of a tree, out: scales in the file.

- A dimension belongs to a group and is seen in those below it. An array named like its own first dimension is that
  dimension's scale; a dimension without such an array gets a dataset of its own, which takes no space.
- A scale of several axes says by number (`_Netcdf4Coordinates`) which dimensions it has.
- An array named like a dimension that it does not have is stored as ``_nc4_non_coord_<name>``, as NetCDF does.
- Names that cannot be dimensions become labels of the axes (`DIMENSION_LABELS`): where some axes have none, where one
  name has two lengths in a group, and where the dimension's place is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from h5py import h5ds

from packstore.writers.items import Item
from packstore.writers.tree import Tree

__all__ = ["Dimensions", "attach_again", "is_placeholder", "unlink"]

_PREFIX = "_nc4_non_coord_"
# NetCDF's own words: by them its libraries tell a dimension from a variable.
_NO_VARIABLE = b"This is a netCDF dimension but not a netCDF variable.%10d"
_NUMBER, _NUMBERS = "_Netcdf4Dimid", "_Netcdf4Coordinates"


@dataclass
class _Dimension:
    """One dimension.

    Parameters
    ----------
    path
        Of its scale.
    is_variable
        Whether an array of the tree is its scale, or one that is in the file already.
    """

    path: str
    length: int
    is_variable: bool
    unlimited: bool = False
    exists: bool = False
    number: int = -1


class Dimensions:
    """The dimensions of one tree.

    Parameters
    ----------
    file
        The open file, with the tree's groups.
    tree
        Gets a line in ``lost`` for each array whose names cannot be dimensions.
    paths
        Names of the tree's arrays to the paths of their datasets; changed for arrays that are in a dimension's way.
    """

    def __init__(self, file: Any, tree: Tree, paths: dict[str, str]) -> None:
        self.file, self.tree, self.paths = file, tree, paths
        self._items = {paths[item.name]: item for item in tree.items}
        # By the path of its scale.
        self._found: dict[str, _Dimension] = {}
        # By the name of the array: its dimensions, or the labels of its axes.
        self._of: dict[str, list[_Dimension]] = {}
        self._labels: dict[str, tuple[str | None, ...]] = {}
        whole = []
        for item in tree.items:
            if item.shape and any(_names(item)):
                path = paths[item.name]
                if not all(_is_name(name) for name in _names(item)):
                    self._labels[item.name] = _names(item)
                    continue
                whole.append(item)
                if _names(item)[0] == path.rpartition("/")[2]:
                    self._found[path] = _Dimension(path, item.shape[0], True, _grows(item, 0))
        # Groups near the root first, as those below see their dimensions; and first what is a dimension itself.
        for item in sorted(whole, key=lambda i: (i.name.count("/"), paths[i.name] not in self._found)):
            self._settle(item)

    def _settle(self, item: Item) -> None:
        """Find the dimensions of one array; where it has not all of them, its names become labels."""
        names = _names(item)
        found = [self._resolve(item, axis) for axis in range(len(names))]
        if None in found:
            self._labels[item.name] = names
            # A scale of several axes must know all of them.
            self._found.pop(self.paths[item.name], None)
            lost = [f"{n!r} ({m})" for n, m, d in zip(names, item.shape, found, strict=True) if d is None]
            why = f"{', '.join(lost)} cannot be a dimension of its group, where the name or another length is"
            self.tree.lose(item.name, f"dimension names are kept as labels: {why}")
            return
        self._of[item.name] = [d for d in found if d is not None]
        if item.dtype.char in "eg" or (item.dtype.kind in "mMV" and item.dtype.names is None):
            why = f"NetCDF has no type {item.dtype}: h5py reads it, NetCDF's libraries do not"
            self.tree.lose(item.name, why)

    def _resolve(self, item: Item, axis: int) -> _Dimension | None:
        """The dimension of one axis: the nearest one of that name and length, or a new one in the array's own group."""
        name, length = str(_names(item)[axis]), item.shape[axis]
        group = item.name.rpartition("/")[0]
        for above in _upwards(group):
            place = _join(above, name)
            found = self._found.get(place) or self._existing(place)
            if found is not None and found.length == length:
                found.unlimited |= not found.is_variable and _grows(item, axis)
                return found
        place = _join(group, name)
        if place in self._found or not self._is_free(place, length):
            return None
        other = self._items.get(place)
        self._found[place] = _Dimension(
            place, length, other is not None, _grows(*((item, axis) if other is None else (other, 0)))
        )
        if other is not None:
            self._of[other.name] = [self._found[place]]
        return self._found[place]

    def _is_free(self, place: str, length: int) -> bool:
        """Whether a dimension can have its scale at `place`; an array in the way gets another name."""
        if place in self.tree.groups or place in self.tree.links or place in self.file:
            return False
        other = self._items.get(place)
        if other is None or (other.dimension_names is None and other.shape == (length,)):
            return True
        group, _, name = place.rpartition("/")
        moved = _join(group, _PREFIX + name)
        if moved in self._items or moved in self.file:
            return False
        self.paths[other.name] = moved
        self._items[moved] = self._items.pop(place)
        return True

    def _existing(self, place: str) -> _Dimension | None:
        """A dimension that is in the file already."""
        if place not in self.file or not _is_scale(self.file[place]):
            return None
        scale = self.file[place]
        number = int(np.ravel(scale.attrs.get(_NUMBER, -1))[0])
        length, grows = scale.shape[0], scale.maxshape[0] is None
        if grows:
            # As NetCDF has it: as long as the longest of its arrays.
            users = scale.attrs.get("REFERENCE_LIST", ())
            length = max(length, *(self.file[user].shape[axis] for user, axis in users), 0)
        found = _Dimension(place, length, True, grows, True, number)
        self._found[place] = found
        return found

    def write(self) -> None:
        """Make the scales and attach them; the tree's datasets are there."""
        number = self._highest_number() if self._found else -1
        for dimension in self._found.values():
            if not dimension.exists:
                if not dimension.is_variable:
                    self._create(dimension)
                scale = self.file[dimension.path]
                text = _NO_VARIABLE % dimension.length
                h5ds.set_scale(scale.id, dimension.path.rpartition("/")[2].encode() if dimension.is_variable else text)
            if dimension.number < 0:
                number += 1
                dimension.number = number
                self.file[dimension.path].attrs[_NUMBER] = np.int32(number)
        for name, dimensions in self._of.items():
            dataset = self.file[self.paths[name]]
            if self.paths[name] not in self._found:
                for axis, dimension in enumerate(dimensions):
                    h5ds.attach_scale(dataset.id, self.file[dimension.path].id, axis)
            elif len(dimensions) > 1:
                dataset.attrs[_NUMBERS] = np.array([d.number for d in dimensions], np.int32)
        for name, labels in self._labels.items():
            for axis, label in enumerate(labels):
                if label:
                    h5ds.set_label(self.file[self.paths[name]].id, axis, _label(label))

    def _create(self, dimension: _Dimension) -> None:
        limit = (None,) if dimension.unlimited else None
        chunks = (1024,) if limit else None
        shape = (dimension.length,)
        self.file.create_dataset(dimension.path, shape, ">f4", maxshape=limit, chunks=chunks, track_order=True)

    def _highest_number(self) -> int:
        """The highest number of a dimension that is in the file already."""
        numbers = [-1]

        def look(_: str, node: Any) -> None:
            if isinstance(node, h5py.Dataset) and _NUMBER in node.attrs and _is_scale(node):
                numbers.append(int(np.ravel(node.attrs[_NUMBER])[0]))

        self.file.visititems(look)
        return max(numbers)


def _names(item: Item) -> tuple[str | None, ...]:
    return item.dimension_names or ()


def _is_name(name: str | None) -> bool:
    """Whether a dimension of that name can be in a file."""
    return bool(name) and name != "." and not {"/", "\0"} & set(name or "") and _label(name or "").decode() == name


def _label(name: str) -> bytes:
    """The name in UTF-8; what is no Unicode in it is spelt out."""
    return name.partition("\0")[0].encode("utf-8", "backslashreplace")


def _join(group: str, name: str) -> str:
    return f"{group}/{name}" if group else name


def _grows(item: Item, axis: int) -> bool:
    return item.max_shape is not None and item.max_shape[axis] is None


def _upwards(group: str) -> Iterator[str]:
    while group:
        yield group
        group = group.rpartition("/")[0]
    yield ""


def _is_scale(node: Any) -> bool:
    return isinstance(node, h5py.Dataset) and node.ndim > 0 and bool(h5ds.is_scale(node.id))


def is_placeholder(node: Any) -> bool:
    """Whether it is a dimension without a variable, which an array of its name takes the place of."""
    return _is_scale(node) and bytes(h5ds.get_scale_name(node.id)).startswith(_NO_VARIABLE[:-4])


def unlink(file: Any, path: str) -> list[tuple[str, int]]:
    """Remove a dataset, and what refers to it as a scale or is attached to it.

    Returns
    -------
    list of (path, axis)
        The datasets that it was the scale of.
    """
    dataset = file[path]
    users: list[tuple[str, int]] = []
    if _is_scale(dataset):
        for reference, axis in dataset.attrs.get("REFERENCE_LIST", ()):
            other = file[reference]
            h5ds.detach_scale(other.id, dataset.id, int(axis))
            users.append((other.name.lstrip("/"), int(axis)))
    else:
        for axis in range(dataset.ndim):
            for scale in dataset.dims[axis].values():
                h5ds.detach_scale(dataset.id, scale.id, axis)
    del file[path]
    return users


def attach_again(file: Any, path: str, users: list[tuple[str, int]]) -> None:
    """Make a dataset the scale of those that its predecessor was the scale of, where their lengths agree."""
    scale = file[path]
    for user, axis in users:
        if scale.ndim and user in file and file[user].shape[axis] == scale.shape[0]:
            if not h5ds.is_scale(scale.id):
                h5ds.set_scale(scale.id, path.rpartition("/")[2].encode())
            h5ds.attach_scale(file[user].id, scale.id, axis)
