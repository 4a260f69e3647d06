"""Reading from object storage, beside peers.

`server` counts and delays requests, `jobs` says what is read, `run` prints what it took, `scale` models a large job.
"""
