"""One dataset of a file; in: an open file and a path, out: the manifest of that dataset alone.

Nothing but the links on the way, the dataset and the names of its scales is read, so that the cost does not grow with
the number of its siblings.
"""

from __future__ import annotations

from packstore.errors import ExternalFileError
from packstore.readers.hdf5.context import Context
from packstore.readers.hdf5.dimensions import Dimensions
from packstore.readers.hdf5.files import H5_ERRORS
from packstore.readers.hdf5.links import Target, root
from packstore.readers.hdf5.problems import NotServed
from packstore.readers.hdf5.walk import attributes_of, complete
from packstore.storage import ManifestGroup

__all__ = ["read_one"]


def read_one(context: Context, component: str) -> ManifestGroup:
    """Describe the dataset at `component`, a path through links of any kind, as `read_all` describes it.

    Returns
    -------
    ManifestGroup
        With that one array; with its name among the unsupported; with one group, where it is a group; or empty.
    """
    try:
        target = _resolve(context, component.encode("utf-8", "surrogateescape"))
        if target is None:
            return ManifestGroup({})
        dimensions = Dimensions()
        if target.is_group:
            attributes, unreadable = attributes_of(target, dimensions)
            return ManifestGroup({}, {component: attributes}, _under(component, unreadable))
        if not target.is_dataset:
            return ManifestGroup({})
        array, unreadable = complete(context.describe(target), target, dimensions)
    except NotServed as why:
        return ManifestGroup({}, {}, {component: str(why)})
    return ManifestGroup({component: array}, {}, _under(component, unreadable))


def _under(component: str, unreadable: dict[str, str]) -> dict[str, str]:
    return {f"{component}@{name}": why for name, why in unreadable.items()}


def _resolve(context: Context, path: bytes) -> Target | None:
    """The object at `path`; None where there is none.

    Raises
    ------
    NotServed
        There is such a name, and its link leads to nothing that can be opened; or the way there is damaged.
    """
    at = root(context.main)
    names = [name for name in path.split(b"/") if name not in (b"", b".")]
    for i, name in enumerate(names):
        try:
            if not at.is_group or not at.oid.links.exists(name):
                return None
            kind = at.oid.links.get_info(name).type
            if i < len(names) - 1:
                at = context.linker.step(at, name)
                continue
        except NotServed:
            # A link to no object on the way: that link is unsupported under its own name.
            return None
        except ExternalFileError as why:
            raise NotServed(str(why)) from None
        except H5_ERRORS as why:
            raise NotServed(f"h5py does not open it: {why}") from None
        at = context.linker.child(at, name, kind)
    return at
