"""Saved arrays as dask arrays."""
