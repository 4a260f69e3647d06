"""HDF5 files; in: a source and options, out: a manifest of its datasets, whose bytes are read outside libhdf5's lock.

h5py opens the file to list its objects and the places of their bytes, and closes it again. Data that only libhdf5 can
decode (nested variable-length data, rare filters) are read through h5py later. No other file is opened unless
``allow_external`` says so.

`describe` and `dataset` turn one dataset into an array, `layouts` and `variable` find its bytes, `walk` and
`component` go through the links. The drawers: `format` parses bytes, `guard` checks them before libhdf5 reads them,
`types` describes elements, `virtual` maps virtual datasets.
"""

from __future__ import annotations

import codecs
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from packstore.config import isolates
from packstore.errors import OptionError, message
from packstore.readers.hdf5.external import ExternalPolicy
from packstore.readers.hdf5.magic import find_magic

if TYPE_CHECKING:
    from packstore.readers.hdf5.context import Chain
    from packstore.source import Source
    from packstore.storage import ManifestGroup

__all__ = ["read", "sniff"]


def sniff(source: Source, head: bytes) -> bool:
    """Whether an HDF5 superblock starts at 0, 512, 1024, 2048, … (behind a user block)."""
    return find_magic(source, head) is not None


def read(
    source: Source,
    *,
    component: str | None = None,
    chunks: Any = None,
    allow_external: Any = False,
    missing_sources: str = "raise",
    encoding: str = "utf-8",
    errors: str = "strict",
) -> ManifestGroup:
    """Describe the datasets of an HDF5 file.

    Parameters
    ----------
    source
        The file, local or remote.
    component
        Path of the one dataset that is wanted, through links of any kind; None: all of them.
    chunks
        Chunk shape for datasets that have none of their own; a dataset that it does not fit is cut as usual.
    allow_external
        Which other files may be opened for external links, external storage and virtual datasets: False for none,
        True for any, or a folder: the files inside it, symbolic links resolved.
    missing_sources
        What stands for sources of virtual datasets that are not there: "raise" for an error on reading them, "fill"
        for the fill value, as libhdf5 has it.
    encoding, errors
        How text of variable length becomes zarr's, as for `bytes.decode`; read directly it stays bytes.

    Returns
    -------
    ManifestGroup
        ``unsupported`` maps each dataset and link that is not served to the reason, and ``path@name`` to the reason
        why attribute `name` of the object at `path` cannot be read, or why the source `name` of the virtual dataset at
        `path` cannot be.

    Raises
    ------
    FormatError
        libhdf5 does not open the file.
    StaleFileError
        The file changed while it was read.
    OptionError
        An option that makes no sense.
    CorruptDataError
        With the setting ``isolate``: the process that tried the file out died, hung, or took too much memory.

    Notes
    -----
    Costs about 0.2 ms a dataset and 1.5 µs a chunk; with `component`, of that dataset alone. Holds h5py's lock for
    parts of that time.

    Numbered sources of a virtual dataset (``%b`` in their names) end before the first that is missing, as they do in
    h5py: such a dataset is as long as its files are, and no source of it is missing.
    """
    _check_text(source, encoding, errors)
    if isolates():
        # Function-level, for import time.
        from packstore.readers.hdf5.trial import try_out

        others = {"allow_external": allow_external, "missing_sources": missing_sources}
        try_out(source, component, {"chunks": chunks, **others})
    policy = ExternalPolicy.of(allow_external, missing_sources)
    found = _read(policy, (), source, component, chunks)
    # Sources that are described on the first read add to what was seen.
    return replace(found, fresh=policy.fresh) if policy.seen else found


def _check_text(source: Source, encoding: Any, errors: Any) -> None:
    try:
        codecs.lookup(encoding)
        codecs.lookup_error(errors)
        b"a".decode(encoding, "ignore")
    except (LookupError, TypeError, ValueError) as why:
        expected = "encoding= and errors= that Python has"
        raise OptionError(message("opening", source.name, expected=expected, got=why)) from None


def _read(
    policy: ExternalPolicy, chain: Chain, source: Source, component: str | None, chunks: Any = None
) -> ManifestGroup:
    """`read`, also for the sources of virtual datasets: `chain` names the virtual datasets that are being read."""
    # Imported here for import time: `sniff` needs no h5py.
    from packstore.errors import FormatError, PackstoreError, message
    from packstore.readers.hdf5.component import read_one
    from packstore.readers.hdf5.context import Context, Functions
    from packstore.readers.hdf5.describe import describe_dataset
    from packstore.readers.hdf5.files import H5_ERRORS
    from packstore.readers.hdf5.walk import read_all

    with Context(source, Functions(describe_dataset, _read), chunks, policy, component, chain) as context:
        try:
            found = read_all(context) if component is None else read_one(context, component)
        except H5_ERRORS as why:
            if isinstance(why, PackstoreError):
                raise
            # The root group itself does not read.
            raise FormatError(
                message("reading the index of", source.name, expected="what libhdf5 reads", got=why)
            ) from why
    source.check()
    return found
