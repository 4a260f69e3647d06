"""A read/write memory map of one bit per element: the file ``np.packbits(mask, axis=axis).tofile(path)`` writes."""

from __future__ import annotations

from packstore.views.bitmemmap.core import BitMemmap, open_memmap

__all__ = ["BitMemmap", "open_memmap"]
