"""HDF5 bytes that packstore parses itself; in: places in a file, out: messages, objects of heaps, attributes."""
