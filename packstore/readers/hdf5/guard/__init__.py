"""The checks that stored bytes must pass before libhdf5 may read them; in: bytes or places, out: nothing, or an error.

libhdf5 (2.0 and before) believes a file. On damaged bytes it may hang with the lock of h5py held, read or free memory
that it does not have, or end the process, where no exception could be caught. Each check reads the same bytes first:

===================  ================================================  =========================================
check                before                                            else libhdf5
===================  ================================================  =========================================
`check_heap`         any read that starts with a global heap           goes round in free space of size 0 for ever
`check_headers`      any read with a header of an index or a heap      divides by zero, takes memory for a
                                                                       node larger than the file
`check_virtual`      an object is opened                               frees mappings that it never had
`check_fill`         a property of a dataset is asked for              follows a reference in the fill value
`CheckedAttributes`  an attribute is read                              follows references in the attribute
`ElementCheck`       a box of variable-length elements is read         follows references in the elements
`check_room`         chunks are listed                                 looks up chunks beyond a fixed array's end
`check_ranges`       a listed chunk is read                            takes a checksum off fewer bytes than it has
`check_chunks`       a dataset without a table of chunks is read       the same
===================  ================================================  =========================================

The types that libhdf5 must not read at all are refused by `packstore.readers.hdf5.types`.
"""

from packstore.readers.hdf5.guard.attributes import CheckedAttributes, check_library
from packstore.readers.hdf5.guard.blocks import check_heap, check_virtual
from packstore.readers.hdf5.guard.chunks import check_chunks, check_ranges, check_room, layout_of, tree_entries
from packstore.readers.hdf5.guard.elements import ElementCheck, check_elements, check_fill
from packstore.readers.hdf5.guard.headers import check_headers

__all__ = [
    "CheckedAttributes",
    "ElementCheck",
    "check_chunks",
    "check_elements",
    "check_fill",
    "check_headers",
    "check_heap",
    "check_library",
    "check_ranges",
    "check_room",
    "check_virtual",
    "layout_of",
    "tree_entries",
]
