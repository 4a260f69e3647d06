"""Bytes to elements and back, without files: packed bits, decompressors, checksums, HDF5 filters."""
