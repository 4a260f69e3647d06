"""Chunks of variable-length elements, looked at before zarr decodes them; in: metadata and a box, out: maybe an error.

A chunk begins with its number of elements, and the codecs that zarr calls take memory for as many as it says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from packstore.codecs.decompress.limit import FREE_NBYTES, Limit
from packstore.config import inflate_ratio
from packstore.core.boxes import Box, touched
from packstore.errors import CorruptDataError, message
from packstore.readers.zarr.byte_codecs import ByteCodec, byte_codec
from packstore.readers.zarr.metadata import chunk_keys

__all__ = ["VlenChunks"]

_NAMES = {"vlen-utf8", "vlen-bytes", "vlen-array", "variable_length_bytes"}
_COUNT_NBYTES = 4


class VlenChunks(NamedTuple):
    """The chunks of an array of variable-length elements.

    Attributes
    ----------
    chunk_shape
        Elements a chunk.
    key
        Prefix and separator of the keys of chunks, and the whole key of the chunk of a 0-d array.
    codecs
        The bytes-to-bytes codecs, in the order of decoding.
    """

    chunk_shape: tuple[int, ...]
    key: tuple[str, str, str]
    codecs: tuple[ByteCodec, ...]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> VlenChunks | None:
        """From the metadata; None where they are of another kind, or have codecs that are not known here."""
        try:
            found = _of_v3(document) if document.get("zarr_format") == 3 else _of_v2(document)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            return None
        if found is None:
            return None
        chunk_shape, names, is_v2 = found
        codecs = [byte_codec(name, config, v2=is_v2) for name, config in names]
        known = tuple(codec for codec in codecs if codec is not None)
        return cls(chunk_shape, chunk_keys(document), known[::-1]) if len(known) == len(codecs) else None

    def check(self, store: Any, box: Box, path: str) -> None:
        """Hold the number of elements in each chunk that `box` touches against that of the array's chunks.

        Parameters
        ----------
        store
            The store of the array's directory.
        path
            What errors call the array.

        Raises
        ------
        CorruptDataError, UnsupportedError
            The number is another one, or the bytes do not decode.

        Notes
        -----
        Decodes the compressors a second time.
        """
        prefix, separator, scalar = self.key
        count = math.prod(self.chunk_shape)
        for item in touched(box, self.chunk_shape):
            key = prefix + separator.join(map(str, item.coords)) if item.coords else scalar
            found = store.get_sync(key)
            if found is None:
                continue
            data = np.frombuffer(found.to_bytes(), np.uint8)
            for codec in self.codecs:
                most = Limit(max(FREE_NBYTES, int(inflate_ratio() * data.size)), False)
                data = codec.decode(data, most, None)
            got = int.from_bytes(data[:_COUNT_NBYTES].tobytes(), "little")
            if got != count or data.size < _COUNT_NBYTES * (count + 1):
                expected = f"{count} elements of variable length"
                raise CorruptDataError(
                    message("reading", path, None, item.coords, expected=expected, got=f"{got} in {data.size} bytes")
                )


def _of_v2(document: Mapping[str, Any]) -> tuple[tuple[int, ...], list[tuple[str, Any]], bool] | None:
    filters, compressor = document["filters"] or [], document["compressor"]
    if len(filters) != 1 or filters[0]["id"] not in _NAMES:
        return None
    return tuple(document["chunks"]), [] if compressor is None else [(compressor["id"], compressor)], True


def _of_v3(document: Mapping[str, Any]) -> tuple[tuple[int, ...], list[tuple[str, Any]], bool] | None:
    names = [(codec["name"], codec.get("configuration", {})) for codec in document["codecs"]]
    if not names or names[0][0] not in _NAMES or document["chunk_grid"]["name"] != "regular":
        return None
    return tuple(document["chunk_grid"]["configuration"]["chunk_shape"]), names[1:], False
