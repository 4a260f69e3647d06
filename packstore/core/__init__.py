"""What every other folder uses: boxes, selections, keys, threads, scratch memory."""
