"""What must happen when files change, vanish or cannot be read: every format, in threads, forks, new processes and dask."""
