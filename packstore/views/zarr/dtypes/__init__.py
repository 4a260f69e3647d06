"""numpy dtypes as zarr data types: zarr's own (`names`), and the two that packstore adds (`own`)."""
