"""What must happen when files change, vanish or cannot be read: every format, by threads, forks and dask."""
