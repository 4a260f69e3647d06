"""The model as others know it: lazy arrays, zarr stores, dask arrays, bit memory maps."""
