"""Virtual datasets; in: an open virtual dataset, out: its sources, their selections, and a reader of boxes."""
