"""A file whose only dataset is not served: opening it without a name says why, as opening it by its name does."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

import packstore
from packstore.errors import ComponentNotFoundError, UnsupportedError

LZO = 305


def write(path: Path, *names: str, plain: bool = False) -> Path:
    with h5py.File(path, "w") as f:
        for name in names:
            plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plist.set_chunk((4,))
            plist.set_filter(LZO, h5py.h5z.FLAG_OPTIONAL, (1,))
            space = h5py.h5s.create_simple((4,))
            dataset = h5py.h5d.create(f.id, name.encode(), h5py.h5t.NATIVE_INT32, space, plist)
            dataset.write_direct_chunk((0,), b"abcdefgh", 0)
        if plain:
            f["plain"] = np.arange(3)
    return path


def test_of_a_missing_filter_it_says_what_it_needs(tmp_path: Path) -> None:
    path = write(tmp_path / "x.h5", "a")
    for opening in (packstore.open_array, packstore.from_file):
        for arguments in ((), ("a",)):
            with pytest.raises(UnsupportedError, match=r"x\.h5\[a\].*HDF5 filter 305 \(lzo\).*tables") as raised:
                opening(path, *arguments)
            assert "component=" not in str(raised.value) and "from_file" not in str(raised.value)
    with pytest.raises(UnsupportedError, match=r"x\.h5\[a\].*HDF5 filter 305") as raised:
        packstore.open_group(path)["a"]
    assert "from_file" not in str(raised.value)


def test_among_several_one_must_be_named(tmp_path: Path) -> None:
    for path in (write(tmp_path / "x.h5", "a", "b"), write(tmp_path / "y.h5", "a", plain=True)):
        with pytest.raises(ComponentNotFoundError, match="expected component= to name one array"):
            packstore.open_array(path)
    assert packstore.open_array(tmp_path / "y.h5", "plain")[...].tolist() == [0, 1, 2]
