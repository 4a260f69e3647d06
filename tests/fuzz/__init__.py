"""A fuzzer: generated files of each format are damaged on purpose, and packstore is held against the reference reader.

``python -m tests.fuzz --minutes 5 --format hdf5 --seed 1`` runs it. A case is a number: it fixes which seed file is
taken and what is changed in it, so that a run of the same numbers makes the same files. Two processes read each file
side by side, ``subject.py`` by packstore and ``formats/`` by numpy, h5py, zarr or pickle. The parent compares what they
say of each array, and calls these faults:

crash, hang
    The process of packstore died, or gave no answer in `judge.SECONDS`.
foreign
    An exception that is no `PackstoreError`.
memory
    It took more than four times the file and 256 MB.
differs, served, missing
    Other values than the reference's; values where the reference raises; an array that the reference has, and of which
    packstore says nothing.

A format is a module in ``formats/`` with `seeds`, `mutate`, `reference` and `explained`, and a line in its table.
"""
