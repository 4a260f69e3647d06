"""Saved arrays as zarr stores, groups and arrays."""
