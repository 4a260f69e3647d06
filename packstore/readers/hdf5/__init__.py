"""HDF5 files: datasets whose bytes are read and decoded outside libhdf5's lock.

h5py opens the file to list what is in it and where the bytes are, and closes it again. What only libhdf5 can decode
(nested variable-length data, rare filters) is read through h5py later. No other file is opened unless
``allow_external`` says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from packstore.source import Source
    from packstore.storage import ManifestGroup

__all__ = ["read", "sniff"]


def sniff(source: Source, head: bytes) -> bool:
    """Whether an HDF5 superblock starts at 0, 512, 1024, 2048, … (behind a user block)."""
    from packstore.readers.hdf5.magic import find_magic

    return find_magic(source, head) is not None


def read(
    source: Source,
    *,
    component: str | None = None,
    chunks: Any = None,
    allow_external: Any = False,
    _chain: tuple[tuple[str, str], ...] = (),
) -> ManifestGroup:
    """Describe the datasets of an HDF5 file.

    Parameters
    ----------
    source
        The file, local or remote.
    component
        Path of the one dataset that is wanted, through links of any kind; None: all of them.
    chunks
        Chunk shape for datasets that have none of their own; those that it does not fit are cut as usual.
    allow_external
        Which other files may be opened for external links, external storage and virtual datasets: False for none,
        True for any, or a folder: those inside it, symbolic links resolved.

    Returns
    -------
    ManifestGroup
        ``unsupported`` maps each dataset and link that is not served to the reason, and ``path@name`` to the reason
        why attribute `name` of the object at `path` cannot be read.

    Raises
    ------
    FormatError
        libhdf5 does not open the file.
    StaleFileError
        The file changed while it was read.
    OptionError
        An option that makes no sense.

    Notes
    -----
    Costs about 0.2 ms a dataset and 1.5 µs a chunk. Holds h5py's lock for parts of that time.
    """
    from packstore.errors import FormatError, PackstoreError, message
    from packstore.readers.hdf5.context import Context
    from packstore.readers.hdf5.external import ExternalPolicy
    from packstore.readers.hdf5.files import H5_ERRORS
    from packstore.readers.hdf5.walk import read_all, read_one

    with Context(source, chunks, ExternalPolicy.of(allow_external), component, _chain) as context:
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
