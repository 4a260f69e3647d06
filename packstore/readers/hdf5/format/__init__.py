"""HDF5 bytes that packstore parses itself."""
