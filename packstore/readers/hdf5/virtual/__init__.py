"""Virtual datasets: their layout, their selections, and the reading of boxes."""
